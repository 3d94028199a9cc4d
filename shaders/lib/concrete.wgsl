// The drop probability of concrete dropout from its logit, which is learned; needs lib/nan.wgsl. The host side is
// src/kernels/concrete.rs.
//
// The logit c in use is held within -12 .. 12, where p is 6e-6 from 0 or from 1: some hundred times the distance between two
// uniform numbers, 2^-23, so that there is still a mask to learn from, and y is at most 1.6e5 x. Beyond, a rate that
// has collapsed would never come back, for its gradient would be 0, and 1 / (1 - p) would overflow.

const LOGIT_LIMIT = 12.0;

struct Rate {
    logit: f32,    // c
    odds: f32,     // e^c = p / (1 - p)
    inverse: f32,  // 1 + e^c = 1 / (1 - p)
    drop: f32,     // p
}

fn rate_of(logit: f32) -> Rate {
    let held = clamp(logit, -LOGIT_LIMIT, LOGIT_LIMIT);
    let odds = exp(held);
    let inverse = 1.0 + odds;
    // clamp may hide a NaN.
    return Rate(held, odds, keep_nan_of(logit, inverse), odds / inverse);
}
