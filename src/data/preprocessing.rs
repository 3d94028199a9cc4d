//! What happens to a source's values before the network sees them.

use serde::{Deserialize, Serialize};

/// What was done to the source's values before the network saw them, and what its outputs are called; kept with the weights.
///
/// The default says that nothing was done and nothing has a name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Preprocessing {
    /// How the inputs were standardised, column by column, or of sequences feature by feature; `None` means not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Standardization>,
    /// How the targets were standardised: what the network answers is in these units until it is inverted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets: Option<Standardization>,
    /// What the columns of the inputs are called, in the network's order; empty where the source gives no names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub input_names: Vec<String>,
    /// What the outputs are called: names of classes, by class, or of target columns; empty where classes are numbers from 0.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub output_names: Vec<String>,
    /// What of the rows are sequences; `None` where rows have no lengths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequences: Option<Sequences>,
    /// Whether the inputs are numbers of words, which no byte's scale changes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub words: bool,
    /// What the source's numbers were multiplied by before anything else: 1/255 of bytes, 1/16 of the built-in digits, 1 of numbers as
    /// they are and of booleans. `None` where it is not known: weights of another program, and files of before it was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<f32>,
    /// What tells the rows learned from, inputs and targets as they were read, from others. `None` as of `scale`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<u64>,
}

/// How rows became sequences `[steps, features]` of lengths of their own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sequences {
    /// T: the steps of the longest sequence of training, validation or test, to which all others were padded.
    pub steps: u32,
    /// The column of a csv file that says which sequence a line is a step of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
}

impl Preprocessing {
    /// Whether these, of data as they are read now, are those `kept` with a model; what it does not know is not compared.
    pub fn agrees_with(&self, kept: &Self) -> bool {
        let (scale, fingerprint) = (kept.scale.and(self.scale), kept.fingerprint.and(self.fingerprint));
        Self { scale, fingerprint, ..self.clone() } == *kept
    }

    /// Whether nothing was done and nothing is named.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// `value = (raw - mean) / deviation`, column by column. Raw values of bytes are the bytes times their scale.
///
/// Of sequences with lengths a column is a feature: the same mean and deviation at every step, those over all steps of all rows that
/// exist. Steps behind the end of a row count nothing and stay 0, which is the mean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standardization {
    /// Mean of each column.
    pub mean: Vec<f64>,
    /// Standard deviation of each column, 1 where the column is constant; as many as there are means.
    pub deviation: Vec<f64>,
}

impl Standardization {
    /// Mean and standard deviation of the population (divided by the rows, not by one less), in f64 and two passes.
    ///
    /// A column whose values are all the same gets that value and deviation 1, so that it becomes exactly 0.
    ///
    /// ```
    /// use thinnet::data::Standardization;
    /// let fitted = Standardization::fit(2, &[1.0, 7.0, 3.0, 7.0]);
    /// assert_eq!((fitted.mean, fitted.deviation), (vec![2.0, 7.0], vec![1.0, 1.0]));
    /// ```
    ///
    /// # Panics
    /// If `values` are not at least one whole row of at least one column.
    pub fn fit(columns: u32, values: &[f32]) -> Self {
        let columns = columns as usize;
        assert!(columns > 0 && !values.is_empty() && values.len().is_multiple_of(columns), "whole rows of {columns} columns");
        let rows = (values.len() / columns) as f64;
        let mut mean = vec![0.0; columns];
        for row in values.chunks_exact(columns) {
            mean.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        mean.iter_mut().for_each(|sum| *sum /= rows);
        let mut deviation = vec![0.0; columns];
        let mut constant = vec![true; columns];
        for row in values.chunks_exact(columns) {
            for (column, &value) in row.iter().enumerate() {
                deviation[column] += (f64::from(value) - mean[column]).powi(2);
                constant[column] &= value == values[column];
            }
        }
        deviation.iter_mut().for_each(|squares| *squares = (*squares / rows).sqrt());
        // The mean of equal values is rounded, so their computed deviation is tiny and not 0; dividing by it would make noise.
        for column in (0..columns).filter(|&column| constant[column]) {
            (mean[column], deviation[column]) = (f64::from(values[column]), 1.0);
        }
        Self { mean, deviation }
    }

    /// Raw values become standardised ones, row by row, computed in f64 and rounded once.
    ///
    /// # Panics
    /// If `values` are not whole rows of as many columns as there are means.
    pub fn apply(&self, values: &mut [f32]) {
        self.each(values, |value, mean, deviation| (value - mean) / deviation);
    }

    /// Standardised values become raw ones: undoes [`apply`](Self::apply) up to rounding.
    ///
    /// # Panics
    /// As [`apply`](Self::apply).
    pub fn invert(&self, values: &mut [f32]) {
        self.each(values, |value, mean, deviation| value * deviation + mean);
    }

    /// Standard deviations of standardised values become those of raw ones: `deviation * value`.
    ///
    /// # Panics
    /// As [`apply`](Self::apply).
    pub fn invert_deviations(&self, values: &mut [f32]) {
        self.each(values, |value, _, deviation| value * deviation);
    }

    fn each(&self, values: &mut [f32], f: impl Fn(f64, f64, f64) -> f64) {
        let columns = self.mean.len();
        assert!(self.deviation.len() == columns, "{columns} means and {} deviations", self.deviation.len());
        assert!(columns > 0 && values.len().is_multiple_of(columns), "{} values in {columns} columns", values.len());
        for row in values.chunks_exact_mut(columns) {
            for ((value, &mean), &deviation) in row.iter_mut().zip(&self.mean).zip(&self.deviation) {
                *value = f(f64::from(*value), mean, deviation) as f32;
            }
        }
    }
}
