//! Dropout as it is written in files: one table, checked when it becomes a [`Dropout`].

use serde::{Deserialize, Deserializer, Serialize};

use super::{Concrete, Dropout, DropoutMode, KeepProb, Noise, Schedule, Unit};

/// The keys of a dropout layer in a file. Each number is checked at its own key, so that a message names it.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table such as { keep = 0.5 }")]
pub(super) struct Fields {
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
    #[serde(skip_serializing_if = "Option::is_none")]
    variational: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weights: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    noise: Option<NoiseName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    concrete: Option<Concrete>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schedule: Option<Schedule>,
}

/// The kinds of noise without numbers of their own.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum NoiseName {
    Bernoulli,
    Gaussian,
    Alpha,
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
            self.variational.filter(|&variational| variational).map(|_| Ok(Unit::STEPS)),
            self.weights.filter(|&weights| weights).map(|_| Ok(Unit::Weight)),
        ];
        let mut given = given.into_iter().flatten();
        match (given.next(), given.next()) {
            (None, _) => Ok(Unit::Element),
            (Some(unit), None) => unit,
            _ => {
                Err("has several of spatial, shared_axes, block, path, variational and weights; each says what is dropped as one, give only one".into())
            }
        }
    }

    fn noise(&self) -> std::result::Result<Noise, String> {
        match (self.noise, self.concrete) {
            (None | Some(NoiseName::Bernoulli), None) => Ok(Noise::Bernoulli),
            (Some(NoiseName::Gaussian), None) => Ok(Noise::Gaussian),
            (Some(NoiseName::Alpha), None) => Ok(Noise::Alpha),
            (None, Some(concrete)) => Ok(Noise::Concrete(concrete)),
            _ => Err("has noise and concrete; concrete dropout has a noise of its own, leave noise out".into()),
        }
    }
}

impl From<Dropout> for Fields {
    fn from(dropout: Dropout) -> Self {
        let (noise, concrete) = match dropout.noise {
            Noise::Bernoulli => (None, None),
            Noise::Gaussian => (Some(NoiseName::Gaussian), None),
            Noise::Alpha => (Some(NoiseName::Alpha), None),
            Noise::Concrete(concrete) => (None, Some(concrete)),
        };
        let (mode, schedule) =
            (if dropout.unit == Unit::Weight { DropoutMode::Inverted } else { dropout.mode }, dropout.schedule);
        let fields = Self { keep: Some(dropout.keep), mode, site: dropout.site, noise, concrete, schedule, ..Self::default() };
        match dropout.unit {
            Unit::Element => fields,
            Unit::Spatial1d => Self { spatial: Some(1), ..fields },
            Unit::Spatial2d => Self { spatial: Some(2), ..fields },
            Unit::Spatial3d => Self { spatial: Some(3), ..fields },
            Unit::STEPS => Self { variational: Some(true), ..fields },
            Unit::Shared(axes) => Self { shared_axes: Some(axes.iter().collect()), ..fields },
            Unit::Block(size) => Self { block: Some(size), ..fields },
            Unit::Path => Self { path: Some(true), ..fields },
            Unit::Weight => Self { weights: Some(true), ..fields },
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
        let (unit, noise) = (fields.unit()?, fields.noise()?);
        let Fields { mode, site, schedule, .. } = fields;
        // All samples of a step share the weights, and so their mask.
        let mode = if unit == Unit::Weight && mode.is_inverted() { DropoutMode::Batch } else { mode };
        match (fields.keep, fields.drop) {
            (Some(keep), None) | (None, Some(keep)) => Ok(Self { keep, unit, mode, site, noise, schedule }),
            _ => Err("needs either keep (the share of units that stay) or drop (1 - keep)".into()),
        }
    }
}
