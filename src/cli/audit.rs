//! `thinnet audit`: whether masks of any framework are what dropout needs.

use std::io::Write;
use std::path::PathBuf;

use thinnet::Error;
use thinnet::audit::{LEVEL, audit};
use thinnet::data::{Preprocessing, Values, file};

use super::preflight::print;
use super::{Cli, Failure};

/// Check masks of any framework: their rate, and that units, rows and places near each other are independent.
///
/// A mask is a row of units in a npy, npz or csv file, 0 where a unit is dropped. Dropout of ones is its own mask: in PyTorch
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
    let inputs = file::inputs_for(&args.file, &file::Portion::All, None, &Preprocessing::default())?;
    let values = match inputs.values() {
        Values::F32(values) => values.clone(),
        Values::U8 { bytes, .. } => bytes.iter().map(|&byte| f32::from(byte)).collect(),
    };
    let units = args.units.unwrap_or(inputs.columns());
    if !inputs.columns().is_multiple_of(units) {
        let problem = format!("has {} values in a row, which are no whole masks of --units {units}", inputs.columns());
        return Err(Error::File { path: args.file.clone(), problem }.into());
    }
    let checks = audit(units, &values, args.keep)?;
    let mut out = std::io::stdout().lock();
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
