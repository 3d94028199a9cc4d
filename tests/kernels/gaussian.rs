//! Cases of the Gaussian negative log-likelihood.

use thinnet::kernels::gaussian::{GaussianNll, GaussianNllForward};
use thinnet::kernels::loss::LossParams;
use thinnet::memory::Tensor;
use thinnet::network::LEAST_LOG_VARIANCE;
use thinnet::step::Step;

use super::loss::{ROWS, rows_of};
use super::targets::{assert_close, matrix, params};
use super::{Case, Slot, bits, on_device, seed};
use crate::common::{numbers, step};

/// (valid rows, rows of the batch, targets, members)
fn shapes() -> impl Iterator<Item = (u32, u32, u32, u32)> {
    let targets = [1, 2, 3, 4, 5, 33, 127];
    let sizes = [1, 31, 65].into_iter().flat_map(move |rows| targets.map(|targets| (rows, targets)));
    sizes.flat_map(|(rows, targets)| [(rows, rows, targets, 1), (rows, rows + 2, targets, 2)])
}

/// What a row of targets has its own stride for.
fn params_of(targets: u32, tensors: [Tensor; 4]) -> LossParams {
    LossParams { targets_row: targets.next_multiple_of(4), ..params(2 * targets, tensors) }
}

/// Means and log variances of row `i`: ordinary, nearly right, far off, precise beyond the bound, at both sides of it, so vague
/// that the precision is denormal or 0, tiny.
fn logits_of_row(i: u32, values: &[f32]) -> Vec<f32> {
    let (means, spreads) = values.split_at(values.len() / 2);
    let mean = |value: f32| match i % 7 {
        2 => 1e5 * value,
        6 => 1e-20 * value,
        _ => 3.0 * value,
    };
    let spread = |(c, value): (usize, f32)| match i % 7 {
        1 => -10.0 + 9.0 * value,
        3 => -21.0 + 3.0 * value,
        4 => [LEAST_LOG_VARIANCE, LEAST_LOG_VARIANCE.next_up(), LEAST_LOG_VARIANCE.next_down(), -0.0][c % 4],
        5 => [86.0, 88.0, 100.0, 300.0][c % 4] + value,
        6 => 1e-20 * value,
        _ => 3.0 * value,
    };
    means.iter().copied().map(mean).chain(spreads.iter().copied().enumerate().map(spread)).collect()
}

fn inputs(valid: u32, batch: u32, targets: u32) -> [Slot<'static>; 5] {
    let of_row = |i: u32, values: &[f32]| values.iter().map(|v| if i.is_multiple_of(3) { 0.0 } else { 3.0 * v }).collect();
    let wanted = matrix(ROWS, targets, &numbers((ROWS * targets) as usize, 79), of_row);
    let logits = move |m| {
        let values = numbers((valid * 2 * targets) as usize, seed("logits", m));
        matrix(valid, 2 * targets, &values, |i, values| logits_of_row(i + m, values))
    };
    [
        Slot::own("rows", batch, move |m| rows_of(valid, m)),
        Slot::shared("targets", wanted),
        Slot::own("logits", batch * (2 * targets).next_multiple_of(4), logits),
        Slot::out("loss", batch, valid),
        Slot::out("correct", batch, valid),
    ]
}

pub(super) fn gaussian_nll(case: &mut Case) {
    for (valid, batch, count, members) in shapes() {
        let [rows, targets, logits, loss, correct] = inputs(valid, batch, count);
        let columns = (2 * count).next_multiple_of(4);
        let slots = [rows, targets, logits, loss, correct, Slot::out("dlogits", batch * columns, valid * columns)];
        let step = Step { batch_rows: 2 * valid + 1, ..step(valid, members, &[]) };
        case.check(&step, slots, |[rows, targets, logits, loss, correct, dlogits]| {
            let params = LossParams { dlogits_stride: dlogits.stride, ..params_of(count, [rows, logits, loss, correct]) };
            GaussianNll { params, rows, targets, logits, loss, correct, dlogits }
        });
    }
}

pub(super) fn gaussian_nll_forward(case: &mut Case) {
    for (valid, batch, count, members) in shapes() {
        let slots = inputs(valid, batch, count);
        case.check(&step(valid, members, &[]), slots, |[rows, targets, logits, loss, correct]| {
            let params = params_of(count, [rows, logits, loss, correct]);
            GaussianNllForward { params, rows, targets, logits, loss, correct }
        });
    }
}

fn run(step: &Step, count: u32, slots: [Slot<'static>; 6]) -> [Vec<u32>; 6] {
    on_device(step, slots, |[rows, targets, logits, loss, correct, dlogits]| {
        let params = params_of(count, [rows, logits, loss, correct]);
        GaussianNll { params, rows, targets, logits, loss, correct, dlogits }
    })
}

/// Known answers, so that twin and shader are not wrong together; the batch has ten rows, of which these are three.
#[test]
fn the_likelihood_of_known_outputs() {
    let slots = [
        Slot::own("rows", 3, |_| vec![2, 1, 0]),
        Slot::shared("targets", bits([0.0, 1e10, 9.0, 9.0, 2.0, 0.5, 9.0, 9.0, 1.0, -1.0, 9.0, 9.0])),
        // Means, then log variances: of deviation 1 and 2; below the bound; precise and wrong, vague and wrong.
        Slot::own("logits", 12, |_| bits([3.0, 0.0, 0.0, 4f32.ln(), 2.0, 0.5, -20.5, -1e30, 1.0, 0.0, -20.0, 80.0])),
        Slot::out("loss", 3, 3),
        Slot::out("correct", 3, 3),
        Slot::out("dlogits", 12, 12),
    ];
    let [.., loss, correct, dlogits] = run(&Step { batch_rows: 10, ..step(3, 1, &[]) }, 2, slots);
    let (e20, far) = (20f32.exp(), 1e20 * (-80f32).exp());
    assert_close(&loss, &[(4.0 + 4f32.ln() + 0.25) / 4.0, -10.0, (-20.0 + e20 + 80.0 + far) / 4.0]);
    assert_eq!(correct, [0; 3]);
    let slopes = [2.0, 0.25, -1.5, 0.375, 0.0, 0.0, 0.0, 0.0, e20, -1e10 * (-80f32).exp(), (1.0 - e20) / 2.0, (1.0 - far) / 2.0];
    assert_close(&dlogits, &slopes.map(|s| s / 20.0));
}

#[test]
fn a_nan_among_outputs_or_targets_is_in_the_loss_and_in_its_gradient() {
    for (place, wanted) in [(0, [true, false, true, false]), (3, [false, true, false, true]), (4, [true, false, true, false])] {
        for nan in [f32::NAN, -f32::NAN] {
            let mut values = [1.0, -2.0, 0.5, 0.25, 1.5, -0.5];
            values[place] = nan;
            let slots = [
                Slot::own("rows", 1, |_| vec![0]),
                Slot::shared("targets", bits([values[4], values[5], 0.0, 0.0])),
                Slot::own("logits", 4, move |_| bits(values[..4].to_vec())),
                Slot::out("loss", 1, 1),
                Slot::out("correct", 1, 1),
                Slot::out("dlogits", 4, 4),
            ];
            let [.., loss, _, dlogits] = run(&step(1, 1, &[]), 2, slots);
            let found: Vec<bool> = dlogits.iter().map(|&word| f32::from_bits(word).is_nan()).collect();
            assert_eq!((found.as_slice(), f32::from_bits(loss[0]).is_nan()), (wanted.as_slice(), true), "value {place}");
        }
    }
}

/// The greatest finite gradient: 8e14 off at the bound, whose square times e^20 f32 still holds.
#[test]
fn nothing_overflows_at_the_bound() {
    let slots = [
        Slot::own("rows", 1, |_| vec![0]),
        Slot::shared("targets", bits([0.0; 4])),
        Slot::own("logits", 4, |_| bits([8e14, f32::MIN, 0.0, 0.0])),
        Slot::out("loss", 1, 1),
        Slot::out("correct", 1, 1),
        Slot::out("dlogits", 4, 4),
    ];
    let [.., loss, _, dlogits] = run(&step(1, 1, &[]), 1, slots);
    assert_close(&loss, &[6.4e29 * 20f32.exp() / 2.0]);
    assert_close(&dlogits, &[8e14 * 20f32.exp(), 0.0, 0.0, 0.0]);
}
