//! Training that stops and goes on: after an error, after an observer that panicked, from the weights of a model.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;

use thinnet::data::{Dataset, Preprocessing, Standardization, digits};
use thinnet::network::{Cell, Conv2d, Embedding, Layer, Recurrent, Schedule, Shape, Way};
use thinnet::{
    Activation, Checkpoint, Dense, Dropout, EarlyStopping, Error, Inputs, Loss, Model, Network, Optimizer, TrainOptions, Trainer,
};

use crate::common::device;

fn network() -> Network {
    Network::new(64).dense(Dense::new(24).activation(Activation::Relu)).dropout(Dropout::keep(0.5).unwrap()).dense(Dense::new(10))
}

fn trainer(data: &Dataset, optimizer: Optimizer) -> Trainer {
    let options = TrainOptions { seed: 3, optimizer, ..TrainOptions::default() };
    Trainer::new(device(), &network(), data, options).unwrap()
}

fn epochs(trainer: &Trainer) -> Vec<u32> {
    trainer.history().iter().map(|epoch| epoch.epoch).collect()
}

#[test]
fn the_history_has_no_gap_after_divergence_and_every_call_says_so() {
    let data = digits().slice(0..300).unwrap();
    let mut trainer = trainer(&data, Optimizer::sgd(1e30));
    for _ in 0..3 {
        assert!(matches!(trainer.fit(40), Err(Error::Diverged { .. })));
    }
    let epochs = epochs(&trainer);
    assert!(!epochs.is_empty() && epochs.iter().copied().eq(0..epochs.len() as u32), "{epochs:?}");
}

#[test]
fn divergence_in_the_last_update_is_seen_in_the_validation() {
    let data = digits().slice(0..100).unwrap();
    // One batch an epoch: its loss is that of the initial weights, and only the evaluation sees what the update did.
    let options = TrainOptions { batch: 100, optimizer: Optimizer::sgd(1e30), ..TrainOptions::default() };
    let mut trainer = Trainer::new(device(), &network(), (&data, &data), options).unwrap();
    assert!(matches!(trainer.fit(1), Err(Error::Diverged { epoch: 0, .. })));
    assert!(trainer.history()[0].running.loss.is_finite() && !trainer.history()[0].valid.unwrap().loss.is_finite());
}

/// A factor of 0 would leave the weights where they are, and nobody would know.
#[test]
fn a_gradient_too_long_for_its_norm_ends_the_training() {
    let network = Network { loss: Loss::MeanSquaredError, ..Network::new(1).dense(Dense::new(1)) };
    let fit = |input: f32| {
        let data = Dataset::with_values(Inputs::from_f32(1, vec![input; 4]).unwrap(), 1, vec![1e12; 4]).unwrap();
        let options = TrainOptions { optimizer: Optimizer::sgd(0.1), clip_norm: Some(1.0), ..TrainOptions::default() };
        Trainer::new(device(), &network, &data, options).unwrap().fit(2).map(|_| ())
    };
    assert!(fit(1.0).is_ok());
    assert!(matches!(fit(1e12), Err(Error::Diverged { .. })));
}

#[test]
fn a_trainer_goes_on_after_its_observer_panicked() {
    let data = digits().slice(0..300).unwrap();
    let mut interrupted = trainer(&data, Optimizer::adam(0.01));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _ = interrupted.fit_with(200, |progress| assert!(progress.history.len() < 3, "the observer panics on purpose"));
    }));
    assert!(panicked.is_err());
    interrupted.fit(2).unwrap();
    let epochs = epochs(&interrupted);
    assert!(epochs.iter().copied().eq(0..epochs.len() as u32), "{epochs:?}");
    // It is where it would be without the interruption.
    let mut straight = trainer(&data, Optimizer::adam(0.01));
    straight.fit(epochs.len() as u32).unwrap();
    assert!(straight.model().unwrap() == interrupted.model().unwrap());
}

#[test]
fn training_from_the_weights_of_a_model_draws_the_masks_of_the_epochs_to_come() {
    let data = digits().slice(0..300).unwrap();
    let mut straight = trainer(&data, Optimizer::sgd(0.1));
    straight.fit(5).unwrap();
    let mut begun = trainer(&data, Optimizer::sgd(0.1));
    begun.fit(2).unwrap();
    let model = begun.model().unwrap();
    // SGD without momentum has no state, so nothing but the epoch is needed to go on.
    let go_on = |first_epoch| {
        let options = TrainOptions { seed: 3, optimizer: Optimizer::sgd(0.1), first_epoch, ..TrainOptions::default() };
        let mut trainer = Trainer::from_model(device(), &model, &data, options).unwrap();
        trainer.fit(3).unwrap();
        (epochs(&trainer), trainer.model().unwrap())
    };
    assert!(go_on(2) == (vec![2, 3, 4], straight.model().unwrap()));
    assert!(go_on(0).1 != straight.model().unwrap(), "the first epochs' masks again");
}

#[test]
fn numbers_that_an_f32_cannot_hold_are_refused_by_name() {
    let epsilon = Optimizer::Adam { lr: 0.001, beta1: 0.9, beta2: 0.999, epsilon: 1e-50 };
    let data = digits().slice(0..100).unwrap();
    for (optimizer, option) in [
        (epsilon, "epsilon"),
        (Optimizer::adam(1e-50), "lr"),
        (Optimizer::sgd(1e39), "lr"),
        (Optimizer::momentum(0.1, 1.0 - 1e-12), "momentum"),
    ] {
        let options = TrainOptions { optimizer, ..TrainOptions::default() };
        let error = Trainer::new(device(), &network(), &data, options).unwrap_err().to_string();
        assert!(error.contains(option), "{option}: {error}");
    }
}

/// Stopped anywhere, in any number of pieces, a training gets to where it would be without.
#[test]
fn a_training_stops_at_the_flag_and_goes_on_from_there() {
    let data = digits().slice(0..300).unwrap();
    let mut stopped = trainer(&data, Optimizer::adam(0.01));
    let flag = stopped.stop_flag();
    for _ in 0..3 {
        let before = stopped.history().len();
        flag.store(false, Relaxed);
        stopped.fit_with(1_000_000, |progress| flag.store(progress.history.len() > before, Relaxed)).unwrap();
        assert!(stopped.history().len() > before && stopped.history().len() < 1_000_000);
    }
    // Where it is set, nothing is trained.
    let weights = stopped.model().unwrap();
    stopped.fit(1).unwrap();
    assert!(stopped.model().unwrap() == weights);
    // fit counts from the epoch it is in, of which it may have done some.
    flag.store(false, Relaxed);
    stopped.fit(1).unwrap();
    let epochs = epochs(&stopped);
    assert!(epochs.iter().copied().eq(0..epochs.len() as u32), "{epochs:?}");
    let mut straight = trainer(&data, Optimizer::adam(0.01));
    straight.fit(epochs.len() as u32).unwrap();
    assert!(straight.model().unwrap() == stopped.model().unwrap());
}

#[test]
fn early_stopping_gives_the_best_of_what_was_trained_before_the_flag() {
    let data = digits().slice(0..300).unwrap();
    let options = TrainOptions { seed: 3, ..TrainOptions::default() };
    let mut trainer = Trainer::new(device(), &network(), (&data, &data), options).unwrap();
    let flag = trainer.stop_flag();
    let stopping = EarlyStopping { patience: 1_000_000, min_delta: 0.0 };
    let best = trainer.fit_best(1_000_000, stopping, |progress| flag.store(progress.history.len() > 2, Relaxed)).unwrap();
    let epochs = trainer.history().len() as u32;
    assert!(best.epoch.epoch < epochs && (3..100).contains(&epochs), "{epochs}");
}

/// What was done to the data goes through a trainer, its checkpoints, the best epoch and a training that goes on from a model.
#[test]
fn preprocessing_stays_with_the_weights() {
    let inputs = Inputs::from_f32(1, (0..40).map(|i| i as f32 / 40.0).collect()).unwrap();
    let data = Dataset::with_values(inputs, 1, (0..40).map(|i| i as f32 / 20.0 - 1.0).collect()).unwrap();
    let network = Network::new(1).dense(Dense::new(1)).loss(Loss::MeanSquaredError);
    let targets = Some(Standardization { mean: vec![7.0], deviation: vec![2.0] });
    let known = Preprocessing { targets, output_names: vec!["price".into()], ..Default::default() };
    let model = Model::initial(&network, 1).unwrap().with_preprocessing(known.clone()).unwrap();
    let mut trainer = Trainer::from_model(device(), &model, (&data, &data), TrainOptions::default()).unwrap();
    let best = trainer.fit_best(2, EarlyStopping { patience: 2, min_delta: 0.0 }, |_| {}).unwrap();
    let saved = Checkpoint::from_safetensors(&trainer.checkpoint().unwrap().to_safetensors().unwrap()).unwrap();
    let resumed = Trainer::resume(device(), &saved, (&data, &data)).unwrap();
    let models = [trainer.model().unwrap(), best.model, saved.model().clone(), resumed.model().unwrap()];
    for model in models.iter().chain([&resumed.best().unwrap().model]) {
        assert_eq!(model.preprocessing(), &known);
    }
    let wide = Preprocessing { targets: Some(Standardization { mean: vec![0.0; 2], deviation: vec![1.0; 2] }), ..known };
    let error = resumed.with_preprocessing(wide).unwrap_err().to_string();
    assert!(error.contains("2 means") && error.contains("1 targets"), "{error}");
}

#[test]
fn networks_that_do_not_fit_together_are_refused_before_their_data() {
    let data = digits().slice(0..8).unwrap();
    let refused = |network: &Network| Trainer::new(device(), network, &data, TrainOptions::default()).unwrap_err().to_string();
    let dense = |network: Network| network.dense(Dense::new(10));
    for network in [
        dense(Network::new(Shape(Vec::new()))),
        dense(Network::new([65_536, 65_536])),
        dense(Network::new(5).embedding(Embedding::new(0, 8))),
        dense(Network::new([1, 8, 8]).conv2d(Conv2d::new(1 << 26, 1 << 19).padding(1 << 18))),
        dense(Network::new(64).dropout(Dropout::keep(0.5).unwrap().schedule(Schedule::new(Way::Linear, 0)))),
    ] {
        assert!(!refused(&network).is_empty());
    }
    // Where there is nothing but dropout, another layer means none.
    let mut network = Network::new([4, 3]).recurrent(Recurrent::new(Cell::Lstm, 5).input(Dropout::keep(0.5).unwrap()));
    network.change_layers(|_, layer| {
        if matches!(layer, Layer::Dropout(_)) {
            *layer = Layer::Flatten;
        }
    });
    let sites = network.walk().into_iter().skip(1);
    assert!(network.shapes().is_ok() && sites.into_iter().all(|layer| matches!(layer, Layer::Dropout(site) if site.is_none())));
}
