// The gradient of the rate of concrete dropout, and its regulariser (Gal, Hron and Kendall, NeurIPS 2017, equations 3 and 4, as
// in the authors' code):
//
//   R = weight_regularizer S / (1 - p) + entropy_regularizer (p log p + (1 - p) log(1 - p))
//   concrete_finish:  dlogit = sum of partials + dR/dc
//   concrete_decay:   dw += dR/dw = 2 weight_regularizer w / (1 - p)
//
// c is the logit, p = sigmoid(c), see lib/concrete.wgsl; S is the sum of squares of what is regularised: the weight of the layer
// behind the site, as 64 partial sums of gradient_norm over it (gradients.wgsl). entropy_regularizer is
// the paper's dropout_regularizer times K, the units of the site. In closed form, with 1 / (1 - p) = 1 + e^c,
//   dR/dc = weight_regularizer S e^c + entropy_regularizer c p (1 - p)
//
// The regulariser counts once for each batch: where gradients are accumulated over its parts, in the first of them.
// Where the logit is past its limit, what would drive it further is left out, so that it can only come back.
// Dispatch: concrete_finish one workgroup, concrete_decay one invocation per quad of w; z is the member. dlogit: a row of one
// element; the rest of its quad is written as 0.

struct Params {
    partials: u32,          // how many partial sums of dlogit
    squares: u32,           // and of S
    weight_regularizer: f32,
    entropy_regularizer: f32,
    quads: u32,             // of w and of dw
    logit_stride: u32,      // words from one member to the next
    partials_stride: u32,
    squares_stride: u32,
    dlogit_stride: u32,
    w_stride: u32,
    dw_stride: u32,
    pad0: u32,
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> logit: array<vec4<f32>>;

@group(0) @binding(3) var<storage, read> partials: array<f32>;
@group(0) @binding(4) var<storage, read> squares: array<f32>;
@group(0) @binding(5) var<storage, read_write> dlogit: array<vec4<f32>>;

@group(0) @binding(3) var<storage, read> w: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dw: array<vec4<f32>>;

var<workgroup> sums: array<vec2<f32>, WORKGROUP>;

// The order of the additions is fixed: each invocation adds every WORKGROUP-th partial sum, one adds up theirs.
@compute @workgroup_size(WORKGROUP)
fn concrete_finish(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let first = step.accumulated == 0u;
    let member = member_index(group);
    let given = logit[member * (p.logit_stride / 4u)].x;
    var own = vec2<f32>();
    for (var i = local; i < p.partials; i += WORKGROUP) {
        own.x += partials[member * p.partials_stride + i];
    }
    for (var i = local; i < p.squares; i += WORKGROUP) {
        own.y += squares[member * p.squares_stride + i];
    }
    sums[local] = own;
    workgroupBarrier();
    if (local == 0u) {
        var sum = sums[0];
        for (var i = 1u; i < WORKGROUP; i++) {
            sum += sums[i];
        }
        let rate = rate_of(given);
        let weights = (p.weight_regularizer * sum.y) * rate.odds;
        let entropy = (p.entropy_regularizer * rate.logit) * (rate.drop / rate.inverse);
        let slope = select(sum.x, sum.x + (weights + entropy), first);
        // An optimizer goes against the gradient.
        let further = (given > LOGIT_LIMIT && slope < 0.0) || (given < -LOGIT_LIMIT && slope > 0.0);
        let held = keep_nan_of(given, select(slope, 0.0, further));
        dlogit[member * (p.dlogit_stride / 4u)] = vec4<f32>(held, 0.0, 0.0, 0.0);
    }
}

@compute @workgroup_size(WORKGROUP)
fn concrete_decay(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let first = step.accumulated == 0u;
    let member = member_index(group);
    let factor = (2.0 * p.weight_regularizer) * rate_of(logit[member * (p.logit_stride / 4u)].x).inverse;
    let i = linear_index(group, groups, local);
    if (i >= p.quads || !first) {
        return;
    }
    let at = member * (p.dw_stride / 4u) + i;
    dw[at] = dw[at] + factor * w[member * (p.w_stride / 4u) + i];
}
