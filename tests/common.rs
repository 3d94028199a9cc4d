//! The harness, built so that it can fail: poisoned outputs, a NaN-safe comparison, and a negative control in every check.

use std::sync::OnceLock;

use thinnet::cpu;
use thinnet::executor::Executor;
use thinnet::kernels::{Access, Kernel, Tolerance};
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

/// All words of a buffer.
pub(crate) fn whole(plans: &Plans, buffer: thinnet::memory::BufferId) -> Tensor {
    Tensor { buffer, offset: 0, len: plans.buffers[buffer.0].words, stride: 0 }
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
    compare_kernel(&mut executor, &twin, (0, 0), step)
}

/// Runs kernel `(plan, kernel)` on both executors, whose memories are equal, and compares as [`check_kernel`] does.
#[track_caller]
pub(crate) fn compare_kernel(executor: &mut Executor, twin: &cpu::Executor, at: (usize, usize), step: &Step) -> usize {
    let (plans, memory) = (twin.plans(), twin.memory());
    let kernel = &plans.plans[at.0].kernels[at.1];
    let members = step.members.len();
    let written: Vec<Tensor> = kernel
        .entry()
        .tensors
        .iter()
        .zip(kernel.tensors())
        .filter(|(binding, _)| binding.access == Access::Write)
        .map(|(_, tensor)| tensor)
        .collect();
    let tolerances: Vec<Vec<Tolerance>> = (0..members).map(|m| kernel.tolerance(memory, step, m)).collect();
    executor.run_kernel(at.0, at.1, step).unwrap();
    twin.run_kernel(at.0, at.1, step);

    let name = kernel.entry().name;
    let mut compared = 0;
    for i in 0..plans.buffers.len() {
        let id = thinnet::memory::BufferId(i);
        let got = executor.read(whole(plans, id), 0).unwrap();
        let want = memory.buffer(id).clone();
        // The bound of every word of the buffer; None where the bits must agree.
        let mut bounds: Vec<Option<f64>> = vec![None; want.len()];
        for (m, tolerances) in tolerances.iter().enumerate() {
            for (tensor, tolerance) in written.iter().zip(tolerances).filter(|(t, _)| t.buffer == id) {
                if let Tolerance::Bounds(list) = tolerance {
                    let start = (tensor.offset + tensor.stride * m as u32) as usize;
                    bounds[start..].iter_mut().zip(list).for_each(|(bound, value)| *bound = Some(*value));
                }
            }
        }
        match compare(&got, &want, &bounds) {
            Ok(n) => compared += n,
            Err(report) => panic!("{name}, buffer {}, {members} members, {} rows:\n{report}", plans.buffers[i].name, step.rows),
        }
        for tensor in written.iter().filter(|t| t.buffer == id) {
            negative_control(name, &got, &want, &bounds, *tensor, members);
        }
    }
    assert!(compared > 0, "{name}: nothing was compared");
    compared
}

/// One element off by a little more than its tolerance must be rejected, in each member, in what the kernel bounds.
#[track_caller]
fn negative_control(name: &str, got: &[u32], want: &[u32], bounds: &[Option<f64>], tensor: Tensor, members: usize) {
    for member in 0..members {
        let start = (tensor.offset + tensor.stride * member as u32) as usize;
        let bounded: Vec<usize> = (start..start + tensor.len as usize).filter(|&i| bounds[i].is_some()).collect();
        let at = bounded.get(bounded.len() / 2).copied().unwrap_or(start + tensor.len as usize / 2);
        let value = f32::from_bits(got[at]);
        let mut wrong = want.to_vec();
        wrong[at] = match bounds[at] {
            Some(bound) if value.is_finite() => (value + (2.0 * bound).max(1e-30) as f32).next_up().to_bits(),
            _ => got[at] ^ 1,
        };
        assert!(compare(got, &wrong, bounds).is_err(), "{name}: the comparison accepts a twin that is wrong at {at}");
    }
}

/// Compares words; where a bound is given, as f32. Written so that NaN is a failure unless the bits are the same.
pub(crate) fn compare(got: &[u32], want: &[u32], bounds: &[Option<f64>]) -> Result<usize, String> {
    assert!(got.len() == want.len() && got.len() == bounds.len(), "the lengths differ");
    let fits = |i: usize| {
        let near = |bound: f64| (f64::from(f32::from_bits(got[i])) - f64::from(f32::from_bits(want[i]))).abs() <= bound;
        got[i] == want[i] || bounds[i].is_some_and(near)
    };
    let wrong: Vec<usize> = (0..got.len()).filter(|&i| !fits(i)).collect();
    if wrong.is_empty() {
        return Ok(got.len());
    }
    let line = |&i: &usize| {
        let (g, w) = (f32::from_bits(got[i]), f32::from_bits(want[i]));
        let error = f64::from(g) - f64::from(w);
        format!("  [{i}] device {g:e} ({:#010x}), twin {w:e} ({:#010x}), error {error:e}, bound {:?}", got[i], want[i], bounds[i])
    };
    let lines: Vec<String> = wrong.iter().take(5).map(line).collect();
    Err(format!("{} of {} words differ\n{}", wrong.len(), got.len(), lines.join("\n")))
}

#[test]
fn the_comparison_rejects_nan_differences_beyond_the_bound_and_other_bits() {
    let f = |x: f32| x.to_bits();
    assert!(compare(&[f(1.0)], &[f(1.0)], &[None]).is_ok());
    assert!(compare(&[f(1.0)], &[f(1.0f32.next_up())], &[None]).is_err());
    assert!(compare(&[f(1.0)], &[f(1.5)], &[Some(0.5)]).is_ok());
    assert!(compare(&[f(1.0)], &[f(1.5)], &[Some(0.4)]).is_err());
    assert!(compare(&[f(f32::NAN)], &[f(1.0)], &[Some(f64::INFINITY)]).is_err());
    assert!(compare(&[f(1.0)], &[f(f32::NAN)], &[Some(f64::INFINITY)]).is_err());
    assert!(compare(&[f(1.0)], &[f(1.0)], &[Some(f64::NAN)]).is_ok(), "equal bits need no bound");
    assert!(compare(&[f(1.0)], &[f(2.0)], &[Some(f64::NAN)]).is_err(), "a bound that is no number admits nothing");
    assert!(compare(&[POISON], &[f(0.0)], &[Some(1.0)]).is_err(), "an output that was not written");
}
