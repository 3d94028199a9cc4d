// Concrete dropout (Gal, Hron and Kendall, NeurIPS 2017): a relaxed mask, smooth in the drop probability p, which is learned; on
// the units of lib/map_units.wgsl. No mask is stored: what follows y draws it again.
//
//   p = sigmoid(c), c the logit, held as in lib/concrete.wgsl;  u = uniform of the unit's word, see rng.rs;  t the temperature
//   z = sigmoid((log p - log(1 - p) + log u - log(1 - u)) / t) = sigmoid((c + log u - log(1 - u)) / t)
//   concrete_forward:   y = x (1 - z) / (1 - p)
//   concrete_gradient:  partials[g] = sum of dy dy/dc over the elements of workgroup g
//
// log p - log(1 - p) is c itself, and 1 / (1 - p) is 1 + e^c: nothing cancels at either end. In this form
//   d(1 - z)/dc = -z (1 - z) / t;   d(1 + e^c)/dc = e^c = p (1 + e^c);   so   dy/dc = y (p - z / t)
// and dx = dy (1 - z) / (1 - p) is concrete_forward over dy and dx. concrete_regularizer.wgsl adds up the partial sums.
//
// The second of two antithetic draws has 1 - u for u. There is no Latin hypercube, no list of every mask and no thinned layer of
// relaxed masks. Rows past the valid ones add 0, so that all partial sums are written in every step.
// Dispatch: one invocation per quad (RUN = 1); z is the member.

struct Params {
    map: MapParams,       // of concrete_gradient: `in` is x, `out` is dy
    logit_stride: u32,
    partials_stride: u32,
    partials: u32,        // how many: one for each workgroup over all rows there is room for
    inverse_temperature: f32,  // 1 / t
}

@group(0) @binding(0) var<storage, read> params: Params;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> sites: array<Site, MEMBERS>;
@group(0) @binding(3) var<storage, read> samples: array<u32>;
@group(0) @binding(4) var<storage, read> logit: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> partials: array<f32>;

var<workgroup> slopes: array<f32, WORKGROUP>;

// 1 - z and z of a quad, each with its own relative accuracy.
struct Relaxed {
    kept: vec4<f32>,
    dropped: vec4<f32>,
}

fn relaxed_of(run: Run, p: MapParams, site: Site, key: vec2<u32>, member: u32, held: f32, inverse_temperature: f32) -> Relaxed {
    let at = mask_address(member * p.samples_stride, run.sample, site);
    let units = units_of(run, p);
    var own = vec4<u32>();
    var drawn = 0xffffffffu;  // no quad of units
    var words = vec4<u32>();
    //# for i in 0..4
    if (units[{i}] >> 2u != drawn) {
        drawn = units[{i}] >> 2u;
        words = words_of(drawn, p, key, at);
    }
    own[{i}] = words[units[{i}] & 3u];
    //# end
    own = select(own, ~own, is_opposite(at));
    let u = (vec4<f32>(own >> vec4<u32>(9u)) + 0.5) * 1.1920928955078125e-7;  // 2^-23; 1 - u is exact
    // Past 80 the smaller of z and 1 - z is 0 to the last bit, but e^s overflows above 88.
    let s = clamp((held + (log(u) - log(1.0 - u))) * inverse_temperature, vec4<f32>(-80.0), vec4<f32>(80.0));
    let odds = exp(s);
    let kept = 1.0 / (1.0 + odds);
    return Relaxed(kept, odds * kept);
}

@compute @workgroup_size(WORKGROUP)
fn concrete_forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let all = params;
    let p = all.map;
    let member = member_index(group);
    let site = sites[member];
    let key = step.keys[member].xy;
    let rate = rate_of(logit[member * (params.logit_stride / 4u)].x);
    let i = linear_index(group, groups, local);
    if (i >= step.rows * p.runs * p.quads) {
        return;
    }
    let run = run_of(i, p);
    let factor = relaxed_of(run, p, site, key, member, rate.logit, all.inverse_temperature).kept * rate.inverse;
    let value = x[member * (p.in_stride / 4u) + run.source] * factor;
    y[member * (p.out_stride / 4u) + run.destination] = select(vec4<f32>(), value, in_quad(run, p));
}

@compute @workgroup_size(WORKGROUP)
fn concrete_gradient(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let all = params;
    let p = all.map;
    let member = member_index(group);
    let site = sites[member];
    let key = step.keys[member].xy;
    let rate = rate_of(logit[member * (all.logit_stride / 4u)].x);
    let i = linear_index(group, groups, local);
    var slope = vec4<f32>();
    if (i < step.rows * p.runs * p.quads) {
        let run = run_of(i, p);
        let relaxed = relaxed_of(run, p, site, key, member, rate.logit, all.inverse_temperature);
        let value = x[member * (p.in_stride / 4u) + run.source] * (relaxed.kept * rate.inverse);
        let d = dy[member * (p.out_stride / 4u) + run.destination];
        slope = d * (value * (rate.drop - relaxed.dropped * all.inverse_temperature));
        slope = select(vec4<f32>(), slope, in_quad(run, p));
    }
    slopes[local] = (slope.x + slope.y) + (slope.z + slope.w);
    workgroupBarrier();
    let g = group.y * groups.x + group.x;
    if (local == 0u && g < all.partials) {
        var sum = slopes[0];
        for (var j = 1u; j < WORKGROUP; j++) {
            sum += slopes[j];
        }
        partials[member * all.partials_stride + g] = sum;
    }
}
