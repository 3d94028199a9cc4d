//! What a dropout site does to every element, from the words of the mask contract.
//!
//! ```text
//! word      stream 0 at (site, pass, sample of the row, unit); where a batch shares it, stream 6 at (site, update, 0, unit)
//! unit      of element (c, y, x): the sum over the axes of index * stride, the stride of a shared axis being 0
//! kept      word < T;   blocks: no seed, word >= T, whose square covers the element;   units: the k smallest (word, unit)
//! factor    f32(2^32 / T), of blocks f32(1 / rate(T)), of units f32(n / k), of vanilla dropout 1
//! Gaussian  factor 1 + sqrt((1 - p) / p) normal(words of units 2 u and 2 u + 1), in stream 5 instead of 0
//! alpha     a x + b where it is kept, a alpha' + b where not;
//!           alpha' = -1.758..., a = (p + alpha'^2 p (1 - p))^(-1/2), b = -a (1 - p) alpha'
//! ```
//!
//! The rate of a site is that of the optimizer step. Concrete dropout is in `reference/concrete.rs`.

use super::Masks;
use crate::network::{Blocks, Dropout, DropoutMode, Noise, Shape, Unit};
use crate::rng::{self, Coordinates, Stream};

/// SELU's lower bound (Klambauer et al., NeurIPS 2017).
const ALPHA: f64 = -1.7580993408473766;

/// What becomes of every element of some samples, row after row: `y = factor x + offset`, without a factor the offset alone.
pub(super) struct Affine {
    factors: Vec<Option<f64>>,
    /// Empty: all are 0.
    offsets: Vec<f64>,
}

impl Affine {
    pub(super) fn forward(&self, x: &[f64]) -> Vec<f64> {
        let mut y = select(&self.factors, x);
        y.iter_mut().zip(&self.offsets).for_each(|(y, offset)| *y += offset);
        y
    }

    /// dL/dx from dL/dy.
    pub(super) fn backward(&self, dy: &[f64]) -> Vec<f64> {
        select(&self.factors, dy)
    }
}

/// What a site does to the elements of samples.
pub(crate) struct SiteFactors {
    pub(crate) site: u32,
    /// What its mask is drawn for.
    pub(crate) unit: Unit,
    /// The elements it is applied to: of a sample, or the weights of the dense layer behind it.
    pub(crate) shape: Shape,
    /// The factor of every element; `None` drops it. Empty where the rate is learned, so that it is not known here.
    pub(crate) factors: Vec<Option<f64>>,
}

/// Of rows; what the noise of alpha dropout adds is left out.
pub(super) fn site_factors(dropout: &Dropout, site: u32, shape: &Shape, rows: usize, masks: &Masks) -> SiteFactors {
    let factors = match dropout.noise {
        Noise::Concrete(_) => Vec::new(),
        Noise::Gaussian => affine(dropout, site, shape, rows, masks).factors,
        _ => factors(dropout, site, shape, rows, masks),
    };
    SiteFactors { site, unit: dropout.unit, shape: shape.clone(), factors }
}

/// What a site does to `rows` samples.
pub(super) fn affine(dropout: &Dropout, site: u32, shape: &Shape, rows: usize, masks: &Masks) -> Affine {
    let at = at_update(dropout, masks);
    let p = at.keep.get();
    match (dropout.noise, masks) {
        (Noise::Gaussian, Masks::Drawn { .. }) => {
            Affine { factors: gaussian(&at, site, shape, rows, masks), offsets: Vec::new() }
        }
        (Noise::Alpha, Masks::Drawn { .. }) => {
            // As in PyTorch, nothing is left where nothing is kept.
            let a = if p == 0.0 { 0.0 } else { (p + ALPHA * ALPHA * p * (1.0 - p)).sqrt().recip() };
            let b = -a * (1.0 - p) * ALPHA;
            let kept = factors(dropout, site, shape, rows, masks);
            let offsets = kept.iter().map(|kept| if kept.is_some() { b } else { a * ALPHA + b }).collect();
            Affine { factors: kept.into_iter().map(|kept| kept.map(|_| a)).collect(), offsets }
        }
        _ => Affine { factors: factors(dropout, site, shape, rows, masks), offsets: Vec::new() },
    }
}

/// Dropout at the rate of the optimizer step.
fn at_update(dropout: &Dropout, masks: &Masks) -> Dropout {
    match masks {
        Masks::Drawn { update, .. } => dropout.at(*update),
        Masks::None => *dropout,
    }
}

/// The factor of every element of `rows` samples, row after row, where units are kept or not; `None` drops it.
pub(super) fn factors(dropout: &Dropout, site: u32, shape: &Shape, rows: usize, masks: &Masks) -> Vec<Option<f64>> {
    let dropout = &at_update(dropout, masks);
    let Masks::Drawn { seed, .. } = *masks else {
        return vec![Some(f64::from(dropout.eval_scale())); rows * shape.elements() as usize];
    };
    let of_mask = |at| match dropout.mode {
        DropoutMode::Units => listed(dropout, shape, at, rng::key(seed)),
        _ => of_words(dropout, shape, at, rng::key(seed)),
    };
    of_rows(dropout, site, rows, masks, Stream::TrainingMask, of_mask)
}

/// What a mask makes of each element, for all rows: one mask for each sample, its words in `stream`, or one for the batch.
fn of_rows(
    dropout: &Dropout,
    site: u32,
    rows: usize,
    masks: &Masks,
    stream: Stream,
    of_mask: impl Fn(Coordinates) -> Vec<Option<f64>>,
) -> Vec<Option<f64>> {
    let Masks::Drawn { pass, update, samples, .. } = *masks else { return Vec::new() };
    match dropout.mode {
        DropoutMode::Inverted | DropoutMode::Vanilla => {
            samples.iter().flat_map(|&sample| of_mask(Coordinates { stream, site, pass, sample })).collect()
        }
        DropoutMode::Batch | DropoutMode::Units => {
            of_mask(Coordinates { stream: Stream::BatchMask, site, pass: update, sample: 0 }).repeat(rows)
        }
    }
}

/// Factors of mean 1.
fn gaussian(dropout: &Dropout, site: u32, shape: &Shape, rows: usize, masks: &Masks) -> Vec<Option<f64>> {
    let Masks::Drawn { seed, .. } = *masks else { return Vec::new() };
    let (p, strides) = (dropout.keep.get(), dropout.unit.strides(shape));
    let deviation = ((1.0 - p) / p).sqrt();
    let of_mask = |at: Coordinates| {
        let normal = |unit: u32| rng::normal([2 * unit, 2 * unit + 1].map(|unit| at.word(unit, rng::key(seed))));
        let of_element = |element| Some(1.0 + deviation * normal(unit(element, shape, &strides) as u32));
        (0..shape.elements()).map(of_element).collect()
    };
    of_rows(dropout, site, rows, masks, Stream::ContinuousNoise, of_mask)
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
pub(crate) fn unit(element: u32, shape: &Shape, strides: &[u32]) -> usize {
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
