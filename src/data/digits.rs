//! The handwritten digits, built into the crate.

use super::{Dataset, Inputs, Targets, Values};

const COLUMNS: usize = 64;

/// 1,797 samples of 65 bytes: 64 pixels of 0..=16 row by row, then the label.
static DIGITS: &[u8] = include_bytes!("digits.u8");

/// 1,797 handwritten digits of 8x8 pixels, the set that scikit-learn's `load_digits` returns, in the same order.
///
/// Shape `[1797, 64]`, bytes of 0..=16 with scale 1/16, so that the network sees 0..=1; ten classes, 174 to 183 rows each.
/// 13 people wrote them; the rows are not sorted by class.
///
/// Source: the test part of "Optical Recognition of Handwritten Digits" (E. Alpaydin and C. Kaynak, 1998), UCI Machine
/// Learning Repository, <https://doi.org/10.24432/C50P49>, licensed CC BY 4.0; here only repacked from text to bytes.
///
/// ```
/// let digits = thinnet::data::digits();
/// assert_eq!((digits.rows(), digits.columns(), digits.classes()), (1797, 64, 10));
/// assert_eq!(digits.labels()[..4], [0, 1, 2, 3]);
/// ```
pub fn digits() -> Dataset {
    let mut bytes = Vec::with_capacity(DIGITS.len());
    let mut labels = Vec::new();
    for sample in DIGITS.chunks_exact(COLUMNS + 1) {
        bytes.extend_from_slice(&sample[..COLUMNS]);
        labels.push(u32::from(sample[COLUMNS]));
    }
    // The file is part of the crate and tests/data.rs checks it, so the fields are set without the checks of `Dataset::new`.
    let samples = (0..labels.len() as u32).collect();
    let inputs = Inputs {
        columns: COLUMNS as u32,
        values: Values::U8 { bytes, scale: 1.0 / 16.0 }.into(),
        samples,
        lengths: None,
        names: None,
    };
    Dataset { inputs, targets: Targets::Classes { labels, classes: 10 } }
}
