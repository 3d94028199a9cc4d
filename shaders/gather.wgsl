// Copies the rows of the batch out of the resident data set.
//
//   gather_u8:   x[i, :] = f32(bytes[rows[i], :]) * scale
//   gather_f32:  x[i, :] = values[rows[i], :]
//
// Rows are padded with zeros to a multiple of four columns. Dispatch: one invocation per quad of columns; z is the member.

struct Params {
    quads: u32,  // quads of columns of a row
    scale: f32,
    rows_stride: u32,
    x_stride: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<storage, read> bytes: array<u32>;
@group(0) @binding(3) var<storage, read> values: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> x: array<vec4<f32>>;

// Where quad i of the batch comes from, in quads of the data set.
fn source(i: u32, p: Params, member: u32) -> u32 {
    return rows[member * p.rows_stride + i / p.quads] * p.quads + i % p.quads;
}

@compute @workgroup_size(WORKGROUP)
fn gather_u8(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = linear_index(group, groups, local);
    let p = params;
    if (i >= step.rows * p.quads) {
        return;
    }
    x[group.z * (p.x_stride / 4u) + i] = vec4<f32>(unpack4xU8(bytes[source(i, p, group.z)])) * p.scale;
}

@compute @workgroup_size(WORKGROUP)
fn gather_f32(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = linear_index(group, groups, local);
    let p = params;
    if (i >= step.rows * p.quads) {
        return;
    }
    x[group.z * (p.x_stride / 4u) + i] = values[source(i, p, group.z)];
}
