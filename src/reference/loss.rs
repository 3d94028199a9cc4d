//! Losses, and their gradients with respect to the network's output z.
//!
//! ```text
//! softmax cross-entropy   L_r = log sum_c exp(z[r,c]) - z[r,label_r]
//!                         dL/dz[r,c] = (softmax(z[r])[c] - [c = label_r]) / rows               (Bishop 2006, section 4.3.4)
//! binary cross-entropy    L_r = mean over c of -t log s(z) - (1 - t) log(1 - s(z)),   s(z) = 1 / (1 + exp(-z))
//!                         dL/dz[r,c] = (s(z[r,c]) - t[r,c]) / (rows outputs)                   (Bishop 2006, section 4.3.2)
//! mean squared error      L_r = mean over c of (z - t)^2,   dL/dz[r,c] = 2 (z[r,c] - t[r,c]) / (rows outputs)
//! Gaussian neg. log-lik.  L_r = mean over the targets of (v + d^2 exp(-v)) / 2,   d = mu - t, v = max(s, -20)
//!                         dL/dmu = d exp(-v) / (rows targets),   dL/ds = (1 - d^2 exp(-v)) / (2 rows targets), 0 where s < -20
//!                                                                        (Kendall and Gal 2017, equation 8)
//! L = mean over the rows of L_r
//! ```

use super::{Batch, Masks, backward, concrete_regularizer, forward};
use crate::network::{LEAST_LOG_VARIANCE, Loss, Network};
use crate::{Error, Result};

/// What the rows should become.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Targets<'a> {
    /// The class of every row, `[rows]`, for softmax cross-entropy.
    Labels(&'a [u32]),
    /// A number for every output, `[rows, outputs]`, for the other losses; `[rows, outputs / 2]` for the Gaussian one.
    Values(&'a [f64]),
}

impl<'a> From<&'a [u32]> for Targets<'a> {
    fn from(labels: &'a [u32]) -> Self {
        Self::Labels(labels)
    }
}

impl<'a> From<&'a Vec<u32>> for Targets<'a> {
    fn from(labels: &'a Vec<u32>) -> Self {
        Self::Labels(labels)
    }
}

impl<'a> From<&'a [f64]> for Targets<'a> {
    fn from(values: &'a [f64]) -> Self {
        Self::Values(values)
    }
}

impl<'a> From<&'a Vec<f64>> for Targets<'a> {
    fn from(values: &'a Vec<f64>) -> Self {
        Self::Values(values)
    }
}

/// log sum_c exp(z_c), shifted by the maximum so that nothing overflows.
pub(super) fn log_sum_exp(z: &[f64]) -> f64 {
    let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    max + z.iter().map(|z| (z - max).exp()).sum::<f64>().ln()
}

/// -t log s(z) - (1 - t) log(1 - s(z)), where -log s(z) = log(1 + exp(-z)) and -log(1 - s(z)) = log(1 + exp(z)).
fn binary_cross_entropy(z: f64, t: f64) -> f64 {
    let log_one_plus_exp = |x: f64| if x > 0.0 { x + (-x).exp().ln_1p() } else { x.exp().ln_1p() };
    t * log_one_plus_exp(-z) + (1.0 - t) * log_one_plus_exp(z)
}

/// Loss of one target, and its derivatives by the mean and by the log variance.
fn gaussian(mu: f64, s: f64, t: f64) -> [f64; 3] {
    let least = f64::from(LEAST_LOG_VARIANCE);
    let (d, v) = (mu - t, if s < least { least } else { s });
    let precision = (-v).exp();
    let by_log_variance = if s < least { 0.0 } else { (1.0 - d * d * precision) / 2.0 };
    [(v + d * d * precision) / 2.0, d * precision, by_log_variance]
}

/// The targets of one row.
#[derive(Clone, Copy)]
enum Row<'a> {
    Label(usize),
    Values(&'a [f64]),
}

/// The loss of one row.
fn row_loss(loss: Loss, z: &[f64], row: Row) -> f64 {
    match (loss, row) {
        (_, Row::Label(label)) => log_sum_exp(z) - z[label],
        (Loss::GaussianNll, Row::Values(t)) => {
            let terms = t.iter().enumerate().map(|(c, &t)| gaussian(z[c], z[z.len() / 2 + c], t)[0]);
            terms.sum::<f64>() / t.len() as f64
        }
        (loss, Row::Values(t)) => {
            let terms = z.iter().zip(t).map(|(&z, &t)| match loss {
                Loss::BinaryCrossEntropy => binary_cross_entropy(z, t),
                _ => (z - t) * (z - t),
            });
            terms.sum::<f64>() / z.len() as f64
        }
    }
}

/// The gradient of [`row_loss`].
fn row_gradient(loss: Loss, z: &[f64], row: Row) -> Vec<f64> {
    let outputs = z.len() as f64;
    let slope = |(c, &logit): (usize, &f64)| match (loss, row) {
        (_, Row::Label(label)) => (logit - log_sum_exp(z)).exp() - if c == label { 1.0 } else { 0.0 },
        (Loss::BinaryCrossEntropy, Row::Values(t)) => (1.0 / (1.0 + (-logit).exp()) - t[c]) / outputs,
        (Loss::GaussianNll, Row::Values(t)) => {
            let target = c % t.len();
            gaussian(z[target], z[t.len() + target], t[target])[1 + c / t.len()] / t.len() as f64
        }
        (_, Row::Values(t)) => 2.0 * (logit - t[c]) / outputs,
    };
    z.iter().enumerate().map(slope).collect()
}

/// The network's output and the targets of every row, after checking that they fit one another.
fn rows<'a>(
    network: &Network,
    weights: &[Vec<f64>],
    batch: Batch,
    targets: Targets<'a>,
    masks: &Masks,
) -> Result<Vec<(Vec<f64>, Row<'a>)>> {
    let outputs = network.outputs()? as usize;
    let z = forward(network, weights, batch, masks)?.pop().unwrap_or_default();
    let count = z.len() / outputs;
    let rows: Vec<Row> = match (network.loss, targets) {
        (Loss::SoftmaxCrossEntropy, Targets::Labels(labels)) => {
            if let Some(label) = labels.iter().find(|&&label| label as usize >= outputs) {
                return Err(Error::Data(format!("label {label} is none of the {outputs} classes")));
            }
            labels.iter().map(|&label| Row::Label(label as usize)).collect()
        }
        (loss @ Loss::SoftmaxCrossEntropy, Targets::Values(_)) => {
            return Err(Error::Data(format!("{loss:?} needs labels, not target values")));
        }
        (_, Targets::Values(values)) => {
            let columns = network.targets()? as usize;
            if values.len() != count * columns {
                return Err(Error::Data(format!("{} target values for {count} rows of {columns}", values.len())));
            }
            values.chunks(columns).map(Row::Values).collect()
        }
        (loss, Targets::Labels(_)) => return Err(Error::Data(format!("{loss:?} needs target values, not labels"))),
    };
    if rows.len() != count {
        return Err(Error::Data(format!("{} labels for {count} rows", rows.len())));
    }
    Ok(z.chunks(outputs).map(<[f64]>::to_vec).zip(rows).collect())
}

/// The loss of every row, `[rows]`.
///
/// # Errors
/// As [`forward`]; labels where the loss needs values, or the reverse; targets that do not fit the rows or the outputs.
pub fn row_losses<'a, 'b>(
    network: &Network,
    weights: &[Vec<f64>],
    inputs: impl Into<Batch<'b>>,
    targets: impl Into<Targets<'a>>,
    masks: &Masks,
) -> Result<Vec<f64>> {
    let rows = rows(network, weights, inputs.into(), targets.into(), masks)?;
    Ok(rows.iter().map(|(z, row)| row_loss(network.loss, z, *row)).collect())
}

/// The mean of [`row_losses`].
///
/// # Errors
/// As [`row_losses`].
pub fn loss<'a, 'b>(
    network: &Network,
    weights: &[Vec<f64>],
    inputs: impl Into<Batch<'b>>,
    targets: impl Into<Targets<'a>>,
    masks: &Masks,
) -> Result<f64> {
    let losses = row_losses(network, weights, inputs, targets, masks)?;
    Ok(losses.iter().sum::<f64>() / losses.len() as f64)
}

/// The gradient of [`loss`] with respect to every parameter tensor, a mean over the rows.
///
/// # Errors
/// As [`row_losses`].
pub fn gradients<'a, 'b>(
    network: &Network,
    weights: &[Vec<f64>],
    inputs: impl Into<Batch<'b>>,
    targets: impl Into<Targets<'a>>,
    masks: &Masks,
) -> Result<Vec<Vec<f64>>> {
    Ok(all_gradients(network, weights, inputs, targets, masks)?.0)
}

/// The gradients of [`loss`] with respect to every parameter tensor, and to the inputs.
///
/// # Errors
/// As [`row_losses`].
pub fn all_gradients<'a, 'b>(
    network: &Network,
    weights: &[Vec<f64>],
    inputs: impl Into<Batch<'b>>,
    targets: impl Into<Targets<'a>>,
    masks: &Masks,
) -> Result<(Vec<Vec<f64>>, Vec<f64>)> {
    let batch = inputs.into();
    let rows = rows(network, weights, batch, targets.into(), masks)?;
    let of_row = |(z, row): &(Vec<f64>, Row)| row_gradient(network.loss, z, *row);
    let gradient: Vec<f64> = rows.iter().flat_map(of_row).map(|g| g / rows.len() as f64).collect();
    backward(network, weights, batch, &gradient, masks)
}

/// What a training step minimises: [`loss`], and [`concrete_regularizer`](super::concrete_regularizer).
///
/// # Errors
/// As [`row_losses`].
pub fn objective<'a, 'b>(
    network: &Network,
    weights: &[Vec<f64>],
    inputs: impl Into<Batch<'b>>,
    targets: impl Into<Targets<'a>>,
    masks: &Masks,
) -> Result<f64> {
    Ok(loss(network, weights, inputs, targets, masks)? + concrete_regularizer(network, weights)?.0)
}

/// The gradients of [`objective`] with respect to every parameter tensor, and to the inputs.
///
/// # Errors
/// As [`row_losses`].
pub fn objective_gradients<'a, 'b>(
    network: &Network,
    weights: &[Vec<f64>],
    inputs: impl Into<Batch<'b>>,
    targets: impl Into<Targets<'a>>,
    masks: &Masks,
) -> Result<(Vec<Vec<f64>>, Vec<f64>)> {
    let (mut gradients, dx) = all_gradients(network, weights, inputs, targets, masks)?;
    let (_, regularizers) = concrete_regularizer(network, weights)?;
    gradients.iter_mut().flatten().zip(regularizers.iter().flatten()).for_each(|(sum, g)| *sum += g);
    Ok((gradients, dx))
}

/// [`gradients`] by central differences, `(loss(w + step) - loss(w - step)) / (2 step)` for every single parameter.
///
/// The masks are pure functions of their coordinates, so they stand still while a weight moves.
///
/// # Errors
/// As [`row_losses`].
pub fn numeric_gradients<'a, 'b>(
    network: &Network,
    weights: &[Vec<f64>],
    inputs: impl Into<Batch<'b>>,
    targets: impl Into<Targets<'a>>,
    masks: &Masks,
    step: f64,
) -> Result<Vec<Vec<f64>>> {
    let (batch, targets) = (inputs.into(), targets.into());
    central_differences(weights, step, |moved| loss(network, moved, batch, targets, masks))
}

/// The partial derivatives of `f` at `at` by central differences.
pub(crate) fn central_differences(at: &[Vec<f64>], step: f64, f: impl Fn(&[Vec<f64>]) -> Result<f64>) -> Result<Vec<Vec<f64>>> {
    let mut moved = at.to_vec();
    let mut derivatives = at.to_vec();
    for t in 0..at.len() {
        for i in 0..at[t].len() {
            moved[t][i] = at[t][i] + step;
            let above = f(&moved)?;
            moved[t][i] = at[t][i] - step;
            derivatives[t][i] = (above - f(&moved)?) / (2.0 * step);
            moved[t][i] = at[t][i];
        }
    }
    Ok(derivatives)
}
