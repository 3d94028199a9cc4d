//! `thinnet train`: a network from a TOML file, trained; everything that comes of it is one folder.

use std::io::Write;
use std::path::{Path, PathBuf};

use thinnet::config::Config;
use thinnet::data::{Sets, file};
use thinnet::preflight::{self, Outcome};
use thinnet::profile::profile;
use thinnet::{Data, Error, Network, TrainOptions, Trainer};

use super::interrupt::interruptible;
use super::output::{Folder, Listener, refuse_read};
use super::{Cli, Failure};

mod left;
mod report;
mod run;

use run::{Run, going_on};

/// Train the network of a file and write the run: weights, history, curves.
///
/// Trains the network of a TOML file and writes a run: config.toml, history.csv, timing.csv, model.safetensors, curves.svg and
/// checkpoint.safetensors; with --profile also profile.json.
///
/// Ctrl-C ends the training where it is and keeps what there is by now, with exit code 130; a second one ends at once and keeps
/// what was saved last. --resume goes on from there, and comes to the same bits as a training that was never interrupted.
///
/// `thinnet init` writes such a file. Training figures are means over an epoch with dropout on, over weights that change from
/// batch to batch; validation figures are without dropout, after the epoch.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The network and its training, as TOML; with --resume also the folder of the run.
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
    /// Replace a run that is there already, once the training has ended; one that diverges, or is interrupted in its first epoch,
    /// replaces nothing.
    #[arg(long, conflicts_with = "resume")]
    force: bool,
    /// Go on with the run in its folder, from its checkpoint: with the same file, but for epochs, schedule, patience and min_delta.
    #[arg(long)]
    resume: bool,
    /// Epochs in all, instead of the file's; schedules stay as they are.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    epochs: Option<u32>,
    /// Seconds after which the run is written as it is by then, so that no more is lost if the machine goes down; 0 for never.
    ///
    /// At most a fiftieth of the time is spent on it, so that large networks are written less often.
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, value_parser = seconds)]
    save_every: f64,
    /// First time every kernel over STEPS steps, 32 unless given as --profile=STEPS, print the table and keep it as profile.json.
    ///
    /// The steps are those of another training with the same file, before the first epoch, so that the weights are the same
    /// with and without. An adapter without timestamp queries has no time of single kernels, and it says so.
    #[arg(long, value_name = "STEPS", num_args = 0..=1, require_equals = true, default_missing_value = "32",
          value_parser = clap::value_parser!(u32).range(1..))]
    profile: Option<u32>,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0);
    seconds.ok_or_else(|| "a number of seconds from 0 up, such as 300; 0 for never".into())
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
    let (file, place) = places(&args.file, args.out.as_deref(), args.resume, "")?;
    // What is wrong with the file comes before where to put what comes of it, and that before the data, which may take long to read.
    read_config(&file)?;
    let checkpoint = match args.resume {
        true => Some(run::checkpoint(&place)?),
        false => super::output::refuse_folder(&place, args.force).map(|()| None)?,
    };
    let Experiment { mut config, network, sets, options } = Experiment::read(&file, args.data.as_deref())?;
    config.train.epochs = args.epochs.unwrap_or(config.train.epochs);
    // A run that goes on replaces nothing but files of its own.
    if !args.resume {
        refuse_read(&place, "--out", &[file.clone(), config.data.path.clone()])?;
    }
    let checkpoint = checkpoint.map(|c| going_on(c, &file, &place, &config, &network, &options)).transpose()?;
    let options = TrainOptions { data_budget: args.data_budget, ..options };
    let device = cli.device()?;
    let folder = if args.resume { None } else { Some(Folder::plan(&place, args.force)?) };
    // Before the trainer is made, so that the device never holds both.
    let profile = args.profile.map(|steps| profile(&device, &network, &sets.train, &options, steps)).transpose();
    let profile = profile.map_err(|e| in_file(&file, e))?;
    let data = Data { train: &sets.train, valid: sets.valid.as_ref() };
    let trainer = match &checkpoint {
        Some(checkpoint) => {
            let checkpoint = checkpoint.clone().with_data_budget(args.data_budget);
            let resumed = Trainer::resume(&device, &checkpoint, data).map_err(|e| run::in_run(&place, e));
            resumed.and_then(|mut trainer| trainer.set_schedule(options.schedule).map(|()| trainer))
        }
        None => Trainer::new(&device, &network, data, options.clone()),
    };
    let trainer = trainer.and_then(|t| t.with_preprocessing(sets.preprocessing.clone())).map_err(|e| in_file(&file, e))?;
    note_shift(&network);
    note_rates(&network, &options, config.train.epochs, sets.train.rows())?;
    note_classes(&sets);
    // Who is told of a training can end it.
    let interrupted = interruptible(trainer.stop_flag())?;
    let mut out = Listener(std::io::stdout().lock());
    if !cli.json {
        report::introduce(&mut out, &config, &network, &sets, &device)?;
    }
    if let Some(checkpoint) = &checkpoint {
        run::introduce(checkpoint, &place, &config, &device);
    }
    if let Some(profile) = &profile {
        match cli.json {
            true => writeln!(out, "{}", serde_json::json!({ "what": "profile", "profile": profile }))?,
            false => write!(out, "\n{profile}")?,
        }
    }
    out.flush()?;
    let mut run = Run::new(trainer, config, &device, (&place, folder), profile);
    let ended = run.train(args.save_every, &interrupted).and_then(|ended| run.write().map(|()| ended));
    let ended = ended.map_err(|failure| run.left(failure))?;
    let model = run.model()?;
    let test = sets.test.as_ref().map(|test| Ok::<_, Failure>((model.evaluate(&device, test)?, test.rows()))).transpose()?;
    let rates = model.learned_rates()?;
    if cli.json {
        report::report_json(&mut out, &run, &rates, test)?;
    } else {
        report::learned(&mut out, &rates)?;
        report::report(&mut out, &run, test)?;
    }
    ended
}

/// The network file and the folder of what comes of it: of a folder that goes on, the file in it.
pub(super) fn places(file: &Path, out: Option<&Path>, resume: bool, suffix: &str) -> Result<(PathBuf, PathBuf), Failure> {
    let name = file.display();
    if resume && !file.exists() {
        return Err(Failure::Usage(format!("{name}: there is neither such a file nor such a run; check the path")));
    }
    if !file.is_dir() {
        let run = || Path::new("runs").join(Experiment::name(file) + suffix);
        return Ok((file.into(), out.map_or_else(run, Path::to_path_buf)));
    }
    if !resume {
        return Err(Failure::Usage(format!(
            "{name} is a folder; name a network file, or go on with the run in it with --resume"
        )));
    }
    if out.is_some_and(|out| out != file) {
        return Err(Failure::Usage(format!("the run in {name} goes on there; leave --out away, or name another run's folder")));
    }
    Ok((file.join("config.toml"), file.into()))
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
    if let Some(shift) = preflight::variance_shift(network) {
        eprintln!("note: {shift}");
    }
}

/// What preflight finds without running anything.
fn note_rates(network: &Network, options: &TrainOptions, epochs: u32, rows: u32) -> Result<(), Error> {
    for check in preflight::rates(network)?.into_iter().chain([preflight::schedules(network, options, epochs, rows)]) {
        if let Outcome::Failed(advice) = check.outcome {
            eprintln!("note: {}; {advice}", check.found);
        }
    }
    Ok(())
}
