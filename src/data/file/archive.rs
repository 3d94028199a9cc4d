//! Archives of arrays (npz), by name.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use zip::ZipArchive;

use super::npy::{Array, Found};
use super::shown::{listed, shown};
use super::source::{bad, nearest};
use crate::{Error, Result};

/// An archive of arrays.
pub(super) struct Archive<'a> {
    path: &'a Path,
    archive: ZipArchive<BufReader<File>>,
}

impl<'a> Archive<'a> {
    pub(super) fn open(path: &'a Path) -> Result<Self> {
        let file = super::source::file(path, "an npz archive")?;
        let archive = ZipArchive::new(BufReader::new(file))
            .map_err(|error| bad(path, format!("is no readable npz archive ({error}); write it with numpy.savez")))?;
        Ok(Self { path, archive })
    }

    /// The names of the arrays.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.archive.file_names_raw().map(|name| String::from_utf8_lossy(name).into()).collect();
        names.retain_mut(|name| name.strip_suffix(".npy").map(String::from).map(|stem| *name = stem).is_some());
        names.sort_unstable();
        names
    }

    /// The first of the names that is in the archive.
    pub(super) fn first_of(&self, wanted: &[&str]) -> Option<String> {
        let names = self.names();
        wanted.iter().find(|name| names.iter().any(|other| other == *name)).map(|name| name.to_string())
    }

    /// That none of the names is there.
    pub(super) fn lacks(&self, what: &str, wanted: &[&str]) -> Error {
        let (names, wanted_names) = (self.names(), wanted.join(", "));
        let hint = if let [only] = wanted { nearest(only, &names) } else { String::new() };
        let (listed, remedy) = (listed(&names), "save them with numpy.savez(path, x=x, y=y)");
        bad(self.path, format!("has no array of {what} ({wanted_names}){hint}; it has: {listed}; {remedy}"))
    }

    /// Does something with the array of a name.
    pub(super) fn with<T>(&mut self, name: &str, f: impl FnOnce(Array) -> Found<T>) -> Result<T> {
        let at = |problem: String| bad(self.path, format!("array `{}` {problem}", shown(name)));
        let mut file = self
            .archive
            .by_name(&format!("{name}.npy"))
            .map_err(|error| at(format!("is unreadable ({error}); write it with numpy.savez or numpy.savez_compressed")))?;
        Array::open(&mut file).and_then(f).map_err(at)
    }
}
