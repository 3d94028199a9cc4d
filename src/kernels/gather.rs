//! `shaders/gather.wgsl`: copies the rows of the batch out of the resident data set.

use super::{Kernel, MAX_GROUPS, kernel, linear_grid, params};
use crate::memory::Memory;
use crate::step::Step;

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/index.wgsl"),
    include_str!("../../shaders/gather.wgsl")
);

params! {
    /// `params` of `gather.wgsl`.
    GatherParams { quads: u32, scale: f32, rows_stride: u32, x_stride: u32 }
}

kernel! {
    /// `x[i, :] = f32(bytes[rows[i], :]) * scale`.
    GatherU8 = "gather_u8" in "gather.wgsl", SOURCE;
    params GatherParams; sections [step];
    read [rows: 2, bytes: 3]; write [x: 4]
}

kernel! {
    /// `x[i, :] = values[rows[i], :]`.
    GatherF32 = "gather_f32" in "gather.wgsl", SOURCE;
    params GatherParams; sections [step];
    read [rows: 2, values: 3]; write [x: 4]
}

impl Kernel for GatherU8 {
    fn grid(&self) -> [u32; 2] {
        linear_grid(self.x.len / 4, MAX_GROUPS)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let (rows, words) = (memory.u32(self.rows, member), memory.u32(self.bytes, member));
        let bytes: &[u8] = bytemuck::cast_slice(&words);
        let columns = 4 * self.params.quads as usize;
        let mut x = memory.f32_mut(self.x, member);
        for i in 0..step.rows as usize {
            let row = &bytes[rows[i] as usize * columns..][..columns];
            for (x, &byte) in x[i * columns..].iter_mut().zip(row) {
                *x = f32::from(byte) * self.params.scale;
            }
        }
    }
}

impl Kernel for GatherF32 {
    fn grid(&self) -> [u32; 2] {
        linear_grid(self.x.len / 4, MAX_GROUPS)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let (rows, values) = (memory.u32(self.rows, member), memory.f32(self.values, member));
        let columns = 4 * self.params.quads as usize;
        let mut x = memory.f32_mut(self.x, member);
        for i in 0..step.rows as usize {
            x[i * columns..][..columns].copy_from_slice(&values[rows[i] as usize * columns..][..columns]);
        }
    }
}
