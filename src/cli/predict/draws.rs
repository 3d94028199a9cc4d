//! Monte-Carlo draws: their options, what is said of them on standard error, and the table of what they say.

use std::path::PathBuf;
use std::time::Instant;

use thinnet::monte_carlo::{MonteCarlo, Predictive, Sampling};
use thinnet::{Device, Inputs, Loss, Model};

use super::super::output::{Bar, write_whole};
use super::super::{Failure, number};
use super::table::{self, Form, Table};

/// Draws where only a ranking is asked for.
const DRAWS: u32 = 100;

/// Intervals of a regression unless others are asked for.
const INTERVALS: [f64; 2] = [0.5, 0.9];

#[derive(Debug, clap::Args)]
#[group(skip)] // the name of the group would be that of `predict`, whose arguments these are part of
#[command(next_help_heading = "Monte-Carlo dropout")]
pub(super) struct Args {
    /// Answer by N passes with dropout on instead of one without, and say how far they are apart; 100 is a beginning.
    #[arg(long, value_name = "N", value_parser = number::<u32>)]
    draws: Option<u32>,
    /// Seed of the masks, 0 unless given: the same seed gives the same answers.
    #[arg(long, value_name = "SEED", value_parser = number::<u64>)]
    seed: Option<u64>,
    /// Draw the same thinned network for all rows, so that a draw is one function of its input. Otherwise each row has its own.
    #[arg(long)]
    one_network: bool,
    /// Which masks: antithetic pairs and Latin hypercube draws often need fewer draws for the same error; exact-k, with
    /// --one-network, is another distribution: exactly k units of every layer.
    #[arg(long, value_enum, value_name = "SAMPLING")]
    sampling: Option<Masks>,
    /// Draw what a DropConnect layer gives from a normal distribution with the mean and the variance of all of its masks, not by
    /// masks: a random number for each output, not for each weight.
    #[arg(long)]
    gaussian_weights: bool,
    /// Stop as soon as no mean has a standard error above X: of a probability, or of the network's output, which is standardised
    /// where the targets were. --draws is the most there will be.
    #[arg(long, value_name = "X")]
    until_se: Option<f64>,
    /// Precision of the observations of a regression, 1 / variance of their noise, in units of the network's output: a noise with
    /// half of the variance of standardised targets has 2. Unless given, intervals are those of the mean alone.
    #[arg(long, value_name = "TAU")]
    precision: Option<f64>,
    /// Share of an interval of a regression, such as 0.95; may be given several times, each once. 0.5 and 0.9 unless given.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    interval: Vec<f64>,
    /// Keep what every single draw says: f32 [draws, rows, outputs]; probabilities, or the means of a regression in its own units.
    #[arg(long, value_name = "FILE.npy")]
    pub(super) keep_draws: Option<PathBuf>,
    /// Number of the first row as its masks have it, 0 unless given; the others count from there. Rows 50.. of a file have the
    /// masks that they have among all of its rows with --rows 50..N --first-sample 50.
    #[arg(long, value_name = "SAMPLE", value_parser = number::<u32>)]
    first_sample: Option<u32>,
    /// The standard deviation of every class in CSV, too, not of the label alone. JSON and .npy have them all.
    #[arg(long, conflicts_with = "rank")]
    all_std: bool,
}

/// Which masks the draws have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Masks {
    Independent,
    Antithetic,
    LatinHypercube,
    ExactK,
}

/// A share between 0 and 1.
fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if share > 0.0 && share < 1.0 => Ok(share),
        _ => Err("an interval holds a share between 0 and 1, such as 0.9".into()),
    }
}

fn usage<T>(message: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Usage(message.into()))
}

impl Args {
    /// How to draw; none where neither draws nor a ranking are asked for, which other options here cannot go without.
    pub(super) fn options(&self, ranked: bool) -> Result<Option<MonteCarlo>, Failure> {
        let draws = match (self.draws, ranked, self.first_given()) {
            (Some(draws), _, _) => draws,
            (None, true, _) => DRAWS,
            (None, false, None) => return Ok(None),
            (None, false, Some(option)) => {
                return usage(format!("{option} is about Monte-Carlo draws, and one pass has none; add --draws {DRAWS}"));
            }
        };
        if let Some(keep) = &self.keep_draws
            && keep.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("npy"))
        {
            return usage(format!("--keep-draws {}: the file must end in .npy", keep.display()));
        }
        if self.sampling == Some(Masks::ExactK) && !self.one_network {
            return usage("--sampling exact-k draws one network of exactly k units for all rows; add --one-network");
        }
        let sampling = match self.sampling {
            None | Some(Masks::Independent) => Sampling::Independent,
            Some(Masks::Antithetic) => Sampling::Antithetic,
            Some(Masks::LatinHypercube) => Sampling::LatinHypercube,
            Some(Masks::ExactK) => Sampling::ExactK,
        };
        Ok(Some(MonteCarlo {
            draws,
            seed: self.seed.unwrap_or(0),
            one_network: self.one_network,
            first_sample: self.first_sample.unwrap_or(0),
            sampling,
            gaussian_weights: self.gaussian_weights,
            until_se: self.until_se,
            keep_draws: self.keep_draws.is_some(),
            precision: self.precision,
            batch: None,
        }))
    }

    /// The first option that was given of those that need draws.
    fn first_given(&self) -> Option<&'static str> {
        let given = [
            ("--seed", self.seed.is_some()),
            ("--one-network", self.one_network),
            ("--sampling", self.sampling.is_some()),
            ("--gaussian-weights", self.gaussian_weights),
            ("--until-se", self.until_se.is_some()),
            ("--precision", self.precision.is_some()),
            ("--interval", !self.interval.is_empty()),
            ("--keep-draws", self.keep_draws.is_some()),
            ("--first-sample", self.first_sample.is_some()),
            ("--all-std", self.all_std),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(option, _)| option)
    }

    /// Refuses what has no meaning for a network with this loss, before anything is drawn.
    pub(super) fn check_loss(&self, model: &Model) -> Result<(), Failure> {
        let targets = model.preprocessing().targets.as_ref();
        let scales = targets.map_or(&[][..], |targets| &targets.deviation);
        match (model.network().loss, self.precision) {
            (Loss::SoftmaxCrossEntropy | Loss::BinaryCrossEntropy, Some(_)) => {
                usage("--precision is that of a regression's observations, and this network tells classes apart; leave it out")
            }
            (Loss::SoftmaxCrossEntropy | Loss::BinaryCrossEntropy, None) if !self.interval.is_empty() => {
                usage("--interval is for the numbers of a regression; probabilities have standard deviations, see --all-std")
            }
            (Loss::GaussianNll, Some(_)) => usage(
                "--precision: this network was trained with gaussian_nll and says itself how precise observations are; leave it out",
            ),
            (Loss::MeanSquaredError, Some(tau)) if scales.iter().any(|scale| *scale != scales[0]) => usage(format!(
                "--precision {tau} cannot stand for {} targets, each in units of its own; leave it out, or train with the loss \
                 gaussian_nll, which learns a noise for each",
                scales.len()
            )),
            _ => Ok(()),
        }
    }

    /// The columns of all answers, or of a regression in its own units.
    pub(super) fn table(&self, model: &Model, drawn: &Predictive, inputs: &Inputs, form: Form) -> Result<Table, Failure> {
        match drawn.is_probability() {
            true => Ok(self.classes(model, drawn, inputs, form)),
            false => self.values(model, drawn, inputs),
        }
    }

    fn classes(&self, model: &Model, drawn: &Predictive, inputs: &Inputs, form: Form) -> Table {
        let (mean, std) = (drawn.mean(), drawn.std());
        let (names, classes) = (table::names(model, drawn.outputs(), false), table::classes(model, &mean, false));
        let spreads = names.iter().map(|name| format!("{name}_std")).collect();
        let mut table = Table::new(inputs, table::labels(model, &mean, false));
        table.outputs("outputs", names, mean.values());
        match classes {
            // The probabilities of two classes of one output have one deviation.
            Some(classes) if form == Form::Csv && !self.all_std => {
                let of = |(row, class): (usize, usize)| f64::from(std.row(row)[class.min(drawn.outputs() - 1)]);
                table.column("label_std", classes.into_iter().enumerate().map(of));
            }
            _ => table.outputs("std", spreads, std.values()),
        }
        table.column("predictive_entropy", drawn.predictive_entropy());
        table.column("expected_entropy", drawn.expected_entropy());
        table.column("mutual_information", drawn.mutual_information());
        table.column("variation_ratio", drawn.variation_ratio());
        table
    }

    fn values(&self, model: &Model, drawn: &Predictive, inputs: &Inputs) -> Result<Table, Failure> {
        let targets = drawn.outputs();
        let names: Vec<String> = (0..targets).map(|target| table::target_name(model, target, targets)).collect();
        let of = |what: &str| names.iter().map(|name| format!("{name}_{what}")).collect();
        let mut table = Table::new(inputs, None);
        table.outputs("outputs", names.clone(), drawn.mean().values());
        table.outputs("std", of("std"), drawn.std().values());
        table.outputs("total_std", of("total_std"), drawn.total_std().values());
        // 0.9 is 90, without what binary fractions add to it; asked for twice, it is there once.
        let percent = |share: f64| (share * 1e8).round() / 1e6;
        let asked = if self.interval.is_empty() { &INTERVALS[..] } else { &self.interval };
        for (i, &share) in asked.iter().enumerate() {
            if asked[..i].iter().any(|&before| percent(before) == percent(share)) {
                continue;
            }
            let ends = drawn.interval(share)?;
            for (end, values) in ["low", "high"].into_iter().zip(ends) {
                let key = format!("{end}_{}", percent(share));
                table.outputs(key.clone(), of(&key), values.values());
            }
        }
        Ok(table)
    }
}

/// Draws, with a bar on a terminal and a line of what was reached, and keeps single draws where that is asked for; numbers of a
/// regression are in their own units.
pub(super) fn run(
    args: &Args,
    options: &MonteCarlo,
    model: &Model,
    device: &Device,
    inputs: &Inputs,
) -> Result<Predictive, Failure> {
    let (bar, began) = (Bar::counting("passes", "drawing"), Instant::now());
    let drawn = model.monte_carlo_with(device, inputs, options, |done, count| bar.at(done, count));
    bar.finish();
    let drawn = drawn?;
    eprintln!("{}", report(options, model, &drawn, began.elapsed().as_secs_f64()));
    let drawn = match (&model.preprocessing().targets, drawn.is_probability()) {
        (Some(units), false) => drawn.in_units(units)?,
        _ => drawn,
    };
    if let Some(path) = &args.keep_draws {
        // Rows that were drawn apart may have stopped apart: what they all have is kept.
        let draws: Vec<_> = (0..drawn.draws()).map_while(|draw| drawn.draw(draw)).collect();
        let values: Vec<f32> = draws.iter().flat_map(|draw| draw.values()).copied().collect();
        write_whole(path, &table::npy(&[draws.len(), drawn.rows(), drawn.outputs()], &values))?;
    }
    Ok(drawn)
}

/// Three digits of a number.
fn short(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}

/// What was reached, before the answers have units of their own.
fn report(options: &MonteCarlo, model: &Model, drawn: &Predictive, seconds: f64) -> String {
    let (draws, rows, error) = (drawn.draws(), drawn.rows(), drawn.largest_standard_error());
    let of = match (drawn.is_probability(), &model.preprocessing().targets) {
        (true, _) => " of a probability",
        (false, Some(_)) => " of a standardised target",
        (false, None) => "",
    };
    let mut text =
        format!("{draws} draws of each of {rows} rows in {seconds:.2} s; the largest standard error{of} is {}", short(error));
    if options.sampling == Sampling::LatinHypercube {
        text += ", reckoned as if draws were independent";
    }
    match options.until_se {
        Some(se) if error > se => text += &format!(": {se} was not reached, ask for more --draws"),
        _ => {}
    }
    text += ".";
    if drawn.is_probability() {
        return text;
    }
    text += match drawn.is_exact() {
        true => " Intervals are those of the draws",
        false => {
            " Intervals are those of a normal distribution, for the draws are more than 64 MiB; with --keep-draws they are those \
                  of the draws"
        }
    };
    text + match (model.network().loss, options.precision) {
        (Loss::MeanSquaredError, None) => {
            "; they hold the mean, not single observations, of whose noise nothing is known: see --precision."
        }
        _ => ".",
    }
}
