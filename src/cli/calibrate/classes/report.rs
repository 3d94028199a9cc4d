//! The figures as text, JSON, files and pictures.

use serde_json::{Map, Value, json};
use thinnet::calibration::RiskCoverage;

use super::super::super::Failure;
use super::super::super::output::field;
use super::super::super::plot::{self, Curve, Picture};
use super::super::{Report, Table, draws, number, pictures};
use super::{Figures, Judgement, Way};

/// The share of rows that the table refers.
const REFERRED: f64 = 0.1;

impl Judgement {
    pub(super) fn report(&self) -> Result<Report, Failure> {
        let mut files = vec![
            ("figures.csv", self.figures_csv()),
            ("reliability.csv", self.reliability_csv()),
            ("reliability.svg", pictures::reliability(&self.own[1], &self.ways, &self.figures)?),
            ("risk-coverage.csv", self.referral_csv()),
            ("risk-coverage.svg", self.referral_svg()?),
        ];
        if let Some([_, other]) = &self.other {
            let histograms = pictures::histograms(&self.ways, &self.figures);
            files.push(("ood.csv", pictures::histograms_csv(&histograms)));
            files.push(("ood.svg", pictures::histograms_svg(&histograms, (&self.own[1], other))?));
        }
        Ok(Report { text: self.text(), json: self.json(), files })
    }

    fn pairs(&self) -> impl Iterator<Item = (&Way, &Figures)> {
        self.ways.iter().zip(&self.figures)
    }

    /// The names of all scores, each once.
    fn scores(&self) -> Vec<&'static str> {
        let mut names: Vec<&str> = Vec::new();
        for score in self.ways.iter().flat_map(|way| &way.scores) {
            if !names.contains(&score.name) {
                names.push(score.name);
            }
        }
        names
    }

    /// A figure of one score of each way that has it.
    fn by_score(&self, name: &str, figure: impl Fn(&Figures, usize) -> Option<f64>) -> Vec<Option<f64>> {
        let of_way = |(way, figures): (&Way, &Figures)| {
            way.scores.iter().position(|score| score.name == name).and_then(|at| figure(figures, at))
        };
        self.pairs().map(of_way).collect()
    }

    /// Label and figures of every line, and whether they are shares.
    fn lines(&self) -> Vec<(String, Vec<Option<f64>>, bool)> {
        let each = |figure: fn(&Figures) -> f64| self.figures.iter().map(|f| Some(figure(f))).collect::<Vec<_>>();
        let mut lines = vec![
            ("accuracy".into(), each(|f| f.accuracy), true),
            ("negative log-likelihood, nats".into(), each(|f| f.nll), false),
            ("Brier score, sum over classes".into(), each(|f| f.brier), false),
            (format!("expected calibration error, {} bins", self.bins), each(|f| f.reliability.ece()), true),
        ];
        for name in self.scores() {
            let label = format!("accuracy with {} % referred by {name}", 100.0 * REFERRED);
            lines.push((label, self.by_score(name, |f, at| Some(f.referral[at].accuracy_when_referred(REFERRED))), true));
        }
        for name in self.scores() {
            lines.push((format!("area of risk by {name}"), self.by_score(name, |f, at| Some(f.referral[at].area())), false));
        }
        for name in self.other.iter().flat_map(|_| self.scores()) {
            lines.push((format!("AUROC of {name}"), self.by_score(name, |f, at| f.auroc[at]), false));
        }
        lines
    }

    fn text(&self) -> String {
        let cell = |value: Option<f64>, share| match (value, share) {
            (None, _) => "-".into(),
            (Some(value), true) => format!("{:.2} %", 100.0 * value),
            (Some(value), false) => format!("{value:.4}"),
        };
        let row = |(label, values, share): (String, Vec<Option<f64>>, bool)| {
            (label, values.into_iter().map(|value| cell(value, share)).collect())
        };
        let table =
            Table { columns: self.ways.iter().map(Way::title).collect(), rows: self.lines().into_iter().map(row).collect() };
        let mut text = format!("Judged by {}.\n\n{}", self.own[0], table.text());
        text += &match &self.drawn {
            Ok(exactness) => format!("\n{}", exactness.text("a mean probability")),
            Err(Some(why)) => format!("\nNo Monte-Carlo: {why}.\n"),
            Err(None) => String::new(),
        };
        for (way, why) in &self.unfitted {
            text += &format!("\nNo temperature was fitted to the {way}: {why}.\n");
        }
        if let Some([other, _]) = &self.other {
            text += &format!(
                "\nAUROC: how often one of the {other} has a larger score than one of the {}; 0.5 is a coin's, 1 is always.\n",
                self.own[0]
            );
        }
        text
    }

    fn json(&self) -> Vec<Value> {
        let mut rows = Vec::new();
        for (way, figures) in self.pairs() {
            let mut scores = Map::new();
            for (at, score) in way.scores.iter().enumerate() {
                let value = json!({
                    "accuracy_with_10_percent_referred": figures.referral[at].accuracy_when_referred(REFERRED),
                    "area_of_risk": figures.referral[at].area(), "auroc": figures.auroc[at],
                });
                scores.insert(score.name.into(), value);
            }
            let drawn = self.drawn.as_ref().ok().filter(|_| way.name == draws::NAME);
            rows.push(json!({
                "way": way.name, "draws": drawn.map(|drawn| drawn.draws), "largest_standard_error": drawn.map(|drawn| drawn.largest),
                "mean_standard_error": drawn.map(|drawn| drawn.mean), "temperature": way.temperature, "rows": self.right.len(), "accuracy": figures.accuracy,
                "nll": figures.nll, "brier": figures.brier, "ece": figures.reliability.ece(), "bins": self.bins, "scores": scores,
            }));
        }
        rows.extend(self.drawn.as_ref().err().and_then(Option::as_ref).map(|why| json!({ "way": draws::NAME, "no_draws": why })));
        rows.extend(self.unfitted.iter().map(|(way, why)| json!({ "way": way, "no_temperature": why })));
        rows
    }

    fn figures_csv(&self) -> String {
        let mut csv = String::from("way,temperature,figure,value\n");
        for (label, values, _) in self.lines() {
            for (way, value) in self.ways.iter().zip(values) {
                csv += &format!("{},{},{},{}\n", way.name, number(way.temperature), field(&label), number(value));
            }
        }
        csv
    }

    fn reliability_csv(&self) -> String {
        let mut csv = String::from("way,temperature,low,high,count,confidence,accuracy\n");
        for (way, figures) in self.pairs() {
            for bin in &figures.reliability.bins {
                let [confidence, accuracy] = [bin.confidence, bin.accuracy].map(|value| number(Some(value)));
                let temperature = number(way.temperature);
                csv += &format!("{},{temperature},{},{},{},{confidence},{accuracy}\n", way.name, bin.low, bin.high, bin.count);
            }
        }
        csv
    }

    /// Accuracy with 0 to 99 % of the rows referred.
    fn referral_csv(&self) -> String {
        let mut csv = String::from("way,temperature,score,referred,accuracy\n");
        for (way, figures) in self.pairs() {
            for (score, curve) in way.scores.iter().zip(&figures.referral) {
                for (referred, accuracy) in by_percent(curve) {
                    let temperature = number(way.temperature);
                    csv += &format!("{},{temperature},{},{referred},{}\n", way.name, score.name, accuracy / 100.0);
                }
            }
        }
        csv
    }

    fn referral_svg(&self) -> Result<String, Failure> {
        // A temperature hardly changes an order, nor do the two scores of a single pass: beside those of draws they have no room.
        let all = self.drawn.is_err();
        let shown = move |way: &Way, at: usize| match way.temperature {
            Some(_) => all && at == 0,
            None => all || at != 1,
        };
        let of_way = |(way, figures)| {
            let (way, figures): (&Way, &Figures) = (way, figures);
            let curves = figures.referral.iter().enumerate().filter(move |(at, _)| shown(way, *at));
            curves.map(move |(at, curve)| (way, at, curve))
        };
        let scores: Vec<(&Way, usize, &RiskCoverage)> = self.pairs().flat_map(of_way).collect();
        // All wrong rows first: no score can be better.
        let wrong: Vec<f64> = self.right.iter().map(|right| f64::from(u8::from(!right))).collect();
        let best = by_percent(&RiskCoverage::of(&self.right, &wrong)?);
        let grey = plotters::style::RGBColor(140, 140, 140);
        let mut curves =
            vec![Curve { name: "all wrong rows first".into(), color: grey, dashed: true, points: best, band: Vec::new() }];
        for (i, (way, at, curve)) in scores.iter().enumerate() {
            curves.push(Curve {
                name: format!("{}: {}", way.title(), way.scores[*at].name),
                color: plot::ordered(i, scores.len()),
                // Scores of one way often lie on each other.
                dashed: *at % 2 == 1,
                points: by_percent(curve),
                band: Vec::new(),
            });
        }
        let title = format!("What remains when the least certain are referred: {}", self.own[1]);
        plot::svg(&Picture { title: &title, x: "referred, %", y: "accuracy of the others, %", curves })
    }
}

fn by_percent(curve: &RiskCoverage) -> Vec<(f64, f64)> {
    let at = |percent: u32| (f64::from(percent), 100.0 * curve.accuracy_when_referred(f64::from(percent) / 100.0));
    (0..100).map(at).collect()
}
