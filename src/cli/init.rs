//! `thinnet init`: a commented network file to begin with.

use std::io::Write;
use std::path::{Path, PathBuf};

use thinnet::config::{Outputs, sequence_template, template};
use thinnet::data::{DataOptions, Task};
use thinnet::{Error, Targets};

use super::output::is_toml;
use super::output::{plan_file, write_whole};
use super::{Cli, Failure};

/// Write a commented network file for some data.
///
/// Every key is explained, and those that have their default are commented out; the layers suit the data.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// An idx folder, a .csv, .ts, .npy or .npz, or `digits`.
    #[arg(long, value_name = "PATH", default_value = "digits")]
    data: PathBuf,
    /// CSV column (or several) to learn; by default one called label, target, class or y.
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    target: Vec<String>,
    /// CSV column that says which sequence a line is a step of.
    #[arg(long, value_name = "COLUMN")]
    sequence: Option<String>,
    /// Learn numbers instead of classes.
    #[arg(long)]
    regression: bool,
    /// The file to write; standard output unless given.
    #[arg(long, value_name = "FILE.toml")]
    out: Option<PathBuf>,
    /// Replace a file that is there already.
    #[arg(long)]
    force: bool,
}

pub(super) fn run(args: &Args, _cli: &Cli) -> Result<(), Failure> {
    if let Some(out) = &args.out {
        if !is_toml(out) {
            return Err(Failure::Usage(format!("--out {}: the file must end in .toml", out.display())));
        }
        plan_file(out, "--out", args.force, std::slice::from_ref(&args.data))?;
    }
    let text = text(args)?;
    match &args.out {
        None => Ok(std::io::stdout().lock().write_all(text.as_bytes())?),
        Some(out) => {
            write_whole(out, text.as_bytes())?;
            let next = out.display();
            Ok(writeln!(std::io::stdout(), "Written to {next}. Next: thinnet preflight {next}, thinnet train {next}")?)
        }
    }
}

fn text(args: &Args) -> Result<String, Failure> {
    let target = (!args.target.is_empty()).then(|| args.target.clone().into());
    let data = DataOptions { target, sequence: args.sequence.clone(), ..DataOptions::new(&args.data) };
    let task = if args.regression { Task::Values } else { Task::Classes };
    let sets = data.load(task, 0).map_err(|error| match error {
        Error::File { path, problem } if !args.regression && problem.contains("class") => {
            Error::File { path, problem: format!("{problem} (to learn numbers instead of classes: --regression)") }
        }
        other => other,
    })?;
    let train = sets.train;
    // A network file in another folder must find the data from there.
    let beside = args.out.as_deref().and_then(Path::parent).is_none_or(|folder| folder.as_os_str().is_empty());
    let data = match (beside, data.path.canonicalize()) {
        (false, Ok(path)) => DataOptions { path, ..data },
        _ => data,
    };
    let outputs = match train.targets() {
        Targets::Classes { classes, .. } => Outputs::Classes(*classes),
        Targets::Values { columns, .. } => Outputs::Values(*columns),
    };
    Ok(match train.inputs().lengths() {
        Some(_) => sequence_template(&data, outputs, train.rows()),
        None => template(&data, outputs, train.rows()),
    })
}
