//! `thinnet predict`: the answer for every row, by one pass or by Monte-Carlo draws.

use std::io::Write;
use std::path::{Path, PathBuf};

use thinnet::{Device, Inputs, Model};

use super::data::{Asked, Source};
use super::output::{plan_file, write_whole};
use super::{Cli, Failure};

mod draws;
mod rank;
mod table;

use table::{Form, Table};

/// Answer for every row of some data.
///
/// Answers for every row: its class and the probability of each class, or the numbers of a regression in their own units; with
/// the loss gaussian_nll the mean of each target, then the standard deviation of each. `row` is the number of a row in its file, from
/// 0; a sequence of a table also has its name, which the column of sequences gives it. In CSV a class or a target that is called
/// as another column is, such as row or label, has outputs_ before its name.
///
/// With --draws N the network runs N times with dropout on. For classes the probabilities are means over the draws; then come the
/// standard deviation of the label's probability (of every probability with --all-std) and, in nats, the predictive entropy, the
/// expected entropy and the mutual information (BALD), and the variation ratio. For a regression there are the mean, the standard
/// deviation of the draws, that of the number to come (noise and draws) and the ends of intervals, in the targets' own units.
///
/// With --rank only the rows that are most worth labelling are listed, the first one first.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    /// File to write, .csv or .npy (f32 [rows, outputs]; with --draws also the other columns, each standard deviation among them);
    /// CSV on standard output unless given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The network's output as it is, before softmax or sigmoid, as log variances, and standardised where the targets were.
    #[arg(long)]
    logits: bool,
    /// Replace files that are there already.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    draws: draws::Args,
    #[command(flatten)]
    rank: rank::Args,
}

pub(super) fn run(args: &Args, cli: &Cli) -> Result<(), Failure> {
    let extension = args.out.as_deref().and_then(Path::extension).map(|e| e.to_string_lossy().to_lowercase());
    if let (Some(out), false) = (&args.out, matches!(extension.as_deref(), Some("csv" | "npy"))) {
        return Err(Failure::Usage(format!("--out {}: the file must end in .csv or .npy", out.display())));
    }
    let form = match extension.as_deref() {
        None if cli.json => Form::Json,
        Some("npy") => Form::Npy,
        _ => Form::Csv,
    };
    let options = args.options()?;
    if args.rank.rank.is_some() && form == Form::Npy {
        return Err(Failure::Usage("--rank writes row numbers and labels, which .npy cannot hold; write a .csv".into()));
    }
    args.plan_outputs()?;
    let (model, Asked { rows: inputs, .. }) = args.source.asked()?;
    let table = match options {
        None => single_pass(args.logits, &model, &cli.device()?, &inputs)?,
        Some(options) => {
            args.draws.check_loss(&model)?;
            args.rank.check_loss(&model)?;
            let drawn = draws::run(&args.draws, &options, &model, &cli.device()?, &inputs)?;
            match args.rank.rank {
                Some(measure) => rank::table(measure, args.rank.top, &model, &drawn, &inputs),
                None => args.draws.table(&model, &drawn, &inputs, form)?,
            }
        }
    };
    let content = table.content(form);
    match &args.out {
        Some(out) => write_whole(out, &content),
        None => Ok(std::io::stdout().lock().write_all(&content)?),
    }
}

impl Args {
    /// How to draw, if draws are asked for; what was asked for must go together.
    fn options(&self) -> Result<Option<thinnet::monte_carlo::MonteCarlo>, Failure> {
        let options = self.draws.options(self.rank.rank.is_some())?;
        if options.is_some() && self.logits {
            let message = "--logits is for one pass: the mean of logits is not the logit of the mean probability, and what draws say of \
                           a regression is in its own units; leave out --logits or the draws";
            return Err(Failure::Usage(message.into()));
        }
        Ok(options)
    }

    /// Refuses files that cannot be written as they were asked for.
    fn plan_outputs(&self) -> Result<(), Failure> {
        let read = self.source.reads();
        if let Some(out) = &self.out {
            plan_file(out, "--out", self.force, &read)?;
        }
        let Some(keep) = &self.draws.keep_draws else { return Ok(()) };
        plan_file(keep, "--keep-draws", self.force, &read)?;
        // Both folders exist: what was planned was tried.
        let place = |path: &Path| {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            (folder.canonicalize().ok(), path.file_name().map(ToOwned::to_owned))
        };
        if self.out.as_deref().map(place) == Some(place(keep)) {
            let name = keep.display();
            return Err(Failure::Usage(format!("{name} cannot hold both --out and --keep-draws; name another file for one")));
        }
        Ok(())
    }
}

/// What the network answers without dropout.
fn single_pass(logits: bool, model: &Model, device: &Device, inputs: &Inputs) -> Result<Table, Failure> {
    let outputs = match logits {
        true => model.logits(device, inputs)?,
        false => model.in_own_units(model.predict(device, inputs)?),
    };
    let columns = outputs.row(0).len();
    let names = table::names(model, columns, logits);
    let mut table = Table::new(inputs, table::labels(model, &outputs, logits));
    table.outputs("outputs", names, outputs.values());
    Ok(table)
}
