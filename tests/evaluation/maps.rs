//! Evaluation of networks of every layer: batch norms by their running statistics, no mask, saved and loaded again.

use thinnet::gradient_check::{self, Numbers};
use thinnet::reference::{self, Batch, Masks};
use thinnet::{Activation, Conv2d, Dense, Dropout, Layer, Model, Network, Residual, TrainOptions, Trainer, Unit};

use crate::common::device;
use crate::drive::widen;

/// The largest difference by the largest number; NaN is infinitely far.
fn far(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0, |a: f64, e| a.max(e.abs()));
    let error = |(f, e): (&f32, &f64)| Some((f64::from(*f) - e).abs()).filter(|error| !error.is_nan()).unwrap_or(f64::INFINITY);
    found.iter().zip(expected).map(error).fold(0.0, f64::max) / largest
}

fn inputs(numbers: &Numbers) -> Vec<f64> {
    (0..numbers.batch.rows()).flat_map(|row| numbers.batch.inputs().row_f32(row)).map(f64::from).collect()
}

/// Up to six layers: sums of at most 120 terms, 7e-6 each, and up to four tanh, of which WGSL lets each be off by 1e-5.
const TOLERANCE: f64 = 1e-4;

/// Four functions in each of 5 steps of two recurrent layers, each off by 1e-5, of which a step passes on less than it gets.
const OF_STEPS: f64 = 4e-4;

/// Branches and skips that begin with vanilla dropout: what scales the one must not scale the other.
fn vanilla() -> Vec<(String, Network)> {
    let vanilla = |unit| Layer::Dropout(Dropout::keep(0.5).unwrap().unit(unit).vanilla());
    let conv = || Layer::Conv2d(Conv2d::new(3, 3).padding(1));
    let blocks = [
        ("branch begins with vanilla dropout", vec![vanilla(Unit::Spatial2d), conv()], vec![]),
        ("skip begins with vanilla dropout", vec![conv()], vec![vanilla(Unit::Element), conv()]),
        ("branch is vanilla dropout, skip too", vec![vanilla(Unit::Element)], vec![vanilla(Unit::Spatial2d), conv()]),
        (
            "a block begins a block",
            vec![Layer::Residual(Residual { branch: vec![vanilla(Unit::Element), conv()], skip: vec![] })],
            vec![],
        ),
    ];
    let of = |branch, skip| {
        let network = Network::new([2, 5, 4]).conv2d(Conv2d::new(3, 3)).residual(Residual { branch, skip });
        network.layer(Layer::Flatten).dense(Dense::new(3))
    };
    blocks.map(|(name, branch, skip)| (name.to_owned(), of(branch, skip))).into()
}

#[test]
fn every_network_evaluates_as_the_reference_without_masks_and_survives_its_file() {
    let mut cases = gradient_check::cases();
    cases.extend(vanilla().into_iter().map(|(name, network)| gradient_check::Case { name, network, rows: 6 }));
    let (mut normed, mut saved, mut masked) = (0, 0, 0);
    for case in &cases {
        let (network, numbers) = (&case.network, Numbers::new(case, 8).unwrap());
        let (model, inputs) = (&numbers.model, inputs(&numbers));
        let batch =
            Batch { inputs: &inputs, lengths: numbers.batch.inputs().lengths().map(|lengths| lengths.of_rows.as_slice()) };
        let exact = |model: &Model, masks| {
            reference::forward(model.network(), &widen(model.weights()), batch, &masks).unwrap().pop().unwrap()
        };
        let recurrent = network.walk().into_iter().any(|layer| matches!(layer, Layer::Recurrent(_)));
        let tolerance = if recurrent { OF_STEPS } else { TOLERANCE };
        let expected = exact(model, Masks::None);
        let found = model.logits(device(), numbers.batch.inputs()).unwrap();
        let error = far(found.values(), &expected);
        assert!(error <= tolerance, "{}: {error}", case.name);
        let wide: Vec<f32> = expected.iter().map(|&v| v as f32).collect();
        // Statistics of the batch, or masks, are elsewhere.
        let drops = *network != network.without_dropout();
        let norms = network.walk().into_iter().filter(|layer| matches!(layer, Layer::BatchNorm(_))).count();
        if drops || norms > 0 {
            let drawn = Masks::Drawn { seed: 8, pass: 0, update: 0, samples: numbers.batch.inputs().samples() };
            let other = far(&wide, &exact(model, drawn));
            assert!(other > 10.0 * tolerance, "{}: the bound admits training: {other}", case.name);
            masked += 1;
        }
        for (i, parameter) in network.parameters().unwrap().iter().enumerate().filter(|(_, p)| !p.trained) {
            let mut weights = model.weights().to_vec();
            weights[i].iter_mut().for_each(|value| *value += 0.1);
            let other = far(&wide, &exact(&Model::new(network.clone(), weights).unwrap(), Masks::None));
            assert!(other > 10.0 * tolerance, "{}: {} goes unseen: {other}", case.name, parameter.name);
            normed += 1;
        }
        if let Ok(bytes) = model.to_safetensors() {
            let loaded = Model::from_safetensors(&bytes).unwrap();
            let error = far(loaded.logits(device(), numbers.batch.inputs()).unwrap().values(), &expected);
            assert!(error <= tolerance, "{}: loaded again, {error}", case.name);
            if !network.has_vanilla_dropout() {
                assert_eq!(&loaded, model, "{}", case.name);
            }
            saved += 1;
        }
    }
    println!("{} networks, {masked} with dropout or batch norm, {normed} running statistics, {saved} saved", cases.len());
    assert!(masked > 40 && normed >= 20 && saved > 70, "{masked} {normed} {saved}");
}

/// What training has followed is what evaluation takes, what the file keeps, and what a loaded model takes.
#[test]
fn a_trained_batch_norm_keeps_its_statistics() {
    let digits = thinnet::data::digits().slice(0..200).unwrap();
    let network = Network::new([1, 8, 8])
        .conv2d(Conv2d::new(4, 3))
        .layer(Layer::BatchNorm(Default::default()))
        .layer(Layer::Activation(Activation::Relu))
        .dropout(Dropout::keep(0.8).unwrap().unit(Unit::Spatial2d))
        .layer(Layer::Flatten)
        .dense(Dense::new(10));
    let mut trainer = Trainer::new(device(), &network, (&digits, &digits), TrainOptions::default()).unwrap();
    let told = trainer.fit(2).unwrap().last().unwrap().valid.unwrap();
    let model = trainer.model().unwrap();
    let names: Vec<_> = network.parameters().unwrap().into_iter().map(|p| p.name).collect();
    let of = |name| &model.weights()[names.iter().position(|n| n == name).unwrap()];
    assert!(of("1.running_mean").iter().all(|&m| m != 0.0) && of("1.running_var").iter().all(|&v| v != 1.0 && v > 0.0));
    let loaded = Model::from_safetensors(&model.to_safetensors().unwrap()).unwrap();
    assert_eq!(loaded, model);
    // The trainer's own evaluation is the model's.
    let found = loaded.evaluate(device(), &digits).unwrap();
    assert_eq!(found.accuracy, told.accuracy);
    assert!((found.loss - told.loss).abs() <= 1e-5 * told.loss, "{found:?} {told:?}");
    let mut forgotten = model.weights().to_vec();
    for (values, name) in forgotten.iter_mut().zip(&names).filter(|(_, name)| name.contains("running")) {
        values.fill(if name.ends_with("mean") { 0.0 } else { 1.0 });
    }
    let forgotten = Model::new(network, forgotten).unwrap().evaluate(device(), &digits).unwrap();
    assert!((forgotten.loss - told.loss).abs() > 0.01 * told.loss, "statistics matter: {forgotten:?} {told:?}");
}
