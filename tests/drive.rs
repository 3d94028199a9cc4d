//! Plans driven by hand, step by step, with any number of members: the trainer's loop without the trainer.

use std::ops::Range;

use thinnet::data::{Dataset, Inputs, Values};
use thinnet::executor::Executor;
use thinnet::memory::Tensor;
use thinnet::network::{Layer, Network};
use thinnet::plan::{Caps, Mode, Options, Plan, Plans, Source, Update};
use thinnet::step::{MemberStep, SiteStep, Step};
use thinnet::work::Work;
use thinnet::{Dropout, Model, Optimizer, rng};

use crate::common::{numbers, words};

/// The plan that trains, and the one that evaluates the same rows.
pub(crate) const TRAIN: usize = 0;
pub(crate) const EVAL: usize = 1;

/// One network of a plan: what may differ between the members.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) seed: u64,
    /// Weights, and a network with the member's own rates.
    pub(crate) model: Model,
    pub(crate) optimizer: Optimizer,
    pub(crate) weight_decay: f64,
}

impl Member {
    /// Weights of the seed, with biases that are not 0: a bias of 0 would hide a wrong bias.
    pub(crate) fn new(network: &Network, seed: u64, optimizer: Optimizer) -> Self {
        let mut weights = Model::initial(network, seed).unwrap().weights().to_vec();
        for (tensor, bias) in weights.iter_mut().enumerate().filter(|(tensor, _)| tensor % 2 == 1) {
            *bias = numbers(bias.len(), seed.wrapping_mul(1000) + tensor as u64);
        }
        Self { seed, model: Model::new(network.clone(), weights).unwrap(), optimizer, weight_decay: 0.0 }
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
}

/// Random rows in f32 under sample numbers of their own, so that a row number taken for a sample shows.
pub(crate) fn random_data(rows: u32, columns: u32, classes: u32, seed: u64) -> Dataset {
    let inputs = Inputs::from_f32(columns, numbers((rows * columns) as usize, seed)).unwrap();
    labelled(inputs, classes, seed)
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

/// A training and an evaluation plan over one data set.
pub(crate) fn plans(caps: Caps, network: &Network, data: &Dataset, batch: u32, update: Update, members: u32) -> Plans {
    let mut plans = Plans::new(caps);
    for (name, mode) in [("train", Mode::Train(update.into())), ("eval", Mode::Eval)] {
        plans.add(network, options(name, mode, data, batch, members)).unwrap();
    }
    plans
}

/// Options of a plan over a data set, with rates that may differ between members.
pub(crate) fn options(name: &str, mode: Mode, data: &Dataset, batch: u32, members: u32) -> Options {
    let byte_scale = match data.inputs().values() {
        Values::U8 { scale, .. } => Some(*scale),
        Values::F32(_) => None,
    };
    let source = Source { name: "data".into(), rows: data.rows(), byte_scale, labelled: true };
    let store_output = mode == Mode::Eval;
    Options { name: name.into(), mode, batch, members, source, variable_rates: true, store_output }
}

/// Rows of `columns` elements, each padded to a multiple of four.
fn pad<T: Copy + Default>(values: &[T], columns: usize) -> Vec<T> {
    let mut padded = Vec::new();
    for row in values.chunks(columns) {
        padded.extend_from_slice(row);
        padded.resize(padded.len().next_multiple_of(4), T::default());
    }
    padded
}

/// Everything that a plan starts from: `write(tensor, member, words)` gets the data, and the weights of every member.
pub(crate) fn fill(plan: &Plan, data: &Dataset, members: &[Member], mut write: impl FnMut(Tensor, u32, &[u32])) {
    let columns = data.columns() as usize;
    let inputs = match data.inputs().values() {
        Values::U8 { bytes, .. } => bytemuck::pod_collect_to_vec(&pad(bytes, columns)),
        Values::F32(values) => pad(values, columns).iter().map(|v| v.to_bits()).collect(),
    };
    write(plan.tensor("data.inputs"), 0, &inputs);
    write(plan.tensor("data.ids"), 0, data.inputs().samples());
    write(plan.tensor("data.targets"), 0, data.labels());
    for (m, member) in members.iter().enumerate() {
        for (parameter, values) in member.model.network().parameters().unwrap().iter().zip(member.model.weights()) {
            let padded = pad(values, *parameter.shape.last().unwrap() as usize);
            write(plan.tensor(&parameter.name), m as u32, bytemuck::cast_slice(&padded));
        }
    }
}

/// [`fill`] of an executor whose first plan is given.
pub(crate) fn upload(executor: &Executor, data: &Dataset, members: &[Member]) {
    fill(&executor.plans().plans[TRAIN], data, members, |tensor, member, words| executor.write(tensor, member, words).unwrap());
}

/// The training steps of some epochs, as the trainer makes them.
pub(crate) fn training(members: &[Member], rows: u32, batch: u32, epochs: Range<u32>) -> Vec<Work> {
    let mut work = Vec::new();
    for epoch in epochs {
        for first in 0..rows.div_ceil(batch) {
            let update = u64::from(epoch * rows.div_ceil(batch) + first) + 1;
            let members = members.iter().map(|member| member_step(member, epoch, update)).collect();
            let position = first * batch;
            let step = Step { position, epoch, slot: epoch, ..Step::new(batch.min(rows - position), members) };
            work.push(Work { plan: TRAIN, step });
        }
    }
    work
}

fn member_step(member: &Member, epoch: u32, update: u64) -> MemberStep {
    let sites = member.model.network().layers.iter().filter_map(|layer| match layer {
        Layer::Dropout(dropout) => Some(SiteStep::new(dropout.keep, epoch)),
        _ => None,
    });
    let optimizer = member.optimizer.step(update, member.weight_decay);
    MemberStep { key: rng::key(member.seed), optimizer, sites: sites.collect() }
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
    let stride = columns.next_multiple_of(4);
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
    let pick = |from: &[u32]| rows.iter().map(|&row| from[row as usize]).collect();
    (inputs, pick(data.labels()), pick(data.inputs().samples()))
}

/// The rows of a training step in the order of the mask contract.
pub(crate) fn rows_of(step: &Step, member: usize, rows: u32) -> Vec<u32> {
    let shuffle = rng::Shuffle::new(rows);
    (step.position..step.position + step.rows).map(|at| shuffle.row(at, step.epoch, step.members[member].key)).collect()
}

pub(crate) fn widen(tensors: &[Vec<f32>]) -> Vec<Vec<f64>> {
    tensors.iter().map(|tensor| tensor.iter().copied().map(f64::from).collect()).collect()
}
