//! `shaders/dense.wgsl`: the dense layer, forward and backward. The twins add up in f64 and round once.

use super::{FLUSH, Kernel, Tolerance, WORKGROUP, gamma, kernel, params};
use crate::memory::Memory;
use crate::step::Step;

const SOURCE: &str = concat!(include_str!("../../shaders/lib/step.wgsl"), include_str!("../../shaders/dense.wgsl"));

const TILE_ROWS: u32 = 8; // of dense.wgsl

params! {
    /// `params` of `dense.wgsl`.
    DenseParams {
        input_quads: u32, outputs: u32, output_quads: u32,
        x_stride: u32, weight_stride: u32, bias_stride: u32, y_stride: u32, pad0: u32,
    }
}

impl DenseParams {
    /// The shape of a layer, without strides.
    pub fn new(inputs: u32, outputs: u32) -> Self {
        Self { input_quads: inputs.div_ceil(4), outputs, output_quads: outputs.div_ceil(4), ..Self::default() }
    }

    fn inputs(&self) -> usize {
        4 * self.input_quads as usize
    }

    fn outputs(&self) -> usize {
        4 * self.output_quads as usize
    }
}

kernel! {
    /// `y = x W^T + b`.
    DenseForward = "dense_forward" in "dense.wgsl", SOURCE;
    params DenseParams; sections [step];
    read [x: 2, weight: 3, bias: 4]; write [y: 5]
}

kernel! {
    /// `dx = dy W`.
    DenseBackwardInput = "dense_backward_input" in "dense.wgsl", SOURCE;
    params DenseParams; sections [step];
    read [weight: 3, dy: 6]; write [dx: 5]
}

kernel! {
    /// `dW = dy^T x`.
    DenseBackwardWeight = "dense_backward_weight" in "dense.wgsl", SOURCE;
    params DenseParams; sections [step];
    read [x: 2, dy: 6]; write [dweight: 5]
}

kernel! {
    /// `db` = column sums of `dy`.
    DenseBackwardBias = "dense_backward_bias" in "dense.wgsl", SOURCE;
    params DenseParams; sections [step];
    read [dy: 6]; write [dbias: 5]
}

fn tiles(quads: u32, rows: u32) -> [u32; 2] {
    [quads.div_ceil(8), rows.div_ceil(TILE_ROWS * (WORKGROUP / 8))]
}

/// A sum of products and of the magnitudes of its terms.
fn dot(terms: impl Iterator<Item = (f32, f32)>) -> (f64, f64) {
    terms.fold((0.0, 0.0), |(sum, size), (a, b)| {
        let product = f64::from(a) * f64::from(b);
        (sum + product, size + product.abs())
    })
}

// Each result is the sum and, for the tolerance, the magnitude of its terms: |device - exact| <= gamma_n * magnitude for n
// terms added in any order, and the twin rounds the exact sum once. Each product and each sum may be flushed on top, and a
// result all of whose terms are 0, as the padding's are, is 0.

impl DenseForward {
    fn results(&self, memory: &Memory, step: &Step, member: usize) -> Vec<(f64, f64)> {
        let (inputs, columns) = (self.params.inputs(), self.params.outputs());
        let (x, weight, bias) = (memory.f32(self.x, member), memory.f32(self.weight, member), memory.f32(self.bias, member));
        let result = |i: usize| {
            let (row, unit) = (i / columns, i % columns);
            if unit >= self.params.outputs as usize {
                return (0.0, 0.0);
            }
            let (a, b) = (&x[row * inputs..][..inputs], &weight[unit * inputs..][..inputs]);
            let (sum, size) = dot(a.iter().copied().zip(b.iter().copied()));
            (sum + f64::from(bias[unit]), size + f64::from(bias[unit]).abs())
        };
        (0..step.rows as usize * columns).map(result).collect()
    }
}

impl DenseBackwardInput {
    fn results(&self, memory: &Memory, step: &Step, member: usize) -> Vec<(f64, f64)> {
        let (inputs, columns) = (self.params.inputs(), self.params.outputs());
        let (weight, dy) = (memory.f32(self.weight, member), memory.f32(self.dy, member));
        let result = |i: usize| {
            let (row, input) = (i / inputs, i % inputs);
            dot((0..self.params.outputs as usize).map(|unit| (dy[row * columns + unit], weight[unit * inputs + input])))
        };
        (0..step.rows as usize * inputs).map(result).collect()
    }
}

impl DenseBackwardWeight {
    fn results(&self, memory: &Memory, step: &Step, member: usize) -> Vec<(f64, f64)> {
        let (inputs, columns) = (self.params.inputs(), self.params.outputs());
        let (x, dy) = (memory.f32(self.x, member), memory.f32(self.dy, member));
        let result = |i: usize| {
            let (unit, input) = (i / inputs, i % inputs);
            dot((0..step.rows as usize).map(|row| (dy[row * columns + unit], x[row * inputs + input])))
        };
        (0..self.params.outputs as usize * inputs).map(result).collect()
    }
}

impl DenseBackwardBias {
    fn results(&self, memory: &Memory, step: &Step, member: usize) -> Vec<(f64, f64)> {
        let columns = self.params.outputs();
        let dy = memory.f32(self.dy, member);
        (0..columns).map(|unit| dot((0..step.rows as usize).map(|row| (dy[row * columns + unit], 1.0)))).collect()
    }
}

macro_rules! dense_kernel {
    ($kernel:ident, $out:ident, $grid:expr, $terms:expr) => {
        impl Kernel for $kernel {
            fn grid(&self) -> [u32; 2] {
                let grid: fn(&$kernel) -> [u32; 2] = $grid;
                grid(self)
            }

            fn twin(&self, memory: &Memory, step: &Step, member: usize) {
                let results = self.results(memory, step, member);
                for (out, (sum, _)) in memory.f32_mut(self.$out, member).iter_mut().zip(results) {
                    *out = sum as f32;
                }
            }

            fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
                let terms: fn(&$kernel, &Step) -> usize = $terms;
                let n = terms(self, step) + 2;
                let bound = |size: f64| if size == 0.0 { 0.0 } else { gamma(n) * size + 2.0 * n as f64 * FLUSH };
                let results = self.results(memory, step, member);
                vec![Tolerance::Bounds(results.into_iter().map(|(_, size)| bound(size)).collect())]
            }
        }
    };
}

fn rows(len: u32, quads: u32) -> u32 {
    len / (4 * quads)
}

dense_kernel!(DenseForward, y, |k| tiles(k.params.output_quads, rows(k.y.len, k.params.output_quads)), |k, _| k.params.inputs());
dense_kernel!(DenseBackwardInput, dx, |k| tiles(k.params.input_quads, rows(k.dx.len, k.params.input_quads)), |k, _| k
    .params
    .outputs());
dense_kernel!(DenseBackwardWeight, dweight, |k| tiles(k.params.input_quads, k.params.outputs), |_, step| step.rows as usize);
dense_kernel!(DenseBackwardBias, dbias, |k| [k.params.output_quads.div_ceil(WORKGROUP), 1], |_, step| step.rows as usize);
