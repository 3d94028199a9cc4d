// Multiplies every element by one factor, in place: what vanilla dropout does in evaluation.
//
//   y = factor y
//
// y: [rows, units], rows padded with zeros to a multiple of four columns. Dispatch: one invocation per quad; z is the member.

struct Params {
    quads: u32,  // of a row
    factor: f32,
    y_stride: u32,
    pad0: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP)
fn scale(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let i = linear_index(group, groups, local);
    if (i >= step.rows * p.quads) {
        return;
    }
    y[group.z * (p.y_stride / 4u) + i] *= p.factor;
}
