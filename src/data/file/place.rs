//! What a path means, and how it is read. The rules for users are in the documentation of the module above.

use std::path::{Path, PathBuf};

use super::archive::Archive;
use super::npy::Array;
use super::shown::shown;
use super::source::{Ask, Source, bad, open};
use super::{Target, Task, csv, ts};
use crate::data::idx::{self, Part};
use crate::data::{Dataset, Inputs, Targets, digits};
use crate::{Error, Result};

/// A source of rows.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Place {
    Digits,
    Folder(PathBuf, Part),
    Idx(PathBuf),
    Csv(PathBuf),
    Ts(PathBuf),
    Npz(PathBuf, Part),
    Npy(PathBuf),
}

/// The name of a file and what is behind it: `("mnist_train", ".csv.gz")`.
fn stem(path: &Path) -> (String, String) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let lower = name.to_lowercase();
    let endings = [".csv.gz", ".csv", ".ts.gz", ".ts", ".npz", ".npy"];
    let length = endings.iter().find(|ending| lower.ends_with(**ending)).map_or(0, |ending| ending.len());
    // Lower case can have another length, but not in these endings, which are ASCII.
    let (stem, ending) = name.split_at(name.len() - length);
    (stem.into(), ending.into())
}

const KINDS: &str = "`digits`, a folder of idx files, an idx file of images (its name has `images` or `idx3`), .csv, .csv.gz, \
                     .ts, .ts.gz, .npz or .npy";

impl Place {
    pub(super) fn of(path: &Path) -> Result<Self> {
        if path == Path::new("digits") {
            return Ok(Self::Digits);
        }
        let owned = path.to_path_buf();
        if path.is_dir() {
            return Ok(Self::Folder(owned, Part::Train));
        }
        if !path.exists() {
            return Err(bad(
                path,
                format!(
                    "found no such file or folder, expected {KINDS}; check the path (thinnet's README says where MNIST and Fashion-MNIST come from)"
                ),
            ));
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match stem(path).1.to_lowercase().as_str() {
            ".csv" | ".csv.gz" => Ok(Self::Csv(owned)),
            ".ts" | ".ts.gz" => Ok(Self::Ts(owned)),
            ".npz" => Ok(Self::Npz(owned, Part::Train)),
            ".npy" => Ok(Self::Npy(owned)),
            _ if name.contains("images") || name.contains("idx3") => Ok(Self::Idx(owned)),
            _ => Err(bad(path, format!("is of no kind that is read; convert or rename it to one of: {KINDS}"))),
        }
    }

    /// The path, for messages.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Digits => Path::new("digits"),
            Self::Folder(path, _) | Self::Idx(path) | Self::Csv(path) | Self::Ts(path) => path,
            Self::Npz(path, _) | Self::Npy(path) => path,
        }
    }

    /// The test set that is found beside a source, or in it.
    pub(super) fn test(&self) -> Result<Option<Self>> {
        Ok(match self {
            Self::Folder(folder, Part::Train) => {
                idx::images_of(folder, Part::Test).is_ok().then(|| Self::Folder(folder.clone(), Part::Test))
            }
            Self::Npz(path, Part::Train) => {
                Archive::open(path)?.first_of(inputs_of(Part::Test)).map(|_| Self::Npz(path.clone(), Part::Test))
            }
            Self::Csv(path) => beside(path, ["csv", "csv.gz"]).map(Self::Csv),
            Self::Ts(path) => beside(path, ["ts", "ts.gz"]).map(Self::Ts),
            _ => None,
        })
    }

    pub(super) fn read(&self, ask: &Ask) -> Result<Source> {
        if let (Some(column), false) = (ask.sequence, matches!(self, Self::Csv(_))) {
            // A model of a csv file may be asked about sequences of other kinds, and is checked there.
            if ask.known.is_none() {
                let problem = "only csv has sequences by a column; remove `sequence`".into();
                return Err(Error::Option { option: "sequence", value: column.into(), problem });
            }
        }
        if let Some(target) = ask.target
            && matches!(self, Self::Digits | Self::Folder(..) | Self::Idx(_) | Self::Ts(_))
        {
            let problem = "only csv, npz and npy have targets by name; remove `target`".into();
            return Err(Error::Option { option: "target", value: target.names().join(", "), problem });
        }
        match self {
            Self::Digits => labelled(digits(), "digits", ask),
            Self::Folder(folder, part) if ask.targets => {
                labelled(idx::read_folder(folder, *part)?, &folder.display().to_string(), ask)
            }
            Self::Folder(folder, part) => Ok(Source::of(idx::read_images(&idx::images_of(folder, *part)?)?, None)),
            Self::Idx(path) if ask.targets => labelled(idx::read(path, &labels_beside(path))?, &path.display().to_string(), ask),
            Self::Idx(path) => Ok(Source::of(idx::read_images(path)?, None)),
            Self::Csv(path) => csv::read(path, ask),
            Self::Ts(path) => ts::read(path, ask),
            Self::Npz(path, part) => npz(path, *part, ask),
            Self::Npy(path) => npy(path, ask),
        }
    }
}

/// The test set in a file beside the training set: of `train` or `NAME_train` the same with `test`, of any other `NAME_test`; in the
/// case of the name.
fn beside(path: &Path, endings: [&str; 2]) -> Option<PathBuf> {
    let (stem, _) = stem(path);
    let names = match (stem.strip_suffix("train"), stem.strip_suffix("TRAIN")) {
        (Some(rest), _) => vec![format!("{rest}test")],
        (_, Some(rest)) => vec![format!("{rest}TEST")],
        _ => vec![format!("{stem}_test"), format!("{stem}_TEST")],
    };
    let files = names.iter().flat_map(|name| endings.map(|ending| path.with_file_name(format!("{name}.{ending}"))));
    files.into_iter().find(|file| file.exists())
}

impl Source {
    pub(super) fn of(inputs: Inputs, targets: Option<Targets>) -> Self {
        Self { inputs, targets, input_names: Vec::new(), output_names: Vec::new(), target: None }
    }
}

/// Data that come with classes.
fn labelled(data: Dataset, name: &str, ask: &Ask) -> Result<Source> {
    if ask.targets && ask.task == Task::Values {
        let remedy = "train with a cross-entropy, or use csv, npz or npy with numbers as targets";
        return Err(Error::Data(format!("{name} has classes, but this loss needs numbers; {remedy}")));
    }
    let Dataset { inputs, targets } = data;
    Ok(Source::of(inputs, ask.targets.then_some(targets)))
}

/// The label file of an image file: `images` becomes `labels`, `idx3` becomes `idx1`; plain or with `.gz`.
fn labels_beside(images: &Path) -> PathBuf {
    let name = images.file_name().unwrap_or_default().to_string_lossy().replace("images", "labels").replace("idx3", "idx1");
    let other = name.strip_suffix(".gz").map_or_else(|| format!("{name}.gz"), String::from);
    let [first, second] = [name, other].map(|name| images.with_file_name(name));
    if !first.exists() && second.exists() { second } else { first }
}

fn inputs_of(part: Part) -> &'static [&'static str] {
    match part {
        Part::Train => &["x", "X", "x_train", "X_train", "data", "inputs"],
        Part::Test => &["x_test", "X_test"],
    }
}

fn targets_of(inputs: &str) -> &'static [&'static str] {
    match inputs {
        "x_train" | "X_train" => &["y_train", "Y_train"],
        "x_test" | "X_test" => &["y_test", "Y_test"],
        _ => &["y", "Y", "labels", "label", "targets", "target"],
    }
}

fn lengths_of(inputs: &str) -> &'static [&'static str] {
    match inputs {
        "x_train" | "X_train" => &["lengths_train"],
        "x_test" | "X_test" => &["lengths_test"],
        _ => &["lengths"],
    }
}

/// The arrays of inputs and targets of an archive.
fn npz(path: &Path, part: Part, ask: &Ask) -> Result<Source> {
    let mut archive = Archive::open(path)?;
    let name = archive.first_of(inputs_of(part)).ok_or_else(|| archive.lacks("inputs", inputs_of(part)))?;
    let targets_of = match (ask.target, part) {
        (Some(target), Part::Train) => vec![one(target)?],
        _ => targets_of(&name).to_vec(),
    };
    // Targets come first: they are small, and a wrong pair of arrays then costs nothing.
    let targets = if ask.targets {
        let targets_name = archive.first_of(&targets_of).ok_or_else(|| archive.lacks("targets", &targets_of))?;
        let rows = archive.with(&name, |array| Ok(array.header().rows()))?;
        Some(archive.with(&targets_name, |array| targets(array, rows, &format!("`{}`", shown(&name)), ask.task))?)
    } else {
        None
    };
    let lengths = match archive.first_of(lengths_of(&name)) {
        Some(lengths) => Some(archive.with(&lengths, |array| array.lengths())?),
        None => None,
    };
    Ok(Source::of(archive.with(&name, |array| array.inputs(ask.words, lengths))?, targets))
}

/// A file of inputs, and the file of its targets.
fn npy(path: &Path, ask: &Ask) -> Result<Source> {
    let mut reader = open(path, "an npy file of inputs")?;
    let array = Array::open(&mut reader).map_err(|problem| bad(path, problem))?;
    let targets = if ask.targets {
        let beside = targets_beside(path, ask.target)?;
        let mut reader = open(&beside, "an npy file of targets")?;
        let rows = array.header().rows();
        let read = Array::open(&mut reader).and_then(|labels| targets(labels, rows, &path.display().to_string(), ask.task));
        Some(read.map_err(|problem| bad(&beside, problem))?)
    } else {
        None
    };
    Ok(Source::of(array.inputs(ask.words, None).map_err(|problem| bad(path, problem))?, targets))
}

fn targets_beside(path: &Path, target: Option<&Target>) -> Result<PathBuf> {
    if let Some(target) = target {
        // Beside the inputs, unless the path is absolute.
        return Ok(path.with_file_name(one(target)?));
    }
    let (stem, ending) = stem(path);
    let mut names = vec![format!("{stem}_labels{ending}"), format!("{stem}_targets{ending}")];
    match stem.strip_prefix(['x', 'X']) {
        Some(rest) if rest.is_empty() || rest.starts_with('_') => names.insert(0, format!("y{rest}{ending}")),
        _ => {}
    }
    let found = names.iter().map(|name| path.with_file_name(name)).find(|path| path.exists());
    found.ok_or_else(|| {
        let names = names.join(", ");
        bad(path, format!("has no file of targets beside it, expected one of {names}; name it with `target`"))
    })
}

fn one(target: &Target) -> Result<&str> {
    match target.names() {
        [name] => Ok(name),
        names => {
            let problem = "npy and npz have their targets in one array; name that one".into();
            Err(Error::Option { option: "target", value: names.join(", "), problem })
        }
    }
}

/// An array as what the loss needs.
fn targets(array: Array, rows: u32, inputs: &str, task: Task) -> std::result::Result<Targets, String> {
    let found = array.header().rows();
    if found != rows {
        return Err(format!("has {found} rows, but {inputs} has {rows}; save one row of targets for each row of inputs"));
    }
    // Fractions, and several numbers in a row, are no classes.
    let as_numbers = task == Task::Values || (task == Task::Either && (array.is_float() || array.columns() > 1));
    if !as_numbers {
        let labels = array.labels()?;
        let classes = labels.iter().max().map_or(2, |&largest| (largest + 1).max(2));
        return Ok(Targets::Classes { labels, classes });
    }
    let (columns, values) = array.values()?;
    Ok(Targets::Values { columns, values })
}
