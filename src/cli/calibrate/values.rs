//! Numbers: the error, and how far the intervals of each way of predicting hold what they say.

use thinnet::calibration::{covered, gaussian_log_likelihood, rmse};
use thinnet::data::Standardization;
use thinnet::monte_carlo::Precision;
use thinnet::{Dataset, Device, Loss, Model, MonteCarlo, Predictive, Targets};

use super::super::Failure;
use super::super::data::Asked;
use super::Report;
use super::draws::{self, Exactness, Undrawn};

mod picture;
mod report;

/// Share of the targets that an interval holds by its own word, and half its width in deviations of a normal distribution.
const INTERVALS: [(f64, f64); 2] = [(0.5, 0.674_489_750_196_081_7), (0.9, 1.644_853_626_951_472_2)];

/// What one way of predicting answers for one target, in that target's own units.
struct Column {
    way: &'static str,
    target: String,
    answers: Vec<f64>,
    rmse: f64,
    /// The error of always answering the mean of the targets that were learned from.
    of_mean: Option<f64>,
    spread: Result<Spread, String>,
}

/// How sure it is.
struct Spread {
    /// Deviation of the observation noise, the mean over the rows where they have one each.
    noise: f64,
    /// Deviation of the draws, the mean over the rows.
    of_draws: Option<f64>,
    log_likelihood: f64,
    /// Ends of the intervals of [`INTERVALS`].
    intervals: [[Vec<f64>; 2]; 2],
    covered: [f64; 2],
}

/// Everything that is reported.
struct Judgement {
    columns: Vec<Column>,
    /// By target, in its own units.
    targets: Vec<Vec<f64>>,
    /// Numbers of the rows.
    samples: Vec<u32>,
    what: String,
    /// Whether the network says the noise of every row itself.
    knows_noise: bool,
    /// Where the noise of Monte-Carlo is from.
    noise_of_draws: &'static str,
    /// How exact the Monte-Carlo means of each target are, in its own units.
    drawn: Result<Vec<Exactness>, Undrawn>,
}

pub(super) fn judge(
    model: &Model,
    device: &Device,
    rows: &Asked<Dataset>,
    valid: Result<Dataset, String>,
    asked: &MonteCarlo,
) -> Result<Report, Failure> {
    let (judged, knows_noise) = (&rows.rows, model.network().loss == Loss::GaussianNll);
    let targets = targets_in_units(model, judged)?;
    let mut columns = single_pass(model, device, judged, valid.as_ref())?;
    let drawn = match draws::asked(model, asked.draws) {
        Ok(()) => {
            let predictive = draws::drawn(model, device, ("judged rows", judged.inputs()), asked, 0)?;
            let of_target = |target| Ok(Exactness::of(&in_units(&predictive, model, target)?));
            let exactness = (0..targets.len()).map(of_target).collect::<Result<Vec<_>, Failure>>()?;
            columns.extend(monte_carlo(model, device, (judged, valid.as_ref()), (predictive, asked))?);
            Ok(exactness)
        }
        Err(why) => Err(why),
    };
    let noise_of_draws = match (knows_noise, asked.precision) {
        (true, _) => "what each draw says of the noise",
        (false, Some(_)) => "the noise of --precision",
        (false, None) => "the noise that makes the validation rows most likely",
    };
    let samples = judged.inputs().samples().to_vec();
    Judgement { columns, targets, samples, what: rows.what.clone(), knows_noise, noise_of_draws, drawn }.report()
}

fn name(model: &Model, target: usize, targets: usize) -> String {
    let names = &model.preprocessing().output_names;
    if names.len() == targets { names[target].clone() } else { format!("y{target}") }
}

/// A column without a spread.
fn column(model: &Model, way: &'static str, at: (usize, &[Vec<f64>]), answers: Vec<f64>) -> Result<Column, Failure> {
    let (c, targets) = (at.0, &at.1[at.0]);
    let mean = model.preprocessing().targets.as_ref().map(|standardization| standardization.mean[c]);
    let of_mean = mean.map(|mean| rmse(&vec![mean; targets.len()], targets)).transpose()?;
    let rmse = rmse(&answers, targets)?;
    Ok(Column { way, target: name(model, c, at.1.len()), answers, rmse, of_mean, spread: Err(String::new()) })
}

/// Normal distributions around the answers: of the deviation that the network says, or of the error on the validation rows.
fn single_pass(
    model: &Model,
    device: &Device,
    judged: &Dataset,
    valid: Result<&Dataset, &String>,
) -> Result<Vec<Column>, Failure> {
    let targets = targets_in_units(model, judged)?;
    let said = |rows: &Dataset| -> Result<Vec<Vec<f64>>, Failure> {
        let outputs = model.in_own_units(model.predict(device, rows.inputs())?);
        let columns = outputs.row(0).len();
        if columns != targets.len() * if model.network().loss == Loss::GaussianNll { 2 } else { 1 } {
            let message = format!("the network has {columns} outputs, but a row has {} targets", targets.len());
            return Err(Failure::Usage(message));
        }
        Ok(apart(outputs.values(), columns, None))
    };
    let answers = said(judged)?;
    let of_valid = match valid {
        Ok(rows) => Ok((said(rows)?, targets_in_units(model, rows)?)),
        Err(why) => Err(why),
    };
    let each = (0..targets.len()).map(|c| {
        let deviations = match (answers.get(targets.len() + c), &of_valid) {
            (Some(own), _) => Ok(own.clone()),
            (None, Ok((answers, targets))) => match rmse(&answers[c], &targets[c])? {
                error if error > 0.0 => Ok(vec![error; judged.rows() as usize]),
                _ => Err("there is no error on the validation rows".into()),
            },
            (None, Err(why)) => Err(format!("the validation rows would give their width, and {why}")),
        };
        let mut column = column(model, "single pass", (c, &targets), answers[c].clone())?;
        column.spread = match deviations {
            Ok(deviations) => Ok(normal(&column.answers, &deviations, &targets[c])?),
            Err(why) => Err(why),
        };
        Ok(column)
    });
    each.collect()
}

/// What normal distributions are worth.
fn normal(answers: &[f64], deviations: &[f64], targets: &[f64]) -> Result<Spread, Failure> {
    let log_likelihood = gaussian_log_likelihood(targets, answers, deviations)?;
    let end = |half: f64| answers.iter().zip(deviations).map(|(answer, deviation)| answer + half * deviation).collect();
    let intervals = INTERVALS.map(|(_, half)| [end(-half), end(half)]);
    let covered = shares(targets, &intervals)?;
    Ok(Spread { noise: mean(deviations), of_draws: None, log_likelihood, intervals, covered })
}

fn shares(targets: &[f64], intervals: &[[Vec<f64>; 2]; 2]) -> thinnet::Result<[f64; 2]> {
    let [half, most] = intervals;
    Ok([covered(targets, &half[0], &half[1])?, covered(targets, &most[0], &most[1])?])
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The mixture of all draws, with the noise that the network says, that was asked for, or that makes the validation rows most likely.
fn monte_carlo(
    model: &Model,
    device: &Device,
    (judged, valid): (&Dataset, Result<&Dataset, &String>),
    (predictive, options): (Predictive, &MonteCarlo),
) -> Result<Vec<Column>, Failure> {
    let targets = targets_in_units(model, judged)?;
    let fits = options.precision.is_none() && model.network().loss == Loss::MeanSquaredError;
    let of_valid = match valid {
        Ok(rows) if fits => {
            let drawn = draws::drawn(model, device, ("validation rows", rows.inputs()), options, judged.rows())?;
            Some((drawn, targets_in_units(model, rows)?))
        }
        _ => None,
    };
    let each = (0..targets.len()).map(|c| {
        let mut own = in_units(&predictive, model, c)?;
        let mut column = column(model, draws::NAME, (c, &targets), in_f64(own.mean().values()))?;
        let precision = match (&of_valid, valid) {
            (Some((drawn, of_valid)), _) => match in_units(drawn, model, c)?.fit_precision(&in_f32(&of_valid[c]))? {
                Precision::At(tau) => Ok(Some(tau)),
                Precision::Infinite => Err("no noise is small enough for the validation rows; give --precision".into()),
            },
            (None, Err(why)) if fits => Err(format!("the validation rows would give the noise, and {why}; or give --precision")),
            _ => Ok(None),
        };
        column.spread = match precision {
            Ok(fitted) => {
                if let Some(tau) = fitted {
                    own = own.with_precision(Some(tau))?;
                }
                Ok(mixture(&own, &targets[c])?)
            }
            Err(why) => Err(why),
        };
        Ok(column)
    });
    each.collect()
}

/// What the draws of one target are worth.
fn mixture(own: &Predictive, targets: &[f64]) -> Result<Spread, Failure> {
    let [draws, total] = [own.std(), own.total_std()].map(|deviations| in_f64(deviations.values()));
    let noise: Vec<f64> =
        draws.iter().zip(&total).map(|(draws, total)| (total * total - draws * draws).max(0.0).sqrt()).collect();
    let interval = |share: f64| -> thinnet::Result<[Vec<f64>; 2]> { Ok(own.interval(share)?.map(|end| in_f64(end.values()))) };
    let intervals = [interval(INTERVALS[0].0)?, interval(INTERVALS[1].0)?];
    let covered = shares(targets, &intervals)?;
    let log_likelihood = own.log_likelihood(&in_f32(targets))?;
    Ok(Spread { noise: mean(&noise), of_draws: Some(mean(&draws)), log_likelihood, intervals, covered })
}

/// One target of some draws, in its own units.
fn in_units(drawn: &Predictive, model: &Model, target: usize) -> Result<Predictive, Failure> {
    let own = drawn.only(target)?;
    Ok(match &model.preprocessing().targets {
        Some(all) => own.in_units(&Standardization { mean: vec![all.mean[target]], deviation: vec![all.deviation[target]] })?,
        None => own,
    })
}

/// The targets by column, in their own units.
fn targets_in_units(model: &Model, rows: &Dataset) -> Result<Vec<Vec<f64>>, Failure> {
    match rows.targets() {
        Targets::Values { columns, values } => Ok(apart(values, *columns as usize, model.preprocessing().targets.as_ref())),
        Targets::Classes { .. } => {
            Err(Failure::Usage("the targets are classes; calibrate judges a regression by numbers".into()))
        }
    }
}

/// The columns of a table, in f64 and undone.
fn apart(values: &[f32], columns: usize, standardization: Option<&Standardization>) -> Vec<Vec<f64>> {
    let scale = |c: usize| standardization.map_or((0.0, 1.0), |s| (s.mean[c], s.deviation[c]));
    let column = |c: usize| {
        let (mean, deviation) = scale(c);
        values.iter().skip(c).step_by(columns).map(|&v| f64::from(v) * deviation + mean).collect()
    };
    (0..columns).map(column).collect()
}

fn in_f64(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

fn in_f32(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&value| value as f32).collect()
}
