//! Which element has which word: every unit, from the words of the contract alone.

use super::*;
use crate::network::{Blocks, DropoutMode, Layer, Shape};

/// The factors of a dropout layer over samples of ones.
fn factors(shape: &[u32], dropout: Dropout) -> Vec<f64> {
    let network =
        Network { input: Shape(shape.to_vec()), ..Network::new(1).dropout(dropout).layer(Layer::Flatten).dense(Dense::new(1)) };
    let (weights, elements) = (random_weights(&network), shape.iter().product::<u32>() as usize);
    forward(&network, &weights, &vec![1.0; elements * SAMPLES.len()], &DRAWN).unwrap().remove(0)
}

/// The word of a unit at site 4: of a sample, or of the batch.
fn word(batch: bool, sample: u32, unit: u32) -> u32 {
    let counter = if batch { [unit / 4, 0, UPDATE, 6 << 24 | 4] } else { [unit / 4, sample, PASS, 4] };
    rng::philox4x32_10(counter, [3, 7 << 8])[unit as usize % 4]
}

/// The factor that a unit's word gives at keep_prob 0.5.
fn factor(mode: DropoutMode, word: u32) -> f64 {
    match (word < 1 << 31, mode) {
        (false, _) => 0.0,
        (true, DropoutMode::Vanilla) => 1.0,
        (true, _) => 2.0,
    }
}

#[test]
fn elements_have_the_words_of_their_units() {
    let (channels, height, width) = (3, 4, 5);
    // The unit of (c, y, x), written out.
    type Place = fn([u32; 3]) -> u32;
    let units: [(Unit, Place); 6] = [
        (Unit::Element, |[c, y, x]| (c * 4 + y) * 5 + x),
        (Unit::Spatial2d, |[c, _, _]| c),
        (Unit::shared(&[0]).unwrap(), |[_, y, x]| y * 5 + x),
        (Unit::shared(&[0, 2]).unwrap(), |[_, y, _]| y),
        (Unit::shared(&[1]).unwrap(), |[c, _, x]| c * 5 + x),
        (Unit::Path, |_| 0),
    ];
    for (unit, place) in units {
        for mode in [DropoutMode::Inverted, DropoutMode::Vanilla, DropoutMode::Batch] {
            let dropout = Dropout { unit, mode, ..Dropout::keep(0.5).unwrap().site(4) };
            let mut found = factors(&[channels, height, width], dropout).into_iter();
            for sample in SAMPLES {
                for e in 0..channels * height * width {
                    let at = place([e / (height * width), e / width % height, e % width]);
                    let expected = factor(mode, word(mode == DropoutMode::Batch, sample, at));
                    assert_eq!(found.next(), Some(expected), "{unit:?} {mode:?} sample {sample} element {e}");
                }
            }
        }
    }
    let dropout = Dropout::keep(0.5).unwrap().site(4);
    let channels = factors(&[4, 3], dropout.unit(Unit::Spatial1d));
    let volumes = factors(&[4, 1, 3, 1], dropout.unit(Unit::Spatial3d));
    for (e, (found, volume)) in channels.iter().zip(volumes).enumerate() {
        let expected = factor(DropoutMode::Inverted, word(false, SAMPLES[e / 12], e as u32 % 12 / 3));
        assert_eq!((*found, volume), (expected, expected));
    }
}

/// DropBlock pixel by pixel: dropped if a seed's square reaches it, the squares that begin inside the map only.
#[test]
fn blocks_drop_the_squares_of_their_seeds() {
    let (height, width) = (5u32, 7u32);
    for size in [1, 2, 3, 5] {
        for mode in [DropoutMode::Inverted, DropoutMode::Vanilla, DropoutMode::Batch] {
            let dropout = Dropout { unit: Unit::Block(size), mode, ..Dropout::keep(0.5).unwrap().site(4) };
            let blocks = Blocks::new(dropout.keep, size, [height, width]);
            let scale = if mode == DropoutMode::Vanilla { 1.0 } else { f64::from((1.0 / blocks.keep) as f32) };
            let (mut found, mut dropped) = (factors(&[2, height, width], dropout).into_iter(), 0);
            for sample in SAMPLES {
                for (c, y, x) in (0..2 * height * width).map(|e| (e / (height * width), e / width % height, e % width)) {
                    let seed = |i: u32, j: u32| {
                        let at = word(mode == DropoutMode::Batch, sample, (c * height + i) * width + j);
                        i <= height - size && j <= width - size && u64::from(at) >= blocks.threshold
                    };
                    let reaches = |i: u32, j: u32| i <= y && y < i + size && j <= x && x < j + size;
                    let hit = (0..height).any(|i| (0..width).any(|j| reaches(i, j) && seed(i, j)));
                    dropped += u32::from(hit);
                    assert_eq!(found.next(), Some(if hit { 0.0 } else { scale }), "{size} {mode:?} {sample} ({c}, {y}, {x})");
                }
            }
            assert!((50..300).contains(&dropped), "{dropped} of 350 pixels");
        }
    }
}

#[test]
fn rates_of_0_and_1_drop_all_and_nothing() {
    for unit in [Unit::Element, Unit::Spatial2d, Unit::Block(2), Unit::Path] {
        let of = |keep| factors(&[2, 3, 3], Dropout::keep(keep).unwrap().unit(unit));
        assert!(of(0.0).iter().all(|&y| y == 0.0) && of(1.0).iter().all(|&y| y == 1.0), "{unit:?}");
    }
}
