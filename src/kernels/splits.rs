//! `shaders/splits.wgsl`: the partial sums of a gradient over a batch of many rows, added up.

use super::{EPS, FLUSH, Kernel, MAX_GROUPS, Tolerance, gamma, kernel, linear_grid, params};
use crate::memory::Memory;
use crate::step::{Section, Step};

const SOURCE: &str = concat!(include_str!("../../shaders/lib/index.wgsl"), include_str!("../../shaders/splits.wgsl"));

params! {
    /// `params` of `splits.wgsl`.
    SplitsParams { quads: u32, splits: u32, partials_stride: u32, gradient_stride: u32 }
}

kernel! {
    /// `gradient` = the sum of `splits` partial sums, in their order.
    SumSplits = "sum_splits" in "splits.wgsl", SOURCE;
    params SplitsParams; sections [];
    read [partials: 1]; write [gradient: 2]
}

impl SumSplits {
    /// Each sum and the magnitude of its terms.
    fn results(&self, memory: &Memory, member: usize) -> Vec<(f64, f64)> {
        let (partials, words) = (memory.f32(self.partials, member), 4 * self.params.quads as usize);
        let terms = |i: usize| (0..self.params.splits as usize).map(move |s| s * words + i);
        let sum = |i: usize| {
            terms(i).map(|at| f64::from(partials[at])).fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()))
        };
        (0..words).map(sum).collect()
    }
}

impl Kernel for SumSplits {
    fn sections(&self) -> Vec<Section> {
        Vec::new()
    }

    fn grid(&self) -> [u32; 2] {
        linear_grid(self.params.quads, MAX_GROUPS)
    }

    fn iterations(&self) -> u64 {
        u64::from(self.params.splits)
    }

    fn twin(&self, memory: &Memory, _: &Step, member: usize) {
        let results = self.results(memory, member);
        memory.f32_mut(self.gradient, member).iter_mut().zip(results).for_each(|(out, (sum, _))| *out = sum as f32);
    }

    fn tolerance(&self, memory: &Memory, _: &Step, member: usize) -> Vec<Tolerance> {
        let n = self.params.splits as usize + 1;
        let bound = |(sum, size): (f64, f64)| gamma(n) * size + EPS * sum.abs() + n as f64 * FLUSH;
        vec![Tolerance::Bounds(self.results(memory, member).into_iter().map(bound).collect())]
    }
}
