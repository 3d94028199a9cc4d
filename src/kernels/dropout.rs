//! `shaders/dropout.wgsl`: inverted dropout forward, backward, and its mask.
//!
//! The kernels of a plan, whose rows are padded to quads, read and write vec4; the ragged ones serve rows of any length.

use super::{Constants, Kernel, MAX_GROUPS, kernel, linear_grid, params};
use crate::mask_rule::{MaskRule, SiteMask};
use crate::memory::{Memory, Tensor};
use crate::rng::{self, Stream};
use crate::step::{Section, Step};

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/index.wgsl"),
    include_str!("../../shaders/lib/mul_high.wgsl"),
    include_str!("../../shaders/lib/division.wgsl"),
    include_str!("../../shaders/lib/philox.wgsl"),
    include_str!("../../shaders/lib/dropout.wgsl"),
    include_str!("../../shaders/dropout.wgsl")
);

params! {
    /// `params` of `dropout.wgsl`.
    DropoutParams {
        units: u32, unit_quads: u32, row_factor: u32, row_shift: u32,
        stream_and_site: u32, listed_samples: u32, first_sample: u32, first_quad: u32,
        samples_stride: u32, in_stride: u32, out_stride: u32, pad0: u32,
    }
}

impl DropoutParams {
    /// A site over rows of `units`, with a list of samples and without strides.
    pub fn new(units: u32, stream: Stream, site: u32) -> Self {
        let (stream_and_site, unit_quads) = (rng::stream_and_site(stream, site), units.div_ceil(4));
        let (row_factor, row_shift) = division(unit_quads);
        Self { units, unit_quads, row_factor, row_shift, stream_and_site, listed_samples: 1, ..Self::default() }
    }

    /// The same, for samples `first_sample`, `first_sample + 1` ...
    pub fn from_first_sample(self, first_sample: u32) -> Self {
        Self { listed_samples: 0, first_sample, ..self }
    }
}

/// `lib/division.wgsl`: factor f and shift s with `i / n == i * f >> (31 + s)` for every `i < 2^31`, for n from 1 to 2^31.
///
/// f = ceil(2^(31 + s) / n) with 2^s >= n exceeds the true factor by less than 1, so the product exceeds i 2^(31 + s) / n by
/// less than 2^31 <= 2^(31 + s) / n, too little to reach the next whole number (Granlund and Montgomery, PLDI 1994).
pub(crate) fn division(n: u32) -> (u32, u32) {
    let shift = n.next_power_of_two().trailing_zeros();
    ((1u64 << (31 + shift)).div_ceil(u64::from(n)) as u32, shift)
}

/// What the modules of this file are specialised by.
pub(crate) fn constants(rule: MaskRule) -> Constants {
    vec![("DROPOUT", rule.constant())]
}

fn training() -> Vec<Constants> {
    [MaskRule::Pass, MaskRule::Batch].map(constants).to_vec()
}

kernel! {
    /// `y = keep ? x * scale : 0`; units is a multiple of 4.
    DropoutForward = "dropout_forward" in "dropout.wgsl", SOURCE;
    params DropoutParams; sections [step, sites]; site site: SiteMask;
    read [samples: 3, x: 4]; write [y: 5]; variants || MaskRule::ALL.map(constants).to_vec()
}

kernel! {
    /// `dx = keep ? dy * scale : 0`, with the mask of the forward pass drawn again; units is a multiple of 4.
    DropoutBackward = "dropout_backward" in "dropout.wgsl", SOURCE;
    params DropoutParams; sections [step, sites]; site site: SiteMask;
    read [samples: 3, dy: 4]; write [dx: 5]; variants training
}

kernel! {
    /// `mask = keep ? 1 : 0`; units is a multiple of 4.
    DropoutMask = "dropout_mask" in "dropout.wgsl", SOURCE;
    params DropoutParams; sections [step, sites]; site site: SiteMask;
    read [samples: 3]; write [mask: 4]; variants training
}

kernel! {
    /// [`DropoutForward`] or [`DropoutBackward`] for any number of units.
    DropoutRagged = "dropout_ragged" in "dropout.wgsl", SOURCE;
    params DropoutParams; sections [step, sites]; site site: SiteMask;
    read [samples: 3, x_units: 4]; write [y_units: 5]; variants training
}

kernel! {
    /// [`DropoutMask`] for any number of units.
    DropoutMaskRagged = "dropout_mask_ragged" in "dropout.wgsl", SOURCE;
    params DropoutParams; sections [step, sites]; site site: SiteMask;
    read [samples: 3]; write [mask_units: 4]; variants training
}

/// Calls `f(index, kept)` for every unit of every valid row.
fn for_each_unit(
    (params, SiteMask { index, rule }, samples): (&DropoutParams, SiteMask, Tensor),
    (memory, step, member): (&Memory, &Step, usize),
    mut f: impl FnMut(usize, bool),
) {
    let listed = memory.u32(samples, member);
    let values = &step.members[member];
    let rate = &values.sites[index];
    for row in 0..step.rows {
        let at = match params.listed_samples {
            0 => [params.first_sample + row, rate.pass],
            _ => rule.address(rate, &listed, row as usize),
        };
        for quad in 0..params.unit_quads {
            let kept = rule.kept(rate, values.key, params.stream_and_site, at, params.first_quad + quad);
            for unit in 4 * quad..params.units.min(4 * quad + 4) {
                f((row * params.units + unit) as usize, kept[(unit % 4) as usize]);
            }
        }
    }
}

/// The grid covers every row that the written tensor has room for.
fn grid(params: &DropoutParams, out: Tensor) -> [u32; 2] {
    linear_grid(out.len / params.units * params.unit_quads, MAX_GROUPS)
}

/// The same where the tensors are read and written as vec4.
fn quad_grid(params: &DropoutParams, out: Tensor) -> [u32; 2] {
    let DropoutParams { units, in_stride, out_stride, .. } = *params;
    assert!([units, in_stride, out_stride].iter().all(|n| n.is_multiple_of(4)), "rows of {units} units need a ragged kernel");
    grid(params, out)
}

macro_rules! dropout_kernel {
    ($kernel:ident, $in:ident, $out:ident, $grid:ident) => {
        impl Kernel for $kernel {
            fn sections(&self) -> Vec<Section> {
                vec![Section::Step, Section::Site(self.site.index)]
            }

            fn constants(&self) -> Constants {
                constants(self.site.rule)
            }

            fn grid(&self) -> [u32; 2] {
                $grid(&self.params, self.$out)
            }

            fn twin(&self, memory: &Memory, step: &Step, member: usize) {
                let (input, mut output) = (memory.f32(self.$in, member), memory.f32_mut(self.$out, member));
                let scale = step.members[member].sites[self.site.index].scale;
                for_each_unit((&self.params, self.site, self.samples), (memory, step, member), |i, kept| {
                    output[i] = if kept { input[i] * scale } else { 0.0 };
                });
            }
        }
    };
}

dropout_kernel!(DropoutForward, x, y, quad_grid);
dropout_kernel!(DropoutBackward, dy, dx, quad_grid);
dropout_kernel!(DropoutRagged, x_units, y_units, grid);

macro_rules! mask_kernel {
    ($kernel:ident, $out:ident, $grid:ident) => {
        impl Kernel for $kernel {
            fn sections(&self) -> Vec<Section> {
                vec![Section::Step, Section::Site(self.site.index)]
            }

            fn constants(&self) -> Constants {
                constants(self.site.rule)
            }

            fn grid(&self) -> [u32; 2] {
                $grid(&self.params, self.$out)
            }

            fn twin(&self, memory: &Memory, step: &Step, member: usize) {
                let mut mask = memory.u32_mut(self.$out, member);
                for_each_unit((&self.params, self.site, self.samples), (memory, step, member), |i, kept| {
                    mask[i] = u32::from(kept);
                });
            }
        }
    };
}

mask_kernel!(DropoutMask, mask, quad_grid);
mask_kernel!(DropoutMaskRagged, mask_units, grid);

#[cfg(test)]
mod tests {
    use super::division;

    #[test]
    fn a_row_is_found_without_dividing_for_every_index_and_length() {
        let powers = (0..31).flat_map(|e| [(1u32 << e) - 1, 1 << e, (1 << e) + 1]);
        for n in (1..2000).chain(powers.filter(|&n| n > 0)).chain([3 << 29, (1 << 31) - 1, 1 << 31]) {
            let (factor, shift) = division(n);
            // Wrong quotients begin next to the multiples of n; the last ones below 2^31 are the worst.
            let multiples = [1, 2, 3, ((1u32 << 31) - 1) / n, ((1 << 31) - 1) / n / 2].map(|k| u64::from(k) * u64::from(n));
            let around = multiples.into_iter().flat_map(|i| [i.saturating_sub(1), i, i + 1]);
            for i in around.chain([0, 1, (1 << 31) - 1]).filter(|&i| i < 1 << 31) {
                assert_eq!((i * u64::from(factor)) >> (31 + shift), i / u64::from(n), "{i} / {n}");
            }
        }
    }
}
