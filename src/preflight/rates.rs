//! The rates of dropout as they are written: whether answers are dropped, and whether every site leaves enough units.

use super::Check;
use crate::Result;
use crate::network::{Dropout, Layer, Network, Place, Recurrent, Unit};
use crate::sweep::all_sites;

/// The checks of the rates as they are written, for which nothing runs: no answer is dropped, and every site leaves enough units.
///
/// # Errors
/// A network that does not fit together.
pub fn rates(network: &Network) -> Result<[Check; 2]> {
    Ok([output_dropout(network), keep_probs(network)?])
}

/// Whether anything is dropped behind the last layer that learns, at whatever step of the training.
fn output_dropout(network: &Network) -> Check {
    let mut found = None;
    for (number, layer) in network.layers.iter().enumerate().rev() {
        let drops = match layer {
            Layer::Dropout(dropout) => !dropout.is_none(),
            Layer::Recurrent(recurrent) => drops_output(recurrent),
            _ => false,
        };
        if drops {
            found = Some((number, layer));
            break;
        }
        if layer.may_learn() {
            break;
        }
    }
    let text = match found {
        Some((number, Layer::Recurrent(_))) => format!("dropout of the output of layer {number}, the last one that learns"),
        Some((number, _)) => format!("dropout behind the last layer that learns, in layer {number}"),
        None => "the output is not dropped".into(),
    };
    let remove = match found {
        Some((_, Layer::Recurrent(_))) => "remove `output` of the last recurrent layer, or put a dense layer behind it",
        _ => "remove the last dropout layer",
    };
    let advice = format!("dropout of the output throws away answers: {remove}; dropout belongs behind hidden layers");
    Check::new("output", text, found.is_some(), advice)
}

/// Whether what comes out of a recurrent layer is dropped; what goes from one of its inner layers to the next is no answer.
fn drops_output(recurrent: &Recurrent) -> bool {
    let last = recurrent.layer_count().saturating_sub(1);
    let none = |direction| Dropout::is_none(recurrent.dropout(last, direction, Place::Output));
    !(0..recurrent.directions()).all(none)
}

fn keep_probs(network: &Network) -> Result<Check> {
    let (shapes, sites, addresses) = (network.shapes()?, all_sites(network), network.addresses());
    let (mut found, mut advice) = (Vec::new(), None);
    for (i, (layer, shape)) in network.walk().into_iter().zip(&shapes).enumerate() {
        let at = &addresses[i];
        if let Layer::Recurrent(recurrent) = layer
            && recurrent.untied
            && !recurrent.drops(Place::Recurrent)
        {
            found.push(format!("layer {at}: untied gates, but nothing recurrent is dropped"));
        }
        let (Layer::Dropout(dropout), true) = (layer, sites.contains(&i)) else { continue };
        let (last, units) = (dropout.keep.get(), dropout.unit.mask_shape(shape).elements());
        let first = dropout.at(0).keep.get();
        let keep = first.min(last);
        let rate = if first == last { last.to_string() } else { format!("{first} at first, {last} in the end,") };
        // A path is one unit of each sample, all of the samples have many.
        if dropout.unit == Unit::Path {
            found.push(format!("layer {at}: {rate} of the paths"));
            continue;
        }
        found.push(format!("layer {at}: {rate} of {units}"));
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
