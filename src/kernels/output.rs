//! `shaders/output.wgsl`: stores the network's output for a batch at its place among all rows.

use super::{Kernel, MAX_GROUPS, kernel, linear_grid, params};
use crate::memory::Memory;
use crate::step::Step;

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/index.wgsl"),
    include_str!("../../shaders/output.wgsl")
);

params! {
    /// `params` of `output.wgsl`.
    OutputParams { quads: u32, y_stride: u32, outputs_stride: u32, y_row: u32 }
}

kernel! {
    /// `outputs[position + i, :] = y[i, :]`.
    StoreOutput = "store_output" in "output.wgsl", SOURCE;
    params OutputParams; sections [step];
    read [y: 2]; write [outputs: 3]
}

impl Kernel for StoreOutput {
    fn grid(&self) -> [u32; 2] {
        linear_grid(self.y.len / 4, MAX_GROUPS)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let columns = 4 * self.params.quads as usize;
        let y = memory.f32(self.y, member);
        let mut outputs = memory.f32_mut(self.outputs, member);
        let rows = outputs[step.position as usize * columns..].chunks_mut(columns).zip(y.chunks(4 * self.params.y_row as usize));
        rows.take(step.rows as usize).for_each(|(out, y)| out.copy_from_slice(&y[..columns]));
    }
}
