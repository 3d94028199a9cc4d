//! How well a score tells two data sets apart.

use super::check_scores;
use crate::Result;

/// The probability that a score from `other` is larger than one from `own`, an equal one counting half: the area under the
/// receiver operating characteristic, which is the Mann-Whitney statistic `U / (n m)` with midranks for ties (Hanley and McNeil,
/// Radiology 1982).
///
/// 1/2 tells nothing, 1 everything. `own` are the uncertainties of data like those trained on, `other` those of foreign data.
/// Computed in whole numbers and rounded once, in time `(n + m) log (n + m)`.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) for an empty list, or a score that is NaN.
///
/// ```
/// # use thinnet::calibration::auroc;
/// assert_eq!(auroc(&[0.1, 0.2], &[0.2, 0.9])?, 3.5 / 4.0); // three pairs in order, one tie
/// # Ok::<(), thinnet::Error>(())
/// ```
pub fn auroc(own: &[f64], other: &[f64]) -> Result<f64> {
    check_scores("scores of the network's own data", own)?;
    check_scores("scores of the other data", other)?;
    let mut all: Vec<(f64, bool)> = own.iter().map(|&s| (s, false)).chain(other.iter().map(|&s| (s, true))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut own_below, mut twice) = (0u128, 0u128);
    for tie in all.chunk_by(|a, b| a.0 == b.0) {
        let others = tie.iter().filter(|score| score.1).count() as u128;
        let owns = tie.len() as u128 - others;
        twice += others * (2 * own_below + owns);
        own_below += owns;
    }
    Ok(twice as f64 / (2.0 * own.len() as f64 * other.len() as f64))
}
