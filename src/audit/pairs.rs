//! Whether two rows agree more, or less, than independent rows do.

use super::bits::{Bits, count};
use super::statistics::Joint;
use super::{LEVEL, judged};
use crate::preflight::Check;

/// Words that are compared at most: some seconds.
const WORK: usize = 4_000_000_000;

pub(super) fn pairs(bits: &Bits) -> Check {
    // All pairs of as many rows as there is time for.
    let most = (2 * WORK / bits.units().div_ceil(64)).isqrt();
    let rows = bits.rows().min(most);
    let pairs = (rows * rows.saturating_sub(1) / 2) as f64;
    let (all, ones) = (bits.units() as u64, (bits.units() as f64 * bits.rate()).round() as u64);
    // The rarest that there is: two rows that are one.
    let least = Joint { n: all, a: ones, b: ones, both: ones }.p_value() * pairs;
    if rows < 2 || least >= LEVEL {
        let why =
            format!("{} rows of {} units are too many, or too short, to tell two that are alike from chance", rows, bits.units());
        return Check::skipped("pairs", if rows < 2 { "there is one row" } else { &why });
    }
    let sums = bits.by_row();
    let mut furthest = (f64::INFINITY, 0, 0, Joint::default());
    for a in 0..rows {
        for b in a + 1..rows {
            let both = bits.row(a).iter().zip(bits.row(b)).map(|(a, b)| u64::from((a & b).count_ones())).sum();
            let joint = Joint { n: all, a: sums[a].into(), b: sums[b].into(), both };
            // A quick look first: most pairs are nowhere near.
            let surprise = -(joint.correlation().abs());
            if surprise < furthest.0 {
                furthest = (surprise, a, b, joint);
            }
        }
    }
    let (_, a, b, joint) = furthest;
    let (same, opposite) = (bits.row(a) == bits.row(b), joint.both == 0 && joint.a + joint.b == all);
    let what = match (same, opposite) {
        (true, _) => "are the same".to_string(),
        (_, true) => "are the opposite of each other".into(),
        _ => format!("agree most or least, with a correlation of {:.3}", joint.correlation()),
    };
    let found = format!("of {rows} rows, rows {a} and {b} {what}");
    let advice = match (same, opposite) {
        (true, _) => "a mask is used again: every step, sample and rank needs a seed, an offset or a coordinate of its own",
        (_, true) => "they are no independent samples; antithetic draws are meant to be like this",
        _ => "rows share random numbers, in part: every step, sample and rank needs its own; where rows failed, that may be why",
    };
    debug_assert_eq!(count(bits.row(a)), joint.a);
    judged("pairs", &found, (joint.p_value() * pairs).min(1.0), advice)
}
