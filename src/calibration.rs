//! Judging what a network says of its own certainty: class probabilities, uncertainty scores, intervals.
//!
//! Everything here is plain host code in f64 over plain numbers, whichever program they come from. Rows are samples, labels are
//! classes below the number of columns, logarithms are natural.
//!
//! | question | answer |
//! | --- | --- |
//! | are the answers right? | [`Probabilities::accuracy`] |
//! | are the probabilities good, as a whole? | [`Probabilities::nll`], [`Probabilities::brier`]: proper scores, best at the true probabilities |
//! | is 80 % right of what is said with 80 %? | [`Reliability`] and its expected calibration error |
//! | would one factor mend it? | [`Logits::fit_temperature`] |
//! | does it know which rows it gets wrong? | [`RiskCoverage`] |
//! | does it notice foreign data? | [`auroc`] |
//! | do a regression's intervals hold what they say? | [`covered`], [`gaussian_log_likelihood`], [`rmse`] |
//!
//! ```
//! use thinnet::calibration::{Probabilities, Reliability, RiskCoverage};
//! let said = Probabilities::new(2, vec![0.9, 0.1, 0.6, 0.4, 0.2, 0.8])?;
//! let labels = [0, 1, 1]; // the second answer is wrong, and the least certain
//! assert_eq!(said.accuracy(&labels)?, 2.0 / 3.0);
//! let referral = RiskCoverage::of(&said.right(&labels)?, &said.entropy())?;
//! assert_eq!(referral.accuracy_when_referred(1.0 / 3.0), 1.0);
//! // Three bins with a row each: |1 - 0.9|, |0 - 0.6| and |1 - 0.8|.
//! assert!((Reliability::of(&said, &labels, 15)?.ece() - 0.9 / 3.0).abs() < 1e-12);
//! # Ok::<(), thinnet::Error>(())
//! ```

use crate::{Error, Outputs, Result};

mod intervals;
mod referral;
mod reliability;
mod separation;
mod temperature;

pub use intervals::{covered, gaussian_log_likelihood, rmse};
pub use referral::RiskCoverage;
pub use reliability::{Bin, Reliability};
pub use separation::auroc;
pub use temperature::{Logits, Temperature};

/// What a probability of 0 counts as where its logarithm is taken: the smallest normal f32, 2^-126, below which a device may
/// flush to 0. So a row whose label was given probability 0 costs 87.3 nats and not infinitely many: one such row among 10,000
/// adds 0.0087 to the mean, and is seen.
pub const FLOOR: f64 = f32::MIN_POSITIVE as f64;

/// How far a row of probabilities may be from the sum 1 and is still taken for one: twice the unit roundoff of f16, the
/// coarsest format that probabilities are kept in.
const SUM_TOLERANCE: f64 = 1.0 / 1024.0;

/// Class probabilities `[rows, classes]`, checked: finite, not negative, every row with sum 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Probabilities {
    classes: usize,
    values: Vec<f64>,
}

impl Probabilities {
    /// Row-major probabilities of `classes` classes. Every row is divided by its sum, which must be 1 within 2^-10.
    ///
    /// # Errors
    /// [`Error::Data`] for less than two classes, no row, a row that is not whole, a value that is no probability, or a sum
    /// that is not 1.
    pub fn new(classes: usize, mut values: Vec<f64>) -> Result<Self> {
        check_table("probabilities", classes, values.len())?;
        for (row, said) in values.chunks_mut(classes).enumerate() {
            if let Some(class) = said.iter().position(|p| !(p.is_finite() && *p >= 0.0)) {
                let problem =
                    "a probability is a number from 0 to 1; look for NaN in the inputs, and for a training that diverged";
                return Err(Error::Data(format!("row {row}, class {class} has probability {}: {problem}", said[class])));
            }
            let sum: f64 = said.iter().sum();
            if (sum - 1.0).abs() > SUM_TOLERANCE {
                let problem = "they must add up to 1; give what a softmax gives, or use Logits::new for a network's own output";
                return Err(Error::Data(format!("the probabilities of row {row} add up to {sum}, but {problem}")));
            }
            said.iter_mut().for_each(|p| *p /= sum);
        }
        Ok(Self { classes, values })
    }

    /// The answer of [`Model::predict`](crate::Model::predict). A single column is the probability of the second of two classes.
    ///
    /// # Errors
    /// As [`Probabilities::new`]; also where several outputs have a sigmoid each.
    pub fn from_outputs(outputs: &Outputs) -> Result<Self> {
        let values = outputs.values().iter().map(|&p| f64::from(p));
        match outputs.row(0).len() {
            1 => Self::new(2, values.flat_map(|p| [1.0 - p, p]).collect()),
            classes => Self::new(classes, values.collect()),
        }
    }

    /// Number of rows, at least 1.
    pub fn rows(&self) -> usize {
        self.values.len() / self.classes
    }

    /// Number of classes, at least 2.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The probabilities of one row.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.classes..][..self.classes]
    }

    fn each(&self) -> std::slice::ChunksExact<'_, f64> {
        self.values.chunks_exact(self.classes)
    }

    /// The most probable class of each row; the first of several, as [`Outputs::labels`] has it.
    pub fn answers(&self) -> Vec<u32> {
        self.each().map(|row| largest(row) as u32).collect()
    }

    /// The probability of that class: how sure the network is of its answer.
    pub fn confidence(&self) -> Vec<f64> {
        self.each().map(|row| row[largest(row)]).collect()
    }

    /// `1 - max_c p_c`, the probability of being wrong by the network's own word: an uncertainty score. Added up from the other
    /// classes, so that it orders also rows whose confidence is 1 within rounding.
    pub fn doubt(&self) -> Vec<f64> {
        let doubt = |row: &[f64]| {
            let best = largest(row);
            row.iter().enumerate().filter(|(class, _)| *class != best).map(|(_, p)| p).sum()
        };
        self.each().map(doubt).collect()
    }

    /// The predictive entropy `- sum_c p_c ln p_c` of each row in nats, from 0 to `ln classes`: an uncertainty score.
    pub fn entropy(&self) -> Vec<f64> {
        let term = |&p: &f64| if p > 0.0 { -p * libm::log(p) } else { 0.0 };
        self.each().map(|row| row.iter().map(term).sum()).collect()
    }

    /// Whether the most probable class of each row is its label.
    ///
    /// # Errors
    /// [`Error::Data`] if there is not one label for each row, or one is no class.
    pub fn right(&self, labels: &[u32]) -> Result<Vec<bool>> {
        check_labels(labels, self.rows(), self.classes)?;
        Ok(self.answers().iter().zip(labels).map(|(answer, label)| answer == label).collect())
    }

    /// Share of rows whose most probable class is the label.
    ///
    /// # Errors
    /// As [`Probabilities::right`].
    pub fn accuracy(&self, labels: &[u32]) -> Result<f64> {
        let right = self.right(labels)?;
        Ok(right.iter().filter(|right| **right).count() as f64 / right.len() as f64)
    }

    /// The mean negative log-likelihood `- 1/n sum_i ln max(p_i[label_i], FLOOR)` in nats, which is 0 at best; see [`FLOOR`].
    ///
    /// # Errors
    /// As [`Probabilities::right`].
    pub fn nll(&self, labels: &[u32]) -> Result<f64> {
        check_labels(labels, self.rows(), self.classes)?;
        let terms = self.each().zip(labels).map(|(row, &label)| -libm::log(row[label as usize].max(FLOOR)));
        Ok(terms.sum::<f64>() / self.rows() as f64)
    }

    /// The Brier score `1/n sum_i sum_c (p_i[c] - [c = label_i])^2`, the sum over all classes (Brier 1950): from 0 to 2, for two
    /// classes twice the square that some call by this name.
    ///
    /// # Errors
    /// As [`Probabilities::right`].
    pub fn brier(&self, labels: &[u32]) -> Result<f64> {
        check_labels(labels, self.rows(), self.classes)?;
        let square = |(class, p): (usize, &f64), label: u32| (p - f64::from(u8::from(class == label as usize))).powi(2);
        let of_row = |(row, &label): (&[f64], &u32)| row.iter().enumerate().map(|cell| square(cell, label)).sum::<f64>();
        Ok(self.each().zip(labels).map(of_row).sum::<f64>() / self.rows() as f64)
    }
}

/// The first column with the largest value.
fn largest(row: &[f64]) -> usize {
    (0..row.len()).fold(0, |best, c| if row[c] > row[best] { c } else { best })
}

fn check_table(what: &str, classes: usize, length: usize) -> Result<()> {
    if classes < 2 {
        let remedy = "give a column for each of at least two; two classes told apart by one output are the columns 1 - p and p";
        return Err(Error::Data(format!("{what} of {classes} classes; {remedy}")));
    }
    if length == 0 || !length.is_multiple_of(classes) {
        let remedy = "give a number for every row and class, and at least one row";
        return Err(Error::Data(format!("{length} {what} are not whole rows of {classes} classes; {remedy}")));
    }
    Ok(())
}

fn check_labels(labels: &[u32], rows: usize, classes: usize) -> Result<()> {
    if labels.len() != rows {
        return Err(Error::Data(format!("{} labels for {rows} rows; give one for each row", labels.len())));
    }
    match labels.iter().position(|&label| label as usize >= classes) {
        Some(row) => {
            Err(Error::Data(format!("row {row} has label {}, but labels must be below the {classes} classes", labels[row])))
        }
        None => Ok(()),
    }
}

/// Refuses a list that is empty or has a NaN; infinities have their place in an order.
fn check_scores(what: &str, scores: &[f64]) -> Result<()> {
    if scores.is_empty() {
        return Err(Error::Data(format!("no {what}; give at least one")));
    }
    match scores.iter().position(|score| score.is_nan()) {
        Some(row) => {
            let problem = "it has no place in an order; remove the row, or look for NaN in the inputs";
            Err(Error::Data(format!("{what}: row {row} is NaN: {problem}")))
        }
        None => Ok(()),
    }
}
