//! Draws of networks of feature maps, against the f64 reference in evaluation, layer by layer, with masks written out unit by
//! unit.

use thinnet::data::digits;
use thinnet::monte_carlo::{MonteCarlo, Sampling};
use thinnet::network::BatchNorm;
use thinnet::rng::{self, Coordinates, Stream};
use thinnet::{
    Activation, Conv2d, Dense, Device, Dropout, Inputs, Layer, Loss, Model, Network, Optimizer, Outputs, Residual, TrainOptions,
    Trainer, Unit,
};

use super::inputs;
use crate::common::{device, numbers};

mod walk;

use walk::Walk;

fn keep(keep: f64, unit: Unit) -> Layer {
    Layer::Dropout(Dropout::keep(keep).unwrap().unit(unit))
}

fn conv(channels: u32) -> Layer {
    Layer::Conv2d(Conv2d::new(channels, 3).padding(1))
}

fn norm() -> Layer {
    Layer::BatchNorm(BatchNorm::default())
}

fn relu() -> Layer {
    Layer::Activation(Activation::Relu)
}

/// A residual block with dropout inside, which drops paths.
fn block(unit: Unit) -> Layer {
    let branch = vec![conv(4), norm(), relu(), keep(0.7, unit), conv(4), keep(0.6, Unit::Path)];
    Layer::Residual(Residual { branch, skip: Vec::new() })
}

/// Layers over maps of 2 channels, 6 x 5.
fn network(layers: Vec<Layer>) -> Network {
    layers.into_iter().fold(Network::new([2, 6, 5]), Network::layer).loss(Loss::MeanSquaredError)
}

fn end() -> Vec<Layer> {
    vec![Layer::Flatten, keep(0.8, Unit::Element), Layer::Dense(Dense::new(3))]
}

/// conv, batch norm, ReLU, dropout in front of a pool, a residual block, dropout, dense.
fn cnn(dropout: Dropout) -> Network {
    let pool = Network::new(1).max_pool(2).layers;
    network([vec![conv(4), norm(), relu(), Layer::Dropout(dropout)], pool, vec![block(Unit::Spatial2d)], end()].concat())
}

/// Weights of a size that keeps numbers near 1; variances and scales of normalisations near 1.
fn model(network: &Network) -> Model {
    let weights = network.parameters().unwrap().into_iter().zip(31..).map(|(parameter, seed)| {
        let size = (3.0 / parameter.fans.0 as f32).sqrt();
        let value = |v: f32| match parameter.name.rsplit('.').next() {
            Some("running_var") => 1.0 + 0.5 * v,
            Some("weight") if parameter.matrix => size * v,
            Some("weight") => 1.0 + 0.5 * v,
            _ => 0.5 * v,
        };
        numbers(parameter.len(), seed).into_iter().map(value).collect()
    });
    Model::new(network.clone(), weights.collect()).unwrap()
}

fn shared(axes: &[u8]) -> Unit {
    Unit::shared(axes).unwrap()
}

/// Networks with every unit, with sites in every place, and cut in front of every kind of layer.
fn networks() -> Vec<Network> {
    let units = [Unit::Element, Unit::Spatial2d, shared(&[0]), shared(&[0, 2]), shared(&[1]), Unit::Block(2), Unit::Block(3)];
    let mut networks: Vec<Network> =
        [units.as_slice(), &[Unit::Path]].concat().iter().map(|&unit| cnn(Dropout::keep(0.6).unwrap().unit(unit))).collect();
    networks.push(cnn(Dropout::keep(0.6).unwrap().unit(Unit::Block(2)).vanilla()));
    networks.push(cnn(Dropout::keep(0.6).unwrap().unit(Unit::Spatial2d).batch()));
    // The first site is inside a block; in a skip; in front of everything, elements and blocks; behind all maps.
    networks.push(network([vec![conv(4), norm(), block(Unit::Element)], end()].concat()));
    let skip = vec![keep(0.5, Unit::Spatial2d), Layer::Conv2d(Conv2d::new(3, 1).stride(2))];
    let branch = vec![Layer::Conv2d(Conv2d::new(3, 3).stride(2).padding(1)), norm(), relu(), keep(0.8, Unit::Block(2)), conv(3)];
    networks.push(network([vec![conv(2), Layer::Residual(Residual { branch, skip })], end()].concat()));
    networks.push(network([vec![keep(0.7, Unit::Element), conv(4), norm()], end()].concat()));
    networks.push(network([vec![keep(0.7, Unit::Block(2)), conv(4), Layer::GlobalAveragePool], end()[1..].to_vec()].concat()));
    networks.push(network([vec![conv(4), norm(), relu()], end()].concat()));
    // In front of the first site that drops are a block, and in it a site that drops nothing, which has number 0.
    let block = Residual { branch: vec![conv(3), keep(1.0, Unit::Element), norm(), conv(2)], skip: Vec::new() };
    networks.push(network([vec![Layer::Residual(block), keep(0.6, Unit::Spatial2d), conv(2)], end()].concat()));
    networks
}

fn far(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0, |a: f64, e| a.max(e.abs()));
    // A NaN is infinitely far.
    let error = |(f, e): (&f32, &f64)| Some((f64::from(*f) - e).abs()).filter(|error| !error.is_nan()).unwrap_or(f64::INFINITY);
    found.iter().zip(expected).map(error).fold(0.0, f64::max) / largest
}

/// Five layers with sums of at most 120 terms, each rounded to 2^-24, in a row: 4e-5 of the largest number, if all errors had one
/// sign.
const TOLERANCE: f64 = 5e-5;

#[test]
fn draws_are_the_reference_under_the_masks_of_the_contract() {
    let options = |one_network, sampling| MonteCarlo {
        draws: 6,
        seed: 77,
        one_network,
        sampling,
        first_sample: 40,
        keep_draws: true,
        ..MonteCarlo::default()
    };
    let ways = [
        options(false, Sampling::Independent),
        options(true, Sampling::Independent),
        options(false, Sampling::Antithetic),
        options(false, Sampling::LatinHypercube),
    ];
    let rows = inputs(4, 60);
    for network in networks() {
        let model = model(&network);
        for options in &ways {
            let drawn = model.monte_carlo(device(), &rows, options).unwrap();
            let expected = |draw: u32| -> Vec<f64> {
                (0..4).flat_map(|row| Walk::output(&model, options, draw, 40 + row, &rows.row_f32(row))).collect()
            };
            let expected: Vec<_> = (0..6).map(expected).collect();
            for draw in 0..6 {
                let found = drawn.draw(draw as u32).unwrap();
                let error = far(found.values(), &expected[draw]);
                assert!(error <= TOLERANCE, "{network:?}, {options:?}, draw {draw}: {error}");
                let other = far(found.values(), &expected[(draw + 1) % 6]);
                assert!(other > 100.0 * TOLERANCE, "{network:?}: the masks of another draw go unseen: {other}");
            }
        }
    }
}

fn bits(outputs: &Outputs) -> Vec<u32> {
    outputs.values().iter().map(|value| value.to_bits()).collect()
}

#[test]
fn replays_and_batches_of_other_sizes_are_the_same_draws() {
    let rows = inputs(9, 60);
    for network in networks() {
        let (model, mut draws) = (model(&network), Vec::new());
        for batch in [None, Some(1), Some(7), Some(20)] {
            let options = MonteCarlo { draws: 5, keep_draws: true, batch, ..MonteCarlo::default() };
            let drawn = model.monte_carlo(device(), &rows, &options).unwrap();
            for draw in 0..5 {
                let replayed = model.replay(device(), &rows, &options, draw).unwrap();
                assert_eq!(bits(&replayed), bits(&drawn.draw(draw).unwrap()), "{network:?}, batch {batch:?}, draw {draw}");
            }
            draws.push((0..5).flat_map(|draw| drawn.draw(draw).unwrap().values().to_vec()).collect::<Vec<_>>());
        }
        for other in &draws[1..] {
            let first: Vec<f64> = draws[0].iter().map(|&v| f64::from(v)).collect();
            assert!(far(other, &first) <= 2.0 * TOLERANCE, "{network:?}");
        }
    }
}

/// A site in front of everything that drops one number in 2^32: nothing is computed once. Its factor is 1 in f32.
#[test]
fn what_is_computed_once_changes_no_draw() {
    let never = Dropout::keep(1.0 - 0.5f64.powi(32)).unwrap().site(1000);
    let rows = inputs(5, 60);
    for network in networks() {
        let mut whole = Network { layers: vec![Layer::Dropout(never)], ..network.clone() };
        whole.layers.extend(network.layers.clone());
        let sites = network.sites().unwrap();
        whole.change_layers(|number, layer| {
            if let Layer::Dropout(dropout) = layer
                && number > 0
            {
                dropout.site = sites[number - 1];
            }
        });
        let once = model(&network);
        let whole = Model::new(whole, once.weights().to_vec()).unwrap();
        let options = MonteCarlo { draws: 5, keep_draws: true, ..MonteCarlo::default() };
        let [once, whole] = [once, whole].map(|model| model.monte_carlo(device(), &rows, &options).unwrap());
        for draw in 0..5 {
            let expected: Vec<f64> = whole.draw(draw).unwrap().values().iter().map(|&v| f64::from(v)).collect();
            assert!(far(once.draw(draw).unwrap().values(), &expected) <= 2.0 * TOLERANCE, "{network:?}");
        }
    }
}

#[test]
fn the_twins_draw_the_same_maps() {
    let options = MonteCarlo { draws: 3, keep_draws: true, ..MonteCarlo::default() };
    let rows = inputs(2, 60);
    for network in networks() {
        let [here, there] =
            [device(), &Device::cpu()].map(|device| model(&network).monte_carlo(device, &rows, &options).unwrap());
        for draw in 0..3 {
            let expected: Vec<f64> = there.draw(draw).unwrap().values().iter().map(|&v| f64::from(v)).collect();
            assert!(far(here.draw(draw).unwrap().values(), &expected) <= 2.0 * TOLERANCE, "{network:?}");
        }
    }
}

/// What makes layers smaller, or tries all masks, needs features; from the first site on, not in front of it.
#[test]
fn what_takes_features_refuses_maps() {
    let rows = inputs(2, 60);
    let exact_k = MonteCarlo { draws: 400, one_network: true, sampling: Sampling::ExactK, ..MonteCarlo::default() };
    let refused = |network: &Network| {
        let model = model(network);
        let errors = [
            model.average_over_masks(device(), &rows).unwrap_err(),
            model.monte_carlo(device(), &rows, &exact_k).map(|_| ()).unwrap_err(),
            model.thinned(&MonteCarlo::default(), 0, 0).unwrap_err(),
        ];
        for (error, word) in errors.iter().zip(["monte_carlo", "single features", "replay"]) {
            assert!(error.to_string().contains(word), "{error}");
        }
    };
    refused(&cnn(Dropout::keep(0.6).unwrap()));
    refused(&cnn(Dropout::keep(0.6).unwrap().unit(Unit::Path)));
    // One unit for all features is no list of units either.
    let paths = |unit| Network::new(60).dense(Dense::new(4)).layer(keep(0.5, unit)).dense(Dense::new(3));
    refused(&paths(Unit::Path));
    // Units that a batch shares, behind maps: one network for all inputs.
    let units = Network::new([2, 6, 5]).layer(conv(2)).layer(Layer::Flatten).dense(Dense::new(8));
    let units = model(&units.dropout(Dropout::units(0.5).unwrap()).dense(Dense::new(3)));
    assert!(units.monte_carlo(device(), &rows, &MonteCarlo::default()).unwrap_err().to_string().contains("one_network"));
    let drawn = units.monte_carlo(device(), &rows, &MonteCarlo { one_network: true, ..exact_k.clone() }).unwrap();
    let exact = units.average_over_masks(device(), &rows).unwrap();
    for ((mean, exact), error) in drawn.mean().values().iter().zip(exact.values()).zip(drawn.standard_error().values()) {
        assert!((mean - exact).abs() <= 6.0 * error, "{mean} for {exact}, error {error}");
    }
}

/// Per-batch units inside a residual block are drawn as a list, and asked for one network.
#[test]
fn units_of_a_batch_inside_a_block_are_seen() {
    let branch = vec![Layer::Dense(Dense::new(7)), Layer::Dropout(Dropout::units(0.5).unwrap()), Layer::Dense(Dense::new(5))];
    let network =
        Network::new(5).residual(Residual { branch, skip: Vec::new() }).dense(Dense::new(2)).loss(Loss::MeanSquaredError);
    let (model, rows) = (model(&network), inputs(3, 5));
    let options = MonteCarlo { draws: 4, keep_draws: true, ..MonteCarlo::default() };
    assert!(model.monte_carlo(device(), &rows, &options).unwrap_err().to_string().contains("one_network"));
    let options = MonteCarlo { one_network: true, ..options };
    let drawn = model.monte_carlo(device(), &rows, &options).unwrap();
    for draw in 0..4 {
        assert_eq!(bits(&model.replay(device(), &rows, &options, draw).unwrap()), bits(&drawn.draw(draw).unwrap()));
        // 4 of 7 units, scaled by 7 / 4, by hand.
        let at = Coordinates { stream: Stream::MonteCarloMask, site: 0, pass: draw, sample: 0 };
        let kept = rng::exact_k(at, 7, 4, rng::key(0));
        let w: Vec<Vec<f64>> = model.weights().iter().map(|w| w.iter().map(|&w| f64::from(w)).collect()).collect();
        let dense = |w: &[f64], b: &[f64], x: &[f64]| -> Vec<f64> {
            w.chunks(x.len()).zip(b).map(|(w, b)| b + w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>()).collect()
        };
        let expected: Vec<f64> = (0..3)
            .flat_map(|row| {
                let x: Vec<f64> = rows.row_f32(row).iter().map(|&v| f64::from(v)).collect();
                let mut h = dense(&w[0], &w[1], &x);
                (0..).zip(&mut h).for_each(|(unit, h)| *h *= if kept.contains(&unit) { 1.75 } else { 0.0 });
                let sum: Vec<f64> = dense(&w[2], &w[3], &h).iter().zip(&x).map(|(a, b)| a + b).collect();
                dense(&w[4], &w[5], &sum)
            })
            .collect();
        assert!(far(drawn.draw(draw).unwrap().values(), &expected) <= TOLERANCE, "draw {draw}");
    }
}

/// Inputs of another width are refused also where the first site is the first layer.
#[test]
fn inputs_of_another_width_are_refused() {
    let first = network([vec![keep(0.7, Unit::Element), conv(4)], end()].concat());
    for network in [first, cnn(Dropout::keep(0.6).unwrap())] {
        let wrong: Inputs = inputs(2, 61);
        assert!(model(&network).monte_carlo(device(), &wrong, &MonteCarlo::default()).is_err());
    }
}

/// A small CNN that has learnt digits: the network with scaled weights is near the mean of its draws (Srivastava et al., JMLR
/// 2014, section 7.5), and nearer to it than to that of draws at another rate.
#[test]
fn the_weight_scaled_network_is_near_the_mean_of_the_draws() {
    let (train, test) = (digits().slice(0..1200).unwrap(), digits().slice(1200..1500).unwrap());
    let network = |keep: f64| {
        let dropout = |unit| Dropout::keep(keep).unwrap().unit(unit);
        Network::new([1, 8, 8])
            .conv2d(Conv2d::new(8, 3).padding(1))
            .layer(norm())
            .layer(relu())
            .dropout(dropout(Unit::Spatial2d))
            .max_pool(2)
            .conv2d(Conv2d::new(16, 3).padding(1).activation(Activation::Relu))
            .layer(Layer::Flatten)
            .dropout(dropout(Unit::Element))
            .dense(Dense::new(10))
    };
    let options = TrainOptions { seed: 1, optimizer: Optimizer::adam(0.003), batch: 32, ..TrainOptions::default() };
    let mut trainer = Trainer::new(device(), &network(0.8), &train, options).unwrap();
    trainer.fit(6).unwrap();
    let model = trainer.model().unwrap();
    let said = model.predict(device(), test.inputs()).unwrap();
    let accuracy = model.evaluate(device(), &test).unwrap().accuracy.unwrap();
    let drawn = |model: &Model| {
        let mean = model.monte_carlo(device(), test.inputs(), &MonteCarlo::default()).unwrap().mean();
        let far = mean.values().iter().zip(said.values()).map(|(a, b)| f64::from((a - b).abs())).sum::<f64>() / 300.0;
        let alike = mean.labels().iter().zip(said.labels()).filter(|(a, b)| **a == *b).count();
        (far, alike)
    };
    let (far, alike) = drawn(&model);
    let (other, _) = drawn(&Model::new(network(0.4), model.weights().to_vec()).unwrap());
    println!("accuracy {accuracy:.3}, {alike} of 300 labels alike, probabilities {far:.4} apart; at another rate {other:.4}");
    assert!(accuracy > 0.85, "{accuracy}");
    assert!(alike >= 285, "{alike} of 300 labels alike");
    assert!(far < 0.25 && other > 2.0 * far, "{far} apart, at another rate {other}");
}
