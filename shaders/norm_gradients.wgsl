// The gradients of weight and bias of batch and layer normalisation: sums over the rows of a batch, made in parts.
//
//   xhat = (x - mean) inv, mean and inv of the column (batch_norm_gradients) or of the row (layer_norm_gradients)
//   partials[p, dweight] = sum of dy xhat over the rows of part p;  partials[p, dbias] = sum of dy
//   norm_gradients_finish:  gradient = the sum of all parts, in their order
//
// Part p is rows p part_rows .. (p + 1) part_rows of the batch; past the last row it is empty, and its sums are 0. A part is
// dweight and, bias_at quads later, dbias, and takes 2 bias_at quads: the layout of `gradient`, so that where there is one part
// only, `partials` is the gradient itself and there is nothing to finish.
//
// x, dy: [rows, columns], each with a row length of its own, zeros in the padding of the last quad. moments: [2, quads] quads;
// row_moments: [rows, 2] words. Nothing is written past the used quads; the padding of the last one is 0.
// Dispatch: one workgroup for each block of columns (lib/columns.wgsl) and part; finish one invocation for each quad of dweight
// and of dbias; z is the member.

struct Params {
    columns: u32,
    quads: u32,        // ceil(columns / 4)
    width_shift: u32,  // see lib/columns.wgsl
    part_rows: u32,
    parts: u32,
    bias_at: u32,      // quads from dweight to dbias
    x_row: u32,        // quads from one row to the next
    dy_row: u32,
    x_stride: u32,     // words from one member to the next; 0: shared
    dy_stride: u32,
    moments_stride: u32,
    partials_stride: u32,
    gradient_stride: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> moments: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> row_moments: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read_write> partials: array<vec4<f32>>;

@group(0) @binding(1) var<storage, read> parts: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> gradient: array<vec4<f32>>;

var<workgroup> lane_slopes: array<vec4<f32>, WORKGROUP>;
var<workgroup> lane_levels: array<vec4<f32>, WORKGROUP>;

// The rows of an invocation and where they begin.
struct Rows {
    first: u32,
    end: u32,
    x_at: u32,
    dy_at: u32,
}

fn rows_of(group: vec3<u32>, local: u32, quad: u32, valid: u32, member: u32, p: Params) -> Rows {
    let part = min(group.y * p.part_rows, valid);
    let first = part + (local >> p.width_shift);
    // Past the last quad there are none, but the way to the barrier is the same.
    let end = select(first, min(part + p.part_rows, valid), quad < p.quads);
    let x_at = member * (p.x_stride / 4u) + first * p.x_row + quad;
    let dy_at = member * (p.dy_stride / 4u) + first * p.dy_row + quad;
    return Rows(first, end, x_at, dy_at);
}

// Adds up what the invocations of a quad found, in their order, and stores it.
fn store_sums(group: vec3<u32>, local: u32, quad: u32, member: u32, p: Params, slope: vec4<f32>, level: vec4<f32>) {
    lane_slopes[local] = slope;
    lane_levels[local] = level;
    workgroupBarrier();
    if (local >> p.width_shift == 0u && quad < p.quads) {
        var slopes = vec4<f32>();
        var levels = vec4<f32>();
        for (var i = local; i < WORKGROUP; i += 1u << p.width_shift) {
            slopes += lane_slopes[i];
            levels += lane_levels[i];
        }
        let inside = in_columns(quad, p.columns);
        let out = member * (p.partials_stride / 4u) + 2u * group.y * p.bias_at + quad;
        partials[out] = select(vec4<f32>(), slopes, inside);
        partials[out + p.bias_at] = select(vec4<f32>(), levels, inside);
    }
}

@compute @workgroup_size(WORKGROUP)
fn batch_norm_gradients(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let valid = step.rows;
    let member = member_index(group);
    let quad = block_quad(group.x, local, p.width_shift);
    let lanes = block_lanes(p.width_shift);
    var rows = rows_of(group, local, quad, valid, member, p);
    var slope = vec4<f32>();
    var level = vec4<f32>();
    if (rows.first < rows.end) {
        let of_column = member * (p.moments_stride / 4u) + quad;
        let mean = moments[of_column];
        let inverse = moments[of_column + p.quads];
        for (var row = rows.first; row < rows.end; row += lanes) {
            let d = dy[rows.dy_at];
            slope += d * ((x[rows.x_at] - mean) * inverse);
            level += d;
            rows.x_at += lanes * p.x_row;
            rows.dy_at += lanes * p.dy_row;
        }
    }
    store_sums(group, local, quad, member, p, slope, level);
}

@compute @workgroup_size(WORKGROUP)
fn layer_norm_gradients(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let valid = step.rows;
    let member = member_index(group);
    let quad = block_quad(group.x, local, p.width_shift);
    let lanes = block_lanes(p.width_shift);
    var rows = rows_of(group, local, quad, valid, member, p);
    var slope = vec4<f32>();
    var level = vec4<f32>();
    for (var row = rows.first; row < rows.end; row += lanes) {
        let of_row = row_moments[member * (p.moments_stride / 2u) + row];
        let d = dy[rows.dy_at];
        slope += d * ((x[rows.x_at] - of_row.x) * of_row.y);
        level += d;
        rows.x_at += lanes * p.x_row;
        rows.dy_at += lanes * p.dy_row;
    }
    store_sums(group, local, quad, member, p, slope, level);
}

@compute @workgroup_size(WORKGROUP)
fn norm_gradients_finish(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let i = linear_index(group, groups, local);
    if (i >= 2u * p.quads) {
        return;
    }
    let at = select(i, p.bias_at + i - p.quads, i >= p.quads);
    let base = member * (p.partials_stride / 4u) + at;
    var sum = vec4<f32>();
    for (var part = 0u; part < p.parts; part++) {
        sum += parts[base + 2u * part * p.bias_at];
    }
    gradient[member * (p.gradient_stride / 4u) + at] = sum;
}
