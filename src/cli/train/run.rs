//! A run from its first step, or from its checkpoint, to its folder: trained, interrupted, saved on the way.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use thinnet::config::Config;
use thinnet::profile::Profile;
use thinnet::{Best, Checkpoint, Device, EarlyStopping, Error, Model, Network, Progress, TrainOptions, Trainer};

use super::left::Held;
use super::report::{curves, history_csv};
use crate::cli::Failure;
use crate::cli::output::{Bar, CHECKPOINT, Folder, IN_RUN, MODEL, Results, note, plan_file, write_whole};

/// The checkpoint of the run in a folder.
pub(super) fn checkpoint(place: &Path) -> Result<Checkpoint, Failure> {
    let file = place.join(CHECKPOINT);
    if !file.exists() {
        return Err(Failure::Usage(format!(
            "{} is not there, so there is nothing to go on from; name the run with --out DIR, or begin one without --resume",
            file.display()
        )));
    }
    // Better found out now than after the training.
    plan_file(&file, "--out", true, &[])?;
    Ok(Checkpoint::load(file)?)
}

/// The same, if the file says the same training, of which something is left to do.
pub(super) fn going_on(
    checkpoint: Checkpoint,
    file: &Path,
    place: &Path,
    config: &Config,
    network: &Network,
    options: &TrainOptions,
) -> Result<Checkpoint, Failure> {
    let (file, run) = (file.display(), place.display());
    let before = checkpoint.options();
    if let Some(difference) = checkpoint.difference(network, &TrainOptions { schedule: before.schedule, ..options.clone() }) {
        return Err(Failure::Usage(format!(
            "{file}: {difference} in {run}; a training goes on as it began, but for epochs, schedule, patience and min_delta; put it back, \
             or begin another with --out"
        )));
    }
    let (done, epochs) = (checkpoint.history().len(), config.train.epochs);
    if done >= epochs as usize {
        return Err(Failure::Usage(format!("the {done} epochs of {run} are all trained; ask for more with --epochs N")));
    }
    if (options.schedule.factor(done as f64) * before.optimizer.lr()) as f32 == 0.0 {
        return Err(Failure::Usage(format!(
            "the schedule of {file} has brought the learning rate to 0 in the {done} epochs of {run}, so that more of them would change \
             nothing; let it reach further there, such as schedule = {{ cosine = {{ epochs = {epochs} }} }}, and go on"
        )));
    }
    let without_better = checkpoint.best().map_or(0, |best| done as u32 - 1 - best.epoch);
    match config.train.patience {
        Some(patience) if without_better >= patience => Err(Failure::Usage(format!(
            "{run} has had {without_better} epochs without a better one, and its patience is {patience}; to go on, give {file} more patience"
        ))),
        _ => Ok(checkpoint),
    }
}

/// What is wrong with a checkpoint, or with data for it.
pub(super) fn in_run(place: &Path, error: Error) -> Error {
    match error {
        Error::Data(problem) => Error::File { path: place.join(CHECKPOINT), problem },
        other => other,
    }
}

/// Where a training goes on, and what is otherwise on this machine.
pub(super) fn introduce(checkpoint: &Checkpoint, place: &Path, config: &Config, device: &Device) {
    let (epoch, epochs, here) = (checkpoint.history().len() + 1, config.train.epochs, device.caps().matmul.to_string());
    note(format_args!("Going on with {} in epoch {epoch} of {epochs}.", place.display()));
    if here != checkpoint.matmul() {
        note(format_args!(
            "note: it began with matrix products of {}, here they are {here}: the masks are the same, sums are added in another order",
            checkpoint.matmul()
        ));
    }
    let (is, was) = (serde_json::json!(config.train.schedule), serde_json::json!(checkpoint.options().schedule));
    if is != was {
        note(format_args!("note: from here on the schedule of the learning rate is {is}; it was {was}"));
    }
    if place.join(IN_RUN).exists() {
        note(format_args!(
            "note: {} is of the weights as they are now; calibrate again in the end",
            place.join(IN_RUN).display()
        ));
    }
}

/// How many times as long as a run took to be written it is trained before it is written again, so that large networks on slow
/// disks lose no more than 2 % of their time.
const SAVING: u32 = 50;

pub(super) struct Run {
    pub(super) trainer: Trainer,
    pub(super) profile: Option<Profile>,
    config: Config,
    /// What else than the file the bits of the weights depend on. It is not in their own file: equal weights make equal files.
    matmul: String,
    pub(super) place: PathBuf,
    pub(super) results: Results,
    /// What there is of it on the disk.
    pub(super) held: Cell<Held>,
    /// Whether it diverged, as far as is known when it is written.
    pub(super) diverged: bool,
}

impl Run {
    pub(super) fn new(
        trainer: Trainer,
        config: Config,
        device: &Device,
        (place, folder): (&Path, Option<Folder>),
        profile: Option<Profile>,
    ) -> Self {
        // A training that goes on has its checkpoint.
        let checkpoint = folder.is_none().then_some(trainer.history().len() as u32);
        let held = Cell::new(Held { checkpoint, ..Held::default() });
        let (matmul, results) = (device.caps().matmul.to_string(), Results::new(place, folder, CHECKPOINT));
        Self { trainer, profile, config, matmul, place: place.into(), results, held, diverged: false }
    }

    /// Trains all epochs, or until patience or Ctrl-C end it, and saves the run after every `save_every` seconds, or [`SAVING`]. The outer error
    /// leaves nothing to write, the inner one says that it was interrupted.
    pub(super) fn train(&mut self, save_every: f64, interrupted: &AtomicBool) -> Result<Result<(), Failure>, Failure> {
        let (epochs, flag) = (self.config.train.epochs, self.trainer.stop_flag());
        // 1e300 seconds, and 0 for never, are more than any training takes.
        let every = Some(save_every).filter(|s| *s > 0.0).and_then(|s| Duration::try_from_secs_f64(s).ok());
        let (bar, mut done, mut saving) = (Bar::new("training"), [0, 0], Duration::ZERO);
        loop {
            let (since, before) = (Instant::now(), done[0]);
            self.train_on(|progress| {
                done = [before + progress.steps, before + progress.total_steps];
                bar.show(&Progress { steps: done[0], total_steps: done[1], history: progress.history });
                if every.is_some_and(|every| since.elapsed() >= every.max(SAVING * saving)) {
                    flag.store(true, SeqCst);
                }
            })?;
            // In this order: who sets the flag from now on is Ctrl-C, or was seen by the line behind.
            let stopped = flag.swap(false, SeqCst);
            if interrupted.load(SeqCst) {
                break;
            }
            if !stopped {
                bar.finish();
                return Ok(Ok(()));
            }
            let begun = Instant::now();
            self.save()?;
            saving = begun.elapsed();
        }
        bar.finish();
        let (trained, place) = (self.trainer.history().len() as u32, self.place.display().to_string());
        if trained == 0 && self.results.replaces() {
            return Err(self.interrupted_early());
        }
        Ok(match trained < epochs {
            true => Err(Failure::Interrupted(format!(
                "Interrupted in epoch {} of {epochs}; {place} has what there was by then. To go on: thinnet train {place} --resume",
                trained + 1,
            ))),
            false => Ok(()),
        })
    }

    /// Trains what is left, until the end or the flag.
    fn train_on(&mut self, observe: impl FnMut(&Progress<'_>)) -> Result<(), Error> {
        let left = self.config.train.epochs.saturating_sub(self.trainer.history().len() as u32);
        let Some(patience) = self.config.train.patience else { return self.trainer.fit_with(left, observe).map(|_| ()) };
        let stopping = EarlyStopping { patience, min_delta: self.config.train.min_delta };
        let flag = self.trainer.stop_flag();
        match self.trainer.fit_best(left, stopping, observe) {
            // It was stopped before there was a best epoch.
            Err(Error::Option { option: "epochs", .. }) if self.trainer.history().is_empty() && flag.load(SeqCst) => Ok(()),
            ended => ended.map(|_| ()),
        }
    }

    /// The weights that are kept: those of the best epoch where there is early stopping, otherwise the last.
    pub(super) fn model(&self) -> Result<Model, Error> {
        self.kept().map_or_else(|| self.trainer.model(), |best| Ok(best.model.clone()))
    }

    /// The best epoch, where there is early stopping; a run that goes on without it has another one no more.
    pub(super) fn best(&self) -> Option<u32> {
        self.kept().map(|best| best.epoch.epoch)
    }

    fn kept(&self) -> Option<&Best> {
        self.trainer.best().filter(|_| self.config.train.patience.is_some())
    }

    /// Saves the run on the way: at its place, or beside it where another run stays until the end.
    ///
    /// # Errors
    /// Another command has taken the place. What else cannot be written may be the next time.
    pub(super) fn save(&mut self) -> Result<(), Failure> {
        let first = self.held.get().weights.is_none();
        match self.write_by(false) {
            Err(failure) if self.results.displaced => return Err(failure),
            Err(failure) => note(format_args!("note: what there is by now could not be saved: {failure}")),
            Ok(()) if first && self.results.replaces() => {
                let (beside, place) = (self.results.at().display(), self.place.display());
                note(format_args!(
                    "note: {place} stays as it is until the training has ended; what is saved until then is in {beside}"
                ));
            }
            Ok(()) => {}
        }
        Ok(())
    }

    /// Writes the run as it is in the end: the folder as a whole, or into the folder that is there, where nothing but its own files is
    /// replaced, each by a whole one.
    ///
    /// # Errors
    /// What cannot be written; [`Error::Diverged`] where there is nothing worth it.
    pub(super) fn write(&mut self) -> Result<(), Failure> {
        self.write_by(true)
    }

    fn write_by(&mut self, last: bool) -> Result<(), Failure> {
        let checkpoint = match self.trainer.checkpoint() {
            Ok(checkpoint) => Some(checkpoint),
            // The last good one stays, if there is one.
            Err(Error::Diverged { .. }) if self.kept().is_some() => None,
            Err(error) => return Err(error.into()),
        };
        self.diverged = checkpoint.is_none();
        let mut results = std::mem::take(&mut self.results);
        let files = |place: &Path| self.write_files(place, checkpoint.as_ref(), last);
        let written = if last { results.write(files) } else { results.save(files) };
        self.results = results;
        written
    }

    /// The files that it is written as.
    pub(super) fn files(&self) -> Vec<&'static str> {
        let files = [
            ("config.toml", true),
            ("history.csv", true),
            ("timing.csv", true),
            ("curves.svg", !self.trainer.history().is_empty()),
            (MODEL, true),
            (CHECKPOINT, !self.diverged),
            ("profile.json", self.profile.is_some()),
        ];
        files.into_iter().filter_map(|(name, written)| written.then_some(name)).collect()
    }

    /// The checkpoint first: where it does not fit on the disk any more, all that was saved before still goes together. Only in the end
    /// the weights are worth more than that.
    fn write_files(&self, place: &Path, checkpoint: Option<&Checkpoint>, last: bool) -> Result<(), Failure> {
        let other = |e: Error| Failure::Other(e.to_string());
        let (epochs, held) = (self.trainer.history().len() as u32, self.held.get());
        let saved = checkpoint.map(|checkpoint| checkpoint.save(place.join(CHECKPOINT)).map_err(other)).transpose();
        if matches!(saved, Ok(Some(()))) {
            self.held.set(Held { checkpoint: Some(epochs), ..held });
        }
        if saved.is_err() && !last {
            return saved.map(drop);
        }
        let kept = self.best().map_or(epochs, |best| best + 1);
        let weights = self.model()?.save(place.join(MODEL)).map_err(other);
        if weights.is_ok() {
            self.held.set(Held { weights: Some(kept), ..self.held.get() });
        }
        // Whatever fails, the others are tried; what failed first is said.
        let rest = self.write_texts(place);
        saved.and(weights).and(rest)
    }

    fn write_texts(&self, place: &Path) -> Result<(), Failure> {
        let text = |name: &str, text: &str| write_whole(&place.join(name), text.as_bytes());
        let title = self.place.canonicalize().unwrap_or_else(|_| self.place.clone());
        let title = title.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (history, config) = (self.trainer.history(), self.config.to_toml());
        text("config.toml", &format!("# Trained with matrix products: {} (see --matmul).\n{config}", self.matmul))?;
        text("history.csv", &history_csv(history))?;
        let seconds = history.iter().map(|e| format!("{},{:.3}\n", e.epoch + 1, e.seconds)).collect::<String>();
        text("timing.csv", &format!("epoch,seconds\n{seconds}"))?;
        if !history.is_empty() {
            text("curves.svg", &curves(&title, history)?)?;
        }
        match &self.profile {
            Some(profile) => {
                text("profile.json", &(serde_json::to_string_pretty(profile).expect("a profile is plain data") + "\n"))
            }
            None => Ok(()),
        }
    }
}
