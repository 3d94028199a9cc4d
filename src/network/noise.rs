//! What dropout multiplies with: masks, Gaussian noise, the masks of alpha dropout, relaxed ones; and the numbers of those.

use serde::{Deserialize, Serialize};

use super::KeepProb;
use crate::{Error, Result};

/// What a unit is multiplied with, p its keep_prob.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub enum Noise {
    /// 1 / p with probability p, else 0.
    #[default]
    Bernoulli,
    /// A normal number of mean 1 and variance (1 - p) / p, those of the above (Srivastava et al. 2014, section 10).
    Gaussian,
    /// Of SELU networks (Klambauer et al., NeurIPS 2017; `nn.AlphaDropout`): a dropped unit becomes SELU's lower bound, and all are moved
    /// and scaled so that mean 0 and variance 1 stay: `y = a (kept ? x : alpha') + b`, `alpha' = -1.7581`, `a = (p + alpha'^2 p (1 -
    /// p))^(-1/2)`, `b = -a (1 - p) alpha'`.
    Alpha,
    /// Concrete dropout, whose rate is learned.
    Concrete(Concrete),
}

/// Concrete dropout (Gal, Hron and Kendall, NeurIPS 2017): a relaxed mask, through which the drop probability q is learned too. The
/// site's keep is where 1 - q begins.
///
/// ```text
/// z = s((log q - log(1 - q) + log u - log(1 - u)) / temperature)      u uniform, s the logistic function
/// y = x (1 - z) / (1 - q)
/// loss + weight_regularizer |W|^2 / (1 - q) + dropout_regularizer K (q log q + (1 - q) log(1 - q))
/// ```
///
/// W is the weight matrix of the layer behind it, without its bias, K the features that are dropped from. In the paper's terms, of N rows, prior length scale l and
/// precision tau: weight_regularizer = l^2 / (tau N), dropout_regularizer = 2 / (tau N); tau = 1 for classes. An optimizer's weight decay
/// acts on the rate too, towards 1/2: leave the weights to weight_regularizer. The layer behind it is dense or a convolution, in the same
/// list, with nothing but layers without weights between.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table such as { weight_regularizer = 1e-6, dropout_regularizer = 1e-5 }")]
pub struct Concrete {
    /// How far the mask is relaxed: above 0; the paper's is 0.1.
    #[serde(default = "Concrete::paper_temperature")]
    pub temperature: f64,
    /// Of the weights behind it.
    pub weight_regularizer: f64,
    /// Of the entropy of the mask.
    pub dropout_regularizer: f64,
}

impl Noise {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bernoulli => "bernoulli",
            Self::Gaussian => "gaussian",
            Self::Alpha => "alpha",
            Self::Concrete(_) => "concrete",
        }
    }
}

impl Concrete {
    fn paper_temperature() -> f64 {
        0.1
    }

    /// The regularizers for so many rows of training data, a prior length scale and a precision.
    pub fn new(rows: u32, length_scale: f64, precision: f64) -> Self {
        let n = f64::from(rows) * precision;
        Self {
            temperature: Self::paper_temperature(),
            weight_regularizer: length_scale * length_scale / n,
            dropout_regularizer: 2.0 / n,
        }
    }
}

/// `alpha' = -lambda alpha`, what SELU tends to at minus infinity (Klambauer et al., NeurIPS 2017): what alpha dropout puts in
/// the place of a dropped unit.
pub const SELU_LIMIT: f64 = -1.758_099_340_847_376_6;

/// The standard deviation of multiplicative Gaussian noise that stands in for dropout (Srivastava et al., JMLR 2014, section 10):
///
/// ```text
/// y = x (1 + sigma n), n standard normal;  sigma = sqrt((1 - p) / p), p = keep_prob
/// ```
///
/// y has the mean and the variance that inverted dropout with this keep_prob gives x: `E y = x`, `Var y = x^2 (1 - p) / p`.
/// At keep_prob 1 it is 0, and y = x. PyTorch has no such layer; it is Keras' `GaussianDropout(1 - p)`.
///
/// ```
/// use thinnet::{KeepProb, network::gaussian_sigma};
/// assert_eq!(gaussian_sigma(KeepProb::new(0.8)?)?, 0.5);
/// # Ok::<(), thinnet::Error>(())
/// ```
///
/// # Errors
/// keep_prob 0, whose noise would be infinite.
pub fn gaussian_sigma(keep: KeepProb) -> Result<f32> {
    match keep.get() {
        0.0 => Err(Error::KeepProb {
            option: "keep_prob",
            value: 0.0,
            reason: "Gaussian noise has variance (1 - keep_prob) / keep_prob, which is infinite here; use a value above 0",
        }),
        p => Ok(((1.0 - p) / p).sqrt() as f32),
    }
}

/// a and b of alpha dropout (Klambauer et al., NeurIPS 2017, section "New dropout technique"; PyTorch's `nn.AlphaDropout`):
///
/// ```text
/// y = a (keep ? x : alpha') + b;  a = 1 / sqrt(q + alpha'^2 q (1 - q)), b = -a (1 - q) alpha', q = T / 2^32
/// ```
///
/// x of mean 0 and variance 1, which SELU makes, leaves y with mean 0 and variance 1, at every keep_prob above 0. At keep_prob 1 they are
/// 1 and 0, and y = x; at keep_prob 0 both are 0, and so is y, as in PyTorch.
///
/// ```
/// use thinnet::{KeepProb, network::alpha_affine};
/// assert_eq!(alpha_affine(KeepProb::ONE), [1.0, 0.0]);
/// assert_eq!(alpha_affine(KeepProb::new(0.0)?), [0.0, 0.0]);
/// # Ok::<(), thinnet::Error>(())
/// ```
pub fn alpha_affine(keep: KeepProb) -> [f64; 2] {
    let q = keep.threshold() as f64 / 4_294_967_296.0;
    if q == 0.0 {
        return [0.0, 0.0];
    }
    let a = 1.0 / (q + SELU_LIMIT * SELU_LIMIT * q * (1.0 - q)).sqrt();
    // Not -0 where nothing is dropped.
    [a, a * (1.0 - q) * -SELU_LIMIT]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEPS: [f64; 7] = [1e-6, 0.05, 0.5, 0.8, 0.9, 0.999, 1.0];

    /// Dropout gives x = 1 the two values 0 and 1 / p.
    #[test]
    fn gaussian_noise_has_the_variance_of_dropout() {
        for p in KEEPS {
            let of_dropout = (1.0 - p) + p * (1.0 / p - 1.0) * (1.0 / p - 1.0);
            let sigma = f64::from(gaussian_sigma(KeepProb::new(p).unwrap()).unwrap());
            assert!((sigma * sigma - of_dropout).abs() <= 2e-7 * of_dropout, "{p}: {sigma}");
        }
        let error = gaussian_sigma(KeepProb::new(0.0).unwrap()).unwrap_err().to_string();
        assert!(error.contains("keep_prob 0") && error.contains("above 0"), "{error}");
    }

    /// The mean and the second moment of y, over the mask and over any x of mean 0 and variance 1.
    #[test]
    fn alpha_dropout_keeps_mean_and_variance() {
        for p in KEEPS {
            let keep = KeepProb::new(p).unwrap();
            let q = keep.threshold() as f64 / 4_294_967_296.0;
            let [a, b] = alpha_affine(keep);
            let mean = (1.0 - q) * a * SELU_LIMIT + b;
            // E (a x + b)^2 = a^2 + b^2.
            let square = q * (a * a + b * b) + (1.0 - q) * (a * SELU_LIMIT + b).powi(2);
            // Some ten roundings of numbers of the size of a.
            assert!(mean.abs() <= 1e-15 * a && (square - 1.0).abs() <= 1e-14, "{p}: mean {mean}, square {square}");
        }
    }

    /// PyTorch 2: `a = ((alpha' ** 2 * p + 1) * (1 - p)) ** -0.5` with the drop probability p; its b is `alpha' a p`, subtracted.
    #[test]
    fn alpha_dropout_has_the_factors_of_pytorch() {
        let p = 0.2;
        let a = ((SELU_LIMIT * SELU_LIMIT * p + 1.0) * (1.0 - p)).powf(-0.5);
        let [got, b] = alpha_affine(KeepProb::new(1.0 - p).unwrap());
        // T is rounded to 2^-33.
        assert!((got - a).abs() < 1e-9 && (b + SELU_LIMIT * a * p).abs() < 1e-9, "{got} {b}");
    }
}
