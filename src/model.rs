//! [`Model`]: a network with weights, in host memory. It evaluates, predicts, and is saved and loaded by `checkpoint`.

use serde::{Deserialize, Serialize};

use crate::data::{Dataset, Inputs, Preprocessing};
use crate::network::{Loss, Network};
use crate::plan::{Mode, Options, SLOTS, Source};
use crate::step::{MemberStep, OptimizerStep, Step};
use crate::{Device, Error, Result, rng};

mod fold;
mod learned;
mod predictor;
mod preprocessing;
mod transfer;
mod units;

pub(crate) use fold::factors;
pub use learned::LearnedRate;
pub use predictor::Predictor;
use predictor::Prepared;
pub(crate) use preprocessing::check_preprocessing;
pub(crate) use transfer::{
    check_data, check_inputs, download, download_weights, source, target_values, upload, upload_data, upload_weights,
};

/// A network with its weights.
///
/// Evaluation and prediction never draw a mask: inverted dropout needs no change of the weights, and vanilla dropout a factor.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    network: Network,
    weights: Vec<Vec<f32>>,
    preprocessing: Preprocessing,
}

/// Mean loss and accuracy over a data set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Mean loss of a row.
    pub loss: f64,
    /// Share of rows that are right, where the loss has right and wrong rows ([`crate::Loss::has_accuracy`]).
    pub accuracy: Option<f64>,
}

impl Metrics {
    pub(crate) fn of((loss, hits): (f64, u32), rows: u32, kind: Loss) -> Self {
        let rows = f64::from(rows);
        Self { loss: loss / rows, accuracy: kind.has_accuracy().then(|| f64::from(hits) / rows) }
    }
}

/// The outputs of a network for some inputs, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Outputs {
    columns: usize,
    values: Vec<f32>,
}

impl Outputs {
    pub(crate) fn of(columns: usize, values: Vec<f32>) -> Self {
        debug_assert!(columns > 0 && values.len().is_multiple_of(columns), "whole rows");
        Self { columns, values }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.values.len() / self.columns
    }

    /// One row: an entry per class.
    ///
    /// # Panics
    /// If `row` is not below [`rows`](Self::rows).
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.columns..][..self.columns]
    }

    /// The same rows after `f` has changed all values, such as back into their own units.
    pub fn map(mut self, f: impl FnOnce(&mut [f32])) -> Self {
        f(&mut self.values);
        self
    }

    /// All rows, one after the other.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The column of the largest value of each row; the first of several.
    pub fn labels(&self) -> Vec<u32> {
        let best = |row: &[f32]| (0..row.len()).fold(0, |best, c| if row[c] > row[best] { c } else { best }) as u32;
        self.values.chunks(self.columns).map(best).collect()
    }
}

/// Rows of an evaluation batch: enough to fill a device, small beside the weights of a network that needs one.
const BATCH: u32 = 512;

/// Words of the widest matrix of an evaluation batch, 32 MiB; networks of maps have smaller batches.
const BATCH_WORDS: u64 = 8 << 20;

impl Model {
    /// A network with weights, one vector per parameter tensor, row-major, in the order of [`Network::parameters`].
    ///
    /// # Errors
    /// A network that does not fit together, or weights of another number or length.
    pub fn new(network: Network, weights: Vec<Vec<f32>>) -> Result<Self> {
        network.sites()?;
        let parameters = network.parameters()?;
        if parameters.len() != weights.len() {
            return Err(Error::Data(format!(
                "the network has {} parameter tensors, but {} were given",
                parameters.len(),
                weights.len()
            )));
        }
        for (parameter, values) in parameters.iter().zip(&weights) {
            if parameter.len() != values.len() {
                let (name, shape) = (&parameter.name, &parameter.shape);
                return Err(Error::Data(format!(
                    "{name} has shape {shape:?}, so {} values, but {} were given",
                    parameter.len(),
                    values.len()
                )));
            }
        }
        Ok(Self { network, weights, preprocessing: Preprocessing::default() })
    }

    /// The initial weights of a seed: bit-equal on every machine.
    ///
    /// # Errors
    /// A network that does not fit together.
    pub fn initial(network: &Network, seed: u64) -> Result<Self> {
        let (parameters, key) = (network.parameters()?, rng::key(seed));
        let weights = parameters.iter().enumerate().map(|(i, p)| p.initial_values(i as u32, key)).collect();
        Self::new(network.clone(), weights)
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The weights, in the order of [`Network::parameters`], row-major, a dense weight as `[units, inputs]`.
    pub fn weights(&self) -> &[Vec<f32>] {
        &self.weights
    }

    /// The network's output as it enters the loss, before the softmax or the sigmoid, `[rows, outputs]`.
    ///
    /// # Errors
    /// Inputs of another width than the network's; a network too large for the device; a row that is answered with NaN, from which
    /// neither a class nor a number follows.
    pub fn logits(&self, device: &Device, inputs: &Inputs) -> Result<Outputs> {
        Prepared::default().logits(self, device, inputs)
    }

    /// # Errors
    /// An output that is NaN, with the row's number.
    fn check_outputs(&self, inputs: &Inputs, outputs: Outputs) -> Result<Outputs> {
        let Some(at) = outputs.values.iter().position(|value| value.is_nan()) else { return Ok(outputs) };
        let why = match self.weights.iter().flatten().all(|weight| weight.is_finite()) {
            true => "its numbers are too large for these weights; look at the row",
            false => "the weights have NaN or infinite values; train again",
        };
        let row = inputs.samples()[at / outputs.columns];
        Err(Error::Data(format!("row {row} is answered with what is not a number: {why}")))
    }

    /// What the loss makes of the output, `[rows, outputs]`: class probabilities `softmax(logits)`, for binary cross-entropy
    /// `sigmoid(logits)`, for squared error the output itself; for the Gaussian likelihood of k targets the first k are the
    /// means, the last k the standard deviations `e^(max(s, -20) / 2)`. [`Model::in_own_units`] undoes the standardisation of the
    /// targets.
    ///
    /// # Errors
    /// As [`Model::logits`].
    pub fn predict(&self, device: &Device, inputs: &Inputs) -> Result<Outputs> {
        Ok(self.answers(self.logits(device, inputs)?))
    }

    /// What the loss makes of logits.
    fn answers(&self, mut outputs: Outputs) -> Outputs {
        match self.network.loss {
            Loss::SoftmaxCrossEntropy => outputs.values.chunks_mut(outputs.columns).for_each(softmax),
            Loss::BinaryCrossEntropy => {
                outputs.values.iter_mut().for_each(|z| *z = (1.0 / (1.0 + libm::exp(-f64::from(*z)))) as f32);
            }
            Loss::MeanSquaredError => {}
            Loss::GaussianNll => outputs.deviations(),
        }
        outputs
    }

    /// Mean loss and accuracy.
    ///
    /// # Errors
    /// Data that do not fit the network; a network too large for the device.
    pub fn evaluate(&self, device: &Device, data: &Dataset) -> Result<Metrics> {
        Prepared::default().evaluate(self, device, data)
    }
}

/// `z = e^z / sum e^z`, shifted by the maximum.
fn softmax(row: &mut [f32]) {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = row.iter().map(|&z| libm::exp(f64::from(z) - f64::from(largest))).collect();
    let sum: f64 = powers.iter().sum();
    row.iter_mut().zip(powers).for_each(|(z, power)| *z = (power / sum) as f32);
}

/// `0..rows` in parts of at most `most`.
pub(crate) fn ranges(rows: u32, most: u32) -> impl Iterator<Item = std::ops::Range<u32>> {
    (0..rows.div_ceil(most)).map(move |i| i * most..rows.min((i + 1).saturating_mul(most)))
}

/// Rows of an evaluation batch of a data set of `rows` rows.
pub(crate) fn evaluation_batch(network: &Network, rows: u32) -> Result<u32> {
    Ok(u32::try_from(BATCH_WORDS / network.widest()?).unwrap_or(BATCH).clamp(1, BATCH).min(rows))
}

/// An evaluation plan's options.
pub(crate) fn evaluation(network: &Network, name: &str, source: Source, store_output: bool) -> Result<Options> {
    let batch = evaluation_batch(network, source.rows)?;
    Ok(Options {
        name: name.into(),
        mode: Mode::Eval,
        batch,
        members: 1,
        source,
        variable_rates: false,
        store_output,
        store_gradient: false,
    })
}

/// The steps of an evaluation plan over `rows` rows in batches, with its metrics in `slot`.
pub(crate) fn evaluation_steps(rows: u32, batch: u32, slot: u32) -> impl Iterator<Item = Step> {
    debug_assert!(slot < SLOTS);
    let member = MemberStep { key: [0, 0], optimizer: OptimizerStep::default(), sites: Vec::new() };
    (0..rows.div_ceil(batch)).map(move |i| {
        let position = i * batch;
        let rows = batch.min(rows - position);
        Step { position, slot, ..Step::new(rows, vec![member.clone()]) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_every_row_once() {
        let parts: Vec<_> = ranges(10, 4).collect();
        assert_eq!(parts, [0..4, 4..8, 8..10]);
        assert_eq!(ranges(u32::MAX, u32::MAX / 512 * 512).last(), Some(u32::MAX / 512 * 512..u32::MAX));
    }
}
