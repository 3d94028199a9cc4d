//! Whether places some units, or some rows, apart are kept independently: row after row as one sequence, all distances at once.

use std::fmt;

use realfft::RealFftPlanner;

use super::bits::Bits;
use super::judged;
use super::statistics::Joint;
use crate::preflight::Check;

/// Most places that are looked at, from the first on: an audit of so many takes 1.7 s and 760 MB (two shared cores).
const MOST: usize = 1 << 23;

/// From a place to one `rows` rows on and `units` units on, which may be before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lag {
    rows: usize,
    units: isize,
}

impl Lag {
    /// Of a distance in the sequence of all rows, as most places have it.
    fn of(distance: usize, [rows_of_all, units]: [usize; 2]) -> Self {
        let (rows, rest) = (distance / units, distance % units);
        match rest > units / 2 && rows + 1 < rows_of_all {
            true => Self { rows: rows + 1, units: rest as isize - units as isize },
            false => Self { rows, units: rest as isize },
        }
    }
}

impl fmt::Display for Lag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = |rows| if rows == 1 { "1 row".to_string() } else { format!("{rows} rows") };
        match *self {
            Self { rows: 0, units } => write!(f, "a unit and the one {units} on"),
            Self { rows: on, units: 0 } => write!(f, "a unit and the same {} on", rows(on)),
            Self { rows: on, units } => write!(f, "a unit and the one {units:+} of it {} on", rows(on)),
        }
    }
}

/// `follows`: something else is wrong, which may be seen here as well.
pub(super) fn lags(bits: &Bits, follows: bool) -> Check {
    let ones = bits.sequence(MOST);
    let Some((distance, joint)) = furthest(&ones) else {
        return Check::skipped("lags", "there is one unit");
    };
    let lag = Lag::of(distance, [bits.rows(), bits.units()]);
    let among =
        if ones.len() < bits.rows() * bits.units() { format!("of the first {} units, ", ones.len()) } else { String::new() };
    let found = format!("{among}{lag} are furthest from independent, with a correlation of {:.4}", joint.correlation());
    let advice = match (follows, joint.correlation() < 0.0, lag) {
        (true, ..) => "this may follow from what failed before",
        (_, true, _) => "one is dropped where the other is not: they are opposites, or drawn without replacement",
        (_, _, Lag { rows: 0, .. }) => "units share random numbers, or bits of them: each needs a number of its own",
        (_, _, Lag { units: 0, .. }) => {
            "a mask comes again, wholly or in part: every step and sample needs a number of its own for each unit"
        }
        _ => {
            "random numbers come again: streams overlap, as where a seed or an offset grows by too little, or the generator has a short \
             period"
        }
    };
    judged("lags", &found, (joint.p_value() * (ones.len() - 1) as f64).min(1.0), advice)
}

/// The distance at which ones meet most, or least, surprisingly.
fn furthest(ones: &[bool]) -> Option<(usize, Joint)> {
    let (meetings, total) = (autocorrelation(ones), ones.iter().filter(|&&one| one).count() as u64);
    // Ones in front of a place.
    let (mut before, mut sums) = (0, vec![0]);
    sums.extend(ones.iter().map(|&one| {
        before += u64::from(one);
        before
    }));
    let joint = |distance: usize| {
        let n = ones.len() - distance;
        Joint { n: n as u64, a: sums[n], b: total - sums[distance], both: meetings[distance] }
    };
    let joints = (1..ones.len()).map(|distance| (distance, joint(distance)));
    joints.max_by(|a, b| a.1.surprise().total_cmp(&b.1.surprise()))
}

/// `sum x[i] x[i + distance]` for every distance, by the theorem of Wiener and Khinchin.
fn autocorrelation(ones: &[bool]) -> Vec<u64> {
    // Twice as long, so that nothing meets its other end.
    let length = (2 * ones.len()).next_power_of_two();
    let mut planner = RealFftPlanner::<f64>::new();
    let (forward, inverse) = (planner.plan_fft_forward(length), planner.plan_fft_inverse(length));
    let mut values = vec![0.0; length];
    values.iter_mut().zip(ones).for_each(|(value, &one)| *value = f64::from(u8::from(one)));
    let mut spectrum = forward.make_output_vec();
    forward.process(&mut values, &mut spectrum).expect("the lengths are those of the plan");
    spectrum.iter_mut().for_each(|value| *value = value.norm_sqr().into());
    inverse.process(&mut spectrum, &mut values).expect("the spectrum of a power is real at both ends");
    // Whole numbers below 2^23, to some 1e-16 of the largest.
    values[..ones.len()].iter().map(|value| (value / length as f64).round() as u64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::philox4x32_10;

    #[test]
    fn meetings_are_those_that_are_counted() {
        for length in [1, 2, 3, 100, 1000, 4096] {
            let ones: Vec<bool> = (0..length).map(|i| philox4x32_10([i, 0, 0, 0], [3, 4])[0] % 5 < 2).collect();
            let counted = |distance: usize| ones.iter().zip(&ones[distance..]).filter(|(a, b)| **a && **b).count() as u64;
            let expected: Vec<u64> = (0..ones.len()).map(counted).collect();
            assert_eq!(autocorrelation(&ones), expected, "{length}");
        }
    }

    #[test]
    fn the_longest_sequence_is_counted_without_rounding() {
        let ones = vec![true; MOST];
        let expected: Vec<u64> = (0..MOST as u64).map(|distance| MOST as u64 - distance).collect();
        assert!(autocorrelation(&ones) == expected);
    }

    #[test]
    fn a_distance_is_named_by_rows_and_units() {
        let named = [1, 51, 100, 101, 199, 163, 400].map(|distance| Lag::of(distance, [9, 100]).to_string());
        let expected = [
            "a unit and the one 1 on",
            "a unit and the one -49 of it 1 row on",
            "a unit and the same 1 row on",
            "a unit and the one +1 of it 1 row on",
            "a unit and the one -1 of it 2 rows on",
            "a unit and the one -37 of it 2 rows on",
            "a unit and the same 4 rows on",
        ];
        assert_eq!(named, expected);
        assert_eq!(Lag::of(7, [9, 1]).to_string(), "a unit and the same 7 rows on");
        assert_eq!(Lag::of(51, [1, 100]).to_string(), "a unit and the one 51 on");
    }
}
