// Optimizers over a range of the weights of all layers at once; semantics of torch.optim.
// weight_decay is the coupled L2 term, for every parameter: g = dw + weight_decay w.
//
//   sgd:   v = momentum v + g;  w -= learning_rate v
//   adam:  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
//          w -= learning_rate m / (sqrt(v) / root_bias2 + epsilon)                    (Kingma and Ba, ICLR 2015)
//          where learning_rate is already divided by 1 - beta1^t, and root_bias2 = sqrt(1 - beta2^t)
//
// w, dw, m, v: [words]. Padding has gradient 0 and stays 0. Dispatch: one invocation per quad; z is the member.

struct OptimizerStep {
    learning_rate: f32,
    weight_decay: f32,
    beta1: f32,  // momentum of sgd
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    root_bias2: f32,
    epsilon: f32,
    decoupled_decay: f32,
    nesterov: u32,
    clip_norm: f32,
    max_norm: f32,
}

struct Params {
    quads: u32,
    stride: u32,
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> optimizer: array<OptimizerStep, MEMBERS>;
@group(0) @binding(2) var<storage, read> dw: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> w: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> m: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> v: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP)
fn sgd(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let o = optimizer[group.z];
    let i = linear_index(group, groups, local);
    if (i >= p.quads) {
        return;
    }
    let at = group.z * (p.stride / 4u) + i;
    let g = dw[at] + o.weight_decay * w[at];
    let velocity = o.beta1 * m[at] + g;
    m[at] = velocity;
    w[at] -= o.learning_rate * velocity;
}

@compute @workgroup_size(WORKGROUP)
fn adam(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let o = optimizer[group.z];
    let i = linear_index(group, groups, local);
    if (i >= p.quads) {
        return;
    }
    let at = group.z * (p.stride / 4u) + i;
    let g = dw[at] + o.weight_decay * w[at];
    let first = o.beta1 * m[at] + o.one_minus_beta1 * g;
    let second = o.beta2 * v[at] + o.one_minus_beta2 * (g * g);
    m[at] = first;
    v[at] = second;
    w[at] -= o.learning_rate * first / (sqrt(second) / o.root_bias2 + o.epsilon);
}
