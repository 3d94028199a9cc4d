//! What a regression's draws say about the number to come: deviations, quantiles, intervals, likelihoods.

use super::Predictive;
use crate::{Error, Outputs, Result};

/// A mixture of normal distributions, one for each draw; without a variance they are points.
pub(super) struct Mixture {
    /// Mean and variance of each, in the order of the means.
    parts: Vec<(f64, f64)>,
}

impl Mixture {
    pub(super) fn new(parts: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let mut parts: Vec<(f64, f64)> = parts.into_iter().collect();
        parts.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self { parts }
    }

    /// The value below which a share `q` lies: of points by linear interpolation between them (Hyndman and Fan 1996, type 7), otherwise
    /// where `mean_t Phi((x - mean_t) / deviation_t) = q`, by bisection down to neighbouring numbers.
    fn quantile(&self, q: f64) -> f64 {
        let n = self.parts.len();
        let (first, last) = (self.parts[0].0, self.parts[n - 1].0);
        let widest = self.parts.iter().map(|part| part.1).fold(0.0, f64::max).sqrt();
        if widest == 0.0 {
            let at = q * (n - 1) as f64;
            let below = self.parts[at.floor() as usize].0;
            return below + (self.parts[at.ceil() as usize].0 - below) * at.fract();
        }
        // Phi(-39) is 0 in f64.
        let (mut low, mut high) = (first - 39.0 * widest, last + 39.0 * widest);
        loop {
            let middle = low + (high - low) / 2.0;
            // Also where the noise is so wide that the ends are no numbers.
            if !(low < middle && middle < high) {
                return middle;
            }
            let below: f64 = self.parts.iter().map(|(mean, variance)| normal_below((middle - mean) / variance.sqrt())).sum();
            if below / (n as f64) < q { low = middle } else { high = middle }
        }
    }

    /// The logarithm of the density at a value with noise of some more variance, by log-sum-exp.
    pub(super) fn log_density(&self, value: f64, noise: f64) -> f64 {
        let turn = 2.0 * std::f64::consts::PI;
        let log = |&(mean, variance): &(f64, f64)| {
            let variance = variance + noise;
            -0.5 * ((value - mean) * (value - mean) / variance + (turn * variance).ln())
        };
        let largest = self.parts.iter().map(log).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = self.parts.iter().map(|part| (log(part) - largest).exp()).sum();
        largest + (sum / self.parts.len() as f64).ln()
    }

    /// The smallest and the largest square of the distance between a value and a mean.
    pub(super) fn squared_distances(&self, value: f64) -> (f64, f64) {
        let squares = self.parts.iter().map(|(mean, _)| (value - mean) * (value - mean));
        squares.fold((f64::INFINITY, 0.0), |(near, far), square| (near.min(square), f64::max(far, square)))
    }

    pub(super) fn has_no_variance(&self) -> bool {
        self.parts.iter().all(|&(_, variance)| variance == 0.0)
    }
}

/// Phi(z), the share of a standard normal distribution below z.
fn normal_below(z: f64) -> f64 {
    0.5 * libm::erfc(-z * std::f64::consts::FRAC_1_SQRT_2)
}

impl Predictive {
    /// The standard deviation of the number to come, `[rows, outputs]`: `sqrt(std^2 + noise)`, the noise being 1 / tau (Gal and
    /// Ghahramani, section 4) or what the network says of it (Kendall and Gal 2017, equation 9); [`Predictive::std`] where none is known.
    pub fn total_std(&self) -> Outputs {
        let row = |row: usize| {
            let noise = self.noise(row).unwrap_or_else(|| vec![0.0; self.outputs()]);
            let both = self.moments(row).iter().zip(noise);
            both.map(|(moments, noise)| (moments.variance + noise).sqrt() as f32).collect::<Vec<_>>()
        };
        Outputs::of(self.outputs(), (0..self.rows()).flat_map(row).collect())
    }

    /// The value below which a share `q` of the predictive distribution of a regression lies, `[rows, outputs]`. Of the draws where
    /// they were stored ([`Predictive::is_exact`]), with the noise around each; otherwise of a normal distribution with the mean and
    /// the deviation of all of them.
    ///
    /// # Errors
    /// Probabilities; a share that is not between 0 and 1.
    pub fn quantile(&self, q: f64) -> Result<Outputs> {
        if self.is_probability() {
            return Err(Error::Data("the answers are probabilities of classes, which have no quantiles; ask for std".into()));
        }
        if !(q > 0.0 && q < 1.0) {
            return super::bad("quantile", q, "a quantile is a share between 0 and 1, such as 0.05");
        }
        let places = (0..self.rows()).flat_map(|row| (0..self.outputs()).map(move |output| (row, output)));
        let values = places.map(|(row, output)| self.mixture(row, output).quantile(q) as f32);
        Ok(Outputs::of(self.outputs(), values.collect()))
    }

    /// The interval that holds the share `level` of the predictive distribution, with as much below as above it: lower and upper ends.
    ///
    /// # Errors
    /// As [`Predictive::quantile`].
    pub fn interval(&self, level: f64) -> Result<[Outputs; 2]> {
        if !(level > 0.0 && level < 1.0) {
            return super::bad("level", level, "an interval holds a share between 0 and 1, such as 0.9");
        }
        Ok([self.quantile(0.5 - level / 2.0)?, self.quantile(0.5 + level / 2.0)?])
    }

    /// The mean over rows of the log density of their targets `[rows, outputs]`, `log (1/T) sum_t N(target; draw t, noise)` summed over
    /// outputs, by log-sum-exp over the draws (Gal and Ghahramani, section 4.3), each output by itself; of a normal distribution where
    /// single draws were not stored.
    ///
    /// # Errors
    /// Probabilities; targets of another number; a regression of which no noise is known, whose draws are points without a density.
    pub fn log_likelihood(&self, targets: &[f32]) -> Result<f64> {
        if self.is_probability() {
            return Err(Error::Data("the answers are probabilities of classes; their likelihood is that of their labels".into()));
        }
        if targets.len() != self.rows() * self.outputs() {
            let (rows, outputs) = (self.rows(), self.outputs());
            return Err(Error::Data(format!("{} targets for {rows} rows of {outputs} outputs", targets.len())));
        }
        if self.noise(0).is_none() && self.is_exact() {
            return super::bad(
                "precision",
                "none",
                "single draws have no density; say how precise observations are, 1 / variance",
            );
        }
        let target = |row: usize, output: usize| f64::from(targets[row * self.outputs() + output]);
        let density = |row: usize, output: usize| self.mixture(row, output).log_density(target(row, output), 0.0);
        let rows = (0..self.rows()).map(|row| (0..self.outputs()).map(|output| density(row, output)).sum::<f64>());
        Ok(rows.sum::<f64>() / self.rows() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::{Mixture, normal_below};

    #[test]
    fn quantiles_of_points_interpolate_and_those_of_a_normal_are_known() {
        let points = Mixture::new([3.0, 1.0, 2.0, 10.0].map(|mean| (mean, 0.0)));
        assert_eq!([0.0, 0.5, 1.0].map(|q| points.quantile(q)), [1.0, 2.5, 10.0]);
        let normal = Mixture::new([(5.0, 4.0)]);
        // Phi^-1(0.975) = 1.959964 (any table).
        assert!((normal.quantile(0.975) - (5.0 + 2.0 * 1.959_963_984_540_054)).abs() < 1e-9);
        assert!((normal.quantile(0.5) - 5.0).abs() < 1e-12);
        // Two normal distributions far apart: half of the mass is below the gap, a quarter below the first mean.
        let two = Mixture::new([(0.0, 1.0), (100.0, 1.0)]);
        assert!(two.quantile(0.25).abs() < 1e-9 && (two.quantile(0.75) - 100.0).abs() < 1e-9);
        assert!((normal_below(0.0) - 0.5).abs() < 1e-15 && normal_below(-39.0) == 0.0);
    }
}
