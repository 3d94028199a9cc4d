// Philox words as they are, for known answers.
//
//   words[i] = philox4x32-10(counters[i], (keys[i].x, keys[i].y))
//
// Dispatch: one invocation per counter.

struct Params {
    len: u32,  // number of counters
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> counters: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> keys: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read_write> words: array<vec4<u32>>;

@compute @workgroup_size(WORKGROUP)
fn philox_words(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = linear_index(group, groups, local);
    if (i >= params.len) {
        return;
    }
    words[i] = philox4x32_10(counters[i], keys[i]);
}
