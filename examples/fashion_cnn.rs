//! Which dropout for feature maps? A small convolutional network on Fashion-MNIST with none, of elements, of channels (spatial), of
//! blocks (DropBlock) behind both pools.
//!
//! `sh scripts/with-adapter.sh cargo run --release --features files --example fashion_cnn -- [FOLDER [EPOCHS [SEEDS]]]`
//!
//! Debian's package dataset-fashion-mnist puts the data into the folder that is the default; from elsewhere, name the folder
//! of the four idx files.

use std::path::Path;

use thinnet::data::idx::{self, Part};
use thinnet::network::Layer;
use thinnet::{Activation, Conv2d, Dense, Device, Dropout, Network, Optimizer, Result, TrainOptions, Trainer, Unit};

const FOLDER: &str = "/usr/share/datasets/fashion-mnist";

/// conv 20 (5 x 5), pool, conv 50 (5 x 5), pool, 500, 10, with these units dropped behind the pools.
fn network(units: Option<[Unit; 2]>) -> Result<Network> {
    let mut network = Network::new([1, 28, 28]);
    for (layer, channels) in [20, 50].into_iter().enumerate() {
        network = network.conv2d(Conv2d::new(channels, 5).activation(Activation::Relu)).max_pool(2);
        if let Some(units) = units {
            network = network.dropout(Dropout::keep(0.9)?.unit(units[layer]));
        }
    }
    Ok(network.layer(Layer::Flatten).dense(Dense::new(500).activation(Activation::Relu)).dense(Dense::new(10)))
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().unwrap_or_else(|| FOLDER.into());
    let mut number = |default| arguments.next().map_or(default, |text| text.parse().expect("a number of epochs, of seeds"));
    let (epochs, seeds) = (number(3), number(3));
    let train = idx::read_folder(Path::new(&folder), Part::Train)?;
    let test = idx::read_folder(Path::new(&folder), Part::Test)?;
    let device = Device::open()?;
    println!("{epochs} epochs, seeds 0 to {}, on {}", seeds - 1, device.caps().adapter);
    println!("dropped    test accuracy  each seed                seconds an epoch");
    let variants = [
        ("nothing", None),
        ("elements", Some([Unit::Element; 2])),
        ("channels", Some([Unit::Spatial2d; 2])),
        ("blocks", Some([Unit::Block(5), Unit::Block(3)])), // of maps of 12 x 12 and 4 x 4
    ];
    for (name, units) in variants {
        let (mut accuracies, mut seconds) = (Vec::new(), 0.0);
        for seed in 0..seeds.into() {
            let options = TrainOptions { seed, batch: 64, optimizer: Optimizer::adam(0.001), ..Default::default() };
            let mut trainer = Trainer::new(&device, &network(units)?, (&train, &test), options)?;
            let last = *trainer.fit(epochs)?.last().expect("an epoch was trained");
            accuracies.push(100.0 * last.valid.and_then(|test| test.accuracy).unwrap_or(f64::NAN));
            seconds += last.seconds / f64::from(epochs);
        }
        let mean = accuracies.iter().sum::<f64>() / accuracies.len() as f64;
        let each = accuracies.iter().map(|accuracy| format!("{accuracy:.2}")).collect::<Vec<_>>().join("  ");
        println!("{name:9}  {mean:11.2} %  {each:23}  {:16.1}", seconds / f64::from(seeds));
    }
    Ok(())
}
