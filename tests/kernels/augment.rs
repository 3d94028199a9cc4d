//! Cases of augmentation: the partners of mixup, and the changes of rows.

use thinnet::kernels::augment::{Augment, AugmentParams, Changes};
use thinnet::kernels::mixup::{MIX, MixupParams, MixupPartners};
use thinnet::step::Step;
use thinnet::{Augmentation, Shape};

use super::loss::{ROWS, mix_of, rows_of};
use super::{Case, Slot, bits, on_device, seed};
use crate::common::{POISON, numbers, step, words};

/// Sample numbers of the caller's own: none is that of its row.
fn ids(rows: u32) -> Vec<u32> {
    (0..rows).map(|row| 1_000_000 + 3 * row).collect()
}

/// (valid rows, rows of the batch, members)
const BATCHES: [(u32, u32, u32); 4] = [(1, 1, 1), (33, 40, 2), (65, 65, 1), (67, 140, 2)];

pub(super) fn mixup_partners(case: &mut Case) {
    for (valid, batch, members) in BATCHES {
        for (alpha, epoch) in [(0.2, 0), (1.0, 7), (3.0, u32::MAX)] {
            let slots = [
                Slot::own("rows", batch, move |m| rows_of(valid, m)),
                Slot::own("samples", batch, move |m| words(valid as usize, seed("samples", m))),
                Slot::shared("ids", ids(ROWS)),
                Slot::out("partners", batch, valid),
                Slot::out("mix", MIX * batch, MIX * valid),
            ];
            let step = Step { epoch, ..step(valid, members, &[]) };
            case.check(&step, slots, |[rows, samples, ids, partners, mix]| {
                let params = MixupParams {
                    rows_stride: rows.stride,
                    samples_stride: samples.stride,
                    partners_stride: partners.stride,
                    mix_stride: mix.stride,
                    ..MixupParams::new(ROWS, alpha)
                };
                MixupPartners { params, rows, samples, ids, partners, mix }
            });
        }
    }
}

/// Samples of these shapes: images of one channel and of several, narrower than a quad, odd, and rows of features.
const SHAPES: [&[u32]; 7] = [&[1, 28, 28], &[3, 9, 7], &[2, 1, 1], &[3, 2, 3], &[1, 1, 257], &[31], &[4]];

/// What is changed of a shape: everything, and each by itself.
fn changes(shape: &Shape) -> Vec<Augmentation> {
    let [height, width] = shape.map();
    let none = Augmentation::default();
    let noise = Augmentation { noise: 0.3, ..none };
    let mixup = Augmentation { mixup: 0.4, ..none };
    if shape.0.len() != 3 {
        return vec![noise, mixup, Augmentation { noise: 10.0, ..mixup }];
    }
    let shift = (height.min(width) - 1).min(3);
    let cutout = height.max(width).min(4) / 2 * 2 + 1;
    let all = Augmentation { shift, flip: true, noise: 0.3, cutout, mixup: 0.4 };
    vec![
        Augmentation { shift: shift.max(1), ..none },
        Augmentation { flip: true, ..none },
        Augmentation { cutout: cutout - 1, flip: true, ..none },
        Augmentation { cutout, shift, ..mixup },
        Augmentation { noise: 1e-3, flip: true, ..none },
        noise,
        mixup,
        all,
        Augmentation { mixup: 0.0, ..all },
    ]
}

/// One augmentation of one shape; each of the matrices has rows of its own length, some longer than what is in use.
fn check(case: &mut Case, shape: &Shape, augment: &Augmentation, (valid, batch, members): (u32, u32, u32)) {
    let (columns, used) = (shape.elements(), shape.elements().next_multiple_of(4));
    let [x_row, other_row, y_row] = [used + 8, used, used + 4];
    // Rows padded with 0 to the quads in use and with poison behind.
    let matrix = move |name: &str, m, row: u32| {
        let mut words = Vec::new();
        for values in numbers((valid * columns) as usize, seed(name, m)).chunks(columns as usize) {
            words.extend(bits(values.iter().copied()));
            words.resize(words.len() + (used - columns) as usize, 0);
            words.resize(words.len() + (row - used) as usize, POISON);
        }
        words
    };
    let slots = [
        Slot::own("samples", batch, move |m| words(valid as usize, seed("samples", m))),
        Slot::own("mix", MIX * batch, move |m| mix_of(valid, m)),
        Slot::own("x", batch * x_row, move |m| matrix("x", m, x_row)),
        Slot::own("other", batch * other_row, move |m| matrix("other", m, other_row)),
        Slot { written: [valid, used, y_row].map(|n| n as usize), ..Slot::out("y", batch * y_row, 0) },
    ];
    let step = Step { epoch: 5, ..step(valid, members, &[]) };
    case.check(&step, slots, |[samples, mix, x, other, y]| {
        let params = AugmentParams {
            x_row: x_row / 4,
            other_row: other_row / 4,
            y_row: y_row / 4,
            samples_stride: samples.stride,
            mix_stride: mix.stride,
            x_stride: x.stride,
            other_stride: other.stride,
            y_stride: y.stride,
            ..AugmentParams::new(augment, shape, 0)
        };
        Augment { params, changes: Changes::of(augment), samples, mix, x, other, y }
    });
}

pub(super) fn augment(case: &mut Case) {
    for (shape, batch) in SHAPES.iter().flat_map(|shape| BATCHES.map(|batch| (Shape(shape.to_vec()), batch))) {
        changes(&shape).iter().for_each(|augment| check(case, &shape, augment, batch));
    }
}

/// Of a dropped NaN nothing is left: what is shifted out, or lies in the square, is selected, not multiplied.
#[test]
fn a_nan_that_is_cut_out_is_gone() {
    let (shape, rows) = (Shape(vec![1, 4, 4]), 40);
    let augment = Augmentation { cutout: 4, ..Augmentation::default() };
    let slots = [
        Slot::own("samples", rows, move |_| (0..rows).collect()),
        Slot::own("x", 16 * rows, move |_| vec![f32::NAN.to_bits(); 16 * rows as usize]),
        Slot::out("y", 16 * rows, 16 * rows),
    ];
    let [.., y] = on_device(&step(rows, 1, &[]), slots, |[samples, x, y]| {
        let params = AugmentParams::new(&augment, &shape, 4);
        Augment { params, changes: Changes::of(&augment), samples, mix: samples, x, other: x, y }
    });
    let nan = y.iter().filter(|&&word| f32::from_bits(word).is_nan()).count();
    let zeros = y.iter().filter(|&&word| word == 0).count();
    assert!(nan > 0 && zeros > 0 && nan + zeros == y.len(), "{nan} NaNs, {zeros} zeros of {}", y.len());
}
