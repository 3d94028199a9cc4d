//! None, a mask for every sample, one set of units for every batch: time and accuracy on Fashion-MNIST.
//!
//! `sh scripts/with-adapter.sh cargo run --release --features files --example thinned_units -- [SEEDS [EPOCHS [FOLDER]]]`
//!
//! 784-1024-1024-10, keep 0.8 of the inputs and 0.5 of the hidden units. Equal seeds have equal initial weights and orders; the
//! three take turns, so that a machine that gets slower slows them alike. The folder is that of `fashion_mnist.rs`.

use std::path::Path;

use thinnet::data::idx::{self, Part};
use thinnet::{Activation, Dense, Device, Dropout, Network, Optimizer, Result, TrainOptions, Trainer};

const FOLDER: &str = "/usr/share/datasets/fashion-mnist";

/// What drops the units of a layer at a keep_prob.
type Kind = (&'static str, fn(f64) -> Result<Dropout>);

const KINDS: [Kind; 3] = [("none", |_| Dropout::keep(1.0)), ("per sample", Dropout::keep), ("per batch", Dropout::units)];

fn network(dropout: fn(f64) -> Result<Dropout>) -> Result<Network> {
    let dense = || Dense::new(1024).activation(Activation::Relu);
    let hidden = |network: Network| Ok::<_, thinnet::Error>(network.dense(dense()).dropout(dropout(0.5)?));
    Ok(hidden(hidden(Network::new(784).dropout(dropout(0.8)?))?)?.dense(Dense::new(10)))
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn main() -> Result<()> {
    let argument = |i, default: &str| std::env::args().nth(i).unwrap_or_else(|| default.into());
    let number =
        |i, default| argument(i, default).parse().map_err(|_| thinnet::Error::Data(format!("{} is no number", argument(i, ""))));
    let (seeds, epochs, folder): (u32, u32, String) = (number(1, "1")?, number(2, "5")?, argument(3, FOLDER));
    let train = idx::read_folder(Path::new(&folder), Part::Train)?;
    let test = idx::read_folder(Path::new(&folder), Part::Test)?;
    let device = Device::open()?;
    println!("{} images to learn from, {} to test, {epochs} epochs, on {}", train.rows(), test.rows(), device.caps().adapter);

    // Accuracies and seconds of every kind, by seed.
    let (mut accuracies, mut seconds) = (vec![Vec::new(); 3], vec![Vec::new(); 3]);
    for seed in 0..u64::from(seeds) {
        for (i, (name, dropout)) in KINDS.into_iter().enumerate() {
            let options = TrainOptions { seed, batch: 128, optimizer: Optimizer::momentum(0.01, 0.9), ..Default::default() };
            let mut trainer = Trainer::new(&device, &network(dropout)?, &train, options)?;
            let last = *trainer.fit(epochs)?.last().expect("an epoch was trained");
            let accuracy = trainer.model()?.evaluate(&device, &test)?.accuracy.expect("a classifier has one");
            eprintln!("seed {seed}, {name}: {:.2} %, {:.1} s", 100.0 * accuracy, last.seconds);
            accuracies[i].push(100.0 * accuracy);
            seconds[i].push(last.seconds);
        }
    }
    println!("dropout      test accuracy, %   s an epoch   times as fast as per sample");
    for (i, (name, _)) in KINDS.iter().enumerate() {
        let ratios: Vec<f64> = seconds[1].iter().zip(&seconds[i]).map(|(sample, this)| sample / this).collect();
        let epoch = mean(&seconds[i]) / f64::from(epochs);
        println!("{name:11}  {:16.2}   {epoch:10.2}   {:27.2}", mean(&accuracies[i]), mean(&ratios));
    }
    Ok(())
}
