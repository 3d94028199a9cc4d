//! Plans driven by hand, step by step, with any number of members: the trainer's loop without the trainer.

use std::ops::Range;

use thinnet::data::{Dataset, Inputs, Targets, Values};
use thinnet::executor::Executor;
use thinnet::memory::Tensor;
use thinnet::network::{Layer, Loss, Network};
use thinnet::plan::{Caps, Gradient, Mode, Options, Plan, Plans, Source, Training};
use thinnet::reference;
use thinnet::step::{Draw, MemberStep, OptimizerStep, SiteStep, Step};
use thinnet::work::Work;
use thinnet::{Dropout, Model, Optimizer, rng};

use crate::common::{numbers, words};

/// The plan that trains, and the one that evaluates the same rows.
pub(crate) const TRAIN: usize = 0;
pub(crate) const EVAL: usize = 1;

/// Where gradients are accumulated, the plan of the steps before the update.
pub(crate) const ACCUMULATE: usize = 2;

/// One network of a plan: what may differ between the members.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) seed: u64,
    /// Weights, and a network with the member's own rates.
    pub(crate) model: Model,
    pub(crate) optimizer: Optimizer,
    pub(crate) weight_decay: f64,
    /// Infinite where they bound nothing.
    pub(crate) clip_norm: f64,
    pub(crate) max_norm: f64,
}

impl Member {
    /// Weights of the seed, with biases that are not 0: a bias of 0 would hide a wrong bias.
    pub(crate) fn new(network: &Network, seed: u64, optimizer: Optimizer) -> Self {
        let mut weights = Model::initial(network, seed).unwrap().weights().to_vec();
        for (tensor, bias) in weights.iter_mut().enumerate().filter(|(tensor, _)| tensor % 2 == 1) {
            *bias = numbers(bias.len(), seed.wrapping_mul(1000) + tensor as u64);
        }
        let (model, clip_norm, max_norm) = (Model::new(network.clone(), weights).unwrap(), f64::INFINITY, f64::INFINITY);
        Self { seed, model, optimizer, weight_decay: 0.0, clip_norm, max_norm }
    }

    /// The same weights with another rate at every dropout layer.
    pub(crate) fn rates(self, rates: &[f64]) -> Self {
        let mut network = self.model.network().clone();
        let mut rates = rates.iter();
        for layer in &mut network.layers {
            if let Layer::Dropout(dropout) = layer {
                dropout.keep = Dropout::keep(*rates.next().unwrap()).unwrap().keep;
            }
        }
        Self { model: Model::new(network, self.model.weights().to_vec()).unwrap(), ..self }
    }

    pub(crate) fn weight_decay(self, weight_decay: f64) -> Self {
        Self { weight_decay, ..self }
    }

    pub(crate) fn norms(self, clip_norm: f64, max_norm: f64) -> Self {
        Self { clip_norm, max_norm, ..self }
    }
}

/// Random rows in f32 under sample numbers of their own, so that a row number taken for a sample shows.
pub(crate) fn random_data(rows: u32, columns: u32, classes: u32, seed: u64) -> Dataset {
    let inputs = Inputs::from_f32(columns, numbers((rows * columns) as usize, seed)).unwrap();
    labelled(inputs, classes, seed)
}

/// The same with targets that fit the loss of a network with 13 inputs: labels, or as `soft` says numbers, for binary
/// cross-entropy from 0 to 1 with both ends.
pub(crate) fn data_for(network: &Network, rows: u32, soft: bool, seed: u64) -> Dataset {
    let (outputs, targets) = (network.outputs().unwrap(), network.targets().unwrap());
    let data = random_data(rows, network.input.0[0], outputs.max(2), seed);
    if !soft {
        return data;
    }
    let number = |(i, value): (usize, f32)| match network.loss {
        Loss::BinaryCrossEntropy => [(value + 1.0) / 2.0, value.abs().round(), value.abs()][i % 3],
        _ => 3.0 * value,
    };
    let values = numbers((rows * targets) as usize, seed + 2).into_iter().enumerate().map(number).collect();
    Dataset::with_values(data.inputs().clone(), targets, values).unwrap()
}

/// The same in bytes.
pub(crate) fn random_bytes(rows: u32, columns: u32, classes: u32, seed: u64) -> Dataset {
    let bytes = words((rows * columns) as usize, seed).into_iter().map(|word| word as u8).collect();
    labelled(Inputs::from_u8(columns, bytes, 1.0 / 255.0).unwrap(), classes, seed)
}

fn labelled(inputs: Inputs, classes: u32, seed: u64) -> Dataset {
    let rows = inputs.rows();
    let inputs = inputs.with_samples((0..rows).map(|row| 100_000 + 3 * row).collect()).unwrap();
    let labels = words(rows as usize, seed + 1).into_iter().map(|word| word % classes).collect();
    Dataset::new(inputs, labels, classes).unwrap()
}

/// A training and an evaluation plan over one data set, and for the sum of gradients the plan of the steps before the update.
pub(crate) fn plans(
    caps: Caps,
    network: &Network,
    data: &Dataset,
    batch: u32,
    training: impl Into<Training>,
    members: u32,
) -> Plans {
    let training = training.into();
    let mut plans = Plans::new(caps);
    for (name, mode) in [("train", Mode::Train(training)), ("eval", Mode::Eval)] {
        plans.add(network, options(name, mode, data, batch, members)).unwrap();
    }
    if training.gradient == Gradient::Accumulated {
        let mode = Mode::Train(Training { gradient: Gradient::Accumulate, ..training });
        plans.add(network, options("train", mode, data, batch, members)).unwrap();
    }
    plans
}

/// Options of a plan over a data set, with rates that may differ between members.
pub(crate) fn options(name: &str, mode: Mode, data: &Dataset, batch: u32, members: u32) -> Options {
    let byte_scale = match data.inputs().values() {
        Values::U8 { scale, .. } => Some(*scale),
        Values::F32(_) => None,
    };
    let source = Source { name: "data".into(), rows: data.rows(), byte_scale, labelled: true, window: None };
    let store_output = mode == Mode::Eval;
    Options { name: name.into(), mode, batch, members, source, variable_rates: true, store_output, store_gradient: true }
}

/// Rows of `columns` elements, each padded to a multiple of `words`.
fn pad<T: Copy + Default>(values: &[T], columns: usize, words: usize) -> Vec<T> {
    let mut padded = Vec::new();
    for row in values.chunks(columns) {
        padded.extend_from_slice(row);
        padded.resize(padded.len().next_multiple_of(words), T::default());
    }
    padded
}

/// Everything that a plan starts from: `write(tensor, member, words)` gets the data, and the weights of every member.
pub(crate) fn fill(plan: &Plan, data: &Dataset, members: &[Member], mut write: impl FnMut(Tensor, u32, &[u32])) {
    let columns = data.columns() as usize;
    let inputs = match data.inputs().values() {
        Values::U8 { bytes, .. } => bytemuck::pod_collect_to_vec(&pad(bytes, columns, 4)),
        Values::F32(values) => pad(values, columns, 4).iter().map(|v| v.to_bits()).collect(),
    };
    write(plan.tensor("data.inputs"), 0, &inputs);
    write(plan.tensor("data.ids"), 0, data.inputs().samples());
    let network = members[0].model.network();
    match batch_targets(network, data, &(0..data.rows()).collect::<Vec<_>>()) {
        BatchTargets::Labels(labels) => write(plan.tensor("data.targets"), 0, &labels),
        BatchTargets::Values(values) => {
            let words: Vec<u32> = values.iter().map(|&value| (value as f32).to_bits()).collect();
            write(plan.tensor("data.targets"), 0, &pad(&words, network.targets().unwrap() as usize, 4));
        }
    }
    for (m, member) in members.iter().enumerate() {
        for (parameter, values) in member.model.network().parameters().unwrap().iter().zip(member.model.weights()) {
            let (tensor, columns) = (plan.tensor(&parameter.name), *parameter.shape.last().unwrap() as usize);
            let row = tensor.len as usize / (values.len() / columns);
            write(tensor, m as u32, bytemuck::cast_slice(&pad(values, columns, row)));
        }
    }
}

/// [`fill`] of an executor whose first plan is given.
pub(crate) fn upload(executor: &Executor, data: &Dataset, members: &[Member]) {
    fill(&executor.plans().plans[TRAIN], data, members, |tensor, member, words| executor.write(tensor, member, words).unwrap());
}

/// The training steps of some epochs, as the trainer makes them.
pub(crate) fn training(members: &[Member], rows: u32, batch: u32, epochs: Range<u32>) -> Vec<Work> {
    accumulating(members, rows, (batch, 1), epochs)
}

/// The same with the gradients of several steps in one update.
pub(crate) fn accumulating(members: &[Member], rows: u32, (batch, steps): (u32, u32), epochs: Range<u32>) -> Vec<Work> {
    let mut work = Vec::new();
    let whole = batch * steps;
    for epoch in epochs {
        for position in (0..rows).step_by(batch as usize) {
            let first = position / whole * whole;
            let (accumulated, batch_rows) = (position - first, whole.min(rows - first));
            let step_rows = batch.min(rows - position);
            let update = u64::from(epoch * rows.div_ceil(whole) + position / whole) + 1;
            let members = members.iter().map(|member| member_step(member, epoch, update)).collect();
            let step = Step { position, epoch, slot: epoch, batch_rows, accumulated, ..Step::new(step_rows, members) };
            let plan = if accumulated + step_rows == batch_rows { TRAIN } else { ACCUMULATE };
            work.push(Work { plan, step });
        }
    }
    work
}

fn member_step(member: &Member, epoch: u32, update: u64) -> MemberStep {
    let (network, key) = (member.model.network(), rng::key(member.seed));
    let places = network.sites().unwrap().into_iter().zip(network.shapes().unwrap());
    let sites = network.layers.iter().zip(places).filter_map(|(layer, (site, shape))| match layer {
        Layer::Dropout(dropout) => {
            let draw = Draw { key, site: site.unwrap(), units: shape.0[0], map: [1, 1], epoch, update: update as u32 - 1 };
            Some(SiteStep::of(dropout, &draw))
        }
        _ => None,
    });
    let (clip_norm, max_norm) = (member.clip_norm as f32, member.max_norm as f32);
    let optimizer = OptimizerStep { clip_norm, max_norm, ..member.optimizer.step(update, member.weight_decay) };
    MemberStep { key, optimizer, sites: sites.collect() }
}

/// The evaluation steps over all rows.
pub(crate) fn evaluation(members: &[Member], rows: u32, batch: u32) -> Vec<Work> {
    let mut work = training(members, rows, batch, 0..1);
    for work in &mut work {
        work.plan = EVAL;
        work.step.members.iter_mut().for_each(|member| member.sites.clear());
    }
    work
}

/// A tensor of a plan as rows of `columns` numbers, without their padding; only `rows` of them.
pub(crate) fn numbers_of(
    executor: &Executor,
    plan: usize,
    (name, member): (&str, u32),
    (rows, columns): (usize, usize),
) -> Vec<f32> {
    let words = executor.read(executor.plans().plans[plan].tensor(name), member).unwrap();
    // What belongs to the data set, and what is stored for it, has rows of quads; the rest those of the plans.
    let of_rows = name.contains("outputs") || name.starts_with("data.");
    let stride = columns.next_multiple_of(if of_rows { 4 } else { executor.plans().row_words() as usize });
    words.chunks(stride).take(rows).flat_map(|row| &row[..columns]).map(|&word| f32::from_bits(word)).collect()
}

/// The parameters (or, with a suffix, their gradients and moments) of a member.
pub(crate) fn parameters_of(executor: &Executor, network: &Network, suffix: &str, member: u32) -> Vec<Vec<f32>> {
    let read = |parameter: &thinnet::network::Parameter| {
        let columns = *parameter.shape.last().unwrap() as usize;
        let name = format!("{}{suffix}", parameter.name);
        numbers_of(executor, TRAIN, (&name, member), (parameter.len() / columns, columns))
    };
    network.parameters().unwrap().iter().map(read).collect()
}

/// Rows of a data set as f64, and their labels and sample numbers.
pub(crate) fn batch_of(data: &Dataset, rows: &[u32]) -> (Vec<f64>, Vec<u32>, Vec<u32>) {
    let inputs = rows.iter().flat_map(|&row| data.inputs().row_f32(row)).map(f64::from).collect();
    let pick = |from: &[u32]| rows.iter().filter_map(|&row| from.get(row as usize).copied()).collect();
    (inputs, pick(data.labels()), pick(data.inputs().samples()))
}

/// Targets of some rows as the loss of a network takes them.
#[derive(Debug, Clone)]
pub(crate) enum BatchTargets {
    Labels(Vec<u32>),
    Values(Vec<f64>),
}

impl BatchTargets {
    pub(crate) fn get(&self) -> reference::Targets<'_> {
        match self {
            Self::Labels(labels) => labels.into(),
            Self::Values(values) => values.into(),
        }
    }

    /// The same targets, each one row too early.
    pub(crate) fn rotated(&self, columns: usize) -> Self {
        let mut rotated = self.clone();
        match &mut rotated {
            Self::Labels(labels) => labels.rotate_left(1),
            Self::Values(values) => values.rotate_left(columns),
        }
        rotated
    }
}

/// Labels stay labels for softmax; for other losses one output gets the label itself, and several get 1 at the label.
pub(crate) fn batch_targets(network: &Network, data: &Dataset, rows: &[u32]) -> BatchTargets {
    let outputs = network.outputs().unwrap() as usize;
    match (data.targets(), network.loss) {
        (Targets::Values { columns, values }, _) => {
            assert_eq!(*columns, network.targets().unwrap());
            let columns = *columns as usize;
            let row = |&row: &u32| &values[row as usize * columns..][..columns];
            BatchTargets::Values(rows.iter().flat_map(row).copied().map(f64::from).collect())
        }
        (Targets::Classes { labels, .. }, Loss::SoftmaxCrossEntropy) => {
            BatchTargets::Labels(rows.iter().map(|&row| labels[row as usize]).collect())
        }
        (Targets::Classes { labels, .. }, _) => {
            let row = |&row: &u32| {
                let label = labels[row as usize];
                (0..outputs).map(move |c| if outputs == 1 { f64::from(label) } else { f64::from(u8::from(c == label as usize)) })
            };
            BatchTargets::Values(rows.iter().flat_map(row).collect())
        }
    }
}

/// The rows of a training step in the order of the mask contract.
pub(crate) fn rows_of(step: &Step, member: usize, rows: u32) -> Vec<u32> {
    let shuffle = rng::Shuffle::new(rows);
    (step.position..step.position + step.rows).map(|at| shuffle.row(at, step.epoch, step.members[member].key)).collect()
}

pub(crate) fn widen(tensors: &[Vec<f32>]) -> Vec<Vec<f64>> {
    tensors.iter().map(|tensor| tensor.iter().copied().map(f64::from).collect()).collect()
}
