//! Cases of convolutions in groups.

use thinnet::kernels::grouped::{GroupedBackwardInput, GroupedBackwardWeight, GroupedForward, GroupedParams};
use thinnet::network::Window;
use thinnet::{Activation, Conv2d};

use super::layout::{matrix, sizes};
use super::{Case, Slot, bits, on_device, seed};
use crate::common::{numbers, step};

const ACTIVATIONS: [Activation; 6] =
    [Activation::Relu, Activation::Tanh, Activation::Identity, Activation::Sigmoid, Activation::LeakyRelu, Activation::Selu];

/// Depthwise ones and others: windows with padding, strides and dilations that differ by axis; groups of several inputs or
/// outputs; channels that are no whole quads.
fn convolutions() -> Vec<(Conv2d, [u32; 3])> {
    let window = |kernel, stride, padding, dilation| Window { kernel, stride, padding, dilation };
    let all = [
        ([1, 1, 1], 1, 1, window([1, 1], [1, 1], [0, 0], [1, 1])),
        ([5, 7, 6], 5, 5, window([3, 3], [1, 1], [1, 1], [1, 1])),
        ([33, 4, 5], 33, 33, window([3, 2], [2, 1], [1, 0], [1, 2])),
        ([4, 9, 9], 4, 4, window([5, 5], [1, 1], [2, 2], [1, 1])),
        ([31, 6, 7], 31, 31, window([2, 3], [2, 3], [0, 2], [2, 1])),
        ([3, 5, 5], 6, 3, window([3, 3], [1, 1], [1, 1], [1, 1])),
        ([4, 5, 6], 6, 2, window([3, 3], [2, 1], [1, 0], [1, 2])),
        ([6, 4, 4], 9, 3, window([2, 2], [1, 1], [1, 1], [1, 1])),
        ([35, 3, 5], 10, 5, window([1, 3], [3, 2], [0, 1], [1, 1])),
        ([3, 4, 4], 5, 1, window([3, 3], [1, 1], [0, 0], [1, 1])),
    ];
    all.map(|(map, channels, groups, window)| (Conv2d::new(channels, 1).groups(groups).window(window), map)).into()
}

/// Words of a row of the weight, pixels of x, pixels of y.
fn extents(conv: &Conv2d, map: [u32; 3]) -> [u32; 3] {
    let [height, width] = conv.window.kernel;
    let out = conv.window.places([map[1], map[2]]).unwrap();
    [height * width * map[0] / conv.groups, map[1] * map[2], out[0] * out[1]]
}

fn weight(conv: &Conv2d, map: [u32; 3], row_words: u32) -> Slot<'static> {
    matrix("weight", conv.channels, conv.channels, extents(conv, map)[0], row_words)
}

pub(super) fn grouped_forward(case: &mut Case) {
    for ((conv, map), activation) in convolutions().into_iter().zip(ACTIVATIONS.into_iter().cycle()) {
        for (rows, batch, row_words, members) in sizes() {
            let [_, pixels, places] = extents(&conv, map);
            let slots = [
                matrix("x", batch * pixels, rows * pixels, map[0], row_words),
                weight(&conv, map, row_words),
                matrix("bias", 1, 1, conv.channels, 4),
                Slot::out_rows("y", batch * places, rows * places, conv.channels, row_words),
            ];
            case.check(&step(rows, members, &[]), slots, |[x, weight, bias, y]| {
                let params = GroupedParams {
                    x_stride: x.stride,
                    y_stride: y.stride,
                    weight_stride: weight.stride,
                    bias_stride: bias.stride,
                    ..GroupedParams::new(&conv, map, row_words)
                };
                GroupedForward { params, activation, x, weight, bias, y }
            });
        }
    }
}

pub(super) fn grouped_backward_input(case: &mut Case) {
    for (conv, map) in convolutions() {
        for (rows, batch, row_words, members) in sizes() {
            let [_, pixels, places] = extents(&conv, map);
            let slots = [
                matrix("dy", batch * places, rows * places, conv.channels, row_words),
                weight(&conv, map, row_words),
                Slot::out_rows("dx", batch * pixels, rows * pixels, map[0], row_words),
            ];
            case.check(&step(rows, members, &[]), slots, |[dy, weight, dx]| {
                let params = GroupedParams {
                    x_stride: dx.stride,
                    y_stride: dy.stride,
                    weight_stride: weight.stride,
                    ..GroupedParams::new(&conv, map, row_words)
                };
                GroupedBackwardInput { params, dy, weight, dx }
            });
        }
    }
}

pub(super) fn grouped_backward_weight(case: &mut Case) {
    for (conv, map) in convolutions() {
        // The last: more pixels than a workgroup has invocations, several times over.
        for (rows, batch, row_words, members) in sizes().into_iter().chain([(17, 18, 4, 1)]) {
            let [weights, pixels, places] = extents(&conv, map);
            let slots = [
                matrix("dy", batch * places, rows * places, conv.channels, row_words),
                matrix("x", batch * pixels, rows * pixels, map[0], row_words),
                Slot::out_rows("dweight", conv.channels, conv.channels, weights, row_words),
                Slot::out_rows("dbias", 1, 1, conv.channels, row_words),
            ];
            case.check(&step(rows, members, &[]), slots, |[dy, x_in, dweight, dbias]| {
                let params = GroupedParams {
                    x_stride: x_in.stride,
                    y_stride: dy.stride,
                    weight_stride: dweight.stride,
                    bias_stride: dbias.stride,
                    ..GroupedParams::new(&conv, map, row_words)
                };
                GroupedBackwardWeight { params, dy, x_in, dweight, dbias }
            });
        }
    }
}

/// Known answers, so that twin and shader are not wrong together: the kernel is not turned around, and its elements are
/// outermost.
#[test]
fn a_convolution_of_a_few_numbers() {
    let quads = |numbers: &[f32]| bits(numbers.iter().flat_map(|&v| [v, 0.0, 0.0, 0.0]));
    let step = step(1, 1, &[]);
    // x = 1 2 3, one line; W = 10 100 1; padding 1 on its sides: 10 * before + 100 * here + 1 * behind.
    let window = Window { padding: [0, 1], ..Window::new([1, 3]) };
    let slots = [
        Slot::own("x", 12, |_| quads(&[1.0, 2.0, 3.0])),
        Slot::own("weight", 4, |_| bits([10.0, 100.0, 1.0, 0.0])),
        Slot::own("bias", 4, |_| quads(&[0.5])),
        Slot::out("y", 12, 12),
    ];
    let params = GroupedParams::new(&Conv2d::new(1, 1).window(window), [1, 1, 3], 4);
    let [.., y] = on_device(&step, slots, |[x, weight, bias, y]| GroupedForward {
        params,
        activation: Activation::Identity,
        x,
        weight,
        bias,
        y,
    });
    assert_eq!(y, quads(&[102.5, 213.5, 320.5]));

    // Two groups of two inputs and one output, over two pixels with a kernel of 1 x 2: W[o] = (tap 0: c0 c1, tap 1: c0 c1).
    let slots = [
        Slot::own("x", 8, |_| bits([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])),
        Slot::own("weight", 8, |_| bits([1.0, 10.0, 100.0, 1000.0, 2.0, 20.0, 200.0, 2000.0])),
        Slot::own("bias", 4, |_| bits([0.0; 4])),
        Slot::out("y", 4, 4),
    ];
    let params = GroupedParams::new(&Conv2d::new(2, 1).groups(2).window(Window::new([1, 2])), [4, 1, 2], 4);
    let [.., y] = on_device(&step, slots, |[x, weight, bias, y]| GroupedForward {
        params,
        activation: Activation::Identity,
        x,
        weight,
        bias,
        y,
    });
    assert_eq!(y, bits([1.0 + 20.0 + 500.0 + 6000.0, 6.0 + 80.0 + 1400.0 + 16000.0, 0.0, 0.0]));
}

/// The gradient of every weight has the same bits when it is computed again.
#[test]
fn the_sums_of_a_weight_gradient_have_one_order() {
    let (conv, map) = (Conv2d::new(8, 3).groups(8).padding(1), [8, 12, 12]);
    let params = GroupedParams::new(&conv, map, 4);
    let run = || {
        let values = |name, n| Slot::own(name, n, move |m| bits(numbers(n as usize, seed(name, m))));
        let slots = [values("dy", 4 * 144 * 8), values("x", 4 * 144 * 8), Slot::out("dw", 96, 96), Slot::out("db", 8, 8)];
        let kernel = |[dy, x_in, dweight, dbias]: [_; 4]| GroupedBackwardWeight { params, dy, x_in, dweight, dbias };
        let [_, _, dweight, dbias] = on_device(&step(4, 1, &[]), slots, kernel);
        (dweight, dbias)
    };
    assert_eq!(run(), run());
}
