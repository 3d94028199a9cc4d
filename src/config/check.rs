//! What a configuration must fulfil beyond its types, each complaint with the key's path.

use std::path::Path;

use super::input::{elements, of_sequences};
use super::{Config, NetworkOptions, TrainTable};
use crate::Error;
use crate::data::file::DataOptions;
use crate::network::{Layer, Network, Shape, Unit};
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
    network(&config.network, &config.data)?;
    let words = matches!(config.network.layers.first(), Some(Layer::Embedding(_)));
    if words && config.data.standardize == Some(true) {
        let problem = "the first layer is an embedding, which takes whole numbers of words; leave it out, or let it be false";
        return refuse("data.standardize", true, problem);
    }
    if config.data.words && !words {
        return refuse(
            "data.words",
            true,
            "numbers of words are for an embedding as the first layer; leave it out, or begin with one",
        );
    }
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

fn network(network: &NetworkOptions, data: &DataOptions) -> Checked {
    match network.input.as_ref().map(|input| (input, input.0.as_slice())) {
        Some((_, [0])) => return refuse("network.input", 0, "must be at least 1"),
        Some((input, [])) => return refuse("network.input", input, "has no axis; give a number of columns, or [1, 28, 28]"),
        Some((input, axes)) if axes.contains(&0) => return refuse("network.input", input, "every extent must be at least 1"),
        Some((input, _)) if elements(input).is_none() => {
            return refuse("network.input", input, "has more than 2^32 - 1 elements");
        }
        _ => {}
    }
    if network.layers.is_empty() {
        return Err(problem("network.layers", "is empty; a network needs at least { dense = UNITS }"));
    }
    let whole = Network { input: Shape::from(1), layers: network.layers.clone(), loss: network.loss };
    for (layer, place) in whole.walk().into_iter().zip(whole.places()) {
        let path = key(&place).unwrap_or(place);
        if matches!(layer, Layer::Dense(dense) if dense.units == 0) {
            return refuse(&path, 0, "a layer needs at least 1 unit");
        }
        // Rows of data are one axis, and no layer makes maps of that.
        // Sequences have the shape of their data, and dropout may share a mask over their steps.
        let known_later = of_sequences(&network.layers) && matches!(layer, Layer::Dropout(_));
        if network.input.is_none() && !known_later && takes_maps(layer) {
            let text = match layer {
                Layer::Dropout(dropout) if dropout.unit == Unit::STEPS => dropout.unit.check(&Shape::from(1)).err(),
                _ => None,
            };
            return Err(problem(&path, &text.unwrap_or_else(|| without_maps(data))));
        }
    }
    let whole = network.assumed(1).map_err(|error| of_layer(error, ""))?;
    if let Err(error) = whole.shapes() {
        return match of_data(network, &error)? {
            true => Ok(()),
            false => Err(of_layer(error, "")),
        };
    }
    whole.sites().map_err(|error| of_layer(error, ".site"))?;
    Ok(())
}

/// Whether an error of shapes is one of a shape that only the data say, with whom it is found again: of one step of sequences it says
/// something else than of two.
fn of_data(network: &NetworkOptions, error: &Error) -> Result<bool, Problem> {
    if network.input.is_some() || !of_sequences(&network.layers) {
        return Ok(false);
    }
    let other = network.assumed(2).map_err(|error| of_layer(error, ""))?;
    Ok(other.shapes().err().is_none_or(|other| other.to_string() != error.to_string()))
}

/// Whether a layer cannot take one axis of features.
fn takes_maps(layer: &Layer) -> bool {
    match layer {
        Layer::Conv2d(_) | Layer::Pool(_) | Layer::GlobalAveragePool => true,
        Layer::Dropout(dropout) => dropout.unit.check(&Shape::from(1)).is_err(),
        _ => false,
    }
}

/// What is wrong with a layer of maps where the shape of a sample is not given.
fn without_maps(data: &DataOptions) -> String {
    let shape = if data.path == Path::new("digits") { "[1, 8, 8]" } else { "[1, 28, 28]" };
    format!(
        "takes feature maps [channel, y, x], but a row of data is one axis of columns; give the shape of a sample in [network], \
         as input = {shape}"
    )
}

/// The key of a place: `network.layers[3].residual[1].conv2d` of `layer 3.residual[1] (conv2d)`. The dropout inside a
/// recurrent layer or an embedding is the table of its own key: `network.layers[0].recurrent` of `layer 0.recurrent (dropout)`.
fn key(place: &str) -> Option<String> {
    let (layer, kind) = place.strip_prefix("layer ")?.strip_suffix(')')?.split_once(" (")?;
    let (number, inner) = layer.split_at(layer.find('.').unwrap_or(layer.len()));
    let last = inner.rsplit('.').next().unwrap_or_default();
    let own_key = !last.is_empty() && !last.starts_with("residual[") && !last.starts_with("skip[");
    Some(if own_key { format!("network.layers[{number}]{inner}") } else { format!("network.layers[{number}]{inner}.{kind}") })
}

/// A layer's error, at its path.
fn of_layer(error: Error, of: &str) -> Problem {
    let Error::Network { place, problem: text } = error else { return problem("network.layers", &error.to_string()) };
    if let Some((path, value)) = place.split_once(" = ") {
        return Problem { value: Some(value.into()), ..problem(path, &text) };
    }
    problem(&key(&place).map_or("network.layers".into(), |key| key + of), &text)
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
