//! Cases of layer normalisation, forward and backward, and of the gradients of its weight and bias.

use thinnet::kernels::MAX_GROUPS;
use thinnet::kernels::layer_norm::{LayerNormBackward, LayerNormForward, LayerNormParams};
use thinnet::kernels::norm_gradients::{LayerNormGradients, NormGradientsParams};
use thinnet::memory::Tensor;

use super::norm::{affine, assert_near, differences, kinds, row, shapes, values};
use super::{Case, Slot, bits, on_device, seed};
use crate::common::{numbers, step};

const EPSILON: f32 = 1e-5;

/// (valid rows, columns, members): rows of one column, of less than a quad for each invocation and of several; and more rows than
/// a dispatch has workgroups in one dimension.
fn sizes() -> Vec<(u32, u32, u32)> {
    let columns = [1, 2, 5, 31, 33, 67, 255, 256, 257, 1030];
    let one = columns.map(|columns| (7, columns, 1));
    one.into_iter()
        .chain(columns.map(|columns| (13, columns, 2)))
        .chain([(0, 9, 1), (1, 9, 2), (2, 4099, 1), (MAX_GROUPS + 5, 3, 1)])
        .collect()
}

fn room(rows: u32) -> u32 {
    rows + 2
}

fn matrix(name: &'static str, rows: u32, columns: u32, row_words: u32) -> Slot<'static> {
    let len = room(rows) * columns.next_multiple_of(row_words);
    Slot::own(name, len, move |m| kinds(name, m, [rows, columns], row_words, true))
}

/// Mean and inv of every row.
fn moments(name: &'static str, rows: u32) -> Slot<'static> {
    Slot::own(name, 2 * room(rows), move |m| {
        let values = numbers(2 * rows as usize, seed(name, m)).into_iter().enumerate();
        bits(values.map(|(i, v)| if i % 2 == 0 { v } else { 3.0 * v.abs() }))
    })
}

fn forward(params: LayerNormParams) -> impl Fn([Tensor; 5]) -> LayerNormForward {
    move |[x, weight, bias, y, moments]| {
        assert_eq!(weight.stride, bias.stride);
        let params = LayerNormParams {
            x_stride: x.stride,
            y_stride: y.stride,
            moments_stride: moments.stride,
            weight_stride: weight.stride,
            ..params
        };
        LayerNormForward { params, x, weight, bias, y, moments }
    }
}

pub(super) fn layer_norm_forward(case: &mut Case) {
    for (rows, columns, members) in sizes() {
        let slots = [
            matrix("x", rows, columns, 8),
            affine("weight", columns),
            affine("bias", columns),
            Slot::out_rows("y", room(rows), rows, columns, 64),
            Slot::out("moments", 2 * room(rows), 2 * rows),
        ];
        let params = LayerNormParams { x_row: row(columns, 8), ..LayerNormParams::new(columns, 64, EPSILON) };
        case.check(&step(rows, members, &[]), slots, forward(params));
    }
}

fn backward(params: LayerNormParams) -> impl Fn([Tensor; 5]) -> LayerNormBackward {
    move |[x, weight, dy, stored, dx]| {
        let params = LayerNormParams {
            x_stride: x.stride,
            dy_stride: dy.stride,
            dx_stride: dx.stride,
            moments_stride: stored.stride,
            weight_stride: weight.stride,
            ..params
        };
        LayerNormBackward { params, x, weight, dy, stored, dx }
    }
}

pub(super) fn layer_norm_backward(case: &mut Case) {
    for (rows, columns, members) in sizes() {
        let slots = [
            matrix("x", rows, columns, 8),
            affine("weight", columns),
            Slot::rows("dy", room(rows), rows, columns, 4),
            moments("stored", rows),
            Slot::out_rows("dx", room(rows), rows, columns, 64),
        ];
        let (x_row, dy_row) = (row(columns, 8), row(columns, 4));
        let params = LayerNormParams { x_row, dy_row, ..LayerNormParams::new(columns, 64, EPSILON) };
        case.check(&step(rows, members, &[]), slots, backward(params));
    }
}

fn gradients(params: NormGradientsParams) -> impl Fn([Tensor; 4]) -> LayerNormGradients {
    move |[x, dy, row_moments, partials]| {
        let params = NormGradientsParams {
            x_stride: x.stride,
            dy_stride: dy.stride,
            moments_stride: row_moments.stride,
            partials_stride: partials.stride,
            ..params
        };
        LayerNormGradients { params, x, dy, row_moments, partials }
    }
}

pub(super) fn layer_norm_gradients(case: &mut Case) {
    for (rows, parts, columns, members) in shapes() {
        let slots = [
            matrix("x", rows, columns, 8),
            Slot::rows("dy", room(rows), rows, columns, 4),
            moments("row_moments", rows),
            Slot::out_rows("partials", 2 * parts.count, 2 * parts.count, columns, 64),
        ];
        let (x_row, dy_row) = (row(columns, 8), row(columns, 4));
        let params = NormGradientsParams { x_row, dy_row, ..NormGradientsParams::new(columns, parts, 64) };
        case.check(&step(rows, members, &[]), slots, gradients(params));
    }
}

/// y and the moments of rows of 8 columns on the device, with weight 1 and bias 0.
fn normalised(rows: u32, x: &[f32]) -> [Vec<f32>; 2] {
    let slots = [
        Slot::own("x", 8 * rows, |_| bits(x.iter().copied())),
        Slot::own("weight", 8, |_| bits([1.0; 8])),
        Slot::own("bias", 8, |_| bits([0.0; 8])),
        Slot::out("y", 8 * rows, 8 * rows),
        Slot::out("moments", 2 * rows, 2 * rows),
    ];
    let [.., y, moments] = on_device(&step(rows, 1, &[]), slots, forward(LayerNormParams::new(8, 4, EPSILON)));
    [y, moments].map(|words| words.into_iter().map(f32::from_bits).collect())
}

#[test]
fn a_large_mean_leaves_the_variance_and_a_constant_row_has_none() {
    let around = |mean: f32| (0..8).map(move |i| mean + if i % 2 == 0 { 1.0 } else { -1.0 });
    let x: Vec<f32> = around(1e4).chain(around(0.0)).chain([1e4; 8]).chain([-0.7; 8]).collect();
    let [y, moments] = normalised(4, &x);
    let wanted = |i: usize| match i {
        16.. => 0.0,
        _ if i.is_multiple_of(2) => 1.0 / (1.0f32 + 1e-5).sqrt(),
        _ => -1.0 / (1.0f32 + 1e-5).sqrt(),
    };
    assert!(y.iter().enumerate().all(|(i, y)| (y - wanted(i)).abs() < 1e-6), "{y:?}");
    assert_eq!([moments[0], moments[2], moments[4], moments[6]], [1e4, 0.0, 1e4, -0.7]);
    let inverse = [moments[1], moments[3], moments[5] * 1e-5f32.sqrt(), moments[7] * 1e-5f32.sqrt()];
    assert!(inverse.iter().all(|v| (v - 1.0).abs() < 1e-5), "{moments:?}");
}

#[test]
fn a_nan_reaches_all_of_its_row_and_nothing_else() {
    for at in [0, 3, 7] {
        let x: Vec<f32> = (0..24).map(|i| if i == 8 + at { f32::NAN } else { i as f32 }).collect();
        let [y, moments] = normalised(3, &x);
        let nan = |values: &[f32]| values.iter().map(|v| v.is_nan()).collect::<Vec<bool>>();
        assert_eq!(nan(&y), [[false; 8], [true; 8], [false; 8]].concat(), "column {at}: {y:?}");
        assert_eq!(nan(&moments), [false, false, true, true, false, false], "column {at}: {moments:?}");
    }
}

/// The formula in f64, for rows of as many columns as there are weights.
fn reference(x: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let row = |x: &[f64]| {
        let n = x.len() as f64;
        let mean = x.iter().sum::<f64>() / n;
        let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
        let scaled = x.iter().map(|x| (x - mean) / (variance + 1e-5).sqrt());
        scaled.zip(weight).zip(bias).map(|((x, weight), bias)| x * weight + bias).collect::<Vec<_>>()
    };
    x.chunks(weight.len()).flat_map(row).collect()
}

#[test]
fn the_gradients_are_those_of_finite_differences() {
    let (rows, columns) = (3, 8);
    let random = |name: &str, n: u32| numbers(n as usize, seed(name, 0));
    let (x, dy) = (random("x", rows * columns), random("dy", rows * columns));
    let (weight, bias) = (random("weight", columns), random("bias", columns));
    let (step, params) = (step(rows, 1, &[]), LayerNormParams::new(columns, 4, EPSILON));
    let out = |name| Slot::out(name, rows * columns, rows * columns);
    let slots =
        [values("x", &x), values("weight", &weight), values("bias", &bias), out("y"), Slot::out("moments", 2 * rows, 2 * rows)];
    let [.., y, moments] = on_device(&step, slots, forward(params));
    let moments: Vec<f32> = moments.into_iter().map(f32::from_bits).collect();
    let slots = [values("x", &x), values("weight", &weight), values("dy", &dy), values("stored", &moments), out("dx")];
    let [.., dx] = on_device(&step, slots, backward(params));
    let slots = [values("x", &x), values("dy", &dy), values("row_moments", &moments), Slot::out("gradient", 16, 16)];
    let parts = thinnet::kernels::columns::Parts::new(rows, columns);
    let [.., gradient] = on_device(&step, slots, gradients(NormGradientsParams::new(columns, parts, 4)));

    let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
    let (x, dy, weight, bias) = (wide(&x), wide(&dy), wide(&weight), wide(&bias));
    assert_near("y", &y, &reference(&x, &weight, &bias));
    assert_near("dx", &dx, &differences(&x, &dy, |x| reference(x, &weight, &bias)));
    assert_near("dweight", &gradient[..8], &differences(&weight, &dy, |weight| reference(&x, weight, &bias)));
    assert_near("dbias", &gradient[8..], &differences(&bias, &dy, |bias| reference(&x, &weight, bias)));
}
