//! `shaders/mixup.wgsl`: the partner of every row and the share of the row itself.

use super::{Kernel, MAX_GROUPS, kernel, linear_grid, params};
use crate::data::augmentation::{MIXUP_SITE, QUANTILES, mixup_quantiles};
use crate::memory::Memory;
use crate::rng::{Coordinates, Stream};
use crate::step::Step;

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/index.wgsl"),
    include_str!("../../shaders/lib/mul_high.wgsl"),
    include_str!("../../shaders/lib/philox.wgsl"),
    include_str!("../../shaders/mixup.wgsl")
);

params! {
    /// `params` of `mixup.wgsl`.
    MixupParams {
        rows: u32, rows_stride: u32, samples_stride: u32, partners_stride: u32, mix_stride: u32, pad0: u32, pad1: u32, pad2: u32,
        quantiles: [[u32; 32]; QUANTILES / 32],
    }
}

impl MixupParams {
    /// Partners among `rows` rows, shares of Beta(alpha, alpha), without strides.
    pub fn new(rows: u32, alpha: f64) -> Self {
        let mut params = Self { rows, ..Self::default() };
        params.quantiles.as_flattened_mut().copy_from_slice(&mixup_quantiles(alpha));
        params
    }

    /// lambda of a word: see [`mixup_quantiles`].
    pub fn share(&self, word: u32) -> f32 {
        let (knots, knot) = (self.quantiles.as_flattened(), (word >> 23) as usize);
        let below = knots[knot];
        let above = knots.get(knot + 1).copied().unwrap_or(1 << 31);
        let smaller = below + ((u64::from(above - below) * u64::from(word << 9)) >> 32) as u32;
        1.0 - (smaller >> 8) as f32 * (0.5f32).powi(24)
    }
}

/// Words of `mix` for a row: row, partner, bits of the share, sample of the partner.
pub const MIX: u32 = 4;

kernel! {
    /// Partners and shares, `mix[i] = (rows[i], partners[i], lambda, ids[partners[i]])`.
    MixupPartners = "mixup_partners" in "mixup.wgsl", SOURCE;
    params MixupParams; sections [step];
    read [rows: 2, samples: 3, ids: 4]; write [partners: 5, mix: 6]
}

impl Kernel for MixupPartners {
    fn grid(&self) -> [u32; 2] {
        linear_grid(self.partners.len, MAX_GROUPS)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let (rows, samples, ids) =
            (memory.u32(self.rows, member), memory.u32(self.samples, member), memory.u32(self.ids, member));
        let (mut partners, mut mix) = (memory.u32_mut(self.partners, member), memory.u32_mut(self.mix, member));
        for i in 0..step.rows as usize {
            let at = Coordinates { stream: Stream::Augmentation, site: MIXUP_SITE, pass: step.epoch, sample: samples[i] };
            let words = at.quad(0, step.members[member].key);
            let partner = ((u64::from(words[0]) * u64::from(self.params.rows)) >> 32) as u32;
            partners[i] = partner;
            let share = self.params.share(words[1]).to_bits();
            mix[MIX as usize * i..][..MIX as usize].copy_from_slice(&[rows[i], partner, share, ids[partner as usize]]);
        }
    }
}
