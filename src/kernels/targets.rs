//! `shaders/targets.wgsl`: losses against numbers instead of labels. The twins compute in f64 and round once.

use super::loss::{LossParams, constants, mixup_or_not, sources};
use super::{Constants, EPS, FLUSH, Kernel, MAX_GROUPS, Tolerance, exp_error, gamma, kernel, linear_grid};
use crate::memory::{Memory, Tensor};
use crate::step::Step;

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/index.wgsl"),
    include_str!("../../shaders/targets.wgsl")
);

kernel! {
    /// Binary cross-entropy, hit and gradient of every row; with mixup, `rows` is the `mix` of `mixup.wgsl`.
    BinaryCrossEntropy = "binary_cross_entropy" in "targets.wgsl", SOURCE;
    params LossParams; sections [step]; sides mixup: bool;
    read [rows: 2, targets: 3, logits: 4]; write [loss: 5, correct: 6, dlogits: 7]; variants mixup_or_not
}

kernel! {
    /// Binary cross-entropy and hit of every row.
    BinaryCrossEntropyForward = "binary_cross_entropy_forward" in "targets.wgsl", SOURCE;
    params LossParams; sections [step];
    read [rows: 2, targets: 3, logits: 4]; write [loss: 5, correct: 6]; variants || vec![constants(false)]
}

kernel! {
    /// Squared error and gradient of every row; with mixup, `rows` is the `mix` of `mixup.wgsl`.
    SquaredError = "squared_error" in "targets.wgsl", SOURCE;
    params LossParams; sections [step]; sides mixup: bool;
    read [rows: 2, targets: 3, logits: 4]; write [loss: 5, correct: 6, dlogits: 7]; variants mixup_or_not
}

kernel! {
    /// Squared error of every row.
    SquaredErrorForward = "squared_error_forward" in "targets.wgsl", SOURCE;
    params LossParams; sections [step];
    read [rows: 2, targets: 3, logits: 4]; write [loss: 5, correct: 6]; variants || vec![constants(false)]
}

/// One output: its loss and its derivative, with the errors that WGSL allows, and whether it is right.
struct Output {
    loss: f64,
    /// The magnitude of what the loss is added up from.
    size: f64,
    loss_error: f64,
    slope: f64,
    slope_error: f64,
    right: bool,
}

/// WGSL rounds to either side, 2 EPS. The shader's log(1 + e) is a series: the error of exp, and 16 EPS for the operations and
/// the terms left out. All of it is relative, so that it is right also where almost nothing is left of e.
fn binary(z: f32, t: f32) -> Output {
    let right = (z > 0.0) == (t > 0.5);
    let (z, t) = (f64::from(z), f64::from(t));
    let power = libm::exp(-z.abs());
    let power_error = power * exp_error(z) + FLUSH;
    let tail = libm::log1p(power);
    let sigmoid = if z >= 0.0 { 1.0 / (1.0 + power) } else { power / (1.0 + power) };
    // It moves by at most as much as e does; the addition and the division are 7 EPS.
    let sigmoid_error = power_error + 7.0 * EPS * sigmoid + FLUSH;
    let slope = sigmoid - t;
    Output {
        loss: z.max(0.0) - z * t + tail,
        size: z.max(0.0) + (z * t).abs() + tail,
        loss_error: power_error + 16.0 * EPS * tail + 6.0 * EPS * (z.max(0.0) + (z * t).abs()) + (3.0 + t.abs()) * FLUSH,
        slope,
        slope_error: sigmoid_error + 2.0 * EPS * slope.abs() + 2.0 * FLUSH,
        right,
    }
}

fn squared(z: f32, t: f32) -> Output {
    let difference = f64::from(z) - f64::from(t);
    // The difference may be flushed, and what it is the difference of.
    let error = 2.0 * EPS * difference.abs() + 3.0 * FLUSH;
    Output {
        loss: difference * difference,
        size: difference * difference,
        loss_error: (2.0 * difference.abs() + error) * error + 2.0 * EPS * difference * difference + FLUSH,
        slope: 2.0 * difference,
        slope_error: 2.0 * error,
        right: false,
    }
}

/// Two targets with their shares, of which the first has to be right. What is linear in the target the device takes of the mixed target,
/// or else it mixes two terms: two products and a sum, each rounded to either side, or flushed.
fn mixed(share: f64, [a, b]: [Output; 2], z: f32, targets: [f32; 2]) -> Output {
    let sum = |a: f64, b: f64| share * a + (1.0 - share) * b;
    let size = sum(a.size, b.size);
    let target = sum(f64::from(targets[0]).abs(), f64::from(targets[1]).abs());
    Output {
        loss: sum(a.loss, b.loss),
        size,
        loss_error: sum(a.loss_error, b.loss_error) + 8.0 * EPS * size + (3.0 + 3.0 * f64::from(z).abs()) * FLUSH,
        slope: sum(a.slope, b.slope),
        // Twice the error of the mixed target, for the squared error.
        slope_error: sum(a.slope_error, b.slope_error) + 2.0 * (6.0 * EPS * target + 3.0 * FLUSH),
        right: a.right,
    }
}

/// Calls `f` with the number and the outputs of every row.
fn for_each_row(
    output: fn(f32, f32) -> Output,
    (params, mixup, rows, targets, logits): (&LossParams, bool, Tensor, Tensor, Tensor),
    (memory, step, member): (&Memory, &Step, usize),
    mut f: impl FnMut(usize, &[Output]),
) {
    let (rows, targets, logits) = (memory.u32(rows, member), memory.f32(targets, member), memory.f32(logits, member));
    let (stride, outputs) = (params.row_stride as usize, params.classes as usize);
    for i in 0..step.rows as usize {
        let z = &logits[i * stride..][..outputs];
        let (sources, share) = sources(&rows, i, mixup);
        let target = |source: usize, c| targets[source * params.targets_row as usize + c];
        let of = |(c, &z): (usize, &f32)| match (mixup, sources.map(|source| target(source, c))) {
            (false, [t, _]) => output(z, t),
            (true, both) => mixed(share, both.map(|t| output(z, t)), z, both),
        };
        f(i, &z.iter().enumerate().map(of).collect::<Vec<_>>());
    }
}

fn mean(row: &[Output]) -> f64 {
    row.iter().map(|output| output.loss).sum::<f64>() / row.len() as f64
}

/// The errors of the terms and of adding them up; the division is 2.5 ULP, and the twin rounds.
fn mean_error(row: &[Output]) -> f64 {
    let n = row.len();
    let sum: f64 = row.iter().map(|output| output.loss_error + gamma(2 * n) * (output.size + output.loss_error) + FLUSH).sum();
    (sum * (1.0 + 6.0 * EPS)) / n as f64 + 6.0 * EPS * mean(row).abs() + FLUSH
}

/// The gradient of one output and its error. The divisor is the product of two rounded numbers, 4 EPS; the division is 2.5 ULP,
/// and the twin rounds.
fn gradient(output: &Output, outputs: usize, step: &Step) -> (f64, f64) {
    let count = outputs as f64 * f64::from(step.batch_rows);
    (output.slope / count, (output.slope_error + 11.0 * EPS * output.slope.abs()) * (1.0 + 11.0 * EPS) / count + FLUSH)
}

/// The kernels with a gradient.
macro_rules! training {
    ($kernel:ident, $output:ident) => {
        impl Kernel for $kernel {
            fn constants(&self) -> Constants {
                constants(self.mixup)
            }

            fn grid(&self) -> [u32; 2] {
                linear_grid(self.loss.len, MAX_GROUPS)
            }

            fn iterations(&self) -> u64 {
                2 * u64::from(self.params.classes / 4 + 2)
            }

            fn twin(&self, memory: &Memory, step: &Step, member: usize) {
                let (mut loss, mut correct) = (memory.f32_mut(self.loss, member), memory.u32_mut(self.correct, member));
                let mut dlogits = memory.f32_mut(self.dlogits, member);
                let stride = self.params.row_stride as usize;
                let tensors = (&self.params, self.mixup, self.rows, self.targets, self.logits);
                for_each_row($output, tensors, (memory, step, member), |i, row| {
                    loss[i] = mean(row) as f32;
                    correct[i] = u32::from(row.iter().all(|output| output.right));
                    dlogits[i * stride..][..row.len().next_multiple_of(4)].fill(0.0);
                    for (c, output) in row.iter().enumerate() {
                        dlogits[i * stride + c] = gradient(output, row.len(), step).0 as f32;
                    }
                });
            }

            fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
                let stride = self.params.row_stride as usize;
                let (mut loss, mut dlogits) = (Vec::new(), vec![-1.0; step.rows as usize * stride]);
                let tensors = (&self.params, self.mixup, self.rows, self.targets, self.logits);
                for_each_row($output, tensors, (memory, step, member), |i, row| {
                    loss.push(mean_error(row));
                    dlogits[i * stride..][..row.len().next_multiple_of(4)].fill(0.0);
                    for (c, output) in row.iter().enumerate() {
                        dlogits[i * stride + c] = gradient(output, row.len(), step).1;
                    }
                });
                vec![Tolerance::Bounds(loss), Tolerance::Exact, Tolerance::Bounds(dlogits)]
            }
        }
    };
}

/// The kernels without one.
macro_rules! evaluation {
    ($kernel:ident, $output:ident) => {
        impl Kernel for $kernel {
            fn constants(&self) -> Constants {
                constants(false)
            }

            fn grid(&self) -> [u32; 2] {
                linear_grid(self.loss.len, MAX_GROUPS)
            }

            fn iterations(&self) -> u64 {
                u64::from(self.params.classes / 4 + 2)
            }

            fn twin(&self, memory: &Memory, step: &Step, member: usize) {
                let (mut loss, mut correct) = (memory.f32_mut(self.loss, member), memory.u32_mut(self.correct, member));
                let tensors = (&self.params, false, self.rows, self.targets, self.logits);
                for_each_row($output, tensors, (memory, step, member), |i, row| {
                    loss[i] = mean(row) as f32;
                    correct[i] = u32::from(row.iter().all(|output| output.right));
                });
            }

            fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
                let mut loss = Vec::new();
                let tensors = (&self.params, false, self.rows, self.targets, self.logits);
                for_each_row($output, tensors, (memory, step, member), |_, row| loss.push(mean_error(row)));
                vec![Tolerance::Bounds(loss), Tolerance::Exact]
            }
        }
    };
}

training!(BinaryCrossEntropy, binary);
training!(SquaredError, squared);
evaluation!(BinaryCrossEntropyForward, binary);
evaluation!(SquaredErrorForward, squared);
