//! `shaders/dense_dropped_shuffle.wgsl`: the last dense layer over inputs that each Monte-Carlo draw drops some of, for software adapters.
//!
//! Where all in front of the last layer is the same in every draw, this is all that a draw computes. With a kernel that drops the
//! inputs and stores them, a copy into a texture and the dense layer, a draw took more than twice as long on lavapipe.

use super::sums::{self, Number, Sum};
use super::texture::PANEL_ROWS;
use super::{Constants, Kernel, Tolerance, kernel, params};
use crate::mask_rule::{MaskRule, SiteMask};
use crate::memory::Memory;
use crate::step::{Section, Step};

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/mul_high.wgsl"),
    include_str!("../../shaders/lib/philox.wgsl"),
    include_str!("../../shaders/lib/dropout.wgsl"),
    include_str!("../../shaders/lib/texture.wgsl"),
    include_str!("../../shaders/dense_dropped_shuffle.wgsl")
);

params! {
    /// `params` of `dense_dropped_shuffle.wgsl`.
    DroppedParams {
        input_quads: u32, input_row: u32, outputs: u32, output_quads: u32,
        output_row: u32, stream_and_site: u32, pad0: u32, pad1: u32,
    }
}

/// How the masks are drawn, and lanes of a workgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DroppedShape {
    /// The site, and how its masks are drawn.
    pub site: SiteMask,
    /// Lanes of every subgroup: 4, 8 or 16.
    pub lanes: u32,
}

/// Rows of a workgroup, a multiple of its lanes: they share each weight that is loaded.
const ROWS: u32 = 16;

fn constants(rule: MaskRule, lanes: u32) -> Constants {
    vec![("DROPOUT", rule.constant()), ("LANES", lanes), ("TILES", ROWS / lanes), ("PANEL_ROWS", PANEL_ROWS)]
}

fn variants() -> Vec<Constants> {
    MaskRule::ALL.into_iter().zip([8, 4, 16].into_iter().cycle()).map(|(rule, lanes)| constants(rule, lanes)).collect()
}

kernel! {
    /// `y[i, :] = drop(values[rows[i], :]) W^T + b`, of a plan of one member.
    DenseOfDropped = "dense_of_dropped" in "dense_dropped_shuffle.wgsl", SOURCE;
    params DroppedParams; sections [step, sites]; sides shape: DroppedShape;
    read [rows: 3, samples: 4, values: 5, bias: 6]; textures [weight: 7]; write [y: 8]; variants variants
}

impl DenseOfDropped {
    /// The most outputs of a layer: those that one workgroup has columns for.
    pub fn most_outputs(lanes: u32) -> u32 {
        4 * lanes
    }

    fn results(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Number> {
        let DroppedParams { input_quads, input_row, outputs, output_quads, output_row, stream_and_site, .. } = self.params;
        let (rows, samples) = (memory.u32(self.rows, member), memory.u32(self.samples, member));
        let (values, weight, bias) =
            (memory.f32(self.values, member), memory.f32(self.weight, member), memory.f32(self.bias, member));
        let (SiteMask { index, rule }, drawn) = (self.shape.site, &step.members[member]);
        let rate = &drawn.sites[index];
        let mut numbers = vec![None; step.rows as usize * 4 * output_row as usize];
        for (row, numbers) in numbers.chunks_mut(4 * output_row as usize).enumerate() {
            let at = rule.address(rate, &samples, row);
            let kept: Vec<bool> =
                (0..input_quads).flat_map(|quad| rule.kept(rate, drawn.key, stream_and_site, at, quad)).collect();
            let x = &values[rows[row] as usize * kept.len()..][..kept.len()];
            for (unit, number) in numbers.iter_mut().enumerate().take(4 * output_quads as usize) {
                if unit >= outputs as usize {
                    *number = Some((0.0, 0.0));
                    continue;
                }
                let mut sum = Sum::default();
                sum.add(f64::from(bias[unit]));
                let weights = &weight[unit * 4 * input_row as usize..];
                for ((&x, &w), &kept) in x.iter().zip(weights).zip(&kept) {
                    sum.add(if kept { f64::from(x * rate.scale) * f64::from(w) } else { 0.0 });
                }
                // Each term is a product of two, one of them scaled before.
                *number = sum.times(1.0, 2);
            }
        }
        numbers
    }
}

impl Kernel for DenseOfDropped {
    fn sections(&self) -> Vec<Section> {
        vec![Section::Step, Section::Site(self.shape.site.index)]
    }

    fn constants(&self) -> Constants {
        constants(self.shape.site.rule, self.shape.lanes)
    }

    fn texture_rows(&self) -> Vec<u32> {
        vec![4 * self.params.input_row]
    }

    fn grid(&self) -> [u32; 2] {
        [1, (self.y.len / (4 * self.params.output_row)).div_ceil(ROWS)]
    }

    fn iterations(&self) -> u64 {
        u64::from(self.params.input_quads + 1)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        sums::store(memory, self.y, member, &self.results(memory, step, member));
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        vec![sums::bounds(&self.results(memory, step, member))]
    }
}
