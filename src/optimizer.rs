//! Optimizers: their options, and the scalars of each step, computed in f64 and rounded once.

use serde::{Deserialize, Serialize};

use crate::plan::Update;
use crate::step::OptimizerStep;
use crate::{Error, Result};

pub mod prior;
mod rates;

pub use prior::{Prior, precision_of, weight_decay_of};
pub use rates::{LrSchedule, MomentumRamp};

/// How the gradient changes the weights; semantics of `torch.optim`.
///
/// `weight_decay` is coupled (g = dw + weight_decay w, L2 regularisation), except in AdamW, where it is decoupled.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Optimizer {
    /// `v = momentum v + g; w -= lr v`; with Nesterov momentum `w -= lr (g + momentum v)`.
    Sgd {
        /// Learning rate.
        lr: f64,
        /// Momentum. Default 0, none.
        #[serde(default)]
        momentum: f64,
        /// Nesterov's momentum (Sutskever et al., ICML 2013). Default false.
        #[serde(default)]
        nesterov: bool,
    },
    /// Adam (Kingma and Ba, ICLR 2015): `m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2;
    /// w -= lr (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps)`.
    Adam {
        /// Learning rate.
        lr: f64,
        /// Decay of the first moment. Default 0.9.
        #[serde(default = "default::beta1")]
        beta1: f64,
        /// Decay of the second moment. Default 0.999.
        #[serde(default = "default::beta2")]
        beta2: f64,
        /// Keeps the division from blowing up. Default 1e-8.
        #[serde(default = "default::epsilon")]
        epsilon: f64,
    },
    /// Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019): `w -= lr weight_decay w` before Adam's step.
    #[serde(rename = "adamw")]
    AdamW {
        /// Learning rate.
        lr: f64,
        /// Decay of the first moment. Default 0.9.
        #[serde(default = "default::beta1")]
        beta1: f64,
        /// Decay of the second moment. Default 0.999.
        #[serde(default = "default::beta2")]
        beta2: f64,
        /// Keeps the division from blowing up. Default 1e-8.
        #[serde(default = "default::epsilon")]
        epsilon: f64,
    },
    /// RMSprop (Tieleman and Hinton 2012): `v = alpha v + (1-alpha) g^2; m = momentum m + g / (sqrt(v) + eps); w -= lr m`.
    #[serde(rename = "rmsprop")]
    RmsProp {
        /// Learning rate.
        lr: f64,
        /// Decay of the mean of squared gradients. Default 0.99.
        #[serde(default = "default::alpha")]
        alpha: f64,
        /// Keeps the division from blowing up. Default 1e-8.
        #[serde(default = "default::epsilon")]
        epsilon: f64,
        /// Momentum. Default 0, none.
        #[serde(default)]
        momentum: f64,
    },
}

/// PyTorch's defaults.
mod default {
    pub(super) fn beta1() -> f64 {
        0.9
    }
    pub(super) fn beta2() -> f64 {
        0.999
    }
    pub(super) fn alpha() -> f64 {
        0.99
    }
    pub(super) fn epsilon() -> f64 {
        1e-8
    }
}

impl Optimizer {
    /// SGD without momentum.
    pub fn sgd(lr: f64) -> Self {
        Self::momentum(lr, 0.0)
    }

    /// SGD with momentum.
    pub fn momentum(lr: f64, momentum: f64) -> Self {
        Self::Sgd { lr, momentum, nesterov: false }
    }

    /// SGD with Nesterov's momentum.
    pub fn nesterov(lr: f64, momentum: f64) -> Self {
        Self::Sgd { lr, momentum, nesterov: true }
    }

    /// Adam with PyTorch's defaults: betas 0.9 and 0.999, epsilon 1e-8.
    pub fn adam(lr: f64) -> Self {
        Self::Adam { lr, beta1: default::beta1(), beta2: default::beta2(), epsilon: default::epsilon() }
    }

    /// AdamW with PyTorch's betas 0.9 and 0.999 and epsilon 1e-8. How much the weights decay is said by
    /// [`TrainOptions::weight_decay`](crate::TrainOptions::weight_decay), PyTorch's default is 0.01; at 0 this is Adam.
    pub fn adamw(lr: f64) -> Self {
        Self::AdamW { lr, beta1: default::beta1(), beta2: default::beta2(), epsilon: default::epsilon() }
    }

    /// RMSprop with PyTorch's defaults: alpha 0.99, epsilon 1e-8, no momentum.
    pub fn rmsprop(lr: f64) -> Self {
        Self::RmsProp { lr, alpha: default::alpha(), epsilon: default::epsilon(), momentum: 0.0 }
    }

    /// The kernel that updates the weights.
    pub fn update(&self) -> Update {
        match self {
            Self::Sgd { .. } => Update::Sgd,
            Self::Adam { .. } | Self::AdamW { .. } => Update::Adam,
            Self::RmsProp { .. } => Update::RmsProp,
        }
    }

    /// The learning rate.
    pub fn lr(&self) -> f64 {
        match *self {
            Self::Sgd { lr, .. } | Self::Adam { lr, .. } | Self::AdamW { lr, .. } | Self::RmsProp { lr, .. } => lr,
        }
    }

    /// The same with another learning rate.
    pub fn with_lr(mut self, new: f64) -> Self {
        match &mut self {
            Self::Sgd { lr, .. } | Self::Adam { lr, .. } | Self::AdamW { lr, .. } | Self::RmsProp { lr, .. } => *lr = new,
        }
        self
    }

    /// The momentum, where the optimizer has one; Adam's is `beta1`, which bias correction ties to t.
    pub fn momentum_mut(&mut self) -> Option<&mut f64> {
        match self {
            Self::Sgd { momentum, .. } | Self::RmsProp { momentum, .. } => Some(momentum),
            Self::Adam { .. } | Self::AdamW { .. } => None,
        }
    }

    /// Checks every number.
    ///
    /// # Errors
    /// A number that is not finite, negative, or a decay that is not below 1; Nesterov momentum of 0.
    pub fn check(&self) -> Result<()> {
        match *self {
            Self::Sgd { lr, momentum, nesterov } => {
                if nesterov && momentum == 0.0 {
                    let problem = "Nesterov's momentum needs a momentum above 0, such as 0.9".into();
                    return Err(Error::Option { option: "nesterov", value: "true".into(), problem });
                }
                positive("lr", lr).and(decay("momentum", momentum))
            }
            Self::Adam { lr, beta1, beta2, epsilon } | Self::AdamW { lr, beta1, beta2, epsilon } => {
                positive("lr", lr).and(decay("beta1", beta1)).and(decay("beta2", beta2)).and(positive("epsilon", epsilon))
            }
            Self::RmsProp { lr, alpha, epsilon, momentum } => {
                positive("lr", lr).and(decay("alpha", alpha)).and(positive("epsilon", epsilon)).and(decay("momentum", momentum))
            }
        }
    }

    /// The scalars of update number `t`, counted from 1.
    pub fn step(&self, t: u64, weight_decay: f64) -> OptimizerStep {
        let common = OptimizerStep { learning_rate: self.lr() as f32, weight_decay: weight_decay as f32, ..Default::default() };
        match *self {
            Self::Sgd { momentum, nesterov, .. } => {
                OptimizerStep { beta1: momentum as f32, nesterov: u32::from(nesterov), ..common }
            }
            Self::Adam { lr, beta1, beta2, epsilon } => adam(common, lr, [beta1, beta2], t, epsilon),
            Self::AdamW { lr, beta1, beta2, epsilon } => OptimizerStep {
                weight_decay: 0.0,
                decoupled_decay: (lr * weight_decay) as f32,
                ..adam(common, lr, [beta1, beta2], t, epsilon)
            },
            Self::RmsProp { alpha, epsilon, momentum, .. } => OptimizerStep {
                beta1: momentum as f32,
                beta2: alpha as f32,
                one_minus_beta2: (1.0 - alpha) as f32,
                epsilon: epsilon as f32,
                ..common
            },
        }
    }
}

fn adam(common: OptimizerStep, lr: f64, [beta1, beta2]: [f64; 2], t: u64, epsilon: f64) -> OptimizerStep {
    let t = t as f64;
    OptimizerStep {
        learning_rate: (lr / (1.0 - libm::pow(beta1, t))) as f32,
        beta1: beta1 as f32,
        one_minus_beta1: (1.0 - beta1) as f32,
        beta2: beta2 as f32,
        one_minus_beta2: (1.0 - beta2) as f32,
        root_bias2: libm::sqrt(1.0 - libm::pow(beta2, t)) as f32,
        epsilon: epsilon as f32,
        ..common
    }
}

/// # Errors
/// What counts is the number that the device gets, an f32: it must be positive and finite.
fn positive(option: &'static str, value: f64) -> Result<()> {
    match (f32::MIN_POSITIVE..=f32::MAX).contains(&(value as f32)) {
        true => Ok(()),
        false => {
            let problem = "must be a positive number that an f32 can hold, from 1.2e-38 to 3.4e38".into();
            Err(Error::Option { option, value: value.to_string(), problem })
        }
    }
}

/// # Errors
/// The decay of a running mean lies in [0, 1), also as an f32.
fn decay(option: &'static str, value: f64) -> Result<()> {
    match (0.0..1.0).contains(&value) && (value as f32) < 1.0 {
        true => Ok(()),
        false => {
            let problem = "must lie from 0 to below 1, also as an f32".into();
            Err(Error::Option { option, value: value.to_string(), problem })
        }
    }
}
