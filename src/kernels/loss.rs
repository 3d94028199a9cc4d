//! `shaders/loss.wgsl`: softmax cross-entropy per row, with its gradient. The twins compute in f64 and round once.

use super::{Constants, EPS, FLUSH, Kernel, MAX_GROUPS, Tolerance, exp_error, gamma, kernel, linear_grid, params};
use crate::memory::{Memory, Tensor};
use crate::step::Step;

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/index.wgsl"),
    include_str!("../../shaders/loss.wgsl")
);

params! {
    /// `params` of `loss.wgsl`.
    LossParams {
        classes: u32, row_stride: u32,
        rows_stride: u32, logits_stride: u32, loss_stride: u32, correct_stride: u32, dlogits_stride: u32, targets_row: u32,
    }
}

kernel! {
    /// Loss, hit and gradient of every row; with mixup, `rows` is the `mix` of `mixup.wgsl`.
    CrossEntropy = "cross_entropy" in "loss.wgsl", SOURCE;
    params LossParams; sections [step]; sides mixup: bool;
    read [rows: 2, labels: 3, logits: 4]; write [loss: 5, correct: 6, dlogits: 7]; variants mixup_or_not
}

kernel! {
    /// Loss and hit of every row.
    CrossEntropyForward = "cross_entropy_forward" in "loss.wgsl", SOURCE;
    params LossParams; sections [step];
    read [rows: 2, labels: 3, logits: 4]; write [loss: 5, correct: 6]; variants || vec![constants(false)]
}

/// What the modules of the losses are specialised by.
pub(super) fn constants(mixup: bool) -> Constants {
    vec![("MIXUP", mixup.into())]
}

pub(super) fn mixup_or_not() -> Vec<Constants> {
    vec![constants(false), constants(true)]
}

/// Where the targets of row i lie: at its own row of the data set with this share, at its partner's with the rest.
pub(super) fn sources(rows: &[u32], i: usize, mixup: bool) -> ([usize; 2], f64) {
    match mixup {
        true => ([rows[4 * i] as usize, rows[4 * i + 1] as usize], f64::from(f32::from_bits(rows[4 * i + 2]))),
        false => ([rows[i] as usize; 2], 1.0),
    }
}

/// One row: its labels and softmax, what the loss is made of, and the errors that WGSL allows.
struct Row {
    labels: [usize; 2],
    share: f64,
    best: usize,
    loss: f64,
    loss_error: f64,
    probabilities: Vec<f64>,
    probability_errors: Vec<f64>,
}

fn row(z: &[f32], labels: [usize; 2], share: f64) -> Row {
    let best = (0..z.len()).fold(0, |best, c| if z[c] > z[best] { c } else { best });
    let largest = f64::from(z[best]);
    let shifted: Vec<f64> = z.iter().map(|&v| f64::from(v) - largest).collect();
    let powers: Vec<f64> = shifted.iter().map(|&d| libm::exp(d)).collect();
    let sum: f64 = powers.iter().sum();
    // The shift rounds once, exp has WGSL's error, the sum of n terms gamma_n.
    let power_error = |c: usize| exp_error(shifted[c]) + EPS * shifted[c].abs();
    let sum_error = (0..z.len()).map(|c| powers[c] * power_error(c)).sum::<f64>() / sum + gamma(z.len());
    let log = libm::log(sum);
    // log: 2^-21 absolute in [0.5, 2], otherwise 3 ULP.
    let log_error = 1.0 / f64::from(1 << 21) + 6.0 * EPS * log + sum_error;
    let margins = labels.map(|label| largest - f64::from(z[label]));
    let margin = share * margins[0] + (1.0 - share) * margins[1];
    // Two products and their sum, either side of a rounding and flushed.
    let (mixing, flush) = if share < 1.0 { (6.0 * EPS * margin, 3.0 * FLUSH) } else { (0.0, 0.0) };
    Row {
        labels,
        share,
        best,
        loss: log + margin,
        loss_error: log_error + 3.0 * EPS * (margin + log) + mixing + flush,
        probabilities: powers.iter().map(|p| p / sum).collect(),
        // The division has 2.5 ULP. The power and the quotient may be flushed.
        probability_errors: (0..z.len())
            .map(|c| powers[c] / sum * (power_error(c) + sum_error + 6.0 * EPS) + 2.0 * FLUSH)
            .collect(),
    }
}

fn for_each_row(
    (params, mixup, rows, labels, logits): (&LossParams, bool, Tensor, Tensor, Tensor),
    (memory, step, member): (&Memory, &Step, usize),
    mut f: impl FnMut(usize, Row),
) {
    let (rows, labels, logits) = (memory.u32(rows, member), memory.u32(labels, member), memory.f32(logits, member));
    for i in 0..step.rows as usize {
        let z = &logits[i * params.row_stride as usize..][..params.classes as usize];
        let (sources, share) = sources(&rows, i, mixup);
        f(i, row(z, sources.map(|source| labels[source] as usize), share));
    }
}

/// The gradient of one row and its error: of the probability, of the subtraction and of the division, 2.5 ULP or flushed.
fn gradient(row: &Row, c: usize, batch: f64) -> (f64, f64) {
    let share = |at: usize, share: f64| if c == row.labels[at] { share } else { 0.0 };
    let target = share(0, row.share) + share(1, 1.0 - row.share);
    let difference = row.probabilities[c] - target;
    (difference / batch, (row.probability_errors[c] + 8.0 * EPS * difference.abs()) / batch + FLUSH)
}

impl Kernel for CrossEntropy {
    fn constants(&self) -> Constants {
        constants(self.mixup)
    }

    fn grid(&self) -> [u32; 2] {
        linear_grid(self.loss.len, MAX_GROUPS)
    }

    fn iterations(&self) -> u64 {
        3 * u64::from(self.params.classes / 4 + 2)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let (mut loss, mut correct) = (memory.f32_mut(self.loss, member), memory.u32_mut(self.correct, member));
        let mut dlogits = memory.f32_mut(self.dlogits, member);
        let stride = self.params.row_stride as usize;
        for_each_row((&self.params, self.mixup, self.rows, self.labels, self.logits), (memory, step, member), |i, row| {
            loss[i] = row.loss as f32;
            correct[i] = u32::from(row.best == row.labels[0]);
            dlogits[i * stride..][..row.probabilities.len().next_multiple_of(4)].fill(0.0);
            for c in 0..row.probabilities.len() {
                dlogits[i * stride + c] = gradient(&row, c, f64::from(step.batch_rows)).0 as f32;
            }
        });
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        let stride = self.params.row_stride as usize;
        let (mut loss, mut dlogits) = (Vec::new(), vec![-1.0; step.rows as usize * stride]);
        for_each_row((&self.params, self.mixup, self.rows, self.labels, self.logits), (memory, step, member), |i, row| {
            loss.push(row.loss_error);
            dlogits[i * stride..][..row.probabilities.len().next_multiple_of(4)].fill(0.0);
            for c in 0..row.probabilities.len() {
                dlogits[i * stride + c] = gradient(&row, c, f64::from(step.batch_rows)).1;
            }
        });
        vec![Tolerance::Bounds(loss), Tolerance::Exact, Tolerance::Bounds(dlogits)]
    }
}

impl Kernel for CrossEntropyForward {
    fn constants(&self) -> Constants {
        constants(false)
    }

    fn grid(&self) -> [u32; 2] {
        linear_grid(self.loss.len, MAX_GROUPS)
    }

    fn iterations(&self) -> u64 {
        2 * u64::from(self.params.classes / 4 + 2)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let (mut loss, mut correct) = (memory.f32_mut(self.loss, member), memory.u32_mut(self.correct, member));
        for_each_row((&self.params, false, self.rows, self.labels, self.logits), (memory, step, member), |i, row| {
            loss[i] = row.loss as f32;
            correct[i] = u32::from(row.best == row.labels[0]);
        });
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        let mut loss = Vec::new();
        for_each_row((&self.params, false, self.rows, self.labels, self.logits), (memory, step, member), |_, row| {
            loss.push(row.loss_error);
        });
        vec![Tolerance::Bounds(loss), Tolerance::Exact]
    }
}
