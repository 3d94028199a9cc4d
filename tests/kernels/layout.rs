//! Cases of the kernels between the layouts of feature maps, and what those of all kernels over feature maps have in common.

use thinnet::kernels::layout::{LayoutParams, PixelsToPlanar, PlanarToPixels};

use super::{Case, Slot, on_device, seed};
use crate::common::{POISON, padded_to, step};

/// `[rows, columns]` random numbers in (-1, 1) in a tensor for `batch` rows. The rest of the last quad in use is 0, and the quads
/// up to the next row are poison: no kernel may rely on them.
pub(super) fn matrix(name: &'static str, batch: u32, rows: u32, columns: u32, row_words: u32) -> Slot<'static> {
    let row = columns.next_multiple_of(row_words);
    Slot::own(name, batch * row, move |m| apart(padded_to(row_words, rows, columns, seed(name, m)), columns, row))
}

/// Rows of `row` words whose quads past the columns in use are made poison.
pub(super) fn apart(mut words: Vec<u32>, columns: u32, row: u32) -> Vec<u32> {
    let used = columns.next_multiple_of(4) as usize;
    words.chunks_mut(row as usize).for_each(|row| row[used..].fill(POISON));
    words
}

/// (valid samples, samples of the batch, words that rows are padded to, members)
pub(super) fn sizes() -> [(u32, u32, u32, u32); 4] {
    [(1, 1, 4, 1), (3, 5, 64, 1), (2, 2, 64, 2), (3, 4, 4, 2)]
}

/// Channels, height, width: with and without quads that belong to one channel.
const MAPS: [[u32; 3]; 11] = [
    [1, 1, 1],
    [1, 4, 4],
    [1, 28, 28],
    [3, 5, 7],
    [4, 2, 2],
    [5, 6, 6],
    [31, 3, 3],
    [33, 1, 31],
    [2, 257, 1],
    [7, 1, 2],
    [64, 7, 7],
];

pub(super) fn planar_to_pixels(case: &mut Case) {
    for map in MAPS {
        for (rows, batch, row_words, members) in sizes() {
            let [channels, pixels] = [map[0], map[1] * map[2]];
            let slots = [
                matrix("x", batch, rows, channels * pixels, row_words),
                Slot::out_rows("y", batch * pixels, rows * pixels, channels, row_words),
            ];
            case.check(&step(rows, members, &[]), slots, |[x, y]| {
                let params = LayoutParams { x_stride: x.stride, y_stride: y.stride, ..LayoutParams::new(map, row_words) };
                PlanarToPixels { params, x, y }
            });
        }
    }
}

pub(super) fn pixels_to_planar(case: &mut Case) {
    for map in MAPS {
        for (rows, batch, row_words, members) in sizes() {
            let [channels, pixels] = [map[0], map[1] * map[2]];
            let slots = [
                matrix("x", batch * pixels, rows * pixels, channels, row_words),
                Slot::out_rows("y", batch, rows, channels * pixels, row_words),
            ];
            case.check(&step(rows, members, &[]), slots, |[x, y]| {
                let params = LayoutParams { x_stride: x.stride, y_stride: y.stride, ..LayoutParams::new(map, row_words) };
                PixelsToPlanar { params, x, y }
            });
        }
    }
}

/// Known places, so that twin and shader are not wrong together.
#[test]
fn an_element_goes_where_the_layouts_say() {
    // Two maps of 2 channels, 1 x 3; the words tell sample, channel and x.
    let planar = || vec![111, 112, 113, 121, 122, 123, 0, 0, 211, 212, 213, 221, 222, 223, 0, 0];
    let pixels = || [[111, 121], [112, 122], [113, 123], [211, 221], [212, 222], [213, 223]].map(|[a, b]| [a, b, 0, 0]).concat();
    let params = LayoutParams::new([2, 1, 3], 4);
    let step = step(2, 1, &[]);
    let slots = [Slot::own("x", 16, |_| planar()), Slot::out("y", 24, 24)];
    let [_, y] = on_device(&step, slots, |[x, y]| PlanarToPixels { params, x, y });
    assert_eq!(y, pixels());
    let slots = [Slot::own("x", 24, |_| pixels()), Slot::out("y", 16, 16)];
    let [_, y] = on_device(&step, slots, |[x, y]| PixelsToPlanar { params, x, y });
    assert_eq!(y, planar());
}
