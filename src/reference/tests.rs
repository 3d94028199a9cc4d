//! Finite differences, and two theorems on dropout that hold exactly.

use super::functions::activate;
use super::loss::log_sum_exp;
use super::*;
use crate::network::{Activation, Dense, Dropout, KeepProb, Loss, Unit};
use crate::rng::{self, Coordinates, Stream};

mod layers;
mod masks;
mod noise;
mod optimizer;
mod pytorch;
mod recurrent;
mod units;

/// The largest relative error allowed, see [`relative_error`].
const TOLERANCE: f64 = 1e-7;
/// Balances truncation (step^2) against rounding (1e-16 / step).
const STEP: f64 = 1e-5;
const SAMPLES: [u32; 5] = [5, 900, 17, 2, 4_000_000_000];
const SEED: u64 = 7 << 40 | 3;
const PASS: u32 = 3;
const UPDATE: u32 = 6;
const DRAWN: Masks = Masks::Drawn { seed: SEED, pass: PASS, update: UPDATE, samples: &SAMPLES };
const WRONG_PASS: Masks = Masks::Drawn { seed: SEED, pass: PASS + 1, update: UPDATE + 1, samples: &SAMPLES };

/// Numbers in (-1, 1), others for every `number`.
fn random(count: usize, number: usize) -> Vec<f64> {
    let at = Coordinates { stream: Stream::ContinuousNoise, site: 0, pass: 0, sample: number as u32 };
    (0..count as u32).map(|i| 2.0 * rng::uniform(at.word(i, rng::key(1))) - 1.0).collect()
}

/// Random weights and biases: a bias of 0 would hide a wrong bias.
fn random_weights(network: &Network) -> Vec<Vec<f64>> {
    network.parameters().unwrap().iter().enumerate().map(|(t, p)| random(p.len(), 100 + t)).collect()
}

/// 5-7-6-4 with dropout on the input and on both hidden layers, of which one is vanilla, with every activation in turn.
fn networks() -> [Network; 6] {
    use Activation::{Gelu, Identity, LeakyRelu, Relu, Selu, Sigmoid, Tanh};
    let dense = |units, activation| Dense::new(units).activation(activation);
    let keep = |keep_prob| Dropout::keep(keep_prob).unwrap();
    let activations = [
        [Relu, Tanh, Sigmoid],
        [Tanh, Sigmoid, Relu],
        [Sigmoid, Relu, Tanh],
        [Relu, Relu, Identity],
        [Gelu, LeakyRelu, Selu],
        [Selu, Gelu, LeakyRelu],
    ];
    activations.map(|[a, b, c]| {
        let hidden = Network::new(5).dropout(keep(0.8)).dense(dense(7, a)).dropout(keep(0.5).vanilla());
        hidden.dense(dense(6, b)).dropout(keep(0.7).site(9)).dense(dense(4, c))
    })
}

/// Targets for five rows of four outputs: labels, or numbers from 0 to 1, two a row where each has a log variance.
fn with_targets(loss: Loss, f: impl Fn(Targets)) {
    match loss {
        Loss::SoftmaxCrossEntropy => f(Targets::Labels(&[3, 0, 2, 2, 1])),
        Loss::GaussianNll => f(Targets::Values(&random(10, 7))),
        _ => f(Targets::Values(&random(20, 7).into_iter().map(|v| (v + 1.0) / 2.0).collect::<Vec<_>>())),
    }
}

const LOSSES: [Loss; 4] = [Loss::SoftmaxCrossEntropy, Loss::BinaryCrossEntropy, Loss::MeanSquaredError, Loss::GaussianNll];

/// The largest difference in a tensor over the largest element expected there; the worst tensor counts.
fn relative_error(found: &[Vec<f64>], expected: &[Vec<f64>]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let errors = found.iter().zip(expected).map(|(found, expected)| {
        assert_eq!(found.len(), expected.len());
        assert!(found.iter().chain(expected).all(|x| x.is_finite()));
        let largest = expected.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
        assert!(largest > 1e-4, "a tensor without gradient compares nothing");
        found.iter().zip(expected).fold(0.0, |a: f64, (f, e)| a.max((f - e).abs())) / largest
    });
    errors.fold(0.0, f64::max)
}

/// Finite differences mean nothing across the kink of a rectifier, or where two pixels tie.
fn assert_no_kink(network: &Network, weights: &[Vec<f64>], inputs: &[f64], masks: &Masks) {
    let distance = kink_distance(network, weights, inputs, masks).unwrap();
    assert!(distance > 100.0 * STEP, "{distance} from a kink");
}

#[test]
fn analytic_gradients_are_the_numeric_ones() {
    for (network, loss) in networks().into_iter().flat_map(|network| LOSSES.map(|loss| (network.clone().loss(loss), loss))) {
        let (weights, inputs) = (random_weights(&network), random(25, 0));
        with_targets(loss, |targets| {
            for masks in [DRAWN, Masks::None] {
                assert_no_kink(&network, &weights, &inputs, &masks);
                let numeric = numeric_gradients(&network, &weights, &inputs, targets, &masks, STEP).unwrap();
                let error = relative_error(&gradients(&network, &weights, &inputs, targets, &masks).unwrap(), &numeric);
                println!("gradients, {loss:?}, {masks:?}: relative error {error:.1e}");
                assert!(error <= TOLERANCE, "{error}");
                // The same comparison must see a backward pass that draws the masks of the next epoch.
                let wrong = relative_error(&gradients(&network, &weights, &inputs, targets, &WRONG_PASS).unwrap(), &numeric);
                assert!(wrong > 1e5 * TOLERANCE, "{wrong}");
            }
        });
    }
}

#[test]
fn backward_is_right_for_any_upstream_gradient() {
    for network in networks() {
        let (weights, inputs, upstream) = (random_weights(&network), random(25, 0), random(20, 1));
        assert_no_kink(&network, &weights, &inputs, &DRAWN);
        let objective = |weights: &[Vec<f64>], inputs: &[f64]| {
            let y = forward(&network, weights, inputs, &DRAWN)?.pop().unwrap();
            Ok(y.iter().zip(&upstream).map(|(y, u)| y * u).sum())
        };
        let mut numeric = central_differences(&weights, STEP, |moved| objective(moved, &inputs)).unwrap();
        numeric.extend(central_differences(std::slice::from_ref(&inputs), STEP, |moved| objective(&weights, &moved[0])).unwrap());
        let analytic = |masks| {
            let (mut gradients, input) = backward(&network, &weights, &inputs, &upstream, masks).unwrap();
            gradients.push(input);
            gradients
        };
        let (error, wrong) = (relative_error(&analytic(&DRAWN), &numeric), relative_error(&analytic(&WRONG_PASS), &numeric));
        println!("backward: relative error {error:.1e}, with the masks of another pass {wrong:.1e}");
        assert!(error <= TOLERANCE, "{error}");
        assert!(wrong > 1e5 * TOLERANCE, "{wrong}");
    }
}

#[test]
fn dropout_selects_by_the_words_of_the_contract_and_scales_by_its_f32() {
    let dropout = Dropout::keep(0.7).unwrap();
    let network = Network::new(11).dropout(dropout.site(9)).dense(Dense::new(1));
    let (weights, inputs) = (random_weights(&network), random(55, 0));
    let outputs = forward(&network, &weights, &inputs, &DRAWN).unwrap();
    for (r, sample) in SAMPLES.into_iter().enumerate() {
        for unit in 0..11 {
            let counter = [unit as u32 / 4, sample, PASS, 9];
            let word = rng::philox4x32_10(counter, [3, 7 << 8])[unit % 4];
            let kept = f64::from(word) < 0.7 * 4_294_967_296.0;
            let expected = if kept { inputs[r * 11 + unit] * f64::from((1.0f64 / 0.7) as f32) } else { 0.0 };
            assert_eq!(outputs[0][r * 11 + unit], expected, "sample {sample}, unit {unit}");
        }
    }
    let kept = forward(&network.without_dropout(), &weights, &inputs, &DRAWN).unwrap();
    assert_eq!(kept, forward(&network, &weights, &inputs, &Masks::None).unwrap());
    assert_eq!(kept[0], inputs);
}

/// Srivastava et al. 2014, figure 2: what is present with probability p in training is multiplied by p in evaluation.
#[test]
fn vanilla_dropout_scales_in_evaluation_instead_of_in_training() {
    let inverted = Dropout::keep(0.7).unwrap();
    let network = |dropout: Dropout| Network::new(11).dropout(dropout).dense(Dense::new(1));
    let (inverted, vanilla) = (network(inverted), network(inverted.vanilla()));
    let (weights, inputs) = (random_weights(&vanilla), random(55, 0));
    let scaled = forward(&inverted, &weights, &inputs, &DRAWN).unwrap().remove(0);
    let plain = forward(&vanilla, &weights, &inputs, &DRAWN).unwrap().remove(0);
    for ((scaled, plain), x) in scaled.iter().zip(&plain).zip(&inputs) {
        assert_eq!((*scaled == 0.0, *plain), (*plain == 0.0, if *scaled == 0.0 { 0.0 } else { *x }));
    }
    let factor = f64::from(0.7f32);
    let evaluated = forward(&vanilla, &weights, &inputs, &Masks::None).unwrap().remove(0);
    assert_eq!(evaluated, inputs.iter().map(|x| factor * x).collect::<Vec<_>>());
    assert_eq!(forward(&inverted, &weights, &inputs, &Masks::None).unwrap().remove(0), inputs);
}

/// Numbers of PyTorch's `leaky_relu`, `gelu(approximate="tanh")` and `selu`.
#[test]
fn activations_of_known_numbers() {
    let known = [
        (Activation::LeakyRelu, [2.0, -0.01]),
        (Activation::Gelu, [1.954_597_694_087_775, -0.158_808_009_391_723_24]),
        (Activation::Selu, [2.101_401_974_710_961, -1.111_330_737_812_562_8]),
    ];
    for (activation, expected) in known {
        for (z, y) in [2.0, -1.0].into_iter().zip(expected) {
            assert!((activate(activation, z) - y).abs() < 1e-14, "{activation:?}({z}) = {}", activate(activation, z));
        }
    }
}

#[test]
fn a_row_does_not_depend_on_the_other_rows() {
    let [network, ..] = networks();
    let (weights, inputs) = (random_weights(&network), random(25, 0));
    let together = forward(&network, &weights, &inputs, &DRAWN).unwrap().pop().unwrap();
    for r in 0..5 {
        let masks = Masks::Drawn { seed: SEED, pass: PASS, update: UPDATE, samples: &SAMPLES[r..r + 1] };
        let alone = forward(&network, &weights, &inputs[5 * r..5 * r + 5], &masks).unwrap().pop().unwrap();
        assert_eq!(alone, together[4 * r..4 * r + 4]);
    }
}

#[test]
fn what_is_dropped_leaves_no_trace_even_if_it_is_not_finite() {
    let nothing = Dropout::keep(0.0).unwrap();
    let masks = Masks::Drawn { seed: SEED, pass: PASS, update: UPDATE, samples: &SAMPLES[..1] };
    let before = Network::new(2).dropout(nothing).dense(Dense::new(1));
    let (weights, inputs) = (vec![vec![1.0, 2.0], vec![0.5]], [f64::NAN, f64::INFINITY]);
    assert_eq!(forward(&before, &weights, &inputs, &masks).unwrap(), [vec![0.0, 0.0], vec![0.5]]);
    let (gradients, input) = backward(&before, &weights, &inputs, &[3.0], &masks).unwrap();
    assert_eq!((gradients, input), (vec![vec![0.0, 0.0], vec![3.0]], vec![0.0, 0.0]));
    let after = Network::new(2).dense(Dense::new(1)).dropout(nothing);
    let (gradients, input) = backward(&after, &weights, &[1.0, 1.0], &[f64::NAN], &masks).unwrap();
    assert_eq!((gradients, input), (vec![vec![0.0, 0.0], vec![0.0]], vec![0.0, 0.0]));
    // What is kept shows: a NaN must not vanish in ReLU.
    let relu = Network::new(2).dense(Dense::new(1).activation(Activation::Relu));
    assert!(forward(&relu, &weights, &inputs, &masks).unwrap()[0][0].is_nan());
}

/// For every one of the 2^units masks at site 0 a sample that draws it: bit u of the index says whether unit u is kept.
fn samples_of_all_masks(keep: KeepProb, units: u32) -> Vec<u32> {
    let mut samples = vec![None; 1 << units];
    for sample in 0..100_000 {
        let at = Coordinates { stream: Stream::TrainingMask, site: 0, pass: PASS, sample };
        let mask: usize = (0..units).map(|unit| usize::from(keep.keeps(at.word(unit, rng::key(SEED)))) << unit).sum();
        samples[mask].get_or_insert(sample);
    }
    samples.into_iter().map(|sample| sample.expect("every mask is drawn by some sample")).collect()
}

/// Hinton et al. 2012 (arXiv:1207.0580): one hidden layer, keep_prob 1/2 and a softmax. The normalised geometric mean of
/// the predictions of all 2^N networks is exactly the prediction of the one network with halved outgoing weights.
#[test]
fn weight_scaling_is_the_geometric_mean_over_all_masks() {
    let (hidden, keep) = (8, KeepProb::new(0.5).unwrap());
    let layer = Dense::new(hidden as u32).activation(Activation::Relu);
    let network = Network::new(3).dense(layer).dropout(Dropout { keep, ..Dropout::keep(1.0).unwrap() }).dense(Dense::new(4));
    let (unscaled, inputs) = (random_weights(&network), random(3, 0));
    let mut halved = unscaled.clone();
    halved[2].iter_mut().for_each(|w| *w *= 0.5);
    let softmax = |z: &[f64]| z.iter().map(|v| (v - log_sum_exp(z)).exp()).collect::<Vec<_>>();
    let output = |weights: &[Vec<f64>], masks: Masks| forward(&network, weights, &inputs, &masks).unwrap().pop().unwrap();

    let (mut mean_log, mut mean) = ([0.0; 4], [0.0; 4]);
    for (mask, sample) in samples_of_all_masks(keep, hidden as u32).into_iter().enumerate() {
        // A dropped unit is a unit without outgoing weights; inverted dropout of halved weights is the same network.
        let mut thinned = unscaled.clone();
        thinned[2].iter_mut().enumerate().filter(|(i, _)| mask >> (i % hidden) & 1 == 0).for_each(|(_, w)| *w = 0.0);
        let z = output(&thinned, Masks::None);
        let drawn = output(&halved, Masks::Drawn { seed: SEED, pass: PASS, update: UPDATE, samples: &[sample] });
        assert!(z.iter().zip(&drawn).all(|(a, b)| (a - b).abs() < 1e-14), "mask {mask:b}: {z:?}, {drawn:?}");
        for (c, p) in softmax(&z).into_iter().enumerate() {
            mean_log[c] += p.ln() / 256.0;
            mean[c] += p / 256.0;
        }
    }
    let (geometric, scaled) = (softmax(&mean_log), softmax(&output(&halved, Masks::None)));
    println!("geometric mean {geometric:?}\nweight scaling {scaled:?}\narithmetic mean {mean:?}");
    assert!(geometric.iter().zip(&scaled).all(|(a, b)| (a - b).abs() < 1e-14));
    // The arithmetic mean is another number, so the theorem is not met by chance.
    assert!(mean.iter().zip(&scaled).any(|(a, b)| (a - b).abs() > 1e-3));
}

/// Srivastava et al. 2014, section 9.1: dropout on the inputs of linear regression, marginalised, is a ridge penalty,
/// E ||y - (R * X) w||^2 = ||y - p X w||^2 + p (1 - p) ||diag(X'X)^(1/2) w||^2.
#[test]
fn marginalised_dropout_of_linear_regression_is_ridge_regression() {
    let (rows, features, p) = (3, 4, 0.8);
    let keep = KeepProb::new(p).unwrap();
    let network = Network::new(features as u32).dropout(Dropout { keep, ..Dropout::keep(1.0).unwrap() }).dense(Dense::new(1));
    let (x, y, w) = (random(rows * features, 0), random(rows, 1), random(features, 2));
    // Inverted dropout divides by p, the paper does not: p w takes the place of w. 1 / 0.8 is 1.25, exact in f32.
    let weights = [w.iter().map(|w| p * w).collect(), vec![0.0]];
    let samples = samples_of_all_masks(keep, features as u32);

    let (mut expectation, mut ridge) = (0.0, 0.0);
    for (x, y) in x.chunks(features).zip(&y) {
        // Rows have independent masks, so the expectation of the sum is the sum of the rows' expectations.
        for (mask, &sample) in samples.iter().enumerate() {
            let masks = Masks::Drawn { seed: SEED, pass: PASS, update: UPDATE, samples: &[sample] };
            let kept = mask.count_ones() as i32;
            let probability = p.powi(kept) * (1.0 - p).powi(features as i32 - kept);
            expectation += probability * (y - forward(&network, &weights, x, &masks).unwrap()[1][0]).powi(2);
        }
        let prediction: f64 = x.iter().zip(&w).map(|(x, w)| p * x * w).sum();
        let penalty: f64 = x.iter().zip(&w).map(|(x, w)| x * x * w * w).sum();
        ridge += (y - prediction).powi(2) + p * (1.0 - p) * penalty;
    }
    println!("expectation {expectation}, ridge {ridge}");
    assert!((expectation - ridge).abs() < 1e-14 * ridge);
}

#[test]
fn the_loss_of_known_logits() {
    let network = Network::new(1).dense(Dense::new(3));
    let of = |bias: [f64; 3], label| loss(&network, &[vec![0.0; 3], bias.to_vec()], &[1.0], &[label][..], &Masks::None).unwrap();
    assert!((of([0.0; 3], 1) - 3f64.ln()).abs() < 1e-15);
    assert!((of([0.0, 2f64.ln(), 5f64.ln()], 1) - 4f64.ln()).abs() < 1e-15);
    assert_eq!(of([1000.0, 0.0, -1000.0], 1), 1000.0); // exp(1000) is no f64.
    let (weights, inputs, labels) = ([vec![1.0, 0.0, -1.0], vec![0.0; 3]], [1.0, 2.0], vec![0u32, 2]);
    let mean = loss(&network, &weights, &inputs, &labels, &Masks::None).unwrap();
    let sum: f64 = row_losses(&network, &weights, &inputs, &labels, &Masks::None).unwrap().iter().sum();
    assert_eq!(2.0 * mean, sum);
}

/// One row of two outputs, from the definitions: -log s(z) where the target is 1, -log(1 - s(z)) where it is 0.
#[test]
fn the_losses_against_known_targets() {
    let of = |loss_of, bias: [f64; 2], targets: [f64; 2]| {
        let network = Network::new(1).dense(Dense::new(2)).loss(loss_of);
        loss(&network, &[vec![0.0; 2], bias.to_vec()], &[1.0], &targets[..], &Masks::None).unwrap()
    };
    let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
    let expected = (-sigmoid(0.5).ln() - (1.0 - sigmoid(-2.0)).ln()) / 2.0;
    assert!((of(Loss::BinaryCrossEntropy, [0.5, -2.0], [1.0, 0.0]) - expected).abs() < 1e-15);
    let mixed = -0.25 * sigmoid(3.0).ln() - 0.75 * (1.0 - sigmoid(3.0)).ln();
    assert!((of(Loss::BinaryCrossEntropy, [3.0, 3.0], [0.25, 0.25]) - mixed).abs() < 1e-14);
    assert_eq!(of(Loss::BinaryCrossEntropy, [1000.0, -1000.0], [0.0, 0.0]), 500.0); // exp(1000) is no f64.
    assert_eq!(of(Loss::MeanSquaredError, [1.0, -2.0], [0.5, 1.0]), (0.25 + 9.0) / 2.0);
    // One target: its mean, then its log variance.
    let likelihood = |bias: [f64; 2], t: f64| {
        let network = Network::new(1).dense(Dense::new(2)).loss(Loss::GaussianNll);
        loss(&network, &[vec![0.0; 2], bias.to_vec()], &[1.0], &[t][..], &Masks::None).unwrap()
    };
    assert_eq!(likelihood([3.0, 0.0], 1.0), 2.0);
    assert!((likelihood([3.0, 4f64.ln()], 1.0) - (4f64.ln() + 1.0) / 2.0).abs() < 1e-15);
    // Below -20 the log variance is that.
    assert_eq!(likelihood([1.5, -1e300], 1.0), (-20.0 + 0.25 * 20f64.exp()) / 2.0);
}

#[test]
fn what_does_not_fit_is_an_error() {
    let network = Network::new(2).dropout(Dropout::keep(0.5).unwrap()).dense(Dense::new(3));
    let weights = random_weights(&network);
    let one = Masks::Drawn { seed: 0, pass: 0, update: 0, samples: &[0] };
    assert!(forward(&network, &weights, &[1.0, 2.0], &one).is_ok());
    assert!(forward(&network, &weights, &[], &Masks::None).is_err());
    assert!(forward(&network, &weights, &[1.0], &Masks::None).is_err());
    assert!(forward(&network, &weights, &[1.0; 4], &one).is_err());
    let two = Masks::Drawn { seed: 0, pass: 0, update: 0, samples: &[0, 1] };
    assert!(forward(&network, &weights, &[1.0, 2.0], &two).is_err());
    assert!(forward(&network, &weights[..1], &[1.0, 2.0], &one).is_err());
    assert!(backward(&network, &weights, &[1.0, 2.0], &[1.0; 2], &one).is_err());
    assert!(loss(&network, &weights, &[1.0, 2.0], &[2u32][..], &one).is_ok());
    assert!(loss(&network, &weights, &[1.0, 2.0], &[3u32][..], &one).is_err());
    assert!(gradients(&network, &weights, &[1.0, 2.0], &[0u32, 0][..], &one).is_err());
    // Each loss takes targets of one kind.
    let says = |loss_of, targets: Targets, words: &str| {
        let error = loss(&network.clone().loss(loss_of), &weights, &[1.0, 2.0], targets, &one).unwrap_err().to_string();
        assert!(error.contains(words), "{error:?} does not say {words:?}");
    };
    says(Loss::SoftmaxCrossEntropy, Targets::Values(&[1.0; 3]), "needs labels");
    says(Loss::BinaryCrossEntropy, Targets::Labels(&[1]), "needs target values");
    says(Loss::MeanSquaredError, Targets::Labels(&[1]), "needs target values");
    says(Loss::MeanSquaredError, Targets::Values(&[1.0; 4]), "4 target values for 1 rows of 3");
    says(Loss::GaussianNll, Targets::Values(&[1.0; 3]), "gaussian_nll takes a mean and a log variance for each target");
}
