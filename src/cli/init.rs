//! `thinnet init`: a commented network file to begin with.

use std::io::Write;
use std::path::PathBuf;

use thinnet::Targets;
use thinnet::config::{Task as Outputs, template};
use thinnet::data::{DataOptions, Target, Task};

use super::{Cli, Failure};

/// Writes a network file with every key explained, made for the given data.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// An idx folder, a .csv, .npy or .npz, or `digits`.
    #[arg(long, value_name = "PATH", default_value = "digits")]
    data: PathBuf,
    /// CSV column (or several) to learn; by default one called label, target, class or y.
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    target: Vec<String>,
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
        super::output::refuse_existing(out, args.force)?;
    }
    let text = text(args)?;
    match &args.out {
        None => Ok(std::io::stdout().lock().write_all(text.as_bytes())?),
        Some(out) => {
            super::output::write_whole(out, text.as_bytes())?;
            let next = out.display();
            Ok(writeln!(std::io::stdout(), "Written to {next}. Next: thinnet preflight {next}, thinnet train {next}")?)
        }
    }
}

fn text(args: &Args) -> Result<String, Failure> {
    let target = (!args.target.is_empty()).then(|| args.target.clone().into());
    let data = DataOptions { target: target.clone(), ..DataOptions::new(&args.data) };
    let task = if args.regression { Task::Values } else { Task::Classes };
    let train = data.load(task, 0)?.train;
    let outputs = match train.targets() {
        Targets::Classes { classes, .. } => Outputs::Classes(*classes),
        Targets::Values { columns, .. } => Outputs::Values(*columns),
    };
    let text = template(&args.data, outputs, train.rows());
    Ok(target.map_or(text.clone(), |target| with_target(&text, &target)))
}

/// The template with its example of a target replaced.
fn with_target(text: &str, target: &Target) -> String {
    let value = match target {
        Target::One(name) => toml::Value::from(name.as_str()),
        Target::Many(names) => toml::Value::from(names.clone()),
    };
    let line = |line: &str| match (line.starts_with("# target = "), line.rsplit_once(" # ")) {
        (true, Some((_, meaning))) => format!("{:<44} # {meaning}\n", format!("target = {value}")),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}
