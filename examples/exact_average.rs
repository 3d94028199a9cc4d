//! The average over all thinned networks, exactly, beside the ways to come near it: the whole network (weight scaling), and draws.
//!
//! ```text
//! cargo run --release --example exact_average
//! ```
//!
//! A digits network whose hidden layer has 12 units with keep_prob 1/2 has 4,096 thinned networks, which are all tried.

use thinnet::calibration::Probabilities;
use thinnet::{
    Activation, Dense, Device, Dropout, MonteCarlo, Network, Optimizer, Outputs, Sampling, TrainOptions, Trainer, data,
};

fn main() -> thinnet::Result<()> {
    let device = Device::open()?;
    let digits = data::digits();
    let (train, test) = (digits.slice(0..1400)?, digits.slice(1400..1797)?);
    let network =
        Network::new(64).dense(Dense::new(12).activation(Activation::Relu)).dropout(Dropout::keep(0.5)?).dense(Dense::new(10));
    let options = TrainOptions { optimizer: Optimizer::adam(0.01), ..TrainOptions::default() };
    let mut trainer = Trainer::new(&device, &network, &train, options)?;
    trainer.fit(40)?;
    let model = trainer.model()?;
    let exact = model.average_over_masks(&device, test.inputs())?;
    println!("way                          accuracy      NLL   mean distance from the exact average");
    let show = |name: &str, outputs: &Outputs| -> thinnet::Result<()> {
        let judged = Probabilities::from_outputs(outputs)?;
        let distances = outputs.values().iter().zip(exact.values()).map(|(a, b)| f64::from((a - b).abs()));
        let mean = distances.sum::<f64>() / exact.values().len() as f64;
        let (accuracy, nll) = (judged.accuracy(test.labels())?, judged.nll(test.labels())?);
        println!("{name:28} {:6.2} % {nll:8.4}   {mean:.6}", 100.0 * accuracy);
        Ok(())
    };
    show("all 4,096 thinned networks", &exact)?;
    show("whole network", &model.predict(&device, test.inputs())?)?;
    for draws in [100, 10_000] {
        for (name, sampling) in [
            ("independent", Sampling::Independent),
            ("antithetic", Sampling::Antithetic),
            ("Latin hypercube", Sampling::LatinHypercube),
        ] {
            let drawn = model.monte_carlo(&device, test.inputs(), &MonteCarlo { draws, sampling, ..MonteCarlo::default() })?;
            show(&format!("{draws} {name} draws"), &drawn.mean())?;
        }
    }
    Ok(())
}
