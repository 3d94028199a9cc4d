//! `thinnet audit`: whether masks of any framework are what dropout needs.

use std::borrow::Cow;
use std::io::Write;
use std::path::{Path, PathBuf};

use thinnet::Error;
use thinnet::audit::{LEVEL, audit};
use thinnet::data::{Inputs, Preprocessing, Values, file};

use super::output::Listener;
use super::preflight::print;
use super::{Cli, Failure};

/// Check masks of any framework: their rate, and that rows, units and places any distance apart are independent.
///
/// A mask is a row of units in a npy file (or the array x of a npz file), 0 where a unit is dropped. Dropout of ones is its own mask: in PyTorch
/// numpy.save("masks.npy", torch.nn.functional.dropout(torch.ones(1000, 512), 0.1).numpy()). Rows can be steps, samples, or ranks of
/// a data-parallel training. Needs no adapter. Ends with 1 if something is wrong, which good masks are taken for in one audit of
/// some 200,000.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The masks.
    file: PathBuf,
    /// The probability that a unit is kept which was asked for; without it the rate itself is not judged.
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    keep: Option<f64>,
    /// Units of a mask, if a row of the file has several: of an array [steps, samples, units].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    units: Option<u32>,
}

pub(super) fn run(args: &Args, cli: &Cli) -> Result<(), Failure> {
    let inputs = read(&args.file)?;
    let values = match inputs.values() {
        Values::F32(values) => Cow::Borrowed(values.as_slice()),
        Values::U8 { bytes, .. } => Cow::Owned(bytes.iter().map(|&byte| f32::from(byte)).collect()),
    };
    // Of a single row, which is read as a column, parts are masks.
    let columns = if inputs.columns() == 1 { inputs.rows() } else { inputs.columns() };
    let units = args.units.unwrap_or(inputs.columns());
    if !columns.is_multiple_of(units) {
        return Err(in_file(&args.file, format!("has rows of {columns} values, which are no whole masks of --units {units}")));
    }
    let checks = audit(units, &values, args.keep)?;
    // The exit code is what a script waits for, so a reader that has gone ends nothing.
    let mut out = Listener(std::io::stdout().lock());
    if !cli.json {
        writeln!(out, "{} masks of {units} units in {}\n", values.len() / units as usize, args.file.display())?;
    }
    for check in &checks {
        print(&mut out, check, cli.json)?;
    }
    let failed = checks.iter().filter(|check| check.failed()).count();
    if failed > 0 {
        return Err(Failure::Other(format!("{failed} of {} checks failed; the first one first", checks.len())));
    }
    if !cli.json {
        writeln!(out, "\nNothing speaks against these masks: nothing has a p below {LEVEL:e}.")?;
    }
    Ok(())
}

/// Rows of numbers, all of them: another file may have columns that are taken for targets.
fn read(path: &Path) -> Result<Inputs, Failure> {
    let named = |end: &str| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(end));
    if !named("npy") && !named("npz") {
        return Err(in_file(path, "is no npy or npz file; numpy.save(\"masks.npy\", masks) writes one".into()));
    }
    let inputs = file::inputs_for(path, &file::Portion::All, None, &Preprocessing::default())?;
    if inputs.lengths().is_some() {
        return Err(in_file(path, "has lengths, behind which there are no masks; save an array of whole rows".into()));
    }
    Ok(inputs)
}

fn in_file(path: &Path, problem: String) -> Failure {
    Error::File { path: path.into(), problem }.into()
}
