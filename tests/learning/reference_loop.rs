//! A training loop on the reference in f64, and beside it in balls.

use thinnet::data::Dataset;
use thinnet::network::{DropoutMode, Layer};
use thinnet::reference::{self, Masks};
use thinnet::step::Step;
use thinnet::{Dropout, Network, Optimizer};

use super::ROWS;
use crate::balls::{self, Ball, Moments, Outcome};
use crate::drive::{Member, batch_of, batch_targets, rows_of, widen};

/// A training in f64 by the reference, and beside it in balls.
pub(super) struct Training<'a> {
    member: &'a Member,
    /// What is wrong with it on purpose.
    defect: Defect,
    weights: Vec<Vec<f64>>,
    moments: [Vec<Vec<f64>>; 2],
    balls: Vec<Vec<Ball>>,
    ball_moments: Vec<Moments>,
    pub(super) updates: u64,
    pub(super) losses: Vec<Ball>,
    pub(super) hits: (u32, u32),
}

/// Training loops that the bounds must not admit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Defect {
    None,
    NextPass,
    NoWeightDecay,
    DecayOfWeightsOnly,
    UpdatesCountFromZero,
    FileOrder,
    NotClipped,
    ClippedByTensor,
    ClippedAfterDecay,
    ClippedInParts,
    LongWeights,
    LastWeightLong,
    ShortBiases,
    ShortenedBeforeUpdate,
    OtherDropout,
    /// No schedule: the site's own rate in every step.
    StillRate,
}

impl<'a> Training<'a> {
    pub(super) fn new(member: &'a Member, defect: Defect) -> Self {
        let weights = widen(member.model.weights());
        let zeros: Vec<Vec<f64>> = weights.iter().map(|w| vec![0.0; w.len()]).collect();
        let balls = |values: &[f64]| values.iter().copied().map(Ball::exact).collect::<Vec<_>>();
        Self {
            defect,
            balls: weights.iter().map(|w| balls(w)).collect(),
            ball_moments: zeros.iter().map(|z| [balls(z), balls(z)]).collect(),
            moments: [zeros.clone(), zeros],
            weights,
            member,
            updates: 0,
            losses: Vec::new(),
            hits: (0, 0),
        }
    }

    /// The network with what is wrong with it.
    fn network(&self) -> Network {
        let mut network = self.member.model.network().clone();
        for layer in network.layers.iter_mut().filter(|_| self.defect == Defect::StillRate) {
            if let Layer::Dropout(dropout) = layer {
                dropout.schedule = None;
            }
        }
        for layer in network.layers.iter_mut().filter(|_| self.defect == Defect::OtherDropout) {
            if let Layer::Dropout(dropout) = layer {
                let inverted = Dropout { mode: DropoutMode::Inverted, ..*dropout };
                *dropout = if *dropout == inverted { dropout.vanilla() } else { inverted };
            }
        }
        network
    }

    /// The steps of one update: their rows are one batch.
    pub(super) fn update(&mut self, steps: &[Step], data: &Dataset) {
        let (network, defect) = (self.network(), self.defect);
        let in_order = |step: &Step| (step.position..step.position + step.rows).collect();
        let rows_of_step = |step| if defect == Defect::FileOrder { in_order(step) } else { rows_of(step, 0, ROWS) };
        let parts: Vec<Vec<u32>> = steps.iter().map(rows_of_step).collect();
        let (epoch, limit) = (steps[0].epoch, self.member.clip_norm);
        if steps[0].position == 0 {
            (self.losses, self.hits) = (Vec::new(), (0, 0));
        }
        let gradients_of = |this: &Self, rows: &[u32]| {
            let ((inputs, _, samples), targets) = (batch_of(data, rows), batch_targets(&network, data, rows));
            let pass = epoch + u32::from(defect == Defect::NextPass);
            let update = this.updates as u32 + u32::from(defect == Defect::NextPass);
            let masks = Masks::Drawn { seed: this.member.seed, pass, update, samples: &samples };
            let targets = targets.get();
            let outcome = balls::Step { network: &network, weights: &this.balls, inputs: &inputs, targets, masks }.run();
            let losses = reference::row_losses(&network, &this.weights, &inputs, targets, &masks).unwrap();
            (reference::gradients(&network, &this.weights, &inputs, targets, &masks).unwrap(), losses, outcome)
        };
        let whole = parts.concat();
        let (mut gradients, exact, Outcome { gradients: mut ball_gradients, mut losses, hits, .. }) = gradients_of(self, &whole);
        self.hits = (self.hits.0 + hits.0, self.hits.1 + hits.1);
        losses.iter_mut().zip(exact).for_each(|(ball, exact)| ball.mid = exact);
        self.losses.append(&mut losses);

        match defect {
            Defect::NotClipped | Defect::ClippedAfterDecay => {}
            Defect::ClippedByTensor => {
                gradients.iter_mut().for_each(|tensor| clip(limit, std::slice::from_mut(tensor)));
            }
            Defect::ClippedInParts => {
                gradients.iter_mut().flatten().for_each(|g| *g = 0.0);
                for part in &parts {
                    let (mut part_gradients, ..) = gradients_of(self, part);
                    part_gradients.iter_mut().flatten().for_each(|g| *g *= part.len() as f64 / whole.len() as f64);
                    clip(limit, &mut part_gradients);
                    gradients.iter_mut().flatten().zip(part_gradients.iter().flatten()).for_each(|(sum, g)| *sum += g);
                }
            }
            _ => clip(limit, &mut gradients),
        }
        balls::clip(limit, &mut ball_gradients);

        self.updates += 1;
        let mut decays = vec![self.member.weight_decay; self.weights.len()];
        match defect {
            Defect::NoWeightDecay => decays.fill(0.0),
            Defect::DecayOfWeightsOnly => decays.iter_mut().skip(1).step_by(2).for_each(|decay| *decay = 0.0),
            Defect::ClippedAfterDecay => {
                for (gradient, weight) in gradients.iter_mut().zip(&self.weights) {
                    gradient.iter_mut().zip(weight).for_each(|(g, w)| *g += self.member.weight_decay * w);
                }
                decays.fill(0.0);
                clip(limit, &mut gradients);
            }
            Defect::ShortenedBeforeUpdate => self.shorten(),
            _ => {}
        }
        for t in 0..self.weights.len() {
            let update = (self.updates, self.member.weight_decay);
            balls::update(&self.member.optimizer, update, &mut self.balls[t], &mut self.ball_moments[t], &ball_gradients[t]);
            self.optimize(t, decays[t], &gradients[t]);
        }
        if defect != Defect::ShortenedBeforeUpdate {
            self.shorten();
        }
        for (t, parameter) in network.parameters().unwrap().iter().enumerate().step_by(2) {
            balls::max_norm(self.member.max_norm, &mut self.balls[t], parameter.shape[1] as usize);
        }
    }

    /// Max-norm of every weight.
    fn shorten(&mut self) {
        let last = self.weights.len() - 2;
        for (t, parameter) in self.member.model.network().parameters().unwrap().iter().enumerate() {
            let (columns, bias) = (*parameter.shape.last().unwrap() as usize, parameter.shape.len() == 1);
            if match self.defect {
                Defect::LongWeights => false,
                Defect::LastWeightLong => !bias && t != last,
                Defect::ShortBiases => true,
                _ => !bias,
            } {
                reference::max_norm(self.member.max_norm, &mut self.weights[t], columns);
            }
        }
    }

    /// The reference's optimizer on tensor `t`.
    fn optimize(&mut self, t: usize, weight_decay: f64, gradient: &[f64]) {
        let [m, v] = &mut self.moments;
        match self.member.optimizer {
            Optimizer::Sgd { lr, momentum, nesterov } => {
                let sgd = reference::Sgd { learning_rate: lr, momentum, weight_decay, nesterov };
                reference::sgd_step(&sgd, &mut self.weights[t], &mut m[t], gradient);
            }
            Optimizer::Adam { lr, beta1, beta2, epsilon } | Optimizer::AdamW { lr, beta1, beta2, epsilon } => {
                let decoupled = matches!(self.member.optimizer, Optimizer::AdamW { .. });
                let adam = reference::Adam { learning_rate: lr, beta1, beta2, epsilon, weight_decay, decoupled };
                let count = self.updates as i32 + i32::from(self.defect == Defect::UpdatesCountFromZero);
                reference::adam_step(&adam, count, &mut self.weights[t], &mut m[t], &mut v[t], gradient);
            }
            Optimizer::RmsProp { lr, alpha, epsilon, momentum } => {
                let rmsprop = reference::RmsProp { learning_rate: lr, alpha, epsilon, momentum, weight_decay };
                reference::rmsprop_step(&rmsprop, &mut self.weights[t], &mut m[t], &mut v[t], gradient);
            }
            other => panic!("the reference has no {other:?}"),
        }
    }

    /// The largest error of the device's weights in units of its bound.
    pub(super) fn ratio(&self, device: &[Vec<f32>]) -> f64 {
        let pairs = device.iter().flatten().zip(self.weights.iter().flatten());
        let ratios = pairs.zip(self.balls.iter().flatten()).map(|((&d, r), b)| (f64::from(d) - r).abs() / b.rad);
        ratios.fold(0.0, |a: f64, b| if b <= a { a } else { b })
    }

    /// The largest bound of a weight.
    pub(super) fn widest(&self) -> f64 {
        self.balls.iter().flatten().fold(0.0, |a, b| a.max(b.rad))
    }
}

fn clip(limit: f64, gradients: &mut [Vec<f64>]) {
    let factor = reference::clip_factor(limit, gradients);
    gradients.iter_mut().flatten().for_each(|g| *g *= factor);
}
