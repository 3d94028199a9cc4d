//! What training minimises, and how outputs and targets belong together.

use serde::{Deserialize, Serialize};

/// The least logarithm of a variance that [`Loss::GaussianNll`] knows: a standard deviation of e^-10 = 4.5e-5.
///
/// It bounds the precision `e^-s` by 4.9e8, which neither overflows f32 nor, squared, an optimizer's second moment.
pub const LEAST_LOG_VARIANCE: f32 = -20.0;

/// What training minimises.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Loss {
    /// `L = mean over the batch of -log softmax(z)[label]`; labels are class indices, z the network's output.
    #[default]
    SoftmaxCrossEntropy,
    /// `L = mean over the batch and the outputs of -t log s(z) - (1 - t) log(1 - s(z))`, s the sigmoid, targets t in 0..=1:
    /// PyTorch's `BCEWithLogitsLoss`. A row is right where every output is on its target's side of 1/2.
    BinaryCrossEntropy,
    /// `L = mean over the batch and the outputs of (z - t)^2`: PyTorch's `MSELoss`. No row is right or wrong.
    MeanSquaredError,
    /// The negative log-likelihood of targets with a noise of their own (Nix and Weigend, ICNN 1994; Kendall and Gal, NeurIPS
    /// 2017, equation 8): `L = mean over the batch and the targets of (s + (t - mu)^2 e^-s) / 2`.
    ///
    /// The network has 2 k outputs for k targets: the first k are the means mu, in the targets' unit, the last k the logarithms s
    /// of the variances. The constant log(2 pi) / 2 is left out, as in PyTorch's `GaussianNLLLoss(full=False)`; L may be
    /// negative. Below [`LEAST_LOG_VARIANCE`] s counts as that, and has gradient 0: L is the likelihood under the variance
    /// `e^max(s, -20)`, and its gradient that of this function (0.5 (1 - (t - mu)^2 e^20) at the bound itself). Upwards nothing
    /// can overflow. (PyTorch bounds the variance by 1e-6 and lets the gradient pass.) Targets with residuals near 4.5e-5 need
    /// another unit: standardise them. No row is right or wrong.
    GaussianNll,
}

impl Loss {
    /// Whether a row can be right or wrong, so that there is an accuracy.
    pub fn has_accuracy(self) -> bool {
        matches!(self, Self::SoftmaxCrossEntropy | Self::BinaryCrossEntropy)
    }
}

/// The standard deviation that [`Loss::GaussianNll`] reads from an output s: `e^(max(s, -20) / 2)`; NaN stays NaN.
pub fn deviation(log_variance: f32) -> f32 {
    let bounded = if log_variance < LEAST_LOG_VARIANCE { LEAST_LOG_VARIANCE } else { log_variance };
    libm::exp(f64::from(bounded) / 2.0) as f32
}
