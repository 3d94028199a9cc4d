// Adds a batch to the running sums of its epoch, so that the host reads a few words now and then.
//
//   losses[slot] (+)= sum of loss[i],  hits[slot] (+)= sum of correct[i],  over the valid rows; the epoch's first batch overwrites
//
// The order of the additions is fixed. Dispatch: one workgroup; z is the member.

struct Params {
    loss_stride: u32,
    correct_stride: u32,
    losses_stride: u32,
    hits_stride: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> loss: array<f32>;
@group(0) @binding(3) var<storage, read> correct: array<u32>;
@group(0) @binding(4) var<storage, read_write> losses: array<f32>;
@group(0) @binding(5) var<storage, read_write> hits: array<u32>;

var<workgroup> partial_loss: array<f32, WORKGROUP>;
var<workgroup> partial_hits: array<u32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn metrics(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let valid = step.rows;
    let position = step.position;
    let at_loss = group.z * p.losses_stride + step.slot;
    let at_hits = group.z * p.hits_stride + step.slot;
    var sum = 0.0;
    var count = 0u;
    for (var i = local; i < valid; i += WORKGROUP) {
        sum += loss[group.z * p.loss_stride + i];
        count += correct[group.z * p.correct_stride + i];
    }
    partial_loss[local] = sum;
    partial_hits[local] = count;
    workgroupBarrier();
    if (local == 0u) {
        for (var i = 1u; i < WORKGROUP; i++) {
            sum += partial_loss[i];
            count += partial_hits[i];
        }
        if (position > 0u) {
            sum += losses[at_loss];
            count += hits[at_hits];
        }
        losses[at_loss] = sum;
        hits[at_hits] = count;
    }
}
