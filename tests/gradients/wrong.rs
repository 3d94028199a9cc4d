//! Gradients that a wrong plan would compute, which the bounds must not admit.

use thinnet::network::{Dropout, DropoutMode, Layer, Loss, Network};
use thinnet::reference::{self, Masks};

use super::OnDevice;
use super::networks::dropout;
use crate::drive::BatchTargets;

/// What a wrong plan would compute: each has to lie far outside the bounds.
pub(super) fn wrong_gradients(run: &OnDevice) -> Vec<(String, Vec<Vec<f64>>)> {
    let next_pass = Masks::Drawn { seed: run.seed, pass: run.pass + 1, update: run.update + 1, samples: &run.samples };
    let mut wrong = vec![("the next pass".to_owned(), run.reference(&run.network, &run.weights, &next_pass))];
    let mut permuted = run.samples.clone();
    permuted.rotate_left(1);
    let other_samples = Masks::Drawn { seed: run.seed, pass: run.pass, update: run.update, samples: &permuted };
    let has_samples = |layer: &Layer| matches!(layer, Layer::Dropout(dropout) if dropout.mode != DropoutMode::Units);
    if run.network.layers.iter().any(has_samples) {
        wrong.push(("the samples of other rows".into(), run.reference(&run.network, &run.weights, &other_samples)));
    }
    let rotated = OnDevice { targets: run.targets.rotated(run.network.targets().unwrap() as usize), ..run.clone() };
    wrong.push(("the targets of other rows".into(), rotated.reference(&run.network, &run.weights, &run.masks())));
    for (t, parameter) in run.network.parameters().unwrap().iter().enumerate().filter(|(t, _)| t % 2 == 0) {
        let (units, inputs) = (parameter.shape[0] as usize, parameter.shape[1] as usize);
        if units == 1 {
            continue; // a column is its row
        }
        let mut weights = run.weights.clone();
        weights[t] = (0..units * inputs).map(|i| run.weights[t][i % units * inputs + i / units]).collect();
        wrong.push((format!("{} transposed", parameter.name), run.reference(&run.network, &weights, &run.masks())));
    }
    for (i, layer) in run.network.layers.iter().enumerate() {
        let Layer::Dropout(dropout) = layer else { continue };
        let keeps_all = dropout.keep.get() == 1.0;
        if !keeps_all && dropout.keep.get() > 0.0 {
            let mut network = run.network.clone();
            network.layers[i] = other_mode(dropout);
            wrong.push((format!("the other dropout in layer {i}"), run.reference(&network, &run.weights, &run.masks())));
        }
        if !keeps_all {
            let mut network = run.network.clone();
            network.layers[i] = self::dropout(1.0);
            let gradients = run.reference(&pinned(&run.network, &network), &run.weights, &run.masks());
            wrong.push((format!("no mask in layer {i}"), gradients));
        }
        if !keeps_all && run.network.layers[..i].iter().any(|layer| matches!(layer, Layer::Dense(_))) {
            wrong.push((format!("no mask in the backward pass of layer {i}"), without_backward_mask(run, i)));
        }
    }
    wrong
}

/// `network` with the sites that the layers of `original` have, written out.
fn pinned(original: &Network, network: &Network) -> Network {
    let mut network = network.clone();
    for (layer, site) in network.layers.iter_mut().zip(original.sites().unwrap()) {
        if let Layer::Dropout(dropout) = layer {
            dropout.site = site;
        }
    }
    network
}

/// The gradients of a plan that forgets the backward kernel of dropout layer `i`, put together from those of the layers
/// above it and of the layers below it.
fn without_backward_mask(run: &OnDevice, i: usize) -> Vec<Vec<f64>> {
    let whole = pinned(&run.network, &run.network);
    let shapes = whole.shapes().unwrap();
    let part = |layers: &[Layer], input: usize| Network { layers: layers.to_vec(), ..Network::new(shapes[input].0[0]) };
    let below = part(&whole.layers[..i], 0);
    let split = below.parameters().unwrap().len();
    let outputs = reference::forward(&whole, &run.weights, &run.inputs, &run.masks()).unwrap();
    let logits = outputs.last().unwrap();
    let dlogits = output_gradient(run, logits);
    // A network needs a dense layer, so dropout behind the last one has its gradient unmasked by hand: it is `dlogits`.
    let (above_gradients, upstream) = if whole.layers[i + 1..].iter().any(|layer| matches!(layer, Layer::Dense(_))) {
        let above = part(&whole.layers[i + 1..], i + 1);
        reference::backward(&above, &run.weights[split..], &outputs[i], &dlogits, &run.masks()).unwrap()
    } else {
        (Vec::new(), dlogits)
    };
    let masks = run.masks();
    let (mut gradients, _) = reference::backward(&below, &run.weights[..split], &run.inputs, &upstream, &masks).unwrap();
    gradients.extend(above_gradients);
    gradients
}

fn other_mode(dropout: &Dropout) -> Layer {
    Layer::Dropout(match dropout.mode {
        DropoutMode::Vanilla => Dropout { mode: DropoutMode::Inverted, ..*dropout },
        _ => dropout.vanilla(),
    })
}

/// The gradient of the loss with respect to the outputs, from the formulas.
fn output_gradient(run: &OnDevice, logits: &[f64]) -> Vec<f64> {
    let (rows, outputs) = (run.samples.len() as f64, run.network.outputs().unwrap() as usize);
    let slope = |z: &[f64], r: usize, c: usize| match (&run.targets, run.network.loss) {
        (BatchTargets::Labels(labels), _) => {
            let wanted = if c == labels[r] as usize { 1.0 } else { 0.0 };
            z[c].exp() / z.iter().map(|z| z.exp()).sum::<f64>() - wanted
        }
        (BatchTargets::Values(t), Loss::BinaryCrossEntropy) => {
            (1.0 / (1.0 + (-z[c]).exp()) - t[r * outputs + c]) / outputs as f64
        }
        (BatchTargets::Values(t), Loss::GaussianNll) => {
            let (k, target) = (outputs / 2, c % (outputs / 2));
            let (d, s) = (z[target] - t[r * k + target], z[k + target]);
            assert!(s > -20.0, "the formulas below are those above the bound");
            (if c < k { d * (-s).exp() } else { (1.0 - d * d * (-s).exp()) / 2.0 }) / k as f64
        }
        (BatchTargets::Values(t), _) => 2.0 * (z[c] - t[r * outputs + c]) / outputs as f64,
    };
    let of_row = |(r, z): (usize, &[f64])| (0..outputs).map(|c| slope(z, r, c) / rows).collect::<Vec<_>>();
    logits.chunks(outputs).enumerate().flat_map(of_row).collect()
}
