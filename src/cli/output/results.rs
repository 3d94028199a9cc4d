//! What is written again and again: into its folder, file by file, or beside it until the end.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::folder::Folder;
use super::{beside, failed};
use crate::cli::Failure;

/// Two commands at once: the later one leaves alone what the other has written.
pub(super) fn overtaken(place: &Path, aside: &Path) -> Failure {
    let problem = format!("another command has written there in the meantime; what this one has is in {}", aside.display());
    failed(place, problem)
}

/// What appears at its place all at once when it is written for the first time; from then on nothing but its own files is replaced, each
/// by a whole one, unless another command has written there in the meantime. Where something else is to be replaced, what is saved on
/// the way stays beside it.
#[derive(Default)]
pub(in crate::cli) struct Results {
    place: PathBuf,
    /// Until it is written for the first time.
    folder: Option<Folder>,
    /// A file that is written every time.
    always: &'static str,
    /// What was there when it was written.
    written: Stamp,
    /// Whether its place was taken by somebody else in the meantime.
    pub(in crate::cli) displaced: bool,
}

/// What tells a folder and a file in it from those that take their place.
#[derive(Debug, Default, PartialEq)]
pub(in crate::cli) struct Stamp {
    folder: Option<u64>,
    /// When it was written, and its length.
    file: Option<(SystemTime, u64)>,
}

impl Stamp {
    pub(in crate::cli) fn of(folder: &Path, file: impl AsRef<Path>) -> Self {
        let about = folder.join(file).metadata().ok();
        Self { folder: identity(folder), file: about.and_then(|about| Some((about.modified().ok()?, about.len()))) }
    }
}

/// The number of a folder, which it keeps when it is moved.
#[cfg(unix)]
fn identity(folder: &Path) -> Option<u64> {
    folder.metadata().ok().map(|about| std::os::unix::fs::MetadataExt::ino(&about))
}

/// When a folder was made, which it keeps when it is moved.
#[cfg(not(unix))]
fn identity(folder: &Path) -> Option<u64> {
    let made = folder.metadata().ok()?.created().ok()?;
    Some(made.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_nanos() as u64)
}

impl Results {
    /// For a place where nothing is yet but what `folder` plans, or for one where results are that go on; `always` is a file that is
    /// written every time.
    pub(in crate::cli) fn new(place: &Path, folder: Option<Folder>, always: &'static str) -> Self {
        let written = if folder.is_some() { Stamp::default() } else { Stamp::of(place, always) };
        Self { place: place.into(), folder, always, written, displaced: false }
    }

    /// Lets `files` write them into a folder.
    pub(in crate::cli) fn write(&mut self, files: impl Fn(&Path) -> Result<(), Failure>) -> Result<(), Failure> {
        if let Some(folder) = self.folder.take() {
            if let Err(failure) = folder.begin().and_then(|()| files(&folder.file(""))) {
                self.folder = Some(folder);
                return Err(failure);
            }
            folder.complete().inspect_err(|_| self.displaced = true)?;
            self.written = Stamp::of(&self.place, self.always);
            return Ok(());
        }
        let result = match Stamp::of(&self.place, self.always) == self.written {
            true => files(&self.place),
            false => return self.aside(files),
        };
        let now = Stamp::of(&self.place, self.always);
        if now.folder != self.written.folder {
            return self.aside(files); // while it was written
        }
        self.written = now;
        result
    }

    /// The same on the way, from which nothing may come of it in the end: what is replaced then stays until then.
    pub(in crate::cli) fn save(&mut self, files: impl Fn(&Path) -> Result<(), Failure>) -> Result<(), Failure> {
        match &self.folder {
            Some(folder) if folder.found.is_some() => folder.begin().and_then(|()| files(&folder.file(""))),
            _ => self.write(files),
        }
    }

    /// Whether something else is at its place until it is written.
    pub(in crate::cli) fn replaces(&self) -> bool {
        self.folder.as_ref().is_some_and(|folder| folder.found.is_some())
    }

    /// Whether it is not at its place yet.
    pub(in crate::cli) fn is_beside(&self) -> bool {
        self.folder.is_some()
    }

    /// Where it is by now: at its place, or beside it.
    pub(in crate::cli) fn at(&self) -> &Path {
        self.folder.as_ref().map_or(&self.place, |folder| &folder.beside)
    }

    /// Ends without its place: what is beside it is left there, or removed.
    pub(in crate::cli) fn give_up(&mut self, keep: bool) {
        match self.folder.take() {
            Some(folder) if keep => drop(folder.keep()),
            Some(folder) => folder.remove(),
            None => {}
        }
    }

    /// Lets `files` write them where nobody else does, and says so.
    fn aside(&mut self, files: impl Fn(&Path) -> Result<(), Failure>) -> Result<(), Failure> {
        self.displaced = true;
        let aside = beside(&self.place);
        std::fs::create_dir_all(&aside).map_err(|e| failed(&aside, format!("cannot be created: {e}")))?;
        files(&aside)?;
        Err(overtaken(&self.place, &aside))
    }
}
