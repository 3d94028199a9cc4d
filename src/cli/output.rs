//! What commands write: files that appear whole or not at all, folders likewise, and progress bars on a terminal.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use thinnet::Progress;

use super::Failure;

mod folder;
mod results;

pub(super) use folder::{CALIBRATION, CHECKPOINT, DEMO, Folder, IN_RUN, MODEL, SWEEP, refuse_folder};
pub(super) use results::{Results, Stamp};

/// What cannot be written is a failure (exit code 1), not bad input.
fn failed(path: &Path, problem: String) -> Failure {
    Failure::Other(format!("{}: {problem}", path.display()))
}

/// A field as CSV has it: quoted where it must be.
pub(super) fn field(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.into(),
    }
}

/// Writes a file beside its place and moves it there, so that no half-written file is ever seen.
pub(super) fn write_whole(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let beside = beside(path); // of this process: another may write the same file
    std::fs::write(&beside, content).and_then(|()| std::fs::rename(&beside, path)).map_err(|e| {
        let _ = std::fs::remove_file(&beside); // ours alone; the error that is reported is the first
        failed(path, format!("cannot be written: {e}"))
    })
}

/// Where something is made that is moved to its place when it is complete.
fn beside(place: &Path) -> PathBuf {
    let mut beside = place.as_os_str().to_owned();
    beside.push(format!(".part-{}", std::process::id()));
    beside.into()
}

/// Whether anything is at this place, be it a link to nothing.
fn taken(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Plans a file: refuses one that is read or that is there already, unless it may be replaced, and tries whether a file can be
/// made there at all, for better found out before the work than after. `option` names the place.
pub(super) fn plan_file(path: &Path, option: &str, force: bool, read: &[PathBuf]) -> Result<(), Failure> {
    refuse_read(path, option, read)?;
    let name = path.display();
    if path.is_dir() {
        return Err(Failure::Usage(format!("{name} is a folder; name a file with {option}")));
    }
    // Paths are compared without it, but no file can be made there.
    if !path.file_name().is_some_and(|name| path.as_os_str().as_encoded_bytes().ends_with(name.as_encoded_bytes())) {
        return Err(Failure::Usage(format!("{name} ends like a folder; name a file with {option}, without a slash behind it")));
    }
    if taken(path) && !force {
        let remedy = format!("choose another place with {option}, or replace it with --force");
        return Err(Failure::Usage(format!("{name} exists already; {remedy}")));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.exists() {
        return Err(Failure::Usage(format!("{option} {name}: its folder does not exist; make it first")));
    }
    let trial = folder.join(format!(".thinnet-{}", std::process::id()));
    let tried = std::fs::File::create_new(&trial).and_then(|_| std::fs::remove_file(&trial));
    tried.map_err(|e| failed(path, format!("cannot be written: {e}; choose another place with {option}")))
}

/// Whether a file is called one of TOML.
pub(super) fn is_toml(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"))
}

/// Refuses to write over what is read, whatever its name here and whatever links lead to it: --force is for answers that can be
/// had again, and data cannot. A folder is replaced with every file in it.
pub(super) fn refuse_read(path: &Path, option: &str, read: &[PathBuf]) -> Result<(), Failure> {
    let Ok(place) = path.canonicalize() else { return Ok(()) }; // nothing is there
    match read.iter().find(|read| read.canonicalize().is_ok_and(|read| read.starts_with(&place))) {
        Some(read) => Err(Failure::Usage(format!(
            "{} would be written over {}, which this command reads; choose another place with {option}",
            path.display(),
            read.display()
        ))),
        None => Ok(()),
    }
}

/// Says something on standard error, whose end (a log on a full disk) must not end the work.
pub(super) fn note(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{text}"); // there is no other place to say it
}

/// A progress bar on standard error, if that is a terminal.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new(name: impl Into<String>) -> Self {
        Self::counting("steps", name)
    }

    /// A bar that counts something else than steps.
    pub(super) fn counting(what: &str, name: impl Into<String>) -> Self {
        let bar = if std::io::stderr().is_terminal() { ProgressBar::new(1) } else { ProgressBar::hidden() };
        let template = format!("{{prefix:>15}} {{bar:32}} {{pos}}/{{len}} {what}, {{elapsed}}  {{msg}}");
        bar.set_style(ProgressStyle::with_template(&template).expect("the template is fixed"));
        bar.set_prefix(name.into());
        Self(bar)
    }

    pub(super) fn show(&self, progress: &Progress<'_>) {
        self.at(progress.steps, progress.total_steps);
        self.tell(progress);
    }

    /// The same for some runs at a time of `count`, all of which take equally many steps, where `done` are through.
    pub(super) fn show_part(&self, name: &str, progress: &Progress<'_>, [done, at_a_time, count]: [u64; 3]) {
        self.at(done * progress.total_steps + at_a_time * progress.steps, count * progress.total_steps);
        self.0.set_prefix(name.to_owned());
        self.tell(progress);
    }

    /// The last epoch. Behind the numbers, because a message draws the bar, and what comes soon after it is not drawn.
    fn tell(&self, progress: &Progress<'_>) {
        if let Some(last) = progress.history.last() {
            let valid = last.valid.map_or(String::new(), |valid| match valid.accuracy {
                Some(accuracy) => format!(", validation {:.1} %", 100.0 * accuracy),
                None => format!(", validation {:.4}", valid.loss),
            });
            self.0.set_message(format!("epoch {}: loss {:.4}{valid}", last.epoch + 1, last.running.loss));
        }
    }

    /// `done` of `count`.
    pub(super) fn at(&self, done: impl Into<u64>, count: impl Into<u64>) {
        self.0.set_length(count.into());
        self.0.set_position(done.into());
    }

    /// Shows a text behind the numbers.
    pub(super) fn message(&self, text: impl Into<std::borrow::Cow<'static, str>>) {
        self.0.set_message(text);
    }

    /// Runs `print`, which writes lines to the same terminal, with the bar out of the way.
    pub(super) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }

    pub(super) fn finish(self) {
        self.0.finish_and_clear();
    }
}

/// Standard output, whose end by the reader (`thinnet train net.toml | head`) must not end the training: the files are its product.
pub(super) struct Listener<W>(pub(super) W);

impl<W: Write> Write for Listener<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(bytes.len()),
            result => result,
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self.0.flush() {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            result => result,
        }
    }
}
