//! `thinnet demo`: the same network without and with dropout on real handwritten digits.

use std::io::Write;
use std::path::PathBuf;

use thinnet::rng::{Coordinates, Stream, key};
use thinnet::{Activation, Dataset, Dense, Device, Dropout, Epoch, Model, Network, Optimizer, TrainOptions, Trainer, data};

use super::output::{Bar, DEMO, Folder, Listener};
use super::plot::{self, BLUE, Curve, ORANGE, Picture};
use super::{Cli, Failure, number};

/// Learn real handwritten digits twice, without and with dropout, and compare.
///
/// Trains the same network without and with dropout on 500 of the 1797 digits, 20 % of their labels replaced at random,
/// judges both on the other digits, and writes the history, the weights and a picture of the curves.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Seed of everything random: which digits, which labels, weights, order, masks.
    #[arg(long, default_value = "0", value_parser = number::<u64>)]
    seed: u64,
    /// Passes over the 500 digits.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    epochs: u32,
    /// Folder for history.csv, the weights and curves.svg.
    #[arg(long, default_value = "runs/demo")]
    out: PathBuf,
    /// Replace what is left of another demo there; a complete one is replaced anyway.
    #[arg(long)]
    force: bool,
}

const TRAIN_ROWS: usize = 500;
const NOISE: f64 = 0.2;
const KEEP: f64 = 0.5;

/// One of the two trainings.
struct Outcome {
    name: &'static str,
    keep: f64,
    history: Vec<Epoch>,
    model: Model,
}

impl Outcome {
    fn last(&self) -> (f64, f64, f64) {
        let last = self.history.last().expect("the demo has at least one epoch");
        (percent(last.train), percent(last.valid), last.seconds)
    }
}

pub(super) fn run(args: &Args, cli: &Cli) -> Result<(), Failure> {
    // Whoever shows it twice wants to see it twice; a folder of anything else stays.
    let again = DEMO.iter().all(|name| args.out.join(name).is_file());
    let folder = Folder::plan_of(&args.out, args.force || again, DEMO)?;
    let device = cli.device()?;
    let (train, test) = split(args.seed)?;
    let (noisy, replaced) = train.with_noisy_labels(NOISE, args.seed)?;
    let mut out = Listener(std::io::stdout().lock());
    if !cli.json {
        writeln!(
            out,
            "{} of the 1797 handwritten digits of UCI (8 x 8, as in scikit-learn) to learn from, the other {} to test.\n\
             The labels of {} of the {} (20 %) were replaced at random, so a network that learns them by heart does worse.\n\
             Network 64-128-128-10, ReLU, Adam 0.002, batch 32, {} epochs, seed {}, on {}.\n",
            train.rows(),
            test.rows(),
            replaced.len(),
            train.rows(),
            args.epochs,
            args.seed,
            device.caps().adapter
        )?;
        if device.gpu().is_none() {
            writeln!(out, "The adapter `cpu` is thinnet's own CPU code, made for checking: slow.\n")?;
        }
        out.flush()?;
    }
    let network = Network::new(64)
        .dense(Dense::new(128).activation(Activation::Relu))
        .dropout(Dropout::keep(KEEP)?)
        .dense(Dense::new(128).activation(Activation::Relu))
        .dropout(Dropout::keep(KEEP)?)
        .dense(Dense::new(10));
    let sets = (&noisy, &test);
    let outcomes = [
        train_one(&device, "without", 1.0, &network.without_dropout(), sets, args)?,
        train_one(&device, "with", KEEP, &network, sets, args)?,
    ];
    write_files(&folder, &outcomes)?;
    folder.complete()?;
    report(&mut out, &outcomes, &device, args, cli.json)
}

/// 500 digits drawn by the seed, and the others: the rows with the smallest words are the training set.
fn split(seed: u64) -> thinnet::Result<(Dataset, Dataset)> {
    let digits = data::digits();
    let word = |row: &u32| Coordinates { stream: Stream::ValidationSplit, site: 0, pass: 0, sample: *row }.word(0, key(seed));
    let mut rows: Vec<u32> = (0..digits.rows()).collect();
    rows.sort_by_key(|row| (word(row), *row));
    let (train, test) = rows.split_at_mut(TRAIN_ROWS);
    train.sort_unstable();
    test.sort_unstable();
    Ok((digits.select(train)?, digits.select(test)?))
}

fn train_one(
    device: &Device,
    name: &'static str,
    keep: f64,
    network: &Network,
    sets: (&Dataset, &Dataset),
    args: &Args,
) -> thinnet::Result<Outcome> {
    let options = TrainOptions {
        seed: args.seed,
        batch: 32,
        optimizer: Optimizer::adam(0.002),
        evaluate_train: true,
        ..Default::default()
    };
    // Drivers compile a kernel when it first runs, which would be counted as the time of the first network.
    Trainer::new(device, network, sets, options.clone())?.fit(1)?;
    let mut trainer = Trainer::new(device, network, sets, options)?;
    let bar = Bar::new(format!("{name} dropout"));
    trainer.fit_with(args.epochs, |progress| bar.show(progress))?;
    bar.finish();
    Ok(Outcome { name, keep, history: trainer.history().to_vec(), model: trainer.model()? })
}

fn percent(metrics: Option<thinnet::Metrics>) -> f64 {
    100.0 * metrics.and_then(|m| m.accuracy).unwrap_or(f64::NAN)
}

fn write_files(folder: &Folder, outcomes: &[Outcome]) -> Result<(), Failure> {
    folder.begin()?;
    let mut csv =
        String::from("dropout,keep_prob,epoch,running_loss,train_loss,train_accuracy,test_loss,test_accuracy,seconds\n");
    let mut lines = Vec::new();
    for Outcome { name, keep, history, model } in outcomes {
        for e in history {
            let loss_accuracy = |m: Option<thinnet::Metrics>| {
                m.map_or(",".into(), |m| format!("{:.6},{:.6}", m.loss, m.accuracy.unwrap_or(f64::NAN)))
            };
            let (train, test) = (loss_accuracy(e.train), loss_accuracy(e.valid));
            csv += &format!("{name},{keep},{},{:.6},{train},{test},{:.3}\n", e.epoch + 1, e.running.loss, e.seconds);
        }
        let color = if *keep < 1.0 { BLUE } else { ORANGE };
        for (what, dashed) in [("test", false), ("training", true)] {
            let points = plot::by_epoch(history.iter().map(|e| percent(if dashed { e.train } else { e.valid })));
            lines.push(Curve { name: format!("{what}, {name} dropout"), color, dashed, points, band: Vec::new() });
        }
        model.save(folder.file(&format!("{name}-dropout.safetensors"))).map_err(|e| Failure::Other(e.to_string()))?;
    }
    let title = "Accuracy on 500 digits with noisy labels, and on 1,297 others";
    let svg = plot::svg(&Picture { title, x: "epoch", y: "accuracy, %", curves: lines })?;
    folder.write("history.csv", &csv)?;
    folder.write("curves.svg", &svg)
}

fn report(out: &mut impl Write, outcomes: &[Outcome], device: &Device, args: &Args, json: bool) -> Result<(), Failure> {
    let adapter = device.caps().adapter;
    if json {
        for outcome in outcomes {
            let (train, test, seconds) = outcome.last();
            let row = serde_json::json!({
                "dropout": outcome.keep < 1.0, "keep_prob": outcome.keep, "seed": args.seed, "epochs": args.epochs,
                "train_accuracy": train / 100.0, "test_accuracy": test / 100.0, "gap": (train - test) / 100.0,
                "seconds": seconds, "adapter": adapter, "out": args.out,
            });
            writeln!(out, "{row}")?;
        }
        return Ok(());
    }
    writeln!(out, "{:18}{:>10}{:>10}{:>10}{:>10}", "", "training", "test", "gap", "seconds")?;
    for outcome in outcomes {
        let (train, test, seconds) = outcome.last();
        let name = if outcome.keep < 1.0 { format!("dropout, keep {}", outcome.keep) } else { "no dropout".into() };
        writeln!(out, "{name:18}{train:>8.1} %{test:>8.1} %{:>10.1}{seconds:>10.1}", train - test)?;
    }
    let [without, with] = [outcomes[0].last(), outcomes[1].last()];
    writeln!(
        out,
        "\nTraining counts the replaced labels as right. On digits they have not seen, dropout makes a difference of {:+.1} points.\n\
         Both are judged without masks, on {adapter}.",
        with.1 - without.1
    )?;
    writeln!(
        out,
        "Written to {}: history.csv, curves.svg, without-dropout.safetensors, with-dropout.safetensors",
        args.out.display()
    )?;
    Ok(())
}
