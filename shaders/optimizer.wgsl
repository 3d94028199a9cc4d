// Optimizers over a range of the weights of all layers at once; semantics of torch.optim.
// weight_decay is the coupled L2 term, for every parameter: g = dw + weight_decay w.
//
//   sgd:      v = momentum v + g;  w -= learning_rate v
//             with nesterov = 1: w -= learning_rate (g + momentum v)                  (Sutskever et al., ICML 2013)
//   adam:     m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
//             w -= decoupled_decay w + learning_rate m / (sqrt(v) / root_bias2 + epsilon)   (Kingma and Ba, ICLR 2015)
//             where learning_rate is already divided by 1 - beta1^t, and root_bias2 = sqrt(1 - beta2^t); with
//             weight_decay = 0 and decoupled_decay = learning rate times decay it is AdamW (Loshchilov and Hutter, ICLR 2019)
//   rmsprop:  v = beta2 v + (1 - beta2) g^2;  m = beta1 m + g / (sqrt(v) + epsilon);  w -= learning_rate m
//             (Tieleman and Hinton 2012), where beta1 is the momentum
//
// w, dw, m, v: [words]. Padding has gradient 0 and stays 0. Dispatch: one invocation per quad; z is the member.

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
    let new_weights = sgd_update(o, dw[at], Weights(w[at], m[at], vec4<f32>()));
    w[at] = new_weights.w;
    m[at] = new_weights.m;
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
    let new_weights = adam_update(o, dw[at], Weights(w[at], m[at], v[at]));
    w[at] = new_weights.w;
    m[at] = new_weights.m;
    v[at] = new_weights.v;
}

@compute @workgroup_size(WORKGROUP)
fn rmsprop(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let o = optimizer[group.z];
    let i = linear_index(group, groups, local);
    if (i >= p.quads) {
        return;
    }
    let at = group.z * (p.stride / 4u) + i;
    let new_weights = rmsprop_update(o, dw[at], Weights(w[at], m[at], v[at]));
    w[at] = new_weights.w;
    m[at] = new_weights.m;
    v[at] = new_weights.v;
}
