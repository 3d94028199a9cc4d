//! Figures of certainty: against sums by hand, brute force and grids, and that bad numbers are refused.

use thinnet::calibration::{FLOOR, Logits, Probabilities, Reliability};
use thinnet::data::Inputs;
use thinnet::rng::uniform;
use thinnet::{Dense, Device, Error, Loss, Model, Network};

use crate::common::words;

/// Scores of rows: referral and separation.
mod scores;
/// One temperature for all rows.
mod temperature;

/// Uniform numbers in (0, 1).
pub(crate) fn uniforms(n: usize, seed: u64) -> Vec<f64> {
    words(n, seed).into_iter().map(uniform).collect()
}

/// Rows of logits in (-spread, spread).
pub(crate) fn logits(rows: usize, classes: usize, spread: f64, seed: u64) -> Vec<f64> {
    uniforms(rows * classes, seed).into_iter().map(|u| spread * (2.0 * u - 1.0)).collect()
}

/// Labels that the probabilities are true of.
pub(crate) fn drawn(said: &Probabilities, seed: u64) -> Vec<u32> {
    let draw = |(row, u): (usize, f64)| {
        let mut below = 0.0;
        let class = said.row(row).iter().position(|p| {
            below += p;
            u < below
        });
        class.unwrap_or(said.classes() - 1) as u32
    };
    uniforms(said.rows(), seed).into_iter().enumerate().map(draw).collect()
}

#[track_caller]
pub(crate) fn refused<T>(result: Result<T, Error>, parts: &[&str]) {
    let Err(error) = result else { panic!("not refused; expected {parts:?}") };
    let message = error.to_string();
    assert!(parts.iter().all(|part| message.contains(part)), "{message:?} lacks one of {parts:?}");
}

#[track_caller]
pub(crate) fn close(got: f64, want: f64) {
    assert!((got - want).abs() <= 1e-12 * want.abs().max(1.0), "{got} is not {want}");
}

fn said(values: &[f64]) -> Probabilities {
    Probabilities::new(3, values.to_vec()).unwrap()
}

#[test]
fn scores_are_those_of_a_sum_by_hand() {
    let said = said(&[0.7, 0.2, 0.1, 0.1, 0.5, 0.4, 0.25, 0.25, 0.5]);
    let labels = [0, 2, 2];
    assert_eq!((said.answers(), said.right(&labels).unwrap()), (vec![0, 1, 2], vec![true, false, true]));
    close(said.accuracy(&labels).unwrap(), 2.0 / 3.0);
    close(said.nll(&labels).unwrap(), -(0.7f64 * 0.4 * 0.5).ln() / 3.0);
    // (.09 + .04 + .01) + (.01 + .25 + .36) + (.0625 + .0625 + .25)
    close(said.brier(&labels).unwrap(), (0.14 + 0.62 + 0.375) / 3.0);
    close(said.entropy()[2], 1.5 * 2f64.ln());
    close(said.doubt()[0], 0.3);
    // Another order of the rows changes nothing, other labels do.
    assert_ne!(said.nll(&[0, 1, 2]).unwrap(), said.nll(&labels).unwrap());
}

#[test]
fn a_single_row_all_right_and_all_wrong() {
    let sure = Probabilities::new(2, vec![1.0, 0.0]).unwrap();
    let figures = |label: u32| {
        let labels = [label];
        let ece = Reliability::of(&sure, &labels, 15).unwrap().ece();
        (sure.accuracy(&labels).unwrap(), sure.nll(&labels).unwrap(), sure.brier(&labels).unwrap(), ece)
    };
    assert_eq!(figures(0), (1.0, 0.0, 0.0, 0.0));
    // Probability 0 counts as 2^-126.
    let (accuracy, nll, brier, ece) = figures(1);
    assert_eq!((accuracy, brier, ece), (0.0, 2.0, 1.0));
    close(nll, 126.0 * 2f64.ln());
    assert_eq!((FLOOR, sure.entropy(), sure.doubt()), (2f64.powi(-126), vec![0.0], vec![0.0]));
    // Of equal probabilities the first is the answer, as in `Outputs::labels`.
    let uniform = Probabilities::new(4, vec![0.25; 8]).unwrap();
    assert_eq!(uniform.answers(), [0, 0]);
    close(uniform.entropy()[1], 4f64.ln());
}

#[test]
fn bins_include_their_upper_end_and_add_up_to_the_error() {
    let said = Probabilities::new(2, vec![0.75, 0.25, 0.25, 0.75, 0.8, 0.2, 0.5, 0.5, 1.0, 0.0]).unwrap();
    let reliability = Reliability::of(&said, &[0, 0, 0, 0, 0], 4).unwrap();
    let counts: Vec<usize> = reliability.bins.iter().map(|bin| bin.count).collect();
    assert_eq!(counts, [0, 1, 2, 2]); // .5 | .75 .75 | .8 1
    let [empty, _, third, last] = reliability.bins[..] else { panic!() };
    assert!(empty.accuracy.is_nan() && empty.confidence.is_nan() && (empty.low, empty.high) == (0.0, 0.25));
    assert_eq!((third.confidence, third.accuracy), (0.75, 0.5));
    assert_eq!((last.confidence, last.accuracy), (0.9, 1.0));
    close(reliability.ece(), (1.0 * 0.5 + 2.0 * 0.25 + 2.0 * 0.1) / 5.0);
    refused(Reliability::of(&said, &[0; 5], 0), &["bins", "0", "15"]);
}

/// Where labels are drawn from the probabilities, a bin's sum of hits is off by sqrt(sum p (1 - p)), and by 5 of these less often
/// than once in a million.
#[test]
fn probabilities_that_are_true_have_a_small_error_and_exaggerated_ones_a_large_one() {
    let z = Logits::new(5, logits(20_000, 5, 3.0, 1)).unwrap();
    let said = z.probabilities(1.0).unwrap();
    let labels = drawn(&said, 2);
    let mut variances = [0.0; 15];
    said.confidence().iter().for_each(|p| variances[((p * 15.0).ceil() as usize).max(1) - 1] += p * (1.0 - p));
    let bound = 5.0 * variances.iter().map(|v| v.sqrt()).sum::<f64>() / 20_000.0;
    let ece = |said: &Probabilities| Reliability::of(said, &labels, 15).unwrap().ece();
    assert!(bound < 0.06 && ece(&said) < bound, "{} of {bound}", ece(&said));
    let exaggerated = z.probabilities(1.0 / 3.0).unwrap();
    assert!(ece(&exaggerated) > 2.0 * bound, "{} of {bound}", ece(&exaggerated));
    assert_eq!(exaggerated.accuracy(&labels).unwrap(), said.accuracy(&labels).unwrap());
    // Proper scores prefer the truth to exaggeration and to understatement.
    for other in [1.0 / 3.0, 3.0].map(|t| z.probabilities(t).unwrap()) {
        assert!(other.nll(&labels).unwrap() > said.nll(&labels).unwrap());
        assert!(other.brier(&labels).unwrap() > said.brier(&labels).unwrap());
    }
}

/// A network that puts out its inputs.
fn echo(columns: u32, loss: Loss) -> Model {
    let identity = (0..columns * columns).map(|i| f32::from(u8::from(i % (columns + 1) == 0))).collect();
    Model::new(Network::new(columns).loss(loss).dense(Dense::new(columns)), vec![identity, vec![0.0; columns as usize]]).unwrap()
}

#[test]
fn the_outputs_of_a_model_are_taken_as_they_are() {
    let device = Device::cpu();
    let inputs = |columns, values: &[f32]| Inputs::from_f32(columns, values.to_vec()).unwrap();
    let (model, three) = (echo(3, Loss::SoftmaxCrossEntropy), inputs(3, &[1.0, 2.0, 0.5, -40.0, 60.0, 0.0]));
    let z = Logits::from_outputs(&model.logits(&device, &three).unwrap()).unwrap();
    assert_eq!(z, Logits::new(3, vec![1.0, 2.0, 0.5, -40.0, 60.0, 0.0]).unwrap());
    let (exact, rounded) = (z.probabilities(1.0).unwrap(), model.predict(&device, &three).unwrap());
    let rounded = Probabilities::from_outputs(&rounded).unwrap();
    for (exact, rounded) in exact.row(0).iter().zip(rounded.row(0)) {
        assert!((exact - rounded).abs() <= 2f64.powi(-22), "rounded to f32, and divided by a sum of three such");
    }
    // One output tells two classes apart.
    let (model, one) = (echo(1, Loss::BinaryCrossEntropy), inputs(1, &[0.0, 2.0, -200.0]));
    let said = Probabilities::from_outputs(&model.predict(&device, &one).unwrap()).unwrap();
    let z = Logits::from_outputs(&model.logits(&device, &one).unwrap()).unwrap().probabilities(1.0).unwrap();
    assert_eq!((said.answers(), z.answers(), said.classes()), (vec![0, 1, 0], vec![0, 1, 0], 2));
    assert!((z.row(1)[1] - 1.0 / (1.0 + (-2f64).exp())).abs() < 1e-15 && (said.row(1)[1] - z.row(1)[1]).abs() < 1e-7);
    // A sigmoid each is no distribution over classes.
    let model = echo(3, Loss::BinaryCrossEntropy);
    refused(Probabilities::from_outputs(&model.predict(&device, &three).unwrap()), &["row 0", "add up to", "softmax"]);
}

#[test]
fn what_is_no_probability_is_refused_with_its_place() {
    let with = |values: &[f64]| Probabilities::new(2, values.to_vec());
    refused(with(&[0.5, 0.5, f64::NAN, 1.0]), &["row 1", "class 0", "NaN"]);
    refused(with(&[0.5, f64::INFINITY]), &["row 0", "class 1", "inf"]);
    refused(with(&[1.5, -0.5]), &["row 0", "class 1", "-0.5"]);
    refused(with(&[0.5, 0.25]), &["row 0", "0.75", "add up to 1"]);
    refused(with(&[0.5, 0.5, 1.0]), &["3 probabilities", "2 classes"]);
    refused(with(&[]), &["at least one row"]);
    refused(Probabilities::new(1, vec![1.0]), &["1 classes", "1 - p and p"]);
    refused(Logits::new(2, vec![0.0, f64::NAN]), &["row 0", "class 1", "NaN"]);
    refused(Logits::new(2, vec![f64::NEG_INFINITY, 0.0]), &["row 0", "-inf"]);
    let fine = with(&[0.5, 0.5, 0.2, 0.8]).unwrap();
    refused(fine.nll(&[0]), &["1 labels", "2 rows"]);
    refused(fine.accuracy(&[0, 2]), &["row 1", "label 2", "2 classes"]);
    refused(fine.brier(&[2, 0]), &["row 0"]);
    refused(Reliability::of(&fine, &[0], 15), &["1 labels"]);
    // f16 rounds the sum of a row by less than 2^-10.
    close(with(&[0.5003, 0.5]).unwrap().row(0).iter().sum(), 1.0);
}

#[test]
fn errors_and_intervals_of_numbers_are_those_of_a_sum_by_hand() {
    use thinnet::calibration::{covered, gaussian_log_likelihood, rmse};
    close(rmse(&[1.0, 2.0], &[1.0, 4.0]).unwrap(), 2f64.sqrt());
    assert_eq!(covered(&[1.0, 2.0, 3.0, 4.0], &[1.0, 2.5, 0.0, 4.0], &[1.0, 3.0, 3.0, 4.0]).unwrap(), 0.75);
    let normal = |t: f64, m: f64, s: f64| gaussian_log_likelihood(&[t], &[m], &[s]).unwrap();
    // ln of the density of N(0, 1) at 0 and at 2, and of N(1, 0.5^2) at 1.
    close(normal(0.0, 0.0, 1.0), -0.918_938_533_204_672_7);
    close(normal(2.0, 0.0, 1.0), -2.918_938_533_204_672_7);
    close(normal(1.0, 1.0, 0.5), -0.918_938_533_204_672_7 + 2f64.ln());
    close(gaussian_log_likelihood(&[0.0, 2.0], &[0.0; 2], &[1.0; 2]).unwrap(), -1.918_938_533_204_672_7);
    refused(rmse(&[], &[]), &["no answers"]);
    refused(rmse(&[1.0], &[f64::NAN]), &["targets", "row 0", "NaN"]);
    refused(rmse(&[1.0, 2.0], &[1.0]), &["1 targets", "2 answers"]);
    refused(covered(&[0.0], &[1.0], &[-1.0]), &["row 0", "from 1 to -1"]);
    refused(gaussian_log_likelihood(&[0.0, 0.0], &[0.0, 0.0], &[1.0, 0.0]), &["row 1", "deviation 0"]);
}

#[test]
fn temperatures_that_are_none_are_refused() {
    let z = Logits::new(2, vec![0.0, 1.0]).unwrap();
    for temperature in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        refused(z.probabilities(temperature), &["temperature", "above 0"]);
    }
    refused(z.fit_temperature(&[2]), &["row 0", "label 2"]);
    refused(z.fit_temperature(&[0, 1]), &["2 labels", "1 rows"]);
}
