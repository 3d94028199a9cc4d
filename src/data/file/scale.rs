//! Whether data are on the scale that a model learned from: bytes are scaled when they are read, other numbers are not, and the same
//! pixels can be either.

use std::path::Path;

use super::source::bad;
use crate::Result;
use crate::data::{Inputs, Preprocessing, Values};

/// What the source's numbers are multiplied by when they are read.
pub(super) fn of(inputs: &Inputs) -> f32 {
    match inputs.values() {
        Values::U8 { scale, .. } => *scale,
        Values::F32(_) => 1.0,
    }
}

/// Refuses inputs, not yet standardised, that are evidently on another scale than those of training. Unknown scales pass, and numbers
/// within 0..=1 where bytes were brought there in training.
pub(super) fn check(known: &Preprocessing, inputs: &Inputs, path: &Path) -> Result<()> {
    let (Some(trained), scale) = (known.scale, of(inputs)) else { return Ok(()) };
    // Words are numbers in whatever type.
    if known.words || trained == scale {
        return Ok(());
    }
    let divisor = (1.0 / trained).round();
    let problem = match inputs.values() {
        Values::F32(values) => {
            let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            (largest > 1.0).then(|| {
                format!(
                    "has numbers up to {largest}, taken as they are, but the model learned from bytes divided by {divisor}; divide \
                     these by {divisor}, or store them as in training (u8)"
                )
            })
        }
        Values::U8 { bytes, .. } => {
            let (largest, own) = (bytes.iter().copied().max().unwrap_or(0), (1.0 / scale).round());
            let learned = match trained == 1.0 {
                true => "numbers as they are".into(),
                false => format!("bytes divided by {divisor}"),
            };
            // Bytes that the model's scale would bring into 0..=1, too, are those of training in another file.
            (trained == 1.0 || f32::from(largest) * trained <= 1.0 && scale < trained).then(|| {
                let remedy = match trained == 1.0 {
                    true => "store them as in training, as f32 or csv".into(),
                    false => format!("divide them by {divisor} and store them as f32"),
                };
                format!("has bytes up to {largest}, which are divided by {own}, but the model learned from {learned}; {remedy}")
            })
        }
    };
    problem.map_or(Ok(()), |problem| Err(bad(path, problem)))
}
