//! `thinnet train`: a network from a TOML file, trained; everything that comes of it is one folder.

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use thinnet::config::Config;
use thinnet::data::{Sets, file};
use thinnet::profile::profile;
use thinnet::{Device, EarlyStopping, Epoch, Error, LearnedRate, Metrics, Model, Network, TrainOptions, Trainer};

use super::output::{Bar, Folder, Listener, MODEL, refuse_read};
use super::plot::{self, BLUE, Curve, ORANGE, Picture};
use super::{Cli, Failure, INTERRUPTED};

/// Train the network of a file and write the run: weights, history, curves.
///
/// Trains the network of a TOML file and writes a run: config.toml, history.csv, timing.csv, model.safetensors, curves.svg; with
/// --profile also profile.json.
///
/// Ctrl-C ends the training where it is and keeps what there is by now, with exit code 130; a second one ends at once and keeps nothing.
///
/// `thinnet init` writes such a file. Training figures are means over an epoch with dropout on, over weights that change from
/// batch to batch; validation figures are without dropout, after the epoch.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The network and its training, as TOML.
    file: PathBuf,
    /// Data to use instead of the file's: an idx folder, a .csv, .ts, .npy or .npz, or `digits`.
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Folder of the run; runs/NAME for NAME.toml unless given.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Device memory for the rows of training and validation, in MiB; unless given, what fits the device. The rest is streamed,
    /// which changes no result.
    #[arg(long, value_name = "MIB", value_parser = mib)]
    data_budget: Option<u64>,
    /// Replace a run that is there already.
    #[arg(long)]
    force: bool,
    /// First time every kernel over STEPS steps, 32 unless given as --profile=STEPS, print the table and keep it as profile.json.
    ///
    /// The steps are those of another training with the same file, before the first epoch, so that the weights are the same
    /// with and without. An adapter without timestamp queries has no time of single kernels, and it says so.
    #[arg(long, value_name = "STEPS", num_args = 0..=1, require_equals = true, default_missing_value = "32",
          value_parser = clap::value_parser!(u32).range(1..))]
    profile: Option<u32>,
}

/// Bytes from a number of MiB.
fn mib(text: &str) -> Result<u64, String> {
    match text.parse::<f64>() {
        Ok(mib) if mib.is_finite() && mib * 1_048_576.0 >= 1.0 => Ok((mib * 1_048_576.0) as u64),
        _ => Err("a number of MiB above 0, such as 64 or 0.5; leave the option out for what fits the device".into()),
    }
}

/// A network file with its data: what train, sweep and preflight begin with.
pub(super) struct Experiment {
    pub(super) config: Config,
    pub(super) network: Network,
    pub(super) sets: Sets,
    pub(super) options: TrainOptions,
}

impl Experiment {
    pub(super) fn read(file: &Path, data: Option<&Path>) -> Result<Self, Failure> {
        let mut config = read_config(file)?;
        let path = data.map_or_else(|| config.data_path(file), Path::to_path_buf);
        if path.to_str().is_none() {
            let problem = "is no UTF-8, which the run's config.toml could not hold; rename it, or name it through a link";
            return Err(Error::File { path, problem: problem.into() }.into());
        }
        // Absolute, so that the run finds its data from wherever it is asked; `digits` is no file.
        config.data.path = if path == Path::new("digits") { path } else { path.canonicalize().unwrap_or(path) };
        let sets = config.load().map_err(|e| in_file(file, e))?;
        let network = config.network.network_for(sets.train.inputs()).map_err(|e| in_file(file, e))?;
        let options = config.options();
        options.check().map_err(|e| in_file(file, e))?;
        thinnet::checkpoint::check_foldable(&network).map_err(|e| in_file(file, e))?;
        Ok(Self { config, network, sets, options })
    }

    /// The name of the run: that of the file.
    pub(super) fn name(file: &Path) -> String {
        file.file_stem().map_or("run".into(), |stem| stem.to_string_lossy().into_owned())
    }
}

/// A network file; of one that is missing, how to get it.
pub(super) fn read_config(file: &Path) -> Result<Config, Failure> {
    if !file.exists() {
        let name = file.display();
        return Err(Failure::Usage(format!(
            "{name}: there is no such file; check the path, or write one with `thinnet init --out {name}`"
        )));
    }
    Ok(Config::read(file)?)
}

/// What does not fit together, with the file that puts it together.
pub(super) fn in_file(file: &Path, error: Error) -> Error {
    match error {
        Error::Option { option: "data_budget", .. } => error, // of the command line
        Error::Option { .. } | Error::Network { .. } | Error::Data(_) => {
            Error::File { path: file.into(), problem: error.to_string() }
        }
        other => other,
    }
}

pub(super) fn run(args: &Args, cli: &Cli) -> Result<(), Failure> {
    let place = args.out.clone().unwrap_or_else(|| Path::new("runs").join(Experiment::name(&args.file)));
    // What is wrong with the file comes before where to put what comes of it, and that before the data, which may take long to read.
    read_config(&args.file)?;
    super::output::refuse_folder(&place, args.force)?;
    let Experiment { config, network, sets, options } = Experiment::read(&args.file, args.data.as_deref())?;
    refuse_read(&place, "--out", &[args.file.clone(), config.data.path.clone()])?;
    let options = TrainOptions { data_budget: args.data_budget, ..options };
    let device = cli.device()?;
    let folder = Folder::plan(&place, args.force)?;
    // Before the trainer is made, so that the device never holds both.
    let profile = args.profile.map(|steps| profile(&device, &network, &sets.train, &options, steps)).transpose();
    let profile = profile.map_err(|e| in_file(&args.file, e))?;
    let mut trainer = match &sets.valid {
        Some(valid) => Trainer::new(&device, &network, (&sets.train, valid), options),
        None => Trainer::new(&device, &network, &sets.train, options),
    }
    .map_err(|e| in_file(&args.file, e))?;
    note_shift(&network);
    note_classes(&sets);
    let mut out = Listener(std::io::stdout().lock());
    if !cli.json {
        introduce(&mut out, &config, &network, &sets, &device)?;
    }
    if let Some(profile) = &profile {
        match cli.json {
            true => writeln!(out, "{}", serde_json::json!({ "what": "profile", "profile": profile }))?,
            false => write!(out, "\n{profile}")?,
        }
    }
    out.flush()?;
    let interrupted = interruptible(trainer.stop_flag())?;
    let (model, best) = trained(&mut trainer, &config, &interrupted)?;
    let model = model.with_preprocessing(sets.preprocessing.clone())?;
    let test = sets.test.as_ref().map(|test| Ok::<_, Failure>((model.evaluate(&device, test)?, test.rows()))).transpose()?;
    // What else the bits of the weights depend on. It is not in their file: equal weights make equal files.
    let epochs = config.train.epochs;
    let config = format!("# Trained with matrix products: {} (see --matmul).\n{}", device.caps().matmul, config.to_toml());
    write_run(&folder, &Experiment::name(&args.file), &config, trainer.history(), &model)?;
    if let Some(profile) = &profile {
        let text = serde_json::to_string_pretty(profile).expect("a profile is plain data");
        folder.write("profile.json", &(text + "\n"))?;
    }
    folder.complete()?;
    let rates = model.learned_rates()?;
    if cli.json {
        report_json(&mut out, trainer.history(), &rates, test)?;
    } else {
        learned(&mut out, &rates)?;
        report(&mut out, trainer.history(), best, test, &place, profile.is_some())?;
    }
    match trainer.history().len() as u32 {
        whole if whole < epochs && interrupted.load(Ordering::Relaxed) => Err(Failure::Interrupted(format!(
            "Interrupted in epoch {} of {epochs}; {} has what there was by then.",
            whole + 1,
            place.display()
        ))),
        _ => Ok(()),
    }
}

/// Whether the user wants the training to end: Ctrl-C or a request to terminate sets the trainer's flag, a second one ends the program.
fn interruptible(flag: Arc<AtomicBool>) -> Result<Arc<AtomicBool>, Failure> {
    let seen = flag.clone();
    let handler = move || {
        if seen.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED.into());
        }
    };
    ctrlc::set_handler(handler).map_err(|error| Failure::Other(format!("Ctrl-C cannot be heard: {error}")))?;
    Ok(flag)
}

/// The weights after the training, and the best epoch where there is early stopping.
fn trained(trainer: &mut Trainer, config: &Config, interrupted: &AtomicBool) -> Result<(Model, Option<u32>), Failure> {
    let bar = Bar::new("training");
    let epochs = config.train.epochs;
    let ended = match config.train.patience {
        Some(patience) => {
            let stopping = EarlyStopping { patience, min_delta: config.train.min_delta };
            trainer.fit_best(epochs, stopping, |progress| bar.show(progress)).map(|best| (best.model, Some(best.epoch.epoch)))
        }
        None => trainer.fit_with(epochs, |progress| bar.show(progress)).map(|_| ()).and_then(|()| Ok((trainer.model()?, None))),
    };
    bar.finish();
    if interrupted.load(Ordering::Relaxed) && trainer.history().is_empty() {
        let message = "Interrupted in the first epoch, before there was anything to keep: nothing was written.";
        return Err(Failure::Interrupted(message.into()));
    }
    Ok(ended?)
}

/// What concrete dropout has learned, and whether a rate has run to an end.
fn learned(out: &mut impl Write, rates: &[LearnedRate]) -> Result<(), Failure> {
    for LearnedRate { place, drop_prob, collapsed, .. } in rates {
        let note = match (collapsed, *drop_prob < 0.5) {
            (false, _) => "",
            (true, true) => ": it has collapsed, for the data leave no room for dropout, or weight_regularizer is too small",
            (true, false) => ": it has collapsed, for weight_regularizer is too large, or dropout_regularizer too small",
        };
        writeln!(out, "{place} has learned to drop {drop_prob:.5}{note}.")?;
    }
    Ok(())
}

/// Classes that are judged, but that no row teaches.
pub(super) fn note_classes(sets: &Sets) {
    let judged = |class: u32| [&sets.valid, &sets.test].into_iter().flatten().any(|data| data.labels().contains(&class));
    let names = &sets.preprocessing.output_names;
    let named = |class: u32| names.get(class as usize).map_or_else(|| class.to_string(), |name| file::shown(name));
    let missing: Vec<String> =
        sets.train.classes_without_rows().into_iter().filter(|&class| judged(class)).map(named).take(10).collect();
    if !missing.is_empty() {
        let which = missing.join(", ");
        eprintln!(
            "note: no row to learn from has the class {which}, but rows to judge by have: their answers will be wrong; choose the rows \
             otherwise, or shuffle a file that is sorted by class"
        );
    }
}

/// What is known about dropout in front of batch norm, where there is some.
pub(super) fn note_shift(network: &Network) {
    if let Some(shift) = thinnet::preflight::variance_shift(network) {
        eprintln!("note: {shift}");
    }
}

/// What is about to be trained, on what.
fn introduce(out: &mut impl Write, config: &Config, network: &Network, sets: &Sets, device: &Device) -> Result<(), Failure> {
    let rows = |data: &Option<thinnet::Dataset>| data.as_ref().map_or(0, |data| data.rows());
    let (valid, test) = (rows(&sets.valid), rows(&sets.test));
    writeln!(
        out,
        "{} rows to learn from, {valid} to validate, {test} to test; {} epochs of {} in batches of {}, seed {}, on {}, matrix products: {}.",
        sets.train.rows(),
        config.train.epochs,
        thinnet::checkpoint::sequential(network)?,
        config.train.batch,
        config.seed,
        device.caps().adapter,
        device.caps().matmul
    )?;
    if let Some(lengths) = sets.train.inputs().lengths() {
        writeln!(out, "{}", super::data::sequences(lengths, sets.train.inputs().features()))?;
    }
    if device.gpu().is_none() {
        writeln!(out, "The adapter `cpu` is thinnet's own CPU code, made for checking: slow.")?;
    }
    Ok(())
}

fn write_run(folder: &Folder, name: &str, config: &str, history: &[Epoch], model: &Model) -> Result<(), Failure> {
    folder.begin()?;
    // First, so that they are kept whatever happens to the rest.
    model.save(folder.file(MODEL)).map_err(|e| Failure::Other(e.to_string()))?;
    folder.write("config.toml", config)?;
    folder.write("history.csv", &history_csv(history))?;
    let seconds = history.iter().map(|e| format!("{},{:.3}\n", e.epoch + 1, e.seconds)).collect::<String>();
    folder.write("timing.csv", &format!("epoch,seconds\n{seconds}"))?;
    folder.write("curves.svg", &curves(name, history)?)
}

/// One line an epoch, counted from 1; a figure that does not exist is empty.
fn history_csv(history: &[Epoch]) -> String {
    let mut csv = String::from("epoch,train_loss,train_accuracy,valid_loss,valid_accuracy\n");
    for epoch in history {
        let [train, valid] = [Some(epoch.running), epoch.valid].map(|metrics| {
            // The shortest number that is exactly this one.
            let loss = metrics.map_or(String::new(), |m| m.loss.to_string());
            let accuracy = metrics.and_then(|m| m.accuracy).map_or(String::new(), |a| a.to_string());
            format!("{loss},{accuracy}")
        });
        writeln!(csv, "{},{train},{valid}", epoch.epoch + 1).expect("a String takes everything");
    }
    csv
}

/// Accuracy over epochs, or the loss where no row is right or wrong.
fn curves(name: &str, history: &[Epoch]) -> Result<String, Failure> {
    let accuracies = history.iter().all(|e| e.running.accuracy.is_some());
    let figure = |metrics: Option<Metrics>| match (metrics, accuracies) {
        (Some(m), true) => 100.0 * m.accuracy.unwrap_or(f64::NAN),
        (Some(m), false) => m.loss,
        (None, _) => f64::NAN,
    };
    let line = |name: &str, color, values: Vec<f64>| Curve {
        name: name.into(),
        color,
        dashed: color == ORANGE,
        points: plot::by_epoch(values),
        band: Vec::new(),
    };
    let mut curves = vec![line("training, dropout on", ORANGE, history.iter().map(|e| figure(Some(e.running))).collect())];
    if history.iter().any(|e| e.train.is_some()) {
        curves.push(line("training, dropout off", plot::ordered(1, 3), history.iter().map(|e| figure(e.train)).collect()));
    }
    if history.iter().any(|e| e.valid.is_some()) {
        curves.push(line("validation", BLUE, history.iter().map(|e| figure(e.valid)).collect()));
    }
    let y = if accuracies { "accuracy, %" } else { "loss" };
    plot::training(Picture { title: name, x: "epoch", y, curves }, history)
}

/// Training and validation figures of an epoch; NaN where there is no validation.
fn figures(epoch: &Epoch) -> [Metrics; 2] {
    [epoch.running, epoch.valid.unwrap_or(Metrics { loss: f64::NAN, accuracy: None })]
}

/// A line for each epoch, for each rate that concrete dropout has learned, and for the test, which `eval` repeats; `what` says
/// which.
fn report_json(
    out: &mut impl Write,
    history: &[Epoch],
    rates: &[LearnedRate],
    test: Option<(Metrics, u32)>,
) -> Result<(), Failure> {
    for epoch in history {
        let [train, valid] = figures(epoch);
        let row = serde_json::json!({
            "what": "epoch", "epoch": epoch.epoch + 1, "train_loss": train.loss, "train_accuracy": train.accuracy,
            "valid_loss": epoch.valid.map(|valid| valid.loss), "valid_accuracy": valid.accuracy,
        });
        writeln!(out, "{row}")?;
    }
    for LearnedRate { place, drop_prob, collapsed, .. } in rates {
        let row = serde_json::json!({ "what": "learned_rate", "place": place, "drop_prob": drop_prob, "collapsed": collapsed });
        writeln!(out, "{row}")?;
    }
    if let Some((test, rows)) = test {
        let row = serde_json::json!({ "what": "evaluation", "loss": test.loss, "accuracy": test.accuracy, "rows": rows });
        writeln!(out, "{row}")?;
    }
    Ok(())
}

fn report(
    out: &mut impl Write,
    history: &[Epoch],
    best: Option<u32>,
    test: Option<(Metrics, u32)>,
    place: &Path,
    profiled: bool,
) -> Result<(), Failure> {
    writeln!(
        out,
        "\n{:>5} {:>11} {:>10} {:>11} {:>10} {:>9}",
        "epoch", "train loss", "accuracy", "valid loss", "accuracy", "seconds"
    )?;
    let percent = |accuracy: Option<f64>| accuracy.map_or("-".into(), |a| format!("{:.2} %", 100.0 * a));
    let shown = |i: usize| i < 3 || i + 5 > history.len() || Some(history[i].epoch) == best;
    for (i, epoch) in history.iter().enumerate() {
        if !shown(i) {
            if shown(i - 1) {
                writeln!(out, "{:>5}", "...")?;
            }
            continue;
        }
        let [train, valid] = figures(epoch);
        let loss = epoch.valid.map_or("-".into(), |valid| format!("{:.4}", valid.loss));
        let mark = if Some(epoch.epoch) == best { "  best, kept" } else { "" };
        writeln!(
            out,
            "{:>5} {:>11.4} {:>10} {loss:>11} {:>10} {:>9.1}{mark}",
            epoch.epoch + 1,
            train.loss,
            percent(train.accuracy),
            percent(valid.accuracy),
            epoch.seconds
        )?;
    }
    if let Some((test, rows)) = test {
        let accuracy = test.accuracy.map_or(String::new(), |a| format!(", accuracy {:.2} %", 100.0 * a));
        writeln!(out, "\nOn the {rows} test rows: loss {:.4}{accuracy}.", test.loss)?;
    }
    let profile = if profiled { ", profile.json" } else { "" };
    writeln!(
        out,
        "\nWritten to {}: config.toml, history.csv, timing.csv, curves.svg, model.safetensors{profile}. Next: thinnet eval {0}, thinnet predict {0}",
        place.display()
    )?;
    Ok(())
}
