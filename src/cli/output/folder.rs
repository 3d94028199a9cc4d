//! The folders of runs: they appear whole, and are replaced only where they are ours.

use std::path::{Path, PathBuf};

use super::results::{Stamp, overtaken};
use super::{beside, failed, note, taken};
use crate::cli::Failure;

/// The weights of a run.
pub(in crate::cli) const MODEL: &str = "model.safetensors";

/// All that its training goes on from.
pub(in crate::cli) const CHECKPOINT: &str = "checkpoint.safetensors";

/// All that a sweep goes on from.
pub(in crate::cli) const SWEEP: &str = "sweep.json";

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
pub(in crate::cli) const DEMO: &[&str] =
    &["curves.svg", "history.csv", "with-dropout.safetensors", "without-dropout.safetensors"];

/// What `calibrate` writes into its folder.
pub(in crate::cli) const CALIBRATION: &[&str] = &[
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
pub(in crate::cli) const IN_RUN: &str = "calibration";

/// Refuses a folder that is there already, unless it may be replaced and holds nothing but a run.
pub(in crate::cli) fn refuse_folder(path: &Path, force: bool) -> Result<(), Failure> {
    refuse_folder_of(path, force, RUN)
}

/// The same for a folder that may hold nothing but these files.
fn refuse_folder_of(path: &Path, force: bool, ours: &[&str]) -> Result<(), Failure> {
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
    let whole = |name: &str| {
        let name = name.strip_suffix(".part").unwrap_or(name);
        name.split_once(".part-").map_or_else(|| name.to_owned(), |(name, _)| name.to_owned())
    };
    let is_ours = |name: &str| {
        ours.contains(&&*whole(name)) || (ours == RUN && name == IN_RUN && foreign(&path.join(name), CALIBRATION).is_none())
    };
    let mut names = entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()));
    names.find(|name| !is_ours(name)).map(|name| format!("a folder with {name} in it"))
}

/// A folder that is filled beside its place and moved there when it is complete. What was there before stays until then; what is
/// left of a folder that was never completed goes with it, the parents that were made for it too.
/// Nothing of it is there before.
pub(in crate::cli) struct Folder {
    place: PathBuf,
    pub(super) beside: PathBuf,
    force: bool,
    /// The files that --force may replace.
    ours: &'static [&'static str],
    /// What is there, if anything is: nothing else is replaced.
    pub(super) found: Found,
    /// Parents that were not there before, innermost first.
    parents: Vec<PathBuf>,
}

/// The files of a place by which it is known again; none of a place where nothing is.
pub(super) type Found = Option<Vec<Stamp>>;

fn found(place: &Path, ours: &[&str]) -> Found {
    taken(place).then(|| ours.iter().map(|file| Stamp::of(place, file)).collect())
}

impl Folder {
    /// Plans a folder, after trying whether it can be made: better found out before a long training than after.
    pub(in crate::cli) fn plan(place: &Path, force: bool) -> Result<Self, Failure> {
        Self::plan_of(place, force, RUN)
    }

    /// The same for a folder of other files than those of a run.
    pub(in crate::cli) fn plan_of(place: &Path, force: bool, ours: &'static [&'static str]) -> Result<Self, Failure> {
        refuse_folder_of(place, force, ours)?;
        // Without a slash at the end, which would put what is beside the place inside of it.
        let place = &place.components().collect::<PathBuf>();
        let (beside, found) = (free(place), found(place, ours));
        let parents = place.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty());
        let parents = parents.take_while(|parent| !parent.exists()).map(Path::to_path_buf).collect();
        let folder = Self { place: place.into(), beside, force, ours, found, parents };
        folder.begin()?;
        folder.remove();
        Ok(folder)
    }

    /// Makes the folder, empty, and its parents.
    pub(in crate::cli) fn begin(&self) -> Result<(), Failure> {
        std::fs::create_dir_all(&self.beside)
            .map_err(|e| failed(&self.place, format!("cannot be created: {e}; choose another folder with --out")))
    }

    /// Removes what is not complete.
    pub(super) fn remove(&self) {
        let _ = std::fs::remove_dir_all(&self.beside); // nothing is there any more where the folder was completed
        // Only an empty folder can be removed like this.
        self.parents.iter().for_each(|parent| drop(std::fs::remove_dir(parent)));
    }

    /// Leaves what is not complete where it is.
    pub(super) fn keep(self) -> PathBuf {
        let beside = self.beside.clone();
        std::mem::forget(self); // it is not removed
        beside
    }

    /// A file of the folder, before it is complete.
    pub(in crate::cli) fn file(&self, name: &str) -> PathBuf {
        self.beside.join(name)
    }

    pub(in crate::cli) fn write(&self, name: &str, content: &str) -> Result<(), Failure> {
        let path = self.file(name);
        std::fs::write(&path, content).map_err(|e| failed(&path, format!("cannot be written: {e}")))
    }

    /// Moves the folder to its place. Where that fails, both what was there and the complete folder are kept.
    pub(in crate::cli) fn complete(self) -> Result<(), Failure> {
        let mut old = self.beside.clone().into_os_string();
        old.push("-old");
        let old = PathBuf::from(old);
        let replaces = taken(&self.place);
        // Another training may have been faster.
        if let Err(error) = refuse_folder_of(&self.place, self.force, self.ours) {
            return Err(Failure::Usage(format!("{error}; what was to be there is in {}", self.keep().display())));
        }
        // What --force was said of is what was there then.
        let now = found(&self.place, self.ours);
        if now.is_some() && now != self.found {
            let place = self.place.clone();
            return Err(overtaken(&place, &self.keep()));
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
            let place = self.place.clone();
            return Err(failed(
                &place,
                format!("cannot be put in place: {e}; what was to be there is in {}", self.keep().display()),
            ));
        }
        if replaces {
            return std::fs::remove_dir_all(&old)
                .map_err(|e| failed(&old, format!("is the replaced folder and cannot be removed: {e}")));
        }
        Ok(())
    }
}

/// Where a folder is made: not where weights are, which another program of this number may have left when it was killed.
fn free(place: &Path) -> PathBuf {
    let numbered = |n: u32| {
        let mut path = beside(place).into_os_string();
        if n > 1 {
            path.push(format!("-{n}"));
        }
        PathBuf::from(path)
    };
    (1..).map(numbered).find(|beside| !beside.join(MODEL).exists()).expect("a number is free")
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Folder, MODEL, beside};

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
        std::fs::write(place.join(format!("{MODEL}.part")), "half").unwrap();
        assert!(Folder::plan(&place, true).is_ok(), "what a killed command left is replaced");
        // What this program did not write stays, and so does what another training wrote in the meantime.
        std::fs::write(place.join("thesis.txt"), "years").unwrap();
        assert!(Folder::plan(&place, true).is_err() && place.join("thesis.txt").exists());
        let (slow, fast) = (begun(&root.join("race/"), false, "history.csv"), root.join("race"));
        std::fs::create_dir(&fast).unwrap();
        assert!(slow.complete().is_err() && fast.exists());
        // --force is said of what is there then.
        let slow = begun(&root.join("race"), true, "history.csv");
        std::fs::write(fast.join("sweep.csv"), "theirs").unwrap();
        assert!(slow.complete().is_err() && fast.join("sweep.csv").exists());
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
        // Nor do those go that another program of this number has left.
        let kept = beside(&place.path().join("run")).join(MODEL);
        drop(Folder::plan(&place.path().join("run"), false).unwrap());
        assert!(kept.exists());
    }
}
