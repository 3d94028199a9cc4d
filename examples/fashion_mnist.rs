//! Fashion-MNIST, 784-256-128-10 with dropout on both hidden layers.
//!
//! `sh scripts/with-adapter.sh cargo run --release --features files --example fashion_mnist -- [FOLDER]`
//!
//! Debian's package dataset-fashion-mnist puts the data into the folder that is the default; from elsewhere, name the folder
//! of the four idx files.

use std::path::Path;

use thinnet::data::idx::{self, Part};
use thinnet::{Activation, Dense, Device, Dropout, Network, Optimizer, Result, TrainOptions, Trainer};

const FOLDER: &str = "/usr/share/datasets/fashion-mnist";

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| FOLDER.into());
    let train = idx::read_folder(Path::new(&folder), Part::Train)?;
    let test = idx::read_folder(Path::new(&folder), Part::Test)?;
    let device = Device::open()?;
    println!("{} images to learn from, {} to test, on {}", train.rows(), test.rows(), device.caps().adapter);

    let network = Network::new(784)
        .dense(Dense::new(256).activation(Activation::Relu))
        .dropout(Dropout::keep(0.8)?)
        .dense(Dense::new(128).activation(Activation::Relu))
        .dropout(Dropout::keep(0.8)?)
        .dense(Dense::new(10));
    let options = TrainOptions { seed: 0, batch: 128, optimizer: Optimizer::adam(0.001), ..Default::default() };
    let mut trainer = Trainer::new(&device, &network, (&train, &test), options)?;

    println!("epoch  loss (dropout on)  test accuracy  seconds");
    let mut before = 0.0;
    for _ in 0..5 {
        let epoch = *trainer.fit(1)?.last().expect("an epoch was trained");
        let accuracy = 100.0 * epoch.valid.map_or(f64::NAN, |test| test.accuracy.unwrap_or(f64::NAN));
        println!("{:5}  {:17.4}  {accuracy:11.2} %  {:7.1}", epoch.epoch + 1, epoch.running.loss, epoch.seconds - before);
        before = epoch.seconds;
    }
    Ok(())
}
