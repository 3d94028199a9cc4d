//! How to train, as plain data.

use serde::{Deserialize, Serialize};

use crate::data::Augmentation;
use crate::optimizer::{LrSchedule, MomentumRamp, Optimizer};
use crate::plan::{Gradient, Training};
use crate::step::OptimizerStep;
use crate::{Error, Result};

/// How to train. The defaults are Adam at 0.001, batches of 32, seed 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainOptions {
    /// Seed of everything random: initial weights, order of the rows, masks.
    pub seed: u64,
    /// Rows of a step; the last step of an epoch has what is left.
    pub batch: u32,
    /// Steps whose gradients make one update: `accumulate` batches of `batch` rows count as one batch of `accumulate * batch`,
    /// with the same masks and the same gradient but for the rounding of `accumulate` sums in f32 (6e-8 of their terms each), in
    /// less memory.
    pub accumulate: u32,
    /// How the gradient changes the weights.
    pub optimizer: Optimizer,
    /// L2 term, coupled: added to the gradient of every parameter as in `torch.optim`, g = dw + weight_decay w. AdamW's is decoupled.
    pub weight_decay: f64,
    /// The largest norm of the whole gradient: a longer one is shortened to it (Pascanu et al., ICML 2013;
    /// `torch.nn.utils.clip_grad_norm_`), before weight decay. A norm past 1.8e19, whose square no f32 holds, ends the training as
    /// diverged.
    pub clip_norm: Option<f64>,
    /// The largest norm of the incoming weights of a unit: after every update, longer rows of the weights are shortened to it
    /// (Srivastava et al., JMLR 2014, section 5.1, who use 3 to 4). Biases are free.
    pub max_norm: Option<f64>,
    /// How the learning rate changes with time.
    pub schedule: LrSchedule,
    /// Epochs in which the learning rate grows linearly to what the schedule says, from one update's share; 0 for none.
    pub warmup: f64,
    /// How the momentum grows; for optimizers that have one.
    pub momentum_ramp: Option<MomentumRamp>,
    /// How rows are changed in training, never in evaluation.
    pub augment: Augmentation,
    /// Whether the training data are also judged in evaluation mode after each epoch; the validation data always are.
    pub evaluate_train: bool,
    /// Number of the first epoch: the pass of its masks and the order of its rows. Training that goes on from the weights of
    /// n epochs begins with epoch n, so that no mask is drawn twice. Schedules, warm-up and ramps count from epoch 0 on, too: those of
    /// a training that begins at epoch n are as far as they would be there.
    pub first_epoch: u32,
    /// Bytes of device memory for inputs, of training and validation data together. Data sets that do not fit are streamed: each
    /// submission brings the rows of its batches, which changes no result. `None`: a data set is streamed only if it does not fit a
    /// binding of the device ([`crate::plan::Caps::max_binding`]). No adapter tells how much of its memory is free, so give a
    /// budget where it is scarce. While rows are on their way, up to three windows more are taken of the memory that host and
    /// device share; targets and sample numbers are resident and not counted.
    pub data_budget: Option<u64>,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            batch: 32,
            accumulate: 1,
            optimizer: Optimizer::adam(0.001),
            weight_decay: 0.0,
            clip_norm: None,
            max_norm: None,
            schedule: LrSchedule::Constant,
            warmup: 0.0,
            momentum_ramp: None,
            augment: Augmentation::default(),
            evaluate_train: false,
            first_epoch: 0,
            data_budget: None,
        }
    }
}

impl TrainOptions {
    /// Checks every option that can be judged without network and data.
    ///
    /// # Errors
    /// The first that cannot be used, with its value.
    pub fn check(&self) -> Result<()> {
        let bad = |option, value: String, problem: &str| Err(Error::Option { option, value, problem: problem.into() });
        for (option, value) in [("weight_decay", self.weight_decay), ("warmup", self.warmup)] {
            if !(value >= 0.0 && (value as f32).is_finite()) {
                return bad(option, short(value), "must be a number from 0 to 3.4e38, the largest of an f32");
            }
        }
        if self.batch == 0 {
            return bad("batch", "0".into(), "a batch has at least one row");
        }
        if self.accumulate == 0 {
            return bad("accumulate", "0".into(), "an update takes at least 1 step");
        }
        if self.data_budget == Some(0) {
            return bad("data_budget", "0".into(), "must hold a batch of inputs; leave it out for what fits the device");
        }
        if let Some(MomentumRamp { from, epochs }) = self.momentum_ramp {
            let mut optimizer = self.optimizer;
            let Some(momentum) = optimizer.momentum_mut() else {
                let value = format!("{from} over {epochs} epochs");
                return bad("momentum_ramp", value, "this optimizer has no momentum; use sgd or rmsprop");
            };
            if !(from >= 0.0 && from < *momentum) {
                let problem = "must lie from 0 to below the optimizer's momentum, to which it grows";
                return bad("momentum_ramp.from", from.to_string(), problem);
            }
            if !(epochs.is_finite() && epochs > 0.0) {
                return bad("momentum_ramp.epochs", epochs.to_string(), "must be a positive number");
            }
        }
        self.optimizer.check()?;
        self.schedule.check()?;
        self.augment.check()?;
        for (option, norm) in [("clip_norm", self.clip_norm), ("max_norm", self.max_norm)] {
            if let Some(norm) = norm
                && !(f32::MIN_POSITIVE..=f32::MAX).contains(&(norm as f32))
            {
                let problem = "must be a positive number that an f32 can hold, from 1.2e-38 to 3.4e38; leave it out for no limit";
                return bad(option, short(norm), problem);
            }
        }
        Ok(())
    }

    /// What the plans of this training do with the gradient.
    pub(crate) fn training(&self, gradient: Gradient) -> Training {
        let (clip_norm, max_norm) = (self.clip_norm.is_some(), self.max_norm.is_some());
        Training { update: self.optimizer.update(), gradient, clip_norm, max_norm, augment: self.augment }
    }

    /// The scalars of update number `t` (counted from 1, for Adam's bias corrections) at time `x`, which is
    /// [`TrainOptions::first_epoch`] at the beginning and grows by 1 an epoch, where an epoch has `updates` of them.
    pub fn optimizer_step(&self, t: u64, x: f64, updates: u32) -> OptimizerStep {
        let mut factor = self.schedule.factor(x);
        if self.warmup > 0.0 {
            factor *= ((x + 1.0 / f64::from(updates)) / self.warmup).min(1.0);
        }
        let mut optimizer = self.optimizer.with_lr(self.optimizer.lr() * factor);
        if let (Some(ramp), Some(momentum)) = (self.momentum_ramp, optimizer.momentum_mut()) {
            *momentum = ramp.momentum(*momentum, x);
        }
        OptimizerStep {
            clip_norm: self.clip_norm.unwrap_or(f64::INFINITY) as f32,
            max_norm: self.max_norm.unwrap_or(f64::INFINITY) as f32,
            ..optimizer.step(t, self.weight_decay)
        }
    }
}

/// A number as people write it, 1e300 and not its 300 zeros.
fn short(value: f64) -> String {
    if value == 0.0 || !value.is_finite() || (1e-6..1e9).contains(&value.abs()) {
        value.to_string()
    } else {
        format!("{value:e}")
    }
}
