//! What a configuration must fulfil beyond its types, each complaint with the key's path.

use super::{Config, NetworkOptions, TrainTable};
use crate::Error;
use crate::data::file::DataOptions;
use crate::network::Layer;
use crate::optimizer::Optimizer;

/// What is wrong with the value of one key.
#[derive(Debug)]
pub(super) struct Problem {
    /// The key from the top, as `network.layers[2].dropout.keep`.
    pub(super) path: String,
    /// The value, where that helps.
    pub(super) value: Option<String>,
    pub(super) problem: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} = {value}: {}", self.path, self.problem),
            None if self.path.is_empty() => f.write_str(&self.problem),
            None => write!(f, "{}: {}", self.path, self.problem),
        }
    }
}

type Checked = Result<(), Problem>;

pub(super) fn config(config: &Config) -> Checked {
    data(&config.data)?;
    network(&config.network)?;
    train(&config.train)?;
    config.augment.check().map_err(|error| option(error, ""))?;
    if let (Some(patience), None, None) = (config.train.patience, &config.data.valid, config.data.valid_fraction) {
        let problem = "stopping early needs validation data; give data.valid or data.valid_fraction";
        return refuse("train.patience", patience, problem);
    }
    Ok(())
}

fn data(data: &DataOptions) -> Checked {
    if let Some(fraction) = data.valid_fraction {
        if !(fraction > 0.0 && fraction < 1.0) {
            return refuse("data.valid_fraction", fraction, "must lie above 0 and below 1");
        }
        if data.valid.is_some() {
            return refuse(
                "data.valid_fraction",
                fraction,
                "data.valid already says which rows are for validation; give only one",
            );
        }
    }
    Ok(())
}

fn network(network: &NetworkOptions) -> Checked {
    if network.input == Some(0) {
        return refuse("network.input", 0, "must be at least 1");
    }
    if network.layers.is_empty() {
        return Err(problem("network.layers", "is empty; a network needs at least { dense = UNITS }"));
    }
    for (i, layer) in network.layers.iter().enumerate() {
        if let Layer::Dense(dense) = layer
            && dense.units == 0
        {
            return refuse(&format!("network.layers[{i}].dense"), 0, "a layer needs at least 1 unit");
        }
    }
    // Without data the input is not known; 1 is the input that fits whatever follows.
    let whole = network.over(network.input.unwrap_or(1));
    whole.shapes().map_err(|error| of_layer(error, ""))?;
    whole.sites().map_err(|error| of_layer(error, ".site"))?;
    Ok(())
}

/// A layer's error, at its path.
fn of_layer(error: Error, key: &str) -> Problem {
    match error {
        Error::Network { place, problem: text } => match place.strip_prefix("layer ").and_then(|rest| rest.split_once(" (")) {
            Some((layer, kind)) => problem(&format!("network.layers[{layer}].{}{key}", kind.trim_end_matches(')')), &text),
            None => problem("network.layers", &text),
        },
        other => problem("network.layers", &other.to_string()),
    }
}

/// What the table has beyond the options of a training is checked here, the rest where those options are.
fn train(train: &TrainTable) -> Checked {
    if train.epochs == 0 {
        return refuse("train.epochs", 0, "must be at least 1");
    }
    if train.patience == Some(0) {
        return refuse("train.patience", 0, "must be at least 1; leave it out to train to the last epoch");
    }
    if !(train.min_delta >= 0.0 && train.min_delta.is_finite()) {
        return refuse("train.min_delta", train.min_delta, "must be a number from 0 up");
    }
    train.optimizer.check().map_err(|error| option(error, &format!("train.optimizer.{}.", name(&train.optimizer))))?;
    train.options(0).check().map_err(|error| option(error, "train."))
}

/// An optimizer's key in files.
fn name(optimizer: &Optimizer) -> &'static str {
    match optimizer {
        Optimizer::Sgd { .. } => "sgd",
        Optimizer::Adam { .. } => "adam",
        Optimizer::AdamW { .. } => "adamw",
        Optimizer::RmsProp { .. } => "rmsprop",
    }
}

/// The error of an option, at the path that `before` begins.
fn option(error: Error, before: &str) -> Problem {
    match error {
        Error::Option { option, value, problem } => Problem { path: format!("{before}{option}"), value: Some(value), problem },
        other => problem(before.trim_end_matches('.'), &other.to_string()),
    }
}

fn problem(path: &str, problem: &str) -> Problem {
    Problem { path: path.to_owned(), value: None, problem: problem.to_owned() }
}

fn refuse(path: &str, value: impl ToString, text: &str) -> Checked {
    Err(Problem { value: Some(value.to_string()), ..problem(path, text) })
}
