//! What a regression's draws say about the number to come: deviations, quantiles, intervals, likelihoods.

use super::Predictive;
use crate::{Error, Outputs, Result};

/// A mixture of normal distributions of one variance, one for each draw.
pub(super) struct Mixture {
    means: Vec<f64>,
    variance: f64,
}

impl Mixture {
    /// Around every draw; without a variance these are points.
    pub(super) fn draws(means: impl Iterator<Item = f64>, variance: f64) -> Self {
        let mut means: Vec<f64> = means.collect();
        means.sort_by(f64::total_cmp);
        Self { means, variance }
    }

    /// One normal distribution.
    pub(super) fn normal(mean: f64, variance: f64) -> Self {
        Self { means: vec![mean], variance }
    }

    /// The value below which a share `q` lies: of points by linear interpolation between them (Hyndman and Fan 1996, type 7), otherwise
    /// where `mean_t Phi((x - mean_t) / deviation) = q`, by bisection down to neighbouring numbers.
    fn quantile(&self, q: f64) -> f64 {
        let (first, last) = (self.means[0], self.means[self.means.len() - 1]);
        if self.variance == 0.0 {
            let at = q * (self.means.len() - 1) as f64;
            let below = self.means[at.floor() as usize];
            return below + (self.means[at.ceil() as usize] - below) * at.fract();
        }
        let deviation = self.variance.sqrt();
        // Phi(-39) is 0 in f64.
        let (mut low, mut high) = (first - 39.0 * deviation, last + 39.0 * deviation);
        loop {
            let middle = low + (high - low) / 2.0;
            if middle <= low || middle >= high {
                return middle;
            }
            let below = self.means.iter().map(|mean| normal_below((middle - mean) / deviation)).sum::<f64>();
            if below / (self.means.len() as f64) < q { low = middle } else { high = middle }
        }
    }
}

/// Phi(z), the share of a standard normal distribution below z.
fn normal_below(z: f64) -> f64 {
    0.5 * libm::erfc(-z * std::f64::consts::FRAC_1_SQRT_2)
}

impl Predictive {
    /// The standard deviation of the number to come, `[rows, outputs]`: `sqrt(std^2 + 1 / tau)` (Gal and Ghahramani, section 4);
    /// [`Predictive::std`] where no noise is known.
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
        let density = |row: usize, output: usize| {
            let mixture = self.mixture(row, output);
            let target = f64::from(targets[row * self.outputs() + output]);
            let powers = mixture.means.iter().map(|mean| -(target - mean) * (target - mean) / (2.0 * mixture.variance));
            let largest = powers.clone().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = powers.map(|power| (power - largest).exp()).sum();
            largest + (sum / mixture.means.len() as f64).ln() - 0.5 * (2.0 * std::f64::consts::PI * mixture.variance).ln()
        };
        let rows = (0..self.rows()).map(|row| (0..self.outputs()).map(|output| density(row, output)).sum::<f64>());
        Ok(rows.sum::<f64>() / self.rows() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::{Mixture, normal_below};

    #[test]
    fn quantiles_of_points_interpolate_and_those_of_a_normal_are_known() {
        let points = Mixture::draws([3.0, 1.0, 2.0, 10.0].into_iter(), 0.0);
        assert_eq!([0.0, 0.5, 1.0].map(|q| points.quantile(q)), [1.0, 2.5, 10.0]);
        let normal = Mixture::normal(5.0, 4.0);
        // Phi^-1(0.975) = 1.959964 (any table).
        assert!((normal.quantile(0.975) - (5.0 + 2.0 * 1.959_963_984_540_054)).abs() < 1e-9);
        assert!((normal.quantile(0.5) - 5.0).abs() < 1e-12);
        // Two normal distributions far apart: half of the mass is below the gap, a quarter below the first mean.
        let two = Mixture::draws([0.0, 100.0].into_iter(), 1.0);
        assert!(two.quantile(0.25).abs() < 1e-9 && (two.quantile(0.75) - 100.0).abs() < 1e-9);
        assert!((normal_below(0.0) - 0.5).abs() < 1e-15 && normal_below(-39.0) == 0.0);
    }
}
