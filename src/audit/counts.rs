//! Whether rows, and units, are kept alike.

use super::bits::Bits;
use super::judged;
use super::statistics::{binomial, dispersion};
use crate::preflight::Check;

/// Fewest rows, or units, that are compared with each other.
const FEWEST: usize = 8;

/// Ones that a unit has at least, on average, so that it is judged by itself and not together with its neighbours.
const ENOUGH: f64 = 16.0;

/// Counts of ones, each of `n` but the last, which may be of fewer.
struct Counts {
    counts: Vec<u32>,
    n: u64,
    last: u64,
}

impl Counts {
    /// How much they vary, with its p-value.
    fn dispersion(&self) -> (f64, f64) {
        let whole = self.counts.len() - usize::from(self.last < self.n);
        if whole < FEWEST { (1.0, 1.0) } else { dispersion(&self.counts[..whole], self.n) }
    }

    fn of(&self, number: usize) -> u64 {
        if number + 1 == self.counts.len() { self.last } else { self.n }
    }

    /// The one that is furthest from the rate of all, with its p-value among so many.
    fn furthest(&self, rate: f64) -> (usize, f64) {
        let alone = self.counts.iter().enumerate().map(|(number, &count)| binomial(count.into(), self.of(number), rate));
        let (number, p) = alone.enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 1.0));
        (number, p * self.counts.len() as f64)
    }
}

/// How many units rows keep; with how many times as much that varies as chance does.
pub(super) fn rows(bits: &Bits) -> (Check, f64) {
    let units = bits.units() as u64;
    let counts = Counts { counts: bits.by_row(), n: units, last: units };
    if counts.counts.len() < 2 {
        return (Check::skipped("rows", "there is one row"), 1.0);
    }
    let ((ratio, all), (row, alone)) = (counts.dispersion(), counts.furthest(bits.rate()));
    let [least, most] = [counts.counts.iter().min(), counts.counts.iter().max()];
    let [least, most] = [least, most].map(|count| bits.kept(*count.unwrap_or(&0), units));
    let range = format!("rows keep {} to {} of {units} units", least.min(most), least.max(most));
    let kept = bits.kept(counts.counts[row], units);
    let found = format!("{range}, which varies {ratio:.3} times as chance does; furthest off is row {row}, which keeps {kept}");
    let advice = match (alone < all, ratio < 1.0) {
        (true, _) => "that row is dropped more, or less, than the others: another rate, or dropout that was off",
        (false, true) => {
            "rows that keep so nearly the same number permute one mask (the seed permutes the units), draw a fixed number without \
             replacement, or are all the same"
        }
        (false, false) => {
            "units of a row are dropped together, as whole channels are: audit one place of each channel; or rows have different rates"
        }
    };
    (judged("rows", &found, (2.0 * all.min(alone)).min(1.0), advice), ratio)
}

/// How many rows keep a unit, or some units together where there are few rows; with how many times as much that varies as chance does.
pub(super) fn units(bits: &Bits) -> (Check, f64) {
    let ones = bits.rate() * bits.rows() as f64;
    let width = if ones >= ENOUGH { 1 } else { ((ENOUGH / ones).ceil() as usize).next_power_of_two() };
    let by_unit = bits.by_unit();
    let counts: Vec<u32> = by_unit.chunks(width).map(|units| units.iter().sum()).collect();
    if counts.len() < 2 {
        return (Check::skipped("units", "there are too few rows and units to tell some units from the others"), 1.0);
    }
    let [n, last] = [width, by_unit.len() - (counts.len() - 1) * width].map(|units| (units * bits.rows()) as u64);
    let counts = Counts { counts, n, last };
    let ((ratio, all), (number, alone)) = (counts.dispersion(), counts.furthest(bits.rate()));
    let kept = bits.kept(counts.counts[number], counts.of(number));
    let (what, which) = match width {
        1 => ("a unit is kept".to_string(), format!("unit {number}")),
        _ => (format!("{width} units in a row are kept"), format!("those from {} on", number * width)),
    };
    let found = format!(
        "how often {what} varies {ratio:.3} times as chance does; furthest off is {which}, {kept} of {} times",
        counts.of(number)
    );
    let advice = match (alone < all, ratio < 1.0) {
        (true, _) => {
            "that is dropped more, or less, than the others: see how a unit finds its random number, the last ones above all"
        }
        (false, true) => "units are kept too evenly to be independent from row to row: rows are parts of a pattern",
        (false, false) => "some units are dropped more than others: the mask is too much the same from row to row",
    };
    (judged("units", &found, (2.0 * all.min(alone)).min(1.0), advice), ratio)
}
