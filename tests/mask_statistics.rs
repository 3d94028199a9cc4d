//! Masks as random variables, drawn on the device: their rate, their mean, and that they do not depend on one another.
//!
//! Seeds are fixed, so a test passes always or never; the false-alarm rates are those of a seed drawn anew. A bound of five
//! standard deviations is crossed by chance once in 1.7 million times. Every test rejects a mask that is slightly wrong.

use thinnet::ops::{Samples, Shape, Site};
use thinnet::rng::Stream;

use crate::host::{Host, shape, site};

/// Bound of every test in standard deviations: 5.7e-7 on both sides together.
pub(crate) const SIGMAS: f64 = 5.0;

/// `units` of every row.
const UNITS: u32 = 1024;

/// How many standard deviations the share of ones is from `share`, for independent words.
pub(crate) fn deviation(ones: u64, n: usize, share: f64) -> f64 {
    (ones as f64 - n as f64 * share) / (n as f64 * share * (1.0 - share)).sqrt()
}

fn ones(mask: &[u32]) -> u64 {
    mask.iter().map(|&m| u64::from(m)).sum()
}

/// How far the number of units on which two masks agree is from that of independent masks, k^2 + (1 - k)^2 of them. For
/// pairs that share no unit, of which the agreements are independent.
pub(crate) fn agreement(a: &[u32], b: &[u32], keep_prob: f64) -> f64 {
    assert_eq!(a.len(), b.len());
    let equal = a.iter().zip(b).filter(|(a, b)| a == b).count() as u64;
    deviation(equal, a.len(), keep_prob * keep_prob + (1.0 - keep_prob) * (1.0 - keep_prob))
}

/// How far the correlation of the units that lie `lag` apart is from 0. The products of centred units are uncorrelated also
/// where the pairs overlap, so that their sum has the variance n (k (1 - k))^2.
fn serial_correlation(mask: &[u32], lag: usize, keep_prob: f64) -> f64 {
    let centred = |m: u32| f64::from(m) - keep_prob;
    let (mut sum, mut n) = (0.0, 0.0);
    for row in mask.chunks(UNITS as usize) {
        for (&a, &b) in row.iter().zip(&row[lag..]) {
            sum += centred(a) * centred(b);
            n += 1.0;
        }
    }
    sum / (f64::sqrt(n) * keep_prob * (1.0 - keep_prob))
}

#[test]
fn masks_keep_the_share_asked_for_and_a_rate_1_percent_off_is_noticed() {
    // So many words that 1 % is more than ten standard deviations: it is missed once in 3.5 million times at most.
    for (keep_prob, rows) in [(0.1, 10_000), (0.5, 1200), (0.8, 1024), (0.999, 1024)] {
        let drawn = Site { site: 1, pass: 2, ..site(keep_prob) };
        let deviation_of = |keep_prob_drawn: f64| {
            let mask = Host::shared().mask(&Site { keep: site(keep_prob_drawn).keep, ..drawn }, &shape(rows, UNITS));
            assert!(mask.len() >= 1_000_000);
            deviation(ones(&mask), mask.len(), keep_prob)
        };
        let z = deviation_of(keep_prob);
        assert!(z.abs() <= SIGMAS, "keep_prob {keep_prob}: {z} standard deviations");
        for wrong in [0.99 * keep_prob, 1.01 * keep_prob].into_iter().filter(|&k| k <= 1.0) {
            let z = deviation_of(wrong);
            assert!(z.abs() > SIGMAS, "the test for {keep_prob} accepts a mask drawn with {wrong}: {z} standard deviations");
        }
    }
}

#[test]
fn the_mean_of_y_is_x() {
    let (rows, keep_prob) = (1024u32, 0.8);
    let x: Vec<f32> = (0..UNITS).map(|unit| 1.0 + 0.001 * unit as f32).collect();
    let site = Site { site: 2, ..site(keep_prob) };
    let (y, dx) = Host::shared().forward_backward(&site, &shape(rows, UNITS), &x.repeat(rows as usize), &x.repeat(rows as usize));
    // The mean of y / x over a million elements, in standard deviations of the mean, sqrt((1 - k) / k / n).
    let z = |y: &[u32], factor: f64| {
        let ratio = |(&y, &x): (&u32, &f32)| factor * f64::from(f32::from_bits(y)) / f64::from(x);
        let n = y.len() as f64;
        let mean = y.chunks(UNITS as usize).flat_map(|row| row.iter().zip(&x)).map(ratio).sum::<f64>() / n;
        (mean - 1.0) / ((1.0 - keep_prob) / keep_prob / n).sqrt()
    };
    for values in [&y, &dx] {
        assert!(z(values, 1.0).abs() <= SIGMAS, "{} standard deviations", z(values, 1.0));
        // A scale 1 % off is twenty standard deviations away; the scale 1 of a forgotten factor far more.
        for wrong in [0.99, 1.01, keep_prob] {
            assert!(z(values, wrong).abs() > SIGMAS, "the test accepts a scale that is wrong by {wrong}");
        }
    }
}

#[test]
fn masks_that_differ_in_one_coordinate_are_independent() {
    let host = Host::shared();
    for keep_prob in [0.5, 0.8] {
        let base = Site { seed: 99, site: 4, pass: 6, ..site(keep_prob) };
        let at = |site: Site, first| host.mask(&site, &Shape { samples: Samples::From(first), ..shape(1024, UNITS) });
        let mask = at(base, 2048);
        let others = [
            ("site 5", at(Site { site: 5, ..base }, 2048)),
            ("site 4 + 2^23", at(Site { site: 4 + (1 << 23), ..base }, 2048)),
            ("pass 7", at(Site { pass: 7, ..base }, 2048)),
            ("pass 6 + 2^31", at(Site { pass: 6 + (1 << 31), ..base }, 2048)),
            ("site and pass exchanged", at(Site { site: 6, pass: 4, ..base }, 2048)),
            ("sample + 1024", at(base, 3072)),
            ("sample + 2^31", at(base, 2048 + (1 << 31))),
            ("stream 1", at(Site { stream: Stream::MonteCarloMask, ..base }, 2048)),
            ("stream 6", at(Site { stream: Stream::BatchMask, ..base }, 2048)),
            ("seed 100", at(Site { seed: 100, ..base }, 2048)),
            ("seed 99 + 2^32", at(Site { seed: 99 + (1 << 32), ..base }, 2048)),
        ];
        for (what, other) in &others {
            let z = agreement(&mask, other, keep_prob);
            assert!(z.abs() <= SIGMAS, "keep_prob {keep_prob}, {what}: {z} standard deviations");
        }
        // Masks that have every fiftieth unit in common are not independent: 13 standard deviations at keep_prob 0.8.
        let mut mixed = others[0].1.clone();
        mixed.iter_mut().zip(&mask).step_by(50).for_each(|(m, &other)| *m = other);
        assert!(agreement(&mask, &mixed, keep_prob).abs() > SIGMAS, "the test accepts masks with common units");
    }
}

#[test]
fn neighbouring_samples_and_units_are_independent() {
    let host = Host::shared();
    for keep_prob in [0.5, 0.8] {
        let site = Site { site: 7, ..site(keep_prob) };
        // Pairs without overlap: even samples against odd ones, even units against odd ones.
        let [even, odd] = [0, 1].map(|parity| {
            let listed = host.buffer(&(0..1024).map(|i| 2 * i + parity).collect::<Vec<_>>());
            host.mask(&site, &Shape { samples: Samples::Listed(&listed), ..shape(1024, UNITS) })
        });
        let z = agreement(&even, &odd, keep_prob);
        assert!(z.abs() <= SIGMAS, "keep_prob {keep_prob}, samples: {z} standard deviations");
        let [a, b] = [0, 1].map(|parity| even.iter().skip(parity).step_by(2).copied().collect::<Vec<_>>());
        let z = agreement(&a, &b, keep_prob);
        assert!(z.abs() <= SIGMAS, "keep_prob {keep_prob}, units: {z} standard deviations");
    }
}

#[test]
fn units_are_serially_uncorrelated() {
    for keep_prob in [0.5, 0.8] {
        let mask = Host::shared().mask(&Site { site: 8, ..site(keep_prob) }, &shape(1024, UNITS));
        // Lags within the four words of one Philox call, to the next calls, and across a workgroup.
        for lag in [1, 2, 3, 4, 5, 7, 8, 16, 31, 64, 255, 256, 257, 512] {
            let z = serial_correlation(&mask, lag, keep_prob);
            assert!(z.abs() <= SIGMAS, "keep_prob {keep_prob}, lag {lag}: {z} standard deviations");
        }
        // Where one word in fifty repeats the word four before it, the correlation at lag 4 is 20 standard deviations.
        let mut wrong = mask;
        (4..wrong.len()).step_by(50).for_each(|i| wrong[i] = wrong[i - 4]);
        assert!(serial_correlation(&wrong, 4, keep_prob) > SIGMAS, "the test accepts units that repeat");
    }
}
