//! Rates that change while training: the learning rate and the momentum as functions of the time.
//!
//! Time x is the number of epochs trained so far, a real number that grows with every update. At the beginning of an epoch the
//! learning rates are those of `torch.optim.lr_scheduler` stepped once an epoch.

use serde::{Deserialize, Deserializer, Serialize};

use crate::{Error, Result};

/// The factor of the learning rate at time x.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum LrSchedule {
    /// `1`.
    #[default]
    Constant,
    /// `factor^floor(x / every)`: PyTorch's `StepLR`.
    Step {
        /// Epochs from one step to the next.
        every: f64,
        /// What the rate is multiplied by.
        factor: f64,
    },
    /// `factor^x`: PyTorch's `ExponentialLR`.
    Exponential {
        /// What the rate is multiplied by in an epoch.
        factor: f64,
    },
    /// `floor + (1 - floor) (1 + cos(pi min(1, x / epochs))) / 2` (Loshchilov and Hutter, ICLR 2017): PyTorch's
    /// `CosineAnnealingLR`, with `floor = eta_min / lr`.
    Cosine {
        /// When the rate has come down, normally the last epoch; in network files that is the default, elsewhere it must be given.
        #[serde(default = "unknown", deserialize_with = "number")]
        epochs: f64,
        /// The share of the rate that is left then. Default 0.
        #[serde(default)]
        floor: f64,
    },
    /// `1 / (1 + decay x)`.
    InverseTime {
        /// How fast the rate falls.
        decay: f64,
    },
}

/// What a file leaves out, until the network file's table knows the last epoch; [`LrSchedule::check`] refuses it.
fn unknown() -> f64 {
    f64::NAN
}

/// A NaN that a file writes is not the one that it leaves out.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<f64, D::Error> {
    let number = f64::deserialize(deserializer)?;
    if number.is_nan() { Err(serde::de::Error::custom("NaN is not a number")) } else { Ok(number) }
}

impl LrSchedule {
    /// The factor at time `x`.
    pub fn factor(&self, x: f64) -> f64 {
        match *self {
            Self::Constant => 1.0,
            // A step that falls on an update must not be missed by a rounded quotient.
            Self::Step { every, factor } => libm::pow(factor, libm::floor(x / every + 1e-9)),
            Self::Exponential { factor } => libm::pow(factor, x),
            Self::Cosine { epochs, floor } => {
                floor + (1.0 - floor) * (1.0 + libm::cos(std::f64::consts::PI * (x / epochs).min(1.0))) / 2.0
            }
            Self::InverseTime { decay } => 1.0 / (1.0 + decay * x),
        }
    }

    /// Checks every number.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn check(&self) -> Result<()> {
        let bad = |option, value: f64, problem: &str| {
            Err(Error::Option { option, value: value.to_string(), problem: problem.to_owned() })
        };
        let positive = |option, value: f64| match value.is_finite() && value > 0.0 {
            true => Ok(()),
            false => bad(option, value, "must be a positive number"),
        };
        let share = |option, value: f64| match value > 0.0 && value <= 1.0 {
            true => Ok(()),
            false => bad(option, value, "must lie above 0 and at most at 1: a schedule lowers the rate"),
        };
        match *self {
            Self::Constant => Ok(()),
            Self::Step { every, factor } => positive("schedule.step.every", every).and(share("schedule.step.factor", factor)),
            Self::Exponential { factor } => share("schedule.exponential.factor", factor),
            Self::Cosine { epochs, floor } => {
                let floor = if floor == 0.0 { Ok(()) } else { share("schedule.cosine.floor", floor) };
                positive("schedule.cosine.epochs", epochs).and(floor)
            }
            Self::InverseTime { decay } => positive("schedule.inverse_time.decay", decay),
        }
    }
}

/// Momentum that grows linearly, `from + (to - from) min(1, x / epochs)`, to that of the optimizer (Srivastava et al., JMLR
/// 2014, appendix A.2, let it grow from 0.5 while the weights settle).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MomentumRamp {
    /// Where it begins.
    pub from: f64,
    /// When it has reached the optimizer's.
    pub epochs: f64,
}

impl MomentumRamp {
    /// The momentum at time `x` on the way to `to`.
    pub fn momentum(&self, to: f64, x: f64) -> f64 {
        self.from + (to - self.from) * (x / self.epochs).min(1.0)
    }
}
