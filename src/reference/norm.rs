//! Batch and layer normalisation.
//!
//! ```text
//! xhat[e] = (x[e] - mean[s]) / sqrt(variance[s] + epsilon),   y[e] = weight[p] xhat[e] + bias[p]
//! dweight[p] = sum dy xhat,   dbias[p] = sum dy,   h = weight dy
//! dx = (h - mean of h over s - xhat * mean of h xhat over s) / sqrt(variance + epsilon)      (Ioffe and Szegedy 2015, section 3)
//! dx = h / sqrt(variance + epsilon)                                                          where the statistics are constants
//! ```
//!
//! s is the set of an element that shares mean and variance (batch norm: its channel; layer norm: its sample), p its parameter
//! (batch norm: its channel; layer norm: its place in the sample).

use crate::network::{BatchNorm, Shape};

/// What a normalisation has seen and what it needs on the way back.
pub(super) struct Normal {
    /// Mean and variance (divided by n) of every set.
    pub(super) statistics: Vec<(f64, f64)>,
    /// Elements of a set.
    pub(super) n: usize,
    /// Whether they are those of x; running statistics are constants.
    of_x: bool,
    epsilon: f64,
    /// For every element its set and its parameter.
    places: Vec<(usize, usize)>,
    xhat: Vec<f64>,
}

/// (set, parameter) of every element of a batch norm over `rows` samples.
pub(super) fn of_channels(shape: &Shape, rows: usize) -> Vec<(usize, usize)> {
    let (elements, pixels) = (shape.elements() as usize, shape.0[1..].iter().product::<u32>() as usize);
    (0..rows * elements).map(|e| (e % elements / pixels, e % elements / pixels)).collect()
}

/// (set, parameter) of every element of a layer norm over `rows` samples.
pub(super) fn of_samples(shape: &Shape, rows: usize) -> Vec<(usize, usize)> {
    let elements = shape.elements() as usize;
    (0..rows * elements).map(|e| (e / elements, e % elements)).collect()
}

/// Mean and variance of every set of x.
fn statistics(sets: usize, places: &[(usize, usize)], x: &[f64]) -> Vec<(f64, f64)> {
    let n = x.len() as f64 / sets as f64;
    let mut means = vec![0.0; sets];
    places.iter().zip(x).for_each(|(&(set, _), x)| means[set] += x / n);
    let mut variances = vec![0.0; sets];
    places.iter().zip(x).for_each(|(&(set, _), x)| variances[set] += (x - means[set]).powi(2) / n);
    means.into_iter().zip(variances).collect()
}

/// y and what it comes from; `running` has mean and variance where they are not those of x, which has `sets` sets.
pub(super) fn forward(
    epsilon: f64,
    [weight, bias]: [&[f64]; 2],
    running: Option<Vec<(f64, f64)>>,
    (sets, places): (usize, Vec<(usize, usize)>),
    x: &[f64],
) -> (Vec<f64>, Normal) {
    let (of_x, n) = (running.is_none(), x.len().checked_div(sets).unwrap_or(0));
    let statistics = running.unwrap_or_else(|| statistics(sets, &places, x));
    let normalised = |(&(set, _), x): (&(usize, usize), &f64)| {
        let (mean, variance): (f64, f64) = statistics[set];
        (x - mean) / (variance + epsilon).sqrt()
    };
    let xhat: Vec<f64> = places.iter().zip(x).map(normalised).collect();
    let y = places.iter().zip(&xhat).map(|(&(_, p), xhat)| weight[p] * xhat + bias[p]).collect();
    (y, Normal { statistics, n, of_x, epsilon, places, xhat })
}

/// (dL/dweight, dL/dbias, dL/dx) from dL/dy.
pub(super) fn backward(normal: &Normal, weight: &[f64], dy: &[f64]) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let Normal { statistics, n, of_x, epsilon, places, xhat } = normal;
    let (mut dweight, mut dbias) = (vec![0.0; weight.len()], vec![0.0; weight.len()]);
    let (mut mean_h, mut mean_h_xhat) = (vec![0.0; statistics.len()], vec![0.0; statistics.len()]);
    for ((&(set, p), xhat), dy) in places.iter().zip(xhat).zip(dy) {
        dweight[p] += dy * xhat;
        dbias[p] += dy;
        if *of_x {
            mean_h[set] += weight[p] * dy / *n as f64;
            mean_h_xhat[set] += weight[p] * dy * xhat / *n as f64;
        }
    }
    let of_element = |((&(set, p), xhat), dy): ((&(usize, usize), &f64), &f64)| {
        (weight[p] * dy - mean_h[set] - xhat * mean_h_xhat[set]) / (statistics[set].1 + epsilon).sqrt()
    };
    let dx = places.iter().zip(xhat).zip(dy).map(of_element).collect();
    (dweight, dbias, dx)
}

/// The running means and variances after a batch, [`BatchNorm`]'s formulas: without rows they stay, with one number for each
/// channel the variance does.
pub(super) fn followed(norm: &BatchNorm, normal: &Normal, mean: &[f64], variance: &[f64]) -> [Vec<f64>; 2] {
    let (mut mean, mut variance) = (mean.to_vec(), variance.to_vec());
    if normal.of_x && normal.n > 0 {
        let n = normal.n as f64;
        for (c, &(of_batch, spread)) in normal.statistics.iter().enumerate() {
            mean[c] += norm.momentum * (of_batch - mean[c]);
            if normal.n > 1 {
                variance[c] += norm.momentum * (spread * n / (n - 1.0) - variance[c]);
            }
        }
    }
    [mean, variance]
}
