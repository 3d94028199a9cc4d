//! Rates of dropout compared in pairs: the same initial weights, the same order of the rows and nested masks for every rate.
//!
//! All rates of a site threshold the same words, so the mask at 0.5 is a subset of the mask at 0.8: two rates of one seed differ
//! in nothing but the units between them, and their difference has less noise than that of two independent runs.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::checkpoint::{check_contract, training_difference};
use crate::data::{Dataset, fingerprint};
use crate::network::{KeepProb, Layer, Network, Noise};
use crate::rng::CONTRACT_VERSION;
use crate::trainer::{Epoch, TrainOptions};
use crate::{Error, Result};

mod fit;

/// A rate and a seed, trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// keep_prob of the sites that were swept.
    pub keep: f64,
    /// The seed.
    pub seed: u64,
    /// All epochs, or those before the one that it diverged in.
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

/// A network's training with every keep_prob at some layers for every seed, and the runs that are through: [`Sweep::fit`] makes those
/// that are not. Kept as JSON between two programs, it goes on where it was.
///
/// ```
/// use std::ops::ControlFlow;
/// use thinnet::sweep::{Sweep, hidden_sites};
/// use thinnet::{Dense, Device, Dropout, KeepProb, Network, TrainOptions, data};
///
/// let (train, valid) = (data::digits().slice(0..200)?, data::digits().slice(200..300)?);
/// let network = Network::new(64).dense(Dense::new(16)).dropout(Dropout::keep(0.5)?).dense(Dense::new(10));
/// let mut sweep = Sweep::new(&network, hidden_sites(&network), (&train, &valid), &TrainOptions::default(), 2)?;
/// sweep.add(&[KeepProb::new(0.5)?], &[1, 2])?;
/// sweep.fit(&Device::cpu(), (&train, &valid), |_, _, _| ControlFlow::Continue(()))?;
///
/// let mut sweep = Sweep::from_json(&sweep.to_json()?)?;
/// sweep.add(&[KeepProb::ONE], &[])?;
/// let all = sweep.fit(&Device::cpu(), (&train, &valid), |_, making, _| {
///     assert_eq!(making, [(1.0, 1), (1.0, 2)]); // the others are through
///     ControlFlow::Continue(())
/// })?;
/// assert!(all.is_continue() && sweep.paired().len() == 4);
/// # Ok::<(), thinnet::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    mask_contract: u32,
    /// With 1 for the rates that are swept.
    network: Network,
    layers: Vec<usize>,
    options: TrainOptions,
    epochs: u32,
    /// The fingerprints of the training and the validation rows.
    data: [u64; 2],
    keeps: Vec<KeepProb>,
    seeds: Vec<u64>,
    /// What multiplied the matrices of the first run.
    matmul: Option<String>,
    runs: Vec<Run>,
}

impl Sweep {
    /// No rates yet: of a network at these layers (see [`sites_at`]), for so many epochs of training with these options, but for their
    /// seed.
    ///
    /// # Errors
    /// As [`with_keep`], and options that make no sense.
    pub fn new(
        network: &Network,
        mut layers: Vec<usize>,
        (train, valid): (&Dataset, &Dataset),
        options: &TrainOptions,
        epochs: u32,
    ) -> Result<Self> {
        options.check()?;
        layers.sort_unstable();
        layers.dedup();
        Ok(Self {
            mask_contract: CONTRACT_VERSION,
            network: with_keep(network, &layers, KeepProb::ONE)?,
            layers,
            options: TrainOptions { seed: 0, ..options.clone() },
            epochs,
            data: [train, valid].map(fingerprint::with_samples),
            keeps: Vec::new(),
            seeds: Vec::new(),
            matmul: None,
            runs: Vec::new(),
        })
    }

    /// Adds rates and seeds to those that there are: every rate is trained with every seed.
    ///
    /// # Errors
    /// A layer without a rate that could be swept, see [`with_keep`].
    pub fn add(&mut self, keeps: &[KeepProb], seeds: &[u64]) -> Result<()> {
        for &keep in keeps {
            with_keep(&self.network, &self.layers, keep)?;
        }
        self.keeps.extend_from_slice(keeps);
        self.keeps.sort_by(|a, b| a.get().total_cmp(&b.get()));
        self.keeps.dedup();
        for &seed in seeds {
            if !self.seeds.contains(&seed) {
                self.seeds.push(seed);
            }
        }
        Ok(())
    }

    /// The rates, in ascending order.
    pub fn keeps(&self) -> &[KeepProb] {
        &self.keeps
    }

    /// The seeds, in the order they were added.
    pub fn seeds(&self) -> &[u64] {
        &self.seeds
    }

    /// The layers whose rates are swept, by their numbers in [`Network::walk`].
    pub fn layers(&self) -> &[usize] {
        &self.layers
    }

    /// What multiplied the matrices of its first run, as [`Matmul`](crate::kernels::matmul::Matmul) is printed: a device that does it
    /// otherwise adds in another order, and pairs of such runs differ in more than their rate.
    pub fn matmul(&self) -> Option<&str> {
        self.matmul.as_deref()
    }

    /// The runs that are through, by rate and then by seed.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The runs that can be compared: those of the seeds that every rate has been trained with.
    pub fn paired(&self) -> Vec<Run> {
        let all_rates = |seed: u64| self.keeps.iter().all(|&keep| self.has(keep, seed));
        self.runs.iter().filter(|run| all_rates(run.seed)).cloned().collect()
    }

    fn has(&self, keep: KeepProb, seed: u64) -> bool {
        self.runs.iter().any(|run| run.keep == keep.get() && run.seed == seed)
    }

    /// Where another sweep would train otherwise, with both values; rates and seeds may differ.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let walks = [self, other].map(|sweep| sweep.network.walk().len());
        if self.layers != other.layers && walks[0] == walks[1] {
            let [is, was] = [other, self].map(|sweep| {
                let addresses = sweep.network.addresses();
                sweep.layers.iter().map(|&layer| &*addresses[layer]).collect::<Vec<_>>().join(", ")
            });
            return Some(format!("what is swept is {is}, but was {was}"));
        }
        let epochs =
            || (self.epochs != other.epochs).then(|| format!("train.epochs is {}, but was {}", other.epochs, self.epochs));
        training_difference((&other.network, &other.options), (&self.network, &self.options)).or_else(epochs)
    }

    fn sort(&mut self) {
        let place = |seed: u64| self.seeds.iter().position(|&other| other == seed);
        self.runs.sort_by(|a, b| a.keep.total_cmp(&b.keep).then(place(a.seed).cmp(&place(b.seed))));
    }

    /// The sweep as JSON.
    ///
    /// # Errors
    /// Never for a sweep that was made by this crate.
    pub fn to_json(&self) -> Result<String> {
        let json = serde_json::to_string_pretty(self);
        json.map(|json| json + "\n").map_err(|e| Error::Data(format!("the sweep cannot be written as JSON: {e}")))
    }

    /// Reads what [`Sweep::to_json`] wrote.
    ///
    /// # Errors
    /// Text that is no sweep, contradicts itself, or follows another version of the mask contract.
    pub fn from_json(json: &str) -> Result<Self> {
        let unreadable = |problem: String| Error::Data(format!("is no sweep that can be read ({problem}); begin another"));
        // Before the rest, which another version may have otherwise.
        let version = serde_json::from_str(json).ok().and_then(|sweep: Value| sweep.get("mask_contract")?.as_u64());
        check_contract(version.map_or(Ok(CONTRACT_VERSION), u32::try_from).unwrap_or(u32::MAX))?;
        let mut sweep: Self = serde_json::from_str(json).map_err(|e| unreadable(e.to_string()))?;
        sweep.options.check()?;
        with_keep(&sweep.network, &sweep.layers, KeepProb::ONE)?;
        let (keeps, seeds) = (std::mem::take(&mut sweep.keeps), std::mem::take(&mut sweep.seeds));
        sweep.add(&keeps, &seeds)?;
        if sweep.keeps.is_empty() || sweep.seeds.is_empty() {
            return Err(unreadable("it has no rates or no seeds".into()));
        }
        let runs = std::mem::take(&mut sweep.runs);
        for run in runs {
            let planned = sweep.keeps.iter().any(|keep| keep.get() == run.keep) && sweep.seeds.contains(&run.seed);
            let twice = sweep.runs.iter().any(|other| (other.keep, other.seed) == (run.keep, run.seed));
            let epochs = if run.diverged { run.history.len() as u32 } else { sweep.epochs };
            let whole = epochs <= sweep.epochs && run.history.iter().map(|epoch| epoch.epoch).eq(0..epochs);
            let judged = run.history.iter().all(|epoch| epoch.valid.is_some());
            if !(planned && !twice && whole && judged) {
                return Err(unreadable(format!("the run of keep {}, seed {} is none of its, or not whole", run.keep, run.seed)));
            }
            sweep.runs.push(run);
        }
        sweep.sort();
        Ok(sweep)
    }
}
