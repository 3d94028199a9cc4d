//! Cases of DropConnect: matrices whose rows begin anywhere in a quad of units, masks of a batch and of rows.

use thinnet::kernels::drop_connect::{
    DropConnectGaussian, DropConnectParams, DropConnectRows, DropWeightGradient, DropWeights, GAUSSIAN_DRAWS,
};
use thinnet::mask_rule::{MaskRule, SiteMask};
use thinnet::memory::Tensor;
use thinnet::rng::{self, Coordinates, Stream};
use thinnet::step::Step;

use super::draws::{draws, rules, with_rule};
use super::dropout::{SITE, rates};
use super::noise::{floats, scaled, sigma};
use super::{Case, Slot, bits, on_device, on_twin, seed};
use crate::common::{numbers, padded_to, words};

const SHAPES: [[u32; 2]; 7] = [[1, 1], [3, 4], [5, 31], [33, 3], [7, 64], [10, 257], [64, 30]];

fn params(shape: [u32; 2], row_words: u32, stream: Stream) -> DropConnectParams {
    DropConnectParams::new(shape, row_words, (stream, SITE))
}

/// A weight `[outputs, inputs]` with padded rows and, behind it, a bias.
fn weight(name: &'static str, [outputs, inputs]: [u32; 2], row_words: u32) -> Slot<'static> {
    let row = inputs.next_multiple_of(row_words);
    let len = outputs * row + outputs.next_multiple_of(4);
    Slot::own(name, len, move |m| {
        let mut values = padded_to(row_words, outputs, inputs, seed(name, m));
        values.extend(numbers(outputs.next_multiple_of(4) as usize, seed("bias", m)).into_iter().map(f32::to_bits));
        values
    })
}

fn steps() -> impl Iterator<Item = Step> {
    [vec![0.0], vec![1.0], vec![0.5, 0.8]].into_iter().map(|keeps| rates(3, &keeps))
}

const BATCH: SiteMask = SiteMask { index: 1, rule: MaskRule::Batch };

pub(super) fn drop_weights(case: &mut Case) {
    for (shape, row_words) in SHAPES.into_iter().zip([4, 64].into_iter().cycle()) {
        for step in steps() {
            let samples = Slot::own("samples", 3, |m| words(3, seed("samples", m)));
            let [outputs, inputs] = shape;
            let slots =
                [samples, weight("weight", shape, row_words), Slot::out_rows("dropped", outputs, outputs, inputs, row_words)];
            case.check(&step, slots, |[samples, weight, dropped]: [Tensor; 3]| DropWeights {
                params: DropConnectParams {
                    samples_stride: samples.stride,
                    weight_stride: weight.stride,
                    dropped_stride: dropped.stride,
                    ..params(shape, row_words, Stream::BatchMask)
                },
                site: BATCH,
                samples,
                weight,
                dropped,
            });
        }
    }
}

pub(super) fn drop_weight_gradient(case: &mut Case) {
    for (shape, row_words) in SHAPES.into_iter().zip([64, 4].into_iter().cycle()) {
        for step in steps() {
            let samples = Slot::own("samples", 3, |m| words(3, seed("samples", m)));
            let [outputs, inputs] = shape;
            let gradient = Slot::rows("gradient", outputs, outputs, inputs, row_words);
            case.check(&step, [samples, gradient], |[samples, gradient]: [Tensor; 2]| DropWeightGradient {
                params: DropConnectParams {
                    samples_stride: samples.stride,
                    weight_stride: gradient.stride,
                    ..params(shape, row_words, Stream::BatchMask)
                },
                site: BATCH,
                samples,
                gradient,
            });
        }
    }
}

pub(super) fn drop_connect_rows(case: &mut Case) {
    for ((shape, row_words), rule) in SHAPES.into_iter().zip([4, 64].into_iter().cycle()).zip(rules().cycle()) {
        let [outputs, inputs] = shape;
        for step in steps() {
            let (batch, rows) = (step.rows + 2, step.rows);
            let step = with_rule(step, 1, rule);
            let slots = [
                if rule.words() == 1 {
                    Slot::own("samples", batch, move |m| words(rows as usize, seed("samples", m)))
                } else {
                    draws(rows)
                },
                weight("weight", shape, row_words),
                Slot::rows("x", batch, rows, inputs, row_words),
                Slot::out_rows("y", batch, rows, outputs, row_words),
            ];
            case.check(&step, slots, |[samples, weight, x, y]: [Tensor; 4]| DropConnectRows {
                params: DropConnectParams {
                    samples_stride: samples.stride,
                    weight_stride: weight.stride,
                    x_stride: x.stride,
                    y_stride: y.stride,
                    ..params(shape, row_words, Stream::MonteCarloMask)
                },
                site: SiteMask { index: 1, rule },
                samples,
                weight,
                x,
                y,
            });
        }
    }
}

fn gaussian((shape, row_words, rule): ([u32; 2], u32, MaskRule), [samples, weight, x, y]: [Tensor; 4]) -> DropConnectGaussian {
    DropConnectGaussian {
        params: DropConnectParams {
            samples_stride: samples.stride,
            weight_stride: weight.stride,
            x_stride: x.stride,
            y_stride: y.stride,
            ..params(shape, row_words, Stream::MonteCarloNoise)
        },
        site: SiteMask { index: 1, rule },
        samples,
        weight,
        x,
        y,
    }
}

pub(super) fn drop_connect_gaussian(case: &mut Case) {
    // Nothing but the mean, a deviation of a half and of all that the mean is made of, one of ten times as much.
    for (shape, row_words) in SHAPES.into_iter().zip([64, 4].into_iter().cycle()) {
        for (rule, keeps) in
            GAUSSIAN_DRAWS.into_iter().flat_map(|rule| [vec![1.0], vec![0.8, 0.5], vec![0.01]].map(|k| (rule, k)))
        {
            let [outputs, inputs] = shape;
            let (batch, rows) = (5, 3);
            let slots = [
                draws(rows),
                weight("weight", shape, row_words),
                Slot::rows("x", batch, rows, inputs, row_words),
                Slot::out_rows("y", batch, rows, outputs, row_words),
            ];
            case.check(&scaled(rows, &keeps, sigma), slots, |tensors| gaussian((shape, row_words, rule), tensors));
        }
    }
}

/// A layer of six weights, its bias and its input.
const W: [[f32; 3]; 2] = [[0.5, -1.25, 2.0], [-0.75, 0.25, 1.5]];
const B: [f32; 2] = [0.375, -2.0];
const X: [f32; 3] = [1.5, 0.5, -1.0];

/// The same as slots, for rows of which each has a sample and a draw.
fn layer(samples: Vec<u32>, x: [f32; 3]) -> [Slot<'static>; 4] {
    let rows = samples.len() / 2;
    let quad = |row: [f32; 3]| [row[0], row[1], row[2], 0.0];
    let weight = [quad(W[0]), quad(W[1]), [B[0], B[1], 0.0, 0.0]].concat();
    [
        Slot::own("samples", 2 * rows as u32, move |_| samples.clone()),
        Slot::own("weight", 12, move |_| bits(weight.clone())),
        Slot::own("x", 4 * rows as u32, move |_| bits(quad(x).repeat(rows))),
        Slot::out_rows("y", rows as u32, rows as u32, 2, 4),
    ]
}

/// What the device draws for rows of the layer.
fn drawn(keep: f64, rule: MaskRule, samples: &[u32], x: [f32; 3]) -> Vec<f64> {
    let step = scaled(samples.len() as u32 / 2, &[keep], sigma);
    let [.., y] = on_device(&step, layer(samples.to_vec(), x), |tensors| gaussian(([2, 3], 4, rule), tensors));
    floats(&y).chunks(4).flat_map(|row| row[..2].to_vec()).collect()
}

/// Mean, variance and covariance of the outputs over all 64 masks of the six weights: of the two outputs the means, the variances, and
/// the covariance.
fn over_all_masks(p: f64) -> [f64; 5] {
    let mut sums = [0.0; 6];
    for mask in 0..64u32 {
        let probability = p.powi(mask.count_ones() as i32) * (1.0 - p).powi(6 - mask.count_ones() as i32);
        let y: [f64; 2] = std::array::from_fn(|o| {
            let kept = (0..3).filter(|i| mask >> (3 * o + i) & 1 == 1);
            kept.map(|i| f64::from(W[o][i]) / p * f64::from(X[i])).sum::<f64>() + f64::from(B[o])
        });
        for (sum, value) in sums.iter_mut().zip([1.0, y[0], y[1], y[0] * y[0], y[1] * y[1], y[0] * y[1]]) {
            *sum += probability * value;
        }
    }
    let [_, a, b, aa, bb, ab] = sums;
    [a, b, aa - a * a, bb - b * b, ab - a * b]
}

/// W x + b, and the square root of (1 - p) / p (W * W) (x * x).
fn mean_and_deviation(p: f64, o: usize) -> [f64; 2] {
    let products = W[o].map(f64::from).into_iter().zip(X.map(f64::from)).map(|(w, x)| w * x);
    let squares: f64 = products.clone().map(|product| product * product).sum();
    [products.sum::<f64>() + f64::from(B[o]), ((1.0 - p) / p * squares).sqrt()]
}

/// The formula has the moments of the masks, to some twenty roundings in f64 of numbers below 40.
#[test]
fn the_moments_of_gaussian_draws_are_those_of_all_masks() {
    for p in [0.05, 0.5, 0.8, 1.0] {
        let [first, second] = [0, 1].map(|o| mean_and_deviation(p, o));
        let formula = [first[0], second[0], first[1] * first[1], second[1] * second[1], 0.0];
        for (of_masks, formula) in over_all_masks(p).into_iter().zip(formula) {
            // The second moments are of the size of 10 / p.
            assert!((of_masks - formula).abs() <= 1e-13 * (1.0 + 10.0 / p), "keep {p}: {of_masks}, not {formula}");
        }
    }
}

/// What is drawn has them: each of five figures of 100,000 rows within five standard deviations, a false alarm in 1.7 million for
/// each of a seed drawn anew. The mean has deviation s / sqrt(N), the variance s^2 sqrt(2 / N), the covariance s1 s2 / sqrt(N).
///
/// With a keep_prob 1 % off the variance is off by 5 %, or 11 deviations, which is missed less than once in 10^8 times.
#[test]
fn gaussian_draws_have_the_moments_of_all_masks() {
    let n = 100_000u32;
    let z = |keep: f64| {
        let samples = (0..n).flat_map(|row| [row / 100, row % 100]).collect();
        let [.., y] =
            on_twin(&scaled(n, &[keep], sigma), layer(samples, X), |tensors| gaussian(([2, 3], 4, MaskRule::Draw), tensors));
        let y: Vec<[f64; 2]> = floats(&y).chunks(4).map(|row| [row[0], row[1]]).collect();
        let [a, b, aa, bb, ab] = over_all_masks(0.8);
        let count = f64::from(n);
        let average = |f: &dyn Fn([f64; 2]) -> f64| y.iter().map(|&y| f(y)).sum::<f64>() / count;
        [
            (average(&|y| y[0]) - a) / (aa / count).sqrt(),
            (average(&|y| y[1]) - b) / (bb / count).sqrt(),
            (average(&|y| (y[0] - a).powi(2)) / aa - 1.0) / (2.0 / count).sqrt(),
            (average(&|y| (y[1] - b).powi(2)) / bb - 1.0) / (2.0 / count).sqrt(),
            (average(&|y| (y[0] - a) * (y[1] - b)) - ab) / (aa * bb / count).sqrt(),
        ]
    };
    assert!(z(0.8).iter().all(|z| z.abs() <= 5.0), "{:?} standard deviations", z(0.8));
    for wrong in [0.792, 0.808] {
        let z = z(wrong);
        assert!(z[2].abs() > 5.0 && z[3].abs() > 5.0, "keep_prob {wrong} passes for 0.8: {z:?} standard deviations");
    }
}

/// Written from the contract, not through the twin: output o is drawn by words 2 o and 2 o + 1, at the row's sample and draw.
#[test]
fn gaussian_draws_are_those_of_the_contract() {
    let rows = [[12, 7], [12, 8], [13, 7]];
    let y = drawn(0.8, MaskRule::Draw, rows.as_flattened(), X);
    for (i, [sample, pass]) in rows.into_iter().enumerate() {
        let at = Coordinates { stream: Stream::MonteCarloNoise, site: SITE, pass, sample };
        for o in 0..2 {
            let n = rng::normal([2 * o, 2 * o + 1].map(|word| at.word(word, rng::key(1000))));
            let [mean, deviation] = mean_and_deviation(0.8, o as usize);
            let y = y[2 * i + o as usize];
            // cos is off by 2^-11 at most, times sqrt(-2 log u) <= 5.8; the rest is below a tenth of that.
            let near = |n: f64| (y - (mean + deviation * n)).abs() <= 1.1 * 5.8 * deviation / 2048.0;
            assert!(near(n) && !near(-n), "row {i}, output {o}: {y}, n = {n}");
        }
    }
}

/// Draws 2j and 2j + 1 of one sample are opposite, so that the mean of the two is that of the masks; other draws are others.
#[test]
fn antithetic_gaussian_draws_are_opposite() {
    let y = drawn(0.5, MaskRule::Antithetic, &[12, 4, 12, 5, 12, 6, 13, 4], X);
    for o in 0..2 {
        let [mean, deviation] = mean_and_deviation(0.5, o);
        // Two numbers of at most |mean| + 6 deviations, some ten roundings each.
        assert!(((y[o] + y[2 + o]) / 2.0 - mean).abs() <= 1e-6 * (mean.abs() + 6.0 * deviation), "output {o}: {y:?}");
        let far = |a: f64, b: f64| (a - b).abs() > 1e-3 * deviation;
        assert!(far(y[o], mean) && far(y[4 + o], y[o]) && far(y[4 + o], y[2 + o]) && far(y[6 + o], y[o]), "output {o}: {y:?}");
    }
}

/// No weight says anything of an input of zeros: the bias is left, bit for bit.
#[test]
fn gaussian_draws_of_zeros_are_the_bias() {
    assert_eq!(drawn(0.5, MaskRule::Draw, &[12, 7], [0.0; 3]), B.map(f64::from));
}
