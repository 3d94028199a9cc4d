//! Whether two rows agree more, or less, than independent rows do.

use std::collections::HashMap;

use super::LEVEL;
use super::bits::Bits;
use super::judged;
use super::statistics::Joint;
use crate::preflight::Check;

/// Words that are compared at most: an audit of 100,000 rows of 64 units takes 3.2 s (two shared cores).
const WORK: usize = 2_000_000_000;

/// What a pair costs besides its words, in words.
const PAIR: usize = 8;

pub(super) fn pairs(bits: &Bits) -> Check {
    let rows = bits.rows();
    if rows < 2 {
        return Check::skipped("pairs", "there is one row");
    }
    let pairs = rows as f64 * (rows - 1) as f64 / 2.0;
    // Rows that are the same are found among all, others among as many as there is time for.
    let most = rows.min((2 * WORK / (bits.units().div_ceil(64) + PAIR)).isqrt());
    let (found, alike) = (same(bits), most_alike(bits, most));
    let ([a, b], joint) = found.filter(|(_, same)| same.surprise() >= alike.1.surprise()).unwrap_or(alike);
    let p = (joint.p_value() * pairs).min(1.0);
    let among =
        if most < rows && bits.row(a) != bits.row(b) { format!(", of which {most} were compared") } else { String::new() };
    // The most that rows of this length can say.
    let ones = (bits.units() as f64 * bits.rate()).round() as u64;
    let best = Joint { n: bits.units() as u64, a: ones, b: ones, both: ones }.p_value() * pairs;
    if best >= LEVEL && p >= LEVEL {
        let why = format!("of {rows} rows of {} units two are alike by chance; longer rows, or fewer, would tell", bits.units());
        return Check::skipped("pairs", &why);
    }
    let (same, opposite) = (bits.row(a) == bits.row(b), joint.both == 0 && joint.a + joint.b == joint.n);
    let what = match (same, opposite) {
        (true, _) => "are the same".to_string(),
        (_, true) => "are the opposite of each other".into(),
        _ => format!("agree most or least, with a correlation of {:.3}", joint.correlation()),
    };
    let advice = match (same, opposite) {
        (true, _) => "a mask is used again: every step, sample and rank needs a seed, an offset or a coordinate of its own",
        (_, true) => "they are no independent samples; antithetic draws are meant to be like this",
        _ => {
            "rows share random numbers, in part: every step, sample and rank needs its own; where rows or units failed, that may be why"
        }
    };
    judged("pairs", &format!("of {rows} rows{among}, rows {a} and {b} {what}"), p, advice)
}

/// Of the rows that are the same as one before, that for which it is most surprising: rows of a single one may well be the same.
fn same(bits: &Bits) -> Option<([usize; 2], Joint)> {
    let mut seen: HashMap<&[u64], usize> = HashMap::new();
    let again = (0..bits.rows()).filter_map(|row| {
        let first = *seen.entry(bits.row(row)).or_insert(row);
        (first < row).then(|| ([first, row], joint(bits, first, row)))
    });
    // The first of several.
    again.reduce(|most, other| if other.1.surprise() > most.1.surprise() { other } else { most })
}

/// The two of the first rows that agree most, or least.
fn most_alike(bits: &Bits, rows: usize) -> ([usize; 2], Joint) {
    let (mut found, mut largest) = (([0, 1], joint(bits, 0, 1)), 0.0);
    let (sums, units) = (bits.by_row(), bits.units() as f64);
    for a in 0..rows {
        for b in a + 1..rows {
            let both: u32 = bits.row(a).iter().zip(bits.row(b)).map(|(a, b)| (a & b).count_ones()).sum();
            // A divergence is at most its chi-squared, which is quicker: most pairs are nowhere near.
            let expected = f64::from(sums[a]) * f64::from(sums[b]) / units;
            let off = f64::from(both) - expected;
            if off * off * units <= largest * expected * (units - f64::from(sums[b])) {
                continue;
            }
            let joint = Joint { n: bits.units() as u64, a: sums[a].into(), b: sums[b].into(), both: both.into() };
            let surprise = joint.surprise();
            if surprise > largest {
                (found, largest) = (([a, b], joint), surprise);
            }
        }
    }
    found
}

fn joint(bits: &Bits, a: usize, b: usize) -> Joint {
    let [first, second] = [bits.row(a), bits.row(b)];
    let ones = |words: &[u64]| words.iter().map(|word| u64::from(word.count_ones())).sum();
    let both = first.iter().zip(second).map(|(a, b)| u64::from((a & b).count_ones())).sum();
    Joint { n: bits.units() as u64, a: ones(first), b: ones(second), both }
}
