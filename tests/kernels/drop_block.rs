//! Cases of DropBlock: maps of one word a row and of several, squares from one pixel to the whole map.

use thinnet::kernels::drop_block::{DropBlockBackward, DropBlockColumns, DropBlockForward, DropBlockParams, DropBlockRows};
use thinnet::mask_rule::{MaskRule, SiteMask};
use thinnet::rng::Stream;

use super::draws::{draws, rules, with_rule};
use super::dropout::{SITE, rates};
use super::{Case, Slot, seed};
use crate::common::{padded_to, words};

/// Channels, height, width, and the size of the squares.
const MAPS: [([u32; 3], u32); 10] = [
    ([1, 1, 1], 1),
    ([4, 3, 4], 2),
    ([5, 7, 7], 3),
    ([3, 9, 32], 5),
    ([2, 5, 33], 1),
    ([6, 8, 65], 7),
    ([2, 40, 97], 40),
    ([3, 34, 31], 31),
    ([9, 4, 4], 4),
    ([20, 12, 12], 5),
];

fn params((shape, size): ([u32; 3], u32), padded: [u32; 2]) -> DropBlockParams {
    let row = padded.map(|words| shape[0].next_multiple_of(words) / 4);
    DropBlockParams::new(shape, size, row, (Stream::TrainingMask, SITE))
}

/// Rates low and high, so that squares overlap and do not.
const KEEPS: [&[f64]; 4] = [&[0.95, 0.7], &[0.99], &[0.0, 1.0], &[0.5, 0.9]];

pub(super) fn drop_block_rows(case: &mut Case) {
    let of_maps = MAPS.into_iter().zip(KEEPS.into_iter().cycle()).map(|(map, keeps)| (map, keeps, MaskRule::Pass));
    let of_rules = rules().chain([MaskRule::All]).map(|rule| (([5, 7, 7], 3), KEEPS[0], rule));
    for (map, keeps, rule) in of_maps.chain(of_rules) {
        let (rows, batch) = (3, 5);
        let samples = match rule {
            MaskRule::Pass => Slot::own("samples", batch, |member| words(3, seed("samples", member))),
            _ if rule.words() == 1 => Slot::own("samples", batch, |_| Vec::new()),
            _ => draws(rows),
        };
        let bits = params(map, [4, 4]).bits();
        let step = with_rule(rates(rows, keeps), 1, rule);
        case.check(&step, [samples, Slot::out("seeded", batch * bits, rows * bits)], |[samples, seeded_words]| {
            let strides = (samples.stride, seeded_words.stride);
            let params = DropBlockParams { samples_stride: strides.0, seeded_stride: strides.1, ..params(map, [4, 4]) };
            DropBlockRows { params, site: SiteMask { index: 1, rule }, samples, seeded_words }
        });
    }
}

/// Random bits of the valid samples.
fn bits(name: &'static str, params: &DropBlockParams, rows: u32, batch: u32) -> Slot<'static> {
    let bits = params.bits();
    Slot::own(name, batch * bits, move |member| words((rows * bits) as usize, seed(name, member)))
}

pub(super) fn drop_block_columns(case: &mut Case) {
    for (map, rows) in MAPS.into_iter().zip([1, 3, 2].into_iter().cycle()) {
        let of_map = params(map, [4, 4]);
        let out = Slot::out("covered", (rows + 2) * of_map.bits(), rows * of_map.bits());
        case.check(&rates(rows, &[0.5, 0.5]), [bits("seeded", &of_map, rows, rows + 2), out], |[seeded, covered]| {
            let params = DropBlockParams { seeded_stride: seeded.stride, covered_stride: covered.stride, ..of_map };
            DropBlockColumns { params, seeded, covered }
        });
    }
}

/// Bits, input and output of a batch of maps. What is dropped is no number.
fn slots(
    [input, output]: [&'static str; 2],
    map: ([u32; 3], u32),
    rows: u32,
    padded: [u32; 2],
) -> ([Slot<'static>; 3], DropBlockParams) {
    let (of_map, [channels, height, width], batch) = (params(map, padded), map.0, rows + 2);
    let (pixels, row_words, of_row) = (height * width, channels.next_multiple_of(padded[0]), 4 * of_map.channel_quads);
    let values = move |m: u32| {
        let bits = words((rows * of_map.bits()) as usize, seed("covered", m));
        let mut values = padded_to(padded[0], rows * pixels, channels, seed(input, m));
        for (pixel, row) in (0..).zip(values.chunks_mut(row_words as usize)) {
            for (channel, value) in (0..channels).zip(row) {
                let (y, x) = (pixel / width, pixel % width);
                let word = bits[((y * of_map.words + x / 32) * of_row + channel) as usize];
                *value = if word >> (x % 32) & 1 == 1 { f32::NAN.to_bits() } else { *value };
            }
        }
        values
    };
    let x = Slot::own(input, batch * pixels * row_words, values);
    let y = Slot::out_rows(output, batch * pixels, rows * pixels, channels, padded[1]);
    ([bits("covered", &of_map, rows, batch), x, y], of_map)
}

const PADDED: [[u32; 2]; 3] = [[4, 64], [64, 4], [4, 4]];

pub(super) fn drop_block_forward(case: &mut Case) {
    for (map, (rows, padded)) in MAPS.into_iter().zip([1, 3, 2].into_iter().zip(PADDED).cycle()) {
        let (slots, of_map) = slots(["x", "y"], map, rows, padded);
        case.check(&rates(rows, &[0.5, 0.8]), slots, |[hidden, x, y]| {
            let strides = (hidden.stride, x.stride, y.stride);
            let params = DropBlockParams { covered_stride: strides.0, in_stride: strides.1, out_stride: strides.2, ..of_map };
            DropBlockForward { params, site: 1, hidden, x, y }
        });
    }
}

pub(super) fn drop_block_backward(case: &mut Case) {
    for (map, (rows, padded)) in MAPS.into_iter().zip([2, 1, 3].into_iter().zip(PADDED).cycle()) {
        let (slots, of_map) = slots(["dy", "dx"], map, rows, padded);
        case.check(&rates(rows, &[0.5, 0.8]), slots, |[hidden, dy, dx]| {
            let strides = (hidden.stride, dy.stride, dx.stride);
            let params = DropBlockParams { covered_stride: strides.0, in_stride: strides.1, out_stride: strides.2, ..of_map };
            DropBlockBackward { params, site: 1, hidden, dy, dx }
        });
    }
}
