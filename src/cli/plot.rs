//! Pictures (SVG): curves over epochs, and a figure against keep_prob with its band.

use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::colors::colormaps::{ColorMap, ViridisRGB};

use thinnet::{Epoch, Metrics};

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
    stacked(std::slice::from_ref(picture))
}

/// The picture of a training; where its curves show accuracies, the losses of the same epochs are below them, for a network that
/// learns its rows by heart is first seen there. The curves are those of training with dropout on, of training with dropout off
/// and of validation, as far as there are such figures.
pub(super) fn training(picture: Picture<'_>, history: &[Epoch]) -> Result<String, Failure> {
    if history.iter().any(|epoch| epoch.running.accuracy.is_none()) {
        return svg(&picture);
    }
    let figures: [fn(&Epoch) -> Option<Metrics>; 3] = [|epoch| Some(epoch.running), |epoch| epoch.train, |epoch| epoch.valid];
    let there = figures.into_iter().filter(|figure| history.iter().any(|epoch| figure(epoch).is_some()));
    let below = |(curve, figure): (&Curve, fn(&Epoch) -> Option<Metrics>)| Curve {
        name: curve.name.clone(),
        color: curve.color,
        dashed: curve.dashed,
        points: by_epoch(history.iter().map(|epoch| figure(epoch).map_or(f64::NAN, |metrics| metrics.loss))),
        band: Vec::new(),
    };
    let curves = picture.curves.iter().zip(there).map(below).collect();
    let losses = Picture { title: "", x: picture.x, y: "loss", curves };
    stacked(&[picture, losses])
}

/// Width and height of a picture, and the height of another below it, which has neither title nor legend.
const SIZE: (u32, u32) = (960, 600);
const BELOW: u32 = 420;

/// Pictures of the same curves, one below the other.
fn stacked(pictures: &[Picture<'_>]) -> Result<String, Failure> {
    let mut text = String::new();
    let mut drawn = || -> Result<(), Box<dyn std::error::Error>> {
        let height = SIZE.1 + BELOW * (pictures.len() as u32 - 1);
        let mut rest = SVGBackend::with_string(&mut text, (SIZE.0, height)).into_drawing_area();
        rest.fill(&WHITE)?;
        for (i, picture) in pictures.iter().enumerate() {
            let (own, below) = rest.split_vertically(if i == 0 { SIZE.1 } else { BELOW });
            draw(&own, picture, i == 0 && picture.curves.len() > 1)?;
            rest = below;
        }
        Ok(rest.present()?)
    };
    drawn().map_err(|error| Failure::Other(format!("{:?} cannot be drawn: {error}", pictures[0].title)))?;
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

/// How far up and down the curves go, with their bands.
fn edges(picture: &Picture<'_>) -> impl Iterator<Item = f64> {
    picture.curves.iter().flat_map(|curve| {
        curve.points.iter().enumerate().flat_map(|(i, p)| {
            let half = curve.band.get(i).copied().unwrap_or(0.0);
            [p.1 - half, p.1 + half]
        })
    })
}

/// Whether the curves end higher than they begin, so that the room for the legend is at the bottom.
fn rises(picture: &Picture<'_>) -> bool {
    let ends = picture.curves.iter().filter_map(|curve| Some(curve.points.last()?.1 - curve.points.first()?.1));
    ends.filter(|rise| rise.is_finite()).sum::<f64>() > 0.0
}

/// Where the x axis has numbers: at whole ones where every x is one, for there is no half an epoch.
fn ticks(picture: &Picture<'_>, x: &std::ops::Range<f64>) -> Vec<f64> {
    let most = picture.curves.iter().map(|curve| curve.points.len()).max().unwrap_or(0).clamp(6, 11);
    if picture.curves.iter().flat_map(|curve| &curve.points).any(|p| p.0.fract() != 0.0) {
        return RangedCoordf64::from(x.clone()).key_points(most);
    }
    let steps = (0..).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power)));
    // Up to the last one, not to the margin: there is no epoch 0 either.
    let xs = || picture.curves.iter().flat_map(|curve| &curve.points).map(|p| p.0);
    let (low, high) = (xs().fold(x.end, f64::min), xs().fold(x.start, f64::max));
    let at = |step: f64| (low / step).ceil()..=(high / step).floor();
    let few = |step: &f64| at(*step).end() - at(*step).start() < 11.0;
    let step = steps.into_iter().find(few).unwrap_or(1.0);
    let (first, last) = at(step).into_inner();
    (first as i64..=last as i64).map(|i| i as f64 * step).collect()
}

/// An axis whose numbers are where they are told to be.
struct Axis {
    line: RangedCoordf64,
    ticks: Vec<f64>,
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        self.line.map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.clone() }
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.line.range()
    }
}

/// A part of a picture, as it is drawn.
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn draw(area: &Area<'_>, picture: &Picture<'_>, legend: bool) -> Result<(), Box<dyn std::error::Error>> {
    let x = range(picture.curves.iter().flat_map(|curve| &curve.points).map(|p| p.0));
    let x = Axis { ticks: ticks(picture, &x), line: x.into() };
    let mut builder = ChartBuilder::on(area);
    if !picture.title.is_empty() {
        builder.caption(picture.title, ("sans-serif", 22));
    }
    let mut chart =
        builder.margin(18).x_label_area_size(46).y_label_area_size(72).build_cartesian_2d(x, range(edges(picture)))?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
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
        // A sample of the line: three dashes, or three parts without a gap.
        let key = move |at: (i32, i32)| {
            let gap = if dashed { 5 } else { 0 };
            let part = |i: i32| PathElement::new(vec![(11 * i, 0), (11 * (i + 1) - gap, 0)], style);
            EmptyElement::at(at) + part(0) + part(1) + part(2)
        };
        // A single epoch is a point, not a line.
        if points.len() == 1 || (points.len() < 25 && !dashed) {
            chart.draw_series(points.iter().map(|&p| Circle::new(p, 4, color.filled())))?;
        }
        if dashed {
            chart.draw_series(DashedLineSeries::new(points, 6, 5, style))?.label(&curve.name).legend(key);
        } else {
            chart.draw_series(LineSeries::new(points, style))?.label(&curve.name).legend(key);
        }
    }
    if legend {
        chart
            .configure_series_labels()
            .position(if rises(picture) { SeriesLabelPosition::LowerRight } else { SeriesLabelPosition::UpperRight })
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.3))
            .label_font(("sans-serif", 17))
            .legend_area_size(40)
            .draw()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use thinnet::{Epoch, Metrics};

    use super::{BLUE, Curve, ORANGE, Picture, by_epoch, svg, training};

    fn curve(name: &str, dashed: bool, values: &[f64]) -> Curve {
        let color = if dashed { ORANGE } else { BLUE };
        Curve { name: name.into(), color, dashed, points: by_epoch(values.iter().copied()), band: Vec::new() }
    }

    fn picture(values: &[f64]) -> Picture<'static> {
        let curves = vec![curve("training", true, values), curve("validation", false, values)];
        Picture { title: "net", x: "epoch", y: "accuracy, %", curves }
    }

    /// The texts of a picture.
    fn texts(svg: &str) -> Vec<&str> {
        svg.split("<text").skip(1).map(|text| text.split(['>', '<']).nth(1).unwrap().trim()).collect()
    }

    fn history(accuracy: Option<f64>) -> Vec<Epoch> {
        let metrics = |loss| Metrics { loss, accuracy };
        let epoch = |(epoch, loss): (u32, f64)| Epoch {
            epoch,
            running: metrics(loss),
            train: None,
            valid: Some(metrics(8.0 - loss)),
            seconds: 0.0,
        };
        [(0, 4.0), (1, 1.0)].map(epoch).into()
    }

    #[test]
    fn losses_are_below_accuracies_and_nowhere_else() {
        let both = training(picture(&[50.0, 60.0]), &history(Some(0.5))).unwrap();
        let has = |text: &str, svg: &str| texts(svg).iter().filter(|found| **found == text).count();
        assert_eq!(["net", "accuracy, %", "loss", "epoch", "validation"].map(|text| has(text, &both)), [1, 1, 1, 2, 1]);
        // Losses from 1 to 7 beside accuracies from 50 to 60.
        assert_eq!(["52", "58", "3", "6"].map(|text| has(text, &both)), [1; 4], "{:?}", texts(&both));
        let one = training(Picture { y: "loss", ..picture(&[4.0, 1.0]) }, &history(None)).unwrap();
        assert_eq!(["loss", "epoch"].map(|text| has(text, &one)), [1, 1]);
    }

    #[test]
    fn a_single_epoch_of_a_dashed_curve_is_a_point() {
        let circles = |values: &[f64]| svg(&picture(values)).unwrap().matches("<circle").count();
        assert_eq!([circles(&[50.0]), circles(&[50.0, 60.0]), circles(&[0.5; 25])], [2, 2, 0]);
        // What else is orange is the sample of the legend: more than one dash.
        let drawn = svg(&picture(&[50.0])).unwrap();
        let dashes = drawn.split("<polyline").filter(|line| line.contains("stroke=\"#D55E00\"")).count();
        assert_eq!(dashes, 3, "{drawn}");
    }

    #[test]
    fn epochs_are_whole_numbers() {
        for (epochs, first, last, count) in [(1, "1", "1", 1), (2, "1", "2", 2), (7, "1", "7", 7), (40, "5", "40", 8)] {
            let values: Vec<f64> = (0..epochs).map(f64::from).collect();
            let drawn = svg(&picture(&values)).unwrap();
            // Numbers of the x axis are those in the middle below it.
            let middle = drawn.split("<text").filter(|text| text.contains("text-anchor=\"middle\"") && !text.contains("rotate"));
            let numbers: Vec<&str> = middle.map(|text| text.split(['>', '<']).nth(1).unwrap().trim()).collect();
            let numbers: Vec<&str> = numbers.into_iter().filter(|text| text.parse::<f64>().is_ok()).collect();
            assert_eq!((numbers.len(), numbers.first(), numbers.last()), (count, Some(&first), Some(&last)), "{numbers:?}");
        }
    }
}
