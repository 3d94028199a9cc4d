//! Draws of one network for all inputs run on thinned layers: without the dropped units, their weights and their products.
//!
//! The units of a draw are listed in its step, as those of per-batch unit dropout are in training. Sites of exactly k units have lists
//! of k. A site with a word for each unit keeps now more, now fewer: its list has room for four deviations above the mean, and the
//! rare draw that keeps more runs on whole layers.

use super::{MonteCarlo, Sampling, bad, drops, drops_features};
use crate::Result;
use crate::network::{Dropout, DropoutMode, KeepProb, Layer, Network};

/// Inputs of a draw from which on thinned layers are used on a software adapter: gathering the weights of a draw costs as much as the
/// products of some rows. 784-1024-1024-10, keep 0.8 and 0.5, on lavapipe, the quieter of two runs: 64 inputs take as long thinned as
/// whole, 128 are 1.4 times as fast, 1000 twice.
const INPUTS: u32 = 128;

/// The same on a GPU, which has a draw of few inputs to itself and wants thousands of rows at once. Not measured.
const INPUTS_GPU: u32 = 2048;

/// The networks to plan for a model's draws.
///
/// # Errors
/// Per-batch unit dropout where each input has masks of its own.
pub(super) fn planned(network: &Network, options: &MonteCarlo, inputs: u32, software: bool) -> Result<Vec<Network>> {
    if options.sampling == Sampling::ExactK {
        if !can_thin(network) {
            return bad(
                "sampling",
                "ExactK",
                "exactly k units are kept by making layers smaller, so that from the first site on the network must be dense, and \
                 each dropout layer stand in front of a dense layer, behind one or first, and drop single features; this network has \
                 another, so draw independent masks",
            );
        }
        return Ok(vec![changed(network, |dropout, _| dropout.mode = DropoutMode::Units)?]);
    }
    check(network, options)?;
    let least = if software { INPUTS } else { INPUTS_GPU };
    if options.one_network && inputs >= least && can_thin(network) {
        let thinned = changed(network, |dropout, units| {
            // A site whose draws may keep nearly all units stays whole.
            if dropout.mode != DropoutMode::Units
                && let Some(keep) = room(dropout.keep, units)
            {
                (dropout.mode, dropout.keep) = (DropoutMode::Units, keep);
            }
        })?;
        if products(&thinned) * 4 <= products(network) * 3 {
            return Ok(vec![thinned, network.clone()]);
        }
    }
    Ok(vec![network.clone()])
}

/// The network with a mask for each row at every site.
pub(super) fn whole(network: &Network) -> Result<Network> {
    changed(network, |dropout, _| {
        if dropout.mode == DropoutMode::Units {
            dropout.mode = DropoutMode::Inverted;
        }
    })
}

/// Whether a planned network has layers whose units are listed.
pub(super) fn is_thinned(network: &Network) -> bool {
    network.walk().into_iter().any(|layer| drops(layer) && matches!(layer, Layer::Dropout(d) if d.mode == DropoutMode::Units))
}

/// The network with its dropout layers that drop something changed, given their numbers of units.
fn changed(network: &Network, change: impl Fn(&mut Dropout, u32)) -> Result<Network> {
    let (shapes, mut network) = (network.shapes()?, network.clone());
    network.change_layers(|number, layer| {
        let active = drops(layer);
        if let Layer::Dropout(dropout) = layer
            && active
        {
            change(dropout, shapes[number].elements());
        }
    });
    Ok(network)
}

/// Whether every site drops features in front of a dense layer, and behind one or first.
fn can_thin(network: &Network) -> bool {
    if !drops_features(network) {
        return false;
    }
    let layers: Vec<_> = network.layers.iter().filter(|layer| drops(layer) || matches!(layer, Layer::Dense(_))).collect();
    let dense = |layer: Option<&&Layer>| matches!(layer, Some(Layer::Dense(_)));
    (0..layers.len()).filter(|&i| drops(layers[i])).all(|i| dense(layers.get(i + 1)) && (i == 0 || dense(layers.get(i - 1))))
}

/// As many of n units as a draw keeps, and four deviations more, as a keep_prob that keeps exactly as many. Whole workgroups of a
/// matrix product: rounded up to 32. `None` where that is all of them.
fn room(keep: KeepProb, n: u32) -> Option<KeepProb> {
    let (p, units) = (keep.get(), f64::from(n));
    let most = (p * units + 4.0 * (p * (1.0 - p) * units).sqrt()).ceil() as u32;
    let most = most.max(1).next_multiple_of(32);
    (most < n).then(|| KeepProb::new(f64::from(most) / units).expect("fewer than n of n units"))
}

/// Products of a row.
fn products(network: &Network) -> u64 {
    let mut inputs = network.input.0.iter().product::<u32>();
    // What a site leaves of the layer in front of it, by going back.
    let mut layers: Vec<[u32; 2]> = Vec::new();
    for layer in &network.layers {
        match layer {
            Layer::Dense(dense) => {
                layers.push([inputs, dense.units]);
                inputs = dense.units;
            }
            Layer::Dropout(dropout) if dropout.mode == DropoutMode::Units && drops(layer) => {
                inputs = dropout.kept_count(inputs);
                if let Some(last) = layers.last_mut() {
                    last[1] = inputs;
                }
            }
            _ => {}
        }
    }
    layers.into_iter().map(|[inputs, outputs]| u64::from(inputs) * u64::from(outputs)).sum()
}

/// # Errors
/// Sets of units that a batch shares, where inputs have networks of their own, or draws that are no such sets.
pub(super) fn check(network: &Network, options: &MonteCarlo) -> Result<()> {
    if options.sampling == Sampling::ExactK {
        return Ok(()); // every site is such a set
    }
    let units = network.walk().into_iter().any(|layer| matches!(layer, Layer::Dropout(d) if d.mode == DropoutMode::Units));
    if units && !options.one_network {
        return bad(
            "one_network",
            false,
            "the network has per-batch unit dropout, which draws one thinned network for all inputs; set one_network (--one-network)",
        );
    }
    if units && options.sampling != Sampling::Independent {
        let sampling = format!("{:?}", options.sampling);
        let problem =
            "the network's sets of exactly k units are drawn whole, without complements or shares; draw them independently";
        return bad("sampling", sampling, problem);
    }
    Ok(())
}
