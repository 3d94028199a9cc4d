//! What comes next in a training: the batches of an epoch, then its evaluations, then the next epoch.

use std::ops::Range;

use crate::model::evaluation_steps;
use crate::plan::SLOTS;
use crate::step::Step;
use crate::{Error, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Train,
    Valid,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Evaluation {
    pub(super) plan: usize,
    pub(super) rows: u32,
    pub(super) batch: u32,
    pub(super) what: What,
}

#[derive(Debug, Clone)]
pub(super) struct Schedule {
    pub(super) rows: u32,
    /// Rows of a step.
    pub(super) batch: u32,
    /// Steps of a batch, whose gradients make one update.
    pub(super) accumulate: u32,
    pub(super) evaluations: Vec<Evaluation>,
    pub(super) epoch: u32,
    pub(super) position: u32,
    /// Which evaluation and which of its steps, once the batches of the epoch are through.
    pub(super) evaluation: Option<(usize, usize)>,
    /// Updates of the weights so far.
    pub(super) updates: u64,
}

pub(super) enum Next {
    /// A training step without its members; `batch` counts the batches of the epoch and `update` all of them from 1.
    Train {
        step: Step,
        batch: u32,
        update: u64,
    },
    Evaluate {
        plan: usize,
        step: Step,
    },
}

/// `last_epoch`, if the updates before it can be counted by the pass coordinate of masks that a batch shares, and by schedules.
///
/// # Errors
/// More than 2^32 updates.
pub(crate) fn check_updates(last_epoch: u32, updates_per_epoch: u32) -> Result<u32> {
    if u64::from(last_epoch) * u64::from(updates_per_epoch) <= 1 << 32 {
        return Ok(last_epoch);
    }
    Err(Error::Option {
        option: "epochs",
        value: last_epoch.to_string(),
        problem: format!(
            "at {updates_per_epoch} updates an epoch these are more than 2^32, the pass coordinate of masks that a batch shares and \
             the length of schedules; train fewer epochs or with larger batches"
        ),
    })
}

/// The batch, counted in its epoch from 0, that a place in the order of the epoch belongs to, and the places of that batch.
pub(crate) fn batch_of(position: u32, rows: u32, batch_rows: u32) -> (u32, Range<u32>) {
    let first = position - position % batch_rows;
    (position / batch_rows, first..first.saturating_add(batch_rows).min(rows))
}

impl Schedule {
    /// Rows whose gradients make one update.
    fn batch_rows(&self) -> u32 {
        self.batch.saturating_mul(self.accumulate)
    }

    pub(super) fn updates_per_epoch(&self) -> u32 {
        self.rows.div_ceil(self.batch_rows())
    }

    /// The pass coordinate of masks that a batch shares: the number of its update, from 0 in the first batch of epoch 0 also
    /// where a training goes on in a later epoch, so that the sets of units go on, too. [`check_updates`] refuses what does
    /// not fit.
    pub(super) fn shared_pass(&self, epoch: u32, batch: u32) -> u32 {
        epoch.wrapping_mul(self.updates_per_epoch()).wrapping_add(batch)
    }

    pub(super) fn steps_per_epoch(&self) -> u32 {
        let (batches, rest) = (self.rows / self.batch_rows(), self.rows % self.batch_rows());
        batches * self.accumulate + rest.div_ceil(self.batch)
    }

    /// Steps of the epoch that are through.
    pub(super) fn steps_done(&self) -> u32 {
        let (batches, rest) = (self.position / self.batch_rows(), self.position % self.batch_rows());
        batches * self.accumulate + rest.div_ceil(self.batch)
    }

    /// Whether a step may begin at this row of an epoch.
    pub(super) fn is_between_steps(&self, position: u32) -> bool {
        (position % self.batch_rows()).is_multiple_of(self.batch)
    }

    /// Updates in so many whole epochs and the rows of another that are through.
    pub(super) fn updates_before(&self, epochs: u32, position: u32) -> u64 {
        let begun = if position == self.rows { self.updates_per_epoch() } else { position / self.batch_rows() };
        u64::from(epochs) * u64::from(self.updates_per_epoch()) + u64::from(begun)
    }

    pub(super) fn advance(&mut self) -> Next {
        if let Some((which, step)) = self.evaluation {
            let evaluation = self.evaluations[which];
            let mut steps = evaluation_steps(evaluation.rows, evaluation.batch, self.epoch % SLOTS).skip(step);
            let next = steps.next().expect("an evaluation has a step left until the schedule moves on");
            let through = steps.next().is_none();
            self.evaluation = Some(if through { (which + 1, 0) } else { (which, step + 1) });
            self.end_epoch_if_done();
            return Next::Evaluate { plan: evaluation.plan, step: next };
        }
        let (batch, places) = batch_of(self.position, self.rows, self.batch_rows());
        let (batch_rows, accumulated) = (places.end - places.start, self.position - places.start);
        let rows = self.batch.min(batch_rows - accumulated);
        let (position, epoch) = (self.position, self.epoch);
        let step = Step { rows, position, epoch, slot: epoch % SLOTS, batch_rows, accumulated, window: 0, members: Vec::new() };
        let update = self.updates + 1;
        self.position += rows;
        self.updates += u64::from(accumulated + rows == batch_rows);
        if self.position == self.rows {
            self.evaluation = Some((0, 0));
            self.end_epoch_if_done();
        }
        Next::Train { step, batch, update }
    }

    fn end_epoch_if_done(&mut self) {
        if self.evaluation.is_some_and(|(which, _)| which == self.evaluations.len()) {
            (self.epoch, self.position, self.evaluation) = (self.epoch + 1, 0, None);
        }
    }
}
