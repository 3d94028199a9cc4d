//! Dropout of sequences, weights and noise on the device, one training step at a time: [`Runner`] reads what a network with
//! masks gives for every row. As in `mask_statistics`, fixed seeds, bounds of five standard deviations, and in every test
//! something slightly wrong.

use thinnet::executor::Executor;
use thinnet::plan::{Mode, Options, Plans, Source, Training, Update};
use thinnet::step::{MemberStep, OptimizerStep, Step};
use thinnet::work::Work;
use thinnet::{Dataset, Inputs, Model, Network, Optimizer, rng};

use crate::common::device;
use crate::drive::{self, Member, TRAIN};

mod alpha;
mod concrete;
mod drop_connect;
mod embedding;
mod gates;
mod gaussian;
mod members;
mod recurrent;
mod training;

/// The seed of every mask here.
const SEED: u64 = 1 << 40 | 20;

/// A network on the device whose training steps change no weight.
struct Runner {
    executor: Executor,
    network: Network,
    rows: u32,
    samples: Vec<u32>,
}

impl Runner {
    /// # Panics
    /// For recurrent layers whose hidden features are no multiple of 4: those the device keeps padded.
    fn new(network: &Network, weights: Vec<Vec<f32>>, inputs: &Inputs) -> Self {
        let (rows, targets) = (inputs.rows(), network.targets().unwrap());
        let data = Dataset::with_values(inputs.clone(), targets, vec![0.0; (rows * targets) as usize]).unwrap();
        let source = Source { name: "data".into(), rows, byte_scale: None, labelled: true, window: None };
        let options = Options {
            name: "train".into(),
            mode: Mode::Train(Training::from(Update::Sgd)),
            batch: rows,
            members: 1,
            source,
            variable_rates: false,
            store_output: true,
            store_gradient: false,
        };
        let mut plans = Plans::new(device().caps());
        plans.add(network, options).unwrap();
        let executor = Executor::new(device(), plans).unwrap();
        let model = Model::new(network.clone(), weights).unwrap();
        let member = Member { model, ..Member::new(network, SEED, Optimizer::sgd(1.0)) };
        drive::upload(&executor, &data, &[member]);
        let plan = &executor.plans().plans[TRAIN];
        if plan.tensors.contains_key("batch.lengths") {
            let whole = || vec![network.input.0[0]; rows as usize];
            let lengths = inputs.lengths().map_or_else(whole, |lengths| lengths.of_rows.clone());
            executor.write(plan.tensor("data.lengths"), 0, &lengths).unwrap();
        }
        Self { executor, network: network.clone(), rows, samples: inputs.samples().to_vec() }
    }

    /// What every row gives in a step over all rows, row after row as in the data.
    fn outputs(&mut self, [epoch, update]: [u32; 2]) -> Vec<Vec<f32>> {
        let (key, plan) = (rng::key(SEED), &self.executor.plans().plans[TRAIN]);
        let sites = plan.site_steps(&self.network, key, [epoch, update], || self.samples.clone());
        let step = Step::new(self.rows, vec![MemberStep { key, optimizer: OptimizerStep::default(), sites }]);
        let work = Work { plan: TRAIN, step: Step { epoch, ..step } };
        let submission = self.executor.submit(std::slice::from_ref(&work)).unwrap();
        self.executor.wait(submission).unwrap();
        let columns = self.network.outputs().unwrap() as usize;
        let found = drive::numbers_of(&self.executor, TRAIN, ("train.outputs", 0), (self.rows as usize, columns));
        let mut outputs = vec![Vec::new(); self.rows as usize];
        let order = drive::rows_of(&work.step, 0, self.rows);
        found.chunks(columns).zip(order).for_each(|(row, place)| outputs[place as usize] = row.to_vec());
        outputs
    }
}

/// How many standard errors the mean of numbers is from `mean`, where they are independent and have this standard deviation.
fn mean_off(numbers: impl ExactSizeIterator<Item = f64>, mean: f64, deviation: f64) -> f64 {
    let n = numbers.len() as f64;
    (numbers.sum::<f64>() / n - mean) / (deviation / n.sqrt())
}
