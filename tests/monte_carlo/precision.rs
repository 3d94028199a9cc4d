//! The noise that targets speak for, and single outputs of a regression.

use thinnet::data::Standardization;
use thinnet::monte_carlo::{MonteCarlo, Precision, Predictive};
use thinnet::{Dense, Dropout, Loss, Network};

use super::statistics::regression;
use super::{inputs, loud, small};
use crate::common::{device, numbers};

/// Draws of 40 rows, and targets around their means.
fn drawn() -> (Predictive, Vec<f32>) {
    let options = MonteCarlo { draws: 60, ..MonteCarlo::default() };
    let drawn = regression().monte_carlo(device(), &inputs(40, 5), &options).unwrap();
    let targets = drawn.mean().values().iter().zip(numbers(80, 31)).map(|(mean, off)| mean + 0.8 * off).collect();
    (drawn, targets)
}

fn likelihood(drawn: &Predictive, tau: f64, targets: &[f32]) -> f64 {
    drawn.clone().with_precision(Some(tau)).unwrap().log_likelihood(targets).unwrap()
}

#[test]
fn no_precision_makes_the_targets_more_likely_than_the_fitted_one() {
    let (drawn, targets) = drawn();
    let Precision::At(tau) = drawn.fit_precision(&targets).unwrap() else { panic!("no noise") };
    let best = likelihood(&drawn, tau, &targets);
    for factor in [1e-3, 0.1, 0.5, 0.9, 0.99, 1.01, 1.1, 2.0, 10.0, 1e3] {
        let other = likelihood(&drawn, factor * tau, &targets);
        assert!(other < best, "{factor} * {tau}: {other} is not below {best}");
    }
    // A precision that was given before counts for nothing, and another unit is another precision.
    let given = drawn.clone().with_precision(Some(1e-6)).unwrap();
    assert_eq!(given.fit_precision(&targets).unwrap(), Precision::At(tau));
    let units = Standardization { mean: vec![5.0; 2], deviation: vec![8.0; 2] };
    let scaled: Vec<f32> = targets.iter().map(|target| 8.0 * target + 5.0).collect();
    let Precision::At(of_units) = drawn.in_units(&units).unwrap().fit_precision(&scaled).unwrap() else { panic!("no noise") };
    // Draws and targets of a magnitude below 100 are rounded to 2^-18, of a deviation of about 4: 1e-6 of log tau each, but the
    // search ends where f64 does not tell likelihoods apart, 1e-7.
    assert!((of_units * 64.0 / tau - 1.0).abs() < 1e-4, "{of_units} {tau}");
}

#[test]
fn an_output_alone_is_what_it_is_among_the_others() {
    let (drawn, targets) = drawn();
    let of = |values: &[f32], output: usize| values.iter().skip(output).step_by(2).copied().collect::<Vec<_>>();
    let mut sum = 0.0;
    for output in 0..2 {
        let alone = drawn.only(output).unwrap();
        assert_eq!((alone.outputs(), alone.rows(), alone.draws()), (1, 40, 60));
        assert_eq!(alone.mean().values(), of(drawn.mean().values(), output));
        assert_eq!(alone.std().values(), of(drawn.std().values(), output));
        assert_eq!(alone.quantile(0.9).unwrap().values(), of(drawn.quantile(0.9).unwrap().values(), output));
        assert_eq!(alone.draw(7).unwrap().values(), of(drawn.draw(7).unwrap().values(), output));
        sum += likelihood(&alone, 2.0, &of(&targets, output));
    }
    assert!((sum - likelihood(&drawn, 2.0, &targets)).abs() < 1e-9);
    assert_ne!(drawn.only(0).unwrap().mean(), drawn.only(1).unwrap().mean());
    assert!(drawn.only(2).unwrap_err().to_string().contains("output 2 of 2"));
}

#[test]
fn an_output_alone_keeps_what_the_network_says_of_its_noise() {
    let network = Network::new(5).dense(Dense::new(6)).dropout(Dropout::keep(0.6).unwrap()).dense(Dense::new(4));
    let model = loud(&network.loss(Loss::GaussianNll), 0.7);
    let options = MonteCarlo { draws: 30, ..MonteCarlo::default() };
    let drawn = model.monte_carlo(device(), &inputs(6, 5), &options).unwrap();
    for output in 0..2 {
        let alone = drawn.only(output).unwrap();
        let total: Vec<f32> = drawn.total_std().values().iter().skip(output).step_by(2).copied().collect();
        assert_eq!(alone.total_std().values(), total);
        assert!(alone.std().values().iter().zip(&total).all(|(of_draws, total)| of_draws < total), "there is noise");
    }
    assert!(drawn.fit_precision(&[0.0; 12]).unwrap_err().to_string().contains("says itself"));
}

#[test]
fn what_has_no_noise_and_what_is_no_precision_is_refused() {
    let (drawn, mut targets) = drawn();
    for tau in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(drawn.clone().with_precision(Some(tau)).unwrap_err().to_string().contains("above 0"), "{tau}");
    }
    assert!(drawn.fit_precision(&targets[1..]).is_err());
    targets[3] = f32::NAN;
    assert!(drawn.fit_precision(&targets).unwrap_err().to_string().contains("finite"));
    let model = small(0.5, |dropout| dropout);
    let classes = model.monte_carlo(device(), &inputs(2, 5), &MonteCarlo::default()).unwrap();
    assert!(classes.fit_precision(&[0.0; 6]).is_err() && classes.clone().with_precision(None).is_err());
    assert!(classes.only(0).unwrap_err().to_string().contains("probabilities"));
    // As an option of the draws, too, where it would change nothing.
    let noisy = MonteCarlo { precision: Some(2.0), ..MonteCarlo::default() };
    let refused = |model: &thinnet::Model| model.monte_carlo(device(), &inputs(2, 5), &noisy).unwrap_err().to_string();
    assert!(refused(&model).contains("precision") && refused(&model).contains("probabilities"), "{}", refused(&model));
    let network = Network::new(5).dropout(Dropout::keep(0.6).unwrap()).dense(Dense::new(4)).loss(Loss::GaussianNll);
    assert!(refused(&loud(&network, 0.7)).contains("says itself"));
}
