// Stores the network's output for a batch at its place among all rows.
//
//   outputs[(step.position + i), :] = y[i, :]
//
// y: [rows, units], rows padded to a multiple of four columns; outputs: the same row stride, all rows of the data set.
// Dispatch: one invocation per quad of columns; z is the member.

struct Params {
    quads: u32,
    y_stride: u32,
    outputs_stride: u32,
    y_row: u32,   // quads from one row of y to the next
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> y: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> outputs: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP)
fn store_output(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let first = step.position * p.quads;
    let i = linear_index(group, groups, local);
    if (i >= step.rows * p.quads) {
        return;
    }
    outputs[group.z * (p.outputs_stride / 4u) + first + i] = y[group.z * (p.y_stride / 4u) + i / p.quads * p.y_row + i % p.quads];
}
