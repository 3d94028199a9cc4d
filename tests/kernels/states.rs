//! Cases of what comes out of a recurrent layer, every state or the last, of one direction or of two.

use thinnet::kernels::states::{StatesBackward, StatesForward, StatesParams, StatesVariant};

use super::layout::{matrix, sizes};
use super::{Case, Slot, on_device};
use crate::common::step;

/// Steps and states of a direction: quads of y that are of both directions, and not.
const LAYERS: [[u32; 2]; 9] = [[1, 1], [1, 8], [7, 1], [4, 4], [5, 2], [3, 3], [29, 33], [13, 5], [9, 64]];

/// Lengths from 0 to more than all steps.
fn lengths(rows: u32, batch: u32, steps: u32) -> Slot<'static> {
    Slot::own("lengths", batch, move |m| (0..rows).map(|n| (5 * n + m + steps) % (steps + 2)).collect())
}

fn outputs(variant: StatesVariant, columns: u32) -> u32 {
    columns * if variant.both { 2 } else { 1 }
}

/// Rows of y of `samples` samples.
fn rows_of(variant: StatesVariant, samples: u32, steps: u32) -> u32 {
    samples * if variant.last { 1 } else { steps }
}

fn variants(backward: bool) -> impl Iterator<Item = StatesVariant> {
    let all = [false, true].into_iter().flat_map(|last| [(false, false), (true, false), (true, true)].map(|both| (last, both)));
    let of = all.map(|(last, (both, reverse))| StatesVariant { both, last, reverse });
    of.filter(move |variant| backward || !variant.reverse)
}

pub(super) fn states_forward(case: &mut Case) {
    for ([steps, columns], variant) in LAYERS.into_iter().flat_map(|layer| variants(false).map(move |variant| (layer, variant))) {
        for (rows, batch, row_words, members) in sizes() {
            let slots = [
                lengths(rows, batch, steps),
                matrix("a", batch * steps, rows * steps, columns, row_words),
                matrix("b", batch * steps, rows * steps, columns, row_words),
                Slot::out_rows(
                    "y",
                    rows_of(variant, batch, steps),
                    rows_of(variant, rows, steps),
                    outputs(variant, columns),
                    row_words,
                ),
            ];
            case.check(&step(rows, members, &[]), slots, |[lengths, a, b, y]| {
                let params = StatesParams {
                    lengths_stride: lengths.stride,
                    a_stride: a.stride,
                    b_stride: b.stride,
                    y_stride: y.stride,
                    ..StatesParams::new([steps, columns], row_words, variant)
                };
                StatesForward { params, variant, lengths, a, b, y }
            });
        }
    }
}

pub(super) fn states_backward(case: &mut Case) {
    for ([steps, columns], variant) in LAYERS.into_iter().flat_map(|layer| variants(true).map(move |variant| (layer, variant))) {
        for (rows, batch, row_words, members) in sizes() {
            let (of_batch, valid) = (rows_of(variant, batch, steps), rows_of(variant, rows, steps));
            let slots = [
                lengths(rows, batch, steps),
                matrix("dy", of_batch, valid, outputs(variant, columns), row_words),
                Slot::out_rows("dx", batch * steps, rows * steps, columns, row_words),
            ];
            case.check(&step(rows, members, &[]), slots, |[lengths, dy, dx]| {
                let params = StatesParams {
                    lengths_stride: lengths.stride,
                    a_stride: dx.stride,
                    y_stride: dy.stride,
                    ..StatesParams::new([steps, columns], row_words, variant)
                };
                StatesBackward { params, variant, lengths, dy, dx }
            });
        }
    }
}

/// Two samples of 3 steps, of which the first has 2 and the second none, and 3 states of each direction; the words tell
/// direction, sample, step and state.
fn states(direction: u32) -> Vec<u32> {
    let rows = [0, 1].into_iter().flat_map(|n| [0, 1, 2].map(|t| 1000 * direction + 100 * n + 10 * t));
    rows.flat_map(|row| [row + 1, row + 2, row + 3, 0]).collect()
}

const LENGTHS: [u32; 2] = [2, 0];

/// Known places, so that twin and shader are not wrong together.
#[test]
fn the_states_of_both_directions_stand_side_by_side() {
    for (last, expected) in [
        // The forward direction has seen all of the first sample at step 1, the reverse one at step 0.
        (true, vec![1011, 1012, 1013, 2001, 2002, 2003]),
        (false, vec![1001, 1002, 1003, 2001, 2002, 2003, 0, 0, 1011, 1012, 1013, 2011, 2012, 2013]),
    ] {
        let variant = StatesVariant { both: true, last, reverse: false };
        let params = StatesParams::new([3, 3], 4, variant);
        let len = 8 * if last { 2 } else { 6 };
        let slots = [
            Slot::own("lengths", 2, |_| LENGTHS.to_vec()),
            Slot::own("a", 24, |_| states(1)),
            Slot::own("b", 24, |_| states(2)),
            Slot::out("y", len, len),
        ];
        let [.., y] =
            on_device(&step(2, 1, &[]), slots, |[lengths, a, b, y]| StatesForward { params, variant, lengths, a, b, y });
        let mut expected = expected;
        expected.resize(len as usize, 0);
        assert_eq!(y, expected, "last {last}");
    }
}

#[test]
fn the_gradient_of_a_state_is_that_of_where_it_went() {
    for (reverse, row) in [(false, 1), (true, 0)] {
        let variant = StatesVariant { both: true, last: true, reverse };
        let params = StatesParams::new([3, 3], 4, variant);
        let slots =
            [Slot::own("lengths", 2, |_| LENGTHS.to_vec()), Slot::own("dy", 16, |_| (1..=16).collect()), Slot::out("dx", 24, 24)];
        let [.., dx] =
            on_device(&step(2, 1, &[]), slots, |[lengths, dy, dx]| StatesBackward { params, variant, lengths, dy, dx });
        let mut expected = vec![0; 24];
        expected[4 * row..4 * row + 3].copy_from_slice(if reverse { &[4, 5, 6] } else { &[1, 2, 3] });
        assert_eq!(dx, expected, "reverse {reverse}");
    }
}
