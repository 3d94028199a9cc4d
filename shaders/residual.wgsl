// Residual blocks: the sum of branch and skip, and blocks whose branch runs only for the samples that keep it (stochastic depth).
//
//   add:          y = a + b
//   path_gather:  compact[j pixels + q, :] = factor x[n pixels + q, :] of the samples n that are kept, j = position_rows[n]
//   path_samples: kept_samples[j] = samples[n]
//   path_add:     y[n pixels + q, :] = skip[n pixels + q, :] + (n is dropped ? 0 : factor branch[j pixels + q, :])
//
// factor is the site's scale where SCALED, a constant put in front of the module, is 1, else 1. With y = skip + scale branch(x):
//
//   forward    x of the kept by path_gather, 1; y by path_add, scale
//   backward   the gradient of the branch's output by path_gather from dy, scale; dx by path_add from dy and the branch's dx, 1
//
// position_rows: for each sample of the batch its place among the kept ones, or DROPPED; by member, in the step table.
// Matrices: [rows, columns], rows padded with zeros to whole quads, a_row, b_row and y_row quads apart. add takes step.rows rows;
// of the others each of the step.rows samples has `pixels` rows, and the matrix of the branch is compact: without those of
// dropped samples. Select, don't multiply: the branch of a dropped sample is not read, not even a NaN.
// Dispatch: one invocation per quad of the whole matrices; z is the member.

struct Params {
    a_row: u32,           // of a, skip or x
    b_row: u32,           // of b or branch
    y_row: u32,           // of y or compact
    a_stride: u32,
    b_stride: u32,
    y_stride: u32,
    list_stride: u32,     // words from one member's list to the next
    by_quads: Division,   // ceil(columns / 4)
    by_pixels: Division,  // rows of a sample
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> sites: array<Site, MEMBERS>;
@group(0) @binding(3) var<storage, read> position_rows: array<u32>;

@group(0) @binding(4) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> y: array<vec4<f32>>;

@group(0) @binding(4) var<storage, read> skip: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> branch: array<vec4<f32>>;

@group(0) @binding(4) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> compact: array<vec4<f32>>;

@group(0) @binding(2) var<storage, read> positions: array<u32>;
@group(0) @binding(4) var<storage, read> samples: array<u32>;
@group(0) @binding(6) var<storage, read_write> kept_samples: array<u32>;

const DROPPED = 0xffffffffu;

// Row of the whole matrix, the same row in the compact one or DROPPED, and quad.
fn place_of(i: u32, member: u32, p: Params) -> vec3<u32> {
    let row = quotient(i, p.by_quads);
    let sample = quotient(row, p.by_pixels);
    let position = position_rows[member * p.list_stride + sample];
    let kept_row = (position - sample) * p.by_pixels.divisor + row;
    return vec3<u32>(row, select(kept_row, DROPPED, position == DROPPED), i - row * p.by_quads.divisor);
}

fn scaled(v: vec4<f32>, scale: f32) -> vec4<f32> {
    if (SCALED == 1u) {
        return v * scale;
    }
    return v;
}

@compute @workgroup_size(WORKGROUP)
fn add(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let i = linear_index(group, groups, local);
    if (i >= step.rows * p.by_quads.divisor) {
        return;
    }
    let row = quotient(i, p.by_quads);
    let quad = i - row * p.by_quads.divisor;
    let left = a[member * (p.a_stride / 4u) + row * p.a_row + quad];
    y[member * (p.y_stride / 4u) + row * p.y_row + quad] = left + b[member * (p.b_stride / 4u) + row * p.b_row + quad];
}

@compute @workgroup_size(WORKGROUP)
fn path_gather(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let scale = sites[member].scale;
    let i = linear_index(group, groups, local);
    if (i >= step.rows * p.by_pixels.divisor * p.by_quads.divisor) {
        return;
    }
    let place = place_of(i, member, p);
    if (place.y == DROPPED) {
        return;
    }
    let v = x[member * (p.a_stride / 4u) + place.x * p.a_row + place.z];
    compact[member * (p.y_stride / 4u) + place.y * p.y_row + place.z] = scaled(v, scale);
}

@compute @workgroup_size(WORKGROUP)
fn path_add(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let scale = sites[member].scale;
    let i = linear_index(group, groups, local);
    if (i >= step.rows * p.by_pixels.divisor * p.by_quads.divisor) {
        return;
    }
    let place = place_of(i, member, p);
    var sum = skip[member * (p.a_stride / 4u) + place.x * p.a_row + place.z];
    if (place.y != DROPPED) {
        sum += scaled(branch[member * (p.b_stride / 4u) + place.y * p.b_row + place.z], scale);
    }
    y[member * (p.y_stride / 4u) + place.x * p.y_row + place.z] = sum;
}

@compute @workgroup_size(WORKGROUP)
fn path_samples(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let i = linear_index(group, groups, local);
    if (i >= step.rows) {
        return;
    }
    let position = positions[member * p.list_stride + i];
    if (position != DROPPED) {
        kept_samples[member * p.y_stride + position] = samples[member * p.a_stride + i];
    }
}
