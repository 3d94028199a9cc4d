//! `thinnet preflight`: checks before a long training, each failure with one sentence of advice.

use std::io::Write;
use std::path::PathBuf;

use thinnet::Data;
use thinnet::preflight::{Check, Outcome, preflight, schedules};

use super::train::{Experiment, in_file, note_classes};
use super::{Cli, Failure};

/// Check a network file, its data and its learning rate before a long training.
///
/// Looks at a network, its data and its learning rate before a long training: dropout off, the cost must fall on a fixed batch;
/// the first loss, the gradients; dropout on: keep rates, and that evaluation is another mode. Ends with 1 if something is wrong.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The network and its training, as TOML.
    file: PathBuf,
    /// Data to use instead of the file's.
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
}

pub(super) fn run(args: &Args, cli: &Cli) -> Result<(), Failure> {
    let Experiment { config, network, sets, options } = Experiment::read(&args.file, args.data.as_deref())?;
    note_classes(&sets);
    let device = cli.device()?;
    let mut out = std::io::stdout().lock();
    let mut printed = Ok(());
    let checks = preflight(&device, &network, Data { train: &sets.train, valid: sets.valid.as_ref() }, &options, |check| {
        if printed.is_ok() {
            printed = print(&mut out, check, cli.json);
        }
    });
    let mut checks = checks.map_err(|e| in_file(&args.file, e))?;
    printed?;
    checks.push(schedules(&network, &options, config.train.epochs, sets.train.rows()));
    print(&mut out, &checks[checks.len() - 1], cli.json)?;
    let failed = checks.iter().filter(|check| check.failed()).count();
    if failed > 0 {
        return Err(Failure::Other(format!("{failed} of {} checks failed; the first one first", checks.len())));
    }
    if !cli.json {
        writeln!(out, "\nNothing speaks against training. Next: thinnet train {}", args.file.display())?;
    }
    Ok(())
}

/// One check, as a line or as a JSON object.
pub(super) fn print(out: &mut impl Write, check: &Check, json: bool) -> std::io::Result<()> {
    let (outcome, text) = match &check.outcome {
        Outcome::Passed => ("ok", None),
        Outcome::Failed(advice) => ("FAILED", Some(advice)),
        Outcome::Skipped(why) => ("skipped", Some(why)),
    };
    if json {
        return writeln!(
            out,
            "{}",
            serde_json::json!({ "check": check.name, "outcome": outcome, "found": check.found, "advice": text })
        );
    }
    write!(out, "{outcome:8} {:12}", check.name)?;
    match &check.outcome {
        Outcome::Skipped(why) => writeln!(out, " {why}"),
        _ => writeln!(out, " {}", check.found),
    }?;
    if let Outcome::Failed(advice) = &check.outcome {
        writeln!(out, "         {advice}")?;
    }
    out.flush()
}
