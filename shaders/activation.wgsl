// Activations, element by element.
//
//   activation_forward:   y = f(x)
//   activation_backward:  dx = dy f'(x), with the derivative taken from the output y = f(x)
//
//   kind 1  ReLU        y = max(x, 0)                              y' = 1 where y > 0, else 0
//   kind 2  tanh        y = tanh(x)                                y' = 1 - y^2
//   kind 3  sigmoid     y = 1 / (1 + e^-x)                         y' = y (1 - y)
//   kind 4  leaky ReLU  y = x where x > 0, else 0.01 x             y' = 1 where y > 0, else 0.01
//   kind 5  SELU        y = lambda x where x > 0,                  y' = lambda where y > 0,
//                       else lambda alpha (e^x - 1)                     else y + lambda alpha
//
//   gelu_forward:         y = x s, s = sigmoid(v), v = 2 sqrt(2 / pi) (x + 0.044715 x^3)
//   gelu_backward:        dx = dy (s + x s (1 - s) v'), from the input x: two x have the same y
//
// s is the (1 + tanh(v / 2)) / 2 of the tanh form; as a sigmoid it keeps its relative accuracy where it is close to 0.
//
// x, y, dy, dx: [rows, units], rows padded to a multiple of four columns; the padding stays 0 whatever f(0) is.
// CONTRACT: activation_backward consumes dy. Guard: tests/gradients.rs, whose upstream gradients are never ones.
// Dispatch: one invocation per quad of columns; z is the member.

struct Params {
    kind: u32,
    units: u32,
    quads: u32, // of units
    y_stride: u32,
    dy_stride: u32,
    dx_stride: u32,
    x_stride: u32,
    row: u32,   // quads from one row to the next
    by_quads: Division,
    pad0: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> output: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dx: array<vec4<f32>>;

// GELU is x to the last bit above 10, and 0 below -10, where x s would be infinity times 0 in the end.
fn gelu_bounded(x: vec4<f32>) -> vec4<f32> {
    return clamp(x, vec4<f32>(-10.0), vec4<f32>(10.0));
}

const GELU_1 = 1.5957691216057308;  // 2 sqrt(2 / pi)
const GELU_3 = 0.07135481627260025; // that times 0.044715

fn gelu_share(b: vec4<f32>) -> vec4<f32> {
    return sigmoid(b * (GELU_1 + GELU_3 * (b * b)));
}

// Where quad i of the valid rows lies, from the beginning of a member.
fn place(i: u32, p: Params) -> u32 {
    let row = quotient(i, p.by_quads);
    return row * p.row + (i - row * p.quads);
}

fn in_units(quad: u32, units: u32) -> vec4<bool> {
    return vec4<u32>(4u * quad) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(units);
}

@compute @workgroup_size(WORKGROUP)
fn activation_forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = linear_index(group, groups, local);
    let p = params;
    if (i >= step.rows * p.quads) {
        return;
    }
    let z = x[group.z * (p.x_stride / 4u) + place(i, p)];
    y[group.z * (p.y_stride / 4u) + place(i, p)] = select(vec4<f32>(), activate(p.kind, z), in_units(i - quotient(i, p.by_quads) * p.quads, p.units));
}

@compute @workgroup_size(WORKGROUP)
fn activation_backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = linear_index(group, groups, local);
    let p = params;
    if (i >= step.rows * p.quads) {
        return;
    }
    let at = place(i, p);
    let f = output[group.z * (p.y_stride / 4u) + at];
    let d = dy[group.z * (p.dy_stride / 4u) + at];
    dx[group.z * (p.dx_stride / 4u) + at] = activation_gradient(p.kind, f, d);
}

// The padding of x is 0, and so is GELU of it.
@compute @workgroup_size(WORKGROUP)
fn gelu_forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = linear_index(group, groups, local);
    let p = params;
    if (i >= step.rows * p.quads) {
        return;
    }
    let z = x[group.z * (p.x_stride / 4u) + place(i, p)];
    let f = select(z * gelu_share(gelu_bounded(z)), vec4<f32>(), z < vec4<f32>(-10.0));
    y[group.z * (p.y_stride / 4u) + place(i, p)] = keep_nan(z, f);
}

@compute @workgroup_size(WORKGROUP)
fn gelu_backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = linear_index(group, groups, local);
    let p = params;
    if (i >= step.rows * p.quads) {
        return;
    }
    let z = x[group.z * (p.x_stride / 4u) + place(i, p)];
    let b = gelu_bounded(z);
    let share = gelu_share(b);
    let derivative = share + share * (1.0 - share) * (b * (GELU_1 + 3.0 * GELU_3 * (b * b)));
    dx[group.z * (p.dx_stride / 4u) + place(i, p)] = dy[group.z * (p.dy_stride / 4u) + place(i, p)] * keep_nan(z, derivative);
}
