// Partial sums of a gradient, added up in their order, so that the result is the same from run to run.
//
//   sum_splits:  gradient[i] = partials[0][i] + partials[1][i] + ...
//
// partials: [splits, words], gradient: [words]. Dispatch: one invocation per quad; z is the member.

struct Params {
    quads: u32,
    splits: u32,
    partials_stride: u32,   // words from one member to the next
    gradient_stride: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> partials: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> gradient: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP)
fn sum_splits(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let i = linear_index(group, groups, local);
    if (i >= p.quads) {
        return;
    }
    let first = group.z * (p.partials_stride / 4u) + i;
    var sum = partials[first];
    for (var s = 1u; s < p.splits; s++) {
        sum += partials[first + s * p.quads];
    }
    gradient[group.z * (p.gradient_stride / 4u) + i] = sum;
}
