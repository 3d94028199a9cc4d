//! Stochastic depth (Huang et al., ECCV 2016): a residual network of twelve blocks on Fashion-MNIST, whose later blocks are dropped for
//! more of the samples. A dropped branch is not computed, so the network that drops also trains faster.
//!
//! `sh scripts/with-adapter.sh cargo run --release --features files --example stochastic_depth -- [FOLDER [EPOCHS]]`
//!
//! Debian's package dataset-fashion-mnist puts the data into the folder that is the default; from elsewhere, name the folder
//! of the four idx files.

use std::path::Path;

use thinnet::data::idx::{self, Part};
use thinnet::network::{BatchNorm, Layer};
use thinnet::{Activation, Conv2d, Dense, Device, Dropout, Network, Optimizer, Residual, Result, TrainOptions, Trainer, Unit};

const FOLDER: &str = "/usr/share/datasets/fashion-mnist";

/// Blocks of two convolutions with batch norm on maps of 16 x 7 x 7; the l-th of 12 is kept with probability 1 - l / 12 (1 - last).
fn network(last: f64) -> Result<Network> {
    let mut network = Network::new([1, 28, 28]).conv2d(Conv2d::new(16, 4).stride(4));
    for _ in 0..12 {
        let mut branch = Vec::new();
        for _ in 0..2 {
            branch.push(Layer::BatchNorm(BatchNorm::default()));
            branch.push(Layer::Activation(Activation::Relu));
            branch.push(Layer::Conv2d(Conv2d::new(16, 3).padding(1)));
        }
        branch.push(Layer::Dropout(Dropout::keep(last)?.unit(Unit::Path)));
        network = network.residual(Residual { branch, skip: Vec::new() });
    }
    network.layer(Layer::GlobalAveragePool).dense(Dense::new(10)).linear_depth(last)
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().unwrap_or_else(|| FOLDER.into());
    let epochs = arguments.next().map_or(3, |text| text.parse().expect("a number of epochs"));
    let train = idx::read_folder(Path::new(&folder), Part::Train)?;
    let test = idx::read_folder(Path::new(&folder), Part::Test)?;
    let device = Device::open()?;
    println!("{epochs} epochs on {}", device.caps().adapter);
    println!("the last block is kept  test accuracy  loss in training, dropped  seconds an epoch");
    for last in [1.0, 0.5] {
        let options = TrainOptions { batch: 64, optimizer: Optimizer::adam(0.001), evaluate_train: false, ..Default::default() };
        let mut trainer = Trainer::new(&device, &network(last)?, (&train, &test), options)?;
        let epoch = *trainer.fit(epochs)?.last().expect("an epoch was trained");
        let accuracy = 100.0 * epoch.valid.and_then(|test| test.accuracy).unwrap_or(f64::NAN);
        println!("{last:22}  {accuracy:11.2} %  {:25.3}  {:16.1}", epoch.running.loss, epoch.seconds / f64::from(epochs));
    }
    Ok(())
}
