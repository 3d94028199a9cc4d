//! What the cases of batch and of layer normalisation share: shapes, numbers that break sums, and gradients by differences.

use thinnet::kernels::columns::Parts;

use super::{Slot, bits, seed};
use crate::common::{padded, padded_to};

/// (valid rows, parts, columns, members): no row, one, parts that are empty or ragged, blocks of 1 to 16 quads and more
/// than one; and the parts that a plan has for 3000 rows.
pub(super) fn shapes() -> Vec<(u32, Parts, u32, u32)> {
    let columns = [1, 3, 5, 16, 31, 33, 67, 257];
    let rows = [(0, 1, 128), (1, 2, 31), (2, 1, 128), (31, 1, 128), (33, 3, 31), (62, 3, 31), (93, 3, 31), (257, 2, 129)];
    let one = rows.into_iter().zip(columns.into_iter().cycle().skip(5)).map(|(rows, columns)| (rows, columns, 1));
    let two = rows.into_iter().rev().zip(columns).map(|(rows, columns)| (rows, columns, 2));
    let shape = |((rows, count, part), columns, members)| (rows, Parts { count, rows: part }, columns, members);
    let planned = (3000, Parts::new(3003, 9), 9, 2);
    one.chain(two).chain([((93, 3, 31), 7, 1), ((257, 2, 129), 5, 2)]).map(shape).chain([planned]).collect()
}

/// Numbers of every kind by column (or, with `by_row`, by row): around 0, around 1e4, all the same, 0, close together far from 0,
/// and around 0 but for the first.
pub(super) fn kinds(name: &str, member: u32, [rows, columns]: [u32; 2], row_words: u32, by_row: bool) -> Vec<u32> {
    let mut words = padded_to(row_words, rows, columns, seed(name, member));
    let row = columns.next_multiple_of(row_words) as usize;
    for (i, word) in words.iter_mut().enumerate().filter(|(i, _)| i % row < columns as usize) {
        let (kind, place) = if by_row { (i / row, i % row) } else { (i % row, i / row) };
        let v = f32::from_bits(*word);
        let number = match (kind + member as usize) % 6 {
            0 => v,
            1 => 1e4 + v,
            2 => 3.25,
            3 => 0.0,
            4 => -5.0 + 1e-3 * v,
            _ if place == 0 => 50.0,
            _ => v,
        };
        *word = number.to_bits();
    }
    words
}

/// Positive numbers; the padding is 0.
pub(super) fn positive(name: &str, member: u32, columns: u32) -> Vec<u32> {
    bits(padded(1, columns, seed(name, member)).into_iter().map(|word| 3.0 * f32::from_bits(word).abs()))
}

pub(super) fn quads(columns: u32) -> u32 {
    columns.div_ceil(4)
}

pub(super) fn row(columns: u32, row_words: u32) -> u32 {
    columns.next_multiple_of(row_words) / 4
}

/// Weight or bias.
pub(super) fn affine(name: &'static str, columns: u32) -> Slot<'static> {
    Slot::own(name, 4 * quads(columns), move |m| padded(1, columns, seed(name, m))).even()
}

/// These numbers, in every member.
pub(super) fn values(name: &'static str, values: &[f32]) -> Slot<'static> {
    let words = bits(values.iter().copied());
    Slot::own(name, words.len() as u32, move |_| words.clone())
}

/// The gradients of sum of dy y by central differences in f64, which know nothing of the formulas of the kernels.
///
/// With h = 1e-5 the difference is off by h^2 times a third derivative, some 100 here, and by 1e-16 / h: both below 1e-7. A dozen
/// roundings of f32 of numbers below 10 are below 2e-5.
pub(super) fn differences(at: &[f64], dy: &[f64], y: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    let loss = |at: &[f64]| y(at).iter().zip(dy).map(|(y, dy)| y * dy).sum::<f64>();
    let moved = |i: usize, h: f64| loss(&at.iter().enumerate().map(|(j, v)| if i == j { v + h } else { *v }).collect::<Vec<_>>());
    (0..at.len()).map(|i| (moved(i, 1e-5) - moved(i, -1e-5)) / 2e-5).collect()
}

#[track_caller]
pub(super) fn assert_near(what: &str, got: &[u32], wanted: &[f64]) {
    let got: Vec<f64> = got.iter().map(|&word| f64::from(f32::from_bits(word))).collect();
    assert!(wanted.iter().any(|v| v.abs() > 0.05), "{what} is nothing to compare with: {wanted:?}");
    let near = got.len() == wanted.len() && got.iter().zip(wanted).all(|(a, b)| (a - b).abs() <= 2e-5);
    assert!(near, "{what}: {got:?}, by differences {wanted:?}");
}
