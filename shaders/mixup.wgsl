// The partner of every row of a batch and the share of the row itself; see src/data/augmentation.rs.
//
//   words        = philox4x32-10((0, samples[i], step.epoch, 4 << 24 | 1), key)
//   partners[i]  = words.x rows >> 32, a row of the data set
//   m            = q[k] + ((q[k + 1] - q[k]) f >> 32),  k = words.y >> 23,  f = words.y << 9,  q[512] = 2^31: a quantile in units of 2^-32
//   mix[i]       = (rows[i], partners[i], bits of 1 - (m >> 8) 2^-24, ids[partners[i]])
//
// All of it is in whole numbers but the last conversion, which is exact, so that the shares are the same bits everywhere.
// Dispatch: one invocation per row of the batch; z is the member.

struct Params {
    rows: u32,  // rows of the data set
    rows_stride: u32,
    samples_stride: u32,
    partners_stride: u32,
    mix_stride: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
    quantiles: array<u32, 512>,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<storage, read> samples: array<u32>;
@group(0) @binding(4) var<storage, read> ids: array<u32>;
@group(0) @binding(5) var<storage, read_write> partners: array<u32>;
@group(0) @binding(6) var<storage, read_write> mix: array<vec4<u32>>;

const PAIRS = (4u << 24u) | 1u;  // stream 4, site 1

@compute @workgroup_size(WORKGROUP)
fn mixup_partners(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = linear_index(group, groups, local);
    let count = params.rows;
    let key = step.keys[group.z].xy;
    let epoch = step.epoch;
    if (i >= step.rows) {
        return;
    }
    let words = philox4x32_10(vec4<u32>(0u, samples[group.z * params.samples_stride + i], epoch, PAIRS), key);
    let partner = mul_high(words.x, count);
    let knot = words.y >> 23u;
    let below = params.quantiles[knot];
    let above = select(params.quantiles[min(knot + 1u, 511u)], 0x80000000u, knot == 511u);
    let smaller = below + mul_high(above - below, words.y << 9u);
    let share = 1.0 - f32(smaller >> 8u) * 5.9604644775390625e-8;
    partners[group.z * params.partners_stride + i] = partner;
    let row = rows[group.z * params.rows_stride + i];
    mix[group.z * (params.mix_stride / 4u) + i] = vec4<u32>(row, partner, bitcast<u32>(share), ids[partner]);
}
