//! Whether masks are what dropout needs, of whatever framework they are: units kept independently, each with keep_prob.
//!
//! ```text
//! values  kept units all hold one number: 1, or 1/keep_prob
//! rate    the share of units that are kept is keep_prob
//! rows    the numbers of units that rows keep vary as they do where units are independent
//! units   no unit is kept more or less often than the others
//! pairs   no two rows agree more, or less, than by chance
//! lags    places any number of units and rows apart are kept independently
//! ```
//!
//! The masks are rows of units: what is drawn at one time for one sample is a row. Dropout of ones is its own mask: in PyTorch
//! `numpy.save("masks.npy", torch.nn.functional.dropout(torch.ones(1000, 512), 0.1).numpy())`, and `thinnet audit masks.npy --keep 0.9`.
//! A sequence of training steps, all ranks of a data-parallel training, or a forward pass and its recomputation (which has to be the
//! *same*, so that here it fails) are rows one below the other. Dropout that is not independent on purpose fails as well: of channels dropped
//! whole, audit one place of each; antithetic draws are the opposite of each other.
//!
//! A check fails where what it found has a probability of less than [`LEVEL`] in masks that are as they should be. What passes may have
//! faults that none of these looks for (units that depend on each other by threes, say), or that are too small to be seen in so many
//! units: `rate` says what would pass.
//!
//! ```
//! use thinnet::audit::audit;
//!
//! // Sixteen units, and every row is the one before.
//! let row = [1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0];
//! let checks = audit(16, &row.repeat(100), Some(0.5))?;
//! let failed: Vec<_> = checks.iter().filter(|check| check.failed()).map(|check| check.name).collect();
//! assert_eq!(failed, ["rows", "units", "lags"]);
//! # Ok::<(), thinnet::Error>(())
//! ```

use crate::preflight::Check;
use crate::{Error, KeepProb, Result};

mod bits;
mod counts;
mod lags;
mod pairs;
mod statistics;

use bits::Bits;
use statistics::{binomial, passing};

/// The probability below which a check fails.
pub const LEVEL: f64 = 1e-6;

/// How far from 1 or 1/keep_prob a kept unit may be: half a step of bfloat16, 2^-9, and a little.
const ROUNDING: f64 = 2.1e-3;

/// Looks at masks: rows of `units` values, 0 where a unit is dropped. `keep_prob` is what was asked for, if it is known.
///
/// # Errors
/// [`Error::Data`] if there is no unit or no row, the last row is incomplete, or a value is not finite;
/// [`Error::KeepProb`](crate::Error) for no probability. What a check finds is no error.
pub fn audit(units: u32, values: &[f32], keep_prob: Option<f64>) -> Result<Vec<Check>> {
    let keep_prob = keep_prob.map(|p| KeepProb::new(p).map(|_| p)).transpose()?;
    if units == 0 || values.is_empty() || !values.len().is_multiple_of(units as usize) {
        return Err(Error::Data(format!("{} values are no rows of {units} units; give at least one whole row", values.len())));
    }
    if let Some(place) = values.iter().position(|value| !value.is_finite()) {
        let (row, unit) = (place / units as usize, place % units as usize);
        let value = values[place];
        return Err(Error::Data(format!(
            "row {row}, unit {unit} of the masks is {value}; a mask has finite values, 0 where it drops"
        )));
    }
    let (kept, count) = (values.iter().filter(|&&value| value != 0.0).count() as u64, values.len() as u64);
    let first = one_value(values, keep_prob);
    // What drops (or keeps) nothing is no pattern.
    if kept == 0 || kept == count {
        let why = if kept == 0 { "every unit is dropped" } else { "every unit is kept" };
        let others = ["rows", "units", "pairs", "lags"].map(|name| Check::skipped(name, why));
        return Ok([first, rate(kept, count, keep_prob, 1.0)].into_iter().chain(others).collect());
    }
    let bits = Bits::rarer(units as usize, values, 2 * kept > count);
    let ((units, units_vary), (rows, rows_vary)) = (counts::units(&bits), counts::rows(&bits));
    // Where units are found to be dropped together, or rows to be alike, there is that much less to tell the rate from.
    let varies = |check: &Check, ratio: f64| if check.failed() { ratio.max(1.0) } else { 1.0 };
    let rate = rate(kept, count, keep_prob, varies(&units, units_vary) * varies(&rows, rows_vary));
    let pairs = pairs::pairs(&bits);
    let lags = lags::lags(&bits, [&rows, &units, &pairs].into_iter().any(Check::failed));
    Ok(vec![first, rate, rows, units, pairs, lags])
}

/// A check that fails below [`LEVEL`].
fn judged(name: &'static str, found: &str, p: f64, advice: impl Into<String>) -> Check {
    let p_value = match p {
        0.01.. => format!("p = {p:.2}"),
        1e-300.. => format!("p = {p:.0e}"),
        _ => "p < 1e-300".into(),
    };
    Check::new(name, format!("{found}; {p_value}"), p < LEVEL, advice)
}

/// Kept units hold 1, or all the same that is 1/keep_prob.
fn one_value(values: &[f32], keep_prob: Option<f64>) -> Check {
    let kept = || values.iter().copied().filter(|&value| value != 0.0);
    let [low, high] = [kept().fold(f32::INFINITY, f32::min), kept().fold(f32::NEG_INFINITY, f32::max)];
    if low > high {
        return Check::skipped("values", "every unit is dropped");
    }
    let near = |value: f32, other: f64| (f64::from(value) / other - 1.0).abs() <= ROUNDING;
    if low < 0.0 || !near(high, low.into()) {
        let advice = "these are no masks and no dropout of ones: audit what dropout makes of an array of ones";
        return Check::new("values", format!("kept units hold {low} to {high}"), true, advice);
    }
    let Some(scale) = keep_prob.map(|p| 1.0 / p) else {
        return Check::new("values", format!("kept units hold {low}"), false, "");
    };
    if near(low, 1.0) && !near(low, scale) {
        let found =
            format!("kept units hold {low}, not 1/keep_prob: right for a mask, wrong for what inverted dropout makes of ones");
        return Check::new("values", found, false, "");
    }
    let advice = "the mean of the units changes with dropout: scale by 1/keep_prob, or by 1 in vanilla dropout";
    Check::new("values", format!("kept units hold {low}; 1/keep_prob is {scale:.6}"), !near(low, scale), advice)
}

/// The share that is kept. `varies` times as many units are needed as of independent ones, for the same certainty.
fn rate(kept: u64, count: u64, keep_prob: Option<f64>, varies: f64) -> Check {
    let share = kept as f64 / count as f64;
    let Some(p) = keep_prob else {
        return Check::skipped("rate", &format!("{share:.6} of {count} are kept, and --keep does not say how many should be"));
    };
    let [independent, of_them] = [count, kept].map(|units| (units as f64 / varies).round() as u64);
    let probability = |p| binomial(of_them, independent, p);
    let [low, high] = passing(independent, p, LEVEL);
    let found = format!("{share:.6} of {count} are kept, {p} is asked for; {low:.6} to {high:.6} would pass");
    let bytes = (share * 256.0).round();
    let advice = if probability(bytes / 256.0) > 0.01 && (p * 256.0 - bytes).abs() < 1.0 {
        format!("it is {bytes}/256, as of a threshold of 8 bits: compare a random number of 32 bits with keep_prob * 2^32")
    } else {
        "see how the threshold is made, and that no unit is dropped twice: what is kept is scaled as if the rate were right"
            .into()
    };
    judged("rate", &found, probability(p), advice)
}
