//! `shaders/gradients.wgsl` and `shaders/clip.wgsl`: gradients accumulated over the parts of a batch, and their norm clipped.

use super::{EPS, FLUSH, Kernel, MAX_GROUPS, Tolerance, WORKGROUP, gamma, kernel, linear_grid, params};
use crate::memory::Memory;
use crate::step::{Section, Step};

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/index.wgsl"),
    include_str!("../../shaders/gradients.wgsl")
);

const CLIP: &str = concat!(
    include_str!("../../shaders/lib/optimizer_step.wgsl"),
    include_str!("../../shaders/lib/index.wgsl"),
    include_str!("../../shaders/clip.wgsl")
);

/// Partial sums of squares that one [`GradientNorm`] writes.
pub const PARTIALS: u32 = 64;

/// Quads that one invocation of [`ClipGradient`] takes, so that adding up the partials does not cost more than the rest.
const CLIPPED_QUADS: u32 = 8;

params! {
    /// `params` of `gradients.wgsl` and `clip.wgsl`; `sum_stride` is that of `sum` or of `partials`.
    GradientParams { quads: u32, partials: u32, dw_stride: u32, sum_stride: u32 }
}

kernel! {
    /// `sum = (step.accumulated == 0 ? 0 : sum) + dw`.
    AccumulateGradients = "accumulate_gradients" in "gradients.wgsl", SOURCE;
    params GradientParams; sections [step];
    read [dw: 2]; write [sum: 3]
}

kernel! {
    /// [`PARTIALS`] partial sums of `dw^2`.
    GradientNorm = "gradient_norm" in "gradients.wgsl", SOURCE;
    params GradientParams; sections [];
    read [dw: 2]; write [partials: 3]
}

kernel! {
    /// `dw *= min(1, clip_norm / (sqrt(sum of partials) + 1e-6))`.
    ClipGradient = "clip_gradient" in "clip.wgsl", CLIP;
    params GradientParams; sections [optimizer];
    read [partials: 2]; write [dw: 3]
}

/// What numbers are multiplied by so that their norm becomes `limit`, if it is larger.
pub(super) struct Shrink {
    /// 1 where they stay, NaN or infinite where their norm is.
    pub(super) factor: f64,
    /// How far the factor of the device may be from it; `None` where the device has to leave them alone as well.
    error: Option<f64>,
}

impl Shrink {
    /// For numbers whose squares, `terms` of them, have this sum; `added` is added to the norm.
    ///
    /// WGSL rounds to either side, 2 EPS. The sum has `terms` squares and additions in any order, and may lose every term that is
    /// denormal. sqrt is 1 / inverseSqrt, 4.5 ULP together; then come the addition and the division, 2.5 ULP. The factor is a
    /// continuous function of the norm: where the device takes the other branch than the twin, the norm is so near to the limit
    /// that the bound has room for both.
    pub(super) fn new(limit: f32, sum: f64, terms: usize, added: f64) -> Self {
        let limit = f64::from(limit);
        let norm = |sum: f64, relative: f64| (sum.max(0.0).sqrt() + added) * (1.0 + relative);
        let (exact, off) = (norm(sum, 0.0), gamma(2 * terms + 2) * sum + 2.0 * terms as f64 * FLUSH);
        let (low, high) = (norm(sum - off, -13.0 * EPS), norm(sum + off, 13.0 * EPS));
        if !sum.is_finite() {
            return Self { factor: sum, error: Some(sum) };
        }
        let factor = |norm: f64| if norm > limit { limit / norm } else { 1.0 };
        let spread = (factor(low) - factor(exact)).max(factor(exact) - factor(high));
        let error = (high > limit).then_some(spread + 5.0 * EPS * factor(exact));
        Self { factor: factor(exact), error }
    }

    /// The bounds of the products with these numbers.
    pub(super) fn bounds(&self, numbers: &[f32]) -> Vec<f64> {
        let bound = |&x: &f32| match self.error {
            Some(error) if x != 0.0 => f64::from(x).abs() * (error + 3.0 * EPS * self.factor) + 2.0 * FLUSH,
            _ => 0.0,
        };
        numbers.iter().map(bound).collect()
    }
}

impl Kernel for AccumulateGradients {
    fn grid(&self) -> [u32; 2] {
        linear_grid(self.params.quads, MAX_GROUPS)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let (dw, mut sum) = (memory.f32(self.dw, member), memory.f32_mut(self.sum, member));
        for i in 0..4 * self.params.quads as usize {
            sum[i] = if step.accumulated == 0 { dw[i] } else { (f64::from(sum[i]) + f64::from(dw[i])) as f32 };
        }
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        if step.accumulated == 0 {
            return vec![Tolerance::Exact];
        }
        let (dw, sum) = (memory.f32(self.dw, member), memory.f32(self.sum, member));
        // The device rounds to either side, the twin to the nearest; both summands and the sum may be flushed.
        let bound = |i: usize| match (dw[i], sum[i]) {
            (0.0, 0.0) => 0.0,
            (d, s) => 3.0 * EPS * (f64::from(d) + f64::from(s)).abs() + 3.0 * FLUSH,
        };
        vec![Tolerance::Bounds((0..4 * self.params.quads as usize).map(bound).collect())]
    }
}

impl GradientNorm {
    /// The sums of squares and how many terms they have.
    fn sums(&self, memory: &Memory, member: usize) -> Vec<(f64, usize)> {
        let dw = memory.f32(self.dw, member);
        let words = 4 * self.params.quads as usize;
        let range = 4 * self.params.quads.div_ceil(PARTIALS) as usize;
        let sum = |g: usize| {
            let part = &dw[(g * range).min(words)..((g + 1) * range).min(words)];
            (part.iter().map(|&d| f64::from(d) * f64::from(d)).sum(), part.len())
        };
        (0..PARTIALS as usize).map(sum).collect()
    }
}

impl Kernel for GradientNorm {
    fn sections(&self) -> Vec<Section> {
        Vec::new()
    }

    fn grid(&self) -> [u32; 2] {
        [PARTIALS, 1]
    }

    fn iterations(&self) -> u64 {
        u64::from(self.params.quads.div_ceil(PARTIALS) / WORKGROUP + WORKGROUP) + 2
    }

    fn twin(&self, memory: &Memory, _: &Step, member: usize) {
        let sums = self.sums(memory, member);
        let mut partials = memory.f32_mut(self.partials, member);
        partials.iter_mut().zip(sums).for_each(|(partial, (sum, _))| *partial = sum as f32);
    }

    fn tolerance(&self, memory: &Memory, _: &Step, member: usize) -> Vec<Tolerance> {
        let bound = |(sum, terms): (f64, usize)| match sum {
            0.0 => 0.0,
            _ => gamma(2 * terms + 2) * sum + 2.0 * terms as f64 * FLUSH,
        };
        vec![Tolerance::Bounds(self.sums(memory, member).into_iter().map(bound).collect())]
    }
}

impl ClipGradient {
    fn shrink(&self, memory: &Memory, step: &Step, member: usize) -> Shrink {
        let partials = memory.f32(self.partials, member);
        let sum: f64 = partials[..self.params.partials as usize].iter().map(|&p| f64::from(p)).sum();
        // The device adds in f32, where such a sum is none.
        let sum = if sum > f64::from(f32::MAX) { f64::INFINITY } else { sum };
        Shrink::new(step.members[member].optimizer.clip_norm, sum, self.params.partials as usize, 1e-6)
    }
}

impl Kernel for ClipGradient {
    fn sections(&self) -> Vec<Section> {
        vec![Section::Optimizer]
    }

    fn grid(&self) -> [u32; 2] {
        linear_grid(self.params.quads.div_ceil(CLIPPED_QUADS), MAX_GROUPS)
    }

    fn iterations(&self) -> u64 {
        let [x, y] = self.grid();
        u64::from(self.params.partials / 4 + self.params.quads / (x * y * WORKGROUP)) + 4
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let Shrink { factor, .. } = self.shrink(memory, step, member);
        if factor != 1.0 {
            let mut dw = memory.f32_mut(self.dw, member);
            dw[..4 * self.params.quads as usize].iter_mut().for_each(|d| *d = (f64::from(*d) * factor) as f32);
        }
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        let dw = memory.f32(self.dw, member);
        vec![Tolerance::Bounds(self.shrink(memory, step, member).bounds(&dw[..4 * self.params.quads as usize]))]
    }
}
