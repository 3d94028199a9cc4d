//! Every kernel of a training step: first compared with its twin, then timed in turn with what it should beat or come near to:
//! a matrix product with a naive one of the same extents, everything with the fastest copy of as many bytes.
//!
//! `sh scripts/with-adapter.sh cargo bench --all-features --bench kernels`; `-- --test` runs tiny shapes once, for CI.
//!
//! A time is that of one dispatch, the median of several submissions of many dispatches each; it contains what a dispatch
//! costs whatever is in it. Rates count the operations and bytes that the formula needs, not what a kernel wastes.

#![allow(dead_code, reason = "each of the programs in benches uses a part of what measures")]

#[allow(dead_code, reason = "the benches use a part of the tests' harness")]
#[path = "../tests/common.rs"]
mod common;
#[path = "../src/cli/bench/measure.rs"]
mod measure;
#[path = "common/naive.rs"]
mod naive;
#[path = "../src/cli/bench/probe.rs"]
mod probe;
#[path = "../src/cli/bench/work.rs"]
mod work;

use measure::{Timed, median};
use thinnet::executor::Executor;
use thinnet::kernels::Kernel;
use thinnet::kernels::dense::DenseParams;
use thinnet::plan::{Mode, Options, Plans, Source, Update};
use thinnet::step::{MemberStep, SiteStep, Step};
use thinnet::work::Work;
use thinnet::{Activation, Dense, Dropout, KeepProb, Network, Optimizer, Result, compare, cpu, rng};

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
}

/// The extents of the matrix product that a kernel is: rows of the result, terms of a sum, columns. None for any other kernel.
fn product(kernel: &dyn Kernel, batch: u32) -> Option<[u32; 3]> {
    let entry = kernel.entry();
    if !entry.file.starts_with("dense") {
        return None;
    }
    let params: DenseParams = bytemuck::pod_read_unaligned(kernel.params());
    let (inputs, units) = (4 * params.input_quads, params.outputs);
    Some(match entry.name {
        name if name.contains("backward_weight") || name.contains("update") => [units, batch, inputs],
        name if name.contains("backward_input") => [batch, units, inputs],
        _ => [batch, inputs, units],
    })
}

/// Bytes that a kernel's formula reads and writes: each of its tensors once.
fn bytes(kernel: &dyn Kernel) -> f64 {
    4.0 * kernel.tensors().iter().map(|tensor| f64::from(tensor.len)).sum::<f64>()
}

/// How long is measured.
#[derive(Clone, Copy)]
struct Effort {
    rounds: usize,
    seconds: f64,
}

/// Times things in turn, round after round: the medians of their seconds, and of the ratios of the others to the first.
fn in_turn(things: &mut [Timed<'_>], effort: Effort) -> Result<(Vec<f64>, Vec<f64>)> {
    for thing in things.iter_mut() {
        thing.seconds(effort.seconds, 1)?; // compiles the kernel
    }
    let round = |_| things.iter_mut().map(|thing| thing.seconds(effort.seconds, 1)).collect::<Result<Vec<f64>>>();
    let rounds: Vec<Vec<f64>> = (0..effort.rounds).map(round).collect::<Result<_>>()?;
    let column = |i: usize, by: bool| median(&rounds.iter().map(|r| if by { r[i] / r[0] } else { r[i] }).collect::<Vec<_>>());
    let count = rounds[0].len();
    Ok(((0..count).map(|i| column(i, false)).collect(), (1..count).map(|i| column(i, true)).collect()))
}

/// One line: a kernel against the naive product and the copy. Returns its seconds.
fn line(timed: Timed<'_>, kernel: (&str, f64, Option<[u32; 3]>), effort: Effort) -> Result<f64> {
    let (name, bytes, product) = kernel;
    let gpu = common::device().gpu().expect("the benches need an adapter; `cpu` is none");
    let words = ((bytes / 8.0) as u32).next_multiple_of(4);
    let mut things = vec![timed, probe::copy(gpu, words)?];
    if let Some(extents) = product {
        things.push(naive::product(gpu, extents)?);
    }
    let (seconds, ratios) = in_turn(&mut things, effort)?;
    let flops = product.map(|extents| 2.0 * extents.map(f64::from).iter().product::<f64>());
    let or_dash = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.2}"));
    println!(
        "{name:28}{:>11.1}{:>10}{:>10}{:>9.2}{:>10.2}",
        1e6 * seconds[0],
        or_dash(flops.map(|flops| flops / seconds[0] * 1e-9)),
        or_dash(ratios.get(1).copied()),
        bytes / seconds[0] * 1e-9,
        ratios[0],
    );
    Ok(seconds[0])
}

const HEADER: [&str; 6] = ["kernel", "us", "GFLOP/s", "x naive", "GB/s", "x copy"];

fn header() {
    let [kernel, us, flops, naive, bytes, copy] = HEADER;
    println!("{kernel:28}{us:>11}{flops:>10}{naive:>10}{bytes:>9}{copy:>10}");
}

/// Kernel `index` of a shape's plan, alone.
fn alone(shape: &Shape, index: usize) -> Result<Timed<'static>> {
    let mut plans = shape.plans();
    let kernel = plans.plans[0].kernels.remove(index);
    plans.plans[0].kernels = vec![kernel];
    let mut executor = Executor::new(common::device(), plans)?;
    let work = Work { plan: 0, step: shape.step() };
    Ok(Timed::new(1, move |repetitions| work::repeat(&mut executor, &work, repetitions)))
}

/// Every kernel of a training step.
fn whole_step(shape: &Shape, effort: Effort) -> Result<()> {
    validate(shape);
    let Shape { inputs, hidden, batch } = shape;
    println!("\n{inputs}-{hidden}-{hidden}-10, ReLU, dropout keep {KEEP}, batch {batch}, every kernel agrees with its twin");
    header();
    let plans = shape.plans();
    let mut total = 0.0;
    for (index, kernel) in plans.plans[0].kernels.iter().enumerate() {
        let what = (kernel.entry().name, bytes(&**kernel), product(&**kernel, *batch));
        total += line(alone(shape, index)?, what, effort)?;
    }
    println!("{:28}{:>11.1}", "all", 1e6 * total);
    Ok(())
}

/// The weight gradient of a small layer over very many rows: few results, each a long sum.
fn long_sums(rows: u32, [inputs, units]: [u32; 2], effort: Effort) -> Result<()> {
    let caps = common::device().caps();
    let most = (caps.max_binding.min(u64::from(u32::MAX)) / (4 * u64::from(inputs.next_multiple_of(64)))) as u32 / 64 * 64;
    let batch = rows.min(most);
    let source = Source { name: "data".into(), rows: batch, byte_scale: Some(1.0 / 255.0), labelled: true, window: None };
    let mode = Mode::Train(Update::Sgd.into());
    let options = Options {
        name: "bench".into(),
        mode,
        batch,
        members: 1,
        source,
        variable_rates: false,
        store_output: false,
        store_gradient: true,
    };
    let mut plans = Plans::new(caps);
    plans.add(&Network::new(inputs).dense(Dense::new(units)), options)?;
    // A sum in parts is added up by a kernel of its own.
    let sums = ["dense_backward_weight", "sum_splits"];
    plans.plans[0].kernels.retain(|kernel| sums.iter().any(|name| kernel.entry().name.starts_with(name)));
    let Some(kernel) = plans.plans[0].kernels.first() else { panic!("a layer has a weight gradient:\n{}", plans.plans[0]) };
    let find = |name: &str| {
        let place = kernel.entry().tensors.iter().position(|binding| binding.name == name);
        kernel.tensors()[place.unwrap_or_else(|| panic!("{} has no tensor {name}", kernel.entry().name))]
    };
    let (x, dy, dweight) = (find("x"), find("dy"), plans.plans[0].tensor("0.weight.grad"));
    let what = ("dW, long sums", bytes(&**kernel), product(&**kernel, batch));
    let mut executor = Executor::new(common::device(), plans)?;
    work::fill(&executor, [x, dy].into_iter())?;
    let member = MemberStep { key: [0, 0], optimizer: Default::default(), sites: Vec::new() };
    let work = Work { plan: 0, step: Step::new(batch, vec![member]) };
    work::repeat(&mut executor, &work, 1)?;
    // The rows of all three are padded.
    let [dy_row, x_row] = [dy, x].map(|tensor| tensor.len / batch);
    let terms = |at: u32| (0..batch).map(move |row| (row * dy_row + at / inputs, row * x_row + at % inputs));
    let found: Vec<u32> =
        executor.read(dweight, 0)?.chunks(x_row as usize).flat_map(|row| row[..inputs as usize].to_vec()).collect();
    naive::check("the weight gradient", &found, terms)?;
    let less = if batch < rows { format!(" ({rows} do not fit a binding of this adapter)") } else { String::new() };
    println!("\nWeight gradient [{units}, {inputs}] over {batch} rows{less}, agrees with sums in f64");
    header();
    line(Timed::new(1, move |repetitions| work::repeat(&mut executor, &work, repetitions)), what, effort)?;
    Ok(())
}

/// Dropout for other programs, by `ops`, which agrees with the mask contract.
fn standalone_dropout([rows, units]: [u32; 2], effort: Effort) -> Result<()> {
    println!("\nStandalone dropout of [{rows}, {units}] by ops, keep 0.5, agrees with the mask contract");
    header();
    let bytes = 8.0 * f64::from(rows * units);
    line(work::dropout(common::device(), [rows, units])?, ("dropout_forward", bytes, None), effort)?;
    Ok(())
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
        executor.write(compare::whole(twin.plans(), id), 0, &twin.memory().buffer(id)).expect("the device works");
    }
    for kernel in 0..twin.plans().plans[0].kernels.len() {
        common::compare_kernel(&mut executor, &twin, (0, kernel), &shape.step());
        for i in 0..twin.plans().buffers.len() {
            let id = thinnet::memory::BufferId(i);
            executor.write(compare::whole(twin.plans(), id), 0, &twin.memory().buffer(id)).expect("the device works");
        }
    }
}

fn run(test: bool) -> Result<()> {
    let caps = common::device().caps();
    println!("{} ({})", caps.adapter, caps.backend);
    println!("x: the time of the naive product, or of the copy of as many bytes, by the kernel's; above 1 the kernel is faster");
    if test {
        let effort = Effort { rounds: 1, seconds: 0.0 };
        whole_step(&Shape { inputs: 64, hidden: 32, batch: 16 }, effort)?;
        long_sums(257, [12, 6], effort)?;
        return standalone_dropout([8, 12], effort);
    }
    let effort = Effort { rounds: 7, seconds: 0.05 };
    whole_step(&Shape { inputs: 64, hidden: 128, batch: 32 }, effort)?;
    whole_step(&Shape { inputs: 784, hidden: 1024, batch: 128 }, effort)?;
    long_sums(100_000, [500, 50], effort)?;
    standalone_dropout([2048, 2048], effort)
}

fn main() {
    let test = std::env::args().any(|argument| argument == "--test");
    run(test).unwrap_or_else(|error| panic!("{error}"));
}
