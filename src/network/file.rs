//! A layer as it is written in files: one flat table, checked when it becomes a [`Layer`].

use serde::{Deserialize, Serialize};

use super::recurrent_file::{self, Sites};
use super::{
    Activation, BatchNorm, Conv2d, Dense, Dropout, Embedding, Init, Layer, LayerNorm, Pool2d, PoolKind, Residual, Window,
};

/// A number for both axes, or `[height, width]`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a whole number, or [height, width]")]
pub(super) enum Extent {
    Both(u32),
    Each([u32; 2]),
}

impl From<[u32; 2]> for Extent {
    fn from(extent: [u32; 2]) -> Self {
        if extent[0] == extent[1] { Self::Both(extent[0]) } else { Self::Each(extent) }
    }
}

impl Extent {
    fn each(self) -> [u32; 2] {
        match self {
            Self::Both(extent) => [extent, extent],
            Self::Each(extent) => extent,
        }
    }
}

macro_rules! fields {
    ($($field:ident: $ty:ty),* $(,)?) => {
        /// All keys that a layer may have, of every kind.
        #[derive(Debug, Clone, Default, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, expecting = "a table such as { dense = 128 } or { dropout = { keep = 0.5 } }")]
        pub(super) struct Fields {
            $(#[serde(default, skip_serializing_if = "Option::is_none")] pub(super) $field: Option<$ty>,)*
        }

        impl Fields {
            /// The names of the keys that are given.
            fn given(&self) -> Vec<&'static str> {
                let mut given = Vec::new();
                $(if self.$field.is_some() { given.push(stringify!($field)); })*
                given
            }
        }
    };
}

fields! {
    dense: u32, dropout: Dropout, conv2d: u32, max_pool: Extent, average_pool: Extent, global_average_pool: bool, flatten: bool,
    batch_norm: bool, layer_norm: bool, residual: Vec<Layer>, skip: Vec<Layer>,
    rnn: u32, gru: u32, lstm: u32, layers: u32, bidirectional: bool, sequence: bool, untied: bool, truncate: u32,
    input: Sites, recurrent: Sites, output: Sites, embedding: u32, vocabulary: u32, words: Dropout,
    activation: Activation, init: Init, kernel: Extent, stride: Extent, padding: Extent, dilation: Extent, groups: u32,
    epsilon: f64, momentum: f64,
}

/// The keys that say a layer's kind, and those that may stand beside each.
const KINDS: &[(&str, &[&str])] = &[
    ("dense", &["activation", "init"]),
    ("dropout", &[]),
    ("conv2d", &["kernel", "stride", "padding", "dilation", "groups", "activation", "init"]),
    ("max_pool", &["stride", "padding"]),
    ("average_pool", &["stride", "padding"]),
    ("global_average_pool", &[]),
    ("flatten", &[]),
    ("batch_norm", &["epsilon", "momentum"]),
    ("layer_norm", &["epsilon"]),
    ("residual", &["skip"]),
    ("rnn", recurrent_file::RNN_KEYS),
    ("gru", recurrent_file::KEYS),
    ("lstm", recurrent_file::KEYS),
    ("embedding", &["vocabulary", "words"]),
];

/// As it is said: an LSTM, an RNN.
fn article(kind: &str) -> &'static str {
    if kind.starts_with(['a', 'e']) || matches!(kind, "lstm" | "rnn") { "an" } else { "a" }
}

impl Fields {
    /// The layer's kind.
    fn kind(&self) -> Result<&'static str, String> {
        let given = self.given();
        let kinds: Vec<_> = KINDS.iter().filter(|(kind, _)| given.contains(kind)).collect();
        match *kinds.as_slice() {
            [] if given == ["activation"] => Ok("activation"),
            [] => {
                let only = if given.is_empty() { String::new() } else { format!(", for it has only {}", given.join(", ")) };
                Err(format!(
                    "is of no kind{only}; a layer is {{ dense = UNITS }}, {{ dropout = {{ keep = 0.5 }} }}, \
                     {{ conv2d = CHANNELS, kernel = 3 }} ..."
                ))
            }
            [(kind, beside)] => match given.iter().find(|key| *key != kind && !beside.contains(key)) {
                None => Ok(kind),
                Some(key) => Err(format!(
                    "{} {kind} layer has no {key}; {}",
                    article(kind),
                    match (*kind, beside) {
                        ("dropout", _) => "give it to the layer in front".into(),
                        (_, []) => "it stands alone".into(),
                        (_, beside) => format!("it may have {}", beside.join(", ")),
                    }
                )),
            },
            [(a, _), (b, _), ..] => Err(format!("is {a} and {b} at once; write two layers, each in its own braces")),
        }
    }

    fn window(&self, kernel: [u32; 2], stride: [u32; 2]) -> Window {
        let or = |extent: Option<Extent>, default: [u32; 2]| extent.map_or(default, Extent::each);
        Window { kernel, stride: or(self.stride, stride), padding: or(self.padding, [0, 0]), dilation: or(self.dilation, [1, 1]) }
    }

    fn pool(&self, kind: PoolKind, kernel: Option<Extent>) -> Layer {
        let kernel = kernel.map_or([1, 1], Extent::each);
        Layer::Pool(Pool2d { kind, window: self.window(kernel, kernel) })
    }
}

impl TryFrom<Fields> for Layer {
    type Error = String;

    fn try_from(fields: Fields) -> Result<Self, String> {
        let kind = fields.kind()?;
        let flags = [fields.global_average_pool, fields.flatten, fields.batch_norm, fields.layer_norm];
        if flags.contains(&Some(false)) {
            return Err(format!("{kind} = false is no layer; write {kind} = true, or leave the layer out"));
        }
        let activation = fields.activation.unwrap_or_default();
        Ok(match kind {
            "dense" => Self::Dense(Dense { units: fields.dense.unwrap_or(0), activation, init: fields.init }),
            "dropout" => Self::Dropout(fields.dropout.ok_or("has no rate")?),
            "conv2d" => {
                let kernel = fields.kernel.ok_or("a conv2d layer needs its kernel, as { conv2d = 20, kernel = 5 }")?.each();
                let (window, groups) = (fields.window(kernel, [1, 1]), fields.groups.unwrap_or(1));
                Self::Conv2d(Conv2d { channels: fields.conv2d.unwrap_or(0), window, groups, activation, init: fields.init })
            }
            "max_pool" => fields.pool(PoolKind::Max, fields.max_pool),
            "average_pool" => fields.pool(PoolKind::Average, fields.average_pool),
            "global_average_pool" => Self::GlobalAveragePool,
            "flatten" => Self::Flatten,
            "batch_norm" => {
                let BatchNorm { epsilon, momentum } = BatchNorm::default();
                let (epsilon, momentum) = (fields.epsilon.unwrap_or(epsilon), fields.momentum.unwrap_or(momentum));
                Self::BatchNorm(BatchNorm { epsilon, momentum })
            }
            "layer_norm" => Self::LayerNorm(LayerNorm { epsilon: fields.epsilon.unwrap_or(LayerNorm::default().epsilon) }),
            "residual" => {
                let (branch, skip) = (fields.residual.unwrap_or_default(), fields.skip.unwrap_or_default());
                Self::Residual(Residual { branch, skip })
            }
            "rnn" | "gru" | "lstm" => Self::Recurrent(recurrent_file::recurrent(fields)?),
            "embedding" => {
                let vocabulary =
                    fields.vocabulary.ok_or("an embedding needs its vocabulary, as { embedding = 16, vocabulary = 29 }")?;
                let embedding = Embedding::new(vocabulary, fields.embedding.unwrap_or(0));
                Self::Embedding(match fields.words {
                    Some(dropout) => embedding.dropout(dropout),
                    None => embedding,
                })
            }
            _ => Self::Activation(activation),
        })
    }
}

/// What differs from a default.
fn beside<T: PartialEq>(value: T, default: &T) -> Option<T> {
    (value != *default).then_some(value)
}

impl From<Layer> for Fields {
    fn from(layer: Layer) -> Self {
        let none = Self::default();
        let extent = |extent: [u32; 2], default: [u32; 2]| beside(extent, &default).map(Extent::from);
        match layer {
            Layer::Dense(Dense { units, activation, init }) => {
                Self { dense: Some(units), activation: beside(activation, &Activation::Identity), init, ..none }
            }
            Layer::Dropout(dropout) => Self { dropout: Some(dropout), ..none },
            Layer::Conv2d(Conv2d { channels, window, groups, activation, init }) => Self {
                conv2d: Some(channels),
                kernel: Some(window.kernel.into()),
                stride: extent(window.stride, [1, 1]),
                padding: extent(window.padding, [0, 0]),
                dilation: extent(window.dilation, [1, 1]),
                groups: beside(groups, &1),
                activation: beside(activation, &Activation::Identity),
                init,
                ..none
            },
            Layer::Pool(Pool2d { kind, window }) => {
                let (stride, padding) = (extent(window.stride, window.kernel), extent(window.padding, [0, 0]));
                let (kernel, none) = (Some(window.kernel.into()), Self { stride, padding, ..none });
                match kind {
                    PoolKind::Max => Self { max_pool: kernel, ..none },
                    PoolKind::Average => Self { average_pool: kernel, ..none },
                }
            }
            Layer::GlobalAveragePool => Self { global_average_pool: Some(true), ..none },
            Layer::Flatten => Self { flatten: Some(true), ..none },
            Layer::Activation(activation) => Self { activation: Some(activation), ..none },
            Layer::BatchNorm(BatchNorm { epsilon, momentum }) => {
                let default = BatchNorm::default();
                let (epsilon, momentum) = (beside(epsilon, &default.epsilon), beside(momentum, &default.momentum));
                Self { batch_norm: Some(true), epsilon, momentum, ..none }
            }
            Layer::LayerNorm(LayerNorm { epsilon }) => {
                Self { layer_norm: Some(true), epsilon: beside(epsilon, &LayerNorm::default().epsilon), ..none }
            }
            Layer::Recurrent(recurrent) => recurrent.into(),
            Layer::Embedding(embedding) => Self {
                embedding: Some(embedding.width),
                vocabulary: Some(embedding.vocabulary),
                words: beside(*embedding.words(), &Dropout::NONE),
                ..none
            },
            Layer::Residual(Residual { branch, skip }) => {
                Self { residual: Some(branch), skip: (!skip.is_empty()).then_some(skip), ..none }
            }
        }
    }
}
