// The mask of dropout, drawn where it is needed; needs lib/step.wgsl, lib/mul_high.wgsl, lib/philox.wgsl and a binding `samples`.
// The host side is src/mask_rule.rs.
//
// DROPOUT, a constant put in front of the module, is how the mask of a row is drawn; 0: there is none.
//
//   1  by pass          word < T, words at (unit, sample, pass): samples[row] is the sample; the pass is one for all rows
//   2  by draw          the same, with a pass for each row, the draw: samples[2 row], samples[2 row + 1] are sample and draw
//   3  antithetic       the same, with the words of draw 2j for draws 2j and 2j + 1, complemented in the latter
//   4  Latin hypercube  floor((pi(draw) 2^32 + word) / D) < T, pi a permutation of the D draws, another for each unit and sample
//   5  every mask       bit `unit` of the draw, counted from the site's first
//   6  all              of a thinned layer, whose dropped units are not there
//   7  by batch         as 1 with sample 0 for all rows: samples[row] is not read

// Where the mask of a row is addressed: sample, and pass or draw. `base` is where its member's list begins.
fn mask_address(base: u32, row: u32, site: Site) -> vec2<u32> {
    if (DROPOUT == 6u) {
        return vec2<u32>();
    }
    if (DROPOUT == 7u) {
        return vec2<u32>(0u, site.pass_number);
    }
    if (DROPOUT < 2u) {
        return vec2<u32>(samples[base + row], site.pass_number);
    }
    return vec2<u32>(samples[base + 2u * row], samples[base + 2u * row + 1u]);
}

// Which of the units 4 unit_quad .. 4 unit_quad + 3 are kept: one Philox call for the four, two for a Latin hypercube.
fn kept_units(site: Site, key: vec2<u32>, stream_and_site: u32, at: vec2<u32>, unit_quad: u32) -> vec4<bool> {
    if (DROPOUT == 6u) {
        return vec4<bool>(true);
    }
    if (DROPOUT == 5u) {
        let bits = vec4<u32>(at.y) >> ((vec4<u32>(site.pass_number + 4u * unit_quad) + vec4<u32>(0u, 1u, 2u, 3u)) & vec4<u32>(31u));
        return (bits & vec4<u32>(1u)) == vec4<u32>(1u);
    }
    let draw = select(at.y, at.y & 0xfffffffeu, DROPOUT == 3u);
    var words = philox4x32_10(vec4<u32>(unit_quad, at.x, draw, stream_and_site), key);
    if (DROPOUT == 3u) {
        words ^= vec4<u32>(0u - (at.y & 1u));
    }
    if (DROPOUT == 4u) {
        // stratum 2^32 + word < T D; the host has put T D into keep_all (its upper half) and threshold.
        let seeds = philox4x32_10(vec4<u32>(unit_quad, at.x, 0u, LATIN_HYPERCUBE | (stream_and_site & 0xffffffu)), key);
        let strata = strata_of(at.y, site.pass_number, seeds);
        let upper = vec4<u32>(site.keep_all);
        return (strata < upper) | ((strata == upper) & (words < vec4<u32>(site.threshold)));
    }
    return vec4<bool>(site.keep_all == 1u) | (words < vec4<u32>(site.threshold));
}

const LATIN_HYPERCUBE = 8u << 24u;  // stream 8

// The place of `draw` in four permutations of 0 .. draws, one for each seed: a Feistel network of four rounds that walks along
// its cycle until it is below `draws`, then a rotation, which makes each place equally likely for a uniform seed.
fn strata_of(draw: u32, draws: u32, seeds: vec4<u32>) -> vec4<u32> {
    let h = (33u - countLeadingZeros(max(draws, 2u) - 1u)) >> 1u;
    let mask = vec4<u32>((1u << h) - 1u);
    var x = vec4<u32>(draw);
    var walking = vec4<bool>(true);
    while (any(walking)) {
        var left = x >> vec4<u32>(h);
        var right = x & mask;
        for (var round = 0u; round < 4u; round++) {
            let swapped = left ^ (mixed(right + (round << 16u), seeds) & mask);
            left = right;
            right = swapped;
        }
        x = select(x, (left << vec4<u32>(h)) | right, walking);
        walking = x >= vec4<u32>(draws);
    }
    let turned = mixed(vec4<u32>(4u << 16u), seeds);
    let turn = vec4<u32>(mul_high(turned.x, draws), mul_high(turned.y, draws), mul_high(turned.z, draws), mul_high(turned.w, draws));
    let sum = x + turn;
    return select(sum, sum - vec4<u32>(draws), sum >= vec4<u32>(draws));
}

// A word that depends on all bits of a place and a seed: two rounds of multiplication and shift, see src/mask_rule.rs.
fn mixed(place: vec4<u32>, seeds: vec4<u32>) -> vec4<u32> {
    var m = (place * vec4<u32>(0x9e3779b1u)) ^ seeds;
    m ^= m >> vec4<u32>(16u);
    m *= vec4<u32>(0x21f0aaadu);
    m ^= m >> vec4<u32>(15u);
    m *= vec4<u32>(0x735a2d97u);
    return m ^ (m >> vec4<u32>(15u));
}

// Select, don't multiply: a dropped NaN or infinity becomes 0.
fn drop_units(x: vec4<f32>, keep: vec4<bool>, scale: f32) -> vec4<f32> {
    return select(vec4<f32>(), x * scale, keep);
}
