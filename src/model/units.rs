//! Answers of a regression: standard deviations, and both in the targets' own units.

use super::{Model, Outputs};
use crate::network::{self, Loss};

impl Outputs {
    /// The logarithms of variances, the second half of every row, become standard deviations.
    pub(super) fn deviations(&mut self) {
        let means = self.columns / 2;
        for row in self.values.chunks_mut(self.columns) {
            row[means..].iter_mut().for_each(|s| *s = network::deviation(*s));
        }
    }
}

impl Model {
    /// What [`Model::predict`] answered, in the units that the targets had before they were standardised.
    ///
    /// A target `y = mean + deviation t` has the mean `mean + deviation E[t]` and the variance `deviation^2 Var[t]`, so that of
    /// [`Loss::GaussianNll`] the means are shifted and scaled, the standard deviations scaled alone. Nothing happens where the
    /// targets were not standardised.
    ///
    /// # Panics
    /// If the rows do not have as many columns as the network has outputs.
    pub fn in_own_units(&self, outputs: Outputs) -> Outputs {
        let Some(standardization) = &self.preprocessing.targets else { return outputs };
        if self.network.loss != Loss::GaussianNll {
            return outputs.map(|values| standardization.invert(values));
        }
        let columns = 2 * standardization.mean.len();
        outputs.map(|values| {
            assert!(values.len().is_multiple_of(columns), "{} values in {columns} columns", values.len());
            for row in values.chunks_mut(columns) {
                let (means, deviations) = row.split_at_mut(columns / 2);
                standardization.invert(means);
                standardization.invert_deviations(deviations);
            }
        })
    }
}
