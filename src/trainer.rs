//! Training: the loop over epochs and steps, wholly on the device, but for the rows of data sets that do not fit it.
//!
//! The host computes a few numbers per step, records many steps into one submission and reads a few words back when it is
//! done. How many steps share a submission is chosen by time and changes no result.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use crate::data::Preprocessing;
use crate::executor::{Executor, Submission};
use crate::model::{Model, check_preprocessing, download_weights, upload_data, upload_weights};
use crate::network::{Dropout, DropoutMode, Network};
use crate::pacer::Pacer;
use crate::plan::{Mode, PlannedSite, Plans, SLOTS};
use crate::stream::Streams;
use crate::work::Work;
use crate::{Device, Error, Result};

mod control;
mod data;
mod members;
mod options;
mod planned;
mod progress;
mod resume;
pub(crate) mod schedule;

pub use control::{Best, EarlyStopping};
pub use data::Data;
pub(crate) use members::Member;
pub use options::TrainOptions;
use planned::planned;
pub use progress::{Epoch, Progress};
use schedule::{Next, Schedule, What};

/// Trains one network on one device.
///
/// ```
/// use thinnet::{Activation, Dense, Device, Dropout, Network, Optimizer, TrainOptions, Trainer, data};
/// let digits = data::digits();
/// let (train, test) = (digits.slice(0..1000)?, digits.slice(1000..1797)?);
/// let network = Network::new(64)
///     .dense(Dense::new(64).activation(Activation::Relu))
///     .dropout(Dropout::keep(0.8)?)
///     .dense(Dense::new(10));
/// let options = TrainOptions { optimizer: Optimizer::adam(0.003), ..Default::default() };
/// let mut trainer = Trainer::new(&Device::open()?, &network, (&train, &test), options)?;
/// let last = *trainer.fit(5)?.last().unwrap();
/// assert!(last.valid.unwrap().accuracy.unwrap() > 0.8);
/// # Ok::<(), thinnet::Error>(())
/// ```
#[derive(Debug)]
pub struct Trainer {
    executor: Executor,
    streams: Streams,
    /// The network that it trains, or several in the same dispatches; see [`Trainer::together`].
    members: Vec<Member>,
    /// The sample of each row of the training data, where steps list samples.
    ids: Vec<u32>,
    options: TrainOptions,
    schedule: Schedule,
    pacer: Pacer,
    /// Submissions under way. They outlive a call only if its observer panicked; the next call waits for them.
    in_flight: VecDeque<Flight>,
    seconds: f64,
    /// The best epoch of [`Trainer::fit_best`].
    best: Option<Best>,
    /// What tells its training and validation data from others.
    fingerprints: (u64, Option<u64>),
    /// Whether somebody wants the training to end.
    stop: Arc<AtomicBool>,
    /// What its models keep with their weights.
    preprocessing: Preprocessing,
}

impl Trainer {
    /// Creates everything on the device: buffers, kernels, the data, initial weights.
    ///
    /// # Errors
    /// A network, data or options that do not fit together or the device.
    pub fn new<'a>(device: &Device, network: &Network, data: impl Into<Data<'a>>, options: TrainOptions) -> Result<Self> {
        let seed = options.seed;
        Self::together(device, &[(network.clone(), seed)], data, options)
    }

    /// The same, from the weights of a model: training goes on from them, with new optimizer state, on data that have been through the
    /// model's [preprocessing](Model::preprocessing). See [`TrainOptions::first_epoch`]; [`Trainer::resume`] goes on with the old one.
    ///
    /// # Errors
    /// As [`Trainer::new`].
    pub fn from_model<'a>(device: &Device, model: &Model, data: impl Into<Data<'a>>, options: TrainOptions) -> Result<Self> {
        let member = Member::new(model.network(), options.seed);
        let trainer = Self::without_weights(device, vec![member], data.into(), options)?;
        upload_weights(&trainer.executor, TRAIN, 0, model)?;
        trainer.with_preprocessing(model.preprocessing().clone())
    }

    /// The same trainer, whose data have this history: its models and checkpoints keep it with the weights.
    ///
    /// # Errors
    /// As [`Model::with_preprocessing`].
    pub fn with_preprocessing(mut self, preprocessing: Preprocessing) -> Result<Self> {
        check_preprocessing(&self.members[0].network, &preprocessing)?;
        if let Some(best) = self.best.take() {
            self.best = Some(Best { model: best.model.with_preprocessing(preprocessing.clone())?, ..best });
        }
        Ok(Self { preprocessing, ..self })
    }

    /// Everything but the weights, which may take long to compute, so that errors come first.
    fn without_weights(device: &Device, members: Vec<Member>, data: Data<'_>, options: TrainOptions) -> Result<Self> {
        options.check()?;
        let (network, train_rows) = (&members[0].network, data.train.rows());
        let (plans, evaluations) = planned(device.caps(), network, members.len() as u32, data, &options)?;
        let (executor, mut streams) = (Executor::new(device, plans)?, Streams::default());
        upload_data(&executor, TRAIN, network, data.train.inputs(), Some(data.train.targets()))?;
        streams.add(executor.plans(), TRAIN, data.train.inputs());
        for evaluation in evaluations.iter().filter(|e| e.what == What::Valid) {
            let valid = data.valid.unwrap_or(data.train);
            upload_data(&executor, evaluation.plan, network, valid.inputs(), Some(valid.targets()))?;
            streams.add(executor.plans(), evaluation.plan, valid.inputs());
        }
        let schedule = Schedule {
            rows: train_rows,
            batch: options.batch.min(train_rows),
            accumulate: options.accumulate,
            evaluations,
            epoch: options.first_epoch,
            position: 0,
            evaluation: None,
            updates: 0,
        };
        let pacer = Pacer::new(executor.plans().max_steps());
        let (in_flight, best) = (VecDeque::new(), None);
        let fingerprints = resume::fingerprints(&data);
        // The host has to know the samples of a step only where a branch is computed for some of them.
        let lists = executor.plans().plans[TRAIN].sites.iter().any(|site| site.path.is_some());
        let ids = if lists { data.train.inputs().samples().to_vec() } else { Vec::new() };
        let (stop, preprocessing, seconds) = (Arc::default(), Preprocessing::default(), 0.0);
        Ok(Self {
            executor,
            streams,
            members,
            ids,
            options,
            schedule,
            pacer,
            in_flight,
            seconds,
            best,
            fingerprints,
            stop,
            preprocessing,
        })
    }

    /// Trains for `epochs` more epochs and returns all epochs so far.
    ///
    /// # Errors
    /// [`Error::Diverged`] if a loss is not finite, within a few submissions; a lost device. The history has every epoch that was
    /// trained even so.
    pub fn fit(&mut self, epochs: u32) -> Result<&[Epoch]> {
        self.fit_with(epochs, |_| {})
    }

    /// [`Trainer::fit`], with `observe` called after each submission, about five times a second.
    ///
    /// # Errors
    /// As [`Trainer::fit`].
    pub fn fit_with(&mut self, epochs: u32, mut observe: impl FnMut(&Progress<'_>)) -> Result<&[Epoch]> {
        self.advance(self.last_epoch(epochs)?, (0, self.steps_of(epochs)), &mut observe)?;
        Ok(self.history())
    }

    /// The training steps of so many epochs, the one it is in counted by what is left of it.
    fn steps_of(&self, epochs: u32) -> u64 {
        let whole = u64::from(epochs) * u64::from(self.schedule.steps_per_epoch());
        whole.saturating_sub(self.schedule.steps_done().into())
    }

    /// The epoch that comes after `epochs` more.
    fn last_epoch(&self, epochs: u32) -> Result<u32> {
        let last = self.schedule.epoch.checked_add(epochs).ok_or_else(|| Error::Option {
            option: "epochs",
            value: epochs.to_string(),
            problem: "a run has at most 2^32 - 1 epochs, the pass coordinate of the mask contract".into(),
        })?;
        let counts =
            |dropout: &Dropout| dropout.schedule.is_some() || matches!(dropout.mode, DropoutMode::Batch | DropoutMode::Units);
        let by_update = |site: &PlannedSite| self.members[0].network.dropout_at(site.layer).is_some_and(counts);
        let shared = self.plans().plans[TRAIN].sites.iter().any(by_update);
        if shared { schedule::check_updates(last, self.schedule.updates_per_epoch()) } else { Ok(last) }
    }

    /// Trains up to `last_epoch`. `steps` are those that the caller has seen done and those it will have seen in the end.
    fn advance(
        &mut self,
        last_epoch: u32,
        (mut steps, total_steps): (u64, u64),
        observe: &mut impl FnMut(&Progress<'_>),
    ) -> Result<()> {
        let (began, seconds_before) = (Instant::now(), self.seconds);
        let mut failure = None;
        // Submit while there is room, otherwise wait for the oldest submission and note what it completed. After an error what
        // is under way is still waited for and noted, so that the history has no gap and training can go on.
        loop {
            let wanted = self.schedule.epoch < last_epoch && !self.stopped();
            if failure.is_none() && self.in_flight.len() < self.pacer.room() && wanted {
                failure = self.submit(last_epoch).err();
                continue;
            }
            let Some(flight) = self.in_flight.pop_front() else { break };
            steps += u64::from(flight.steps);
            let snapshot = self.executor.wait(flight.submission);
            self.seconds = seconds_before + began.elapsed().as_secs_f64();
            self.pacer.completed(flight.work, flight.submitted);
            match snapshot.and_then(|snapshot| self.record(&flight.epochs, flight.begun, &snapshot)) {
                Ok(()) if failure.is_none() => observe(&Progress { steps, total_steps, history: self.history() }),
                Ok(()) => {}
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// The epochs so far.
    pub fn history(&self) -> &[Epoch] {
        &self.members[0].history
    }

    /// The network with its weights as they are now, and the preprocessing of its data.
    ///
    /// # Errors
    /// A lost device.
    pub fn model(&self) -> Result<Model> {
        let model = download_weights(&self.executor, TRAIN, 0, &self.members[0].network)?;
        model.with_preprocessing(self.preprocessing.clone())
    }

    /// The network, with the rates as they are by now.
    pub fn network(&self) -> &Network {
        &self.members[0].network
    }

    /// How it is trained, with the learning rate as it is by now.
    pub fn options(&self) -> &TrainOptions {
        &self.options
    }

    fn has_validation(&self) -> bool {
        self.schedule.evaluations.iter().any(|e| e.what == What::Valid)
    }

    /// Whether the steps of a plan are training steps.
    fn trains(&self, plan: usize) -> bool {
        matches!(self.plans().plans[plan].options.mode, Mode::Train(_))
    }

    /// What runs in a step: the plans, printable.
    pub fn plans(&self) -> &Plans {
        self.executor.plans()
    }

    /// Submits the next steps, up to `last_epoch`.
    fn submit(&mut self, last_epoch: u32) -> Result<()> {
        let before = self.schedule.clone();
        let (mut work, mut epochs, mut steps) = (Vec::new(), Vec::new(), 0);
        self.streams.begin();
        // Every epoch of a submission needs a slot of its own.
        while work.len() < self.pacer.next()
            && epochs.len() < SLOTS as usize - 1
            && self.schedule.epoch < last_epoch
            && self.streams.have_room()
        {
            let epoch = self.schedule.epoch;
            let mut next = self.next_work();
            self.streams.place(self.executor.plans(), &mut next);
            steps += u32::from(self.trains(next.plan));
            work.push(next);
            if self.schedule.epoch > epoch {
                epochs.push(epoch);
            }
        }
        let begun = (self.schedule.position > 0).then_some(self.schedule.epoch);
        let submitted = Instant::now();
        match self.streams.upload(&self.executor).and_then(|()| self.executor.submit(&work)) {
            Ok(submission) => self.in_flight.push_back(Flight { submission, submitted, work: work.len(), steps, epochs, begun }),
            Err(error) => {
                self.schedule = before;
                return Err(error);
            }
        }
        Ok(())
    }

    /// The next steps, their rows where they are streamed, and what runs them, for [`crate::profile`]; the history does not notice.
    /// A window may hold fewer steps than asked for.
    pub(crate) fn next_steps(&mut self, steps: usize) -> Result<(Vec<Work>, &mut Executor)> {
        let mut work = Vec::new();
        self.streams.begin();
        while work.len() < steps && self.streams.have_room() {
            let mut next = self.next_work();
            self.streams.place(self.executor.plans(), &mut next);
            work.push(next);
        }
        self.streams.upload(&self.executor)?;
        Ok((work, &mut self.executor))
    }

    fn next_work(&mut self) -> Work {
        match self.schedule.advance() {
            Next::Train { mut step, batch, update } => {
                let updates = self.schedule.updates_per_epoch();
                let x = f64::from(step.epoch) + f64::from(batch) / f64::from(updates);
                let optimizer = self.options.optimizer_step(update, x, updates);
                step.members = self.member_steps(&step, optimizer, self.schedule.shared_pass(step.epoch, batch));
                let last = step.accumulated + step.rows == step.batch_rows;
                Work { plan: if last { TRAIN } else { ACCUMULATE }, step }
            }
            Next::Evaluate { plan, mut step } => {
                let member = step.members[0].clone();
                step.members.resize(self.members.len(), member);
                Work { plan, step }
            }
        }
    }
}

/// The plan whose steps update the weights.
const TRAIN: usize = 0;

/// With gradient accumulation, the plan of the steps before; evaluations follow.
const ACCUMULATE: usize = 1;

#[derive(Debug)]
struct Flight {
    submission: Submission,
    submitted: Instant,
    work: usize,
    steps: u32,
    /// The epochs it completes.
    epochs: Vec<u32>,
    /// The epoch whose batches it begins or goes on with, but does not complete.
    begun: Option<u32>,
}

#[cfg(test)]
mod tests;
