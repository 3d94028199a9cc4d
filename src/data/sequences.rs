//! Rows that are sequences `[T, F]`, steps outermost, of lengths of their own: padding, and what counts of a row.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use super::{Inputs, Values};
use crate::{Error, Result};

/// How many steps of each row there are, of sequences of at most `steps` steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lengths {
    /// T: the steps that a row has room for.
    pub steps: u32,
    /// Steps of each row, 1 to T; what stands behind them is not looked at.
    pub of_rows: Vec<u32>,
}

impl Lengths {
    /// The least, the median and the greatest length; the median of an even number of rows is the lower one of the two in the middle.
    ///
    /// ```
    /// use thinnet::data::Lengths;
    /// let lengths = Lengths { steps: 9, of_rows: vec![7, 2, 4, 3] };
    /// assert_eq!(lengths.spread(), [2, 3, 7]);
    /// ```
    ///
    /// # Panics
    /// If there is no row.
    pub fn spread(&self) -> [u32; 3] {
        let mut sorted = self.of_rows.clone();
        sorted.sort_unstable();
        [sorted[0], sorted[(sorted.len() - 1) / 2], sorted[sorted.len() - 1]]
    }
}

/// Most elements of padded sequences, 16 GiB of f32: padding multiplies rows by the longest one, so that a small file could ask for
/// more memory than there is.
const MAX_PADDED: u64 = 1 << 32;

impl Inputs {
    /// The same rows as sequences `[steps, features]`, steps outermost, of which each has a length of its own.
    ///
    /// # Errors
    /// [`Error::Data`] if the columns are not a number of features at every step, if there is not one length for each row, or if one is
    /// 0 or more than `steps`.
    pub fn with_lengths(mut self, steps: u32, of_rows: Vec<u32>) -> Result<Self> {
        if steps == 0 || !self.columns.is_multiple_of(steps) {
            return Err(Error::Data(format!("rows of {} columns are no sequences of {steps} steps", self.columns)));
        }
        if of_rows.len() != self.samples.len() {
            return Err(Error::Data(format!("{} lengths for {} rows; give one for each row", of_rows.len(), self.samples.len())));
        }
        if let Some(row) = of_rows.iter().position(|length| !(1..=steps).contains(length)) {
            return Err(Error::Data(format!("row {row} has length {}, but a length is from 1 to {steps} steps", of_rows[row])));
        }
        self.lengths = Some(Lengths { steps, of_rows });
        Ok(self)
    }

    /// Sequences of features as they stand one behind the other: `values[(start + t) * features + f]`, where `start` are the steps of
    /// the rows before. Each row gets room for the longest, zeros behind its end.
    ///
    /// # Errors
    /// [`Error::Data`] if there is no row, a length is 0, the lengths do not add up to the values, a value is NaN or infinite, or the
    /// padded rows have 2^32 elements or more.
    ///
    /// ```
    /// use thinnet::Inputs;
    /// let inputs = Inputs::from_sequences(1, vec![1.0, 2.0, 3.0], vec![1, 2])?;
    /// assert_eq!((inputs.row_f32(0), inputs.row_f32(1)), (vec![1.0, 0.0], vec![2.0, 3.0]));
    /// assert_eq!(inputs.lengths().unwrap().of_rows, [1, 2]);
    /// # Ok::<(), thinnet::Error>(())
    /// ```
    pub fn from_sequences(features: u32, values: Vec<f32>, lengths: Vec<u32>) -> Result<Self> {
        let elements = |steps: u64| steps * u64::from(features);
        let total = lengths.iter().map(|&length| u64::from(length)).sum::<u64>();
        if total.checked_mul(u64::from(features)) != Some(values.len() as u64) {
            let given = values.len();
            return Err(Error::Data(format!("{given} values are not {total} steps of {features} features; check the lengths")));
        }
        let (rows, steps) = (lengths.len() as u64, lengths.iter().copied().max().unwrap_or(0));
        let columns = check_padded(rows, steps, features)?;
        let mut padded = vec![0.0; rows as usize * columns as usize];
        let mut start = 0;
        for (row, &length) in lengths.iter().enumerate() {
            let own = elements(u64::from(length)) as usize;
            padded[row * columns as usize..][..own].copy_from_slice(&values[start..start + own]);
            start += own;
        }
        Self::from_f32(columns, padded)?.with_lengths(steps, lengths)
    }

    /// The same sequences with room for `steps` steps: zeros behind the end of each.
    ///
    /// # Errors
    /// [`Error::Data`] if the rows have no lengths, if one is longer, or if the padded rows have 2^32 elements or more.
    pub fn with_steps(self, steps: u32) -> Result<Self> {
        let Some(lengths) = &self.lengths else {
            return Err(Error::Data("the rows have no lengths, so that nothing tells their steps from one another".into()));
        };
        if lengths.steps == steps {
            return Ok(self);
        }
        if let Some(row) = lengths.of_rows.iter().position(|&length| length > steps) {
            let (sample, length) = (self.samples[row], lengths.of_rows[row]);
            let remedy = "cut it, or train with sequences as long";
            return Err(Error::Data(format!(
                "row {sample} has {length} steps, more than the {steps} there is room for; {remedy}"
            )));
        }
        let features = self.columns / lengths.steps;
        let columns = check_padded(u64::from(self.rows()), steps, features)?;
        let values = match self.values() {
            Values::U8 { bytes, scale } => Values::U8 { bytes: resized(bytes, self.columns, columns), scale: *scale },
            Values::F32(values) => Values::F32(resized(values, self.columns, columns)),
        };
        let lengths = Some(Lengths { steps, of_rows: lengths.of_rows.clone() });
        Ok(Self { columns, values: Arc::new(values), samples: self.samples, lengths, names: self.names })
    }

    /// How long the rows are, if they are sequences of lengths of their own.
    pub fn lengths(&self) -> Option<&Lengths> {
        self.lengths.as_ref()
    }

    /// Features of a step; of rows without lengths, which are one step, all columns.
    pub fn features(&self) -> u32 {
        self.columns / self.lengths.as_ref().map_or(1, |lengths| lengths.steps)
    }

    /// Where in the values the steps of each row are that exist, whole steps; all of it without lengths.
    pub(super) fn existing(&self) -> impl Iterator<Item = Range<usize>> + use<'_> {
        let (columns, features) = (self.columns as usize, self.features() as usize);
        let steps = |row: usize| self.lengths.as_ref().map_or(1, |lengths| lengths.of_rows[row] as usize);
        (0..self.samples.len()).map(move |row| row * columns..row * columns + steps(row) * features)
    }

    /// The values of the steps that exist, one behind the other, as the device sees them.
    pub(crate) fn existing_f32(&self) -> Cow<'_, [f32]> {
        match self.values() {
            Values::F32(values) if self.lengths.is_none() => Cow::Borrowed(values),
            Values::F32(values) => self.existing().flat_map(|range| &values[range]).copied().collect(),
            Values::U8 { bytes, scale } => {
                self.existing().flat_map(|range| &bytes[range]).map(|&byte| f32::from(byte) * scale).collect()
            }
        }
    }
}

/// The columns of so many rows of sequences.
fn check_padded(rows: u64, steps: u32, features: u32) -> Result<u32> {
    let columns = u32::try_from(u64::from(steps) * u64::from(features)).ok();
    columns.filter(|&columns| rows.saturating_mul(u64::from(columns)) < MAX_PADDED).ok_or_else(|| {
        let remedy = "cut the longest sequences, or use fewer rows";
        Error::Data(format!(
            "{rows} sequences padded to {steps} steps of {features} features are 2^32 elements or more; {remedy}"
        ))
    })
}

/// Rows cut, or filled with zeros, to another number of columns.
fn resized<T: Copy + Default>(values: &[T], columns: u32, wanted: u32) -> Vec<T> {
    let (columns, wanted) = (columns as usize, wanted as usize);
    let mut resized = Vec::with_capacity(values.len() / columns * wanted);
    for row in values.chunks_exact(columns) {
        resized.extend_from_slice(&row[..columns.min(wanted)]);
        resized.resize(resized.len() + wanted.saturating_sub(columns), T::default());
    }
    resized
}
