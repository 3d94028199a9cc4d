//! An independent oracle: a whole network forward and backward in f64, written from the formulas.
//!
//! Invariant: this file imports only `network` and `rng` (and the crate's error). It knows nothing of plans, kernels,
//! devices or padded batches, so that nothing the fast path gets wrong can be wrong here for the same reason.
//!
//! ```text
//! dense     z[r,u] = b[u] + sum_i W[u,i] x[r,i],   y = f(z);   g = dL/dy * f'(z)
//!           dW[u,i] = sum_r g[r,u] x[r,i],   db[u] = sum_r g[r,u],   dx[r,i] = sum_u g[r,u] W[u,i]
//! dropout   y = x * scale where the unit is kept, 0 where it is dropped; dx likewise from dy (Srivastava et al. 2014)
//! loss      L_r = log sum_c exp(z[r,c]) - z[r,label_r],   L = mean over the rows of L_r
//!           dL/dz[r,c] = (softmax(z[r])[c] - [c = label_r]) / rows        (Bishop 2006, section 4.3.4)
//! ```
//!
//! Matrices are row-major. Weights and gradients are one vector per tensor in the order of [`Network::parameters`].

use crate::network::{Activation, KeepProb, Layer, Loss, Network};
use crate::rng::{self, Coordinates, Stream};
use crate::{Error, Result};

/// Which masks are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Masks<'a> {
    /// Training masks of the mask contract: the word of [`Stream::TrainingMask`] at (site, pass, sample, unit).
    Drawn {
        /// The seed of the run.
        seed: u64,
        /// The epoch.
        pass: u32,
        /// The sample number of every row, `[rows]`.
        samples: &'a [u32],
    },
    /// Evaluation: dropout is absent.
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
                Step::Dropout(factors(dropout.keep, site, rows, units, masks))
            }
        });
    }
    Ok(steps)
}

/// The factor of every element at one site, `[rows, units]`. It is the f32 of the contract, widened.
fn factors(keep: KeepProb, site: u32, rows: usize, units: usize, masks: &Masks) -> Vec<Option<f64>> {
    let Masks::Drawn { seed, pass, samples } = *masks else { return vec![Some(1.0); rows * units] };
    let mut factors = Vec::new();
    for &sample in samples {
        let at = Coordinates { stream: Stream::TrainingMask, site, pass, sample };
        for unit in 0..units {
            let kept = keep.keeps(at.word(unit as u32, rng::key(seed)));
            factors.push(kept.then_some(f64::from(keep.scale())));
        }
    }
    factors
}

/// Dropout in either direction. It selects instead of multiplying by 0: a dropped NaN or infinity becomes 0.
fn select(factors: &[Option<f64>], values: &[f64]) -> Vec<f64> {
    factors.iter().zip(values).map(|(factor, value)| factor.map_or(0.0, |scale| scale * value)).collect()
}

fn activate(activation: Activation, z: f64) -> f64 {
    match activation {
        Activation::Identity => z,
        Activation::Relu if z < 0.0 => 0.0, // Unlike f64::max, this lets a NaN through.
        Activation::Relu => z,
        Activation::Tanh => z.tanh(),
        Activation::Sigmoid => 1.0 / (1.0 + (-z).exp()),
        _ => todo!(),
    }
}

/// f'(z), written in terms of y = f(z).
fn derivative(activation: Activation, y: f64) -> f64 {
    match activation {
        Activation::Identity => 1.0,
        Activation::Relu if y <= 0.0 => 0.0,
        Activation::Relu => 1.0,
        Activation::Tanh => 1.0 - y * y,
        Activation::Sigmoid => y * (1.0 - y),
        _ => todo!(),
    }
}

fn dense_forward(activation: Activation, weight: &[f64], bias: &[f64], x: &[f64]) -> Vec<f64> {
    let inputs = weight.len() / bias.len();
    let mut y = Vec::new();
    for row in x.chunks(inputs) {
        for (w, b) in weight.chunks(inputs).zip(bias) {
            let z = b + w.iter().zip(row).map(|(w, x)| w * x).sum::<f64>();
            y.push(activate(activation, z));
        }
    }
    y
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

fn run(steps: &[Step], inputs: &[f64]) -> Vec<Vec<f64>> {
    let mut outputs: Vec<Vec<f64>> = Vec::new();
    for step in steps {
        let x = outputs.last().map_or(inputs, |x| x);
        let y = match step {
            Step::Dense(activation, weight, bias) => dense_forward(*activation, weight, bias, x),
            Step::Dropout(factors) => select(factors, x),
        };
        outputs.push(y);
    }
    outputs
}

/// The output of every layer, each `[rows, units]`, dense layers after their activation; `inputs` is `[rows, features]`.
///
/// # Errors
/// A network that does not fit together; weights, inputs or sample numbers of another length than it needs; no row.
pub fn forward(network: &Network, weights: &[Vec<f64>], inputs: &[f64], masks: &Masks) -> Result<Vec<Vec<f64>>> {
    Ok(run(&steps(network, weights, inputs, masks)?, inputs))
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
    let outputs = run(&steps, inputs);
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
                let g: Vec<f64> = upstream.iter().zip(&outputs[i]).map(|(dy, &y)| dy * derivative(*activation, y)).collect();
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

/// log sum_c exp(z_c), shifted by the maximum so that nothing overflows.
fn log_sum_exp(z: &[f64]) -> f64 {
    let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    max + z.iter().map(|z| (z - max).exp()).sum::<f64>().ln()
}

/// The output of the network, after checking that every row has a label and every label is a class.
fn logits(network: &Network, w: &[Vec<f64>], inputs: &[f64], labels: &[u32], masks: &Masks) -> Result<(Vec<f64>, usize)> {
    let Loss::SoftmaxCrossEntropy = network.loss else { todo!() };
    let classes = network.outputs()? as usize;
    let z = forward(network, w, inputs, masks)?.pop().unwrap_or_default();
    if z.len() != labels.len() * classes {
        return Err(Error::Data(format!("{} labels for {} rows", labels.len(), z.len() / classes)));
    }
    if let Some(label) = labels.iter().find(|&&label| label as usize >= classes) {
        return Err(Error::Data(format!("label {label} is none of the {classes} classes")));
    }
    Ok((z, classes))
}

/// The softmax cross-entropy of every row, `[rows]`; `labels` is `[rows]`.
///
/// # Errors
/// As [`forward`]; labels that do not fit the rows or the classes.
pub fn row_losses(network: &Network, weights: &[Vec<f64>], inputs: &[f64], labels: &[u32], masks: &Masks) -> Result<Vec<f64>> {
    let (z, classes) = logits(network, weights, inputs, labels, masks)?;
    Ok(z.chunks(classes).zip(labels).map(|(z, &label)| log_sum_exp(z) - z[label as usize]).collect())
}

/// The mean of [`row_losses`].
///
/// # Errors
/// As [`row_losses`].
pub fn loss(network: &Network, weights: &[Vec<f64>], inputs: &[f64], labels: &[u32], masks: &Masks) -> Result<f64> {
    let losses = row_losses(network, weights, inputs, labels, masks)?;
    Ok(losses.iter().sum::<f64>() / losses.len() as f64)
}

/// The gradient of [`loss`] with respect to every parameter tensor, a mean over the rows.
///
/// # Errors
/// As [`row_losses`].
pub fn gradients(
    network: &Network,
    weights: &[Vec<f64>],
    inputs: &[f64],
    labels: &[u32],
    masks: &Masks,
) -> Result<Vec<Vec<f64>>> {
    let (z, classes) = logits(network, weights, inputs, labels, masks)?;
    let mut gradient = Vec::new();
    for (z, &label) in z.chunks(classes).zip(labels) {
        for (c, &logit) in z.iter().enumerate() {
            let target = if c == label as usize { 1.0 } else { 0.0 };
            gradient.push(((logit - log_sum_exp(z)).exp() - target) / labels.len() as f64);
        }
    }
    Ok(backward(network, weights, inputs, &gradient, masks)?.0)
}

/// [`gradients`] by central differences, `(loss(w + step) - loss(w - step)) / (2 step)` for every single parameter.
///
/// The masks are pure functions of their coordinates, so they stand still while a weight moves.
///
/// # Errors
/// As [`row_losses`].
pub fn numeric_gradients(
    network: &Network,
    weights: &[Vec<f64>],
    inputs: &[f64],
    labels: &[u32],
    masks: &Masks,
    step: f64,
) -> Result<Vec<Vec<f64>>> {
    central_differences(weights, step, |moved| loss(network, moved, inputs, labels, masks))
}

/// The partial derivatives of `f` at `at` by central differences.
fn central_differences(at: &[Vec<f64>], step: f64, f: impl Fn(&[Vec<f64>]) -> Result<f64>) -> Result<Vec<Vec<f64>>> {
    let mut moved = at.to_vec();
    let mut derivatives = at.to_vec();
    for t in 0..at.len() {
        for i in 0..at[t].len() {
            moved[t][i] = at[t][i] + step;
            let above = f(&moved)?;
            moved[t][i] = at[t][i] - step;
            derivatives[t][i] = (above - f(&moved)?) / (2.0 * step);
            moved[t][i] = at[t][i];
        }
    }
    Ok(derivatives)
}

/// SGD as `torch.optim.SGD` (no dampening, no Nesterov): g = dw + wd w, v = momentum v + g, w = w - lr v.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// lr.
    pub learning_rate: f64,
    /// The factor of the old velocity.
    pub momentum: f64,
    /// wd, coupled (L2), for every parameter, biases too.
    pub weight_decay: f64,
}

/// One step of SGD for one tensor; `velocity` starts at 0.
pub fn sgd_step(sgd: &Sgd, weight: &mut [f64], velocity: &mut [f64], gradient: &[f64]) {
    for i in 0..weight.len() {
        let g = gradient[i] + sgd.weight_decay * weight[i];
        velocity[i] = sgd.momentum * velocity[i] + g;
        weight[i] -= sgd.learning_rate * velocity[i];
    }
}

/// Adam as `torch.optim.Adam` (Kingma and Ba, ICLR 2015, algorithm 1), with L2 coupled into the gradient:
/// g = dw + wd w, m = beta1 m + (1 - beta1) g, v = beta2 v + (1 - beta2) g^2,
/// w = w - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// lr.
    pub learning_rate: f64,
    /// The decay of the mean of gradients.
    pub beta1: f64,
    /// The decay of the mean of squared gradients.
    pub beta2: f64,
    /// Added to the square root, outside of it.
    pub epsilon: f64,
    /// wd, coupled (L2), for every parameter, biases too.
    pub weight_decay: f64,
}

/// Step number `t` (the first is 1) of Adam for one tensor; the moments `m` and `v` start at 0.
pub fn adam_step(adam: &Adam, t: i32, weight: &mut [f64], m: &mut [f64], v: &mut [f64], gradient: &[f64]) {
    for i in 0..weight.len() {
        let g = gradient[i] + adam.weight_decay * weight[i];
        m[i] = adam.beta1 * m[i] + (1.0 - adam.beta1) * g;
        v[i] = adam.beta2 * v[i] + (1.0 - adam.beta2) * g * g;
        let mean = m[i] / (1.0 - adam.beta1.powi(t));
        let square = v[i] / (1.0 - adam.beta2.powi(t));
        weight[i] -= adam.learning_rate * mean / (square.sqrt() + adam.epsilon);
    }
}

#[cfg(test)]
mod tests;
