//! Steps per second of a whole training, without and with dropout, in turn, so that the ratio holds when the machine's speed
//! drifts.
//!
//! `sh scripts/with-adapter.sh cargo bench --all-features --bench training`; `-- --test` runs tiny shapes once, for CI.

use thinnet::{Activation, Dataset, Dense, Device, Dropout, Inputs, Network, Optimizer, TrainOptions, Trainer};

struct Case {
    name: &'static str,
    widths: [u32; 3],
    batch: u32,
    rows: u32,
    /// keep_prob of the input and of both hidden layers.
    keep: [f64; 2],
    epochs: u32,
}

fn network(case: &Case) -> Network {
    let dropout = |keep| Dropout::keep(keep).expect("a probability");
    let dense = |units| Dense::new(units).activation(Activation::Relu);
    let [inputs, first, second] = case.widths;
    Network::new(inputs)
        .dropout(dropout(case.keep[0]))
        .dense(dense(first))
        .dropout(dropout(case.keep[1]))
        .dense(dense(second))
        .dropout(dropout(case.keep[1]))
        .dense(Dense::new(10))
}

/// Bytes with some structure, so that training stays finite.
fn data(case: &Case) -> Dataset {
    let columns = case.widths[0];
    let bytes = (0..case.rows * columns).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let inputs = Inputs::from_u8(columns, bytes, 1.0 / 255.0).expect("whole rows");
    Dataset::new(inputs, (0..case.rows).map(|row| row % 10).collect(), 10).expect("labels below 10")
}

fn trainer(device: &Device, network: &Network, data: &Dataset, case: &Case) -> Trainer {
    let options = TrainOptions { batch: case.batch, optimizer: Optimizer::momentum(0.01, 0.9), ..Default::default() };
    let mut trainer = Trainer::new(device, network, data, options).expect("the network fits the device");
    trainer.fit(1).expect("training works"); // compiles the kernels
    trainer
}

/// Seconds of a step.
fn measure(trainer: &mut Trainer, case: &Case) -> f64 {
    let before = trainer.history().last().map_or(0.0, |epoch| epoch.seconds);
    let after = trainer.fit(case.epochs).expect("training works").last().map_or(0.0, |epoch| epoch.seconds);
    (after - before) / f64::from(case.epochs * case.rows.div_ceil(case.batch))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let test = std::env::args().any(|argument| argument == "--test");
    let small = Case { name: "digits", widths: [64, 128, 128], batch: 32, rows: 512, keep: [1.0, 0.5], epochs: 20 };
    let large = Case { name: "MLP", widths: [784, 1024, 1024], batch: 128, rows: 1280, keep: [0.8, 0.5], epochs: 2 };
    let cases = if test { vec![Case { rows: 64, epochs: 1, ..small }] } else { vec![small, large] };
    let device = Device::open().unwrap_or_else(|error| panic!("{error}"));
    println!("{} ({})", device.caps().adapter, device.caps().backend);
    println!("{:46}{:>14}{:>14}{:>8}", "", "without", "with dropout", "ratio");
    for case in cases {
        let (with, data) = (network(&case), data(&case));
        let mut pair = [&with.without_dropout(), &with].map(|network| trainer(&device, network, &data, &case));
        let rounds: Vec<[f64; 2]> =
            (0..if test { 1 } else { 5 }).map(|_| pair.each_mut().map(|trainer| measure(trainer, &case))).collect();
        let column = |i: usize| median(rounds.iter().map(|round| round[i]).collect());
        let ratio = median(rounds.iter().map(|[without, with]| with / without).collect());
        let [inputs, first, second] = case.widths;
        let name = format!("{} {inputs}-{first}-{second}-10, batch {}, momentum", case.name, case.batch);
        println!("{name:46}{:>11.3} ms{:>11.3} ms{ratio:>8.2}", 1e3 * column(0), 1e3 * column(1));
    }
}
