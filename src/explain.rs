//! Which units were off when a row of the training data was seen: what dropout did to it, in any epoch, and with which rows it shared its batch.
//!
//! Nothing of it is recorded while training. The mask contract gives every mask from its coordinates, and the order of an epoch follows from the
//! seed, so that a loss that jumped in epoch 7 can be looked into months later, on another machine, without a device.
//!
//! ```
//! use thinnet::explain::{Units, explain};
//! use thinnet::{Dense, Dropout, Network, TrainOptions};
//!
//! let network = Network::new(4).dense(Dense::new(16)).dropout(Dropout::keep(0.5)?).dense(Dense::new(3));
//! let options = TrainOptions { seed: 42, batch: 8, ..Default::default() };
//! // Of a hundred rows, row 5 in epoch 2.
//! let samples: Vec<u32> = (0..100).collect();
//! let seen = explain(&network, &options, &samples, 5, 2)?;
//! assert!(seen.update / 13 == 2 && seen.batch.contains(&5));
//! let Units::Kept(kept) = &seen.sites[0].units else { panic!("units are kept or not") };
//! assert_eq!(kept.len(), 16);
//! # Ok::<(), thinnet::Error>(())
//! ```

use serde::Serialize;

use crate::network::{Dropout, DropoutMode, Layer, Network, Noise, Shape, Unit};
use crate::reference::masks::{self, SiteFactors};
use crate::reference::{self, Masks};
use crate::rng::{self, Shuffle};
use crate::trainer::TrainOptions;
use crate::trainer::schedule::{batch_of, check_updates};
use crate::{Error, Result};

/// A row of the training data as an epoch saw it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explained {
    /// Its place in the order of the epoch, from 0.
    pub position: u32,
    /// The update of the weights that it had a part in, over all epochs from 0: the pass of masks that a batch shares.
    pub update: u32,
    /// The samples of that update in their order, its own among them.
    pub batch: Vec<u32>,
    /// What was dropped, in order of declaration. Sites that drop nothing are left out.
    pub sites: Vec<Site>,
}

/// What a dropout site did to it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Site {
    /// The layer as it is named in messages: `layer 3 (dropout)`, `layer 2.residual[4] (dropout)`.
    pub layer: String,
    /// The coordinate of the mask contract.
    pub site: u32,
    /// The probability that a unit was kept, at that update.
    pub keep_prob: f64,
    /// What is dropped as one, in words.
    pub unit: String,
    /// The extents of the mask, 1 on the axes it is shared on.
    pub shape: Vec<u32>,
    /// What became of every unit, row-major in the mask's shape.
    pub units: Units,
}

/// What became of the units of a mask.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Units {
    /// True where a unit was kept. Of blocks every pixel is one.
    Kept(Vec<bool>),
    /// What Gaussian dropout multiplied each with.
    Factors(Vec<f64>),
    /// Of concrete dropout, whose masks follow from the rate that was learned by then.
    Learned,
}

/// What dropout did to a row when it was seen in an epoch. `samples` are the sample numbers of all training rows in their order
/// ([`Inputs::samples`](crate::Inputs::samples)), `sample` is the number of the row, epochs count from 0 (with
/// [`TrainOptions::first_epoch`], from there on).
///
/// A block that stochastic depth skipped has sites that had no part in it: they are listed as if it had been passed through.
///
/// # Errors
/// Options or a network that do not fit together; a sample that is none of the rows; an epoch that no training comes to.
pub fn explain(network: &Network, options: &TrainOptions, samples: &[u32], sample: u32, epoch: u32) -> Result<Explained> {
    options.check()?;
    let rows = u32::try_from(samples.len()).map_err(|_| Error::Data(format!("{} rows are more than 2^32", samples.len())))?;
    let row = samples.iter().position(|&other| other == sample).ok_or_else(|| none_of(samples, sample))? as u32;
    let key = rng::key(options.seed);
    let shuffle = Shuffle::new(rows);
    let at = |position| shuffle.row(position, epoch, key);
    let position = (0..rows).find(|&position| at(position) == row).expect("an order holds every row");
    let batch_rows = options.batch.min(rows).saturating_mul(options.accumulate);
    let updates = rows.div_ceil(batch_rows);
    check_updates(epoch.saturating_add(1), updates).map_err(|_| {
        let problem =
            format!("the first is 0, and none that far is trained: at {updates} updates an epoch these are more than 2^32");
        Error::Option { option: "epoch", value: epoch.to_string(), problem }
    })?;
    let (batch, positions) = batch_of(position, rows, batch_rows);
    let update = epoch * updates + batch;
    let masks = Masks::Drawn { seed: options.seed, pass: epoch, update, samples: &[sample] };
    let batch = positions.map(|position| samples[at(position) as usize]).collect();
    Ok(Explained { position, update, batch, sites: sites(network, &masks, update)? })
}

fn none_of(samples: &[u32], sample: u32) -> Error {
    let problem = match (samples.iter().min(), samples.iter().max()) {
        (Some(least), Some(most)) => {
            format!("it is none of the {} training rows, which are from {least} to {most}", samples.len())
        }
        _ => "there are no training rows".into(),
    };
    Error::Option { option: "sample", value: sample.to_string(), problem }
}

fn sites(network: &Network, masks: &Masks, update: u32) -> Result<Vec<Site>> {
    let (layers, numbers, places) = (network.walk(), network.sites()?, network.places());
    let drawn = reference::site_factors(network, masks)?;
    let mut sites = Vec::new();
    for ((layer, site), place) in layers.iter().zip(numbers).zip(places) {
        let (Some(site), Layer::Dropout(dropout)) = (site, layer) else { continue };
        let dropout = dropout.at(update);
        if dropout.is_none() {
            continue;
        }
        let drawn = drawn.iter().find(|drawn| drawn.site == site).expect("every site is some node's");
        let mask = drawn.unit.mask_shape(&drawn.shape);
        let of_unit = by_unit(drawn, &mask);
        let units = match dropout.noise {
            Noise::Concrete(_) => Units::Learned,
            Noise::Gaussian => Units::Factors(of_unit.iter().map(|factor| factor.unwrap_or(0.0)).collect()),
            Noise::Bernoulli | Noise::Alpha => Units::Kept(of_unit.iter().map(Option::is_some).collect()),
        };
        let (keep_prob, unit) = (dropout.keep.get(), described(&dropout, drawn.unit));
        sites.push(Site { layer: place, site, keep_prob, unit, shape: mask.0, units });
    }
    Ok(sites)
}

/// The factor of every unit, from those of the elements.
fn by_unit(drawn: &SiteFactors, mask: &Shape) -> Vec<Option<f64>> {
    let strides = drawn.unit.strides(&drawn.shape);
    let mut units = vec![None; mask.elements() as usize];
    for (element, &factor) in (0..).zip(&drawn.factors) {
        units[masks::unit(element, &drawn.shape, &strides)] = factor;
    }
    units
}

/// What is dropped as one, and for whom.
fn described(dropout: &Dropout, unit: Unit) -> String {
    match (dropout.mode, dropout.noise) {
        (DropoutMode::Units, _) => format!("{unit}, one set of them for the batch"),
        (DropoutMode::Batch, Noise::Bernoulli) => format!("{unit}, one mask for the batch"),
        (DropoutMode::Batch, noise) => format!("{unit}, {} noise, the same for the batch", noise.name()),
        (DropoutMode::Inverted | DropoutMode::Vanilla, Noise::Bernoulli) => unit.to_string(),
        (DropoutMode::Inverted | DropoutMode::Vanilla, noise) => format!("{unit}, {} noise", noise.name()),
    }
}
