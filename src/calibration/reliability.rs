//! The reliability diagram and the expected calibration error.

use super::{Probabilities, check_labels};
use crate::{Error, Result};

/// Rows with about the same confidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bin {
    /// The bin has the confidences above this ...
    pub low: f64,
    /// ... up to and with this.
    pub high: f64,
    /// How many rows it has.
    pub count: usize,
    /// Their mean confidence; NaN where there is no row.
    pub confidence: f64,
    /// Share of them that is right; NaN where there is no row.
    pub accuracy: f64,
}

/// What is said with some confidence against how often it is right (Guo et al., On Calibration of Modern Neural Networks, ICML
/// 2017, section 2): rows in bins of equal width by the probability of their most probable class.
///
/// With `M` bins row `i` is in bin `ceil(M p_i) - 1`, so that a bin includes its upper end.
#[derive(Debug, Clone, PartialEq)]
pub struct Reliability {
    /// All bins from 0 to 1, also those without rows.
    pub bins: Vec<Bin>,
}

impl Reliability {
    /// The bins of the paper's experiments.
    pub const BINS: usize = 15;

    /// Sorts rows into `bins` bins.
    ///
    /// # Errors
    /// [`Error::Option`] for 0 bins or more than a million; [`Error::Data`] if there is not one label for each row, or one is no class.
    pub fn of(said: &Probabilities, labels: &[u32], bins: usize) -> Result<Self> {
        check_labels(labels, said.rows(), said.classes())?;
        if !(1..=1_000_000).contains(&bins) {
            let problem = format!("rows are sorted into 1 to a million bins; {} are usual", Self::BINS);
            return Err(Error::Option { option: "bins", value: bins.to_string(), problem });
        }
        let mut sums = vec![(0usize, 0.0, 0usize); bins];
        for (p, right) in said.confidence().into_iter().zip(said.right(labels)?) {
            let bin = ((p * bins as f64).ceil() as usize).clamp(1, bins) - 1;
            let (count, confidence, hits) = &mut sums[bin];
            (*count, *confidence, *hits) = (*count + 1, *confidence + p, *hits + usize::from(right));
        }
        let edge = |i: usize| i as f64 / bins as f64;
        let bin = |(i, (count, confidence, hits)): (usize, (usize, f64, usize))| {
            let n = count as f64; // 0 / 0 is the NaN of a bin without rows
            Bin { low: edge(i), high: edge(i + 1), count, confidence: confidence / n, accuracy: hits as f64 / n }
        };
        Ok(Self { bins: sums.into_iter().enumerate().map(bin).collect() })
    }

    /// The expected calibration error `sum_b n_b / n |accuracy_b - confidence_b|` (Guo et al. 2017, equation 3): from 0, where
    /// 80 % is right of what is said with 80 %, to 1.
    ///
    /// It is biased upwards where bins have few rows, and depends on their number: compare with equal bins and the same rows.
    pub fn ece(&self) -> f64 {
        let rows: usize = self.bins.iter().map(|bin| bin.count).sum();
        let filled = self.bins.iter().filter(|bin| bin.count > 0);
        filled.map(|bin| bin.count as f64 * (bin.accuracy - bin.confidence).abs()).sum::<f64>() / rows as f64
    }
}
