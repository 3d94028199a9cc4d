// Losses against numbers, one for every output z_c of a row; t_c is its target.
//
//   loss[i]       = mean over c of l(z_c, t_c)
//   dlogits[i, c] = l'(z_c, t_c) / (outputs step.batch_rows), the gradient of the mean over the batch and the outputs
//
//   binary_cross_entropy   l = max(z, 0) - z t + log(1 + e^-|z|)      l' = sigmoid(z) - t
//                          correct[i] = 1 where every output has z > 0 exactly where t > 1/2
//   squared_error          l = (z - t)^2                              l' = 2 (z - t)
//                          correct[i] = 0
//
// With MIXUP, a constant put in front of the module, a row has two targets t and u: lambda l(z, t) + (1 - lambda) l(z, u), the gradient
// likewise, and t is the one to hit. rows then has four words a row, see mixup.wgsl.
// The entry points that end in _forward, for evaluation, leave the gradient out.
// z, dlogits: [rows, outputs], targets: [rows of the data set, outputs], the same for all members. Rows are padded to a multiple
// of four columns; the padding of dlogits is 0. Dispatch: one invocation per row; z is the member.

struct Params {
    classes: u32,         // outputs
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

// log(1 + e) for e in [0, 1] as 2 artanh(s), s = e / (2 + e) <= 1/3. The series is right to the last bits for every e, where
// WGSL's log is off by up to 2^-21 of 1, which is all of the loss of a row that the network is sure of.
fn log_one_plus(e: f32) -> f32 {
    let s = e / (2.0 + e);
    let q = s * s;
    let tail = 1.0 / 7.0 + q * (1.0 / 9.0 + q * (1.0 / 11.0 + q / 13.0));
    return 2.0 * s * (1.0 + q * (1.0 / 3.0 + q * (1.0 / 5.0 + q * tail)));
}

fn sigmoid(z: f32) -> f32 {
    let e = exp(-abs(z));
    return select(e, 1.0, z >= 0.0) / (1.0 + e);
}

// Where the targets of a row lie, and the share of the first.
struct Goal {
    first: u32,
    second: u32,
    share: f32,
}

fn goal_of(row: u32, p: Params, member: u32) -> Goal {
    if (MIXUP == 1u) {
        let at = member * p.rows_stride + 4u * row;
        return Goal(rows[at] * p.targets_row, rows[at + 1u] * p.targets_row, bitcast<f32>(rows[at + 2u]));
    }
    let at = rows[member * p.rows_stride + row] * p.targets_row;
    return Goal(at, at, 1.0);
}

// lambda t_c + (1 - lambda) u_c: both gradients are linear in the target, and so is binary cross-entropy.
fn wanted(goal: Goal, c: u32) -> f32 {
    let t = targets[goal.first + c];
    if (MIXUP == 1u) {
        return goal.share * t + (1.0 - goal.share) * targets[goal.second + c];
    }
    return t;
}

fn squares(logit: f32, goal: Goal, c: u32) -> f32 {
    let difference = logit - targets[goal.first + c];
    if (MIXUP == 1u) {
        let other = logit - targets[goal.second + c];
        return goal.share * (difference * difference) + (1.0 - goal.share) * (other * other);
    }
    return difference * difference;
}

fn binary_row_loss(row: u32, p: Params, member: u32) {
    let z = member * p.logits_stride + row * p.row_stride;
    let goal = goal_of(row, p, member);
    var sum = 0.0;
    var right = true;
    for (var quad = 0u; 4u * quad < p.classes; quad++) {
        //# for j in 0..4
        if (4u * quad + {j}u < p.classes) {
            let c = 4u * quad + {j}u;
            let logit = logits[z + c];
            sum += max(logit, 0.0) - logit * wanted(goal, c) + log_one_plus(exp(-abs(logit)));
            right = right && (logit > 0.0) == (targets[goal.first + c] > 0.5);
        }
        //# end
    }
    loss[member * p.loss_stride + row] = sum / f32(p.classes);
    correct[member * p.correct_stride + row] = select(0u, 1u, right);
}

fn squared_row_loss(row: u32, p: Params, member: u32) {
    let z = member * p.logits_stride + row * p.row_stride;
    let goal = goal_of(row, p, member);
    var sum = 0.0;
    for (var quad = 0u; 4u * quad < p.classes; quad++) {
        //# for j in 0..4
        if (4u * quad + {j}u < p.classes) {
            sum += squares(logits[z + 4u * quad + {j}u], goal, 4u * quad + {j}u);
        }
        //# end
    }
    loss[member * p.loss_stride + row] = sum / f32(p.classes);
    correct[member * p.correct_stride + row] = 0u;
}

@compute @workgroup_size(WORKGROUP)
fn binary_cross_entropy(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let count = f32(p.classes) * f32(step.batch_rows);
    let row = linear_index(group, groups, local);
    if (row >= step.rows) {
        return;
    }
    binary_row_loss(row, p, group.z);
    let z = group.z * p.logits_stride + row * p.row_stride;
    let dz = group.z * p.dlogits_stride + row * p.row_stride;
    let goal = goal_of(row, p, group.z);
    for (var quad = 0u; 4u * quad < p.classes; quad++) {
        //# for j in 0..4
        {
            let c = 4u * quad + {j}u;
            dlogits[dz + c] = select(0.0, (sigmoid(logits[z + c]) - wanted(goal, c)) / count, c < p.classes);
        }
        //# end
    }
}

@compute @workgroup_size(WORKGROUP)
fn binary_cross_entropy_forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let row = linear_index(group, groups, local);
    if (row >= step.rows) {
        return;
    }
    binary_row_loss(row, p, group.z);
}

@compute @workgroup_size(WORKGROUP)
fn squared_error(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let count = f32(p.classes) * f32(step.batch_rows);
    let row = linear_index(group, groups, local);
    if (row >= step.rows) {
        return;
    }
    squared_row_loss(row, p, group.z);
    let z = group.z * p.logits_stride + row * p.row_stride;
    let dz = group.z * p.dlogits_stride + row * p.row_stride;
    let goal = goal_of(row, p, group.z);
    for (var quad = 0u; 4u * quad < p.classes; quad++) {
        //# for j in 0..4
        {
            let c = 4u * quad + {j}u;
            dlogits[dz + c] = select(0.0, 2.0 * (logits[z + c] - wanted(goal, c)) / count, c < p.classes);
        }
        //# end
    }
}

@compute @workgroup_size(WORKGROUP)
fn squared_error_forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let row = linear_index(group, groups, local);
    if (row >= step.rows) {
        return;
    }
    squared_row_loss(row, p, group.z);
}
