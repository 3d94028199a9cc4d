//! Recurrent layers as they are written in files.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::file::Fields;
use super::recurrent::Place;
use super::{Activation, Cell, Dropout, Layer, Recurrent, Unit};

/// The keys that may stand beside `gru` and `lstm`.
pub(super) const KEYS: &[&str] = &["layers", "bidirectional", "sequence", "untied", "truncate", "input", "recurrent", "output"];

/// The same of `rnn`, whose activation is tanh or relu.
pub(super) const RNN_KEYS: &[&str] =
    &["layers", "bidirectional", "sequence", "untied", "truncate", "input", "recurrent", "output", "activation"];

/// Dropout of a place of a recurrent layer: one for all layers and directions, or one for each direction of each layer.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(super) enum Sites {
    All(Dropout),
    Each(Vec<Dropout>),
}

impl<'de> Deserialize<'de> for Sites {
    // By hand, so that what is wrong in a table is named: an untagged enum says only that nothing fits.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrEach;

        impl<'de> Visitor<'de> for OneOrEach {
            type Value = Sites;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "dropout, such as { keep = 0.8, variational = true }, or a list of one for each direction of each layer",
                )
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Sites, A::Error> {
                Dropout::deserialize(MapAccessDeserializer::new(map)).map(Sites::All)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Sites, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(Sites::Each)
            }
        }

        deserializer.deserialize_any(OneOrEach)
    }
}

const PLACES: [(Place, &str); 3] =
    [(Place::Input, Place::KEYS[0]), (Place::Recurrent, Place::KEYS[1]), (Place::Output, Place::KEYS[2])];

/// Nothing is dropped.
fn none() -> Dropout {
    Dropout { unit: Unit::STEPS, ..Dropout::NONE }
}

pub(super) fn recurrent(fields: Fields) -> Result<Recurrent, String> {
    let (cell, hidden) = match (fields.rnn, fields.gru, fields.lstm) {
        (Some(hidden), ..) => match fields.activation {
            None | Some(Activation::Tanh) => (Cell::RnnTanh, hidden),
            Some(Activation::Relu) => (Cell::RnnRelu, hidden),
            Some(other) => return Err(format!("an rnn has the activation tanh or relu, not {other:?}")),
        },
        (_, Some(hidden), _) => (Cell::Gru, hidden),
        (.., hidden) => (Cell::Lstm, hidden.unwrap_or(0)),
    };
    let mut recurrent = Recurrent::new(cell, hidden).layers(fields.layers.unwrap_or(1));
    if fields.bidirectional == Some(true) {
        recurrent = recurrent.bidirectional();
    }
    recurrent.sequence = fields.sequence.unwrap_or(false);
    recurrent.untied = fields.untied.unwrap_or(false);
    recurrent.truncate = fields.truncate;
    for ((place, key), sites) in PLACES.into_iter().zip([fields.input, fields.recurrent, fields.output]) {
        let count = recurrent.sites.len() / 3;
        let dropouts = match sites {
            None => continue,
            Some(Sites::All(dropout)) => vec![dropout; count],
            Some(Sites::Each(dropouts)) if dropouts.len() == count => dropouts,
            Some(Sites::Each(dropouts)) => {
                return Err(format!(
                    "{key} lists {} dropouts, but there are {count} directions of layers; give one for each, or one for all",
                    dropouts.len()
                ));
            }
        };
        recurrent.sites.iter_mut().skip(place as usize).step_by(3).zip(dropouts).for_each(|(site, dropout)| {
            *site = Layer::Dropout(dropout);
        });
    }
    Ok(recurrent)
}

impl From<Recurrent> for Fields {
    fn from(recurrent: Recurrent) -> Self {
        let dropouts = |place: Place| {
            let of = |layer: &Layer| match layer {
                Layer::Dropout(dropout) => *dropout,
                _ => unreachable!("the sites of a recurrent layer are dropout"),
            };
            let each: Vec<Dropout> = recurrent.sites_of(place).map(of).collect();
            match each.first() {
                Some(first) if each.iter().any(|dropout| dropout != first) => Some(Sites::Each(each)),
                first => first.filter(|first| **first != none()).map(|first| Sites::All(*first)),
            }
        };
        let flag = |flag: bool| flag.then_some(true);
        let [input, inner, output] = PLACES.map(|(place, _)| dropouts(place));
        let fields = Self {
            layers: Some(recurrent.layer_count()).filter(|&layers| layers != 1),
            bidirectional: flag(recurrent.directions() == 2),
            sequence: flag(recurrent.sequence),
            untied: flag(recurrent.untied),
            truncate: recurrent.truncate,
            input,
            recurrent: inner,
            output,
            ..Self::default()
        };
        let hidden = Some(recurrent.hidden);
        match recurrent.cell {
            Cell::RnnTanh => Self { rnn: hidden, ..fields },
            Cell::RnnRelu => Self { rnn: hidden, activation: Some(Activation::Relu), ..fields },
            Cell::Gru => Self { gru: hidden, ..fields },
            Cell::Lstm => Self { lstm: hidden, ..fields },
        }
    }
}
