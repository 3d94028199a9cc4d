// The negative log-likelihood of k targets under normal distributions whose mean and variance are the network's outputs (Nix and
// Weigend 1994; Kendall and Gal, NeurIPS 2017, equation 8), without the constant log(2 pi) / 2.
//
//   mu_c = z_c, s_c = z_(k + c), the logarithm of the variance, for c < k; v_c = max(s_c, LOWEST), d_c = mu_c - t_c
//   loss[i]             = mean over c of (v_c + d_c^2 e^-v_c) / 2
//   correct[i]          = 0
//   dlogits[i, c]       = d_c e^-v_c / (k step.batch_rows), the gradient of the mean over the batch and the targets
//   dlogits[i, k + c]   = (1 - d_c^2 e^-v_c) / (2 k step.batch_rows), and 0 where s_c < LOWEST
//
// e^20 is 4.9e8, so that nothing overflows while |d| is below 8e14, and a square of the gradient neither. Upwards e^-s goes to 0.
//
// The entry point that ends in _forward, for evaluation, leaves the gradient out.
// z, dlogits: [rows, 2 k], targets: [rows of the data set, k], the same for all members. Rows are padded to a multiple of four
// columns; the padding of dlogits is 0. Dispatch: one invocation per row; z is the member.

const LOWEST: f32 = -20.0; // network::LEAST_LOG_VARIANCE

struct Params {
    classes: u32,         // outputs, 2 k
    row_stride: u32,      // words from a row of logits to the next
    rows_stride: u32,     // the rest: words from a member to the next
    logits_stride: u32,
    loss_stride: u32,
    correct_stride: u32,
    dlogits_stride: u32,
    targets_row: u32,     // words from a row of targets to the next
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<storage, read> targets: array<f32>;
@group(0) @binding(4) var<storage, read> logits: array<f32>;
@group(0) @binding(5) var<storage, read_write> loss: array<f32>;
@group(0) @binding(6) var<storage, read_write> correct: array<u32>;
@group(0) @binding(7) var<storage, read_write> dlogits: array<f32>;

// A comparison with NaN is false, so that a NaN stays; max might lose it.
fn bounded(s: f32) -> f32 {
    return select(s, LOWEST, s < LOWEST);
}

// e^-v.
fn inverse_variance(s: f32) -> f32 {
    return keep_nan_of(s, exp(-bounded(s)));
}

fn target_of(row: u32, p: Params, member: u32) -> u32 {
    return rows[member * p.rows_stride + row] * p.targets_row;
}

fn row_loss(row: u32, p: Params, member: u32) {
    let z = member * p.logits_stride + row * p.row_stride;
    let t = target_of(row, p, member);
    let count = p.classes / 2u;
    var sum = 0.0;
    for (var c = 0u; c < count; c++) {
        let difference = logits[z + c] - targets[t + c];
        let s = logits[z + count + c];
        sum += 0.5 * (bounded(s) + difference * difference * inverse_variance(s));
    }
    loss[member * p.loss_stride + row] = sum / f32(count);
    correct[member * p.correct_stride + row] = 0u;
}

@compute @workgroup_size(WORKGROUP)
fn gaussian_nll(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let count = p.classes / 2u;
    let terms = f32(count) * f32(step.batch_rows);
    let row = linear_index(group, groups, local);
    if (row >= step.rows) {
        return;
    }
    row_loss(row, p, group.z);
    let z = group.z * p.logits_stride + row * p.row_stride;
    let dz = group.z * p.dlogits_stride + row * p.row_stride;
    let t = target_of(row, p, group.z);
    for (var c = 0u; c < count; c++) {
        let difference = logits[z + c] - targets[t + c];
        let s = logits[z + count + c];
        let inverse = inverse_variance(s);
        dlogits[dz + c] = difference * inverse / terms;
        dlogits[dz + count + c] = select(0.5 * (1.0 - difference * difference * inverse) / terms, 0.0, s < LOWEST);
    }
    for (var c = 2u * count; c < (p.classes + 3u) / 4u * 4u; c++) {
        dlogits[dz + c] = 0.0;
    }
}

@compute @workgroup_size(WORKGROUP)
fn gaussian_nll_forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let row = linear_index(group, groups, local);
    if (row >= step.rows) {
        return;
    }
    row_loss(row, p, group.z);
}
