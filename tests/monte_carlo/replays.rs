//! A draw is addressed: replayed bit for bit, thinned into a network of its own, and in the same place whatever the batch.

use thinnet::monte_carlo::{MonteCarlo, Sampling};
use thinnet::{Activation, Dense, Device, Dropout, Layer, Loss, Model, Network, Outputs};

use thinnet::rng::{self, Coordinates, Stream};

use super::{all_samplings, inputs, loud, small};
use crate::common::device;

fn bits(outputs: &Outputs) -> Vec<u32> {
    outputs.values().iter().map(|value| value.to_bits()).collect()
}

#[test]
fn a_replayed_draw_has_the_bits_of_the_draw() {
    // A batch of 64 rows holds some draws of some inputs, so that draws and inputs lie in several batches, whole and ragged.
    let (model, rows) = (wide(), inputs(50, 20));
    for options in all_samplings() {
        for batch in [Some(64), None] {
            let options = MonteCarlo { keep_draws: true, batch, ..options.clone() };
            let predictive = model.monte_carlo(device(), &rows, &options).unwrap();
            let draws: Vec<_> = (0..36).map(|draw| bits(&predictive.draw(draw).unwrap())).collect();
            for draw in [0, 1, 7, 35] {
                let replayed = bits(&model.replay(device(), &rows, &options, draw).unwrap());
                assert_eq!(replayed, draws[draw as usize], "draw {draw} of {options:?}");
            }
            assert!(draws.windows(2).all(|pair| pair[0] != pair[1]), "{options:?}: each draw is another");
        }
    }
}

/// 20-70-33-3, with input dropout and GELU, whose dropout is a kernel of its own.
fn wide() -> Model {
    let network = Network::new(20)
        .dropout(Dropout::keep(0.8).unwrap())
        .dense(Dense::new(70).activation(Activation::Relu))
        .dropout(Dropout::keep(0.5).unwrap())
        .dense(Dense::new(33).activation(Activation::Gelu))
        .dropout(Dropout::keep(0.6).unwrap().vanilla())
        .dense(Dense::new(3));
    loud(&network, 0.4)
}

#[test]
fn a_thinned_network_answers_as_its_draw_does() {
    let rows = inputs(4, 20);
    for options in all_samplings() {
        let options = MonteCarlo { keep_draws: true, first_sample: 12, ..options };
        let predictive = wide().monte_carlo(device(), &rows, &options).unwrap();
        for (draw, row) in [(0, 0), (1, 3), (35, 2)] {
            let thinned = wide().thinned(&options, draw, 12 + row).unwrap();
            let units: Vec<u32> = thinned
                .network()
                .layers
                .iter()
                .map(|layer| match layer {
                    Layer::Dense(dense) => dense.units,
                    other => panic!("a thinned network has dense layers alone, not {other:?}"),
                })
                .collect();
            assert!(units[0] < 70 && units[1] < 33 && units[2] == 3, "{units:?}");
            let answer = thinned.predict(device(), &rows).unwrap();
            let drawn = predictive.draw(draw).unwrap();
            let far = |row: u32| {
                let pairs = answer.row(row as usize).iter().zip(drawn.row(row as usize));
                pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
            };
            assert!(far(row) < 1e-4, "{options:?}, draw {draw}, row {row}: {}", far(row));
            // One network for all inputs answers all of them, otherwise each input has its own.
            let others = (0..4).filter(|&other| other != row).all(|other| far(other) < 1e-4);
            assert_eq!(others, options.one_network, "{options:?}");
        }
    }
}

/// Among the draws of a hypercube each of 70 units is kept half of the time, not only on average. Strata of one draw less would keep
/// 1225 of 1260.
#[test]
fn a_latin_hypercube_spends_its_strata_on_the_draws_of_the_call() {
    let options = MonteCarlo { draws: 36, sampling: Sampling::LatinHypercube, ..MonteCarlo::default() };
    let kept =
        |options: &MonteCarlo| (0..36).map(|draw| wide().thinned(options, draw, 4).unwrap().weights()[1].len()).sum::<usize>();
    assert_eq!(kept(&options), 36 / 2 * 70);
    // Independent draws keep so many on average: with a deviation of 25, another number.
    assert_ne!(kept(&MonteCarlo { sampling: Sampling::Independent, ..options }), 36 / 2 * 70);
}

#[test]
fn batches_and_what_is_computed_once_change_no_more_than_rounding() {
    let rows = inputs(50, 20);
    for options in all_samplings() {
        let mean = |batch| wide().monte_carlo(device(), &rows, &MonteCarlo { batch, ..options.clone() }).unwrap().mean();
        let whole = mean(None);
        for batch in [1, 7, 64, 1000] {
            let worst = mean(Some(batch)).values().iter().zip(whole.values()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            // 36 sums of numbers below 1, each rounded to 2^-24.
            assert!(worst < 36.0 * 6e-8, "{options:?}, batch {batch}: {worst}");
        }
    }
    // The numbers of the samples are those of the caller, not of the batch.
    let options = MonteCarlo { keep_draws: true, ..MonteCarlo::default() };
    let late = MonteCarlo { first_sample: 30, ..options.clone() };
    let all = wide().monte_carlo(device(), &rows, &options).unwrap();
    let part = wide().monte_carlo(device(), &rows.slice(30..50).unwrap(), &late).unwrap();
    assert_eq!(bits(&all.draw(9).unwrap())[90..], bits(&part.draw(9).unwrap()));
}

/// A network whose first site has room for 160 of its 256 units in a thinned layer, which one draw in 50,000 does not fit.
fn roomy() -> Model {
    let network = Network::new(20)
        .dense(Dense::new(256).activation(Activation::Relu))
        .dropout(Dropout::keep(0.5).unwrap())
        .dense(Dense::new(64).activation(Activation::Sigmoid))
        .dropout(Dropout::keep(0.3).unwrap())
        .dense(Dense::new(3));
    loud(&network, 0.3)
}

#[test]
fn thinned_layers_give_the_draws_of_whole_ones() {
    let (rows, few) = (inputs(600, 20), inputs(600, 20).slice(0..100).unwrap());
    for sampling in [Sampling::Independent, Sampling::Antithetic, Sampling::LatinHypercube] {
        let options = MonteCarlo { draws: 20, one_network: true, keep_draws: true, sampling, ..MonteCarlo::default() };
        let thinned = roomy().monte_carlo(device(), &rows, &options).unwrap();
        let whole = roomy().monte_carlo(device(), &few, &options).unwrap();
        for draw in 0..20 {
            let (thinned, whole) = (thinned.draw(draw).unwrap(), whole.draw(draw).unwrap());
            let worst = thinned.values().iter().zip(whole.values()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-5, "{sampling:?}, draw {draw}: {worst}");
        }
    }
}

#[test]
fn a_draw_that_thinned_layers_have_no_room_for_runs_on_whole_ones() {
    let options = MonteCarlo { draws: 400_000, one_network: true, ..MonteCarlo::default() };
    let kept = |draw: u32| {
        let at = Coordinates { stream: Stream::MonteCarloMask, site: 0, pass: draw, sample: 0 };
        (0..64).flat_map(|quad| at.quad(quad, rng::key(0))).filter(|&word| word < 1 << 31).count()
    };
    let draw = (0..options.draws).find(|&draw| kept(draw) > 160).expect("one in 50,000");
    let replayed = roomy().replay(device(), &inputs(600, 20), &options, draw).unwrap();
    let thinned = roomy().thinned(&options, draw, 0).unwrap();
    assert_eq!(thinned.weights()[1].len(), kept(draw));
    let answers = thinned.predict(device(), &inputs(600, 20)).unwrap();
    let worst = replayed.values().iter().zip(answers.values()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-5, "{worst}");
}

#[test]
fn the_twins_draw_the_same_masks() {
    let rows = inputs(3, 20);
    for options in all_samplings() {
        let options = MonteCarlo { draws: 6, keep_draws: true, ..options };
        let [here, there] = [device(), &Device::cpu()].map(|device| wide().monte_carlo(device, &rows, &options).unwrap());
        for draw in 0..6 {
            let (here, there) = (here.draw(draw).unwrap(), there.draw(draw).unwrap());
            // Another mask moves answers by 0.01 and more, another order of a sum by rounding.
            let worst = here.values().iter().zip(there.values()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-4, "{options:?}, draw {draw}: {worst}");
        }
    }
}

#[test]
fn dropout_of_the_input_of_the_output_and_of_nothing_else_is_drawn_too() {
    let keep = || Dropout::keep(0.5).unwrap();
    let input = Network::new(6).dropout(keep()).dense(Dense::new(2));
    let twice = Network::new(6).dense(Dense::new(4)).dropout(keep()).dropout(keep().site(9)).dense(Dense::new(2));
    let output = Network::new(6).dense(Dense::new(2)).dropout(keep()).loss(Loss::MeanSquaredError);
    for (network, thinned) in [(input, true), (twice, true), (output, false)] {
        let (model, options) = (loud(&network, 1.0), MonteCarlo { draws: 400, ..MonteCarlo::default() });
        let drawn = model.monte_carlo(device(), &inputs(3, 6), &options).unwrap();
        let exact = model.average_over_masks(device(), &inputs(3, 6)).unwrap();
        let errors = drawn.standard_error();
        for ((mean, exact), error) in drawn.mean().values().iter().zip(exact.values()).zip(errors.values()) {
            assert!((mean - exact).abs() < 5.0 * error && *error > 0.0, "{mean} for {exact}, error {error}");
        }
        assert_eq!(model.thinned(&options, 0, 0).is_ok(), thinned);
    }
}

#[test]
fn per_batch_units_are_drawn_as_they_are_trained() {
    // 2 of 6 units at 0.3: their factor is 3, not 1 / 0.3.
    for keep in [0.5, 0.3] {
        let model = small(keep, |dropout| Dropout { mode: thinnet::DropoutMode::Units, ..dropout });
        let options = MonteCarlo { one_network: true, ..MonteCarlo::default() };
        let asked = MonteCarlo { sampling: Sampling::ExactK, ..options.clone() };
        let [own, asked] = [(&model, &options), (&small(keep, |dropout| dropout), &asked)]
            .map(|(model, options)| bits(&model.monte_carlo(device(), &inputs(3, 5), options).unwrap().mean()));
        assert_eq!(own, asked, "{keep}");
    }
}
