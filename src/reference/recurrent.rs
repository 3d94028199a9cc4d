//! Recurrent layers, sample by sample and step by step, from the formulas of `network::Cell`.
//!
//! ```text
//! z = W_ih (m_x * x) + b_ih      r[g] = W_hh[g] (m_h[g] * h) + b_hh[g]      h, c: the state behind the step that was read before
//! RNN    h' = f(z + r)
//! GRU    r', z' = s(z + r),  n = tanh(z[n] + r' * r[n]),  h' = (1 - z') * n + z' * h      this h is not masked
//! LSTM   i, f, o = s(z + r),  g = tanh(z + r),  c' = f * c + i * g,  h' = o * tanh(c')
//! y = m_y * h'
//! ```
//!
//! What is no step of a sample is not read, and gives 0. With truncation nothing goes back over the borders in front of
//! steps k, 2 k, 3 k ..., in either direction: they do not depend on how long a sample is, or on how much room is behind its end.

use super::functions::{activate, derivative};
use super::masks::select;
use crate::network::{Activation, Cell, Place, Recurrent};

/// Factors of elements; `None` drops.
type Factors = Vec<Option<f64>>;

/// A recurrent layer with its tensors and the factors of its sites.
pub(super) struct Stack<'a> {
    pub recurrent: &'a Recurrent,
    /// T and F of what goes in.
    pub shape: [usize; 2],
    /// W_ih, W_hh, b_ih and b_hh of every direction of every layer.
    pub tensors: Vec<&'a [f64]>,
    /// For every site the factors of all rows.
    pub factors: Vec<Factors>,
    /// Steps of every row.
    pub lengths: Vec<usize>,
}

/// What the way back needs.
pub(super) struct Saved {
    factors: Vec<Factors>,
    lengths: Vec<usize>,
    /// Of every row, every layer, every direction: the steps in the order of reading.
    steps: Vec<Vec<Vec<Vec<Step>>>>,
}

impl Saved {
    /// The least argument of a rectifier by magnitude.
    pub(super) fn kink_distance(&self, cell: Cell) -> f64 {
        let steps = self.steps.iter().flatten().flatten().flatten();
        let arguments = steps.flat_map(|step| &step.argument).map(|z| z.abs());
        if cell == Cell::RnnRelu { arguments.filter(|&z| z != 0.0).fold(f64::INFINITY, f64::min) } else { f64::INFINITY }
    }
}

/// One step that was read.
struct Step {
    t: usize,
    /// x, masked.
    x: Vec<f64>,
    /// h, masked for every gate.
    masked: Vec<f64>,
    h: Vec<f64>,
    c: Vec<f64>,
    /// z + r of every gate; of GRU's n with r' * r in place of r.
    argument: Vec<f64>,
    /// The gates: functions of the above.
    gates: Vec<f64>,
    /// r of every gate.
    recurrent: Vec<f64>,
    new_h: Vec<f64>,
    new_c: Vec<f64>,
}

/// One direction of a layer for one row.
struct Direction<'a> {
    cell: Cell,
    hidden: usize,
    inputs: usize,
    untied: bool,
    reverse: bool,
    truncate: Option<u32>,
    tensors: &'a [&'a [f64]],
    factors: [&'a [Option<f64>]; 3],
}

/// W v + b for one row of W.
fn dot(weight: &[f64], row: usize, v: &[f64]) -> f64 {
    weight[row * v.len()..][..v.len()].iter().zip(v).map(|(w, v)| w * v).sum()
}

fn sigmoid(z: f64) -> f64 {
    activate(Activation::Sigmoid, z)
}

impl Direction<'_> {
    /// The factors of the recurrent input of a gate at a step.
    fn recurrent_factors(&self, t: usize, gate: usize) -> &[Option<f64>] {
        let first = if self.untied { gate } else { t };
        &self.factors[1][first * self.hidden..][..self.hidden]
    }

    fn step(&self, t: usize, x: &[f64], h: &[f64], c: &[f64]) -> Step {
        let (hidden, gates) = (self.hidden, self.cell.gates() as usize);
        let x = select(&self.factors[0][t * self.inputs..][..self.inputs], &x[t * self.inputs..][..self.inputs]);
        let masked: Vec<f64> = (0..gates).flat_map(|gate| select(self.recurrent_factors(t, gate), h)).collect();
        let [w_ih, w_hh, b_ih, b_hh] = std::array::from_fn(|i| self.tensors[i]);
        let unit = |u: usize| &masked[u / hidden * hidden..][..hidden];
        let recurrent: Vec<f64> = (0..gates * hidden).map(|u| b_hh[u] + dot(w_hh, u, unit(u))).collect();
        let mut argument: Vec<f64> = (0..gates * hidden).map(|u| b_ih[u] + dot(w_ih, u, &x) + recurrent[u]).collect();
        if self.cell == Cell::Gru {
            for f in 0..hidden {
                let (r, n) = (sigmoid(argument[f]), 2 * hidden + f);
                argument[n] += (r - 1.0) * recurrent[n];
            }
        }
        let gates: Vec<f64> = argument.iter().enumerate().map(|(u, &z)| activate(self.function(u / hidden), z)).collect();
        let gate = |g: usize, f: usize| gates[g * hidden + f];
        let new_c: Vec<f64> = match self.cell {
            Cell::Lstm => (0..hidden).map(|f| gate(1, f) * c[f] + gate(0, f) * gate(2, f)).collect(),
            _ => vec![0.0; hidden],
        };
        let state = |f: usize| match self.cell {
            Cell::RnnTanh | Cell::RnnRelu => gate(0, f),
            Cell::Gru => (1.0 - gate(1, f)) * gate(2, f) + gate(1, f) * h[f],
            Cell::Lstm => gate(3, f) * new_c[f].tanh(),
        };
        let new_h = (0..hidden).map(state).collect();
        Step { t, x, masked, h: h.to_vec(), c: c.to_vec(), argument, gates, recurrent, new_h, new_c }
    }

    /// The function of a gate.
    fn function(&self, gate: usize) -> Activation {
        match (self.cell, gate) {
            (Cell::RnnRelu, _) => Activation::Relu,
            (Cell::RnnTanh, _) | (Cell::Gru | Cell::Lstm, 2) => Activation::Tanh,
            _ => Activation::Sigmoid,
        }
    }

    /// The output at every step, and the steps as they are read.
    fn read(&self, x: &[f64], order: impl Iterator<Item = usize>, steps: usize) -> (Vec<f64>, Vec<Step>) {
        let (mut h, mut c) = (vec![0.0; self.hidden], vec![0.0; self.hidden]);
        let (mut y, mut read) = (vec![0.0; steps * self.hidden], Vec::new());
        for t in order {
            let step = self.step(t, x, &h, &c);
            (h, c) = (step.new_h.clone(), step.new_c.clone());
            let span = t * self.hidden..(t + 1) * self.hidden;
            y[span.clone()].copy_from_slice(&select(&self.factors[2][span], &h));
            read.push(step);
        }
        (y, read)
    }

    /// The gradients by z, by r, by h (not that through r) and by c, from those by the new h and the new c.
    fn step_backward(&self, step: &Step, dh: &[f64], dc: &[f64]) -> [Vec<f64>; 4] {
        let hidden = self.hidden;
        let gate = |g: usize, f: usize| step.gates[g * hidden + f];
        let (mut by_gate, mut direct, mut by_c) = (vec![0.0; step.gates.len()], vec![0.0; hidden], vec![0.0; hidden]);
        for f in 0..hidden {
            match self.cell {
                Cell::RnnTanh | Cell::RnnRelu => by_gate[f] = dh[f],
                Cell::Gru => {
                    by_gate[hidden + f] = dh[f] * (step.h[f] - gate(2, f));
                    by_gate[2 * hidden + f] = dh[f] * (1.0 - gate(1, f));
                    direct[f] = dh[f] * gate(1, f);
                    // r' stands in the argument of n.
                    let n = by_gate[2 * hidden + f] * derivative(Activation::Tanh, step.argument[2 * hidden + f]);
                    by_gate[f] = n * step.recurrent[2 * hidden + f];
                }
                Cell::Lstm => {
                    let tanh = step.new_c[f].tanh();
                    let dc = dc[f] + dh[f] * gate(3, f) * (1.0 - tanh * tanh);
                    by_gate[f] = dc * gate(2, f);
                    by_gate[hidden + f] = dc * step.c[f];
                    by_gate[2 * hidden + f] = dc * gate(0, f);
                    by_gate[3 * hidden + f] = dh[f] * tanh;
                    by_c[f] = dc * gate(1, f);
                }
            }
        }
        let slope = |u: usize| derivative(self.function(u / hidden), step.argument[u]);
        let by_z: Vec<f64> = by_gate.iter().enumerate().map(|(u, g)| g * slope(u)).collect();
        let mut by_r = by_z.clone();
        if self.cell == Cell::Gru {
            (0..hidden).for_each(|f| by_r[2 * hidden + f] *= gate(0, f));
        }
        [by_z, by_r, direct, by_c]
    }

    /// dL/dx from dL/dy of every step; adds to the gradients of its tensors.
    fn backward(&self, read: &[Step], dy: &[f64], gradients: &mut [Vec<f64>]) -> Vec<f64> {
        let hidden = self.hidden;
        let (mut dh, mut dc) = (vec![0.0; hidden], vec![0.0; hidden]);
        let mut dx = vec![0.0; self.factors[0].len()];
        for step in read.iter().rev() {
            let span = step.t * hidden..(step.t + 1) * hidden;
            let dy = select(&self.factors[2][span.clone()], &dy[span]);
            dh.iter_mut().zip(dy).for_each(|(dh, dy)| *dh += dy);
            let [by_z, by_r, direct, by_c] = self.step_backward(step, &dh, &dc);
            (dh, dc) = (direct, by_c);
            let mut by_x = vec![0.0; self.inputs];
            for u in 0..by_z.len() {
                for i in 0..self.inputs {
                    gradients[0][u * self.inputs + i] += by_z[u] * step.x[i];
                    by_x[i] += by_z[u] * self.tensors[0][u * self.inputs + i];
                }
                let gate = u / hidden;
                let by_masked: Vec<f64> = (0..hidden).map(|f| by_r[u] * self.tensors[1][u * hidden + f]).collect();
                let through = select(self.recurrent_factors(step.t, gate), &by_masked);
                for f in 0..hidden {
                    gradients[1][u * hidden + f] += by_r[u] * step.masked[gate * hidden + f];
                    dh[f] += through[f];
                }
                gradients[2][u] += by_z[u];
                gradients[3][u] += by_r[u];
            }
            let span = step.t * self.inputs..(step.t + 1) * self.inputs;
            dx[span.clone()].copy_from_slice(&select(&self.factors[0][span], &by_x));
            let border = step.t + usize::from(self.reverse);
            if self.truncate.is_some_and(|steps| border.is_multiple_of(steps as usize)) {
                (dh, dc) = (vec![0.0; hidden], vec![0.0; hidden]);
            }
        }
        dx
    }
}

impl Stack<'_> {
    fn direction<'s>(&'s self, row: usize, layer: u32, direction: u32) -> Direction<'s> {
        let recurrent = self.recurrent;
        let first = 4 * (layer * recurrent.directions() + direction) as usize;
        let of_row = |place| {
            let factors = &self.factors[recurrent.site(layer, direction, place)];
            let elements = factors.len() / self.lengths.len();
            &factors[row * elements..][..elements]
        };
        Direction {
            cell: recurrent.cell,
            hidden: recurrent.hidden as usize,
            inputs: recurrent.inputs(layer, self.shape[1] as u32) as usize,
            untied: recurrent.untied,
            reverse: direction == 1,
            truncate: recurrent.truncate,
            tensors: &self.tensors[first..first + 4],
            factors: [Place::Input, Place::Recurrent, Place::Output].map(of_row),
        }
    }

    /// Where the last state of a direction of a row stands.
    fn last(&self, row: usize, direction: usize) -> usize {
        if direction == 0 { self.lengths[row] - 1 } else { 0 }
    }

    /// What comes out for all rows, one after the other.
    pub(super) fn forward(self, x: &[f64]) -> (Vec<f64>, Saved) {
        let [steps, features] = self.shape;
        let (directions, hidden) = (self.recurrent.directions(), self.recurrent.hidden as usize);
        let (mut y, mut saved) = (Vec::new(), Vec::new());
        for row in 0..self.lengths.len() {
            let (mut x, mut layers) = (x[row * steps * features..][..steps * features].to_vec(), Vec::new());
            for layer in 0..self.recurrent.layer_count() {
                let read = |direction| {
                    let order: Vec<usize> = match direction {
                        0 => (0..self.lengths[row]).collect(),
                        _ => (0..self.lengths[row]).rev().collect(),
                    };
                    self.direction(row, layer, direction).read(&x, order.into_iter(), steps)
                };
                let (outputs, of_directions): (Vec<_>, Vec<_>) = (0..directions).map(read).unzip();
                let joined = (0..steps).flat_map(|t| outputs.iter().flat_map(move |y| &y[t * hidden..][..hidden]));
                x = joined.copied().collect();
                layers.push(of_directions);
            }
            let width = directions as usize * hidden;
            match self.recurrent.sequence {
                true => y.extend(x),
                false => y.extend((0..width).map(|u| x[self.last(row, u / hidden) * width + u])),
            }
            saved.push(layers);
        }
        (y, Saved { factors: self.factors, lengths: self.lengths, steps: saved })
    }

    /// dL/dx from dL/dy; adds to the gradients of its tensors. Factors and lengths are those of `saved`.
    pub(super) fn backward(mut self, saved: &Saved, dy: &[f64], gradients: &mut [Vec<f64>]) -> Vec<f64> {
        (self.factors, self.lengths) = (saved.factors.clone(), saved.lengths.clone());
        let (steps, hidden) = (self.shape[0], self.recurrent.hidden as usize);
        let directions = self.recurrent.directions() as usize;
        let width = directions * hidden;
        let mut dx = Vec::new();
        for (row, dy) in dy.chunks(dy.len() / self.lengths.len()).enumerate() {
            let mut upstream = match self.recurrent.sequence {
                true => dy.to_vec(),
                false => vec![0.0; steps * width],
            };
            if !self.recurrent.sequence {
                (0..width).for_each(|u| upstream[self.last(row, u / hidden) * width + u] = dy[u]);
            }
            for (layer, read) in saved.steps[row].iter().enumerate().rev() {
                let mut below = Vec::new();
                for (direction, read) in read.iter().enumerate() {
                    let own = upstream.chunks(width).flat_map(|step| &step[direction * hidden..][..hidden]);
                    let own: Vec<f64> = own.copied().collect();
                    let gradients = &mut gradients[4 * (layer * directions + direction)..][..4];
                    let dx = self.direction(row, layer as u32, direction as u32).backward(read, &own, gradients);
                    below.resize(dx.len(), 0.0);
                    below.iter_mut().zip(dx).for_each(|(sum, dx)| *sum += dx);
                }
                upstream = below;
            }
            dx.extend(upstream);
        }
        dx
    }
}
