//! `thinnet eval`: loss and accuracy of trained weights.

use std::io::Write;

use super::data::{Asked, Source};
use super::{Cli, Failure};

/// Judge trained weights by data they have not seen.
///
/// Prints the loss and, where rows are right or wrong, the accuracy; without dropout, by the standardisation kept with the weights.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
}

pub(super) fn run(args: &Args, cli: &Cli) -> Result<(), Failure> {
    let (model, Asked { rows, what }) = args.source.judged()?;
    let metrics = model.evaluate(&cli.device()?, &rows)?;
    if metrics.loss.is_nan() {
        let message =
            "the loss is not a number: the weights have NaN or infinite values, or give them for these rows; train again";
        return Err(Failure::Other(message.into()));
    }
    let mut out = std::io::stdout().lock();
    if cli.json {
        let row = serde_json::json!({
            "what": "evaluation", "loss": metrics.loss, "accuracy": metrics.accuracy, "rows": rows.rows(),
        });
        writeln!(out, "{row}")?;
    } else {
        let accuracy = metrics.accuracy.map_or(String::new(), |a| format!(", accuracy {:.2} %", 100.0 * a));
        writeln!(out, "{} {what}: loss {:.4}{accuracy}", rows.rows(), metrics.loss)?;
    }
    Ok(())
}
