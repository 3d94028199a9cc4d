//! Concrete dropout finds its rates (Gal, Hron and Kendall, NeurIPS 2017): on a regression of one number with noise, the drop
//! probabilities that two sites learn fall with the number of rows: the more is known, the less is there to be uncertain of.
//!
//! `sh scripts/with-adapter.sh cargo run --release --example concrete_rates`

use thinnet::network::Concrete;
use thinnet::rng::{self, Coordinates, Stream};
use thinnet::{
    Activation, Dataset, Dense, Device, Dropout, Inputs, Loss, Network, Noise, Optimizer, Result, TrainOptions, Trainer,
};

/// Optimizer steps of each training, and rows of each.
const STEPS: u32 = 6_000;
const BATCH: u32 = 50;

/// y = 2 x + 8 + noise of deviation 1, as in the paper; x normal.
fn data(rows: u32) -> Result<Dataset> {
    let normal = |i: u32, which: u32| {
        let words = Coordinates { stream: Stream::ContinuousNoise, site: which, pass: 0, sample: i }.quad(0, rng::key(5));
        rng::normal([words[0], words[1]]) as f32
    };
    let x: Vec<f32> = (0..rows).map(|i| normal(i, 0)).collect();
    let y = x.iter().zip(0..).map(|(x, i)| 2.0 * x + 8.0 + normal(i, 1)).collect();
    Dataset::with_values(Inputs::from_f32(1, x)?, 1, y)
}

/// Two hidden layers of 128, concrete dropout behind each.
fn network(rows: u32) -> Result<Network> {
    let concrete = Dropout::keep(0.9)?.noise(Noise::Concrete(Concrete::new(rows, 0.01, 1.0)));
    let hidden = || Dense::new(128).activation(Activation::Relu);
    let network = Network::new(1).dense(hidden()).dropout(concrete).dense(hidden()).dropout(concrete);
    Ok(network.dense(Dense::new(1)).loss(Loss::MeanSquaredError))
}

fn main() -> Result<()> {
    let device = Device::open()?;
    println!("drop probabilities from 0.1 on, after {STEPS} steps, on {}", device.caps().adapter);
    println!("   rows    site 0    site 1  loss");
    for rows in [50, 500, 5_000, 50_000] {
        let optimizer = Optimizer::adam(0.003);
        let options = TrainOptions { batch: BATCH, optimizer, evaluate_train: false, ..Default::default() };
        let mut trainer = Trainer::new(&device, &network(rows)?, &data(rows)?, options)?;
        let loss = trainer.fit((STEPS * BATCH / rows).max(1))?.last().map_or(f64::NAN, |epoch| epoch.running.loss);
        let rates = trainer.model()?.learned_rates()?;
        let each: String = rates.iter().map(|rate| format!("  {:8.5}", rate.drop_prob)).collect();
        println!("{rows:7}{each}  {loss:.3}");
    }
    Ok(())
}
