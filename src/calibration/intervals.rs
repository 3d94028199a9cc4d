//! Numbers instead of classes: how far off, how likely, how often inside an interval.

use super::check_scores;
use crate::{Error, Result};

/// The root of the mean square `sqrt(1/n sum_i (answer_i - target_i)^2)`, in the unit of the targets.
///
/// # Errors
/// [`Error::Data`] for no numbers, lists of different lengths, or a NaN.
pub fn rmse(answers: &[f64], targets: &[f64]) -> Result<f64> {
    check_pairs(&[("answers", answers), ("targets", targets)])?;
    let squares: f64 = answers.iter().zip(targets).map(|(a, t)| (a - t) * (a - t)).sum();
    Ok((squares / targets.len() as f64).sqrt())
}

/// Share of targets inside `low_i ..= high_i`: for intervals that say 90 %, it should be 0.9.
///
/// # Errors
/// [`Error::Data`] for no numbers, lists of different lengths, a NaN, or an interval that ends below its start.
pub fn covered(targets: &[f64], low: &[f64], high: &[f64]) -> Result<f64> {
    check_pairs(&[("targets", targets), ("lower ends", low), ("upper ends", high)])?;
    if let Some(row) = (0..low.len()).find(|&row| low[row] > high[row]) {
        let (low, high) = (low[row], high[row]);
        return Err(Error::Data(format!("the interval of row {row} goes from {low} to {high}; give the smaller end first")));
    }
    let inside = (0..targets.len()).filter(|&row| (low[row]..=high[row]).contains(&targets[row])).count();
    Ok(inside as f64 / targets.len() as f64)
}

/// The mean log-likelihood of the targets under a normal distribution for each,
/// `1/n sum_i -1/2 ln(2 pi s_i^2) - (target_i - mean_i)^2 / (2 s_i^2)`, in nats and for targets in their own unit: in another
/// unit it is another number. Larger is better.
///
/// # Errors
/// [`Error::Data`] for no numbers, lists of different lengths, a NaN, or a deviation that is not above 0 and finite.
pub fn gaussian_log_likelihood(targets: &[f64], means: &[f64], deviations: &[f64]) -> Result<f64> {
    check_pairs(&[("targets", targets), ("means", means), ("deviations", deviations)])?;
    if let Some(row) = deviations.iter().position(|s| !(s.is_finite() && *s > 0.0)) {
        let problem = "a deviation must be above 0 and finite; add the noise of the observations";
        return Err(Error::Data(format!("row {row} has deviation {}: {problem}", deviations[row])));
    }
    let term = |row: usize| {
        let off = (targets[row] - means[row]) / deviations[row];
        -0.5 * libm::log(2.0 * std::f64::consts::PI) - libm::log(deviations[row]) - 0.5 * off * off
    };
    Ok((0..targets.len()).map(term).sum::<f64>() / targets.len() as f64)
}

fn check_pairs(lists: &[(&str, &[f64])]) -> Result<()> {
    let (first, rows) = (lists[0].0, lists[0].1.len());
    for (what, values) in lists {
        check_scores(what, values)?;
        if values.len() != rows {
            return Err(Error::Data(format!("{} {what} for {rows} {first}; give one for each", values.len())));
        }
    }
    Ok(())
}
