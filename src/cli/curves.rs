//! Accuracy over epochs as a picture (SVG).

use plotters::prelude::*;

/// One line of the picture.
pub(super) struct Curve {
    pub(super) name: String,
    pub(super) color: RGBColor,
    pub(super) dashed: bool,
    /// Percent, by epoch from 1.
    pub(super) values: Vec<f64>,
}

/// The colours of the two networks; they differ in lightness too, for those who do not tell red from green.
pub(super) const WITHOUT: RGBColor = RGBColor(213, 94, 0);
pub(super) const WITH: RGBColor = RGBColor(0, 90, 160);

/// The picture as SVG text.
pub(super) fn svg(title: &str, curves: &[Curve]) -> Result<String, String> {
    let mut text = String::new();
    draw(&mut text, title, curves).map_err(|error| format!("the curves cannot be drawn: {error}"))?;
    Ok(text)
}

fn draw(text: &mut String, title: &str, curves: &[Curve]) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(text, (960, 600)).into_drawing_area();
    root.fill(&WHITE)?;
    let epochs = curves.iter().map(|c| c.values.len()).max().unwrap_or(1).max(2);
    let least = curves.iter().flat_map(|c| &c.values).copied().fold(100.0, f64::min);
    let bottom = ((least / 10.0).floor() * 10.0).clamp(0.0, 90.0);
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 22))
        .margin(18)
        .x_label_area_size(46)
        .y_label_area_size(64)
        .build_cartesian_2d(1.0..epochs as f64, bottom..101.0)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc("epoch")
        .y_desc("accuracy, %")
        .x_label_formatter(&|epoch| format!("{epoch:.0}"))
        .y_label_formatter(&|percent| format!("{percent:.0}"))
        .label_style(("sans-serif", 16))
        .axis_desc_style(("sans-serif", 18))
        .draw()?;
    for curve in curves {
        let style = curve.color.stroke_width(if curve.dashed { 2 } else { 3 });
        let points = (1..).map(f64::from).zip(curve.values.iter().copied());
        let (color, dashed) = (curve.color, curve.dashed);
        let key = move |(x, y): (i32, i32)| {
            let ends = if dashed { vec![(x, y), (x + 8, y), (x + 8, y), (x + 8, y)] } else { vec![(x, y), (x + 28, y)] };
            PathElement::new(ends, color.stroke_width(if dashed { 2 } else { 3 }))
        };
        if curve.dashed {
            chart.draw_series(DashedLineSeries::new(points, 6, 5, style))?.label(&curve.name).legend(key);
        } else {
            chart.draw_series(LineSeries::new(points, style))?.label(&curve.name).legend(key);
        }
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 17))
        .legend_area_size(36)
        .draw()?;
    root.present()?;
    Ok(())
}
