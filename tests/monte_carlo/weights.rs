//! DropConnect drawn from a normal distribution in place of masks: against draws written out in f64, and against masks.

use thinnet::monte_carlo::{MonteCarlo, Predictive, Sampling};
use thinnet::rng::{self, Coordinates, Stream};
use thinnet::{Activation, Dense, Dropout, Loss, Model, Network, Residual};

use super::{inputs, loud};
use crate::common::device;

fn gaussian() -> MonteCarlo {
    MonteCarlo { draws: 36, seed: 5, gaussian_weights: true, ..MonteCarlo::default() }
}

fn connect(keep: f64) -> Dropout {
    Dropout::drop_connect(keep).unwrap()
}

/// 5-6-3, whose second layer has its weights dropped at site 9, and what is behind it.
fn regression(keep: f64, activation: Activation) -> Network {
    let network = Network::new(5).dense(Dense::new(6).activation(Activation::Tanh)).dropout(connect(keep).site(9));
    network.dense(Dense::new(3).activation(activation)).loss(Loss::MeanSquaredError)
}

/// y = f(W x + b + deviation n) of a layer, written from the contract.
fn layer(of: &[Vec<f32>], x: &[f64], f: impl Fn(f64) -> f64, noise: impl Fn(u32, f64) -> f64) -> Vec<f64> {
    let [weight, bias] = of else { panic!("a weight and a bias") };
    let output = |(o, (row, &bias)): (usize, (&[f32], &f32))| {
        let products = row.iter().zip(x).map(|(&w, x)| f64::from(w) * x);
        let squares = products.clone().map(|product| product * product).sum();
        f(products.sum::<f64>() + f64::from(bias) + noise(o as u32, squares))
    };
    weight.chunks(x.len()).zip(bias).enumerate().map(output).collect()
}

#[test]
fn a_gaussian_draw_is_that_of_the_contract() {
    let (model, rows) = (loud(&regression(0.8, Activation::Relu), 1.0), inputs(4, 5));
    for sampling in [Sampling::Independent, Sampling::Antithetic] {
        let options = MonteCarlo { sampling, first_sample: 30, keep_draws: true, ..gaussian() };
        let drawn = model.monte_carlo(device(), &rows, &options).unwrap();
        let mut noisy = 0;
        for (draw, row) in [(0, 0), (1, 3), (6, 1), (35, 2)] {
            let opposite = sampling == Sampling::Antithetic && draw % 2 == 1;
            let at = Coordinates {
                stream: Stream::MonteCarloNoise,
                site: 9,
                pass: if opposite { draw - 1 } else { draw },
                sample: 30 + row,
            };
            // sigma = 1/2.
            let noise = |o: u32, squares: f64| {
                let n = rng::normal([2 * o, 2 * o + 1].map(|word| at.word(word, rng::key(5))));
                0.5 * squares.sqrt() * if opposite { -n } else { n }
            };
            let x: Vec<f64> = numbers_of(&rows, row);
            let hidden = layer(&model.weights()[..2], &x, f64::tanh, |_, _| 0.0);
            let expected = layer(&model.weights()[2..], &hidden, |y| y.max(0.0), noise);
            let plain = layer(&model.weights()[2..], &hidden, |y| y.max(0.0), |_, _| 0.0);
            for ((y, expected), plain) in drawn.draw(draw).unwrap().row(row as usize).iter().zip(expected).zip(plain) {
                // cos is off by 2^-11 at most, times sqrt(-2 log u) <= 5.8, times a deviation of at most sqrt(6) / 2; the rest is
                // below a tenth of that.
                let by = 1.1 * 5.8 / 2048.0 * 6f64.sqrt() / 2.0;
                assert!((f64::from(*y) - expected).abs() <= by, "{sampling:?}, draw {draw}, row {row}: {y}, not {expected}");
                noisy += usize::from((expected - plain).abs() > 2.0 * by);
            }
        }
        assert!(noisy >= 4, "{sampling:?}: only {noisy} of 12 numbers tell noise from none");
    }
}

fn numbers_of(rows: &thinnet::Inputs, row: u32) -> Vec<f64> {
    let all = crate::common::numbers((rows.rows() * rows.columns()) as usize, 99);
    all[(row * rows.columns()) as usize..][..rows.columns() as usize].iter().map(|&x| f64::from(x)).collect()
}

#[test]
fn a_replayed_gaussian_draw_has_the_bits_of_the_draw() {
    // Site 0 has masks; one site lies in a branch, one behind it.
    let branch = Network::new(12).dropout(connect(0.7)).dense(Dense::new(12).activation(Activation::Gelu)).layers;
    let network = Network::new(5).dense(Dense::new(12)).dropout(Dropout::keep(0.8).unwrap());
    let network = network.layer(thinnet::Layer::Residual(Residual { branch, skip: Vec::new() }));
    let (model, rows) = (loud(&network.dropout(connect(0.5)).dense(Dense::new(3)), 0.5), inputs(50, 5));
    for sampling in [Sampling::Independent, Sampling::Antithetic] {
        for batch in [Some(64), None] {
            let options = MonteCarlo { keep_draws: true, sampling, batch, ..gaussian() };
            let predictive = model.monte_carlo(device(), &rows, &options).unwrap();
            let bits = |outputs: thinnet::Outputs| outputs.values().iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            let draws: Vec<_> = (0..36).map(|draw| bits(predictive.draw(draw).unwrap())).collect();
            for draw in [0, 1, 7, 35] {
                let replayed = bits(model.replay(device(), &rows, &options, draw).unwrap());
                assert_eq!(replayed, draws[draw as usize], "draw {draw} of {options:?}");
            }
            assert!(draws.windows(2).all(|pair| pair[0] != pair[1]), "{options:?}: each draw is another");
            let masks = MonteCarlo { gaussian_weights: false, ..options };
            assert_ne!(bits(model.replay(device(), &rows, &masks, 0).unwrap()), draws[0], "masks give the same");
        }
    }
}

/// The largest difference of two lists, each number's in units of its error.
fn apart([a, b]: [&[f32]; 2], error: impl Fn(usize) -> f64) -> f64 {
    a.iter().zip(b).enumerate().map(|(i, (&a, &b))| f64::from((a - b).abs()) / error(i)).fold(0.0, f64::max)
}

/// The same of two means, in the standard errors that the calls state.
fn means_apart(a: &Predictive, b: &Predictive) -> f64 {
    let (of_a, of_b) = (a.standard_error(), b.standard_error());
    apart([a.mean().values(), b.mean().values()], |i| f64::from(of_a.values()[i]).hypot(f64::from(of_b.values()[i])))
}

/// The same of two deviations s, each of which has a standard error of s / sqrt(2 (D - 1)) for D draws of normal numbers, and less for
/// sums over masks at keep 0.5, whose tails are lighter.
fn deviations_apart(a: &Predictive, b: &Predictive) -> f64 {
    let (of_a, of_b) = (a.std(), b.std());
    let error = |i: usize| f64::from(of_a.values()[i]).hypot(f64::from(of_b.values()[i]));
    apart([of_a.values(), of_b.values()], |i| error(i) / (2.0 * f64::from(a.draws() - 1)).sqrt())
}

fn drawn(model: &Model, gaussian_weights: bool, seed: u64) -> Predictive {
    let options = MonteCarlo { draws: 4000, seed, gaussian_weights, ..MonteCarlo::default() };
    model.monte_carlo(device(), &inputs(6, 64), &options).unwrap()
}

/// 64-16-3, whose first layer has its weights dropped.
fn two_layers(keep: f64) -> Model {
    let network = Network::new(64).dropout(connect(keep)).dense(Dense::new(16).activation(Activation::Relu));
    loud(&network.dense(Dense::new(3)), 0.5)
}

/// A layer alone: mean and deviation are exactly those of masks, up to 2^-24 of the scale, so that only chance is between the two. 18
/// comparisons of each, five standard errors: a false alarm in 48,000 for seeds drawn anew.
///
/// At a keep_prob of 0.45 in place of 0.5 a deviation is off by 10 %, or 6 standard errors. One is missed once in 6 times at most; all
/// of 18, which are independent, less than once in 10^12 times.
#[test]
fn gaussian_draws_of_a_layer_have_the_mean_and_the_deviation_of_masks() {
    let model = |keep| loud(&Network::new(64).dropout(connect(keep)).dense(Dense::new(3)).loss(Loss::MeanSquaredError), 0.5);
    let (masks, gaussian) = (drawn(&model(0.5), false, 1), drawn(&model(0.5), true, 2));
    let (means, deviations) = (means_apart(&masks, &gaussian), deviations_apart(&masks, &gaussian));
    assert!(means <= 5.0 && deviations <= 5.0, "{means} and {deviations} standard errors");
    let wrong = deviations_apart(&masks, &drawn(&model(0.45), true, 2));
    assert!(wrong > 5.0, "keep_prob 0.45 passes for 0.5: {wrong} standard errors");
}

/// Through an activation, a second layer and a softmax the normal distribution is an approximation, which 64 weights make so good
/// that 4000 draws do not tell it from masks: means within five of their standard errors. Without noise they are further apart.
#[test]
fn gaussian_draws_of_a_network_agree_with_masks() {
    let (masks, gaussian) = (drawn(&two_layers(0.5), false, 1), drawn(&two_layers(0.5), true, 2));
    let means = means_apart(&masks, &gaussian);
    assert!(means <= 5.0, "{means} standard errors");
    let plain = two_layers(0.5).predict(device(), &inputs(6, 64)).unwrap();
    let errors = masks.standard_error();
    let none = apart([masks.mean().values(), plain.values()], |i| f64::from(errors.values()[i]));
    assert!(none > 5.0, "no noise passes for masks: {none} standard errors");
}

#[test]
fn gaussian_draws_that_cannot_be_are_refused() {
    let refused = |network: Network, options: MonteCarlo, word: &str| {
        let error = loud(&network, 1.0).monte_carlo(device(), &inputs(2, 5), &options).unwrap_err().to_string();
        assert!(error.contains(word), "{error:?} does not say {word:?}");
    };
    let network = |keep| regression(keep, Activation::Relu);
    for (sampling, one_network) in [(Sampling::LatinHypercube, false), (Sampling::ExactK, true)] {
        refused(network(0.5), MonteCarlo { sampling, one_network, ..gaussian() }, "independent or antithetic");
    }
    refused(network(0.5), MonteCarlo { one_network: true, ..gaussian() }, "leave one of the two out");
    refused(network(0.0), gaussian(), "keep_prob 0");
    refused(network(1.0), gaussian(), "no dropout layer");
    let others = network(1.0).dropout(Dropout::keep(0.5).unwrap()).dense(Dense::new(2));
    refused(others, gaussian(), "no DropConnect layer with keep_prob below 1");
    // Without the option a network without DropConnect is drawn, and so is one that keeps no weight.
    let masks = MonteCarlo { gaussian_weights: false, ..gaussian() };
    assert!(loud(&network(0.0), 1.0).monte_carlo(device(), &inputs(2, 5), &masks).is_ok());
}
