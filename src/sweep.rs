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

/// The network with this keep_prob at these layers, which have their numbers in [`Network::walk`].
///
/// # Errors
/// A layer that is no dropout layer; none at all.
pub fn with_keep(network: &Network, layers: &[usize], keep: KeepProb) -> Result<Network> {
    let bad = |place: String, problem: &str| Err(Error::Network { place, problem: problem.into() });
    if layers.is_empty() {
        return bad(
            "network".into(),
            "has no dropout layer whose rate could be swept; add { dropout = { keep = 0.5 } } behind a hidden layer",
        );
    }
    let mut changed = network.clone();
    for &layer in layers {
        if changed.dropout_at(layer).is_none() {
            let sites: Vec<String> = all_sites(network).iter().map(|site| site.to_string()).collect();
            let which = if sites.is_empty() { "there is none".into() } else { format!("choose among {}", sites.join(", ")) };
            return bad(format!("layer {layer}"), &format!("is no dropout layer, so it has no keep_prob to sweep; {which}"));
        }
    }
    for &layer in layers {
        let Some(dropout) = network.dropout_at(layer) else { continue };
        if dropout.schedule.is_some() || matches!(dropout.noise, Noise::Concrete(_)) {
            let place = network.places()[layer].clone();
            return bad(place, "has a rate that is scheduled or learned, so there is none to sweep; choose other layers");
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
