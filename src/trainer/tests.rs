//! Every random word that a whole training draws, on the CPU twins, where each call of Philox is recorded.

use std::collections::HashMap;

use super::*;
use crate::data::{Dataset, Inputs};
use crate::network::{Activation, Dense, Dropout};
use crate::rng::{self, Shuffle, Stream, trace};

const SEED: u64 = 42;
const EPOCHS: u32 = 2;
/// Sample numbers of the caller's own: a row number that stands in for a sample is noticed.
const SAMPLES: [u32; 11] = [900, 3, 77, 1, 4_000_000_000, 12, 0, 500, 501, 8, 9];

/// Dropout of the input (site 0), one at keep_prob 1 (site 1, never drawn), one by its place (site 2) and one by its number.
/// Every place that drops has two quads of units.
fn network() -> Network {
    let keep = |keep_prob| Dropout::keep(keep_prob).unwrap();
    let input = Network::new(5).dropout(keep(0.8)).dense(Dense::new(7).activation(Activation::Relu)).dropout(keep(1.0));
    let hidden = input.dense(Dense::new(6)).dropout(keep(0.5)).dense(Dense::new(8).activation(Activation::Tanh));
    hidden.dropout(keep(0.7).site(9)).dense(Dense::new(3))
}

fn dataset(samples: &[u32]) -> Dataset {
    let values = (0..5 * samples.len()).map(|i| (i % 7) as f32 - 3.0).collect();
    let inputs = Inputs::from_f32(5, values).unwrap().with_samples(samples.to_vec()).unwrap();
    Dataset::new(inputs, (0..samples.len() as u32).map(|row| row % 3).collect(), 3).unwrap()
}

fn counts(counters: impl IntoIterator<Item = [u32; 4]>) -> HashMap<[u32; 4], u32> {
    let mut counts = HashMap::new();
    counters.into_iter().for_each(|counter| *counts.entry(counter).or_default() += 1);
    counts
}

/// The stream of a counter.
fn stream(counter: &[u32; 4]) -> u32 {
    counter[3] >> 24
}

/// What a training of [`network`] draws while it is set up and fitted.
fn drawn() -> HashMap<[u32; 4], u32> {
    let (train, valid) = (dataset(&SAMPLES), dataset(&[20, 21, 22]));
    // Batches of 4, 4 and 3 rows, and evaluations, which draw nothing.
    let options = TrainOptions { seed: SEED, batch: 4, evaluate_train: true, ..Default::default() };
    let counters = trace::counters(|| {
        let mut trainer = Trainer::new(&Device::cpu(), &network(), (&train, &valid), options).unwrap();
        assert_eq!(trainer.fit(EPOCHS).unwrap().len(), EPOCHS as usize);
    });
    counts(counters)
}

#[test]
fn forward_and_backward_draw_the_same_masks_and_no_two_decisions_share_a_word() {
    let masks: HashMap<_, _> =
        drawn().into_iter().filter(|(counter, _)| stream(counter) == Stream::TrainingMask as u32).collect();
    let mut expected = HashMap::new();
    // Nothing in front of the first dense layer is trained, so that site 0 needs no backward pass.
    for (site, times) in [(0, 1), (2, 2), (9, 2)] {
        for (pass, sample) in (0..EPOCHS).flat_map(|pass| SAMPLES.map(|sample| (pass, sample))) {
            expected.extend((0..2).map(|quad| ([quad, sample, pass, site], times)));
        }
    }
    assert_eq!(expected.len(), 3 * EPOCHS as usize * SAMPLES.len() * 2);
    // As many times as here and not once more: another decision with the same counter would be a third time.
    assert_eq!(masks, expected);
}

#[test]
fn a_training_draws_nothing_but_its_masks_its_weights_and_its_order() {
    let others: HashMap<_, _> =
        drawn().into_iter().filter(|(counter, _)| stream(counter) != Stream::TrainingMask as u32).collect();
    let mut expected = HashMap::new();
    // Each weight takes one word, so that a quad is drawn once for every weight in it; biases start at 0.
    for (tensor, weights) in [(0, 5 * 7u32), (2, 7 * 6), (4, 6 * 8), (6, 8 * 3)] {
        let quad = |i| [i / 4, 0, 0, (Stream::InitialWeights as u32) << 24 | tensor];
        expected.extend(counts((0..weights).map(quad)));
    }
    // The rounds of the shuffle share words between positions: they make up one decision, the order of an epoch.
    let rows = SAMPLES.len() as u32;
    let order = trace::counters(|| {
        let positions = (0..EPOCHS).flat_map(|epoch| (0..rows).map(move |position| (epoch, position)));
        positions.for_each(|(epoch, position)| _ = Shuffle::new(rows).row(position, epoch, rng::key(SEED)));
    });
    assert!(order.len() >= (8 * rows * EPOCHS) as usize);
    expected.extend(counts(order));
    assert_eq!(others, expected);
}

#[test]
fn updates_past_the_pass_coordinate_are_refused() {
    use super::schedule::check_updates;
    assert_eq!(check_updates(1 << 16, 1 << 16).unwrap(), 1 << 16);
    assert_eq!(check_updates(u32::MAX, 1).unwrap(), u32::MAX);
    for (epochs, updates) in [((1 << 16) + 1, 1 << 16), (u32::MAX, 2), (u32::MAX, u32::MAX)] {
        let error = check_updates(epochs, updates).unwrap_err().to_string();
        assert!(error.contains(&epochs.to_string()) && error.contains(&updates.to_string()), "{error}");
    }
}

#[test]
fn every_update_has_a_pass_of_its_own_for_masks_that_its_batch_shares() {
    // Epochs of 10 rows in steps of 2, two of which make an update: updates of 4, 4 and 2 rows.
    let passes = |first_epoch: u32, steps: usize| {
        let (evaluations, epoch) = (Vec::new(), first_epoch);
        let mut schedule =
            Schedule { rows: 10, batch: 2, accumulate: 2, evaluations, epoch, position: 0, evaluation: None, updates: 0 };
        let mut pass = || match schedule.advance() {
            Next::Train { step, batch, .. } => schedule.shared_pass(step.epoch, batch),
            Next::Evaluate { .. } => unreachable!("there is nothing to evaluate"),
        };
        (0..steps).map(|_| pass()).collect::<Vec<_>>()
    };
    let uninterrupted = passes(0, 15);
    assert_eq!(uninterrupted, [0, 0, 1, 1, 2, 3, 3, 4, 4, 5, 6, 6, 7, 7, 8]);
    assert_eq!(passes(2, 5), uninterrupted[10..]);
}
