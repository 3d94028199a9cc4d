//! `shaders/noise.wgsl`: Gaussian noise and alpha dropout, which stand in for inverted dropout on the same units and layouts.

use super::map_dropout::{self, MapDropoutParams, MapLayout, MapVariant, Space};
use super::normal::{Near, normal_of};
use super::sums::{Number, bounds, store};
use super::{Constants, EPS, FLUSH, Kernel, Tolerance, kernel};
use crate::mask_rule::{MaskRule, SiteMask};
use crate::memory::Memory;
use crate::network::SELU_LIMIT;
use crate::step::{Section, SiteStep, Step};

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
    include_str!("../../shaders/lib/normal.wgsl"),
    include_str!("../../shaders/noise.wgsl")
);

/// The rules that Gaussian noise knows: a Latin hypercube and a list of every mask are of masks, which it has none of.
pub const GAUSSIAN_RULES: [MaskRule; 5] = [MaskRule::Pass, MaskRule::Draw, MaskRule::Antithetic, MaskRule::All, MaskRule::Batch];

/// A rule with every variant of a kernel that takes a quad an invocation, and its other rules with one.
pub(super) fn quad_variants(rules: &[MaskRule]) -> Vec<Constants> {
    let of = |layout, axes| MapVariant { layout, space: Space::Any, columns_shared: false, axes };
    let layouts = [of(MapLayout::Pixels, 1), of(MapLayout::Pixels, 3), of(MapLayout::Planar, 1), of(MapLayout::Planar, 8)];
    let layouts = layouts.map(|variant| variant.constants(rules[0]));
    layouts.into_iter().chain(rules[1..].iter().map(|&rule| of(MapLayout::Planar, 2).constants(rule))).collect()
}

kernel! {
    /// `y = x (1 + sigma n)`, sigma the scale of the site. `dx = dy (1 + sigma n)` is the same over dy and dx. The parameters are
    /// those of [`MapDropoutParams::element_by_element`], the rule one of [`GAUSSIAN_RULES`].
    GaussianNoise = "gaussian_noise" in "noise.wgsl", SOURCE;
    params MapDropoutParams; sections [step, sites]; site site: SiteMask; sides variant: MapVariant;
    read [samples: 3, x: 4]; write [y: 5]; variants || quad_variants(&GAUSSIAN_RULES)
}

kernel! {
    /// `y = a (keep ? x : alpha') + b`, a the scale of the site. Its backward pass is
    /// [`map_dropout::MapDropoutBackward`], `dx = keep ? a dy : 0`.
    AlphaDropout = "alpha_dropout" in "noise.wgsl", SOURCE;
    params MapDropoutParams; sections [step, sites]; site site: SiteMask; sides variant: MapVariant;
    read [samples: 3, x: 4]; write [y: 5]; variants map_dropout::variants
}

impl GaussianNoise {
    /// WGSL rounds to either side, 2 EPS: the product with sigma, the sum and the product with x; the twin rounds. The product
    /// with sigma may be flushed, and so may x and y. Where sigma is 0 so is the noise, and y is x.
    fn results(&self, (memory, step, member): (&Memory, &Step, usize)) -> Vec<Number> {
        let (p, SiteMask { index, rule }) = (&self.params, self.site);
        assert!(GAUSSIAN_RULES.contains(&rule), "{rule:?} is a rule of masks, but noise has none");
        let (samples, x, values) = (memory.u32(self.samples, member), memory.f32(self.x, member), &step.members[member]);
        let site = &values.sites[index];
        let sigma = f64::from(site.scale);
        let mut numbers = vec![None; self.y.len as usize];
        p.for_each_place(self.variant, step.rows, |sample, [from, to], unit| {
            let noise = match unit {
                None => None,
                Some(_) if sigma == 0.0 || rule == MaskRule::All => Some([0.0; 2]),
                Some(unit) => {
                    let at = rule.address(site, &samples, sample as usize);
                    let [n, error] = normal_of(rule, (p.stream_and_site, values.key), at, unit);
                    let (noise, error) = (sigma * n, sigma * error);
                    Some([noise, error + 2.0 * EPS * (noise.abs() + error) + FLUSH])
                }
            };
            numbers[to] = Some(noise.map_or((0.0, 0.0), |noise| times_one_and(f64::from(x[from]), noise)));
        });
        numbers
    }
}

/// `x (1 + noise)`.
fn times_one_and(x: f64, [noise, error]: Near) -> (f64, f64) {
    let y = x * (1.0 + noise);
    if error == 0.0 {
        return (y, if x.abs() < FLUSH { FLUSH } else { 0.0 });
    }
    let error = error + 2.0 * EPS * ((1.0 + noise).abs() + error);
    (y, x.abs() * error * (1.0 + 2.0 * EPS) + 3.0 * EPS * y.abs() + FLUSH * (3.0 + noise.abs() + error))
}

impl Kernel for GaussianNoise {
    fn sections(&self) -> Vec<Section> {
        vec![Section::Step, Section::Site(self.site.index)]
    }

    fn constants(&self) -> Constants {
        assert_eq!(self.variant.space, Space::Any, "noise is drawn element by element");
        self.variant.constants(self.site.rule)
    }

    fn grid(&self) -> [u32; 2] {
        self.params.grid(self.variant, self.y)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let results = self.results((memory, step, member));
        store(memory, self.y, member, &results);
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        vec![bounds(&self.results((memory, step, member)))]
    }
}

/// The share of kept units that a site says, T / 2^32; where it is in T draws of a Latin hypercube, T D / (2^32 D).
fn kept_share(site: &SiteStep, rule: MaskRule) -> f64 {
    let whole = if rule == MaskRule::LatinHypercube { f64::from(site.pass) } else { 1.0 };
    (f64::from(site.keep_all) + f64::from(site.threshold) / 4_294_967_296.0) / whole
}

impl AlphaDropout {
    /// Of the shares the threshold is converted, and that is added to or subtracted from a number of at most D, all of it divided
    /// by D to 2.5 ULP: 2 + 2 + 5 EPS, of 1 at most. Then alpha', the product with it, the sum with x and the product with
    /// a; the twin rounds. WGSL rounds to either side, 2 EPS. Nothing is rounded where nothing is dropped, and a is 1.
    fn results(&self, of: (&Memory, &Step, usize)) -> Vec<Number> {
        let (memory, step, member) = of;
        let (x, site) = (memory.f32(self.x, member), &step.members[member].sites[self.site.index]);
        let (a, q) = (f64::from(site.scale), kept_share(site, self.site.rule));
        let shift = -SELU_LIMIT * (1.0 - q);
        let share_error = -SELU_LIMIT * 10.0 * EPS;
        let dropped = a * SELU_LIMIT * q;
        let dropped = (dropped, a * share_error + 8.0 * EPS * dropped.abs() + FLUSH);
        let mut numbers = vec![None; self.y.len as usize];
        self.params.for_each_kept((self.variant, self.site, self.samples), of, |[from, to], kept| {
            let x = f64::from(x[from]);
            numbers[to] = Some(match kept {
                None => (0.0, 0.0),
                Some(true) if q == 1.0 && a == 1.0 => (x, if x.abs() < FLUSH { FLUSH } else { 0.0 }),
                // No sum of zeros is anything else, whatever their signs.
                _ if a == 0.0 => (0.0, 0.0),
                Some(false) => dropped,
                Some(true) => {
                    let y = a * (x + shift);
                    (y, a * (share_error + 4.0 * EPS * shift) + 6.0 * EPS * y.abs() + FLUSH * (2.0 + 2.0 * a))
                }
            });
        });
        numbers
    }
}

impl Kernel for AlphaDropout {
    fn sections(&self) -> Vec<Section> {
        vec![Section::Step, Section::Site(self.site.index)]
    }

    fn constants(&self) -> Constants {
        self.variant.constants(self.site.rule)
    }

    fn grid(&self) -> [u32; 2] {
        self.params.grid(self.variant, self.y)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let results = self.results((memory, step, member));
        store(memory, self.y, member, &results);
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        vec![bounds(&self.results((memory, step, member)))]
    }
}
