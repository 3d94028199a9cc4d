//! The networks whose wiring is tested, and their members.

use thinnet::network::{Activation, Dense, Layer, Loss, Network};
use thinnet::{Dropout, Optimizer};

use crate::drive::Member;

fn dense(units: u32, activation: Activation) -> Layer {
    Layer::Dense(Dense::new(units).activation(activation))
}

pub(super) fn dropout(keep_prob: f64) -> Layer {
    Layer::Dropout(Dropout::keep(keep_prob).unwrap())
}

fn vanilla(keep_prob: f64) -> Layer {
    Layer::Dropout(Dropout::keep(keep_prob).unwrap().vanilla())
}

/// Dropout of the input, between layers, twice in a row and of the output; every activation in every place.
pub(crate) fn networks() -> [Network; 3] {
    use Activation::{Identity, Relu, Sigmoid, Tanh};
    let with = |layers: Vec<Layer>| Network { layers, ..Network::new(13) };
    [
        with(vec![
            dropout(0.8),
            dense(31, Relu),
            dropout(0.5),
            dense(7, Tanh),
            Layer::Dropout(Dropout::keep(0.7).unwrap().site(9)),
            dense(5, Identity),
        ]),
        with(vec![dense(31, Sigmoid), dropout(0.6), dense(7, Relu), dropout(0.9), dropout(0.8), dense(5, Identity)]),
        with(vec![dropout(0.9), dense(30, Tanh), dense(9, Relu), dropout(0.5), dense(6, Sigmoid), dense(5, Tanh), dropout(0.9)]),
    ]
}

/// A network of 13 inputs, and whether its targets are numbers rather than labels.
pub(crate) type Case = (Network, bool);

const LOSSES: [Loss; 4] = [Loss::SoftmaxCrossEntropy, Loss::BinaryCrossEntropy, Loss::MeanSquaredError, Loss::GaussianNll];

/// Every activation twice in a row and as the last layer, with every loss; several outputs and one; dropout of both kinds, of the
/// input and between layers.
pub(crate) fn every_activation_and_loss() -> Vec<Case> {
    use Activation::{Gelu, Identity, LeakyRelu, Relu, Selu, Sigmoid, Tanh};
    let mut cases = Vec::new();
    for (a, activation) in [Identity, Relu, Tanh, Sigmoid, LeakyRelu, Gelu, Selu].into_iter().enumerate() {
        for (l, loss) in LOSSES.into_iter().enumerate() {
            let softmax = loss == Loss::SoftmaxCrossEntropy;
            // A single output that is a ReLU may be 0 for every row, and its gradient tells nothing.
            let outputs = if !softmax && activation != Relu && (a + l) % 3 == 0 { 1 } else { 5 };
            let likelihood = loss == Loss::GaussianNll;
            let outputs = if likelihood { 2 * outputs } else { outputs };
            let last = dense(outputs, activation);
            let layers = match (a + l) % 3 {
                0 => vec![vanilla(0.8), dense(31, activation), dense(7, activation), dropout(0.6), last],
                1 => vec![dropout(0.8), dense(9, activation), vanilla(0.5), dense(31, activation), last],
                _ => vec![dense(30, activation), vanilla(0.7), dense(19, activation), dropout(0.8), last],
            };
            let network = Network { layers, loss, ..Network::new(13) };
            cases.push((network, likelihood || !softmax && (a + l) % 2 == 0));
        }
    }
    cases
}

/// Everything at once, once for each loss: activations mixed, dropout of the output.
pub(crate) fn mixed() -> [Case; 5] {
    use Activation::{Gelu, Identity, LeakyRelu, Selu, Sigmoid, Tanh};
    let with = |loss, layers| Network { layers, loss, ..Network::new(13) };
    let output_dropped = vec![dropout(0.8), dense(30, Selu), dense(9, Gelu), vanilla(0.5), dense(3, Gelu), dropout(0.9)];
    [
        (
            with(
                Loss::SoftmaxCrossEntropy,
                vec![vanilla(0.8), dense(31, Gelu), dropout(0.5), dense(7, LeakyRelu), vanilla(0.7), dense(5, Identity)],
            ),
            false,
        ),
        (
            with(Loss::BinaryCrossEntropy, vec![dense(31, Selu), vanilla(0.6), dense(9, Gelu), dense(6, Tanh), dense(5, Selu)]),
            true,
        ),
        (with(Loss::MeanSquaredError, output_dropped), true),
        (with(Loss::BinaryCrossEntropy, vec![vanilla(0.8), dense(31, Sigmoid), vanilla(0.6), dense(1, LeakyRelu)]), false),
        (with(Loss::GaussianNll, vec![dropout(0.8), dense(31, Selu), vanilla(0.6), dense(9, Tanh), dense(6, Identity)]), true),
    ]
}

/// Thinned layers: both sides, rows or columns alone, of the input, next to dropout with a mask for every sample.
pub(crate) fn thinned() -> [Case; 3] {
    use Activation::{Gelu, Identity, LeakyRelu, Relu, Selu, Tanh};
    let units = |keep| Layer::Dropout(Dropout::units(keep).unwrap());
    let with = |loss, layers| Network { layers, loss, ..Network::new(13) };
    let both = vec![units(0.8), dense(31, Relu), units(0.5), dense(19, Tanh), units(0.6), dense(5, Identity)];
    let gelu = vec![dense(31, Selu), units(0.5), dense(9, Gelu), units(0.7), dense(3, LeakyRelu)];
    let beside =
        vec![dropout(0.8), dense(31, LeakyRelu), units(0.1), dense(7, Tanh), dropout(0.5), dense(5, Identity), dropout(0.9)];
    [
        (with(Loss::SoftmaxCrossEntropy, both), false),
        (with(Loss::MeanSquaredError, gelu), true),
        (with(Loss::BinaryCrossEntropy, beside), true),
    ]
}

/// Members of thinned networks, whose rates are the plan's.
pub(crate) fn thinned_members(network: &Network, count: u64) -> Vec<Member> {
    (0..count as usize).map(|m| Member::new(network, [5 << 33 | 7, 11][m], SGD[m]).weight_decay([0.0, 0.01][m])).collect()
}

/// One member, or two that differ in everything that members may differ in; one rate of each network is 1 for the second.
pub(crate) fn members(network: &Network, count: u64, optimizer: [Optimizer; 2]) -> Vec<Member> {
    let sites = network.sites().unwrap().into_iter().flatten().count();
    let rates = [[0.8, 0.5, 0.7, 0.6], [0.6, 1.0, 0.9, 0.5]];
    let member = |m: usize| {
        let seed = [5 << 33 | 7, 11][m];
        // The gradient of a likelihood has a factor e^-s, with which steps of the same rate would leave every bound.
        let share = if network.loss == Loss::GaussianNll { 0.05 } else { 1.0 };
        Member::new(network, seed, optimizer[m].with_lr(share * optimizer[m].lr()))
            .rates(&rates[m][..sites])
            .weight_decay([0.0, 0.01][m])
    };
    (0..count as usize).map(member).collect()
}

pub(crate) const ADAM: [Optimizer; 2] = [
    Optimizer::Adam { lr: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
    Optimizer::Adam { lr: 0.03, beta1: 0.8, beta2: 0.99, epsilon: 1e-6 },
];
pub(crate) const SGD: [Optimizer; 2] =
    [Optimizer::Sgd { lr: 0.1, momentum: 0.9, nesterov: false }, Optimizer::Sgd { lr: 0.03, momentum: 0.0, nesterov: false }];
