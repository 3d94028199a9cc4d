//! Where the time of a training step goes: every kernel of the training plan with the time it takes on the device.
//!
//! The steps that are timed are training steps like any others, of a training made for the purpose and dropped: no training of
//! the caller's is touched. Each dispatch has a pass of its own with a timestamp at its beginning and its end, which keeps the
//! device from overlapping what it might and has it finish each before the next: a step with timestamps takes longer than one
//! without, and short kernels look longer than they are. Both kinds of step are measured, in turn, so that the cost is seen. On
//! Mesa's lavapipe it is some 35 to 50 us for each dispatch.

use std::fmt;
use std::time::Instant;

use serde::Serialize;

use crate::data::Dataset;
use crate::executor::Executor;
use crate::kernels::{Access, Kernel};
use crate::network::Network;
use crate::pacer::Pacer;
use crate::plan::{Plan, Plans};
use crate::trainer::{TrainOptions, Trainer};
use crate::work::Work;
use crate::{Device, Error, Result};

/// What kernels are timed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    /// The device's own, through timestamp queries.
    Timestamps,
    /// The host's, around each CPU twin.
    Host,
    /// Nothing: the device lacks `wgpu::Features::TIMESTAMP_QUERY`, or, where the plan copies operands into textures,
    /// `TIMESTAMP_QUERY_INSIDE_ENCODERS`. [`Device::open`] asks for both wherever the adapter has them.
    None,
}

/// One dispatch, timed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Lap {
    pub(crate) plan: usize,
    pub(crate) kernel: usize,
    /// Whether this is the copies into the kernel's textures, not the kernel.
    pub(crate) copies: bool,
    pub(crate) microseconds: f64,
}

/// How long a kernel takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Times {
    /// How often it was timed.
    pub dispatches: u32,
    /// The median, in microseconds.
    pub median_us: f64,
    /// The mean, in microseconds.
    pub mean_us: f64,
    /// Its part of the time of all kernels and copies, from 0 to 1: median times dispatches over the sum of these, so that a
    /// dispatch that was interrupted once does not count as slow.
    pub share: f64,
}

/// A kernel of the plan, or the copies into the textures that it reads.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Timed {
    /// The plan: 0, the steps that update the weights; 1, those that only add to the gradient, with
    /// [`TrainOptions::accumulate`].
    pub plan: usize,
    /// Its place in the plan, from 0.
    pub kernel: usize,
    /// The kernel's name.
    pub name: String,
    /// What it reads, or what is copied: the names of [`Plan::tensors`], parameters as in a state dict (`3.weight`), activations
    /// by layer (`activation.2`).
    pub reads: Vec<String>,
    /// What it writes; of copies nothing.
    pub writes: Vec<String>,
    /// Workgroups in x, y and z; of copies none.
    pub grid: Option<[u32; 3]>,
    /// How long it takes. None if it was not timed: there was no [`Clock`], or no step of its plan.
    pub times: Option<Times>,
}

/// Where the time of a training step goes. [`fmt::Display`] is a table, the largest share first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Profile {
    /// The adapter's name.
    pub adapter: String,
    /// What the kernels were timed with.
    pub clock: Clock,
    /// Rows of a step.
    pub batch: u32,
    /// Steps that were timed, of each kind.
    pub steps: u32,
    /// Microseconds of a step as it is trained, without timestamps, by the host's clock: the mean.
    pub step_us: f64,
    /// The same for the steps whose kernels were timed; the difference is what timing costs.
    pub timed_step_us: Option<f64>,
    /// Microseconds of a step in kernels and copies.
    pub kernels_us: Option<f64>,
    /// Every kernel once, in the order of the plan.
    pub kernels: Vec<Timed>,
    /// The copies into textures before kernels, in the order of the plan.
    pub copies: Vec<Timed>,
}

/// Times `steps` steps of a training from its initial weights, each once without timestamps and once kernel by kernel.
///
/// It makes a [`Trainer`] of its own, with its own copy of the data on the device, and drops it again.
///
/// ```
/// use thinnet::{Dense, Device, Dropout, Network, TrainOptions, data, profile};
/// let network = Network::new(64).dense(Dense::new(32)).dropout(Dropout::keep(0.8)?).dense(Dense::new(10));
/// let profile = profile::profile(&Device::open()?, &network, &data::digits(), &TrainOptions::default(), 10)?;
/// assert!(profile.step_us > 0.0);
/// println!("{profile}");
/// # Ok::<(), thinnet::Error>(())
/// ```
///
/// # Errors
/// As [`Trainer::new`]; no steps; a lost device.
pub fn profile(device: &Device, network: &Network, train: &Dataset, options: &TrainOptions, steps: u32) -> Result<Profile> {
    if steps == 0 {
        let problem = "a profile takes at least 1 step, and some 30 for a good median";
        return Err(Error::Option { option: "steps", value: "0".into(), problem: problem.into() });
    }
    // Without evaluations every step is a training step; the number of the epoch costs nothing.
    let options = TrainOptions { evaluate_train: false, first_epoch: 0, ..options.clone() };
    let batch = options.batch.min(train.rows());
    let warm_up = options.accumulate.max(2);
    let mut trainer = Trainer::new(device, network, train, options)?;
    let (_, executor) = trainer.next_steps(0)?;
    let (clock, mut pacer) = (executor.clock(), Pacer::new(executor.plans().max_steps()));
    // The first steps, one of every plan at least, compile the kernels and tell the pacer how long a step is.
    for _ in 0..warm_up {
        let (work, executor) = trainer.next_steps(1)?;
        run(executor, &mut pacer, &work)?;
        executor.profile(&work)?;
    }
    let (mut done, mut plain, mut timed, mut laps) = (0, 0.0, 0.0, Vec::new());
    while done < steps {
        // In turn, so that a machine that gets slower slows both; the same steps, so that both have as many of every plan.
        let (work, executor) = trainer.next_steps(pacer.next().min(LARGEST).min((steps - done) as usize))?;
        plain += run(executor, &mut pacer, &work)?;
        if clock != Clock::None {
            let began = Instant::now();
            laps.extend(executor.profile(&work)?);
            timed += began.elapsed().as_secs_f64();
        }
        done += work.len() as u32;
    }
    let a_step = |microseconds: f64| microseconds / f64::from(steps);
    let known = |microseconds| (clock != Clock::None).then(|| a_step(microseconds));
    let (kernels, copies) = tables(trainer.plans(), &laps);
    Ok(Profile {
        adapter: device.caps().adapter,
        clock,
        batch,
        steps,
        step_us: a_step(1e6 * plain),
        timed_step_us: known(1e6 * timed),
        kernels_us: known(laps.iter().map(|lap| lap.microseconds).sum()),
        kernels,
        copies,
    })
}

/// Most steps of a submission, which bounds the number of queries.
const LARGEST: usize = 64;

/// Seconds of steps as they are trained.
fn run(executor: &mut Executor, pacer: &mut Pacer, work: &[Work]) -> Result<f64> {
    let began = Instant::now();
    let submission = executor.submit(work)?;
    executor.wait(submission)?;
    pacer.completed(work.len(), began);
    Ok(began.elapsed().as_secs_f64())
}

/// The kernels of all plans, and the copies that were timed.
fn tables(plans: &Plans, laps: &[Lap]) -> (Vec<Timed>, Vec<Timed>) {
    let (mut kernels, mut copies) = (Vec::new(), Vec::new());
    for (p, plan) in plans.plans.iter().enumerate() {
        for (k, kernel) in plan.kernels.iter().enumerate() {
            let names = |accesses: &[Access]| names(plans, plan, kernel.as_ref(), accesses);
            let times = |copies| {
                let laps = laps.iter().filter(|lap| (lap.plan, lap.kernel, lap.copies) == (p, k, copies));
                Times::of(laps.map(|lap| lap.microseconds).collect())
            };
            let ([x, y], name) = (kernel.grid(), kernel.entry().name.to_owned());
            copies.extend(times(true).map(|times| Timed {
                plan: p,
                kernel: k,
                name: name.clone(),
                reads: names(&[Access::Texture]),
                writes: Vec::new(),
                grid: None,
                times: Some(times),
            }));
            let (reads, writes) = (names(&[Access::Read, Access::Texture]), names(&[Access::Write]));
            let grid = Some([x, y, plan.options.members]);
            kernels.push(Timed { plan: p, kernel: k, name, reads, writes, grid, times: times(false) });
        }
    }
    let times = || kernels.iter().chain(&copies).filter_map(|timed| timed.times);
    let all: f64 = times().map(|times| times.weight()).sum();
    for times in kernels.iter_mut().chain(&mut copies).filter_map(|timed| timed.times.as_mut()) {
        times.share = times.weight() / all;
    }
    (kernels, copies)
}

/// The names of the tensors that a kernel uses in these ways, by the plan, or else of the buffers they lie in.
fn names(plans: &Plans, plan: &Plan, kernel: &dyn Kernel, accesses: &[Access]) -> Vec<String> {
    let bindings = kernel.entry().tensors.iter().zip(kernel.tensors());
    let used = bindings.filter(|(binding, _)| accesses.contains(&binding.access)).map(|(_, tensor)| tensor);
    let name = |tensor| match plan.tensors.iter().find(|(_, named)| **named == tensor) {
        Some((name, _)) => name.clone(),
        None => plans.buffers[tensor.buffer.0].name.clone(),
    };
    // `nothing` is what the plan binds where a kernel has no use for a binding.
    used.map(name).filter(|name| name != "nothing").collect()
}

impl Times {
    /// Without their share; None of no times.
    fn of(mut microseconds: Vec<f64>) -> Option<Self> {
        microseconds.sort_by(f64::total_cmp);
        let n = microseconds.len();
        let (low, high) = (microseconds.get(n.checked_sub(1)? / 2)?, microseconds.get(n / 2)?);
        let (median_us, mean_us) = ((low + high) / 2.0, microseconds.iter().sum::<f64>() / n as f64);
        Some(Self { dispatches: n as u32, median_us, mean_us, share: 0.0 })
    }

    fn weight(&self) -> f64 {
        self.median_us * f64::from(self.dispatches)
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { adapter, batch, steps, .. } = self;
        let ms = |microseconds: f64| format!("{:.3} ms", microseconds / 1e3);
        let step = ms(self.step_us);
        let (Some(timed), Some(kernels)) = (self.timed_step_us.map(ms), self.kernels_us.map(ms)) else {
            return writeln!(
                f,
                "A step of {batch} rows takes {step} by the host's clock, the mean of {steps} steps. Its kernels are not timed: this \
                 device of {adapter} has no timestamp queries (wgpu's TIMESTAMP_QUERY and TIMESTAMP_QUERY_INSIDE_ENCODERS)."
            );
        };
        let with = match self.clock {
            Clock::Timestamps => "timestamp queries of the device",
            Clock::Host | Clock::None => "the host's clock around each kernel",
        };
        writeln!(f, "A step of {batch} rows takes {step} on {adapter}, the mean of {steps} steps.")?;
        writeln!(f, "Timed with {with} it takes {timed}, of which {kernels} are in these kernels.")?;
        if self.clock == Clock::Timestamps {
            writeln!(f, "What timing adds is partly in the times below: short kernels look longer than they are.")?;
        }
        writeln!(f)?;
        writeln!(
            f,
            "{:>7} {:>10} {:>10} {:>13}  kernel: what it reads -> what it writes",
            "share", "median us", "mean us", "grid"
        )?;
        let mut rows: Vec<_> = self.kernels.iter().chain(&self.copies).collect();
        let share = |timed: &Timed| timed.times.map_or(-1.0, |times| times.share);
        rows.sort_by(|a, b| share(b).total_cmp(&share(a)));
        rows.into_iter().try_for_each(|timed| writeln!(f, "{timed}"))
    }
}

impl fmt::Display for Timed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.times {
            Some(Times { median_us, mean_us, share, .. }) => {
                write!(f, "{:>5.1} % {median_us:>10.1} {mean_us:>10.1}", 100.0 * share)?;
            }
            None => write!(f, "{:>7} {:>10} {:>10}", "-", "-", "-")?,
        }
        let grid = self.grid.map_or("-".into(), |[x, y, z]| format!("{x} x {y} x {z}"));
        write!(f, " {grid:>13}  {}", if self.grid.is_some() { "" } else { "copies for " })?;
        f.write_str(&self.name)?;
        f.write_str(if self.plan > 0 { " (accumulating): " } else { ": " })?;
        f.write_str(&self.reads.join(", "))?;
        if self.writes.is_empty() { Ok(()) } else { write!(f, " -> {}", self.writes.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::Times;

    #[test]
    fn medians_and_means_are_those_of_the_numbers_and_there_are_none_of_no_numbers() {
        let times = |numbers: &[f64]| Times::of(numbers.to_vec()).map(|times| (times.dispatches, times.median_us, times.mean_us));
        assert_eq!(times(&[]), None);
        assert_eq!(times(&[3.0]), Some((1, 3.0, 3.0)));
        assert_eq!(times(&[9.0, 1.0]), Some((2, 5.0, 5.0)));
        assert_eq!(times(&[8.0, 1.0, 3.0]), Some((3, 3.0, 4.0)));
        assert_eq!(times(&[100.0, 4.0, 1.0, 3.0]), Some((4, 3.5, 27.0)));
    }
}
