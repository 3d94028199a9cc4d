//! Monte-Carlo draws, checked by networks whose masks can all be tried, and by draws that are looked at one by one.

use thinnet::data::{Inputs, Standardization};
use thinnet::monte_carlo::{MonteCarlo, Sampling};
use thinnet::{Activation, Dense, Dropout, Loss, Model, Network};

use crate::common::{device, numbers};

mod exact;
mod last_layer;
mod maps;
mod masks;
mod precision;
mod replays;
mod statistics;
mod variants;
mod weights;

/// 5-6-4-3: two sites of 6 and 4 units behind ReLU, and weights large enough that masks matter.
fn small(keep: f64, change: impl Fn(Dropout) -> Dropout) -> Model {
    let dropout = |site: f64| change(Dropout::keep(site).unwrap());
    let network = Network::new(5)
        .dense(Dense::new(6).activation(Activation::Relu))
        .dropout(dropout(keep))
        .dense(Dense::new(4).activation(Activation::Tanh))
        .dropout(dropout(0.75))
        .dense(Dense::new(3));
    loud(&network, 2.5)
}

/// Random weights of this size.
fn loud(network: &Network, size: f32) -> Model {
    let parameters = network.parameters().unwrap();
    let weights = parameters.iter().zip(77..).map(|(parameter, seed)| {
        let values = numbers(parameter.len(), seed);
        values.into_iter().map(|value| size * value).collect()
    });
    Model::new(network.clone(), weights.collect()).unwrap()
}

fn inputs(rows: u32, columns: u32) -> Inputs {
    Inputs::from_f32(columns, numbers((rows * columns) as usize, 99)).unwrap()
}

fn all_samplings() -> [MonteCarlo; 6] {
    let options = |one_network, sampling| MonteCarlo { draws: 36, seed: 5, one_network, sampling, ..MonteCarlo::default() };
    [
        options(false, Sampling::Independent),
        options(true, Sampling::Independent),
        options(false, Sampling::Antithetic),
        options(true, Sampling::Antithetic),
        options(false, Sampling::LatinHypercube),
        options(true, Sampling::ExactK),
    ]
}

#[test]
fn nothing_is_drawn_where_nothing_is_dropped() {
    let network = Network::new(5).dense(Dense::new(4)).dropout(Dropout::keep(1.0).unwrap()).dense(Dense::new(3));
    let error = loud(&network, 1.0).monte_carlo(device(), &inputs(2, 5), &MonteCarlo::default()).unwrap_err();
    assert!(error.to_string().contains("no dropout layer with keep_prob below 1"), "{error}");
}

#[test]
fn what_contradicts_itself_is_refused() {
    let model = small(0.5, |dropout| dropout);
    let refused = |options: MonteCarlo, word: &str| {
        let error = model.monte_carlo(device(), &inputs(2, 5), &options).unwrap_err().to_string();
        assert!(error.contains(word), "{error:?} does not say {word:?}");
    };
    let options = MonteCarlo::default;
    refused(MonteCarlo { draws: 1, ..options() }, "from 2 to");
    refused(MonteCarlo { draws: 7, sampling: Sampling::Antithetic, ..options() }, "even number");
    refused(MonteCarlo { sampling: Sampling::ExactK, ..options() }, "one_network");
    refused(MonteCarlo { until_se: Some(0.0), ..options() }, "above 0");
    refused(MonteCarlo { until_se: Some(0.1), sampling: Sampling::LatinHypercube, ..options() }, "all together");
    refused(MonteCarlo { precision: Some(f64::NAN), ..options() }, "above 0");
    refused(MonteCarlo { batch: Some(0), ..options() }, "at least one row");
    refused(MonteCarlo { first_sample: u32::MAX, ..options() }, "4294967296");
    assert!(model.replay(device(), &inputs(2, 5), &options(), 100).unwrap_err().to_string().contains("0..100"));
    assert!(model.thinned(&options(), 100, 0).unwrap_err().to_string().contains("0..100"));
    let units = small(0.5, |dropout| Dropout { mode: thinnet::DropoutMode::Units, ..dropout });
    let error = units.monte_carlo(device(), &inputs(2, 5), &options()).unwrap_err().to_string();
    assert!(error.contains("per-batch unit dropout"), "{error}");
    for sampling in [Sampling::Antithetic, Sampling::LatinHypercube] {
        let options = MonteCarlo { one_network: true, sampling, ..options() };
        let error = units.monte_carlo(device(), &inputs(2, 5), &options).unwrap_err().to_string();
        assert!(error.contains("drawn whole"), "{error}");
    }
    let last = Network::new(5).dense(Dense::new(4)).dropout(Dropout::keep(0.5).unwrap());
    let exact_k = MonteCarlo { one_network: true, sampling: Sampling::ExactK, ..options() };
    let error = loud(&last, 1.0).monte_carlo(device(), &inputs(2, 5), &exact_k).unwrap_err().to_string();
    assert!(error.contains("in front of a dense layer"), "{error}");
    let wide = Network::new(5).dense(Dense::new(17)).dropout(Dropout::keep(0.5).unwrap()).dense(Dense::new(3));
    assert!(loud(&wide, 1.0).average_over_masks(device(), &inputs(1, 5)).unwrap_err().to_string().contains("17"));
    assert!(model.monte_carlo(device(), &inputs(2, 4), &options()).is_err(), "inputs of another width");
}

#[test]
fn an_answer_that_is_no_number_is_named() {
    let network = Network::new(2).dropout(Dropout::keep(0.5).unwrap()).dense(Dense::new(1)).loss(Loss::MeanSquaredError);
    let model = Model::new(network, vec![vec![f32::MAX, f32::MAX], vec![0.0]]).unwrap();
    let rows = Inputs::from_f32(2, vec![0.0, 0.0, 1.0, 1.0]).unwrap();
    let error = model.monte_carlo(device(), &rows, &MonteCarlo::default()).unwrap_err().to_string();
    assert!(error.contains("row 1"), "{error}");
}

#[test]
fn draws_that_are_alike_so_far_are_not_taken_for_sure() {
    // One unit in a thousand is dropped: 64 draws of 8 units are most often alike.
    let network = Network::new(5).dense(Dense::new(8)).dropout(Dropout::keep(0.999).unwrap()).dense(Dense::new(1));
    let model = loud(&network.loss(Loss::MeanSquaredError), 1.0);
    let options = MonteCarlo { draws: 100_000, until_se: Some(1e-2), ..MonteCarlo::default() };
    let drawn = model.monte_carlo(device(), &inputs(1, 5), &options).unwrap();
    assert!(drawn.draws() >= 3000 && drawn.largest_standard_error() > 0.0, "{} draws", drawn.draws());
}

#[test]
fn a_spread_that_is_no_number_is_named_and_a_wide_noise_ends() {
    let network = Network::new(2).dropout(Dropout::keep(0.5).unwrap()).dense(Dense::new(1)).loss(Loss::MeanSquaredError);
    let model = Model::new(network, vec![vec![1.0, 1.0], vec![0.0]]).unwrap();
    let rows = Inputs::from_f32(2, vec![1.0, 0.0, 1e25, 1.0]).unwrap();
    let error = model.monte_carlo(device(), &rows, &MonteCarlo::default()).unwrap_err().to_string();
    assert!(error.contains("row 1"), "{error}");
    let options = MonteCarlo { precision: Some(1e-307), ..MonteCarlo::default() };
    let drawn = model.monte_carlo(device(), &rows.slice(0..1).unwrap(), &options).unwrap();
    let units = Standardization { mean: vec![0.0], deviation: vec![1e3] };
    assert!(drawn.in_units(&units).unwrap().quantile(0.9).is_ok(), "it ends");
    let none = MonteCarlo { precision: Some(1e-309), ..MonteCarlo::default() };
    assert!(model.monte_carlo(device(), &rows, &none).unwrap_err().to_string().contains("precision"));
}

#[test]
fn drawing_stops_when_the_means_are_known_well_enough() {
    let (model, rows) = (small(0.5, |dropout| dropout), inputs(7, 5));
    let mut told = Vec::new();
    let options = MonteCarlo { draws: 100_000, until_se: Some(0.02), ..MonteCarlo::default() };
    let stopped = model.monte_carlo_with(device(), &rows, &options, |done, all| told.push((done, all))).unwrap();
    assert!(stopped.largest_standard_error() <= 0.02 && stopped.draws() < 2000, "{} draws", stopped.draws());
    assert!(told.iter().all(|&(done, all)| done <= all && all == 700_000) && told.is_sorted());
    // As many draws without a limit are the same draws.
    let all = MonteCarlo { draws: stopped.draws(), until_se: None, ..options };
    let all = model.monte_carlo(device(), &rows, &all).unwrap();
    assert!(all.mean().values().iter().zip(stopped.mean().values()).all(|(a, b)| (a - b).abs() < 1e-5));
}
