//! What bounds norms, in balls.

use super::{Ball, ULP, dot};

/// What a vector of this norm is multiplied by: 1 up to the limit, `limit / norm` above it. The product is a continuous
/// function of the norm, so an undecided comparison has a ball with room for both.
fn factor(limit: f64, norm: Ball) -> Ball {
    if norm.mid + norm.rad <= limit * (1.0 - ULP) {
        return Ball::exact(1.0);
    }
    if norm.mid <= limit {
        return Ball { mid: 1.0, rad: 1.0 - limit / (norm.mid + norm.rad) }.ulps(3.5);
    }
    // Where the device divides, the norm is above the limit.
    Ball::rounded(limit).over(norm, limit * (1.0 - ULP))
}

fn shorten<'a>(factor: Ball, numbers: impl Iterator<Item = &'a mut Ball>) {
    if factor != Ball::exact(1.0) {
        numbers.for_each(|number| *number = number.times(factor));
    }
}

fn norm<'a>(numbers: impl Iterator<Item = &'a Ball>) -> Ball {
    dot(numbers.map(|&number| (number, number))).root()
}

/// `reference::clip_factor` of all gradients, applied.
pub(crate) fn clip(limit: f64, gradients: &mut [Vec<Ball>]) {
    let norm = norm(gradients.iter().flatten()).plus(Ball::rounded(1e-6));
    shorten(factor(limit, norm), gradients.iter_mut().flatten());
}

/// `reference::max_norm`.
pub(crate) fn max_norm(limit: f64, weight: &mut [Ball], inputs: usize) {
    for row in weight.chunks_mut(inputs) {
        shorten(factor(limit, norm(row.iter())), row.iter_mut());
    }
}
