//! `shaders/gather.wgsl`: copies the rows of the batch out of the data set, resident or streamed, and drops inputs on the way.

use super::{Constants, EPS, FLUSH, Kernel, Tolerance, WORKGROUP, kernel, params};
use crate::mask_rule::SiteMask;
use crate::memory::{Memory, Tensor};
use crate::step::{Section, Step};

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/mul_high.wgsl"),
    include_str!("../../shaders/lib/philox.wgsl"),
    include_str!("../../shaders/lib/dropout.wgsl"),
    include_str!("../../shaders/gather.wgsl")
);

params! {
    /// `params` of `gather.wgsl`.
    GatherParams {
        quads: u32, x_row: u32, scale: f32, rows_stride: u32,
        samples_stride: u32, x_stride: u32, stream_and_site: u32, pad0: u32,
    }
}

fn variants() -> Vec<Constants> {
    let all = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0), (7, 0), (7, 1)];
    all.map(|(dropout, streamed)| vec![("DROPOUT", dropout), ("STREAMED", streamed)]).to_vec()
}

kernel! {
    /// `x[i, :] = drop(f32(bytes[r, :]) * scale)`, r = `rows[i]` or, where the data set is streamed, `step.window + i`.
    GatherU8 = "gather_u8" in "gather.wgsl", SOURCE;
    params GatherParams; sections [step, sites]; site site: Option<SiteMask>; sides streamed: bool;
    read [rows: 3, samples: 4, bytes: 5]; write [x: 6]; variants variants
}

kernel! {
    /// `x[i, :] = drop(values[r, :])`, r = `rows[i]` or, where the data set is streamed, `step.window + i`.
    GatherF32 = "gather_f32" in "gather.wgsl", SOURCE;
    params GatherParams; sections [step, sites]; site site: Option<SiteMask>; sides streamed: bool;
    read [rows: 3, samples: 4, values: 5]; write [x: 6]; variants variants
}

/// Calls `f(place in the data set, place in x, factor)` for every number that is written; without a factor it is dropped.
fn for_each_number(
    (params, site, streamed, rows, samples): (&GatherParams, Option<SiteMask>, bool, Tensor, Tensor),
    (memory, step, member): (&Memory, &Step, usize),
    mut f: impl FnMut(usize, usize, Option<f32>),
) {
    let (rows, samples) = (memory.u32(rows, member), memory.u32(samples, member));
    let values = &step.members[member];
    for row in 0..step.rows as usize {
        let from = if streamed { step.window as usize + row } else { rows[row] as usize };
        for quad in 0..params.quads {
            let factors = match site {
                None => [Some(1.0); 4],
                Some(SiteMask { index, rule }) => {
                    let rate = &values.sites[index];
                    let at = rule.address(rate, &samples, row);
                    rule.kept(rate, values.key, params.stream_and_site, at, quad).map(|kept| kept.then_some(rate.scale))
                }
            };
            for (unit, factor) in (4 * quad as usize..).zip(factors) {
                f(from * 4 * params.quads as usize + unit, row * 4 * params.x_row as usize + unit, factor);
            }
        }
    }
}

macro_rules! gather_kernel {
    ($kernel:ident, $data:ident, $value:expr) => {
        impl $kernel {
            fn numbers(&self, (memory, step, member): (&Memory, &Step, usize), mut f: impl FnMut(usize, f32, Option<f32>)) {
                let data = memory.u32(self.$data, member);
                let value: fn(&[u32], usize, f32) -> f32 = $value;
                let tensors = (&self.params, self.site, self.streamed, self.rows, self.samples);
                for_each_number(tensors, (memory, step, member), |from, to, factor| {
                    f(to, value(&data, from, self.params.scale), factor);
                });
            }
        }

        impl Kernel for $kernel {
            fn sections(&self) -> Vec<Section> {
                vec![Section::Step, self.site.map_or(Section::Unused, |site| Section::Site(site.index))]
            }

            fn constants(&self) -> Constants {
                vec![("DROPOUT", self.site.map_or(0, |site| site.rule.constant())), ("STREAMED", self.streamed.into())]
            }

            fn grid(&self) -> [u32; 2] {
                let rows = self.x.len / (4 * self.params.x_row);
                [self.params.quads.div_ceil(16), rows.div_ceil(WORKGROUP / 16)]
            }

            fn twin(&self, memory: &Memory, step: &Step, member: usize) {
                let mut x = memory.f32_mut(self.x, member);
                self.numbers((memory, step, member), |to, value, factor| {
                    x[to] = factor.map_or(0.0, |factor| value * factor);
                });
            }

            /// Without a factor, or with one alone, the bits are the twin's; a second product may be taken together with the first.
            fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
                let mut bounds = vec![-1.0; self.x.len as usize];
                self.numbers((memory, step, member), |to, value, factor| {
                    let twice = self.params.scale != 1.0 && factor.is_some_and(|factor| factor != 1.0);
                    bounds[to] = if twice { 2.0 * EPS * f64::from(value * factor.unwrap_or(0.0)).abs() + FLUSH } else { 0.0 };
                });
                vec![Tolerance::Bounds(bounds)]
            }
        }
    };
}

gather_kernel!(GatherU8, bytes, |words, at, scale| f32::from(bytemuck::cast_slice::<u32, u8>(words)[at]) * scale);
gather_kernel!(GatherF32, values, |words, at, _| f32::from_bits(words[at]));
