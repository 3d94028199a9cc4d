//! Gaussian multiplicative noise on the device as a random variable: y = x (1 + sigma n), sigma^2 = (1 - p) / p.

use thinnet::{Dense, Dropout, Inputs, Loss, Network, Noise};

use super::{Runner, mean_off};
use crate::mask_statistics::SIGMAS;

/// Units of a row, and rows: 1,048,576 factors.
const UNITS: u32 = 4096;
const ROWS: u32 = 256;

/// What x = 1 becomes, in an epoch and an update.
fn factors(keep: f64, batch: bool, at: [u32; 2]) -> Vec<Vec<f32>> {
    let noise = Dropout::keep(keep).unwrap().noise(Noise::Gaussian);
    let noise = if batch { noise.batch() } else { noise };
    let network = Network::new(1).dense(Dense::new(UNITS)).dropout(noise).loss(Loss::MeanSquaredError);
    let inputs = Inputs::from_f32(1, vec![0.0; ROWS as usize]).unwrap();
    Runner::new(&network, vec![vec![0.0; UNITS as usize], vec![1.0; UNITS as usize]], &inputs).outputs(at)
}

/// How far mean, variance and third moment of y - 1 are from those of noise of this keep_prob, in standard errors: the squares
/// and cubes of a standard normal number have variance 2 and 15.
fn off(factors: &[f64], keep: f64) -> [f64; 3] {
    let sigma = ((1.0 - keep) / keep).sqrt();
    let normal: Vec<f64> = factors.iter().map(|y| (y - 1.0) / sigma).collect();
    [
        mean_off(normal.iter().copied(), 0.0, 1.0),
        mean_off(normal.iter().map(|n| n * n), 1.0, 2f64.sqrt()),
        mean_off(normal.iter().map(|n| n * n * n), 0.0, 15f64.sqrt()),
    ]
}

/// Standard errors of 0.05 % of x for the mean, at keep 0.8, 0.14 % for the variance, 0.0038 sigma^3 for the third moment. The
/// variance of noise for a keep_prob that is 1 % off is 5 % off. WGSL's cos may be off by 2^-11, which moves a mean by 1.3
/// standard errors at most if all errors have one sign.
#[test]
fn noise_has_its_three_moments_and_a_rate_1_percent_off_is_noticed() {
    let widened = |keep: f64| factors(keep, false, [2, 5]).concat().into_iter().map(f64::from).collect::<Vec<f64>>();
    for keep in [0.5, 0.8] {
        let right = widened(keep);
        let z = off(&right, keep);
        println!("keep {keep}: mean, variance, third moment {z:.2?} standard errors off");
        assert!(z.iter().all(|z| z.abs() <= SIGMAS), "keep {keep}: {z:?} standard errors");
        for wrong in [0.99 * keep, 1.01 * keep] {
            assert!(off(&widened(wrong), keep)[1].abs() > SIGMAS, "keep {keep}: the variance of {wrong} passes");
        }
        let moved: Vec<f64> = right.iter().map(|y| 1.01 * y).collect();
        assert!(off(&moved, keep)[0].abs() > SIGMAS, "keep {keep}: a mean 1 % off passes");
        // A hundredth of n^2 - 1 leaves the mean and gives the third moment 6 / 100.
        let sigma = ((1.0 - keep) / keep).sqrt();
        let skew: Vec<f64> = right.iter().map(|y| y + 0.01 * sigma * (((y - 1.0) / sigma).powi(2) - 1.0)).collect();
        assert!(off(&skew, keep)[2].abs() > SIGMAS, "keep {keep}: a skew passes");
    }
}

/// Products of independent standard normal numbers have variance 1: of 520,000 pairs that have a hundredth part in common 1 % is
/// 7 standard errors.
#[test]
fn noise_is_another_for_each_unit_sample_and_epoch() {
    let normal = |rows: Vec<Vec<f32>>| -> Vec<f64> { rows.concat().into_iter().map(|y| (f64::from(y) - 1.0) / 0.5).collect() };
    let (base, next) = (normal(factors(0.8, false, [2, 5])), normal(factors(0.8, false, [3, 5])));
    let same = normal(factors(0.8, false, [2, 6]));
    assert!(base == same, "the epoch, not the step, is the pass");
    let units = UNITS as usize;
    let pairs: [(&str, Vec<[f64; 2]>); 4] = [
        ("units", base.chunks(2).map(|pair| [pair[0], pair[1]]).collect()),
        ("units four apart", base.chunks(8).flat_map(|c| (0..4).map(|i| [c[i], c[i + 4]])).collect()),
        ("samples", base.chunks(2 * units).flat_map(|rows| (0..units).map(|i| [rows[i], rows[units + i]])).collect()),
        ("epochs", base.iter().zip(&next).map(|(a, b)| [*a, *b]).collect()),
    ];
    for (what, pairs) in pairs {
        let z = mean_off(pairs.iter().map(|[a, b]| a * b), 0.0, 1.0);
        assert!(z.abs() <= SIGMAS, "{what}: {z} standard errors");
        let z = mean_off(pairs.iter().map(|[a, b]| a * (b + 0.02 * a)), 0.0, 1.0);
        assert!(z > SIGMAS, "{what}: noise in common passes, {z} standard errors");
    }
}

#[test]
fn noise_of_a_batch_is_one_for_all_samples_and_another_at_each_step() {
    let rows = factors(0.8, true, [0, 3]);
    assert!(rows.iter().all(|row| *row == rows[0]));
    assert!(factors(0.8, true, [1, 3]) == rows && factors(0.8, true, [0, 4])[0] != rows[0]);
    let [mean, variance, _] = off(&rows[0].iter().map(|&y| f64::from(y)).collect::<Vec<_>>(), 0.8);
    assert!(mean.abs() <= SIGMAS && variance.abs() <= SIGMAS, "{mean} {variance}");
}
