//! `shaders/scale.wgsl`: every element times one factor, in place.

use super::{EPS, FLUSH, Kernel, MAX_GROUPS, Tolerance, kernel, linear_grid, params};
use crate::memory::Memory;
use crate::step::Step;

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/index.wgsl"),
    include_str!("../../shaders/scale.wgsl")
);

params! {
    /// `params` of `scale.wgsl`.
    ScaleParams { quads: u32, factor: f32, y_stride: u32, pad0: u32 }
}

kernel! {
    /// `y = factor y`, in place.
    Scale = "scale" in "scale.wgsl", SOURCE;
    params ScaleParams; sections [step];
    read []; write [y: 2]
}

impl Kernel for Scale {
    fn grid(&self) -> [u32; 2] {
        linear_grid(self.y.len / 4, MAX_GROUPS)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let mut y = memory.f32_mut(self.y, member);
        y[..4 * (step.rows * self.params.quads) as usize].iter_mut().for_each(|y| *y *= self.params.factor);
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        let y = memory.f32(self.y, member);
        // The device rounds to either side, the twin to the nearest.
        let bound = |&y: &f32| match y {
            0.0 => 0.0,
            _ => 3.0 * EPS * f64::from(self.params.factor * y).abs() + (1.0 + f64::from(self.params.factor).abs()) * FLUSH,
        };
        vec![Tolerance::Bounds(y[..4 * (step.rows * self.params.quads) as usize].iter().map(bound).collect())]
    }
}
