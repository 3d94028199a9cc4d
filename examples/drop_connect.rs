//! DropConnect (Wan et al., ICML 2013) against dropout: a small dense network on the first rows of MNIST, weights or units dropped at 0.5.
//!
//! `sh scripts/with-adapter.sh cargo run --release --features files --example drop_connect -- FOLDER [EPOCHS [SEEDS]]`, a folder with
//! the four idx files of MNIST or Fashion-MNIST.

use std::path::Path;

use thinnet::data::idx::{self, Part};
use thinnet::{Activation, Dense, Device, Dropout, Network, Optimizer, Result, TrainOptions, Trainer};

/// Rows to learn from: few, so that there is something to regularise.
const ROWS: u32 = 5_000;

/// 784-800-800-10 with nothing, weights of the last two layers, or the units in front of them dropped.
fn network(dropout: Option<Dropout>) -> Network {
    let hidden = || Dense::new(800).activation(Activation::Relu);
    match dropout {
        None => Network::new(784).dense(hidden()).dense(hidden()).dense(Dense::new(10)),
        Some(dropout) => {
            Network::new(784).dense(hidden()).dropout(dropout).dense(hidden()).dropout(dropout).dense(Dense::new(10))
        }
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().expect("a folder with the four idx files");
    let mut number = |default| arguments.next().map_or(default, |text| text.parse().expect("a number of epochs, of seeds"));
    let (epochs, seeds) = (number(30), number(3));
    let train = idx::read_folder(Path::new(&folder), Part::Train)?.slice(0..ROWS)?;
    let test = idx::read_folder(Path::new(&folder), Part::Test)?;
    let device = Device::open()?;
    println!("{ROWS} rows, {epochs} epochs, seeds 0 to {}, on {}", seeds - 1, device.caps().adapter);
    println!("dropped      test accuracy  each seed                seconds an epoch");
    for (name, dropout) in
        [("nothing", None), ("units", Some(Dropout::keep(0.5)?)), ("weights", Some(Dropout::drop_connect(0.5)?))]
    {
        let (mut accuracies, mut seconds) = (Vec::new(), 0.0);
        for seed in 0..seeds.into() {
            let optimizer = Optimizer::momentum(0.05, 0.9);
            let options = TrainOptions { seed, batch: 100, optimizer, evaluate_train: false, ..Default::default() };
            let mut trainer = Trainer::new(&device, &network(dropout), &train, options)?;
            trainer.fit(epochs)?;
            seconds += trainer.history().last().map_or(0.0, |last| last.seconds) / f64::from(epochs);
            accuracies.push(100.0 * trainer.model()?.evaluate(&device, &test)?.accuracy.unwrap_or(f64::NAN));
        }
        let mean = accuracies.iter().sum::<f64>() / accuracies.len() as f64;
        let each = accuracies.iter().map(|accuracy| format!("{accuracy:.2}")).collect::<Vec<_>>().join("  ");
        println!("{name:11}  {mean:11.2} %  {each:23}  {:16.2}", seconds / f64::from(seeds));
    }
    Ok(())
}
