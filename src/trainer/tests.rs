//! What a training draws from the generator.

use std::collections::BTreeMap;

use super::*;
use crate::data::digits;
use crate::network::{Activation, Dense, Dropout};
use crate::rng::{Stream, trace};

/// How often each counter of a stream was drawn.
fn drawn(counters: &[[u32; 4]], stream: Stream) -> BTreeMap<[u32; 4], usize> {
    let mut times = BTreeMap::new();
    for counter in counters.iter().filter(|counter| counter[3] >> 24 == stream as u32) {
        *times.entry(*counter).or_default() += 1;
    }
    times
}

#[test]
fn no_two_random_decisions_of_a_training_share_a_counter() {
    let (rows, epochs) = (11, 3);
    let digits = digits();
    let (train, valid) = (digits.slice(40..40 + rows).unwrap(), digits.slice(0..20).unwrap());
    let half = || Dropout::keep(0.5).unwrap();
    let hidden = Dense::new(7).activation(Activation::Relu);
    let network = Network::new(64).dropout(half()).dense(hidden).dropout(half()).dense(Dense::new(10));
    let counters = trace::counters(|| {
        let options = TrainOptions { batch: 4, evaluate_train: true, ..TrainOptions::default() };
        let mut trainer = Trainer::new(&Device::cpu(), &network, (&train, &valid), options).unwrap();
        trainer.fit(epochs).unwrap();
    });
    // A mask is drawn for every row, epoch, site and quad of units: 16 quads once, since no gradient goes to the input, and
    // 2 quads once in each direction.
    let masks = drawn(&counters, Stream::TrainingMask);
    let times = |site: u32| masks.iter().filter(move |(counter, _)| counter[3] == site).map(|(_, &times)| times);
    assert_eq!(times(0).collect::<Vec<_>>(), vec![1; (16 * rows * epochs) as usize]);
    assert_eq!(times(1).collect::<Vec<_>>(), vec![2; (2 * rows * epochs) as usize]);
    assert!(masks.keys().all(|[_, sample, pass, _]| (40..40 + rows).contains(sample) && *pass < epochs));
    // A weight has a word of its own, four of them a counter; tensors 0 and 2 are the weights.
    let weights = drawn(&counters, Stream::InitialWeights);
    assert_eq!(weights.values().sum::<usize>(), 7 * 64 + 10 * 7);
    assert_eq!(weights.len(), 7 * 64 / 4 + (10 * 7usize).div_ceil(4));
    assert!(weights.values().all(|&times| times <= 4) && weights.keys().all(|counter| [0, 2].contains(&(counter[3] & 0xFF))));
    // The rest is the order of the rows.
    let shuffled: usize = drawn(&counters, Stream::Shuffle).values().sum();
    assert!(shuffled >= 8 * (rows * epochs) as usize);
    assert_eq!(shuffled + masks.values().sum::<usize>() + weights.values().sum::<usize>(), counters.len());
}
