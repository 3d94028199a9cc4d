//! Activation functions and their derivatives, and the fully connected layer.

use crate::network::Activation;

const LEAKY_SLOPE: f64 = 0.01;
/// Klambauer et al., NeurIPS 2017, to the precision of f64.
const SELU_LAMBDA: f64 = 1.0507009873554805;
const SELU_ALPHA: f64 = 1.6732632423543772;

pub(super) fn activate(activation: Activation, z: f64) -> f64 {
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

/// f'(z); 0, or the slope on the left, at a kink.
pub(super) fn derivative(activation: Activation, z: f64) -> f64 {
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

/// Whether f'(z) jumps at 0.
pub(super) fn has_kink(activation: Activation) -> bool {
    matches!(activation, Activation::Relu | Activation::LeakyRelu | Activation::Selu)
}

/// z = x W^T + b.
pub(super) fn dense_forward(weight: &[f64], bias: &[f64], x: &[f64]) -> Vec<f64> {
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
pub(super) fn dense_backward(weight: &[f64], units: usize, x: &[f64], g: &[f64]) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
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
