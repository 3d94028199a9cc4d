//! `shaders/rows.wgsl`: which rows of the data set make up the batch.

use super::{Kernel, MAX_GROUPS, kernel, linear_grid, params};
use crate::memory::Memory;
use crate::rng::Shuffle;
use crate::step::Step;

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/index.wgsl"),
    include_str!("../../shaders/lib/mul_high.wgsl"),
    include_str!("../../shaders/lib/philox.wgsl"),
    include_str!("../../shaders/rows.wgsl")
);

params! {
    /// `params` of `rows.wgsl`.
    RowsParams { rows: u32, half_bits: u32, shuffled: u32, rows_stride: u32, samples_stride: u32, pad0: u32, pad1: u32, pad2: u32 }
}

kernel! {
    /// `rows[i]` = row of the data set at position i of the batch, `samples[i] = ids[rows[i]]`.
    BatchRows = "batch_rows" in "rows.wgsl", SOURCE;
    params RowsParams; sections [step];
    read [ids: 2]; write [rows: 3, samples: 4]
}

impl Kernel for BatchRows {
    fn grid(&self) -> [u32; 2] {
        linear_grid(self.rows.len, MAX_GROUPS)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let ids = memory.u32(self.ids, member);
        let (mut rows, mut samples) = (memory.u32_mut(self.rows, member), memory.u32_mut(self.samples, member));
        let shuffle = Shuffle { rows: self.params.rows, half_bits: self.params.half_bits };
        for i in 0..step.rows {
            let position = step.position + i;
            let row = match self.params.shuffled {
                0 => position,
                _ => shuffle.row(position, step.epoch, step.members[member].key),
            };
            rows[i as usize] = row;
            samples[i as usize] = ids[row as usize];
        }
    }
}
