//! `shaders/dropout.wgsl`: inverted dropout forward, backward, and its mask.

use super::{Kernel, MAX_GROUPS, kernel, linear_grid, params};
use crate::memory::{Memory, Tensor};
use crate::rng::{self, Stream};
use crate::step::{Section, Step};

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/index.wgsl"),
    include_str!("../../shaders/lib/philox.wgsl"),
    include_str!("../../shaders/dropout.wgsl")
);

params! {
    /// `params` of `dropout.wgsl`.
    DropoutParams {
        units: u32, unit_quads: u32, stream_and_site: u32, listed_samples: u32,
        first_sample: u32, first_quad: u32, samples_stride: u32, in_stride: u32,
        out_stride: u32, pad0: u32, pad1: u32, pad2: u32,
    }
}

impl DropoutParams {
    /// A site over rows of `units`, with a list of samples and without strides.
    pub fn new(units: u32, stream: Stream, site: u32) -> Self {
        let stream_and_site = rng::stream_and_site(stream, site);
        Self { units, unit_quads: units.div_ceil(4), stream_and_site, listed_samples: 1, ..Self::default() }
    }

    /// The same, for samples `first_sample`, `first_sample + 1` ...
    pub fn from_first_sample(self, first_sample: u32) -> Self {
        Self { listed_samples: 0, first_sample, ..self }
    }
}

kernel! {
    /// `y = keep ? x * scale : 0`.
    DropoutForward = "dropout_forward" in "dropout.wgsl", SOURCE;
    params DropoutParams; sections [step, sites]; site site;
    read [samples: 3, x: 4]; write [y: 5]
}

kernel! {
    /// `dx = keep ? dy * scale : 0`, with the mask of the forward pass drawn again.
    DropoutBackward = "dropout_backward" in "dropout.wgsl", SOURCE;
    params DropoutParams; sections [step, sites]; site site;
    read [samples: 3, dy: 4]; write [dx: 5]
}

kernel! {
    /// `mask = keep ? 1 : 0`.
    DropoutMask = "dropout_mask" in "dropout.wgsl", SOURCE;
    params DropoutParams; sections [step, sites]; site site;
    read [samples: 3]; write [mask: 4]
}

/// Calls `f(index, kept)` for every unit of every valid row.
fn for_each_unit(
    (params, site, samples): (&DropoutParams, usize, Tensor),
    (memory, step, member): (&Memory, &Step, usize),
    mut f: impl FnMut(usize, bool),
) {
    let listed = memory.u32(samples, member);
    let rate = &step.members[member].sites[site];
    for row in 0..step.rows {
        let sample = if params.listed_samples == 1 { listed[row as usize] } else { params.first_sample + row };
        for quad in 0..params.unit_quads {
            let words = rng::philox4x32_10(
                [params.first_quad + quad, sample, rate.pass, params.stream_and_site],
                step.members[member].key,
            );
            for unit in 4 * quad..params.units.min(4 * quad + 4) {
                f((row * params.units + unit) as usize, rate.keeps(words[(unit % 4) as usize]));
            }
        }
    }
}

/// The grid covers every row that the written tensor has room for.
fn grid(params: &DropoutParams, out: Tensor) -> [u32; 2] {
    linear_grid(out.len / params.units * params.unit_quads, MAX_GROUPS)
}

macro_rules! dropout_kernel {
    ($kernel:ident, $in:ident, $out:ident) => {
        impl Kernel for $kernel {
            fn sections(&self) -> Vec<Section> {
                vec![Section::Step, Section::Site(self.site)]
            }

            fn grid(&self) -> [u32; 2] {
                grid(&self.params, self.$out)
            }

            fn twin(&self, memory: &Memory, step: &Step, member: usize) {
                let (input, mut output) = (memory.f32(self.$in, member), memory.f32_mut(self.$out, member));
                let scale = step.members[member].sites[self.site].scale;
                for_each_unit((&self.params, self.site, self.samples), (memory, step, member), |i, kept| {
                    output[i] = if kept { input[i] * scale } else { 0.0 };
                });
            }
        }
    };
}

dropout_kernel!(DropoutForward, x, y);
dropout_kernel!(DropoutBackward, dy, dx);

impl Kernel for DropoutMask {
    fn sections(&self) -> Vec<Section> {
        vec![Section::Step, Section::Site(self.site)]
    }

    fn grid(&self) -> [u32; 2] {
        grid(&self.params, self.mask)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let mut mask = memory.u32_mut(self.mask, member);
        for_each_unit((&self.params, self.site, self.samples), (memory, step, member), |i, kept| {
            mask[i] = u32::from(kept);
        });
    }
}
