//! The checks with dropout on: gradients, keep rates, and that evaluation is another mode.

use super::Check;
use crate::data::{Dataset, Targets};
use crate::gradient_check::GradientStep;
use crate::network::{Blocks, KeepProb, Layer, Network, Noise, Shape, Unit};
use crate::ops::Site;
use crate::reference::{self, Masks};
use crate::rng::{self, Stream};
use crate::sweep::all_sites;
use crate::{Device, Model, Result, masks};

/// Rows of the gradient check: the reference is a plain loop.
const ROWS: u32 = 8;

/// Weights of each tensor that are moved for finite differences.
const MOVED: usize = 8;

/// Products of the reference for finite differences: a few seconds.
const WORK: u64 = 1 << 31;

/// Weights that are moved at least, however long it takes.
const FEWEST: u64 = 12;

pub(super) fn checks(device: &Device, network: &Network, batch: &Dataset, seed: u64) -> Result<Vec<Check>> {
    let few = batch.slice(0..ROWS.min(batch.rows()))?;
    let network = &at_lowest_rates(network);
    let model = without_zeros(&Model::initial(network, seed)?, seed)?;
    let (gradients, loss) = GradientStep { model: &model, batch: &few, seed }.gradients(device)?;
    Ok(vec![
        gradient_check(&model, &few, seed, &gradients)?,
        keep_rates(device, network, seed)?,
        modes(device, &model, &few, (seed, loss))?,
    ])
}

/// Each site at the lower end of its schedule: at one end nothing may be dropped.
fn at_lowest_rates(network: &Network) -> Network {
    let mut network = network.clone();
    network.change_layers(|_, layer| {
        if let Layer::Dropout(dropout) = layer
            && let Some(schedule) = dropout.schedule.take()
            && schedule.from < dropout.keep
        {
            dropout.keep = schedule.from;
        }
    });
    network
}

/// The model with small numbers in tensors that are all 0, such as biases before training. Where a row, or its mask, is all 0
/// too, ReLU would be at its kink, where finite differences are not the gradient; and a last layer of zeros hides every mask.
fn without_zeros(model: &Model, seed: u64) -> Result<Model> {
    let mut weights = model.weights().to_vec();
    for (tensor, values) in weights.iter_mut().enumerate().filter(|(_, values)| values.iter().all(|&value| value == 0.0)) {
        let at = rng::Coordinates { stream: Stream::ContinuousNoise, site: tensor as u32, pass: 0, sample: 0 };
        for (value, unit) in values.iter_mut().zip(0..) {
            *value = (0.2 * rng::uniform(at.word(unit, rng::key(seed))) - 0.1) as f32;
        }
    }
    Model::new(model.network().clone(), weights)
}

pub(super) fn has_batch_norm(network: &Network) -> bool {
    network.walk().into_iter().any(|layer| matches!(layer, Layer::BatchNorm(_)))
}

/// The loss in training, so with the batch's own statistics, where nothing is dropped.
pub(super) fn without_dropout(device: &Device, model: &Model, batch: &Dataset, seed: u64) -> Result<f64> {
    let model = Model::new(model.network().without_dropout(), model.weights().to_vec())?;
    Ok(GradientStep { model: &model, batch, seed }.gradients(device)?.1)
}

fn gradient_check(model: &Model, batch: &Dataset, seed: u64, device: &[Vec<f32>]) -> Result<Check> {
    let network = model.network();
    let weights: Vec<Vec<f64>> = model.weights().iter().map(|w| w.iter().copied().map(f64::from).collect()).collect();
    let inputs: Vec<f64> = (0..batch.rows()).flat_map(|row| batch.inputs().row_f32(row)).map(f64::from).collect();
    let masks = Masks::Drawn { seed, pass: 0, update: 0, samples: batch.inputs().samples() };
    let values: Vec<f64>;
    let targets = match (batch.targets(), network.loss) {
        (Targets::Classes { labels, .. }, crate::Loss::SoftmaxCrossEntropy) => reference::Targets::Labels(labels),
        (targets, _) => {
            values = crate::model::target_values(network, targets)?.into_iter().map(f64::from).collect();
            reference::Targets::Values(&values)
        }
    };
    let lengths = batch.inputs().lengths().map(|lengths| lengths.of_rows.as_slice());
    let inputs = reference::Batch { inputs: &inputs, lengths };
    let of = |network: &Network| reference::objective_gradients(network, &weights, inputs, targets, &masks);
    let exact = of(network)?.0;
    let device: Vec<f64> = device.iter().flatten().copied().map(f64::from).collect();
    let all: Vec<f64> = exact.iter().flatten().copied().collect();
    let of_device = relative(&device, &all);

    // Central differences, which know nothing of truncation.
    let whole = network.without_truncation();
    let exact = if whole == *network { exact } else { of(&whole)?.0 };
    let (mut moved, mut numeric, mut analytic) = (weights.clone(), Vec::new(), Vec::new());
    const STEP: f64 = 1e-6;
    for (t, i) in moved_weights(network, batch.rows())? {
        let mut loss = |w: f64| -> Result<f64> {
            moved[t][i] = w;
            reference::objective(&whole, &moved, inputs, targets, &masks)
        };
        numeric.push((loss(weights[t][i] + STEP)? - loss(weights[t][i] - STEP)?) / (2.0 * STEP));
        analytic.push(exact[t][i]);
        moved[t][i] = weights[t][i];
    }
    let of_numeric = relative(&numeric, &analytic);
    let found = format!(
        "off by {of_device:.1e} of their norm from f64, and f64 by {of_numeric:.1e} from {} finite differences",
        numeric.len()
    );
    let wrong = !(of_device < 1e-3 && of_numeric < 1e-3);
    Ok(Check::new(
        "gradients",
        found,
        wrong,
        "the adapter or its driver computes wrong gradients, or thinnet itself: try another one with --adapter, as --adapter cpu, and please \
         report it with the network file and what that one says",
    ))
}

/// Tensors and the elements of them that are moved: some of every tensor that is trained, spread evenly; of some of the tensors
/// where the reference would take long.
fn moved_weights(network: &Network, rows: u32) -> Result<Vec<(usize, usize)>> {
    let (mut weights, mut tensors) = (Vec::new(), 0);
    for (t, parameter) in network.parameters()?.iter().enumerate().filter(|(_, parameter)| parameter.trained) {
        weights.extend((0..parameter.len()).step_by(parameter.len().div_ceil(MOVED)).map(|i| (t, i)));
        tensors += 1;
    }
    let differences = WORK / (2 * u64::from(rows) * products(network)?);
    let most = differences.clamp(FEWEST, FEWEST.max((MOVED * tensors) as u64)) as usize;
    Ok(weights.iter().step_by(weights.len().div_ceil(most)).copied().collect())
}

/// Products of numbers that the network takes for one row.
fn products(network: &Network) -> Result<u64> {
    let shapes = network.shapes()?;
    let of_layer = |(layer, before): (&Layer, &Shape)| match layer {
        Layer::Dense(dense) => u64::from(dense.units) * u64::from(before.elements()),
        Layer::Conv2d(conv) => {
            let [kernel, places] = [conv.window.kernel, conv.window.places(before.map()).unwrap_or([1, 1])];
            let outputs = u64::from(conv.channels) * u64::from(places[0]) * u64::from(places[1]);
            outputs * u64::from(before.0[0] / conv.groups) * u64::from(kernel[0]) * u64::from(kernel[1])
        }
        _ => 0,
    };
    Ok(network.walk().into_iter().zip(&shapes).map(of_layer).sum::<u64>().max(1))
}

/// |a - b| / |b|, and |a| where b is 0.
fn relative(a: &[f64], b: &[f64]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| libm::sqrt(values.map(|v| v * v).sum::<f64>());
    let (difference, size) = (norm(&mut a.iter().zip(b).map(|(a, b)| a - b)), norm(&mut b.iter().copied()));
    if size > 0.0 { difference / size } else { difference }
}

fn keep_rates(device: &Device, network: &Network, seed: u64) -> Result<Check> {
    let (shapes, sites) = (network.shapes()?, network.sites()?);
    let (mut found, mut wrong) = (Vec::new(), false);
    let drop = all_sites(network);
    for (number, ((layer, shape), site)) in network.walk().into_iter().zip(&shapes).zip(sites).enumerate() {
        let (Layer::Dropout(dropout), Some(site), true) = (layer, site, drop.contains(&number)) else { continue };
        // What is multiplied with any number has no mask.
        if matches!(dropout.noise, Noise::Gaussian | Noise::Concrete(_)) {
            continue;
        }
        let units = dropout.unit.mask_shape(shape).elements();
        let samples = 20_000_u32.div_ceil(units).min(20_000);
        // A block that is dropped begins at a seed; the pixels of its square have no words of their own.
        let (keep, what) = match dropout.unit {
            Unit::Block(size) => {
                let blocks = Blocks::new(dropout.keep, size, shape.map());
                (KeepProb::new(blocks.threshold as f64 / 4_294_967_296.0)?, " where no block begins")
            }
            Unit::Path => (dropout.keep, " of the paths"),
            _ => (dropout.keep, ""),
        };
        let site = Site { keep, seed, stream: Stream::TrainingMask, site, pass: 0 };
        let mask = masks::draw(device, &site, 0..samples, 0..units)?;
        let n = f64::from(samples) * f64::from(units);
        let kept = mask.iter().flatten().filter(|&&kept| kept).count() as f64 / n;
        let p = keep.get();
        found.push(match dropout.unit {
            Unit::Block(_) => format!("{kept:.4} for {p:.4}{what}"),
            _ => format!("{kept:.3} for {p}{what}"),
        });
        // Five standard deviations: a false alarm in 1.7 million sites.
        wrong |= (kept - p).abs() > 5.0 * libm::sqrt(p * (1.0 - p) / n) + 1e-9;
    }
    if found.is_empty() {
        return Ok(Check::skipped("keep rates", "there is no dropout layer with a mask"));
    }
    Ok(Check::new(
        "keep rates",
        found.join(", "),
        wrong,
        "the masks of this adapter are wrong: try another one with --adapter, and please report it",
    ))
}

fn modes(device: &Device, model: &Model, batch: &Dataset, (seed, training): (u64, f64)) -> Result<Check> {
    if model.network() == &model.network().without_dropout() {
        return Ok(Check::skipped("two modes", "no site drops anything"));
    }
    let (once, again) = (model.evaluate(device, batch)?, model.evaluate(device, batch)?);
    let logits = (model.logits(device, batch.inputs())?, model.logits(device, batch.inputs())?);
    // Batch norm makes two modes without any dropout: what counts there is training without it.
    let (plain, also) = match has_batch_norm(model.network()) {
        false => (once.loss, String::new()),
        true => {
            let plain = without_dropout(device, model, batch, seed)?;
            (plain, format!(", {plain:.4} there without dropout"))
        }
    };
    let found = format!("loss {training:.4} in training{also}, {:.4} and {:.4} in evaluation", once.loss, again.loss);
    let repeats = once.loss.to_bits() == again.loss.to_bits() && logits.0 == logits.1;
    let advice = match repeats {
        true => {
            "training and evaluation give the same loss, as if dropout were off: look whether the inputs or the weights are 0"
        }
        false => "evaluation gives another result each time: try another adapter with --adapter, and please report it",
    };
    Ok(Check::new("two modes", found, !repeats || training == plain, advice))
}
