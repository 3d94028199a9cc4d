// Mean and variance of the columns of a batch, and the running ones (Ioffe and Szegedy, ICML 2015, algorithms 1 and 2).
//
//   batch_norm_statistics:  partials[p, 0] = mean of x - x[0] over the rows of part p;  partials[p, 1] = sum of (x - mean)^2
//   batch_norm_finish:      moments[0] = mean, moments[1] = 1 / sqrt(variance + epsilon), of n = step.rows rows;
//                           running_mean += momentum (mean - running_mean)
//                           running_var  += momentum (variance n / (n - 1) - running_var), where n > 1
//                           n = 0: moments are 0, nothing else changes
//   batch_norm_moments:     moments[0] = mean, moments[1] = 1 / sqrt(variance + epsilon), of what is stored: for evaluation
//
// Part p is rows p part_rows .. (p + 1) part_rows of the batch; past the last row it is empty, and its partials are 0.
//
// Numbers are counted from the first row, so that a large mean takes no digits from the variance, and an invocation follows mean
// and squares row by row (Welford 1962, in the form of Youngs and Cramer 1971), so that a first row far from the others takes
// none either. What invocations and parts found is merged in a fixed order (Chan, Golub and LeVeque 1983):
//
//   mean = sum of n_i mean_i / n;   squares = sum of squares_i + n_i (mean_i - mean)^2
//
// x: [rows, columns], rows x_row quads apart, zeros in the padding of the last quad. partials: [parts, 2, quads] quads.
// moments: [2, quads] quads, running_mean, running_var: [quads] quads, whose padding is 0.
// Dispatch: statistics one workgroup for each block of columns (lib/columns.wgsl) and part, the others one invocation for each
// quad; z is the member.

struct Params {
    columns: u32,
    quads: u32,           // ceil(columns / 4)
    width_shift: u32,     // see lib/columns.wgsl
    part_rows: u32,
    parts: u32,
    x_row: u32,           // quads from one row to the next
    x_stride: u32,        // words from one member to the next; 0: shared
    partials_stride: u32,
    moments_stride: u32,
    running_stride: u32,  // of the running mean and of the running variance
    epsilon: f32,
    momentum: f32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> partials: array<vec4<f32>>;

@group(0) @binding(3) var<storage, read> parts: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> moments: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> running_mean: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> running_var: array<vec4<f32>>;

@group(0) @binding(1) var<storage, read> mean: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> variance: array<vec4<f32>>;

var<workgroup> lane_means: array<vec4<f32>, WORKGROUP>;
var<workgroup> lane_squares: array<vec4<f32>, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn batch_norm_statistics(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let valid = step.rows;
    let member = member_index(group);
    let quad = block_quad(group.x, local, p.width_shift);
    let lanes = block_lanes(p.width_shift);
    let lane = local >> p.width_shift;
    let first = min(group.y * p.part_rows, valid);
    let end = min(first + p.part_rows, valid);
    let base = member * (p.x_stride / 4u) + quad;
    var lane_mean = vec4<f32>();
    var lane_square = vec4<f32>();
    if (quad < p.quads && first + lane < end) {
        let origin = x[base];
        var at = base + (first + lane) * p.x_row;
        var count = 0.0;
        for (var row = first + lane; row < end; row += lanes) {
            count += 1.0;
            let share = 1.0 / count;
            let delta = (x[at] - origin) - lane_mean;
            lane_mean += delta * share;
            lane_square += delta * delta * (1.0 - share);
            at += lanes * p.x_row;
        }
    }
    lane_means[local] = lane_mean;
    lane_squares[local] = lane_square;
    workgroupBarrier();
    if (lane == 0u && quad < p.quads) {
        let n = end - first;
        let shift = firstTrailingBit(lanes);
        var total = vec4<f32>();
        for (var l = 0u; l < lanes; l++) {
            total += f32((n + lanes - 1u - l) >> shift) * lane_means[(l << p.width_shift) + local];
        }
        let part_mean = total / f32(max(n, 1u));
        var square = vec4<f32>();
        for (var l = 0u; l < lanes; l++) {
            let i = (l << p.width_shift) + local;
            let d = lane_means[i] - part_mean;
            square += lane_squares[i] + f32((n + lanes - 1u - l) >> shift) * (d * d);
        }
        let out = member * (p.partials_stride / 4u) + 2u * group.y * p.quads + quad;
        partials[out] = part_mean;
        partials[out + p.quads] = square;
    }
}

// Rows of part `part`, of `valid` in all.
fn rows_of(part: u32, p: Params, valid: u32) -> f32 {
    let first = min(part * p.part_rows, valid);
    return f32(min(first + p.part_rows, valid) - first);
}

// The padding of moments is 0.
fn store_moments(quad: u32, member: u32, p: Params, center: vec4<f32>, spread: vec4<f32>) {
    let inside = in_columns(quad, p.columns);
    let at = member * (p.moments_stride / 4u) + quad;
    let inverse = keep_nan(spread, inverseSqrt(spread + p.epsilon));
    moments[at] = select(vec4<f32>(), center, inside);
    moments[at + p.quads] = select(vec4<f32>(), inverse, inside);
}

@compute @workgroup_size(WORKGROUP)
fn batch_norm_finish(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let valid = step.rows;
    let member = member_index(group);
    let quad = linear_index(group, groups, local);
    if (quad >= p.quads) {
        return;
    }
    if (valid == 0u) {
        let at = member * (p.moments_stride / 4u) + quad;
        moments[at] = vec4<f32>();
        moments[at + p.quads] = vec4<f32>();
        return;
    }
    let base = member * (p.partials_stride / 4u) + quad;
    var total = vec4<f32>();
    for (var part = 0u; part < p.parts; part++) {
        total += rows_of(part, p, valid) * parts[base + 2u * part * p.quads];
    }
    let n = f32(valid);
    let center = total / n;
    var square = vec4<f32>();
    for (var part = 0u; part < p.parts; part++) {
        let at = base + 2u * part * p.quads;
        let d = parts[at] - center;
        square += parts[at + p.quads] + rows_of(part, p, valid) * (d * d);
    }
    let batch_mean = x[member * (p.x_stride / 4u) + quad] + center;
    store_moments(quad, member, p, batch_mean, square / n);
    let running = member * (p.running_stride / 4u) + quad;
    let old_mean = running_mean[running];
    running_mean[running] = old_mean + p.momentum * (batch_mean - old_mean);
    if (valid > 1u) {
        let old_var = running_var[running];
        running_var[running] = old_var + p.momentum * (square / (n - 1.0) - old_var);
    }
}

@compute @workgroup_size(WORKGROUP)
fn batch_norm_moments(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let quad = linear_index(group, groups, local);
    if (quad >= p.quads) {
        return;
    }
    let running = member * (p.running_stride / 4u) + quad;
    store_moments(quad, member, p, mean[running], variance[running]);
}
