//! The networks that are trained in the same dispatches, and what each has of its own.

use super::schedule::What;
use super::{Data, Epoch, TRAIN, TrainOptions, Trainer};
use crate::model::{download_weights, upload_weights};
use crate::network::Network;
use crate::plan::SLOTS;
use crate::rng::{self, Shuffle};
use crate::step::{MemberStep, OptimizerStep, Step};
use crate::work::Snapshot;
use crate::{Device, Error, Metrics, Model, Result};

/// One of the networks of a [`Trainer`], which differ in nothing but rates, seeds and weights.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) network: Network,
    pub(crate) seed: u64,
    pub(crate) history: Vec<Epoch>,
    /// Whether a loss was no number.
    pub(crate) diverged: bool,
}

impl Member {
    pub(super) fn new(network: &Network, seed: u64) -> Self {
        Self { network: network.clone(), seed, history: Vec::new(), diverged: false }
    }
}

impl Trainer {
    /// Several networks, each with its seed and trained as if it were alone: every kernel computes all of them in one dispatch, which is what
    /// small networks wait for. They differ in the rates of inverted dropout of elements alone. Its methods speak of the first;
    /// training ends with [`Error::Diverged`] when all have diverged.
    ///
    /// # Errors
    /// As [`Trainer::new`]; several networks whose inputs are streamed.
    pub(crate) fn together<'a>(
        device: &Device,
        runs: &[(Network, u64)],
        data: impl Into<Data<'a>>,
        options: TrainOptions,
    ) -> Result<Self> {
        let members = runs.iter().map(|(network, seed)| Member::new(network, *seed)).collect();
        let trainer = Self::without_weights(device, members, data.into(), options)?;
        for (m, member) in (0..).zip(&trainer.members) {
            upload_weights(&trainer.executor, TRAIN, m, &Model::initial(&member.network, member.seed)?)?;
        }
        Ok(trainer)
    }

    /// Each with what is its own.
    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    /// One of them with its weights as they are now.
    pub(crate) fn member_model(&self, number: u32) -> Result<Model> {
        download_weights(&self.executor, TRAIN, number, &self.members[number as usize].network)
    }

    /// What each network draws in a training step; `shared_pass` is the pass of masks that a batch shares.
    pub(super) fn member_steps(&self, step: &Step, optimizer: OptimizerStep, shared_pass: u32) -> Vec<MemberStep> {
        let plan = &self.plans().plans[TRAIN];
        let member = |member: &Member| {
            let key = rng::key(member.seed);
            let sites = plan.site_steps(&member.network, key, [step.epoch, shared_pass], || self.samples(step, key));
            MemberStep { key, optimizer, sites }
        };
        self.members.iter().map(member).collect()
    }

    /// The samples of a step, in order.
    fn samples(&self, step: &Step, key: [u32; 2]) -> Vec<u32> {
        let shuffle = Shuffle::new(self.schedule.rows);
        let row = |position| shuffle.row(position, step.epoch, key);
        (step.position..step.position + step.rows).map(|position| self.ids[row(position) as usize]).collect()
    }

    /// Adds the completed epochs of a submission to the histories; `begun` is the epoch that it leaves unfinished.
    pub(super) fn record(&mut self, epochs: &[u32], begun: Option<u32>, snapshot: &Snapshot) -> Result<()> {
        let mut diverged = None;
        for (m, member) in (0..).zip(&mut self.members) {
            let mut check = |epoch, loss: f64| {
                if !loss.is_finite() {
                    member.diverged = true;
                    diverged.get_or_insert(Error::Diverged { epoch, loss: loss as f32 });
                }
            };
            for &epoch in epochs {
                let slot = epoch % SLOTS;
                let metrics = |plan, rows| {
                    let (loss, hits) = snapshot.sums(plan, m, slot);
                    Metrics::of((f64::from(loss), hits), rows, member.network.loss)
                };
                let judged = |what| {
                    let evaluation = self.schedule.evaluations.iter().find(|e| e.what == what)?;
                    Some(metrics(evaluation.plan, evaluation.rows))
                };
                let running = metrics(TRAIN, self.schedule.rows);
                let (train, valid) = (judged(What::Train), judged(What::Valid));
                [Some(running), train, valid].into_iter().flatten().for_each(|metrics| check(epoch, metrics.loss));
                member.history.push(Epoch { epoch, running, train, valid, seconds: self.seconds });
            }
            if let Some(epoch) = begun {
                check(epoch, f64::from(snapshot.sums(TRAIN, m, epoch % SLOTS).0));
            }
        }
        match diverged {
            Some(error) if self.members.iter().all(|member| member.diverged) => Err(error),
            _ => Ok(()),
        }
    }
}
