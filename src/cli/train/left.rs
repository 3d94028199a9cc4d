//! What is left of a training that ended before its time, and where.

use std::fmt;

use thinnet::Error;

use super::run::Run;
use crate::cli::Failure;

/// What there is of a training on the disk: after how many epochs it was written.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Held {
    /// Of the weights that this command has written.
    pub(super) weights: Option<u32>,
    /// Of the checkpoint, from which this command may have gone on.
    pub(super) checkpoint: Option<u32>,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.weights, self.checkpoint) {
            (Some(weights), Some(checkpoint)) if weights == checkpoint => {
                write!(f, "the weights and a checkpoint {}", after(weights))
            }
            (Some(weights), Some(checkpoint)) => {
                write!(f, "the weights {} and a checkpoint {}", after(weights), after(checkpoint))
            }
            (Some(weights), None) => write!(f, "the weights {}", after(weights)),
            (None, Some(checkpoint)) => write!(f, "a checkpoint {}", after(checkpoint)),
            (None, None) => f.write_str("nothing"),
        }
    }
}

/// When something was written, by the epochs that were through.
pub(super) fn after(epochs: u32) -> String {
    match epochs {
        0 => "from within epoch 1".into(),
        1 => "after 1 epoch".into(),
        epochs => format!("after {epochs} epochs"),
    }
}

impl Run {
    /// What ended the training, with what there is now; what is worth nothing goes.
    pub(super) fn left(&mut self, failure: Failure) -> Failure {
        // Bad input has written nothing, and who was overtaken has said where it is.
        if self.results.displaced || failure.code() != 1 {
            return failure;
        }
        let diverged = matches!(failure, Failure::Thinnet(Error::Diverged { .. }));
        let (held, place, replaces) = (self.held.get(), self.place.display(), self.results.replaces());
        let untouched = if replaces { format!("; the old run in {place} is untouched") } else { String::new() };
        // Before the end of its first epoch what diverges has learned nothing.
        let worth = held.weights.or(held.checkpoint).is_some_and(|epochs| epochs > 0 || !diverged);
        let beside = self.results.is_beside().then(|| self.results.at().display().to_string());
        self.results.give_up(worth);
        let left = match (beside, held.weights) {
            (Some(beside), _) if worth => format!("{beside} has {held}{untouched}"),
            (Some(_), _) if replaces => format!("nothing is kept of it{untouched}"),
            (Some(_), _) => "nothing was written".into(),
            (None, None) => format!("{place} is untouched, with {held}"),
            (None, Some(_)) => format!("{place} has {held}"),
        };
        let again = match diverged && self.place.exists() && !replaces {
            true => "; a training goes on with its own rate only, so begin another with --out, or with --force in its place",
            false => "",
        };
        Failure::Other(format!("{failure}; {left}{again}"))
    }

    /// Ctrl-C before there was an epoch, which is no reason to replace a run.
    pub(super) fn interrupted_early(&mut self) -> Failure {
        let (saved, place) = (self.held.get().checkpoint.is_some(), self.place.display().to_string());
        if saved && let Err(failure) = self.save() {
            return failure;
        }
        let beside = self.results.at().display().to_string();
        self.results.give_up(saved);
        let kept = match saved {
            true => format!("{beside} has what there was by then. To go on: thinnet train {beside} --resume"),
            false => "nothing is kept of it.".into(),
        };
        Failure::Interrupted(format!("Interrupted in epoch 1; the old run in {place} is untouched, and {kept}"))
    }
}
