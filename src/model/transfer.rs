//! Between host and device: data sets and weights, checked, padded and converted.

use std::borrow::Cow;

use crate::data::{Dataset, Inputs, Targets, Values};
use crate::executor::Executor;
use crate::network::{Embedding, Layer, Loss, Network, Parameter};
use crate::plan::Source;
use crate::{Error, Model, Result};

/// A source whose inputs are resident.
pub(crate) fn source(name: &str, inputs: &Inputs, labelled: bool) -> Source {
    let byte_scale = match inputs.values() {
        Values::U8 { scale, .. } => Some(*scale),
        Values::F32(_) => None,
    };
    Source { name: name.into(), rows: inputs.rows(), byte_scale, labelled, window: None }
}

/// # Errors
/// Inputs of another width than the network's.
pub(crate) fn check_inputs(network: &Network, inputs: &Inputs) -> Result<()> {
    let expected = network.input.0.iter().product::<u32>();
    if inputs.columns() != expected {
        return Err(Error::Data(format!(
            "a row has {} columns, but the network takes {expected}; give it rows as it takes them, or build it with Network::new({})",
            inputs.columns(),
            inputs.columns()
        )));
    }
    check_sequences(network, inputs)
}

/// # Errors
/// Rows whose lengths count other steps than the network's; words that an embedding does not have.
fn check_sequences(network: &Network, inputs: &Inputs) -> Result<()> {
    let steps = network.input.0[0];
    if let Some(lengths) = inputs.lengths()
        && lengths.steps != steps
    {
        let found = lengths.steps;
        return Err(Error::Data(format!(
            "the rows have lengths of at most {found} steps, but the network takes {} of {steps}",
            network.input
        )));
    }
    let Some(Layer::Embedding(Embedding { vocabulary, .. })) = network.layers.first() else { return Ok(()) };
    let word = |value: &f32| value.fract() == 0.0 && (0.0..f64::from(*vocabulary)).contains(&f64::from(*value));
    for row in 0..inputs.rows() {
        let values = inputs.row_f32(row);
        let length = inputs.lengths().map_or(values.len(), |lengths| lengths.of_rows[row as usize] as usize);
        if let Some(step) = values[..length].iter().position(|value| !word(value)) {
            let problem = format!("a word is a whole number from 0 to {}, the vocabulary of the embedding", vocabulary - 1);
            return Err(Error::Data(format!("row {row}, step {step} is {}: {problem}", values[step])));
        }
    }
    Ok(())
}

/// # Errors
/// Data of another width than the network's, or whose targets are not what its loss and its outputs take.
pub(crate) fn check_data(network: &Network, data: &Dataset) -> Result<()> {
    check_inputs(network, data.inputs())?;
    let outputs = network.outputs()?;
    let bad = |problem: String| Err(Error::Data(problem));
    match (network.loss, data.targets()) {
        (Loss::SoftmaxCrossEntropy, Targets::Values { .. }) => {
            bad("the loss softmax_cross_entropy takes classes, but the targets are numbers; use mean_squared_error".into())
        }
        (Loss::GaussianNll, Targets::Classes { classes, .. }) => {
            bad(format!("the loss gaussian_nll takes numbers, but the targets are {classes} classes; use softmax_cross_entropy"))
        }
        (Loss::GaussianNll, Targets::Values { columns, .. }) if *columns != network.targets()? => bad(format!(
            "a row has {columns} targets, but the network has {outputs} outputs, a mean and a log variance for each of {}; give its \
             last layer {} units",
            network.targets()?,
            2 * u64::from(*columns)
        )),
        (Loss::GaussianNll, Targets::Values { .. }) => Ok(()),
        (Loss::BinaryCrossEntropy | Loss::MeanSquaredError, Targets::Classes { classes, .. }) if outputs == 1 => match classes {
            0..=2 => Ok(()),
            _ => bad(format!(
                "there are {classes} classes, but the network has one output, which tells two apart; give its last layer {classes} units"
            )),
        },
        (_, Targets::Classes { classes, .. }) if *classes > outputs => bad(format!(
            "there are {classes} classes, but the network has {outputs} outputs; give its last layer {classes} units"
        )),
        (_, Targets::Classes { .. }) => Ok(()),
        (_, Targets::Values { columns, .. }) if *columns != outputs => bad(format!(
            "a row has {columns} targets, but the network has {outputs} outputs; give its last layer {columns} units"
        )),
        (Loss::BinaryCrossEntropy, Targets::Values { columns, values }) => {
            match values.iter().position(|v| !(0.0..=1.0).contains(v)) {
                None => Ok(()),
                Some(at) => bad(format!(
                    "row {}, target {} is {}, but binary_cross_entropy takes targets from 0 to 1; without standardisation they stay as they are",
                    at as u32 / columns,
                    at as u32 % columns,
                    values[at]
                )),
            }
        }
        (_, Targets::Values { .. }) => Ok(()),
    }
}

/// What the loss kernel reads for every row: the label, or a number for each target.
fn target_words(network: &Network, targets: &Targets) -> Result<Vec<u32>> {
    match (network.loss, targets) {
        (Loss::SoftmaxCrossEntropy, Targets::Classes { labels, .. }) => Ok(labels.clone()),
        _ => Ok(pad(&target_values(network, targets)?, network.targets()? as usize, 4)),
    }
}

/// The targets as numbers, `[rows, targets]`: class c is 1 at output c and 0 at the others or, with one output, the label itself.
pub(crate) fn target_values(network: &Network, targets: &Targets) -> Result<Vec<f32>> {
    let outputs = network.outputs()? as usize;
    match targets {
        Targets::Values { values, .. } => Ok(values.clone()),
        Targets::Classes { labels, .. } if outputs == 1 => Ok(labels.iter().map(|&label| label as f32).collect()),
        Targets::Classes { labels, .. } => {
            let mut values = vec![0.0; labels.len() * outputs];
            values.chunks_mut(outputs).zip(labels).for_each(|(row, &label)| row[label as usize] = 1.0);
            Ok(values)
        }
    }
}

/// Rows of `columns` words, each padded with zeros to a multiple of `row_words`.
fn pad(values: &[f32], columns: usize, row_words: usize) -> Vec<u32> {
    let mut words = Vec::with_capacity(values.len() / columns * columns.next_multiple_of(row_words));
    for row in values.chunks(columns) {
        words.extend(row.iter().map(|v| v.to_bits()));
        words.resize(words.len().next_multiple_of(row_words), 0);
    }
    words
}

/// Writes the weights of a member.
pub(crate) fn upload_weights(executor: &Executor, plan: usize, member: u32, model: &Model) -> Result<()> {
    upload(executor, plan, member, &model.network, "", &model.weights)
}

/// Writes what a plan has for every parameter of a member under the parameter's name and a suffix; the other way round than
/// [`download`].
pub(crate) fn upload(
    executor: &Executor,
    plan: usize,
    member: u32,
    network: &Network,
    suffix: &str,
    values: &[Vec<f32>],
) -> Result<()> {
    for (parameter, values) in network.parameters()?.iter().zip(values) {
        if !parameter.trained && !suffix.is_empty() {
            continue;
        }
        let tensor = executor.plans().plans[plan].tensor(&format!("{}{suffix}", parameter.name));
        let (columns, values) = (parameter.device_columns() as usize, on_device(parameter, values));
        executor.write(tensor, member, &pad(&values, columns, executor.plans().row_words() as usize))?;
    }
    Ok(())
}

/// Reads the weights of a member.
pub(crate) fn download_weights(executor: &Executor, plan: usize, member: u32, network: &Network) -> Result<Model> {
    Model::new(network.clone(), download(executor, plan, member, network, "")?)
}

/// Reads what a plan has for every parameter of a member under the parameter's name and a suffix.
pub(crate) fn download(executor: &Executor, plan: usize, member: u32, network: &Network, suffix: &str) -> Result<Vec<Vec<f32>>> {
    let mut weights = Vec::new();
    for parameter in network.parameters()? {
        if !parameter.trained && !suffix.is_empty() {
            weights.push(vec![0.0; parameter.len()]); // What is not trained has neither gradient nor moments.
            continue;
        }
        let words = executor.read(executor.plans().plans[plan].tensor(&format!("{}{suffix}", parameter.name)), member)?;
        let columns = parameter.device_columns() as usize;
        let rows =
            bytemuck::cast_slice::<u32, f32>(&words).chunks(columns.next_multiple_of(executor.plans().row_words() as usize));
        let values: Vec<f32> = rows.flat_map(|row| &row[..columns]).copied().collect();
        weights.push(from_device(&parameter, &values));
    }
    Ok(weights)
}

/// A parameter as the kernels take it. The channels of a convolution's weight `[O, C, KH, KW]` go last, `[O, KH, KW, C]`, so that those of
/// a pixel lie side by side.
fn on_device<'a>(parameter: &Parameter, values: &'a [f32]) -> Cow<'a, [f32]> {
    match *parameter.shape.as_slice() {
        _ if parameter.gates > 0 => in_gates(parameter, values).into(),
        [_, channels, height, width] if parameter.matrix => transposed(values, channels, height * width).into(),
        _ => values.into(),
    }
}

/// A parameter as PyTorch has it.
fn from_device(parameter: &Parameter, values: &[f32]) -> Vec<f32> {
    match *parameter.shape.as_slice() {
        _ if parameter.gates > 0 => out_of_gates(parameter, values),
        [_, channels, height, width] if parameter.matrix => transposed(values, height * width, channels),
        _ => values.to_vec(),
    }
}

/// Words of a gate: in a file, and on a device, where zeros fill up its rows, or its elements, to a multiple of 4.
fn gate_words(parameter: &Parameter) -> [usize; 2] {
    let device = parameter.device_rows() * parameter.device_columns();
    [parameter.len() / parameter.gates as usize, (device / parameter.gates) as usize]
}

fn in_gates(parameter: &Parameter, values: &[f32]) -> Vec<f32> {
    let [file, device] = gate_words(parameter);
    values.chunks(file).flat_map(|gate| gate.iter().copied().chain(std::iter::repeat_n(0.0, device - file))).collect()
}

fn out_of_gates(parameter: &Parameter, values: &[f32]) -> Vec<f32> {
    let [file, device] = gate_words(parameter);
    values.chunks(device).flat_map(|gate| &gate[..file]).copied().collect()
}

/// Matrices `[rows, columns]`, one after the other, each as `[columns, rows]`.
fn transposed(values: &[f32], rows: u32, columns: u32) -> Vec<f32> {
    let (rows, columns) = (rows as usize, columns as usize);
    let matrix = |matrix: &[f32]| (0..rows * columns).map(|i| matrix[i % rows * columns + i / rows]).collect::<Vec<_>>();
    values.chunks(rows * columns).flat_map(matrix).collect()
}

/// All inputs, each row padded with zeros to four columns.
fn input_words(inputs: &Inputs) -> Vec<u32> {
    let columns = inputs.columns() as usize;
    match inputs.values() {
        Values::F32(values) => pad(values, columns, 4),
        Values::U8 { bytes, .. } => {
            let mut padded = Vec::with_capacity(bytes.len() / columns * columns.next_multiple_of(4));
            for row in bytes.chunks(columns) {
                padded.extend_from_slice(row);
                padded.resize(padded.len().next_multiple_of(4), 0);
            }
            bytemuck::pod_collect_to_vec(&padded)
        }
    }
}

/// Writes the data set of a plan: inputs unless they are streamed, sample ids and, if given, targets.
pub(crate) fn upload_data(
    executor: &Executor,
    plan: usize,
    network: &Network,
    inputs: &Inputs,
    targets: Option<&Targets>,
) -> Result<()> {
    let plan = &executor.plans().plans[plan];
    let tensor = |what: &str| plan.tensor(&format!("{}.{what}", plan.options.source.name));
    if plan.options.source.window.is_none() {
        executor.write(tensor("inputs"), 0, &input_words(inputs))?;
    }
    executor.write(tensor("ids"), 0, inputs.samples())?;
    if plan.tensors.contains_key("batch.lengths") {
        let whole = || vec![network.input.0[0]; inputs.rows() as usize];
        executor.write(tensor("lengths"), 0, &inputs.lengths().map_or_else(whole, |lengths| lengths.of_rows.clone()))?;
    }
    match targets {
        Some(targets) => executor.write(tensor("targets"), 0, &target_words(network, targets)?),
        None => Ok(()),
    }
}
