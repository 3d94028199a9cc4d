//! Dropout in front of batch norm: what is known about it, said once.

use crate::network::{Dropout, DropoutMode, Layer, Network, Residual, Unit};

/// What is known about dropout in front of batch norm, where a network has it: one sentence for its first such pair.
///
/// Batch norm learns the variance of what it sees in training, and evaluation, where nothing is dropped, has another one:
/// variance shift (Li, Chen, Hu and Yang, CVPR 2019). For an activation of mean m and variance v, kept with probability p,
///
/// ```text
/// variance in training / variance in evaluation  =  1 / p + (1 - p) / p m^2 / v  >=  1 / p
/// ```
///
/// where batch norm sees the activation itself, also in the mean over masks that a batch shares; n / k stands for 1 / p where a
/// batch keeps k of n units. Layers in between that sum activations leave the factor as it is if these are independent of one
/// another; what they have in common makes it smaller.
///
/// Asked for are sites that drop something with a batch norm behind them, and between them neither another batch norm nor layer
/// norm, which makes the variance of every sample 1 in both modes. Sites of paths are none: they drop what is added to a skip,
/// which stays.
///
/// ```
/// use thinnet::network::{BatchNorm, Layer};
/// use thinnet::{Dense, Dropout, Network, preflight::variance_shift};
/// let between = |first, second| Network::new(8).dense(Dense::new(8)).layer(first).layer(second).dense(Dense::new(2));
/// let (dropout, norm) = (Layer::Dropout(Dropout::keep(0.5)?), Layer::BatchNorm(BatchNorm::default()));
/// assert!(variance_shift(&between(dropout.clone(), norm.clone())).unwrap().contains("2.00 times"));
/// assert_eq!(variance_shift(&between(norm, dropout)), None);
/// # Ok::<(), thinnet::Error>(())
/// ```
pub fn variance_shift(network: &Network) -> Option<String> {
    let shapes = network.shapes().ok()?;
    let mut pairs = Vec::new();
    follow(&network.layers, &mut 0, Vec::new(), &mut pairs);
    let (&(site, norm), others) = pairs.split_first()?;
    let (places, dropout) = (network.places(), network.dropout_at(site)?);
    let factor = factor(dropout, dropout.unit.mask_shape(&shapes[site]).elements());
    let more = match others.len() {
        0 => String::new(),
        1 => " (and one more pair)".into(),
        more => format!(" (and {more} more pairs)"),
    };
    Some(format!(
        "{} with keep_prob {} stands in front of {}{more}: the variance that batch norm learns in training is {factor:.2} times \
         that in evaluation for activations of mean 0, more for others, less where layers in between sum what is alike (variance \
         shift: Li, Chen, Hu and Yang, CVPR 2019); put dropout behind the last batch norm, or set its keep_prob nearer to 1",
        places[site],
        dropout.keep.get(),
        places[norm]
    ))
}

/// How much larger the variance of a dropped activation of mean 0 is in training than in evaluation.
fn factor(dropout: &Dropout, units: u32) -> f64 {
    match dropout.mode {
        DropoutMode::Units => f64::from(dropout.train_scale(units)),
        _ => 1.0 / dropout.keep.get(),
    }
}

/// Goes through layers from number `next` on, with the sites that nothing has normalised since; adds the pairs of a site and a
/// batch norm that it finds, and returns the sites that are left.
fn follow(layers: &[Layer], next: &mut usize, mut sites: Vec<usize>, pairs: &mut Vec<(usize, usize)>) -> Vec<usize> {
    for layer in layers {
        let number = *next;
        *next += 1;
        match layer {
            Layer::Dropout(dropout) if drops(dropout) => sites.push(number),
            Layer::BatchNorm(_) => pairs.extend(sites.drain(..).map(|site| (site, number))),
            Layer::LayerNorm(_) => sites.clear(),
            Layer::Residual(Residual { branch, skip }) => {
                let behind = follow(branch, next, sites.clone(), pairs);
                sites = follow(skip, next, sites, pairs);
                sites.extend(behind);
                sites.sort_unstable();
                sites.dedup();
            }
            _ => {}
        }
    }
    sites
}

/// Whether a site changes the variance of what is behind it. One that keeps nothing leaves no variance at all.
fn drops(dropout: &Dropout) -> bool {
    let threshold = dropout.keep.threshold();
    dropout.unit != Unit::Path && threshold > 0 && threshold < 1 << 32
}
