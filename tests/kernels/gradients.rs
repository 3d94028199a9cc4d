//! Cases of the kernels over all gradients, and of the norm of a unit's weights.

use thinnet::kernels::gradients::{AccumulateGradients, ClipGradient, GradientNorm, GradientParams, PARTIALS};
use thinnet::kernels::max_norm::{MaxNorm, MaxNormParams};
use thinnet::kernels::{Kernel, MAX_GROUPS};
use thinnet::memory::Tensor;
use thinnet::step::{OptimizerStep, Step};

use super::{Case, Slot, bits, on_device, seed};
use crate::common::{numbers, step};

/// Lengths in words: fewer quads than partial sums, as many, ranges that do not come out even, several rounds of a workgroup.
const LENGTHS: [u32; 7] = [4, 60, 256, 260, 1028, 17_000, 40_004];

/// Random numbers of sizes that are squared, and lost, in every way; and zeros.
fn sized(name: &str, member: u32, len: u32, largest: f32) -> Vec<f32> {
    let sizes = [1.0, 1e-3, 0.0, 1e-20, 0.5, 1e-39, 1.0, 1e-10, 1.0];
    numbers(len as usize, seed(name, member)).into_iter().zip(sizes.iter().cycle()).map(|(v, s)| largest * v * s).collect()
}

/// A step whose members have these optimizers.
fn with(optimizers: &[OptimizerStep]) -> Step {
    let mut step = step(1, optimizers.len() as u32, &[]);
    step.members.iter_mut().zip(optimizers).for_each(|(member, optimizer)| member.optimizer = *optimizer);
    step
}

fn clip_at(limit: f32) -> OptimizerStep {
    OptimizerStep { clip_norm: limit, max_norm: f32::NAN, ..OptimizerStep::default() }
}

fn norm_at(limit: f32) -> OptimizerStep {
    OptimizerStep { max_norm: limit, clip_norm: f32::NAN, ..OptimizerStep::default() }
}

fn params(dw: Tensor, other: Tensor) -> GradientParams {
    GradientParams { quads: dw.len / 4, partials: PARTIALS, dw_stride: dw.stride, sum_stride: other.stride }
}

pub(super) fn accumulate_gradients(case: &mut Case) {
    for len in LENGTHS {
        for (members, accumulated) in [(1, 0), (2, 0), (1, 5), (2, 64)] {
            let dw = Slot::own("dw", len, move |m| bits(sized("dw", m, len, 10.0)));
            // The first part of a batch overwrites what is there, NaN and all.
            let sum = match accumulated {
                0 => Slot::out("sum", len, len),
                _ => Slot::own("sum", len, move |m| bits(numbers(len as usize, seed("sum", m)))),
            };
            let step = Step { accumulated, batch_rows: 100, ..step(7, members, &[]) };
            case.check(&step, [dw, sum], |[dw, sum]| AccumulateGradients { params: params(dw, sum), dw, sum });
        }
    }
}

pub(super) fn gradient_norm(case: &mut Case) {
    for len in LENGTHS {
        for (members, largest) in [(1, 1.0), (2, 1e15), (2, 1e-19)] {
            let dw = Slot::own("dw", len, move |m| bits(sized("dw", m, len, largest)));
            let slots = [dw, Slot::out("partials", PARTIALS, PARTIALS)];
            case.check(&step(1, members, &[]), slots, |[dw, partials]| GradientNorm {
                params: params(dw, partials),
                dw,
                partials,
            });
        }
    }
}

/// Partial sums that add up to `sum`, others in each member.
fn partials(count: u32, member: u32, sum: f32) -> Vec<u32> {
    let values: Vec<f32> = numbers(count as usize, seed("partials", member)).into_iter().map(f32::abs).collect();
    let total: f32 = values.iter().sum();
    bits(values.into_iter().map(|v| v / total * sum))
}

pub(super) fn clip_gradient(case: &mut Case) {
    for len in LENGTHS {
        // A norm of 3: clipped, left alone, next to the limit on both sides and beyond, two ranges of partial sums.
        for (count, limits) in [
            (PARTIALS, vec![1.0]),
            (PARTIALS, vec![3.0, 3.000_001]),
            (PARTIALS, vec![2.999_999, 1e-6, f32::INFINITY]),
            (2 * PARTIALS, vec![0.1, 3.1]),
        ] {
            let optimizers: Vec<_> = limits.into_iter().map(clip_at).collect();
            let slots = [
                Slot::own("partials", count, move |m| partials(count, m, 9.0)),
                Slot::own("dw", len, move |m| bits(sized("dw", m, len, 2.0))),
            ];
            case.check(&with(&optimizers), slots, |[partials, dw]| {
                let params = GradientParams { partials: count, ..params(dw, partials) };
                ClipGradient { params, partials, dw }
            });
        }
    }
}

fn norm_params(rows: u32, quads: u32, weight: Tensor) -> MaxNormParams {
    MaxNormParams { quads, rows, stride: weight.stride, pad0: 0 }
}

/// Rows of many norms, from those below the limit to those above: the n-th is about n / 4 times the root of its length / 3.
fn weights(member: u32, rows: u32, inputs: u32) -> Vec<u32> {
    let stride = inputs.next_multiple_of(4) as usize;
    let mut words = vec![0; rows as usize * stride];
    let values = numbers((rows * inputs) as usize, seed("weight", member));
    for ((i, row), values) in (0..).zip(words.chunks_mut(stride)).zip(values.chunks(inputs as usize)) {
        let size = [0.25, 1.0, 0.0, 4.0, 1e-30, 1e12][i as usize % 6];
        row.iter_mut().zip(values).for_each(|(word, value)| *word = (size * value).to_bits());
    }
    words
}

pub(super) fn max_norm(case: &mut Case) {
    for inputs in [1u32, 3, 5, 31, 256, 784, 1030] {
        for (rows, limits) in [(1, vec![0.5]), (31, vec![3.0, 1.0]), (66, vec![f32::INFINITY, 1e-3, 2.0])] {
            let optimizers: Vec<_> = limits.into_iter().map(norm_at).collect();
            let quads = inputs.div_ceil(4);
            let weight = Slot::own("weight", rows * 4 * quads, move |m| weights(m, rows, inputs));
            case.check(&with(&optimizers), [weight], |[weight]| MaxNorm { params: norm_params(rows, quads, weight), weight });
        }
    }
}

#[test]
fn max_norm_past_65535_rows_reaches_every_row_and_no_other() {
    let rows = 2 * MAX_GROUPS + 1; // folded into three, with two workgroups to spare
    let mut case = Case::new("max_norm");
    // What follows the last row would be scaled as well, were a spare workgroup to take it.
    let weight = Slot::own("weight", 4 * rows + 8, |m| bits(numbers(4 * rows as usize + 8, seed("weight", m))));
    case.check(&with(&[norm_at(0.7)]), [weight], |[weight]| {
        let kernel = MaxNorm { params: norm_params(rows, 1, weight), weight };
        assert_eq!(kernel.grid(), [rows.div_ceil(3), 3]);
        kernel
    });
    case.finish();
}

fn read(words: &[u32]) -> Vec<f32> {
    words.iter().copied().map(f32::from_bits).collect()
}

/// Known answers, so that twins and shaders are not wrong together: a gradient of norm 5, and rows of norm 5 and 13.
#[test]
fn norms_by_hand() {
    let gradient = || Slot::own("dw", 8, |_| bits([3.0, 0.0, 0.0, 0.0, 0.0, -4.0, 0.0, 1e-40]));
    let slots = [gradient(), Slot::out("partials", PARTIALS, PARTIALS)];
    let [_, found] =
        on_device(&with(&[clip_at(1.0)]), slots, |[dw, partials]| GradientNorm { params: params(dw, partials), dw, partials });
    let (found, expected) = (read(&found), [9.0, 16.0]);
    assert!(found[..2] == expected && found[2..].iter().all(|&p| p == 0.0), "{found:?}");

    let clipped = |limit: f32, partials: [f32; 2]| {
        let sums = move |_| bits(partials.into_iter().chain(std::iter::repeat_n(0.0, PARTIALS as usize - 2)));
        let slots = [Slot::own("partials", PARTIALS, sums), gradient()];
        let [_, dw] = on_device(&with(&[clip_at(limit)]), slots, |[partials, dw]| ClipGradient {
            params: params(dw, partials),
            partials,
            dw,
        });
        dw
    };
    let halved = read(&clipped(2.5, [9.0, 16.0]));
    assert!((halved[0] - 1.5).abs() < 1e-6 && (halved[5] + 2.0).abs() < 1e-6, "{halved:?}");
    // A tiny limit and a tiny norm: without the 1e-6 the factor would be 1/2.
    let tiny = read(&clipped(0.5e-6, [1e-12, 0.0]));
    assert!((tiny[0] - 0.75).abs() < 1e-5, "{tiny:?}");
    let before: Vec<u32> = bits([3.0, 0.0, 0.0, 0.0, 0.0, -4.0, 0.0, 1e-40]);
    assert_eq!(clipped(5.001, [9.0, 16.0]), before, "what is not clipped keeps its bits, also those that are denormal");
    // As in PyTorch, no gradient survives a norm that is not a number.
    assert!(read(&clipped(1.0, [9.0, f32::NAN])).iter().all(|d| d.is_nan()));

    let rows = [[3.0, 0.0, -4.0, 0.0], [0.0, 12.0, 5.0, 0.0], [f32::NAN, 9.0, 0.0, 0.0], [1e-40, 5.0, 0.0, 0.0]];
    let weight = Slot::own("weight", 16, move |_| bits(rows.into_iter().flatten()));
    let [found] = on_device(&with(&[norm_at(6.5)]), [weight], |[weight]| MaxNorm { params: norm_params(4, 1, weight), weight });
    assert_eq!(found[..4], bits(rows[0]));
    assert_eq!(found[12..], bits(rows[3]));
    let found = read(&found);
    assert!((found[5] - 6.0).abs() < 1e-5 && (found[6] - 2.5).abs() < 1e-5, "{found:?}");
    assert!(found[8].is_nan() && found[9] == 9.0, "{found:?}");
}

#[test]
fn a_sum_that_was_nan_is_gone_after_the_first_part_and_stays_after_the_next() {
    for (accumulated, expected) in [(0, [false, true]), (1, [true, true])] {
        let slots = [
            Slot::own("dw", 4, |_| bits([1.0, f32::NAN, 1.0, 1.0])),
            Slot::own("sum", 4, |_| bits([f32::NAN, 2.0, 2.0, f32::INFINITY])),
        ];
        let step = Step { accumulated, ..step(1, 1, &[]) };
        let [_, sum] = on_device(&step, slots, |[dw, sum]| AccumulateGradients { params: params(dw, sum), dw, sum });
        let sum = read(&sum);
        assert_eq!([sum[0].is_nan(), sum[1].is_nan()], expected, "{sum:?}");
        assert_eq!(sum[2], if accumulated == 0 { 1.0 } else { 3.0 });
    }
}
