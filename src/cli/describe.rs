//! `thinnet data`: what a source holds, without training on it.

use std::io::Write;
use std::path::PathBuf;

use thinnet::data::file::shown;
use thinnet::data::{DataOptions, Task};
use thinnet::{Dataset, Targets};

use super::data::sequences;
use super::{Cli, Failure};

/// Say what some data are: rows, columns or steps, classes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// An idx folder, a .csv, .ts, .npy or .npz, or `digits`.
    path: PathBuf,
    /// CSV column (or several) to learn; by default one called label, target, class or y.
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    target: Vec<String>,
    /// CSV column that says which sequence a line is a step of.
    #[arg(long, value_name = "COLUMN")]
    sequence: Option<String>,
    /// The targets are numbers instead of classes.
    #[arg(long)]
    regression: bool,
}

pub(super) fn run(args: &Args, cli: &Cli) -> Result<(), Failure> {
    let target = (!args.target.is_empty()).then(|| args.target.clone().into());
    // Standardisation would change no word of what is said.
    let options =
        DataOptions { target, sequence: args.sequence.clone(), standardize: Some(false), ..DataOptions::new(&args.path) };
    let sets = options.load(if args.regression { Task::Values } else { Task::Classes }, 0)?;
    let mut out = std::io::stdout().lock();
    for (name, set) in [("rows", Some(&sets.train)), ("test", sets.test.as_ref())] {
        let Some(set) = set else { continue };
        match cli.json {
            true => writeln!(out, "{}", json(name, set, &sets.preprocessing.output_names))?,
            false => writeln!(out, "{}", text(name, set))?,
        }
    }
    if !cli.json && !sets.preprocessing.output_names.is_empty() {
        let names: Vec<String> = sets.preprocessing.output_names.iter().map(|name| shown(name)).collect();
        writeln!(out, "outputs: {}", names.join(", "))?;
    }
    Ok(())
}

fn text(name: &str, set: &Dataset) -> String {
    let inputs = set.inputs();
    let shape = match inputs.lengths() {
        Some(lengths) => sequences(lengths, inputs.features()),
        None => format!("{} columns.", inputs.columns()),
    };
    let targets = match set.targets() {
        Targets::Classes { classes, .. } => format!("{classes} classes"),
        Targets::Values { columns, .. } => format!("targets of {columns} numbers"),
    };
    format!("{name}: {}, {targets}. {shape}", set.rows())
}

fn json(name: &str, set: &Dataset, outputs: &[String]) -> serde_json::Value {
    let inputs = set.inputs();
    let mut object =
        serde_json::json!({ "set": name, "rows": set.rows(), "columns": inputs.columns(), "classes": set.classes() });
    if !outputs.is_empty() {
        object["outputs"] = outputs.into();
    }
    if let Some(lengths) = inputs.lengths() {
        object["steps"] = lengths.steps.into();
        object["features"] = inputs.features().into();
        object["lengths"] = lengths.spread().to_vec().into();
    }
    object
}
