//! A training as a [`Checkpoint`], and the other way round.

use std::collections::BTreeMap;

use super::{Best, Data, Member, TRAIN, Trainer};
use crate::checkpoint::{Checkpoint, MOMENTS, State};
use crate::data::fingerprint;
use crate::memory::Tensor;
use crate::model::{download, evaluation_steps, upload, upload_weights};
use crate::plan::SLOTS;
use crate::rng::CONTRACT_VERSION;
use crate::{Device, Error, Metrics, Result};

/// What tells these data from others.
pub(super) fn fingerprints(data: &Data<'_>) -> (u64, Option<u64>) {
    (fingerprint::with_samples(data.train), data.valid.map(fingerprint::with_samples))
}

impl Trainer {
    /// The training as it is now, from which [`Trainer::resume`] goes on: weights, optimizer state, where it is in the epoch,
    /// history, the best epoch of [`Trainer::fit_best`]. It may be in the middle of an epoch, see [`Trainer::stop_flag`].
    ///
    /// # Errors
    /// [`Error::Diverged`] where a loss or a weight is no finite number, so that no good checkpoint is replaced by one that
    /// leads nowhere; a lost device.
    pub fn checkpoint(&mut self) -> Result<Checkpoint> {
        self.advance(0, (0, 0), &mut |_| {})?; // what an observer's panic has left under way
        let model = self.model()?;
        let epoch = self.schedule.epoch;
        let losses = |e: &super::Epoch| [Some(e.running), e.train, e.valid].into_iter().flatten().all(|m| m.loss.is_finite());
        if let Some(bad) = self.history().iter().find(|epoch| !losses(epoch)) {
            return Err(Error::Diverged { epoch: bad.epoch, loss: bad.running.loss as f32 });
        }
        if model.weights().iter().flatten().any(|weight| !weight.is_finite()) {
            return Err(Error::Diverged { epoch, loss: f32::NAN });
        }
        let mut moments = BTreeMap::new();
        for ending in self.kept_beside_weights() {
            moments.insert(ending.to_owned(), download(&self.executor, TRAIN, 0, &self.members[0].network, ending)?);
        }
        let slot = (epoch % SLOTS) as usize;
        let mut sums = Vec::new();
        for [losses, hits] in self.metrics() {
            sums.push([self.executor.read(losses, 0)?[slot], self.executor.read(hits, 0)?[slot]]);
        }
        let (train, valid) = self.fingerprints;
        let state = State {
            mask_contract: CONTRACT_VERSION,
            network: self.members[0].network.clone(),
            options: self.options.clone(),
            matmul: self.plans().caps.matmul.to_string(),
            train,
            valid,
            epoch,
            position: self.schedule.position,
            evaluation: self.schedule.evaluation,
            sums,
            history: self.history().to_vec(),
            seconds: self.seconds,
            best: self.best.as_ref().map(|best| best.epoch),
            preprocessing: self.preprocessing.clone(),
        };
        Ok(Checkpoint { state, model, moments, best: self.best.as_ref().map(|best| best.model.clone()) })
    }

    /// Goes on with a training, with the options it had: on the same adapter bit for bit as if it had never stopped, on others
    /// with the same masks, rows and updates, of which the sums are rounded otherwise ([`Checkpoint::matmul`]). A rate is changed
    /// with [`Trainer::set_learning_rate`], [`Trainer::set_schedule`] and [`Trainer::set_keep`]; a layer whose keep_prob is 1 by now keeps it.
    ///
    /// # Errors
    /// Data that are not, row by row, those of the checkpoint's training ([`Trainer::from_model`] begins with others); a
    /// checkpoint that contradicts itself; what [`Trainer::new`] refuses.
    pub fn resume<'a>(device: &Device, checkpoint: &Checkpoint, data: impl Into<Data<'a>>) -> Result<Self> {
        let (data, state) = (data.into(), &checkpoint.state);
        let differ = |which: &str| {
            Err(Error::Data(format!(
                "the {which} rows are not those of the checkpoint's training, or in another order; give it the same, or begin another training \
                 (in Rust from these weights: Trainer::from_model)"
            )))
        };
        let (train, valid) = fingerprints(&data);
        if train != state.train {
            return differ("training");
        }
        if valid != state.valid {
            return differ("validation");
        }
        let member = Member::new(&state.network, state.options.seed);
        let mut trainer = Self::without_weights(device, vec![member], data, state.options.clone())?;
        trainer.place(state)?;
        let kept = trainer.kept_beside_weights();
        if !kept.iter().copied().eq(checkpoint.moments.keys().map(String::as_str)) {
            return Err(damaged("it lacks optimizer state"));
        }
        upload_weights(&trainer.executor, TRAIN, 0, &checkpoint.model)?;
        for (ending, values) in &checkpoint.moments {
            upload(&trainer.executor, TRAIN, 0, &state.network, ending, values)?;
        }
        let slot = (state.epoch % SLOTS) as usize;
        for (tensors, sums) in trainer.metrics().into_iter().zip(&state.sums) {
            for (tensor, sum) in tensors.into_iter().zip(sums) {
                let mut words = vec![0; tensor.len as usize];
                words[slot] = *sum;
                trainer.executor.write(tensor, 0, &words)?;
            }
        }
        trainer.members[0].history.clone_from(&state.history);
        trainer.seconds = state.seconds;
        trainer.best = state.best.zip(checkpoint.best.clone()).map(|(epoch, model)| Best { epoch, model });
        trainer.with_preprocessing(state.preprocessing.clone())
    }

    /// Puts the schedule where a checkpoint's was, if it is a place that a schedule can be in.
    fn place(&mut self, state: &State) -> Result<()> {
        let &State { epoch, position, evaluation, .. } = state;
        let schedule = &mut self.schedule;
        let first = schedule.epoch;
        let within = match evaluation {
            None => position < schedule.rows && schedule.is_between_steps(position),
            Some((which, step)) => {
                let evaluation = schedule.evaluations.get(which);
                position == schedule.rows && evaluation.is_some_and(|e| step < evaluation_steps(e.rows, e.batch, 0).count())
            }
        };
        if !within || epoch < first {
            return Err(damaged("it stands where no training comes by"));
        }
        if !state.history.iter().map(|epoch| epoch.epoch).eq(first..epoch) {
            return Err(damaged("its history has other epochs than it was trained for"));
        }
        check_history(state)?;
        (schedule.epoch, schedule.position, schedule.evaluation) = (epoch, position, evaluation);
        schedule.updates = schedule.updates_before(epoch - first, position);
        match state.sums.len() == self.metrics().len() {
            true => Ok(()),
            false => Err(damaged("its sums are not those of its plans")),
        }
    }

    /// The endings of what the training plan keeps beside every weight from step to step, sorted.
    fn kept_beside_weights(&self) -> Vec<&'static str> {
        let parameters = self.members[0].network.parameters().unwrap_or_default();
        let name = parameters.iter().find(|p| p.trained).map(|p| p.name.clone()).unwrap_or_default();
        let tensors = &self.plans().plans[TRAIN].tensors;
        MOMENTS.into_iter().filter(|ending| tensors.contains_key(&format!("{name}{ending}"))).collect()
    }

    /// By plan, the losses and hits of the epochs.
    fn metrics(&self) -> Vec<[Tensor; 2]> {
        self.plans().plans.iter().filter_map(|plan| plan.metrics).map(|m| [m.losses, m.hits]).collect()
    }
}

/// Whether the figures are those that a training has.
fn check_history(state: &State) -> Result<()> {
    let most = f64::from(f32::MAX); // a loss is a mean of f32
    let sound = |m: &Metrics| m.loss.abs() <= most && m.accuracy.is_none_or(|accuracy| (0.0..=1.0).contains(&accuracy));
    let mut metrics = state.history.iter().flat_map(|e| [Some(e.running), e.train, e.valid]).flatten();
    let mut seconds = state.history.iter().map(|e| e.seconds).chain([state.seconds]);
    let sums = state.sums.iter().all(|[loss, _]| f32::from_bits(*loss).is_finite());
    if !metrics.all(|m| sound(&m)) || !seconds.all(|s| (0.0..=most).contains(&s)) || !sums {
        return Err(damaged("its figures are not those of a training"));
    }
    match state.best {
        Some(best) if !state.history.contains(&best) => Err(damaged("its best epoch is none of its history")),
        _ => Ok(()),
    }
}

fn damaged(problem: &str) -> Error {
    Error::Data(format!("the checkpoint contradicts itself: {problem}; take an earlier one"))
}
