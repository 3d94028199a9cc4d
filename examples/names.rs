//! A network that invents first names: a GRU reads the characters of a name and guesses the next one, with words (here: characters) dropped
//! as a whole and masks that all steps share (Gal and Ghahramani, 2016).
//!
//! `sh scripts/with-adapter.sh cargo run --release --example names -- [FILE [EPOCHS]]`, a file with a name in each line, lower case.

use std::collections::BTreeSet;

use thinnet::data::text::Text;
use thinnet::rng::{self, Coordinates, Stream};
use thinnet::{Dense, Device, Dropout, Embedding, Inputs, Model, Network, Optimizer, Recurrent, Result, TrainOptions, Trainer};

/// Characters that the network looks back.
const STEPS: u32 = 12;

fn network(text: &Text) -> Result<Network> {
    let mask = Dropout::keep(0.8)?.variational();
    let gru = Recurrent::gru(96).recurrent(mask).output(mask);
    let embedding = Embedding::new(text.size(), 16).dropout(Dropout::keep(0.95)?);
    Ok(Network::new(STEPS).embedding(embedding).recurrent(gru).dense(Dense::new(text.size())))
}

/// A number with the probability that it has, each to the power of 1 / temperature.
fn drawn(probabilities: &[f32], temperature: f32, uniform: f64) -> u32 {
    let weights: Vec<f64> = probabilities.iter().map(|&p| f64::from(p).powf(1.0 / f64::from(temperature))).collect();
    let mut rest = uniform * weights.iter().sum::<f64>();
    let place = weights.iter().position(|weight| {
        rest -= weight;
        rest < 0.0
    });
    place.unwrap_or(weights.len() - 1) as u32
}

/// Names from the first characters on, all at once.
fn invent(device: &Device, model: &Model, text: &Text, mut names: Vec<Vec<u32>>, temperature: f32) -> Result<Vec<String>> {
    for step in 0..STEPS {
        let ends = names.iter().map(|name| name.len().min(STEPS as usize));
        let recent = names.iter().flat_map(|name| &name[name.len().saturating_sub(STEPS as usize)..]);
        let inputs = Inputs::from_sequences(1, recent.map(|&c| c as f32).collect(), ends.map(|n| n as u32).collect())?;
        let next = model.predict(device, &inputs.with_steps(STEPS)?)?;
        for (row, name) in (0..).zip(&mut names) {
            let at = Coordinates { stream: Stream::ContinuousNoise, site: 0, pass: step, sample: row };
            name.push(drawn(next.row(row as usize), temperature, rng::uniform(at.word(0, rng::key(7)))));
        }
    }
    Ok(names.iter().map(|name| text.line(name)).collect())
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let names = match arguments.next() {
        Some(path) => std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}")).to_lowercase(),
        None => include_str!("names.txt").into(),
    };
    let epochs = arguments.next().map_or(60, |text| text.parse().expect("a number of epochs"));
    let known: BTreeSet<&str> = names.lines().map(str::trim).filter(|name| !name.is_empty()).collect();
    let text = Text::of(known.iter().copied())?;
    let data = text.next_characters(known.iter().copied(), STEPS)?;
    let device = Device::open()?;
    println!("{} names, {} prefixes, {} characters, on {}", known.len(), data.rows(), text.size(), device.caps().adapter);
    let options = TrainOptions { batch: 64, optimizer: Optimizer::adam(0.003), evaluate_train: false, ..Default::default() };
    let mut trainer = Trainer::new(&device, &network(&text)?, &data, options)?;
    let first = trainer.fit(1)?[0].running.loss;
    let last = trainer.fit(epochs - 1)?.last().map_or(first, |epoch| epoch.running.loss);
    println!("loss of the next character: {first:.3} in epoch 1, {last:.3} in epoch {epochs}");
    let model = trainer.model()?;
    for temperature in [0.5, 0.8, 1.0] {
        let firsts = "abcdefghijklmnoprstvw".chars().filter_map(|c| text.number(c)).map(|c| vec![c]).collect();
        let invented = invent(&device, &model, &text, firsts, temperature)?;
        let new: Vec<&str> = invented.iter().map(String::as_str).filter(|name| !known.contains(name)).collect();
        println!("temperature {temperature}: {} of {} are new: {}", new.len(), invented.len(), new.join(", "));
    }
    Ok(())
}
