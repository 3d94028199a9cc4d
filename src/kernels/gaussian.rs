//! `shaders/gaussian.wgsl`: the negative log-likelihood of targets under means and log variances. The twins compute in f64 and
//! round once.

use super::loss::LossParams;
use super::{EPS, FLUSH, Kernel, MAX_GROUPS, Tolerance, exp_error, gamma, kernel, linear_grid};
use crate::memory::{Memory, Tensor};
use crate::network::LEAST_LOG_VARIANCE;
use crate::step::Step;

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/index.wgsl"),
    include_str!("../../shaders/lib/nan.wgsl"),
    include_str!("../../shaders/gaussian.wgsl")
);

kernel! {
    /// Gaussian negative log-likelihood and gradient of every row.
    GaussianNll = "gaussian_nll" in "gaussian.wgsl", SOURCE;
    params LossParams; sections [step];
    read [rows: 2, targets: 3, logits: 4]; write [loss: 5, correct: 6, dlogits: 7]
}

kernel! {
    /// Gaussian negative log-likelihood of every row.
    GaussianNllForward = "gaussian_nll_forward" in "gaussian.wgsl", SOURCE;
    params LossParams; sections [step];
    read [rows: 2, targets: 3, logits: 4]; write [loss: 5, correct: 6]
}

/// A value and how far the device may be from it.
type Near = [f64; 2];

/// One target: its loss, and its derivatives by the mean and by the log variance.
struct Term {
    loss: Near,
    /// The magnitude of what the loss is added up from.
    size: f64,
    by_mean: Near,
    by_log_variance: Near,
}

/// WGSL rounds to either side, 2 EPS an operation. The precision e^-v has the error of exp; v itself is exact.
fn term(mu: f32, s: f32, t: f32) -> Term {
    let held = s < LEAST_LOG_VARIANCE;
    let v = f64::from(if held { LEAST_LOG_VARIANCE } else { s });
    let d = f64::from(mu) - f64::from(t);
    // The difference may be flushed, and what it is the difference of.
    let d_error = 2.0 * EPS * d.abs() + 3.0 * FLUSH;
    let precision = libm::exp(-v);
    let precision_error = precision * exp_error(v) + FLUSH;
    let (d_size, precision_size) = (d.abs() + d_error, precision + precision_error);
    let by_mean = d * precision;
    let by_mean_error = d_error * precision_size + d.abs() * precision_error + 2.0 * EPS * d_size * precision_size + FLUSH;
    // The device squares first; a flushed square is off by FLUSH times the precision.
    let square = d * d * precision;
    let d2_error = d_error * (2.0 * d.abs() + d_error) + 2.0 * EPS * d_size * d_size + FLUSH;
    let square_error =
        d2_error * precision_size + d * d * precision_error + 2.0 * EPS * (d * d + d2_error) * precision_size + FLUSH;
    // An addition, of which v may be flushed, and an exact halving, whose result may be.
    let halved = |value: f64, size: f64| [value / 2.0, (square_error + 2.0 * EPS * (size + square_error)) / 2.0 + 3.0 * FLUSH];
    Term {
        loss: halved(v + square, v.abs() + square),
        size: (v.abs() + square) / 2.0,
        by_mean: [by_mean, by_mean_error],
        by_log_variance: if held { [0.0; 2] } else { halved(1.0 - square, 1.0 + square) },
    }
}

/// Calls `f` with the number and the targets of every row.
fn for_each_row(
    (params, rows, targets, logits): (&LossParams, Tensor, Tensor, Tensor),
    (memory, step, member): (&Memory, &Step, usize),
    mut f: impl FnMut(usize, &[Term]),
) {
    let (rows, targets, logits) = (memory.u32(rows, member), memory.f32(targets, member), memory.f32(logits, member));
    let (stride, count) = (params.row_stride as usize, params.classes as usize / 2);
    for i in 0..step.rows as usize {
        let (mu, s) = logits[i * stride..][..2 * count].split_at(count);
        let t = &targets[rows[i] as usize * params.targets_row as usize..][..count];
        f(i, &(0..count).map(|c| term(mu[c], s[c], t[c])).collect::<Vec<_>>());
    }
}

/// The errors of the terms and of adding them up; the division is 2.5 ULP, and the twin rounds.
fn mean(row: &[Term]) -> Near {
    let n = row.len();
    let mean = row.iter().map(|term| term.loss[0]).sum::<f64>() / n as f64;
    let sum: f64 = row.iter().map(|term| term.loss[1] + gamma(2 * n) * (term.size + term.loss[1]) + FLUSH).sum();
    [mean, (sum * (1.0 + 6.0 * EPS)) / n as f64 + 6.0 * EPS * mean.abs() + FLUSH]
}

/// Calls `f` with the column, the gradient and its error of every output. The divisor is the product of two rounded numbers,
/// 4 EPS; the division is 2.5 ULP, and the twin rounds.
fn gradient(row: &[Term], step: &Step, mut f: impl FnMut(usize, f64, f64)) {
    let terms = row.len() as f64 * f64::from(step.batch_rows);
    for (c, term) in row.iter().enumerate() {
        for (column, [slope, error]) in [(c, term.by_mean), (row.len() + c, term.by_log_variance)] {
            // A gradient that is held at 0 is 0 exactly.
            let flush = if slope == 0.0 && error == 0.0 { 0.0 } else { FLUSH };
            f(column, slope / terms, (error + 11.0 * EPS * slope.abs()) * (1.0 + 11.0 * EPS) / terms + flush);
        }
    }
}

impl Kernel for GaussianNll {
    fn grid(&self) -> [u32; 2] {
        linear_grid(self.loss.len, MAX_GROUPS)
    }

    fn iterations(&self) -> u64 {
        u64::from(self.params.classes + 8)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let (mut loss, mut correct) = (memory.f32_mut(self.loss, member), memory.u32_mut(self.correct, member));
        let mut dlogits = memory.f32_mut(self.dlogits, member);
        let stride = self.params.row_stride as usize;
        for_each_row((&self.params, self.rows, self.targets, self.logits), (memory, step, member), |i, row| {
            (loss[i], correct[i]) = (mean(row)[0] as f32, 0);
            let dz = &mut dlogits[i * stride..][..(2 * row.len()).next_multiple_of(4)];
            dz.fill(0.0);
            gradient(row, step, |column, slope, _| dz[column] = slope as f32);
        });
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        let stride = self.params.row_stride as usize;
        let (mut loss, mut dlogits) = (Vec::new(), vec![-1.0; step.rows as usize * stride]);
        for_each_row((&self.params, self.rows, self.targets, self.logits), (memory, step, member), |i, row| {
            loss.push(mean(row)[1]);
            let dz = &mut dlogits[i * stride..][..(2 * row.len()).next_multiple_of(4)];
            dz.fill(0.0);
            gradient(row, step, |column, _, error| dz[column] = error);
        });
        vec![Tolerance::Bounds(loss), Tolerance::Exact, Tolerance::Bounds(dlogits)]
    }
}

impl Kernel for GaussianNllForward {
    fn grid(&self) -> [u32; 2] {
        linear_grid(self.loss.len, MAX_GROUPS)
    }

    fn iterations(&self) -> u64 {
        u64::from(self.params.classes / 2 + 2)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let (mut loss, mut correct) = (memory.f32_mut(self.loss, member), memory.u32_mut(self.correct, member));
        for_each_row((&self.params, self.rows, self.targets, self.logits), (memory, step, member), |i, row| {
            (loss[i], correct[i]) = (mean(row)[0] as f32, 0);
        });
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        let mut loss = Vec::new();
        let tensors = (&self.params, self.rows, self.targets, self.logits);
        for_each_row(tensors, (memory, step, member), |_, row| loss.push(mean(row)[1]));
        vec![Tolerance::Bounds(loss), Tolerance::Exact]
    }
}
