//! Cases of the loss and of the metrics.

use thinnet::kernels::loss::{CrossEntropy, CrossEntropyForward, LossParams};
use thinnet::kernels::metrics::{Metrics, MetricsParams};
use thinnet::memory::Tensor;
use thinnet::step::Step;

use super::{Case, Slot, bits, on_device, seed};
use crate::common::{POISON, numbers, step, words};

/// Rows of the data set.
pub(super) const ROWS: u32 = 50;

/// The rows of a batch, none of them at its own place.
pub(super) fn rows_of(rows: u32, member: u32) -> Vec<u32> {
    (0..rows).map(|i| (7 * i + 3 + 11 * member) % ROWS).collect()
}

/// The same rows with partners, some of them the rows themselves, and shares of 1, of one half and between; no loss reads the last word.
pub(super) fn mix_of(rows: u32, member: u32) -> Vec<u32> {
    let word = |(i, row): (u32, u32)| {
        let share = [1.0f32, 0.5, 0.75 + 1.0 / (1 << 24) as f32, 1.0 - 1.0 / (1 << 24) as f32, 0.9][i as usize % 5];
        [row, if i % 4 == 3 { row } else { (row + 1 + i % 7) % ROWS }, share.to_bits(), POISON - i]
    };
    (0..).zip(rows_of(rows, member)).flat_map(word).collect()
}

/// Labels of all rows: the first class, the last, and any.
fn labels(classes: u32) -> Vec<u32> {
    let label = |(i, word)| [0, classes - 1, word % classes][i % 3];
    words(ROWS as usize, 77).into_iter().enumerate().map(label).collect()
}

/// The logits of row `i`: ordinary, huge, all alike, tied at the top, with powers that are denormal, wide.
fn logits_of_row(i: u32, values: &[f32]) -> Vec<f32> {
    let n = values.len();
    let logit = |c: usize| match i % 6 {
        0 => 3.0 * values[c],
        1 => 300.0 * values[c].signum(),
        2 => values[0],
        3 => 7.0 * f32::from(u8::from(c == n / 3 || c == 2 * n / 3)),
        4 if c == n / 2 => 0.0,
        4 => -86.5 + 2.5 * values[c],
        _ => 50.0 * values[c],
    };
    (0..n).map(logit).collect()
}

/// Padded rows; the padding is poison, because nothing may read it.
fn logits(rows: u32, classes: u32, member: u32) -> Vec<u32> {
    let values = numbers((rows * classes) as usize, seed("logits", member));
    let mut words = Vec::new();
    for (row, values) in (0..).zip(values.chunks(classes as usize)) {
        words.extend(bits(logits_of_row(row + member, values)));
        words.resize(words.len().next_multiple_of(4), POISON);
    }
    words
}

fn params(classes: u32, [rows, logits, loss, correct]: [Tensor; 4]) -> LossParams {
    LossParams {
        classes,
        row_stride: classes.next_multiple_of(4),
        rows_stride: rows.stride,
        logits_stride: logits.stride,
        loss_stride: loss.stride,
        correct_stride: correct.stride,
        ..LossParams::default()
    }
}

/// (valid rows, rows of the batch, classes, members)
fn shapes() -> impl Iterator<Item = (u32, u32, u32, u32)> {
    let sizes = [1, 31, 33, 67].into_iter().flat_map(|rows| [1, 2, 5, 10, 257].map(|classes| (rows, classes)));
    sizes.flat_map(|(rows, classes)| [(rows, rows, classes, 1), (rows, rows + 70, classes, 2)])
}

fn inputs(rows: u32, batch: u32, classes: u32) -> [Slot<'static>; 5] {
    [
        Slot::own("rows", batch, move |m| rows_of(rows, m)),
        Slot::shared("labels", labels(classes)),
        Slot::own("logits", batch * classes.next_multiple_of(4), move |m| logits(rows, classes, m)),
        Slot::out("loss", batch, rows),
        Slot::out("correct", batch, rows),
    ]
}

pub(super) fn cross_entropy(case: &mut Case) {
    for (valid, batch, classes, members) in shapes() {
        let [rows, labels, logits, loss, correct] = inputs(valid, batch, classes);
        let columns = classes.next_multiple_of(4);
        let dlogits = || Slot::out("dlogits", batch * columns, valid * columns);
        let step = Step { batch_rows: valid + 3, ..step(valid, members, &[]) };
        let mut check = |slots, mixup| {
            case.check(&step, slots, |[rows, labels, logits, loss, correct, dlogits]| {
                let params = LossParams { dlogits_stride: dlogits.stride, ..params(classes, [rows, logits, loss, correct]) };
                CrossEntropy { params, mixup, rows, labels, logits, loss, correct, dlogits }
            });
        };
        check([rows, labels, logits, loss, correct, dlogits()], false);
        let mix = Slot::own("rows", 4 * batch, move |m| mix_of(valid, m));
        let [_, labels, logits, loss, correct] = inputs(valid, batch, classes);
        check([mix, labels, logits, loss, correct, dlogits()], true);
    }
}

pub(super) fn cross_entropy_forward(case: &mut Case) {
    for (valid, batch, classes, members) in shapes() {
        let slots = inputs(valid, batch, classes);
        case.check(&step(valid, members, &[]), slots, |[rows, labels, logits, loss, correct]| {
            let params = params(classes, [rows, logits, loss, correct]);
            CrossEntropyForward { params, rows, labels, logits, loss, correct }
        });
    }
}

/// Known answers, so that twin and shader are not wrong together.
#[test]
fn the_loss_of_certain_and_of_undecided_rows() {
    let logits: [[f32; 4]; 4] = [[0.0; 4], [300.0, -300.0, 0.0, 0.0], [300.0, -300.0, 0.0, 0.0], [5.0, 5.0, 0.0, 0.0]];
    let slots = [
        Slot::own("rows", 4, |_| vec![3, 2, 1, 0]),
        Slot::shared("labels", vec![1, 1, 0, 3]),
        Slot::own("logits", 16, |_| bits(logits.into_iter().flatten())),
        Slot::out("loss", 4, 4),
        Slot::out("correct", 4, 4),
        Slot::out("dlogits", 16, 16),
    ];
    // Half of a batch of eight rows: the gradient is a mean over all of them.
    let step = Step { batch_rows: 8, accumulated: 4, ..step(4, 1, &[]) };
    let [.., loss, correct, dlogits] = on_device(&step, slots, |[rows, labels, logits, loss, correct, dlogits]| {
        let params = params(4, [rows, logits, loss, correct]);
        CrossEntropy { params, mixup: false, rows, labels, logits, loss, correct, dlogits }
    });
    // Of two largest logits the first counts: the last row's label is the second of them.
    assert_eq!(correct, [0, 1, 0, 0]);
    let loss: Vec<f32> = loss.into_iter().map(f32::from_bits).collect();
    assert!((loss[0] - 4f32.ln()).abs() < 1e-5 && loss[1].abs() < 1e-5 && (loss[2] - 600.0).abs() < 1e-3, "{loss:?}");
    let dlogits: Vec<f32> = dlogits.into_iter().map(f32::from_bits).collect();
    for (row, expected) in [[0.25, 0.25, 0.25, -0.75], [0.0; 4], [1.0, -1.0, 0.0, 0.0]].into_iter().enumerate() {
        for c in 0..4 {
            let (got, expected) = (dlogits[4 * row + c], expected[c] / 8.0);
            assert!((got - expected).abs() < 1e-6, "row {row}, class {c}: {got}, expected {expected}");
        }
    }
}

/// A batch somewhere in an epoch.
fn batch_at(rows: u32, members: u32, position: u32, slot: u32) -> Step {
    Step { position, slot, ..step(rows, members, &[]) }
}

pub(super) fn metrics(case: &mut Case) {
    let slots_per_member = 9;
    for rows in [1, 31, 33, 63, 64, 65, 257, 1000] {
        for (members, position, slot) in [(1, 0, 0), (2, 0, 8), (1, 64, 4), (2, 1, 3), (2, 7, 8)] {
            let losses = move |m| bits(numbers(rows as usize, seed("loss", m)).into_iter().map(f32::abs));
            let hits = move |m| words(rows as usize, seed("correct", m)).into_iter().map(|w| w % 2).collect();
            // The first batch of an epoch overwrites what is there, NaN and all; later ones add to it.
            let count = if position == 0 { 0 } else { slots_per_member };
            let before = move |m| bits(numbers(count as usize, seed("losses", m)).into_iter().map(|v| 20.0 * v.abs()));
            let slots = [
                Slot::own("loss", rows + 5, losses),
                Slot::own("correct", rows + 5, hits),
                Slot::own("losses", slots_per_member, before),
                Slot::own("hits", slots_per_member, move |m| (0..count).map(|i| 10 * i + m).collect()),
            ];
            case.check(&batch_at(rows, members, position, slot), slots, |[loss, correct, losses, hits]| {
                let params = MetricsParams {
                    loss_stride: loss.stride,
                    correct_stride: correct.stride,
                    losses_stride: losses.stride,
                    hits_stride: hits.stride,
                };
                Metrics { params, loss, correct, losses, hits }
            });
        }
    }
}
