//! The rates of dropout as they are written: whether answers are dropped, and whether every site leaves enough units.

use super::Check;
use crate::Result;
use crate::network::{Layer, Network, Unit};
use crate::sweep::all_sites;

/// The last layer, if it is dropout.
pub(super) fn output_dropout(network: &Network) -> Check {
    let mut behind = network.layers.iter().rev().take_while(|layer| matches!(layer, Layer::Dropout(_)));
    let drops = behind.any(|layer| matches!(layer, Layer::Dropout(d) if d.keep.get() < 1.0));
    let found = if drops { "dropout behind the last dense layer" } else { "the output is not dropped" };
    let advice = "dropout of the output throws away answers: remove the last dropout layer; dropout belongs behind hidden layers";
    Check::new("output", found.into(), drops, advice)
}

pub(super) fn keep_probs(network: &Network) -> Result<Check> {
    let (shapes, sites, addresses) = (network.shapes()?, all_sites(network), network.addresses());
    let (mut found, mut advice) = (Vec::new(), None);
    for (i, (layer, shape)) in network.walk().into_iter().zip(&shapes).enumerate() {
        let (Layer::Dropout(dropout), true) = (layer, sites.contains(&i)) else { continue };
        let (at, keep, units) = (&addresses[i], dropout.keep.get(), dropout.unit.mask_shape(shape).elements());
        // A path is one unit of each sample, all of the samples have many.
        if dropout.unit == Unit::Path {
            found.push(format!("layer {at}: {keep} of the paths"));
            continue;
        }
        found.push(format!("layer {at}: {keep} of {units}"));
        let kept = keep * f64::from(units);
        if keep < 0.1 || keep < 0.5 && kept < 2.0 {
            let other = ((1.0 - keep) * 1e6).round() / 1e6;
            advice.get_or_insert(format!(
                "layer {at} keeps {keep} of its {units} units, about {kept:.0} of them: keep is the share that stays, so write keep = {other} \
                 if {keep} is the share to drop, or use 0.5 to 0.9"
            ));
        }
    }
    let found = if found.is_empty() { "no dropout layer".into() } else { found.join(", ") };
    Ok(Check::new("keep_prob", found, advice.is_some(), advice.unwrap_or_default()))
}
