//! One batch, stepped on: what a device's gradients are read from, and its kernels compared in.

use crate::compare;
use crate::cpu;
use crate::data::Dataset;
use crate::executor::Executor;
use crate::model::{download, evaluation, evaluation_steps, source, upload_data, upload_weights};
use crate::plan::{Caps, Gradient, Mode, Options, Plans, Training, Update};
use crate::rng::{self, Shuffle};
use crate::step::{MemberStep, OptimizerStep, Step};
use crate::work::Work;
use crate::{Device, Error, Model, Result, TrainOptions};

/// Steps over one batch with dropout on.
pub(crate) struct GradientStep<'a> {
    pub(crate) model: &'a Model,
    pub(crate) batch: &'a Dataset,
    pub(crate) seed: u64,
}

/// The training plan.
const PLAN: usize = 0;

/// The evaluation plan, where kernels are compared.
const EVALUATION: usize = 1;

impl GradientStep<'_> {
    /// The gradient of every parameter tensor in pass 0, and the mean loss they come from. The weights stay as they are.
    pub(crate) fn gradients(&self, device: &Device) -> Result<(Vec<Vec<f32>>, f64)> {
        let mut executor = Executor::new(device, self.plans(device.caps(), without_update())?)?;
        self.upload(&executor)?;
        let work = Work { plan: PLAN, step: self.step(executor.plans(), 0, OptimizerStep::default()) };
        let submission = executor.submit(&[work])?;
        let snapshot = executor.wait(submission)?;
        let gradients = download(&executor, PLAN, 0, self.model.network(), ".grad")?;
        Ok((gradients, f64::from(snapshot.sums(PLAN, 0, 0).0) / f64::from(self.batch.rows())))
    }

    /// Kernel by kernel beside the CPU twins, see [`compare::step_on_both`]: that step, or with `options` two passes that update, and an
    /// evaluation.
    pub(crate) fn beside_twins(
        &self,
        device: &Device,
        options: Option<&TrainOptions>,
    ) -> Result<std::result::Result<f64, String>> {
        let training = options.map_or_else(without_update, |options| options.training(Gradient::Step));
        let plans = || {
            let (network, source) = (self.model.network(), source("gradients", self.batch.inputs(), true));
            let mut plans = self.plans(device.caps(), training)?;
            plans.add(network, evaluation(network, "eval", source, true)?)?;
            Ok::<_, Error>(plans)
        };
        let mut executor = Executor::new(device, plans()?)?;
        let twin = Executor::Cpu(cpu::Executor::new(plans()?));
        self.upload(&executor)?;
        self.upload(&twin)?;
        let Executor::Cpu(twin) = twin else { unreachable!("made of twins above") };
        let mut largest = 0.0;
        for (plan, step) in self.steps(executor.plans(), options) {
            match compare::step_on_both(&mut executor, &twin, plan, &step)? {
                Ok(share) => largest = f64::max(largest, share),
                different => return Ok(different),
            }
        }
        Ok(Ok(largest))
    }

    /// The step without update, or two that update and those of an evaluation, each with its plan.
    fn steps(&self, plans: &Plans, options: Option<&TrainOptions>) -> Vec<(usize, Step)> {
        let Some(options) = options else { return vec![(PLAN, self.step(plans, 0, OptimizerStep::default()))] };
        let update = |pass: u32| options.optimizer_step(u64::from(pass) + 1, f64::from(pass), 1);
        let trained = [0, 1].map(|pass| (PLAN, self.step(plans, pass, update(pass))));
        let evaluated = evaluation_steps(self.batch.rows(), plans.plans[EVALUATION].options.batch, 0);
        trained.into_iter().chain(evaluated.map(|step| (EVALUATION, step))).collect()
    }

    fn plans(&self, caps: Caps, training: Training) -> Result<Plans> {
        let options = Options {
            name: "gradients".into(),
            mode: Mode::Train(training),
            batch: self.batch.rows(),
            members: 1,
            source: source("gradients", self.batch.inputs(), true),
            variable_rates: false,
            store_output: false,
            store_gradient: training.gradient == Gradient::Accumulate,
        };
        let mut plans = Plans::new(caps);
        plans.add(self.model.network(), options)?;
        Ok(plans)
    }

    fn upload(&self, executor: &Executor) -> Result<()> {
        upload_weights(executor, PLAN, 0, self.model)?;
        upload_data(executor, PLAN, self.model.network(), self.batch.inputs(), Some(self.batch.targets()))
    }

    /// The step of a pass, which is an update as well.
    fn step(&self, plans: &Plans, pass: u32, optimizer: OptimizerStep) -> Step {
        let (key, rows) = (rng::key(self.seed), self.batch.rows());
        let sites = plans.plans[PLAN].site_steps(self.model.network(), key, [pass, pass], || {
            let shuffle = Shuffle::new(rows);
            (0..rows).map(|position| self.batch.inputs().samples()[shuffle.row(position, pass, key) as usize]).collect()
        });
        Step { epoch: pass, ..Step::new(rows, vec![MemberStep { key, optimizer, sites }]) }
    }
}

/// The gradient alone.
fn without_update() -> Training {
    Training { gradient: Gradient::Accumulate, ..Update::Sgd.into() }
}
