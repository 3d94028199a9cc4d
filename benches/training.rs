//! Seconds of a training step, without and with dropout, in turn, so that the ratio holds when the machine's speed drifts.
//!
//! `sh scripts/with-adapter.sh cargo bench --all-features --bench training`; `-- --scaling` adds how a step grows with width, batch
//! and depth, `-- --test` runs tiny shapes, for CI.

#![allow(dead_code, reason = "each of the programs in benches uses a part of what measures")]

#[path = "../src/cli/bench/measure.rs"]
mod measure;
#[path = "../src/cli/bench/probe.rs"]
mod probe;
#[path = "../src/cli/bench/work.rs"]
mod work;

use measure::Compared;
use thinnet::{Device, Result};
use work::Case;

/// Pairs of a case, and the seconds of one measurement.
#[derive(Clone, Copy)]
struct Effort {
    pairs: u32,
    seconds: f64,
}

fn compare(device: &Device, name: &str, case: &Case, effort: Effort) -> Result<()> {
    let mut two = [case.training(device, false)?, case.training(device, true)?];
    let pairs = measure::in_pairs(&mut two, (effort.pairs, effort.seconds, f64::INFINITY), |_| {})?;
    println!("{:44} {}", format!("{name}{case}"), Compared::of(&pairs));
    Ok(())
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
        return scaling(&device, &Case::tiny(), [&[4, 8], &[1, 2]], effort);
    }
    let effort = Effort { pairs: 25, seconds: 0.1 };
    compare(&device, "digits ", &Case::digits(), effort)?;
    compare(&device, "demo ", &Case { hidden: vec![128, 128], ..Case::digits() }, effort)?;
    compare(&device, "MLP ", &Case::mlp(), effort)?;
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
