//! Cases of the losses against numbers.

use thinnet::kernels::loss::LossParams;
use thinnet::kernels::targets::{BinaryCrossEntropy, BinaryCrossEntropyForward, SquaredError, SquaredErrorForward};
use thinnet::memory::Tensor;
use thinnet::step::Step;

use super::loss::{ROWS, mix_of, rows_of};
use super::{Case, Slot, bits, on_device, seed};
use crate::common::{POISON, numbers, step};

/// (valid rows, rows of the batch, outputs, members)
fn shapes() -> impl Iterator<Item = (u32, u32, u32, u32)> {
    let outputs = [1, 3, 4, 5, 33, 257];
    let sizes = [1, 31, 65].into_iter().flat_map(move |rows| outputs.map(|outputs| (rows, outputs)));
    sizes.flat_map(|(rows, outputs)| [(rows, rows, outputs, 1), (rows, rows + 2, outputs, 2)])
}

/// The targets of row `i`: all 0, all 1, either, any in between, and beyond the range.
fn targets_of_row(i: u32, values: &[f32]) -> Vec<f32> {
    let target = |c: usize| match i % 5 {
        0 => 0.0,
        1 => 1.0,
        2 => f32::from(u8::from(values[c] > 0.0)),
        3 => (values[c] + 1.0) / 2.0,
        _ => 3.0 * values[c],
    };
    (0..values.len()).map(target).collect()
}

/// The logits of row `i`: ordinary, sure of their targets and of the opposite, huge, tiny, zeros of both signs.
fn logits_of_row(i: u32, values: &[f32]) -> Vec<f32> {
    let logit = |c: usize| match i % 7 {
        0 => 3.0 * values[c],
        1 => 20.0 + 5.0 * values[c],
        2 => -20.0 + 5.0 * values[c],
        3 => 300.0 * values[c],
        4 => 1e-20 * values[c],
        5 => 0.0 * values[c],
        _ => 86.5 * values[c].signum() + values[c],
    };
    (0..values.len()).map(logit).collect()
}

/// Padded rows; the padding is poison, because nothing may read it.
pub(super) fn matrix(rows: u32, outputs: u32, values: &[f32], row: impl Fn(u32, &[f32]) -> Vec<f32>) -> Vec<u32> {
    let mut words = Vec::new();
    for (i, values) in (0..rows).zip(values.chunks(outputs as usize)) {
        words.extend(bits(row(i, values)));
        words.resize(words.len().next_multiple_of(4), POISON);
    }
    words
}

fn inputs(valid: u32, batch: u32, outputs: u32) -> [Slot<'static>; 5] {
    let columns = outputs.next_multiple_of(4);
    let targets = matrix(ROWS, outputs, &numbers((ROWS * outputs) as usize, 78), targets_of_row);
    let logits = move |m| {
        let values = numbers((valid * outputs) as usize, seed("logits", m));
        matrix(valid, outputs, &values, |i, values| logits_of_row(i + m, values))
    };
    [
        Slot::own("rows", batch, move |m| rows_of(valid, m)),
        Slot::shared("targets", targets),
        Slot::own("logits", batch * columns, logits),
        Slot::out("loss", batch, valid),
        Slot::out("correct", batch, valid),
    ]
}

pub(super) fn params(outputs: u32, [rows, logits, loss, correct]: [Tensor; 4]) -> LossParams {
    LossParams {
        classes: outputs,
        row_stride: outputs.next_multiple_of(4),
        targets_row: outputs.next_multiple_of(4),
        rows_stride: rows.stride,
        logits_stride: logits.stride,
        loss_stride: loss.stride,
        correct_stride: correct.stride,
        ..LossParams::default()
    }
}

macro_rules! training {
    ($name:ident, $kernel:ident) => {
        pub(super) fn $name(case: &mut Case) {
            for (valid, batch, outputs, members) in shapes() {
                let [rows, targets, logits, loss, correct] = inputs(valid, batch, outputs);
                let columns = outputs.next_multiple_of(4);
                let dlogits = || Slot::out("dlogits", batch * columns, valid * columns);
                let step = Step { batch_rows: 2 * valid + 1, ..step(valid, members, &[]) };
                let mut check = |slots, mixup| {
                    case.check(&step, slots, |[rows, targets, logits, loss, correct, dlogits]| {
                        let params = params(outputs, [rows, logits, loss, correct]);
                        let params = LossParams { dlogits_stride: dlogits.stride, ..params };
                        $kernel { params, mixup, rows, targets, logits, loss, correct, dlogits }
                    });
                };
                check([rows, targets, logits, loss, correct, dlogits()], false);
                let mix = Slot::own("rows", 4 * batch, move |m| mix_of(valid, m));
                let [_, targets, logits, loss, correct] = inputs(valid, batch, outputs);
                check([mix, targets, logits, loss, correct, dlogits()], true);
            }
        }
    };
}

macro_rules! evaluation {
    ($name:ident, $kernel:ident) => {
        pub(super) fn $name(case: &mut Case) {
            for (valid, batch, outputs, members) in shapes() {
                let slots = inputs(valid, batch, outputs);
                case.check(&step(valid, members, &[]), slots, |[rows, targets, logits, loss, correct]| {
                    let params = params(outputs, [rows, logits, loss, correct]);
                    $kernel { params, rows, targets, logits, loss, correct }
                });
            }
        }
    };
}

training!(binary_cross_entropy, BinaryCrossEntropy);
training!(squared_error, SquaredError);
evaluation!(binary_cross_entropy_forward, BinaryCrossEntropyForward);
evaluation!(squared_error_forward, SquaredErrorForward);

/// Three rows of three outputs, of which row 2 of the data set is sure and right, row 1 undecided, row 0 wrong in one.
fn known() -> [Slot<'static>; 6] {
    [
        Slot::own("rows", 3, |_| vec![2, 1, 0]),
        Slot::shared("targets", bits([1.0, 0.0, 0.0, 0.0, 0.25, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0])),
        Slot::own("logits", 12, |_| bits([30.0, -30.0, 30.0, 0.0, 0.0, 0.0, 0.0, 0.0, 200.0, 200.0, -1.0, 0.0])),
        Slot::out("loss", 3, 3),
        Slot::out("correct", 3, 3),
        Slot::out("dlogits", 12, 12),
    ]
}

pub(super) fn assert_close(got: &[u32], expected: &[f32]) {
    let got: Vec<f32> = got.iter().copied().map(f32::from_bits).collect();
    let near = got.iter().zip(expected).all(|(got, expected)| (got - expected).abs() <= 1e-5 * expected.abs());
    assert!(near && got.len() == expected.len(), "{got:?}, expected {expected:?}");
}

/// Known answers, so that twin and shader are not wrong together; the batch has twelve rows, of which these are three.
#[test]
fn the_losses_of_known_outputs() {
    let step = Step { batch_rows: 12, accumulated: 3, ..step(3, 1, &[]) };
    let [.., loss, correct, dlogits] =
        on_device(&step, known(), |[rows, targets, logits, loss, correct, dlogits]| BinaryCrossEntropy {
            params: params(3, [rows, logits, loss, correct]),
            mixup: false,
            rows,
            targets,
            logits,
            loss,
            correct,
            dlogits,
        });
    let (sure, two) = ((-30f32).exp(), std::f32::consts::LN_2);
    // log(1 + e^-30) is e^-30, of which a logarithm would leave nothing; log(1 + e^-1) = 0.313261...
    assert_close(&loss, &[sure, two, (200.0 + 0.313_261_7) / 3.0]);
    assert_eq!(correct, [1, 0, 0]);
    let low = 1.0 / (1.0 + 1f32.exp());
    let slopes = [0.0, sure, 0.0, 0.0, 0.25, -0.5, 0.5, 0.0, 0.0, 1.0, low, 0.0];
    assert_close(&dlogits[1..], &slopes.map(|s| s / 36.0)[1..]);

    let [.., loss, correct, dlogits] =
        on_device(&step, known(), |[rows, targets, logits, loss, correct, dlogits]| SquaredError {
            params: params(3, [rows, logits, loss, correct]),
            mixup: false,
            rows,
            targets,
            logits,
            loss,
            correct,
            dlogits,
        });
    assert_close(&loss, &[(29.0 * 29.0 * 2.0 + 900.0) / 3.0, 1.0625 / 3.0, (199.0 * 199.0 + 200.0 * 200.0 + 1.0) / 3.0]);
    assert_eq!(correct, [0; 3]);
    let slopes = [29.0, -30.0, 29.0, 0.0, -0.25, -1.0, 0.0, 0.0, 199.0, 200.0, -1.0, 0.0];
    assert_close(&dlogits, &slopes.map(|s| 2.0 * s / 36.0));
}

#[test]
fn a_nan_among_outputs_or_targets_is_in_the_loss_and_in_its_gradient() {
    for (t, z) in [(0.5, f32::NAN), (f32::NAN, 0.5), (f32::NAN, -100.0), (0.0, -f32::NAN)] {
        let slots = || {
            [
                Slot::own("rows", 1, |_| vec![0]),
                Slot::shared("targets", bits([0.0, t, 1.0, 0.0])),
                Slot::own("logits", 4, move |_| bits([1.0, z, 2.0, 0.0])),
                Slot::out("loss", 1, 1),
                Slot::out("correct", 1, 1),
                Slot::out("dlogits", 4, 4),
            ]
        };
        let step = step(1, 1, &[]);
        let binary = on_device(&step, slots(), |[rows, targets, logits, loss, correct, dlogits]| BinaryCrossEntropy {
            params: params(3, [rows, logits, loss, correct]),
            mixup: false,
            rows,
            targets,
            logits,
            loss,
            correct,
            dlogits,
        });
        let squared = on_device(&step, slots(), |[rows, targets, logits, loss, correct, dlogits]| SquaredError {
            params: params(3, [rows, logits, loss, correct]),
            mixup: false,
            rows,
            targets,
            logits,
            loss,
            correct,
            dlogits,
        });
        for [.., loss, _, dlogits] in [binary, squared] {
            let nan: Vec<bool> = dlogits.iter().chain(&loss).map(|&word| f32::from_bits(word).is_nan()).collect();
            assert_eq!(nan, [false, true, false, false, true], "z = {z}, t = {t}");
        }
    }
}
