//! Training under control: accumulated gradients, rates that change, early stopping.

use std::ops::ControlFlow;

use thinnet::data::digits;
use thinnet::reference::{self, Masks};
use thinnet::rng::Shuffle;
use thinnet::{
    Activation, Dataset, Dense, Dropout, EarlyStopping, Error, KeepProb, LrSchedule, Model, MomentumRamp, Network, Optimizer,
    TrainOptions, Trainer, rng,
};

use crate::balls;
use crate::common::device;
use crate::drive::{batch_of, widen};

fn network() -> Network {
    Network::new(64)
        .dropout(Dropout::keep(0.9).unwrap())
        .dense(Dense::new(33).activation(Activation::Tanh))
        .dropout(Dropout::keep(0.5).unwrap())
        .dense(Dense::new(10))
}

fn bits(model: &Model) -> Vec<Vec<u32>> {
    model.weights().iter().map(|w| w.iter().map(|v| v.to_bits()).collect()).collect()
}

fn trained(data: &Dataset, options: &TrainOptions, epochs: u32) -> Model {
    let mut trainer = Trainer::new(device(), &network(), data, options.clone()).unwrap();
    trainer.fit(epochs).unwrap();
    trainer.model().unwrap()
}

/// One update of SGD over all rows, in one step and in several, against the reference: within the error of one sum over the rows.
/// A ragged last step included.
#[test]
fn accumulated_steps_make_the_update_of_the_whole_batch() {
    let (rows, lr, seed) = (100, 0.5, 7);
    let data = digits().slice(300..300 + rows).unwrap();
    let initial = Model::initial(&network(), seed).unwrap();
    let order: Vec<u32> = (0..rows).map(|at| Shuffle::new(rows).row(at, 0, rng::key(seed))).collect();
    let (inputs, labels, samples) = batch_of(&data, &order);
    let weights = widen(initial.weights());
    let masks = Masks::Drawn { seed, pass: 0, update: 0, samples: &samples };
    let exact = reference::gradients(initial.network(), &weights, &inputs, &labels, &masks).unwrap();
    let exact_balls: Vec<Vec<_>> = weights.iter().map(|w| w.iter().copied().map(balls::Ball::exact).collect()).collect();
    let (network, labels) = (initial.network(), labels.as_slice());
    let outcome = balls::Step { network, weights: &exact_balls, inputs: &inputs, targets: labels.into(), masks }.run();

    for (batch, accumulate) in [(100, 1), (25, 4), (32, 4), (16, 7), (1, 100)] {
        let options = TrainOptions { seed, batch, accumulate, optimizer: Optimizer::sgd(lr), ..Default::default() };
        let mut trainer = Trainer::new(device(), network, &data, options).unwrap();
        trainer.fit(1).unwrap();
        let model = trainer.model().unwrap();
        let mut compared = 0;
        for (t, tensor) in model.weights().iter().enumerate() {
            for (i, &w) in tensor.iter().enumerate() {
                let expected = weights[t][i] - lr * exact[t][i];
                // The ball admits any order of the sum over the rows, and so a sum of sums.
                let bound = lr * outcome.gradients[t][i].rad + 4.0 * thinnet::kernels::EPS * expected.abs() + 1e-9;
                let error = (f64::from(w) - expected).abs();
                assert!(
                    error <= bound,
                    "{batch} x {accumulate}, tensor {t}[{i}]: {w} for {expected}, error {error:e}, bound {bound:e}"
                );
                compared += 1;
            }
        }
        assert_eq!(compared, initial.weights().iter().map(Vec::len).sum::<usize>());
        // The metrics are those of the epoch, whatever its steps.
        let loss = reference::loss(network, &weights, &inputs, labels, &masks).unwrap();
        let running = trainer.history()[0].running.loss;
        assert!((running - loss).abs() < 1e-5 * loss, "{batch} x {accumulate}: loss {running} for {loss}");
    }
}

/// A batch that ends inside an epoch has the mean over its own rows, and every epoch begins a new batch.
#[test]
fn accumulation_changes_nothing_but_rounding_over_ragged_epochs() {
    let data = digits().slice(0..150).unwrap();
    let base = TrainOptions { seed: 3, optimizer: Optimizer::momentum(0.1, 0.9), weight_decay: 1e-3, ..Default::default() };
    let large = trained(&data, &TrainOptions { batch: 64, ..base.clone() }, 3);
    let far = |other: &Model| {
        let pairs = large.weights().iter().flatten().zip(other.weights().iter().flatten());
        pairs.map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max)
    };
    let accumulated = trained(&data, &TrainOptions { batch: 16, accumulate: 4, ..base.clone() }, 3);
    let unaccumulated = trained(&data, &TrainOptions { batch: 16, ..base.clone() }, 3);
    // 9 updates with rates of 0.1: what separates the two is rounding, 6e-8 a sum, and far below any other training.
    assert!(far(&accumulated) < 1e-5, "{:e}", far(&accumulated));
    assert!(far(&unaccumulated) > 1e-2, "{:e}", far(&unaccumulated));
    assert_eq!(bits(&accumulated), bits(&trained(&data, &TrainOptions { batch: 16, accumulate: 4, ..base }, 3)));
}

#[test]
fn deciding_after_each_epoch_changes_no_bit() {
    let data = digits().slice(0..200).unwrap();
    let options = TrainOptions { seed: 5, batch: 32, ..Default::default() };
    let mut trainer = Trainer::new(device(), &network(), &data, options.clone()).unwrap();
    let mut seen = Vec::new();
    trainer
        .fit_each(
            4,
            |progress| assert!(progress.steps <= progress.total_steps),
            |_, epoch| {
                seen.push(epoch.epoch);
                Ok(ControlFlow::Continue(()))
            },
        )
        .unwrap();
    assert_eq!(seen, [0, 1, 2, 3]);
    assert_eq!(bits(&trainer.model().unwrap()), bits(&trained(&data, &options, 4)));
    trainer
        .fit_each(4, |_| {}, |_, epoch| Ok(if epoch.epoch == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }))
        .unwrap();
    assert_eq!(trainer.history().len(), 6, "epochs 4 and 5, then it was told to stop");
}

/// Halving the rate by hand after each epoch is the schedule that halves it each epoch, bit for bit: 2^-n is exact.
#[test]
fn a_rate_that_is_changed_takes_effect_at_the_next_epoch() {
    let data = digits().slice(0..200).unwrap();
    let base = TrainOptions { seed: 5, optimizer: Optimizer::momentum(0.1, 0.5), ..Default::default() };
    let mut by_hand = Trainer::new(device(), &network(), &data, base.clone()).unwrap();
    by_hand
        .fit_each(
            4,
            |_| {},
            |trainer, epoch| {
                trainer.set_learning_rate(0.1 * 0.5f64.powi(epoch.epoch as i32 + 1))?;
                Ok(ControlFlow::Continue(()))
            },
        )
        .unwrap();
    let schedule = LrSchedule::Step { every: 1.0, factor: 0.5 };
    let scheduled = trained(&data, &TrainOptions { schedule, ..base.clone() }, 4);
    assert_eq!(bits(&by_hand.model().unwrap()), bits(&scheduled));
    assert_ne!(bits(&scheduled), bits(&trained(&data, &base, 4)));
    assert!(matches!(by_hand.set_learning_rate(f64::NAN), Err(Error::Option { option: "lr", .. })));
}

#[test]
fn a_keep_prob_that_is_changed_draws_nested_masks_and_needs_a_planned_site() {
    let data = digits().slice(0..100).unwrap();
    let options = TrainOptions { seed: 2, ..Default::default() };
    let mut trainer = Trainer::new(device(), &network(), &data, options.clone()).unwrap();
    trainer.set_keep(2, KeepProb::new(0.8).unwrap()).unwrap();
    trainer.fit(2).unwrap();
    let other = thinnet::sweep::with_keep(&network(), &[2], KeepProb::new(0.8).unwrap()).unwrap();
    let mut fresh = Trainer::new(device(), &other, &data, options).unwrap();
    fresh.fit(2).unwrap();
    assert_eq!(bits(&trainer.model().unwrap()), bits(&fresh.model().unwrap()));
    for layer in [1, 9] {
        let message = trainer.set_keep(layer, KeepProb::ONE).unwrap_err().to_string();
        assert!(message.contains(&format!("layer {layer}")), "{message}");
    }
}

#[test]
fn early_stopping_ends_after_its_patience_and_returns_the_best_weights() {
    // Random labels: nothing that is learned holds for other rows, so the validation loss soon rises.
    let (noisy, _) = digits().with_noisy_labels(1.0, 1).unwrap();
    let (train, valid) = (noisy.slice(0..200).unwrap(), noisy.slice(200..700).unwrap());
    let options = TrainOptions { seed: 1, optimizer: Optimizer::adam(0.01), ..Default::default() };
    let mut trainer = Trainer::new(device(), &network(), (&train, &valid), options.clone()).unwrap();
    let best = trainer.fit_best(60, EarlyStopping { patience: 4, min_delta: 0.0 }, |_| {}).unwrap();
    let losses: Vec<f64> = trainer.history().iter().map(|epoch| epoch.valid.unwrap().loss).collect();
    assert!(losses.len() < 60, "it never stopped: {losses:?}");
    let least = losses.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(best.epoch.valid.unwrap().loss, least);
    assert_eq!(losses.len() as u32 - 1 - best.epoch.epoch, 4, "{losses:?}");
    assert_eq!(best.model.evaluate(device(), &valid).unwrap().loss, least, "the weights are those of the best epoch");
    assert_ne!(bits(&best.model), bits(&trainer.model().unwrap()), "the trainer has the last ones");

    // A loss must be better by min_delta to count.
    let mut strict = Trainer::new(device(), &network(), (&train, &valid), options.clone()).unwrap();
    let first = strict.fit_best(60, EarlyStopping { patience: 2, min_delta: 100.0 }, |_| {}).unwrap();
    assert_eq!((first.epoch.epoch, strict.history().len()), (0, 3));

    let mut blind = Trainer::new(device(), &network(), &train, options).unwrap();
    let message = blind.fit_best(3, EarlyStopping { patience: 2, min_delta: 0.0 }, |_| {}).unwrap_err().to_string();
    assert!(message.contains("validation"), "{message}");
    assert!(trainer.fit_best(3, EarlyStopping { patience: 0, min_delta: 0.0 }, |_| {}).is_err());
}

/// The scalars that reach the device, by hand: 3 updates an epoch, so update 4 (the second of epoch 1) is at x = 4/3.
#[test]
fn rates_follow_their_schedules() {
    let lr = |options: &TrainOptions, x: f64| f64::from(options.optimizer_step(1, x, 3).learning_rate);
    let near = |got: f64, want: f64| assert!((got - want).abs() <= 1e-7 * want, "{got} for {want}");
    let base = TrainOptions { optimizer: Optimizer::momentum(0.8, 0.9), ..Default::default() };
    let x = 4.0 / 3.0;
    for (schedule, want) in [
        (LrSchedule::Constant, 0.8),
        (LrSchedule::Step { every: 1.0, factor: 0.1 }, 0.08),
        (LrSchedule::Step { every: 2.0, factor: 0.1 }, 0.8),
        (LrSchedule::Exponential { factor: 0.5 }, 0.8 * 0.5f64.powf(x)),
        (LrSchedule::Cosine { epochs: 4.0, floor: 0.25 }, 0.2 + 0.3 * (1.0 + (std::f64::consts::PI / 3.0).cos())),
        (LrSchedule::Cosine { epochs: 1.0, floor: 0.25 }, 0.2),
        (LrSchedule::InverseTime { decay: 3.0 }, 0.8 / 5.0),
    ] {
        let options = TrainOptions { schedule, ..base.clone() };
        options.check().unwrap();
        near(lr(&options, x), want);
        near(lr(&options, 0.0), 0.8);
        // Warm-up multiplies: update 4 of 6.
        let warm = TrainOptions { warmup: 2.0, ..options };
        near(lr(&warm, x), want * 5.0 / 6.0);
        near(lr(&warm, 0.0), 0.8 / 6.0);
    }
    let ramp = TrainOptions { momentum_ramp: Some(MomentumRamp { from: 0.5, epochs: 4.0 }), ..base.clone() };
    near(f64::from(ramp.optimizer_step(1, x, 3).beta1), 0.5 + 0.4 / 3.0);
    near(f64::from(ramp.optimizer_step(1, 7.0, 3).beta1), 0.9);
    let adamw = TrainOptions { optimizer: Optimizer::adamw(0.8), weight_decay: 0.25, ..base };
    let step = adamw.optimizer_step(1, 0.0, 3);
    assert_eq!((step.weight_decay, step.decoupled_decay), (0.0, 0.2));
}

#[test]
fn options_that_cannot_be_used_are_named() {
    let base = TrainOptions::default();
    let ramp = |from, epochs| Some(MomentumRamp { from, epochs });
    let sgd = Optimizer::momentum(0.1, 0.9);
    for (options, name) in [
        (TrainOptions { batch: 0, ..base.clone() }, "batch"),
        (TrainOptions { accumulate: 0, ..base.clone() }, "accumulate"),
        (TrainOptions { weight_decay: -1.0, ..base.clone() }, "weight_decay"),
        (TrainOptions { warmup: f64::NAN, ..base.clone() }, "warmup"),
        (TrainOptions { clip_norm: Some(0.0), ..base.clone() }, "clip_norm"),
        (TrainOptions { max_norm: Some(f64::INFINITY), ..base.clone() }, "max_norm"),
        (TrainOptions { momentum_ramp: ramp(0.5, 3.0), ..base.clone() }, "momentum_ramp"),
        (TrainOptions { momentum_ramp: ramp(1.0, 3.0), optimizer: sgd, ..base.clone() }, "momentum_ramp.from"),
        (TrainOptions { momentum_ramp: ramp(0.5, 0.0), optimizer: sgd, ..base.clone() }, "momentum_ramp.epochs"),
        (TrainOptions { schedule: LrSchedule::Step { every: 0.0, factor: 0.5 }, ..base.clone() }, "schedule.step.every"),
        (TrainOptions { schedule: LrSchedule::Exponential { factor: 1.5 }, ..base.clone() }, "schedule.exponential.factor"),
        (
            TrainOptions { schedule: LrSchedule::Cosine { epochs: f64::NAN, floor: 0.0 }, ..base.clone() },
            "schedule.cosine.epochs",
        ),
        (TrainOptions { schedule: LrSchedule::InverseTime { decay: -1.0 }, ..base.clone() }, "schedule.inverse_time.decay"),
        (TrainOptions { optimizer: Optimizer::nesterov(0.1, 0.0), ..base.clone() }, "nesterov"),
        (TrainOptions { optimizer: Optimizer::rmsprop(0.0), ..base.clone() }, "lr"),
        (TrainOptions { optimizer: Optimizer::adamw(-0.1), ..base }, "lr"),
    ] {
        let data = digits().slice(0..10).unwrap();
        let message = Trainer::new(device(), &network(), &data, options).unwrap_err().to_string();
        assert!(message.contains(&format!("`{name}`")), "{name}: {message}");
    }
}
