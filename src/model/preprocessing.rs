//! What was done to the values of a source before a network saw them, kept with its weights.

use super::Model;
use crate::data::{Preprocessing, Sequences, Standardization};
use crate::{Error, Network, Result};

impl Model {
    /// The same model, whose inputs and outputs have this history; it is kept in the model's file.
    ///
    /// # Errors
    /// Means, deviations or names of inputs of another number than the network has, of sequences at each step; sequences of other steps
    /// than the network's; a deviation that is not positive.
    pub fn with_preprocessing(self, preprocessing: Preprocessing) -> Result<Self> {
        check_preprocessing(&self.network, &preprocessing)?;
        Ok(Self { preprocessing, ..self })
    }

    /// What was done to the source's values before the network saw them. Inputs that are passed to this model have been through it.
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }
}

/// # Errors
/// What [`Model::with_preprocessing`] refuses.
pub(crate) fn check_preprocessing(network: &Network, preprocessing: &Preprocessing) -> Result<()> {
    let mut inputs = network.input.0.iter().product::<u32>() as usize;
    if let Some(Sequences { steps, .. }) = preprocessing.sequences {
        if steps == 0 || network.input.0.first() != Some(&steps) {
            let shape = &network.input;
            return Err(Error::Data(format!("the data are sequences of {steps} steps, but the network has an input of {shape}")));
        }
        inputs /= steps as usize;
    }
    let targets = network.targets()? as usize;
    for (what, standardization, width) in
        [("inputs", &preprocessing.inputs, inputs), ("targets", &preprocessing.targets, targets)]
    {
        let Some(Standardization { mean, deviation }) = standardization else { continue };
        if mean.len() != width || deviation.len() != width {
            let (means, deviations) = (mean.len(), deviation.len());
            return Err(Error::Data(format!(
                "the standardisation of the {what} has {means} means and {deviations} deviations, but the network has {width} {what}"
            )));
        }
        if !(mean.iter().all(|m| m.is_finite()) && deviation.iter().all(|&d| d.is_finite() && d > 0.0)) {
            return Err(Error::Data(format!("the standardisation of the {what} has a mean or deviation that is not usable")));
        }
    }
    let names = preprocessing.input_names.len();
    if names != 0 && names != inputs {
        return Err(Error::Data(format!("there are {names} names of inputs, but the network has {inputs}")));
    }
    Ok(())
}
