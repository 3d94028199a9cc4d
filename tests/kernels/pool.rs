//! Cases of pooling.

use thinnet::kernels::pool::{AveragePoolBackward, AveragePoolForward, MaxPoolBackward, MaxPoolForward, PoolParams};
use thinnet::network::Window;

use super::layout::{apart, matrix, sizes};
use super::{Case, Slot, bits, on_device, seed};
use crate::common::{numbers, padded_to, step, words};

fn window(kernel: [u32; 2], stride: [u32; 2], padding: [u32; 2]) -> Window {
    Window { stride, padding, ..Window::new(kernel) }
}

/// Windows that touch, with and without rest, that overlap, that leave gaps, with padding, one over the whole map; channels, map.
fn pools() -> Vec<([u32; 3], Window)> {
    let touching = |kernel| window(kernel, kernel, [0, 0]);
    vec![
        ([1, 1, 1], touching([1, 1])),
        ([3, 4, 6], touching([2, 2])),
        ([5, 7, 5], touching([2, 2])),
        ([31, 7, 8], touching([3, 3])),
        ([4, 5, 11], touching([2, 4])),
        ([6, 7, 7], touching([7, 7])),
        ([5, 7, 9], window([3, 3], [2, 2], [1, 1])),
        ([33, 5, 4], window([2, 2], [1, 1], [1, 1])),
        ([4, 9, 7], window([2, 3], [3, 2], [1, 0])),
        ([7, 4, 4], window([1, 1], [2, 2], [0, 0])),
        ([2, 6, 5], window([4, 3], [1, 2], [2, 1])),
        ([1, 17, 16], window([16, 16], [1, 1], [0, 0])),
    ]
}

fn out(map: [u32; 3], window: Window) -> u32 {
    window.places([map[1], map[2]]).unwrap().iter().product()
}

/// Few different numbers, so that several are the largest, with NaN, infinities and windows of nothing but -infinity.
fn ties(batch: u32, rows: u32, channels: u32, row_words: u32) -> Slot<'static> {
    let row = channels.next_multiple_of(row_words);
    let values = move |m| {
        let number = |word: u32| match f32::from_bits(word) {
            0.0 => 0.0,
            v if v > 0.97 => f32::NAN,
            v if v > 0.94 => f32::INFINITY,
            v if v < -0.6 => f32::NEG_INFINITY,
            v => (4.0 * v).round(),
        };
        apart(bits(padded_to(row_words, rows, channels, seed("ties", m)).into_iter().map(number)), channels, row)
    };
    Slot::own("x", batch * row, values)
}

pub(super) fn max_pool_forward(case: &mut Case) {
    for (map, window) in pools() {
        for (rows, batch, row_words, members) in sizes() {
            let ([channels, height, width], out) = (map, out(map, window));
            let words = channels.div_ceil(4) * out;
            let slots = [
                ties(batch * height * width, rows * height * width, channels, row_words),
                Slot::out_rows("y", batch * out, rows * out, channels, row_words),
                Slot::out("places", batch * words, rows * words),
            ];
            case.check(&step(rows, members, &[]), slots, |[x, y, places]| {
                let params = PoolParams {
                    x_stride: x.stride,
                    y_stride: y.stride,
                    places_stride: places.stride,
                    ..PoolParams::new(map, window, row_words)
                };
                MaxPoolForward { params, x, y, places }
            });
        }
    }
}

/// Places as they come, some of them in the padding, which no pixel has won.
pub(super) fn max_pool_backward(case: &mut Case) {
    for (map, window) in pools() {
        for (rows, batch, row_words, members) in sizes() {
            let ([channels, height, width], out) = (map, out(map, window));
            let area = window.kernel[0] * window.kernel[1];
            let count = channels.div_ceil(4) * out;
            let won = move |m| {
                let random = words((4 * rows * count) as usize, seed("won", m));
                let bytes: Vec<u8> = random.into_iter().map(|word| (word % area) as u8).collect();
                bytes.chunks(4).map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect()
            };
            let slots = [
                matrix("dy", batch * out, rows * out, channels, row_words),
                Slot::own("won", batch * count, won),
                Slot::out_rows("dx", batch * height * width, rows * height * width, channels, row_words),
            ];
            case.check(&step(rows, members, &[]), slots, |[dy, won, dx]| {
                let params = PoolParams {
                    x_stride: dx.stride,
                    y_stride: dy.stride,
                    places_stride: won.stride,
                    ..PoolParams::new(map, window, row_words)
                };
                MaxPoolBackward { params, dy, won, dx }
            });
        }
    }
}

pub(super) fn average_pool_forward(case: &mut Case) {
    for (map, window) in pools() {
        for (rows, batch, row_words, members) in sizes() {
            let ([channels, height, width], out) = (map, out(map, window));
            let slots = [
                matrix("x", batch * height * width, rows * height * width, channels, row_words),
                Slot::out_rows("y", batch * out, rows * out, channels, row_words),
            ];
            case.check(&step(rows, members, &[]), slots, |[x, y]| {
                let params = PoolParams { x_stride: x.stride, y_stride: y.stride, ..PoolParams::new(map, window, row_words) };
                AveragePoolForward { params, x, y }
            });
        }
    }
}

pub(super) fn average_pool_backward(case: &mut Case) {
    for (map, window) in pools() {
        for (rows, batch, row_words, members) in sizes() {
            let ([channels, height, width], out) = (map, out(map, window));
            let slots = [
                matrix("dy", batch * out, rows * out, channels, row_words),
                Slot::out_rows("dx", batch * height * width, rows * height * width, channels, row_words),
            ];
            case.check(&step(rows, members, &[]), slots, |[dy, dx]| {
                let params = PoolParams { x_stride: dx.stride, y_stride: dy.stride, ..PoolParams::new(map, window, row_words) };
                AveragePoolBackward { params, dy, dx }
            });
        }
    }
}

/// Known answers, so that twin and shader are not wrong together: PyTorch's of `max_pool2d(x, 2, 1, 1)` over 1 x 3 pixels.
#[test]
fn pools_of_a_few_numbers() {
    let params = PoolParams::new([1, 1, 3], window([2, 2], [1, 1], [1, 1]), 4);
    let quads = |numbers: &[f32]| bits(numbers.iter().flat_map(|&v| [v, 0.0, 0.0, 0.0]));
    let x = || Slot::own("x", 12, |_| quads(&[-3.0, f32::NEG_INFINITY, -2.0]));
    let step = step(1, 1, &[]);
    let slots = [x(), Slot::out("y", 32, 32), Slot::out("places", 8, 8)];
    let [_, y, places] = on_device(&step, slots, |[x, y, places]| MaxPoolForward { params, x, y, places });
    assert_eq!(y, quads(&[-3.0, -3.0, -2.0, -2.0, -3.0, -3.0, -2.0, -2.0]), "padding is never the largest");
    let first: Vec<u32> = places.iter().map(|word| word & 255).collect();
    assert_eq!(first, [3, 2, 3, 2, 1, 0, 1, 0]);

    let dy = || Slot::own("dy", 32, |_| quads(&[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0]));
    let slots = [dy(), Slot::own("won", 8, |_| places.clone()), Slot::out("dx", 12, 12)];
    let [_, _, dx] = on_device(&step, slots, |[dy, won, dx]| MaxPoolBackward { params, dy, won, dx });
    assert_eq!(dx, quads(&[51.0, 0.0, 204.0]));

    let slots = [dy(), Slot::out("dx", 12, 12)];
    let [_, dx] = on_device(&step, slots, |[dy, dx]| AveragePoolBackward { params, dy, dx });
    assert_eq!(dx, quads(&[51.0 / 4.0, 102.0 / 4.0, 204.0 / 4.0]));

    let slots = [Slot::own("x", 12, |_| quads(&[1.0, 2.0, 6.0])), Slot::out("y", 32, 32)];
    let [_, y] = on_device(&step, slots, |[x, y]| AveragePoolForward { params, x, y });
    assert_eq!(y, quads(&[0.25, 0.75, 2.0, 1.5, 0.25, 0.75, 2.0, 1.5]), "padding counts");
}

#[test]
fn the_mean_of_a_whole_map_is_one_row_a_sample() {
    let values = numbers(2 * 35, 7);
    let x = Slot::own("x", 2 * 35 * 4, |_| bits(values.iter().flat_map(|&v| [v, 0.0, 0.0, 0.0])));
    let params = PoolParams::global([1, 5, 7], 4);
    let [_, y] = on_device(&step(2, 1, &[]), [x, Slot::out("y", 8, 8)], |[x, y]| AveragePoolForward { params, x, y });
    for (row, values) in y.chunks(4).zip(values.chunks(35)) {
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / 35.0;
        // 35 additions and two more roundings of numbers below 1.
        assert!((f64::from(f32::from_bits(row[0])) - mean).abs() < 37.0 * 1.2e-7, "{row:x?}, {mean}");
    }
}

#[test]
#[should_panic(expected = "is no byte")]
fn a_place_that_is_no_byte_is_refused() {
    let params = PoolParams::new([1, 17, 17], window([16, 17], [1, 1], [0, 0]), 4);
    let slots = [Slot::own("x", 17 * 17 * 4, |_| Vec::new()), Slot::out("y", 8, 8), Slot::out("places", 2, 2)];
    on_device(&step(1, 1, &[]), slots, |[x, y, places]| MaxPoolForward { params, x, y, places });
}
