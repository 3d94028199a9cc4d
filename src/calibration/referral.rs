//! What is gained by referring the least certain rows to somebody who knows.

use super::check_scores;
use crate::{Error, Result};

/// Accuracy over the rows that remain when the least certain are referred: the risk-coverage curve (El-Yaniv and Wiener, On the
/// Foundations of Noise-free Selective Classification, JMLR 2010), with risk = 1 - accuracy and coverage = share that remains.
#[derive(Debug, Clone, PartialEq)]
pub struct RiskCoverage {
    /// Entry k - 1 is the accuracy over the k most certain rows.
    ///
    /// Rows with equal scores are taken in every order alike: of a tie that is taken in part, the expected number is right.
    /// So the curve does not depend on the order of the rows, and a score that is the same for all makes a level one.
    pub accuracy: Vec<f64>,
}

impl RiskCoverage {
    /// `right[i]` and the uncertainty of row i: larger is less certain.
    ///
    /// # Errors
    /// [`Error::Data`] for no rows, lists of different lengths, or a score that is NaN.
    pub fn of(right: &[bool], uncertainty: &[f64]) -> Result<Self> {
        check_scores("uncertainty scores", uncertainty)?;
        if right.len() != uncertainty.len() {
            let (rows, scores) = (right.len(), uncertainty.len());
            return Err(Error::Data(format!("{scores} uncertainty scores for {rows} rows; give one for each row")));
        }
        let mut order: Vec<(f64, bool)> = uncertainty.iter().copied().zip(right.iter().copied()).collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (mut accuracy, mut hits) = (Vec::with_capacity(order.len()), 0);
        // Equality puts 0 and -0 into one tie, which the order above makes neighbours.
        for tie in order.chunk_by(|a, b| a.0 == b.0) {
            let (before, right) = (accuracy.len(), tie.iter().filter(|row| row.1).count());
            for taken in 1..=tie.len() {
                let expected = hits as f64 + (right * taken) as f64 / tie.len() as f64;
                accuracy.push(expected / (before + taken) as f64);
            }
            hits += right;
        }
        Ok(Self { accuracy })
    }

    /// Accuracy over what remains when this share of the rows, 0 to 1 and rounded to whole rows, is referred; at least one row
    /// remains.
    pub fn accuracy_when_referred(&self, share: f64) -> f64 {
        let rows = self.accuracy.len();
        let referred = (share.clamp(0.0, 1.0) * rows as f64).round() as usize;
        self.accuracy[rows.saturating_sub(referred).max(1) - 1]
    }

    /// The area under the curve of risk, `1/n sum_k (1 - accuracy_k)` (Geifman, Uziel and El-Yaniv, ICLR 2019): smaller is
    /// better, and what a score without information gets is the share of wrong rows.
    pub fn area(&self) -> f64 {
        self.accuracy.iter().map(|accuracy| 1.0 - accuracy).sum::<f64>() / self.accuracy.len() as f64
    }
}
