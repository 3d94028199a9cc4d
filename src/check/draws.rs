//! Monte-Carlo draws that have to be the same bits when they are replayed.

use crate::data;
use crate::network::{Activation, Dense, Dropout, Network};
use crate::{Device, Model, MonteCarlo, Result, Sampling};

/// Draws that are made and replayed.
#[derive(Debug, Clone)]
pub(super) struct Call {
    name: &'static str,
    options: MonteCarlo,
}

/// So few inputs that several draws lie in one batch.
const INPUTS: u32 = 37;

pub(super) fn all(seed: u64) -> Vec<Call> {
    let options =
        |sampling, one_network| MonteCarlo { draws: 8, seed, sampling, one_network, keep_draws: true, ..MonteCarlo::default() };
    let call = |(name, sampling, one_network)| Call { name, options: options(sampling, one_network) };
    let calls = [
        ("masks for each input, replayed", Sampling::Independent, false),
        ("one network for all inputs, replayed", Sampling::Independent, true),
        ("antithetic pairs, replayed", Sampling::Antithetic, false),
        ("a Latin hypercube, replayed", Sampling::LatinHypercube, false),
        ("exactly k units, replayed", Sampling::ExactK, true),
    ];
    calls.into_iter().map(call).collect()
}

impl Call {
    pub(super) fn name(&self) -> String {
        self.name.into()
    }

    /// The first draw that is not the same again, or is the same as the one before.
    pub(super) fn difference(&self, device: &Device) -> Result<Option<String>> {
        let relu = |units| Dense::new(units).activation(Activation::Relu);
        let half = || Dropout::keep(0.5);
        let network = Network::new(64).dense(relu(32)).dropout(half()?).dense(relu(24)).dropout(half()?).dense(Dense::new(10));
        let model = Model::initial(&network, self.options.seed)?;
        let digits = data::digits().slice(0..INPUTS)?;
        let predictive = model.monte_carlo(device, digits.inputs(), &self.options)?;
        let kept: Vec<_> = (0..self.options.draws).filter_map(|draw| predictive.draw(draw)).collect();
        if kept.len() != self.options.draws as usize {
            return Ok(Some(format!("of {} draws {} were kept", self.options.draws, kept.len())));
        }
        for (draw, first) in (0..).zip(&kept) {
            let again = model.replay(device, digits.inputs(), &self.options, draw)?;
            let unequal = first.values().iter().zip(again.values()).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
            if unequal > 0 {
                return Ok(Some(format!("{unequal} of {} numbers of draw {draw} differ", first.values().len())));
            }
        }
        let twice = (1..kept.len()).find(|&draw| kept[draw] == kept[draw - 1]);
        Ok(twice.map(|draw| format!("draw {draw} is the one before it: its masks were not drawn anew")))
    }
}
