//! Answers for a few rows, again and again: `Model::predict`, which uploads the weights in every call, and a `Predictor`, in turn, so
//! that the ratio holds when the machine's speed drifts.
//!
//! `sh scripts/with-adapter.sh cargo bench --all-features --bench predict`; `-- --test` runs tiny shapes, for CI.

#![allow(dead_code, reason = "each of the programs in benches uses a part of what measures")]

#[path = "../src/cli/bench/measure.rs"]
mod measure;

use measure::{Compared, Timed};
use thinnet::{Activation, Dense, Device, Dropout, Inputs, Model, Network, Predictor, Result};

fn compare(device: &Device, [inputs, first, second]: [u32; 3], rows: u32, pairs: u32) -> Result<()> {
    let relu = |units| Dense::new(units).activation(Activation::Relu);
    let half = Dropout::keep(0.5)?;
    let network = Network::new(inputs).dense(relu(first)).dropout(half).dense(relu(second)).dropout(half).dense(Dense::new(10));
    let model = Model::initial(&network, 1)?;
    let batch = Inputs::from_f32(inputs, (0..rows * inputs).map(|i| (i % 251) as f32 / 251.0).collect())?;
    let mut predictor = Predictor::new(model.clone(), device);
    assert_eq!(predictor.predict(&batch)?, model.predict(device, &batch)?, "nothing is timed that was not checked first");
    let anew = Timed::new(1, |calls| (0..calls).try_for_each(|_| model.predict(device, &batch).map(drop)));
    let kept = Timed::new(1, |calls| (0..calls).try_for_each(|_| predictor.predict(&batch).map(drop)));
    let pairs = measure::in_pairs(&mut [anew, kept], (pairs, 0.02, f64::INFINITY), |_| {})?;
    println!("{:60} {}", format!("{rows} rows of {inputs}-{first}-{second}-10"), Compared::of(&pairs));
    Ok(())
}

fn run(test: bool) -> Result<()> {
    let device = Device::open()?;
    println!("{} ({})", device.caps().adapter, device.caps().backend);
    println!(
        "\n{:60} {:>12} {:>13} {:>8} {:>17} {:>6}",
        "a call", "of a model", "a predictor", "ratio", "95 % interval", "pairs"
    );
    if test {
        return compare(&device, [8, 8, 8], 3, 1);
    }
    for widths in [[64, 128, 64], [784, 1024, 1024]] {
        for rows in [1, 32, 512] {
            compare(&device, widths, rows, 21)?;
        }
    }
    Ok(())
}

fn main() {
    let test = std::env::args().any(|argument| argument == "--test");
    run(test).unwrap_or_else(|error| panic!("{error}"));
}
