//! The table `[network]`, and how it becomes a [`Network`] over samples of a shape.

use serde::{Deserialize, Serialize};

use crate::data::Inputs;
use crate::network::{Dropout, KeepProb, Layer, Loss, Network, Residual, Shape, Unit};
use crate::{Error, Result};

/// The table `[network]`: a [`Network`], whose samples are rows of the data unless it says their shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct NetworkOptions {
    /// Shape of a sample: in files a number of columns, `[1, 28, 28]` for maps of one channel, 28 pixels high and wide, or `[29, 12]`
    /// for sequences of 29 steps of 12 features. It has as many elements as the data have columns. Default: of sequences with lengths
    /// their `[steps, features]`, or in front of an embedding `[steps]`; of all other data one axis of all columns, which layers of
    /// maps and recurrent layers cannot take.
    #[serde(default, with = "shape", skip_serializing_if = "Option::is_none")]
    pub input: Option<Shape>,
    /// keep_prob of the last site of paths; it falls linearly with depth and replaces the `keep` of all these sites, see
    /// [`Network::linear_depth`]. Default: every site keeps its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_keep: Option<KeepProb>,
    /// What training minimises. Default: softmax cross-entropy.
    #[serde(default)]
    pub loss: Loss,
    /// Layers, from the input to the output.
    pub layers: Vec<Layer>,
}

impl NetworkOptions {
    /// The network over data of so many columns, its shapes and sites checked.
    ///
    /// # Errors
    /// Layers that do not fit together, a site used twice, an [`NetworkOptions::input`] of another number of elements,
    /// [`NetworkOptions::path_keep`] without paths.
    pub fn network(&self, columns: u32) -> Result<Network> {
        let network = match &self.input {
            Some(input) if elements(input) != Some(columns) => return Err(other_columns(input, columns)),
            Some(input) => self.over(input.clone())?,
            None => self.over(columns.into())?,
        };
        checked(network)
    }

    /// The same over these data, whose lengths say how many steps and features a sequence has.
    ///
    /// # Errors
    /// As [`NetworkOptions::network`]; an [`NetworkOptions::input`] of other steps than the data; data without lengths for a network of
    /// sequences that has no [`NetworkOptions::input`]; more than one feature for an embedding.
    pub fn network_for(&self, inputs: &Inputs) -> Result<Network> {
        let (columns, features) = (inputs.columns(), inputs.features());
        let refused = |place: &str, problem: String| Err(Error::Network { place: place.into(), problem });
        let words = matches!(self.layers.first(), Some(Layer::Embedding(_)));
        match (&self.input, inputs.lengths()) {
            (Some(input), Some(lengths)) if elements(input) == Some(columns) && input.0.first() != Some(&lengths.steps) => {
                let shape = sequence(lengths.steps, features, words);
                let problem = format!(
                    "the data are sequences of at most {} steps of {features} features; let it be {shape}",
                    lengths.steps
                );
                refused(&format!("network.input = {input}"), problem)
            }
            (None, Some(_)) if words && features != 1 => refused(
                "layer 0 (embedding)",
                format!("takes one word a step, but the data have {features} features at every step"),
            ),
            (None, Some(lengths)) => checked(self.over(sequence(lengths.steps, features, words))?),
            (None, None) if !words && of_sequences(&self.layers) => {
                let problem = format!(
                    "is missing: a recurrent layer takes sequences, but the data are rows of {columns} columns without lengths; give \
                     their shape, as input = [steps, features], or data that have lengths"
                );
                refused("network.input", problem)
            }
            _ => self.network(columns),
        }
    }

    /// The same where no data are at hand: over [`NetworkOptions::input`] or, without one, over a number of columns that fits
    /// whatever follows, which may not be that of the data.
    ///
    /// # Errors
    /// As [`NetworkOptions::network`].
    pub fn without_data(&self) -> Result<Network> {
        checked(self.assumed(1)?)
    }

    /// The same, not checked; over sequences of so many steps, and of as many features where any number will do.
    pub(super) fn assumed(&self, steps: u32) -> Result<Network> {
        let columns = needed(&self.layers).unwrap_or(steps);
        let words = matches!(self.layers.first(), Some(Layer::Embedding(_)));
        self.over(self.input.clone().unwrap_or_else(|| match of_sequences(&self.layers) {
            true => sequence(steps, columns, words),
            false => columns.into(),
        }))
    }

    fn over(&self, input: Shape) -> Result<Network> {
        let network = Network { input, layers: self.layers.clone(), loss: self.loss };
        let Some(last) = self.path_keep else { return Ok(network) };
        if !network.walk().into_iter().any(is_path) {
            let problem = "there is no path whose rate it could set; leave it out, or end the branch of a residual block with \
                           { dropout = { keep = 1.0, path = true } }";
            return Err(Error::Network { place: format!("network.path_keep = {}", last.get()), problem: problem.into() });
        }
        network.linear_depth(last.get())
    }
}

/// A network whose shapes and sites are right.
fn checked(network: Network) -> Result<Network> {
    network.shapes()?;
    network.sites()?;
    Ok(network)
}

/// The shape of sequences.
fn sequence(steps: u32, features: u32, words: bool) -> Shape {
    if words { steps.into() } else { [steps, features].into() }
}

/// Whether there is a layer that takes sequences, which no block has in a branch.
pub(super) fn of_sequences(layers: &[Layer]) -> bool {
    layers.iter().any(|layer| matches!(layer, Layer::Recurrent(_) | Layer::Embedding(_)))
}

fn is_path(layer: &Layer) -> bool {
    matches!(layer, Layer::Dropout(Dropout { unit: Unit::Path, .. }))
}

/// Elements of a shape; none where they do not fit a u32.
pub(super) fn elements(shape: &Shape) -> Option<u32> {
    shape.0.iter().try_fold(1u32, |product, &extent| product.checked_mul(extent))
}

fn other_columns(input: &Shape, columns: u32) -> Error {
    let (value, problem) = match *input.0.as_slice() {
        [one] => {
            (one.to_string(), format!("the data have {columns} columns; leave `input` out, or choose the data it was made for"))
        }
        _ => {
            let own = elements(input).map_or("more than 2^32 - 1".into(), |elements| elements.to_string());
            let maps = images(columns).map_or(String::new(), |shape| format!(", as {shape} for square images,"));
            let remedy = format!("give the shape of their samples{maps} or choose the data it was made for");
            (input.to_string(), format!("has {own} elements, but the data have {columns} columns; {remedy}"))
        }
    };
    Error::Network { place: format!("network.input = {value}"), problem }
}

/// The shape of square images of 1 or 3 channels that have so many columns, if there is one.
fn images(columns: u32) -> Option<Shape> {
    [1, 3].into_iter().find_map(|channels| {
        let side = (columns / channels).isqrt();
        (side > 1 && channels * side * side == columns).then(|| Shape::from([channels, side, side]))
    })
}

/// The only number of columns that these layers can take, where a block adds x itself to a row of units; none where any will do,
/// or no one.
fn needed(layers: &[Layer]) -> Option<u32> {
    for layer in layers {
        match layer {
            Layer::Dense(_) | Layer::Recurrent(_) | Layer::Embedding(_) => return None,
            Layer::Residual(Residual { branch, skip }) => {
                match (needed(branch).or_else(|| needed(skip)), units(branch), units(skip)) {
                    (Some(columns), _, _) | (None, Some(columns), None) | (None, None, Some(columns)) => return Some(columns),
                    (None, Some(_), Some(_)) => return None,
                    (None, None, None) => {}
                }
            }
            _ => {}
        }
    }
    None
}

/// Units behind the last dense layer, if there is one.
fn units(layers: &[Layer]) -> Option<u32> {
    layers.iter().rev().find_map(|layer| match layer {
        Layer::Dense(dense) => Some(dense.units),
        Layer::Residual(Residual { branch, skip }) => units(branch).or_else(|| units(skip)),
        _ => None,
    })
}

/// A shape in files: one axis is a number.
mod shape {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Shape;

    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a number of columns, or a shape such as [1, 28, 28]: channels, height, width")]
    enum Written {
        Columns(u32),
        Axes(Vec<u32>),
    }

    pub(super) fn serialize<S: Serializer>(shape: &Option<Shape>, serializer: S) -> Result<S::Ok, S::Error> {
        match shape.as_ref().map(|shape| shape.0.as_slice()) {
            None => serializer.serialize_none(),
            Some([columns]) => serializer.serialize_u32(*columns),
            Some(axes) => axes.serialize(serializer),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Shape>, D::Error> {
        Ok(Some(match Written::deserialize(deserializer)? {
            Written::Columns(columns) => Shape::from(columns),
            Written::Axes(axes) => Shape(axes),
        }))
    }
}
