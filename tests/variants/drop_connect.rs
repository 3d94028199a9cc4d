//! DropConnect (Wan et al., ICML 2013) on the device: whose mask it is, and the mean and the variance of a pre-activation over
//! masks.
//!
//! ```text
//! u = (M * W) v / p    mean W v       variance (1 - p) / p (W * W) (v * v)
//! (M * W) v            mean p W v     variance p (1 - p) (W * W) (v * v)
//! ```

use thinnet::rng::{self, Coordinates, Stream};
use thinnet::{Dense, Dropout, Inputs, Loss, Network};

use super::{Runner, SEED, mean_off};
use crate::common::numbers;
use crate::mask_statistics::SIGMAS;

fn network(keep: f64, inputs: u32, outputs: u32) -> Network {
    Network::new(inputs).dropout(Dropout::drop_connect(keep).unwrap()).dense(Dense::new(outputs)).loss(Loss::MeanSquaredError)
}

/// W = 1 and v = 2^i in row i of a batch of units: the output says which weights of its row are kept.
#[test]
fn the_mask_is_that_of_the_contract_for_the_step_whatever_the_sample_and_the_epoch() {
    let (inputs, outputs, rows) = (12u32, 10u32, 5u32);
    let powers: Vec<f32> = (0..inputs).map(|i| (1 << i) as f32).collect();
    let data = Inputs::from_f32(inputs, powers.repeat(rows as usize)).unwrap();
    let data = data.with_samples((0..rows).map(|row| 40 + row).collect()).unwrap();
    let weights = vec![vec![1.0; (inputs * outputs) as usize], vec![0.0; outputs as usize]];
    let mut runner = Runner::new(&network(0.5, inputs, outputs), weights, &data);
    let mut seen = Vec::new();
    for at in [[0, 0], [0, 1], [7, 1], [1, 4_000_000_000]] {
        let rows = runner.outputs(at);
        assert!(rows.iter().all(|row| *row == rows[0]), "all samples have one mask");
        let contract = |o: u32| -> f32 {
            let at = Coordinates { stream: Stream::BatchMask, site: 0, pass: at[1], sample: 0 };
            let kept = |i: &u32| u64::from(at.word(o * inputs + i, rng::key(SEED))) < 1 << 31;
            (0..inputs).filter(kept).map(|i| 2.0 * (1 << i) as f32).sum()
        };
        assert_eq!(rows[0], (0..outputs).map(contract).collect::<Vec<_>>(), "{at:?}");
        seen.push(rows[0].clone());
    }
    assert!(seen[1] == seen[2] && seen[0] != seen[1] && seen[1] != seen[3], "a mask for each step, and no other for each epoch");
}

/// Pre-activations of so many masks: the outputs of a step have equal rows of W, and masks of their own.
fn pre_activations(keep: f64, w: &[f32], v: &[f32], steps: u32) -> Vec<f64> {
    let outputs = 1024;
    let (columns, data) = (w.len() as u32, Inputs::from_f32(v.len() as u32, v.to_vec()).unwrap());
    let weights = vec![w.repeat(outputs as usize), vec![0.0; outputs as usize]];
    let mut runner = Runner::new(&network(keep, columns, outputs), weights, &data);
    (0..steps).flat_map(|update| runner.outputs([0, update]).swap_remove(0)).map(f64::from).collect()
}

/// 409,600 pre-activations of 64 weights. The variance has a standard error of sqrt(2 / n), 0.22 %: the excess kurtosis of a sum
/// of 64 such products is -0.02. A keep_prob that is 1 % off moves the mean of what is scaled for the right one by 1 %, some 75
/// standard errors; scaled for itself, as a wrong rate in all places would be, it moves the variance by 3.3 % at keep 0.7, 15
/// standard errors.
#[test]
fn the_pre_activation_has_its_mean_and_variance_and_a_rate_1_percent_off_is_noticed() {
    let (keep, steps) = (0.7, 400);
    // All of one sign, so that 1 % of the mean is large against the spread.
    let [w, v] = [11, 12].map(|seed| numbers(64, seed).into_iter().map(|value| 0.75 + 0.25 * value).collect::<Vec<f32>>());
    let products: Vec<f64> = w.iter().zip(&v).map(|(w, v)| f64::from(*w) * f64::from(*v)).collect();
    let (mean, squares) = (products.iter().sum::<f64>(), products.iter().map(|product| product * product).sum::<f64>());
    // How far mean and variance of numbers are from these, in standard errors.
    let off = |found: &[f64], mean: f64, variance: f64| {
        let squares = found.iter().map(|u| (u - mean) * (u - mean));
        [mean_off(found.iter().copied(), mean, variance.sqrt()), mean_off(squares, variance, variance * 2f64.sqrt())]
    };
    let variance = (1.0 - keep) / keep * squares;
    let found = pre_activations(keep, &w, &v, steps);
    let scaled = off(&found, mean, variance);
    let plain: Vec<f64> = found.iter().map(|u| keep * u).collect();
    let unscaled = off(&plain, keep * mean, keep * (1.0 - keep) * squares);
    println!("mean and variance {scaled:.2?}, unscaled {unscaled:.2?} standard errors off");
    assert!(scaled.iter().chain(&unscaled).all(|z| z.abs() <= SIGMAS), "{scaled:?}, unscaled {unscaled:?} standard errors");
    for wrong in [0.99 * keep, 1.01 * keep] {
        let found = pre_activations(wrong, &w, &v, steps);
        let for_right: Vec<f64> = found.iter().map(|u| wrong / keep * u).collect();
        let ([of_mean, _], [_, of_variance]) = (off(&for_right, mean, variance), off(&found, mean, variance));
        println!("{wrong}: mean {of_mean:.2}, variance {of_variance:.2} standard errors off");
        assert!(of_mean.abs() > SIGMAS && of_variance.abs() > SIGMAS, "{wrong}: mean {of_mean}, variance {of_variance} pass");
    }
}
