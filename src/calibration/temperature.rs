//! Temperature scaling: one factor for the logits, fitted on validation rows.

use super::{FLOOR, Probabilities, check_labels, check_table};
use crate::{Error, Outputs, Result};

/// Scores `[rows, classes]` that a softmax makes probabilities of: what a network puts out, or logarithms of probabilities.
#[derive(Debug, Clone, PartialEq)]
pub struct Logits {
    classes: usize,
    values: Vec<f64>,
}

/// What [`Logits::fit_temperature`] has found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Temperature {
    /// The temperature with the least negative log-likelihood. Above 1 the network was too sure, below 1 not sure enough.
    At(f64),
    /// Every row is classified rightly, so that the likelihood rises without end as T goes to 0, where every answer has
    /// probability 1. Such rows cannot say how often the network is wrong; more of them can, or others.
    Zero,
    /// The answers say less than nothing about the labels: the likelihood rises as T goes to infinity, where every class has
    /// the same probability.
    Infinite,
}

impl Logits {
    /// Row-major logits of `classes` classes.
    ///
    /// # Errors
    /// [`Error::Data`] for less than two classes, no row, a row that is not whole, or a value that is NaN or infinite.
    pub fn new(classes: usize, values: Vec<f64>) -> Result<Self> {
        check_table("logits", classes, values.len())?;
        match values.iter().position(|z| !z.is_finite()) {
            Some(at) => {
                let (row, class) = (at / classes, at % classes);
                let problem = "logits must be finite; look for NaN in the inputs, and for a training that diverged";
                Err(Error::Data(format!("row {row}, class {class} has logit {}: {problem}", values[at])))
            }
            None => Ok(Self { classes, values }),
        }
    }

    /// The output of [`Model::logits`](crate::Model::logits). A single column z tells two classes apart: they get 0 and z.
    ///
    /// # Errors
    /// As [`Logits::new`].
    pub fn from_outputs(outputs: &Outputs) -> Result<Self> {
        let values = outputs.values().iter().map(|&z| f64::from(z));
        match outputs.row(0).len() {
            1 => Self::new(2, values.flat_map(|z| [0.0, z]).collect()),
            classes => Self::new(classes, values.collect()),
        }
    }

    /// `ln max(p, FLOOR)`, whose softmax is p: for answers that have no logits, such as the mean of several networks.
    pub fn from_probabilities(said: &Probabilities) -> Self {
        let values = said.each().flatten().map(|p| libm::log(p.max(FLOOR))).collect();
        Self { classes: said.classes(), values }
    }

    /// Number of rows, at least 1.
    pub fn rows(&self) -> usize {
        self.values.len() / self.classes
    }

    /// `softmax(z / T)`: the answer of each row stays, its confidence changes.
    ///
    /// # Errors
    /// [`Error::Option`] for a temperature that is not above 0 or not finite.
    pub fn probabilities(&self, temperature: f64) -> Result<Probabilities> {
        if !(temperature.is_finite() && temperature > 0.0) {
            let problem = "a temperature is a finite number above 0; 1 changes nothing".into();
            return Err(Error::Option { option: "temperature", value: temperature.to_string(), problem });
        }
        let mut values = self.values.clone();
        for row in values.chunks_mut(self.classes) {
            let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            row.iter_mut().for_each(|z| *z = libm::exp((*z - most) / temperature));
            let sum: f64 = row.iter().sum();
            row.iter_mut().for_each(|p| *p /= sum);
        }
        Probabilities::new(self.classes, values)
    }

    /// The temperature T > 0 with the least mean negative log-likelihood of `softmax(z / T)` (Guo et al. 2017, section 4.2).
    ///
    /// In b = 1/T the likelihood is that of an exponential family, so that its negative logarithm is convex, with derivative
    /// `mean over rows of E_b[z] - z[label]` and second derivative `mean of Var_b[z]`. The root of the derivative is bracketed by
    /// doubling, then found by Newton's method, which falls back to bisection when it would leave the bracket; b is exact to
    /// about 1e-12. Fit on rows that the network has not learned from and is not judged by afterwards. Where every T is alike,
    /// because all logits of each row are, the answer is 1.
    ///
    /// # Errors
    /// [`Error::Data`] if there is not one label for each row, or one is no class.
    pub fn fit_temperature(&self, labels: &[u32]) -> Result<Temperature> {
        check_labels(labels, self.rows(), self.classes)?;
        let each = || self.values.chunks_exact(self.classes).zip(labels);
        if each().all(|(row, _)| row.iter().all(|z| *z == row[0])) {
            return Ok(Temperature::At(1.0));
        }
        if each().all(|(row, &label)| row.iter().all(|z| *z <= row[label as usize])) {
            return Ok(Temperature::Zero);
        }
        // In units of the largest logit, so that nothing overflows and a bracket is near.
        let unit = self.values.iter().fold(0.0, |most: f64, z| most.max(z.abs()));
        let scaled = Self { classes: self.classes, values: self.values.iter().map(|z| z / unit).collect() };
        Ok(scaled.least_nll(labels).map_or(Temperature::Infinite, |b| Temperature::At(unit / b)))
    }

    /// The b above 0 with the least negative log-likelihood of `softmax(b z)`, for logits from -1 to 1, some row wrong; none
    /// where 0 is better.
    fn least_nll(&self, labels: &[u32]) -> Option<f64> {
        if self.slope(labels, 0.0).0 >= 0.0 {
            return None;
        }
        // Some row is wrong, so that the slope is above 0 for large b: there its softmax is 1 at the wrong class.
        let (mut low, mut high) = (0.0, 1.0);
        while self.slope(labels, high).0 < 0.0 && high < f64::MAX / 4.0 {
            (low, high) = (high, 2.0 * high);
        }
        let mut b = 0.5 * (low + high);
        for _ in 0..200 {
            let (slope, curvature) = self.slope(labels, b);
            if slope < 0.0 {
                low = b
            } else {
                high = b
            }
            let newton = b - slope / curvature;
            let next = if newton > low && newton < high { newton } else { 0.5 * (low + high) };
            let done = (next - b).abs() <= 1e-12 * b;
            b = next;
            if done || slope == 0.0 {
                break;
            }
        }
        Some(b)
    }

    /// First and second derivative of the mean negative log-likelihood of `softmax(b z)` by b.
    fn slope(&self, labels: &[u32], b: f64) -> (f64, f64) {
        let (mut slope, mut curvature) = (0.0, 0.0);
        for (row, &label) in self.values.chunks_exact(self.classes).zip(labels) {
            let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let (mut sum, mut first, mut second) = (0.0, 0.0, 0.0);
            for z in row.iter().map(|z| z - most) {
                let power = libm::exp(b * z);
                (sum, first, second) = (sum + power, first + power * z, second + power * z * z);
            }
            let mean = first / sum;
            slope += mean - (row[label as usize] - most);
            curvature += second / sum - mean * mean;
        }
        (slope / self.rows() as f64, curvature / self.rows() as f64)
    }
}
