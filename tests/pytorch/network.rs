//! A network of every layer against PyTorch: names, layouts and semantics, both ways.
//!
//! `scripts/pytorch/network.py` made `tests/fixtures/pytorch_network.safetensors`, a state dict as PyTorch saves it, and
//! `tests/fixtures/pytorch_network.json` with the expression of the module, inputs, and its logits in f64.

use std::fs;
use std::path::PathBuf;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;
use thinnet::checkpoint::sequential;
use thinnet::network::{BatchNorm, LayerNorm, Pool2d, PoolKind, Window};
use thinnet::reference::{self, Masks};
use thinnet::{Activation, Conv2d, Dense, Dropout, Inputs, Layer, Model, Network, Residual, Unit};

use super::list;
use crate::common::device;
use crate::drive::widen;

fn state_dict() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pytorch_network.safetensors")
}

fn figures() -> Value {
    serde_json::from_str(include_str!("../fixtures/pytorch_network.json")).unwrap()
}

fn dropped(drop: f64, unit: Unit) -> Layer {
    Layer::Dropout(Dropout::drop(drop).unwrap().unit(unit))
}

fn conv(channels: u32, kernel: u32) -> Conv2d {
    Conv2d::new(channels, kernel)
}

/// Every kind of layer; every activation; groups, strides, padding and dilation; blocks with and without skip, and in each other.
fn network() -> Network {
    use Activation::{Gelu, LeakyRelu, Relu, Selu, Sigmoid, Tanh};
    let (norm, layer_norm) = (|| Layer::BatchNorm(BatchNorm::default()), || Layer::LayerNorm(LayerNorm::default()));
    let first = Window { kernel: [3, 2], stride: [1, 1], padding: [1, 0], dilation: [1, 2] };
    let average = Window { kernel: [2, 2], stride: [1, 1], padding: [1, 0], dilation: [1, 1] };
    let strided = Residual {
        branch: vec![
            Layer::Conv2d(conv(6, 3).stride(2).padding(1)),
            norm(),
            Layer::Activation(LeakyRelu),
            dropped(0.1, Unit::Block(2)),
            Layer::Conv2d(conv(6, 3).padding(1)),
            norm(),
            dropped(0.2, Unit::Path),
        ],
        skip: vec![Layer::Conv2d(conv(6, 1).stride(2)), norm()],
    };
    let inner = Residual { branch: vec![Layer::Conv2d(conv(6, 1))], skip: Vec::new() };
    let outer = vec![Layer::Activation(Relu), Layer::Residual(inner), dropped(0.5, Unit::Element)];
    let features = vec![Layer::Dense(Dense::new(7).activation(Sigmoid)), Layer::Dense(Dense::new(5))];
    Network::new([2, 9, 8])
        .conv2d(conv(4, 3).window(first).groups(2).activation(Relu))
        .layer(dropped(0.1, Unit::Spatial2d))
        .layer(Layer::BatchNorm(BatchNorm { epsilon: 1e-3, momentum: 0.25 }))
        .layer(Layer::Activation(Gelu))
        .layer(Layer::Pool(Pool2d::new(PoolKind::Max, 3).stride(2).padding(1)))
        .residual(strided)
        .residual(Residual { branch: outer, skip: Vec::new() })
        .layer(layer_norm())
        .layer(Layer::Pool(Pool2d { kind: PoolKind::Average, window: average }))
        .conv2d(conv(6, 3).padding(1).groups(6).activation(Tanh))
        .layer(Layer::GlobalAveragePool)
        .layer(Layer::Flatten)
        .dense(Dense::new(5).activation(Selu))
        .layer(layer_norm())
        .layer(norm())
        .layer(dropped(0.2, Unit::Element))
        .residual(Residual { branch: features, skip: Vec::new() })
        .dense(Dense::new(3))
}

fn far(found: impl Iterator<Item = f64>, expected: &[f64]) -> f64 {
    let largest = expected.iter().fold(0.0, |a: f64, e| a.max(e.abs()));
    let error = |(f, e): (f64, &f64)| Some((f - e).abs()).filter(|error| !error.is_nan()).unwrap_or(f64::INFINITY);
    found.zip(expected).map(error).fold(0.0, f64::max) / largest
}

#[test]
fn the_expression_is_the_module_that_pytorch_built() {
    assert_eq!(sequential(&network()).unwrap(), figures()["sequential"].as_str().unwrap());
    let kinds: std::collections::BTreeSet<_> = network().walk().into_iter().map(Layer::name).collect();
    assert_eq!(kinds.len(), 11, "every kind of layer: {kinds:?}");
}

/// The device within what PyTorch's users expect of another backend, the reference to the last digits.
#[test]
fn pytorchs_weights_give_pytorchs_logits() {
    let (model, figures) = (Model::load_weights(state_dict(), &network()).unwrap(), figures());
    let (inputs, expected) = (list(&figures["inputs"]), list(&figures["logits"]));
    let rows = Inputs::from_f32(144, inputs.iter().map(|&x| x as f32).collect()).unwrap();
    let found = model.logits(device(), &rows).unwrap();
    assert_eq!(found.values().len(), expected.len());
    let error = far(found.values().iter().map(|&v| f64::from(v)), &expected);
    assert!(error <= 1e-4, "the device is off by {error}");
    let of = |weights: &[Vec<f64>]| reference::forward(&network(), weights, &inputs, &Masks::None).unwrap().pop().unwrap();
    let weights = widen(model.weights());
    let error = far(of(&weights).into_iter(), &expected);
    assert!(error <= 1e-12, "the reference is off by {error}");
    // Every tensor counts, running statistics too: a change of 0.1 in any of them would be seen.
    for (tensor, parameter) in network().parameters().unwrap().iter().enumerate() {
        let mut changed = weights.clone();
        changed[tensor].iter_mut().enumerate().for_each(|(i, w)| *w += if i % 2 == 0 { 0.1 } else { 0.05 });
        let error = far(of(&changed).into_iter(), &expected);
        assert!(error > 1e-3, "{} goes unseen: {error}", parameter.name);
    }
}

/// What thinnet writes is, tensor by tensor, what PyTorch has written, but for its counts of batches, which it adds when it
/// loads.
#[test]
fn thinnets_file_has_the_tensors_of_pytorchs() {
    let given = fs::read(state_dict()).unwrap();
    let written = Model::load_weights(state_dict(), &network()).unwrap().to_safetensors().unwrap();
    let [given, written] = [&given, &written].map(|bytes| SafeTensors::deserialize(bytes).unwrap());
    let tensors = |file: &SafeTensors| {
        let mut tensors: Vec<_> =
            file.tensors().into_iter().map(|(name, t)| (name, t.shape().to_vec(), t.data().to_vec())).collect();
        tensors.sort();
        tensors
    };
    let (counts, others): (Vec<_>, Vec<_>) = tensors(&given).into_iter().partition(|t| t.0.ends_with(".num_batches_tracked"));
    assert_eq!(counts.len(), 5);
    assert_eq!(others, tensors(&written));
    let names: Vec<_> = others.into_iter().map(|t| t.0).collect();
    for name in ["0.weight", "3.running_var", "6.branch.0.weight", "6.skip.1.running_mean", "7.branch.1.branch.0.bias"] {
        assert!(names.iter().any(|n| n == name), "{name} is not in {names:?}");
    }
}

#[test]
fn counts_of_batches_are_left_out_where_there_is_a_batch_norm() {
    let bytes = fs::read(state_dict()).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let message = |drop: &str, add: &str| {
        let kept = file.tensors().into_iter().filter(|(name, _)| name != drop);
        let count = TensorView::new(Dtype::I64, vec![], &[0; 8]).unwrap();
        let all: Vec<_> = kept.chain((!add.is_empty()).then(|| (add.to_owned(), count))).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("theirs.safetensors");
        fs::write(&path, safetensors::serialize(all, None).unwrap()).unwrap();
        Model::load_weights(&path, &network()).map(|_| ()).map_err(|e| e.to_string())
    };
    assert_eq!(message("", ""), Ok(()));
    assert_eq!(message("6.branch.1.num_batches_tracked", ""), Ok(()));
    for (drop, add, problem) in [
        ("", "0.num_batches_tracked", "0.num_batches_tracked is not part of the network"),
        ("", "num_batches_tracked", "num_batches_tracked is not part of the network"),
        ("6.skip.1.running_mean", "", "6.skip.1.running_mean is missing"),
    ] {
        let said = message(drop, add).unwrap_err();
        assert!(said.contains(problem), "{said}");
    }
}
