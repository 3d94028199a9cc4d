//! Cases of batch normalisation: its statistics, forward and backward, and the gradients of its weight and bias.

use thinnet::Activation;
use thinnet::kernels::batch_norm::{BatchNormBackward, BatchNormForward, BatchNormParams};
use thinnet::kernels::batch_norm_statistics::{BatchNormFinish, BatchNormMoments, BatchNormStatistics, StatisticsParams};
use thinnet::kernels::columns::Parts;
use thinnet::kernels::norm_gradients::{BatchNormGradients, NormGradientsFinish, NormGradientsParams};
use thinnet::memory::Tensor;

use super::norm::{affine, assert_near, differences, kinds, positive, quads, row, shapes, values};
use super::{Case, Slot, bits, on_device, seed};
use crate::common::{numbers, padded, step};

/// PyTorch's epsilon and momentum, and a momentum that forgets.
const SETTINGS: [[f32; 2]; 2] = [[1e-5, 0.1], [1e-3, 1.0]];

/// The room of a batch in rows: more than is valid, so that there is poison behind.
fn room(rows: u32) -> u32 {
    rows + 3
}

fn matrix(name: &'static str, rows: u32, columns: u32, row_words: u32) -> Slot<'static> {
    let len = room(rows) * columns.next_multiple_of(row_words);
    Slot::own(name, len, move |m| kinds(name, m, [rows, columns], row_words, false))
}

/// `[2, columns]` moments: means, then positive numbers; their padding is 0.
fn moments(columns: u32) -> Slot<'static> {
    Slot::own("moments", 2 * columns.next_multiple_of(4), move |m| {
        let means = kinds("x", m, [1, columns], 4, false);
        means.into_iter().chain(positive("moments", m, columns)).collect()
    })
}

pub(super) fn batch_norm_statistics(case: &mut Case) {
    for (rows, parts, columns, members) in shapes() {
        let params = StatisticsParams::new(columns, parts, row(columns, 8), SETTINGS[0]);
        let partials = Slot::out("partials", params.partials(), params.partials());
        case.check(&step(rows, members, &[]), [matrix("x", rows, columns, 8), partials], |[x, partials]| {
            let params = StatisticsParams { x_stride: x.stride, partials_stride: partials.stride, ..params };
            BatchNormStatistics { params, x, partials }
        });
    }
}

fn finish(params: StatisticsParams) -> impl Fn([Tensor; 5]) -> BatchNormFinish {
    move |[x, parts, moments, running_mean, running_var]| {
        assert_eq!(running_mean.stride, running_var.stride);
        let params = StatisticsParams {
            x_stride: x.stride,
            partials_stride: parts.stride,
            moments_stride: moments.stride,
            running_stride: running_mean.stride,
            ..params
        };
        BatchNormFinish { params, x, parts, moments, running_mean, running_var }
    }
}

pub(super) fn batch_norm_finish(case: &mut Case) {
    for (rows, parts, columns, members) in shapes() {
        for settings in SETTINGS {
            let params = StatisticsParams::new(columns, parts, row(columns, 8), settings);
            // Means around 0, squares of all sizes; those of empty parts are 0.
            let partials = Slot::own("parts", params.partials(), |m| {
                let of_part = |part: u32| {
                    let full = f32::from(u8::from(part * parts.rows < rows));
                    let means = padded(1, columns, seed("means", m + 2 * part)).into_iter().map(f32::from_bits);
                    let squares = positive("squares", m + 2 * part, columns).into_iter().map(f32::from_bits);
                    let squares = squares.zip([1.0, 1e3, 0.0, 1e-6].into_iter().cycle()).map(|(s, scale)| s * scale);
                    bits(means.chain(squares).map(|v| v * full))
                };
                (0..parts.count).flat_map(of_part).collect()
            });
            let slots = [
                matrix("x", rows, columns, 8),
                partials,
                Slot::out("moments", params.moments(), params.moments()),
                Slot::own("running_mean", 4 * quads(columns), |m| padded(1, columns, seed("running_mean", m))).even(),
                Slot::own("running_var", 4 * quads(columns), |m| positive("running_var", m, columns)).even(),
            ];
            case.check(&step(rows, members, &[]), slots, finish(params));
        }
    }
}

pub(super) fn batch_norm_moments(case: &mut Case) {
    for (rows, parts, columns, members) in shapes() {
        let params = StatisticsParams::new(columns, parts, row(columns, 8), SETTINGS[0]);
        let slots = [
            Slot::own("mean", 4 * quads(columns), |m| kinds("mean", m, [1, columns], 4, false)).even(),
            Slot::own("variance", 4 * quads(columns), |m| positive("variance", m, columns)).even(),
            Slot::out("moments", params.moments(), params.moments()),
        ];
        case.check(&step(rows, members, &[]), slots, |[mean, variance, moments]| {
            assert_eq!(mean.stride, variance.stride);
            let params = StatisticsParams { running_stride: mean.stride, moments_stride: moments.stride, ..params };
            BatchNormMoments { params, mean, variance, moments }
        });
    }
}

fn forward(params: BatchNormParams, activation: Activation) -> impl Fn([Tensor; 5]) -> BatchNormForward {
    move |[x, moments, weight, bias, y]| {
        assert_eq!(weight.stride, bias.stride);
        let params = BatchNormParams {
            x_stride: x.stride,
            y_stride: y.stride,
            moments_stride: moments.stride,
            weight_stride: weight.stride,
            ..params
        };
        BatchNormForward { params, activation, x, moments, weight, bias, y }
    }
}

pub(super) fn batch_norm_forward(case: &mut Case) {
    let kinds =
        [Activation::Identity, Activation::Relu, Activation::Tanh, Activation::Sigmoid, Activation::LeakyRelu, Activation::Selu];
    for ((rows, _, columns, members), activation) in shapes().into_iter().flat_map(|shape| kinds.map(|kind| (shape, kind))) {
        let slots = [
            matrix("x", rows, columns, 8),
            moments(columns),
            affine("weight", columns),
            affine("bias", columns),
            Slot::out_rows("y", room(rows), rows, columns, 64),
        ];
        let params = BatchNormParams { x_row: row(columns, 8), ..BatchNormParams::new(columns, 64) };
        case.check(&step(rows, members, &[]), slots, forward(params, activation));
    }
}

fn backward(params: BatchNormParams) -> impl Fn([Tensor; 6]) -> BatchNormBackward {
    move |[x, moments, weight, dy, gradient, dx]| {
        let params = BatchNormParams {
            x_stride: x.stride,
            dy_stride: dy.stride,
            dx_stride: dx.stride,
            moments_stride: moments.stride,
            weight_stride: weight.stride,
            gradient_stride: gradient.stride,
            ..params
        };
        BatchNormBackward { params, x, moments, weight, dy, gradient, dx }
    }
}

pub(super) fn batch_norm_backward(case: &mut Case) {
    for (rows, _, columns, members) in shapes() {
        let slots = [
            matrix("x", rows, columns, 8),
            moments(columns),
            affine("weight", columns),
            Slot::rows("dy", room(rows), rows, columns, 4),
            Slot::rows("gradient", 2, 2, columns, 32),
            Slot::out_rows("dx", room(rows), rows, columns, 64),
        ];
        let rows_of = BatchNormParams::new(columns, 64);
        let (x_row, dy_row, bias_at) = (row(columns, 8), row(columns, 4), row(columns, 32));
        case.check(&step(rows, members, &[]), slots, backward(BatchNormParams { x_row, dy_row, bias_at, ..rows_of }));
    }
}

fn gradients(params: NormGradientsParams) -> impl Fn([Tensor; 4]) -> BatchNormGradients {
    move |[x, dy, moments, partials]| {
        let params = NormGradientsParams {
            x_stride: x.stride,
            dy_stride: dy.stride,
            moments_stride: moments.stride,
            partials_stride: partials.stride,
            ..params
        };
        BatchNormGradients { params, x, dy, moments, partials }
    }
}

pub(super) fn batch_norm_gradients(case: &mut Case) {
    for (rows, parts, columns, members) in shapes() {
        let slots = [
            matrix("x", rows, columns, 8),
            Slot::rows("dy", room(rows), rows, columns, 4),
            moments(columns),
            Slot::out_rows("partials", 2 * parts.count, 2 * parts.count, columns, 64),
        ];
        let (x_row, dy_row) = (row(columns, 8), row(columns, 4));
        let params = NormGradientsParams { x_row, dy_row, ..NormGradientsParams::new(columns, parts, 64) };
        case.check(&step(rows, members, &[]), slots, gradients(params));
    }
}

pub(super) fn norm_gradients_finish(case: &mut Case) {
    for (rows, parts, columns, members) in shapes() {
        let slots =
            [Slot::rows("parts", 2 * parts.count, 2 * parts.count, columns, 32), Slot::out_rows("gradient", 2, 2, columns, 32)];
        case.check(&step(rows, members, &[]), slots, |[parts_of, gradient]| {
            let params = NormGradientsParams {
                partials_stride: parts_of.stride,
                gradient_stride: gradient.stride,
                ..NormGradientsParams::new(columns, parts, 32)
            };
            NormGradientsFinish { params, parts: parts_of, gradient }
        });
    }
}

/// Moments, running mean and running variance of a batch on the device, the latter two from 0 and 1, padded rows of x given.
fn statistics(rows: u32, columns: u32, x: &[u32], parts: Parts) -> [Vec<f32>; 3] {
    let params = StatisticsParams::new(columns, parts, quads(columns), SETTINGS[0]);
    let slot = |name, words: &[u32]| {
        let words = words.to_vec();
        Slot::own(name, words.len() as u32, move |_| words.clone())
    };
    let (step, partials) = (step(rows, 1, &[]), Slot::out("partials", params.partials(), params.partials()));
    let [_, partials] = on_device(&step, [slot("x", x), partials], |[x, partials]| BatchNormStatistics { params, x, partials });
    let running = |value: f32| bits((0..4 * quads(columns)).map(|c| if c < columns { value } else { 0.0 }));
    let slots = [
        slot("x", x),
        slot("parts", &partials),
        Slot::out("moments", params.moments(), params.moments()),
        slot("running_mean", &running(0.0)),
        slot("running_var", &running(1.0)),
    ];
    let [.., moments, mean, var] = on_device(&step, slots, finish(params));
    [moments, mean, var].map(|words| words.into_iter().map(f32::from_bits).collect())
}

/// Known answers: 999 rows around 1e4 with variance 2/3, around 0 with variance 2/3 behind a first row of 0, and constant ones.
#[test]
fn a_large_mean_leaves_the_variance_and_a_constant_column_has_none() {
    let rows: u32 = 999;
    let x = bits((0..rows).flat_map(|r| [1e4 + (r % 3) as f32 - 1.0, (r % 3) as f32, 1e4, -0.7]));
    for parts in [Parts { count: 1, rows: 999 }, Parts { count: 8, rows: 128 }] {
        let [moments, mean, var] = statistics(rows, 4, &x, parts);
        assert_eq!([moments[0], moments[2], moments[3]], [1e4, 1e4, -0.7]);
        assert!((moments[1] - 1.0).abs() < 1e-6, "{moments:?}");
        let inverse = [1.224_735_7, 1.224_735_7, 316.227_77, 316.227_77]; // 1 / sqrt(2/3 + 1e-5), 1 / sqrt(1e-5)
        let near = |got: f32, wanted: f32| (got - wanted).abs() <= 1e-5 * wanted;
        assert!(moments[4..].iter().zip(inverse).all(|(&got, wanted)| near(got, wanted)), "{moments:?}");
        let wanted = [1000.0, 0.1, 1000.0, -0.07];
        assert!(mean.iter().zip(wanted).all(|(&got, wanted): (_, f32)| (got - wanted).abs() <= 1e-5 * wanted.abs()), "{mean:?}");
        let unbiased = 0.9 + 0.1 * (2.0 / 3.0) * 999.0 / 998.0;
        assert!(var.iter().zip([unbiased, unbiased, 0.9, 0.9]).all(|(&got, wanted)| near(got, wanted)), "{var:?}");
    }
    // What this is to find: in f32 the mean of the squares less the square of the mean is no variance.
    let column: Vec<f32> = x.iter().step_by(4).map(|&word| f32::from_bits(word)).collect();
    let mean = |v: &mut dyn Iterator<Item = f32>| v.sum::<f32>() / rows as f32;
    let naive = mean(&mut column.iter().map(|x| x * x)) - mean(&mut column.iter().copied()).powi(2);
    assert!((naive - 2.0 / 3.0).abs() > 0.5, "{naive}");
}

#[test]
fn one_row_has_no_variance_to_follow_and_no_row_changes_nothing() {
    let x = bits([5.0, -2.0, 0.5, 0.0]);
    let parts = Parts { count: 1, rows: 128 };
    let [moments, mean, var] = statistics(1, 3, &x, parts);
    assert_eq!(moments[..4], [5.0, -2.0, 0.5, 0.0]);
    assert_eq!((mean[0], var), (0.5, vec![1.0, 1.0, 1.0, 0.0]));
    let [moments, mean, var] = statistics(0, 3, &x, parts);
    assert_eq!((moments, mean, var), (vec![0.0; 8], vec![0.0; 4], vec![1.0, 1.0, 1.0, 0.0]));
}

/// The formula in f64, from numbers: rows of `columns`.
fn reference(x: &[f64], columns: usize, weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let rows = x.len() / columns;
    let mut y = x.to_vec();
    for c in 0..columns {
        let column: Vec<f64> = x.iter().skip(c).step_by(columns).copied().collect();
        let mean = column.iter().sum::<f64>() / rows as f64;
        let variance = column.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / rows as f64;
        for r in 0..rows {
            y[r * columns + c] = weight[c] * (x[r * columns + c] - mean) / (variance + 1e-5).sqrt() + bias[c];
        }
    }
    y
}

#[test]
fn the_gradients_are_those_of_finite_differences() {
    let (rows, columns) = (7, 4);
    let random = |name: &str, n: u32| numbers(n as usize, seed(name, 0));
    let (x, dy) = (random("x", rows * columns), random("dy", rows * columns));
    let (weight, bias) = (random("weight", columns), random("bias", columns));
    let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
    let (step, parts) = (step(rows, 1, &[]), Parts { count: 1, rows });
    let [moments, ..] = statistics(rows, columns, &bits(x.iter().copied()), parts);

    let slots = [values("x", &x), values("dy", &dy), values("moments", &moments), Slot::out("gradient", 8, 8)];
    let [.., gradient] = on_device(&step, slots, gradients(NormGradientsParams::new(columns, parts, 4)));
    let of_gradient: Vec<f32> = gradient.iter().map(|&word| f32::from_bits(word)).collect();
    let slots = [
        values("x", &x),
        values("moments", &moments),
        values("weight", &weight),
        values("dy", &dy),
        values("gradient", &of_gradient),
        Slot::out("dx", rows * columns, rows * columns),
    ];
    let [.., dx] = on_device(&step, slots, backward(BatchNormParams::new(columns, 4)));
    let slots = [
        values("x", &x),
        values("moments", &moments),
        values("weight", &weight),
        values("bias", &bias),
        Slot::out("y", rows * columns, rows * columns),
    ];
    let [.., y] = on_device(&step, slots, forward(BatchNormParams::new(columns, 4), Activation::Identity));

    let (x, dy, weight, bias) = (wide(&x), wide(&dy), wide(&weight), wide(&bias));
    assert_near("y", &y, &reference(&x, 4, &weight, &bias));
    assert_near("dx", &dx, &differences(&x, &dy, |x| reference(x, 4, &weight, &bias)));
    assert_near("dweight", &gradient[..4], &differences(&weight, &dy, |weight| reference(&x, 4, weight, &bias)));
    assert_near("dbias", &gradient[4..], &differences(&bias, &dy, |bias| reference(&x, 4, &weight, bias)));
}

/// Arithmetic on NaN has no defined bits, so this asks for NaN and not for the twin's.
#[test]
fn a_nan_reaches_all_of_its_column_and_nothing_else() {
    let rows = 40;
    for at in [0, 5, 39] {
        let x = bits((0..rows).flat_map(|r| [r as f32, if r == at { f32::NAN } else { 1.0 }, 2.0, -(r as f32)]));
        let [moments, mean, var] = statistics(rows, 4, &x, Parts { count: 2, rows: 31 });
        let nan = |values: &[f32]| values.iter().map(|v| v.is_nan()).collect::<Vec<bool>>();
        let column = [false, true, false, false];
        assert_eq!(nan(&moments), [column, column].concat(), "row {at}: {moments:?}");
        assert_eq!((nan(&mean), nan(&var)), (column.to_vec(), column.to_vec()), "row {at}");
        for activation in [Activation::Identity, Activation::Relu, Activation::Tanh] {
            let slots = [
                Slot::own("x", 4 * rows, |_| x.clone()),
                Slot::own("moments", 8, |_| bits(moments.iter().copied())),
                Slot::own("weight", 4, |_| bits([1.0; 4])),
                Slot::own("bias", 4, |_| bits([0.0; 4])),
                Slot::out("y", 4 * rows, 4 * rows),
            ];
            let [.., y] = on_device(&step(rows, 1, &[]), slots, forward(BatchNormParams::new(4, 4), activation));
            let y: Vec<f32> = y.into_iter().map(f32::from_bits).collect();
            assert!(y.chunks(4).all(|row| nan(row) == column), "{activation:?}, row {at}: {y:?}");
        }
    }
}
