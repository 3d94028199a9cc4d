//! Which images to label next: those that the thinned networks disagree about (BALD), against images chosen at random.
//!
//! `sh scripts/with-adapter.sh cargo run --release --features files --example active_learning -- FOLDER [SEEDS [ROUNDS]]`
//!
//! FOLDER has MNIST's four idx files (or those of Fashion-MNIST). A network 784-128-10 with dropout learns from 100 labels; each
//! round takes 2,000 images without a label, adds the 50 whose labels say most about the network (the highest mutual information
//! of 50 draws; Houlsby et al. 2011, Gal et al., ICML 2017), and learns all labels from the beginning. Seed by seed, both
//! choices have the same first labels, initial weights and images to choose from.
//! Measured on MNIST (lavapipe): 88.7 % with 600 labels at random, 89.4 % with 450 of BALD. Begun with 20 labels, 20 a round, BALD
//! was no better than chance up to 300 labels: a network that knows little does not know what it does not know.

use std::path::Path;

use thinnet::data::idx::{self, Part};
use thinnet::monte_carlo::MonteCarlo;
use thinnet::{Activation, Dataset, Dense, Device, Dropout, Model, Network, Optimizer, Result, TrainOptions, Trainer, rng};

/// Labels to begin with, and those of each round.
const START: usize = 100;
const STEP: usize = 50;
const POOL: usize = 2000;
/// Steps of a training, however many labels there are.
const STEPS: u32 = 600;
const BATCH: u32 = 20;

fn train(device: &Device, images: &Dataset, labelled: &[u32], seed: u64) -> Result<Model> {
    let network =
        Network::new(784).dense(Dense::new(128).activation(Activation::Relu)).dropout(Dropout::keep(0.5)?).dense(Dense::new(10));
    let options = TrainOptions { seed, batch: BATCH, optimizer: Optimizer::adam(0.003), ..Default::default() };
    let mut trainer = Trainer::new(device, &network, &images.select(labelled)?, options)?;
    trainer.fit(STEPS.div_ceil((labelled.len() as u32).div_ceil(BATCH)))?;
    trainer.model()
}

/// Test accuracy in per cent before each round and at the end.
fn learn(device: &Device, sets: (&Dataset, &Dataset), (seed, rounds): (u64, u64), bald: bool) -> Result<Vec<f64>> {
    let order = rng::Shuffle::new(sets.0.rows());
    let mut free: Vec<u32> = (0..sets.0.rows()).map(|i| order.row(i, 0, rng::key(seed))).collect();
    let mut labelled: Vec<u32> = free.drain(..START).collect();
    let mut accuracies = Vec::new();
    for round in 0..=rounds {
        let model = train(device, sets.0, &labelled, seed)?;
        accuracies.push(100.0 * model.evaluate(device, sets.1)?.accuracy.expect("classes are right or wrong"));
        // Images that were not chosen come to the end of the queue, so that every round has others.
        let mut pool: Vec<u32> = free.drain(..POOL).collect();
        if bald {
            let options = MonteCarlo { draws: 50, seed: seed + 1000 * round, ..Default::default() };
            let scores = model.monte_carlo(device, sets.0.select(&pool)?.inputs(), &options)?.mutual_information();
            let mut order: Vec<usize> = (0..POOL).collect();
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
            pool = order.into_iter().map(|i| pool[i]).collect();
        }
        labelled.extend(pool.drain(..STEP));
        free.extend(pool);
    }
    Ok(accuracies)
}

fn main() -> Result<()> {
    let argument = |i, default: &str| std::env::args().nth(i).unwrap_or_else(|| default.into());
    let (folder, count) =
        (argument(1, "mnist"), |i, default| argument(i, default).parse::<u64>().expect("a number of seeds, of rounds"));
    let (seeds, rounds, device) = (count(2, "3"), count(3, "10"), Device::open()?);
    let [images, test] = [idx::read_folder(Path::new(&folder), Part::Train)?, idx::read_folder(Path::new(&folder), Part::Test)?];
    let mean = |bald| {
        let runs: Result<Vec<_>> = (0..seeds).map(|seed| learn(&device, (&images, &test), (seed, rounds), bald)).collect();
        let runs = runs?;
        let at = |i: usize| runs.iter().map(|run| run[i]).sum::<f64>() / seeds as f64;
        Ok::<Vec<f64>, thinnet::Error>((0..=rounds as usize).map(at).collect())
    };
    let (bald, random) = (mean(true)?, mean(false)?);
    println!("labels   BALD, %   random, %   (test accuracy, mean of {seeds} seeds; labels that random needs for as much)");
    for (i, accuracy) in bald.iter().enumerate() {
        let needed = random.iter().position(|other| other >= accuracy);
        let needed = needed.map_or(format!("more than {}", START + STEP * rounds as usize), |j| (START + STEP * j).to_string());
        println!("{:6} {accuracy:9.2} {:11.2}   {needed}", START + STEP * i, random[i]);
    }
    Ok(())
}
