// Batch normalisation (Ioffe and Szegedy, ICML 2015) with the moments of batch_norm_statistics.wgsl.
//
//   xhat = (x - mean) inv, mean = moments[0], inv = moments[1] of the column
//   batch_norm_forward:   y  = f(weight xhat + bias), f by ACTIVATION, a constant put in front (lib/activation.wgsl)
//   batch_norm_backward:  dx = weight inv (dy - dbias / n - xhat dweight / n), n = step.rows, where dy is the gradient with
//                         respect to weight xhat + bias, and mean and inv are those of the batch
//
// dweight and dbias come from norm_gradients.wgsl. x, y, dy, dx: [rows, columns], each with a row length of its own; moments:
// [2, quads] quads; weight, bias: [columns]; gradient: dweight, then dbias bias_at quads later. The padding of the last quad of a
// row is 0, and stays 0 whatever f(0) is.
// Dispatch: one workgroup for each block of columns (lib/columns.wgsl) and BLOCK_ROWS times its rows; z is the member.

const BLOCK_ROWS = 8u; // of an invocation, so that what belongs to a column is loaded once for all of them

struct Params {
    columns: u32,
    quads: u32,        // ceil(columns / 4)
    width_shift: u32,  // see lib/columns.wgsl
    bias_at: u32,      // quads from dweight to dbias
    x_row: u32,        // quads from one row to the next
    y_row: u32,
    dy_row: u32,
    dx_row: u32,
    x_stride: u32,     // words from one member to the next; 0: shared
    y_stride: u32,
    dy_stride: u32,
    dx_stride: u32,
    moments_stride: u32,
    weight_stride: u32,    // of weight and of bias
    gradient_stride: u32,
    pad0: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> moments: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> gradient: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> dx: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP)
fn batch_norm_forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let valid = step.rows;
    let member = member_index(group);
    let quad = block_quad(group.x, local, p.width_shift);
    let lanes = block_lanes(p.width_shift);
    let first = group.y * (lanes * BLOCK_ROWS) + (local >> p.width_shift);
    if (quad >= p.quads || first >= valid) {
        return;
    }
    let of_column = member * (p.moments_stride / 4u) + quad;
    let mean = moments[of_column];
    let scale = weight[member * (p.weight_stride / 4u) + quad] * moments[of_column + p.quads];
    let shift = bias[member * (p.weight_stride / 4u) + quad];
    let inside = in_columns(quad, p.columns);
    let end = min(first + lanes * BLOCK_ROWS, valid);
    var x_at = member * (p.x_stride / 4u) + first * p.x_row + quad;
    var y_at = member * (p.y_stride / 4u) + first * p.y_row + quad;
    for (var row = first; row < end; row += lanes) {
        // The mean is subtracted first: scaled and added to the bias, a large one would cancel all digits of the rest.
        let z = (x[x_at] - mean) * scale + shift;
        y[y_at] = select(vec4<f32>(), activate(ACTIVATION, z), inside);
        x_at += lanes * p.x_row;
        y_at += lanes * p.y_row;
    }
}

@compute @workgroup_size(WORKGROUP)
fn batch_norm_backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let valid = step.rows;
    let member = member_index(group);
    let quad = block_quad(group.x, local, p.width_shift);
    let lanes = block_lanes(p.width_shift);
    let first = group.y * (lanes * BLOCK_ROWS) + (local >> p.width_shift);
    if (quad >= p.quads || first >= valid) {
        return;
    }
    let of_column = member * (p.moments_stride / 4u) + quad;
    let mean = moments[of_column];
    let inverse = moments[of_column + p.quads];
    let scale = weight[member * (p.weight_stride / 4u) + quad] * inverse;
    let sums = member * (p.gradient_stride / 4u) + quad;
    let slope = gradient[sums] / f32(valid);
    let level = gradient[sums + p.bias_at] / f32(valid);
    let inside = in_columns(quad, p.columns);
    let end = min(first + lanes * BLOCK_ROWS, valid);
    var x_at = member * (p.x_stride / 4u) + first * p.x_row + quad;
    var dy_at = member * (p.dy_stride / 4u) + first * p.dy_row + quad;
    var dx_at = member * (p.dx_stride / 4u) + first * p.dx_row + quad;
    for (var row = first; row < end; row += lanes) {
        let xhat = (x[x_at] - mean) * inverse;
        dx[dx_at] = select(vec4<f32>(), scale * ((dy[dy_at] - level) - xhat * slope), inside);
        x_at += lanes * p.x_row;
        dy_at += lanes * p.dy_row;
        dx_at += lanes * p.dx_row;
    }
}
