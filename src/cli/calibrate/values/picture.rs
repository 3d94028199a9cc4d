//! Intervals and what was observed, row by row in the order of the answers: a panel for each way of predicting and each target.

use std::ops::Range;

use plotters::prelude::*;

use super::super::super::Failure;
use super::super::super::plot::{BLUE, ORANGE};
use super::super::pictures::{Drawn, Panel, panels};
use super::{Column, Judgement, Spread};

/// The most rows that are drawn: more would hide each other.
const MOST: usize = 200;

/// A row of a panel.
struct Shown {
    observed: f64,
    answer: f64,
    half: [f64; 2],
    most: [f64; 2],
}

pub(super) fn intervals(judgement: &Judgement) -> Result<String, Failure> {
    let with_spread = |(at, column)| -> Option<(usize, &Column, &Spread)> {
        let column: &Column = column;
        Some((at, column, column.spread.as_ref().ok()?))
    };
    // The ways of a target beside each other.
    let mut shown: Vec<_> = judgement.columns.iter().enumerate().filter_map(with_spread).collect();
    shown.sort_by_key(|(at, ..)| at % judgement.targets.len());
    let (rows, all) = (judgement.samples.len().min(MOST), judgement.samples.len());
    let some = if rows < all { format!("{rows} of {all}") } else { all.to_string() };
    let short = judgement.what.rsplit('/').next().unwrap_or(&judgement.what);
    // One scale for a target, so that its panels can be compared.
    let range = |target: usize| {
        let of = shown.iter().filter(|(at, ..)| at % judgement.targets.len() == target);
        let ends = of.flat_map(|(.., spread)| spread.intervals[1].iter().flatten());
        let values = ends.chain(&judgement.targets[target]);
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &v| (low.min(v), high.max(v)));
        // Room for the key above; more than none where all is one number.
        let room = (high - low).max(1e-9 * high.abs()).max(f64::MIN_POSITIVE);
        low - 0.04 * room..high + 0.3 * room
    };
    panels(&format!("What was observed, and the intervals: {some} {short}"), shown.len(), |i, panel| {
        let (at, column, spread) = shown[i];
        let rows = (in_order(judgement.targets_of(at), column, spread), range(at % judgement.targets.len()));
        draw(panel, &format!("{}: {:.0} % in the 90 % interval", judgement.title(column), 100.0 * spread.covered[1]), &rows)
    })
}

/// At most [`MOST`] rows, evenly spread over the order of the answers.
fn in_order(targets: &[f64], column: &Column, spread: &Spread) -> Vec<Shown> {
    let mut order: Vec<usize> = (0..targets.len()).collect();
    order.sort_by(|&a, &b| column.answers[a].total_cmp(&column.answers[b]));
    let [half, most] = &spread.intervals;
    let shown = |i: usize| Shown {
        observed: targets[i],
        answer: column.answers[i],
        half: [half[0][i], half[1][i]],
        most: [most[0][i], most[1][i]],
    };
    let count = order.len().min(MOST);
    (0..count).map(|i| shown(order[i * order.len() / count])).collect()
}

fn draw(panel: &Panel<'_>, title: &str, (rows, range): &(Vec<Shown>, Range<f64>)) -> Drawn {
    let mut chart = ChartBuilder::on(panel)
        .caption(title, ("sans-serif", 18))
        .margin(14)
        .x_label_area_size(46)
        .y_label_area_size(64)
        .build_cartesian_2d(-1.0..rows.len() as f64, range.clone())?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(BLACK.mix(0.08))
        .disable_x_mesh()
        .x_labels(6)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{}", (y * 1000.0).round() / 1000.0))
        .x_desc("rows, by their answer")
        .y_desc("observed and answered")
        .label_style(("sans-serif", 14))
        .axis_desc_style(("sans-serif", 16))
        .draw()?;
    let square = |color: RGBAColor| move |(x, y): (i32, i32)| Rectangle::new([(x, y - 6), (x + 18, y + 6)], color.filled());
    let dot = |color: RGBColor| move |(x, y): (i32, i32)| Circle::new((x + 9, y), 4, color.filled());
    let bars = |ends: fn(&Shown) -> [f64; 2], color: RGBAColor| {
        let bar = move |(i, row): (usize, &Shown)| {
            let [low, high] = ends(row);
            Rectangle::new([(i as f64 - 0.5, low), (i as f64 + 0.5, high)], color.filled())
        };
        rows.iter().enumerate().map(bar).collect::<Vec<_>>()
    };
    let (light, dark) = (BLUE.mix(0.18), BLUE.mix(0.3));
    chart.draw_series(bars(|row| row.most, light))?.label("90 % interval").legend(square(light));
    chart.draw_series(bars(|row| row.half, dark))?.label("50 % interval").legend(square(BLUE.mix(0.43)));
    chart.draw_series(LineSeries::new(rows.iter().enumerate().map(|(i, row)| (i as f64, row.answer)), BLUE.stroke_width(2)))?;
    let is_inside = |row: &Shown| (row.most[0]..=row.most[1]).contains(&row.observed);
    for (inside, label, color) in [(true, "observed", BLACK), (false, "observed outside", ORANGE)] {
        let points = rows.iter().enumerate().filter(|(_, row)| is_inside(row) == inside);
        let points = points.map(|(i, row)| Circle::new((i as f64, row.observed), 3, color.filled()));
        chart.draw_series(points)?.label(label).legend(dot(color));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 14))
        .legend_area_size(26)
        .draw()?;
    Ok(())
}
