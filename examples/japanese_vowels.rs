//! Which recurrent dropout? An LSTM tells nine speakers apart by how they say two vowels: 270 sequences of 12 numbers, 7 to 29 steps long, to
//! learn from, 370 to be judged by. Nothing dropped, masks of every step by itself, and masks that all steps share (Gal and Ghahramani, 2016).
//!
//! `sh scripts/with-adapter.sh cargo run --release --features files --example japanese_vowels -- JapaneseVowels_TRAIN.ts [EPOCHS [SEEDS]]`
//!
//! The data are those of Kudo, Toyama and Shimbo (UCI, CC BY 4.0); the Python package aeon has them as
//! `aeon/datasets/data/JapaneseVowels/JapaneseVowels_TRAIN.ts` and `..._TEST.ts`.

use thinnet::data::file::{DataOptions, Task};
use thinnet::{Dense, Device, Dropout, Network, Optimizer, Recurrent, Result, TrainOptions, Trainer};

/// The last states of an LSTM in both directions, with dropout of input, recurrent input and output.
fn network(shape: [u32; 2], dropout: Dropout) -> Network {
    let lstm = Recurrent::lstm(64).bidirectional().input(dropout).recurrent(dropout).output(dropout);
    Network::new(shape).recurrent(lstm).dense(Dense::new(9))
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().expect("the path of JapaneseVowels_TRAIN.ts, beside which its test set lies");
    let mut number = |default| arguments.next().map_or(default, |text| text.parse().expect("a number of epochs, of seeds"));
    let (epochs, seeds) = (number(60), number(3));
    let sets = DataOptions::new(path).load(Task::Classes, 0)?;
    let test = sets.test.expect("the test set lies beside the training set");
    let inputs = sets.train.inputs();
    let shape = inputs.lengths().map_or([1, inputs.columns()], |lengths| [lengths.steps, inputs.columns() / lengths.steps]);
    let device = Device::open()?;
    println!("{} sequences of {shape:?}, {epochs} epochs, seeds 0 to {}, on {}", inputs.rows(), seeds - 1, device.caps().adapter);
    println!("dropout .25          test accuracy  each seed                seconds a training");
    let quarter = Dropout::drop(0.25)?;
    for (name, dropout) in [("none", Dropout::drop(0.0)?), ("of every step", quarter), ("variational", quarter.variational())] {
        let (mut accuracies, mut seconds) = (Vec::new(), 0.0);
        for seed in 0..seeds.into() {
            let options = TrainOptions {
                seed,
                batch: 30,
                optimizer: Optimizer::adam(0.005),
                clip_norm: Some(1.0),
                evaluate_train: false,
                ..Default::default()
            };
            let mut trainer = Trainer::new(&device, &network(shape, dropout), &sets.train, options)?;
            trainer.fit(epochs)?;
            seconds += trainer.history().last().map_or(0.0, |last| last.seconds);
            accuracies.push(100.0 * trainer.model()?.evaluate(&device, &test)?.accuracy.unwrap_or(f64::NAN));
        }
        let mean = accuracies.iter().sum::<f64>() / accuracies.len() as f64;
        let each = accuracies.iter().map(|accuracy| format!("{accuracy:.2}")).collect::<Vec<_>>().join("  ");
        println!("{name:19}  {mean:11.2} %  {each:23}  {:18.1}", seconds / f64::from(seeds));
    }
    Ok(())
}
