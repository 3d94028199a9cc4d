//! `thinnet bench`: what dropout costs on this adapter, and how fast the adapter is, in half a minute.

use std::io::Write;

use thinnet::{Device, Result};

use super::output::{Bar, Listener};
use super::{Cli, Failure};

mod measure;
mod probe;
mod work;

use measure::Compared;
use work::Case;

/// What a command returns; `Result` is the library's, for the modules above.
type Done = std::result::Result<(), Failure>;

/// Measure this adapter: training with and without dropout, products, standalone dropout.
///
/// Measures the adapter in about half a minute: a training step of a large and of a small network without and with dropout, in
/// turn, so that the ratio holds on a busy machine; the products of dense layers; standalone dropout against the fastest copy.
/// `cargo bench` says more, benches/peers/run.py compares with other programs.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Tiny networks and two pairs: shows that everything runs, in a second or two; the figures say nothing.
    #[arg(long)]
    quick: bool,
}

/// How much is measured.
struct Extent {
    /// Networks, and the seconds that the pairs of each may take.
    cases: [(Case, f64); 2],
    pairs: u32,
    /// Rows, inputs and units of dense layers.
    products: [[u32; 3]; 2],
    /// Rows and units of standalone dropout.
    dropout: [u32; 2],
    /// Seconds of one half of a pair, and of a single figure.
    seconds: [f64; 2],
}

impl Extent {
    fn new(quick: bool) -> Self {
        if quick {
            let cases = [(Case::tiny(), 1.0), (Case { batch: 4, ..Case::tiny() }, 1.0)];
            return Self { cases, pairs: 2, products: [[16; 3], [8, 16, 32]], dropout: [64, 64], seconds: [0.0; 2] };
        }
        // 21 pairs: an odd number has a middle, and the interval leaves out the five values on each side.
        let (cases, products) = ([(Case::mlp(), 10.0), (Case::digits(), 6.0)], [[1024; 3], [128, 1024, 1024]]);
        Self { cases, pairs: 21, products, dropout: [2048, 2048], seconds: [0.1, 1.0] }
    }
}

/// One line of the answer.
enum Line {
    Training(String, u32, Compared),
    Product([u32; 3], f64),
    Copy(f64, f64),
    Dropout(f64, f64, f64),
}

pub(super) fn run(args: &Args, cli: &Cli) -> Done {
    let device = cli.device()?;
    let Some(gpu) = device.gpu() else {
        let what = "the adapter `cpu` is thinnet's own CPU code, made for checking; there is nothing to measure";
        return Err(Failure::Usage(format!("{what}, choose another with --adapter (thinnet devices lists them)")));
    };
    let (extent, caps) = (Extent::new(args.quick), gpu.caps());
    let mut out = Listener(std::io::stdout().lock());
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let (version, kind) = (env!("CARGO_PKG_VERSION"), if caps.software { "software" } else { "hardware" });
    if cli.json {
        let head = serde_json::json!({ "thinnet": version, "adapter": caps.adapter, "backend": caps.backend,
            "software": caps.software, "processors": processors, "quick": args.quick });
        writeln!(out, "{head}")?;
    } else {
        writeln!(out, "thinnet {version} on {} ({}, {kind}), {processors} processors", caps.adapter, caps.backend)?;
        if args.quick {
            writeln!(out, "Only that everything runs; the figures say nothing.")?;
        }
        writeln!(out, "\n{:36} {}", "a training step, SGD with momentum", measure::compared_header())?;
    }
    measure_all(&device, &extent, |line| {
        writeln!(out, "{}", if cli.json { json(line).to_string() } else { text(line) })?;
        Ok(out.flush()?)
    })
}

fn measure_all(device: &Device, extent: &Extent, mut print: impl FnMut(&Line) -> Done) -> Done {
    for (case, budget) in &extent.cases {
        let bar = Bar::counting("pairs", case.widths());
        let mut two = [case.training(device, false)?, case.training(device, true)?];
        let pairs = measure::in_pairs(&mut two, (extent.pairs, extent.seconds[0], *budget), |done| bar.at(done, extent.pairs))?;
        bar.finish();
        print(&Line::Training(case.widths(), case.batch, Compared::of(&pairs)))?;
    }
    for shape in extent.products {
        print(&Line::Product(shape, work::product(device, shape)?.seconds(extent.seconds[1], 3)?))?;
    }
    let [rows, units] = extent.dropout;
    let bytes = 8.0 * f64::from(rows * units);
    let gpu = device.gpu().expect("this is an adapter");
    let mut two = [probe::copy(gpu, rows * units)?, work::dropout(device, extent.dropout)?];
    // In turn, so that the share holds when the machine's speed drifts.
    let pairs = measure::in_pairs(&mut two, (extent.pairs, extent.seconds[0], 4.0), |_| {})?;
    let compared = Compared::of(&pairs);
    print(&Line::Copy(bytes, compared.seconds[0]))?;
    print(&Line::Dropout(bytes, compared.seconds[1], compared.ratio))
}

fn json(line: &Line) -> serde_json::Value {
    match line {
        Line::Training(network, batch, found) => {
            let [low, high] = found.interval.map_or([None; 2], |interval| interval.map(Some));
            serde_json::json!({ "what": "training step", "network": network, "batch": batch, "seconds_without": found.seconds[0],
                "seconds_with": found.seconds[1], "ratio": found.ratio, "low": low, "high": high, "pairs": found.pairs })
        }
        Line::Product(shape, seconds) => {
            serde_json::json!({ "what": "dense layer", "shape": shape, "seconds": seconds, "gflops": gflops(*shape, *seconds) })
        }
        Line::Copy(bytes, seconds) => {
            serde_json::json!({ "what": "copy", "bytes": bytes, "seconds": seconds, "gbytes_per_second": bytes / seconds * 1e-9 })
        }
        Line::Dropout(bytes, seconds, ratio) => serde_json::json!({ "what": "dropout", "bytes": bytes, "seconds": seconds,
            "gbytes_per_second": bytes / seconds * 1e-9, "times_copy": ratio }),
    }
}

fn text(line: &Line) -> String {
    match line {
        Line::Training(network, batch, found) => format!("{:36} {found}", format!("  {network}, batch {batch}")),
        Line::Product([m, k, n], seconds) => {
            let name = format!("dense layer, {m} x {k} x {n}");
            format!("{name:36} {:>9.3} ms {:>9.2} GFLOP/s", 1e3 * seconds, gflops([*m, *k, *n], *seconds))
        }
        Line::Copy(bytes, seconds) => bandwidth("copy", *bytes, *seconds),
        Line::Dropout(bytes, seconds, ratio) => {
            format!("{}, {ratio:.2} times the copy", bandwidth("standalone dropout, keep 0.5", *bytes, *seconds))
        }
    }
}

fn gflops(shape: [u32; 3], seconds: f64) -> f64 {
    2e-9 * shape.map(f64::from).iter().product::<f64>() / seconds
}

fn bandwidth(name: &str, bytes: f64, seconds: f64) -> String {
    format!("{name:36} {:>9.3} ms {:>9.2} GB/s", 1e3 * seconds, bytes / seconds * 1e-9)
}

#[cfg(test)]
mod tests {
    use super::measure::{interval, median};

    #[test]
    fn medians_and_their_intervals() {
        assert!(median(&[]).is_nan());
        assert_eq!((median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0, 2.0, 3.0])), (2.0, 2.5));
        let up_to = |n: i32| (1..=n).rev().map(f64::from).collect::<Vec<_>>();
        // The ranks of every table of the sign test: n = 6: 1, 10: 2, 20: 6, 21: 6, 25: 8, 100: 40.
        for (n, k) in [(6, 1), (8, 1), (9, 2), (10, 2), (20, 6), (21, 6), (25, 8), (100, 40)] {
            assert_eq!(interval(&up_to(n)), Some([f64::from(k), f64::from(n + 1 - k)]), "{n} values");
        }
        assert!((0..6).all(|n| interval(&up_to(n)).is_none()));
        // No number is too small for it: half of it less about 0.98 roots of n.
        let [low, high] = interval(&up_to(10_000)).unwrap();
        assert!((4900.0..=4905.0).contains(&low) && high == 10_001.0 - low, "{low} to {high}");
    }
}
