//! The figures as text, JSON, files and a picture.

use serde_json::{Value, json};

use super::super::super::Failure;
use super::super::super::output::field;
use super::super::{Report, Table, draws, number};
use super::{Column, INTERVALS, Judgement, Spread, mean, picture};

/// Label and figures of a line, and whether they are shares.
type Line = (String, Vec<Option<f64>>, bool);

impl Spread {
    /// The mean width of an interval.
    fn width(&self, interval: usize) -> f64 {
        let [low, high] = &self.intervals[interval];
        mean(&low.iter().zip(high).map(|(low, high)| high - low).collect::<Vec<_>>())
    }
}

impl Judgement {
    pub(super) fn report(&self) -> Result<Report, Failure> {
        let mut files = vec![("figures.csv", self.figures_csv())];
        if self.columns.iter().any(|column| column.spread.is_ok()) {
            files.push(("intervals.csv", self.intervals_csv()));
            files.push(("intervals.svg", picture::intervals(self)?));
        }
        Ok(Report { text: self.text(), json: self.json(), files })
    }

    /// The targets that a column answers.
    pub(super) fn targets_of(&self, column: usize) -> &[f64] {
        &self.targets[column % self.targets.len()]
    }

    /// As heads of tables and pictures have it: the name of the target only where there are several.
    pub(super) fn title(&self, column: &Column) -> String {
        if self.targets.len() == 1 { column.way.into() } else { format!("{}, {}", column.way, column.target) }
    }

    fn lines(&self) -> Vec<Line> {
        let each = |figure: &dyn Fn(&Column) -> Option<f64>| self.columns.iter().map(figure).collect::<Vec<_>>();
        let spread = |figure: &dyn Fn(&Spread) -> Option<f64>| each(&|column| figure(column.spread.as_ref().ok()?));
        let mut lines = vec![
            ("root of the mean square error".into(), each(&|column| Some(column.rmse)), false),
            ("the same of always answering the training mean".into(), each(&|column| column.of_mean), false),
            ("deviation of the noise".into(), spread(&|spread| Some(spread.noise)), false),
            ("deviation of the draws, mean".into(), spread(&|spread| spread.of_draws), false),
            ("mean log-likelihood, nats".into(), spread(&|spread| Some(spread.log_likelihood)), false),
        ];
        for (i, (share, _)) in INTERVALS.iter().enumerate() {
            let share = format!("{} % interval", 100.0 * share);
            lines.push((format!("targets inside the {share}"), spread(&|spread| Some(spread.covered[i])), true));
            lines.push((format!("mean width of the {share}"), spread(&|spread| Some(spread.width(i))), false));
        }
        lines.retain(|(_, values, _)| values.iter().any(Option::is_some));
        lines
    }

    fn text(&self) -> String {
        let cell = |value: Option<f64>, share| match (value, share) {
            (None, _) => "-".into(),
            (Some(value), true) => format!("{:.1} %", 100.0 * value),
            (Some(value), false) => format!("{value:.4}"),
        };
        let row = |(label, values, share): Line| (label, values.into_iter().map(|value| cell(value, share)).collect());
        let columns = self.columns.iter().map(|column| self.title(column)).collect();
        let table = Table { columns, rows: self.lines().into_iter().map(row).collect() };
        let rows = self.samples.len();
        let mut text = format!("Judged by {rows} {}, in the targets' own units.\n\n{}\n", self.what, table.text());
        // What is said of intervals is said of those that there are.
        let intervals = |draws: bool| self.columns.iter().any(|c| (c.way == draws::NAME) == draws && c.spread.is_ok());
        text += match (self.knows_noise, intervals(false)) {
            (true, _) => "A single pass has the deviation that the network says of each row.\n",
            (false, true) => {
                "A single pass has no uncertainty of its own: its intervals are as wide for every row, by the error on the validation \
                 rows.\n"
            }
            (false, false) => "A single pass has no uncertainty of its own.\n",
        };
        text += &match &self.drawn {
            Ok(targets) => {
                let (noise, exactness) = (self.noise_of_draws, targets[0]);
                let of = if self.targets.len() == 1 { "a mean" } else { "a mean of the first target" };
                let intervals = match intervals(true) {
                    true => format!("Its intervals are those of all draws, with {noise} around each.\n"),
                    false => String::new(),
                };
                exactness.text(of) + &intervals
            }
            Err(Some(why)) => format!("No Monte-Carlo: {why}.\n"),
            Err(None) => String::new(),
        };
        for column in &self.columns {
            if let Err(why) = &column.spread {
                text += &format!("\nThere are no intervals of {}: {why}.\n", self.title(column));
            }
        }
        text
    }

    fn json(&self) -> Vec<Value> {
        let of_column = |(at, column): (usize, &Column)| {
            let spread = column.spread.as_ref().ok();
            let drawn = self.drawn.as_ref().ok().filter(|_| column.way == draws::NAME);
            let drawn = drawn.map(|targets| targets[at % self.targets.len()]);
            json!({
                "way": column.way, "target": column.target, "rows": self.samples.len(), "rmse": column.rmse,
                "rmse_of_mean": column.of_mean, "deviation": spread.map(|s| s.noise),
                "deviation_of_draws": spread.and_then(|s| s.of_draws), "log_likelihood": spread.map(|s| s.log_likelihood),
                "covered_50": spread.map(|s| s.covered[0]), "covered_90": spread.map(|s| s.covered[1]),
                "width_50": spread.map(|s| s.width(0)), "width_90": spread.map(|s| s.width(1)),
                "no_intervals": column.spread.as_ref().err(), "draws": drawn.map(|drawn| drawn.draws),
                "largest_standard_error": drawn.map(|drawn| drawn.largest), "mean_standard_error": drawn.map(|drawn| drawn.mean),
            })
        };
        let mut rows: Vec<Value> = self.columns.iter().enumerate().map(of_column).collect();
        rows.extend(self.drawn.as_ref().err().and_then(Option::as_ref).map(|why| json!({ "way": draws::NAME, "no_draws": why })));
        rows
    }

    fn figures_csv(&self) -> String {
        let mut csv = String::from("way,target,figure,value\n");
        for (label, values, _) in self.lines() {
            for (column, value) in self.columns.iter().zip(values) {
                csv += &format!("{},{},{label},{}\n", column.way, field(&column.target), number(value));
            }
        }
        csv
    }

    /// Every row with its answer and its intervals.
    fn intervals_csv(&self) -> String {
        let mut csv = String::from("way,target,row,observed,answer,low_50,high_50,low_90,high_90\n");
        for (at, column) in self.columns.iter().enumerate() {
            let Ok(Spread { intervals: [half, most], .. }) = &column.spread else { continue };
            for (i, row) in self.samples.iter().enumerate() {
                let numbers = [self.targets_of(at)[i], column.answers[i], half[0][i], half[1][i], most[0][i], most[1][i]];
                let numbers = numbers.map(|value| number(Some(value))).join(",");
                csv += &format!("{},{},{row},{numbers}\n", column.way, field(&column.target));
            }
        }
        csv
    }
}
