// WGSL lets a device assume that there are no NaNs, and exp of one may be a number; a network that has gone wrong must show.

// y, or x where that is NaN, which its bits say.
fn keep_nan_of(x: f32, y: f32) -> f32 {
    return select(y, x, (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u);
}
