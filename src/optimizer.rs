//! Optimizers: their options, and the scalars of each step, computed in f64 and rounded once.

use serde::{Deserialize, Serialize};

use crate::plan::Update;
use crate::step::OptimizerStep;
use crate::{Error, Result};

/// How the gradient changes the weights; semantics of `torch.optim`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Optimizer {
    /// `v = momentum v + g; w -= lr v`.
    Sgd {
        /// Learning rate.
        lr: f64,
        /// Momentum, 0 for none.
        #[serde(default)]
        momentum: f64,
    },
    /// Adam (Kingma and Ba, ICLR 2015): `m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2;
    /// w -= lr (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps)`.
    Adam {
        /// Learning rate.
        lr: f64,
        /// Decay of the first moment.
        beta1: f64,
        /// Decay of the second moment.
        beta2: f64,
        /// Keeps the division from blowing up.
        epsilon: f64,
    },
}

impl Optimizer {
    /// SGD without momentum.
    pub fn sgd(lr: f64) -> Self {
        Self::Sgd { lr, momentum: 0.0 }
    }

    /// SGD with momentum.
    pub fn momentum(lr: f64, momentum: f64) -> Self {
        Self::Sgd { lr, momentum }
    }

    /// Adam with PyTorch's defaults: betas 0.9 and 0.999, epsilon 1e-8.
    pub fn adam(lr: f64) -> Self {
        Self::Adam { lr, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }

    /// The kernel that updates the weights.
    pub fn update(&self) -> Update {
        match self {
            Self::Sgd { .. } => Update::Sgd,
            Self::Adam { .. } => Update::Adam,
        }
    }

    /// Checks every number.
    ///
    /// # Errors
    /// A number that is not finite, negative, or a decay that is not below 1.
    pub fn check(&self) -> Result<()> {
        let bad =
            |option, value: f64, problem: &str| Err(Error::Option { option, value: value.to_string(), problem: problem.into() });
        // What counts is the number that the device gets, an f32.
        let positive = |option, value: f64| match (f32::MIN_POSITIVE..=f32::MAX).contains(&(value as f32)) {
            true => Ok(()),
            false => bad(option, value, "must be a positive number that an f32 can hold, from 1.2e-38 to 3.4e38"),
        };
        let decay = |option, value: f64| match (0.0..1.0).contains(&value) && (value as f32) < 1.0 {
            true => Ok(()),
            false => bad(option, value, "must lie from 0 to below 1, also as an f32"),
        };
        match *self {
            Self::Sgd { lr, momentum } => positive("lr", lr).and(decay("momentum", momentum)),
            Self::Adam { lr, beta1, beta2, epsilon } => {
                positive("lr", lr).and(decay("beta1", beta1)).and(decay("beta2", beta2)).and(positive("epsilon", epsilon))
            }
        }
    }

    /// The scalars of update number `t`, counted from 1.
    pub fn step(&self, t: u64, weight_decay: f64) -> OptimizerStep {
        let weight_decay = weight_decay as f32;
        match *self {
            Self::Sgd { lr, momentum } => {
                OptimizerStep { learning_rate: lr as f32, weight_decay, beta1: momentum as f32, ..OptimizerStep::default() }
            }
            Self::Adam { lr, beta1, beta2, epsilon } => {
                let t = t as f64;
                OptimizerStep {
                    learning_rate: (lr / (1.0 - libm::pow(beta1, t))) as f32,
                    weight_decay,
                    beta1: beta1 as f32,
                    one_minus_beta1: (1.0 - beta1) as f32,
                    beta2: beta2 as f32,
                    one_minus_beta2: (1.0 - beta2) as f32,
                    root_bias2: libm::sqrt(1.0 - libm::pow(beta2, t)) as f32,
                    epsilon: epsilon as f32,
                }
            }
        }
    }
}
