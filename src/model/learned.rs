//! Rates that concrete dropout has learned.

use super::Model;
use crate::Result;
use crate::kernels::concrete::LOGIT_LIMIT;
use crate::network::{Layer, Noise};

/// The rate that a site of concrete dropout has learned.
#[derive(Debug, Clone, PartialEq)]
pub struct LearnedRate {
    /// The layer, by its number in [`crate::Network::walk`].
    pub layer: usize,
    /// Where it stands, as in messages.
    pub place: String,
    /// The drop probability, `s(p_logit)`.
    pub drop_prob: f64,
    /// Whether it has run to an end: it is within 1e-5 of 0 or 1, where a mask tells nothing any more and kernels hold it. At 0 the data
    /// leave no room for dropout, or weight_regularizer is too small; at 1 it is too large.
    pub collapsed: bool,
}

impl Model {
    /// What every site of concrete dropout has learned, in the order of the network; those that keep 1 switches off have learned nothing.
    ///
    /// # Errors
    /// Never for a model that was built by this crate.
    pub fn learned_rates(&self) -> Result<Vec<LearnedRate>> {
        let (layers, places, parameters) = (self.network().walk(), self.network().places(), self.network().parameters()?);
        let learns = |layer: usize| match layers[layer] {
            Layer::Dropout(dropout) => matches!(dropout.noise, Noise::Concrete(_)) && !dropout.is_none(),
            _ => false,
        };
        let logits = parameters.iter().zip(self.weights()).filter(|(parameter, _)| learns(parameter.layer));
        let rate = |(parameter, logit): (&crate::network::Parameter, &Vec<f32>)| {
            let (layer, logit, held) = (parameter.layer, f64::from(logit[0]), f64::from(LOGIT_LIMIT));
            let drop_prob = 1.0 / (1.0 + (-logit.clamp(-held, held)).exp());
            LearnedRate { layer, place: places[layer].clone(), drop_prob, collapsed: logit.is_nan() || logit.abs() >= held }
        };
        Ok(logits.map(rate).collect())
    }
}
