//! The harness, built so that it can fail: poisoned outputs, a NaN-safe comparison, and a negative control in every check.

use std::sync::OnceLock;

use thinnet::compare::{self, Compared, difference, whole};
use thinnet::cpu;
use thinnet::executor::Executor;
use thinnet::kernels::Kernel;
use thinnet::memory::{Memory, Tensor};
use thinnet::plan::{Mode, Options, Plan, PlannedSite, Plans, Source};
use thinnet::step::{DROPPED, MemberStep, OptimizerStep, SiteLayout, SiteStep, Step};
use thinnet::{Device, KeepProb, rng};

/// The adapter under test, opened once. Without one the tests fail with the message that says what to install.
pub(crate) fn device() -> &'static Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    DEVICE.get_or_init(|| Device::open().unwrap_or_else(|error| panic!("{error}")))
}

/// A NaN that no kernel writes: what outputs hold before a dispatch.
pub(crate) const POISON: u32 = 0x7fc0_dead;

/// Random words from the mask contract's generator, so that tests are the same everywhere.
pub(crate) fn words(n: usize, seed: u64) -> Vec<u32> {
    let at = rng::Coordinates { stream: rng::Stream::ContinuousNoise, site: 0, pass: 0, sample: 0 };
    (0..n as u32).map(|i| at.word(i, rng::key(seed))).collect()
}

/// Random numbers in (-1, 1), never alike.
pub(crate) fn numbers(n: usize, seed: u64) -> Vec<f32> {
    words(n, seed).into_iter().map(|word| (2.0 * rng::uniform(word) - 1.0) as f32).collect()
}

/// `[rows, columns]` numbers in (-1, 1), each row padded with zeros to a multiple of four.
pub(crate) fn padded(rows: u32, columns: u32, seed: u64) -> Vec<u32> {
    padded_to(4, rows, columns, seed)
}

/// The same, padded to a multiple of `row_words`.
pub(crate) fn padded_to(row_words: u32, rows: u32, columns: u32, seed: u64) -> Vec<u32> {
    let stride = columns.next_multiple_of(row_words) as usize;
    let mut words = vec![0; rows as usize * stride];
    for (row, values) in words.chunks_mut(stride).zip(numbers((rows * columns) as usize, seed).chunks(columns as usize)) {
        row.iter_mut().zip(values).for_each(|(word, value)| *word = value.to_bits());
    }
    words
}

/// A step of `rows` rows whose members have keys of their own and one rate per site, in pass 3.
pub(crate) fn step(rows: u32, members: u32, rates: &[f64]) -> Step {
    let sites = rates.iter().map(|&keep| SiteStep::new(KeepProb::new(keep).unwrap(), 3)).collect::<Vec<_>>();
    let member = |m| MemberStep { key: rng::key(1000 + m), optimizer: OptimizerStep::default(), sites: sites.clone() };
    Step::new(rows, (0..u64::from(members)).map(member).collect())
}

/// Options for hand-made plans.
pub(crate) fn options(batch: u32, members: u32) -> Options {
    let source = Source { name: "data".into(), rows: batch, byte_scale: None, labelled: true, window: None };
    Options {
        name: "test".into(),
        mode: Mode::Eval,
        batch,
        members,
        source,
        variable_rates: false,
        store_output: false,
        store_gradient: true,
    }
}

/// Plans with one plan of one kernel, with the members and the sites of a step.
pub(crate) fn single(step: &Step, build: &dyn Fn(&mut Plans) -> Box<dyn Kernel>) -> Plans {
    let mut plans = Plans::new(device().caps());
    let kernels = vec![build(&mut plans)];
    let planned = |i: usize| {
        let site = |member: usize| &step.members[member].sites[i];
        let (units, lists) = (site(0).units, site(0).units > 0);
        // A site that keeps fewer units than its plan says has no dropped rows that are updated.
        let idle = lists && !(0..step.members.len()).any(|member| site(member).kept.contains(&DROPPED));
        let layout = SiteLayout { units, kept: lists.then_some(site(0).kept.len() as u32), idle };
        PlannedSite { layer: 0, site: 0, keep: KeepProb::ONE, map: [1, 1], path: None, layout }
    };
    let sites = (0..step.members[0].sites.len()).map(planned).collect();
    let plan = Plan {
        options: options(1, step.members.len() as u32),
        kernels,
        sites,
        scopes: Vec::new(),
        metrics: None,
        tensors: Default::default(),
    };
    plans.push(plan);
    plans
}

/// Runs a kernel on the device and its twin on the same memory and compares every word of every buffer: what is written
/// within the kernel's tolerance, the rest bit for bit. Outputs start poisoned unless `fill` sets them. Then perturbs each
/// written tensor of the twin, which the comparison must reject. Returns the number of words compared.
#[track_caller]
pub(crate) fn check_kernel(step: &Step, build: &dyn Fn(&mut Plans) -> Box<dyn Kernel>, fill: &dyn Fn(&Memory)) -> usize {
    let twin = cpu::Executor::new(single(step, build));
    let memory = twin.memory();
    for i in 0..twin.plans().buffers.len() {
        memory.buffer_mut(thinnet::memory::BufferId(i)).fill(POISON);
    }
    fill(memory);

    let mut executor = Executor::new(device(), single(step, build)).unwrap();
    for i in 0..twin.plans().buffers.len() {
        let id = thinnet::memory::BufferId(i);
        executor.write(whole(twin.plans(), id), 0, &memory.buffer(id)).unwrap();
    }
    compare_kernel(&mut executor, &twin, (0, 0), step).iter().map(|compared| compared.device.len()).sum()
}

/// Runs kernel `(plan, kernel)` on both executors, whose memories are equal, and compares as [`check_kernel`] does.
#[track_caller]
pub(crate) fn compare_kernel(executor: &mut Executor, twin: &cpu::Executor, at: (usize, usize), step: &Step) -> Vec<Compared> {
    let plans = twin.plans();
    let kernel = plans.plans[at.0].kernels[at.1].as_ref();
    let (name, members, written) = (kernel.entry().name, step.members.len(), compare::written(kernel));
    let all = compare::run_on_both(executor, twin, at, step, &compare::buffers(plans)).unwrap();
    for compared in &all {
        let buffer = &plans.buffers[compared.buffer.0].name;
        if let Some(difference) = compared.difference() {
            panic!("{name}, buffer {buffer}, {members} members, {} rows: {difference}", step.rows);
        }
        for tensor in written.iter().filter(|t| t.buffer == compared.buffer) {
            negative_control(name, compared, *tensor, members);
        }
    }
    assert!(all.iter().any(|compared| !compared.device.is_empty()), "{name}: nothing was compared");
    all
}

/// One element off by a little more than its tolerance must be rejected, in each member, in what the kernel bounds.
#[track_caller]
fn negative_control(name: &str, compared: &Compared, tensor: Tensor, members: usize) {
    let Compared { device, twin, bounds, .. } = compared;
    for member in 0..members {
        let start = (tensor.offset + tensor.stride * member as u32) as usize;
        let bounded: Vec<usize> = (start..start + tensor.len as usize).filter(|&i| bounds[i].is_some()).collect();
        let at = bounded.get(bounded.len() / 2).copied().unwrap_or(start + tensor.len as usize / 2);
        let value = f32::from_bits(device[at]);
        let mut wrong = twin.clone();
        wrong[at] = match bounds[at] {
            Some(bound) if value.is_finite() => (value + (2.0 * bound).max(1e-30) as f32).next_up().to_bits(),
            _ => device[at] ^ 1,
        };
        assert!(difference(device, &wrong, bounds).is_some(), "{name}: the comparison accepts a twin that is wrong at {at}");
    }
}
