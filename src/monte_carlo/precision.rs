//! The precision of the observation noise that some targets speak for.

use super::Predictive;
use super::intervals::Mixture;
use crate::kernels::draws::Readout;
use crate::{Error, Result};

/// What [`Predictive::fit_precision`] has found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Precision {
    /// The precision tau with the largest likelihood of the targets.
    At(f64),
    /// The likelihood rises as the noise goes to 0: every target is one that some draw has said, or, where single draws were not
    /// stored, the draws are further apart than the targets are from their mean.
    Infinite,
}

impl Predictive {
    /// The precision tau = 1 / variance of the observation noise with the largest log-likelihood ([`Predictive::log_likelihood`]) of the
    /// targets `[rows, outputs]` of a regression, one for all outputs, in the units that the targets and these answers have. A precision
    /// that was given before counts for nothing.
    ///
    /// ```text
    /// tau = argmax sum_i log (1/T) sum_t N(target_i; draw_it, 1 / tau)
    /// ```
    ///
    /// The likelihood may have several maxima in log tau. With d_it = target_i - draw_it, all lie between 1 / max d_it^2 and
    /// 1 / mean_i min_t d_it^2, for the derivative by log tau is `sum_i (1 - tau E_i[d_it^2]) / 2`, the mean over draws weighed by their
    /// densities. So that range is tried at 64 points, and a golden-section search between the neighbours of the best makes log tau exact
    /// to about 1e-7, which is where f64 no longer tells likelihoods apart. Fit on rows that the network has not learned from and is not
    /// judged by afterwards (Gal and Ghahramani, section 5.2, choose tau on validation rows, too).
    ///
    /// # Errors
    /// Probabilities; a network trained with a loss of its own for the noise; targets of another number, or not finite.
    pub fn fit_precision(&self, targets: &[f32]) -> Result<Precision> {
        let alone = self.clone().with_precision(None)?;
        let (rows, outputs) = (alone.rows(), alone.outputs());
        if targets.len() != rows * outputs || targets.iter().any(|target| !target.is_finite()) {
            let given = targets.len();
            return Err(Error::Data(format!(
                "{given} targets for {rows} rows of {outputs} outputs; give a finite number for each"
            )));
        }
        let places = (0..rows).flat_map(|row| (0..outputs).map(move |output| (row, output)));
        let said: Vec<(Mixture, f64)> =
            places.zip(targets).map(|((row, output), &target)| (alone.mixture(row, output), f64::from(target))).collect();
        Ok(most_likely(&said))
    }

    /// The same answers with observation noise of this precision around them, in the units they have now; `None` for no noise.
    ///
    /// # Errors
    /// Probabilities; a network trained with a loss of its own for the noise; a precision that is not above 0 and finite.
    pub fn with_precision(self, precision: Option<f64>) -> Result<Self> {
        match (self.readout(), precision) {
            (Readout::Softmax | Readout::Sigmoid, _) => {
                Err(Error::Data("the answers are probabilities of classes, which have no observation noise".into()))
            }
            (Readout::Gaussian, _) => Err(Error::Data("the network says itself how large the noise of each row is".into())),
            (Readout::Values, Some(tau)) if !(tau > 0.0 && tau.is_finite()) => {
                super::bad("precision", tau, "a precision, 1 / variance, is a number above 0")
            }
            (Readout::Values, precision) => Ok(self.noisy(precision)),
        }
    }
}

/// Points that are tried before the search.
const POINTS: u32 = 64;

/// The variance of the narrowest noise that is told from none, as a share of the largest squared distance, where draws have a
/// variance of their own and so set no lower end.
const NARROWEST: f64 = 1e-9;

fn most_likely(said: &[(Mixture, f64)]) -> Precision {
    let (nearest, farthest) = said
        .iter()
        .map(|(mixture, target)| mixture.squared_distances(*target))
        .fold((0.0, 0.0f64), |(near, far), (nearest, farthest)| (near + nearest / said.len() as f64, far.max(farthest)));
    let points = said.iter().all(|(mixture, _)| mixture.has_no_variance());
    let low = if points { nearest } else { NARROWEST * farthest };
    if low <= 0.0 {
        return Precision::Infinite;
    }
    // The log-likelihood by the logarithm of the noise's variance.
    let of = |log: f64| said.iter().map(|(mixture, target)| mixture.log_density(*target, log.exp())).sum::<f64>();
    let (low, high) = (low.ln(), farthest.ln());
    let at = |i: u32| low + (high - low) * f64::from(i) / f64::from(POINTS - 1);
    let tried: Vec<f64> = (0..POINTS).map(|i| of(at(i))).collect();
    let best = (0..POINTS).fold(0, |best, i| if tried[i as usize] > tried[best as usize] { i } else { best });
    if best == 0 && !points {
        return Precision::Infinite;
    }
    let log = golden(at(best.saturating_sub(1)), at((best + 1).min(POINTS - 1)), of);
    Precision::At((-log).exp())
}

/// A place between `low` and `high` where a function is largest, if it has one maximum there, and a local one otherwise: golden-section
/// search (Kiefer, Proceedings of the American Mathematical Society 1953), a value for each step.
fn golden(mut low: f64, mut high: f64, of: impl Fn(f64) -> f64) -> f64 {
    let share = (5f64.sqrt() - 1.0) / 2.0;
    let (mut a, mut b) = (high - share * (high - low), low + share * (high - low));
    let (mut of_a, mut of_b) = (of(a), of(b));
    while high - low > 1e-8 {
        if of_a > of_b {
            (high, b, of_b) = (b, a, of_a);
            a = high - share * (high - low);
            of_a = of(a);
        } else {
            (low, a, of_a) = (a, b, of_b);
            b = low + share * (high - low);
            of_b = of(b);
        }
    }
    low + (high - low) / 2.0
}

#[cfg(test)]
mod tests {
    use super::{Mixture, Precision, most_likely};

    fn points(draws: &[f64]) -> Mixture {
        Mixture::new(draws.iter().map(|&draw| (draw, 0.0)))
    }

    fn found(said: &[(Mixture, f64)]) -> f64 {
        match most_likely(said) {
            Precision::At(tau) => tau,
            Precision::Infinite => panic!("a precision is infinite"),
        }
    }

    fn likelihood(said: &[(Mixture, f64)], tau: f64) -> f64 {
        said.iter().map(|(mixture, target)| mixture.log_density(*target, 1.0 / tau)).sum()
    }

    #[test]
    fn draws_that_agree_have_the_precision_of_their_error() {
        // One normal distribution: tau = 1 / mean square, (9 + 1 + 4 + 16) / 4.
        for unit in [1.0, 1e-6, 1e6] {
            let said = [3.0, -1.0, 2.0, -4.0].map(|target: f64| (points(&[0.0, 0.0, 0.0]), unit * target));
            let want = 1.0 / 7.5 / (unit * unit);
            assert!((found(&said) / want - 1.0).abs() < 1e-6, "{}", found(&said));
        }
        // Normal distributions of variance 2: what is missing to the mean square of 7.5.
        let normal = |square: f64| [3.0, -1.0, 2.0, -4.0].map(|target| (Mixture::new([(0.0, square)]), target));
        assert!((found(&normal(2.0)) * 5.5 - 1.0).abs() < 1e-6);
        assert_eq!(most_likely(&normal(8.0)), Precision::Infinite);
    }

    #[test]
    fn no_other_precision_is_more_likely_also_where_there_are_several_maxima() {
        // A draw of 64 close to the target and the others at distance 1: narrow noise for the one or wide noise for the others. But for
        // the same constant the logarithms of their likelihoods are about -ln(64 near) and 0, so that each wins once.
        let torn = |near: f64| (0..3).map(|_| (points(&[&[near][..], &[1.0; 63]].concat()), 0.0)).collect::<Vec<_>>();
        let broad = |far: usize| {
            let target = |i: usize| if i < far { 40.0 } else { 0.01 * (i as f64 - 7.5) };
            (0..16).map(|i| (points(&[-3.0, 0.0, 0.5, 6.0]), target(i))).collect::<Vec<_>>()
        };
        let mut maxima = Vec::new();
        for said in [torn(0.01), torn(0.02), broad(0), broad(1), broad(15)] {
            let best = found(&said);
            let all: Vec<f64> = (-400..800).map(|i| likelihood(&said, (0.02 * f64::from(i)).exp())).collect();
            let most = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            assert!(likelihood(&said, best) >= most - 1e-9 * most.abs(), "{best}: {} {most}", likelihood(&said, best));
            maxima.push(all.windows(3).filter(|at| at[1] > at[0] && at[1] > at[2]).count());
        }
        assert_eq!(maxima, [2, 2, 1, 1, 1]);
        assert!(found(&torn(0.01)) > 1e3 && found(&torn(0.02)) < 10.0, "the higher of two maxima");
    }

    #[test]
    fn targets_that_draws_have_said_leave_no_noise() {
        let said = [1.0, 2.0].map(|target| (points(&[1.0, 2.0, 5.0]), target));
        assert_eq!(most_likely(&said), Precision::Infinite);
        let said = [1.0, 2.5].map(|target| (points(&[1.0, 2.0, 5.0]), target));
        assert!(matches!(most_likely(&said), Precision::At(_)));
    }
}
