//! Vanilla dropout of feature maps: folded where it is exact, refused elsewhere.

use thinnet::data::Inputs;
use thinnet::network::{BatchNorm, LayerNorm, Pool2d, PoolKind};
use thinnet::reference::{self, Masks};
use thinnet::{Activation, Conv2d, Dense, Dropout, Layer, Model, Network, Residual, Unit};

use crate::common::{device, numbers};
use crate::drive::widen;

fn vanilla(unit: Unit) -> Layer {
    Layer::Dropout(Dropout::keep(0.5).unwrap().unit(unit).vanilla())
}

fn inverted() -> Layer {
    Layer::Dropout(Dropout::keep(0.7).unwrap())
}

fn conv(channels: u32) -> Layer {
    Layer::Conv2d(Conv2d::new(channels, 3).padding(1))
}

fn pool(kind: PoolKind) -> Layer {
    Layer::Pool(Pool2d::new(kind, 2).padding(1))
}

fn activation(activation: Activation) -> Layer {
    Layer::Activation(activation)
}

fn residual(branch: Vec<Layer>, skip: Vec<Layer>) -> Layer {
    Layer::Residual(Residual { branch, skip })
}

/// Layers over maps of 2 channels, 6 x 5, behind a convolution to 3 channels, with an output at their end.
fn network(layers: Vec<Layer>) -> Network {
    let behind = layers.into_iter().fold(Network::new([2, 6, 5]).layer(conv(3)), Network::layer);
    behind.layer(Layer::Flatten).dense(Dense::new(3))
}

fn model(network: &Network) -> Model {
    let weights = network.parameters().unwrap().into_iter().zip(5..).map(|(parameter, seed)| {
        let values = numbers(parameter.len(), seed).into_iter();
        values.map(|v| if parameter.name.ends_with("running_var") { 1.5 + v } else { v }).collect()
    });
    Model::new(network.clone(), weights.collect()).unwrap()
}

/// Networks through which every factor reaches a weight.
fn foldable() -> Vec<Network> {
    let (relu, leaky) = (|| activation(Activation::Relu), || activation(Activation::LeakyRelu));
    let max = || pool(PoolKind::Max);
    vec![
        network(vec![relu(), vanilla(Unit::Spatial2d), max(), leaky(), conv(4)]),
        network(vec![vanilla(Unit::Element), relu(), pool(PoolKind::Average), inverted(), vanilla(Unit::Block(2))]),
        network(vec![vanilla(Unit::Path), conv(4), activation(Activation::Tanh), vanilla(Unit::Spatial2d), max()]),
        // Branch and skip both have a weight for it; or both bring it to the sum.
        network(vec![vanilla(Unit::Element), residual(vec![relu(), conv(4), relu(), conv(4)], vec![conv(4)])]),
        network(vec![vanilla(Unit::Element), residual(vec![relu()], vec![])]),
        network(vec![residual(vec![conv(4), vanilla(Unit::Element)], vec![conv(4), vanilla(Unit::Spatial2d)]), relu()]),
        // Inside a branch.
        network(vec![residual(vec![conv(4), relu(), vanilla(Unit::Spatial2d), conv(3), inverted()], vec![])]),
        network(vec![residual(vec![vanilla(Unit::Spatial2d), conv(3)], vec![])]),
        network(vec![residual(vec![conv(2)], vec![vanilla(Unit::Spatial2d), conv(2)])]),
    ]
}

/// The largest difference by the largest number.
fn far(found: &[f64], expected: &[f64]) -> f64 {
    let largest = expected.iter().fold(0.0, |a: f64, e| a.max(e.abs()));
    let error = |(f, e): (&f64, &f64)| Some((f - e).abs()).filter(|error| !error.is_nan()).unwrap_or(f64::INFINITY);
    found.iter().zip(expected).map(error).fold(0.0, f64::max) / largest
}

/// In f64 the two differ by the rounding of factors and weights to f32, some 2^-24 in each of four layers; on the device by that
/// of sums of up to 180 terms too.
#[test]
fn a_folded_network_is_the_same_function() {
    let values = numbers(4 * 60, 9);
    let rows = Inputs::from_f32(60, values.clone()).unwrap();
    let values: Vec<f64> = values.into_iter().map(f64::from).collect();
    let samples = [0, 1, 2, 3];
    for network in foldable() {
        let model = model(&network);
        let folded = model.fold_vanilla().unwrap();
        assert!(network.has_vanilla_dropout() && !folded.network().has_vanilla_dropout());
        let exact = |model: &Model, masks| {
            reference::forward(model.network(), &widen(model.weights()), &values, &masks).unwrap().pop().unwrap()
        };
        for masks in [Masks::None, Masks::Drawn { seed: 3, pass: 1, update: 4, samples: &samples }] {
            let error = far(&exact(&folded, masks), &exact(&model, masks));
            assert!(error < 1e-6, "{network:?}, {masks:?}: {error}");
        }
        let logits = |model: &Model| {
            let outputs = model.logits(device(), &rows).unwrap();
            outputs.values().iter().map(|&v| f64::from(v)).collect::<Vec<_>>()
        };
        for model in [&model, &folded] {
            let error = far(&logits(model), &exact(model, Masks::None));
            assert!(error < 5e-5, "{network:?}: the device is off by {error}");
        }
        let unfolded = Model::new(folded.network().clone(), model.weights().to_vec()).unwrap();
        let error = far(&exact(&unfolded, Masks::None), &exact(&model, Masks::None));
        assert!(error > 1e-2, "{network:?}: a factor that is left out goes unseen: {error}");
        assert_eq!(Model::from_safetensors(&model.to_safetensors().unwrap()).unwrap(), folded, "a file has it folded");
    }
}

#[test]
fn what_a_factor_does_not_pass_is_named() {
    let refused = |network: Network, place: &str, words: &str| {
        let error = model(&network).fold_vanilla().unwrap_err().to_string();
        let parts = [place, words, "use inverted dropout"];
        assert!(parts.iter().all(|part| error.contains(part)), "{error:?} lacks one of {parts:?}");
        assert_eq!(error, thinnet::checkpoint::check_foldable(&network).unwrap_err().to_string());
        assert_eq!(error, model(&network).to_safetensors().unwrap_err().to_string());
    };
    let behind = |layer| network(vec![vanilla(Unit::Element), layer, conv(2)]);
    refused(behind(Layer::BatchNorm(BatchNorm::default())), "layer 1 (dropout)", "layer 2 (batch_norm) between");
    refused(behind(Layer::LayerNorm(LayerNorm::default())), "layer 1 (dropout)", "layer 2 (layer_norm) between");
    for kind in [Activation::Tanh, Activation::Sigmoid, Activation::Gelu, Activation::Selu] {
        refused(behind(activation(kind)), "layer 1 (dropout)", "layer 2 (activation) between");
    }
    refused(behind(residual(vec![conv(3)], vec![])), "layer 1 (dropout)", "layer 2 (residual)");
    let path = residual(vec![conv(3), vanilla(Unit::Path)], vec![]);
    refused(network(vec![path]), "layer 1.residual[1] (dropout)", "layer 1 (residual)");
    let inside = vec![vanilla(Unit::Element), Layer::BatchNorm(BatchNorm::default()), conv(3)];
    refused(network(vec![residual(inside, vec![])]), "layer 1.residual[0] (dropout)", "layer 1.residual[1] (batch_norm)");
    let skip = vec![conv(3), vanilla(Unit::Spatial2d)];
    refused(network(vec![residual(vec![conv(3)], skip)]), "layer 1.skip[1] (dropout)", "only one");
    let pooled = Network::new([2, 6, 5]).layer(conv(3)).layer(vanilla(Unit::Spatial2d)).layer(Layer::GlobalAveragePool);
    refused(pooled, "layer 1 (dropout)", "no weight behind it");
    // At keep 1 there is no factor.
    let one = Layer::Dropout(Dropout::keep(1.0).unwrap().vanilla());
    assert!(model(&network(vec![one, activation(Activation::Tanh)])).fold_vanilla().is_ok());
}
