// Partial sums of the gradient of a layer's W and b, added up in their order, so that the result is the same from run to run.
//
//   sum_splits:  gradient[i] = partials[0][i] + partials[1][i] + ...
//
// partials: [splits, words], gradient: [words]. What lies between the rows of W, and between W and b, is left alone: in the partials
// it is whatever another layer has left there, and in the gradient it must stay 0, because norms run over all of it.
// Dispatch: one invocation per quad; z is the member.

struct Params {
    by_row: Division,       // quads from one row of W to the next
    quads: u32,
    input_quads: u32,
    outputs: u32,
    bias_at: u32,           // quads
    output_quads: u32,
    splits: u32,
    partials_stride: u32,   // words from one member to the next
    gradient_stride: u32,
    pad0: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> partials: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> gradient: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP)
fn sum_splits(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let i = linear_index(group, groups, local);
    let row = quotient(i, p.by_row);
    let of_weight = row < p.outputs && i - row * p.by_row.divisor < p.input_quads;
    let of_bias = i >= p.bias_at && i - p.bias_at < p.output_quads;
    if (!(of_weight || of_bias)) {
        return;
    }
    let first = group.z * (p.partials_stride / 4u) + i;
    var sum = partials[first];
    for (var s = 1u; s < p.splits; s++) {
        sum += partials[first + s * p.quads];
    }
    gradient[group.z * (p.gradient_stride / 4u) + i] = sum;
}
