//! Seconds of a Monte-Carlo draw of many inputs, two ways to draw in turn, so that the ratio holds when the machine's speed drifts.
//!
//! `sh scripts/with-adapter.sh cargo bench --all-features --bench monte_carlo`; `-- --test` runs tiny shapes, for CI.

#![allow(dead_code, reason = "each of the programs in benches uses a part of what measures")]

#[path = "common/draws.rs"]
mod draws;
#[path = "../src/cli/bench/measure.rs"]
mod measure;
#[path = "../src/cli/bench/probe.rs"]
mod probe;

use draws::Drawing;
use measure::Compared;
use thinnet::monte_carlo::{MonteCarlo, Sampling};
use thinnet::{Device, Result};

/// A way to draw.
type Way = (Drawing, MonteCarlo);

fn compare(device: &Device, name: &str, ways: [Way; 2], pairs: u32) -> Result<()> {
    let [first, second] = ways.map(|(drawing, options)| drawing.timed(device, options));
    let pairs = measure::in_pairs(&mut [first?, second?], (pairs, 0.0, f64::INFINITY), |_| {})?;
    println!("{name:60} {}", Compared::of(&pairs));
    Ok(())
}

fn run(test: bool) -> Result<()> {
    let device = Device::open()?;
    println!("{} ({})", device.caps().adapter, device.caps().backend);
    let (all, pairs) = if test { (Drawing::tiny(), 1) } else { (Drawing::mlp(), 7) };
    let Drawing { inputs, hidden: [first, second], rows, draws, .. } = all;
    let what = format!("a draw of {rows} inputs, {draws} in a call, {inputs}-{first}-{second}-10");
    println!("\n{what:60} {:>12} {:>13} {:>8} {:>17} {:>6}", "first", "second", "ratio", "95 % interval", "pairs");

    let each = MonteCarlo::default();
    let one = MonteCarlo { one_network: true, ..each.clone() };
    let exact = MonteCarlo { sampling: Sampling::ExactK, ..one.clone() };
    compare(&device, "masks for each input; one network for all", [(all.clone(), each.clone()), (all.clone(), one)], pairs)?;
    compare(&device, "masks for each input; one of exactly k units", [(all.clone(), each.clone()), (all.clone(), exact)], pairs)?;

    // Dropout on the last hidden layer alone: all in front of it is computed once. Where the input has a site that keeps all but one
    // in 2^20 of its numbers, the network is the same but for those, and everything is computed in every draw.
    let last = Drawing { keep: [1.0, 1.0, 0.5], ..all.clone() };
    let whole = Drawing { keep: [1.0 - 1.0 / f64::from(1 << 20), 1.0, 0.5], ..all };
    compare(&device, "last hidden layer alone; with an input site of 1 - 2^-20", [(last, each.clone()), (whole, each)], pairs)
}

fn main() {
    let test = std::env::args().any(|argument| argument == "--test");
    run(test).unwrap_or_else(|error| panic!("{error}"));
}
