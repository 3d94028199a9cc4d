//! `shaders/max_norm.wgsl`: max-norm regularisation, row by row of a weight.

use super::gradients::Shrink;
use super::{Kernel, MAX_GROUPS, Tolerance, WORKGROUP, kernel, params};
use crate::memory::Memory;
use crate::step::{Section, Step};

const SOURCE: &str = concat!(include_str!("../../shaders/lib/optimizer_step.wgsl"), include_str!("../../shaders/max_norm.wgsl"));

params! {
    /// `params` of `max_norm.wgsl`.
    MaxNormParams { quads: u32, rows: u32, stride: u32, pad0: u32 }
}

kernel! {
    /// `W[u, :] *= max_norm / |W[u, :]|` where that is below 1.
    MaxNorm = "max_norm" in "max_norm.wgsl", SOURCE;
    params MaxNormParams; sections [optimizer];
    read []; write [weight: 2]
}

impl MaxNorm {
    fn shrink(&self, step: &Step, member: usize, row: &[f32]) -> Shrink {
        let sum = row.iter().map(|&w| f64::from(w) * f64::from(w)).sum();
        Shrink::new(step.members[member].optimizer.max_norm, sum, row.len(), 0.0)
    }

    fn row(&self) -> usize {
        4 * self.params.quads as usize
    }
}

impl Kernel for MaxNorm {
    fn sections(&self) -> Vec<Section> {
        vec![Section::Optimizer]
    }

    fn grid(&self) -> [u32; 2] {
        let y = self.params.rows.div_ceil(MAX_GROUPS).max(1);
        [self.params.rows.div_ceil(y), y]
    }

    fn iterations(&self) -> u64 {
        u64::from(2 * (self.params.quads / WORKGROUP) + WORKGROUP) + 4
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let mut weight = memory.f32_mut(self.weight, member);
        for row in weight.chunks_exact_mut(self.row()).take(self.params.rows as usize) {
            let Shrink { factor, .. } = self.shrink(step, member, row);
            // NaN is not above any limit: the row keeps it.
            if factor < 1.0 {
                row.iter_mut().for_each(|w| *w = (f64::from(*w) * factor) as f32);
            }
        }
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        let weight = memory.f32(self.weight, member);
        let rows = weight.chunks_exact(self.row()).take(self.params.rows as usize);
        vec![Tolerance::Bounds(rows.flat_map(|row| self.shrink(step, member, row).bounds(row)).collect())]
    }
}
