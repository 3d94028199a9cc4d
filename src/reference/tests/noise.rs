//! Noise that is no mask, masks of weights and rates that move: every factor from the words of the contract.

use serde_json::Value;

use super::*;
use crate::network::{Concrete, Layer, Noise, Schedule, Shape, Way};

/// What a site makes of numbers.
fn dropped(shape: &[u32], dropout: Dropout, x: &[f64], masks: &Masks) -> Vec<f64> {
    let network =
        Network { input: Shape(shape.to_vec()), ..Network::new(1).dropout(dropout).layer(Layer::Flatten).dense(Dense::new(1)) };
    forward(&network, &random_weights(&network), x, masks).unwrap().remove(0)
}

/// Words of units at site 4 in a stream: of a sample, or of the batch.
fn word(stream: u32, sample: u32, unit: u32) -> u32 {
    let counter = if stream == 6 { [unit / 4, 0, UPDATE, 6 << 24 | 4] } else { [unit / 4, sample, PASS, stream << 24 | 4] };
    rng::philox4x32_10(counter, [3, 7 << 8])[unit as usize % 4]
}

fn uniform(word: u32) -> f64 {
    (f64::from(word >> 9) + 0.5) / 8_388_608.0
}

#[test]
fn gaussian_noise_is_the_normal_number_of_two_words() {
    let noise = Dropout::keep(0.8).unwrap().noise(Noise::Gaussian).site(4);
    type Place = fn(u32) -> u32;
    // Maps of 2 x 3 x 2: every element; channels; rows of all channels.
    let units: [(Unit, Place); 3] =
        [(Unit::Element, |e| e), (Unit::Spatial2d, |e| e / 6), (Unit::shared(&[0, 2]).unwrap(), |e| e / 2 % 3)];
    for (unit, place) in units {
        for (dropout, stream) in [(noise.unit(unit), 5), (noise.unit(unit).batch(), 6)] {
            let y = dropped(&[2, 3, 2], dropout, &[1.0; 60], &DRAWN);
            for (i, found) in y.into_iter().enumerate() {
                let u = place(i as u32 % 12);
                let [a, b] = [2 * u, 2 * u + 1].map(|unit| uniform(word(stream, SAMPLES[i / 12], unit)));
                let expected = 1.0 + 0.5 * (-2.0 * a.ln()).sqrt() * (2.0 * std::f64::consts::PI * b).cos();
                assert!((found - expected).abs() < 1e-14, "{unit:?}, stream {stream}, element {i}: {found}, {expected}");
            }
        }
    }
    assert_eq!(dropped(&[2], noise, &[3.0, -1.0], &Masks::None), [3.0, -1.0]);
    let whole = Dropout::keep(1.0).unwrap().noise(Noise::Gaussian);
    assert_eq!(dropped(&[2], whole, &[3.0; 10], &DRAWN), [3.0; 10]);
}

/// By PyTorch's nn.AlphaDropout: what becomes of what is kept, and of the rest. 0.25 and 0.5 are exact, 0.05 is not.
#[test]
fn alpha_dropout_is_that_of_pytorch() {
    let figures: Value = serde_json::from_str(include_str!("../../../tests/fixtures/pytorch_recurrent.json")).unwrap();
    let list = |value: &Value| value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect::<Vec<_>>();
    let cases = figures["alpha"].as_array().unwrap();
    assert_eq!(cases.len(), 3);
    for case in cases {
        let (x, kept, other) = (list(&case["x"]), list(&case["kept"]), case["dropped"].as_f64().unwrap());
        let dropout = Dropout::drop(case["drop"].as_f64().unwrap()).unwrap().noise(Noise::Alpha).site(4);
        let mut counts = [0; 2];
        for (dropout, stream) in [(dropout, 0), (dropout.batch(), 6)] {
            let y = dropped(&[6], dropout, &x.repeat(5), &DRAWN);
            for (i, found) in y.into_iter().enumerate() {
                let keeps = dropout.keep.keeps(word(stream, SAMPLES[i / 6], i as u32 % 6));
                counts[usize::from(keeps)] += 1;
                let expected = if keeps { kept[i % 6] } else { other };
                assert!((found - expected).abs() < 1e-13, "{case}: {found}, {expected}");
            }
        }
        println!("{}: {counts:?} dropped and kept", case["drop"]);
        assert!(counts[1] > 10 && (counts[0] > 0 || case["drop"] == 0.05), "{counts:?}");
    }
}

/// Whole channels, and what is dropped leaves no trace.
#[test]
fn feature_alpha_dropout_selects() {
    let dropout = Dropout::keep(0.5).unwrap().noise(Noise::Alpha).unit(Unit::Spatial2d).site(4);
    let mut x = random(5 * 12, 0);
    let keeps = |i: usize| dropout.keep.keeps(word(0, SAMPLES[i / 12], i as u32 % 12 / 4));
    x.iter_mut().enumerate().filter(|(i, _)| !keeps(*i)).for_each(|(_, x)| *x = f64::NAN);
    let y = dropped(&[3, 2, 2], dropout, &x, &DRAWN);
    // From the paper: q = 1/2, a = (q + alpha'^2 q (1 - q))^(-1/2).
    let bound: f64 = -1.6732632423543772 * 1.0507009873554805;
    let a = (0.5 + bound * bound / 4.0).powf(-0.5);
    for (i, (y, x)) in y.iter().zip(&x).enumerate() {
        let expected = a * (if keeps(i) { *x } else { bound }) - a * bound / 2.0;
        assert!((y - expected).abs() < 1e-14, "{i}: {y}, {expected}");
    }
    let nothing = Dropout::keep(0.0).unwrap().noise(Noise::Alpha);
    assert_eq!(dropped(&[2], nothing, &[f64::NAN; 10], &DRAWN), [0.0; 10]);
    assert_eq!(dropped(&[2], Dropout { keep: KeepProb::ONE, ..nothing }, &[3.0; 10], &DRAWN), [3.0; 10]);
    assert_eq!(dropped(&[3, 2, 2], dropout, &[3.0; 12], &Masks::None), [3.0; 12]);
}

fn concrete(temperature: f64) -> Concrete {
    Concrete { temperature, weight_regularizer: 0.03, dropout_regularizer: 0.7 }
}

#[test]
fn concrete_dropout_is_the_formula_of_the_paper() {
    let dropout = |temperature| Dropout::keep(0.5).unwrap().noise(Noise::Concrete(concrete(temperature))).site(4);
    for temperature in [0.1, 0.5] {
        let network = Network::new(3).dropout(dropout(temperature)).dense(Dense::new(1));
        for drop in [0.01f64, 0.3, 0.9] {
            let weights = [vec![(drop / (1.0 - drop)).ln()], vec![1.0; 3], vec![0.0]];
            let y = forward(&network, &weights, &[1.5; 15], &DRAWN).unwrap().remove(0);
            for (i, found) in y.into_iter().enumerate() {
                let u = uniform(word(5, SAMPLES[i / 3], i as u32 % 3));
                let z = drop.ln() - (1.0 - drop).ln() + u.ln() - (1.0 - u).ln();
                let expected = 1.5 * (1.0 - 1.0 / (1.0 + (-z / temperature).exp())) / (1.0 - drop);
                assert!((found - expected).abs() < 1e-12, "{temperature}, {drop}, {i}: {found}, {expected}");
            }
            assert_eq!(forward(&network, &weights, &[1.5; 3], &Masks::None).unwrap()[0], [1.5; 3]);
        }
    }
}

/// Two sites: in front of an activation and a dense layer of 3 x 2, and in front of one of 1 x 3. By hand, and by finite differences.
#[test]
fn the_regularizer_of_concrete_dropout_is_that_of_the_paper() {
    let site = || Dropout::keep(0.5).unwrap().noise(Noise::Concrete(concrete(0.1)));
    let network = Network::new(2)
        .dropout(site())
        .layer(Layer::Activation(Activation::Tanh))
        .dense(Dense::new(3))
        .dropout(site())
        .dense(Dense::new(3));
    let last = vec![0.5, -1.0, 2.0, 0.0, 1.0, 1.0, -0.5, 0.0, 1.0];
    let weights =
        vec![vec![0.4f64], vec![1.0, -2.0, 3.0, 0.5, 0.0, 1.0], vec![1.0, 0.0, -1.0], vec![-1.3], last, vec![0.0, 0.25, 0.0]];
    let (value, gradients) = concrete_regularizer(&network, &weights).unwrap();
    let q = |logit: f64| 1.0 / (1.0 + (-logit).exp());
    let entropy = |q: f64| q * q.ln() + (1.0 - q) * (1.0 - q).ln();
    let squares = [15.25, 8.5];
    let expected = 0.03 * (squares[0] / (1.0 - q(0.4)) + squares[1] / (1.0 - q(-1.3)))
        + 0.7 * (2.0 * entropy(q(0.4)) + 3.0 * entropy(q(-1.3)));
    assert!((value - expected).abs() < 1e-14, "{value}, {expected}");
    let numeric = central_differences(&weights, STEP, |moved| Ok(concrete_regularizer(&network, moved)?.0)).unwrap();
    // The biases have none.
    assert_eq!([&gradients[2], &gradients[5]], [&[0.0; 3]; 2]);
    let without = |tensors: &[Vec<f64>]| [&tensors[..2], &tensors[3..5]].concat();
    let error = relative_error(&without(&gradients), &without(&numeric));
    assert!(error < 1e-8, "{error}");
    assert!(concrete_regularizer(&network, &weights[1..]).is_err());
    // It belongs to what training minimises, not to the loss.
    let (inputs, labels) = (random(10, 0), vec![0u32, 1, 2, 1, 0]);
    let minimised = objective(&network, &weights, &inputs, &labels, &DRAWN).unwrap();
    let apart = minimised - loss(&network, &weights, &inputs, &labels, &DRAWN).unwrap();
    assert!((apart - value).abs() < 1e-14);
}

/// DropConnect is a dense layer with other weights, one matrix for the batch and unit o inputs + i; in evaluation it is that
/// layer.
#[test]
fn drop_connect_masks_the_weights() {
    let layer = || Dense::new(3).activation(Activation::Tanh);
    let network = Network::new(5).dropout(Dropout::drop_connect(0.5).unwrap().site(4)).dense(layer()).dense(Dense::new(2));
    let plain = Network::new(5).dense(layer()).dense(Dense::new(2));
    let (weights, inputs, upstream) = (random_weights(&network), random(25, 0), random(10, 1));
    let kept: Vec<bool> = (0..15).map(|unit| word(6, 0, unit) < 1 << 31).collect();
    assert!((3..13).contains(&kept.iter().filter(|kept| **kept).count()));
    let mut masked = weights.clone();
    masked[0].iter_mut().zip(&kept).for_each(|(w, &kept)| *w = if kept { 2.0 * *w } else { 0.0 });
    let last =
        |network: &Network, weights: &[Vec<f64>], masks| forward(network, weights, &inputs, &masks).unwrap().pop().unwrap();
    assert_eq!(last(&network, &weights, DRAWN), last(&plain, &masked, DRAWN));
    assert_eq!(last(&network, &weights, Masks::None), last(&plain, &weights, Masks::None));
    let (gradients, dx) = backward(&network, &weights, &inputs, &upstream, &DRAWN).unwrap();
    let (mut expected, of_plain) = backward(&plain, &masked, &inputs, &upstream, &DRAWN).unwrap();
    expected[0].iter_mut().zip(&kept).for_each(|(g, &kept)| *g = if kept { 2.0 * *g } else { 0.0 });
    assert_eq!((gradients, dx), (expected, of_plain));
    // A weight that is dropped leaves no trace.
    let mut poisoned = weights.clone();
    poisoned[0].iter_mut().zip(&kept).filter(|(_, kept)| !**kept).for_each(|(w, _)| *w = f64::INFINITY);
    assert_eq!(last(&network, &poisoned, DRAWN), last(&network, &weights, DRAWN));
}

/// At every step the factors are those of a site with that step's rate; behind the way, and in evaluation, those of its own.
#[test]
fn scheduled_rates_follow_the_update() {
    let over = |way| Schedule::new(way, 8).from(KeepProb::new(0.9).unwrap());
    let x = [1.0; 200];
    for way in [Way::Linear, Way::Cosine, Way::Step, Way::Curriculum] {
        let mut rates = std::collections::BTreeSet::new();
        for update in [0, 1, 4, 7, 8, 100] {
            let masks = Masks::Drawn { seed: SEED, pass: PASS, update, samples: &SAMPLES };
            let s = f64::from(update) / 8.0;
            let rate = match way {
                _ if update >= 8 => 0.3,
                Way::Linear => 0.9 - 0.6 * s,
                Way::Cosine => 0.3 + 0.3 * (1.0 + (std::f64::consts::PI * s).cos()),
                Way::Step => 0.9,
                Way::Curriculum => 0.3 + 0.6 * (-10.0 * s).exp(),
            };
            for noise in [Noise::Bernoulli, Noise::Gaussian, Noise::Alpha] {
                let of = |keep: f64| Dropout::keep(keep).unwrap().noise(noise).site(4);
                let found = dropped(&[40], of(0.3).schedule(over(way)), &x, &masks);
                let expected = dropped(&[40], of(rate), &x, &masks);
                let apart = found.iter().zip(&expected).fold(0.0, |a: f64, (f, e)| a.max((f - e).abs()));
                assert!(apart < 1e-6, "{way:?}, update {update}, {noise:?}: {apart}");
                rates.insert(format!("{:.6}", found.iter().fold(0.0, |a: f64, f| a.max(*f))));
            }
        }
        assert!(rates.len() >= if way == Way::Step { 6 } else { 12 }, "{way:?}: {rates:?}");
    }
    let scheduled = Dropout::keep(0.3).unwrap().schedule(over(Way::Linear));
    assert_eq!(dropped(&[40], scheduled, &x[..40], &Masks::None), x[..40]);
}
