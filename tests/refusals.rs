//! What training refuses, and what it says: the value, the place and the remedy.

use thinnet::data::{Dataset, Inputs, digits};
use thinnet::executor::Executor;
use thinnet::kernels::matmul::Matmul;
use thinnet::plan::{Caps, Mode, Plans, Update};
use thinnet::work::Work;
use thinnet::{Activation, Dense, Device, Dropout, Error, Loss, Model, Network, Optimizer, TrainOptions, Trainer};

use crate::common::device;
use crate::drive::{self, Member, TRAIN};

fn network(inputs: u32, classes: u32) -> Network {
    Network::new(inputs)
        .dense(Dense::new(8).activation(Activation::Relu))
        .dropout(Dropout::keep(0.5).unwrap())
        .dense(Dense::new(classes))
}

fn small() -> Dataset {
    digits().slice(0..40).unwrap()
}

fn with(optimizer: Optimizer) -> TrainOptions {
    TrainOptions { optimizer, ..TrainOptions::default() }
}

/// The message of a refusal, which has to contain every part.
#[track_caller]
fn refused<T>(result: Result<T, Error>, parts: &[&str]) -> Error {
    let Err(error) = result else { panic!("not refused; expected {parts:?}") };
    let message = error.to_string();
    assert!(parts.iter().all(|part| message.contains(part)), "{message:?} lacks one of {parts:?}");
    error
}

#[test]
fn a_training_that_diverges_is_an_error_that_names_the_epoch() {
    for device in [device(), &Device::cpu()] {
        let train = small();
        let mut trainer = Trainer::new(device, &network(64, 10), &train, with(Optimizer::sgd(1e30))).unwrap();
        let error = refused(trainer.fit(5).map(|_| ()), &["in epoch 1 (the first is 1)", "diverged", "smaller learning rate"]);
        assert!(matches!(error, Error::Diverged { epoch: 0, loss } if !loss.is_finite()), "{error:?}");
        let first = trainer.history().first().expect("the epoch that diverged is part of the history");
        assert!(first.epoch == 0 && !first.running.loss.is_finite());
    }
}

#[test]
fn a_training_that_diverges_later_keeps_the_epochs_before() {
    // Without hidden units the loss grows by a factor each epoch, and overflows after some.
    let network = Network::new(64).dense(Dense::new(10));
    let train = small();
    let options = TrainOptions { weight_decay: 1.0, ..with(Optimizer::sgd(40.0)) };
    let mut trainer = Trainer::new(device(), &network, &train, options).unwrap();
    let error = refused(trainer.fit(200).map(|_| ()), &["diverged"]);
    let Error::Diverged { epoch, .. } = error else { panic!("{error:?}") };
    assert!(epoch > 2, "{epoch}");
    // Epochs that were under way when it was noticed follow; the one that diverged is there if it was completed.
    let (before, after) = trainer.history().split_at(epoch as usize);
    assert!(trainer.history().iter().map(|e| e.epoch).eq(0..trainer.history().len() as u32));
    assert!(after.first().is_none_or(|e| !e.running.loss.is_finite()) && before.iter().all(|e| e.running.loss.is_finite()));
}

#[test]
fn a_training_that_diverged_says_so_again() {
    let train = small();
    let mut trainer = Trainer::new(device(), &network(64, 10), &train, with(Optimizer::sgd(1e30))).unwrap();
    // Many short epochs, so that submissions are under way when the first one diverges.
    trainer.fit(0).unwrap();
    for _ in 0..5 {
        let error = trainer.fit(400).unwrap_err();
        assert!(matches!(error, Error::Diverged { .. }), "{error:?}");
    }
    assert!(trainer.model().unwrap().weights().iter().flatten().any(|w| !w.is_finite()));
}

#[test]
fn a_nan_among_the_weights_reaches_every_loss() {
    let (train, network) = (small(), network(64, 10));
    let mut weights = Model::initial(&network, 1).unwrap().weights().to_vec();
    weights[1][3] = f32::NAN; // a bias in front of a ReLU, which may hide a NaN on some drivers
    let model = Model::new(network, weights).unwrap();
    assert!(model.evaluate(device(), &train).unwrap().loss.is_nan());
    refused(model.predict(device(), train.inputs()), &["row 0", "not a number", "train again"]);
    let mut trainer = Trainer::from_model(device(), &model, &train, TrainOptions::default()).unwrap();
    assert!(matches!(trainer.fit(3), Err(Error::Diverged { epoch: 0, .. })));
}

#[test]
fn data_that_do_not_fit_the_network_are_refused() {
    let (train, narrow) = (small(), network(13, 10));
    let new = |network: &Network, data: &Dataset| Trainer::new(device(), network, data, TrainOptions::default());
    refused(new(&narrow, &train), &["64 columns", "takes 13", "Network::new(64)"]);
    refused(new(&network(64, 7), &train), &["10 classes", "7 outputs", "10 units"]);
    let likelihood = |units| network(64, units).loss(Loss::GaussianNll);
    refused(new(&likelihood(10), &train), &["gaussian_nll takes numbers", "10 classes", "softmax_cross_entropy"]);
    let three = Dataset::with_values(train.inputs().clone(), 3, vec![0.5; 3 * 40]).unwrap();
    refused(new(&likelihood(4), &three), &["3 targets", "4 outputs", "a log variance for each of 2", "6 units"]);
    refused(new(&likelihood(5), &three), &["units = 5", "a mean and a log variance for each target", "10 for 5"]);
    assert!(new(&likelihood(6), &three).is_ok());
    let valid = Dataset::new(Inputs::from_f32(2, vec![0.0; 8]).unwrap(), vec![0; 4], 2).unwrap();
    let pair = (&train, &valid);
    refused(Trainer::new(device(), &network(64, 10), pair, TrainOptions::default()), &["2 columns", "takes 64"]);
    let model = Model::initial(&narrow, 0).unwrap();
    refused(model.evaluate(device(), &train), &["64 columns", "takes 13"]);
    refused(model.logits(device(), train.inputs()), &["64 columns", "takes 13"]);
}

#[test]
fn options_that_make_no_sense_are_refused_with_their_value() {
    let train = small();
    let new = |options| Trainer::new(device(), &network(64, 10), &train, options);
    for lr in [0.0, -0.5, f64::NAN, f64::INFINITY] {
        for optimizer in [Optimizer::sgd(lr), Optimizer::adam(lr)] {
            refused(new(with(optimizer)), &["`lr`", &format!("= {lr}:"), "positive"]);
        }
    }
    refused(new(with(Optimizer::momentum(0.1, 1.0))), &["`momentum` = 1:", "below 1"]);
    let adam = |beta1, beta2, epsilon| with(Optimizer::Adam { lr: 0.1, beta1, beta2, epsilon });
    refused(new(adam(-0.1, 0.999, 1e-8)), &["`beta1` = -0.1:"]);
    refused(new(adam(0.9, f64::NAN, 1e-8)), &["`beta2` = NaN:"]);
    refused(new(adam(0.9, 0.999, 0.0)), &["`epsilon` = 0:", "positive"]);
    for weight_decay in [f64::NAN, -1.0, f64::INFINITY] {
        let options = TrainOptions { weight_decay, ..TrainOptions::default() };
        refused(new(options), &["`weight_decay`", &format!("= {weight_decay}:"), "from 0 to 3.4e38"]);
    }
    refused(new(TrainOptions { batch: 0, ..TrainOptions::default() }), &["`batch` = 0:", "at least one row"]);
    let mut trainer = new(TrainOptions::default()).unwrap();
    trainer.fit(1).unwrap();
    refused(trainer.fit(u32::MAX).map(|_| ()), &["`epochs` = 4294967295:", "2^32 - 1"]);
    assert_eq!(trainer.fit(1).unwrap().len(), 2, "a refused call changes nothing");
}

#[test]
fn plans_that_make_no_sense_are_refused_with_their_value() {
    let data = drive::random_data(17, 13, 5, 1);
    let train = |members| drive::options("train", Mode::Train(Update::Adam.into()), &data, 7, members);
    let add = |options| Plans::new(Caps::baseline()).add(&network(13, 5), options);
    refused(add(train(0)), &["`members` = 0:", "at least 1"]);
    refused(add(train(65_536)), &["`members` = 65536:", "at most"]);
    let mut unlabelled = train(1);
    unlabelled.source.labelled = false;
    refused(add(unlabelled), &["`source` = data:", "labels"]);
    let mut empty = train(1);
    empty.source.rows = 0;
    refused(add(empty), &["`rows` = 0:", "empty"]);
    refused(Plans::new(Caps::baseline()).add(&Network::new(13), train(1)), &["no dense layer"]);
}

/// 13-31-7-5: 1984 bytes in the largest tensor, 4096 in all weights with their alignment.
fn ragged() -> Network {
    let relu = |units| Dense::new(units).activation(Activation::Relu);
    Network::new(13).dense(relu(31)).dropout(Dropout::keep(0.5).unwrap()).dense(relu(7)).dense(Dense::new(5))
}

/// The weights after two epochs on a device with these limits, and the number of the optimizer's dispatches.
fn trained(caps: Caps, optimizer: Optimizer) -> (Vec<Vec<f32>>, usize) {
    let data = drive::random_data(17, 13, 5, 2);
    let members = [Member::new(&ragged(), 5, optimizer).weight_decay(0.1)];
    let plans = drive::plans(caps, &ragged(), &data, 7, optimizer.update(), 1);
    let optimizer_name = |name: &str| name == "adam" || name == "sgd";
    let dispatches = plans.plans[TRAIN].kernels.iter().filter(|kernel| optimizer_name(kernel.entry().name)).count();
    let mut executor = Executor::new(device(), plans).unwrap();
    drive::upload(&executor, &data, &members);
    let work: Vec<Work> = drive::training(&members, 17, 7, 0..2);
    let submission = executor.submit(&work).unwrap();
    executor.wait(submission).unwrap();
    (drive::parameters_of(&executor, &ragged(), "", 0), dispatches)
}

#[test]
fn weights_beyond_the_binding_limit_are_updated_in_parts_with_the_same_bits() {
    for optimizer in [Optimizer::adam(0.01), Optimizer::momentum(0.1, 0.9)] {
        let plain = Caps { matmul: Matmul::Plain, ..device().caps() };
        let (whole, one) = trained(plain.clone(), optimizer);
        // 2176 bytes hold a layer, and a part of 2048; 2304 do not divide the 4096 bytes of all weights.
        for (max_binding, parts) in [(2176, 2), (2304, 2)] {
            let (split, dispatches) = trained(Caps { max_binding, ..plain.clone() }, optimizer);
            assert_eq!((one, dispatches), (1, parts), "a limit of {max_binding} bytes");
            assert!(split == whole, "a limit of {max_binding} bytes changes the weights");
        }
    }
}

#[test]
fn a_network_beyond_the_limits_is_refused_with_the_buffer_and_both_numbers() {
    let data = drive::random_data(17, 13, 5, 2);
    let add = |caps, members| {
        Plans::new(caps).add(&ragged(), drive::options("train", Mode::Train(Update::Sgd.into()), &data, 7, members))
    };
    let caps = |max_binding| Caps { max_binding, ..Caps::baseline() };
    let error = refused(add(caps(1983), 1), &["weights of dense_forward", "1984", "1983", "smaller", "WebGPU baseline"]);
    assert!(matches!(error, Error::Limit { needed: 1984, available: 1983, .. }), "{error:?}");
    // The gradient of a weight and that of its bias are one binding.
    let error = refused(add(caps(2175), 1), &["gradients of dense_backward_weight", "2176", "2175"]);
    assert!(matches!(error, Error::Limit { needed: 2176, available: 2175, .. }), "{error:?}");
    assert!(add(caps(2176), 1).is_ok());
    // Members lie one after the other, so the second one's first bias, behind 1984 bytes of weights and padding, ends 4096 bytes further on.
    refused(add(caps(4096), 2), &["weights of dense_forward", "4224", "4096"]);
    refused(add(caps(0), 1), &["device allows 0"]);
    let tight = Caps { max_buffer: 4095, ..Caps::baseline() };
    refused(add(tight, 1), &["buffer weights", "4096", "4095"]);
    let narrow = Caps { max_groups: 1, ..Caps::baseline() };
    refused(add(narrow, 1), &["the grid of ", "(workgroups)", "allows 1;"]);
    let wide = drive::random_data(1, 65_536, 5, 1);
    let options = drive::options("train", Mode::Train(Update::Sgd.into()), &wide, 1, 1);
    let huge = Network::new(65_536).dense(Dense::new(32_767)).dense(Dense::new(32_767));
    refused(Plans::new(Caps::baseline()).add(&huge, options.clone()), &["buffer weights", "allows 268435456;", "smaller"]);
    // More words than u32 counts: it is the device's limit that is named, and both numbers are bytes.
    refused(Plans::new(Caps::baseline()).add(&huge.dense(Dense::new(65_536)), options), &["weights", "allows 268435456;"]);
}
