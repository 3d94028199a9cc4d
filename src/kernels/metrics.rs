//! `shaders/metrics.wgsl`: adds a batch to the running sums of its epoch.

use super::{FLUSH, Kernel, Tolerance, WORKGROUP, gamma, kernel, params};
use crate::memory::Memory;
use crate::step::Step;

const SOURCE: &str = concat!(include_str!("../../shaders/lib/step.wgsl"), include_str!("../../shaders/metrics.wgsl"));

params! {
    /// `params` of `metrics.wgsl`.
    MetricsParams { loss_stride: u32, correct_stride: u32, losses_stride: u32, hits_stride: u32 }
}

kernel! {
    /// `losses[slot] += sum of loss`, `hits[slot] += sum of correct`; the epoch's first batch overwrites.
    Metrics = "metrics" in "metrics.wgsl", SOURCE;
    params MetricsParams; sections [step];
    read [loss: 2, correct: 3]; write [losses: 4, hits: 5]
}

impl Metrics {
    /// The sum of the slot after the batch; the losses are not negative, so it is its own magnitude.
    fn sum(&self, memory: &Memory, step: &Step, member: usize, before: f32) -> f64 {
        let loss = memory.f32(self.loss, member);
        let batch: f64 = loss[..step.rows as usize].iter().map(|&l| f64::from(l)).sum();
        batch + if step.position > 0 { f64::from(before) } else { 0.0 }
    }
}

impl Kernel for Metrics {
    fn grid(&self) -> [u32; 2] {
        [1, 1]
    }

    fn iterations(&self) -> u64 {
        u64::from(self.loss.len / WORKGROUP + WORKGROUP) + 4
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let slot = step.slot as usize;
        let mut losses = memory.f32_mut(self.losses, member);
        losses[slot] = self.sum(memory, step, member, losses[slot]) as f32;
        let count: u32 = memory.u32(self.correct, member)[..step.rows as usize].iter().sum();
        let mut hits = memory.u32_mut(self.hits, member);
        hits[slot] = count + if step.position > 0 { hits[slot] } else { 0 };
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        let losses = memory.f32(self.losses, member);
        let slot = step.slot as usize;
        let mut bounds = vec![0.0; losses.len()];
        let n = step.rows as usize + 2; // the rows, what was there, and the twin's rounding; any sum may be flushed
        bounds[slot] = gamma(n) * self.sum(memory, step, member, losses[slot]).abs() + n as f64 * FLUSH;
        vec![Tolerance::Bounds(bounds), Tolerance::Exact]
    }
}
