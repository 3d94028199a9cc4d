//! Losses and activations in balls.

use thinnet::kernels::{exp_error, gamma};
use thinnet::network::{Activation, Dense, Dropout, LEAST_LOG_VARIANCE, Loss, Network};
use thinnet::reference::{self, Masks, Targets};

use super::{Ball, Step, TINY, ULP, sum};
use crate::common::numbers;

/// What a row contributes: its loss, the gradient of the batch's with respect to its outputs, and whether it certainly is, and
/// may be, correct.
pub(super) type RowLoss = (Ball, Vec<Ball>, [bool; 2]);

/// Softmax cross-entropy of one of `batch` rows.
pub(super) fn softmax_cross_entropy(z: &[Ball], label: usize, batch: f64) -> RowLoss {
    let classes = z.len();
    let largest = z.iter().fold(f64::NEG_INFINITY, |a, z| a.max(z.mid));
    let off = z.iter().fold(0.0, |a: f64, z| a.max(z.rad));
    let powers: Vec<f64> = z.iter().map(|z| (z.mid - largest).exp()).collect();
    let total: f64 = powers.iter().sum();
    // Errors relative to a power: the shift rounds once, exp has WGSL's error at the shifted logit.
    let own = |c: usize| {
        let shifted = largest - z[c].mid + 2.0 * off;
        exp_error(shifted) + ULP * shifted
    };
    let of_sum = 1.01 * (0..classes).map(|c| powers[c] / total * own(c)).sum::<f64>() + gamma(2 * classes);
    let margin = largest - z[label].mid;
    let log = total.ln();
    // The loss changes by at most 2 |dz| with the logits: the 1-norm of softmax - onehot is at most 2.
    let own_log = f64::from(1u32 << 21).recip() + 3.0 * ULP * log + of_sum;
    let loss = Ball { mid: log + margin, rad: 2.0 * off + own_log + 3.0 * ULP * (log + margin + 2.0 * off) };
    let slope = |(c, power): (usize, &f64)| {
        let p = power / total;
        // Logits off by `off` change a probability by a factor of at most e^(2 off).
        let rad = p * (2.0 * off + own(c) + 1.01 * of_sum + 2.5 * ULP).exp_m1() + TINY;
        let wanted = if c == label { 1.0 } else { 0.0 };
        Ball { mid: p, rad }.minus(Ball::exact(wanted)).over(Ball::exact(batch), batch)
    };
    let gradient = powers.iter().enumerate().map(slope).collect();
    let others = || (0..classes).filter(|&c| c != label).map(|c| z[c]);
    let least = others().all(|other| z[label].mid - z[label].rad > other.mid + other.rad);
    (loss, gradient, [least, others().all(|other| z[label].mid + z[label].rad >= other.mid - other.rad)])
}

/// Binary cross-entropy, or the squared error, of one of `batch` rows.
pub(super) fn against_values(loss: Loss, z: &[Ball], t: &[f64], batch: f64) -> RowLoss {
    let outputs = z.len() as f64;
    let binary = loss == Loss::BinaryCrossEntropy;
    let term = |(z, &t): (&Ball, &f64)| {
        if !binary {
            let difference = z.minus(Ball::exact(t));
            return difference.times(difference);
        }
        // The slope s - t is at most 1 + |t|; of exp's error at most all is left, and the series has 8 ULP.
        let (tail, products) = ((-z.mid.abs()).exp().ln_1p(), z.mid.max(0.0) + (z.mid * t).abs());
        let own = 1.01 * (z.rad - z.mid.abs()).exp().min(1.0) * exp_error(z.size()) + 8.0 * ULP * tail + 4.0 * ULP * products;
        Ball { mid: z.mid.max(0.0) - z.mid * t + tail, rad: (1.0 + t.abs()) * z.rad + own + TINY }
    };
    let count = Ball::exact(outputs * batch);
    let slope = |(z, &t): (&Ball, &f64)| {
        let difference = match binary {
            true => activate(Activation::Sigmoid, *z).minus(Ball::exact(t)),
            false => z.minus(Ball::exact(t)).times(Ball::exact(2.0)),
        };
        difference.over(count, count.mid).ulps(1.0)
    };
    let sum = sum(z.iter().zip(t).map(term));
    let sides = |may: bool| {
        let right = |(z, &t): (&Ball, &f64)| match may == (t > 0.5) {
            true => {
                if may {
                    z.mid + z.rad > 0.0
                } else {
                    z.mid + z.rad <= 0.0
                }
            }
            false => {
                if may {
                    z.mid - z.rad <= 0.0
                } else {
                    z.mid - z.rad > 0.0
                }
            }
        };
        binary && z.iter().zip(t).all(right)
    };
    let gradient = z.iter().zip(t).map(slope).collect();
    (sum.over(Ball::exact(outputs), outputs), gradient, [sides(false), sides(true)])
}

/// The Gaussian negative log-likelihood of one of `batch` rows.
pub(super) fn gaussian_nll(z: &[Ball], t: &[f64], batch: f64) -> RowLoss {
    let (means, spreads) = z.split_at(t.len());
    let half = |ball: Ball| ball.times(Ball::exact(0.5));
    let terms: Vec<[Ball; 3]> = (0..t.len())
        .map(|c| {
            let (d, s) = (means[c].minus(Ball::exact(t[c])), spreads[c]);
            assert!(s.mid - s.rad > f64::from(LEAST_LOG_VARIANCE), "a log variance that may lie below the bound: {s:?}");
            let mid = (-s.mid).exp();
            let precision = Ball { mid, rad: mid * (s.rad.exp_m1() + s.rad.exp() * exp_error(s.size())) + TINY };
            let square = d.times(d).times(precision);
            [half(s.plus(square)), d.times(precision), half(Ball::exact(1.0).minus(square))]
        })
        .collect();
    let (count, rows) = (Ball::exact(t.len() as f64 * batch), t.len() as f64);
    let of = |which: usize| terms.iter().map(move |term| term[which].over(count, count.mid).ulps(1.0));
    let loss = sum(terms.iter().map(|term| term[0])).over(Ball::exact(rows), rows);
    (loss, of(1).chain(of(2)).collect(), [false, false])
}

const SLOPE: f64 = 0.01;
const LAMBDA: f64 = 1.0507009873554805;
const LAMBDA_ALPHA: f64 = LAMBDA * 1.6732632423543772;

pub(super) fn activate(activation: Activation, z: Ball) -> Ball {
    match activation {
        Activation::Identity => z,
        Activation::Relu if z.mid < -z.rad => Ball::exact(0.0),
        Activation::Relu => Ball { mid: z.mid.max(0.0), ..z },
        Activation::Tanh => Ball { mid: z.mid.tanh(), rad: z.rad + 1e-5 + 8.0 * ULP },
        // The derivative is at most 1/4; an addition and a division follow exp.
        Activation::Sigmoid => {
            let mid = 1.0 / (1.0 + (-z.mid).exp());
            Ball { mid, rad: 0.25 * (z.rad + exp_error(z.size())) }.ulps(4.0)
        }
        Activation::LeakyRelu if z.mid > z.rad => z,
        Activation::LeakyRelu if z.mid < -z.rad => z.times(Ball::rounded(SLOPE)),
        Activation::LeakyRelu => Ball { mid: if z.mid > 0.0 { z.mid } else { SLOPE * z.mid }, ..z }.ulps(1.0),
        Activation::Selu if z.mid > z.rad => z.times(Ball::rounded(LAMBDA)),
        // The derivative is at most lambda alpha. (3 + 2 |x|) e^-|x| is at most 3, and a few roundings follow exp.
        Activation::Selu => {
            let mid = if z.mid > 0.0 { LAMBDA * z.mid } else { LAMBDA_ALPHA * z.mid.exp_m1() };
            Ball { mid, rad: LAMBDA_ALPHA * (z.rad + 6.0 * ULP) }.ulps(1.0)
        }
        // The derivative is at most 1.13.
        Activation::Gelu => {
            let [share, _, error] = gelu_share(z);
            Ball { mid: z.mid * share, rad: 1.13 * z.rad + z.size() * error }.ulps(2.0)
        }
        other => panic!("balls know nothing of {other:?}"),
    }
}

/// s and v' of GELU at the midpoint, and the error that f32 makes in s: v has five roundings, the sigmoid is exp and four more.
fn gelu_share(z: Ball) -> [f64; 3] {
    let root = 2.0 * (2.0 / std::f64::consts::PI).sqrt();
    let v = root * (z.mid + 0.044715 * z.mid.powi(3));
    let share = 1.0 / (1.0 + (-v).exp());
    let error = share * (1.0 - share) * (exp_error(v) + 5.0 * ULP * v.abs()) + 4.0 * ULP * share + TINY;
    [share, root * (1.0 + 3.0 * 0.044715 * z.mid * z.mid), 1.1 * error]
}

/// f'(z) from y = f(z), for GELU from z.
pub(super) fn derivative(activation: Activation, y: Ball, z: Ball) -> Ball {
    let one = Ball::exact(1.0);
    match activation {
        Activation::Identity => one,
        Activation::Relu if y.mid > y.rad => one,
        Activation::Relu if y.size() == 0.0 => Ball::exact(0.0),
        Activation::Relu => Ball { mid: if y.mid > 0.0 { 1.0 } else { 0.0 }, rad: 1.0 },
        Activation::Tanh => one.minus(y.times(y)),
        Activation::Sigmoid => y.times(one.minus(y)),
        Activation::LeakyRelu if y.mid > y.rad => one,
        Activation::LeakyRelu if y.mid < -y.rad => Ball::rounded(SLOPE),
        Activation::LeakyRelu => Ball { mid: if y.mid > 0.0 { 1.0 } else { SLOPE }, rad: 1.0 },
        Activation::Selu if y.mid > y.rad => Ball::rounded(LAMBDA),
        Activation::Selu if y.mid < -y.rad => y.plus(Ball::rounded(LAMBDA_ALPHA)),
        Activation::Selu => Ball { mid: if y.mid > 0.0 { LAMBDA } else { y.mid + LAMBDA_ALPHA }, rad: 1.0 },
        // The second derivative is at most 0.85.
        Activation::Gelu => {
            let [share, slope, error] = gelu_share(z);
            let bend = z.mid * slope * share * (1.0 - share);
            let rad = 0.85 * z.rad + error + (z.mid * slope).abs() * (error + ULP * share) + 8.0 * ULP * bend.abs();
            Ball { mid: share + bend, rad }.ulps(2.0)
        }
        other => panic!("balls know nothing of {other:?}"),
    }
}

/// What no plan computes cannot be compared with a device: the formulas are compared with the reference alone.
#[test]
fn the_midpoints_are_the_values_of_the_reference() {
    use Activation::{Gelu, LeakyRelu, Relu, Selu, Sigmoid, Tanh};
    let keep = |keep| Dropout::keep(keep).unwrap();
    let layer = |units, activation| Dense::new(units).activation(activation);
    let (inputs, values): (Vec<f64>, Vec<f64>) = (
        numbers(6 * 5, 1).into_iter().map(f64::from).collect(),
        numbers(6 * 4, 2).into_iter().map(|v| f64::from(v.abs())).collect(),
    );
    let (labels, samples) = (vec![3, 0, 2, 2, 1, 0], [9, 1, 4, 4_000_000_000, 5, 2]);
    for (activations, loss) in [
        ([Gelu, Selu], Loss::SoftmaxCrossEntropy),
        ([LeakyRelu, Gelu], Loss::BinaryCrossEntropy),
        ([Selu, LeakyRelu], Loss::MeanSquaredError),
        ([Relu, Sigmoid], Loss::BinaryCrossEntropy),
        ([Tanh, Gelu], Loss::MeanSquaredError),
        ([Relu, Sigmoid], Loss::GaussianNll),
    ] {
        let network = Network::new(5).dropout(keep(0.8)).dense(layer(9, activations[0])).dropout(keep(0.6).vanilla());
        let network = network.dense(layer(7, activations[1])).dense(Dense::new(4)).loss(loss);
        let parameters = network.parameters().unwrap();
        let weights: Vec<Vec<f64>> =
            (10..).zip(&parameters).map(|(t, p)| numbers(p.len(), t).into_iter().map(f64::from).collect()).collect();
        let balls: Vec<Vec<Ball>> = weights.iter().map(|w| w.iter().copied().map(Ball::exact).collect()).collect();
        let targets = match loss {
            Loss::SoftmaxCrossEntropy => Targets::from(&labels),
            Loss::GaussianNll => Targets::from(&values[..12]),
            _ => Targets::from(&values),
        };
        for masks in [Masks::Drawn { seed: 3, pass: 2, update: 0, samples: &samples }, Masks::None] {
            let run = Step { network: &network, weights: &balls, inputs: &inputs, targets, masks }.run();
            assert!(run.kink > 0.0, "a rectifier is undecided");
            let mut expected = reference::gradients(&network, &weights, &inputs, targets, &masks).unwrap();
            expected.push(reference::row_losses(&network, &weights, &inputs, targets, &masks).unwrap());
            let mut found = run.gradients;
            found.push(run.losses);
            for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
                let near = (found.mid - expected).abs() < 1e-12 && found.rad > 0.0 && found.rad < 1e-3;
                assert!(near || *expected == 0.0, "{activations:?}, {loss:?}: {found:?}, expected {expected}");
            }
        }
    }
}
