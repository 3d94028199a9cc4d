//! An independent oracle: a whole network forward and backward in f64, written from the formulas.
//!
//! Invariant: this module imports only `network`, `rng` and the [`Augmentation`](crate::Augmentation) (and the crate's error). It knows nothing of plans, kernels,
//! devices or padded batches, so that nothing the fast path gets wrong can be wrong here for the same reason.
//!
//! ```text
//! dense     z[r,u] = b[u] + sum_i W[u,i] x[r,i],   y = f(z);   g = dL/dy * f'(z)
//!           dW[u,i] = sum_r g[r,u] x[r,i],   db[u] = sum_r g[r,u],   dx[r,i] = sum_u g[r,u] W[u,i]
//! conv2d    the same with z and the sums of `network::Conv2d`'s formula
//! pools     max: dx goes to the first of the largest; average: each pixel gets dy / (kernel height * kernel width)
//! dropout   y = x * scale where the unit is kept, 0 where it is dropped; dx likewise from dy (Srivastava et al. 2014)
//!           in evaluation y = x, for vanilla dropout, whose scale in training is 1, y = keep_prob * x
//! norms     y = weight (x - mean) / sqrt(variance + epsilon) + bias
//! residual  y = skip(x) + branch(x);   dx = the sum of both ways
//! weights   DropConnect: y = f(x (m * W)^T + b), m the factors of one mask for the batch (Wan et al., ICML 2013)
//! ```
//!
//! A branch that ends in path dropout is computed for the rows that keep it, and for no others: batch norms inside see those rows
//! only, sites inside those rows' samples. Batch norm takes the statistics of the rows where masks are drawn (training), the
//! running ones in evaluation.
//!
//! The masks and other noise are in `reference/masks.rs`, concrete dropout in `reference/concrete.rs`, recurrent layers and
//! embeddings in files of these names, convolutions and pools in `reference/maps.rs`, normalisation in `reference/norm.rs`, the
//! losses in `reference/loss.rs`, the optimizers in `reference/optimizer.rs`. Matrices and maps `[C, H, W]` are row-major.
//! Weights and gradients are one vector per tensor in the order of [`Network::parameters`]; running statistics have gradient 0.

use crate::network::{Layer, Network};
#[cfg(doc)]
use crate::rng::Stream;
use crate::{Error, Result};
use masks::SiteFactors;

mod augmentation;
mod concrete;
mod embedding;
mod functions;
mod layers;
mod loss;
mod maps;
pub(crate) mod masks;
mod norm;
mod optimizer;
mod recurrent;

pub use augmentation::{Augmented, augmented, partner};
pub use concrete::concrete_regularizer;
pub(crate) use loss::central_differences;
pub use loss::{Targets, all_gradients, gradients, loss, numeric_gradients, objective, objective_gradients, row_losses};
pub use optimizer::{Adam, RmsProp, Sgd, adam_step, clip_factor, max_norm, rmsprop_step, sgd_step};

/// Which masks are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Masks<'a> {
    /// Training masks of the mask contract: the word of [`Stream::TrainingMask`] at (site, pass, sample, unit), or, where a batch
    /// shares the mask, of [`Stream::BatchMask`] at (site, update, 0, unit). Batch norms take the statistics of the rows.
    Drawn {
        /// The seed of the run.
        seed: u64,
        /// The epoch.
        pass: u32,
        /// The optimizer step, 0 for the first.
        update: u32,
        /// The sample number of every row, `[rows]`.
        samples: &'a [u32],
    },
    /// Evaluation: no mask; vanilla dropout scales every unit, batch norms take the running statistics.
    None,
}

/// What goes into a network: rows of inputs, and how long the rows are, where they are sequences.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Batch<'a> {
    /// `[rows, elements]`, row-major.
    pub inputs: &'a [f64],
    /// Steps of every row, 1 to T; `None`: all have T. What stands behind them is not looked at.
    pub lengths: Option<&'a [u32]>,
}

impl<'a> From<&'a [f64]> for Batch<'a> {
    fn from(inputs: &'a [f64]) -> Self {
        Self { inputs, lengths: None }
    }
}

impl<'a> From<&'a Vec<f64>> for Batch<'a> {
    fn from(inputs: &'a Vec<f64>) -> Self {
        Self { inputs, lengths: None }
    }
}

impl<'a, const N: usize> From<&'a [f64; N]> for Batch<'a> {
    fn from(inputs: &'a [f64; N]) -> Self {
        Self { inputs, lengths: None }
    }
}

/// Checks that lengths and words are some.
fn check_sequences(network: &Network, Batch { inputs, lengths }: Batch, rows: usize) -> Result<()> {
    let steps = network.input.0[0];
    if let Some(lengths) = lengths {
        if lengths.len() != rows {
            return Err(Error::Data(format!("{} lengths for {rows} rows; give one to each row", lengths.len())));
        }
        if let Some(length) = lengths.iter().find(|&&length| !(1..=steps).contains(&length)) {
            return Err(Error::Data(format!("a length of {length} is not from 1 to {steps} steps")));
        }
    }
    if let Some(Layer::Embedding(table)) = network.layers.first() {
        for (row, ids) in inputs.chunks(steps as usize).enumerate() {
            let length = lengths.map_or(steps, |lengths| lengths[row]) as usize;
            let words = f64::from(table.vocabulary);
            if let Some(id) = ids[..length].iter().find(|id| !(-0.5..words - 0.5).contains(*id)) {
                return Err(Error::Data(format!("row {row} has {id}, which is the number of none of the {words} words")));
            }
        }
    }
    Ok(())
}

/// Checks all lengths and gathers the layers.
fn nodes<'a>(network: &'a Network, weights: &[Vec<f64>], batch: Batch, masks: &Masks) -> Result<Vec<layers::Node<'a>>> {
    let (nodes, inputs) = (layers::nodes(network)?, batch.inputs);
    let columns = network.input.elements() as usize;
    if inputs.is_empty() || !inputs.len().is_multiple_of(columns) {
        return Err(Error::Data(format!("{} input values are not one or more rows of {columns}", inputs.len())));
    }
    let rows = inputs.len() / columns;
    let expected: Vec<usize> = network.parameters()?.iter().map(|p| p.len()).collect();
    let given: Vec<usize> = weights.iter().map(Vec::len).collect();
    if expected != given {
        return Err(Error::Data(format!("weight tensors have {given:?} elements, the network needs {expected:?}")));
    }
    if let Masks::Drawn { samples, .. } = masks
        && samples.len() != rows
    {
        return Err(Error::Data(format!("{} sample numbers for {rows} rows; give one to each row", samples.len())));
    }
    check_sequences(network, batch, rows)?;
    Ok(nodes)
}

/// The output of every layer of [`Network::layers`], each `[rows, elements]`, dense layers and convolutions after their
/// activation, of a residual block the sum; `inputs` is `[rows, elements]`.
///
/// # Errors
/// A network that does not fit together; weights, inputs or sample numbers of another length than it needs; no row.
pub fn forward<'a>(
    network: &Network,
    weights: &[Vec<f64>],
    inputs: impl Into<Batch<'a>>,
    masks: &Masks,
) -> Result<Vec<Vec<f64>>> {
    let (_, done) = run(network, weights, inputs.into(), masks)?;
    Ok(done.into_iter().map(|done| done.y).collect())
}

/// The layers, and a forward pass through them.
fn run<'a>(
    network: &'a Network,
    weights: &[Vec<f64>],
    batch: Batch,
    masks: &Masks,
) -> Result<(Vec<layers::Node<'a>>, Vec<layers::Done>)> {
    let nodes = nodes(network, weights, batch, masks)?;
    let done = layers::forward(&nodes, weights, batch.inputs, batch.lengths, masks);
    Ok((nodes, done))
}

/// What every site does to the elements of one sample.
pub(crate) fn site_factors(network: &Network, masks: &Masks) -> Result<Vec<SiteFactors>> {
    Ok(layers::site_factors(&layers::nodes(network)?, masks))
}

/// Gradients of sum(`output_gradient` * output), with respect to every parameter tensor and to the inputs
/// `[rows, elements]`, for any `output_gradient` `[rows, outputs]`: reverse-mode differentiation, layer by layer.
///
/// # Errors
/// As [`forward`]; an `output_gradient` of another length than the output.
pub fn backward<'a>(
    network: &Network,
    weights: &[Vec<f64>],
    inputs: impl Into<Batch<'a>>,
    output_gradient: &[f64],
    masks: &Masks,
) -> Result<(Vec<Vec<f64>>, Vec<f64>)> {
    let (nodes, done) = run(network, weights, inputs.into(), masks)?;
    let elements = done.last().map_or(0, |last| last.y.len());
    if output_gradient.len() != elements {
        let given = output_gradient.len();
        return Err(Error::Data(format!("output_gradient has {given} elements, the output has {elements}")));
    }
    let mut gradients: Vec<Vec<f64>> = weights.iter().map(|w| vec![0.0; w.len()]).collect();
    let dx = layers::backward(&nodes, &done, weights, output_gradient, &mut gradients);
    Ok((gradients, dx))
}

/// The running statistics after a training step on these rows: the new values of the tensors that are not trained, in the order
/// of [`Network::parameters`]. In evaluation ([`Masks::None`]) they stay as they are.
///
/// # Errors
/// As [`forward`].
pub fn running_statistics<'a>(
    network: &Network,
    weights: &[Vec<f64>],
    inputs: impl Into<Batch<'a>>,
    masks: &Masks,
) -> Result<Vec<Vec<f64>>> {
    let (nodes, done) = run(network, weights, inputs.into(), masks)?;
    Ok(layers::running_statistics(&nodes, &done, weights))
}

/// How far this pass stays away from places where the output has no derivative: the least argument of a rectifier (ReLU, leaky
/// ReLU, SELU) by magnitude, and the least distance between the largest pixel under a max pool's window and the next. Infinite
/// where there are none. Steps of finite differences, and roundings, have to stay far below it.
///
/// # Errors
/// As [`forward`].
pub fn kink_distance<'a>(network: &Network, weights: &[Vec<f64>], inputs: impl Into<Batch<'a>>, masks: &Masks) -> Result<f64> {
    let (nodes, done) = run(network, weights, inputs.into(), masks)?;
    Ok(layers::kink_distance(&nodes, &done))
}

#[cfg(test)]
mod tests;
