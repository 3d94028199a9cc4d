// DropConnect (Wan et al., ICML 2013): weights are dropped, not units. No mask is stored.
//
//   unit(o, i)            = o inputs + i of W [outputs, inputs]
//   drop_weights          V = keep ? W scale : 0, one mask for all rows of the step
//   drop_weight_gradient  dW = keep ? dV scale : 0, in place
//   drop_connect_rows     y[n, o] = sum over i of (keep ? W[o, i] scale : 0) x[n, i] + b[o], a mask for each row n: Monte-Carlo draws
//   drop_connect_gaussian y[n, o] = sum over i of W[o, i] x[n, i] + b[o] + sigma sqrt(sum over i of (W[o, i] x[n, i])^2) z
//
// The last draws from the normal distribution with the mean and the variance that y has over all masks (Wan et al., section
// 3.2): z = normal of words 2 o and 2 o + 1, see rng.rs; sigma = sqrt((1 - p) / p) is the site's scale, which the host rounds
// once. Of two antithetic draws the second has z negated. Where a square is beyond f32, |W x| above 1.8e19, y is not finite.
//
// W, V, dW: rows of `row` quads, padded with zeros; b lies bias_at quads behind W. x: [rows, inputs], x_row quads; y: [rows, outputs],
// y_row quads, written up to output_quads, 0 past the last output.
// Select, don't multiply: a dropped NaN or infinity becomes 0.
// Dispatch: drop_weights, drop_weight_gradient one invocation per quad of a row of W; drop_connect_rows, drop_connect_gaussian
// one per four outputs of a row of x; z is the member.

struct Params {
    inputs: u32,
    outputs: u32,
    quads: u32,             // ceil(inputs / 4)
    quads_factor: u32,      // see lib/division.wgsl
    quads_shift: u32,
    output_quads: u32,      // ceil(outputs / 4)
    output_factor: u32,
    output_shift: u32,
    row: u32,               // quads from one row of W to the next
    x_row: u32,
    y_row: u32,
    bias_at: u32,
    stream_and_site: u32,
    samples_stride: u32,
    weight_stride: u32,     // words from one member to the next: of W and V, or of dW
    dropped_stride: u32,    // of V
    x_stride: u32,
    y_stride: u32,
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> sites: array<Site, MEMBERS>;
@group(0) @binding(3) var<storage, read> samples: array<u32>;
@group(0) @binding(4) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dropped: array<vec4<f32>>;

@group(0) @binding(4) var<storage, read_write> gradient: array<vec4<f32>>;

@group(0) @binding(5) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> y: array<vec4<f32>>;

// Which of the four weights from column 4 quad on are kept.
fn kept_weights(row: u32, quad: u32, p: Params, site: Site, key: vec2<u32>, at: vec2<u32>) -> vec4<bool> {
    let bits = kept_bits_from(site, key, p.stream_and_site, at, row * p.inputs + 4u * quad);
    return (vec4<u32>(bits) & vec4<u32>(1u, 2u, 4u, 8u)) != vec4<u32>();
}

@compute @workgroup_size(WORKGROUP)
fn drop_weights(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let site = sites[member];
    let key = step.keys[member].xy;
    let i = linear_index(group, groups, local);
    if (i >= p.outputs * p.quads) {
        return;
    }
    let row = divided(i, p.quads_factor, p.quads_shift);
    let quad = i - row * p.quads;
    let kept = kept_weights(row, quad, p, site, key, mask_address(member * p.samples_stride, 0u, site));
    let value = weight[member * (p.weight_stride / 4u) + row * p.row + quad];
    dropped[member * (p.dropped_stride / 4u) + row * p.row + quad] = drop_units(value, kept, site.scale);
}

@compute @workgroup_size(WORKGROUP)
fn drop_weight_gradient(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let site = sites[member];
    let key = step.keys[member].xy;
    let i = linear_index(group, groups, local);
    if (i >= p.outputs * p.quads) {
        return;
    }
    let row = divided(i, p.quads_factor, p.quads_shift);
    let quad = i - row * p.quads;
    let kept = kept_weights(row, quad, p, site, key, mask_address(member * p.samples_stride, 0u, site));
    let at = member * (p.weight_stride / 4u) + row * p.row + quad;
    gradient[at] = drop_units(gradient[at], kept, site.scale);
}

@compute @workgroup_size(WORKGROUP)
fn drop_connect_rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let site = sites[member];
    let key = step.keys[member].xy;
    let i = linear_index(group, groups, local);
    if (i >= step.rows * p.output_quads) {
        return;
    }
    let row = divided(i, p.output_factor, p.output_shift);
    let output_quad = i - row * p.output_quads;
    let at = mask_address(member * p.samples_stride, row, site);
    let weights = member * (p.weight_stride / 4u);
    let x_at = member * (p.x_stride / 4u) + row * p.x_row;
    var sums = vec4<f32>();
    for (var e = 0u; e < 4u; e++) {
        let output = 4u * output_quad + e;
        if (output < p.outputs) {
            var sum = 0.0;
            for (var quad = 0u; quad < p.quads; quad++) {
                let kept = kept_weights(output, quad, p, site, key, at);
                sum += dot(drop_units(weight[weights + output * p.row + quad], kept, site.scale), x[x_at + quad]);
            }
            sums = select(sums, sum + weight[weights + p.bias_at + output_quad], is_lane(e));
        }
    }
    y[member * (p.y_stride / 4u) + row * p.y_row + output_quad] = sums;
}

// The normal numbers of outputs 4 output_quad .. 4 output_quad + 3: two Philox calls.
fn normals_of(output_quad: u32, p: Params, key: vec2<u32>, at: vec2<u32>) -> vec4<f32> {
    let draw = select(at.y, at.y & 0xfffffffeu, DROPOUT == 3u);
    let lower = philox4x32_10(vec4<u32>(2u * output_quad, at.x, draw, p.stream_and_site), key);
    let upper = philox4x32_10(vec4<u32>(2u * output_quad + 1u, at.x, draw, p.stream_and_site), key);
    let n = normals(vec4<u32>(lower.xz, upper.xz), vec4<u32>(lower.yw, upper.yw));
    return select(n, -n, DROPOUT == 3u && (at.y & 1u) == 1u);
}

@compute @workgroup_size(WORKGROUP)
fn drop_connect_gaussian(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let site = sites[member];
    let key = step.keys[member].xy;
    let i = linear_index(group, groups, local);
    if (i >= step.rows * p.output_quads) {
        return;
    }
    let row = divided(i, p.output_factor, p.output_shift);
    let output_quad = i - row * p.output_quads;
    let at = mask_address(member * p.samples_stride, row, site);
    let weights = member * (p.weight_stride / 4u);
    let x_at = member * (p.x_stride / 4u) + row * p.x_row;
    // Outputs past the last one take its row, because there is none of theirs; they are set to 0 below.
    let outputs = min(vec4<u32>(4u * output_quad) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(p.outputs - 1u));
    let first = vec4<u32>(weights) + outputs * p.row;
    var mean = vec4<f32>();
    var squares = vec4<f32>();
    for (var quad = 0u; quad < p.quads; quad++) {
        let of_x = x[x_at + quad];
        //# for e in 0..4
        let product_{e} = weight[first[{e}] + quad] * of_x;
        mean[{e}] += (product_{e}.x + product_{e}.y) + (product_{e}.z + product_{e}.w);
        squares[{e}] += dot(product_{e}, product_{e});
        //# end
    }
    mean += weight[weights + p.bias_at + output_quad];
    let value = mean + site.scale * sqrt(squares) * normals_of(output_quad, p, key, at);
    let inside = vec4<u32>(4u * output_quad) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.outputs);
    y[member * (p.y_stride / 4u) + row * p.y_row + output_quad] = select(vec4<f32>(), value, inside);
}
