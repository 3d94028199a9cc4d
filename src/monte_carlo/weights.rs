//! Draws of normal numbers in place of masks of weights, [`MonteCarlo::gaussian_weights`] (Wan et al., ICML 2013, section 3.2).

use super::{MonteCarlo, Sampling, bad, drops};
use crate::network::{Dropout, KeepProb, Layer, Network, Unit};
use crate::{Error, Result};

/// Whether a layer drops weights.
pub(super) fn drops_weights(dropout: &Dropout) -> bool {
    dropout.unit == Unit::Weight
}

/// sigma of `y = mean + sigma sqrt(sum (W x)^2) n`: `sqrt((1 - q) / q)`, q = T / 2^32, the share of weights that masks keep. Both
/// numbers are whole and exact in f64, so that it is rounded to f32 once, to 2^-24.
pub(super) fn deviation(keep: KeepProb) -> f32 {
    let (kept, all) = (keep.threshold() as f64, 4_294_967_296.0);
    ((all - kept) / kept).sqrt() as f32
}

/// # Errors
/// Where the option is set, a network that drops no weights, or all of a layer; options that are about masks.
pub(super) fn check(network: &Network, options: &MonteCarlo) -> Result<()> {
    if !options.gaussian_weights {
        return Ok(());
    }
    let refused = |problem: &str| bad("gaussian_weights", true, problem);
    match options.sampling {
        Sampling::LatinHypercube => {
            return refused(
                "a Latin hypercube has strata for masks, not for normal numbers; use independent or antithetic draws",
            );
        }
        Sampling::ExactK => return refused("draws of exactly k units are masks; use independent or antithetic draws"),
        Sampling::Independent | Sampling::Antithetic => {}
    }
    if options.one_network {
        return refused(
            "a normal number is drawn for each input, so that no draw is one network for all; leave one of the two out",
        );
    }
    let mut any = false;
    for (number, layer) in network.walk().into_iter().enumerate().filter(|(_, layer)| drops(layer)) {
        match layer {
            Layer::Dropout(dropout) if drops_weights(dropout) && dropout.keep.threshold() == 0 => {
                return Err(Error::Network {
                    place: network.places()[number].clone(),
                    problem: "keeps no weight (keep_prob 0), whose variance (1 - keep_prob) / keep_prob is infinite; draw masks"
                        .into(),
                });
            }
            Layer::Dropout(dropout) => any |= drops_weights(dropout),
            _ => {}
        }
    }
    if any {
        return Ok(());
    }
    refused("the network has no DropConnect layer with keep_prob below 1, the only one that is drawn so; leave it out")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The variance of a weight of 1 over its two values, 0 and 1 / q.
    #[test]
    fn the_deviation_is_that_of_the_masks() {
        for p in [1e-6, 0.05, 0.5, 0.8, 0.999, 1.0] {
            let keep = KeepProb::new(p).unwrap();
            let q = keep.threshold() as f64 / 4_294_967_296.0;
            let of_masks = (1.0 - q) + q * (1.0 / q - 1.0) * (1.0 / q - 1.0);
            let sigma = f64::from(deviation(keep));
            // Twice 2^-24 of the square, and some roundings in f64.
            assert!((sigma * sigma - of_masks).abs() <= 1.3e-7 * of_masks, "{p}: {sigma}");
        }
        assert_eq!((deviation(KeepProb::ONE), deviation(KeepProb::new(0.5).unwrap())), (0.0, 1.0));
    }
}
