//! Nothing, L2, dropout, both: 784-800-10 on the first 5,000 rows of Fashion-MNIST, in pairs over three seeds.
//!
//! `sh scripts/with-adapter.sh cargo run --release --features files --example regularisation -- [FOLDER]`
//!
//! A seed gives all four the same initial weights and the same order of the rows. The default folder is that of Debian's package
//! dataset-fashion-mnist.

use std::path::Path;

use thinnet::data::idx::{self, Part};
use thinnet::{Activation, Dense, Device, Dropout, Network, Optimizer, Result, TrainOptions, Trainer};

const FOLDER: &str = "/usr/share/datasets/fashion-mnist";
const SEEDS: [u64; 3] = [0, 1, 2];
const EPOCHS: u32 = 30;

/// Mean and its standard error.
fn mean(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| FOLDER.into());
    let train = idx::read_folder(Path::new(&folder), Part::Train)?.slice(0..5000)?;
    let test = idx::read_folder(Path::new(&folder), Part::Test)?;
    let device = Device::open()?;
    let dropout =
        Network::new(784).dense(Dense::new(800).activation(Activation::Relu)).dropout(Dropout::keep(0.5)?).dense(Dense::new(10));
    let none = dropout.without_dropout();

    println!("{:8} {:>17} {:>17} {:>20} {:>9}", "", "training, %", "test, %", "against none, %", "seconds");
    let mut of_none = [f64::NAN; 3];
    for (name, network, weight_decay) in
        [("none", &none, 0.0), ("L2", &none, 1e-4), ("dropout", &dropout, 0.0), ("both", &dropout, 1e-4)]
    {
        let (mut trained, mut tested, mut seconds) = ([0.0; 3], [0.0; 3], 0.0);
        for (i, seed) in SEEDS.into_iter().enumerate() {
            let optimizer = Optimizer::adam(0.001);
            let options = TrainOptions { seed, batch: 128, optimizer, weight_decay, ..Default::default() };
            let mut trainer = Trainer::new(&device, network, &train, options)?;
            seconds += trainer.fit(EPOCHS)?.last().expect("epochs were trained").seconds / SEEDS.len() as f64;
            let accuracy =
                |data| Ok::<_, thinnet::Error>(100.0 * trainer.model()?.evaluate(&device, data)?.accuracy.unwrap_or(f64::NAN));
            (trained[i], tested[i]) = (accuracy(&train)?, accuracy(&test)?);
        }
        if name == "none" {
            of_none = tested;
        }
        let gain: Vec<f64> = tested.iter().zip(&of_none).map(|(a, b)| a - b).collect();
        let text = |(mean, error): (f64, f64)| format!("{mean:.2} +- {error:.2}");
        println!("{name:8} {:>17} {:>17} {:>20} {seconds:>9.1}", text(mean(&trained)), text(mean(&tested)), text(mean(&gain)));
    }
    Ok(())
}
