//! Cases of the kernels between the layouts of sequences, and of the lengths of those of a batch.

use thinnet::kernels::sequence::{BatchLengths, PlanarToSteps, SequenceParams, StepsToPlanar};

use super::layout::{matrix, sizes};
use super::{Case, Slot, on_device, seed};
use crate::common::{step, words};

/// Steps and features: rows of steps that begin at quads of a planar row, and not; one step, one feature; quads of four steps.
pub(super) const SEQUENCES: [[u32; 2]; 12] =
    [[1, 1], [1, 7], [7, 1], [4, 4], [29, 12], [3, 3], [5, 2], [2, 6], [31, 5], [13, 33], [257, 3], [33, 64]];

pub(super) fn planar_to_steps(case: &mut Case) {
    for [steps, features] in SEQUENCES {
        for (rows, batch, row_words, members) in sizes() {
            let slots = [
                matrix("x", batch, rows, steps * features, row_words),
                Slot::out_rows("y", batch * steps, rows * steps, features, row_words),
            ];
            case.check(&step(rows, members, &[]), slots, |[x, y]| {
                let params = SequenceParams::new([steps, features], row_words);
                PlanarToSteps { params: SequenceParams { x_stride: x.stride, y_stride: y.stride, ..params }, x, y }
            });
        }
    }
}

pub(super) fn steps_to_planar(case: &mut Case) {
    for [steps, features] in SEQUENCES {
        for (rows, batch, row_words, members) in sizes() {
            let slots = [
                matrix("x", batch * steps, rows * steps, features, row_words),
                Slot::out_rows("y", batch, rows, steps * features, row_words),
            ];
            case.check(&step(rows, members, &[]), slots, |[x, y]| {
                let params = SequenceParams::new([steps, features], row_words);
                StepsToPlanar { params: SequenceParams { x_stride: x.stride, y_stride: y.stride, ..params }, x, y }
            });
        }
    }
}

/// Rows of the data set of the cases of lengths.
const ROWS: u32 = 70;

pub(super) fn batch_lengths(case: &mut Case) {
    for (valid, batch, members) in [(1, 1, 1), (31, 33, 1), (33, 34, 2), (257, 300, 2)] {
        for (steps, of_members) in [(1, false), (29, false), (29, true)] {
            let data = |m| words(ROWS as usize, seed("data_lengths", m)).into_iter().map(|word| word % 60).collect();
            let data_lengths =
                if of_members { Slot::own("data_lengths", ROWS, data) } else { Slot::shared("data_lengths", data(0)) };
            let chosen = move |m| words(valid as usize, seed("rows", m)).into_iter().map(|word| word % ROWS).collect();
            let slots = [data_lengths, Slot::own("rows", batch, chosen), Slot::out("lengths", batch, valid)];
            case.check(&step(valid, members, &[]), slots, |[data_lengths, rows, lengths]| {
                let params = SequenceParams {
                    data_lengths_stride: data_lengths.stride,
                    rows_stride: rows.stride,
                    lengths_stride: lengths.stride,
                    ..SequenceParams::new([steps, 3], 4)
                };
                BatchLengths { params, data_lengths, rows, lengths }
            });
        }
    }
}

/// Known places, so that twin and shader are not wrong together.
#[test]
fn an_element_of_a_sequence_goes_where_the_layouts_say() {
    // Two sequences of 2 steps of 3 features; the words tell sample, step and feature.
    let planar = || vec![111, 112, 113, 121, 122, 123, 0, 0, 211, 212, 213, 221, 222, 223, 0, 0];
    let steps = || vec![111, 112, 113, 0, 121, 122, 123, 0, 211, 212, 213, 0, 221, 222, 223, 0];
    let params = SequenceParams::new([2, 3], 4);
    let of_two = step(2, 1, &[]);
    let slots = [Slot::own("x", 16, |_| planar()), Slot::out("y", 16, 16)];
    let [_, y] = on_device(&of_two, slots, |[x, y]| PlanarToSteps { params, x, y });
    assert_eq!(y, steps());
    let slots = [Slot::own("x", 16, |_| steps()), Slot::out("y", 16, 16)];
    let [_, y] = on_device(&of_two, slots, |[x, y]| StepsToPlanar { params, x, y });
    assert_eq!(y, planar());
}

#[test]
fn the_lengths_of_a_batch_are_those_of_its_rows_and_at_most_all_steps() {
    let params = SequenceParams::new([9, 3], 4);
    let slots =
        [Slot::shared("data_lengths", vec![7, 4, 0, 12]), Slot::own("rows", 3, |_| vec![3, 2, 1]), Slot::out("lengths", 3, 3)];
    let kernel = |[data_lengths, rows, lengths]: [_; 3]| BatchLengths { params, data_lengths, rows, lengths };
    let [.., lengths] = on_device(&step(3, 1, &[]), slots, kernel);
    assert_eq!(lengths, [9, 0, 4]);
}
