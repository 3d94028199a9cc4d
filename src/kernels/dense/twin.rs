//! The twins of the dense kernels: sums in f64, then the twins of what is fused, each rounded to f32 as a kernel of its own would.
//!
//! A number is what the twin computes and how far the device may be from it; `None` is an element that the kernel leaves alone.

use super::{DenseBackwardInput, DenseBackwardWeight, DenseForward, DenseParams, DenseUpdate, Epilogue};
use crate::kernels::optimizer::{self, exact};
use crate::kernels::sums::{self, Number};
use crate::kernels::{EPS, FLUSH, Tolerance, activation, gamma};
use crate::mask_rule::SiteMask;
use crate::memory::{Memory, Tensor};
use crate::step::{MemberStep, Step};

pub(super) use crate::kernels::sums::store;

pub(super) fn bounds(tensor: Tensor, numbers: &[Number]) -> Tolerance {
    assert!(numbers.len() <= tensor.len as usize, "more numbers than the tensor has words");
    sums::bounds(numbers)
}

/// A sum of `n` products in any order: |device - exact| <= gamma_n times the sum of their magnitudes, and the twin rounds the exact
/// sum once. Each product and each sum may be flushed on top; a sum all of whose terms are 0, as the padding's are, is 0.
fn dot(terms: impl Iterator<Item = (f32, f32)>, n: usize) -> (f64, f64) {
    let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), (a, b)| {
        let product = f64::from(a) * f64::from(b);
        (sum + product, size + product.abs())
    });
    let n = n + 2;
    (sum, if size == 0.0 { 0.0 } else { gamma(n) * size + 2.0 * n as f64 * FLUSH })
}

/// Which units of a row a site keeps; all, where there is none.
fn kept(params: &DenseParams, epilogue: Epilogue, step: &MemberStep, (samples, row): (&[u32], usize), units: u32) -> Vec<bool> {
    let Some(SiteMask { index, rule }) = epilogue.site else { return vec![true; units as usize] };
    let rate = &step.sites[index];
    let at = rule.address(rate, samples, row);
    let quad = |quad| rule.kept(rate, step.key, params.stream_and_site, at, quad);
    (0..units.div_ceil(4)).flat_map(quad).take(units as usize).collect()
}

impl DenseParams {
    /// Columns of x and of y as they lie in memory.
    fn columns(&self) -> [usize; 2] {
        [4 * self.input_row as usize, 4 * self.output_row as usize]
    }
}

impl DenseForward {
    pub(super) fn results(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Number> {
        let ([inputs, columns], outputs) = (self.params.columns(), self.params.outputs as usize);
        let depth = 4 * self.params.input_quads as usize;
        let (x, weight, bias) = (memory.f32(self.x, member), memory.f32(self.weight, member), memory.f32(self.bias, member));
        let (samples, values) = (memory.u32(self.samples, member), &step.members[member]);
        let mut numbers = vec![None; step.rows as usize * columns];
        for (row, numbers) in numbers.chunks_mut(columns).enumerate() {
            let kept = kept(&self.params, self.epilogue, values, (&samples, row), self.params.outputs);
            for (unit, number) in numbers.iter_mut().enumerate().take(4 * self.params.output_quads as usize) {
                let z = || {
                    let terms = x[row * inputs..][..depth].iter().zip(&weight[unit * inputs..][..depth]);
                    dot(terms.map(|(&a, &b)| (a, b)).chain([(bias[unit], 1.0)]), depth + 1)
                };
                *number = Some(if unit < outputs && kept[unit] { self.output(z(), values) } else { (0.0, 0.0) });
            }
        }
        numbers
    }

    /// What a kept unit becomes.
    fn output(&self, (z, error): (f64, f64), step: &MemberStep) -> (f64, f64) {
        let kind = activation::kind(self.epilogue.activation);
        let (f, error) = activation::after(kind, (z, error));
        let Some(site) = self.epilogue.site else { return (f, error) };
        let scale = f64::from(step.sites[site.index].scale);
        let y = f64::from(f as f32) * scale;
        (y, scale * error + 3.0 * EPS * y.abs() + if error > 0.0 { FLUSH } else { 0.0 })
    }
}

impl DenseBackwardInput {
    pub(super) fn results(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Number> {
        let ([inputs, columns], outputs) = (self.params.columns(), self.params.outputs as usize);
        let (weight, dy, x) = (memory.f32(self.weight, member), memory.f32(self.dy, member), memory.f32(self.x, member));
        let (samples, values) = (memory.u32(self.samples, member), &step.members[member]);
        let mut numbers = vec![None; step.rows as usize * inputs];
        for (row, numbers) in numbers.chunks_mut(inputs).enumerate() {
            let kept = kept(&self.params, self.epilogue, values, (&samples, row), 4 * self.params.input_quads);
            for (input, number) in numbers.iter_mut().enumerate().take(4 * self.params.input_quads as usize) {
                let d = || {
                    let terms = (0..outputs).map(|unit| (dy[row * columns + unit], weight[unit * inputs + input]));
                    dot(terms, outputs)
                };
                let y = if self.epilogue == Epilogue::NONE { 0.0 } else { x[row * inputs + input] };
                *number = Some(if kept[input] { self.gradient(d(), y, values) } else { (0.0, 0.0) });
            }
        }
        numbers
    }

    /// The gradient of a kept unit, whose stored output is y = scale f(z).
    fn gradient(&self, (d, error): (f64, f64), y: f32, step: &MemberStep) -> (f64, f64) {
        let kind = activation::kind(self.epilogue.activation);
        let Some(site) = self.epilogue.site else {
            if kind == 0 {
                return (d, error);
            }
            let (g, local) = activation::backward(kind, y, d as f32);
            return (g, local + steepness(kind, y) * (error + EPS * d.abs()));
        };
        let scale = step.sites[site.index].scale;
        let (f, scaled) = (y / scale, d as f32 * scale);
        let (g, local) = activation::backward(kind, f, scaled);
        let error = f64::from(scale) * error + 3.0 * EPS * f64::from(scaled).abs() + if error > 0.0 { FLUSH } else { 0.0 };
        // A quotient is off by 2.5 ULP, and the derivative by at most twice that times |f|.
        let f64_ = f64::from(f).abs();
        let quotient = if matches!(kind, 2 | 3 | 5) { 12.0 * EPS * f64_.max(f64_ * f64_) + FLUSH } else { 0.0 };
        (g, local + steepness(kind, f) * error + f64::from(scaled).abs() * quotient)
    }
}

/// |f'| from the output.
fn steepness(kind: u32, f: f32) -> f64 {
    let (slope, error) = activation::backward(kind, f, 1.0);
    slope.abs() + error
}

/// dW, then db at its place; what lies between is left alone.
fn weight_gradient(
    params: &DenseParams,
    (x, dy): (Tensor, Tensor),
    (memory, rows, member): (&Memory, u32, usize),
    words: usize,
) -> Vec<Number> {
    let ([inputs, columns], rows) = (params.columns(), rows as usize);
    let (x, dy) = (memory.f32(x, member), memory.f32(dy, member));
    let mut numbers = vec![None; words];
    for unit in 0..params.outputs as usize {
        for input in 0..4 * params.input_quads as usize {
            let terms = (0..rows).map(|row| (dy[row * columns + unit], x[row * inputs + input]));
            numbers[unit * inputs + input] = Some(dot(terms, rows));
        }
    }
    for unit in 0..4 * params.output_quads as usize {
        numbers[4 * params.bias_at as usize + unit] = Some(dot((0..rows).map(|row| (dy[row * columns + unit], 1.0)), rows));
    }
    numbers
}

impl DenseBackwardWeight {
    /// One part after the other, each the sum over its rows of the batch; what lies between them is left alone.
    pub(super) fn results(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Number> {
        let DenseParams { splits, split_rows, split_quads, .. } = self.params;
        let words = if splits == 1 { self.gradient.len } else { 4 * split_quads } as usize;
        let part = |split: u32| {
            let rows = step.rows.saturating_sub(split * split_rows).min(split_rows);
            let from = |tensor: Tensor, quads: u32| {
                let skipped = (split * split_rows * 4 * quads).min(tensor.len);
                Tensor { offset: tensor.offset + skipped, len: tensor.len - skipped, ..tensor }
            };
            let operands = (from(self.x, self.params.input_row), from(self.dy, self.params.output_row));
            weight_gradient(&self.params, operands, (memory, rows, member), words)
        };
        (0..splits).flat_map(part).collect()
    }
}

impl DenseUpdate {
    /// w, m and v after the update.
    pub(super) fn results(&self, memory: &Memory, step: &Step, member: usize) -> [Vec<Number>; 3] {
        let gradient = weight_gradient(&self.params, (self.x, self.dy), (memory, step.rows, member), self.w.len as usize);
        let (w, m, v) = (memory.f32(self.w, member), memory.f32(self.m, member), memory.f32(self.v, member));
        let o = &step.members[member].optimizer;
        let mut results = [vec![None; w.len()], vec![None; w.len()], vec![None; w.len()]];
        for (i, g) in gradient.into_iter().enumerate() {
            let Some((g, error)) = g else { continue };
            let g = (f64::from(g as f32), error + EPS * g.abs());
            let new = optimizer::updated(self.update, o, g, (exact(w[i]), exact(m[i])), || exact(v[i]));
            results.iter_mut().zip(new).for_each(|(result, new)| result[i] = new);
        }
        results
    }
}
