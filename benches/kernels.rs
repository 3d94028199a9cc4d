//! Every kernel of a training step: first compared with its twin, then timed.
//!
//! `sh scripts/with-adapter.sh cargo bench --all-features --bench kernels`; `-- --test` runs tiny shapes once, for CI.
//!
//! A time is that of one dispatch, the median of several submissions of many dispatches each; it contains what a dispatch
//! costs whatever is in it. Rates count the operations and bytes that the formula needs, not what a kernel wastes.

#[allow(dead_code, reason = "the benches use a part of the tests' harness")]
#[path = "../tests/common.rs"]
mod common;

use std::time::Instant;

use thinnet::executor::Executor;
use thinnet::plan::{Mode, Options, Plans, Source, Update};
use thinnet::step::{MemberStep, SiteStep, Step};
use thinnet::work::Work;
use thinnet::{Activation, Dense, Dropout, KeepProb, Network, Optimizer, cpu, rng};

const KEEP: f64 = 0.5;

/// A network `inputs - hidden - hidden - 10` with dropout after both hidden layers, and a batch.
struct Shape {
    inputs: u32,
    hidden: u32,
    batch: u32,
}

impl Shape {
    fn plans(&self) -> Plans {
        let dropout = Dropout::keep(KEEP).expect("a probability");
        let network = Network::new(self.inputs)
            .dense(Dense::new(self.hidden).activation(Activation::Relu))
            .dropout(dropout)
            .dense(Dense::new(self.hidden).activation(Activation::Relu))
            .dropout(dropout)
            .dense(Dense::new(10));
        let source =
            Source { name: "data".into(), rows: self.batch, byte_scale: Some(1.0 / 255.0), labelled: true, window: None };
        let options = Options {
            name: "bench".into(),
            mode: Mode::Train(Update::Adam.into()),
            batch: self.batch,
            members: 1,
            source,
            variable_rates: false,
            store_output: false,
            store_gradient: false,
        };
        let mut plans = Plans::new(common::device().caps());
        plans.add(&network, options).expect("the network fits the device");
        plans
    }

    fn step(&self) -> Step {
        let rate = SiteStep::new(KeepProb::new(KEEP).expect("a probability"), 0);
        let member = MemberStep { key: rng::key(1), optimizer: Optimizer::adam(0.001).step(1, 0.0), sites: vec![rate; 2] };
        Step::new(self.batch, vec![member])
    }

    /// Operations and bytes that a kernel's formula needs, from the words of its tensors.
    fn work(&self, name: &str, words: &[f64]) -> (f64, f64) {
        let bytes = 4.0 * words.iter().sum::<f64>();
        let flops = if name.starts_with("dense_") {
            2.0 * f64::from(self.batch) * f64::from(self.hidden) * f64::from(self.hidden)
        } else {
            0.0
        };
        let _ = words;
        (flops, bytes)
    }
}

/// Seconds of one dispatch of kernel `index`.
fn time(shape: &Shape, index: usize, dispatches: usize, runs: usize) -> f64 {
    let mut plans = shape.plans();
    let kernel = plans.plans[0].kernels.remove(index);
    plans.plans[0].kernels = vec![kernel];
    let mut executor = Executor::new(common::device(), plans).expect("the plan fits the device");
    let work = vec![Work { plan: 0, step: shape.step() }; dispatches];
    let mut once = || {
        let began = Instant::now();
        let submission = executor.submit(&work).expect("the device works");
        executor.wait(submission).expect("the device works");
        began.elapsed().as_secs_f64() / dispatches as f64
    };
    once(); // compiles the kernel
    let mut seconds: Vec<f64> = (0..runs).map(|_| once()).collect();
    seconds.sort_by(f64::total_cmp);
    seconds[runs / 2]
}

/// Runs a whole step on the device and through the twins and compares after every kernel.
fn validate(shape: &Shape) {
    let twin = cpu::Executor::new(shape.plans());
    let mut executor = Executor::new(common::device(), shape.plans()).expect("the plan fits the device");
    for i in 0..twin.plans().buffers.len() {
        let id = thinnet::memory::BufferId(i);
        let name = twin.plans().buffers[i].name.clone();
        let len = twin.plans().buffers[i].words;
        match name.as_str() {
            "weights" => {
                let weights = twin.plans().plans[0].tensors.iter().filter(|(name, _)| name.ends_with("weight"));
                for (_, tensor) in weights {
                    // Small numbers of both signs; the columns of these shapes need no padding.
                    let values = common::numbers(tensor.len as usize, 7);
                    twin.memory().f32_mut(*tensor, 0).iter_mut().zip(values).for_each(|(w, v)| *w = 0.1 * v);
                }
            }
            "data.inputs" => *twin.memory().buffer_mut(id) = common::words(len as usize, 8),
            "data.ids" => twin.memory().buffer_mut(id).iter_mut().zip(0..).for_each(|(id, row)| *id = row),
            "data.targets" => twin.memory().buffer_mut(id).iter_mut().zip(0..).for_each(|(label, row)| *label = row % 10),
            _ => {}
        }
        executor.write(common::whole(twin.plans(), id), 0, &twin.memory().buffer(id)).expect("the device works");
    }
    for kernel in 0..twin.plans().plans[0].kernels.len() {
        common::compare_kernel(&mut executor, &twin, (0, kernel), &shape.step());
        for i in 0..twin.plans().buffers.len() {
            let id = thinnet::memory::BufferId(i);
            executor.write(common::whole(twin.plans(), id), 0, &twin.memory().buffer(id)).expect("the device works");
        }
    }
}

fn main() {
    let test = std::env::args().any(|argument| argument == "--test");
    let shapes = if test {
        vec![Shape { inputs: 64, hidden: 32, batch: 16 }]
    } else {
        vec![Shape { inputs: 64, hidden: 128, batch: 32 }, Shape { inputs: 784, hidden: 1024, batch: 128 }]
    };
    let (dispatches, runs) = if test { (2, 1) } else { (20, 7) };
    let caps = common::device().caps();
    println!("{} ({})", caps.adapter, caps.backend);
    for shape in shapes {
        if std::env::var("NOCHECK").is_err() {
            validate(&shape);
        }
        let Shape { inputs, hidden, batch } = shape;
        println!("\n{inputs}-{hidden}-{hidden}-10, ReLU, dropout keep {KEEP}, batch {batch}, every kernel agrees with its twin");
        println!("{:24}{:>12}{:>12}{:>12}", "kernel", "us", "GFLOP/s", "GB/s");
        let plans = shape.plans();
        let mut total = 0.0;
        for (index, kernel) in plans.plans[0].kernels.iter().enumerate() {
            let seconds = time(&shape, index, dispatches, runs);
            total += seconds;
            let words: Vec<f64> = kernel.tensors().iter().map(|tensor| f64::from(tensor.len)).collect();
            let (flops, bytes) = shape.work(kernel.entry().name, &words);
            let rate = |amount: f64| if amount > 0.0 { format!("{:.2}", amount / seconds * 1e-9) } else { "-".into() };
            println!("{:24}{:>12.1}{:>12}{:>12}", kernel.entry().name, 1e6 * seconds, rate(flops), rate(bytes));
        }
        println!("{:24}{:>12.1}", "all", 1e6 * total);
    }
}
