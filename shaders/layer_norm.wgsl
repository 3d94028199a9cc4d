// Layer normalisation (Ba, Kiros and Hinton 2016), row by row.
//
//   layer_norm_forward:   y  = weight xhat + bias, xhat = (x - mean) inv, inv = 1 / sqrt(variance + epsilon);
//                         moments[row] = mean, inv
//   layer_norm_backward:  dx = inv (g - mean of g - xhat (mean of g xhat)), g = dy weight, means over the columns
//
// dweight and dbias come from norm_gradients.wgsl. The mean is found first, then the squares of the differences from it, and all
// numbers are counted from the first of their row, so that a large mean takes no digits from the variance.
//
// x, y, dy, dx: [rows, columns], each with a row length of its own, zeros in the padding of the last quad; moments: [rows, 2]
// words; weight, bias: [columns].
// The order of the additions is fixed. Dispatch: one workgroup per row, folded past 65,535; z is the member.

struct Params {
    columns: u32,
    quads: u32,     // ceil(columns / 4)
    x_row: u32,     // quads from one row to the next
    y_row: u32,
    dy_row: u32,
    dx_row: u32,
    x_stride: u32,  // words from one member to the next; 0: shared
    y_stride: u32,
    dy_stride: u32,
    dx_stride: u32,
    moments_stride: u32,
    weight_stride: u32,  // of weight and of bias
    epsilon: f32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> bias: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> moments: array<vec2<f32>>;

@group(0) @binding(4) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> stored: array<vec2<f32>>; // moments
@group(0) @binding(6) var<storage, read_write> dx: array<vec4<f32>>;

const RUN = WORKGROUP / 8u;

var<workgroup> lane_sums: array<vec2<f32>, WORKGROUP>;
var<workgroup> run_sums: array<vec2<f32>, 8>;

fn lanes_of(v: vec4<f32>) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}

// The sums over the workgroup: eight invocations add up a run each, and everyone adds up theirs.
fn row_sums(local: u32, of_lane: vec2<f32>) -> vec2<f32> {
    lane_sums[local] = of_lane;
    workgroupBarrier();
    if (local < 8u) {
        var run = lane_sums[RUN * local];
        for (var i = 1u; i < RUN; i++) {
            run += lane_sums[RUN * local + i];
        }
        run_sums[local] = run;
    }
    workgroupBarrier();
    var all = run_sums[0];
    for (var i = 1u; i < 8u; i++) {
        all += run_sums[i];
    }
    return all;
}

@compute @workgroup_size(WORKGROUP)
fn layer_norm_forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let valid = step.rows;
    let member = member_index(group);
    let row = group.y * groups.x + group.x;
    // Workgroups past the last row reach the barriers with nothing to add.
    let quads = select(0u, p.quads, row < valid);
    let x_at = member * (p.x_stride / 4u) + row * p.x_row;
    var origin = vec4<f32>();
    if (row < valid) {
        origin = vec4<f32>(x[x_at].x);
    }
    var sum = vec4<f32>();
    for (var q = local; q < quads; q += WORKGROUP) {
        sum += select(vec4<f32>(), x[x_at + q] - origin, in_columns(q, p.columns));
    }
    let n = f32(p.columns);
    let center = row_sums(local, vec2<f32>(lanes_of(sum), 0.0)).x / n;
    var square = vec4<f32>();
    for (var q = local; q < quads; q += WORKGROUP) {
        let d = select(vec4<f32>(), (x[x_at + q] - origin) - center, in_columns(q, p.columns));
        square += d * d;
    }
    let variance = row_sums(local, vec2<f32>(lanes_of(square), 0.0)).x / n;
    let inverse = keep_nan_of(variance, inverseSqrt(variance + p.epsilon));
    let y_at = member * (p.y_stride / 4u) + row * p.y_row;
    let of_columns = member * (p.weight_stride / 4u);
    for (var q = local; q < quads; q += WORKGROUP) {
        let z = ((x[x_at + q] - origin) - center) * inverse * weight[of_columns + q] + bias[of_columns + q];
        y[y_at + q] = select(vec4<f32>(), z, in_columns(q, p.columns));
    }
    if (local == 0u && row < valid) {
        moments[member * (p.moments_stride / 2u) + row] = vec2<f32>(origin.x + center, inverse);
    }
}

@compute @workgroup_size(WORKGROUP)
fn layer_norm_backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let valid = step.rows;
    let member = member_index(group);
    let row = group.y * groups.x + group.x;
    let quads = select(0u, p.quads, row < valid);
    let x_at = member * (p.x_stride / 4u) + row * p.x_row;
    let dy_at = member * (p.dy_stride / 4u) + row * p.dy_row;
    let of_columns = member * (p.weight_stride / 4u);
    var of_row = vec2<f32>();
    if (row < valid) {
        of_row = stored[member * (p.moments_stride / 2u) + row];
    }
    var level = vec4<f32>();
    var slope = vec4<f32>();
    for (var q = local; q < quads; q += WORKGROUP) {
        let g = dy[dy_at + q] * weight[of_columns + q];
        level += g;
        slope += g * ((x[x_at + q] - of_row.x) * of_row.y);
    }
    let means = row_sums(local, vec2<f32>(lanes_of(level), lanes_of(slope))) / f32(p.columns);
    let dx_at = member * (p.dx_stride / 4u) + row * p.dx_row;
    for (var q = local; q < quads; q += WORKGROUP) {
        let g = dy[dy_at + q] * weight[of_columns + q];
        let xhat = (x[x_at + q] - of_row.x) * of_row.y;
        dx[dx_at + q] = select(vec4<f32>(), of_row.y * ((g - means.x) - xhat * means.y), in_columns(q, p.columns));
    }
}
