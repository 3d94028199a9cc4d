// Masks as bits, for kernels whose quads of memory are no quads of units; needs lib/dropout.wgsl.

// Bit i: whether unit 4 unit_quad + i is kept, for i below 4. One Philox call.
fn kept_bits(site: Site, key: vec2<u32>, stream_and_site: u32, at: vec2<u32>, unit_quad: u32) -> u32 {
    let bits = select(vec4<u32>(), vec4<u32>(1u, 2u, 4u, 8u), kept_units(site, key, stream_and_site, at, unit_quad));
    return bits.x | bits.y | bits.z | bits.w;
}

// Bit i: whether unit `unit` + i is kept, for i below 4. Two calls where `unit` is no multiple of 4.
fn kept_bits_from(site: Site, key: vec2<u32>, stream_and_site: u32, at: vec2<u32>, unit: u32) -> u32 {
    var bits = kept_bits(site, key, stream_and_site, at, unit / 4u);
    if ((unit & 3u) != 0u) {
        bits |= kept_bits(site, key, stream_and_site, at, unit / 4u + 1u) << 4u;
    }
    return (bits >> (unit & 3u)) & 15u;
}
