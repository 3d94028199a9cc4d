//! Alpha dropout (Klambauer et al., NeurIPS 2017) on the device: features of mean 0 and variance 1 keep both, with ordinary
//! dropout they do not.

use thinnet::network::alpha_affine;
use thinnet::rng::{self, Coordinates, Stream};
use thinnet::{Activation, Dense, Dropout, Init, Inputs, KeepProb, Loss, Model, Network, Noise};

use super::{Runner, mean_off};
use crate::mask_statistics::SIGMAS;

/// Features of a row, and rows: 2,097,152 numbers.
const UNITS: u32 = 64;
const ROWS: u32 = 32_768;

/// Standard normal numbers.
fn normal(count: u32, site: u32) -> Vec<f32> {
    let at = |i: u32| Coordinates { stream: Stream::ContinuousNoise, site, pass: 0, sample: i };
    (0..count / 2)
        .flat_map(|i| {
            let words = at(i).quad(0, rng::key(8));
            [[words[0], words[1]], [words[2], words[3]]].map(|pair| rng::normal(pair) as f32)
        })
        .collect()
}

/// SELU of normal numbers, then dropout.
fn features(dropout: Dropout) -> Vec<f64> {
    let network = Network::new(UNITS).dense(Dense::new(UNITS).activation(Activation::Selu)).dropout(dropout);
    let identity = (0..UNITS * UNITS).map(|i| f32::from(u8::from(i % (UNITS + 1) == 0))).collect();
    let inputs = Inputs::from_f32(UNITS, normal(UNITS * ROWS, 1)).unwrap();
    let mut runner = Runner::new(&network.loss(Loss::MeanSquaredError), vec![identity, vec![0.0; UNITS as usize]], &inputs);
    runner.outputs([1, 0]).concat().into_iter().map(f64::from).collect()
}

/// How far mean and variance are from 0 and 1, in standard errors; that of the variance from the fourth moment that is found.
fn off(features: &[f64]) -> [f64; 2] {
    let n = features.len() as f64;
    let fourth = features.iter().map(|y| y.powi(4)).sum::<f64>() / n;
    [mean_off(features.iter().copied(), 0.0, 1.0), mean_off(features.iter().map(|y| y * y), 1.0, (fourth - 1.0).sqrt())]
}

/// The standard error of the mean is 0.0007. A mask that keeps 1 % more or less than a and b are made for moves the mean by
/// a alpha' p / 100, 0.0066 at keep 0.5 and more above: 9 standard errors.
#[test]
fn selu_features_keep_mean_0_and_variance_1_and_a_rate_1_percent_off_is_noticed() {
    let none = off(&features(Dropout::keep(1.0).unwrap()));
    assert!(none.iter().all(|z| z.abs() <= SIGMAS), "SELU of normal numbers: {none:?} standard errors");
    for keep in [0.5, 0.8, 0.95] {
        let alpha = |keep: f64| features(Dropout::keep(keep).unwrap().noise(Noise::Alpha));
        let found = off(&alpha(keep));
        println!("keep {keep}: mean, variance {found:.2?} standard errors off");
        assert!(found.iter().all(|z| z.abs() <= SIGMAS), "keep {keep}: {found:?} standard errors");
        let plain = off(&features(Dropout::keep(keep).unwrap()));
        assert!(plain[1] > 2.0 * SIGMAS, "keep {keep}: with ordinary dropout the variance is 1 / keep, not {plain:?}");
        for wrong in [0.99 * keep, 1.01 * keep] {
            let ([a, b], [c, d]) = (alpha_affine(KeepProb::new(keep).unwrap()), alpha_affine(KeepProb::new(wrong).unwrap()));
            let moved: Vec<f64> = alpha(wrong).into_iter().map(|y| a * ((y - d) / c) + b).collect();
            let z = off(&moved);
            assert!(z.iter().any(|z| z.abs() > SIGMAS), "keep {keep}: masks of {wrong} pass, {z:?} standard errors");
        }
    }
}

/// Eight layers of 256 with LeCun's normal weights. Weights that are drawn once make the moments of a layer those of SELU but
/// for some 1 / sqrt(256): bounds of a quarter. Ordinary dropout multiplies the variance of a layer by 1 / keep, and SELU pulls
/// back a part.
#[test]
fn a_deep_selu_network_keeps_its_moments_with_alpha_dropout_only() {
    let deep = |dropout: Dropout| {
        let selu = || Dense::new(256).activation(Activation::Selu).init(Init::LecunNormal);
        let network = (0..8).fold(Network::new(256), |network, _| network.dense(selu()).dropout(dropout));
        let network = network.loss(Loss::MeanSquaredError);
        let inputs = Inputs::from_f32(256, normal(256 * 512, 2)).unwrap();
        let weights = Model::initial(&network, 3).unwrap().weights().to_vec();
        let found = Runner::new(&network, weights, &inputs).outputs([0, 0]).concat();
        let n = found.len() as f64;
        let mean = found.iter().map(|&y| f64::from(y)).sum::<f64>() / n;
        (mean, found.iter().map(|&y| (f64::from(y) - mean).powi(2)).sum::<f64>() / n)
    };
    let keep = Dropout::keep(0.8).unwrap();
    let ((mean, variance), (plain_mean, plain)) = (deep(keep.noise(Noise::Alpha)), deep(keep));
    println!("alpha: mean {mean:.3}, variance {variance:.3}; ordinary: mean {plain_mean:.3}, variance {plain:.3}");
    assert!(mean.abs() < 0.25 && (0.75..1.25).contains(&variance), "alpha dropout: mean {mean}, variance {variance}");
    assert!(!(0.75..1.25).contains(&plain) || plain_mean.abs() > 0.25, "ordinary dropout: mean {plain_mean}, variance {plain}");
}
