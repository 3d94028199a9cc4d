//! Reliability diagrams and histograms of uncertainty: a panel for each way of predicting.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use thinnet::calibration::Bin;

use super::super::Failure;
use super::super::output::field;
use super::super::plot::{BLUE, ORANGE};
use super::classes::{Figures, Way};
use super::number;

pub(super) type Drawn = Result<(), Box<dyn std::error::Error>>;
pub(super) type Panel<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// How many rows a bar has, in at most four characters.
fn short(count: usize) -> String {
    match count {
        0..=999 => count.to_string(),
        1000..=9949 => format!("{:.1}k", count as f64 / 1e3),
        9950..=999_499 => format!("{:.0}k", count as f64 / 1e3),
        _ => format!("{:.0}M", count as f64 / 1e6),
    }
}

/// A picture of panels, two in a row, under a title.
pub(super) fn panels(title: &str, count: usize, draw: impl Fn(usize, &Panel<'_>) -> Drawn) -> Result<String, Failure> {
    let mut text = String::new();
    let mut all = || -> Drawn {
        let (columns, rows) = (count.min(2), count.div_ceil(2));
        let root = SVGBackend::with_string(&mut text, (560 * columns.max(1) as u32, 40 + 500 * rows as u32)).into_drawing_area();
        root.fill(&WHITE)?;
        let parts = root.titled(title, ("sans-serif", if count == 1 { 16 } else { 20 }))?.split_evenly((rows, columns));
        parts.iter().take(count).enumerate().try_for_each(|(i, panel)| draw(i, panel))?;
        root.present()?;
        Ok(())
    };
    all().map_err(|error| Failure::Other(format!("{title:?} cannot be drawn: {error}")))?;
    Ok(text)
}

/// Between the two others in lightness.
const GREEN: RGBColor = RGBColor(120, 190, 120);

/// Bars of accuracy by confidence, the gap to what was said in two colours, the diagonal, and the rows of each bar above it.
pub(super) fn reliability(own: &str, ways: &[Way], figures: &[Figures]) -> Result<String, Failure> {
    panels(&format!("What is right of what is said: {own}"), ways.len(), |i, panel| {
        let reliability = &figures[i].reliability;
        let title = format!("{}: calibration error {:.2} %", ways[i].title(), 100.0 * reliability.ece());
        let mut chart = ChartBuilder::on(panel)
            .caption(title, ("sans-serif", 18))
            .margin(14)
            .x_label_area_size(46)
            .y_label_area_size(58)
            .build_cartesian_2d(0.0..1.0, 0.0..1.12)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .bold_line_style(BLACK.mix(0.08))
            .y_labels(6)
            .y_label_formatter(&|y| if *y < 1.01 { format!("{y:.1}") } else { String::new() })
            .x_desc("confidence: probability of the answer; above: rows")
            .y_desc("accuracy")
            .label_style(("sans-serif", 14))
            .axis_desc_style(("sans-serif", 16))
            .draw()?;
        let filled = || reliability.bins.iter().filter(|bin| bin.count > 0);
        let light = ORANGE.mix(0.5);
        let bar = |b: &Bin, from: f64, to: f64, color: RGBAColor| Rectangle::new([(b.low, from), (b.high, to)], color.filled());
        let key = |color: RGBAColor| move |(x, y): (i32, i32)| Rectangle::new([(x, y - 6), (x + 18, y + 6)], color.filled());
        let bars = filled().map(|b| bar(b, 0.0, b.accuracy, BLUE.mix(0.75)));
        chart.draw_series(bars)?.label("accuracy").legend(key(BLUE.mix(0.75)));
        let too_sure = filled().filter(|b| b.confidence > b.accuracy).map(|b| bar(b, b.accuracy, b.confidence, light));
        chart.draw_series(too_sure)?.label("said, but not right").legend(key(light));
        let modest = filled().filter(|b| b.confidence < b.accuracy).map(|b| bar(b, b.confidence, b.accuracy, GREEN.to_rgba()));
        chart.draw_series(modest)?.label("right, but not said").legend(key(GREEN.to_rgba()));
        let top = |b: &Bin| b.accuracy.max(b.confidence);
        chart.draw_series(filled().map(|b| Rectangle::new([(b.low, 0.0), (b.high, top(b))], WHITE.stroke_width(1))))?;
        chart.draw_series(DashedLineSeries::new([(0.0, 0.0), (1.0, 1.0)], 6, 5, BLACK.stroke_width(1)))?;
        let font = ("sans-serif", if reliability.bins.len() > 20 { 8 } else { 11 }).into_font().color(&BLACK.mix(0.8));
        let font = font.pos(Pos::new(HPos::Center, VPos::Center));
        let count = |b: &Bin| Text::new(short(b.count), ((b.low + b.high) / 2.0, 1.05), font.clone());
        chart.draw_series(filled().map(count))?;
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::Coordinate(10, 50))
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.3))
            .label_font(("sans-serif", 14))
            .legend_area_size(26)
            .draw()?;
        Ok(())
    })
}

/// How an uncertainty of two data sets is spread.
pub(super) struct Histogram {
    way: String,
    score: &'static str,
    auroc: f64,
    /// The bins' width; they begin at 0.
    width: f64,
    /// Share of the judged rows and of the foreign ones in each bin.
    shares: Vec<(f64, f64)>,
}

/// Bins of a histogram: of an entropy from 0 to the largest there can be, of a mutual information to the largest that there is.
const BINS: usize = 25;

/// The entropy of each way and its mutual information, if it has one, where there are foreign rows.
pub(super) fn histograms(ways: &[Way], figures: &[Figures]) -> Vec<Histogram> {
    let of_score = |(way, figures): (&Way, &Figures), at: usize| {
        let score = &way.scores[at];
        let other = score.other.as_ref()?;
        let largest = match score.name {
            "entropy" => libm::log(way.said.classes() as f64),
            "mutual information" => score.own.iter().chain(other).copied().fold(f64::MIN_POSITIVE, f64::max),
            _ => return None,
        };
        let width = largest / BINS as f64;
        let shares = |values: &[f64]| {
            let mut shares = vec![0.0; BINS];
            values.iter().for_each(|v| shares[((v / width) as usize).min(BINS - 1)] += 1.0 / values.len() as f64);
            shares
        };
        let auroc = figures.auroc[at].unwrap_or(f64::NAN);
        let shares = shares(&score.own).into_iter().zip(shares(other)).collect();
        Some(Histogram { way: way.title(), score: score.name, auroc, width, shares })
    };
    let of_way = |pair: (&Way, &Figures)| (0..pair.0.scores.len()).filter_map(|at| of_score(pair, at)).collect::<Vec<_>>();
    ways.iter().zip(figures).flat_map(of_way).collect()
}

pub(super) fn histograms_csv(histograms: &[Histogram]) -> String {
    let mut csv = String::from("way,score,low,high,own,other\n");
    for Histogram { way, score, width, shares, .. } in histograms {
        for (i, (own, other)) in shares.iter().enumerate() {
            let [low, high] = [i, i + 1].map(|edge| edge as f64 * width);
            csv += &format!("{},{score},{low},{high},{},{}\n", field(way), number(Some(*own)), number(Some(*other)));
        }
    }
    csv
}

pub(super) fn histograms_svg(histograms: &[Histogram], (own, other): (&str, &str)) -> Result<String, Failure> {
    // One scale, so that panels can be compared.
    let most = histograms.iter().flat_map(|histogram| &histogram.shares).map(|(a, b)| a.max(*b)).fold(0.0, f64::max);
    panels("Uncertainty about data like those learned from, and about others", histograms.len(), |i, panel| {
        let Histogram { way, score, auroc, width, shares } = &histograms[i];
        let title = format!("{way}: AUROC {auroc:.3}");
        let mut chart = ChartBuilder::on(panel)
            .caption(title, ("sans-serif", 18))
            .margin(14)
            .x_label_area_size(46)
            .y_label_area_size(58)
            .build_cartesian_2d(0.0..*width * BINS as f64, 0.0..100.0 * 1.05 * most)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .bold_line_style(BLACK.mix(0.08))
            .disable_x_mesh()
            .x_label_formatter(&|x| format!("{}", (x * 1000.0).round() / 1000.0))
            .y_label_formatter(&|y| format!("{}", (y * 1000.0).round() / 1000.0))
            .x_desc(format!("{score}, nats"))
            .y_desc("share of the rows, %")
            .label_style(("sans-serif", 14))
            .axis_desc_style(("sans-serif", 16))
            .draw()?;
        for (name, color, own) in [(own, BLUE, true), (other, ORANGE, false)] {
            let share = |(a, b): &(f64, f64)| 100.0 * if own { *a } else { *b };
            let bar = |(i, shares): (usize, &(f64, f64))| {
                let corners = [(i as f64 * width, 0.0), ((i + 1) as f64 * width, share(shares))];
                Rectangle::new(corners, color.mix(0.5).filled())
            };
            let key = move |(x, y): (i32, i32)| Rectangle::new([(x, y - 6), (x + 18, y + 6)], color.mix(0.5).filled());
            chart.draw_series(shares.iter().enumerate().map(bar))?.label(name).legend(key);
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.3))
            .label_font(("sans-serif", 14))
            .legend_area_size(26)
            .draw()?;
        Ok(())
    })
}
