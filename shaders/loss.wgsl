// Softmax cross-entropy with sparse labels, per row; the logits are shifted by their maximum.
//
//   loss[i]       = log(sum_c e^(z_c - max z)) + max z - z_label
//   correct[i]    = 1 where the first largest logit is the label's
//   dlogits[i, c] = (softmax(z)_c - [c = label]) / step.batch_rows, the gradient of the mean over the batch, of which the rows of
//                   this step may be a part
//
// With MIXUP, a constant put in front of the module, a row has two labels: loss = lambda loss(first) + (1 - lambda) loss(second), the
// gradient likewise, and the first is the one to hit. rows then has four words a row, see mixup.wgsl.
// cross_entropy writes all three; cross_entropy_forward, for evaluation, leaves the gradient out.
// z, dlogits: [rows, classes], rows padded to a multiple of four columns; the padding of dlogits is 0.
// Dispatch: one invocation per row; z is the member.

struct Params {
    classes: u32,
    row_stride: u32,      // words from a row of logits to the next
    rows_stride: u32,     // the rest: words from a member to the next
    logits_stride: u32,
    loss_stride: u32,
    correct_stride: u32,
    dlogits_stride: u32,
    targets_row: u32,     // of targets.wgsl
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<storage, read> labels: array<u32>;
@group(0) @binding(4) var<storage, read> logits: array<f32>;
@group(0) @binding(5) var<storage, read_write> loss: array<f32>;
@group(0) @binding(6) var<storage, read_write> correct: array<u32>;
@group(0) @binding(7) var<storage, read_write> dlogits: array<f32>;

// The labels of a row and the share of the first.
struct Labels {
    first: u32,
    second: u32,
    share: f32,
}

fn labels_of(row: u32, p: Params, member: u32) -> Labels {
    if (MIXUP == 1u) {
        let at = member * p.rows_stride + 4u * row;
        return Labels(labels[rows[at]], labels[rows[at + 1u]], bitcast<f32>(rows[at + 2u]));
    }
    let label = labels[rows[member * p.rows_stride + row]];
    return Labels(label, label, 1.0);
}

struct Softmax {
    labels: Labels,
    largest: f32,
    sum: f32,  // of e^(z_c - largest)
}

// Writes the row's loss and hit, and returns what its gradient needs.
fn row_loss(row: u32, p: Params, member: u32) -> Softmax {
    let z = member * p.logits_stride + row * p.row_stride;
    let wanted = labels_of(row, p, member);
    var best = 0u;
    var largest = logits[z];
    for (var c = 0u; c < p.classes; c += 4u) {
        //# for j in 0..4
        if (c + {j}u < p.classes && logits[z + c + {j}u] > largest) {
            best = c + {j}u;
            largest = logits[z + best];
        }
        //# end
    }
    var sum = 0.0;
    for (var c = 0u; c < p.classes; c += 4u) {
        //# for j in 0..4
        if (c + {j}u < p.classes) {
            sum += exp(logits[z + c + {j}u] - largest);
        }
        //# end
    }
    var margin = largest - logits[z + wanted.first];
    if (MIXUP == 1u) {
        margin = wanted.share * margin + (1.0 - wanted.share) * (largest - logits[z + wanted.second]);
    }
    loss[member * p.loss_stride + row] = log(sum) + margin;
    correct[member * p.correct_stride + row] = select(0u, 1u, best == wanted.first);
    return Softmax(wanted, largest, sum);
}

@compute @workgroup_size(WORKGROUP)
fn cross_entropy(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let valid = step.rows;
    let batch = f32(step.batch_rows);
    let row = linear_index(group, groups, local);
    if (row >= valid) {
        return;
    }
    let softmax = row_loss(row, p, group.z);
    let z = group.z * p.logits_stride + row * p.row_stride;
    let dz = group.z * p.dlogits_stride + row * p.row_stride;
    for (var quad = 0u; quad < (p.classes + 3u) / 4u; quad++) {
        //# for j in 0..4
        {
            let c = 4u * quad + {j}u;
            let probability = exp(logits[z + c] - softmax.largest) / softmax.sum;
            var wanted = select(0.0, softmax.labels.share, c == softmax.labels.first);
            if (MIXUP == 1u) {
                wanted += select(0.0, 1.0 - softmax.labels.share, c == softmax.labels.second);
            }
            dlogits[dz + c] = select(0.0, (probability - wanted) / batch, c < p.classes);
        }
        //# end
    }
}

@compute @workgroup_size(WORKGROUP)
fn cross_entropy_forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let row = linear_index(group, groups, local);
    if (row >= step.rows) {
        return;
    }
    _ = row_loss(row, p, group.z);
}
