//! `shaders/concrete.wgsl`: concrete dropout, whose drop probability is learned, and the gradient of its logit in parts. The twins
//! compute in f64 and round once.

use super::map_dropout::{MapDropoutParams, MapLayout, MapVariant, Space};
use super::noise::quad_variants;
use super::normal::{Near, log_error};
use super::sums::{Number, bounds, store};
use super::{Constants, EPS, FLUSH, Kernel, MAX_GROUPS, Tolerance, WORKGROUP, exp_error, gamma, kernel, linear_grid, params};
use crate::mask_rule::{MaskRule, SiteMask};
use crate::memory::{Memory, Tensor};
use crate::rng;
use crate::step::{Section, Step};

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/index.wgsl"),
    include_str!("../../shaders/lib/mul_high.wgsl"),
    include_str!("../../shaders/lib/division.wgsl"),
    include_str!("../../shaders/lib/philox.wgsl"),
    include_str!("../../shaders/lib/dropout.wgsl"),
    include_str!("../../shaders/lib/kept_bits.wgsl"),
    include_str!("../../shaders/lib/map_units.wgsl"),
    include_str!("../../shaders/lib/unit_words.wgsl"),
    include_str!("../../shaders/lib/nan.wgsl"),
    include_str!("../../shaders/lib/concrete.wgsl"),
    include_str!("../../shaders/concrete.wgsl")
);

/// The logit in use is at most this far from 0, see `shaders/lib/concrete.wgsl`.
pub const LOGIT_LIMIT: f32 = 12.0;

/// 1 / t of the relaxed mask.
const INVERSE_TEMPERATURE: f64 = 10.0;

/// The rules that a relaxed mask knows.
pub const CONCRETE_RULES: [MaskRule; 4] = [MaskRule::Pass, MaskRule::Draw, MaskRule::Antithetic, MaskRule::Batch];

params! {
    /// `params` of `concrete.wgsl`.
    ConcreteParams { map: MapDropoutParams, logit_stride: u32, partials_stride: u32, partials: u32, pad0: u32 }
}

impl ConcreteParams {
    /// Over samples of a site, whose parameters are those of [`MapDropoutParams::element_by_element`], in a batch of at most so
    /// many, without strides of logit and partial sums.
    pub fn new(map: MapDropoutParams, samples: u32) -> Self {
        let partials = (samples * map.runs * map.quads).div_ceil(WORKGROUP).max(1);
        Self { map, partials, ..Self::default() }
    }
}

kernel! {
    /// `y = x (1 - z) / (1 - p)`. `dx` is the same over dy and dx.
    ConcreteForward = "concrete_forward" in "concrete.wgsl", SOURCE;
    params ConcreteParams; sections [step, sites]; site site: SiteMask; sides variant: MapVariant;
    read [samples: 3, logit: 4, x: 5]; write [y: 6]; variants || quad_variants(&CONCRETE_RULES)
}

kernel! {
    /// [`ConcreteParams::partials`] partial sums of the gradient of the logit, of which
    /// [`super::concrete_regularizer::ConcreteFinish`] makes the whole.
    ConcreteGradient = "concrete_gradient" in "concrete.wgsl", SOURCE;
    params ConcreteParams; sections [step, sites]; site site: SiteMask; sides variant: MapVariant;
    read [samples: 3, logit: 4, x: 5, dy: 6]; write [partials: 7]; variants || quad_variants(&CONCRETE_RULES)
}

/// What the shader makes of a logit. The operations of WGSL round to either side, 2 EPS, a division is 2.5 ULP.
pub(super) struct Rate {
    /// The logit in use.
    pub(super) logit: f64,
    /// e^c.
    pub(super) odds: Near,
    /// 1 + e^c, which is 1 / (1 - p).
    pub(super) inverse: Near,
    /// p.
    pub(super) drop: Near,
}

impl Rate {
    pub(super) fn of(logit: f32) -> Self {
        // clamp lets NaN through.
        let c = f64::from(logit.clamp(-LOGIT_LIMIT, LOGIT_LIMIT));
        let odds = libm::exp(c);
        let (inverse, drop) = (1.0 + odds, odds / (1.0 + odds));
        let exp = exp_error(c);
        Self {
            logit: c,
            odds: [odds, odds * exp],
            inverse: [inverse, odds * exp + 2.0 * EPS * (inverse + odds * exp)],
            drop: [drop, 1.01 * drop * (exp * (1.0 - drop) + 7.0 * EPS)],
        }
    }
}

/// The product of two near numbers, rounded by the device.
fn product(a: Near, b: Near) -> Near {
    let value = a[0] * b[0];
    let error = a[0].abs() * b[1] + b[0].abs() * a[1] + a[1] * b[1];
    [value, error + 2.0 * EPS * (value.abs() + error) + FLUSH * (1.0 + a[0].abs() + b[0].abs())]
}

/// 1 - z and z of a unit with this word at a logit.
///
/// Of s = 10 (c + log u - log(1 - u)) each logarithm has its error, the difference, the sum and the product 2 EPS each. Both are
/// monotonic in s, so over its interval the ends bound them. exp then changes 1 - z by its relative error times z, and z
/// by that times 1 - z; the sum, the division of 2.5 ULP and the product are 9 EPS.
fn relaxed(word: u32, logit: f64) -> [Near; 2] {
    let u = rng::uniform(word);
    let logs = [libm::log(u), libm::log(1.0 - u)];
    let rounded = |value: f64, error: f64| error + 2.0 * EPS * (value.abs() + error);
    let difference = logs[0] - logs[1];
    let error = rounded(difference, log_error(logs[0]) + log_error(logs[1]));
    let sum = logit + difference;
    let error = rounded(sum, error);
    let s = INVERSE_TEMPERATURE * sum;
    let error = rounded(s, INVERSE_TEMPERATURE * error);
    let sigmoid = |s: f64| 1.0 / (1.0 + libm::exp(-s));
    let ends = [s - error, s, s + error].map(|s| s.clamp(-80.0, 80.0));
    let exp = exp_error(ends[0].abs().max(ends[2].abs()));
    let near = |at: [f64; 3], other: f64| {
        let spread = (at[2] - at[1]).abs().max((at[1] - at[0]).abs());
        let most = at[0].max(at[2]);
        [at[1], spread + 1.01 * most * (exp * other + 9.0 * EPS) + FLUSH]
    };
    let (kept, dropped) = (ends.map(|s| sigmoid(-s)), ends.map(sigmoid));
    [near(kept, dropped[2]), near(dropped, kept[0])]
}

/// Calls `f(words from the first of the input and of the output, 1 - z and z)` for every element; `None` in the padding.
fn for_each_relaxed(
    (params, variant, SiteMask { index, rule }): (&MapDropoutParams, MapVariant, SiteMask),
    (samples, logit): (Tensor, f64),
    (memory, step, member): (&Memory, &Step, usize),
    mut f: impl FnMut([usize; 2], Option<[Near; 2]>),
) {
    assert!(CONCRETE_RULES.contains(&rule), "{rule:?} is a rule of masks, but those of concrete dropout are relaxed");
    let (samples, values) = (memory.u32(samples, member), &step.members[member]);
    params.for_each_place(variant, step.rows, |sample, at, unit| {
        let of_unit = |unit: u32| {
            let [id, draw] = rule.address(&values.sites[index], &samples, sample as usize);
            let antithetic = rule == MaskRule::Antithetic;
            let draws = if antithetic { draw & !1 } else { draw };
            let word = rng::philox4x32_10([unit / 4, id, draws, params.stream_and_site], values.key)[(unit % 4) as usize];
            relaxed(if antithetic && draw % 2 == 1 { !word } else { word }, logit)
        };
        f(at, unit.map(of_unit));
    });
}

impl ConcreteForward {
    /// The twin rounds.
    fn results(&self, of: (&Memory, &Step, usize)) -> Vec<Number> {
        let (x, logit) = (of.0.f32(self.x, of.2), of.0.f32(self.logit, of.2)[0]);
        let rate = Rate::of(logit);
        let mut numbers = vec![None; self.y.len as usize];
        let site = (&self.params.map, self.variant, self.site);
        for_each_relaxed(site, (self.samples, rate.logit), of, |[from, to], relaxed| {
            numbers[to] = Some(relaxed.map_or((0.0, 0.0), |[kept, _]| {
                let [y, error] = product([f64::from(x[from]), 0.0], product(kept, rate.inverse));
                (y, error + EPS * y.abs())
            }));
        });
        numbers
    }
}

impl ConcreteGradient {
    /// A term is a product of four numbers; the sum of a workgroup has at most 2 + 63 additions on the way of a term, any of which may
    /// be flushed. The twin rounds.
    fn results(&self, of: (&Memory, &Step, usize)) -> Vec<Number> {
        let p = &self.params.map;
        let (x, dy) = (of.0.f32(self.x, of.2), of.0.f32(self.dy, of.2));
        let rate = Rate::of(of.0.f32(self.logit, of.2)[0]);
        let mut numbers = vec![None; self.partials.len as usize];
        numbers[..self.params.partials as usize].fill(Some((0.0, 0.0)));
        let mut sizes = vec![0.0; self.params.partials as usize];
        let quads = if self.variant.layout == MapLayout::Planar { p.places } else { p.quads } as usize;
        let (row, site) = (4 * p.in_row as usize, (p, self.variant, self.site));
        for_each_relaxed(site, (self.samples, rate.logit), of, |[at_x, at_dy], relaxed| {
            let Some([kept, dropped]) = relaxed else { return };
            let value = product([f64::from(x[at_x]), 0.0], product(kept, rate.inverse));
            let [z, error] = product(dropped, [INVERSE_TEMPERATURE, 0.0]);
            let difference = rate.drop[0] - z;
            let error = error + rate.drop[1];
            let slope = [difference, error + 2.0 * EPS * (difference.abs() + error)];
            let [term, error] = product([f64::from(dy[at_dy]), 0.0], product(value, slope));
            let group = (at_x / row * quads + at_x % row / 4) / WORKGROUP as usize;
            let (sum, bound) = numbers[group].unwrap_or_default();
            numbers[group] = Some((sum + term, bound + error + FLUSH));
            sizes[group] += term.abs() + error;
        });
        for (number, size) in numbers.iter_mut().flatten().zip(sizes) {
            number.1 += gamma(2 * (2 + WORKGROUP as usize)) * size + EPS * number.0.abs();
        }
        numbers
    }
}

macro_rules! concrete_kernel {
    ($kernel:ident, $out:ident, $rows:ident) => {
        impl Kernel for $kernel {
            fn sections(&self) -> Vec<Section> {
                vec![Section::Step, Section::Site(self.site.index)]
            }

            fn constants(&self) -> Constants {
                assert_eq!(self.variant.space, Space::Any, "relaxed masks are drawn element by element");
                self.variant.constants(self.site.rule)
            }

            fn grid(&self) -> [u32; 2] {
                linear_grid(self.params.map.invocations(self.variant, self.$rows), MAX_GROUPS)
            }

            fn twin(&self, memory: &Memory, step: &Step, member: usize) {
                let results = self.results((memory, step, member));
                store(memory, self.$out, member, &results);
            }

            fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
                vec![bounds(&self.results((memory, step, member)))]
            }
        }
    };
}

concrete_kernel!(ConcreteForward, y, y);
concrete_kernel!(ConcreteGradient, partials, dy);
