//! The factor of every element at a dropout site, from the words of the mask contract.
//!
//! ```text
//! word      stream 0 at (site, pass, sample of the row, unit); where a batch shares it, stream 6 at (site, update, 0, unit)
//! unit      of element (c, y, x): the sum over the axes of index * stride, the stride of a shared axis being 0
//! kept      word < T;   blocks: no seed, word >= T, whose square covers the element;   units: the k smallest (word, unit)
//! factor    f32(2^32 / T), of blocks f32(1 / rate(T)), of units f32(n / k), of vanilla dropout 1
//! ```

use super::Masks;
use crate::network::{Blocks, Dropout, DropoutMode, Shape, Unit};
use crate::rng::{self, Coordinates, Stream};

/// The factor of every element of `rows` samples, row after row; `None` drops it.
pub(super) fn factors(dropout: &Dropout, site: u32, shape: &Shape, rows: usize, masks: &Masks) -> Vec<Option<f64>> {
    let elements = shape.elements() as usize;
    let Masks::Drawn { seed, pass, update, samples } = *masks else {
        return vec![Some(f64::from(dropout.eval_scale())); rows * elements];
    };
    let key = rng::key(seed);
    let of_batch = Coordinates { stream: Stream::BatchMask, site, pass: update, sample: 0 };
    match dropout.mode {
        DropoutMode::Inverted | DropoutMode::Vanilla => {
            let of_sample = |&sample: &u32| Coordinates { stream: Stream::TrainingMask, site, pass, sample };
            samples.iter().flat_map(|sample| of_words(dropout, shape, of_sample(sample), key)).collect()
        }
        DropoutMode::Batch => of_words(dropout, shape, of_batch, key).repeat(rows),
        DropoutMode::Units => listed(dropout, shape, of_batch, key).repeat(rows),
    }
}

/// The factors of one mask whose units are kept by their words.
fn of_words(dropout: &Dropout, shape: &Shape, at: Coordinates, key: [u32; 2]) -> Vec<Option<f64>> {
    let units = dropout.unit.mask_shape(shape).elements();
    let words: Vec<u32> = (0..units).map(|unit| at.word(unit, key)).collect();
    if let Unit::Block(size) = dropout.unit {
        let blocks = Blocks::new(dropout.keep, size, shape.map());
        let scale = if dropout.mode == DropoutMode::Vanilla { 1.0 } else { blocks.scale() };
        let kept = outside_squares(&words, blocks.threshold, size as usize, shape);
        return kept.into_iter().map(|kept| kept.then_some(f64::from(scale))).collect();
    }
    let (scale, strides) = (dropout.train_scale(units), dropout.unit.strides(shape));
    let of_element = |element: u32| dropout.keep.keeps(words[unit(element, shape, &strides)]).then_some(f64::from(scale));
    (0..shape.elements()).map(of_element).collect()
}

/// The unit of an element, by its row-major index in the sample.
fn unit(element: u32, shape: &Shape, strides: &[u32]) -> usize {
    let (mut rest, mut unit) = (element, 0);
    for (&extent, &stride) in shape.0.iter().zip(strides).rev() {
        unit += rest % extent * stride;
        rest /= extent;
    }
    unit as usize
}

/// Which pixels of `[C, H, W]` no square covers whose upper left corner, inside `0 ..= extent - size`, is a seed.
fn outside_squares(words: &[u32], threshold: u64, size: usize, shape: &Shape) -> Vec<bool> {
    let [height, width] = shape.map().map(|extent| extent as usize);
    let mut kept = vec![true; words.len()];
    for map in 0..words.len() / (height * width) {
        let at = |y: usize, x: usize| (map * height + y) * width + x;
        for y in 0..=height - size {
            for x in 0..=width - size {
                if u64::from(words[at(y, x)]) >= threshold {
                    (0..size * size).for_each(|i| kept[at(y + i / size, x + i % size)] = false);
                }
            }
        }
    }
    kept
}

/// The factors of per-batch unit dropout.
fn listed(dropout: &Dropout, shape: &Shape, at: Coordinates, key: [u32; 2]) -> Vec<Option<f64>> {
    let units = shape.elements();
    let mut order: Vec<_> = (0..units).map(|unit| (at.word(unit, key), unit)).collect();
    order.sort_unstable();
    let scale = Some(f64::from(dropout.train_scale(units)));
    let mut factors = vec![None; units as usize];
    order[..dropout.kept_count(units) as usize].iter().for_each(|&(_, unit)| factors[unit as usize] = scale);
    factors
}

/// Dropout in either direction. It selects instead of multiplying by 0: a dropped NaN or infinity becomes 0.
pub(super) fn select(factors: &[Option<f64>], values: &[f64]) -> Vec<f64> {
    factors.iter().zip(values).map(|(factor, value)| factor.map_or(0.0, |scale| scale * value)).collect()
}
