//! Dropout as data: [`KeepProb`], the only place with the threshold and 1 / keep_prob, and the variants' types.

use serde::{Deserialize, Deserializer, Serialize};

use super::{Shape, Unit};
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
/// `spatial = 2`, `shared_axes = [1, 2]`, `block = 5` or `path = true`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub struct Dropout {
    /// The probability that a unit is kept.
    pub keep: KeepProb,
    /// What is kept or dropped as one.
    pub unit: Unit,
    /// What is drawn for whom, and where the activations are scaled.
    pub mode: DropoutMode,
    /// The site of the mask contract; `None` counts the network's dropout layers from 0.
    pub site: Option<u32>,
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
    fn is_inverted(&self) -> bool {
        *self == Self::Inverted
    }
}

/// The keys of a dropout layer in a file. Each number is checked at its own key, so that a message names it.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table such as { keep = 0.5 }")]
struct Fields {
    #[serde(skip_serializing_if = "Option::is_none")]
    keep: Option<KeepProb>,
    #[serde(default, deserialize_with = "dropped", skip_serializing)]
    drop: Option<KeepProb>,
    #[serde(default, skip_serializing_if = "DropoutMode::is_inverted")]
    mode: DropoutMode,
    #[serde(skip_serializing_if = "Option::is_none")]
    site: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spatial: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared_axes: Option<Vec<u8>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<bool>,
}

impl Fields {
    /// The unit that is dropped as one.
    fn unit(&self) -> std::result::Result<Unit, String> {
        let given = [
            self.spatial.map(|axes| match axes {
                1 => Ok(Unit::Spatial1d),
                2 => Ok(Unit::Spatial2d),
                3 => Ok(Unit::Spatial3d),
                other => Err(format!("spatial = {other}: a channel has 1, 2 or 3 axes of space")),
            }),
            self.shared_axes.as_ref().map(|axes| Unit::shared(axes).map_err(|e| e.to_string())),
            self.block.map(|size| Ok(Unit::Block(size))),
            self.path.filter(|&path| path).map(|_| Ok(Unit::Path)),
        ];
        let mut given = given.into_iter().flatten();
        match (given.next(), given.next()) {
            (None, _) => Ok(Unit::Element),
            (Some(unit), None) => unit,
            _ => {
                Err("has several of spatial, shared_axes, block and path; each says what is dropped as one, give only one".into())
            }
        }
    }
}

impl From<Dropout> for Fields {
    fn from(dropout: Dropout) -> Self {
        let fields = Self { keep: Some(dropout.keep), mode: dropout.mode, site: dropout.site, ..Self::default() };
        match dropout.unit {
            Unit::Element => fields,
            Unit::Spatial1d => Self { spatial: Some(1), ..fields },
            Unit::Spatial2d => Self { spatial: Some(2), ..fields },
            Unit::Spatial3d => Self { spatial: Some(3), ..fields },
            Unit::Shared(axes) => Self { shared_axes: Some(axes.iter().collect()), ..fields },
            Unit::Block(size) => Self { block: Some(size), ..fields },
            Unit::Path => Self { path: Some(true), ..fields },
        }
    }
}

/// The keep_prob of a drop_prob.
fn dropped<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<KeepProb>, D::Error> {
    let drop_prob = f64::deserialize(deserializer)?;
    Ok(Some(Dropout::drop(drop_prob).map_err(serde::de::Error::custom)?.keep))
}

impl TryFrom<Fields> for Dropout {
    type Error = String;

    fn try_from(fields: Fields) -> std::result::Result<Self, String> {
        let unit = fields.unit()?;
        match (fields.keep, fields.drop) {
            (Some(keep), None) | (None, Some(keep)) => Ok(Self { keep, unit, mode: fields.mode, site: fields.site }),
            _ => Err("needs either keep (the share of units that stay) or drop (1 - keep)".into()),
        }
    }
}

impl Dropout {
    /// Inverted dropout that keeps a unit with probability `keep_prob`.
    ///
    /// # Errors
    /// See [`KeepProb::new`].
    pub fn keep(keep_prob: f64) -> Result<Self> {
        Ok(Self { keep: KeepProb::new(keep_prob)?, unit: Unit::Element, mode: DropoutMode::Inverted, site: None })
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
        Self::keep(1.0 - drop_prob)
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

    /// What is wrong with it behind a layer whose samples have this shape, if anything.
    pub(super) fn check(&self, shape: &Shape) -> std::result::Result<(), String> {
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
    /// inverted dropout, 1 for vanilla dropout, n / k for per-batch unit dropout (0 where it keeps none).
    pub fn train_scale(&self, n: u32) -> f32 {
        match self.mode {
            DropoutMode::Inverted | DropoutMode::Batch => self.keep.scale(),
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
