//! `shaders/lib/normal.wgsl`: normal numbers as a twin has them, in f64, with how far the device may be from them.

use super::{EPS, FLUSH};
use crate::mask_rule::MaskRule;
use crate::rng;

/// A value and how far the device may be from it.
pub(super) type Near = [f64; 2];

/// WGSL's bound on the error of `log(x)`: 2^-21 in 0.5 .. 2, elsewhere 3 ULP; an ULP is at most 2 EPS.
pub(super) fn log_error(log: f64) -> f64 {
    (0.5f64).powi(21).max(6.0 * EPS * log.abs())
}

/// A normal number, and how far WGSL may be from it: log within 2^-21 or 3 ULP, sqrt within 4.5 ULP (that of inverseSqrt and of a
/// division), cos within 2^-11.
pub(super) fn normal(words: [u32; 2]) -> Near {
    let log = -libm::log(rng::uniform(words[0]));
    let square = 2.0 * log;
    // Of the square, whose product with 2 is exact.
    let error = 2.0 * log_error(log) + 2.0 * FLUSH;
    let radius = square.sqrt();
    let radius_error = (error / radius).min(error.sqrt());
    let radius_error = radius_error + 9.0 * EPS * (radius + radius_error);
    // The argument is at most pi and three times rounded: the constant, the product, and the difference, which is exact.
    let cos = libm::cos(2.0 * std::f64::consts::PI * rng::uniform(words[1]));
    let cos_error = (0.5f64).powi(11) + 4.0 * EPS * std::f64::consts::PI;
    let error = radius_error * (cos.abs() + cos_error) + radius * cos_error;
    [rng::normal(words), error + 2.0 * EPS * (radius * cos.abs() + error) + FLUSH]
}

/// The normal number of a unit of a stream and site, at a sample and a draw: negated in the second of two antithetic draws.
pub(super) fn normal_of(rule: MaskRule, (stream_and_site, key): (u32, [u32; 2]), [sample, draw]: [u32; 2], unit: u32) -> Near {
    let opposite = rule == MaskRule::Antithetic && draw % 2 == 1;
    let draw = if rule == MaskRule::Antithetic { draw & !1 } else { draw };
    // Words 2u and 2u + 1 of a unit u are in the quad 2u / 4.
    let words = rng::philox4x32_10([unit / 2, sample, draw, stream_and_site], key);
    let first = 2 * (unit % 2) as usize;
    let [n, error] = normal([words[first], words[first + 1]]);
    [if opposite { -n } else { n }, error]
}
