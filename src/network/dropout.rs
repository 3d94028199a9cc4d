//! Dropout as data: [`KeepProb`], the only place with the threshold and 1 / keep_prob, and the variants' types.

use serde::{Deserialize, Serialize};

use super::{Concrete, Noise, Schedule, Shape, Unit, dropout_file, noise};
use crate::{Error, Result};

/// The probability that a unit is kept: in [0, 1]. The only place that knows the threshold and 1 / keep_prob.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct KeepProb(f64);

impl KeepProb {
    /// Keeps every unit.
    pub const ONE: KeepProb = KeepProb(1.0);

    /// Checks a keep_prob.
    ///
    /// # Errors
    /// NaN, values outside [0, 1], and positive values below 2^-33, whose threshold would be 0.
    pub fn new(keep_prob: f64) -> Result<Self> {
        let error = |reason| Err(Error::KeepProb { option: "keep_prob", value: keep_prob, reason });
        if keep_prob.is_nan() {
            return error("it is not a number; use a value from 0 to 1");
        }
        if !(0.0..=1.0).contains(&keep_prob) {
            return error("a probability lies from 0 to 1; if you mean a percentage, divide by 100");
        }
        if keep_prob > 0.0 && Self(keep_prob).threshold() == 0 {
            return error("it is below 2^-33, the resolution of a mask; use 0 to drop everything");
        }
        Ok(Self(keep_prob))
    }

    /// The probability.
    pub fn get(self) -> f64 {
        self.0
    }

    /// T = round(keep_prob * 2^32); a unit is kept if and only if T = 2^32 or its word is below T.
    pub fn threshold(self) -> u64 {
        (self.0 * 4_294_967_296.0).round() as u64
    }

    /// The factor of inverted dropout, f32(2^32 / T), which is 1 / keep_prob; 0 at keep_prob 0.
    pub fn scale(self) -> f32 {
        match self.threshold() {
            0 => 0.0,
            t => (4_294_967_296.0 / t as f64) as f32,
        }
    }

    /// Whether a unit with this word is kept.
    pub fn keeps(self, word: u32) -> bool {
        u64::from(word) < self.threshold()
    }
}

impl TryFrom<f64> for KeepProb {
    type Error = Error;

    fn try_from(keep_prob: f64) -> Result<Self> {
        Self::new(keep_prob)
    }
}

impl From<KeepProb> for f64 {
    fn from(keep_prob: KeepProb) -> Self {
        keep_prob.0
    }
}

/// Dropout (Srivastava et al., JMLR 2014) of what comes before it.
///
/// ```text
/// inverted   training: y = x / keep_prob where the mask keeps a unit, 0 elsewhere    evaluation: absent
/// vanilla    training: y = x             where the mask keeps a unit, 0 elsewhere    evaluation: y = keep_prob x
/// units      training: y = x n / k       where the batch keeps a unit, 0 elsewhere   evaluation: absent
/// ```
///
/// batch      as inverted, with one mask for all samples of an optimizer step
///
/// The first two draw a mask for every sample. Per-batch unit dropout draws one set of exactly k of the n units at every
/// optimizer step, which all rows of the batch share, see [`Dropout::units`]: another regulariser. What is dropped as one, a single
/// feature, a whole channel, a block or a whole sample, is [`Dropout::unit`].
///
/// In files `{ keep = 0.8 }`, or `{ drop = 0.2 }`, with `mode = "vanilla"`, `mode = "batch"` or `mode = "units"`, and for the unit
/// `spatial = 2`, `shared_axes = [1, 2]`, `block = 5`, `path = true`, `variational = true` or `weights = true` (DropConnect); `noise = "gaussian"`,
/// `noise = "alpha"` or `concrete = { weight_regularizer = 1e-6, dropout_regularizer = 1e-5 }`; `schedule = { linear = 1000 }`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "dropout_file::Fields", into = "dropout_file::Fields")]
pub struct Dropout {
    /// The probability that a unit is kept.
    pub keep: KeepProb,
    /// What is kept or dropped as one.
    pub unit: Unit,
    /// What is drawn for whom, and where the activations are scaled.
    pub mode: DropoutMode,
    /// The site of the mask contract; `None` counts the network's dropout layers from 0.
    pub site: Option<u32>,
    /// What a unit is multiplied with.
    pub noise: Noise,
    /// How the rate moves during a training; `None`: it stays.
    pub schedule: Option<Schedule>,
}

/// What is dropped, and how activations are scaled so that training and evaluation agree in the mean.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DropoutMode {
    /// A mask for every sample; scaled in training, by 1 / keep_prob. PyTorch's.
    #[default]
    Inverted,
    /// A mask for every sample; scaled in evaluation, by keep_prob. The paper's.
    Vanilla,
    /// One mask for all samples of an optimizer step, drawn for each step; scaled in training, by 1 / keep_prob.
    Batch,
    /// One set of exactly k units for the whole batch; scaled in training, by n / k.
    Units,
}

impl DropoutMode {
    pub(super) fn is_inverted(&self) -> bool {
        *self == Self::Inverted
    }
}

impl Dropout {
    /// Keeps everything.
    pub(crate) const NONE: Self = Self {
        keep: KeepProb::ONE,
        unit: Unit::Element,
        mode: DropoutMode::Inverted,
        site: None,
        noise: Noise::Bernoulli,
        schedule: None,
    };

    /// Inverted dropout that keeps a unit with probability `keep_prob`.
    ///
    /// # Errors
    /// See [`KeepProb::new`].
    pub fn keep(keep_prob: f64) -> Result<Self> {
        Ok(Self { keep: KeepProb::new(keep_prob)?, ..Self::NONE })
    }

    /// Inverted dropout that drops a unit with probability `drop_prob`: `keep_prob = 1 - drop_prob`, PyTorch's `p`.
    ///
    /// # Errors
    /// As [`Dropout::keep`], naming the drop probability.
    pub fn drop(drop_prob: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&drop_prob) {
            let reason = "a probability lies from 0 to 1; if you mean a percentage, divide by 100";
            return Err(Error::KeepProb { option: "drop_prob", value: drop_prob, reason });
        }
        // The one thing that can be wrong with what is left.
        let reason = "it is above 1 - 2^-33, the resolution of a mask; use 1 to drop everything";
        Self::keep(1.0 - drop_prob).map_err(|_| Error::KeepProb { option: "drop_prob", value: drop_prob, reason })
    }

    /// The same as vanilla dropout, which scales in evaluation instead of in training.
    pub fn vanilla(self) -> Self {
        Self { mode: DropoutMode::Vanilla, ..self }
    }

    /// Per-batch unit dropout: at every optimizer step one set of exactly k = [`Dropout::kept_count`] of the n units is drawn
    /// for the whole batch, so that a smaller network is trained: without the dropped units, their weights and gradients.
    ///
    /// ```text
    /// kept   = the k units with the smallest (word, unit); k = clamp(round(keep_prob n), 1, n), 0 at keep_prob 0
    /// word   at stream 6, the site, pass = the optimizer step from 0, sample 0
    /// y      = x n / k where a unit is kept, 0 elsewhere
    /// ```
    ///
    /// The mean over the sets is the identity on x, so evaluation needs no factor. All rows of a batch see the same network,
    /// which is another regulariser than a mask for every sample ([`Dropout::keep`]): neither stands in for the other. The sets
    /// follow the optimizer step: equal however a batch is split into accumulated steps, other ones for another batch size.
    ///
    /// ```
    /// use thinnet::{Dense, Dropout, Network};
    /// let dropout = Dropout::units(0.5)?;
    /// assert_eq!((dropout.kept_count(7), dropout.train_scale(7)), (4, 1.75));
    /// let network = Network::new(64).dense(Dense::new(128)).dropout(dropout).dense(Dense::new(10));
    /// # Ok::<(), thinnet::Error>(())
    /// ```
    ///
    /// # Errors
    /// See [`KeepProb::new`].
    pub fn units(keep_prob: f64) -> Result<Self> {
        Ok(Self { mode: DropoutMode::Units, ..Self::keep(keep_prob)? })
    }

    /// The same with one mask for all samples of an optimizer step: stream 6, the site, pass = the optimizer step from 0, sample 0.
    pub fn batch(self) -> Self {
        Self { mode: DropoutMode::Batch, ..self }
    }

    /// The same, with what is kept or dropped as one.
    ///
    /// ```
    /// use thinnet::{Dropout, network::Unit};
    /// let channels = Dropout::keep(0.9)?.unit(Unit::Spatial2d); // PyTorch's nn.Dropout2d(0.1)
    /// let blocks = Dropout::keep(0.9)?.unit(Unit::Block(5));
    /// let rows = Dropout::keep(0.9)?.unit(Unit::shared(&[2])?); // of [channel, y, x]: whole rows of a map
    /// # Ok::<(), thinnet::Error>(())
    /// ```
    pub fn unit(self, unit: Unit) -> Self {
        Self { unit, ..self }
    }

    /// The same with one mask for all steps of a sequence `[T, F]`, unit f (Gal and Ghahramani, NeurIPS 2016).
    pub fn variational(self) -> Self {
        self.unit(Unit::STEPS)
    }

    /// DropConnect (Wan et al., ICML 2013): drops weights of the dense layer behind it, `y = x (M * W)^T / keep_prob + b`, one mask for
    /// all samples of an optimizer step: stream 6, the site, pass = the optimizer step from 0, sample 0, unit o inputs + i of W
    /// `[outputs, inputs]`. Biases stay. Evaluation: absent; the paper's draws from a normal distribution are
    /// [`crate::MonteCarlo::gaussian_weights`].
    ///
    /// # Errors
    /// See [`KeepProb::new`].
    pub fn drop_connect(keep_prob: f64) -> Result<Self> {
        Ok(Self { unit: Unit::Weight, mode: DropoutMode::Batch, ..Self::keep(keep_prob)? })
    }

    /// The same with another noise.
    pub fn noise(self, noise: Noise) -> Self {
        Self { noise, ..self }
    }

    /// The same with a rate that moves to keep_prob during the training.
    pub fn schedule(self, schedule: Schedule) -> Self {
        Self { schedule: Some(schedule), ..self }
    }

    /// The same at the rate of an optimizer step, counted from 0.
    pub fn at(&self, update: u32) -> Self {
        let keep = self.schedule.map_or(self.keep, |schedule| schedule.at(self.keep, update));
        Self { keep, schedule: None, ..*self }
    }

    /// Whether it keeps everything, always.
    pub fn is_none(&self) -> bool {
        let whole = |keep: KeepProb| keep.threshold() == 1 << 32;
        whole(self.keep) && self.schedule.is_none_or(|schedule| whole(schedule.from))
    }

    /// What is wrong with it inside of a recurrent layer or an embedding, if anything.
    pub(super) fn check_in_layer(&self) -> std::result::Result<(), String> {
        match (self.noise, self.mode) {
            (Noise::Bernoulli, DropoutMode::Inverted | DropoutMode::Batch) => self.check_rates(),
            (Noise::Bernoulli, _) => Err("inside of a layer dropout is inverted, or of mode \"batch\"".into()),
            _ => {
                Err("inside of a layer dropout is that of units that are kept or not; put other noise in front of the layer"
                    .into())
            }
        }
    }

    /// What is wrong with its noise or its schedule, if anything.
    fn check_rates(&self) -> std::result::Result<(), String> {
        if self.schedule.is_some() && matches!(self.mode, DropoutMode::Vanilla | DropoutMode::Units) {
            return Err(
                "a scheduled rate needs mode \"inverted\" or \"batch\": vanilla dropout has one factor in evaluation, and the \
                        number of kept units is fixed"
                    .into(),
            );
        }
        if self.schedule.is_some_and(|schedule| schedule.over == 0) {
            return Err("a schedule of 0 optimizer steps is none; leave it out".into());
        }
        let least = self.schedule.map_or(self.keep, |schedule| if schedule.from < self.keep { schedule.from } else { self.keep });
        if self.noise == Noise::Gaussian && least.get() == 0.0 {
            return Err("gaussian noise of keep 0 has no finite deviation; keep is above 0".into());
        }
        let Noise::Concrete(Concrete { temperature, weight_regularizer, dropout_regularizer }) = self.noise else {
            return Ok(());
        };
        let numbers = [("weight_regularizer", weight_regularizer), ("dropout_regularizer", dropout_regularizer)];
        if let Some((name, value)) = numbers.into_iter().find(|(_, value)| !(*value >= 0.0 && value.is_finite())) {
            return Err(format!("{name} = {value} must be a number from 0 up"));
        }
        if !(temperature > 0.0 && temperature.is_finite()) {
            return Err(format!("temperature = {temperature} must be above 0; the paper's is 0.1"));
        }
        // A rate of 1 switches it off; what was learned stays.
        let begins = self.keep == KeepProb::ONE || (1e-5..=1.0 - 1e-5).contains(&self.keep.get());
        if self.schedule.is_some() || !begins {
            return Err(format!(
                "the rate of concrete dropout is learned: it has no schedule, and begins between 1e-5 and 1 - 1e-5, not at keep = {}",
                self.keep.get()
            ));
        }
        Ok(())
    }

    /// What is wrong with it behind a layer whose samples have this shape, if anything.
    pub(super) fn check(&self, shape: &Shape) -> std::result::Result<(), String> {
        self.check_rates()?;
        if self.noise != Noise::Bernoulli {
            let concrete = matches!(self.noise, Noise::Concrete(_));
            let mode = self.mode == DropoutMode::Inverted || self.mode == DropoutMode::Batch && !concrete;
            let unit =
                self.unit == Unit::Element || !concrete && !matches!(self.unit, Unit::Block(_) | Unit::Path | Unit::Weight);
            if !mode || !unit {
                return Err(format!(
                    "{} noise works on {} and in mode {}, but it has {} in mode {:?}",
                    self.noise.name(),
                    if concrete { "elements" } else { "elements, channels and shared axes" },
                    if concrete { "\"inverted\"" } else { "\"inverted\" or \"batch\"" },
                    self.unit,
                    self.mode
                ));
            }
        }
        if self.unit == Unit::Weight && self.mode != DropoutMode::Batch {
            return Err("weights are dropped for a whole batch, mode \"batch\"".into());
        }
        if self.mode == DropoutMode::Units && (self.unit != Unit::Element || shape.0.len() != 1) {
            return Err(format!(
                "per-batch unit dropout, mode \"units\", drops features of a dense layer, but gets {} of shape {shape}; use mode \"batch\"",
                self.unit
            ));
        }
        self.unit.check(shape)
    }

    /// Overrides the site of the mask contract.
    pub fn site(self, site: u32) -> Self {
        Self { site: Some(site), ..self }
    }

    /// How many of `n` units per-batch unit dropout keeps: clamp(round(keep_prob n), 1, n), halves rounded up; 0 at keep_prob 0.
    pub fn kept_count(&self, n: u32) -> u32 {
        match self.keep.get() {
            0.0 => 0,
            keep_prob => ((keep_prob * f64::from(n)).round() as u32).clamp(n.min(1), n),
        }
    }

    /// The factor of a kept unit in training where `n` units are dropped from, an f32 of the mask contract: 1 / keep_prob for
    /// inverted dropout, 1 for vanilla dropout, n / k for per-batch unit dropout (0 where it keeps none); the deviation of Gaussian noise,
    /// the a of alpha dropout.
    pub fn train_scale(&self, n: u32) -> f32 {
        match self.mode {
            DropoutMode::Inverted | DropoutMode::Batch => match self.noise {
                Noise::Bernoulli | Noise::Concrete(_) => self.keep.scale(),
                Noise::Gaussian => noise::gaussian_sigma(self.keep).unwrap_or(f32::INFINITY),
                Noise::Alpha => noise::alpha_affine(self.keep)[0] as f32,
            },
            DropoutMode::Vanilla => 1.0,
            DropoutMode::Units => match self.kept_count(n) {
                0 => 0.0,
                k => (f64::from(n) / f64::from(k)) as f32,
            },
        }
    }

    /// The factor of every unit in evaluation: T / 2^32 for vanilla dropout, otherwise 1.
    pub fn eval_scale(&self) -> f32 {
        match self.mode {
            DropoutMode::Inverted | DropoutMode::Batch | DropoutMode::Units => 1.0,
            DropoutMode::Vanilla => (self.keep.threshold() as f64 / 4_294_967_296.0) as f32,
        }
    }
}
