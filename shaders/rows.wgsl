// Which rows of the data set make up the batch.
//
//   rows[i]    = row at position step.position + i in the order of step.epoch (shuffled), or that position itself
//   samples[i] = ids[rows[i]], the sample coordinate of the mask contract
//
// The shuffle is the cycle-walking Feistel network of the mask contract (rng::Shuffle). It ends for every position: it
// walks along a cycle of a permutation of 0 .. 2^(2 half_bits) that contains the position itself.
// Dispatch: one invocation per row of the batch; z is the member.

struct Params {
    rows: u32,       // rows of the data set
    half_bits: u32,  // bits of one Feistel half
    shuffled: u32,   // 0: in the order of the file
    rows_stride: u32,
    samples_stride: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> ids: array<u32>;
@group(0) @binding(3) var<storage, read_write> rows: array<u32>;
@group(0) @binding(4) var<storage, read_write> samples: array<u32>;

const SHUFFLE = 3u << 24u;  // stream 3, site 0

fn shuffled_row(position: u32, p: Params, epoch: u32, key: vec2<u32>) -> u32 {
    let h = p.half_bits;
    let mask = (1u << h) - 1u;
    var x = position;
    loop {
        var left = x >> h;
        var right = x & mask;
        for (var round = 0u; round < 8u; round++) {
            let f = philox4x32_10(vec4<u32>(right, round, epoch, SHUFFLE), key).x & mask;
            let swapped = left ^ f;
            left = right;
            right = swapped;
        }
        x = (left << h) | right;
        if (x < p.rows) {
            break;
        }
    }
    return x;
}

@compute @workgroup_size(WORKGROUP)
fn batch_rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = linear_index(group, groups, local);
    let p = params;
    let key = step.keys[group.z].xy;
    let epoch = step.epoch;
    var row = step.position + i;
    if (i >= step.rows) {
        return;
    }
    if (p.shuffled == 1u) {
        row = shuffled_row(row, p, epoch, key);
    }
    rows[group.z * p.rows_stride + i] = row;
    samples[group.z * p.samples_stride + i] = ids[row];
}
