//! Where a regression has seen nothing, Monte-Carlo dropout is less sure: a curve with a gap in its data, and what 200 draws say.
//!
//! `sh scripts/with-adapter.sh cargo run --release --features cli --example uncertainty -- FOLDER` writes FOLDER/uncertainty.svg.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use thinnet::data::{Dataset, Inputs};
use thinnet::{Activation, Dense, Device, Dropout, Loss, MonteCarlo, Network, Optimizer, TrainOptions, Trainer};

const BLUE: RGBColor = RGBColor(0, 90, 160);

/// Noisy values of a curve between -2.5 and 2.5, but for those between 0 and 1.2.
fn observed(rows: u32) -> Vec<(f64, f64)> {
    let random = |n: u32| (f64::from(n).sin() * 43_758.545_3).rem_euclid(1.0);
    let place = |n| Some(5.0 * random(n) - 2.5).filter(|x| !(0.0..1.2).contains(x));
    let noise = |n| 0.3 * (random(n + 5000) + random(n + 7000) - 1.0);
    (1..).filter_map(|n| place(n).map(|x| (x, (1.8 * x).sin() + noise(n)))).take(rows as usize).collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("name the folder of the picture")?;
    let hidden = || Dense::new(256).activation(Activation::Relu);
    let dropout = Dropout::keep(0.9)?;
    let network = Network::new(1).dense(hidden()).dropout(dropout).dense(hidden()).dropout(dropout);
    let network = network.dense(Dense::new(1)).loss(Loss::MeanSquaredError);
    let points = observed(100);
    let column = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect::<Vec<_>>();
    let data = Dataset::with_values(
        Inputs::from_f32(1, column(points.iter().map(|p| p.0).collect()))?,
        1,
        column(points.iter().map(|p| p.1).collect()),
    )?;
    let device = Device::open()?;
    let options = TrainOptions { batch: 20, optimizer: Optimizer::adam(0.002), ..TrainOptions::default() };
    let mut trainer = Trainer::new(&device, &network, &data, options)?;
    trainer.fit(1000)?;

    let xs: Vec<f64> = (-350..=350).step_by(5).map(|i| f64::from(i) / 100.0).collect();
    // One thinned network for all places, so that each draw is a curve.
    let options = MonteCarlo { draws: 200, one_network: true, ..MonteCarlo::default() };
    let drawn = trainer.model()?.monte_carlo(&device, &Inputs::from_f32(1, column(xs.clone()))?, &options)?;

    let place = Path::new(&folder).join("uncertainty.svg");
    let root = SVGBackend::new(&place, (900, 460)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(14)
        .x_label_area_size(36)
        .y_label_area_size(44)
        .build_cartesian_2d(-3.5..3.5, -2.4..2.4)?;
    chart.configure_mesh().light_line_style(WHITE).bold_line_style(BLACK.mix(0.08)).label_style(("sans-serif", 15)).draw()?;
    let font = ("sans-serif", 15).into_font().color(&BLACK.mix(0.6)).pos(Pos::new(HPos::Center, VPos::Center));
    let on = |values: &[f32]| xs.iter().copied().zip(values.iter().map(|&y| f64::from(y))).collect::<Vec<_>>();
    let key = |(x, y)| Rectangle::new([(x, y - 6), (x + 20, y + 6)], BLUE.mix(0.2).filled());
    let [low, high] = drawn.interval(0.9)?.map(|ends| on(ends.values()));
    let band: Vec<_> = low.into_iter().chain(high.into_iter().rev()).collect();
    chart.draw_series([Polygon::new(band, BLUE.mix(0.2))])?.label("90 % of 200 thinned networks").legend(key);
    for draw in (0..8).filter_map(|draw| drawn.draw(draw)) {
        chart.draw_series(LineSeries::new(on(draw.values()), BLUE.mix(0.4)))?;
    }
    let key = |(x, y)| PathElement::new([(x, y), (x + 20, y)], BLUE.stroke_width(3));
    chart.draw_series(LineSeries::new(on(drawn.mean().values()), BLUE.stroke_width(3)))?.label("their mean").legend(key);
    let key = |(x, y)| Circle::new((x + 10, y), 3, BLACK.filled());
    chart.draw_series(points.iter().map(|&p| Circle::new(p, 3, BLACK.filled())))?.label("observed").legend(key);
    let unseen = [(0.6, 1.9), (-3.0, 0.2), (3.0, -0.2)].map(|place| Text::new("nothing observed", place, font.clone()));
    chart.draw_series(unseen)?;
    let mut labels = chart.configure_series_labels();
    labels.position(SeriesLabelPosition::LowerLeft).label_font(("sans-serif", 15)).border_style(BLACK.mix(0.3)).draw()?;
    root.present()?;
    println!("{}", place.display());
    Ok(())
}
