//! Augmented rows in f64, from the formulas of [`crate::data::augmentation`], written another way than the kernels: images are padded
//! and cropped, and the shares of mixup come from an integral of Beta's density.

use crate::data::Augmentation;
use crate::data::augmentation::{IMAGE_SITE, MIXUP_SITE, NOISE_SITE};
use crate::network::Shape;
use crate::rng::{self, Coordinates, Stream};
use crate::{Error, Result};

/// What training sees of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Augmented {
    /// Its elements, mixed with those of the partner.
    pub inputs: Vec<f64>,
    /// The row it is mixed with; the row itself without mixup.
    pub partner: usize,
    /// lambda, the share of the row itself; 1 without mixup.
    pub share: f64,
}

/// What an epoch makes of row `row` of a data set `[rows, elements]`, whose rows have these sample numbers.
///
/// # Errors
/// Values that are not a row for each sample number; no such row; what [`Augmentation::check`] refuses.
pub fn augmented(
    augment: &Augmentation,
    shape: &Shape,
    (values, samples): (&[f64], &[u32]),
    row: usize,
    (seed, epoch): (u64, u32),
) -> Result<Augmented> {
    augment.check()?;
    let elements = shape.elements() as usize;
    if values.len() != elements * samples.len() || row >= samples.len() {
        let (given, rows) = (values.len(), samples.len());
        return Err(Error::Data(format!(
            "row {row} of {given} values for {rows} rows of {elements}; give all rows of the data set"
        )));
    }
    let changed = |row: usize| {
        let image = &values[row * elements..][..elements];
        let at = |stream, site| Coordinates { stream, site, pass: epoch, sample: samples[row] };
        let image = changed_image(augment, shape, image, |unit| at(Stream::Augmentation, IMAGE_SITE).word(unit, rng::key(seed)));
        let z = |i: u32| {
            let word = |unit| at(Stream::ContinuousNoise, NOISE_SITE).word(unit, rng::key(seed));
            rng::normal([word(2 * i), word(2 * i + 1)])
        };
        (0..).zip(image).map(|(i, x)| if augment.noise > 0.0 { x + augment.noise * z(i) } else { x }).collect::<Vec<f64>>()
    };
    let own = changed(row);
    if augment.mixup == 0.0 {
        return Ok(Augmented { inputs: own, partner: row, share: 1.0 });
    }
    let pair = Coordinates { stream: Stream::Augmentation, site: MIXUP_SITE, pass: epoch, sample: samples[row] };
    let partner = partner(samples.len() as u32, samples[row], (seed, epoch)) as usize;
    let share = larger_share(augment.mixup, pair.word(1, rng::key(seed)));
    let inputs = own.iter().zip(changed(partner)).map(|(a, b)| share * a + (1.0 - share) * b).collect();
    Ok(Augmented { inputs, partner, share })
}

/// The row of so many that the row of a sample number is mixed with in an epoch.
pub fn partner(rows: u32, sample: u32, (seed, epoch): (u64, u32)) -> u32 {
    let pair = Coordinates { stream: Stream::Augmentation, site: MIXUP_SITE, pass: epoch, sample };
    place(pair.word(0, rng::key(seed)), rows)
}

/// One of n places.
fn place(word: u32, n: u32) -> u32 {
    ((u64::from(word) * u64::from(n)) >> 32) as u32
}

/// Shift, flip and cutout, decided by the words of these units.
fn changed_image(augment: &Augmentation, shape: &Shape, image: &[f64], word: impl Fn(u32) -> u32) -> Vec<f64> {
    if augment.shift == 0 && !augment.flip && augment.cutout == 0 {
        return image.to_vec();
    }
    let [height, width] = shape.map().map(|n| n as usize);
    let pad = augment.shift as usize;
    // The crop begins `pad` pixels before the image where nothing is shifted, and that many fewer where it is shifted down or right.
    let [skip_x, skip_y] = [0, 1].map(|unit| 2 * pad - place(word(unit), 2 * augment.shift + 1) as usize);
    let span = |unit, n: usize| {
        let left = i64::from(place(word(unit), n as u32)) - i64::from(augment.cutout / 2);
        let clip = |at: i64| at.clamp(0, n as i64) as usize;
        clip(left)..clip(left + i64::from(augment.cutout))
    };
    let (columns, lines) = (span(2, width), span(3, height));
    let mut changed = Vec::new();
    for channel in image.chunks(height * width) {
        let mut padded = vec![vec![0.0; width + 2 * pad]; height + 2 * pad];
        for (line, values) in padded[pad..].iter_mut().zip(channel.chunks(width)) {
            line[pad..][..width].copy_from_slice(values);
        }
        for (y, line) in padded[skip_y..][..height].iter().enumerate() {
            let mut line = line[skip_x..][..width].to_vec();
            if augment.flip && word(4) >= 1 << 31 {
                line.reverse();
            }
            if lines.contains(&y) {
                line[columns.clone()].fill(0.0);
            }
            changed.extend(line);
        }
    }
    changed
}

/// The larger share of a word, linear between two quantiles.
fn larger_share(alpha: f64, word: u32) -> f64 {
    let at = f64::from(word) / (1u64 << 32) as f64 * 512.0;
    let knot = |i: f64| smaller_share(alpha, i / 512.0);
    let (below, above) = (knot(at.floor()), knot(at.floor() + 1.0));
    1.0 - (below + (above - below) * at.fract())
}

/// The m with P(min(l, 1 - l) <= m) = p for l from Beta(alpha, alpha), by bisection.
fn smaller_share(alpha: f64, p: f64) -> f64 {
    let half = mass(alpha, 0.5);
    let (mut low, mut high) = (0.0, 0.5);
    for _ in 0..50 {
        let middle = (low + high) / 2.0;
        match mass(alpha, middle) < p * half {
            true => low = middle,
            false => high = middle,
        }
    }
    high
}

/// The integral of (4 t (1 - t))^(a - 1) from 0 to x, for x up to 1/2, but for a factor: with t = x w^(p / a) it is that of
/// (2 - 2 t)^(a - 1) p w^(p - 1) (2 x)^a / (2 a) over w from 0 to 1, by Simpson's rule. p is chosen so that nothing has a pole at 0.
fn mass(a: f64, x: f64) -> f64 {
    const STEPS: usize = 400;
    let p = if a < 4.0 { (4.0 * a).ceil() } else { a };
    let f = |i: usize| {
        let w = i as f64 / STEPS as f64;
        (2.0 - 2.0 * x * w.powf(p / a)).powf(a - 1.0) * w.powf(p - 1.0)
    };
    let weight = |i: usize| if i == 0 || i == STEPS { 1.0 } else { 2.0 + 2.0 * (i % 2) as f64 };
    (2.0 * x).powf(a) * (0..=STEPS).map(|i| weight(i) * f(i)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::smaller_share;
    use crate::data::augmentation::{QUANTILES, mixup_quantiles};

    /// Two ways to the same quantiles: a series in whole numbers, rounded up, and an integral. Simpson's rule errs in the fourth power
    /// of a step of 1/400, and a fourth derivative of up to 1e4 leaves 1e-9.
    #[test]
    fn the_quantiles_of_the_series_are_those_of_the_integral() {
        for alpha in [0.1, 0.2, 0.4, 1.0, 2.0, 5.0, 50.0] {
            let knots = mixup_quantiles(alpha);
            for (i, &knot) in knots.iter().enumerate().step_by(37) {
                let exact = smaller_share(alpha, i as f64 / QUANTILES as f64);
                let got = f64::from(knot) / (1u64 << 32) as f64;
                assert!((got - exact).abs() < 2e-8, "alpha {alpha}, knot {i}: {got}, integral {exact}");
            }
            assert!(knots[0] == 0 && knots.is_sorted() && *knots.last().unwrap() < 1 << 31);
        }
        // Known ones: alpha = 1 is uniform; for alpha = 1/2 (arcsine) m = sin(pi p / 4)^2; for alpha = 2, P(m <= x) = 6 x^2 - 4 x^3.
        let at = |alpha: f64, i: usize| f64::from(mixup_quantiles(alpha)[i]) / (1u64 << 32) as f64;
        assert_eq!(mixup_quantiles(1.0)[256], 1 << 30);
        assert!((at(0.5, 256) - (std::f64::consts::PI / 8.0).sin().powi(2)).abs() < 1e-9);
        let x = at(2.0, 100);
        assert!((6.0 * x * x - 4.0 * x * x * x - 100.0 / 512.0).abs() < 1e-8);
        // alpha = 1000, the largest: one half but for 1.1 %, the standard deviation of l.
        assert!((0.5 - at(1000.0, 256) - 0.674_490 * (1.0f64 / 8004.0).sqrt()).abs() < 3e-5);
    }
}
