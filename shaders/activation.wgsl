// Activations, element by element.
//
//   activation_forward:   y = f(y), in place
//   activation_backward:  dx = dy f'(x), with the derivative taken from the output y = f(x)
//
//   kind 1  ReLU     y = max(x, 0)         y' = 1 where y > 0, else 0
//   kind 2  tanh     y = tanh(x)           y' = 1 - y^2
//   kind 3  sigmoid  y = 1 / (1 + e^-x)    y' = y (1 - y)
//
// y, dy, dx: [rows, units], rows padded to a multiple of four columns; the padding stays 0 whatever f(0) is.
// CONTRACT: activation_backward consumes dy. Guard: tests/gradients.rs, whose upstream gradients are never ones.
// Dispatch: one invocation per quad of columns; z is the member.

struct Params {
    kind: u32,
    units: u32,
    quads: u32,
    y_stride: u32,
    dy_stride: u32,
    dx_stride: u32,
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> output: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dx: array<vec4<f32>>;

// Drivers return NaN for tanh past 89; beyond 15 it is 1 in f32.
fn bounded_tanh(x: vec4<f32>) -> vec4<f32> {
    return tanh(clamp(x, vec4<f32>(-15.0), vec4<f32>(15.0)));
}

// e^-x overflows below -88; the quotient is 0 to the last bit long before.
fn sigmoid(x: vec4<f32>) -> vec4<f32> {
    return 1.0 / (1.0 + exp(-clamp(x, vec4<f32>(-80.0), vec4<f32>(80.0))));
}

// clamp and max hide NaN on some drivers; a NaN that comes in must go out, or a broken network looks healthy.
fn keep_nan(x: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
    return select(y, x, (bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u));
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
    let at = group.z * (p.y_stride / 4u) + i;
    let x = y[at];
    var f = x;
    switch p.kind {
        case 1u: { f = max(x, vec4<f32>()); }
        case 2u: { f = bounded_tanh(x); }
        case 3u: { f = sigmoid(x); }
        default: {}
    }
    y[at] = select(vec4<f32>(), keep_nan(x, f), in_units(i % p.quads, p.units));
}

@compute @workgroup_size(WORKGROUP)
fn activation_backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = linear_index(group, groups, local);
    let p = params;
    if (i >= step.rows * p.quads) {
        return;
    }
    let f = output[group.z * (p.y_stride / 4u) + i];
    let d = dy[group.z * (p.dy_stride / 4u) + i];
    var g = d;
    switch p.kind {
        case 1u: { g = select(vec4<f32>(), d, f > vec4<f32>()); }
        case 2u: { g = d * (1.0 - f * f); }
        case 3u: { g = d * (f * (1.0 - f)); }
        default: {}
    }
    dx[group.z * (p.dx_stride / 4u) + i] = g;
}
