//! Vanilla dropout: drop in training, multiply by keep_prob in evaluation (Srivastava et al., JMLR 2014).

use thinnet::data::{Inputs, digits};
use thinnet::reference::{self, Masks};
use thinnet::{Activation, Dense, Dropout, Model, Network, Optimizer, TrainOptions, Trainer};

mod maps;

use crate::common::{device, numbers};
use crate::drive::widen;

fn log_softmax(z: &[f64]) -> Vec<f64> {
    let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum = z.iter().map(|z| (z - max).exp()).sum::<f64>().ln();
    z.iter().map(|z| z - max - sum).collect()
}

/// One hidden layer of N = 10 units and softmax: the weight-scaled network is the normalised geometric mean of all 2^N thinned
/// networks, each weighted by its probability (Hinton et al. 2012; Baldi and Sadowski 2013). Exact; every thinned network is
/// computed here, the weight-scaled one on the device.
#[test]
fn the_weight_scaled_network_is_the_geometric_mean_of_all_thinned_ones() {
    const UNITS: usize = 10;
    for (keep, activation) in [(0.5, Activation::Relu), (0.8, Activation::Tanh), (0.3, Activation::Selu)] {
        let network = Network::new(5)
            .dense(Dense::new(UNITS as u32).activation(activation))
            .dropout(Dropout::keep(keep).unwrap().vanilla())
            .dense(Dense::new(3));
        let mut weights = Model::initial(&network, 11).unwrap().weights().to_vec();
        (weights[1], weights[3]) = (numbers(UNITS, 1), numbers(3, 2));
        weights[2].iter_mut().for_each(|w| *w *= 3.0);
        let model = Model::new(network.clone(), weights).unwrap();
        let (rows, inputs) = (7, numbers(7 * 5, 3));
        let device = model.predict(device(), &Inputs::from_f32(5, inputs.clone()).unwrap()).unwrap();
        let weights = widen(model.weights());
        let inputs: Vec<f64> = inputs.iter().copied().map(f64::from).collect();
        let hidden = &reference::forward(&network, &weights, &inputs, &Masks::None).unwrap()[0];

        for row in 0..rows {
            let h = &hidden[row * UNITS..][..UNITS];
            let mut mean = [0.0; 3];
            for mask in 0u32..1 << UNITS {
                let kept = |unit: usize| mask >> unit & 1 == 1;
                let logit = |c: usize| {
                    let terms = (0..UNITS).filter(|&u| kept(u)).map(|u| weights[2][c * UNITS + u] * h[u]);
                    weights[3][c] + terms.sum::<f64>()
                };
                let thinned = log_softmax(&[logit(0), logit(1), logit(2)]);
                let k = mask.count_ones() as i32;
                let probability = keep.powi(k) * (1.0f64 - keep).powi(UNITS as i32 - k);
                (0..3).for_each(|c| mean[c] += probability * thinned[c]);
            }
            for (c, (&got, log)) in device.row(row).iter().zip(log_softmax(&mean)).enumerate() {
                let (got, want) = (f64::from(got), log.exp());
                // f32 products of a dozen terms and the device's tanh, 1e-5; the arithmetic mean is further away by far.
                assert!((got - want).abs() < 2e-4, "keep {keep}, row {row}, class {c}: {got} for {want}");
            }
        }
        // It is not the network without its factor.
        let dense = Model::new(network.without_dropout(), model.weights().to_vec()).unwrap();
        let other = dense.predict(crate::common::device(), &Inputs::from_f32(5, numbers(7 * 5, 3)).unwrap()).unwrap();
        let off = device.values().iter().zip(other.values()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off > 0.01, "{off}");
    }
}

fn network(vanilla: bool) -> Network {
    let site = |keep| {
        let dropout = Dropout::keep(keep).unwrap();
        if vanilla { dropout.vanilla() } else { dropout }
    };
    Network::new(64)
        .dropout(site(0.9))
        .dense(Dense::new(128).activation(Activation::Relu))
        .dropout(site(0.5))
        .dense(Dense::new(10))
}

/// The same data and seeds in both modes; the accuracies differ from seed to seed by about a point, and by no more between modes.
#[test]
fn vanilla_and_inverted_dropout_train_to_the_same_accuracy() {
    let (train, test) = (digits().slice(0..1000).unwrap(), digits().slice(1000..1797).unwrap());
    let accuracy = |vanilla, seed| {
        let options = TrainOptions { seed, optimizer: Optimizer::adam(0.002), ..Default::default() };
        let mut trainer = Trainer::new(device(), &network(vanilla), (&train, &test), options).unwrap();
        trainer.fit(20).unwrap().last().unwrap().valid.unwrap().accuracy.unwrap()
    };
    let seeds = [1, 2, 3];
    let [vanilla, inverted] = [true, false].map(|mode| seeds.map(|seed| accuracy(mode, seed)));
    let mean = |values: [f64; 3]| values.iter().sum::<f64>() / 3.0;
    println!("vanilla {vanilla:?}, inverted {inverted:?}");
    assert!(mean(vanilla) > 0.9 && mean(inverted) > 0.9, "{vanilla:?} {inverted:?}");
    assert!((mean(vanilla) - mean(inverted)).abs() < 0.015, "{vanilla:?} {inverted:?}");
}

/// Saving folds keep_prob into the weights behind the sites: PyTorch's dropout is inverted.
#[test]
fn saving_folds_vanilla_dropout_into_the_next_weights() {
    let model = Model::initial(&network(true), 4).unwrap();
    let folded = Model::from_safetensors(&model.to_safetensors().unwrap()).unwrap();
    assert!(!folded.network().has_vanilla_dropout());
    assert_eq!(folded, model.fold_vanilla().unwrap());
    let (first, scale) = (model.weights()[0][5], 0.9f32);
    assert!((folded.weights()[0][5] - first * scale).abs() <= 1e-7 * first.abs());
    assert_eq!(folded.weights()[1], model.weights()[1], "biases stay");
    let data = digits().slice(0..50).unwrap();
    let (a, b) = (model.logits(device(), data.inputs()).unwrap(), folded.logits(device(), data.inputs()).unwrap());
    for (a, b) in a.values().iter().zip(b.values()) {
        assert!((a - b).abs() < 1e-5 * (1.0 + a.abs()), "{a} {b}");
    }
    let plain = Model::new(network(false), model.weights().to_vec()).unwrap();
    let unfolded = plain.logits(device(), data.inputs()).unwrap();
    assert!(a.values().iter().zip(unfolded.values()).any(|(a, b)| (a - b).abs() > 0.1), "the factor matters");

    let output = Network::new(64).dense(Dense::new(10)).dropout(Dropout::keep(0.5).unwrap().vanilla());
    let message = Model::initial(&output, 0).unwrap().to_safetensors().unwrap_err().to_string();
    assert!(message.contains("layer 1") && message.contains("inverted"), "{message}");
}
