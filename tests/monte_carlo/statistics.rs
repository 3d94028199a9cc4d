//! The figures of a call against f64 computations from all of its draws.

use thinnet::data::Standardization;
use thinnet::monte_carlo::{MonteCarlo, Predictive, Sampling};
use thinnet::{Activation, Dense, Dropout, Loss, Model, Network};

use super::{inputs, loud, small};
use crate::common::device;

/// What all draws of a row say, draw by draw.
fn draws(predictive: &Predictive, row: usize) -> Vec<Vec<f64>> {
    let draw = |draw| predictive.draw(draw).unwrap().row(row).iter().map(|&value| f64::from(value)).collect();
    (0..predictive.draws()).map(draw).collect()
}

fn entropy(p: &[f64]) -> f64 {
    p.iter().map(|&p| if p > 0.0 { -p * p.ln() } else { 0.0 }).sum()
}

/// Entropies of independent outputs.
fn binary(p: &[f64]) -> f64 {
    p.iter().map(|&p| entropy(&[p, 1.0 - p])).sum()
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.collect();
    values.iter().sum::<f64>() / values.len() as f64
}

#[track_caller]
fn close(what: &str, a: f64, b: f64, by: f64) {
    assert!((a - b).abs() <= by, "{what}: {a} instead of {b}");
}

fn check(model: &Model, options: &MonteCarlo, entropy: fn(&[f64]) -> f64) {
    let predictive = model.monte_carlo(device(), &inputs(11, 5), &MonteCarlo { keep_draws: true, ..options.clone() }).unwrap();
    let t = f64::from(options.draws);
    for row in 0..11 {
        let draws = draws(&predictive, row);
        let of = |c: usize| draws.iter().map(move |draw| draw[c]);
        let means: Vec<f64> = (0..predictive.outputs()).map(|c| mean(of(c))).collect();
        for (c, &m) in means.iter().enumerate() {
            let variance = of(c).map(|x| (x - m) * (x - m)).sum::<f64>() / (t - 1.0);
            close("mean", predictive.mean().row(row)[c].into(), m, 1e-6);
            close("std", predictive.std().row(row)[c].into(), variance.sqrt(), 1e-5);
            let pairs: Vec<f64> = draws.chunks(2).map(|pair| (pair[0][c] + pair[1][c]) / 2.0).collect();
            let of_pairs = pairs.iter().map(|x| (x - m) * (x - m)).sum::<f64>() / (t / 2.0 - 1.0) / (t / 2.0);
            let error = if options.sampling == Sampling::Antithetic { of_pairs } else { variance / t };
            close("standard error", predictive.standard_error().row(row)[c].into(), error.sqrt(), 1e-5);
        }
        let (all, each) = (entropy(&means), mean(draws.iter().map(|draw| entropy(draw))));
        // A sum of exponentials and logarithms in f32.
        close("predictive entropy", predictive.predictive_entropy()[row], all, 1e-5);
        close("expected entropy", predictive.expected_entropy()[row], each, 1e-5);
        close("mutual information", predictive.mutual_information()[row], all - each, 2e-5);
    }
    assert!(predictive.mutual_information().iter().any(|&information| information > 0.05), "draws disagree");
}

#[test]
fn moments_and_entropies_are_those_of_the_draws() {
    let options = MonteCarlo { draws: 200, ..MonteCarlo::default() };
    let classes = small(0.5, |dropout| dropout);
    check(&classes, &options, entropy);
    check(&classes, &MonteCarlo { sampling: Sampling::Antithetic, batch: Some(64), ..options.clone() }, entropy);
    let outputs = Model::new(classes.network().clone().loss(Loss::BinaryCrossEntropy), classes.weights().to_vec()).unwrap();
    check(&outputs, &options, binary);
}

#[test]
fn the_variation_ratio_counts_votes() {
    let classes = small(0.5, |dropout| dropout);
    let outputs = Model::new(classes.network().clone().loss(Loss::BinaryCrossEntropy), classes.weights().to_vec()).unwrap();
    let options = MonteCarlo { keep_draws: true, batch: Some(64), ..MonteCarlo::default() };
    let [classes, outputs] = [classes, outputs].map(|model| model.monte_carlo(device(), &inputs(11, 5), &options).unwrap());
    for row in 0..11 {
        let votes = draws(&classes, row).iter().fold([0u32; 3], |mut votes, p| {
            votes[(0..3).fold(0, |best, c| if p[c] > p[best] { c } else { best })] += 1;
            votes
        });
        let expected = 1.0 - f64::from(*votes.iter().max().unwrap()) / 100.0;
        close("variation ratio", classes.variation_ratio()[row], expected, 1e-7);
        let over: Vec<f64> = (0..3).map(|c| mean(draws(&outputs, row).iter().map(|p| f64::from(p[c] > 0.5)))).collect();
        let expected = over.iter().map(|p| p.min(1.0 - p)).sum::<f64>() / 3.0;
        close("variation ratio of outputs", outputs.variation_ratio()[row], expected, 1e-7);
    }
    assert!(classes.variation_ratio().iter().any(|&ratio| ratio > 0.0));
}

pub(super) fn regression() -> Model {
    let network = Network::new(5)
        .dense(Dense::new(16).activation(Activation::Relu))
        .dropout(Dropout::keep(0.8).unwrap())
        .dense(Dense::new(2))
        .loss(Loss::MeanSquaredError);
    loud(&network, 0.5)
}

#[test]
fn a_regression_has_quantiles_likelihoods_and_no_classes() {
    let (model, rows) = (regression(), inputs(4, 5));
    let options = MonteCarlo { draws: 1000, ..MonteCarlo::default() };
    let exact = model.monte_carlo(device(), &rows, &options).unwrap();
    assert!(exact.is_exact() && !exact.is_probability() && exact.draw(999).is_some(), "1000 draws of 4 rows are stored");
    let noisy = model.monte_carlo(device(), &rows, &MonteCarlo { precision: Some(4.0), ..options }).unwrap();
    let [low, high] = exact.interval(0.9).unwrap();
    let targets: Vec<f32> = exact.mean().values().iter().map(|mean| mean + 0.1).collect();
    let mut likelihood = 0.0;
    for row in 0..4 {
        let draws = draws(&exact, row);
        for output in 0..2 {
            let mut sorted: Vec<f64> = draws.iter().map(|draw| draw[output]).collect();
            sorted.sort_by(f64::total_cmp);
            // 5 % of 999 gaps between 1000 draws: between draws 49 and 50.
            let [low, high] = [&low, &high].map(|end| f64::from(end.row(row)[output]));
            assert!(sorted[49] <= low && low <= sorted[50] && sorted[949] <= high && high <= sorted[950]);
            let total = exact.std().row(row)[output].hypot(0.5);
            close("total std", noisy.total_std().row(row)[output].into(), total.into(), 1e-5);
            let target = f64::from(targets[2 * row + output]);
            let density = mean(
                draws.iter().map(|draw| (-2.0 * (target - draw[output]).powi(2)).exp() * (2.0 / std::f64::consts::PI).sqrt()),
            );
            likelihood += density.ln() / 4.0;
            // With noise of deviation 0.5 around each draw half of the mass is below the median.
            let median = f64::from(noisy.quantile(0.5).unwrap().row(row)[output]);
            let below = mean(draws.iter().map(|draw| 0.5 * libm_erfc((draw[output] - median) * 2.0 / 2f64.sqrt())));
            close("mass below the median", below, 0.5, 1e-5);
        }
    }
    close("log likelihood", noisy.log_likelihood(&targets).unwrap(), likelihood, 1e-5);
    assert!(exact.log_likelihood(&targets).unwrap_err().to_string().contains("precision"));
    assert!(noisy.log_likelihood(&targets[1..]).is_err() && exact.quantile(1.0).is_err() && exact.interval(0.0).is_err());
}

#[test]
fn a_network_that_knows_its_noise_needs_no_precision() {
    let network = Network::new(5)
        .dense(Dense::new(16).activation(Activation::Relu))
        .dropout(Dropout::keep(0.8).unwrap())
        .dense(Dense::new(4))
        .loss(Loss::GaussianNll);
    let (model, options) = (loud(&network, 0.5), MonteCarlo { draws: 100, ..MonteCarlo::default() });
    let drawn = model.monte_carlo(device(), &inputs(3, 5), &options).unwrap();
    assert_eq!((drawn.outputs(), drawn.is_probability(), drawn.is_exact()), (2, false, true));
    // Each thinned network says mean and deviation; the variances of both kinds add up.
    let thinned = |row: u32, draw: u32| model.thinned(&options, draw, row).unwrap().predict(device(), &inputs(3, 5)).unwrap();
    let (mut likelihood, targets) = (0.0, [0.3f32, -0.2, 0.1, 0.4, 0.0, 1.0]);
    for row in 0..3 {
        let parts: Vec<Vec<f64>> =
            (0..100).map(|draw| thinned(row, draw).row(row as usize).iter().map(|&v| f64::from(v)).collect()).collect();
        for output in 0..2 {
            let m = mean(parts.iter().map(|part| part[output]));
            let spread = parts.iter().map(|part| (part[output] - m).powi(2)).sum::<f64>() / 99.0;
            let noise = mean(parts.iter().map(|part| part[2 + output].powi(2)));
            let row = row as usize;
            close("mean", drawn.mean().row(row)[output].into(), m, 1e-5);
            close("total std", drawn.total_std().row(row)[output].into(), (spread + noise).sqrt(), 1e-5);
            let target = f64::from(targets[2 * row + output]);
            let density = |part: &Vec<f64>| {
                let z = (target - part[output]) / part[2 + output];
                (-0.5 * z * z).exp() / (part[2 + output] * (2.0 * std::f64::consts::PI).sqrt())
            };
            likelihood += mean(parts.iter().map(density)).ln() / 3.0;
        }
    }
    close("log likelihood", drawn.log_likelihood(&targets).unwrap(), likelihood, 1e-4);
    // 2^16 masks of 16 units: the means alone, in as many columns.
    let exact = model.average_over_masks(device(), &inputs(3, 5)).unwrap();
    let errors = drawn.standard_error();
    for ((exact, mean), error) in exact.values().iter().zip(drawn.mean().values()).zip(errors.values()) {
        assert!((exact - mean).abs() < 5.0 * error, "{exact}, drawn {mean}");
    }
    assert_eq!(exact.values().len(), 6);
}

#[test]
fn units_of_the_targets_move_means_and_scale_deviations() {
    let units = Standardization { mean: vec![100.0, -3.0], deviation: vec![20.0, 0.5] };
    let options = MonteCarlo { draws: 50, ..MonteCarlo::default() };
    let drawn = regression().monte_carlo(device(), &inputs(4, 5), &options).unwrap();
    let scaled = drawn.clone().in_units(&units).unwrap();
    for (row, output) in (0..4).flat_map(|row| [(row, 0), (row, 1)]) {
        let (mean, deviation) = (units.mean[output], units.deviation[output]);
        let at = |outputs: thinnet::Outputs| f64::from(outputs.row(row)[output]);
        close("mean", at(scaled.mean()), at(drawn.mean()) * deviation + mean, 1e-4);
        close("std", at(scaled.std()), at(drawn.std()) * deviation, 1e-4);
        close("quantile", at(scaled.quantile(0.9).unwrap()), at(drawn.quantile(0.9).unwrap()) * deviation + mean, 1e-4);
    }
    assert!(drawn.in_units(&Standardization { mean: vec![0.0], deviation: vec![1.0] }).is_err());
}

/// erfc by its integral, Simpson's rule on 4000 intervals.
fn libm_erfc(z: f64) -> f64 {
    let (n, end) = (4000, 8.0f64.max(z + 1.0));
    let h = (end - z) / f64::from(n);
    let f = |i: i32| (-(z + h * f64::from(i)).powi(2)).exp();
    let sum: f64 = (0..n / 2).map(|i| f(2 * i) + 4.0 * f(2 * i + 1) + f(2 * i + 2)).sum();
    sum * h / 3.0 * 2.0 / std::f64::consts::PI.sqrt()
}

#[test]
fn a_hundred_thousand_draws_lose_no_digits() {
    // A mean far from 0 with a small spread: what naive sums of squares in f32 lose.
    let network = Network::new(5)
        .dense(Dense::new(4))
        .dropout(Dropout::keep(0.5).unwrap())
        .dense(Dense::new(1))
        .loss(Loss::MeanSquaredError);
    let weights = vec![vec![0.0; 20], vec![0.01; 4], vec![1.0; 4], vec![1000.0]];
    let model = Model::new(network, weights).unwrap();
    for batch in [None, Some(512)] {
        let options = MonteCarlo { draws: 100_000, batch, ..MonteCarlo::default() };
        let drawn = model.monte_carlo(device(), &inputs(1, 5), &options).unwrap();
        // The sum of four units of 0.02 at keep 0.5: mean 0.04, standard deviation 0.02. The numbers are rounded to 2^-14 = 6e-5.
        let (mean, std) = (f64::from(drawn.mean().row(0)[0]), f64::from(drawn.std().row(0)[0]));
        close("mean", mean, 1000.04, 6e-5 + 5.0 * 0.02 / 1e5f64.sqrt());
        close("std", std, 0.02, 0.02 * 0.015);
    }
}
