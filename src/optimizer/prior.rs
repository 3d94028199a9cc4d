//! L2 as a prior: the weight decay with which dropout approximates a Gaussian process.
//!
//! Gal and Ghahramani (ICML 2016, section 3 and equation 7; appendix, section 4.2) minimise, for N rows, D targets a row and
//! weights M whose input units are kept with probability p,
//!
//! ```text
//! J = 1/(2N) sum_n |y_n - f(x_n)|^2 + lambda |M|^2,      lambda = p l^2 / (2 N tau)
//! ```
//!
//! l is the prior length scale, tau the precision of the observation noise. This crate's mean squared error is a mean over rows
//! and targets without the 1/2, and weight decay wd adds `wd W` to its gradient, the gradient of `wd/2 |W|^2`:
//!
//! ```text
//! ours = 1/(ND) sum_n |y_n - f(x_n)|^2 + wd/2 |W|^2 = (2/D) J    where    wd/2 |W|^2 = (2 lambda / D) |M|^2
//! ```
//!
//! The paper's f(x) = (x z) M, z the mask, has no 1 / p: that is vanilla dropout, W = M, and `wd = 4 lambda / D`. Inverted
//! dropout computes (x z / p) W, so that W = p M and |M|^2 = |W|^2 / p^2:
//!
//! ```text
//! wd = 2 p l^2 / (N tau D)       vanilla
//! wd = 2 l^2 / (p N tau D)       inverted, and shared units, which are scaled by 1 / p but for rounding of their number
//! ```
//!
//! Where tau goes: the paper divides -log p(y) by it. [`Loss::GaussianNll`](crate::Loss::GaussianNll) has the variances in -log
//! p(y), of which it is 1/D: there tau is 2 in these formulas, and nothing is divided by it.
//!
//! What does not fit exactly: one weight decay serves all parameters, so that layers behind sites of other rates have another
//! length scale, and biases, whose term in the paper has no p, are decayed by as much as weights. AdamW's decay is decoupled and
//! no L2.

use crate::network::{Dropout, DropoutMode};
use crate::{Error, Result};

/// What a weight decay follows from, beside the precision of the observation noise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prior {
    /// Prior length scale l, in units of the inputs: a small one lets the function change fast, so weights decay little.
    pub length_scale: f64,
    /// The dropout in front of the weights.
    pub dropout: Dropout,
    /// Rows to train on, N.
    pub rows: u32,
    /// Targets of a row, D.
    pub targets: u32,
}

impl Prior {
    /// `weight_decay * precision`.
    fn product(&self) -> Result<f64> {
        let Self { length_scale, dropout, rows, targets } = *self;
        checked("length_scale", length_scale)?;
        checked("keep_prob", dropout.keep.get())?;
        checked("rows", f64::from(rows))?;
        checked("targets", f64::from(targets))?;
        let share = match dropout.mode {
            DropoutMode::Vanilla => dropout.keep.get(),
            _ => f64::from(dropout.keep.scale()),
        };
        Ok(2.0 * share * length_scale * length_scale / (f64::from(rows) * f64::from(targets)))
    }
}

/// # Errors
/// Only positive numbers have a quotient that means something.
fn checked(option: &'static str, value: f64) -> Result<()> {
    match value > 0.0 && value.is_finite() {
        true => Ok(()),
        false => {
            Err(Error::Option { option, value: value.to_string(), problem: "a prior needs a finite number above 0 here".into() })
        }
    }
}

/// The weight decay of a training with mean squared error under which dropout approximates a Gaussian process with observation
/// noise of this precision: `2 p l^2 / (N precision D)` for vanilla dropout, `2 l^2 / (p N precision D)` for inverted dropout.
///
/// The precision is 1 / variance in the unit that the network is trained in, of standardised targets if they are. With
/// [`Loss::GaussianNll`](crate::Loss::GaussianNll) it is 2. The module `optimizer::prior` has the derivation.
///
/// # Errors
/// A number that is not finite and above 0, a keep_prob of 0.
///
/// ```
/// use thinnet::Dropout;
/// use thinnet::optimizer::{Prior, precision_of, weight_decay_of};
/// let prior = Prior { length_scale: 0.5, dropout: Dropout::keep(0.8)?.vanilla(), rows: 400, targets: 1 };
/// let lambda = 0.8 * 0.5 * 0.5 / (2.0 * 400.0 * 10.0); // the paper's
/// assert!((weight_decay_of(&prior, 10.0)? - 4.0 * lambda).abs() < 1e-18);
/// assert!((precision_of(&prior, 4.0 * lambda)? - 10.0).abs() < 1e-12);
/// # Ok::<(), thinnet::Error>(())
/// ```
pub fn weight_decay_of(prior: &Prior, precision: f64) -> Result<f64> {
    checked("precision", precision)?;
    Ok(prior.product()? / precision)
}

/// The precision of the observation noise that a training with this weight decay implies: the inverse of [`weight_decay_of`], and
/// equation 7 of Gal and Ghahramani 2016 for this crate's loss. Monte-Carlo predictions have `1 / precision` as variance beside
/// that of the draws.
///
/// # Errors
/// As [`weight_decay_of`]; a weight decay of 0 implies no finite precision.
pub fn precision_of(prior: &Prior, weight_decay: f64) -> Result<f64> {
    checked("weight_decay", weight_decay)?;
    Ok(prior.product()? / weight_decay)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Activation, Dense, Loss, Network};
    use crate::reference::{self, Masks};

    /// 6 rows of 3 columns and 2 targets; weights of 3-5-2, or 4 for means and log variances.
    fn numbers(count: usize, phase: f64) -> Vec<f64> {
        (0..count).map(|i| (1.7 * i as f64 + phase).sin()).collect()
    }

    const SAMPLES: [u32; 6] = [3, 1, 4, 159, 26, 5];
    const KEEP: f64 = 0.7;

    fn network(dropout: Dropout, loss: Loss) -> (Network, Vec<Vec<f64>>) {
        let outputs = if loss == Loss::GaussianNll { 4 } else { 2 };
        let hidden = Network::new(3).dropout(dropout).dense(Dense::new(5).activation(Activation::Tanh));
        let network = hidden.dropout(dropout).dense(Dense::new(outputs)).loss(loss);
        let weights = network.parameters().unwrap().iter().zip(1..).map(|(p, t)| numbers(p.len(), f64::from(t))).collect();
        (network, weights)
    }

    /// Gradient of the crate's loss in f64, with what weight decay adds to it.
    fn ours(network: &Network, weights: &[Vec<f64>], weight_decay: f64) -> Vec<Vec<f64>> {
        let masks = Masks::Drawn { seed: 7, pass: 1, update: 0, samples: &SAMPLES };
        let (inputs, targets) = (numbers(18, 0.3), numbers(12, 0.9));
        let mut gradients = reference::gradients(network, weights, &inputs, &targets, &masks).unwrap();
        gradients.iter_mut().zip(weights).for_each(|(g, w)| g.iter_mut().zip(w).for_each(|(g, w)| *g += weight_decay * w));
        gradients
    }

    /// The paper's objective times tau, -log p(y) / N + p l^2 / (2N) |M|^2, written down from the paper: over vanilla dropout,
    /// with 0.5 tau d^2 a target (the constants do not matter), or with the variances that the network gives.
    fn paper(network: &Network, weights: &[Vec<f64>], length_scale: f64, tau: f64) -> f64 {
        let masks = Masks::Drawn { seed: 7, pass: 1, update: 0, samples: &SAMPLES };
        let (inputs, targets) = (numbers(18, 0.3), numbers(12, 0.9));
        let z = reference::forward(network, weights, &inputs, &masks).unwrap().pop().unwrap();
        let outputs = z.len() / 6;
        let nats: f64 = (0..12)
            .map(|i| {
                let (row, target) = (&z[i / 2 * outputs..][..outputs], i % 2);
                let d = row[target] - targets[i];
                if outputs == 4 { 0.5 * (row[2 + target] + d * d / row[2 + target].exp()) } else { 0.5 * tau * d * d }
            })
            .sum();
        let squares: f64 = weights.iter().step_by(2).flatten().map(|w| w * w).sum();
        nats / 6.0 + KEEP * length_scale * length_scale / (2.0 * 6.0) * squares
    }

    /// Central differences of the paper's objective by every weight M; biases are left out, for they are not decayed alike.
    fn paper_gradient(loss: Loss, length_scale: f64, tau: f64, change: f64) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
        let (network, mut weights) = network(Dropout::keep(KEEP).unwrap().vanilla(), loss);
        let at = weights.clone();
        let mut gradients = Vec::new();
        for t in [0, 2] {
            gradients.push(
                (0..at[t].len())
                    .map(|i| {
                        let mut of = |w: f64| {
                            weights[t][i] = w;
                            paper(&network, &weights, length_scale * change, tau)
                        };
                        let slope = (of(at[t][i] + 1e-5) - of(at[t][i] - 1e-5)) / 2e-5;
                        weights[t][i] = at[t][i];
                        slope
                    })
                    .collect(),
            );
        }
        (at, gradients)
    }

    fn largest_difference(a: &[Vec<f64>], b: &[Vec<f64>]) -> f64 {
        a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    }

    #[test]
    fn the_penalised_gradient_is_the_papers_times_the_stated_factor() {
        let (length_scale, tau) = (1.3, 3.0);
        for (loss, factor, precision) in [(Loss::MeanSquaredError, 2.0 / (2.0 * tau), tau), (Loss::GaussianNll, 1.0 / 2.0, 2.0)] {
            for change in [1.0, 1.01] {
                let (m, paper) = paper_gradient(loss, length_scale, tau, change);
                let dropout = Dropout::keep(KEEP).unwrap();
                // W = M, and dJ/dW = dJ/dM; W = p M, and dJ/dW = dJ/dM / p.
                for (dropout, scale) in [(dropout.vanilla(), 1.0), (dropout, f64::from(dropout.train_scale(5)))] {
                    let (network, _) = network(dropout, loss);
                    let prior = Prior { length_scale, dropout, rows: 6, targets: 2 };
                    let decay = weight_decay_of(&prior, precision).unwrap();
                    assert!((precision_of(&prior, decay).unwrap() - precision).abs() < 1e-14);
                    let mut w = m.clone();
                    w.iter_mut().step_by(2).flatten().for_each(|w| *w /= scale);
                    let found = ours(&network, &w, decay);
                    let found = [found[0].clone(), found[2].clone()];
                    let expected: Vec<Vec<f64>> = paper.iter().map(|g| g.iter().map(|g| factor * scale * g).collect()).collect();
                    // Central differences of step 1e-5 are off by 1e-10 times third derivatives, of f64 by 1e-16 / 1e-5. One per
                    // cent of the length scale is 2 % of a penalty of 0.03 to 0.5.
                    let apart = largest_difference(&found, &expected);
                    assert_eq!(apart < 1e-6, change == 1.0, "{loss:?}, {:?}, length scale x {change}: {apart:e}", dropout.mode);
                }
            }
        }
    }

    #[test]
    fn numbers_that_are_no_prior_are_named() {
        let prior = Prior { length_scale: 1.0, dropout: Dropout::keep(0.5).unwrap(), rows: 10, targets: 1 };
        let says = |result: Result<f64>, what: &str| {
            let message = result.unwrap_err().to_string();
            assert!(message.contains(what), "{message}");
        };
        says(weight_decay_of(&prior, 0.0), "precision");
        says(weight_decay_of(&Prior { length_scale: -1.0, ..prior }, 1.0), "length_scale");
        says(weight_decay_of(&Prior { length_scale: f64::NAN, ..prior }, 1.0), "NaN");
        says(weight_decay_of(&Prior { dropout: Dropout::keep(0.0).unwrap(), ..prior }, 1.0), "keep_prob");
        says(precision_of(&Prior { rows: 0, ..prior }, 1.0), "rows");
        says(precision_of(&Prior { targets: 0, ..prior }, 1.0), "targets");
        says(precision_of(&prior, 0.0), "weight_decay");
    }
}
