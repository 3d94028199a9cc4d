//! Sums as twins compute them: in f64, with what bounds the device's error. `None` is an element that a kernel leaves alone.

use super::{FLUSH, Tolerance, gamma};
use crate::memory::{Memory, Tensor};

/// A number of a twin, and how far the device may be from it.
pub(super) type Number = Option<(f64, f64)>;

/// A sum in f64, the sum of the magnitudes, and how many terms there are.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sum {
    pub(super) value: f64,
    size: f64,
    terms: usize,
}

impl Sum {
    pub(super) fn add(&mut self, term: f64) {
        self.value += term;
        self.size += term.abs();
        self.terms += 1;
    }

    /// The sum times a factor, if each term has gone through `more` rounded operations besides the additions.
    ///
    /// n terms are added in any order, so each goes through n - 1 additions at most. WGSL rounds to either side, 2 EPS, hence
    /// gamma of twice as many (Higham 2002, section 3.1), and the twin rounds once. Each result may be flushed on top.
    pub(super) fn times(self, factor: f64, more: usize) -> Number {
        let roundings = self.terms.saturating_sub(1) + more;
        let twin = usize::from(roundings > 0);
        let bound = match self.size {
            0.0 => 0.0,
            size => gamma(2 * roundings + twin) * size * factor.abs() + 2.0 * (self.terms + more) as f64 * FLUSH,
        };
        Some((self.value * factor, bound))
    }
}

/// Stores the numbers of a twin, each rounded once.
pub(super) fn store(memory: &Memory, tensor: Tensor, member: usize, numbers: &[Number]) {
    for (out, number) in memory.f32_mut(tensor, member).iter_mut().zip(numbers) {
        if let Some((value, _)) = number {
            *out = *value as f32;
        }
    }
}

/// Their bounds. No difference is below -1: what is left alone has the same bits.
pub(super) fn bounds(numbers: &[Number]) -> Tolerance {
    Tolerance::Bounds(numbers.iter().map(|number| number.map_or(-1.0, |(_, bound)| bound)).collect())
}
