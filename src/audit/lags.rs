//! Whether places some units, or some rows, apart are kept independently.

use std::fmt;

use super::bits::{Bits, count};
use super::judged;
use super::statistics::Joint;
use crate::preflight::Check;

/// From a place to one `rows` rows on and `units` units on, which may be before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lag {
    rows: usize,
    units: isize,
}

impl fmt::Display for Lag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self { rows: 0, units } => write!(f, "a unit and the one {units} on"),
            Self { rows, units: 0 } => write!(f, "a unit and the same {rows} rows on"),
            Self { rows, units } => write!(f, "a unit and the one {units:+} of it {rows} rows on"),
        }
    }
}

/// Words that are looked at most: some seconds.
const WORK: usize = 2_000_000_000;

/// All below `end` where there is time for that many, otherwise all up to 64, and powers of two, where counters and lanes have their period.
fn distances(end: usize, time: usize) -> Vec<usize> {
    let sparse = (1..=64).chain((7..63).map(|power| 1 << power)).take_while(|&distance| distance < end);
    if end <= time { (1..end).collect() } else { sparse.collect() }
}

fn all(bits: &Bits) -> Vec<Lag> {
    let words = bits.rows() * bits.units().div_ceil(64);
    let units = || distances(bits.units(), WORK / 4 / words).into_iter().map(|distance| distance as isize);
    let mut lags: Vec<Lag> = units().map(|units| Lag { rows: 0, units }).collect();
    lags.extend(distances(bits.rows(), WORK / 4 / words).into_iter().map(|rows| Lag { rows, units: 0 }));
    if bits.rows() > 1 {
        lags.extend(units().flat_map(|units| [Lag { rows: 1, units }, Lag { rows: 1, units: -units }]));
    }
    lags
}

pub(super) fn lags(bits: &Bits) -> Check {
    let lags = all(bits);
    let joints = lags.iter().map(|&lag| (lag, joint(bits, lag)));
    let Some((lag, joint)) = joints.min_by(|a, b| a.1.p_value().total_cmp(&b.1.p_value())) else {
        return Check::skipped("lags", "there is one unit");
    };
    let found =
        format!("of {} lags, {lag} are furthest from independent, with a correlation of {:.4}", lags.len(), joint.correlation());
    let advice = match lag {
        Lag { rows: 0, .. } => "units share random numbers, or bits of them: each needs a number of its own",
        Lag { units: 0, .. } => {
            "a mask comes again, wholly or in part: every step and sample needs a number of its own for each unit"
        }
        _ => {
            "one row goes on with the random numbers of another: streams overlap, as where a seed or an offset grows by too little"
        }
    };
    judged("lags", &found, (joint.p_value() * lags.len() as f64).min(1.0), advice)
}

/// Of all places that have one at this lag.
fn joint(bits: &Bits, lag: Lag) -> Joint {
    let mut sum = Joint::default();
    let (distance, units) = (lag.units.unsigned_abs(), bits.units());
    let mut shifted = vec![0; units.div_ceil(64)];
    for row in 0..bits.rows() - lag.rows {
        // The one that is shifted down to the other.
        let (here, there) = (bits.row(row), bits.row(row + lag.rows));
        let (low, high) = if lag.units < 0 { (there, here) } else { (here, there) };
        shift(high, distance, &mut shifted);
        let both = low.iter().zip(&shifted).map(|(a, b)| u64::from((a & b).count_ones())).sum();
        sum.add(Joint { n: (units - distance) as u64, a: first(low, units - distance), b: count(&shifted), both });
    }
    sum
}

/// The bits from `distance` on.
fn shift(row: &[u64], distance: usize, shifted: &mut [u64]) {
    let (words, bits) = (distance / 64, distance % 64);
    for (place, word) in shifted.iter_mut().enumerate() {
        let of = |place: usize| row.get(place).copied().unwrap_or(0);
        let next = if bits == 0 { 0 } else { of(place + words + 1) << (64 - bits) };
        *word = of(place + words) >> bits | next;
    }
}

/// Ones among the first `places`.
fn first(row: &[u64], places: usize) -> u64 {
    let (words, bits) = (places / 64, places % 64);
    let rest = if bits == 0 { 0 } else { row[words] & ((1 << bits) - 1) };
    count(&row[..words]) + u64::from(rest.count_ones())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_joint_count_is_that_of_bit_by_bit() {
        let (rows, units) = (5, 200);
        let one = |row: usize, unit: usize| (row * 31 + unit * unit * 7 + unit / 3) % 5 < 2;
        let values: Vec<f32> = (0..rows * units).map(|place| f32::from(u8::from(one(place / units, place % units)))).collect();
        let bits = Bits::rarer(units, &values, false);
        for lag in all(&bits) {
            let mut expected = Joint::default();
            for row in 0..rows - lag.rows {
                for unit in 0..units {
                    let Some(other) = unit.checked_add_signed(lag.units).filter(|&other| other < units) else { continue };
                    let [a, b] = [one(row, unit), one(row + lag.rows, other)].map(u64::from);
                    // The lower one is the first.
                    let (a, b) = if lag.units < 0 { (b, a) } else { (a, b) };
                    expected.add(Joint { n: 1, a, b, both: a * b });
                }
            }
            let found = joint(&bits, lag);
            assert_eq!((found.n, found.a, found.b, found.both), (expected.n, expected.a, expected.b, expected.both), "{lag}");
        }
    }
}
