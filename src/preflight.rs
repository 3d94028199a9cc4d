//! What to look at before a long training: the recipe "first without dropout, then with", as checks with one sentence of advice each.
//!
//! ```text
//! output       no dropout behind the last layer that learns
//! keep_prob    every site leaves enough units
//! inputs       of the size that initial weights are made for
//! weights      the units of a layer start differently
//! first loss   near that of a network that knows nothing: log(classes), log 2, or the mean square of the targets
//! cost falls   dropout off: on one fixed batch the cost goes down at this learning rate
//! rows unseen  dropout off: after some updates, rows that were not trained on are answered better than by guessing
//! gradients    dropout on: the device's against the f64 reference, and the reference's against finite differences
//! keep rates   dropout on: every site keeps its share of the units
//! two modes    dropout on: training differs from evaluation, and evaluation repeats bit for bit
//! ```
//!
//! Later checks that a failed one makes meaningless are skipped and say so.

use crate::data::{Augmentation, Dataset, Targets};
use crate::network::{Conv2d, Dense, Init, Layer, Loss, Network};
use crate::optimizer::LrSchedule;
use crate::rng::{self, Shuffle};
use crate::trainer::{Data, TrainOptions, Trainer};
use crate::{Device, Error, Model, Result};

mod dropout_on;
mod rates;
mod schedules;
mod variance_shift;

use dropout_on::{has_batch_norm, without_dropout};

pub use rates::rates;
pub use schedules::schedules;
pub use variance_shift::variance_shift;

/// How a check came out.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// As it should be.
    Passed,
    /// Not as it should be; what to do about it.
    Failed(String),
    /// Not made; why.
    Skipped(String),
}

/// One check: what was looked at, what was found, how it came out.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// The check, in one or two words.
    pub name: &'static str,
    /// What was found, with numbers.
    pub found: String,
    /// How it came out.
    pub outcome: Outcome,
}

impl Check {
    pub(crate) fn new(name: &'static str, found: String, wrong: bool, advice: impl Into<String>) -> Self {
        let outcome = if wrong { Outcome::Failed(advice.into()) } else { Outcome::Passed };
        Self { name, found, outcome }
    }

    pub(crate) fn skipped(name: &'static str, why: &str) -> Self {
        Self { name, found: String::new(), outcome: Outcome::Skipped(why.into()) }
    }

    /// Whether something is wrong.
    pub fn failed(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(_))
    }
}

/// Updates on the fixed batch.
const UPDATES: u32 = 30;

/// Rows whose statistics batch norm takes for the first loss.
const STATISTICS: u32 = 128;

/// Updates before rows unseen are judged.
const LEARNING: u32 = 200;

/// How many times so many, where nothing has been learned before.
const ROUNDS: u32 = 5;

/// The share of a guess's loss above which the rows that are trained on are not learned.
const SLOW: f64 = 0.7;

/// Makes all checks for a training that is planned like this, and calls `observe` after each. Nothing of it is kept: the training
/// itself starts from its own initial weights.
///
/// # Errors
/// A network, data or options that do not fit together or the device. What a check finds is no error.
pub fn preflight<'a>(
    device: &Device,
    network: &Network,
    data: impl Into<Data<'a>>,
    options: &TrainOptions,
    mut observe: impl FnMut(&Check),
) -> Result<Vec<Check>> {
    let Data { train, valid: held_out } = data.into();
    options.check()?;
    network.shapes()?;
    crate::model::check_data(network, train)?;
    // A schedule, a ramp or warm-up would judge another learning rate than the one that is set; rows that change with every epoch
    // are no fixed batch.
    let augment = Augmentation::default();
    let plain = TrainOptions { schedule: LrSchedule::Constant, warmup: 0.0, momentum_ramp: None, augment, ..options.clone() };
    let batch = fixed_batch(train, &plain)?;
    let mut checks = Vec::new();
    let mut note = |check: Check| {
        observe(&check);
        checks.push(check);
    };
    rates(network)?.into_iter().for_each(&mut note);
    let inputs = inputs(network, &batch);
    let scaled = !inputs.failed();
    note(inputs);
    let weights = initial_weights(network, options.seed)?;
    let different = !weights.failed();
    note(weights);
    note(first_loss(device, network, &batch, options.seed)?);
    let why = if !different { Some("the units of a layer start alike") } else { None };
    let falls = match why {
        None => cost_falls(device, network, &batch, &plain, scaled)?,
        Some(why) => Check::skipped("cost falls", why),
    };
    let learns = falls.outcome == Outcome::Passed;
    note(falls);
    note(match learns {
        true => rows_unseen(device, network, (train, held_out), &plain)?,
        false => Check::skipped("rows unseen", "it needs a cost that falls on a fixed batch"),
    });
    for check in dropout_on::checks(device, network, &batch, options.seed)? {
        note(check);
    }
    Ok(checks)
}

/// The first batch of epoch 0.
fn fixed_batch(data: &Dataset, options: &TrainOptions) -> Result<Dataset> {
    let rows = options.batch.saturating_mul(options.accumulate).min(data.rows());
    data.select(&shuffled(data.rows(), rows, options.seed))
}

fn shuffled(rows: u32, count: u32, seed: u64) -> Vec<u32> {
    (0..count).map(|position| Shuffle::new(rows).row(position, 0, rng::key(seed))).collect()
}

fn inputs(network: &Network, batch: &Dataset) -> Check {
    if let Some(Layer::Embedding(_)) = network.layers.first() {
        return Check::skipped("inputs", "they are numbers of words, which have no size");
    }
    let (mut squares, mut largest, mut count) = (0.0, 0.0f32, 0.0);
    for &value in batch.inputs().existing_f32().iter() {
        squares += f64::from(value) * f64::from(value);
        largest = largest.max(value.abs());
        count += 1.0;
    }
    let size = libm::sqrt(squares / count);
    let advice = "initial weights are made for inputs of a size near 1: scale pixels by 1/255, or standardise the columns (standardize = true)";
    let wrong = size > 10.0 || (size < 0.01 && largest > 0.0) || largest == 0.0;
    let advice = if largest == 0.0 { "every input is 0: look at how the data are read" } else { advice };
    Check::new("inputs", format!("root mean square {size:.3}, largest {largest:.3}"), wrong, advice)
}

/// Units whose weights are equal get equal gradients, and stay equal.
fn initial_weights(network: &Network, seed: u64) -> Result<Check> {
    let model = Model::initial(network, seed)?;
    let mut alike = Vec::new();
    let weights = network.parameters()?.into_iter().zip(model.weights()).filter(|(p, _)| p.matrix);
    let (weights, addresses): (Vec<_>, _) = (weights.collect(), network.addresses());
    for (parameter, values) in &weights[..weights.len() - 1] {
        let columns = parameter.columns() as usize;
        if values.len() > columns && values.chunks(columns).all(|row| row == &values[..columns]) {
            alike.push(format!("layer {}", addresses[parameter.layer]));
        }
    }
    let found = match alike.is_empty() {
        true => "the units of every layer start differently".into(),
        false => format!("the units of {} start alike", alike.join(", ")),
    };
    let init = |layer: &Layer| match layer {
        Layer::Dense(Dense { init, .. }) | Layer::Conv2d(Conv2d { init, .. }) => *init,
        _ => None,
    };
    let zeros = network.walk().into_iter().any(|layer| init(layer) == Some(Init::Zeros));
    let cause = if zeros { "init = \"zeros\"" } else { "their initialisation" };
    let advice = format!(
        "{cause} gives all units of a layer the same gradient, so they stay one unit for ever; use he_uniform or glorot_uniform"
    );
    Ok(Check::new("weights", found, !alike.is_empty(), advice))
}

fn first_loss(device: &Device, network: &Network, batch: &Dataset, seed: u64) -> Result<Check> {
    let model = Model::initial(network, seed)?;
    // Before it has seen any rows, batch norm knows no statistics of them: there the loss is that of training without dropout.
    let loss = match has_batch_norm(network) {
        false => model.evaluate(device, batch)?.loss,
        true => without_dropout(device, &model, &batch.slice(0..batch.rows().min(STATISTICS))?, seed)?,
    };
    let (expected, what) = match (network.loss, batch.targets()) {
        (Loss::SoftmaxCrossEntropy, _) => (libm::log(f64::from(network.outputs()?)), "log(classes)"),
        (Loss::BinaryCrossEntropy, _) => (libm::log(2.0), "log 2"),
        (Loss::MeanSquaredError, targets @ Targets::Values { .. }) => (mean_square(targets), "the mean square of the targets"),
        (Loss::MeanSquaredError, _) => (1.0, "1"),
        // A mean of 0 and a variance of 1.
        (Loss::GaussianNll, targets) => (mean_square(targets) / 2.0, "half the mean square of the targets"),
    };
    let found = format!("{loss:.3}, and {what} is {expected:.3}");
    // A single output is one random function: that of a regression may miss by several times the size of the targets, and any may
    // come near the targets by luck. Over several classes luck averages out. A log variance of -4 by luck multiplies the squared
    // error by 55, and no likelihood is too good: below -20 the log variance does not count.
    let (above, least) = match network.loss {
        Loss::MeanSquaredError => (30.0, 0.0),
        Loss::GaussianNll => (100.0, f64::NEG_INFINITY),
        Loss::BinaryCrossEntropy => (4.0, 0.0),
        Loss::SoftmaxCrossEntropy => (2.0_f64.max(2.0 * expected), 0.2 * expected),
    };
    let wrong = !(loss <= expected + above && loss >= least);
    let advice = "before training a network should know nothing, not be sure of wrong answers: look at the size of the inputs and the \
                  initialisation of the last layer";
    Ok(Check::new("first loss", found, wrong, advice))
}

fn mean_square(targets: &Targets) -> f64 {
    let Targets::Values { values, .. } = targets else { return 1.0 };
    values.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>() / values.len() as f64
}

/// A training without dropout in which every epoch is one update on all of `batch`; its losses before every update.
fn cost_falls(device: &Device, network: &Network, batch: &Dataset, options: &TrainOptions, scaled: bool) -> Result<Check> {
    let mut trainer =
        Trainer::new(device, &network.without_dropout(), batch, TrainOptions { evaluate_train: false, ..options.clone() })?;
    let (diverged, losses) = match trainer.fit(UPDATES) {
        Ok(_) => (false, history(&trainer)),
        Err(Error::Diverged { .. }) => (true, history(&trainer)),
        Err(error) => return Err(error),
    };
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    let largest = losses.iter().copied().fold(first, f64::max);
    let lr = options.optimizer.lr();
    let found = match diverged {
        true => format!("from {first:.3} to NaN or infinity in {UPDATES} updates at learning rate {lr}"),
        false => format!("from {first:.3} to {last:.3} in {UPDATES} updates at learning rate {lr}, at most {largest:.3}"),
    };
    let rises = diverged || !first.is_finite() || largest > first + first.abs() + 0.5;
    let advice = match (scaled, rises) {
        (false, _) => "scale the inputs first; the learning rate may be right for inputs of a size near 1".to_owned(),
        (true, true) => format!("the learning rate {lr} is too large: the cost rises before it falls; try {:e}", lr / 100.0),
        (true, false) => format!(
            "the cost hardly moves: the learning rate {lr} is too small (try {:e}), or the gradient does not reach the weights",
            lr * 10.0
        ),
    };
    // A likelihood has no zero that a share of it could be measured by. A NaN is no fall.
    let scale = if network.loss == Loss::GaussianNll { 1.0 } else { first.min(1.0) };
    let falls = !rises && last < first - 0.02 * scale;
    Ok(Check::new("cost falls", found, !falls, advice))
}

fn history(trainer: &Trainer) -> Vec<f64> {
    let losses: Vec<f64> = trainer.history().iter().map(|epoch| epoch.running.loss).collect();
    if losses.is_empty() { vec![f64::NAN] } else { losses }
}

fn rows_unseen(
    device: &Device,
    network: &Network,
    (train, held_out): (&Dataset, Option<&Dataset>),
    options: &TrainOptions,
) -> Result<Check> {
    const NAME: &str = "rows unseen";
    let order = shuffled(train.rows(), train.rows(), options.seed);
    // A fifth of the rows is held out where no others are given; no more than what is needed either way.
    let (learned, judged) = match held_out {
        Some(held_out) => (order, held_out.select(&shuffled(held_out.rows(), held_out.rows().min(2000), options.seed))?),
        None if order.len() < 50 => return Ok(Check::skipped(NAME, "there are fewer than 50 rows and no validation rows")),
        None => {
            let (judged, learned) = order.split_at((order.len() / 5).min(2000));
            (learned.to_vec(), train.select(judged)?)
        }
    };
    if judged.rows() < 10 {
        return Ok(Check::skipped(NAME, "there are fewer than 10 rows to judge by"));
    }
    let learned = train.select(&learned[..learned.len().min(LEARNING.saturating_mul(options.batch) as usize)])?;
    let mut trainer = Trainer::new(
        device,
        &network.without_dropout(),
        (&learned, &judged),
        TrainOptions { evaluate_train: false, ..options.clone() },
    )?;
    let updates = learned.rows().div_ceil(options.batch.saturating_mul(options.accumulate)).max(1);
    let (epochs, mut rounds) = (LEARNING.div_ceil(updates), 1);
    let judgement = loop {
        match trainer.fit(epochs) {
            Err(Error::Diverged { .. }) => {
                let advice = "the loss stops being a number after a while: use a smaller learning rate".to_owned();
                return Ok(Check::new(NAME, format!("diverged within {} epochs", rounds * epochs), true, advice));
            }
            other => other?,
        };
        let judgement = judge(device, (network, &trainer), &judged, rounds * epochs * updates)?;
        // A small network or rate may need longer to learn anything at all.
        if !judgement.wrong || !judgement.slow || rounds == ROUNDS {
            break judgement;
        }
        rounds += 1;
    };
    let advice = match judgement.slow {
        true => {
            "the rows that are trained on are hardly answered better than by guessing, either: the learning rate may be too small or \
             the network too small, or the inputs say nothing about the targets (do labels belong to their rows?)"
        }
        false => {
            "the batch is learned by heart, but nothing that holds for other rows: look whether labels belong to their rows (shuffled, \
             or shifted by one?) and whether the inputs say anything about them; with few rows it may be overfitting, which dropout, \
             L2 and more rows help"
        }
    };
    Ok(Check::new(NAME, judgement.found, judgement.wrong, advice))
}

/// What rows that were not trained on say.
struct Judgement {
    found: String,
    /// They are answered no better than by guessing.
    wrong: bool,
    /// Neither are those that were trained on, or little better.
    slow: bool,
}

/// Judges a training after its last epoch.
fn judge(device: &Device, (network, trainer): (&Network, &Trainer), judged: &Dataset, updates: u32) -> Result<Judgement> {
    let last = trainer.history().last().expect("an epoch was trained");
    let valid = last.valid.expect("there are validation data");
    let n = f64::from(judged.rows());
    let (Some(accuracy), Targets::Classes { labels, .. }) = (valid.accuracy, judged.targets()) else {
        let guess = guess_loss(judged.targets(), network.loss);
        // A likelihood punishes a variance that is too small more than it rewards a mean that is near: the means tell. They
        // stay near that of all targets where there is nothing to learn, and by chance correlate with n targets by two
        // standard deviations of 1 / sqrt(n), which explains 4 / n of their variance.
        let (what, found, share) = match network.loss {
            Loss::GaussianNll => {
                ("squared error of the means", mean_squared_error(device, &trainer.model()?, judged)?, 1.0 - 4.0 / n)
            }
            _ => ("loss", valid.loss, 1.0),
        };
        return Ok(Judgement {
            found: format!("{what} {found:.4} on {n} rows after {updates} updates; the mean of the targets: {guess:.4}"),
            // A NaN is not better.
            wrong: found.is_nan() || found >= share * guess,
            slow: network.loss != Loss::GaussianNll && last.running.loss > SLOW * guess,
        });
    };
    let shares: Vec<f64> =
        (0..judged.classes()).map(|class| labels.iter().filter(|&&label| label == class).count() as f64 / n).collect();
    let guess = shares.iter().copied().fold(0.0, f64::max);
    let entropy = -shares.iter().filter(|&&share| share > 0.0).map(|share| share * libm::log(*share)).sum::<f64>();
    // Three standard deviations of guessing: a false alarm needs a network that has learned next to nothing. Where one
    // class is nearly all, few rows are left to be better at; there the loss tells.
    let more_right = accuracy > guess + 3.0 * libm::sqrt(guess * (1.0 - guess) / n);
    let one_answer = network.loss == Loss::SoftmaxCrossEntropy || network.outputs()? == 1;
    let surer = one_answer && valid.loss < 0.8 * entropy;
    Ok(Judgement {
        found: format!(
            "{:.1} % of {n} right, loss {:.3}, after {updates} updates; guessing: {:.1} %, loss {entropy:.3}",
            100.0 * accuracy,
            valid.loss,
            100.0 * guess
        ),
        wrong: !more_right && !surer,
        slow: one_answer && last.running.loss > SLOW * entropy,
    })
}

/// The mean over rows and targets of (mu - t)^2, where the first outputs are means.
fn mean_squared_error(device: &Device, model: &Model, data: &Dataset) -> Result<f64> {
    let Targets::Values { columns, values } = data.targets() else { return Ok(f64::INFINITY) };
    let means = model.predict(device, data.inputs())?;
    let rows = values.chunks(*columns as usize).enumerate();
    let squares = rows.flat_map(|(row, t)| t.iter().zip(means.row(row)).map(|(&t, &m)| (f64::from(m) - f64::from(t)).powi(2)));
    Ok(squares.sum::<f64>() / values.len() as f64)
}

/// The loss of always answering with the mean of the targets; of a likelihood, the squared error of its means.
fn guess_loss(targets: &Targets, loss: Loss) -> f64 {
    let Targets::Values { columns, values } = targets else { return f64::INFINITY };
    let columns = *columns as usize;
    let rows = (values.len() / columns) as f64;
    let column = |c: usize| values.iter().skip(c).step_by(columns).map(|&v| f64::from(v));
    let of_column = |c: usize| {
        let m = column(c).sum::<f64>() / rows;
        let variance = column(c).map(|t| (t - m) * (t - m)).sum::<f64>() / rows;
        match loss {
            Loss::BinaryCrossEntropy => -m * libm::log(m.max(1e-12)) - (1.0 - m) * libm::log((1.0 - m).max(1e-12)),
            Loss::MeanSquaredError | Loss::GaussianNll | Loss::SoftmaxCrossEntropy => variance,
        }
    };
    (0..columns).map(of_column).sum::<f64>() / columns as f64
}
