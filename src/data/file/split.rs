//! Which rows of a file are learned from, validated and tested.

use std::ops::Range;

use super::{DataOptions, Rows};
use crate::rng::{self, Coordinates, Stream};
use crate::{Error, Result};

/// Row numbers, ascending and disjoint.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Split {
    pub(super) train: Vec<u32>,
    pub(super) valid: Vec<u32>,
    pub(super) test: Vec<u32>,
}

fn refused(option: &'static str, value: impl ToString, problem: impl Into<String>) -> Error {
    Error::Option { option, value: value.to_string(), problem: problem.into() }
}

/// The rows of a range that a file of `rows` rows has.
pub(super) fn within(option: &'static str, range: &Rows, rows: u32, file: &str) -> Result<Range<u32>> {
    if range.0.is_empty() || range.0.end > rows {
        let problem = format!("{file} has the rows 0..{rows}; choose at least one row among them, the end is not included");
        return Err(refused(option, range, problem));
    }
    Ok(range.0.clone())
}

pub(super) fn split(options: &DataOptions, rows: u32, seed: u64) -> Result<Split> {
    let file = options.path.display().to_string();
    let given = [("train", &options.train), ("valid", &options.valid), ("test", &options.test)];
    let mut ranges = [const { None }; 3];
    for ((option, range), slot) in given.into_iter().zip(&mut ranges) {
        *slot = range.as_ref().map(|range| within(option, range, rows, &file)).transpose()?;
    }
    for (first, second) in [(0, 1), (0, 2), (1, 2)] {
        if let (Some(a), Some(b)) = (&ranges[first], &ranges[second])
            && a.start < b.end
            && b.start < a.end
        {
            let (name, other) = (given[second].0, given[first].0);
            let problem = format!("overlaps `{other}` = {}..{}; give every row to one of them", a.start, a.end);
            return Err(refused(name, format!("{}..{}", b.start, b.end), problem));
        }
    }
    let [train, valid, test] = ranges;
    let taken = |row: &u32| [&valid, &test].into_iter().flatten().any(|range| range.contains(row));
    let mut train: Vec<u32> = train.unwrap_or(0..rows).filter(|row| !taken(row)).collect();
    let mut valid: Vec<u32> = valid.into_iter().flatten().collect();
    let test = test.into_iter().flatten().collect();
    if let Some(fraction) = options.valid_fraction {
        if options.valid.is_some() {
            return Err(refused("valid_fraction", fraction, "`valid` names the rows already; give one of the two"));
        }
        let count = (fraction * train.len() as f64).round();
        if !(fraction > 0.0 && fraction < 1.0) || count < 1.0 || count >= train.len() as f64 {
            let problem = format!("of {} rows at least one must be validated and one learned from; 0.1 is usual", train.len());
            return Err(refused("valid_fraction", fraction, problem));
        }
        valid = draw(&train, count as usize, seed);
        train.retain(|row| valid.binary_search(row).is_err());
    }
    if train.is_empty() {
        let problem = format!("no row of {file} is left to train on; leave some out of `valid` and `test`");
        return Err(refused("train", "nothing", problem));
    }
    Ok(Split { train, valid, test })
}

/// The `count` rows with the smallest (word, row) in stream 7 of the mask contract, ascending.
fn draw(rows: &[u32], count: usize, seed: u64) -> Vec<u32> {
    let word = |sample| Coordinates { stream: Stream::ValidationSplit, site: 0, pass: 0, sample }.word(0, rng::key(seed));
    let mut order: Vec<(u32, u32)> = rows.iter().map(|&row| (word(row), row)).collect();
    order.sort_unstable();
    let mut drawn: Vec<u32> = order[..count].iter().map(|&(_, row)| row).collect();
    drawn.sort_unstable();
    drawn
}
