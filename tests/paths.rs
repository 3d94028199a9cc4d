//! Paths that are dropped (stochastic depth): for which samples a branch is computed, and that nothing else is.

use thinnet::network::{BatchNorm, Layer};
use thinnet::plan::{Mode, Options, Plans, Source, Training, Update};
use thinnet::rng::{self, Coordinates, Stream};
use thinnet::step::{DROPPED, SiteStep, Step};
use thinnet::{
    Activation, Conv2d, Dataset, Dense, Device, Dropout, Inputs, Network, Optimizer, Residual, TrainOptions, Trainer, Unit,
};

use crate::common::device;

const SEED: u64 = 42;
const BATCH: u32 = 24;

/// Two blocks of maps with batch norm, the second inside of a third.
fn network(keep: f64) -> Network {
    let path = || Layer::Dropout(Dropout::keep(keep).unwrap().unit(Unit::Path));
    let conv = || Layer::Conv2d(Conv2d::new(4, 3).padding(1));
    let norm = || Layer::BatchNorm(BatchNorm::default());
    let block = |more: Option<Layer>| {
        let mut branch = vec![conv(), norm(), Layer::Activation(Activation::Relu)];
        branch.extend(more);
        branch.push(path());
        Residual { branch, skip: Vec::new() }
    };
    let inner = Layer::Residual(block(None));
    Network::new([2, 5, 6])
        .conv2d(Conv2d::new(4, 3).padding(1))
        .residual(block(None))
        .residual(block(Some(inner)))
        .layer(Layer::GlobalAveragePool)
        .dense(Dense::new(3))
}

/// The values of all sites in a step over these samples, and the plans.
fn steps(keep: f64, epoch: u32, samples: &[u32]) -> (Vec<SiteStep>, Plans) {
    let network = network(keep);
    let source = Source { name: "rows".into(), rows: 100, byte_scale: None, labelled: true, window: None };
    let options = Options {
        name: "train".into(),
        mode: Mode::Train(Training::from(Update::Sgd)),
        batch: BATCH,
        members: 1,
        source,
        variable_rates: false,
        store_output: false,
        store_gradient: false,
    };
    let mut plans = Plans::new(Device::cpu().caps());
    plans.add(&network, options).unwrap();
    let sites = plans.plans[0].site_steps(&network, rng::key(SEED), [epoch, 7], || samples.to_vec());
    (sites, plans)
}

/// Whether the contract keeps a sample at a site.
fn keeps(keep: f64, site: u32, pass: u32, sample: u32) -> bool {
    let at = Coordinates { stream: Stream::TrainingMask, site, pass, sample };
    thinnet::KeepProb::new(keep).unwrap().keeps(at.word(0, rng::key(SEED)))
}

#[test]
fn a_branch_has_the_rows_of_the_samples_that_keep_it_and_of_its_outer_branch() {
    let samples: Vec<u32> = (0..20).map(|i| 7 * i + 3).collect();
    let (sites, plans) = steps(0.6, 5, &samples);
    let plan = &plans.plans[0];
    // Sites count from 0 in order of declaration: the first block, the inner block, the block around it.
    let numbers: Vec<u32> = plan.sites.iter().map(|site| site.site).collect();
    let of = |number: u32| numbers.iter().position(|&site| site == number).unwrap();
    let listed = |site: &SiteStep| -> Vec<u32> { site.kept.iter().copied().filter(|&place| place != DROPPED).collect() };
    let places = |samples: &[u32], site: u32| -> Vec<u32> {
        (0..).zip(samples).filter(|&(_, &sample)| keeps(0.6, site, 5, sample)).map(|(place, _)| place).collect()
    };
    assert_eq!(listed(&sites[of(0)]), places(&samples, 0));
    let outer = places(&samples, 2);
    assert_eq!(listed(&sites[of(2)]), outer);
    let within: Vec<u32> = outer.iter().map(|&place| samples[place as usize]).collect();
    assert_eq!(listed(&sites[of(1)]), places(&within, 1), "those of the outer branch alone, by their places there");
    assert!([0, 1, 2].iter().all(|&site| !listed(&sites[of(site)]).is_empty() && listed(&sites[of(site)]).len() < 20));
    // What kernels of a branch see is as many rows, a row for each pixel or for each sample.
    let member = thinnet::step::MemberStep { key: rng::key(SEED), optimizer: Default::default(), sites: sites.clone() };
    let step = Step::new(20, vec![member]);
    for scope in &plan.scopes {
        let samples = scope.path.map_or(20, |site| listed(&sites[site]).len() as u32);
        assert_eq!(scope.rows(&step), samples * scope.pixels, "{scope:?}");
    }
    assert!(plan.scopes.iter().filter(|scope| scope.path.is_some()).count() >= 6, "three branches, of samples and of pixels");
}

/// 15,000 epochs of 24 samples: five standard deviations of a rate of 0.6 over 360,000 are 0.0041, below the 0.006 of an error of 1 %.
#[test]
fn samples_keep_a_path_at_its_rate_and_1_percent_off_is_noticed() {
    let samples: Vec<u32> = (0..BATCH).collect();
    let (network, (_, plans)) = (network(0.6), steps(0.6, 0, &samples));
    let first = plans.plans[0].sites.iter().position(|site| site.site == 0).unwrap();
    let (mut kept, epochs) = (0u32, 15_000);
    for epoch in 0..epochs {
        let sites = plans.plans[0].site_steps(&network, rng::key(SEED), [epoch, 0], || samples.clone());
        kept += sites[first].count();
        assert_eq!(sites[first].scale, Dropout::keep(0.6).unwrap().keep.scale());
    }
    let n = f64::from(epochs) * f64::from(BATCH);
    let bound = |p: f64| 5.0 * (p * (1.0 - p) / n).sqrt();
    let rate = f64::from(kept) / n;
    assert!((rate - 0.6).abs() < bound(0.6), "{rate}");
    assert!((rate - 0.606).abs() > bound(0.606), "1 % off would pass: {rate}");
}

fn data(rows: u32) -> Dataset {
    let value = |i: u32| ((i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32) - 1.0;
    let inputs = Inputs::from_f32(60, (0..rows * 60).map(value).collect()).unwrap();
    Dataset::new(inputs, (0..rows).map(|row| row % 3).collect(), 3).unwrap()
}

/// At keep_prob 0 no sample passes any branch: its weights and running statistics stay, and nothing becomes NaN.
#[test]
fn a_branch_that_every_sample_drops_is_left_alone() {
    let options = TrainOptions { batch: BATCH, optimizer: Optimizer::sgd(0.1), ..Default::default() };
    let mut trainer = Trainer::new(device(), &network(0.0), &data(50), options).unwrap();
    let before = trainer.model().unwrap();
    trainer.fit(2).unwrap();
    let after = trainer.model().unwrap();
    let parameters = after.network().parameters().unwrap();
    for ((parameter, before), after) in parameters.iter().zip(before.weights()).zip(after.weights()) {
        assert!(after.iter().all(|w| w.is_finite()), "{}", parameter.name);
        assert_eq!(before == after, parameter.name.contains("branch"), "{}", parameter.name);
    }
}

/// The loss of an epoch does not know how its batches were split for accumulation, but for rounding: masks belong to samples. (Batch
/// norm does know, so there is none.)
#[test]
fn accumulated_steps_drop_the_paths_of_their_own_samples() {
    let path = Layer::Dropout(Dropout::keep(0.5).unwrap().unit(Unit::Path));
    let branch = vec![Layer::Dense(Dense::new(60).activation(Activation::Tanh)), path];
    let network = Network::new(60).residual(Residual { branch, skip: Vec::new() }).dense(Dense::new(3));
    let trained = |batch, accumulate| {
        let options = TrainOptions { batch, accumulate, optimizer: Optimizer::sgd(0.1), seed: SEED, ..Default::default() };
        let mut trainer = Trainer::new(device(), &network, &data(48), options).unwrap();
        trainer.fit(2).unwrap();
        trainer.model().unwrap().weights().to_vec()
    };
    let (whole, split) = (trained(24, 1), trained(8, 3));
    let difference = |a: &[Vec<f32>], b: &[Vec<f32>]| {
        a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    // Four updates of sums of 24 rows: far below what another mask would do.
    assert!(difference(&whole, &split) < 1e-5, "{}", difference(&whole, &split));
    let other = TrainOptions { batch: 24, optimizer: Optimizer::sgd(0.1), seed: SEED, ..Default::default() };
    let mut without = Trainer::new(device(), &network.without_dropout(), &data(48), other).unwrap();
    without.fit(2).unwrap();
    assert!(difference(&whole, without.model().unwrap().weights()) > 1e-3, "paths are dropped at all");
}
