//! Training: the loop over epochs and steps, wholly on the device.
//!
//! The host computes a few numbers per step, records many steps into one submission and reads a few words back when it is
//! done. How many steps share a submission is chosen by time and changes no result.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::data::Dataset;
use crate::executor::{Executor, Submission};
use crate::model::{
    Metrics, Model, check_data, download_weights, evaluation, evaluation_steps, source, upload_data, upload_weights,
};
use crate::network::Network;
use crate::optimizer::Optimizer;
use crate::plan::{Mode, Options, Plans, SLOTS};
use crate::step::{MemberStep, SiteStep, Step};
use crate::work::{MAX_STEPS, Snapshot, Work};
use crate::{Device, Error, Result, rng};

/// How to train. The defaults are Adam at 0.001, batches of 32, seed 0.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainOptions {
    /// Seed of everything random: initial weights, order of the rows, masks.
    pub seed: u64,
    /// Rows of a batch; the last batch of an epoch has what is left.
    pub batch: u32,
    /// How the gradient changes the weights.
    pub optimizer: Optimizer,
    /// Coupled L2 term, added to the gradient of every parameter as in `torch.optim`: g = dw + weight_decay w.
    pub weight_decay: f64,
    /// Whether the training data are also judged in evaluation mode after each epoch; the validation data always are.
    pub evaluate_train: bool,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self { seed: 0, batch: 32, optimizer: Optimizer::adam(0.001), weight_decay: 0.0, evaluate_train: false }
    }
}

/// The data of a training: `&train`, or `(&train, &valid)`.
#[derive(Debug, Clone, Copy)]
pub struct Data<'a> {
    /// What the network learns from.
    pub train: &'a Dataset,
    /// What it is judged by after each epoch.
    pub valid: Option<&'a Dataset>,
}

impl<'a> From<&'a Dataset> for Data<'a> {
    fn from(train: &'a Dataset) -> Self {
        Self { train, valid: None }
    }
}

impl<'a> From<(&'a Dataset, &'a Dataset)> for Data<'a> {
    fn from((train, valid): (&'a Dataset, &'a Dataset)) -> Self {
        Self { train, valid: Some(valid) }
    }
}

/// One epoch of a training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Epoch {
    /// Its number, from 0.
    pub epoch: u32,
    /// Loss and accuracy while training: with dropout on, and over weights that change from batch to batch.
    pub running: Metrics,
    /// The training data judged in evaluation mode, if [`TrainOptions::evaluate_train`].
    pub train: Option<Metrics>,
    /// The validation data judged in evaluation mode, if there are any.
    pub valid: Option<Metrics>,
    /// Seconds since training began, evaluation included.
    pub seconds: f64,
}

/// Where a training stands; passed to the observer after each submission.
#[derive(Debug)]
pub struct Progress<'a> {
    /// Steps done in this call.
    pub steps: u64,
    /// Steps of this call.
    pub total_steps: u64,
    /// The epochs completed since training began.
    pub history: &'a [Epoch],
}

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
/// assert!(last.valid.unwrap().accuracy > 0.8);
/// # Ok::<(), thinnet::Error>(())
/// ```
#[derive(Debug)]
pub struct Trainer {
    executor: Executor,
    network: Network,
    options: TrainOptions,
    schedule: Schedule,
    pacer: Pacer,
    history: Vec<Epoch>,
    seconds: f64,
}

impl Trainer {
    /// Creates everything on the device: buffers, kernels, the data, initial weights.
    ///
    /// # Errors
    /// A network, data or options that do not fit together or the device.
    pub fn new<'a>(device: &Device, network: &Network, data: impl Into<Data<'a>>, options: TrainOptions) -> Result<Self> {
        let model = Model::initial(network, options.seed)?;
        Self::from_model(device, &model, data, options)
    }

    /// The same, from the weights of a model: training goes on from them, with new optimizer state.
    ///
    /// # Errors
    /// As [`Trainer::new`].
    pub fn from_model<'a>(device: &Device, model: &Model, data: impl Into<Data<'a>>, options: TrainOptions) -> Result<Self> {
        let (data, network) = (data.into(), model.network());
        options.optimizer.check()?;
        if !(options.weight_decay >= 0.0 && options.weight_decay.is_finite()) {
            let value = options.weight_decay.to_string();
            return Err(Error::Option { option: "weight_decay", value, problem: "must be a number from 0 up".into() });
        }
        check_data(network, data.train)?;
        let mut plans = Plans::new(device.caps());
        let train_source = source("train", data.train.inputs(), true);
        let train_rows = data.train.rows();
        plans.add(
            network,
            Options {
                name: "train".into(),
                mode: Mode::Train(options.optimizer.update()),
                batch: options.batch.min(train_rows),
                members: 1,
                source: train_source.clone(),
                variable_rates: false,
                store_output: false,
            },
        )?;
        let mut evaluations = Vec::new();
        if options.evaluate_train {
            evaluations.push(Evaluation {
                plan: plans.add(network, evaluation("eval-train", train_source, false))?,
                rows: train_rows,
                what: What::Train,
            });
        }
        if let Some(valid) = data.valid {
            check_data(network, valid)?;
            let options = evaluation("eval-valid", source("valid", valid.inputs(), true), false);
            evaluations.push(Evaluation { plan: plans.add(network, options)?, rows: valid.rows(), what: What::Valid });
        }
        let executor = Executor::new(device, plans)?;
        upload_weights(&executor, TRAIN, 0, model)?;
        upload_data(&executor, TRAIN, data.train.inputs(), Some(data.train.labels()))?;
        for evaluation in evaluations.iter().filter(|e| e.what == What::Valid) {
            let valid = data.valid.unwrap_or(data.train);
            upload_data(&executor, evaluation.plan, valid.inputs(), Some(valid.labels()))?;
        }
        let schedule = Schedule {
            rows: train_rows,
            batch: options.batch.min(train_rows),
            evaluations,
            epoch: 0,
            position: 0,
            evaluation: None,
            updates: 0,
        };
        let (network, pacer) = (network.clone(), Pacer::default());
        Ok(Self { executor, network, options, schedule, pacer, history: Vec::new(), seconds: 0.0 })
    }

    /// Trains for `epochs` more epochs and returns all epochs so far.
    ///
    /// # Errors
    /// [`Error::Diverged`] as soon as a loss is not finite; a lost device.
    pub fn fit(&mut self, epochs: u32) -> Result<&[Epoch]> {
        self.fit_with(epochs, |_| {})
    }

    /// [`Trainer::fit`], with `observe` called after each submission, about ten times a second.
    ///
    /// # Errors
    /// As [`Trainer::fit`].
    pub fn fit_with(&mut self, epochs: u32, mut observe: impl FnMut(&Progress<'_>)) -> Result<&[Epoch]> {
        let last_epoch = self.schedule.epoch.checked_add(epochs).ok_or_else(|| Error::Option {
            option: "epochs",
            value: epochs.to_string(),
            problem: "a run has at most 2^32 - 1 epochs, the pass coordinate of the mask contract".into(),
        })?;
        let total_steps = u64::from(epochs) * u64::from(self.schedule.steps_per_epoch());
        let mut in_flight = VecDeque::new();
        let result = self.run(last_epoch, &mut in_flight, |steps, history| observe(&Progress { steps, total_steps, history }));
        // After an error too: what is under way is waited for, so that training can go on if it is called again.
        for flight in in_flight {
            let _ = self.executor.wait(flight.submission);
        }
        result.map(|()| self.history.as_slice())
    }

    /// The loop: submit while there is room, otherwise wait for the oldest submission and note what it completed.
    fn run(&mut self, last_epoch: u32, in_flight: &mut VecDeque<Flight>, mut observe: impl FnMut(u64, &[Epoch])) -> Result<()> {
        let (began, seconds_before, mut steps) = (Instant::now(), self.seconds, 0);
        loop {
            // Two submissions in flight keep the device busy; until the first one is timed there is only one.
            let room = if self.pacer.measured() { 2 } else { 1 };
            if in_flight.len() < room && self.schedule.epoch < last_epoch {
                in_flight.push_back(self.submit(last_epoch)?);
                continue;
            }
            let Some(flight) = in_flight.pop_front() else { return Ok(()) };
            let snapshot = self.executor.wait(flight.submission)?;
            self.pacer.completed(flight.work, flight.submitted);
            self.seconds = seconds_before + began.elapsed().as_secs_f64();
            steps += u64::from(flight.steps);
            self.record(&flight.epochs, &snapshot)?;
            observe(steps, &self.history);
        }
    }

    /// The epochs so far.
    pub fn history(&self) -> &[Epoch] {
        &self.history
    }

    /// The network with its weights as they are now.
    ///
    /// # Errors
    /// A lost device.
    pub fn model(&self) -> Result<Model> {
        download_weights(&self.executor, TRAIN, 0, &self.network)
    }

    /// What runs in a step: the plans, printable.
    pub fn plans(&self) -> &Plans {
        self.executor.plans()
    }

    /// Submits the next steps, up to `last_epoch`.
    fn submit(&mut self, last_epoch: u32) -> Result<Flight> {
        let mut work = Vec::new();
        let mut flight_epochs = Vec::new();
        let mut steps = 0;
        // Every epoch of a submission needs a slot of its own.
        while work.len() < self.pacer.next() && flight_epochs.len() < SLOTS as usize - 1 && self.schedule.epoch < last_epoch {
            let epoch = self.schedule.epoch;
            let next = self.next_work();
            steps += u32::from(next.plan == TRAIN);
            work.push(next);
            if self.schedule.epoch > epoch {
                flight_epochs.push(epoch);
            }
        }
        let submitted = Instant::now();
        let submission = self.executor.submit(&work)?;
        Ok(Flight { submission, submitted, work: work.len(), steps, epochs: flight_epochs })
    }

    fn next_work(&mut self) -> Work {
        match self.schedule.advance() {
            Next::Train { rows, position, epoch, update } => {
                let sites = &self.executor.plans().plans[TRAIN].sites;
                let member = MemberStep {
                    key: rng::key(self.options.seed),
                    optimizer: self.options.optimizer.step(update, self.options.weight_decay),
                    sites: sites.iter().map(|site| SiteStep::new(site.keep, epoch)).collect(),
                };
                Work { plan: TRAIN, step: Step { rows, position, epoch, slot: epoch % SLOTS, members: vec![member] } }
            }
            Next::Evaluate { plan, step } => Work { plan, step },
        }
    }

    /// Adds the completed epochs of a submission to the history.
    fn record(&mut self, epochs: &[u32], snapshot: &Snapshot) -> Result<()> {
        for &epoch in epochs {
            let slot = epoch % SLOTS;
            let judged = |what| {
                let evaluation = self.schedule.evaluations.iter().find(|e| e.what == what)?;
                Some(Metrics::of(snapshot.sums(evaluation.plan, 0, slot), evaluation.rows))
            };
            let running = Metrics::of(snapshot.sums(TRAIN, 0, slot), self.schedule.rows);
            let (train, valid) = (judged(What::Train), judged(What::Valid));
            self.history.push(Epoch { epoch, running, train, valid, seconds: self.seconds });
            if !running.loss.is_finite() {
                return Err(Error::Diverged { epoch, loss: running.loss as f32 });
            }
        }
        Ok(())
    }
}

/// The plan that trains; evaluations follow.
const TRAIN: usize = 0;

#[derive(Debug)]
struct Flight {
    submission: Submission,
    submitted: Instant,
    work: usize,
    steps: u32,
    epochs: Vec<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Train,
    Valid,
}

#[derive(Debug, Clone, Copy)]
struct Evaluation {
    plan: usize,
    rows: u32,
    what: What,
}

/// What comes next: the batches of an epoch, then its evaluations, then the next epoch.
#[derive(Debug)]
struct Schedule {
    rows: u32,
    batch: u32,
    evaluations: Vec<Evaluation>,
    epoch: u32,
    position: u32,
    /// Which evaluation and which of its steps, once the batches of the epoch are through.
    evaluation: Option<(usize, usize)>,
    /// Updates of the weights so far.
    updates: u64,
}

enum Next {
    Train { rows: u32, position: u32, epoch: u32, update: u64 },
    Evaluate { plan: usize, step: Step },
}

impl Schedule {
    fn steps_per_epoch(&self) -> u32 {
        self.rows.div_ceil(self.batch)
    }

    fn advance(&mut self) -> Next {
        if let Some((which, step)) = self.evaluation {
            let evaluation = self.evaluations[which];
            let mut steps = evaluation_steps(evaluation.rows, self.epoch % SLOTS).skip(step);
            let next = steps.next().expect("an evaluation has a step left until the schedule moves on");
            let through = steps.next().is_none();
            self.evaluation = Some(if through { (which + 1, 0) } else { (which, step + 1) });
            self.end_epoch_if_done();
            return Next::Evaluate { plan: evaluation.plan, step: next };
        }
        let (epoch, position) = (self.epoch, self.position);
        let rows = self.batch.min(self.rows - position);
        self.position += rows;
        self.updates += 1;
        if self.position == self.rows {
            self.evaluation = Some((0, 0));
            self.end_epoch_if_done();
        }
        Next::Train { rows, position, epoch, update: self.updates }
    }

    fn end_epoch_if_done(&mut self) {
        if self.evaluation.is_some_and(|(which, _)| which == self.evaluations.len()) {
            (self.epoch, self.position, self.evaluation) = (self.epoch + 1, 0, None);
        }
    }
}

/// Chooses how many steps a submission has, so that it takes about [`TARGET`]: long enough that the host costs nothing,
/// short enough for Ctrl-C and for drivers that reset a device after two seconds.
#[derive(Debug, Default)]
struct Pacer {
    /// Seconds of one step, from the last submission.
    step: Option<f64>,
    last: usize,
    last_completed: Option<Instant>,
}

const TARGET: f64 = 0.1;

impl Pacer {
    fn measured(&self) -> bool {
        self.step.is_some()
    }

    fn next(&self) -> usize {
        match self.step {
            None => 1, // compiles the kernels, and says nothing about the time of a step
            Some(_) if self.last <= 1 => 32,
            Some(step) => ((TARGET / step) as usize).clamp(1, (8 * self.last).min(MAX_STEPS)),
        }
    }

    fn completed(&mut self, work: usize, submitted: Instant) {
        let now = Instant::now();
        let began = self.last_completed.map_or(submitted, |last| last.max(submitted));
        let seconds = now.saturating_duration_since(began).max(Duration::from_micros(1)).as_secs_f64();
        (self.step, self.last, self.last_completed) = (Some(seconds / work as f64), work, Some(now));
    }
}

#[cfg(test)]
mod tests;
