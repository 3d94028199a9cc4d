//! Data sets from files: any source that a path names becomes the sets that a network is trained, validated and tested on.
//!
//! # What a path means
//!
//! | path | inputs and targets | test set found with it |
//! | --- | --- | --- |
//! | `digits` | the digits built into the crate ([`digits`](super::digits())); a folder of that name is `./digits` | none |
//! | a folder | `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`, plain or with `.gz` | `t10k-...` in the folder |
//! | an idx file of images, its name with `images` or `idx3` | labels in the file whose name has `labels` and `idx1` instead | none |
//! | `.csv`, `.csv.gz` | a table under a header line | `NAME_test.csv`; of `train.csv` or `NAME_train.csv`, the same with `test`; `TEST` as well; or `.csv.gz` |
//! | `.npz` | arrays `x`, `X`, `x_train`, `X_train`, `data` or `inputs`, and `y`, `Y`, `labels`, `label`, `targets` or `target`; of `x_train`, `y_train` | arrays `x_test` and `y_test` |
//! | `.ts`, `.ts.gz` | sequences with classes or numbers, see below | as of csv |
//! | `.npy` | an array; targets in `NAME_labels.npy` or `NAME_targets.npy`, of `x.npy` or `x_NAME.npy` also `y.npy` or `y_NAME.npy` | none |
//!
//! [`DataOptions::target`] names the column or columns of a csv file, the array of an npz archive, or the file of an npy file.
//! A gzipped file is told by its content.
//!
//! # Rows
//!
//! Rows count from 0: the first row under a header line is row 0, and keeps this number as its sample number wherever it goes.
//! The rows of [`DataOptions::test`] are tested, otherwise the test set found with the path. The rows of
//! [`DataOptions::valid`] validate, or a share [`DataOptions::valid_fraction`] of the rows that would be trained on. All
//! others, or among them those of [`DataOptions::train`], are trained on. Of classes they must be of two at least; those that are in
//! other sets alone says [`Dataset::classes_without_rows`].
//!
//! # csv
//!
//! The target is the column `label`, `target`, `class` or `y`, the first that exists. All other columns are inputs and must be
//! finite numbers. Spaces around cells are ignored, cells with commas are quoted. A cell is on one line.
//!
//! Classes ([`Task::Classes`]) are whole numbers that use all of 0, 1, 2 ... up to the largest, and stay those numbers; any
//! other labels are names, classes in sorted order (numbers by size, -1 before 1), kept in [`Preprocessing::output_names`].
//!
//! # npy and npz
//!
//! Booleans, signed and unsigned integers of 8 to 64 bits and floats of 32 and 64 bits, both byte orders, rows or columns
//! first. The first dimension counts the rows, the others are flattened. Classes are whole numbers from 0, at most 65,536 or 16 for
//! each row.
//!
//! # Sequences
//!
//! Sequences become rows `[steps, features]` with lengths ([`Inputs::with_lengths`](super::Inputs::with_lengths)), zeros behind
//! the end of each. They have room for the longest, also where that is in the test set found with the path, and a trained model keeps
//! the number of steps ([`Preprocessing::sequences`]): it takes shorter sequences, and refuses longer ones.
//!
//! - **ts** is the format of the UEA archive (Bagnall et al. 2018, arXiv:1811.00075) as aeon reads it: header lines of `@problemName`,
//!   `@timeStamps`, `@missing`, `@univariate`, `@dimension`, `@equalLength`, `@seriesLength`, `@classLabel true NAME ..` or
//!   `@targetLabel true`, whatever their case, then `@data`, then a line for each sequence: features separated by `:`, the values of a
//!   feature, step by step, by `,`; the last field is the class or the number to learn. All features of a line are of one length.
//!   Missing values and time stamps are refused. Classes are those of the header.
//! - **csv** with [`DataOptions::sequence`], the name of a column: each line is a step, and consecutive lines in which this column says
//!   the same are a sequence. Its target stands on its last line; on the others it is the same, or left out.
//! - **npz** with an array `lengths` beside `x`, `lengths_train` beside `x_train` and so on: whole numbers. x is `[rows, steps, features]`, or
//!   `[rows, steps]` of one feature. What stands behind the end of a row may be anything and becomes 0.
//!
//! # What is done to the values
//!
//! Of sequences with lengths, "column" below is a feature, over all steps that exist. Numbers of words ([`DataOptions::words`]) stay as
//! they are.
//!
//! Unsigned bytes stay bytes with scale 1/255, booleans bytes with scale 1; everything else becomes f32. Inputs that are f32
//! are standardised unless [`DataOptions::standardize`] is `false`; bytes only if it is `true`, and then become f32. Targets of
//! [`Task::Values`] are standardised unless it is `false`, too. Means and deviations are those of the rows trained on.
//!
//! A model keeps what its inputs were multiplied by ([`Preprocessing::scale`]): numbers above 1 are refused where it learned from
//! bytes, and bytes where it learned from numbers as they are.
//!
//! Memory: the result, and while rows are selected what is held out once more; arrays with columns first, and of integers and floats
//! of more than 24 bits, twice more.

use std::ops::Range;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Dataset, Preprocessing};
use crate::network::Loss;
use crate::{Error, Result};

mod apply;
mod archive;
mod columns;
mod csv;
mod groups;
mod labels;
mod load;
mod npy;
mod place;
mod scale;
mod shown;
mod source;
mod split;
mod steps;
mod ts;

pub use load::{inputs_for, load_for, test_within};
pub use shown::shown;

/// Where the data are and which of them are used: the `[data]` table of a network file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataOptions {
    /// A file, a folder or `digits`, see [the module](self); relative to the working folder.
    pub path: PathBuf,
    /// The rows to learn from; all that are neither valid nor test unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<Rows>,
    /// The rows to validate with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid: Option<Rows>,
    /// The share of the rows to learn from, above 0 and below 1, that validate instead.
    ///
    /// `k = round(valid_fraction * n)` of these n rows are drawn: those with the smallest (word, row), where the word is that
    /// of stream 7 of the mask contract at site 0, pass 0, unit 0 and sample = row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_fraction: Option<f64>,
    /// The rows to test with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<Rows>,
    /// Where the targets are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Whether columns get mean 0 and deviation 1; unless given, all but bytes do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standardize: Option<bool>,
    /// The column of a csv file that says which sequence a line is a step of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<String>,
    /// Whether the inputs are numbers of words, which are neither standardised nor, where they are bytes, scaled. A network file whose
    /// first layer is an embedding means it without saying so ([`Config::load`](crate::Config::load)).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub words: bool,
}

impl Default for DataOptions {
    fn default() -> Self {
        Self::new("digits")
    }
}

const ROWS: &str = "rows are written FIRST..END, the end not included, for example 0..55000";

/// Rows of a file, half open: `"0..55000"` in files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rows(pub Range<u32>);

impl std::fmt::Display for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}..{}", self.0.start, self.0.end)
    }
}

impl From<Rows> for String {
    fn from(rows: Rows) -> Self {
        rows.to_string()
    }
}

impl std::str::FromStr for Rows {
    type Err = Error;

    /// # Errors
    /// [`Error::Option`] if the text is not two numbers, the first below the second, with `..` between them.
    fn from_str(text: &str) -> Result<Self> {
        let number = |text: &str| text.trim().parse::<u32>().ok();
        let range = text.split_once("..").and_then(|(start, end)| Some(number(start)?..number(end)?));
        range.filter(|range| !range.is_empty()).map(Self).ok_or_else(|| Error::Option {
            option: "rows",
            value: text.into(),
            problem: ROWS.into(),
        })
    }
}

impl TryFrom<String> for Rows {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        text.parse().map_err(|_| format!("{text:?} is no range of rows: {ROWS}"))
    }
}

/// Where the targets are: one name, or a list of names for several columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Target {
    /// A column of a csv file, an array of an npz archive, or an npy file beside the inputs.
    One(String),
    /// Several columns of a csv file.
    Many(Vec<String>),
}

impl Target {
    /// The names, in order.
    pub fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Many(names) => names,
        }
    }
}

impl From<Vec<String>> for Target {
    fn from(mut names: Vec<String>) -> Self {
        if names.len() == 1 { Self::One(names.remove(0)) } else { Self::Many(names) }
    }
}

/// What a network learns; its loss decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// One class for each row.
    Classes,
    /// Numbers.
    Values,
    /// Classes, or numbers in 0..=1 where there are several for each row, or floats or fractions; numbers are not standardised.
    Either,
}

impl From<Loss> for Task {
    fn from(loss: Loss) -> Self {
        match loss {
            Loss::SoftmaxCrossEntropy => Self::Classes,
            Loss::BinaryCrossEntropy => Self::Either,
            Loss::MeanSquaredError | Loss::GaussianNll => Self::Values,
        }
    }
}

/// Which rows of a source are evaluated or predicted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Portion {
    /// All rows of the file, archive (of `x` or `x_train`) or folder (of `train-...`) that the path names.
    #[default]
    All,
    /// Some of them.
    Rows(Rows),
    /// The test set that is found with the path.
    Test,
}

/// What [`DataOptions::load`] makes of a source.
#[derive(Debug, Clone, PartialEq)]
pub struct Sets {
    /// What the network learns from.
    pub train: Dataset,
    /// What it is judged by after each epoch, if any rows are.
    pub valid: Option<Dataset>,
    /// What it is judged by in the end, if there is anything.
    pub test: Option<Dataset>,
    /// What was done to the values, to be kept with the weights.
    pub preprocessing: Preprocessing,
}

impl DataOptions {
    /// All rows of a path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            path,
            train: None,
            valid: None,
            valid_fraction: None,
            test: None,
            target: None,
            standardize: None,
            sequence: None,
            words: false,
        }
    }
}
