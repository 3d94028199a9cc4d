//! The rows whose labels would teach the network most, for active learning.

use thinnet::monte_carlo::Predictive;
use thinnet::{Inputs, Model};

use super::super::{Failure, number};
use super::table::{self, Table};

#[derive(Debug, clap::Args)]
#[group(skip)] // the name of the group would be that of `predict`, whose arguments these are part of
#[command(next_help_heading = "Ranking")]
pub(super) struct Args {
    /// List the rows most worth labelling, by 100 draws unless --draws says how many; equal rows in the order of their numbers.
    #[arg(long, value_enum, value_name = "MEASURE")]
    pub(super) rank: Option<Measure>,
    /// Only the first N rows of the ranking.
    #[arg(long, value_name = "N", requires = "rank", value_parser = at_least_one)]
    pub(super) top: Option<u32>,
}

/// What a row is worth.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum Measure {
    /// Mutual information of label and network: the draws are sure, but not of the same label.
    Bald,
    /// Entropy of the mean probabilities, whatever it is from.
    Entropy,
    /// Share of draws that do not name the label that most draws name.
    VariationRatio,
}

fn at_least_one(text: &str) -> Result<u32, String> {
    match number::<u32>(text)? {
        0 => Err("a ranking of no rows says nothing; ask for at least 1".into()),
        top => Ok(top),
    }
}

impl Args {
    pub(super) fn check_loss(&self, model: &Model) -> Result<(), Failure> {
        match self.rank {
            Some(_) if !model.network().loss.has_accuracy() => Err(Failure::Usage(
                "--rank is for classes: a regression has neither entropy nor votes; sort the table of --draws by its std instead"
                    .into(),
            )),
            _ => Ok(()),
        }
    }
}

/// The rows from the most doubtful on.
pub(super) fn table(measure: Measure, top: Option<u32>, model: &Model, drawn: &Predictive, inputs: &Inputs) -> Table {
    let (key, scores) = match measure {
        Measure::Bald => ("mutual_information", drawn.mutual_information()),
        Measure::Entropy => ("predictive_entropy", drawn.predictive_entropy()),
        Measure::VariationRatio => ("variation_ratio", drawn.variation_ratio()),
    };
    let rows = inputs.samples();
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(rows[a].cmp(&rows[b])));
    order.truncate(top.map_or(rows.len(), |top| top as usize));
    let labels = table::labels(model, &drawn.mean(), false);
    let mut table = Table::new(inputs, labels).select(&order);
    table.column(key, order.iter().map(|&i| scores[i]));
    table
}
