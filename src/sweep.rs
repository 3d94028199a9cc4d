//! Rates of dropout compared in pairs: the same initial weights, the same order of the rows and nested masks for every rate.
//!
//! All rates of a site threshold the same words, so the mask at 0.5 is a subset of the mask at 0.8: two rates of one seed differ
//! in nothing but the units between them, and their difference has less noise than that of two independent runs.

use crate::data::Dataset;
use crate::network::{KeepProb, Layer, Network, Noise};
use crate::trainer::{Epoch, Progress, TrainOptions, Trainer};
use crate::{Device, Error, Result};

/// A rate and a seed, trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// keep_prob of the sites that were swept.
    pub keep: f64,
    /// The seed.
    pub seed: u64,
    /// All epochs, up to where it diverged.
    pub history: Vec<Epoch>,
    /// Whether the loss stopped being a number.
    pub diverged: bool,
}

/// The dropout layers, by their numbers in [`Network::walk`], that a sweep changes unless told otherwise: all but that of the
/// input, or that alone where there is no other.
pub fn hidden_sites(network: &Network) -> Vec<usize> {
    let layers = network.walk();
    let first =
        layers.iter().position(|layer| matches!(layer, Layer::Dense(_) | Layer::Conv2d(_) | Layer::Recurrent(_))).unwrap_or(0);
    let (input, hidden): (Vec<_>, Vec<_>) = all_sites(network).into_iter().partition(|&i| i < first);
    if hidden.is_empty() { input } else { hidden }
}

/// The numbers of all dropout layers in [`Network::walk`]; of the sites of a recurrent layer or an embedding those that drop.
pub(crate) fn all_sites(network: &Network) -> Vec<usize> {
    let (layers, mut inside) = (network.walk(), 0..0);
    let mut sites = Vec::new();
    for (number, layer) in layers.iter().enumerate() {
        match layer {
            Layer::Recurrent(_) | Layer::Embedding(_) => inside = number + 1..number + 1 + layer.inner()[0].len(),
            Layer::Dropout(dropout) if !inside.contains(&number) || !dropout.is_none() => sites.push(number),
            _ => {}
        }
    }
    sites
}

/// The dropout layers at a place, by their numbers in [`Network::walk`]. A place is the path in the file from the number of the
/// layer on, as messages and [`crate::preflight`](mod@crate::preflight) print it: `3`, `3.residual[1]`, `0.recurrent`. Where a
/// recurrent layer has several directions of layers, `0.recurrent[1]` is one of them and `0.recurrent` is all.
/// `layer 3 (dropout)` is `3`.
///
/// ```
/// use thinnet::{Dense, Dropout, Network, Recurrent};
/// let network = Network::new([6, 5]).recurrent(Recurrent::gru(8)).dropout(Dropout::keep(0.5)?).dense(Dense::new(2));
/// assert_eq!(thinnet::sweep::sites_at(&network, "0.recurrent")?, [2]);
/// assert_eq!(thinnet::sweep::sites_at(&network, "layer 1 (dropout)")?, [4]);
/// # Ok::<(), thinnet::Error>(())
/// ```
///
/// # Errors
/// A place where there is no dropout layer; the message says where there is one.
pub fn sites_at(network: &Network, place: &str) -> Result<Vec<usize>> {
    let place = place.trim();
    let place = place.strip_prefix("layer ").unwrap_or(place);
    let place = place.split_once(" (").map_or(place, |(address, _)| address);
    let (layers, addresses) = (network.walk(), network.addresses());
    // A list of layers in a block is no site of its own, the list of the directions of a recurrent layer is.
    let listed = !place.ends_with(".residual") && !place.ends_with(".skip");
    let is_there = |address: &str| match address.strip_prefix(place) {
        Some("") => true,
        Some(rest) => listed && rest.starts_with('['),
        None => false,
    };
    let dropout = |number: &usize| matches!(layers[*number], Layer::Dropout(_)) && is_there(&addresses[*number]);
    let found: Vec<usize> = (0..layers.len()).filter(dropout).collect();
    if found.is_empty() { Err(no_site(network, format!("layer {place}"))) } else { Ok(found) }
}

/// What is said of a place that has no rate to sweep, with those that have one.
fn no_site(network: &Network, place: String) -> Error {
    let (addresses, sites) = (network.addresses(), all_sites(network));
    let sites: Vec<&str> = sites.into_iter().map(|site| &*addresses[site]).collect();
    let which = if sites.is_empty() { "there is none".into() } else { format!("choose among {}", sites.join(", ")) };
    Error::Network { place, problem: format!("is no dropout layer, so it has no keep_prob to sweep; {which}") }
}

/// The network with this keep_prob at these layers, which have their numbers in [`Network::walk`]; [`sites_at`] tells them.
///
/// # Errors
/// A layer that is no dropout layer; none at all.
pub fn with_keep(network: &Network, layers: &[usize], keep: KeepProb) -> Result<Network> {
    if layers.is_empty() {
        let problem = "has no dropout layer whose rate could be swept; add { dropout = { keep = 0.5 } } behind a hidden layer";
        return Err(Error::Network { place: "network".into(), problem: problem.into() });
    }
    let (mut changed, places) = (network.clone(), network.places());
    for &layer in layers {
        if network.dropout_at(layer).is_none() {
            let place = places.get(layer).cloned().unwrap_or_else(|| format!("layer {layer}"));
            return Err(no_site(network, place));
        }
    }
    for &layer in layers {
        let Some(dropout) = network.dropout_at(layer) else { continue };
        if dropout.schedule.is_some() || matches!(dropout.noise, Noise::Concrete(_)) {
            let problem = "has a rate that is scheduled or learned, so there is none to sweep; choose other layers";
            return Err(Error::Network { place: places[layer].clone(), problem: problem.into() });
        }
    }
    changed.change_layers(|number, layer| match layer {
        Layer::Dropout(dropout) if layers.contains(&number) => dropout.keep = keep,
        _ => {}
    });
    Ok(changed)
}

/// Trains the network with every keep_prob at the given layers for every seed, one after the other; `observe` sees the progress of
/// each.
///
/// # Errors
/// As [`Trainer::new`] and [`Trainer::fit`], but that a run that diverges ends with the epochs it had.
#[expect(clippy::too_many_arguments, reason = "an experiment: a network, data, options, and what is varied")]
pub fn sweep(
    device: &Device,
    network: &Network,
    (train, valid): (&Dataset, &Dataset),
    options: &TrainOptions,
    epochs: u32,
    (layers, keeps): (&[usize], &[KeepProb]),
    seeds: &[u64],
    mut observe: impl FnMut(f64, u64, &Progress<'_>),
) -> Result<Vec<Run>> {
    // Everything is checked before anything is trained.
    let networks = keeps.iter().map(|&keep| with_keep(network, layers, keep)).collect::<Result<Vec<_>>>()?;
    let mut runs = Vec::new();
    for (network, keep) in networks.iter().zip(keeps) {
        for &seed in seeds {
            let mut trainer = Trainer::new(device, network, (train, valid), TrainOptions { seed, ..options.clone() })?;
            let diverged = match trainer.fit_with(epochs, |progress| observe(keep.get(), seed, progress)) {
                Ok(_) => false,
                Err(Error::Diverged { .. }) => true,
                Err(error) => return Err(error),
            };
            runs.push(Run { keep: keep.get(), seed, history: trainer.history().to_vec(), diverged });
        }
    }
    Ok(runs)
}
