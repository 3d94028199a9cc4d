// Random words of the units of feature maps, for noise that is more than a mask; needs lib/map_units.wgsl with RUN = 1. How the
// words of a row are addressed is DROPOUT, see lib/dropout.wgsl, of which the rules 1 by pass, 2 by draw, 3 antithetic and
// 7 by batch have words of their own.

// The units of the elements of a quad. What lies past the last column has any.
fn units_of(run: Run, p: MapParams) -> vec4<u32> {
    var units = vec4<u32>();
    if (PIXELS == 1u) {
        units = (vec4<u32>(4u * run.quad) + vec4<u32>(0u, 1u, 2u, 3u)) * p.channel_stride + unit_of(run.first, p);
    } else {
        //# for i in 0..4
        units[{i}] = unit_of(4u * run.first + {i}u, p);
        //# end
    }
    return units;
}

// Which elements of the quad there are.
fn in_quad(run: Run, p: MapParams) -> vec4<bool> {
    return of_quad(columns_of(select(run.first, run.quad, PIXELS == 1u), p), 0u);
}

// Words 4 quad .. 4 quad + 3 at an address. Draws 2j and 2j + 1 of antithetic draws have the same.
fn words_of(quad: u32, p: MapParams, key: vec2<u32>, at: vec2<u32>) -> vec4<u32> {
    let draw = select(at.y, at.y & 0xfffffffeu, DROPOUT == 3u);
    return philox4x32_10(vec4<u32>(quad, at.x, draw, p.stream_and_site), key);
}

// Whether an address is the second of two antithetic draws.
fn is_opposite(at: vec2<u32>) -> bool {
    return DROPOUT == 3u && (at.y & 1u) == 1u;
}
