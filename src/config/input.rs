//! The table `[network]`, and how it becomes a [`Network`] over samples of a shape.

use serde::{Deserialize, Serialize};

use crate::network::{Dropout, KeepProb, Layer, Loss, Network, Residual, Shape, Unit};
use crate::{Error, Result};

/// The table `[network]`: a [`Network`], whose samples are rows of the data unless it says their shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct NetworkOptions {
    /// Shape of a sample: in files a number of columns, or `[1, 28, 28]` for maps of one channel, 28 pixels high and wide. It has
    /// as many elements as the data have columns. Default: one axis of all columns, which layers of maps cannot take.
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
        network.shapes()?;
        network.sites()?;
        Ok(network)
    }

    /// The same where no data are at hand: over [`NetworkOptions::input`] or, without one, over a number of columns that fits
    /// whatever follows, which may not be that of the data.
    ///
    /// # Errors
    /// As [`NetworkOptions::network`].
    pub fn without_data(&self) -> Result<Network> {
        let network = self.assumed()?;
        network.shapes()?;
        network.sites()?;
        Ok(network)
    }

    /// The same, not checked.
    pub(super) fn assumed(&self) -> Result<Network> {
        self.over(self.input.clone().unwrap_or_else(|| Shape::from(needed(&self.layers).unwrap_or(1))))
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
            Layer::Dense(_) => return None,
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
