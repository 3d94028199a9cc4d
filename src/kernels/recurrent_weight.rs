//! `shaders/recurrent_weight.wgsl`: the gradient of a recurrent weight whose gates have masks of their own.

use super::division::Division;
use super::sums::{Number, bounds, store};
use super::{EPS, Kernel, MAX_GROUPS, Tolerance, gamma, kernel, linear_grid, params};
use crate::memory::Memory;
use crate::step::Step;

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/index.wgsl"),
    include_str!("../../shaders/lib/mul_high.wgsl"),
    include_str!("../../shaders/lib/division.wgsl"),
    include_str!("../../shaders/recurrent_weight.wgsl")
);

params! {
    /// `params` of `recurrent_weight.wgsl`.
    RecurrentWeightParams {
        hidden_quads: u32, quads_factor: u32, quads_shift: u32, gates: u32, x_row: u32, dy_row: u32, bias_at: u32, input_plane: u32,
        x_stride: u32, dy_stride: u32, gradient_stride: u32, pad0: u32,
    }
}

impl RecurrentWeightParams {
    /// `gates` of `hidden` units, rows padded to `row_words`; without strides, its planes and its bias.
    pub fn new([gates, hidden]: [u32; 2], row_words: u32) -> Self {
        let Division { divisor, factor, shift } = Division::by(hidden.div_ceil(4));
        let row = |columns: u32| columns.next_multiple_of(row_words) / 4;
        Self {
            hidden_quads: divisor,
            quads_factor: factor,
            quads_shift: shift,
            gates,
            x_row: row(hidden),
            dy_row: row(gates * 4 * divisor),
            ..Self::default()
        }
    }
}

kernel! {
    /// `dW_g = dy_g^T x_g`, and its bias.
    RecurrentWeight = "recurrent_weight" in "recurrent_weight.wgsl", SOURCE;
    params RecurrentWeightParams; sections [step];
    read [x: 2, dy: 3]; write [gradient: 4]
}

impl RecurrentWeight {
    fn results(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Number> {
        let p = &self.params;
        let (x, dy) = (memory.f32(self.x, member), memory.f32(self.dy, member));
        let mut numbers = vec![None; self.gradient.len as usize];
        let sum = |products: &mut dyn Iterator<Item = f64>| {
            let (sum, magnitude) = products.fold((0.0, 0.0), |(sum, magnitude): (f64, f64), d| (sum + d, magnitude + d.abs()));
            Some((sum, gamma(step.rows as usize + 1) * magnitude + EPS * sum.abs()))
        };
        let h4 = 4 * p.hidden_quads;
        for row in 0..p.gates * h4 {
            let d = |n: u32| f64::from(dy[(4 * n * p.dy_row + row) as usize]);
            for column in 0..h4 {
                let value = |n: u32| f64::from(x[(4 * (row / h4 * p.input_plane + n * p.x_row) + column) as usize]);
                numbers[(4 * row * p.x_row + column) as usize] = sum(&mut (0..step.rows).map(|n| d(n) * value(n)));
            }
            numbers[(4 * p.bias_at + row) as usize] = sum(&mut (0..step.rows).map(d));
        }
        numbers
    }
}

impl Kernel for RecurrentWeight {
    fn grid(&self) -> [u32; 2] {
        linear_grid(self.params.gates * self.params.hidden_quads * self.params.hidden_quads, MAX_GROUPS)
    }

    fn iterations(&self) -> u64 {
        u64::from(self.dy.len / (4 * self.params.dy_row)) + 8
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let numbers = self.results(memory, step, member);
        store(memory, self.gradient, member, &numbers);
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        vec![bounds(&self.results(memory, step, member))]
    }
}
