//! Commands, their arguments and exit codes: 0 done, 1 failed, 2 bad usage or input, 3 no adapter, 130 interrupted.

use std::ops::Range;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use thinnet::kernels::matmul::Matmul;
use thinnet::plan::Caps;
use thinnet::{Device, Error};

mod audit;
mod bench;
mod calibrate;
mod check;
mod data;
mod demo;
mod describe;
mod devices;
mod eval;
mod explain;
mod init;
mod interrupt;
mod mask;
mod output;
mod plot;
mod predict;
mod preflight;
mod sweep;
mod train;
mod wide;

/// Neural networks with dropout, trained on any GPU that Vulkan, Metal or DX12 reaches.
#[derive(Debug, Parser)]
#[command(
    name = "thinnet",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 bad usage or input, 3 no adapter, 130 interrupted."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// The first adapter whose name contains NAME, whatever the case; `cpu` needs no adapter and is slow.
    #[arg(long, global = true, value_name = "NAME")]
    adapter: Option<String>,
    /// How matrices are multiplied, instead of the adapter's own choice (see `thinnet devices`). The families add up in different
    /// orders, so that the last digits differ; `shuffle` is for some software adapters only.
    #[arg(long, global = true, value_name = "FAMILY")]
    matmul: Option<Family>,
    /// Let the software adapter llvmpipe compute with 16 lanes instead of 8, on a CPU with AVX-512.
    ///
    /// Faster on some CPUs and slower on others: try both. It starts the command again with LP_NATIVE_VECTOR_WIDTH=512;
    /// where that variable is set already, its value stays. `thinnet devices` shows the lanes. Masks are the same.
    #[arg(long, global = true)]
    wide: bool,
    /// One JSON object a line on standard output instead of text.
    #[arg(long, global = true)]
    json: bool,
}

/// The families of matrix products by name.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Family {
    Plain,
    Tile,
    Shuffle,
}

// What a command does is said by its arguments' type.
#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Init(init::Args),
    Data(describe::Args),
    Preflight(preflight::Args),
    Train(train::Args),
    Eval(eval::Args),
    Predict(predict::Args),
    Calibrate(calibrate::Args),
    Sweep(sweep::Args),
    /// List every adapter, with the limits that matter.
    Devices,
    Check(check::Args),
    Bench(bench::Args),
    Mask(mask::Args),
    Explain(explain::Args),
    Audit(audit::Args),
}

pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    if cli.wide {
        wide::start_again(&cli);
    }
    let result = match &cli.command {
        Command::Demo(args) => demo::run(args, &cli),
        Command::Init(args) => init::run(args, &cli),
        Command::Data(args) => describe::run(args, &cli),
        Command::Preflight(args) => preflight::run(args, &cli),
        Command::Train(args) => train::run(args, &cli),
        Command::Eval(args) => eval::run(args, &cli),
        Command::Predict(args) => predict::run(args, &cli),
        Command::Calibrate(args) => calibrate::run(args, &cli),
        Command::Sweep(args) => sweep::run(args, &cli),
        Command::Devices => devices::run(&cli),
        Command::Check(args) => check::run(args, &cli),
        Command::Bench(args) => bench::run(args, &cli),
        Command::Mask(args) => mask::run(args, &cli),
        Command::Explain(args) => explain::run(args, &cli),
        Command::Audit(args) => audit::run(args, &cli),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure @ Failure::Interrupted(_)) => {
            eprintln!("{failure}");
            ExitCode::from(failure.code())
        }
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

/// What ends a command.
#[derive(Debug)]
enum Failure {
    Thinnet(Error),
    /// What was asked for cannot be done as it was asked, said in full.
    Usage(String),
    /// Anything else, said in full.
    Other(String),
    /// Standard output could not be written; nobody listens any more if the pipe is broken.
    Output(std::io::Error),
    /// Ctrl-C, and what has become of the work.
    Interrupted(String),
}

/// The exit code after Ctrl-C, as shells have it: 128 and the number of the signal.
const INTERRUPTED: u8 = 130;

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Thinnet(Error::NoAdapter(_)) => 3,
            Self::Thinnet(
                Error::KeepProb { .. }
                | Error::Network { .. }
                | Error::Option { .. }
                | Error::Data(_)
                | Error::File { .. }
                | Error::Limit { .. },
            ) => 2,
            Self::Usage(_) => 2,
            Self::Thinnet(_) | Self::Other(_) | Self::Output(_) => 1,
            Self::Interrupted(_) => INTERRUPTED,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Thinnet(error) => error.fmt(f),
            Self::Usage(message) | Self::Other(message) | Self::Interrupted(message) => f.write_str(message),
            Self::Output(error) => write!(f, "standard output cannot be written: {error}"),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Thinnet(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Output(error)
    }
}

impl Cli {
    fn device(&self) -> thinnet::Result<Device> {
        let device = match &self.adapter {
            Some(name) => Device::open_named(name),
            None => Device::open(),
        }?;
        match self.family(&device.caps()) {
            Some(matmul) => device.with_matmul(matmul),
            None => Ok(device),
        }
    }

    /// The family that was asked for, on this device; where it has no lanes for `shuffle`, one that is refused with the reason.
    fn family(&self, caps: &Caps) -> Option<Matmul> {
        Some(match (self.matmul?, caps.matmul) {
            (Family::Plain, _) => Matmul::Plain,
            (Family::Tile, _) => Matmul::Tile,
            (Family::Shuffle, own @ Matmul::Shuffle { .. }) => own,
            (Family::Shuffle, _) => Matmul::Shuffle { lanes: caps.subgroups.0 },
        })
    }
}

/// A whole number, decimal or `0x...`.
fn number<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let digits = text.replace('_', "");
    let value = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => digits.parse(),
    };
    let value = value.map_err(|_| format!("{text:?} is no whole number, such as 42 or 0x2a"))?;
    T::try_from(value)
        .map_err(|_| format!("{text} is too large: at most {}", if size_of::<T>() == 4 { u64::from(u32::MAX) } else { u64::MAX }))
}

/// `A..B`, from A to below B; a single number A is `A..A+1`.
fn range(text: &str) -> Result<Range<u32>, String> {
    let Some((start, end)) = text.split_once("..") else {
        let start = number::<u32>(text)?;
        let end = start.checked_add(1).ok_or_else(|| format!("{text} is the largest number, and a range ends above its last"))?;
        return Ok(start..end);
    };
    let (start, end) = (number(start)?, number(end)?);
    if start >= end {
        return Err(format!("{text} is empty: a range goes from its start to below its end, such as 0..16"));
    }
    Ok(start..end)
}

#[cfg(test)]
mod tests {
    use super::{number, range};

    #[test]
    fn numbers_may_be_hexadecimal_and_are_checked() {
        assert_eq!(number::<u32>("0xffff_ffff"), Ok(u32::MAX));
        assert_eq!(number::<u64>("18446744073709551615"), Ok(u64::MAX));
        assert!(number::<u32>("4294967296").unwrap_err().contains("4294967295"));
        assert!(number::<u32>("-1").is_err() && number::<u32>("").is_err() && number::<u32>("0x").is_err());
    }

    #[test]
    fn ranges_are_half_open_and_not_empty() {
        assert_eq!(range("3..7"), Ok(3..7));
        assert_eq!(range("5"), Ok(5..6));
        assert!(range("7..7").is_err() && range("8..7").is_err() && range("4294967295").is_err());
    }
}
