//! Runs of a sweep that are trained in the same dispatches against the same runs alone.

use std::ops::ControlFlow;

use thinnet::network::{BatchNorm, Conv2d, Layer, Recurrent, Residual, Unit};
use thinnet::sweep::{Run, Sweep, with_keep};
use thinnet::{
    Activation, Dataset, Dense, Device, Dropout, Epoch, Error, KeepProb, Loss, LrSchedule, Network, Optimizer, TrainOptions,
    Trainer, data,
};

use crate::common::device;
use crate::drive;

const SEEDS: [u64; 3] = [5, 6, 7];
const EPOCHS: u32 = 3;

fn keep(keep: f64) -> Dropout {
    Dropout::keep(keep).unwrap()
}

fn relu(units: u32) -> Dense {
    Dense::new(units).activation(Activation::Relu)
}

/// 90 rows to learn from, the last step of an epoch a short one, and 50 to judge by.
fn sets() -> (Dataset, Dataset) {
    (data::digits().slice(0..90).unwrap(), data::digits().slice(90..140).unwrap())
}

/// A network of dense layers with dropout in front of and behind the first.
fn dense(activation: Activation) -> Network {
    Network::new(64).dropout(keep(0.8)).dense(Dense::new(24).activation(activation)).dropout(keep(0.5)).dense(Dense::new(10))
}

/// All dropout layers, that of the input too.
fn sites(network: &Network) -> Vec<usize> {
    let drops = |layer: &Layer| matches!(layer, Layer::Dropout(dropout) if !dropout.is_none());
    network.walk().into_iter().enumerate().filter(|(_, layer)| drops(layer)).map(|(number, _)| number).collect()
}

/// What a sweep makes, and how many runs it made at a time.
fn swept(
    device: &Device,
    network: &Network,
    (train, valid): &(Dataset, Dataset),
    keeps: &[f64],
    options: &TrainOptions,
) -> (Vec<Run>, Vec<usize>) {
    let mut sweep = Sweep::new(network, sites(network), (train, valid), options, EPOCHS).unwrap();
    sweep.add(&keeps.iter().map(|&keep| KeepProb::new(keep).unwrap()).collect::<Vec<_>>(), &SEEDS).unwrap();
    let mut at_a_time: Vec<Vec<(f64, u64)>> = Vec::new();
    let ended = sweep.fit(device, (train, valid), |_, runs, _| {
        if at_a_time.last().is_none_or(|last| last != runs) {
            at_a_time.push(runs.to_vec());
        }
        ControlFlow::Continue(())
    });
    assert!(ended.unwrap().is_continue());
    let told: Vec<(f64, u64)> = at_a_time.concat();
    assert_eq!(told.len(), sweep.runs().len(), "a run was made twice, or not told");
    (sweep.runs().to_vec(), at_a_time.iter().map(Vec::len).collect())
}

/// The same run by a trainer of its own, and without its seconds: how long it took is what differs.
fn alone(
    device: &Device,
    network: &Network,
    (train, valid): &(Dataset, Dataset),
    options: &TrainOptions,
    (keep, seed): (f64, u64),
) -> Run {
    let network = with_keep(network, &sites(network), KeepProb::new(keep).unwrap()).unwrap();
    let options = TrainOptions { seed, ..options.clone() };
    let mut trainer = Trainer::new(device, &network, (train, valid), options).unwrap();
    let diverged = match trainer.fit(EPOCHS) {
        Ok(_) => false,
        Err(Error::Diverged { .. }) => true,
        Err(error) => panic!("{error}"),
    };
    let finite = |epoch: &&Epoch| epoch.running.loss.is_finite() && epoch.valid.unwrap().loss.is_finite();
    timeless(&Run { keep, seed, history: trainer.history().iter().take_while(finite).copied().collect(), diverged })
}

fn timeless(run: &Run) -> Run {
    let mut run = run.clone();
    run.history.iter_mut().for_each(|epoch| epoch.seconds = 0.0);
    run
}

/// The runs of a sweep, each of which has to be what it is alone.
fn same_as_alone(device: &Device, network: &Network, keeps: &[f64], options: &TrainOptions) -> (Vec<Run>, Vec<usize>) {
    same_with(device, network, &sets(), keeps, options)
}

fn same_with(
    device: &Device,
    network: &Network,
    sets: &(Dataset, Dataset),
    keeps: &[f64],
    options: &TrainOptions,
) -> (Vec<Run>, Vec<usize>) {
    let (runs, at_a_time) = swept(device, network, sets, keeps, options);
    for run in &runs {
        assert_eq!(timeless(run), alone(device, network, sets, options, (run.keep, run.seed)), "{network:?}");
    }
    (runs, at_a_time)
}

fn options() -> TrainOptions {
    TrainOptions { batch: 32, optimizer: Optimizer::adam(0.01), evaluate_train: true, ..TrainOptions::default() }
}

/// With Adam and SGD, accumulated and bounded gradients, keep_prob 1, for which alone nothing is planned, too.
#[test]
fn small_networks_are_trained_together_and_each_as_if_alone() {
    let sgd = Optimizer::Sgd { lr: 0.05, momentum: 0.9, nesterov: true };
    let bounded = TrainOptions { clip_norm: Some(0.5), max_norm: Some(1.0), weight_decay: 0.01, warmup: 1.0, ..options() };
    let summed =
        TrainOptions { accumulate: 2, optimizer: sgd, schedule: LrSchedule::Cosine { epochs: 3.0, floor: 0.1 }, ..options() };
    let conv = Network::new([1, 8, 8])
        .conv2d(Conv2d::new(4, 3).activation(Activation::Relu))
        .max_pool(2)
        .dropout(keep(0.7))
        .layer(Layer::Flatten)
        .dense(relu(12))
        .layer(Layer::BatchNorm(BatchNorm::default()))
        .dropout(keep(0.5))
        .dense(Dense::new(10));
    let squares = dense(Activation::Gelu).loss(Loss::MeanSquaredError);
    for (network, options) in
        [(dense(Activation::Relu), options()), (dense(Activation::Tanh), summed), (squares, bounded), (conv, options())]
    {
        let (runs, at_a_time) = same_as_alone(device(), &network, &[0.3, 0.6, 1.0], &options);
        assert_eq!(at_a_time, [5, 4], "{network:?}: two lots of one size");
        let last = |i: usize| runs[i].history.last().unwrap().running.loss;
        assert!(last(0) != last(1) && last(0) != last(3), "rates and seeds make no difference");
    }
    same_as_alone(&Device::cpu(), &dense(Activation::Relu), &[0.3, 1.0], &options());
}

#[test]
fn a_run_that_diverges_does_so_alone() {
    let wild = TrainOptions { optimizer: Optimizer::Sgd { lr: 0.2, momentum: 0.0, nesterov: false }, ..options() };
    let network = dense(Activation::Identity).loss(Loss::MeanSquaredError);
    let (runs, at_a_time) = same_as_alone(device(), &network, &[0.1, 1.0], &wild);
    assert_eq!(at_a_time, [6]);
    assert!(runs.len() == 6 && runs.iter().all(|run| run.diverged == (run.keep == 0.1)), "{runs:?}");
    let (runs, _) = same_as_alone(device(), &network, &[0.08, 0.1], &wild);
    assert!(runs.iter().all(|run| run.diverged));
}

#[test]
fn what_gains_nothing_or_might_differ_is_trained_alone() {
    let streamed = TrainOptions { data_budget: Some(7000), evaluate_train: false, ..options() };
    let wide = Network::new(64).dense(relu(3000)).dropout(keep(0.5)).dense(Dense::new(10));
    let vanilla = Network::new(64).dense(relu(8)).dropout(keep(0.5).vanilla()).dense(Dense::new(10));
    let weights = Network::new(64).dense(relu(8)).dropout(Dropout::drop_connect(0.5).unwrap()).dense(Dense::new(10));
    let branch = Network::new(8).dense(relu(8)).dropout(keep(0.5).unit(Unit::Path)).layers;
    let paths = Network::new(64).dense(relu(8)).residual(Residual { branch, skip: Vec::new() }).dense(Dense::new(10));
    let lstm = Network::new([8, 8]).recurrent(Recurrent::lstm(4).input(keep(0.5))).dense(Dense::new(10));
    for (network, options) in [
        (vanilla, options()),
        (weights, options()),
        (paths, options()),
        (lstm, options()),
        (wide, options()),
        (dense(Activation::Relu), streamed),
    ] {
        let (_, at_a_time) = same_as_alone(device(), &network, &[0.5, 0.9], &options);
        assert_eq!(at_a_time, [1; 6], "{network:?}");
    }
}

/// Eight of these are too wide for one texture.
#[test]
fn runs_that_would_be_rounded_otherwise_together_are_not_trained_together() {
    let network = Network::new(10_000).dense(Dense::new(2)).dropout(keep(0.5)).dense(Dense::new(3));
    let data = drive::random_data(16, 10_000, 3, 1);
    let sets = (data.slice(0..12).unwrap(), data.slice(12..16).unwrap());
    let options = TrainOptions { batch: 2, ..options() };
    let (_, at_a_time) = same_with(device(), &network, &sets, &[0.2, 0.4, 0.6, 0.8, 1.0], &options);
    let textures = device().caps().matmul.to_string().contains("shuffle");
    assert!(!textures || (2..8).contains(&at_a_time[0]), "{at_a_time:?}");
}

#[test]
fn a_sweep_that_is_stopped_loses_what_is_being_made_and_no_more() {
    let (train, valid) = sets();
    let network = dense(Activation::Relu);
    let mut sweep = Sweep::new(&network, sites(&network), (&train, &valid), &options(), EPOCHS).unwrap();
    let keeps = [0.2, 0.4, 0.5, 0.6, 0.8].map(|keep| KeepProb::new(keep).unwrap());
    sweep.add(&keeps, &SEEDS).unwrap();
    let stopped = sweep.fit(device(), (&train, &valid), |sweep, _, _| match sweep.runs() {
        [] => ControlFlow::Continue(()),
        _ => ControlFlow::Break(()),
    });
    assert!(stopped.unwrap().is_break());
    // The second lot may have been through before it was stopped.
    assert!(sweep.runs().len() == 8 || sweep.runs().len() == 15, "{}", sweep.runs().len());
    assert_eq!(sweep.paired().iter().filter(|run| run.seed == SEEDS[0]).count(), 5);
}
