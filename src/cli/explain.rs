//! `thinnet explain`: which units were off when a row of a training was seen.

use std::io::Write;
use std::path::PathBuf;

use thinnet::Error;
use thinnet::explain::{Explained, Site, Units, explain};

use super::train::{Experiment, in_file, places};
use super::{Cli, Failure, number};

/// Show which units were off when a row was seen in an epoch of a training.
///
/// Of a run, or of a network file, as it would be trained: the update that the row had a part in, the other rows of its batch, and what every
/// dropout layer dropped. Nothing of it is recorded: masks and orders follow from the seed. Needs no adapter.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A run, or a network file.
    file: PathBuf,
    /// The row, by its number in its source, from 0.
    #[arg(long, value_name = "N", value_parser = number::<u32>)]
    sample: u32,
    /// The epoch, counted from 1 as in history.csv.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    epoch: u32,
    /// Data to use instead of the file's.
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
}

/// Most ranges of dropped units that are printed for a layer.
const MOST: usize = 24;

pub(super) fn run(args: &Args, cli: &Cli) -> Result<(), Failure> {
    let (file, _) = places(&args.file, None, true, "")?;
    let Experiment { network, sets, options, .. } = Experiment::read(&file, args.data.as_deref())?;
    let samples = sets.train.inputs().samples();
    let explained = explain(&network, &options, samples, args.sample, args.epoch - 1);
    // The sample and the epoch are those of the command line.
    let explained = explained.map_err(|error| match error {
        Error::Option { option: "sample" | "epoch", .. } => error,
        error => in_file(&file, error),
    })?;
    let mut out = std::io::stdout().lock();
    if cli.json {
        let line = serde_json::json!({ "what": "explained", "sample": args.sample, "epoch": args.epoch, "explained": explained });
        writeln!(out, "{line}")?;
        return Ok(());
    }
    print(&mut out, args, &explained)?;
    Ok(())
}

fn print(out: &mut impl Write, args: &Args, explained: &Explained) -> std::io::Result<()> {
    let Explained { position, update, batch, sites } = explained;
    let (sample, epoch, rows) = (args.sample, args.epoch, batch.len());
    writeln!(
        out,
        "Row {sample} in epoch {epoch}: number {} of its order, in update {} of the training,",
        position + 1,
        update + 1
    )?;
    writeln!(out, "whose {rows} rows are {}", ranges(batch))?;
    if sites.is_empty() {
        writeln!(out, "\nNothing is dropped in this network.")?;
    }
    for Site { layer, site, keep_prob, unit, units, .. } in sites {
        write!(out, "\n{layer}, site {site}: {unit}, keep_prob {keep_prob}")?;
        match units {
            Units::Kept(kept) => {
                let off: Vec<u32> = (0..).zip(kept).filter_map(|(unit, kept)| (!kept).then_some(unit)).collect();
                writeln!(out, ", {} of {} kept\n  off: {}", kept.len() - off.len(), kept.len(), ranges(&off))?;
            }
            Units::Factors(factors) => {
                let [low, high] = [factors.iter().copied().reduce(f64::min), factors.iter().copied().reduce(f64::max)];
                let [low, high] = [low, high].map(Option::unwrap_or_default);
                writeln!(out, "\n  {} units times {low:.3} to {high:.3}", factors.len())?;
            }
            Units::Learned => {
                writeln!(out, " at first\n  masks follow from the rate that was learned by then, which is not recorded")?
            }
        }
    }
    Ok(())
}

/// Numbers, those that follow each other as `3-8`.
fn ranges(numbers: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if number == *last + 1 => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    if ranges.is_empty() {
        return "none".into();
    }
    let text = |&(first, last): &(u32, u32)| match last - first {
        0 => first.to_string(),
        1 => format!("{first} {last}"),
        _ => format!("{first}-{last}"),
    };
    let shown: Vec<String> = ranges.iter().take(MOST).map(text).collect();
    let left: usize = ranges.iter().skip(MOST).map(|(first, last)| (last - first + 1) as usize).sum();
    let more = if left > 0 { format!(" and {left} more (--json has all)") } else { String::new() };
    shown.join(" ") + &more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_a_row_are_a_range() {
        assert_eq!(ranges(&[]), "none");
        assert_eq!(ranges(&[0, 2, 3, 5, 6, 7, 4]), "0 2 3 5-7 4");
        let odd: Vec<u32> = (0..60).map(|number| 2 * number).collect();
        assert!(ranges(&odd).ends_with("44 46 and 36 more (--json has all)"), "{}", ranges(&odd));
    }
}
