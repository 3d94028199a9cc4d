//! `shaders/splits.wgsl`: the partial sums of a gradient over a batch of many rows, added up.

use super::dense::DenseParams;
use super::division::Division;
use super::sums::{Number, bounds, store};
use super::{EPS, FLUSH, Kernel, MAX_GROUPS, Tolerance, gamma, kernel, linear_grid, params};
use crate::memory::Memory;
use crate::step::{Section, Step};

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/index.wgsl"),
    include_str!("../../shaders/lib/mul_high.wgsl"),
    include_str!("../../shaders/lib/division.wgsl"),
    include_str!("../../shaders/splits.wgsl")
);

params! {
    /// `params` of `splits.wgsl`.
    SplitsParams {
        by_row: Division, quads: u32, input_quads: u32, outputs: u32, bias_at: u32, output_quads: u32, splits: u32,
        partials_stride: u32, gradient_stride: u32, pad0: u32,
    }
}

impl SplitsParams {
    /// For the parts that a dense layer's kernel makes of the gradient of its weight, and the strides of members.
    pub fn new(dense: &DenseParams, partials_stride: u32, gradient_stride: u32) -> Self {
        let &DenseParams { input_quads, input_row, outputs, bias_at, output_quads, splits, split_quads: quads, .. } = dense;
        let by_row = Division::by(input_row);
        Self { by_row, quads, input_quads, outputs, bias_at, output_quads, splits, partials_stride, gradient_stride, pad0: 0 }
    }
}

kernel! {
    /// `gradient` = the sum of `splits` partial sums, in their order, of W and of b and of nothing between them.
    SumSplits = "sum_splits" in "splits.wgsl", SOURCE;
    params SplitsParams; sections [];
    read [partials: 1]; write [gradient: 2]
}

impl SumSplits {
    fn results(&self, memory: &Memory, member: usize) -> Vec<Number> {
        let (partials, p) = (memory.f32(self.partials, member), &self.params);
        let sum = |i: usize| {
            let terms = (0..p.splits as usize).map(|s| f64::from(partials[s * 4 * p.quads as usize + i]));
            let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()));
            let n = p.splits as usize + 1;
            (sum, gamma(n) * size + EPS * sum.abs() + n as f64 * FLUSH)
        };
        let mut numbers = vec![None; self.gradient.len as usize];
        let row = |row: u32| (row * p.by_row.divisor..).take(p.input_quads as usize);
        let quads = (0..p.outputs).flat_map(row).chain((p.bias_at..).take(p.output_quads as usize));
        for i in quads.flat_map(|quad| 4 * quad as usize..4 * quad as usize + 4) {
            numbers[i] = Some(sum(i));
        }
        numbers
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
        store(memory, self.gradient, member, &self.results(memory, member));
    }

    fn tolerance(&self, memory: &Memory, _: &Step, member: usize) -> Vec<Tolerance> {
        vec![bounds(&self.results(memory, member))]
    }
}
