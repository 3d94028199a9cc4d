//! `shaders/batch_norm.wgsl`: batch normalisation with given moments, forward and backward.

use super::activation::{self, after};
use super::columns::{Block, Number, UNIT, bounds, store, untouched};
use super::{Constants, FLUSH, Kernel, Tolerance, kernel, params};
use crate::memory::Memory;
use crate::network::Activation;
use crate::step::Step;

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/columns.wgsl"),
    include_str!("../../shaders/lib/activation.wgsl"),
    include_str!("../../shaders/batch_norm.wgsl")
);

const BLOCK_ROWS: u32 = 8; // of batch_norm.wgsl

params! {
    /// `params` of `batch_norm.wgsl`.
    BatchNormParams {
        columns: u32, quads: u32, width_shift: u32, bias_at: u32,
        x_row: u32, y_row: u32, dy_row: u32, dx_row: u32,
        x_stride: u32, y_stride: u32, dy_stride: u32, dx_stride: u32,
        moments_stride: u32, weight_stride: u32, gradient_stride: u32, pad0: u32,
    }
}

impl BatchNormParams {
    /// So many columns, with rows of every matrix and from dweight to dbias padded to `row_words`, without strides.
    pub fn new(columns: u32, row_words: u32) -> Self {
        let Block { quads, width_shift } = Block::new(columns);
        let row = columns.next_multiple_of(row_words) / 4;
        Self { columns, quads, width_shift, bias_at: row, x_row: row, y_row: row, dy_row: row, dx_row: row, ..Self::default() }
    }

    fn grid(&self, words: u32, row_quads: u32) -> [u32; 2] {
        let block = Block::new(self.columns);
        block.grid(words / (4 * row_quads), BLOCK_ROWS * block.lanes())
    }

    /// Calls `f` with the place in a written matrix, the row and the column of every word that is written.
    fn for_each(&self, rows: u32, row_quads: u32, mut f: impl FnMut(usize, usize, usize)) {
        for row in 0..rows as usize {
            (0..4 * self.quads as usize).for_each(|column| f(row * 4 * row_quads as usize + column, row, column));
        }
    }
}

fn of_kind(kind: u32) -> Constants {
    vec![("ACTIVATION", kind)]
}

fn every_activation() -> Vec<Constants> {
    (0..6).map(of_kind).collect()
}

kernel! {
    /// `y = f(weight (x - mean) inv + bias)`; GELU is no f of a fused kernel, since its derivative needs its input.
    BatchNormForward = "batch_norm_forward" in "batch_norm.wgsl", SOURCE;
    params BatchNormParams; sections [step]; site activation: Activation;
    read [x: 2, moments: 3, weight: 4, bias: 5]; write [y: 6]; variants every_activation
}

kernel! {
    /// `dx` from `dy`, the gradient with respect to what f is applied to, and from `gradient`: dweight and dbias.
    BatchNormBackward = "batch_norm_backward" in "batch_norm.wgsl", SOURCE;
    params BatchNormParams; sections [step];
    read [x: 2, moments: 3, weight: 4, dy: 5, gradient: 6]; write [dx: 7]; variants || vec![of_kind(0)]
}

impl BatchNormForward {
    /// z has a difference, two products and a sum; the difference and both products may be flushed.
    fn results(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Number> {
        let (p, kind) = (&self.params, activation::kind(self.activation));
        let (x, moments) = (memory.f32(self.x, member), memory.f32(self.moments, member));
        let (weight, bias) = (memory.f32(self.weight, member), memory.f32(self.bias, member));
        let mut numbers = untouched(self.y);
        p.for_each(step.rows, p.y_row, |at, row, column| {
            if column >= p.columns as usize {
                numbers[at] = Some((0.0, 0.0));
                return;
            }
            let d = f64::from(x[row * 4 * p.x_row as usize + column]) - f64::from(moments[column]);
            let scale = f64::from(weight[column]) * f64::from(moments[4 * p.quads as usize + column]);
            let z = d * scale + f64::from(bias[column]);
            let error = 3.1 * UNIT * (d * scale).abs() + 1.5 * UNIT * z.abs() + FLUSH * (2.0 + scale.abs() + d.abs());
            numbers[at] = Some(after(kind, (z, error)));
        });
        numbers
    }
}

impl Kernel for BatchNormForward {
    fn constants(&self) -> Constants {
        of_kind(activation::kind(self.activation))
    }

    fn grid(&self) -> [u32; 2] {
        self.params.grid(self.y.len, self.params.y_row)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let results = self.results(memory, step, member);
        store(memory, self.y, member, &results);
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        vec![bounds(&self.results(memory, step, member))]
    }
}

impl BatchNormBackward {
    /// Of the three terms xhat dweight / n has the most operations, 2 + 2.5 + 1 units; two differences, the scale and the product
    /// with it follow, and the twin rounds. Each of the numbers may be flushed, and counts with what it is multiplied by.
    fn results(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Number> {
        let p = &self.params;
        let (x, moments) = (memory.f32(self.x, member), memory.f32(self.moments, member));
        let (weight, dy) = (memory.f32(self.weight, member), memory.f32(self.dy, member));
        let gradient = memory.f32(self.gradient, member);
        let n = f64::from(step.rows);
        let mut numbers = untouched(self.dx);
        p.for_each(step.rows, p.dx_row, |at, row, column| {
            if column >= p.columns as usize {
                numbers[at] = Some((0.0, 0.0));
                return;
            }
            let inverse = f64::from(moments[4 * p.quads as usize + column]);
            let xhat = (f64::from(x[row * 4 * p.x_row as usize + column]) - f64::from(moments[column])) * inverse;
            let d = f64::from(dy[row * 4 * p.dy_row as usize + column]);
            let slope = f64::from(gradient[column]) / n;
            let level = f64::from(gradient[4 * p.bias_at as usize + column]) / n;
            let scale = f64::from(weight[column]) * inverse;
            let size = d.abs() + level.abs() + (xhat * slope).abs();
            let flushed = scale.abs() * (4.0 + (1.0 + inverse.abs()) * slope.abs() + xhat.abs()) + size + 1.0;
            let dx = scale * (d - level - xhat * slope);
            numbers[at] = Some((dx, 10.0 * UNIT * scale.abs() * size + FLUSH * flushed));
        });
        numbers
    }
}

impl Kernel for BatchNormBackward {
    fn constants(&self) -> Constants {
        of_kind(0)
    }

    fn grid(&self) -> [u32; 2] {
        self.params.grid(self.dx.len, self.params.dx_row)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let results = self.results(memory, step, member);
        store(memory, self.dx, member, &results);
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        vec![bounds(&self.results(memory, step, member))]
    }
}
