//! A run from its first step, or from its checkpoint, to its folder: trained, interrupted, saved on the way.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use thinnet::config::Config;
use thinnet::data::{Preprocessing, Sets};
use thinnet::profile::Profile;
use thinnet::{Checkpoint, Device, EarlyStopping, Error, Model, Network, Progress, TrainOptions, Trainer};

use super::report::{curves, history_csv};
use crate::cli::output::{Bar, CHECKPOINT, Folder, MODEL};
use crate::cli::{Failure, INTERRUPTED};

/// The checkpoint of the run in a folder.
pub(super) fn checkpoint(place: &Path) -> Result<Checkpoint, Failure> {
    let file = place.join(CHECKPOINT);
    match file.exists() {
        true => Ok(Checkpoint::load(file)?),
        false => Err(Failure::Usage(format!(
            "{} is not there, so there is nothing to go on from; name the run with --out DIR, or begin one without --resume",
            file.display()
        ))),
    }
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
    if let Some(difference) = checkpoint.difference(network, options) {
        return Err(Failure::Usage(format!(
            "{file}: {difference} in {run}, and a training goes on as it began, but for epochs, patience and min_delta; go on with \
             `thinnet train {run} --resume`, or begin another with --out"
        )));
    }
    let (done, epochs) = (checkpoint.history().len(), config.train.epochs);
    if done >= epochs as usize {
        return Err(Failure::Usage(format!("the {done} epochs of {run} are all trained; ask for more with --epochs N")));
    }
    Ok(checkpoint)
}

/// Where a training goes on, and what is otherwise on this machine.
pub(super) fn introduce(checkpoint: &Checkpoint, place: &Path, config: &Config, device: &Device) {
    let (epoch, epochs, here) = (checkpoint.history().len() + 1, config.train.epochs, device.caps().matmul.to_string());
    eprintln!("Going on with {} in epoch {epoch} of {epochs}.", place.display());
    if here != checkpoint.matmul() {
        eprintln!(
            "note: it began with matrix products of {}, here they are {here}: the masks are the same, sums are added in another order",
            checkpoint.matmul()
        );
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
    preprocessing: Preprocessing,
    folder: Folder,
}

impl Run {
    pub(super) fn new(
        trainer: Trainer,
        config: Config,
        device: &Device,
        sets: &Sets,
        folder: Folder,
        profile: Option<Profile>,
    ) -> Self {
        let (matmul, preprocessing) = (device.caps().matmul.to_string(), sets.preprocessing.clone());
        Self { trainer, profile, config, matmul, preprocessing, folder }
    }

    /// Trains all epochs, or until patience or Ctrl-C end it, and writes the run after every `save_every` seconds, or [`SAVING`]. The outer error
    /// leaves nothing to write, the inner one says that it was interrupted.
    pub(super) fn train(&mut self, save_every: f64) -> Result<Result<(), Failure>, Failure> {
        let (epochs, flag, interrupted) =
            (self.config.train.epochs, self.trainer.stop_flag(), interruptible(self.trainer.stop_flag())?);
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
            if let Err(failure) = self.write() {
                eprintln!("note: what there is by now could not be saved: {failure}");
            }
            saving = begun.elapsed();
        }
        bar.finish();
        let (trained, place) = (self.trainer.history().len() as u32, self.folder.place().display().to_string());
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
            Err(Error::Option { option: "epochs", .. }) if flag.load(SeqCst) => Ok(()),
            ended => ended.map(|_| ()),
        }
    }

    /// The weights that are kept: those of the best epoch where there is early stopping, otherwise the last.
    pub(super) fn model(&self) -> Result<Model, Error> {
        let best = self.trainer.best().map(|best| best.model.clone());
        best.map_or_else(|| self.trainer.model(), Ok)?.with_preprocessing(self.preprocessing.clone())
    }

    /// The best epoch, where there is early stopping.
    pub(super) fn best(&self) -> Option<u32> {
        self.trainer.best().map(|best| best.epoch.epoch)
    }

    /// Writes the run as it is by now.
    pub(super) fn write(&mut self) -> Result<(), Failure> {
        let folder = &self.folder;
        folder.begin()?;
        // First, so that they are kept whatever happens to the rest.
        self.model()?.save(folder.file(MODEL)).map_err(|e| Failure::Other(e.to_string()))?;
        match self.trainer.checkpoint() {
            Ok(checkpoint) => checkpoint.save(folder.file(CHECKPOINT)).map_err(|e| Failure::Other(e.to_string()))?,
            // The best epoch before is all there is.
            Err(Error::Diverged { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let title = folder.place().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (history, config) = (self.trainer.history(), self.config.to_toml());
        folder.write("config.toml", &format!("# Trained with matrix products: {} (see --matmul).\n{config}", self.matmul))?;
        folder.write("history.csv", &history_csv(history))?;
        let seconds = history.iter().map(|e| format!("{},{:.3}\n", e.epoch + 1, e.seconds)).collect::<String>();
        folder.write("timing.csv", &format!("epoch,seconds\n{seconds}"))?;
        if !history.is_empty() {
            folder.write("curves.svg", &curves(&title, history)?)?;
        }
        if let Some(profile) = &self.profile {
            let text = serde_json::to_string_pretty(profile).expect("a profile is plain data");
            folder.write("profile.json", &(text + "\n"))?;
        }
        self.folder.complete()
    }
}

/// Whether the user wants the training to end: Ctrl-C or a request to terminate sets the trainer's flag, too; a second one ends the
/// program.
fn interruptible(flag: Arc<AtomicBool>) -> Result<Arc<AtomicBool>, Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let seen = interrupted.clone();
    let handler = move || {
        if seen.swap(true, SeqCst) {
            std::process::exit(INTERRUPTED.into());
        }
        flag.store(true, SeqCst);
    };
    ctrlc::set_handler(handler).map_err(|error| Failure::Other(format!("Ctrl-C cannot be heard: {error}")))?;
    Ok(interrupted)
}
