//! Vanilla dropout folded into weights: the factor keep_prob of evaluation, moved along the network to where it can be multiplied
//! in.
//!
//! A factor f > 0 passes what is homogeneous: `g(f x) = f g(x)` for pools, flatten, masks, ReLU and leaky ReLU. A dense layer or
//! a convolution takes it up, `W (f x) + b = (f W) x + b`. Nothing else does: not tanh, sigmoid, GELU and SELU, not the
//! normalisations, whose running statistics would change too, and a residual block only if its branch and its skip do alike.

use std::collections::BTreeMap;

use crate::network::{Activation, DropoutMode, Layer, Network, Noise};
use crate::{Error, Model, Result};

/// The factors of some vanilla dropout that no weight has taken up yet.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Factor {
    value: f32,
    /// The number of the dropout layer they come from, the last of several.
    from: usize,
}

/// A walk along a network.
struct Fold {
    /// Where every layer stands, by its number.
    places: Vec<String>,
    /// The factor of the weight of every layer that takes one up.
    taken: BTreeMap<usize, f32>,
}

/// The factor that goes into the weight of a layer, by the layer's number in [`Network::walk`].
///
/// # Errors
/// As [`Model::fold_vanilla`].
pub(crate) fn factors(network: &Network) -> Result<BTreeMap<usize, f32>> {
    let mut fold = Fold { places: network.places(), taken: BTreeMap::new() };
    match fold.layers(&network.layers, &mut 0, None)? {
        None => Ok(fold.taken),
        Some(factor) => Err(fold.refuse(factor, "has no weight behind it that keep_prob could be folded into")),
    }
}

impl Fold {
    /// What comes out of layers that begin with number `next` when `factor` goes in.
    fn layers(&mut self, layers: &[Layer], next: &mut usize, mut factor: Option<Factor>) -> Result<Option<Factor>> {
        for layer in layers {
            let number = *next;
            *next += 1;
            factor = self.layer(layer, number, next, factor)?;
        }
        Ok(factor)
    }

    fn layer(&mut self, layer: &Layer, number: usize, next: &mut usize, factor: Option<Factor>) -> Result<Option<Factor>> {
        let passes = match layer {
            Layer::Dropout(dropout) if dropout.eval_scale() != 1.0 => {
                let before = factor.map_or(1.0, |factor| factor.value);
                return Ok(Some(Factor { value: before * dropout.eval_scale(), from: number }));
            }
            Layer::Dense(_) | Layer::Conv2d(_) => {
                if let Some(factor) = factor {
                    self.taken.insert(number, factor.value);
                }
                return Ok(None);
            }
            Layer::Residual(residual) => {
                let branch = self.layers(&residual.branch, next, factor)?;
                let skip = self.layers(&residual.skip, next, factor)?;
                if branch.map(|f| f.value) == skip.map(|f| f.value) {
                    return Ok(branch);
                }
                let problem = format!("reaches only one of the two sums of {}, or both with other factors", self.places[number]);
                return match branch.or(skip) {
                    Some(factor) => Err(self.refuse(factor, &problem)),
                    None => Ok(None),
                };
            }
            Layer::Activation(activation) => {
                matches!(activation, Activation::Identity | Activation::Relu | Activation::LeakyRelu)
            }
            // Alpha dropout adds a number, so that a factor in front of it is another behind it.
            Layer::Dropout(dropout) => dropout.noise != Noise::Alpha,
            Layer::Pool(_) | Layer::GlobalAveragePool | Layer::Flatten => true,
            // Inside of a layer there is no vanilla dropout.
            Layer::Recurrent(_) | Layer::Embedding(_) => {
                *next += layer.inner()[0].len();
                false
            }
            Layer::BatchNorm(_) | Layer::LayerNorm(_) => false,
        };
        match factor {
            Some(factor) if !passes => {
                let problem =
                    format!("has {} between it and the weight that keep_prob could be folded into", self.places[number]);
                Err(self.refuse(factor, &problem))
            }
            _ => Ok(factor),
        }
    }

    fn refuse(&self, factor: Factor, problem: &str) -> Error {
        let remedy = "use inverted dropout, or put it in front of a dense layer or a convolution";
        Error::Network { place: self.places[factor.from].clone(), problem: format!("vanilla dropout {problem}; {remedy}") }
    }
}

impl Model {
    /// The same function with inverted instead of vanilla dropout: every factor keep_prob of evaluation goes into the next dense
    /// or convolution weight, `W' = keep_prob W`. In evaluation the outputs are equal but for rounding, and so they are in
    /// training under equal masks, where inverted dropout divides by keep_prob again.
    ///
    /// Between a site and its weight may be what a factor passes through: pools, flatten, ReLU and leaky ReLU, other dropout, and
    /// residual blocks whose branch and skip both have a weight for it.
    ///
    /// # Errors
    /// Vanilla dropout of the network's output, behind which no weight comes; or with something else in between: another
    /// activation, a normalisation, the sum of a residual block to which only one way brings the factor.
    pub fn fold_vanilla(&self) -> Result<Self> {
        let (factors, parameters) = (factors(&self.network)?, self.network.parameters()?);
        let mut folded = self.clone();
        for (parameter, values) in parameters.iter().zip(&mut folded.weights).filter(|(parameter, _)| parameter.matrix) {
            if let Some(factor) = factors.get(&parameter.layer) {
                values.iter_mut().for_each(|w| *w *= factor);
            }
        }
        folded.network.change_layers(|_, layer| {
            if let Layer::Dropout(dropout) = layer
                && dropout.mode == DropoutMode::Vanilla
            {
                dropout.mode = DropoutMode::Inverted;
            }
        });
        Ok(folded)
    }
}
