//! `thinnet calibrate`: how far the certainty of trained weights can be trusted.

use std::io::Write;
use std::path::{Path, PathBuf};

use thinnet::calibration::Reliability;
use thinnet::{Loss, MonteCarlo};

use super::data::{Apart, Source};
use super::output::{CALIBRATION, Folder, IN_RUN, Listener, MODEL, Stamp, refuse_read};
use super::{Cli, Failure};

mod classes;
mod draws;
mod pictures;
mod values;

/// Judge how far to trust what trained weights say of their own certainty.
///
/// On the test rows: accuracy, negative log-likelihood, Brier score, calibration error, what is gained by referring uncertain
/// rows, and with --ood whether foreign data are noticed; side by side for a single pass and for Monte-Carlo dropout, each as it
/// is and with a temperature fitted on the validation rows. For a regression: the error, and whether intervals hold what they say.
///
/// Writes figures.csv and, for classes, reliability, risk-coverage and, with --ood, ood, for a regression intervals, each as .svg
/// and .csv.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    /// Data that the network was not made for, of the same width: its test part, if it has one. Labels are not needed.
    #[arg(long, value_name = "PATH")]
    ood: Option<PathBuf>,
    /// Monte-Carlo draws of each row; 0 for a single pass only.
    #[arg(long, default_value_t = 100, value_parser = draws, value_name = "N")]
    draws: u32,
    /// Draw what a DropConnect layer gives from a normal distribution with the mean and the variance of all of its masks, not by
    /// masks: a random number for each output, not for each weight.
    #[arg(long)]
    gaussian_weights: bool,
    /// Precision 1 / variance of a regression's observation noise for Monte-Carlo intervals, in the units of the network's output,
    /// which is standardised where the targets were. Fitted on the validation rows unless given.
    #[arg(long, value_name = "TAU", value_parser = precision)]
    precision: Option<f64>,
    /// Bins of the calibration error and its diagram.
    #[arg(long, default_value_t = Reliability::BINS as u32, value_parser = clap::value_parser!(u32).range(1..=100))]
    bins: u32,
    /// Folder of the pictures and tables; `calibration` in the folder of the run unless given.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace what this command wrote there before.
    #[arg(long)]
    force: bool,
}

/// No draws, or enough for a spread.
fn draws(text: &str) -> Result<u32, String> {
    match super::number(text)? {
        1 => Err("a spread takes at least 2 draws; 0 asks for a single pass only".into()),
        draws => Ok(draws),
    }
}

fn precision(text: &str) -> Result<f64, String> {
    let tau: f64 = text.parse().map_err(|_| format!("{text:?} is no number, such as 2.5"))?;
    match tau > 0.0 && tau.is_finite() {
        true => Ok(tau),
        false => Err("a precision, 1 / variance, is a number above 0".into()),
    }
}

pub(super) fn run(args: &Args, cli: &Cli) -> Result<(), Failure> {
    let place = args.out.clone().or_else(|| Some(args.source.run_folder()?.join(IN_RUN)));
    // Tried before anything is read, let alone drawn.
    let folder = place.as_deref().map(|place| {
        let folder = Folder::plan_of(place, args.force, CALIBRATION)?;
        refuse_read(place, "--out", &args.source.reads().into_iter().chain(args.ood.clone()).collect::<Vec<_>>()).map(|()| folder)
    });
    let folder = folder.transpose()?;
    // Before they are read: a training may go on meanwhile.
    let weights = args.weights();
    let Apart { model, rows, valid } = args.source.judged_apart(args.ood.as_deref())?;
    if args.gaussian_weights && args.draws == 0 {
        let message = "--gaussian-weights is about Monte-Carlo draws, and --draws 0 asks for none; leave one of them out";
        return Err(Failure::Usage(message.into()));
    }
    let draws = args.monte_carlo();
    let report = match model.network().loss {
        Loss::MeanSquaredError | Loss::GaussianNll if args.ood.is_some() => {
            let message = "--ood compares the uncertainties of classes, and this is a regression; leave it out";
            return Err(Failure::Usage(message.into()));
        }
        Loss::GaussianNll if args.precision.is_some() => {
            let message =
                "--precision is the noise of a network that does not know it; with the loss gaussian_nll it does, leave it out";
            return Err(Failure::Usage(message.into()));
        }
        Loss::MeanSquaredError | Loss::GaussianNll => values::judge(&model, &cli.device()?, &rows, valid, &draws)?,
        _ if args.precision.is_some() => {
            return Err(Failure::Usage(
                "--precision is that of a regression, and this network tells classes apart; leave it out".into(),
            ));
        }
        _ => {
            let (ood, source, bins) = (args.ood.as_deref(), &args.source, args.bins as usize);
            let asked = classes::Asking { ood, source, bins, draws };
            classes::judge(&model, &|| Ok(cli.device()?), &rows, valid, &asked)?
        }
    };
    // Written before anything is printed: nobody may listen, and the work is done.
    if let Some(folder) = folder {
        write(folder, &report, args, &weights)?;
    }
    let mut out = Listener(std::io::stdout().lock());
    match cli.json {
        true => report.json.iter().try_for_each(|row| writeln!(out, "{row}"))?,
        false => write!(out, "{}", report.text)?,
    }
    match place {
        _ if cli.json => {}
        Some(place) => {
            let names: Vec<&str> = report.files.iter().map(|(name, _)| *name).collect();
            writeln!(out, "\nWritten to {}: {}", Path::display(&place), names.join(", "))?;
        }
        None => writeln!(out, "\nNothing is written: these are weights without a run; name a folder with --out.")?,
    }
    Ok(out.flush()?)
}

/// Writes the folder, if these are still the weights that were judged.
fn write(folder: Folder, report: &Report, args: &Args, judged: &Stamp) -> Result<(), Failure> {
    if args.weights() != *judged {
        return Err(Failure::Other(format!(
            "{}: the weights have changed since they were read, so that the figures are of others and nothing is written; calibrate again \
             when the training has ended",
            args.source.path().display()
        )));
    }
    folder.begin()?;
    report.files.iter().try_for_each(|(name, content)| folder.write(name, content))?;
    folder.complete()
}

impl Args {
    /// What tells the weights from others that take their place.
    fn weights(&self) -> Stamp {
        let path = self.source.run_folder().map_or_else(|| self.source.path().to_path_buf(), |run| run.join(MODEL));
        Stamp::of(path.parent().unwrap_or(Path::new("")), path.file_name().unwrap_or_default())
    }

    /// How to draw, if anything is drawn.
    fn monte_carlo(&self) -> MonteCarlo {
        let (draws, precision, gaussian_weights) = (self.draws, self.precision, self.gaussian_weights);
        MonteCarlo { draws, precision, gaussian_weights, ..MonteCarlo::default() }
    }
}

/// What is printed and written.
struct Report {
    text: String,
    json: Vec<serde_json::Value>,
    files: Vec<(&'static str, String)>,
}

/// Figures by name, one column for each way of predicting.
struct Table {
    columns: Vec<String>,
    rows: Vec<(String, Vec<String>)>,
}

impl Table {
    fn text(&self) -> String {
        let name = self.rows.iter().map(|row| row.0.chars().count()).max().unwrap_or(0);
        let width = |i: usize| {
            let cells = self.rows.iter().map(|row| row.1[i].chars().count());
            cells.chain([self.columns[i].chars().count()]).max().unwrap_or(0) + 2
        };
        let line = |label: &str, cells: &[String]| {
            let cells: String = cells.iter().enumerate().map(|(i, cell)| format!("{cell:>0$}", width(i))).collect();
            format!("{label:name$}{cells}\n")
        };
        line("", &self.columns) + &self.rows.iter().map(|(label, cells)| line(label, cells)).collect::<String>()
    }
}

/// A number as CSV has it, nothing where there is none.
fn number(value: Option<f64>) -> String {
    value.filter(|value| value.is_finite()).map_or(String::new(), |value| value.to_string())
}
