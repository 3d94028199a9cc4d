//! Data sets from files: any source that a path names becomes the sets that a network is trained, validated and tested on.
//!
//! # What a path means
//!
//! | path | inputs and targets | test set found with it |
//! | --- | --- | --- |
//! | `digits` | the digits built into the crate ([`digits`](super::digits())); a folder of that name is `./digits` | none |
//! | a folder | `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`, plain or with `.gz` | `t10k-...` in the folder |
//! | an idx file of images, its name with `images` or `idx3` | labels in the file whose name has `labels` and `idx1` instead | none |
//! | `.csv`, `.csv.gz` | a table under a header line | `NAME_test.csv`; of `train.csv` or `NAME_train.csv`, the same with `test`; or `.csv.gz` |
//! | `.npz` | arrays `x`, `X`, `x_train`, `X_train`, `data` or `inputs`, and `y`, `Y`, `labels`, `label`, `targets` or `target`; of `x_train`, `y_train` | arrays `x_test` and `y_test` |
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
//! others, or among them those of [`DataOptions::train`], are trained on.
//!
//! # csv
//!
//! The target is the column `label`, `target`, `class` or `y`, the first that exists. All other columns are inputs and must be
//! finite numbers. Spaces around cells are ignored, cells with commas are quoted.
//!
//! Classes ([`Task::Classes`]) are whole numbers that use all of 0, 1, 2 ... up to the largest, and stay those numbers; any
//! other labels are names, classes in sorted order (numbers by size, -1 before 1), kept in [`Preprocessing::output_names`].
//!
//! # npy and npz
//!
//! Booleans, signed and unsigned integers of 8 to 64 bits and floats of 32 and 64 bits, both byte orders, rows or columns
//! first. The first dimension counts the rows, the others are flattened. Classes are whole numbers from 0.
//!
//! # What is done to the values
//!
//! Unsigned bytes stay bytes with scale 1/255, booleans bytes with scale 1; everything else becomes f32. Inputs that are f32
//! are standardised unless [`DataOptions::standardize`] is `false`; bytes only if it is `true`, and then become f32. Targets of
//! [`Task::Values`] are standardised unless it is `false`, too. Means and deviations are those of the rows trained on.
//!
//! Memory: the result, and while rows are selected what is held out once more; arrays with columns first, and of integers and floats
//! of more than 24 bits, twice more.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Dataset, Inputs, Preprocessing, Standardization, Targets, Values};
use crate::network::Loss;
use crate::{Error, Result};

mod apply;
mod csv;
mod labels;
mod npy;
mod place;
mod source;
mod split;

use apply::{apply, as_f32, check_widths, checked, keep_rows, standardized};
use place::Place;
use source::{Ask, Source};

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
        Self { path, train: None, valid: None, valid_fraction: None, test: None, target: None, standardize: None }
    }

    /// Reads the source and makes the sets. Classes are as many in all of them, whichever are in each.
    ///
    /// # Errors
    /// [`Error::File`] with the place and a remedy if the source is not what it should be, [`Error::Option`] for rows that the
    /// file has not or that are in two sets, [`Error::Data`] for data that do not fit the task.
    ///
    /// ```
    /// use thinnet::data::{DataOptions, Task};
    /// let options = DataOptions { valid_fraction: Some(0.1), test: Some("1500..1797".parse()?), ..Default::default() };
    /// let sets = options.load(Task::Classes, 0)?;
    /// assert_eq!((sets.train.rows(), sets.valid.unwrap().rows(), sets.test.unwrap().rows()), (1350, 150, 297));
    /// # Ok::<(), thinnet::Error>(())
    /// ```
    pub fn load(&self, task: Task, seed: u64) -> Result<Sets> {
        let place = Place::of(&self.path)?;
        let ask = Ask { target: self.target.as_ref(), task, known: None, targets: true };
        let Source { inputs, targets, input_names, output_names, target } = place.read(&ask)?;
        let data = Dataset { inputs, targets: checked(targets, task, &self.path)? };
        let split = split::split(self, data.rows(), seed)?;
        let held_out = |rows: &[u32]| if rows.is_empty() { Ok(None) } else { data.select(rows).map(Some) };
        let (mut valid, mut test) = (held_out(&split.valid)?, held_out(&split.test)?);
        let mut train = data;
        keep_rows(&mut train, &split.train);

        let floats = matches!(train.inputs.values(), Values::F32(_));
        let standardize = self.standardize.unwrap_or(floats);
        let inputs = standardize.then(|| Standardization::fit(train.columns(), &as_f32(&train.inputs)));
        let targets = match &train.targets {
            Targets::Values { columns, values } if self.standardize != Some(false) && task == Task::Values => {
                Some(Standardization::fit(*columns, values))
            }
            _ => None,
        };
        let preprocessing = Preprocessing { inputs, targets, input_names, output_names };
        for set in [Some(&mut train), valid.as_mut(), test.as_mut()].into_iter().flatten() {
            apply(&preprocessing, set, &self.path)?;
        }
        if test.is_none()
            && let Some(place) = place.test()?
        {
            let ask = Ask { target: target.as_ref().or(self.target.as_ref()), task, known: Some(&preprocessing), targets: true };
            test = Some(read_all(&place, &ask)?);
        }
        let classes = [Some(&train), test.as_ref()].into_iter().flatten().map(Dataset::classes).max().unwrap_or(0);
        for set in [Some(&mut train), valid.as_mut(), test.as_mut()].into_iter().flatten() {
            if let Targets::Classes { classes: own, .. } = &mut set.targets {
                *own = classes;
            }
        }
        check_widths(&train, test.as_ref(), &self.path)?;
        Ok(Sets { train, valid, test, preprocessing })
    }
}

/// The test part of a folder or an archive that has both parts, all rows of any other path.
///
/// # Errors
/// A path that is nothing, or an archive that cannot be read.
pub fn test_within(path: &Path) -> Result<Portion> {
    Ok(match Place::of(path)? {
        place @ (Place::Folder(..) | Place::Npz(..)) if place.test()?.is_some() => Portion::Test,
        _ => Portion::All,
    })
}

/// Rows with their targets for a model that is trained already, as its preprocessing makes them.
///
/// Columns of a csv file are found by the names that the model knows, in whatever order; `target` is needed where it was in
/// training. Class names become the classes they were in training.
///
/// # Errors
/// As [`DataOptions::load`], and [`Error::File`] if the columns are not those of the model, or a class is not.
pub fn load_for(
    path: &Path,
    portion: &Portion,
    target: Option<&Target>,
    preprocessing: &Preprocessing,
    task: Task,
) -> Result<Dataset> {
    let place = of_portion(path, portion)?;
    let data = read_all(&place, &Ask { target, task, known: Some(preprocessing), targets: true })?;
    match portion {
        Portion::Rows(rows) => data.slice(split::within("rows", rows, data.rows(), &path.display().to_string())?),
        _ => Ok(data),
    }
}

/// The same without targets, which the source may have or not.
///
/// # Errors
/// As [`load_for`], but for the targets.
pub fn inputs_for(path: &Path, portion: &Portion, target: Option<&Target>, preprocessing: &Preprocessing) -> Result<Inputs> {
    let place = of_portion(path, portion)?;
    let ask = Ask { target, task: Task::Either, known: Some(preprocessing), targets: false };
    let mut inputs = place.read(&ask)?.inputs;
    if let Portion::Rows(rows) = portion {
        inputs = inputs.slice(split::within("rows", rows, inputs.rows(), &path.display().to_string())?)?;
    }
    standardized(preprocessing.inputs.as_ref(), &mut inputs, path)?;
    Ok(inputs)
}

fn of_portion(path: &Path, portion: &Portion) -> Result<Place> {
    let place = Place::of(path)?;
    if *portion != Portion::Test {
        return Ok(place);
    }
    place.test()?.ok_or_else(|| {
        let problem = "has no test set beside it; name the file of the test set, or rows of this one";
        source::bad(path, problem)
    })
}

/// Everything in a place, preprocessed.
fn read_all(place: &Place, ask: &Ask) -> Result<Dataset> {
    let (Source { inputs, targets, .. }, path) = (place.read(ask)?, place.path());
    let mut data = Dataset { inputs, targets: checked(targets, ask.task, path)? };
    apply(ask.known.unwrap_or(&Preprocessing::default()), &mut data, path)?;
    Ok(data)
}
