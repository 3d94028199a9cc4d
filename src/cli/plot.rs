//! Pictures (SVG): curves over epochs, and a figure against keep_prob with its band.

use plotters::prelude::*;
use plotters::style::colors::colormaps::{ColorMap, ViridisRGB};

use super::Failure;

/// One line of a picture; a NaN interrupts it.
pub(super) struct Curve {
    pub(super) name: String,
    pub(super) color: RGBColor,
    pub(super) dashed: bool,
    pub(super) points: Vec<(f64, f64)>,
    /// Half the height of a band around each point; empty for none.
    pub(super) band: Vec<f64>,
}

/// What a picture shows.
pub(super) struct Picture<'a> {
    pub(super) title: &'a str,
    pub(super) x: &'a str,
    pub(super) y: &'a str,
    pub(super) curves: Vec<Curve>,
}

/// Two colours that differ in lightness too, for those who do not tell red from green.
pub(super) const ORANGE: RGBColor = RGBColor(213, 94, 0);
pub(super) const BLUE: RGBColor = RGBColor(0, 90, 160);

/// Colour `i` of `n` in order, from dark to bright; the brightest, hardly seen on white, is left out.
pub(super) fn ordered(i: usize, n: usize) -> RGBColor {
    ViridisRGB.get_color(0.88 * i as f32 / n.saturating_sub(1).max(1) as f32)
}

/// Values by epoch from 1.
pub(super) fn by_epoch(values: impl IntoIterator<Item = f64>) -> Vec<(f64, f64)> {
    (1..).map(f64::from).zip(values).collect()
}

/// The picture as SVG text.
pub(super) fn svg(picture: &Picture<'_>) -> Result<String, Failure> {
    let mut text = String::new();
    draw(&mut text, picture).map_err(|error| Failure::Other(format!("{:?} cannot be drawn: {error}", picture.title)))?;
    Ok(text)
}

/// A little more than the range of some values.
fn range(values: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let (low, high) = values.filter(|v| v.is_finite()).fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low > high {
        return 0.0..1.0;
    }
    let margin = if high > low { 0.04 * (high - low) } else { 0.5 * low.abs().max(1e-3) };
    low - margin..high + margin
}

/// Whether the curves end higher than they begin, so that the room for the legend is at the bottom.
fn rises(picture: &Picture<'_>) -> bool {
    let ends = picture.curves.iter().filter_map(|curve| Some(curve.points.last()?.1 - curve.points.first()?.1));
    ends.filter(|rise| rise.is_finite()).sum::<f64>() > 0.0
}

fn draw(text: &mut String, picture: &Picture<'_>) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(text, (960, 600)).into_drawing_area();
    root.fill(&WHITE)?;
    let edges = picture.curves.iter().flat_map(|curve| {
        curve.points.iter().enumerate().flat_map(|(i, p)| {
            let half = curve.band.get(i).copied().unwrap_or(0.0);
            [p.1 - half, p.1 + half]
        })
    });
    let x = range(picture.curves.iter().flat_map(|curve| &curve.points).map(|p| p.0));
    let mut chart = ChartBuilder::on(&root)
        .caption(picture.title, ("sans-serif", 22))
        .margin(18)
        .x_label_area_size(46)
        .y_label_area_size(72)
        .build_cartesian_2d(x, range(edges))?;
    let most = picture.curves.iter().map(|curve| curve.points.len()).max().unwrap_or(0);
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_labels(most.clamp(6, 11))
        .x_label_formatter(&|x| format!("{}", (x * 1000.0).round() / 1000.0))
        .y_label_formatter(&|y| format!("{}", (y * 1000.0).round() / 1000.0))
        .x_desc(picture.x)
        .y_desc(picture.y)
        .label_style(("sans-serif", 16))
        .axis_desc_style(("sans-serif", 18))
        .draw()?;
    for curve in &picture.curves {
        let points: Vec<(f64, f64)> = curve.points.iter().copied().filter(|p| p.1.is_finite()).collect();
        if !curve.band.is_empty() {
            let upper = curve.points.iter().zip(&curve.band).map(|(p, half)| (p.0, p.1 + half));
            let lower = curve.points.iter().zip(&curve.band).rev().map(|(p, half)| (p.0, p.1 - half));
            chart.draw_series([Polygon::new(upper.chain(lower).collect::<Vec<_>>(), curve.color.mix(0.18))])?;
        }
        let (color, dashed) = (curve.color, curve.dashed);
        let style = color.stroke_width(if dashed { 2 } else { 3 });
        let key = move |(x, y): (i32, i32)| {
            let ends = if dashed { vec![(x, y), (x + 12, y)] } else { vec![(x, y), (x + 28, y)] };
            PathElement::new(ends, style)
        };
        // A single epoch is a point, not a line.
        if points.len() < 25 && !dashed {
            chart.draw_series(points.iter().map(|&p| Circle::new(p, 4, color.filled())))?;
        }
        if dashed {
            chart.draw_series(DashedLineSeries::new(points, 6, 5, style))?.label(&curve.name).legend(key);
        } else {
            chart.draw_series(LineSeries::new(points, style))?.label(&curve.name).legend(key);
        }
    }
    if picture.curves.len() > 1 {
        chart
            .configure_series_labels()
            .position(if rises(picture) { SeriesLabelPosition::LowerRight } else { SeriesLabelPosition::UpperRight })
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.3))
            .label_font(("sans-serif", 17))
            .legend_area_size(36)
            .draw()?;
    }
    root.present()?;
    Ok(())
}
