//! An independent oracle: a whole network forward and backward in f64, written from the formulas.
//!
//! Invariant: this module imports only `network`, `rng` and the [`Augmentation`](crate::Augmentation) (and the crate's error). It knows nothing of plans, kernels,
//! devices or padded batches, so that nothing the fast path gets wrong can be wrong here for the same reason.
//!
//! ```text
//! dense     z[r,u] = b[u] + sum_i W[u,i] x[r,i],   y = f(z);   g = dL/dy * f'(z)
//!           dW[u,i] = sum_r g[r,u] x[r,i],   db[u] = sum_r g[r,u],   dx[r,i] = sum_u g[r,u] W[u,i]
//! dropout   y = x * scale where the unit is kept, 0 where it is dropped; dx likewise from dy (Srivastava et al. 2014)
//!           units: the k units with the smallest (word, unit) are kept for all rows, scale = n / k
//!           in evaluation y = x, for vanilla dropout, whose scale in training is 1, y = keep_prob * x
//! ```
//!
//! The losses are in `reference/loss.rs`, the optimizers in `reference/optimizer.rs`. Matrices are row-major. Weights and gradients
//! are one vector per tensor in the order of [`Network::parameters`].

use crate::network::{Activation, Dropout, DropoutMode, Layer, Network};
use crate::rng::{self, Coordinates, Stream};
use crate::{Error, Result};

mod augmentation;
mod loss;
mod optimizer;

pub use augmentation::{Augmented, augmented, partner};
pub use loss::{Targets, gradients, loss, numeric_gradients, row_losses};
pub use optimizer::{Adam, RmsProp, Sgd, adam_step, clip_factor, max_norm, rmsprop_step, sgd_step};

/// Which masks are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Masks<'a> {
    /// Training masks of the mask contract: the word of [`Stream::TrainingMask`] at (site, pass, sample, unit), or, where a batch
    /// shares the mask, of [`Stream::BatchMask`] at (site, update, 0, unit).
    Drawn {
        /// The seed of the run.
        seed: u64,
        /// The epoch.
        pass: u32,
        /// The optimizer step, 0 for the first.
        update: u32,
        /// The sample number of every row, `[rows]`.
        samples: &'a [u32],
    },
    /// Evaluation: no mask; vanilla dropout scales every unit.
    None,
}

/// One layer with all it needs, gathered once for both directions.
enum Step<'a> {
    /// f, W and b.
    Dense(Activation, &'a [f64], &'a [f64]),
    /// The factor of every element, `[rows, units]`; `None` drops it.
    Dropout(Vec<Option<f64>>),
}

/// Checks all lengths and gathers the layers.
fn steps<'a>(network: &Network, weights: &'a [Vec<f64>], inputs: &[f64], masks: &Masks) -> Result<Vec<Step<'a>>> {
    let shapes: Vec<usize> = network.shapes()?.iter().map(|s| s.0.iter().map(|&n| n as usize).product()).collect();
    if inputs.is_empty() || !inputs.len().is_multiple_of(shapes[0]) {
        return Err(Error::Data(format!("{} input values are not one or more rows of {}", inputs.len(), shapes[0])));
    }
    let rows = inputs.len() / shapes[0];
    let expected: Vec<usize> = network.parameters()?.iter().map(|p| p.len()).collect();
    let given: Vec<usize> = weights.iter().map(Vec::len).collect();
    if expected != given {
        return Err(Error::Data(format!("weight tensors have {given:?} elements, the network needs {expected:?}")));
    }
    if let Masks::Drawn { samples, .. } = masks
        && samples.len() != rows
    {
        return Err(Error::Data(format!("{} sample numbers for {rows} rows; give one to each row", samples.len())));
    }
    let mut steps = Vec::new();
    let mut tensor = 0; // Each dense layer owns the next two tensors: its weight, then its bias.
    for (layer, (site, units)) in network.layers.iter().zip(network.sites()?.into_iter().zip(shapes)) {
        steps.push(match layer {
            Layer::Dense(dense) => {
                tensor += 2;
                Step::Dense(dense.activation, &weights[tensor - 2], &weights[tensor - 1])
            }
            Layer::Dropout(dropout) => {
                let site = site.expect("Network::sites gives every dropout layer a site");
                Step::Dropout(factors(dropout, site, rows, units, masks))
            }
            other => todo!("{}", other.name()),
        });
    }
    Ok(steps)
}

/// The factor of every element at one site, `[rows, units]`. It is the f32 of the contract, widened.
fn factors(dropout: &Dropout, site: u32, rows: usize, units: usize, masks: &Masks) -> Vec<Option<f64>> {
    let Masks::Drawn { seed, pass, update, samples } = *masks else {
        return vec![Some(f64::from(dropout.eval_scale())); rows * units];
    };
    let scale = Some(f64::from(dropout.train_scale(units as u32)));
    if dropout.mode == DropoutMode::Units {
        let at = Coordinates { stream: Stream::BatchMask, site, pass: update, sample: 0 };
        let mut order: Vec<_> = (0..units as u32).map(|unit| (at.word(unit, rng::key(seed)), unit)).collect();
        order.sort_unstable();
        let mut factors = vec![None; units];
        order[..dropout.kept_count(units as u32) as usize].iter().for_each(|&(_, unit)| factors[unit as usize] = scale);
        return factors.repeat(rows);
    }
    let mut factors = Vec::new();
    for &sample in samples {
        let at = Coordinates { stream: Stream::TrainingMask, site, pass, sample };
        for unit in 0..units {
            let kept = dropout.keep.keeps(at.word(unit as u32, rng::key(seed)));
            factors.push(if kept { scale } else { None });
        }
    }
    factors
}

/// Dropout in either direction. It selects instead of multiplying by 0: a dropped NaN or infinity becomes 0.
fn select(factors: &[Option<f64>], values: &[f64]) -> Vec<f64> {
    factors.iter().zip(values).map(|(factor, value)| factor.map_or(0.0, |scale| scale * value)).collect()
}

const LEAKY_SLOPE: f64 = 0.01;
/// Klambauer et al., NeurIPS 2017, to the precision of f64.
const SELU_LAMBDA: f64 = 1.0507009873554805;
const SELU_ALPHA: f64 = 1.6732632423543772;

fn activate(activation: Activation, z: f64) -> f64 {
    match activation {
        Activation::Identity => z,
        Activation::Relu if z < 0.0 => 0.0, // Unlike f64::max, this lets a NaN through.
        Activation::Relu => z,
        Activation::Tanh => z.tanh(),
        Activation::Sigmoid => 1.0 / (1.0 + (-z).exp()),
        Activation::LeakyRelu if z > 0.0 => z,
        Activation::LeakyRelu => LEAKY_SLOPE * z,
        Activation::Gelu => z * (1.0 + gelu_argument(z).tanh()) / 2.0,
        Activation::Selu if z > 0.0 => SELU_LAMBDA * z,
        Activation::Selu => SELU_LAMBDA * SELU_ALPHA * z.exp_m1(),
    }
}

/// What GELU takes the tanh of.
fn gelu_argument(z: f64) -> f64 {
    (2.0 / std::f64::consts::PI).sqrt() * (z + 0.044715 * z.powi(3))
}

/// f'(z).
fn derivative(activation: Activation, z: f64) -> f64 {
    let y = activate(activation, z);
    match activation {
        Activation::Identity => 1.0,
        Activation::Relu if z <= 0.0 => 0.0,
        Activation::Relu => 1.0,
        Activation::Tanh => 1.0 - y * y,
        Activation::Sigmoid => y * (1.0 - y),
        Activation::LeakyRelu if z > 0.0 => 1.0,
        Activation::LeakyRelu => LEAKY_SLOPE,
        Activation::Gelu => {
            let tanh = gelu_argument(z).tanh();
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (1.0 + 3.0 * 0.044715 * z * z);
            (1.0 + tanh) / 2.0 + z * (1.0 - tanh * tanh) * inner / 2.0
        }
        Activation::Selu if z > 0.0 => SELU_LAMBDA,
        Activation::Selu => SELU_LAMBDA * SELU_ALPHA * z.exp(),
    }
}

/// z = x W^T + b.
fn dense_forward(weight: &[f64], bias: &[f64], x: &[f64]) -> Vec<f64> {
    let inputs = weight.len() / bias.len();
    let mut z = Vec::new();
    for row in x.chunks(inputs) {
        for (w, b) in weight.chunks(inputs).zip(bias) {
            z.push(b + w.iter().zip(row).map(|(w, x)| w * x).sum::<f64>());
        }
    }
    z
}

/// (dL/dW, dL/db, dL/dx) from g = dL/dz, `[rows, units]`.
fn dense_backward(weight: &[f64], units: usize, x: &[f64], g: &[f64]) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let (inputs, rows) = (weight.len() / units, g.len() / units);
    let (mut dw, mut db, mut dx) = (vec![0.0; weight.len()], vec![0.0; units], vec![0.0; x.len()]);
    for r in 0..rows {
        for u in 0..units {
            db[u] += g[r * units + u];
            for i in 0..inputs {
                dw[u * inputs + i] += g[r * units + u] * x[r * inputs + i];
                dx[r * inputs + i] += g[r * units + u] * weight[u * inputs + i];
            }
        }
    }
    (dw, db, dx)
}

/// The output of every layer, and z of every dense one.
fn run(steps: &[Step], inputs: &[f64]) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
    let (mut outputs, mut inner): (Vec<Vec<f64>>, _) = (Vec::new(), Vec::new());
    for step in steps {
        let x = outputs.last().map_or(inputs, |x| x);
        let (z, y) = match step {
            Step::Dense(activation, weight, bias) => {
                let z = dense_forward(weight, bias, x);
                let y = z.iter().map(|&z| activate(*activation, z)).collect();
                (z, y)
            }
            Step::Dropout(factors) => (Vec::new(), select(factors, x)),
        };
        inner.push(z);
        outputs.push(y);
    }
    (outputs, inner)
}

/// The output of every layer, each `[rows, units]`, dense layers after their activation; `inputs` is `[rows, features]`.
///
/// # Errors
/// A network that does not fit together; weights, inputs or sample numbers of another length than it needs; no row.
pub fn forward(network: &Network, weights: &[Vec<f64>], inputs: &[f64], masks: &Masks) -> Result<Vec<Vec<f64>>> {
    Ok(run(&steps(network, weights, inputs, masks)?, inputs).0)
}

/// Gradients of sum(`output_gradient` * output), with respect to every parameter tensor and to the inputs
/// `[rows, features]`, for any `output_gradient` `[rows, outputs]`: reverse-mode differentiation, layer by layer.
///
/// # Errors
/// As [`forward`]; an `output_gradient` of another length than the output.
pub fn backward(
    network: &Network,
    weights: &[Vec<f64>],
    inputs: &[f64],
    output_gradient: &[f64],
    masks: &Masks,
) -> Result<(Vec<Vec<f64>>, Vec<f64>)> {
    let steps = steps(network, weights, inputs, masks)?;
    let (outputs, inner) = run(&steps, inputs);
    let elements = outputs.last().map_or(0, Vec::len);
    if output_gradient.len() != elements {
        let given = output_gradient.len();
        return Err(Error::Data(format!("output_gradient has {given} elements, the output has {elements}")));
    }
    let mut gradients = Vec::new(); // From the last tensor to the first.
    let mut upstream = output_gradient.to_vec();
    for (i, step) in steps.iter().enumerate().rev() {
        let x = if i == 0 { inputs } else { &outputs[i - 1] };
        upstream = match step {
            Step::Dense(activation, weight, bias) => {
                let g: Vec<f64> = upstream.iter().zip(&inner[i]).map(|(dy, &z)| dy * derivative(*activation, z)).collect();
                let (dw, db, dx) = dense_backward(weight, bias.len(), x, &g);
                gradients.extend([db, dw]);
                dx
            }
            Step::Dropout(factors) => select(factors, &upstream),
        };
    }
    gradients.reverse();
    Ok((gradients, upstream))
}

#[cfg(test)]
mod tests;
