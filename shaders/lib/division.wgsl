// Division by a number that the host knows; needs lib/mul_high.wgsl. Software adapters divide integers lane by lane.

// i / n for every i below 2^31, with the factor and the shift of n: i * factor >> 31 + shift, see src/kernels/dropout.rs.
fn divided(i: u32, factor: u32, shift: u32) -> u32 {
    return mul_high(i << 1u, factor) >> shift;
}
