//! What a sweep says of its rates: the table, the pairs, the pictures.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use thinnet::Epoch;
use thinnet::sweep::{Run, Sweep};

use crate::cli::Failure;
use crate::cli::plot::{self, BLUE, Curve, ORANGE, Picture};

/// Every rate over the seeds that all have been trained with.
pub(super) fn rates(sweep: &Sweep, runs: &[Run]) -> Vec<Rate> {
    sweep.keeps().iter().map(|keep| Rate::of(keep.get(), runs)).collect()
}

/// What validation shows: accuracy in percent, or the loss where no row is right or wrong. NaN where there is none.
fn figure(epoch: &Epoch) -> f64 {
    epoch.valid.map_or(f64::NAN, |valid| valid.accuracy.map_or(valid.loss, |accuracy| 100.0 * accuracy))
}

pub(super) fn is_accuracy(runs: &[Run]) -> bool {
    runs.iter().flat_map(|run| &run.history).any(|epoch| epoch.valid.is_some_and(|valid| valid.accuracy.is_some()))
}

/// A rate over all seeds: the last epoch's figure.
pub(super) struct Rate {
    keep: f64,
    mean: f64,
    /// Standard error of the mean; NaN for a single seed.
    error: f64,
}

fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

/// The last figure of a run; NaN if it diverged.
fn last(run: &Run) -> f64 {
    run.history.last().filter(|_| !run.diverged).map_or(f64::NAN, figure)
}

impl Rate {
    fn of(keep: f64, runs: &[Run]) -> Self {
        let values: Vec<f64> = runs.iter().filter(|run| run.keep == keep).map(last).collect();
        let (mean, error) = mean_and_error(&values);
        Self { keep, mean, error }
    }
}

/// The rates that reach the best mean, the highest accuracy or the lowest loss: several where it is a tie.
fn best_means(rates: &[Rate], accuracy: bool) -> Vec<&Rate> {
    let worth = |rate: &Rate| if accuracy { rate.mean } else { -rate.mean };
    let finite = || rates.iter().filter(|rate| rate.mean.is_finite());
    let most = finite().map(worth).fold(f64::NEG_INFINITY, f64::max);
    finite().filter(|rate| equal(worth(rate), most, most)).collect()
}

/// Among those that reach the best mean the one whose mean is known best, then the one that drops least.
fn best(rates: &[Rate], accuracy: bool) -> Option<&Rate> {
    let tied = best_means(rates, accuracy);
    let error = |rate: &Rate| if rate.error.is_finite() { rate.error } else { 0.0 }; // a single seed has none
    let least = tied.iter().map(|rate| error(rate)).fold(f64::INFINITY, f64::min);
    // Rates ascend.
    tied.into_iter().rev().find(|rate| equal(error(rate), least, rate.mean))
}

/// Whether two figures are one but for what rounding adds to numbers of this scale.
fn equal(a: f64, b: f64, scale: f64) -> bool {
    (a - b).abs() <= 1e-9 * scale.abs()
}

/// What others are compared with: the largest rate that did not diverge, normally 1.
fn densest(rates: &[Rate]) -> Option<&Rate> {
    rates.iter().rev().find(|rate| rate.mean.is_finite())
}

/// The difference between two rates, in pairs of equal seeds.
fn paired(keep: f64, dense: f64, runs: &[Run]) -> (f64, f64) {
    let of = |keep: f64| runs.iter().filter(move |run| run.keep == keep).map(last);
    mean_and_error(&of(keep).zip(of(dense)).map(|(a, b)| a - b).collect::<Vec<_>>())
}

/// One line a rate: what the report prints.
pub(super) fn rates_csv(rates: &[Rate], runs: &[Run]) -> String {
    let mut csv = String::from("keep,mean,standard_error,difference,difference_error\n");
    let number = |value: f64| finite(value).map_or(String::new(), |value| value.to_string());
    for rate in rates {
        let (difference, error) = densest(rates).map_or((f64::NAN, f64::NAN), |dense| paired(rate.keep, dense.keep, runs));
        let figures = [rate.mean, rate.error, difference, error].map(number).join(",");
        writeln!(csv, "{},{figures}", rate.keep).expect("a String takes everything");
    }
    csv
}

pub(super) fn csv(runs: &[Run]) -> String {
    let mut csv = String::from("keep,seed,epoch,train_loss,train_accuracy,valid_loss,valid_accuracy\n");
    for run in runs {
        for epoch in &run.history {
            let [train, valid] = [Some(epoch.running), epoch.valid].map(|metrics| {
                let accuracy = metrics.and_then(|m| m.accuracy).map_or(String::new(), |a| a.to_string());
                format!("{},{accuracy}", metrics.map_or(String::new(), |m| m.loss.to_string()))
            });
            writeln!(csv, "{},{},{},{train},{valid}", run.keep, run.seed, epoch.epoch + 1).expect("a String takes everything");
        }
    }
    csv
}

/// Validation by epoch, the mean over the seeds, one curve for each rate.
pub(super) fn curves(rates: &[Rate], runs: &[Run]) -> Result<String, Failure> {
    let curve = |(i, rate): (usize, &Rate)| {
        let of_rate: Vec<&Run> = runs.iter().filter(|run| run.keep == rate.keep).collect();
        let epochs = of_rate.iter().map(|run| run.history.len()).min().unwrap_or(0);
        let at = |epoch: usize| of_rate.iter().map(|run| figure(&run.history[epoch])).collect::<Vec<_>>();
        let (means, errors): (Vec<f64>, Vec<f64>) = (0..epochs).map(|epoch| mean_and_error(&at(epoch))).unzip();
        Curve {
            name: format!("keep {}", rate.keep),
            color: plot::ordered(i, rates.len()),
            dashed: false,
            points: plot::by_epoch(means),
            band: if errors.iter().all(|e| e.is_finite()) { errors } else { Vec::new() },
        }
    };
    let (title, y) = match is_accuracy(runs) {
        true => ("Validation accuracy at several rates of dropout", "accuracy, %"),
        false => ("Validation loss at several rates of dropout", "loss"),
    };
    plot::svg(&Picture { title, x: "epoch", y, curves: rates.iter().enumerate().map(curve).collect() })
}

/// Validation in the last epoch by keep_prob, with one standard error to either side.
pub(super) fn by_rate(rates: &[Rate], accuracy: bool) -> Result<String, Failure> {
    let errors: Vec<f64> = rates.iter().map(|rate| rate.error).collect();
    let curve = Curve {
        name: "mean over the seeds".into(),
        color: BLUE,
        dashed: false,
        points: rates.iter().map(|rate| (rate.keep, rate.mean)).collect(),
        band: if errors.iter().all(|e| e.is_finite()) { errors } else { Vec::new() },
    };
    let tie = if best_means(rates, accuracy).len() > 1 { ", a tie" } else { "" };
    let mark = best(rates, accuracy).map(|rate| Curve {
        name: format!("best: keep {}{tie}", rate.keep),
        color: ORANGE,
        dashed: false,
        points: vec![(rate.keep, rate.mean)],
        band: Vec::new(),
    });
    let title = "Validation in the last epoch by keep_prob; the band is one standard error";
    let y = if accuracy { "validation accuracy, %" } else { "validation loss" };
    plot::svg(&Picture { title, x: "keep_prob", y, curves: [Some(curve), mark].into_iter().flatten().collect() })
}

/// The table of the rates.
pub(super) fn report(out: &mut impl Write, sweep: &Sweep, place: &Path, json: bool) -> Result<(), Failure> {
    let runs = &sweep.paired();
    let (rates, accuracy) = (&rates(sweep, runs), is_accuracy(runs));
    let (best, tied) = (best(rates, accuracy), best_means(rates, accuracy));
    let ties = |rate: &Rate| tied.len() > 1 && tied.iter().any(|tied| tied.keep == rate.keep);
    // In pairs: each seed's figure against that of the largest rate, normally 1.
    let Some(dense) = densest(rates) else {
        let lr = "use a smaller learning rate, or look for very large values in the data: thinnet preflight";
        return Err(Failure::Other(format!("every rate diverged; {lr}")));
    };
    let pairs = |rate: &Rate| paired(rate.keep, dense.keep, runs);
    if json {
        for rate in rates {
            let (difference, error) = pairs(rate);
            let row = serde_json::json!({
                "keep": rate.keep, "mean": finite(rate.mean), "standard_error": finite(rate.error),
                "difference": finite(difference), "difference_error": finite(error), "best": best.is_some_and(|b| b.keep == rate.keep),
                "tie": ties(rate),
            });
            writeln!(out, "{row}")?;
        }
        return Ok(());
    }
    let unit = if accuracy { "accuracy, %" } else { "loss" };
    writeln!(out, "{:>6}  {:>22}  {:>30}", "keep", format!("validation {unit}"), format!("difference to keep {}", dense.keep))?;
    let number = |mean: f64, error: f64| match (mean.is_finite(), error.is_finite()) {
        (false, _) => "diverged".into(),
        (true, false) => format!("{mean:.3}"),
        (true, true) => format!("{mean:.3} +- {error:.3}"),
    };
    for rate in rates {
        let (difference, error) = pairs(rate);
        let mark = match (best.is_some_and(|b| b.keep == rate.keep), ties(rate)) {
            (true, _) => "  best",
            (false, true) => "  tie",
            (false, false) => "",
        };
        writeln!(out, "{:>6}  {:>22}  {:>30}{mark}", rate.keep, number(rate.mean, rate.error), number(difference, error))?;
    }
    writeln!(out, "\nMeans over the seeds in the last epoch, with standard errors; differences in pairs of equal seeds.")?;
    if tied.len() > 1 {
        let keeps: Vec<String> = tied.iter().map(|rate| rate.keep.to_string()).collect();
        let rule = "best is the one with the smallest standard error and, among equal ones, that which drops least";
        writeln!(out, "It is a tie: keep {} reach the same mean; {rule}.", keeps.join(", "))?;
    }
    writeln!(out, "Written to {}: sweep.csv, rates.csv, curves.svg, rates.svg, config.toml, sweep.json", place.display())?;
    Ok(())
}

/// JSON has no NaN.
fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::{Rate, best, best_means};

    /// The rate that is best, and those that tie, of these by keep_prob, mean and standard error.
    fn judged(rates: &[(f64, f64, f64)], accuracy: bool) -> (Option<f64>, Vec<f64>) {
        let rates: Vec<Rate> = rates.iter().map(|&(keep, mean, error)| Rate { keep, mean, error }).collect();
        let tied = best_means(&rates, accuracy).iter().map(|rate| rate.keep).collect();
        (best(&rates, accuracy).map(|rate| rate.keep), tied)
    }

    #[test]
    fn equal_means_are_a_tie_that_goes_to_the_surer_then_to_the_less_dropped() {
        let nan = f64::NAN;
        assert_eq!(
            judged(&[(0.1, 90.0, 1.9), (0.5, 90.0, 0.0), (0.9, 90.0 + 1e-12, 0.0)], true),
            (Some(0.9), vec![0.1, 0.5, 0.9])
        );
        assert_eq!(judged(&[(0.1, 90.0, 0.2), (0.5, 90.0, 0.3), (1.0, 89.0, 0.0)], true), (Some(0.1), vec![0.1, 0.5]));
        // One seed has no error; what diverged is no rate to choose.
        assert_eq!(judged(&[(0.1, 90.0, nan), (0.5, 90.0, nan), (1.0, nan, nan)], true), (Some(0.5), vec![0.1, 0.5]));
        assert_eq!(judged(&[(0.1, 0.3, 0.1), (0.5, 0.2, 0.1), (1.0, 0.4, 0.0)], false), (Some(0.5), vec![0.5]));
        assert_eq!(judged(&[(0.5, nan, nan)], false), (None, vec![]));
    }
}
