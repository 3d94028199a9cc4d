// Gradients of all weights at once: accumulation over the parts of a batch, and their norm.
//
//   accumulate_gradients:  sum = (step.accumulated = 0 ? 0 : sum) + dw
//   gradient_norm:         partials[g] = sum of dw^2 over the g-th of PARTIALS equal ranges of quads
//
// dw, sum: [words], partials: [PARTIALS]. The first part of a batch overwrites the sum, NaN and all.
// Dispatch: accumulate_gradients one invocation per quad, gradient_norm one workgroup per range; z is the member.

const PARTIALS = 64u;

struct Params {
    quads: u32,
    partials: u32,    // of clip.wgsl
    dw_stride: u32,
    sum_stride: u32,  // of sum, or of partials
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> dw: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> sum: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> partials: array<f32>;

var<workgroup> squares: array<f32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn accumulate_gradients(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let first = step.accumulated == 0u;
    let i = linear_index(group, groups, local);
    if (i >= p.quads) {
        return;
    }
    let at = group.z * (p.sum_stride / 4u) + i;
    let d = dw[group.z * (p.dw_stride / 4u) + i];
    sum[at] = select(sum[at] + d, d, first);
}

// The order of the additions is fixed: each invocation adds every WORKGROUP-th quad of the range, one adds up theirs.
@compute @workgroup_size(WORKGROUP)
fn gradient_norm(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let range = (p.quads + PARTIALS - 1u) / PARTIALS;
    let end = min((group.x + 1u) * range, p.quads);
    let base = group.z * (p.dw_stride / 4u);
    var total = vec4<f32>();
    for (var i = group.x * range + local; i < end; i += WORKGROUP) {
        let d = dw[base + i];
        total += d * d;
    }
    squares[local] = (total.x + total.y) + (total.z + total.w);
    workgroupBarrier();
    if (local == 0u) {
        var all = squares[0];
        for (var i = 1u; i < WORKGROUP; i++) {
            all += squares[i];
        }
        partials[group.z * p.sum_stride + group.x] = all;
    }
}
