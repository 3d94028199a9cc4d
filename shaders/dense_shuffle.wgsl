// The dense layer for software adapters: see lib/dense.wgsl for the formulas and shapes.
//
// One workgroup is one subgroup of LANES lanes. Operands are storage textures (src/kernels/texture.rs): what such an adapter loads
// from them without a branch, it loads from a buffer lane by lane. Each lane loads a part of the left operand, every value of which
// is broadcast by a shuffle with a constant index, and owns four columns of the result in ROWS = 8 GROUPS rows. Row after row adds
// up four products, so that few values wait for their sum. //# marks loops that src/kernels/unroll.rs unrolls.
// Dispatch: x over LANES quads of columns, y over ROWS rows (of every split in turn); z is the member.
//
// LANES is 4, 8 or 16, TILES how many times so many rows make ROWS. The rows of the operands past the last one exist and are 0 or
// left over from another batch; what they yield is not stored.

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> sites: array<Site, MEMBERS>;
@group(0) @binding(3) var<storage, read> samples: array<u32>;
@group(0) @binding(4) var x: texture_storage_2d<rgba32float, read>;
@group(0) @binding(5) var weight: texture_storage_2d<rgba32float, read>;
@group(0) @binding(6) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(6) var dy: texture_storage_2d<rgba32float, read>;
@group(0) @binding(7) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> gradient: array<vec4<f32>>;   // dW, then db

const ROWS = GROUPS * 8u;
const Q = LANES / 4u;

// Four bits of a mask for each of eight rows from `first` on in a word; a loop, so that Philox is compiled once.
fn mask_bits(p: Params, site: Site, key: vec2<u32>, member: u32, first: u32, quad: u32, valid: u32) -> u32 {
    var bits = 0u;
    for (var r = 0u; r < min(8u, valid - min(first, valid)); r++) {
        let at = mask_address(member * p.samples_stride, first + r, site);
        let keep = select(vec4<u32>(), vec4<u32>(1u, 2u, 4u, 8u), kept_units(site, key, p.stream_and_site, at, quad));
        bits |= (keep.x | keep.y | keep.z | keep.w) << (4u * r);
    }
    return bits;
}

@compute @workgroup_size(LANES)
fn dense_forward_shuffle(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let p = params;
    let member = member_index(group);
    let valid = step.rows;
    let key = step.keys[member].xy;
    let site = sites[member];
    let quad = group.x * LANES + lane;
    let first = group.y * ROWS;
    let x_at = texture_at(member * min(p.x_stride, 1u), first, p.input_row, p.panels);
    let weight_at = texture_at(member * min(p.weight_stride, 1u), 4u * quad, p.input_row, 1u);
    //# for g in 0..GROUPS
    //# for e in 0..8
    var sum{g}_{e} = vec4<f32>();
    //# end
    //# end
    // Rows past the valid ones are multiplied with nothing: a branch for some of the samples leaves many.
    let depth = select(0u, p.input_quads, first < valid);
    for (var k = 0u; k < depth; k++) {
        //# for j in 0..4
        let w{j} = textureLoad(weight, weight_at + vec2<u32>(k, {j}u));
        //# end
        let c0 = vec4<f32>(w0.x, w1.x, w2.x, w3.x);
        let c1 = vec4<f32>(w0.y, w1.y, w2.y, w3.y);
        let c2 = vec4<f32>(w0.z, w1.z, w2.z, w3.z);
        let c3 = vec4<f32>(w0.w, w1.w, w2.w, w3.w);
        var a: array<vec4<f32>, TILES>;
        //# for t in 0..TILES
        a[{t}] = textureLoad(x, x_at + vec2<u32>(k, {t}u * LANES + lane));
        //# end
        //# for g in 0..GROUPS
        //# for e in 0..8
        sum{g}_{e} += (subgroupShuffle(a[({g}u * 8u + {e}u) / LANES].x, ({g}u * 8u + {e}u) % LANES) * c0
            + subgroupShuffle(a[({g}u * 8u + {e}u) / LANES].y, ({g}u * 8u + {e}u) % LANES) * c1)
            + (subgroupShuffle(a[({g}u * 8u + {e}u) / LANES].z, ({g}u * 8u + {e}u) % LANES) * c2
            + subgroupShuffle(a[({g}u * 8u + {e}u) / LANES].w, ({g}u * 8u + {e}u) % LANES) * c3);
        //# end
        //# end
    }
    let b = bias[member * (p.weight_stride / 4u) + min(quad, p.output_quads - 1u)];
    let in_units = in_columns(quad, p.outputs);
    let out = member * (p.y_stride / 4u) + first * p.output_row + quad;
    //# for g in 0..GROUPS
    var keep{g} = 0u;
    if (DROPOUT != 0u) {
        keep{g} = mask_bits(p, site, key, member, first + {g}u * 8u, quad, valid);
    }
    //# end
    //# for g in 0..GROUPS
    //# for e in 0..8
    if (quad < p.output_quads && first + {g}u * 8u + {e}u < valid) {
        y[out + ({g}u * 8u + {e}u) * p.output_row] = dense_output(sum{g}_{e} + b, in_units, kept_bits(keep{g}, {e}u), site.scale);
    }
    //# end
    //# end
}

@compute @workgroup_size(LANES)
fn dense_backward_input_shuffle(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let p = params;
    let member = member_index(group);
    let valid = step.rows;
    let key = step.keys[member].xy;
    let site = sites[member];
    let quad = group.x * LANES + lane;
    let first = group.y * ROWS;
    let dy_at = texture_at(member * min(p.y_stride, 1u), first, p.output_row, p.panels);
    let weight_at = texture_at(member * min(p.weight_stride, 1u), 0u, p.input_row, 1u) + vec2<u32>(quad, 0u);
    //# for g in 0..GROUPS
    //# for e in 0..8
    var sum{g}_{e} = vec4<f32>();
    //# end
    //# end
    let depth = select(0u, p.output_quads, first < valid);
    for (var k = 0u; k < depth; k++) {
        //# for j in 0..4
        let c{j} = textureLoad(weight, weight_at + vec2<u32>(0u, 4u * k + {j}u));
        //# end
        var a: array<vec4<f32>, TILES>;
        //# for t in 0..TILES
        a[{t}] = textureLoad(dy, dy_at + vec2<u32>(k, {t}u * LANES + lane));
        //# end
        //# for g in 0..GROUPS
        //# for e in 0..8
        sum{g}_{e} += (subgroupShuffle(a[({g}u * 8u + {e}u) / LANES].x, ({g}u * 8u + {e}u) % LANES) * c0
            + subgroupShuffle(a[({g}u * 8u + {e}u) / LANES].y, ({g}u * 8u + {e}u) % LANES) * c1)
            + (subgroupShuffle(a[({g}u * 8u + {e}u) / LANES].z, ({g}u * 8u + {e}u) % LANES) * c2
            + subgroupShuffle(a[({g}u * 8u + {e}u) / LANES].w, ({g}u * 8u + {e}u) % LANES) * c3);
        //# end
        //# end
    }
    let x_at = texture_at(member * min(p.x_stride, 1u), first, p.input_row, p.panels) + vec2<u32>(quad, 0u);
    let out = member * (p.x_stride / 4u) + first * p.input_row + quad;
    //# for g in 0..GROUPS
    var keep{g} = 0u;
    if (MASKED) {
        keep{g} = mask_bits(p, site, key, member, first + {g}u * 8u, quad, valid);
    }
    //# end
    //# for g in 0..GROUPS
    //# for e in 0..8
    {
        var f = vec4<f32>();
        if (ACTIVATION != 0u) {
            f = textureLoad(x, x_at + vec2<u32>(0u, {g}u * 8u + {e}u));
        }
        let d = dense_gradient(sum{g}_{e}, f, kept_bits(keep{g}, {e}u), site.scale);
        if (quad < p.input_quads && first + {g}u * 8u + {e}u < valid) {
            dx[out + ({g}u * 8u + {e}u) * p.input_row] = d;
        }
    }
    //# end
    //# end
}

struct WeightSums {
    rows: array<vec4<f32>, ROWS>,    // of dW: four columns of each
    units: array<vec4<f32>, TILES>,  // of db: the lanes below Q hold four units each
}

// The sums over at most PANEL_ROWS rows of the batch, from `begin` on, for ROWS rows of dW from `first` on.
fn weight_sums(p: Params, member: u32, begin: u32, first: u32, quad: u32, lane: u32) -> WeightSums {
    let rows = min(step.rows - min(step.rows, begin), PANEL_ROWS);
    let dy_at = texture_at(member * min(p.y_stride, 1u), begin, p.output_row, p.panels) + vec2<u32>(first / 4u + lane % Q, 0u);
    let x_at = texture_at(member * min(p.x_stride, 1u), begin, p.input_row, p.panels) + vec2<u32>(quad, 0u);
    // The last row of a texture is never written: it is 0, and stands for the rows past the batch.
    let zero_row = textureDimensions(x).y - 1u;
    var sums = WeightSums();
    for (var k = 0u; k < rows; k += 4u) {
        //# for j in 0..4
        let c{j} = textureLoad(x, vec2<u32>(x_at.x, select(zero_row, k + {j}u, k + {j}u < rows)));
        //# end
        let row = k + lane / Q;
        let row_at = select(zero_row, row, row < rows);
        var a: array<vec4<f32>, TILES>;
        //# for t in 0..TILES
        a[{t}] = textureLoad(dy, vec2<u32>(dy_at.x + {t}u * Q, row_at));
        sums.units[{t}] += a[{t}];
        //# end
        //# for g in 0..GROUPS
        //# for e in 0..8
        {
            let b = a[({g}u * 8u + {e}u) / LANES][{e}u % 4u];
            var sum = sums.rows[{g}u * 8u + {e}u];
            sum += subgroupShuffle(b, ({g}u * 8u + {e}u) % LANES / 4u) * c0;
            sum += subgroupShuffle(b, Q + ({g}u * 8u + {e}u) % LANES / 4u) * c1;
            sum += subgroupShuffle(b, 2u * Q + ({g}u * 8u + {e}u) % LANES / 4u) * c2;
            sum += subgroupShuffle(b, 3u * Q + ({g}u * 8u + {e}u) % LANES / 4u) * c3;
            sums.rows[{g}u * 8u + {e}u] = sum;
        }
        //# end
        //# end
    }
    // Lanes with the same lane % Q hold the sums of every fourth row for the same four units.
    //# for t in 0..TILES
    {
        let s = sums.units[{t}];
        sums.units[{t}] = (s + subgroupShuffle(s, (lane + Q) % LANES))
            + (subgroupShuffle(s, (lane + 2u * Q) % LANES) + subgroupShuffle(s, (lane + 3u * Q) % LANES));
    }
    //# end
    return sums;
}

@compute @workgroup_size(LANES)
fn dense_backward_weight_shuffle(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let p = params;
    let member = member_index(group);
    let split = group.y % p.splits;
    let quad = group.x * LANES + lane;
    let first = group.y / p.splits * ROWS;
    // Here split_rows is PANEL_ROWS: a panel is what a texture has in one piece.
    let sums = weight_sums(p, member, split * PANEL_ROWS, first, quad, lane);
    let base = member * (p.weight_stride / 4u) + split * p.split_quads;
    //# for r in 0..GROUPS*8
    if (quad < p.input_quads && first + {r}u < p.outputs) {
        gradient[base + (first + {r}u) * p.input_row + quad] = sums.rows[{r}];
    }
    //# end
    //# for t in 0..TILES
    if (group.x == 0u && lane < Q && first / 4u + {t}u * Q + lane < p.output_quads) {
        gradient[base + p.bias_at + first / 4u + {t}u * Q + lane] = sums.units[{t}];
    }
    //# end
}

@compute @workgroup_size(LANES)
fn dense_update_shuffle(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let p = params;
    let member = member_index(group);
    let o = optimizer[member];
    let quad = group.x * LANES + lane;
    let first = group.y * ROWS;
    let sums = weight_sums(p, member, 0u, first, quad, lane);
    let base = member * (p.weight_stride / 4u);
    //# for r in 0..GROUPS*8
    if (quad < p.input_quads && first + {r}u < p.outputs) {
        update_at(base + (first + {r}u) * p.input_row + quad, o, sums.rows[{r}]);
    }
    //# end
    //# for t in 0..TILES
    if (group.x == 0u && lane < Q && first / 4u + {t}u * Q + lane < p.output_quads) {
        update_at(base + p.bias_at + first / 4u + {t}u * Q + lane, o, sums.units[{t}]);
    }
    //# end
}
