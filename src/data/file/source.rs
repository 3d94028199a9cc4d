//! What is asked of a source, what it gives, and how its files are opened.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::shown::{escaped, shown};
use super::{Target, Task};
use crate::data::{Inputs, Preprocessing, Targets};
use crate::{Error, Result};

/// What is wanted of a source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) target: Option<&'a Target>,
    pub(super) task: Task,
    /// Of a model that is trained already.
    pub(super) known: Option<&'a Preprocessing>,
    /// Whether the targets are read, and needed.
    pub(super) targets: bool,
    /// The column of a csv file that tells sequences apart.
    pub(super) sequence: Option<&'a str>,
    /// Whether the inputs are numbers of words.
    pub(super) words: bool,
}

/// What was read, before anything is done to it.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) inputs: Inputs,
    /// There if [`Ask::targets`].
    pub(super) targets: Option<Targets>,
    pub(super) input_names: Vec<String>,
    pub(super) output_names: Vec<String>,
    /// The target columns of a csv file, by name.
    pub(super) target: Option<Target>,
}

/// What is wrong with a file. What it quotes of the file may be anything, and is safe on a terminal behind this.
pub(super) fn bad(path: &Path, problem: impl Into<String>) -> Error {
    Error::File { path: path.to_path_buf(), problem: escaped(&problem.into()) }
}

/// ` (did you mean ...?)` if a name is similar.
pub(super) fn nearest(name: &str, names: &[String]) -> String {
    // What is longer is no name, and takes long to compare.
    let names = names.iter().filter(|other| other.len() < 1000);
    let similar = names.map(|other| (strsim::jaro_winkler(&name.to_lowercase(), &other.to_lowercase()), other));
    match similar.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((similarity, other)) if similarity > 0.7 => format!(" (did you mean `{}`?)", shown(other)),
        _ => String::new(),
    }
}

pub(super) fn file(path: &Path, expected: &str) -> Result<File> {
    let unreadable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => bad(path, format!("found no such file, expected {expected}; check the path")),
        _ => bad(path, format!("is unreadable ({error}), expected {expected}; check the path and its permissions")),
    };
    let file = File::open(path).map_err(unreadable)?;
    // Unix opens folders, and says so only when they are read.
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(bad(path, format!("is a folder, expected {expected}; name a file")));
    }
    Ok(file)
}

/// Opens a file; a gzipped one, told by its first two bytes, is decompressed as it is read.
pub(super) fn open(path: &Path, expected: &str) -> Result<Box<dyn Read>> {
    let mut reader = BufReader::new(file(path, expected)?);
    let start = reader.fill_buf().map_err(|error| bad(path, format!("is unreadable ({error}); check the file")))?;
    let gzipped = start.starts_with(&[0x1F, 0x8B]);
    Ok(if gzipped { Box::new(MultiGzDecoder::new(reader)) } else { Box::new(reader) })
}

/// The smallest and the largest number of a column, in f64.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spread(f64, f64);

impl Default for Spread {
    fn default() -> Self {
        Self(f64::INFINITY, f64::NEG_INFINITY)
    }
}

impl Spread {
    pub(super) fn add(&mut self, value: f64) {
        *self = Self(self.0.min(value), self.1.max(value));
    }

    /// Refuses a column whose numbers differ by less than f32 can tell apart at their size: 1/256 of the spread has to be more than
    /// its last place.
    pub(super) fn check(self) -> std::result::Result<(), String> {
        let Self(low, high) = self;
        let last_place = low.abs().max(high.abs()) * f64::from(f32::EPSILON);
        match high > low && high - low < 256.0 * last_place {
            true => Err(format!(
                "goes from {low} to {high}, which is too little at this size for numbers of 24 bits; subtract {low} from it"
            )),
            false => Ok(()),
        }
    }
}
