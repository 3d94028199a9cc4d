//! Checkpoints: a training that goes on from one is, bit for bit, one that never stopped, wherever that was; and what is refused.

use std::sync::atomic::Ordering::Relaxed;

use thinnet::data::{Augmentation, Dataset, Inputs, digits};
use thinnet::gradient_check::{Numbers, cases};
use thinnet::network::{BatchNorm, Concrete, Layer, Noise, Schedule, Way};
use thinnet::{
    Activation, Checkpoint, Dense, Device, Dropout, EarlyStopping, Error, KeepProb, LrSchedule, Metrics, Model, Network,
    Optimizer, TrainOptions, Trainer,
};

use crate::common::device;
use crate::drive;

/// What a training comes to.
#[derive(Debug, PartialEq)]
struct End {
    epochs: Vec<(u32, Metrics, Option<Metrics>, Option<Metrics>)>,
    model: Model,
}

fn end(trainer: &Trainer) -> End {
    let epochs = trainer.history().iter().map(|e| (e.epoch, e.running, e.train, e.valid)).collect();
    End { epochs, model: trainer.model().unwrap() }
}

/// A checkpoint as it comes back from a file.
fn saved(trainer: &mut Trainer) -> Checkpoint {
    let checkpoint = trainer.checkpoint().unwrap();
    let bytes = checkpoint.to_safetensors().unwrap();
    let read = Checkpoint::from_safetensors(&bytes).unwrap();
    assert_eq!(read, checkpoint);
    assert!(read.to_safetensors().unwrap() == bytes);
    read
}

/// The training in pieces of one submission each, every one in a new trainer; the places in between. A new trainer does not know
/// yet how much a submission may hold, so pieces are short.
fn in_pieces(device: &Device, mut trainer: Trainer, data: [&Dataset; 2], epochs: u32) -> (End, Vec<(u32, u32, bool)>) {
    let mut places = Vec::new();
    loop {
        let left = epochs - trainer.history().len() as u32;
        if left == 0 {
            return (end(&trainer), places);
        }
        let flag = trainer.stop_flag();
        trainer.fit_with(left, |_| flag.store(true, Relaxed)).unwrap();
        let checkpoint = saved(&mut trainer);
        places.push(place(&checkpoint));
        trainer = Trainer::resume(device, &checkpoint, (data[0], data[1])).unwrap();
    }
}

/// The epoch, the rows of it that are through, and whether it is in an evaluation.
fn place(checkpoint: &Checkpoint) -> (u32, u32, bool) {
    let json = state(&checkpoint.to_safetensors().unwrap());
    let number = |key: &str| json[key].as_u64().unwrap() as u32;
    (number("epoch"), number("position"), !json["evaluation"].is_null())
}

fn state(bytes: &[u8]) -> serde_json::Value {
    let (_, header) = safetensors::SafeTensors::read_metadata(bytes).unwrap();
    serde_json::from_str(&header.metadata().as_ref().unwrap()["thinnet-training"]).unwrap()
}

/// The file of a checkpoint whose state was changed by hand.
fn changed(checkpoint: &Checkpoint, change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
    let bytes = checkpoint.to_safetensors().unwrap();
    let mut state = state(&bytes);
    change(&mut state);
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let metadata = [("thinnet-training".to_owned(), state.to_string())];
    safetensors::serialize(tensors.tensors(), Some(metadata.into())).unwrap()
}

fn keep(keep: f64) -> Dropout {
    Dropout::keep(keep).unwrap()
}

fn hidden(network: Network, dropout: Dropout) -> Network {
    network.dense(Dense::new(24).activation(Activation::Relu)).dropout(dropout).dense(Dense::new(10))
}

/// Kernels that keep something from step to step: optimizers, sums of gradients, running statistics, rates that are learned or
/// follow the updates, sets of units, the metrics of an epoch.
fn trainings() -> Vec<(&'static str, Network, TrainOptions)> {
    let base = || TrainOptions { seed: 3, batch: 32, evaluate_train: true, ..TrainOptions::default() };
    let moving = keep(0.5).schedule(Schedule::new(Way::Linear, 30).from(KeepProb::new(0.9).unwrap()));
    let concrete = keep(0.9).noise(Noise::Concrete(Concrete::new(331, 0.1, 1.0)));
    vec![
        (
            "momentum",
            hidden(Network::new(64).dropout(keep(0.8)), keep(0.5)),
            TrainOptions { optimizer: Optimizer::momentum(0.05, 0.9), ..base() },
        ),
        (
            "Adam, accumulated, clipped",
            hidden(Network::new(64), keep(0.5)),
            TrainOptions { batch: 13, accumulate: 3, clip_norm: Some(0.5), max_norm: Some(1.0), ..base() },
        ),
        (
            "RMSprop with schedule, warmup, augmentation and a seed past 2^63",
            hidden(Network::new(64), keep(0.5)),
            TrainOptions {
                seed: u64::MAX - 1,
                optimizer: Optimizer::rmsprop(0.001),
                schedule: LrSchedule::Cosine { epochs: 3.0, floor: 0.1 },
                warmup: 0.7,
                augment: Augmentation { noise: 0.1, mixup: 0.3, ..Augmentation::default() },
                ..base()
            },
        ),
        (
            "units of a batch",
            hidden(Network::new(64), Dropout::units(0.5).unwrap()),
            TrainOptions { optimizer: Optimizer::momentum(0.05, 0.9), ..base() },
        ),
        ("rates of the update", hidden(Network::new(64), moving), base()),
        ("learned rates", hidden(Network::new(64).dropout(concrete), concrete), base()),
        (
            "batch norm",
            hidden(Network::new(64).dense(Dense::new(9)).layer(Layer::BatchNorm(BatchNorm::default())), keep(0.7)),
            base(),
        ),
        ("vanilla", hidden(Network::new(64), keep(0.5).vanilla()), base()),
    ]
}

#[test]
fn a_training_in_pieces_is_a_whole_one_bit_for_bit() {
    let (train, valid) = (digits().slice(0..331).unwrap(), digits().slice(400..1797).unwrap());
    for (name, network, options) in trainings() {
        let new = || Trainer::new(device(), &network, (&train, &valid), options.clone()).unwrap();
        let mut whole = new();
        whole.fit(3).unwrap();
        let (pieces, places) = in_pieces(device(), new(), [&train, &valid], 3);
        assert_eq!(pieces, end(&whole), "{name}");
        let within = places.iter().filter(|(_, position, evaluation)| *position > 0 && !evaluation).count();
        assert!(within > 1, "{name}: stopped at {places:?}");
        assert!(places.iter().any(|(_, _, evaluation)| *evaluation), "{name}: stopped at {places:?}");
    }
}

/// Every layer and every variant of dropout that there is, on the twins too.
#[test]
fn every_layer_goes_on_where_it_was() {
    for (i, case) in cases().iter().enumerate() {
        let numbers = Numbers::new(case, 7).unwrap();
        let options = TrainOptions { batch: 2, optimizer: Optimizer::momentum(0.01, 0.9), ..TrainOptions::default() };
        for device in [device(), &Device::cpu()].into_iter().take(if i % 8 == 0 { 2 } else { 1 }) {
            let new = || Trainer::from_model(device, &numbers.model, &numbers.batch, options.clone()).unwrap();
            let mut whole = new();
            whole.fit(2).unwrap();
            let mut begun = new();
            let flag = begun.stop_flag();
            begun.fit_with(2, |_| flag.store(true, Relaxed)).unwrap();
            let checkpoint = saved(&mut begun);
            assert!(checkpoint.history().len() < 2, "{}: nothing is left to do", case.name);
            let mut resumed = Trainer::resume(device, &checkpoint, &numbers.batch).unwrap();
            resumed.fit(2 - checkpoint.history().len() as u32).unwrap();
            assert_eq!(end(&resumed), end(&whole), "{}", case.name);
        }
    }
}

fn rows() -> Dataset {
    digits().slice(0..300).unwrap()
}

/// Adam in the middle of its second epoch: a new trainer begins with short submissions.
fn begun(device: &Device, rows: &Dataset) -> Trainer {
    let network = hidden(Network::new(64).dropout(keep(0.8)), keep(0.5));
    let options = TrainOptions { seed: 5, ..TrainOptions::default() };
    let mut trainer = Trainer::new(device, &network, rows, options).unwrap();
    trainer.fit(1).unwrap();
    let mut trainer = Trainer::resume(device, &trainer.checkpoint().unwrap(), rows).unwrap();
    let flag = trainer.stop_flag();
    trainer.fit_with(9, |_| flag.store(true, Relaxed)).unwrap();
    flag.store(false, Relaxed);
    trainer
}

fn resumed(device: &Device, checkpoint: &Checkpoint, rows: &Dataset) -> Model {
    let mut trainer = Trainer::resume(device, checkpoint, rows).unwrap();
    trainer.fit(4 - checkpoint.history().len() as u32).unwrap();
    trainer.model().unwrap()
}

/// So that equal ends mean something: what a checkpoint holds besides the weights changes what follows.
#[test]
fn all_of_a_checkpoint_matters() {
    let rows = rows();
    let checkpoint = saved(&mut begun(device(), &rows));
    let end = resumed(device(), &checkpoint, &rows);
    assert!(resumed(device(), &checkpoint, &rows) == end);
    let from_weights = TrainOptions { first_epoch: checkpoint.history().len() as u32, ..checkpoint.options().clone() };
    let mut without_moments = Trainer::from_model(device(), checkpoint.model(), &rows, from_weights).unwrap();
    without_moments.fit(4 - checkpoint.history().len() as u32).unwrap();
    assert!(without_moments.model().unwrap() != end);
    let other = |change: fn(&mut serde_json::Value)| {
        let changed = Checkpoint::from_safetensors(&changed(&checkpoint, change)).unwrap();
        resumed(device(), &changed, &rows)
    };
    assert!(other(|_| {}) == end);
    assert!(other(|state| state["options"]["seed"] = 6.into()) != end);
    assert!(other(|state| state["position"] = 0.into()) != end);
    assert!(other(|state| state["options"]["optimizer"]["adam"]["lr"] = 0.002.into()) != end);
}

/// The masks, the rows and the updates are the same everywhere; sums are rounded otherwise.
#[test]
fn a_training_goes_on_on_another_adapter() {
    let rows = rows();
    let checkpoint = saved(&mut begun(device(), &rows));
    let (here, there) = (resumed(device(), &checkpoint, &rows), resumed(&Device::cpu(), &checkpoint, &rows));
    let apart = |other: &Model| {
        let pairs = here.weights().iter().flatten().zip(other.weights().iter().flatten());
        pairs.map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max)
    };
    // Adam divides small gradients by their own size, so a rounding may become a thousandth of a step; other masks become steps.
    assert!(apart(&there) < 2e-4, "{}", apart(&there));
    let seed = changed(&checkpoint, |state| state["options"]["seed"] = 6.into());
    let other = resumed(&Device::cpu(), &Checkpoint::from_safetensors(&seed).unwrap(), &rows);
    assert!(apart(&other) > 5e-3, "{}", apart(&other));
    assert_eq!(checkpoint.matmul(), device().caps().matmul.to_string());
}

#[test]
fn a_streamed_training_goes_on_with_another_budget() {
    let [train, valid] = [1, 2].map(|seed| drive::random_data(1100, 13, 3, seed));
    let network = Network::new(13).dropout(keep(0.8)).dense(Dense::new(16)).dropout(keep(0.5)).dense(Dense::new(3));
    let new = |data_budget| {
        let options = TrainOptions { batch: 96, data_budget, ..TrainOptions::default() };
        Trainer::new(device(), &network, (&train, &valid), options).unwrap()
    };
    let mut whole = new(None);
    whole.fit(2).unwrap();
    let budget = Some(2 * 540 * 64);
    let (pieces, _) = in_pieces(device(), new(budget), [&train, &valid], 2);
    assert_eq!(pieces, end(&whole));
    let mut first = new(budget);
    first.fit(1).unwrap();
    let checkpoint = saved(&mut first).with_data_budget(None);
    let mut resident = Trainer::resume(device(), &checkpoint, (&train, &valid)).unwrap();
    assert!(resident.plans().plans[0].options.source.window.is_none());
    resident.fit(1).unwrap();
    assert_eq!(end(&resident), end(&whole));
}

#[test]
fn early_stopping_goes_on_from_the_best_epoch_so_far() {
    let (train, valid) = (digits().slice(0..60).unwrap(), digits().slice(300..700).unwrap());
    let network = hidden(Network::new(64), keep(0.5));
    let options = TrainOptions { optimizer: Optimizer::adam(0.03), ..TrainOptions::default() };
    let stopping = EarlyStopping { patience: 4, min_delta: 0.0 };
    let mut whole = Trainer::new(device(), &network, (&train, &valid), options.clone()).unwrap();
    let best = whole.fit_best(200, stopping, |_| {}).unwrap();
    assert!(whole.history().len() < 200 && best.epoch.epoch > 2, "{}", best.epoch.epoch);
    let mut pieces = Trainer::new(device(), &network, (&train, &valid), options).unwrap();
    loop {
        let found = pieces.fit_best(1, stopping, |_| {}).unwrap();
        assert_eq!(pieces.best(), Some(&found));
        let checkpoint = saved(&mut pieces);
        let before = pieces.history().len();
        pieces = Trainer::resume(device(), &checkpoint, (&train, &valid)).unwrap();
        assert_eq!(pieces.best(), Some(&found));
        // Once patience is at its end nothing more is trained.
        let mut again = Trainer::resume(device(), &checkpoint, (&train, &valid)).unwrap();
        again.fit_best(1, stopping, |_| {}).unwrap();
        if again.history().len() == before {
            break;
        }
    }
    let seconds = |best: thinnet::Best| (thinnet::Epoch { seconds: 0.0, ..best.epoch }, best.model);
    assert!(seconds(pieces.best().unwrap().clone()) == seconds(best));
    assert_eq!(end(&pieces), end(&whole));
}

#[test]
fn the_best_epoch_is_one_of_the_history() {
    let (train, valid) = (digits().slice(0..60).unwrap(), digits().slice(300..400).unwrap());
    let mut trainer =
        Trainer::new(device(), &hidden(Network::new(64), keep(0.5)), (&train, &valid), TrainOptions::default()).unwrap();
    trainer.fit_best(3, EarlyStopping { patience: 4, min_delta: 0.0 }, |_| {}).unwrap();
    let checkpoint = saved(&mut trainer);
    assert_eq!(checkpoint.best().map(|best| best.epoch), trainer.best().map(|best| best.epoch.epoch));
    for (key, value) in [("epoch", serde_json::json!(100)), ("valid", serde_json::json!({ "loss": -1.0, "accuracy": 0.5 }))] {
        let changed = changed(&checkpoint, |state| state["best"][key] = value);
        let error = Trainer::resume(device(), &Checkpoint::from_safetensors(&changed).unwrap(), (&train, &valid)).unwrap_err();
        assert!(error.to_string().contains("best epoch"), "{error}");
    }
}

/// Also the epoch that was through when the observer panicked.
#[test]
fn every_epoch_is_judged() {
    let (train, valid) = (digits().slice(0..200).unwrap(), digits().slice(300..400).unwrap());
    let new = || {
        let network = hidden(Network::new(64), keep(0.5));
        Trainer::new(device(), &network, (&train, &valid), TrainOptions::default()).unwrap()
    };
    let stopping = EarlyStopping { patience: 100, min_delta: 0.0 };
    let mut straight = new();
    // While it learns every epoch is the best, so that the one that is missed would be.
    straight.fit_best(6, stopping, |_| {}).unwrap();
    assert_eq!(straight.best().unwrap().epoch.epoch, 5);
    let mut interrupted = new();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ =
            interrupted.fit_best(9, stopping, |progress| assert!(progress.history.len() < 6, "the observer panics on purpose"));
    }));
    assert!(panicked.is_err() && interrupted.history().len() == 6);
    assert_eq!(interrupted.best().unwrap().epoch.epoch, 4);
    interrupted.fit_best(0, stopping, |_| {}).unwrap();
    let best = |trainer: &Trainer| (trainer.best().unwrap().epoch.epoch, trainer.best().unwrap().model.clone());
    assert!(best(&interrupted) == best(&straight));
}

#[test]
fn other_rows_are_refused() {
    let data = rows();
    let checkpoint = saved(&mut begun(device(), &data));
    let refused = |message: &str, data: thinnet::Data<'_>| {
        let error = Trainer::resume(device(), &checkpoint, data).unwrap_err().to_string();
        assert!(error.contains(message) && error.contains("from_model"), "{error}");
    };
    let samples = data.inputs().clone().with_samples((1..301).collect()).unwrap();
    let labels = data.labels().to_vec();
    let mut relabelled = labels.clone();
    relabelled[17] = (relabelled[17] + 1) % 10;
    refused("training rows", (&digits().slice(0..301).unwrap()).into());
    refused("training rows", (&digits().slice(1..301).unwrap()).into());
    refused("training rows", (&Dataset::new(samples, labels.clone(), 10).unwrap()).into());
    refused("training rows", (&Dataset::new(data.inputs().clone(), relabelled, 10).unwrap()).into());
    refused("validation rows", (&data, &data).into());
    // The same bytes are other numbers at another scale.
    let bytes = |scale| Dataset::new(Inputs::from_u8(2, vec![1, 2, 3, 4], scale).unwrap(), vec![0, 1], 2).unwrap();
    let mut of_bytes =
        Trainer::new(device(), &Network::new(2).dense(Dense::new(2)), &bytes(1.0), TrainOptions::default()).unwrap();
    let of_bytes = saved(&mut of_bytes);
    assert!(Trainer::resume(device(), &of_bytes, &bytes(1.0)).is_ok());
    assert!(Trainer::resume(device(), &of_bytes, &bytes(1.0 / 255.0)).is_err());
    assert!(Trainer::resume(device(), &checkpoint, &Dataset::new(data.inputs().clone(), labels, 10).unwrap()).is_ok());
}

#[test]
fn the_difference_of_two_trainings_is_named() {
    let checkpoint = saved(&mut begun(device(), &rows()));
    let (network, options) = (checkpoint.network().clone(), checkpoint.options().clone());
    assert_eq!(checkpoint.difference(&network, &TrainOptions { data_budget: Some(1 << 20), ..options.clone() }), None);
    let batch = TrainOptions { batch: 64, ..options.clone() };
    assert_eq!(checkpoint.difference(&network, &batch).unwrap(), "train.batch is 64, but was 32");
    let seed = TrainOptions { seed: 6, ..options.clone() };
    assert_eq!(checkpoint.difference(&network, &seed).unwrap(), "seed is 6, but was 5");
    let lr = TrainOptions { optimizer: Optimizer::adam(0.002), ..options.clone() };
    assert_eq!(checkpoint.difference(&network, &lr).unwrap(), "train.optimizer.adam.lr is 0.002, but was 0.001");
    let wider = Network::new(64).dropout(keep(0.8)).dense(Dense::new(25).activation(Activation::Relu)).dropout(keep(0.5));
    let difference = checkpoint.difference(&wider.dense(Dense::new(10)), &options).unwrap();
    assert_eq!(difference, "network.layers[1].dense is 25, but was 24");
}

#[test]
fn what_is_no_checkpoint_is_refused() {
    let data = rows();
    let mut trainer = begun(device(), &data);
    let checkpoint = saved(&mut trainer);
    let bytes = checkpoint.to_safetensors().unwrap();
    let refused = |bytes: &[u8], message: &str| {
        let error = match Checkpoint::from_safetensors(bytes) {
            Err(error) => error,
            Ok(checkpoint) => Trainer::resume(device(), &checkpoint, &data).unwrap_err(),
        };
        assert!(matches!(error, Error::Data(_)) && error.to_string().contains(message), "{message}: {error}");
    };
    refused(&bytes[..bytes.len() - 4], "no checkpoint that can be read");
    refused(b"", "no checkpoint that can be read");
    refused(&checkpoint.model().to_safetensors().unwrap(), "no checkpoint of a training");
    let state = |change: fn(&mut serde_json::Value), message: &str| refused(&changed(&checkpoint, change), message);
    state(|state| state["mask_contract"] = 2.into(), "version 2 of the mask contract");
    state(|state| state["position"] = 7.into(), "stands where no training");
    state(|state| state["position"] = 300.into(), "stands where no training");
    state(|state| state["epoch"] = 0.into(), "history has other epochs");
    state(|state| state["history"] = serde_json::json!([]), "history has other epochs");
    state(|state| state["sums"] = serde_json::json!([]), "sums");
    state(|state| state["sums"][0][0] = f32::NAN.to_bits().into(), "figures");
    state(|state| state["history"][0]["running"]["loss"] = 1e308.into(), "figures");
    state(|state| state["history"][0]["running"]["accuracy"] = 1.5.into(), "figures");
    state(|state| state["seconds"] = (-1.0).into(), "figures");
    state(|state| state["seconds"] = serde_json::Value::Null, "no checkpoint that can be read");
    state(|state| state["epoch"] = u32::MAX.into(), "history has other epochs");
    state(|state| state["options"]["optimizer"] = serde_json::json!({ "sgd": { "lr": 0.1 } }), "optimizer state");
    state(|state| state["options"]["bach"] = 3.into(), "no checkpoint that can be read");
    state(|state| state["best"] = state["history"][0].clone(), "1.weight.best");
    // A model is no place to look for a training, and the other way round it is said, too.
    let error = Model::from_safetensors(&bytes).unwrap_err().to_string();
    assert!(error.contains("checkpoint of a training"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("training.safetensors");
    let error = Checkpoint::load(&path).unwrap_err().to_string();
    assert!(error.contains("training.safetensors") && error.contains("cannot be read"), "{error}");
    checkpoint.save(&path).unwrap();
    assert_eq!(Checkpoint::load(&path).unwrap(), checkpoint);
    assert!(checkpoint.save(folder.path().join("missing/training.safetensors")).is_err());
}

#[test]
fn a_training_that_diverged_has_no_checkpoint() {
    let data = rows();
    let options = TrainOptions { optimizer: Optimizer::sgd(1e30), ..TrainOptions::default() };
    let mut trainer = Trainer::new(device(), &hidden(Network::new(64), keep(0.5)), &data, options).unwrap();
    assert!(trainer.fit(1).is_err());
    assert!(matches!(trainer.checkpoint(), Err(Error::Diverged { .. })));
    // One update, whose loss nobody has seen yet.
    let one = Dataset::new(Inputs::from_f32(2, vec![1e6; 8]).unwrap(), vec![0, 1, 1, 1], 2).unwrap();
    let options = TrainOptions { optimizer: Optimizer::sgd(1e38), ..TrainOptions::default() };
    let mut trainer = Trainer::new(device(), &Network::new(2).dense(Dense::new(2)), &one, options).unwrap();
    trainer.fit(1).unwrap();
    assert!(trainer.model().unwrap().weights().iter().flatten().any(|weight| !weight.is_finite()));
    assert!(matches!(trainer.checkpoint(), Err(Error::Diverged { epoch: 1, .. })));
}

/// What an observer's panic leaves under way belongs to the checkpoint.
#[test]
fn submissions_under_way_are_waited_for() {
    let data = rows();
    let options = TrainOptions { seed: 5, ..TrainOptions::default() };
    let new = || Trainer::new(device(), &hidden(Network::new(64), keep(0.5)), &data, options.clone()).unwrap();
    let mut trainer = new();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = trainer.fit_with(200, |progress| assert!(progress.history.len() < 3, "the observer panics on purpose"));
    }));
    assert!(panicked.is_err());
    let checkpoint = saved(&mut trainer);
    let mut resumed = Trainer::resume(device(), &checkpoint, &data).unwrap();
    resumed.fit(1).unwrap();
    let mut whole = new();
    whole.fit(resumed.history().len() as u32).unwrap();
    assert_eq!(end(&resumed), end(&whole));
}
