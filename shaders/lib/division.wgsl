// Division by a number that all invocations divide by; needs lib/mul_high.wgsl. Software adapters divide integers lane by lane,
// so it is a product. The host side is src/kernels/division.rs.

struct Division {
    divisor: u32,
    factor: u32,  // i / divisor = i * factor >> 31 + shift for every i below 2^31
    shift: u32,
}

// i / divisor, rounded down.
fn quotient(i: u32, by: Division) -> u32 {
    return divided(i, by.factor, by.shift);
}

fn divided(i: u32, factor: u32, shift: u32) -> u32 {
    return mul_high(i << 1u, factor) >> shift;
}
