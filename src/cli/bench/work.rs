//! What is timed: training steps, dense layers, standalone dropout.

use std::fmt;

use thinnet::executor::Executor;
use thinnet::memory::Tensor;
use thinnet::ops::{self, Ops, Samples, Shape, Site};
use thinnet::plan::{Mode, Options, Plans, Source};
use thinnet::rng::{self, Stream};
use thinnet::step::{MemberStep, OptimizerStep, Step};
use thinnet::work::Work;
use thinnet::{Activation, Dataset, Dense, Device, Dropout, Error, Inputs, KeepProb, Network, Optimizer, Result, TrainOptions};

use super::measure::Timed;
use super::probe;

/// A classifier of 10 classes with ReLU, and how it is trained.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) inputs: u32,
    pub(crate) hidden: Vec<u32>,
    pub(crate) batch: u32,
    /// Steps of an epoch.
    pub(crate) batches: u32,
    /// keep_prob of the input, and after every hidden layer.
    pub(crate) keep: [f64; 2],
}

/// What is dropped at every site of a case.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Drops {
    /// Nothing.
    Nothing,
    /// A mask for every sample.
    PerSample,
    /// One set of units for the whole batch.
    PerBatch,
}

impl Drops {
    fn layer(self, keep: f64) -> Result<Option<Dropout>> {
        Ok(match self {
            _ if keep == 1.0 => None,
            Self::Nothing => None,
            Self::PerSample => Some(Dropout::keep(keep)?),
            Self::PerBatch => Some(Dropout::units(keep)?),
        })
    }
}

impl Case {
    /// The size that papers on dropout use for MNIST.
    pub(crate) fn mlp() -> Self {
        // As many batches as share a submission of the trainer here: within one the updates of dropped rows wait for each other.
        Self { inputs: 784, hidden: vec![1024, 1024], batch: 128, batches: 6, keep: [0.8, 0.5] }
    }

    /// Small enough that what is spent around the kernels counts.
    pub(crate) fn digits() -> Self {
        Self { inputs: 64, hidden: vec![128, 64], batch: 32, batches: 16, keep: [1.0, 0.5] }
    }

    /// Too small to say anything: only that it runs.
    pub(crate) fn tiny() -> Self {
        Self { inputs: 16, hidden: vec![16, 8], batch: 8, batches: 2, keep: [0.8, 0.5] }
    }

    /// `784-1024-1024-10`.
    pub(crate) fn widths(&self) -> String {
        let hidden: String = self.hidden.iter().map(|units| format!("{units}-")).collect();
        format!("{}-{hidden}10", self.inputs)
    }

    pub(crate) fn network(&self, drops: Drops) -> Result<Network> {
        let with = |network: Network, keep| Ok(drops.layer(keep)?.into_iter().fold(network, Network::dropout));
        let mut network = with(Network::new(self.inputs), self.keep[0])?;
        for &units in &self.hidden {
            network = with(network.dense(Dense::new(units).activation(Activation::Relu)), self.keep[1])?;
        }
        Ok(network.dense(Dense::new(10)))
    }

    /// Numbers from 0 to 1 and labels that have nothing to do with them: the time of a step does not depend on either.
    pub(crate) fn data(&self) -> Result<Dataset> {
        let rows = self.batch * self.batches;
        let inputs = probe::counted(rows * self.inputs).into_iter().map(|word| (word >> 8) as f32 / (1 << 24) as f32);
        Dataset::new(Inputs::from_f32(self.inputs, inputs.collect())?, (0..rows).map(|row| row % 10).collect(), 10)
    }

    /// Training steps with SGD and momentum, as a user's training makes them: [`thinnet::Trainer`], whole epochs.
    pub(crate) fn training(&self, device: &Device, drops: Drops) -> Result<Timed<'static>> {
        let options = TrainOptions { batch: self.batch, optimizer: Optimizer::momentum(0.01, 0.9), ..Default::default() };
        let mut trainer = thinnet::Trainer::new(device, &self.network(drops)?, &self.data()?, options)?;
        Ok(Timed::new(self.batches, move |epochs| trainer.fit(epochs).map(|_| ())))
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, batch {}", self.widths(), self.batch)
    }
}

/// The bits of a number between -1 and 1, another for each index.
pub(crate) fn number(index: u32) -> u32 {
    ((index.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0).to_bits()
}

/// Numbers between -1 and 1 in every tensor.
pub(crate) fn fill(executor: &Executor, tensors: impl Iterator<Item = Tensor>) -> Result<()> {
    for tensor in tensors {
        let words: Vec<u32> = (0..tensor.len).map(number).collect();
        executor.write(tensor, 0, &words)?;
    }
    Ok(())
}

/// The product of `[rows, inputs]` with `[inputs, units]` as the engine makes it: the dense layer of an evaluation plan, which adds
/// a bias. `2 * rows * inputs * units` operations.
pub(crate) fn product(device: &Device, [rows, inputs, units]: [u32; 3]) -> Result<Timed<'static>> {
    let network = Network::new(inputs).dense(Dense::new(units));
    let mut plans = Plans::new(device.caps());
    let source = Source { name: "bench".into(), rows, byte_scale: None, labelled: false, window: None };
    let (name, mode) = ("bench".into(), Mode::Eval);
    let options = Options {
        name,
        mode,
        batch: rows,
        members: 1,
        source,
        variable_rates: false,
        store_output: false,
        store_gradient: false,
    };
    plans.add(&network, options)?;
    // What brings the rows to the layer is no part of the product.
    plans.plans[0].kernels.retain(|kernel| kernel.entry().name.starts_with("dense_forward"));
    assert!(!plans.plans[0].kernels.is_empty(), "a dense layer has a kernel that multiplies");
    let tensors: Vec<Tensor> = plans.plans[0].kernels.iter().flat_map(|kernel| kernel.tensors()).collect();
    let mut executor = Executor::new(device, plans)?;
    fill(&executor, tensors.into_iter())?;
    let member = MemberStep { key: [0, 0], optimizer: OptimizerStep::default(), sites: Vec::new() };
    let work = Work { plan: 0, step: Step::new(rows, vec![member]) };
    Ok(Timed::new(1, move |n| repeat(&mut executor, &work, n)))
}

/// Submits one step over and over, and waits for the last.
pub(crate) fn repeat(executor: &mut Executor, work: &Work, mut repetitions: u32) -> Result<()> {
    while repetitions > 0 {
        let now = repetitions.min(executor.plans().max_steps() as u32);
        let submission = executor.submit(&vec![work.clone(); now as usize])?;
        executor.wait(submission)?;
        repetitions -= now;
    }
    Ok(())
}

/// Standalone dropout of `[rows, units]` numbers, keep 0.5, by [`thinnet::ops`]; it moves `8 * rows * units` bytes. The first run is
/// compared with the mask contract, number by number.
///
/// # Errors
/// The CPU twins, which have no operations of their own; a lost device; a mask that is not the contract's.
pub(crate) fn dropout(device: &Device, [rows, units]: [u32; 2]) -> Result<Timed<'static>> {
    let Some(gpu) = device.gpu() else {
        return Err(Error::NoAdapter("standalone dropout needs an adapter; `cpu` is none".into()));
    };
    let ops = Ops::new(gpu.device().clone(), gpu.queue().clone())?;
    let keep = KeepProb::new(0.5)?;
    let site = Site { keep, seed: 1, stream: Stream::TrainingMask, site: 0, pass: 0 };
    let shape = Shape { rows, units, samples: Samples::From(0) };
    let content: Vec<u32> = (0..rows * units).map(|i| (1.0 + i as f32).to_bits()).collect();
    let [x, y] = [probe::buffer(gpu, &content), probe::buffer(gpu, &vec![0x7fc0_dead; content.len()])];
    let (wgpu_device, queue) = (gpu.device().clone(), gpu.queue().clone());
    let (input, output) = (x, y.clone());
    let run = move |mut repetitions: u32| {
        while repetitions > 0 {
            let now = repetitions.min(64); // each makes a small buffer, which lives as long as its submission
            let mut encoder = wgpu_device.create_command_encoder(&Default::default());
            for _ in 0..now {
                ops::dropout_forward(&ops, &mut encoder, &site, &shape, &input, &output)?;
            }
            queue.submit([encoder.finish()]);
            repetitions -= now;
        }
        probe::wait(&wgpu_device)
    };
    run(1)?;
    let key = rng::key(site.seed);
    for (at, (found, number)) in (0..).zip(probe::read(gpu, &y)?.into_iter().zip(content)) {
        let coordinates = rng::Coordinates { stream: site.stream, site: 0, pass: 0, sample: at / units };
        let kept = keep.keeps(coordinates.word(at % units, key));
        let wanted = if kept { (f32::from_bits(number) * keep.scale()).to_bits() } else { 0 };
        if found != wanted {
            let message = format!("number {at} is {found:#010x} and must be {wanted:#010x}");
            return Err(Error::Gpu { place: "standalone dropout".into(), message });
        }
    }
    Ok(Timed::new(1, run))
}
