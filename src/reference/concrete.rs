//! Concrete dropout (Gal, Hron and Kendall, NeurIPS 2017): a relaxed mask whose drop probability q = s(logit) is a parameter.
//!
//! ```text
//! z = s((logit + log u - log(1 - u)) / temperature),   y = x (1 - z) / (1 - q)
//! dq/dlogit = q (1 - q),   d(1 / (1 - q))/dlogit = q / (1 - q),   dz/dlogit = z (1 - z) / temperature
//! R = weight_regularizer |W|^2 / (1 - q) + dropout_regularizer K (q log q + (1 - q) log(1 - q))
//! dR/dW = 2 weight_regularizer W / (1 - q)
//! dR/dlogit = weight_regularizer |W|^2 q / (1 - q) + dropout_regularizer K q (1 - q) logit
//! ```

use super::functions::activate;
use super::layers::{Node, nodes};
use crate::network::{Activation, Concrete, Layer, Network, Noise};
use crate::rng::{self, Coordinates, Stream};
use crate::{Error, Result};

/// What every element is multiplied with, and the derivative of that by the logit.
pub(super) fn factors(concrete: &Concrete, logit: f64, words: impl Iterator<Item = u32>) -> (Vec<f64>, Vec<f64>) {
    let sigmoid = |x| activate(Activation::Sigmoid, x);
    let (kept, odds) = (sigmoid(-logit), logit.exp());
    let of_word = |word| {
        let u = rng::uniform(word);
        let argument = (logit + u.ln() - (1.0 - u).ln()) / concrete.temperature;
        let (z, not_z) = (sigmoid(argument), sigmoid(-argument));
        // q / (1 - q) is exp(logit).
        (not_z / kept, not_z * odds - z * not_z / (concrete.temperature * kept))
    };
    words.map(of_word).unzip()
}

/// The words of all elements of some samples.
pub(super) fn words(seed: u64, site: u32, pass: u32, samples: &[u32], elements: u32) -> Vec<u32> {
    let at = |&sample: &u32| Coordinates { stream: Stream::ContinuousNoise, site, pass, sample };
    samples.iter().map(at).flat_map(|at| (0..elements).map(move |unit| at.word(unit, rng::key(seed)))).collect()
}

/// The sum of the regularizers of every site of concrete dropout, and its gradient by every parameter tensor: what comes to the
/// loss of a training step. W is weight and bias of the next dense layer or convolution in the same list of layers, as in the
/// paper's own programs for PyTorch; 0 where there is none. K is the number of elements of a sample at the site.
///
/// # Errors
/// A network that does not fit together, weights of another length than it needs.
pub fn concrete_regularizer(network: &Network, weights: &[Vec<f64>]) -> Result<(f64, Vec<Vec<f64>>)> {
    let nodes = nodes(network)?;
    let expected: Vec<usize> = network.parameters()?.iter().map(|p| p.len()).collect();
    if !expected.iter().eq(weights.iter().map(Vec::len).collect::<Vec<_>>().iter()) {
        return Err(Error::Data(format!("the weights are not those of the network, tensors of {expected:?} elements")));
    }
    let mut gradients: Vec<Vec<f64>> = weights.iter().map(|w| vec![0.0; w.len()]).collect();
    let value = of_nodes(&nodes, weights, &mut gradients);
    Ok((value, gradients))
}

fn of_nodes(nodes: &[Node], weights: &[Vec<f64>], gradients: &mut [Vec<f64>]) -> f64 {
    let mut value = 0.0;
    for (i, node) in nodes.iter().enumerate() {
        if let Layer::Dropout(dropout) = node.layer
            && let Noise::Concrete(concrete) = dropout.noise
        {
            let behind = nodes[i + 1..].iter().find(|node| matches!(node.layer, Layer::Dense(_) | Layer::Conv2d(_)));
            let tensors = behind.map_or(&[][..], |node| &node.tensors);
            value += of_site(&concrete, node, tensors, weights, gradients);
        }
        value += of_nodes(&node.branch, weights, gradients) + of_nodes(&node.skip, weights, gradients);
    }
    value
}

fn of_site(concrete: &Concrete, site: &Node, tensors: &[usize], weights: &[Vec<f64>], gradients: &mut [Vec<f64>]) -> f64 {
    let logit = weights[site.tensors[0]][0];
    let (q, kept) = (activate(Activation::Sigmoid, logit), activate(Activation::Sigmoid, -logit));
    let squares: f64 = tensors.iter().flat_map(|&tensor| &weights[tensor]).map(|w| w * w).sum();
    for &tensor in tensors {
        let by_weight = weights[tensor].iter().map(|w| 2.0 * concrete.weight_regularizer * w / kept);
        gradients[tensor].iter_mut().zip(by_weight).for_each(|(sum, g)| *sum += g);
    }
    let features = f64::from(site.shape.elements());
    let of_weights = concrete.weight_regularizer * squares / kept;
    let of_entropy = concrete.dropout_regularizer * features;
    gradients[site.tensors[0]][0] += of_weights * q + of_entropy * q * kept * logit;
    of_weights + of_entropy * (q * q.ln() + kept * kept.ln())
}
