//! The exact average over all masks of a small network: what Monte-Carlo draws converge to.

use super::run::Ensemble;
use super::{MonteCarlo, bad, drops, drops_features, halves};
use crate::data::Inputs;
use crate::network::{Dropout, DropoutMode, Layer, Network};
use crate::{Device, Model, Outputs, Result};

/// The most units that are dropped from: 2^16 masks.
const MOST_UNITS: u32 = 16;

impl Model {
    /// What all thinned networks say on average, each weighed by its probability: the mean that [`Model::monte_carlo`] estimates,
    /// without its error. `[rows, outputs]`: class probabilities, or the numbers of a regression, for one with a noise of its own the
    /// means.
    ///
    /// ```text
    /// mean over masks m of f(x, m), P(m) = product over units of keep_prob or 1 - keep_prob
    /// per-batch units: P(m) = 1 / C(n, k) where a site keeps exactly k of its n units, otherwise 0
    /// ```
    ///
    /// It runs all 2^n masks of the network's n units that are dropped from, as draws of its rows. From the first site that drops
    /// something on the network must be dense, and drop single features; in front of it are layers of any kind.
    ///
    /// # Errors
    /// More than 16 such units; another layer behind the first site, or another unit; otherwise as [`Model::monte_carlo`].
    pub fn average_over_masks(&self, device: &Device, inputs: &Inputs) -> Result<Outputs> {
        let rest = halves(self)?.rest;
        if !drops_features(rest.network()) {
            let problem = "all masks are tried of single features between dense layers; this network drops others, or from maps, \
                           so use monte_carlo";
            return bad("network", "of other layers", problem);
        }
        let units = sites(rest.network())?.iter().map(|(_, units)| units).fold(0, |sum: u32, &n| sum.saturating_add(n));
        if units > MOST_UNITS {
            return bad("units", units, format!("all masks of at most {MOST_UNITS} units are tried; use monte_carlo for more"));
        }
        let options = MonteCarlo { one_network: true, draws: 1 << units, ..MonteCarlo::default() };
        let ensemble = Ensemble::new(self, device, inputs, &options)?.every_mask()?;
        let sites = sites(ensemble.rest.network())?;
        let columns = ensemble.answers()?;
        let mut sums = vec![0.0; inputs.rows() as usize * columns];
        ensemble.every_draw(|draw, row, values| {
            let probability = probability(&sites, draw);
            for (sum, &value) in sums[row * columns..].iter_mut().zip(values) {
                *sum += probability * f64::from(value);
            }
        })?;
        Ok(Outputs::of(columns, sums.into_iter().map(|sum| sum as f32).collect()))
    }
}

/// The dropout layers that drop something, with their units.
fn sites(network: &Network) -> Result<Vec<(Dropout, u32)>> {
    let sites = network.layers.iter().zip(network.shapes()?).filter(|(layer, _)| drops(layer));
    Ok(sites
        .filter_map(|(layer, shape)| match layer {
            Layer::Dropout(dropout) => Some((*dropout, shape.0[0])),
            _ => None,
        })
        .collect())
}

/// The probability of a mask, whose bits are the units of one site after the other.
fn probability(sites: &[(Dropout, u32)], mask: u32) -> f64 {
    let mut first = 0;
    let of_site = |&(dropout, units): &(Dropout, u32)| {
        let kept = (mask >> first & ((1u64 << units) - 1) as u32).count_ones();
        first += units;
        match dropout.mode {
            DropoutMode::Units if kept == dropout.kept_count(units) => 1.0 / choose(units, kept),
            DropoutMode::Units => 0.0,
            DropoutMode::Inverted | DropoutMode::Vanilla | DropoutMode::Batch => {
                // The threshold's own probability, which is that of the masks that are drawn.
                let keep = dropout.keep.threshold() as f64 / 4_294_967_296.0;
                keep.powi(kept as i32) * (1.0 - keep).powi((units - kept) as i32)
            }
        }
    };
    sites.iter().map(of_site).product()
}

/// n over k.
fn choose(n: u32, k: u32) -> f64 {
    (0..k).map(|i| f64::from(n - i) / f64::from(i + 1)).product()
}
