// The mask of inverted and vanilla dropout, drawn where it is needed; needs lib/step.wgsl and lib/philox.wgsl.

// Which of the units 4 unit_quad .. 4 unit_quad + 3 of a sample are kept: one Philox call for the four.
fn kept_units(site: Site, key: vec2<u32>, stream_and_site: u32, sample: u32, unit_quad: u32) -> vec4<bool> {
    let words = philox4x32_10(vec4<u32>(unit_quad, sample, site.pass_number, stream_and_site), key);
    return vec4<bool>(site.keep_all == 1u) | (words < vec4<u32>(site.threshold));
}

// Select, don't multiply: a dropped NaN or infinity becomes 0.
fn drop_units(x: vec4<f32>, keep: vec4<bool>, scale: f32) -> vec4<f32> {
    return select(vec4<f32>(), x * scale, keep);
}
