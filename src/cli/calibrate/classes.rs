//! Classes: the ways of predicting, and the figures of each.

use std::path::Path;

use thinnet::calibration::{Logits, Probabilities, Reliability, RiskCoverage, Temperature, auroc};
use thinnet::{Dataset, Device, Inputs, Loss, Model, MonteCarlo, Predictive, Targets};

use super::super::Failure;
use super::super::data::{Asked, Source};
use super::Report;
use super::draws::{self, Exactness, Undrawn};

mod report;

/// What was asked for.
pub(super) struct Asking<'a> {
    pub(super) ood: Option<&'a Path>,
    /// How foreign data are read.
    pub(super) source: &'a Source,
    pub(super) bins: usize,
    pub(super) draws: MonteCarlo,
}

/// A way of predicting: a column of the table.
pub(super) struct Way {
    pub(super) name: &'static str,
    /// Where it was fitted.
    pub(super) temperature: Option<f64>,
    pub(super) said: Probabilities,
    /// Its uncertainties, the entropy first.
    pub(super) scores: Vec<Score>,
}

impl Way {
    /// As heads of tables and keys of pictures have it.
    pub(super) fn title(&self) -> String {
        match self.temperature {
            Some(temperature) => format!("{}, T = {temperature:.3}", self.name),
            None => self.name.into(),
        }
    }
}

/// An uncertainty of the judged rows and of the foreign ones; larger is less certain.
pub(super) struct Score {
    pub(super) name: &'static str,
    pub(super) own: Vec<f64>,
    pub(super) other: Option<Vec<f64>>,
}

/// What one way of predicting answers before any temperature; of the mean of several networks, the logarithms.
struct Answers {
    name: &'static str,
    judged: Logits,
    valid: Option<Logits>,
    other: Option<Logits>,
    /// Uncertainties that are no function of the probabilities, such as the mutual information of several networks.
    scores: Vec<Score>,
}

/// The rows that the ways answer for.
struct Rows<'a> {
    judged: &'a Inputs,
    valid: Option<&'a Inputs>,
    other: Option<&'a Inputs>,
}

/// The figures of a way.
pub(super) struct Figures {
    accuracy: f64,
    nll: f64,
    brier: f64,
    pub(super) reliability: Reliability,
    /// By score.
    pub(super) referral: Vec<RiskCoverage>,
    /// By score, where there are foreign rows.
    pub(super) auroc: Vec<Option<f64>>,
}

/// Everything that is reported.
struct Judgement {
    ways: Vec<Way>,
    figures: Vec<Figures>,
    /// Whether each judged row is right, by the first way.
    right: Vec<bool>,
    /// How exact the Monte-Carlo means are.
    drawn: Result<Exactness, Undrawn>,
    /// Ways without a temperature, and why.
    unfitted: Vec<(&'static str, String)>,
    /// What the judged rows are, in full and in short.
    own: [String; 2],
    /// What the foreign rows are, in full and in short.
    other: Option<[String; 2]>,
    bins: usize,
}

/// The answers of a single pass.
fn single_pass(model: &Model, device: &Device, rows: &Rows<'_>) -> Result<Answers, Failure> {
    let single = |inputs: &Inputs| Logits::from_outputs(&model.logits(device, inputs)?);
    Ok(Answers {
        name: "single pass",
        judged: single(rows.judged)?,
        valid: rows.valid.map(single).transpose()?,
        other: rows.other.map(single).transpose()?,
        scores: Vec::new(),
    })
}

/// The mean answers of some draws, with what only draws can say.
fn monte_carlo(model: &Model, device: &Device, rows: &Rows<'_>, options: &MonteCarlo) -> Result<(Answers, Exactness), Failure> {
    let mut first = 0;
    let mut drawn = |what: &str, inputs: &Inputs| {
        let predictive = draws::drawn(model, device, (what, inputs), options, first);
        first += inputs.rows();
        predictive
    };
    let judged = drawn("judged rows", rows.judged)?;
    let valid = rows.valid.map(|inputs| drawn("validation rows", inputs)).transpose()?;
    let other = rows.other.map(|inputs| drawn("foreign rows", inputs)).transpose()?;
    let logits = |drawn: &Predictive| -> thinnet::Result<Logits> {
        Ok(Logits::from_probabilities(&Probabilities::from_outputs(&drawn.mean())?))
    };
    let score = |name, of: fn(&Predictive) -> Vec<f64>| Score { name, own: of(&judged), other: other.as_ref().map(of) };
    let scores =
        vec![score("mutual information", Predictive::mutual_information), score("variation ratio", Predictive::variation_ratio)];
    let [valid, other] = [&valid, &other].map(|drawn| drawn.as_ref().map(logits).transpose());
    let answers = Answers { name: draws::NAME, judged: logits(&judged)?, valid: valid?, other: other?, scores };
    Ok((answers, Exactness::of(&judged)))
}

pub(super) fn judge(
    model: &Model,
    device: &dyn Fn() -> Result<Device, Failure>,
    rows: &Asked<Dataset>,
    valid: Result<Dataset, String>,
    asking: &Asking<'_>,
) -> Result<Report, Failure> {
    let labels = labels(model, &rows.rows)?;
    let valid_labels = valid.as_ref().map(|valid| self::labels(model, valid));
    let foreign = asking.ood.map(|path| asking.source.foreign_rows(model, path)).transpose()?;
    let inputs = Rows {
        judged: rows.rows.inputs(),
        valid: valid.as_ref().ok().map(Dataset::inputs),
        other: foreign.as_ref().map(|foreign| &foreign.rows),
    };
    let device = device()?;
    let mut answers = vec![single_pass(model, &device, &inputs)?];
    let drawn = match draws::asked(model, asking.draws.draws) {
        Ok(()) => {
            let (drawn, exactness) = monte_carlo(model, &device, &inputs, &asking.draws)?;
            answers.push(drawn);
            Ok(exactness)
        }
        Err(why) => Err(why),
    };
    let (mut ways, mut unfitted) = (Vec::new(), Vec::new());
    for answers in answers {
        let fitted = match (&valid_labels, &answers.valid) {
            (Ok(labels), Some(logits)) => fit(logits, labels.as_ref().map_err(ToString::to_string))?,
            (Err(why), _) => Err((*why).clone()),
            (Ok(_), None) => Err("it has not answered the validation rows".into()),
        };
        let Answers { name, judged, other, scores, .. } = answers;
        ways.push(way(name, (&judged, other.as_ref()), None, scores)?);
        match fitted {
            Ok(temperature) => ways.push(way(name, (&judged, other.as_ref()), Some(temperature), Vec::new())?),
            Err(why) => unfitted.push((name, why)),
        }
    }
    let figures = ways.iter().map(|way| figures(way, &labels, asking.bins)).collect::<Result<Vec<_>, Failure>>()?;
    let right = ways[0].said.right(&labels)?;
    // Pictures have no room for a path.
    let short = rows.what.rsplit_once('/').map_or(rows.what.clone(), |(_, name)| format!("rows of {name}"));
    let own = [&rows.what, &short].map(|what| format!("{} {what}", rows.rows.rows()));
    let other = foreign.zip(asking.ood).map(|(foreign, path)| {
        let (count, name) = (foreign.rows.rows(), path.file_name().unwrap_or(path.as_os_str()).to_string_lossy());
        [format!("{count} {}", foreign.what), format!("{count} rows of {name}")]
    });
    Judgement { ways, figures, right, drawn, unfitted, own, other, bins: asking.bins }.report()
}

/// The class of each row. One output tells two classes apart, also where they are given as the numbers 0 and 1.
fn labels(model: &Model, rows: &Dataset) -> Result<Vec<u32>, Failure> {
    let outputs = model.network().outputs()?;
    if model.network().loss == Loss::BinaryCrossEntropy && outputs > 1 {
        let message = format!(
            "the network's {outputs} outputs have a sigmoid each, so that its classes do not exclude each other; calibrate \
             judges softmax_cross_entropy, or binary_cross_entropy with one output. thinnet eval has loss and accuracy"
        );
        return Err(Failure::Usage(message));
    }
    match rows.targets() {
        Targets::Classes { labels, .. } => Ok(labels.clone()),
        Targets::Values { values, .. } if values.iter().all(|v| *v == 0.0 || *v == 1.0) => {
            Ok(values.iter().map(|v| u32::from(*v == 1.0)).collect())
        }
        Targets::Values { .. } => {
            let message =
                "the targets are numbers between 0 and 1, so that no answer is right or wrong; calibrate judges classes";
            Err(Failure::Usage(message.into()))
        }
    }
}

/// The temperature, or why there is none.
fn fit(logits: &Logits, labels: Result<&Vec<u32>, String>) -> Result<Result<f64, String>, Failure> {
    let labels = match labels {
        Ok(labels) => labels,
        Err(why) => return Ok(Err(why)),
    };
    Ok(match logits.fit_temperature(labels)? {
        Temperature::At(temperature) => Ok(temperature),
        Temperature::Zero => Err(format!(
            "all {} validation rows are right, so that no T is small enough: they do not say how often it is wrong; \
             validate with more",
            labels.len()
        )),
        Temperature::Infinite => {
            Err("no T is large enough: on the validation rows it knows less than nothing; train again".into())
        }
    })
}

fn way(
    name: &'static str,
    (judged, other): (&Logits, Option<&Logits>),
    temperature: Option<f64>,
    scores: Vec<Score>,
) -> Result<Way, Failure> {
    let said = judged.probabilities(temperature.unwrap_or(1.0))?;
    let foreign = other.map(|other| other.probabilities(temperature.unwrap_or(1.0))).transpose()?;
    let of = |name, score: fn(&Probabilities) -> Vec<f64>| Score { name, own: score(&said), other: foreign.as_ref().map(score) };
    let mut all = vec![of("entropy", Probabilities::entropy), of("1 - largest probability", Probabilities::doubt)];
    all.extend(scores);
    Ok(Way { name, temperature, said, scores: all })
}

fn figures(way: &Way, labels: &[u32], bins: usize) -> Result<Figures, Failure> {
    let (said, right) = (&way.said, way.said.right(labels)?);
    let referral = way.scores.iter().map(|score| RiskCoverage::of(&right, &score.own)).collect::<thinnet::Result<_>>()?;
    let separation = |score: &Score| score.other.as_ref().map(|other| auroc(&score.own, other)).transpose();
    Ok(Figures {
        accuracy: said.accuracy(labels)?,
        nll: said.nll(labels)?,
        brier: said.brier(labels)?,
        reliability: Reliability::of(said, labels, bins)?,
        referral,
        auroc: way.scores.iter().map(separation).collect::<thinnet::Result<_>>()?,
    })
}
