//! Seconds of a training step, without and with dropout, in turn, so that the ratio holds when the machine's speed drifts.
//!
//! `sh scripts/with-adapter.sh cargo bench --all-features --bench training`; `-- --scaling` adds how a step grows with width, batch
//! and depth, `-- --test` runs tiny shapes, for CI.

#![allow(dead_code, reason = "each of the programs in benches uses a part of what measures")]

#[path = "common/maps.rs"]
mod maps;
#[path = "../src/cli/bench/measure.rs"]
mod measure;
#[path = "../src/cli/bench/probe.rs"]
mod probe;
#[path = "../src/cli/bench/work.rs"]
mod work;

use std::ops::ControlFlow;

use measure::{Compared, Timed};
use thinnet::sweep::{Sweep, hidden_sites};
use thinnet::{Device, KeepProb, Network, Optimizer, Result, TrainOptions};
use work::{Case, Drops};

/// Pairs of a case, and the seconds of one measurement.
#[derive(Clone, Copy)]
struct Effort {
    pairs: u32,
    seconds: f64,
}

fn compare(device: &Device, name: &str, case: &Case, effort: Effort) -> Result<()> {
    compare_two(device, name, case, [Drops::Nothing, Drops::PerSample], effort)
}

fn compare_two(device: &Device, name: &str, case: &Case, [first, second]: [Drops; 2], effort: Effort) -> Result<()> {
    let mut two = [case.training(device, first)?, case.training(device, second)?];
    let pairs = measure::in_pairs(&mut two, (effort.pairs, effort.seconds, f64::INFINITY), |_| {})?;
    println!("{:44} {}", format!("{name}{case}"), Compared::of(&pairs));
    Ok(())
}

/// Networks of feature maps: each dropout against none, and dropped branches against whole ones.
fn of_maps(device: &Device, test: bool, effort: Effort) -> Result<()> {
    let pair = |name: &str, networks: [Network; 2]| {
        let [a, b] = networks;
        let mut two = [maps::training(device, &a)?, maps::training(device, &b)?];
        let pairs = measure::in_pairs(&mut two, (effort.pairs, effort.seconds, f64::INFINITY), |_| {})?;
        println!("{name:44} {}", Compared::of(&pairs));
        Ok(())
    };
    header("CNN of 1 x 28 x 28, batch 64, dropout keep .9");
    for (name, units) in maps::DROPS.into_iter().skip(1) {
        pair(name, [maps::cnn(None, test)?, maps::cnn(units, test)?])?;
    }
    header("12 residual blocks of 16 x 14 x 14, batch 64");
    pair("paths dropped at keep .5", [maps::paths(1.0, test)?, maps::paths(0.5, test)?])
}

/// A small network at eight rates: what a sweep trains together, against a sweep of each.
fn of_sweeps(device: &Device, cases: &[Case], epochs: u32, effort: Effort) -> Result<()> {
    header("a network at eight rates, together (with) against one by one (without); a step of one of them");
    for case in cases {
        let rates = (1..=8).map(|eighths| KeepProb::new(f64::from(eighths) / 8.0)).collect::<Result<Vec<_>>>()?;
        let one_by_one = rates.iter().map(|&rate| vec![rate]).collect();
        let mut two = [sweeps(device, case, one_by_one, epochs)?, sweeps(device, case, vec![rates], epochs)?];
        let pairs = measure::in_pairs(&mut two, (effort.pairs, effort.seconds, f64::INFINITY), |_| {})?;
        println!("{:44} {}", case.to_string(), Compared::of(&pairs));
    }
    Ok(())
}

/// Sweeps of these rates, one after the other, their beginnings and their validation included.
fn sweeps<'a>(device: &'a Device, case: &Case, rates: Vec<Vec<KeepProb>>, epochs: u32) -> Result<Timed<'a>> {
    let (network, data) = (case.network(Drops::PerSample)?, case.data()?);
    let options = TrainOptions { batch: case.batch, optimizer: Optimizer::momentum(0.01, 0.9), ..Default::default() };
    let steps = rates.iter().map(Vec::len).sum::<usize>() as u32 * epochs * case.batches;
    Ok(Timed::new(steps, move |repetitions| {
        for rates in std::iter::repeat_n(&rates, repetitions as usize).flatten() {
            let mut sweep = Sweep::new(&network, hidden_sites(&network), (&data, &data), &options, epochs)?;
            sweep.add(rates, &[1])?;
            let _ = sweep.fit(device, (&data, &data), |_, _, _| ControlFlow::Continue(()))?;
        }
        Ok(())
    }))
}

fn header(what: &str) {
    println!("\n{what:44} {}", measure::compared_header());
}

/// From a middle case outwards, one extent at a time.
fn scaling(device: &Device, middle: &Case, factors: [&[u32]; 2], effort: Effort) -> Result<()> {
    let [factors, depths] = factors;
    header("step time by width");
    for &factor in factors {
        let hidden = middle.hidden.iter().map(|units| units * factor / 4).collect();
        compare(device, "", &Case { hidden, ..middle.clone() }, effort)?;
    }
    header("by batch");
    for &factor in factors {
        compare(device, "", &Case { batch: middle.batch * factor / 4, ..middle.clone() }, effort)?;
    }
    header("by depth");
    for &depth in depths {
        compare(device, "", &Case { hidden: vec![middle.hidden[0]; depth as usize], ..middle.clone() }, effort)?;
    }
    Ok(())
}

fn run(test: bool, by_scale: bool) -> Result<()> {
    let device = Device::open()?;
    println!("{} ({})", device.caps().adapter, device.caps().backend);
    header("training step, SGD with momentum");
    if test {
        let effort = Effort { pairs: 2, seconds: 0.0 };
        compare(&device, "tiny ", &Case::tiny(), effort)?;
        of_maps(&device, true, effort)?;
        of_sweeps(&device, &[Case::tiny()], 1, effort)?;
        return scaling(&device, &Case::tiny(), [&[4, 8], &[1, 2]], effort);
    }
    let effort = Effort { pairs: 25, seconds: 0.1 };
    compare(&device, "digits ", &Case::digits(), effort)?;
    compare(&device, "demo ", &Case { hidden: vec![128, 128], ..Case::digits() }, effort)?;
    compare(&device, "MLP ", &Case::mlp(), effort)?;
    of_maps(&device, false, Effort { pairs: 15, ..effort })?;
    let small = Case { hidden: vec![32, 32], ..Case::digits() };
    of_sweeps(&device, &[Case::digits(), small], 20, Effort { pairs: 15, ..effort })?;
    header("per-batch units (with) against a mask for every sample (without)");
    compare_two(&device, "MLP ", &Case::mlp(), [Drops::PerSample, Drops::PerBatch], effort)?;
    if by_scale {
        // Fewer pairs, but enough for an interval: there are many lines.
        let middle = Case { hidden: vec![512, 512], batches: 4, ..Case::mlp() };
        scaling(&device, &middle, [&[1, 2, 4, 8, 16], &[1, 2, 4, 8]], Effort { pairs: 7, seconds: 0.1 })?;
    }
    Ok(())
}

fn main() {
    let asked = |name: &str| std::env::args().any(|argument| argument == name);
    run(asked("--test"), asked("--scaling")).unwrap_or_else(|error| panic!("{error}"));
}
