//! Which kernels a plan has, in which order and over which buffers: facts without numbers.

use thinnet::kernels::matmul::Matmul;
use thinnet::network::{Activation, Loss, Network};
use thinnet::plan::{Caps, Gradient, Mode, Options, Plans, Training, Update};
use thinnet::{Augmentation, Dense, Dropout};

use crate::drive;

mod parts;

const NONE: Augmentation = Augmentation { shift: 0, flip: false, noise: 0.0, cutout: 0, mixup: 0.0 };

const EVERYTHING: Training =
    Training { update: Update::RmsProp, gradient: Gradient::Accumulated, clip_norm: true, max_norm: true, augment: NONE };

/// Vanilla dropout of the input, GELU, inverted dropout, tanh, and one output.
fn network() -> Network {
    Network::new(13)
        .dropout(Dropout::keep(0.8).unwrap().vanilla())
        .dense(Dense::new(31).activation(Activation::Gelu))
        .dropout(Dropout::keep(0.5).unwrap())
        .dense(Dense::new(7).activation(Activation::Tanh))
        .dense(Dense::new(1))
        .loss(Loss::BinaryCrossEntropy)
}

/// Plans with one plan.
fn planned(network: &Network, mode: Mode, variable_rates: bool) -> Plans {
    let data = drive::data_for(network, 17, false, 1);
    let mut plans = Plans::new(Caps::baseline());
    plans.add(network, Options { variable_rates, ..drive::options("plan", mode, &data, 7, 1) }).unwrap();
    plans
}

fn names(plans: &Plans) -> Vec<&'static str> {
    plans.plans[0].kernels.iter().map(|kernel| kernel.entry().name).collect()
}

fn training(training: Training) -> Vec<&'static str> {
    names(&planned(&network(), Mode::Train(training), false))
}

fn count(names: &[&str], name: &str) -> usize {
    names.iter().filter(|n| **n == name).count()
}

const FORWARD: [&str; 8] = [
    "batch_rows",
    "gather_f32",
    "dense_forward",
    "gelu_forward",
    "dropout_forward",
    "dense_forward",
    "dense_forward",
    "binary_cross_entropy",
];

/// The input has no gradient, so the first dense layer has no backward kernel for it.
const BACKWARD: [&str; 8] = [
    "metrics",
    "dense_backward_input",
    "dense_backward_weight",
    "dense_backward_input",
    "dense_backward_weight",
    "dropout_backward",
    "gelu_backward",
    "dense_backward_weight",
];

#[test]
fn the_kernels_of_a_step_come_in_their_order() {
    let ends = |end: &[&'static str]| [&FORWARD[..], &BACKWARD[..], end].concat();
    let bounded = ["gradient_norm", "clip_gradient", "rmsprop", "max_norm", "max_norm", "max_norm"];
    assert_eq!(training(EVERYTHING), ends(&[&["accumulate_gradients"][..], &bounded].concat()));
    assert_eq!(training(Training { gradient: Gradient::Step, ..EVERYTHING }), ends(&bounded));
    assert_eq!(training(Training { gradient: Gradient::Accumulate, ..EVERYTHING }), ends(&["accumulate_gradients"]));
    for (update, name) in [(Update::Sgd, "sgd"), (Update::Adam, "adam"), (Update::RmsProp, "rmsprop")] {
        assert_eq!(training(update.into()), ends(&[name]), "what is not asked for is absent");
        let accumulated = Training { gradient: Gradient::Accumulated, ..update.into() };
        assert_eq!(training(accumulated), ends(&["accumulate_gradients", name]));
        let clipped = Training { clip_norm: true, ..update.into() };
        assert_eq!(training(clipped), ends(&["gradient_norm", "clip_gradient", name]));
        let shortened = Training { max_norm: true, ..update.into() };
        assert_eq!(training(shortened), ends(&[name, "max_norm", "max_norm", "max_norm"]));
    }
}

#[test]
fn an_evaluation_has_one_scale_for_each_vanilla_site_that_drops() {
    let forward = |scales: &[usize]| {
        let mut names = vec!["batch_rows", "gather_f32"];
        let layers: [&[&str]; 5] = [&[], &["dense_forward", "gelu_forward"], &[], &["dense_forward"], &["dense_forward"]];
        for (layer, kernels) in layers.iter().enumerate() {
            names.extend(scales.iter().filter(|s| **s == layer).map(|_| "scale"));
            names.extend(*kernels);
        }
        names.extend(["store_output", "binary_cross_entropy_forward", "metrics"]);
        names
    };
    let with = |first: Dropout, second: Dropout| {
        let mut network = network();
        network.layers[0] = thinnet::network::Layer::Dropout(first);
        network.layers[2] = thinnet::network::Layer::Dropout(second);
        network
    };
    let keep = |keep| Dropout::keep(keep).unwrap();
    for variable_rates in [false, true] {
        let evaluation = |network: &Network| names(&planned(network, Mode::Eval, variable_rates));
        assert_eq!(evaluation(&network()), forward(&[0]));
        assert_eq!(evaluation(&with(keep(0.8), keep(0.5))), forward(&[]), "inverted dropout leaves nothing to evaluation");
        assert_eq!(evaluation(&with(keep(0.8).vanilla(), keep(0.5).vanilla())), forward(&[0, 2]));
        assert_eq!(evaluation(&with(keep(1.0).vanilla(), keep(0.5).vanilla())), forward(&[2]), "a factor of 1 is none");
        let training = names(&planned(&with(keep(0.8).vanilla(), keep(0.5).vanilla()), Mode::Train(EVERYTHING), variable_rates));
        assert_eq!((count(&training, "scale"), count(&training, "dropout_forward")), (0, 1));
    }
}

/// The buffers of plans as (name, words), sorted.
fn buffers(plans: &Plans) -> Vec<(String, u32)> {
    let mut buffers: Vec<_> = plans.buffers.iter().map(|buffer| (buffer.name.clone(), buffer.words)).collect();
    buffers.sort();
    buffers
}

/// No mask is stored, no dropped copy of anything, and no gradient of its own: sums over all buffers of every family.
#[test]
fn dropout_between_relu_layers_and_of_the_input_costs_no_byte() {
    let with = |keep: f64| {
        let dropout = || Dropout::keep(keep).unwrap();
        let dense = |units| Dense::new(units).activation(Activation::Relu);
        let network = Network::new(13).dropout(dropout()).dense(dense(31)).dropout(dropout()).dense(dense(7)).dropout(dropout());
        network.dense(Dense::new(5))
    };
    for matmul in [Matmul::Plain, Matmul::Tile, Matmul::Shuffle { lanes: 8 }] {
        let buffers_of = |keep| {
            let (network, mut plans) = (with(keep), Plans::new(Caps { matmul, ..Caps::baseline() }));
            let data = drive::data_for(&network, 17, false, 1);
            let mode = Mode::Train(Update::Sgd.into());
            let options = Options { variable_rates: false, store_gradient: false, ..drive::options("plan", mode, &data, 7, 1) };
            plans.add(&network, options).unwrap();
            (plans.plans[0].sites.len(), plans.plans[0].kernels.len(), buffers(&plans))
        };
        let (without, with) = (buffers_of(1.0), buffers_of(0.5));
        assert_eq!((without.0, with.0), (0, 3));
        assert_eq!(without.1, with.1, "{matmul}: a mask is drawn by kernels that run without one, too");
        assert_eq!(without.2, with.2, "{matmul}");
    }
}

#[test]
fn each_piece_of_training_adds_its_buffers_and_no_more() {
    for members in [1, 3] {
        let data = drive::data_for(&network(), 17, false, 1);
        let with = |training: Training| {
            let plans = drive::plans(Caps::baseline(), &network(), &data, 7, training, members);
            buffers(&plans)
        };
        let plain = with(Update::Sgd.into());
        let words = |name: &str| plain.iter().find(|(n, _)| n == name).unwrap().1;
        let added = |training| {
            let all = with(training);
            assert!(plain.iter().all(|buffer| all.contains(buffer)), "{training:?} changes or lacks a buffer");
            all.into_iter().filter(|buffer| !plain.contains(buffer)).collect::<Vec<_>>()
        };
        let gradients = words("gradients");
        assert_eq!(gradients, words("weights"));
        let sgd = Training::from(Update::Sgd);
        // Both plans of an accumulated training, over the same buffers.
        let accumulated = Training { gradient: Gradient::Accumulated, ..sgd };
        assert_eq!(added(accumulated), [("gradient sums".to_owned(), gradients)]);
        assert_eq!(added(Training { clip_norm: true, ..sgd }), [("gradient.partials".to_owned(), 64 * members)]);
        assert_eq!(added(Training { max_norm: true, ..sgd }), []);
        for update in [Update::Adam, Update::RmsProp] {
            assert_eq!(added(update.into()), [("moment2".to_owned(), gradients)]);
        }
    }
}

/// Only GELU needs its input again.
#[test]
fn only_gelu_has_a_buffer_for_its_input() {
    let preactivations = |activation| {
        let dense = |units| Dense::new(units).activation(activation);
        let network = Network::new(13).dense(dense(31)).dense(dense(5));
        let plans = planned(&network, Mode::Train(Update::Sgd.into()), false);
        plans.buffers.iter().filter(|buffer| buffer.name.starts_with("preactivation")).map(|b| b.words).collect::<Vec<_>>()
    };
    // Seven rows of 32 and of 8, to the alignment of 64.
    assert_eq!(preactivations(Activation::Gelu), [256, 64]);
    for activation in [Activation::Relu, Activation::Selu, Activation::LeakyRelu, Activation::Tanh, Activation::Identity] {
        assert!(preactivations(activation).is_empty(), "{activation:?}");
    }
}

/// With the accumulated sum it is the sum that is clipped and that makes the update; the step's own gradient is not touched.
#[test]
fn what_is_clipped_is_what_updates_the_weights() {
    for gradient in [Gradient::Step, Gradient::Accumulated] {
        let plans = planned(&network(), Mode::Train(Training { gradient, ..EVERYTHING }), false);
        let plan = &plans.plans[0];
        let wanted = plan.tensor(if gradient == Gradient::Step { "gradients" } else { "gradient sums" });
        let tensor = |kernel: &str, name: &str| {
            let kernel = plan.kernels.iter().find(|k| k.entry().name == kernel).unwrap();
            let at = kernel.entry().tensors.iter().position(|binding| binding.name == name).unwrap();
            kernel.tensors()[at]
        };
        for kernel in ["gradient_norm", "clip_gradient", "rmsprop"] {
            assert_eq!(tensor(kernel, "dw"), wanted, "{kernel}");
        }
        if gradient == Gradient::Accumulated {
            assert_eq!(
                (tensor("accumulate_gradients", "dw"), tensor("accumulate_gradients", "sum")),
                (plan.tensor("gradients"), wanted)
            );
        }
        // Every weight is shortened, no bias.
        let shortened = plan.kernels.iter().filter(|k| k.entry().name == "max_norm").map(|k| k.tensors()[0]);
        let weights = ["1.weight", "4.weight", "6.weight"].map(|name| plan.tensor(name));
        assert_eq!(shortened.collect::<Vec<_>>(), weights);
    }
}
