//! `thinnet check`: whether this adapter does what thinnet promises.

use std::io::Write;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use thinnet::check::{self, Check, Finding, Group};
use thinnet::plan::Caps;
use thinnet::{Device, Error, Result};

use super::output::{Bar, Listener};
use super::{Cli, Failure, number};

/// What a command returns; `Result` is the library's.
type Done<T = ()> = std::result::Result<T, Failure>;

/// Check that this adapter computes what it should: random words, masks, kernels, gradients, trainings bit for bit.
///
/// Runs some 380 small checks on the adapter, in a minute or two: random words and masks against the mask contract; of every layer
/// and every dropout variant, with dropout on, the kernels of some steps against their CPU twins and the gradients against f64; trainings
/// that have to end at the same bits; Monte-Carlo draws replayed. For hardware and drivers that nobody has tried, and for reports.
/// Ends with 1 if something is wrong.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to check, all of it unless given.
    #[arg(value_name = "GROUP", value_parser = PossibleValuesParser::new(Group::ALL.map(Group::name)).map(group))]
    groups: Vec<Group>,
    /// Seed of numbers, weights, masks and orders.
    #[arg(long, default_value = "1", value_parser = number::<u64>)]
    seed: u64,
}

fn group(name: String) -> Group {
    *Group::ALL.iter().find(|group| group.name() == name).expect("clap takes these names only")
}

/// How the checks of a group came out.
#[derive(Debug, Default)]
struct Tally {
    count: usize,
    wrong: usize,
    /// The largest error in units of its bound, and where.
    largest: Option<(f64, String)>,
}

impl Tally {
    fn add(&mut self, name: String, finding: &Finding) {
        self.count += 1;
        match *finding {
            Finding::Equal => {}
            Finding::Within(share) if self.largest.as_ref().is_some_and(|(largest, _)| share <= *largest) => {}
            Finding::Within(share) => self.largest = Some((share, name)),
            Finding::Wrong(_) => self.wrong += 1,
        }
    }

    fn line(&self, group: Group) -> String {
        let Self { count, wrong, largest } = self;
        match (wrong, largest) {
            (0, None) => format!("ok      {group:10} {count} of {count}, equal bits"),
            (0, Some((share, name))) => {
                format!("ok      {group:10} {count} of {count}; the largest error is {share:.2} of its bound ({name})")
            }
            _ => format!("FAILED  {group:10} {wrong} of {count}"),
        }
    }
}

pub(super) fn run(args: &Args, cli: &Cli) -> Done {
    let device = cli.device()?;
    // The exit code is what a script waits for, so a reader that has gone ends nothing.
    let mut out = Listener(std::io::stdout().lock());
    writeln!(out, "{}", if cli.json { head_json(&device, args.seed).to_string() } else { head(&device.caps()) })?;
    let all = check::all(args.seed);
    let (mut count, mut wrong, mut failed) = (0, 0, Vec::new());
    for group in Group::ALL.into_iter().filter(|group| args.groups.is_empty() || args.groups.contains(group)) {
        let checks: Vec<&Check> = all.iter().filter(|check| check.group() == group).collect();
        let tally = run_group(&device, &checks, cli.json, &mut out)?;
        if !cli.json {
            writeln!(out, "{}", tally.line(group))?;
            out.flush()?;
        }
        (count, wrong) = (count + tally.count, wrong + tally.wrong);
        failed.extend((tally.wrong > 0).then_some(group));
    }
    if wrong > 0 {
        return Err(Failure::Other(advice(&device.caps().adapter, [wrong, count], &failed)));
    }
    if !cli.json {
        writeln!(out, "\nAll {count} checks passed. Next: thinnet bench says how fast this adapter is.")?;
    }
    Ok(())
}

/// Runs the checks of a group and prints those that failed, as JSON all of them.
fn run_group(device: &Device, checks: &[&Check], as_json: bool, out: &mut impl Write) -> Done<Tally> {
    let mut tally = Tally::default();
    let Some(group) = checks.first().map(|check| check.group()) else { return Ok(tally) };
    let bar = Bar::counting("checks", group.to_string());
    for (done, check) in (0u64..).zip(checks) {
        bar.at(done, checks.len() as u64);
        // If the driver ends the program, this is what it was at.
        bar.message(check.name());
        let (finding, lost) = found(check.run(device));
        let line = match &finding {
            _ if as_json => Some(json(check, &finding).to_string()),
            Finding::Wrong(problem) => {
                Some(format!("FAILED  {group:10} {}\n        {}", check.name(), problem.replace('\n', "\n        ")))
            }
            Finding::Equal | Finding::Within(_) => None,
        };
        if let Some(line) = line {
            bar.aside(|| writeln!(out, "{line}").and_then(|()| out.flush()))?;
        }
        if let Some(lost) = lost {
            return Err(lost.into());
        }
        tally.add(check.name(), &finding);
    }
    bar.finish();
    Ok(tally)
}

/// What is wrong, and the error if nothing more can be checked. A check that could not be run is one that failed; without the device
/// none can.
fn found(finding: Result<Finding>) -> (Finding, Option<Error>) {
    let failed = |error: &Error| Finding::Wrong(format!("it did not run: {error}"));
    match finding {
        Ok(finding) => (finding, None),
        Err(lost @ Error::DeviceLost(_)) => (failed(&lost), Some(lost)),
        Err(error) => (failed(&error), None),
    }
}

/// What failed checks mean, and what may help.
fn advice(adapter: &str, [wrong, count]: [usize; 2], failed: &[Group]) -> String {
    let meaning = match failed.iter().all(|group| matches!(group, Group::Training | Group::Draws)) {
        true => "what it computes may be right, but is not the same to the bit when it is repeated",
        false => "do not trust what it trains",
    };
    format!(
        "{wrong} of {count} checks failed on {adapter}: {meaning}. A newer driver, another adapter (thinnet devices) or, for kernels and \
         gradients, another family of matrix products (--matmul) may be right; the output of --json is what a report needs"
    )
}

fn head(caps: &Caps) -> String {
    let (version, kind) = (env!("CARGO_PKG_VERSION"), if caps.software { "software" } else { "hardware" });
    format!("thinnet {version} on {} ({}, {kind}), matrix products: {}\n", caps.adapter, caps.backend, caps.matmul)
}

/// What a report needs to say of the machine.
fn head_json(device: &Device, seed: u64) -> serde_json::Value {
    let driver = device.gpu().map(|gpu| {
        let info = gpu.device().adapter_info();
        serde_json::json!({ "name": info.driver, "version": info.driver_info, "vendor": info.vendor, "device": info.device })
    });
    serde_json::json!({ "thinnet": env!("CARGO_PKG_VERSION"), "seed": seed, "device": device.caps(), "driver": driver,
        "system": std::env::consts::OS, "processor": std::env::consts::ARCH })
}

fn json(check: &Check, finding: &Finding) -> serde_json::Value {
    let (outcome, share, problem) = match finding {
        Finding::Equal => ("equal", None, None),
        Finding::Within(share) => ("within", Some(share), None),
        Finding::Wrong(problem) => ("wrong", None, Some(problem)),
    };
    serde_json::json!({ "group": check.group(), "check": check.name(), "outcome": outcome, "of_bound": share, "problem": problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_as_good_as_its_worst_check() {
        let mut tally = Tally::default();
        tally.add("a".into(), &Finding::Equal);
        assert_eq!(tally.line(Group::Masks), "ok      masks      1 of 1, equal bits");
        tally.add("b".into(), &Finding::Within(0.25));
        tally.add("c".into(), &Finding::Within(0.125));
        assert_eq!(tally.line(Group::Gradients), "ok      gradients  3 of 3; the largest error is 0.25 of its bound (b)");
        tally.add("d".into(), &Finding::Wrong("other bits".into()));
        assert_eq!(tally.line(Group::Gradients), "FAILED  gradients  1 of 4");
    }

    #[test]
    fn what_does_not_run_has_failed_and_a_lost_device_ends_it() {
        let (finding, lost) = found(Err(Error::Gpu { place: "the kernel sgd".into(), message: "no".into() }));
        assert!(matches!(&finding, Finding::Wrong(problem) if problem.contains("the kernel sgd")) && lost.is_none());
        let (finding, lost) = found(Err(Error::DeviceLost("unplugged".into())));
        assert!(matches!(&finding, Finding::Wrong(problem) if problem.contains("unplugged")) && lost.is_some());
    }

    #[test]
    fn what_only_fails_to_repeat_is_not_called_wrong() {
        assert!(advice("a GPU", [1, 9], &[Group::Training, Group::Draws]).contains("may be right, but"));
        let wrong = advice("a GPU", [2, 9], &[Group::Masks, Group::Training]);
        assert!(wrong.starts_with("2 of 9 checks failed on a GPU: do not trust what it trains. A newer"), "{wrong}");
        assert!(!wrong.contains("  "), "{wrong}");
    }
}
