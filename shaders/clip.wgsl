// Clips the norm of all gradients together, as torch.nn.utils.clip_grad_norm_:
//
//   norm = sqrt(sum of partials);  dw *= clip_norm / (norm + 1e-6) where that is below 1
//
// A gradient that is not clipped keeps its bits. A norm that is NaN makes every gradient NaN, as in PyTorch.
// dw: [words], partials: [partials], a multiple of four. Each invocation adds up all partials in the same order, so that no
// kernel has to do it in between, and then takes several quads. Dispatch: any number of workgroups; z is the member.

struct Params {
    quads: u32,
    partials: u32,
    dw_stride: u32,
    sum_stride: u32,  // of partials
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> optimizer: array<OptimizerStep, MEMBERS>;
@group(0) @binding(2) var<storage, read> partials: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dw: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP)
fn clip_gradient(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let limit = optimizer[group.z].clip_norm;
    var total = vec4<f32>();
    for (var i = 0u; i < p.partials / 4u; i++) {
        total += partials[group.z * (p.sum_stride / 4u) + i];
    }
    let norm = sqrt((total.x + total.y) + (total.z + total.w)) + 1e-6;
    // A norm past the largest f32 is none either: factor 0 would end the training without a word.
    let nan = (bitcast<u32>(norm) & 0x7fffffffu) >= 0x7f800000u;
    if (limit < norm || nan) {
        let factor = select(limit / norm, norm, nan);
        let base = group.z * (p.dw_stride / 4u);
        let invocations = groups.x * groups.y * WORKGROUP;
        for (var i = linear_index(group, groups, local); i < p.quads; i += invocations) {
            dw[base + i] *= factor;
        }
    }
}
