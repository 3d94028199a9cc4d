//! MNIST with L2 and dropout together, and early stopping: 784-512-256-10, the classic stack of linear, ReLU and dropout.
//!
//! `sh scripts/with-adapter.sh cargo run --release --features files --example mnist -- FOLDER`
//!
//! FOLDER has MNIST's four idx files (or those of Fashion-MNIST); the README says where they come from.

use std::path::Path;

use thinnet::data::idx::{self, Part};
use thinnet::{Activation, Dense, Device, Dropout, EarlyStopping, Network, Optimizer, Result, TrainOptions, Trainer};

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "mnist".into());
    let images = idx::read_folder(Path::new(&folder), Part::Train)?;
    let test = idx::read_folder(Path::new(&folder), Part::Test)?;
    let (train, valid) = (images.slice(0..images.rows() * 11 / 12)?, images.slice(images.rows() * 11 / 12..images.rows())?);
    let device = Device::open()?;
    println!("{} images to learn from, {} to validate, {} to test", train.rows(), valid.rows(), test.rows());

    let network = Network::new(784)
        .dropout(Dropout::keep(0.9)?)
        .dense(Dense::new(512).activation(Activation::Relu))
        .dropout(Dropout::keep(0.5)?)
        .dense(Dense::new(256).activation(Activation::Relu))
        .dropout(Dropout::keep(0.5)?)
        .dense(Dense::new(10));
    let options = TrainOptions {
        batch: 128,
        optimizer: Optimizer::adam(0.001),
        weight_decay: 1e-5, // L2
        ..Default::default()
    };
    let mut trainer = Trainer::new(&device, &network, (&train, &valid), options)?;
    let mut shown = 0;
    let best = trainer.fit_best(15, EarlyStopping { patience: 3, min_delta: 0.0 }, |progress| {
        for epoch in &progress.history[shown..] {
            let valid = epoch.valid.expect("there are validation data");
            let accuracy = 100.0 * valid.accuracy.unwrap_or(f64::NAN);
            println!(
                "epoch {:2}: loss {:.4} with dropout, validation {:.4} and {accuracy:.2} %",
                epoch.epoch + 1,
                epoch.running.loss,
                valid.loss
            );
        }
        shown = progress.history.len();
    })?;
    let judged = best.model.evaluate(&device, &test)?;
    println!(
        "epoch {} was best: {:.2} % of the test images right",
        best.epoch.epoch + 1,
        100.0 * judged.accuracy.unwrap_or(f64::NAN)
    );
    Ok(())
}
