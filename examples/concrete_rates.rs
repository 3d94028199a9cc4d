//! Concrete dropout finds its rates (Gal, Hron and Kendall, NeurIPS 2017): on a regression of one number, with noise, the drop probabilities
//! that three layers learn fall with the number of rows. A table, and a picture of how they moved.
//!
//! `sh scripts/with-adapter.sh cargo run --release --features cli --example concrete_rates -- [PICTURE.svg]`

use plotters::prelude::*;
use thinnet::network::Concrete;
use thinnet::rng::{self, Coordinates, Stream};
use thinnet::{
    Activation, Dataset, Dense, Device, Dropout, Inputs, Loss, Network, Noise, Optimizer, Result, TrainOptions, Trainer,
};

/// Steps of each training, and how many of them lie between two looks at the rates.
const STEPS: u32 = 6_000;
const LOOK: u32 = 200;

/// y = 2 x + 8 + noise of deviation 1, as in the paper; x normal.
fn data(rows: u32) -> Result<Dataset> {
    let normal = |i: u32, which: u32| {
        let words = Coordinates { stream: Stream::ContinuousNoise, site: which, pass: 0, sample: i }.quad(0, rng::key(5));
        rng::normal([words[0], words[1]]) as f32
    };
    let x: Vec<f32> = (0..rows).map(|i| normal(i, 0)).collect();
    let y = x.iter().zip(0..).map(|(x, i)| 2.0 * x + 8.0 + normal(i, 1)).collect();
    Dataset::with_values(Inputs::from_f32(1, x)?, 1, y)
}

/// Two hidden layers of 128, concrete dropout in front of every layer behind the first.
fn network(rows: u32) -> Result<Network> {
    let concrete = Dropout::keep(0.9)?.noise(Noise::Concrete(Concrete::new(rows, 0.01, 1.0)));
    let hidden = || Dense::new(128).activation(Activation::Relu);
    Ok(Network::new(1)
        .dense(hidden())
        .dropout(concrete)
        .dense(hidden())
        .dropout(concrete)
        .dense(Dense::new(1))
        .loss(Loss::MeanSquaredError))
}

/// The drop probabilities of all sites.
fn rates(trainer: &Trainer) -> Result<Vec<f64>> {
    let model = trainer.model()?;
    let parameters = model.network().parameters()?;
    let logits = parameters.iter().zip(model.weights()).filter(|(parameter, _)| parameter.name.ends_with("p_logit"));
    Ok(logits.map(|(_, logit)| 1.0 / (1.0 + (-f64::from(logit[0])).exp())).collect())
}

fn main() -> Result<()> {
    let device = Device::open()?;
    println!("{STEPS} steps from drop probability 0.1, on {}", device.caps().adapter);
    println!("   rows  drop probabilities learned  loss");
    let mut curves = Vec::new();
    for rows in [50, 500, 5_000, 50_000] {
        let (data, batch) = (data(rows)?, 50);
        let options = TrainOptions { batch, optimizer: Optimizer::adam(0.003), evaluate_train: false, ..Default::default() };
        let mut trainer = Trainer::new(&device, &network(rows)?, &data, options)?;
        let mut curve = vec![(0, rates(&trainer)?)];
        let epochs = (LOOK * batch / rows).max(1);
        for look in (1..).map(|look| look * epochs * (rows / batch)).take_while(|&step| step <= STEPS) {
            trainer.fit(epochs)?;
            curve.push((look, rates(&trainer)?));
        }
        let loss = trainer.history().last().map_or(f64::NAN, |epoch| epoch.running.loss);
        let learned = curve.last().map(|(_, rates)| rates.iter().map(|rate| format!("{rate:.4}")).collect::<Vec<_>>().join("  "));
        println!("{rows:7}  {:26}  {loss:.3}", learned.unwrap_or_default());
        curves.push((rows, curve));
    }
    if let Some(path) = std::env::args().nth(1) {
        draw(&path, &curves).unwrap_or_else(|error| panic!("{path}: {error}"));
        println!("drawn: {path}");
    }
    Ok(())
}

type Curves = [(u32, Vec<(u32, Vec<f64>)>)];

fn draw(path: &str, curves: &Curves) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::new(path, (720, 440)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(16)
        .x_label_area_size(36)
        .y_label_area_size(56)
        .build_cartesian_2d(0..STEPS, (1e-3..1.0).log_scale())?;
    chart.configure_mesh().x_desc("optimizer steps").y_desc("drop probability").draw()?;
    for (place, (rows, curve)) in curves.iter().enumerate() {
        let color = Palette99::pick(place).to_rgba();
        for site in 0..curve[0].1.len() {
            let points = curve.iter().map(|(step, rates)| (*step, rates[site]));
            let series = chart.draw_series(LineSeries::new(points, color.stroke_width(2)))?;
            if site == 0 {
                series.label(format!("{rows} rows")).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color));
            }
        }
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
    Ok(area.present()?)
}
