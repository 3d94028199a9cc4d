//! `thinnet mask`: masks and raw Philox words, computed on the adapter.

use std::io::Write;
use std::ops::Range;

use thinnet::ops::Site;
use thinnet::rng::Stream;
use thinnet::{KeepProb, masks};

use super::{Cli, Failure, number, range};

/// Print dropout masks, or raw Philox words, computed on the adapter.
///
/// One row of 0 (dropped) and 1 (kept) for each sample; or, with --raw, four words of Philox4x32-10.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Seed: the Philox key.
    #[arg(long, default_value = "0", value_parser = number::<u64>, conflicts_with = "raw")]
    seed: u64,
    /// Probability that a unit is kept, from 0 to 1.
    #[arg(long, default_value_t = 0.5, conflicts_with = "raw", allow_negative_numbers = true)]
    keep: f64,
    /// Place in the network: dropout layers count from 0.
    #[arg(long, default_value = "0", value_parser = number::<u32>, conflicts_with = "raw")]
    site: u32,
    /// How often the sample has been seen: the epoch, from 0.
    #[arg(long, default_value = "0", value_parser = number::<u32>, conflicts_with = "raw")]
    pass: u32,
    /// Rows of the source file.
    #[arg(long, default_value = "0..4", value_parser = range, conflicts_with = "raw")]
    samples: Range<u32>,
    /// Units of the layer.
    #[arg(long, default_value = "0..64", value_parser = range, conflicts_with = "raw")]
    units: Range<u32>,
    /// What the mask is for: 0 training, 1 Monte-Carlo, 6 masks shared by a batch.
    #[arg(long, default_value = "0", value_parser = stream, conflicts_with = "raw")]
    stream: Stream,
    /// Print the words of --counter and --key instead.
    #[arg(long, requires = "counter", requires = "key")]
    raw: bool,
    /// Four numbers.
    #[arg(long, value_name = "A,B,C,D", value_parser = words::<4>, requires = "raw")]
    counter: Option<[u32; 4]>,
    /// Two numbers.
    #[arg(long, value_name = "A,B", value_parser = words::<2>, requires = "raw")]
    key: Option<[u32; 2]>,
}

fn stream(text: &str) -> Result<Stream, String> {
    let index = number::<u32>(text)? as usize;
    Stream::ALL
        .get(index)
        .copied()
        .ok_or_else(|| format!("there is no stream {index}; streams are 0 to {}", Stream::ALL.len() - 1))
}

fn words<const N: usize>(text: &str) -> Result<[u32; N], String> {
    let values = text.split(',').map(|part| number::<u32>(part.trim())).collect::<Result<Vec<_>, _>>()?;
    values.try_into().map_err(|values: Vec<u32>| format!("{N} numbers separated by commas, not {}", values.len()))
}

pub(super) fn run(args: &Args, cli: &Cli) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    if let (Some(counter), Some(key)) = (args.counter, args.key) {
        let words = masks::philox_words(&cli.device()?, &[counter], key)?[0];
        let hex = words.map(|word| format!("{word:08x}"));
        if cli.json {
            writeln!(out, "{}", serde_json::json!({ "counter": counter, "key": key, "words": hex }))?;
        } else {
            writeln!(out, "{}", hex.join(" "))?;
        }
        return Ok(());
    }
    let keep = KeepProb::new(args.keep)?;
    let site = Site { keep, seed: args.seed, stream: args.stream, site: args.site, pass: args.pass };
    let rows = masks::draw(&cli.device()?, &site, args.samples.clone(), args.units.clone())?;
    for (sample, row) in args.samples.clone().zip(rows) {
        let bits: String = row.iter().map(|&kept| if kept { '1' } else { '0' }).collect();
        if cli.json {
            writeln!(
                out,
                "{}",
                serde_json::json!({ "sample": sample, "units": [args.units.start, args.units.end], "mask": bits })
            )?;
        } else {
            writeln!(out, "{bits}")?;
        }
    }
    Ok(())
}
