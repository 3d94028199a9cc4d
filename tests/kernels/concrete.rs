//! Cases of concrete dropout: its relaxed mask, the gradient of its rate in parts and as a whole, its regulariser.

use thinnet::kernels::concrete::{CONCRETE_RULES, ConcreteForward, ConcreteGradient, ConcreteParams};
use thinnet::kernels::concrete_regularizer::{ConcreteDecay, ConcreteFinish, RegularizerParams};
use thinnet::kernels::gradients::{GradientNorm, GradientParams, PARTIALS};
use thinnet::kernels::map_dropout::MapVariant;
use thinnet::mask_rule::{MaskRule, SiteMask};
use thinnet::memory::Tensor;
use thinnet::network::{Shape, Unit};
use thinnet::rng::{self, Coordinates, Stream};
use thinnet::step::Step;

use super::draws::draws;
use super::dropout::{SITE, rates};
use super::map_dropout::{LAYOUTS, Map, listed, maps};
use super::noise::kinds;
use super::{Case, Slot, bits, on_device, on_twin, seed};
use crate::common::{numbers, step};

/// Logits of two members: small and large rates, held at both ends, in the middle.
const LOGITS: [[f32; 2]; 4] = [[-2.2, 0.3], [-13.0, 12.5], [0.0, -7.0], [11.0, -0.5]];

/// A row of one element; behind it is nothing that may be read as another.
fn logit(of: &[f32]) -> Slot<'_> {
    Slot::own("logit", 4, |m| bits([of[m as usize], 0.0, 0.0, 0.0]))
}

fn samples(rule: MaskRule, rows: u32, batch: u32) -> Slot<'static> {
    match rule {
        MaskRule::Pass => listed(rows, batch),
        MaskRule::Batch => Slot::own("samples", batch, |_| Vec::new()),
        _ => draws(rows),
    }
}

/// The parameters over samples, of which the strides are those of the tensors.
fn params(map: &Map, batch: u32, [samples, logit, input, output]: [Tensor; 4]) -> (ConcreteParams, MapVariant) {
    let (params, variant) = map.params(Stream::TrainingMask, samples, input, output);
    (ConcreteParams { logit_stride: logit.stride, ..ConcreteParams::new(params, batch, 0.1) }, variant)
}

fn site(rule: MaskRule) -> SiteMask {
    SiteMask { index: 1, rule }
}

fn forward(case: &mut Case, map: &Map, batch: u32, (step, logits): (&Step, &[f32]), rule: MaskRule) {
    let [rows, columns] = map.matrix();
    let x = Slot::rows("x", batch * rows, step.rows * rows, columns, map.padded[0]);
    let y = Slot::out_rows("y", batch * rows, step.rows * rows, columns, map.padded[1]);
    case.check(step, [samples(rule, step.rows, batch), logit(logits), x, y], |[samples, logit, x, y]| {
        let (params, variant) = params(map, batch, [samples, logit, x, y]);
        ConcreteForward { params, site: site(rule), variant, samples, logit, x, y }
    });
}

/// Partial sums for the workgroups over all rows that there is room for.
fn partials(map: &Map, batch: u32) -> u32 {
    let [rows, columns] = map.matrix();
    (batch * rows * columns.div_ceil(4)).div_ceil(64)
}

fn gradient(case: &mut Case, map: &Map, batch: u32, (step, logits): (&Step, &[f32]), rule: MaskRule) {
    let [rows, columns] = map.matrix();
    let matrix = |name, i: usize| Slot::rows(name, batch * rows, step.rows * rows, columns, map.padded[i]);
    let count = partials(map, batch);
    let slots = [
        samples(rule, step.rows, batch),
        logit(logits),
        matrix("x", 0),
        matrix("dy", 1),
        Slot::out("partials", count + 3, count),
    ];
    case.check(step, slots, |[samples, logit, x, dy, partials]| {
        let (params, variant) = params(map, batch, [samples, logit, x, dy]);
        assert_eq!(params.partials, count);
        let params = ConcreteParams { partials_stride: partials.stride, ..params };
        ConcreteGradient { params, site: site(rule), variant, samples, logit, x, dy, partials }
    });
}

type Check = fn(&mut Case, &Map, u32, (&Step, &[f32]), MaskRule);

fn cases(case: &mut Case, check: Check) {
    for (map, (i, logits)) in maps().into_iter().zip((0u32..).zip(LOGITS.iter().cycle())) {
        let rows = [1, 3, 7][i as usize % 3];
        let members = 1 + i as usize % 2;
        let step = rates(rows, &[0.5, 0.5][..members]);
        check(case, &Map { general: true, ..map }, rows + 2, (&step, &logits[..members]), MaskRule::Pass);
    }
    for (rule, map) in CONCRETE_RULES.into_iter().flat_map(|rule| kinds().map(move |map| (rule, map))) {
        check(case, &map, 7, (&rates(5, &[0.5, 0.5]), &[-1.5, 0.7]), rule);
    }
    // Many workgroups, of which the last ones have no valid row.
    for layout in LAYOUTS {
        let map = Map { shape: Shape(vec![9, 11, 13]), unit: Unit::Element, layout, padded: [4, 64], general: true };
        check(case, &map, 40, (&rates(17, &[0.5]), &[-1.5]), MaskRule::Pass);
    }
}

pub(super) fn concrete_forward(case: &mut Case) {
    cases(case, forward);
}

pub(super) fn concrete_gradient(case: &mut Case) {
    cases(case, gradient);
}

/// Regularisers of ordinary size, none, and such that either outweighs the rest.
const REGULARIZERS: [[f64; 2]; 4] = [[1e-4, 1e-3], [0.0, 0.0], [3.0, 1e-6], [1e-9, 0.5]];

fn values(name: &'static str, count: u32, scale: f32) -> Slot<'static> {
    Slot::own(name, count, move |m| bits(numbers(count as usize, seed(name, m)).into_iter().map(|v| scale * v)))
}

/// Sums of squares are not negative.
fn squares() -> Slot<'static> {
    Slot::own("squares", PARTIALS, |m| bits(numbers(PARTIALS as usize, seed("squares", m)).into_iter().map(f32::abs)))
}

pub(super) fn concrete_finish(case: &mut Case) {
    let logits = LOGITS.iter().chain(&[[12.0, -12.0], [13.0, -14.0], [-0.0, 1e-30]]);
    for (logits, (i, regularizer)) in logits.zip((0..).zip(REGULARIZERS.iter().cycle())) {
        for (count, accumulated) in [(1, 0), (64, 0), (65, 7), (1000, 0), (4097, 0)] {
            // Sums of either sign.
            let slots = [
                logit(logits),
                values("partials", count, if i % 2 == 0 { 1.0 } else { -0.1 }),
                squares(),
                Slot::out("dlogit", 64, 4),
            ];
            let step = Step { accumulated, ..step(3, 1 + i % 2, &[]) };
            case.check(&step, slots, |[logit, partials, squares, dlogit]| {
                let params = RegularizerParams {
                    logit_stride: logit.stride,
                    partials_stride: partials.stride,
                    squares_stride: squares.stride,
                    dlogit_stride: dlogit.stride,
                    ..RegularizerParams::new(*regularizer, 31, count, 0)
                };
                ConcreteFinish { params, logit, partials, squares, dlogit }
            });
        }
    }
}

pub(super) fn concrete_decay(case: &mut Case) {
    for (logits, regularizer) in LOGITS.iter().zip(REGULARIZERS) {
        for (quads, accumulated, members) in [(1, 0, 1), (31, 0, 2), (67, 3, 2), (257, 0, 2)] {
            let step = Step { accumulated, ..step(3, members, &[]) };
            case.check(&step, [logit(logits), values("w", 4 * quads, 1.0), values("dw", 4 * quads, 0.01)], |[logit, w, dw]| {
                let params = RegularizerParams {
                    logit_stride: logit.stride,
                    w_stride: w.stride,
                    dw_stride: dw.stride,
                    ..RegularizerParams::new(regularizer, 31, 1, quads)
                };
                ConcreteDecay { params, logit, w, dw }
            });
        }
    }
}

/// Five samples of three features, of which all differ.
const ROWS: u32 = 5;
const UNITS: u32 = 3;

/// The loss by the paper, in f64: sum of dy y plus the regulariser. It knows nothing of the kernels but the words.
fn loss(logit: f64, x: &[f64], w: &[f64], dy: &[f64], [weight_regularizer, dropout_regularizer]: [f64; 2]) -> f64 {
    let p = 1.0 / (1.0 + (-logit).exp());
    let mut loss = 0.0;
    for (i, (x, dy)) in (0u32..).zip(x.iter().zip(dy)) {
        let at = Coordinates { stream: Stream::TrainingMask, site: SITE, pass: 7, sample: 20 + i / UNITS };
        let u = rng::uniform(at.word(i % UNITS, rng::key(1000)));
        let z = 1.0 / (1.0 + (-(p.ln() - (1.0 - p).ln() + u.ln() - (1.0 - u).ln()) / 0.1).exp());
        loss += dy * x * (1.0 - z) / (1.0 - p);
    }
    let entropy = p * p.ln() + (1.0 - p) * (1.0 - p).ln();
    let squares: f64 = w.iter().map(|w| w * w).sum();
    loss + weight_regularizer * squares / (1.0 - p) + dropout_regularizer * f64::from(UNITS) * entropy
}

fn floats(words: &[u32]) -> Vec<f64> {
    words.iter().map(|&word| f64::from(f32::from_bits(word))).collect()
}

/// A matrix of [`UNITS`] columns as words, and its elements.
fn matrix(name: &'static str) -> (Vec<u32>, Vec<f64>) {
    let words = crate::common::padded(ROWS, UNITS, seed(name, 0));
    let values = floats(&words).chunks(4).flat_map(|row| row[..UNITS as usize].to_vec()).collect();
    (words, values)
}

/// dlogit, dx and dw of the twins, whose distance from the device the cases bound.
fn gradients(given: f32, regularizer: [f64; 2]) -> [Vec<f64>; 3] {
    let map = Map { shape: Shape(vec![UNITS]), unit: Unit::Element, layout: LAYOUTS[0], padded: [4, 4], general: true };
    let (step, logits) = (rates(ROWS, &[0.5]), [given]);
    let of = |name: &'static str, words: &[u32]| {
        let words = words.to_vec();
        Slot::own(name, words.len() as u32, move |_| words.clone())
    };
    let list = || Slot::own("samples", ROWS, |_| (20..20 + ROWS).collect());
    let [x, dy, w] = ["x", "dy", "w"].map(|name| matrix(name).0);
    let slots = [list(), logit(&logits), of("x", &dy), Slot::out("y", 4 * ROWS, 4 * ROWS)];
    let [.., dx] = on_twin(&step, slots, |[samples, logit, x, y]| {
        let (params, variant) = params(&map, ROWS, [samples, logit, x, y]);
        ConcreteForward { params, site: site(MaskRule::Pass), variant, samples, logit, x, y }
    });
    let slots = [list(), logit(&logits), of("x", &x), of("dy", &dy), Slot::out("partials", 1, 1)];
    let [.., sums] = on_twin(&step, slots, |[samples, logit, x, dy, partials]| {
        let (params, variant) = params(&map, ROWS, [samples, logit, x, dy]);
        ConcreteGradient { params, site: site(MaskRule::Pass), variant, samples, logit, x, dy, partials }
    });
    let slots = [of("dw", &w), Slot::out("partials", PARTIALS, PARTIALS)];
    let [_, squares] = on_twin(&step, slots, |[dw, partials]| {
        let params = GradientParams { quads: ROWS, partials: PARTIALS, ..GradientParams::default() };
        GradientNorm { params, dw, partials }
    });
    let all = RegularizerParams::new(regularizer, UNITS, 1, ROWS);
    let slots = [logit(&logits), of("partials", &sums), of("squares", &squares), Slot::out("dlogit", 4, 4)];
    let [.., dlogit] = on_twin(&step, slots, |[logit, partials, squares, dlogit]| ConcreteFinish {
        params: all,
        logit,
        partials,
        squares,
        dlogit,
    });
    let slots = [logit(&logits), of("w", &w), of("dw", &bits(vec![0.0; 4 * ROWS as usize]))];
    let [.., dw] = on_twin(&step, slots, |[logit, w, dw]| ConcreteDecay { params: all, logit, w, dw });
    [dlogit, dx, dw].map(|words| floats(&words))
}

/// By central differences with h = 1e-6: off by h^2 times a third derivative, of which 1 / t makes some 10^3 of the terms, and by
/// 1e-16 / h of the loss: both below 1e-9 of it. The twins round numbers to f32 three times at most on the way.
#[test]
fn the_gradients_are_those_of_finite_differences() {
    let [x, dy, w] = ["x", "dy", "w"].map(|name| matrix(name).1);
    let rows = |values: &[f64]| values.chunks(4).flat_map(|row| row[..UNITS as usize].to_vec()).collect::<Vec<f64>>();
    let h = 1e-6;
    for (given, regularizer) in [-4.0f32, -2.2, -0.5, 0.0, 0.9, 1.4].into_iter().zip(REGULARIZERS.into_iter().cycle()) {
        let logit = f64::from(given);
        let of = |logit: f64, x: &[f64], w: &[f64]| loss(logit, x, w, &dy, regularizer);
        let difference = |f: &dyn Fn(f64) -> f64| (f(h) - f(-h)) / (2.0 * h);
        let moved = |values: &[f64], i: usize, h: f64| {
            let mut values = values.to_vec();
            values[i] += h;
            values
        };
        let [dlogit, dx, dw] = gradients(given, regularizer);
        let wanted = difference(&|h| of(logit + h, &x, &w));
        // Each of the 15 terms of dlogit has |dy y (p - z / t)| <= 10 / (1 - p).
        let size = 150.0 * (1.0 + logit.exp());
        assert!((dlogit[0] - wanted).abs() <= 3e-7 * size && wanted.abs() > 3e-5 * size, "{given}: {dlogit:?}, not {wanted}");
        assert_eq!(dlogit[1..], [0.0; 3]);
        for (i, (dx, dw)) in rows(&dx).into_iter().zip(rows(&dw)).enumerate() {
            let wanted = [difference(&|h| of(logit, &moved(&x, i, h), &w)), difference(&|h| of(logit, &x, &moved(&w, i, h)))];
            let bound = 1e-6 * (1.0 + logit.exp());
            assert!((dx - wanted[0]).abs() <= bound, "{given}: dx[{i}] is {dx}, not {}", wanted[0]);
            assert!((dw - wanted[1]).abs() <= bound * (1.0 + regularizer[0]), "{given}: dw[{i}] is {dw}, not {}", wanted[1]);
        }
    }
}

/// dlogit on the device where the partial sums are all there is, or the regulariser is.
fn finished(given: f32, partial: f32, regularizer: [f64; 2]) -> f32 {
    let logits = [given];
    let slots = [
        logit(&logits),
        Slot::own("partials", 1, move |_| bits([partial])),
        Slot::own("squares", PARTIALS, |_| vec![0; PARTIALS as usize]),
        Slot::out("dlogit", 4, 4),
    ];
    let [.., dlogit] = on_device(&step(1, 1, &[]), slots, |[logit, partials, squares, dlogit]| ConcreteFinish {
        params: RegularizerParams::new(regularizer, 10, 1, 0),
        logit,
        partials,
        squares,
        dlogit,
    });
    f32::from_bits(dlogit[0])
}

#[test]
fn a_rate_that_has_collapsed_can_only_come_back() {
    // Going against the gradient, a positive one makes the logit smaller.
    assert_eq!([13.0, 12.0, -13.0, -12.0].map(|logit| finished(logit, 0.5, [0.0; 2])), [0.5, 0.5, 0.0, 0.5]);
    assert_eq!([13.0, 12.0, -13.0, -12.0].map(|logit| finished(logit, -0.5, [0.0; 2])), [0.0, -0.5, -0.5, -0.5]);
    // The entropy pulls every rate towards one half, from beyond the limit, too.
    assert!(finished(40.0, 0.0, [0.0, 1e-3]) > 0.0 && finished(-40.0, 0.0, [0.0, 1e-3]) < 0.0);
}

#[test]
fn a_logit_that_is_not_a_number_shows_in_everything() {
    assert!(finished(f32::NAN, 1.0, [1e-4, 1e-3]).is_nan());
    let (map, logits) = (kinds().next().unwrap(), [f32::NAN]);
    let [rows, columns] = map.matrix();
    let slots = [
        Slot::own("samples", 1, |_| vec![3]),
        logit(&logits),
        Slot::rows("x", rows, rows, columns, map.padded[0]),
        Slot::out_rows("y", rows, rows, columns, map.padded[1]),
    ];
    let [.., y] = on_device(&rates(1, &[0.5]), slots, |[samples, logit, x, y]| {
        let (params, variant) = params(&map, 1, [samples, logit, x, y]);
        ConcreteForward { params, site: site(MaskRule::Pass), variant, samples, logit, x, y }
    });
    assert!(floats(&y)[..columns as usize].iter().all(|y| y.is_nan()));
}
