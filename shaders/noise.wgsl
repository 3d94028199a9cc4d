// Noise in place of inverted dropout, on the units of lib/map_units.wgsl. No noise is stored: backward draws it again.
//
//   gaussian_noise:  y = x (1 + sigma n)                                                    Srivastava et al. (2014), section 10
//     n = normal of words 2u and 2u + 1 of unit u, see rng.rs;  sigma = sqrt((1 - p) / p) is the site's scale. The derivative is
//     the factor itself: backward is the same kernel over dy and dx. At sigma = 0, y = x. The second of two antithetic draws has
//     -n of the first; by rule 6, all, n = 0. Latin hypercubes and lists of every mask are of masks, not of noise.
//   alpha_dropout:   y = a (keep ? x : alpha') + b                                         Klambauer et al. (2017), section 3
//     alpha' = -lambda alpha of SELU, q = the share of kept units, a = 1 / sqrt(q + alpha'^2 q (1 - q)), the site's scale, and
//     b = -a (1 - q) alpha', so that x of mean 0 and variance 1 leaves y so. Written out, y = a (x - alpha' (1 - q)) where a unit
//     is kept and a alpha' q elsewhere; q is the threshold of the step row over 2^32, which is right to 2^-23. At q = 1, y = x;
//     at q = 0 the scale is 0, and so is y. Backward is map_dropout_backward: dx = keep ? a dy : 0.
//
// Select, don't multiply: of a dropped NaN or infinity alpha' is left.
// Dispatch: gaussian_noise one invocation per quad (RUN = 1), alpha_dropout as map_dropout.wgsl; z is the member.

@group(0) @binding(0) var<storage, read> params: MapParams;
@group(0) @binding(1) var<storage, read> step: Step;
@group(0) @binding(2) var<storage, read> sites: array<Site, MEMBERS>;
@group(0) @binding(3) var<storage, read> samples: array<u32>;
@group(0) @binding(4) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;

// The normal numbers of a quad. Two units share a Philox call.
fn noise_of(run: Run, p: MapParams, site: Site, key: vec2<u32>, member: u32) -> vec4<f32> {
    if (DROPOUT == 6u) {
        return vec4<f32>();
    }
    let at = mask_address(member * p.samples_stride, run.sample, site);
    let units = units_of(run, p);
    var first = vec4<u32>();
    var second = vec4<u32>();
    var drawn = 0xffffffffu;  // no pair of units
    var words = vec4<u32>();
    //# for i in 0..4
    if (units[{i}] >> 1u != drawn) {
        drawn = units[{i}] >> 1u;
        words = words_of(drawn, p, key, at);
    }
    first[{i}] = select(words.x, words.z, (units[{i}] & 1u) == 1u);
    second[{i}] = select(words.y, words.w, (units[{i}] & 1u) == 1u);
    //# end
    let n = normals(first, second);
    return select(n, -n, is_opposite(at));
}

@compute @workgroup_size(WORKGROUP)
fn gaussian_noise(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let site = sites[member];
    let key = step.keys[member].xy;
    let i = linear_index(group, groups, local);
    if (i >= step.rows * p.runs * p.quads) {
        return;
    }
    let run = run_of(i, p);
    let factor = 1.0 + site.scale * noise_of(run, p, site, key, member);
    let value = x[member * (p.in_stride / 4u) + run.source] * factor;
    y[member * (p.out_stride / 4u) + run.destination] = select(vec4<f32>(), value, in_quad(run, p));
}

const ALPHA = 1.7580993408473766;  // -alpha'

// The shares of kept and of dropped units. The threshold of a Latin hypercube of D draws is D times that of the others.
fn shares(site: Site) -> vec2<f32> {
    let whole = select(1u, site.pass_number, DROPOUT == 4u);
    let fraction = f32(site.threshold) * 2.3283064365386963e-10;  // 2^-32
    return vec2<f32>(f32(site.keep_all) + fraction, f32(whole - site.keep_all) - fraction) / f32(whole);
}

@compute @workgroup_size(WORKGROUP)
fn alpha_dropout(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let p = params;
    let member = member_index(group);
    let site = sites[member];
    let key = step.keys[member].xy;
    let i = linear_index(group, groups, local);
    if (i >= step.rows * p.runs * p.quads) {
        return;
    }
    let share = shares(site);
    let dropped = vec4<f32>(0.0 - site.scale * (ALPHA * share.x));
    let run = run_of(i, p);
    let kept = kept_of(run, p, site, key, member);
    let from_row = select(1u, p.in_row, PIXELS == 1u);
    let to_row = select(1u, p.out_row, PIXELS == 1u);
    for (var k = 0u; k < run.count; k++) {
        let value = site.scale * (x[member * (p.in_stride / 4u) + run.source + k * from_row] + ALPHA * share.y);
        let inside = of_quad(columns_of(select(run.first + k, run.quad, PIXELS == 1u), p), 0u);
        let of_units = select(dropped, value, of_quad(kept, k));
        y[member * (p.out_stride / 4u) + run.destination + k * to_row] = select(vec4<f32>(), of_units, inside);
    }
}
