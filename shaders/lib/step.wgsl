// What changes from step to step, sections of one row of the step table; the host side is src/step.rs.
// MEMBERS is put in front of every module by src/kernels.rs: how many networks one dispatch serves (dispatch z).

struct Step {
    rows: u32,      // valid rows of the batch; the last batch of an epoch may have fewer than the buffers hold
    position: u32,  // where the batch begins in the order of the epoch
    epoch: u32,     // which order
    slot: u32,      // where the metrics of this epoch are added up
    batch_rows: u32,   // rows of the whole batch, over which the gradient is a mean: rows, unless gradients are accumulated
    accumulated: u32,  // rows of the batch whose gradients are accumulated already; 0 begins a batch
    window: u32,       // where the batch begins in the window of a streamed data set, in rows
    pad0: u32,
    keys: array<vec4<u32>, MEMBERS>,  // .xy = the Philox key of each member
}

struct Site {
    threshold: u32,  // keep <=> keep_all or word < threshold
    keep_all: u32,   // 1 where T = 2^32
    scale: f32,      // of a kept unit: 1 / keep_prob, or 1 for vanilla dropout
    pass_number: u32,
}

// The member of a workgroup. A plan of one member has a constant here: lavapipe loads from a constant place once, but from one
// that may differ, lane by lane, which made the dropout kernels 40 % slower.
fn member_index(group: vec3<u32>) -> u32 {
    return select(group.z, 0u, MEMBERS == 1u);
}
