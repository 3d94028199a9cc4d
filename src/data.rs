//! Samples and labels in the host's memory, checked when they are made; [`digits`] needs no file, `file` reads what users have.
//!
//! Invariant: a value of these types never disagrees with itself, so nothing behind it has to check counts again.

pub mod augmentation;
mod classes;
mod digits;
#[cfg(feature = "files")]
pub mod file;
pub(crate) mod fingerprint;
#[cfg(feature = "files")]
pub mod idx;
mod preprocessing;
mod sequences;
pub mod text;

pub use augmentation::Augmentation;
pub use digits::digits;
#[cfg(feature = "files")]
pub use file::{DataOptions, Portion, Rows, Sets, Target, Task};
pub use preprocessing::{Preprocessing, Sequences, Standardization};
pub use sequences::Lengths;
pub use text::Text;

use std::ops::Range;
use std::sync::Arc;

use crate::{Error, Result};

/// Samples, row by row: what goes into a network.
///
/// A matrix of shape `[rows, columns]`, at least one of each, every value finite. Each row has a sample number, the
/// coordinate `sample` of the mask contract (see [`Coordinates`](crate::rng::Coordinates)): its row in the source, which it keeps when rows are
/// selected, so that a row has the same masks whichever others it is trained with.
#[derive(Debug, Clone, PartialEq)]
pub struct Inputs {
    columns: u32,
    /// Shared by clones: a trainer that streams its data keeps one.
    values: Arc<Values>,
    samples: Vec<u32>,
    lengths: Option<Lengths>,
    /// What the source calls each row.
    names: Option<Vec<String>>,
}

/// The values of [`Inputs`], row-major: row `r`, column `c` is at `r * columns + c`.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// `value = f32(byte) * scale`. The bytes stay bytes on the device and are scaled when a batch is gathered.
    U8 {
        /// One byte per value.
        bytes: Vec<u8>,
        /// What a byte is multiplied by.
        scale: f32,
    },
    /// Values as they are.
    F32(Vec<f32>),
}

impl Inputs {
    /// Rows of `columns` bytes; the network sees `f32(byte) * scale`.
    ///
    /// # Errors
    /// [`Error::Data`] if `columns` is 0, there is no row, the last row is incomplete, or `scale` (or `255 * scale`) is not finite.
    ///
    /// ```
    /// use thinnet::data::Inputs;
    /// let inputs = Inputs::from_u8(2, vec![0, 64, 128, 255], 1.0 / 256.0)?;
    /// assert_eq!((inputs.rows(), inputs.row_f32(1)), (2, vec![0.5, 0.99609375]));
    /// # Ok::<(), thinnet::Error>(())
    /// ```
    pub fn from_u8(columns: u32, bytes: Vec<u8>, scale: f32) -> Result<Self> {
        let rows = whole_rows(columns, bytes.len())?;
        // A finite scale can still overflow with the largest byte, and an infinite input makes every weight NaN.
        if !(255.0 * scale).is_finite() {
            return Err(Error::Data(format!("scale {scale}: 255 * scale must be finite; 1/255 maps bytes to 0..1")));
        }
        Ok(Self {
            columns,
            values: Arc::new(Values::U8 { bytes, scale }),
            samples: (0..rows).collect(),
            lengths: None,
            names: None,
        })
    }

    /// Rows of `columns` values.
    ///
    /// # Errors
    /// [`Error::Data`] if `columns` is 0, there is no row, the last row is incomplete, or a value is NaN or infinite.
    pub fn from_f32(columns: u32, values: Vec<f32>) -> Result<Self> {
        let rows = whole_rows(columns, values.len())?;
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            let (row, column) = (at / columns as usize, at % columns as usize);
            let problem = "inputs must be finite; remove the row or fill in the value";
            return Err(Error::Data(format!("row {row}, column {column} is {}: {problem}", values[at])));
        }
        Ok(Self { columns, values: Arc::new(Values::F32(values)), samples: (0..rows).collect(), lengths: None, names: None })
    }

    /// How many rows there are, at least 1.
    pub fn rows(&self) -> u32 {
        self.samples.len() as u32 // `whole_rows` has checked that it fits.
    }

    /// How many values a row has, at least 1.
    pub fn columns(&self) -> u32 {
        self.columns
    }

    /// The values, `rows * columns` of them.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// The sample number of each row: its row in the source, before any rows are selected. No number occurs twice.
    pub fn samples(&self) -> &[u32] {
        &self.samples
    }

    /// The same rows under sample numbers of the caller's own, for instance the row numbers of a file that was read in parts.
    ///
    /// # Errors
    /// [`Error::Data`] if there is not one number for each row, or if two rows have the same number: they would share their masks.
    pub fn with_samples(mut self, samples: Vec<u32>) -> Result<Self> {
        if samples.len() != self.samples.len() {
            let (given, rows) = (samples.len(), self.samples.len());
            return Err(Error::Data(format!("{given} sample numbers for {rows} rows; give one for each row")));
        }
        let mut order: Vec<(u32, usize)> = samples.iter().copied().zip(0..).collect();
        order.sort_unstable();
        if let Some(pair) = order.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let (sample, first, second) = (pair[0].0, pair[0].1, pair[1].1);
            let problem = "they would share their masks; number every row differently";
            return Err(Error::Data(format!("rows {first} and {second} both have sample number {sample}: {problem}")));
        }
        self.samples = samples;
        Ok(self)
    }

    /// The same rows with what the source calls each, for people: nothing is computed from a name.
    ///
    /// # Errors
    /// [`Error::Data`] if there is not one name for each row.
    pub fn with_names(mut self, names: Vec<String>) -> Result<Self> {
        if names.len() != self.samples.len() {
            let (given, rows) = (names.len(), self.samples.len());
            return Err(Error::Data(format!("{given} names for {rows} rows; give one for each row")));
        }
        self.names = Some(names);
        Ok(self)
    }

    /// What the source calls each row, if it does: the sequences of a table are called what its column of sequences says.
    pub fn names(&self) -> Option<&[String]> {
        self.names.as_deref()
    }

    /// Some of the rows, in the order given, with the sample numbers and names they have here.
    ///
    /// # Errors
    /// [`Error::Data`] if `rows` is empty, a row does not exist, or a row is selected twice: its copies would share their masks.
    pub fn select(&self, rows: &[u32]) -> Result<Self> {
        if rows.is_empty() {
            return Err(Error::Data("no row is selected; select at least one".into()));
        }
        let mut taken = vec![false; self.samples.len()];
        for &row in rows {
            match taken.get_mut(row as usize) {
                None => return Err(Error::Data(format!("row {row} is selected, but the rows are 0..{}", self.rows()))),
                Some(true) => {
                    return Err(Error::Data(format!("row {row} is selected twice; its copies would share their masks")));
                }
                Some(taken) => *taken = true,
            }
        }
        let values = match self.values() {
            Values::U8 { bytes, scale } => Values::U8 { bytes: pick(bytes, self.columns, rows), scale: *scale },
            Values::F32(values) => Values::F32(pick(values, self.columns, rows)),
        };
        let picked = |lengths: &Lengths| Lengths { of_rows: pick(&lengths.of_rows, 1, rows), ..*lengths };
        let (samples, lengths) = (pick(&self.samples, 1, rows), self.lengths.as_ref().map(picked));
        let names = self.names.as_ref().map(|names| rows.iter().map(|&row| names[row as usize].clone()).collect());
        Ok(Self { columns: self.columns, values: Arc::new(values), samples, lengths, names })
    }

    /// The rows of a range, with the sample numbers they have here.
    ///
    /// # Errors
    /// [`Error::Data`] if the range is empty or ends behind the last row.
    pub fn slice(&self, range: Range<u32>) -> Result<Self> {
        self.select(&rows_of(range, self.rows())?)
    }

    /// One row as the device sees it, `columns` values: bytes become `f32(byte) * scale`.
    ///
    /// # Panics
    /// If `row` is not below [`rows`](Self::rows).
    pub fn row_f32(&self, row: u32) -> Vec<f32> {
        let columns = self.columns as usize;
        let start = row as usize * columns;
        match self.values() {
            Values::U8 { bytes, scale } => bytes[start..start + columns].iter().map(|&b| f32::from(b) * scale).collect(),
            Values::F32(values) => values[start..start + columns].to_vec(),
        }
    }
}

/// What a network learns to answer, one entry for each row.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// Classes.
    Classes {
        /// The class of each row, below `classes`.
        labels: Vec<u32>,
        /// How many classes there are; some may have no row.
        classes: u32,
    },
    /// Numbers, `columns` for each row.
    Values {
        /// Numbers of a row, at least 1.
        columns: u32,
        /// Row-major, every one finite.
        values: Vec<f32>,
    },
}

/// Samples and what they should give: [`Inputs`] of shape `[rows, columns]` and, for each row, a class or numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    inputs: Inputs,
    targets: Targets,
}

impl Dataset {
    /// Puts inputs and labels together; `labels[r]` belongs to row `r`.
    ///
    /// # Errors
    /// [`Error::Data`] if there is not one label for each row, or if a label is not below `classes`.
    pub fn new(inputs: Inputs, labels: Vec<u32>, classes: u32) -> Result<Self> {
        if labels.len() != inputs.samples.len() {
            let (given, rows) = (labels.len(), inputs.samples.len());
            return Err(Error::Data(format!("{given} labels for {rows} rows; give one for each row")));
        }
        if let Some(row) = labels.iter().position(|&label| label >= classes) {
            let label = labels[row];
            return Err(Error::Data(format!("row {row} has label {label}, but labels must be below the {classes} classes")));
        }
        Ok(Self { inputs, targets: Targets::Classes { labels, classes } })
    }

    /// Puts inputs and `columns` numbers a row together; row `r` has `values[r * columns ..][.. columns]`.
    ///
    /// # Errors
    /// [`Error::Data`] if there are not `columns` values for each row, or if a value is NaN or infinite.
    ///
    /// ```
    /// use thinnet::data::{Dataset, Inputs};
    /// let inputs = Inputs::from_f32(2, vec![0.0, 0.5, 1.0, 1.5])?;
    /// let heights = Dataset::with_values(inputs, 1, vec![1.62, 1.81])?;
    /// assert_eq!((heights.rows(), heights.classes()), (2, 0));
    /// # Ok::<(), thinnet::Error>(())
    /// ```
    pub fn with_values(inputs: Inputs, columns: u32, values: Vec<f32>) -> Result<Self> {
        let rows = whole_rows(columns, values.len())?;
        if rows != inputs.rows() {
            let given = inputs.rows();
            return Err(Error::Data(format!("{rows} rows of targets for {given} rows of inputs; give one for each row")));
        }
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            let (row, column) = (at / columns as usize, at % columns as usize);
            let problem = "targets must be finite; remove the row or fill in the value";
            return Err(Error::Data(format!("row {row}, target {column} is {}: {problem}", values[at])));
        }
        Ok(Self { inputs, targets: Targets::Values { columns, values } })
    }

    /// What the rows should give.
    pub fn targets(&self) -> &Targets {
        &self.targets
    }

    /// The inputs.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// The label of each row, below [`classes`](Self::classes); empty where the targets are numbers.
    pub fn labels(&self) -> &[u32] {
        match &self.targets {
            Targets::Classes { labels, .. } => labels,
            Targets::Values { .. } => &[],
        }
    }

    /// How many classes there are, some of which may have no row here; 0 where the targets are numbers.
    pub fn classes(&self) -> u32 {
        match self.targets {
            Targets::Classes { classes, .. } => classes,
            Targets::Values { .. } => 0,
        }
    }

    /// How many rows there are, at least 1.
    pub fn rows(&self) -> u32 {
        self.inputs.rows()
    }

    /// How many values a row has, at least 1.
    pub fn columns(&self) -> u32 {
        self.inputs.columns
    }

    /// Some of the rows with their targets, in the order given; sample numbers and `classes` stay. See [`Inputs::select`].
    ///
    /// # Errors
    /// As [`Inputs::select`].
    pub fn select(&self, rows: &[u32]) -> Result<Self> {
        // The inputs come first: they check the row numbers that the targets are then picked by.
        let inputs = self.inputs.select(rows)?;
        let targets = match &self.targets {
            Targets::Classes { labels, classes } => Targets::Classes { labels: pick(labels, 1, rows), classes: *classes },
            Targets::Values { columns, values } => Targets::Values { columns: *columns, values: pick(values, *columns, rows) },
        };
        Ok(Self { inputs, targets })
    }

    /// The rows of a range with their targets; sample numbers and `classes` stay.
    ///
    /// # Errors
    /// As [`Inputs::slice`].
    ///
    /// ```
    /// let digits = thinnet::data::digits();
    /// let (train, test) = (digits.slice(0..1000)?, digits.slice(1000..1797)?);
    /// assert_eq!((train.rows(), test.rows(), test.inputs().samples()[0]), (1000, 797, 1000));
    /// # Ok::<(), thinnet::Error>(())
    /// ```
    pub fn slice(&self, range: Range<u32>) -> Result<Self> {
        self.select(&rows_of(range, self.rows())?)
    }
}

/// How many rows of `columns` values `length` values are.
fn whole_rows(columns: u32, length: usize) -> Result<u32> {
    if columns == 0 {
        return Err(Error::Data("0 columns; a row needs at least one value".into()));
    }
    if length == 0 {
        return Err(Error::Data("no values; give at least one row".into()));
    }
    let rest = length % columns as usize;
    if rest != 0 {
        let remedy = "check the number of columns";
        return Err(Error::Data(format!(
            "{length} values are not whole rows of {columns} columns, {rest} are left over; {remedy}"
        )));
    }
    // Rows are numbered by one counter word of the mask contract.
    u32::try_from(length / columns as usize)
        .map_err(|_| Error::Data(format!("{} rows; at most {} can be numbered", length / columns as usize, u32::MAX)))
}

/// The rows of a range, checked before it is written out: the range may be as long as u32 allows.
fn rows_of(range: Range<u32>, rows: u32) -> Result<Vec<u32>> {
    if range.is_empty() || range.end > rows {
        return Err(Error::Data(format!("rows {range:?} are not a range of at least one row within 0..{rows}")));
    }
    Ok(range.collect())
}

/// Copies some rows of `columns` values; the row numbers have been checked.
fn pick<T: Copy>(values: &[T], columns: u32, rows: &[u32]) -> Vec<T> {
    let columns = columns as usize;
    let mut picked = Vec::with_capacity(rows.len() * columns);
    for &row in rows {
        picked.extend_from_slice(&values[row as usize * columns..][..columns]);
    }
    picked
}
