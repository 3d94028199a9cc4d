// The dense layer for GPUs: see lib/dense.wgsl for the formulas and shapes.
//
// One workgroup of 2 TILE invocations makes TILE rows and TILE columns of the result, DEPTH terms of every sum at a time. Such a
// slice of both operands is copied into workgroup memory, from which every invocation takes rows and columns as vec4; it keeps
// 4 HALVES rows of four columns in registers. What is copied next is loaded before the current slice is multiplied. Every
// invocation of a workgroup reaches every barrier: past an edge, loads are clamped or yield 0, and only stores are left out.
// //# marks loops that src/kernels/unroll.rs unrolls, so that every index of a sum is a constant.
// Dispatch: x over TILE columns, y over TILE rows (of every split in turn); z is the member.
//
// TILE is 64 or 32, HALVES a 32nd of it. How fast these kernels are on hardware has not been measured yet.

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> sites: array<Site, MEMBERS>;
@group(0) @binding(3) var<storage, read> samples: array<u32>;
@group(0) @binding(4) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> gradient: array<vec4<f32>>;   // dW, then db

const QUADS = TILE / 4u;   // of rows, and of columns, of a workgroup's result
const DEPTH = 16u;

// A slice, both operands with the terms of a sum one below the other: quads of rows of the left operand, quads of columns of the
// right one. A row has a quad to spare, which spreads the four rows that neighbours write over more banks.
var<workgroup> left: array<array<vec4<f32>, QUADS + 1u>, DEPTH>;
var<workgroup> right: array<array<vec4<f32>, QUADS + 1u>, DEPTH>;

// The sums of an invocation: row 4 h + e is row 32 h + 4 (local / QUADS) + e of the workgroup's, of column quad local % QUADS.
struct Sums {
    rows: array<vec4<f32>, 4u * HALVES>,
}

// Puts four terms of four rows or columns into the slice: the first TILE invocations hold the left operand, the others the right.
fn put(local: u32, term: u32, quad: u32, block: mat4x4<f32>) {
    if (local < TILE) {
        left[4u * term][quad] = block[0];
        left[4u * term + 1u][quad] = block[1];
        left[4u * term + 2u][quad] = block[2];
        left[4u * term + 3u][quad] = block[3];
    } else {
        right[4u * term][quad] = block[0];
        right[4u * term + 1u][quad] = block[1];
        right[4u * term + 2u][quad] = block[2];
        right[4u * term + 3u][quad] = block[3];
    }
}

// Adds the products of the slice to the sums.
fn add_slice(local: u32, sums: ptr<function, Sums>) {
    let row = local / QUADS;
    let column = local % QUADS;
    //# for k in 0..16
    {
        let b = right[{k}][column];
        //# for h in 0..HALVES
        let a{h} = left[{k}][{h}u * 8u + row];
        (*sums).rows[{h}u * 4u] += a{h}.x * b;
        (*sums).rows[{h}u * 4u + 1u] += a{h}.y * b;
        (*sums).rows[{h}u * 4u + 2u] += a{h}.z * b;
        (*sums).rows[{h}u * 4u + 3u] += a{h}.w * b;
        //# end
    }
    //# end
}

// x and W both run along the sum: neighbours load neighbouring quads of a row, and turn what they loaded.
fn forward_block(p: Params, group: vec3<u32>, local: u32, last_row: u32, slice: u32) -> mat4x4<f32> {
    let member = member_index(group);
    let quad = slice * 4u + local % 4u;
    if (quad >= p.input_quads) {
        return mat4x4<f32>();
    }
    let first = local % TILE / 4u * 4u;
    if (local < TILE) {
        let base = member * (p.x_stride / 4u) + quad;
        let row = group.y * TILE + first;
        return transpose(mat4x4<f32>(
            x[base + min(row, last_row) * p.input_row],
            x[base + min(row + 1u, last_row) * p.input_row],
            x[base + min(row + 2u, last_row) * p.input_row],
            x[base + min(row + 3u, last_row) * p.input_row]));
    }
    let base = member * (p.weight_stride / 4u) + quad;
    let unit = group.x * TILE + first;
    return transpose(mat4x4<f32>(
        weight[base + min(unit, p.outputs - 1u) * p.input_row],
        weight[base + min(unit + 1u, p.outputs - 1u) * p.input_row],
        weight[base + min(unit + 2u, p.outputs - 1u) * p.input_row],
        weight[base + min(unit + 3u, p.outputs - 1u) * p.input_row]));
}

// Four bits of a mask for each of an invocation's rows in a word; a loop, so that Philox is compiled once.
fn mask_bits(p: Params, site: Site, key: vec2<u32>, member: u32, first: u32, quad: u32, valid: u32) -> u32 {
    var bits = 0u;
    for (var r = 0u; r < 4u * HALVES; r++) {
        let row = first + 32u * (r / 4u) + r % 4u;
        if (row < valid) {
            let at = mask_address(member * p.samples_stride, row, site);
            let keep = select(vec4<u32>(), vec4<u32>(1u, 2u, 4u, 8u), kept_units(site, key, p.stream_and_site, at, quad));
            bits |= (keep.x | keep.y | keep.z | keep.w) << (4u * r);
        }
    }
    return bits;
}

@compute @workgroup_size(2u * TILE)
fn dense_forward_tile(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let valid = step.rows;
    let key = step.keys[member].xy;
    let site = sites[member];
    // A workgroup without a valid row has nothing to multiply.
    let slices = select(0u, (p.input_quads + 3u) / 4u, group.y * TILE < valid);
    var sums = Sums();
    var block = forward_block(p, group, local, valid - 1u, 0u);
    for (var slice = 0u; slice < slices; slice++) {
        workgroupBarrier();   // the slice before is used up
        put(local, local % 4u, local % TILE / 4u, block);
        workgroupBarrier();
        block = forward_block(p, group, local, valid - 1u, slice + 1u);
        add_slice(local, &sums);
    }
    let quad = group.x * QUADS + local % QUADS;
    let first = group.y * TILE + 4u * (local / QUADS);
    let b = bias[member * (p.weight_stride / 4u) + min(quad, p.output_quads - 1u)];
    let in_units = in_columns(quad, p.outputs);
    let out = member * (p.y_stride / 4u) + first * p.output_row + quad;
    var keep = 0u;
    if (DROPOUT != 0u) {
        keep = mask_bits(p, site, key, member, first, quad, valid);
    }
    //# for h in 0..HALVES
    //# for e in 0..4
    if (quad < p.output_quads && first + {h}u * 32u + {e}u < valid) {
        let sum = sums.rows[{h}u * 4u + {e}u] + b;
        y[out + ({h}u * 32u + {e}u) * p.output_row] = dense_output(sum, in_units, kept_bits(keep, {h}u * 4u + {e}u), site.scale);
    }
    //# end
    //# end
}

// dy runs along the sum, W across it.
fn input_block(p: Params, group: vec3<u32>, local: u32, last_row: u32, slice: u32) -> mat4x4<f32> {
    let member = member_index(group);
    if (local < TILE) {
        let quad = slice * 4u + local % 4u;
        if (quad >= p.output_quads) {
            return mat4x4<f32>();
        }
        let base = member * (p.y_stride / 4u) + quad;
        let row = group.y * TILE + local / 4u * 4u;
        return transpose(mat4x4<f32>(
            dy[base + min(row, last_row) * p.output_row],
            dy[base + min(row + 1u, last_row) * p.output_row],
            dy[base + min(row + 2u, last_row) * p.output_row],
            dy[base + min(row + 3u, last_row) * p.output_row]));
    }
    let base = member * (p.weight_stride / 4u) + min(group.x * QUADS + local % QUADS, p.input_quads - 1u);
    let unit = slice * DEPTH + (local - TILE) / QUADS * 4u;
    let last = p.outputs - 1u;
    return mat4x4<f32>(
        select(vec4<f32>(), weight[base + min(unit, last) * p.input_row], unit <= last),
        select(vec4<f32>(), weight[base + min(unit + 1u, last) * p.input_row], unit + 1u <= last),
        select(vec4<f32>(), weight[base + min(unit + 2u, last) * p.input_row], unit + 2u <= last),
        select(vec4<f32>(), weight[base + min(unit + 3u, last) * p.input_row], unit + 3u <= last));
}

@compute @workgroup_size(2u * TILE)
fn dense_backward_input_tile(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let valid = step.rows;
    let key = step.keys[member].xy;
    let site = sites[member];
    let slices = select(0u, (p.output_quads + 3u) / 4u, group.y * TILE < valid);
    // Where the invocation's part of a slice goes.
    let t = local % TILE;
    let term = select(t / QUADS, t % 4u, local < TILE);
    let at = select(t % QUADS, t / 4u, local < TILE);
    var sums = Sums();
    var block = input_block(p, group, local, valid - 1u, 0u);
    for (var slice = 0u; slice < slices; slice++) {
        workgroupBarrier();   // the slice before is used up
        put(local, term, at, block);
        workgroupBarrier();
        block = input_block(p, group, local, valid - 1u, slice + 1u);
        add_slice(local, &sums);
    }
    let quad = group.x * QUADS + local % QUADS;
    let first = group.y * TILE + 4u * (local / QUADS);
    let stored = member * (p.stored_stride / 4u) + first * p.input_row + quad;
    let out = member * (p.x_stride / 4u) + first * p.input_row + quad;
    var keep = 0u;
    if (MASKED) {
        keep = mask_bits(p, site, key, member, first, quad, valid);
    }
    //# for h in 0..HALVES
    //# for e in 0..4
    if (quad < p.input_quads && first + {h}u * 32u + {e}u < valid) {
        var f = vec4<f32>();
        if (ACTIVATION != 0u) {
            f = x[stored + ({h}u * 32u + {e}u) * p.input_row];
        }
        let d = dense_gradient(sums.rows[{h}u * 4u + {e}u], f, kept_bits(keep, {h}u * 4u + {e}u), site.scale);
        dx[out + ({h}u * 32u + {e}u) * p.input_row] = d;
    }
    //# end
    //# end
}

// dy and x both run across the sum, which is over the rows from `begin` to below `end` of the batch: what lies past them is
// selected away, as it may be no number.
fn weight_block(p: Params, group: vec3<u32>, local: u32, first: u32, begin: u32, end: u32, last_row: u32) -> mat4x4<f32> {
    let member = member_index(group);
    let row = begin + local % TILE / QUADS * 4u;
    let r0 = min(row, last_row);
    let r1 = min(row + 1u, last_row);
    let r2 = min(row + 2u, last_row);
    let r3 = min(row + 3u, last_row);
    var block: mat4x4<f32>;
    if (local < TILE) {
        let base = member * (p.y_stride / 4u) + min(first / 4u + local % QUADS, p.output_quads - 1u);
        let s = p.output_row;
        block = mat4x4<f32>(dy[base + r0 * s], dy[base + r1 * s], dy[base + r2 * s], dy[base + r3 * s]);
    } else {
        let base = member * (p.x_stride / 4u) + min(group.x * QUADS + local % QUADS, p.input_quads - 1u);
        let s = p.input_row;
        block = mat4x4<f32>(x[base + r0 * s], x[base + r1 * s], x[base + r2 * s], x[base + r3 * s]);
    }
    return mat4x4<f32>(
        select(vec4<f32>(), block[0], row < end),
        select(vec4<f32>(), block[1], row + 1u < end),
        select(vec4<f32>(), block[2], row + 2u < end),
        select(vec4<f32>(), block[3], row + 3u < end));
}

struct WeightSums {
    sums: Sums,         // of dW
    units: vec4<f32>,   // of db: the invocations below QUADS hold four units each
}

// The sums over at most `rows` rows of the batch, from `begin` on, for TILE rows of dW from `first` on.
fn weight_sums(p: Params, group: vec3<u32>, local: u32, first: u32, begin: u32, rows: u32) -> WeightSums {
    let valid = step.rows;
    let end = min(begin + rows, valid);
    let slices = (end - min(begin, end) + DEPTH - 1u) / DEPTH;
    var sums = Sums();
    var units = vec4<f32>();
    var block = weight_block(p, group, local, first, begin, end, valid - 1u);
    for (var slice = 0u; slice < slices; slice++) {
        workgroupBarrier();   // the slice before is used up
        put(local, local % TILE / QUADS, local % QUADS, block);
        workgroupBarrier();
        units += (block[0] + block[1]) + (block[2] + block[3]);
        block = weight_block(p, group, local, first, begin + (slice + 1u) * DEPTH, end, valid - 1u);
        add_slice(local, &sums);
    }
    // Four invocations hold the sums of every fourth quad of rows for the same four units.
    workgroupBarrier();
    if (local < TILE) {
        left[local / QUADS][local % QUADS] = units;
    }
    workgroupBarrier();
    let at = local % QUADS;
    return WeightSums(sums, (left[0][at] + left[1][at]) + (left[2][at] + left[3][at]));
}

@compute @workgroup_size(2u * TILE)
fn dense_backward_weight_tile(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let split = group.y % p.splits;
    let block = group.y / p.splits * TILE;
    let sums = weight_sums(p, group, local, block, split * p.split_rows, p.split_rows);
    let base = member * (p.weight_stride / 4u) + split * p.split_quads;
    let quad = group.x * QUADS + local % QUADS;
    let first = block + 4u * (local / QUADS);
    //# for h in 0..HALVES
    //# for e in 0..4
    if (quad < p.input_quads && first + {h}u * 32u + {e}u < p.outputs) {
        gradient[base + (first + {h}u * 32u + {e}u) * p.input_row + quad] = sums.sums.rows[{h}u * 4u + {e}u];
    }
    //# end
    //# end
    if (group.x == 0u && local < QUADS && block / 4u + local < p.output_quads) {
        gradient[base + p.bias_at + block / 4u + local] = sums.units;
    }
}

@compute @workgroup_size(2u * TILE)
fn dense_update_tile(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let o = optimizer[member];
    let block = group.y * TILE;
    let sums = weight_sums(p, group, local, block, 0u, step.rows);
    let base = member * (p.weight_stride / 4u);
    let quad = group.x * QUADS + local % QUADS;
    let first = block + 4u * (local / QUADS);
    //# for h in 0..HALVES
    //# for e in 0..4
    if (quad < p.input_quads && first + {h}u * 32u + {e}u < p.outputs) {
        update_at(base + (first + {h}u * 32u + {e}u) * p.input_row + quad, o, sums.sums.rows[{h}u * 4u + {e}u]);
    }
    //# end
    //# end
    if (group.x == 0u && local < QUADS && block / 4u + local < p.output_quads) {
        update_at(base + p.bias_at + block / 4u + local, o, sums.units);
    }
}
