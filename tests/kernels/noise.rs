//! Cases of Gaussian noise and of alpha dropout: every unit in both layouts, every rule that they know.

use thinnet::KeepProb;
use thinnet::kernels::map_dropout::{MapDropoutBackward, MapLayout};
use thinnet::kernels::noise::{AlphaDropout, GAUSSIAN_RULES, GaussianNoise};
use thinnet::mask_rule::{MaskRule, SiteMask};
use thinnet::network::{SELU_LIMIT, Shape, Unit, alpha_affine, gaussian_sigma};
use thinnet::rng::{self, Coordinates, Stream};
use thinnet::step::Step;

use super::draws::{draws, rules, with_rule};
use super::dropout::{SITE, rates};
use super::map_dropout::{LAYOUTS, Map, listed, maps};
use super::{Case, Slot, bits, on_device, on_twin};
use crate::common::padded_to;

/// The steps of the cases, with the scale of site 1 of every member from its rate.
pub(super) fn scaled(rows: u32, keeps: &[f64], scale: fn(KeepProb) -> f32) -> Step {
    let mut step = rates(rows, keeps);
    for (member, &keep) in step.members.iter_mut().zip(keeps) {
        member.sites[1].scale = scale(KeepProb::new(keep).unwrap());
    }
    step
}

pub(super) fn sigma(keep: KeepProb) -> f32 {
    gaussian_sigma(keep).unwrap()
}

fn factor(keep: KeepProb) -> f32 {
    alpha_affine(keep)[0] as f32
}

fn samples(rule: MaskRule, rows: u32, batch: u32) -> Slot<'static> {
    match rule {
        MaskRule::Pass => listed(rows, batch),
        _ if rule.words() == 1 => Slot::own("samples", batch, |_| Vec::new()),
        _ => draws(rows),
    }
}

fn gaussian(case: &mut Case, map: &Map, batch: u32, step: &Step, rule: MaskRule) {
    let [rows, columns] = map.matrix();
    let x = Slot::rows("x", batch * rows, step.rows * rows, columns, map.padded[0]);
    let y = Slot::out_rows("y", batch * rows, step.rows * rows, columns, map.padded[1]);
    case.check(step, [samples(rule, step.rows, batch), x, y], |[samples, x, y]| {
        let (params, variant) = map.params(Stream::TrainingMask, samples, x, y);
        GaussianNoise { params, site: SiteMask { index: 1, rule }, variant, samples, x, y }
    });
}

fn alpha(case: &mut Case, map: &Map, batch: u32, step: &Step, rule: MaskRule) {
    let [x, y] = map.slots(["x", "y"], batch, step);
    case.check(step, [samples(rule, step.rows, batch), x, y], |[samples, x, y]| {
        let (params, variant) = map.params(Stream::MonteCarloMask, samples, x, y);
        AlphaDropout { params, site: SiteMask { index: 1, rule }, variant, samples, x, y }
    });
}

/// Units of each way to come to them, in both layouts.
pub(super) fn kinds() -> impl Iterator<Item = Map> {
    let kinds = [Unit::Element, Unit::Spatial2d, Unit::Path, Unit::shared(&[1]).unwrap()];
    let of = |unit, layout| Map { shape: Shape(vec![6, 3, 4]), unit, layout, padded: [4, 64], general: true };
    kinds.into_iter().flat_map(move |unit| LAYOUTS.map(|layout| of(unit, layout)))
}

pub(super) fn gaussian_noise(case: &mut Case) {
    // Half of everything is noise, hardly any, none, a multiple of x.
    let keeps = [vec![0.5, 0.8], vec![0.999], vec![1.0, 0.3], vec![0.01]];
    for (map, (i, keeps)) in maps().into_iter().zip((0u32..).zip(keeps.iter().cycle())) {
        let rows = [1, 3, 7][i as usize % 3];
        gaussian(case, &Map { general: true, ..map }, rows + 2, &scaled(rows, keeps, sigma), MaskRule::Pass);
    }
    for (rule, map) in GAUSSIAN_RULES.into_iter().flat_map(|rule| kinds().map(move |map| (rule, map))) {
        gaussian(case, &map, 7, &scaled(5, &[0.3, 0.6], sigma), rule);
    }
}

pub(super) fn alpha_dropout(case: &mut Case) {
    let keeps = [vec![0.5, 0.8], vec![0.3], vec![0.0, 1.0], vec![0.999, 0.001]];
    for (map, (i, keeps)) in maps().into_iter().zip((0u32..).zip(keeps.iter().cycle())) {
        let rows = [1, 3, 7][i as usize % 3];
        alpha(case, &map, rows + 2, &scaled(rows, keeps, factor), MaskRule::Pass);
    }
    for (rule, map) in rules().chain([MaskRule::All]).flat_map(|rule| kinds().map(move |map| (rule, map))) {
        for (general, keeps) in [(false, [0.3, 0.6]), (true, [1.0, 0.97])] {
            let step = with_rule(scaled(5, &keeps, factor), 1, rule);
            alpha(case, &Map { general, ..map.clone() }, 7, &step, rule);
        }
    }
}

/// Features of one sample, 12 in pass 7 at the key of the first member.
fn features(n: u32) -> Map {
    Map { shape: Shape(vec![n]), unit: Unit::Element, layout: MapLayout::Planar, padded: [4, 4], general: true }
}

fn at_12() -> Coordinates {
    Coordinates { stream: Stream::TrainingMask, site: SITE, pass: 7, sample: 12 }
}

pub(super) fn floats(words: &[u32]) -> Vec<f64> {
    words.iter().map(|&word| f64::from(f32::from_bits(word))).collect()
}

/// Written from the contract, not through the twin: a normal of unit u is made of words 2u and 2u + 1.
#[test]
fn gaussian_noise_is_that_of_the_contract() {
    let map = features(32);
    let x = padded_to(4, 1, 32, 5);
    let slots = [Slot::own("samples", 1, |_| vec![12]), Slot::own("x", 32, |_| x.clone()), Slot::out("y", 32, 32)];
    let [.., y] = on_device(&scaled(1, &[0.8], sigma), slots, |[samples, x, y]| {
        let (params, variant) = map.params(Stream::TrainingMask, samples, x, y);
        GaussianNoise { params, site: SiteMask { index: 1, rule: MaskRule::Pass }, variant, samples, x, y }
    });
    for (u, (x, y)) in (0u32..).zip(floats(&x).into_iter().zip(floats(&y))) {
        let n = rng::normal([2 * u, 2 * u + 1].map(|word| at_12().word(word, rng::key(1000))));
        // cos is off by 2^-11 at most, times sqrt(-2 log u) <= 5.8, times sigma; the rest is below a tenth of that.
        assert!((y - x * (1.0 + 0.5 * n)).abs() <= 1.1 * 5.8 * 0.5 * x.abs() / 2048.0, "unit {u}: {y} of {x}, n = {n}");
    }
}

/// The moments of a million numbers of the twin, each within five standard deviations: a false alarm in 1.7 million for each of a
/// seed drawn anew. The mean of n has deviation 1 / sqrt(N), its mean square sqrt(2 / N), and neighbours, which share a Philox
/// call, have the mean product of independent numbers, 1 / sqrt(N / 2) for N / 2 pairs.
///
/// With a keep_prob 1 % off the mean square is off by 5 %, or 35 deviations, which is missed less than once in 10^100 times.
#[test]
fn gaussian_noise_has_mean_0_and_the_variance_of_its_rate() {
    let (rows, units) = (1000, 1000);
    let count = f64::from(rows * units);
    let map = features(units);
    let z = |drawn: f64| {
        let slots = [
            Slot::own("samples", rows, |_| (0..rows).collect()),
            Slot::own("x", rows * units, |_| bits(vec![1.0; (rows * units) as usize])),
            Slot::out("y", rows * units, rows * units),
        ];
        let [.., y] = on_twin(&scaled(rows, &[drawn], sigma), slots, |[samples, x, y]| {
            let (params, variant) = map.params(Stream::TrainingMask, samples, x, y);
            GaussianNoise { params, site: SiteMask { index: 1, rule: MaskRule::Pass }, variant, samples, x, y }
        });
        // Of keep_prob 0.8: sigma = 1/2.
        let n: Vec<f64> = floats(&y).into_iter().map(|y| 2.0 * (y - 1.0)).collect();
        let sum = |f: fn(f64) -> f64| n.iter().map(|&n| f(n)).sum::<f64>();
        let pairs = n.chunks_exact(2).map(|pair| pair[0] * pair[1]).sum::<f64>();
        [sum(|n| n) / count.sqrt(), (sum(|n| n * n) - count) / (2.0 * count).sqrt(), pairs / (count / 2.0).sqrt()]
    };
    assert!(z(0.8).iter().all(|z| z.abs() <= 5.0), "{:?} standard deviations", z(0.8));
    for wrong in [0.792, 0.808] {
        assert!(z(wrong)[1].abs() > 5.0, "noise of keep_prob {wrong} passes for 0.8: {:?} standard deviations", z(wrong));
    }
}

/// In draws 2j and 2j + 1 of one sample n is opposite, so that the mean of the two is x.
#[test]
fn antithetic_noise_is_opposite_in_two_draws() {
    let map = features(31);
    let row = padded_to(4, 1, 31, 5);
    let x: Vec<u32> = row.repeat(3);
    let slots = [
        Slot::own("samples", 6, |_| vec![12, 4, 12, 5, 12, 6]),
        Slot::own("x", 96, |_| x.clone()),
        Slot::out_rows("y", 3, 3, 31, 4),
    ];
    let [.., y] = on_device(&scaled(3, &[0.5], sigma), slots, |[samples, x, y]| {
        let (params, variant) = map.params(Stream::MonteCarloMask, samples, x, y);
        GaussianNoise { params, site: SiteMask { index: 1, rule: MaskRule::Antithetic }, variant, samples, x, y }
    });
    let (x, y) = (floats(&row), floats(&y));
    for u in 0..31 {
        // Two numbers of at most 7 |x|, each of four roundings.
        assert!(((y[u] + y[32 + u]) / 2.0 - x[u]).abs() < 5e-6 * x[u].abs(), "unit {u}: {} and {}", y[u], y[32 + u]);
        assert!((y[u] - x[u]).abs() > 1e-6 * x[u].abs() && y[64 + u] != y[u] && y[64 + u] != y[32 + u], "unit {u} has no noise");
    }
}

/// As PyTorch: what is dropped is no number of x, kept or not; and backward nothing is left of it.
#[test]
fn alpha_dropout_replaces_what_it_drops_and_at_0_leaves_zeros() {
    let map = features(8);
    let run = |keep: f64, value: f32| {
        let slots =
            || [Slot::own("samples", 1, |_| vec![12]), Slot::own("x", 8, move |_| bits([value; 8])), Slot::out("y", 8, 8)];
        let step = scaled(1, &[keep], factor);
        let site = SiteMask { index: 1, rule: MaskRule::Pass };
        let [.., y] = on_device(&step, slots(), |[samples, x, y]| {
            let (params, variant) = map.params(Stream::TrainingMask, samples, x, y);
            AlphaDropout { params, site, variant, samples, x, y }
        });
        let [.., dx] = on_device(&step, slots(), |[samples, dy, dx]| {
            let (params, variant) = map.params(Stream::TrainingMask, samples, dy, dx);
            MapDropoutBackward { params, site, variant, samples, dy, dx }
        });
        [floats(&y), floats(&dx)]
    };
    let [a, b] = alpha_affine(KeepProb::new(0.5).unwrap());
    let [y, dx] = run(0.5, f32::NAN);
    let kept = |unit| at_12().word(unit, rng::key(1000)) < 1 << 31;
    for unit in 0..8 {
        let (y, dx) = (y[unit as usize], dx[unit as usize]);
        assert_eq!((y.is_nan(), dx.is_nan()), (kept(unit), kept(unit)), "unit {unit}: {y}, {dx}");
        assert!(kept(unit) || ((y - (a * SELU_LIMIT + b)).abs() < 1e-6 && dx == 0.0), "unit {unit}: {y}, {dx}");
    }
    assert!((0..8).any(kept) && !(0..8).all(kept), "the mask keeps some and drops some");
    let [y, dx] = run(0.5, 0.75);
    for unit in 0..8 {
        let wanted = if kept(unit) { [a * 0.75 + b, a * 0.75] } else { [a * SELU_LIMIT + b, 0.0] };
        let got = [y[unit as usize], dx[unit as usize]];
        assert!((got[0] - wanted[0]).abs() < 1e-6 && (got[1] - wanted[1]).abs() < 1e-6, "unit {unit}: {got:?}, not {wanted:?}");
    }
    assert_eq!(run(0.0, f32::NAN), [[0.0; 8], [0.0; 8]]);
    assert_eq!(run(1.0, 0.75), [[0.75; 8], [0.75; 8]]);
}
