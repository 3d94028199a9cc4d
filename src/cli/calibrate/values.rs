//! Numbers: the error, and what a single pass can say of its size.

use serde_json::json;
use thinnet::calibration::{covered, gaussian_log_likelihood, rmse};
use thinnet::data::Standardization;
use thinnet::{Dataset, Device, Model, Outputs, Targets};

use super::super::Failure;
use super::super::data::Asked;
use super::super::output::field;
use super::{Report, Table, number};

/// Standard deviations to either side of the mean that hold this share of a normal distribution.
const INTERVALS: [(&str, f64); 2] = [("50 %", 0.674_489_750_196_081_7), ("90 %", 1.644_853_626_951_472_2)];

/// One output of the network.
struct Column {
    name: String,
    rmse: f64,
    /// The error of always answering the mean of the targets that were learned from.
    of_mean: Option<f64>,
    noise: Option<Noise>,
}

/// Intervals of the same width for all rows.
struct Noise {
    /// The error on the validation rows.
    deviation: f64,
    log_likelihood: f64,
    covered: [f64; 2],
}

pub(super) fn judge(
    model: &Model,
    device: &Device,
    rows: &Asked<Dataset>,
    valid: Result<Dataset, String>,
) -> Result<Report, Failure> {
    let (answers, targets) = in_units(model, device, &rows.rows)?;
    let valid = match valid {
        Ok(valid) => Ok(in_units(model, device, &valid)?),
        Err(why) => Err(why),
    };
    let names = &model.preprocessing().output_names;
    let columns = (0..answers.len()).map(|c| {
        let (answers, targets) = (&answers[c], &targets[c]);
        let mean = model.preprocessing().targets.as_ref().map(|targets| targets.mean[c]);
        let of_mean = mean.map(|mean| rmse(&vec![mean; targets.len()], targets)).transpose()?;
        let noise = valid.as_ref().ok().map(|(of, valid)| noise(rmse(&of[c], &valid[c])?, answers, targets)).transpose()?;
        let name = if names.len() > c { names[c].clone() } else { format!("y{c}") };
        Ok(Column { name, rmse: rmse(answers, targets)?, of_mean, noise: noise.flatten() })
    });
    let columns = columns.collect::<Result<Vec<Column>, Failure>>()?;
    let mut text =
        format!("Judged by {} {}, in the targets' own units.\n\n{}", rows.rows.rows(), rows.what, table(&columns).text());
    text += &match valid {
        Ok(_) => "\nA single pass has no uncertainty of its own: its intervals are as wide for every row, by the error on the validation \
                  rows.\n"
            .into(),
        Err(why) => format!("\nThere are no intervals, whose width the validation rows would give: {why}.\n"),
    };
    let csv: String = lines(&columns)
        .into_iter()
        .flat_map(|(label, values)| {
            let names = columns.iter().map(|column| column.name.clone());
            names.zip(values).map(move |(name, value)| format!("single pass,{},{label},{}\n", field(&name), number(value)))
        })
        .collect();
    let json = columns.iter().map(|column| {
        json!({
            "way": "single pass", "target": column.name, "rows": rows.rows.rows(), "rmse": column.rmse,
            "rmse_of_mean": column.of_mean, "deviation": column.noise.as_ref().map(|n| n.deviation),
            "log_likelihood": column.noise.as_ref().map(|n| n.log_likelihood),
            "covered_50": column.noise.as_ref().map(|n| n.covered[0]), "covered_90": column.noise.as_ref().map(|n| n.covered[1]),
        })
    });
    Ok(Report { text, json: json.collect(), files: vec![("figures.csv", "way,target,figure,value\n".to_owned() + &csv)] })
}

/// Numbers, target by target.
type Columns = Vec<Vec<f64>>;

/// Answers and targets, in the source's units.
fn in_units(model: &Model, device: &Device, rows: &Dataset) -> Result<(Columns, Columns), Failure> {
    let answers: Outputs = model.predict(device, rows.inputs())?;
    let Targets::Values { columns, values } = rows.targets() else {
        return Err(Failure::Usage("the targets are classes; calibrate judges a regression by numbers".into()));
    };
    let columns = *columns as usize;
    if answers.row(0).len() != columns {
        let message = format!("the network has {} outputs, but a row has {columns} targets", answers.row(0).len());
        return Err(Failure::Usage(message));
    }
    let standardization = model.preprocessing().targets.as_ref();
    Ok((apart(answers.values(), columns, standardization), apart(values, columns, standardization)))
}

/// The columns of a table, in f64 and undone.
fn apart(values: &[f32], columns: usize, standardization: Option<&Standardization>) -> Columns {
    let scale = |c: usize| standardization.map_or((0.0, 1.0), |s| (s.mean[c], s.deviation[c]));
    let column = |c: usize| {
        let (mean, deviation) = scale(c);
        values.iter().skip(c).step_by(columns).map(|&v| f64::from(v) * deviation + mean).collect()
    };
    (0..columns).map(column).collect()
}

/// What intervals of this deviation are worth; nothing where it is 0, as no error at all is.
fn noise(deviation: f64, answers: &[f64], targets: &[f64]) -> Result<Option<Noise>, Failure> {
    if deviation <= 0.0 {
        return Ok(None);
    }
    let log_likelihood = gaussian_log_likelihood(targets, answers, &vec![deviation; answers.len()])?;
    let share = |half: f64| {
        let [low, high] = [-half, half].map(|half| answers.iter().map(|a| a + half * deviation).collect::<Vec<_>>());
        covered(targets, &low, &high)
    };
    Ok(Some(Noise { deviation, log_likelihood, covered: [share(INTERVALS[0].1)?, share(INTERVALS[1].1)?] }))
}

/// Label and figures of every line.
fn lines(columns: &[Column]) -> Vec<(String, Vec<Option<f64>>)> {
    let each = |figure: &dyn Fn(&Column) -> Option<f64>| columns.iter().map(figure).collect::<Vec<_>>();
    let mut lines = vec![
        ("root of the mean square error".into(), each(&|c| Some(c.rmse))),
        ("the same of always answering the training mean".into(), each(&|c| c.of_mean)),
        ("deviation, from the validation rows".into(), each(&|c| Some(c.noise.as_ref()?.deviation))),
        ("mean log-likelihood, nats".into(), each(&|c| Some(c.noise.as_ref()?.log_likelihood))),
    ];
    for (i, (share, _)) in INTERVALS.iter().enumerate() {
        lines.push((format!("targets inside the {share} interval"), each(&|c| Some(c.noise.as_ref()?.covered[i]))));
    }
    lines.retain(|(_, values)| values.iter().any(Option::is_some));
    lines
}

fn table(columns: &[Column]) -> Table {
    let head = |column: &Column| if columns.len() == 1 { "single pass".into() } else { format!("single pass, {}", column.name) };
    let cell = |label: &str, value: Option<f64>| match value {
        Some(value) if label.contains('%') => format!("{:.1} %", 100.0 * value),
        value => value.map_or("-".into(), |value| format!("{value:.4}")),
    };
    let row = |(label, values): (String, Vec<Option<f64>>)| {
        let cells = values.into_iter().map(|value| cell(&label, value)).collect();
        (label, cells)
    };
    Table { columns: columns.iter().map(head).collect(), rows: lines(columns).into_iter().map(row).collect() }
}
