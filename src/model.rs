//! [`Model`]: a network with weights, in host memory. It evaluates, predicts, and is saved and loaded by `checkpoint`.

use crate::data::{Dataset, Inputs, Values};
use crate::executor::Executor;
use crate::network::Network;
use crate::plan::{Mode, Options, Plans, SLOTS, Source};
use crate::step::{MemberStep, OptimizerStep, Step};
use crate::work::{Snapshot, Work};
use crate::{Device, Error, Result, rng};

/// A network with its weights.
///
/// Evaluation and prediction never draw a mask: inverted dropout needs no change of the weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    network: Network,
    weights: Vec<Vec<f32>>,
}

/// Mean loss and accuracy over a data set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metrics {
    /// Mean loss of a row.
    pub loss: f64,
    /// Share of rows whose largest logit is the label's.
    pub accuracy: f64,
}

impl Metrics {
    pub(crate) fn of((loss, hits): (f32, u32), rows: u32) -> Self {
        Self { loss: f64::from(loss) / f64::from(rows), accuracy: f64::from(hits) / f64::from(rows) }
    }
}

/// The outputs of a network for some inputs, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Outputs {
    columns: usize,
    values: Vec<f32>,
}

impl Outputs {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.values.len() / self.columns
    }

    /// One row: an entry per class.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.columns..][..self.columns]
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
        Ok(Self { network, weights })
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

    /// The network's output before the softmax, `[rows, classes]`.
    ///
    /// # Errors
    /// Inputs of another width than the network's, or too large for the device.
    pub fn logits(&self, device: &Device, inputs: &Inputs) -> Result<Outputs> {
        let source = source("inputs", inputs, false);
        let (executor, plan) = self.run(device, source, true, inputs, None)?;
        let columns = self.network.outputs()? as usize;
        let padded = executor.0.read(executor.0.plans().plans[plan].tensor("eval.outputs"), 0)?;
        let rows = bytemuck::cast_slice::<u32, f32>(&padded).chunks(columns.next_multiple_of(4));
        Ok(Outputs { columns, values: rows.flat_map(|row| &row[..columns]).copied().collect() })
    }

    /// Class probabilities, `softmax(logits)`, `[rows, classes]`.
    ///
    /// # Errors
    /// As [`Model::logits`].
    pub fn predict(&self, device: &Device, inputs: &Inputs) -> Result<Outputs> {
        let mut outputs = self.logits(device, inputs)?;
        for row in outputs.values.chunks_mut(outputs.columns) {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let powers: Vec<f64> = row.iter().map(|&z| libm::exp(f64::from(z) - f64::from(largest))).collect();
            let sum: f64 = powers.iter().sum();
            row.iter_mut().zip(powers).for_each(|(z, power)| *z = (power / sum) as f32);
        }
        Ok(outputs)
    }

    /// Mean loss and accuracy.
    ///
    /// # Errors
    /// Data that do not fit the network, or are too large for the device.
    pub fn evaluate(&self, device: &Device, data: &Dataset) -> Result<Metrics> {
        check_data(&self.network, data)?;
        let source = source("inputs", data.inputs(), true);
        let (executor, plan) = self.run(device, source, false, data.inputs(), Some(data.labels()))?;
        Ok(Metrics::of(executor.1.sums(plan, 0, 0), data.rows()))
    }

    fn run(
        &self,
        device: &Device,
        source: Source,
        store_output: bool,
        inputs: &Inputs,
        labels: Option<&[u32]>,
    ) -> Result<((Executor, Snapshot), usize)> {
        check_inputs(&self.network, inputs)?;
        let mut plans = Plans::new(device.caps());
        let plan = plans.add(&self.network, evaluation("eval", source, store_output))?;
        let mut executor = Executor::new(device, plans)?;
        upload_weights(&executor, plan, 0, self)?;
        upload_data(&executor, plan, inputs, labels)?;
        let steps = evaluation_steps(inputs.rows(), 0);
        let mut snapshot = Default::default();
        let work: Vec<_> = steps.map(|step| Work { plan, step }).collect();
        // A few batches a submission: no watchdog ends an evaluation, however large the network.
        for work in work.chunks(8) {
            let submission = executor.submit(work)?;
            snapshot = executor.wait(submission)?;
        }
        Ok(((executor, snapshot), plan))
    }
}

/// An evaluation plan's options.
pub(crate) fn evaluation(name: &str, source: Source, store_output: bool) -> Options {
    let batch = BATCH.min(source.rows);
    Options { name: name.into(), mode: Mode::Eval, batch, members: 1, source, variable_rates: false, store_output }
}

/// The steps of an evaluation plan over `rows` rows, with its metrics in `slot`.
pub(crate) fn evaluation_steps(rows: u32, slot: u32) -> impl Iterator<Item = Step> {
    debug_assert!(slot < SLOTS);
    let member = MemberStep { key: [0, 0], optimizer: OptimizerStep::default(), sites: Vec::new() };
    (0..rows.div_ceil(BATCH)).map(move |i| {
        let position = i * BATCH;
        Step { rows: BATCH.min(rows - position), position, epoch: 0, slot, members: vec![member.clone()] }
    })
}

pub(crate) fn source(name: &str, inputs: &Inputs, labelled: bool) -> Source {
    let byte_scale = match inputs.values() {
        Values::U8 { scale, .. } => Some(*scale),
        Values::F32(_) => None,
    };
    Source { name: name.into(), rows: inputs.rows(), byte_scale, labelled }
}

/// # Errors
/// Inputs of another width than the network's.
pub(crate) fn check_inputs(network: &Network, inputs: &Inputs) -> Result<()> {
    let expected = network.input.0.iter().product::<u32>();
    if inputs.columns() != expected {
        return Err(Error::Data(format!(
            "a row has {} columns, but the network takes {expected}; build it with Network::new({})",
            inputs.columns(),
            inputs.columns()
        )));
    }
    Ok(())
}

/// # Errors
/// Data of another width than the network's, or with more classes than it has outputs.
pub(crate) fn check_data(network: &Network, data: &Dataset) -> Result<()> {
    check_inputs(network, data.inputs())?;
    let outputs = network.outputs()?;
    if data.classes() > outputs {
        return Err(Error::Data(format!(
            "there are {} classes, but the network has {outputs} outputs; give its last layer {} units",
            data.classes(),
            data.classes()
        )));
    }
    Ok(())
}

/// Rows of `columns` words, each padded with zeros to a multiple of four.
fn pad(values: &[f32], columns: usize) -> Vec<u32> {
    let mut words = Vec::with_capacity(values.len() / columns * columns.next_multiple_of(4));
    for row in values.chunks(columns) {
        words.extend(row.iter().map(|v| v.to_bits()));
        words.resize(words.len().next_multiple_of(4), 0);
    }
    words
}

/// Writes the weights of a member.
pub(crate) fn upload_weights(executor: &Executor, plan: usize, member: u32, model: &Model) -> Result<()> {
    for (parameter, values) in model.network.parameters()?.iter().zip(&model.weights) {
        let tensor = executor.plans().plans[plan].tensor(&parameter.name);
        let columns = *parameter.shape.last().unwrap_or(&1) as usize;
        executor.write(tensor, member, &pad(values, columns))?;
    }
    Ok(())
}

/// Reads the weights of a member.
pub(crate) fn download_weights(executor: &Executor, plan: usize, member: u32, network: &Network) -> Result<Model> {
    let mut weights = Vec::new();
    for parameter in network.parameters()? {
        let words = executor.read(executor.plans().plans[plan].tensor(&parameter.name), member)?;
        let columns = *parameter.shape.last().unwrap_or(&1) as usize;
        let rows = bytemuck::cast_slice::<u32, f32>(&words).chunks(columns.next_multiple_of(4));
        weights.push(rows.flat_map(|row| &row[..columns]).copied().collect());
    }
    Model::new(network.clone(), weights)
}

/// Writes the data set of a plan: inputs, sample ids and, if given, labels.
pub(crate) fn upload_data(executor: &Executor, plan: usize, inputs: &Inputs, labels: Option<&[u32]>) -> Result<()> {
    let plan = &executor.plans().plans[plan];
    let tensor = |what: &str| plan.tensor(&format!("{}.{what}", plan.options.source.name));
    let columns = inputs.columns() as usize;
    let words = match inputs.values() {
        Values::F32(values) => pad(values, columns),
        Values::U8 { bytes, .. } => {
            let mut padded = Vec::with_capacity(bytes.len() / columns * columns.next_multiple_of(4));
            for row in bytes.chunks(columns) {
                padded.extend_from_slice(row);
                padded.resize(padded.len().next_multiple_of(4), 0);
            }
            bytemuck::pod_collect_to_vec(&padded)
        }
    };
    executor.write(tensor("inputs"), 0, &words)?;
    executor.write(tensor("ids"), 0, inputs.samples())?;
    match labels {
        Some(labels) => executor.write(tensor("labels"), 0, labels),
        None => Ok(()),
    }
}
