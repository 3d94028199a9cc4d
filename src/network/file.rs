//! A layer as it is written in files: one flat table, checked when it becomes a [`Layer`].

use serde::{Deserialize, Serialize};

use super::{Activation, Dense, Dropout, Init, Layer};

/// All keys that a layer may have, of every kind.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table such as { dense = 128 } or { dropout = { keep = 0.5 } }")]
pub(super) struct Fields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dense: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    activation: Option<Activation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    init: Option<Init>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dropout: Option<Dropout>,
}

impl TryFrom<Fields> for Layer {
    type Error = String;

    fn try_from(fields: Fields) -> Result<Self, String> {
        let Fields { dense, activation, init, dropout } = fields;
        match (dense, dropout) {
            (Some(units), None) => Ok(Self::Dense(Dense { units, activation: activation.unwrap_or_default(), init })),
            (None, Some(dropout)) if activation.is_none() && init.is_none() => Ok(Self::Dropout(dropout)),
            (None, Some(_)) => Err("a dropout layer has neither activation nor init; give them to a dense layer".into()),
            (Some(_), Some(_)) => Err("is dense and dropout at once; write two layers, each in its own braces".into()),
            (None, None) => Err("is of no kind; a layer is { dense = UNITS } or { dropout = { keep = 0.5 } }".into()),
        }
    }
}

impl From<Layer> for Fields {
    fn from(layer: Layer) -> Self {
        match layer {
            Layer::Dense(Dense { units, activation, init }) => {
                let activation = (activation != Activation::Identity).then_some(activation);
                Self { dense: Some(units), activation, init, ..Self::default() }
            }
            Layer::Dropout(dropout) => Self { dropout: Some(dropout), ..Self::default() },
        }
    }
}
