//! Training under control: something is decided after each epoch, such as whether the validation loss still falls.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Epoch, Progress, Trainer};
use crate::network::{Dropout, DropoutMode, KeepProb, Layer, Noise};
use crate::optimizer::LrSchedule;
use crate::{Error, Model, Result};

/// When to stop, judged by the validation loss (Prechelt 1998).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EarlyStopping {
    /// Epochs without a better loss after which training ends.
    pub patience: u32,
    /// By how much a loss must be below the best one to count as better.
    pub min_delta: f64,
}

/// The best epoch of a training and the weights after it.
#[derive(Debug, Clone, PartialEq)]
pub struct Best {
    /// The epoch, with its metrics.
    pub epoch: Epoch,
    /// The weights.
    pub model: Model,
}

impl Trainer {
    /// [`Trainer::fit`], with `decide` called after each epoch: it may look at the weights, change a rate, or end the training.
    /// `observe` is called as in [`Trainer::fit_with`]. No step of the next epoch is submitted before `decide` returns, so that what
    /// it decides takes effect at the same step on every machine; in between the device waits.
    ///
    /// # Errors
    /// As [`Trainer::fit`], and those of `decide`.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// # use thinnet::{Dense, Device, Network, TrainOptions, Trainer, data};
    /// # let digits = data::digits();
    /// # let network = Network::new(64).dense(Dense::new(10));
    /// let mut trainer = Trainer::new(&Device::open()?, &network, &digits, TrainOptions::default())?;
    /// trainer.fit_each(20, |_| {}, |trainer, epoch| {
    ///     trainer.set_learning_rate(0.001 / f64::from(epoch.epoch + 1))?;
    ///     Ok(if epoch.running.loss < 0.5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    /// })?;
    /// # Ok::<(), thinnet::Error>(())
    /// ```
    pub fn fit_each(
        &mut self,
        epochs: u32,
        mut observe: impl FnMut(&Progress<'_>),
        mut decide: impl FnMut(&mut Self, &Epoch) -> Result<ControlFlow<()>>,
    ) -> Result<&[Epoch]> {
        let total_steps = self.steps_of(epochs);
        let (first, last) = (self.schedule.epoch, self.last_epoch(epochs)?);
        for epoch in first..last {
            let before = total_steps - self.steps_of(last - epoch);
            self.advance(epoch + 1, (before, total_steps), &mut observe)?;
            if self.schedule.epoch <= epoch {
                break; // in the middle of an epoch, see Trainer::stop_flag
            }
            let ended = *self.history().last().expect("an epoch was just trained");
            if decide(self, &ended)?.is_break() {
                break;
            }
        }
        Ok(self.history())
    }

    /// Trains for `epochs` more epochs, or until the validation loss has not become better for some of them, and returns the best
    /// epoch with its weights; the trainer keeps the last ones. A training that diverges ends there, with the best epoch before.
    /// Called again, or of a training that was resumed, it goes on to compare with the best epoch so far ([`Trainer::best`]), from
    /// which patience counts: where that has run out already nothing is trained, so to go on, say with a smaller rate, give more.
    ///
    /// # Errors
    /// As [`Trainer::fit`]; a training without validation data; 0 epochs.
    pub fn fit_best(&mut self, epochs: u32, stopping: EarlyStopping, observe: impl FnMut(&Progress<'_>)) -> Result<Best> {
        let bad = |value: u32, problem: &str| {
            Err(Error::Option { option: "patience", value: value.to_string(), problem: problem.to_owned() })
        };
        if !self.has_validation() {
            return bad(stopping.patience, "early stopping needs validation data; pass (&train, &valid)");
        }
        if stopping.patience == 0 {
            return bad(0, "must be at least 1 epoch");
        }
        if !(stopping.min_delta >= 0.0 && stopping.min_delta.is_finite()) {
            let problem = "must be a number from 0 up".into();
            return Err(Error::Option { option: "min_delta", value: stopping.min_delta.to_string(), problem });
        }
        let judge = |trainer: &mut Self, epoch: &Epoch| {
            let loss = |epoch: &Epoch| epoch.valid.map_or(f64::INFINITY, |valid| valid.loss);
            if trainer.best.as_ref().is_none_or(|best| loss(epoch) < loss(&best.epoch) - stopping.min_delta) {
                trainer.best = Some(Best { epoch: *epoch, model: trainer.model()? });
            }
            let stop = trainer.without_better() >= stopping.patience;
            Ok(if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        // An observer's panic may have come between an epoch and its judgement; who was judged is judged alike again.
        if let (Some(last), Some(_), 0) = (self.history().last().copied(), &self.best, self.schedule.position) {
            let _ = judge(self, &last)?; // whether to stop is asked below
        }
        if self.without_better() < stopping.patience {
            match self.fit_each(epochs, observe, judge).map(|_| ()) {
                Err(Error::Diverged { .. }) if self.best.is_some() => {}
                other => other?,
            }
        }
        self.best.clone().ok_or_else(|| Error::Option {
            option: "epochs",
            value: epochs.to_string(),
            problem: "no epoch was completed, so none is the best; ask for at least one, and let none be stopped".into(),
        })
    }

    /// The best epoch of [`Trainer::fit_best`] so far, and its weights.
    pub fn best(&self) -> Option<&Best> {
        self.best.as_ref()
    }

    /// Epochs since the best one.
    fn without_better(&self) -> u32 {
        let last = self.history().last().map_or(0, |last| last.epoch);
        self.best.as_ref().map_or(0, |best| last - best.epoch.epoch)
    }

    /// A flag for another thread, such as one that hears of Ctrl-C: once it is true no step is submitted, and what trains returns after
    /// those that are under way, some tenths of a second later, in the middle of an epoch. The history has the epochs before it,
    /// [`Trainer::model`] the weights of the moment; set to false, training goes on from there.
    ///
    /// ```
    /// # use std::sync::atomic::Ordering;
    /// # use thinnet::{Dense, Device, Network, TrainOptions, Trainer, data};
    /// # let (digits, network) = (data::digits(), Network::new(64).dense(Dense::new(10)));
    /// let mut trainer = Trainer::new(&Device::open()?, &network, &digits, TrainOptions::default())?;
    /// let flag = trainer.stop_flag();
    /// trainer.fit_with(1_000_000, |progress| flag.store(progress.history.len() > 2, Ordering::Relaxed))?;
    /// assert!(trainer.history().len() < 1_000_000);
    /// # Ok::<(), thinnet::Error>(())
    /// ```
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        self.stop.clone()
    }

    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Changes the learning rate from the next step that is submitted on; schedules multiply the new one.
    ///
    /// # Errors
    /// A rate that cannot be used; the old one stays.
    pub fn set_learning_rate(&mut self, lr: f64) -> Result<()> {
        let optimizer = self.options.optimizer.with_lr(lr);
        optimizer.check()?;
        self.options.optimizer = optimizer;
        Ok(())
    }

    /// Changes the schedule of the learning rate from the next step that is submitted on; time is counted as before, from epoch 0.
    ///
    /// # Errors
    /// A schedule that cannot be used; the old one stays.
    pub fn set_schedule(&mut self, schedule: LrSchedule) -> Result<()> {
        schedule.check()?;
        self.options.schedule = schedule;
        Ok(())
    }

    /// Changes the keep_prob of a dropout layer, by its number in [`Network::walk`](crate::Network::walk), which
    /// [`sites_at`](crate::sweep::sites_at) tells, from the next step that is submitted on; of a scheduled one the end of its
    /// way. Sites, words and weights stay, so the masks of two rates are nested.
    ///
    /// # Errors
    /// A layer that is no dropout layer, that began with keep_prob 1, for which nothing was planned, or of another mode than
    /// inverted: the factor of vanilla dropout in evaluation, and how many units are kept, are part of the plan. A rate that is
    /// learned, and one that the layer's noise does not have. The old one stays then.
    pub fn set_keep(&mut self, layer: usize, keep: KeepProb) -> Result<()> {
        let refused = |problem: &str| {
            let place = self.members[0].network.places().get(layer).cloned();
            let place = place.unwrap_or_else(|| format!("layer {layer}"));
            Err(Error::Network { place, problem: problem.into() })
        };
        let planned = self.plans().plans[super::TRAIN].sites.iter().any(|site| site.layer == layer);
        match self.members[0].network.dropout_at(layer) {
            Some(Dropout { noise: Noise::Concrete(_), .. }) => {
                refused("is concrete dropout, whose rate is learned, so it cannot be changed; begin with another keep")
            }
            Some(dropout) if planned && dropout.mode == DropoutMode::Inverted => {
                let mut network = self.members[0].network.clone();
                network.change_layers(|number, layer_of| match layer_of {
                    Layer::Dropout(dropout) if number == layer => dropout.keep = keep,
                    _ => {}
                });
                network.shapes()?;
                self.members[0].network = network;
                Ok(())
            }
            _ => refused("is no layer of inverted dropout that began with a keep_prob below 1, so its rate cannot be changed"),
        }
    }
}
