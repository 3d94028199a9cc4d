//! `thinnet sweep`: the same training at several rates of dropout, in pairs.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use thinnet::config::Config;
use thinnet::sweep::{Sweep, hidden_sites, sites_at, with_keep};
use thinnet::{Dataset, Device, Error, KeepProb, Network};

use super::interrupt::interruptible;
use super::output::{Bar, Folder, Listener, Results, SWEEP, note, plan_file, refuse_read, write_whole};
use super::train::{Experiment, in_file, note_shift, places};
use super::{Cli, Failure};

mod rates;

use rates::{by_rate, csv, curves, is_accuracy, rates, rates_csv, report};

/// Compare rates of dropout in pairs and find the best.
///
/// Trains a network at several rates of dropout with the same initial weights, order and nested masks, and shows which is best.
///
/// Without --layer the rate of every dropout layer but that of the input changes. Rates are judged by the validation figures of the
/// last epoch; `patience` has no part in it. Writes sweep.csv (every epoch before a loss that is no number), rates.csv (every rate, with
/// its difference in pairs), curves.svg (validation by epoch), rates.svg (validation by keep_prob, with bands) and sweep.json, which
/// --resume goes on from.
///
/// Every rate is trained with one seed before the next seed, and what there is is written after every run. Small networks are trained
/// up to eight at a time, each as if it were alone. Ctrl-C loses what is being trained, with exit code 130.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The network and its training, as TOML; with --resume also the folder of the sweep.
    file: PathBuf,
    /// Rates to compare, shares of units that are kept: 0.3,0.5,0.7,0.9,1.0 unless given; with --resume those that are not there yet.
    #[arg(long, value_name = "P,P,...", value_delimiter = ',', allow_negative_numbers = true)]
    keep: Option<Vec<f64>>,
    /// How many seeds, 3 unless given: the file's and those after it; with --resume those that are not there yet.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: Option<u64>,
    /// Change only the dropout layer at this place; may be given several times. A place is the path in the file: the number of
    /// the layer in `layers` from 0, as 3, inside a block 3.residual[1] or 3.skip[0], inside a recurrent layer 0.recurrent.
    /// `thinnet preflight` shows them all.
    #[arg(long, value_name = "PLACE", value_delimiter = ',')]
    layer: Vec<String>,
    /// Data to use instead of the file's.
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Folder of the results; runs/NAME-sweep unless given.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace results that are there already.
    #[arg(long, conflicts_with = "resume")]
    force: bool,
    /// Go on with the sweep in its folder: runs that are through are not made again.
    #[arg(long)]
    resume: bool,
}

/// The rates and the number of seeds of a sweep that does not say.
const KEEPS: [f64; 5] = [0.3, 0.5, 0.7, 0.9, 1.0];
const SEEDS: u64 = 3;

pub(super) fn run(args: &Args, cli: &Cli) -> Result<(), Failure> {
    let (file, place) = places(&args.file, args.out.as_deref(), args.resume, "-sweep")?;
    let before = if args.resume { Some(begun(&place)?) } else { None };
    let fresh: (&[f64], u64) = if args.resume { (&[], 0) } else { (&KEEPS, SEEDS) };
    let keeps = args.keep.clone().unwrap_or_else(|| fresh.0.to_vec());
    let keeps = keeps.into_iter().map(KeepProb::new).collect::<thinnet::Result<Vec<_>>>()?;
    let Experiment { config, network, sets, options } = Experiment::read(&file, args.data.as_deref())?;
    let Some(valid) = &sets.valid else {
        let problem = "a sweep compares rates by validation data; give `valid` or `valid_fraction` in [data]".into();
        return Err(Error::File { path: file, problem }.into());
    };
    let data = (&sets.train, valid);
    let new = layers(&args.layer, before.as_ref(), &network);
    let new = new.and_then(|layers| Sweep::new(&network, layers, data, &options, config.train.epochs));
    let new = new.map_err(|e| in_file(&file, e))?;
    let mut sweep = match before {
        Some(before) => going_on(before, &new, &file, &place)?,
        None => new,
    };
    let seeds = (0..args.seeds.unwrap_or(fresh.1)).map(|i| config.seed.wrapping_add(i));
    sweep.add(&keeps, &seeds.collect::<Vec<_>>()).map_err(|e| in_file(&file, e))?;
    // What was asked for is right; now where to put it, before the work.
    let folder = match args.resume {
        true => None,
        false => {
            refuse_read(&place, "--out", &[file.clone(), config.data.path.clone()])?;
            Some(Folder::plan(&place, args.force)?)
        }
    };
    let device = cli.device()?;
    if let Some(&most) = sweep.keeps().first() {
        // Rates ascend: the first drops most.
        note_shift(&with_keep(&network, sweep.layers(), most)?);
    }
    introduce(&sweep, &device);
    let mut results = Results::new(&place, folder, SWEEP);
    let ended = train(&mut sweep, &device, data, &config, &mut results);
    let interrupted = ended.map_err(|failure| match failure {
        Failure::Thinnet(error) => Failure::Thinnet(in_file(&file, error)),
        other => other,
    })?;
    let told = match sweep.paired().is_empty() {
        true => Ok(()),
        false => report(&mut Listener(std::io::stdout().lock()), &sweep, &place, cli.json),
    };
    let ((through, all), there) = (progress(&sweep), place.exists());
    let place = place.display();
    match (interrupted && through < all, through) {
        (false, _) => told,
        (true, 0) => {
            let old = if there { format!(", and {place} is untouched") } else { String::new() };
            Err(Failure::Interrupted(format!("Interrupted in the first of {all} runs; nothing of it is kept{old}.")))
        }
        (true, _) => Err(Failure::Interrupted(format!(
            "Interrupted; {place} has {through} of {all} runs. To go on: thinnet sweep {place} --resume"
        ))),
    }
}

/// How many runs are through, of how many.
fn progress(sweep: &Sweep) -> (usize, usize) {
    (sweep.runs().len(), sweep.keeps().len() * sweep.seeds().len())
}

/// The layers that are swept: those at these places, those from before, or all hidden ones.
fn layers(places: &[String], before: Option<&Sweep>, network: &Network) -> thinnet::Result<Vec<usize>> {
    match (places, before) {
        // In another network they may be no dropout layers; going_on names the difference.
        ([], Some(before)) if with_keep(network, before.layers(), KeepProb::ONE).is_ok() => Ok(before.layers().to_vec()),
        ([], _) => Ok(hidden_sites(network)),
        (places, _) => Ok(places.iter().map(|place| sites_at(network, place)).collect::<thinnet::Result<Vec<_>>>()?.concat()),
    }
}

/// The sweep in a folder.
fn begun(place: &Path) -> Result<Sweep, Failure> {
    let path = place.join(SWEEP);
    let json = std::fs::read_to_string(&path).map_err(|e| {
        Failure::Usage(format!(
            "{} cannot be read ({e}), so there is no sweep to go on with; name it with --out DIR, or begin one without --resume",
            path.display()
        ))
    })?;
    // Better found out now than after the training.
    plan_file(&path, "--out", true, &[])?;
    Ok(Sweep::from_json(&json).map_err(|e| match e {
        Error::Data(problem) => Error::File { path, problem },
        other => other,
    })?)
}

/// The same, if the file says the same training.
fn going_on(before: Sweep, new: &Sweep, file: &Path, place: &Path) -> Result<Sweep, Failure> {
    match before.difference(new) {
        Some(difference) => Err(Failure::Usage(format!(
            "{}: {difference} in {}; a sweep goes on as it began, but for rates and seeds; go on with the file and the layers of then, or begin \
             another with --out",
            file.display(),
            place.join(SWEEP).display(),
        ))),
        None => Ok(before),
    }
}

/// Where a sweep goes on.
fn introduce(sweep: &Sweep, device: &Device) {
    let here = device.caps().matmul.to_string();
    if let Some(there) = sweep.matmul() {
        let (through, all) = progress(sweep);
        note(format_args!("{through} of {all} runs are through."));
        if there != here {
            note(format_args!(
                "note: they are of matrix products of {there}, here they are {here}: the masks are the same, sums are added in another order"
            ));
        }
    }
}

/// Makes the runs that are missing and saves after each; whether Ctrl-C ended it.
fn train(
    sweep: &mut Sweep,
    device: &Device,
    data: (&Dataset, &Dataset),
    config: &Config,
    results: &mut Results,
) -> Result<bool, Failure> {
    let (bar, interrupted) = (Bar::new("sweep"), interruptible(Arc::default())?);
    let mut save = |sweep: &Sweep| {
        let written = results.write(|place| write_files(place, config, sweep));
        written.map_err(|failure| (failure, results.displaced))
    };
    let (mut saved, count) = progress(sweep);
    let (mut through, mut displaced) = (saved, None);
    let ended = sweep.fit(device, data, |sweep, runs, progress| {
        if sweep.runs().len() > through {
            through = sweep.runs().len();
            match save(sweep) {
                Err((failure, true)) => displaced = Some(failure),
                Err((failure, false)) => note(format_args!("note: what there is by now could not be saved: {failure}")),
                Ok(()) => saved = through,
            }
        }
        bar.show_part(&making(runs), progress, [through, runs.len(), count].map(|runs| runs as u64));
        if displaced.is_some() || interrupted.load(SeqCst) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish();
    if let Some(failure) = displaced {
        return Err(failure);
    }
    // Without a run more, rates and seeds that were asked for by mistake are not kept.
    if sweep.runs().len() > saved {
        save(sweep).map_err(|(failure, _)| failure)?;
    }
    Ok(ended?.is_break())
}

/// The runs that are being made.
fn making(runs: &[(f64, u64)]) -> String {
    let (keep, seed) = runs[0];
    let others = runs.len() - 1;
    let others = if others > 0 { format!(" and {others} more") } else { String::new() };
    format!("keep {keep}, seed {seed}{others}")
}

/// Everything that there is by now, what the sweep goes on from at last.
fn write_files(place: &Path, config: &Config, sweep: &Sweep) -> Result<(), Failure> {
    let text = |name: &str, text: &str| write_whole(&place.join(name), text.as_bytes());
    // Of a sweep that goes on the file stays: the seeds count from its own.
    if !place.join("config.toml").exists() {
        text("config.toml", &config.to_toml())?;
    }
    text("sweep.csv", &csv(sweep.runs()))?;
    let runs = sweep.paired();
    if !runs.is_empty() {
        let rates = rates(sweep, &runs);
        text("rates.csv", &rates_csv(&rates, &runs))?;
        text("curves.svg", &curves(&rates, &runs)?)?;
        text("rates.svg", &by_rate(&rates, is_accuracy(&runs))?)?;
    }
    text(SWEEP, &sweep.to_json()?)
}
