//! Draws of sequences, noise and dropped weights: on the device as in the twins, replayed bit for bit, and on average what the
//! reference says of the same distribution of masks.

use thinnet::monte_carlo::{MonteCarlo, Sampling};
use thinnet::network::{Concrete, Recurrent, SELU_LIMIT};
use thinnet::reference::{self, Batch, Masks};
use thinnet::{Activation, Conv2d, Dense, Device, Dropout, Embedding, Inputs, Layer, Loss, Model, Network, Noise, Outputs, Unit};

use super::inputs;
use crate::common::{device, numbers};
use crate::drive::widen;
use crate::mask_statistics::SIGMAS;

/// A network, whether its draws have noise that is no mask, and by which share of the largest answer device and twins may be
/// apart.
struct Case {
    name: &'static str,
    network: Network,
    continuous: bool,
    tolerance: f64,
}

/// Five layers with sums of at most 120 terms in a row: as in `maps.rs`.
const PLAIN: f64 = 5e-5;

/// Four steps of two layers, each with three functions that WGSL states within 1e-5 of 1 in a row, where weights and scales of
/// masks at most double what comes in: 4 * 2 * 3 * 2 * 1e-5.
const STEPS: f64 = 5e-4;

/// WGSL's cos is within 2^-11, times a radius of at most 5.8 and a deviation of 0.5.
const NORMAL: f64 = 1.5e-3;

fn keep(keep: f64) -> Dropout {
    Dropout::keep(keep).unwrap()
}

fn tanh(units: u32) -> Dense {
    Dense::new(units).activation(Activation::Tanh)
}

fn sequences() -> Vec<Case> {
    let masks = |layer: Recurrent, mask: Dropout| layer.input(mask).recurrent(mask).output(mask);
    let over = |layer: Recurrent| Network::new([4, 3]).recurrent(layer).dense(Dense::new(2));
    let variational = keep(0.6).variational();
    let both = Recurrent::lstm(4).bidirectional();
    let words = Network::new(4).embedding(Embedding::new(7, 3).dropout(keep(0.6)));
    let list = [
        ("variational lstm in both directions", over(masks(both, variational))),
        ("lstm, untied", over(Recurrent::lstm(4).untied().recurrent(variational).input(variational))),
        ("two layers of gru, per step", over(masks(Recurrent::gru(4).layers(2), keep(0.6)))),
        ("rnn of a batch", over(masks(Recurrent::rnn(4), variational.batch()))),
        ("behind another that is computed once", {
            let first = Network::new([4, 3]).recurrent(Recurrent::gru(4).sequence());
            first.recurrent(masks(Recurrent::lstm(4), variational)).dense(Dense::new(2))
        }),
        ("words", words.clone().recurrent(Recurrent::gru(4)).dense(Dense::new(2))),
        ("words and states", words.recurrent(masks(Recurrent::rnn(4), variational)).dense(Dense::new(2))),
    ];
    list.map(|(name, network)| Case { name, network, continuous: false, tolerance: STEPS }).into()
}

fn others() -> Vec<Case> {
    let gaussian = keep(0.8).noise(Noise::Gaussian);
    let alpha = |unit| Layer::Dropout(keep(0.6).noise(Noise::Alpha).unit(unit));
    let concrete = Concrete { temperature: 0.1, weight_regularizer: 1e-4, dropout_regularizer: 1e-3 };
    let concrete = keep(0.7).noise(Noise::Concrete(concrete));
    let weights = Dropout::drop_connect(0.6).unwrap();
    let selu = |units| Dense::new(units).activation(Activation::Selu);
    let dense =
        |dropout: Dropout| Network::new(5).dense(tanh(6)).dropout(dropout).dense(tanh(5)).dropout(dropout).dense(Dense::new(2));
    let steps = Network::new([4, 3]).recurrent(Recurrent::rnn(4).sequence()).dropout(gaussian.variational());
    let maps = Network::new([2, 3, 3]).conv2d(Conv2d::new(9, 2)).layer(alpha(Unit::Spatial2d)).layer(Layer::Flatten);
    let case = |name, network, continuous, tolerance| Case { name, network, continuous, tolerance };
    vec![
        case("gaussian noise", dense(gaussian), true, 4.0 * NORMAL),
        case(
            "gaussian noise of the input",
            Network::new(5).dropout(gaussian).dense(tanh(6)).dense(Dense::new(2)),
            true,
            4.0 * NORMAL,
        ),
        case("gaussian noise of a batch", dense(gaussian.batch()), true, 4.0 * NORMAL),
        case("gaussian noise shared by steps", steps.recurrent(Recurrent::gru(4)).dense(Dense::new(2)), true, 4.0 * NORMAL),
        case("alpha", Network::new(5).dense(selu(6)).layer(alpha(Unit::Element)).dense(Dense::new(2)), false, PLAIN),
        case("alpha of channels", maps.dense(Dense::new(2)), false, PLAIN),
        case("concrete", dense(concrete), true, NORMAL),
        case("concrete of the input", Network::new(5).dropout(concrete).dense(tanh(6)).dense(Dense::new(2)), true, NORMAL),
        case("dropped weights", dense(weights), false, PLAIN),
        case(
            "dropped weights of the first layer",
            Network::new(5).dropout(weights).dense(tanh(6)).dense(Dense::new(2)),
            false,
            PLAIN,
        ),
        case(
            "dropped weights behind dropout",
            Network::new(5).dense(tanh(6)).dropout(keep(0.6)).dropout(weights).dense(Dense::new(2)),
            false,
            PLAIN,
        ),
    ]
}

fn cases() -> Vec<Case> {
    let mut cases = sequences();
    cases.extend(others());
    cases.iter_mut().for_each(|case| case.network.loss = Loss::MeanSquaredError);
    cases
}

/// Weights below 1, a logit that is another than that of the first rate.
fn model(network: &Network) -> Model {
    let of = |(parameter, seed): (&thinnet::network::Parameter, u64)| -> Vec<f32> {
        let size = if parameter.name.ends_with("p_logit") { 0.5 } else { 0.9 };
        numbers(parameter.len(), seed).into_iter().map(|value| size * value).collect()
    };
    Model::new(network.clone(), network.parameters().unwrap().iter().zip(61..).map(of).collect()).unwrap()
}

/// Rows of inputs for a network; of sequences 1 to 4 steps, of words some of 7.
fn rows_for(network: &Network, rows: u32) -> Inputs {
    let plain = inputs(rows, network.input.elements());
    let lengths = (0..rows).map(|row| 4 - row % 4).collect();
    match network.layers[0] {
        Layer::Embedding(_) => {
            let words = (0..rows * 4).map(|i| (i * 5 % 7) as f32).collect();
            Inputs::from_f32(4, words).unwrap().with_lengths(4, lengths).unwrap()
        }
        Layer::Recurrent(_) => plain.with_lengths(4, lengths).unwrap(),
        _ => plain,
    }
}

/// The ways of drawing that a network has.
fn ways(case: &Case) -> Vec<MonteCarlo> {
    let of = |one_network, sampling| MonteCarlo {
        draws: 6,
        seed: 1 << 33 | 9,
        one_network,
        sampling,
        first_sample: 11,
        keep_draws: true,
        ..MonteCarlo::default()
    };
    let mut ways = vec![
        of(false, Sampling::Independent),
        of(true, Sampling::Independent),
        of(false, Sampling::Antithetic),
        of(false, Sampling::LatinHypercube),
    ];
    ways.truncate(if case.continuous { 3 } else { 4 });
    ways
}

/// The largest difference, by the largest of what is expected; infinite where it is no number.
fn far(found: &Outputs, expected: &Outputs) -> f64 {
    let largest = expected.values().iter().fold(0.0, |a: f64, &e| a.max(f64::from(e).abs()));
    let error = |(f, e): (&f32, &f32)| Some(f64::from(f - e).abs()).filter(|error| error.is_finite()).unwrap_or(f64::INFINITY);
    assert_eq!(found.values().len(), expected.values().len());
    found.values().iter().zip(expected.values()).map(error).fold(0.0, f64::max) / largest
}

#[test]
fn the_twins_draw_the_same() {
    for case in cases() {
        let (model, rows) = (model(&case.network), rows_for(&case.network, 5));
        for options in ways(&case) {
            let [here, there] = [device(), &Device::cpu()].map(|device| model.monte_carlo(device, &rows, &options).unwrap());
            let mut least = f64::INFINITY;
            for draw in 0..6 {
                let expected = there.draw(draw).unwrap();
                let error = far(&here.draw(draw).unwrap(), &expected);
                assert!(error <= case.tolerance, "{}, {options:?}, draw {draw}: {error}", case.name);
                least = least.min(far(&here.draw((draw + 2) % 6).unwrap(), &expected));
            }
            assert!(least > 5.0 * case.tolerance, "{}, {options:?}: other masks go unseen, {least}", case.name);
        }
    }
}

fn bits(outputs: &Outputs) -> Vec<u32> {
    outputs.values().iter().map(|value| value.to_bits()).collect()
}

#[test]
fn a_replay_has_the_bits_of_its_draw() {
    for case in cases() {
        let (model, rows) = (model(&case.network), rows_for(&case.network, 7));
        for options in ways(&case) {
            for batch in [None, Some(9)] {
                let options = MonteCarlo { batch, ..options.clone() };
                let drawn = model.monte_carlo(device(), &rows, &options).unwrap();
                let draws: Vec<_> = (0..6).map(|draw| bits(&drawn.draw(draw).unwrap())).collect();
                for draw in [0, 3, 5] {
                    let replayed = bits(&model.replay(device(), &rows, &options, draw).unwrap());
                    assert_eq!(replayed, draws[draw as usize], "{}, {options:?}, draw {draw}", case.name);
                }
                assert!(draws.windows(2).all(|pair| pair[0] != pair[1]), "{}, {options:?}", case.name);
            }
        }
    }
}

/// Inputs that stand elsewhere in a call have the same draws, if their numbers are the same.
#[test]
fn a_draw_of_a_row_does_not_depend_on_the_rows_beside_it() {
    for case in cases() {
        let (model, rows) = (model(&case.network), rows_for(&case.network, 7));
        let options = ways(&case).remove(0);
        let all = model.monte_carlo(device(), &rows, &options).unwrap();
        let later = MonteCarlo { first_sample: options.first_sample + 4, ..options };
        let part = model.monte_carlo(device(), &rows.slice(4..7).unwrap(), &later).unwrap();
        for draw in 0..6 {
            let (all, part) = (all.draw(draw).unwrap(), part.draw(draw).unwrap());
            for row in 0..3 {
                let pairs = all.row(4 + row).iter().zip(part.row(row));
                let error = pairs.map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
                assert!(error <= case.tolerance, "{}, draw {draw}, row {row}: {error}", case.name);
            }
        }
    }
}

/// The second of two antithetic draws: of Gaussian noise x (1 + sigma n) the mean of both is x, of alpha dropout at keep 0.5
/// exactly one of both keeps a unit.
#[test]
fn antithetic_draws_are_opposite() {
    let identity = |noise: Dropout| {
        let network = Network::new(64).dense(Dense::new(64)).dropout(noise).loss(Loss::MeanSquaredError);
        let eye = (0..64 * 64).map(|i| f32::from(u8::from(i % 65 == 0))).collect();
        Model::new(network, vec![eye, vec![0.0; 64]]).unwrap()
    };
    let ones = Inputs::from_f32(64, vec![1.0; 64 * 3]).unwrap();
    let options = MonteCarlo { draws: 8, sampling: Sampling::Antithetic, keep_draws: true, ..MonteCarlo::default() };
    let drawn = identity(keep(0.8).noise(Noise::Gaussian)).monte_carlo(device(), &ones, &options).unwrap();
    let pair = |drawn: &thinnet::monte_carlo::Predictive, first: u32| -> Vec<[f64; 2]> {
        let [a, b] = [first, first + 1].map(|draw| drawn.draw(draw).unwrap());
        a.values().iter().zip(b.values()).map(|(&a, &b)| [f64::from(a), f64::from(b)]).collect()
    };
    for first in [0, 2, 4, 6] {
        // Two roundings of numbers below 4.
        assert!(pair(&drawn, first).iter().all(|[a, b]| (a + b - 2.0).abs() < 1e-6), "pair {first}");
        assert!(pair(&drawn, first).iter().any(|[a, b]| (a - b).abs() > 0.5));
    }
    assert!(pair(&drawn, 1).iter().any(|[a, b]| (a + b - 2.0).abs() > 0.1), "draws of two pairs are no pair");
    let drawn = identity(keep(0.5).noise(Noise::Alpha)).monte_carlo(device(), &ones, &options).unwrap();
    let a = (0.5 + SELU_LIMIT * SELU_LIMIT * 0.25).powf(-0.5);
    let [kept, dropped] = [1.0, SELU_LIMIT].map(|x| a * x - 0.5 * a * SELU_LIMIT);
    for [first, second] in pair(&drawn, 4) {
        let sorted = [first.max(second), first.min(second)];
        assert!((sorted[0] - kept).abs() < 1e-6 && (sorted[1] - dropped).abs() < 1e-6, "{sorted:?} for {kept} and {dropped}");
    }
}

/// Sums of y and y^2 of every answer.
struct Moments(Vec<[f64; 3]>);

impl Moments {
    fn of(draws: impl Iterator<Item = Vec<f64>>) -> Self {
        let mut sums = Vec::new();
        let mut count = 0.0;
        for draw in draws {
            sums.resize(draw.len(), [0.0; 3]);
            count += 1.0;
            sums.iter_mut().zip(draw).for_each(|(sums, y)| *sums = [sums[0] + y, sums[1] + y * y, sums[2] + y.powi(4)]);
        }
        Self(sums.into_iter().map(|sums| sums.map(|sum: f64| sum / count)).collect())
    }

    /// How far means and mean squares are from others', in standard errors of so many draws each: the largest.
    fn off(&self, other: &Self, [own, others]: [f64; 2]) -> f64 {
        let each = self.0.iter().zip(&other.0).map(|(a, b)| {
            let of_mean = (a[0] - b[0]) / ((a[1] - a[0] * a[0]) / own + (b[1] - b[0] * b[0]) / others).sqrt();
            let of_square = (a[1] - b[1]) / ((a[2] - a[1] * a[1]) / own + (b[2] - b[1] * b[1]) / others).sqrt();
            of_mean.abs().max(of_square.abs())
        });
        each.fold(0.0, |a: f64, b| if b <= a { a } else { b })
    }
}

/// 20,000 draws on the device against 4000 passes of the reference: 2 answers of 2 rows, two numbers each, and 18 networks, 144
/// comparisons, so that chance crosses the bound of five standard errors once in 12,000 runs of other seeds. Drawn with 0.3 more
/// to be kept, 0.95 at most, each is noticed.
#[test]
fn draws_have_the_moments_of_the_reference() {
    let (draws, passes) = (20_000u32, 4000u32);
    for case in cases() {
        let (model, rows) = (model(&case.network), rows_for(&case.network, 2));
        let flat: Vec<f64> = (0..2).flat_map(|row| rows.row_f32(row)).map(f64::from).collect();
        let (weights, lengths) = (widen(model.weights()), rows.lengths().map(|lengths| lengths.of_rows.clone()));
        let expected = Moments::of((0..passes).map(|pass| {
            let masks = Masks::Drawn { seed: 5, pass, update: pass, samples: &[0, 1] };
            let batch = Batch { inputs: &flat, lengths: lengths.as_deref() };
            reference::forward(&case.network, &weights, batch, &masks).unwrap().pop().unwrap()
        }));
        let found = |model: &Model| {
            let options = MonteCarlo { draws, seed: 3, keep_draws: true, ..MonteCarlo::default() };
            let drawn = model.monte_carlo(device(), &rows, &options).unwrap();
            let widened = |draw: u32| drawn.draw(draw).unwrap().values().iter().map(|&v| f64::from(v)).collect();
            Moments::of((0..draws).map(widened)).off(&expected, [draws, passes].map(f64::from))
        };
        let z = found(&model);
        // Concrete dropout has its rate in a weight.
        let mut moved = model.weights().to_vec();
        for (parameter, weights) in case.network.parameters().unwrap().iter().zip(&mut moved) {
            weights.iter_mut().filter(|_| parameter.name.ends_with("p_logit")).for_each(|logit| *logit -= 1.0);
        }
        let mut network = case.network.clone();
        network.change_layers(|_, layer| {
            if let Layer::Dropout(dropout) = layer
                && !dropout.is_none()
            {
                dropout.keep = keep((dropout.keep.get() + 0.3).min(0.95)).keep;
            }
        });
        let other = found(&Model::new(network, moved).unwrap());
        println!("{}: {z:.2} standard errors, at another rate {other:.1}", case.name);
        assert!(z <= SIGMAS, "{}: {z} standard errors", case.name);
        assert!(other > SIGMAS, "{}: another rate passes with {other} standard errors", case.name);
    }
}

#[test]
fn what_has_no_strata_or_no_list_is_refused() {
    let refused = |result: thinnet::Result<()>, words: &[&str], name: &str| {
        let message = result.unwrap_err().to_string();
        words.iter().for_each(|word| assert!(message.contains(word), "{name}: {message} lacks {word}"));
    };
    for case in cases() {
        let (model, rows, name) = (model(&case.network), rows_for(&case.network, 2), case.name);
        let draw = |options: MonteCarlo| model.monte_carlo(device(), &rows, &options).map(|_| ());
        let hypercube = MonteCarlo { sampling: Sampling::LatinHypercube, ..MonteCarlo::default() };
        match case.continuous {
            true => refused(draw(hypercube), &["(dropout)", "no mask", "independent or antithetic"], name),
            false => draw(hypercube).unwrap(),
        }
        let exact = MonteCarlo { sampling: Sampling::ExactK, one_network: true, ..MonteCarlo::default() };
        refused(draw(exact), &["single features"], name);
        refused(model.average_over_masks(device(), &rows).map(|_| ()), &["monte_carlo"], name);
        refused(model.thinned(&MonteCarlo::default(), 0, 0).map(|_| ()), &["replay"], name);
    }
}
