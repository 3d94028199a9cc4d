//! thinnet's side of the comparison with other programs: `benches/peers/run.py` runs this with `--peer` and them in turn; the
//! protocol is in `benches/peers/serve.rs`. Without `--peer` everything is measured once, for a look; `--test` runs tiny shapes,
//! for CI.

#![allow(dead_code, reason = "each of the programs in benches uses a part of what measures")]

#[path = "common/draws.rs"]
mod draws;
#[path = "common/maps.rs"]
mod maps;
#[path = "../src/cli/bench/measure.rs"]
mod measure;
#[path = "../src/cli/bench/probe.rs"]
mod probe;
#[path = "common/sequences.rs"]
mod sequences;
#[path = "peers/serve.rs"]
mod serve;
#[path = "../src/cli/bench/work.rs"]
mod work;

use draws::Drawing;
use measure::Timed;
use thinnet::monte_carlo::MonteCarlo;
use thinnet::{Device, Error, Result};
use work::{Case, Drops};

const WORKS: [&str; 18] = [
    "mlp",
    "mlp-dropout",
    "mlp-units",
    "digits",
    "digits-dropout",
    "matmul-512x512x512",
    "matmul-1024x1024x1024",
    "matmul-128x1024x1024",
    "dropout",
    "copy",
    "draws",
    "draws-one",
    "cnn",
    "cnn-element",
    "cnn-spatial",
    "cnn-block",
    "lstm",
    "lstm-variational",
];

fn timed(device: &Device, work: &str, test: bool) -> Result<Timed<'static>> {
    let case = |case: Case| if test { Case::tiny() } else { case };
    match (work, serve::matmul(work)) {
        ("mlp", _) => case(Case::mlp()).training(device, Drops::Nothing),
        ("mlp-dropout", _) => case(Case::mlp()).training(device, Drops::PerSample),
        ("mlp-units", _) => case(Case::mlp()).training(device, Drops::PerBatch),
        ("digits", _) => case(Case::digits()).training(device, Drops::Nothing),
        ("digits-dropout", _) => case(Case::digits()).training(device, Drops::PerSample),
        ("dropout", _) => work::dropout(device, if test { [8, 12] } else { [2048, 2048] }),
        ("copy", _) => match device.gpu() {
            Some(gpu) => probe::copy(gpu, if test { 1 << 10 } else { 1 << 22 }),
            None => Err(Error::NoAdapter("a copy needs an adapter; `cpu` is none".into())),
        },
        ("draws" | "draws-one", _) => {
            let options = MonteCarlo { one_network: work == "draws-one", ..MonteCarlo::default() };
            if test { Drawing::tiny() } else { Drawing::mlp() }.timed(device, options)
        }
        ("cnn" | "cnn-element" | "cnn-spatial" | "cnn-block", _) => {
            let drops = maps::DROPS.into_iter().find(|(name, _)| *name == work);
            maps::training(device, &maps::cnn(drops.and_then(|(_, units)| units), test)?)
        }
        ("lstm" | "lstm-variational", _) => {
            let drops = sequences::DROPS.into_iter().find(|(name, _)| *name == work);
            sequences::training(device, &sequences::lstm(drops.and_then(|(_, each_step)| each_step), test)?)
        }
        (_, Some(extents)) => work::product(device, if test { [4, 8, 12] } else { extents.map(|extent| extent as u32) }),
        _ => Err(Error::Data(serve::unknown(work))),
    }
}

fn main() {
    // Cargo adds --bench.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let device = Device::open().unwrap_or_else(|error| panic!("{error}"));
    let caps = device.caps();
    let adapter = format!("{} ({})", caps.adapter, caps.backend);
    if let Some(("--peer", request)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        let program = serve::Program { name: "thinnet", version: env!("CARGO_PKG_VERSION").into(), adapter };
        return serve::serve(&program, request, |work| timed(&device, work, false));
    }
    let test = arguments.iter().any(|argument| argument == "--test");
    println!("{adapter}; benches/peers/run.py compares with other programs");
    for work in WORKS {
        let seconds = timed(&device, work, test).and_then(|mut timed| timed.seconds(if test { 0.0 } else { 1.0 }, serve::BLOCKS));
        println!("{work:24}{:>12.3} ms", 1e3 * seconds.unwrap_or_else(|error| panic!("{work}: {error}")));
    }
}
