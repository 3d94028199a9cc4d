//! What commands write: files that appear whole or not at all, folders likewise, and progress bars on a terminal.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use indicatif::{ProgressBar, ProgressStyle};
use thinnet::Progress;

use super::Failure;

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

/// The weights of a run.
pub(super) const MODEL: &str = "model.safetensors";

/// All that its training goes on from.
pub(super) const CHECKPOINT: &str = "checkpoint.safetensors";

/// All that a sweep goes on from.
pub(super) const SWEEP: &str = "sweep.json";

/// What a training or a sweep writes into its folder, with [`CALIBRATION`] in a folder of its own.
const RUN: &[&str] = &[
    CHECKPOINT,
    "config.toml",
    "curves.svg",
    "history.csv",
    MODEL,
    "profile.json",
    "rates.csv",
    "rates.svg",
    "sweep.csv",
    SWEEP,
    "timing.csv",
];

/// What `demo` writes into its folder.
pub(super) const DEMO: &[&str] = &["curves.svg", "history.csv", "with-dropout.safetensors", "without-dropout.safetensors"];

/// What `calibrate` writes into its folder.
pub(super) const CALIBRATION: &[&str] = &[
    "figures.csv",
    "intervals.csv",
    "intervals.svg",
    "ood.csv",
    "ood.svg",
    "reliability.csv",
    "reliability.svg",
    "risk-coverage.csv",
    "risk-coverage.svg",
];

/// The folder of a calibration inside of its run.
pub(super) const IN_RUN: &str = "calibration";

/// Refuses a folder that is there already, unless it may be replaced and holds nothing but a run.
pub(super) fn refuse_folder(path: &Path, force: bool) -> Result<(), Failure> {
    refuse_folder_of(path, force, RUN)
}

/// The same for a folder that may hold nothing but these files.
pub(super) fn refuse_folder_of(path: &Path, force: bool, ours: &[&str]) -> Result<(), Failure> {
    let name = path.display();
    if path.file_name().is_none() {
        return Err(Failure::Usage(format!("{name} is no name for a new folder; choose one with --out, such as runs/NAME")));
    }
    if !taken(path) {
        return Ok(());
    }
    if !force {
        let remedy = "choose another place with --out, or replace it with --force";
        return Err(Failure::Usage(format!("{name} exists already; {remedy}")));
    }
    let what = if ours == RUN { "runs" } else { "what this command wrote" };
    match foreign(path, ours) {
        Some(found) => Err(Failure::Usage(format!(
            "{name} is {found}, and --force replaces {what} only; move it away, or choose another place with --out"
        ))),
        None => Ok(()),
    }
}

/// What makes a place another than a folder of these files: --force is for what this program wrote, and whatever else is there
/// was put there by somebody.
fn foreign(path: &Path, ours: &[&str]) -> Option<String> {
    if path.is_symlink() {
        return Some("a link".into());
    }
    let Ok(entries) = std::fs::read_dir(path) else { return Some("no folder".into()) };
    // What was being written when a program was killed is ours, too.
    let whole = |name: &str| name.split_once(".part-").map_or_else(|| name.to_owned(), |(name, _)| name.to_owned());
    let is_ours = |name: &str| {
        ours.contains(&&*whole(name)) || (ours == RUN && name == IN_RUN && foreign(&path.join(name), CALIBRATION).is_none())
    };
    let mut names = entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()));
    names.find(|name| !is_ours(name)).map(|name| format!("a folder with {name} in it"))
}

/// A folder that is filled beside its place and moved there when it is complete. What was there before stays until then; what is
/// left of a folder that was never completed goes with it, the parents that were made for it too.
/// Nothing of it is there before.
pub(super) struct Folder {
    place: PathBuf,
    beside: PathBuf,
    force: bool,
    /// The files that --force may replace.
    ours: &'static [&'static str],
    /// Parents that were not there before, innermost first.
    parents: Vec<PathBuf>,
}

impl Folder {
    /// Plans a folder, after trying whether it can be made: better found out before a long training than after.
    pub(super) fn plan(place: &Path, force: bool) -> Result<Self, Failure> {
        Self::plan_of(place, force, RUN)
    }

    /// The same for a folder of other files than those of a run.
    pub(super) fn plan_of(place: &Path, force: bool, ours: &'static [&'static str]) -> Result<Self, Failure> {
        refuse_folder_of(place, force, ours)?;
        // Without a slash at the end, which would put what is beside the place inside of it.
        let place = &place.components().collect::<PathBuf>();
        let beside = beside(place);
        let parents = place.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty());
        let parents = parents.take_while(|parent| !parent.exists()).map(Path::to_path_buf).collect();
        let folder = Self { place: place.into(), beside, force, ours, parents };
        folder.begin()?;
        folder.remove();
        Ok(folder)
    }

    /// Makes the folder, empty, and its parents.
    pub(super) fn begin(&self) -> Result<(), Failure> {
        std::fs::create_dir_all(&self.beside)
            .map_err(|e| failed(&self.place, format!("cannot be created: {e}; choose another folder with --out")))
    }

    /// Removes what is not complete.
    fn remove(&self) {
        let _ = std::fs::remove_dir_all(&self.beside); // nothing is there any more where the folder was completed
        // Only an empty folder can be removed like this.
        self.parents.iter().for_each(|parent| drop(std::fs::remove_dir(parent)));
    }

    /// A file of the folder, before it is complete.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.beside.join(name)
    }

    pub(super) fn write(&self, name: &str, content: &str) -> Result<(), Failure> {
        let path = self.file(name);
        std::fs::write(&path, content).map_err(|e| failed(&path, format!("cannot be written: {e}")))
    }

    /// Moves the folder to its place. Where that fails, both what was there and the complete folder are kept.
    pub(super) fn complete(self) -> Result<(), Failure> {
        let mut old = self.beside.clone().into_os_string();
        old.push("-old");
        let old = PathBuf::from(old);
        let replaces = taken(&self.place);
        // Another training may have been faster.
        if let Err(error) = refuse_folder_of(&self.place, self.force, self.ours) {
            let kept = self.beside.display().to_string();
            std::mem::forget(self); // it is not removed
            return Err(Failure::Usage(format!("{error}; what was to be there is in {kept}")));
        }
        let moved = match replaces {
            true => std::fs::rename(&self.place, &old),
            false => Ok(()),
        };
        let moved = moved.and_then(|()| {
            std::fs::rename(&self.beside, &self.place).inspect_err(|_| {
                let _ = replaces.then(|| std::fs::rename(&old, &self.place)); // the error that is reported is the first
            })
        });
        if let Err(e) = moved {
            let error =
                failed(&self.place, format!("cannot be put in place: {e}; what was to be there is in {}", self.beside.display()));
            std::mem::forget(self); // it is not removed
            return Err(error);
        }
        if replaces {
            return std::fs::remove_dir_all(&old)
                .map_err(|e| failed(&old, format!("is the replaced folder and cannot be removed: {e}")));
        }
        Ok(())
    }
}

impl Drop for Folder {
    /// Removes what is not complete, but for weights, which may have taken long.
    fn drop(&mut self) {
        if self.file(MODEL).exists() {
            note(format_args!("The weights are kept in {}.", self.beside.display()));
        } else {
            self.remove();
        }
    }
}

/// What appears at its place all at once when it is written for the first time; from then on nothing but its own files is replaced, each
/// by a whole one, unless another command has written there in the meantime.
#[derive(Default)]
pub(super) struct Results {
    place: PathBuf,
    /// Until it is written for the first time.
    folder: Option<Folder>,
    /// The file that is written last.
    last: &'static str,
    /// What was there when it was written.
    written: Stamp,
    /// Whether its place was taken by somebody else in the meantime.
    pub(super) displaced: bool,
}

/// What tells a folder and a file in it from those that take their place.
#[derive(Debug, Default, PartialEq)]
struct Stamp {
    folder: Option<u64>,
    /// When it was written, and its length.
    file: Option<(SystemTime, u64)>,
}

impl Stamp {
    fn of(folder: &Path, file: &str) -> Self {
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
    /// For a place where nothing is yet but what `folder` plans, or for one where results are that go on; `last` is the file that is
    /// written last.
    pub(super) fn new(place: &Path, folder: Option<Folder>, last: &'static str) -> Self {
        let written = if folder.is_some() { Stamp::default() } else { Stamp::of(place, last) };
        Self { place: place.into(), folder, last, written, displaced: false }
    }

    /// Lets `files` write them into a folder.
    pub(super) fn write(&mut self, files: impl Fn(&Path) -> Result<(), Failure>) -> Result<(), Failure> {
        if let Some(folder) = self.folder.take() {
            if let Err(failure) = folder.begin().and_then(|()| files(&folder.file(""))) {
                self.folder = Some(folder);
                return Err(failure);
            }
            folder.complete().inspect_err(|_| self.displaced = true)?;
            self.written = Stamp::of(&self.place, self.last);
            return Ok(());
        }
        let result = match Stamp::of(&self.place, self.last) == self.written {
            true => files(&self.place),
            false => return self.aside(files),
        };
        let now = Stamp::of(&self.place, self.last);
        if now.folder != self.written.folder {
            return self.aside(files); // while it was written
        }
        self.written = now;
        result
    }

    /// Lets `files` write them where nobody else does, and says so.
    fn aside(&mut self, files: impl Fn(&Path) -> Result<(), Failure>) -> Result<(), Failure> {
        self.displaced = true;
        let aside = beside(&self.place);
        std::fs::create_dir_all(&aside).map_err(|e| failed(&aside, format!("cannot be created: {e}")))?;
        files(&aside)?;
        let problem = format!("another command has written there in the meantime; what this one has is in {}", aside.display());
        Err(failed(&self.place, problem))
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
        self.0.set_length(progress.total_steps);
        self.0.set_position(progress.steps);
        if let Some(last) = progress.history.last() {
            let valid = last.valid.map_or(String::new(), |valid| match valid.accuracy {
                Some(accuracy) => format!(", validation {:.1} %", 100.0 * accuracy),
                None => format!(", validation {:.4}", valid.loss),
            });
            self.0.set_message(format!("epoch {}: loss {:.4}{valid}", last.epoch + 1, last.running.loss));
        }
    }

    /// The same for run `done` of `count`, all of which take equally many steps.
    pub(super) fn show_part(&self, name: &str, progress: &Progress<'_>, done: u64, count: u64) {
        self.show(progress);
        self.0.set_prefix(name.to_owned());
        self.0.set_length(count * progress.total_steps);
        self.0.set_position(done * progress.total_steps + progress.steps);
    }

    /// `done` of `count`.
    pub(super) fn at(&self, done: impl Into<u64>, count: impl Into<u64>) {
        self.0.set_length(count.into());
        self.0.set_position(done.into());
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Folder, MODEL};

    #[test]
    fn a_folder_appears_whole_or_not_at_all() {
        let root = std::env::temp_dir().join(format!("thinnet-folder-{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        let entries = || std::fs::read_dir(&root).unwrap().count();
        let place = root.join("run");
        let begun = |place: &Path, force, name| {
            let folder = Folder::plan(place, force).unwrap();
            folder.begin().unwrap();
            folder.write(name, "1").unwrap();
            folder
        };
        drop(begun(&place, false, "history.csv"));
        assert_eq!(entries(), 0, "an unfinished folder leaves nothing");
        drop(begun(&root.join("a/b/run"), false, "a"));
        assert_eq!(entries(), 0, "nor do its parents stay");
        let planned = Folder::plan(&place, false).unwrap();
        assert_eq!(entries(), 0, "nothing is there before something is written");
        drop(planned);
        begun(&place, false, "history.csv").complete().unwrap();
        assert!(Folder::plan(&place, false).is_err(), "a run is not replaced unasked");
        drop(begun(&place, true, "sweep.csv"));
        assert!(place.join("history.csv").exists(), "an unfinished replacement leaves the old run");
        begun(&place, true, "sweep.csv").complete().unwrap();
        assert!(place.join("sweep.csv").exists() && !place.join("history.csv").exists() && entries() == 1);
        // What this program did not write stays, and so does what another training wrote in the meantime.
        std::fs::write(place.join("thesis.txt"), "years").unwrap();
        assert!(Folder::plan(&place, true).is_err() && place.join("thesis.txt").exists());
        let (slow, fast) = (begun(&root.join("race/"), false, "history.csv"), root.join("race"));
        std::fs::create_dir(&fast).unwrap();
        assert!(slow.complete().is_err() && fast.exists());
        assert!(Folder::plan(Path::new("."), true).is_err() && Folder::plan(Path::new("a/.."), true).is_err());
        std::fs::remove_dir_all(&root).unwrap();
        assert!(Folder::plan(Path::new("/dev/null/run"), false).is_err(), "a folder that cannot be made is found out at once");
    }

    /// A disk may be full after the weights.
    #[test]
    fn what_is_not_complete_goes_but_for_weights() {
        let place = tempfile::tempdir().unwrap();
        let left = |files: &[&str]| {
            let folder = Folder::plan(&place.path().join("run"), false).unwrap();
            folder.begin().unwrap();
            files.iter().for_each(|file| folder.write(file, "written").unwrap());
            let paths: Vec<_> = files.iter().map(|file| folder.file(file)).collect();
            drop(folder);
            paths.iter().filter(|path| path.exists()).count()
        };
        assert_eq!(left(&["config.toml", "history.csv"]), 0);
        assert_eq!(left(&[MODEL, "config.toml"]), 2);
        assert!(!place.path().join("run").exists());
    }
}
