//! Alpha dropout keeps SELU networks normal (Klambauer et al., NeurIPS 2017): mean and variance of the features behind eight SELU layers
//! in training, with alpha dropout, with ordinary dropout, and what either does to accuracy on the digits.
//!
//! `sh scripts/with-adapter.sh cargo run --release --example selu_alpha`

use thinnet::data::digits;
use thinnet::monte_carlo::MonteCarlo;
use thinnet::rng::{self, Coordinates, Stream};
use thinnet::{
    Activation, Dense, Device, Dropout, Init, Inputs, Loss, Model, Network, Noise, Optimizer, Result, TrainOptions, Trainer,
};

/// Eight SELU layers of 128, each with dropout behind it, and a last layer.
fn network(dropout: Option<Dropout>, last: Dense) -> Network {
    let mut network = Network::new(64);
    for _ in 0..8 {
        network = network.dense(Dense::new(128).activation(Activation::Selu));
        if let Some(dropout) = dropout {
            network = network.dropout(dropout);
        }
    }
    network.dense(last)
}

/// Mean and variance of what comes out of an untrained network in training mode: one draw for each of 1000 normal inputs. The last layer,
/// of LeCun's weights, makes the second moment of the features in front of it a variance.
fn moments(device: &Device, dropout: Dropout) -> Result<[f64; 2]> {
    let words = |i: u32| Coordinates { stream: Stream::ContinuousNoise, site: 0, pass: 0, sample: i }.quad(0, rng::key(3));
    let normal = (0..64_000).map(|i| rng::normal([words(i)[0], words(i)[1]]) as f32).collect();
    let mut network = network(Some(dropout), Dense::new(256).init(Init::LecunNormal));
    network.loss = Loss::MeanSquaredError;
    let draw = Model::initial(&network, 1)?.replay(device, &Inputs::from_f32(64, normal)?, &MonteCarlo::default(), 0)?;
    let count = draw.values().len() as f64;
    let mean = draw.values().iter().map(|&v| f64::from(v)).sum::<f64>() / count;
    let variance = draw.values().iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / count;
    Ok([mean, variance])
}

/// Accuracy on the last 297 digits after training on the others.
fn accuracy(device: &Device, dropout: Option<Dropout>, seed: u64) -> Result<f64> {
    let (train, test) = (digits().slice(0..1500)?, digits().slice(1500..1797)?);
    let options = TrainOptions { seed, optimizer: Optimizer::adam(0.001), evaluate_train: false, ..Default::default() };
    let mut trainer = Trainer::new(device, &network(dropout, Dense::new(10)), &train, options)?;
    trainer.fit(30)?;
    Ok(100.0 * trainer.model()?.evaluate(device, &test)?.accuracy.unwrap_or(f64::NAN))
}

fn main() -> Result<()> {
    let device = Device::open()?;
    println!("digits, 30 epochs, seeds 0 to 2, on {}", device.caps().adapter);
    println!("dropout .1        mean  variance  accuracy  each seed");
    let ordinary = Dropout::drop(0.1)?;
    for (name, dropout) in [("alpha", Some(ordinary.noise(Noise::Alpha))), ("ordinary", Some(ordinary)), ("none", None)] {
        let [mean, variance] = moments(&device, dropout.unwrap_or(Dropout::drop(1e-9)?))?;
        let each = (0..3).map(|seed| accuracy(&device, dropout, seed)).collect::<Result<Vec<_>>>()?;
        let average = each.iter().sum::<f64>() / 3.0;
        let each = each.iter().map(|accuracy| format!("{accuracy:.2}")).collect::<Vec<_>>().join("  ");
        println!("{name:12}  {mean:8.3}  {variance:8.3}  {average:6.2} %  {each}");
    }
    Ok(())
}
