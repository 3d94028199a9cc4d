//! Words that an embedding drops, read off the device.

use thinnet::network::{Cell, Layer, Parameter, Recurrent};
use thinnet::rng::{self, Coordinates, Stream};
use thinnet::{Dropout, Embedding, Inputs, Loss, Network};

use super::recurrent::identity;
use super::{Runner, SEED};

/// A word of 16 of a vocabulary is dropped wherever it stands in a sample, and by itself in the next.
#[test]
fn an_embedding_drops_words_wherever_they_stand() {
    let (rows, steps, vocabulary) = (64u32, 12u32, 16u32);
    for batch in [false, true] {
        let dropout = Dropout::keep(0.5).unwrap();
        let dropout = if batch { dropout.batch() } else { dropout };
        let layer = Recurrent::new(Cell::RnnRelu, 4).sequence();
        let network = Network::new(steps).embedding(Embedding::new(vocabulary, 4).dropout(dropout)).recurrent(layer);
        let network = network.layer(Layer::Flatten).loss(Loss::MeanSquaredError);
        let words: Vec<u32> = (0..rows * steps).map(|i| (i * 7 + i / steps * i) % vocabulary).collect();
        let inputs = Inputs::from_f32(steps, words.iter().map(|&word| word as f32).collect()).unwrap();
        // A state is the vector of its word, 1 everywhere.
        let of = |parameter: &Parameter| match parameter.name.as_str() {
            "0.weight" => vec![1.0; parameter.len()],
            name if name.contains("weight_ih") => identity(parameter, 4, 0, 1.0),
            _ => vec![0.0; parameter.len()],
        };
        let weights = network.parameters().unwrap().iter().map(of).collect();
        let outputs = Runner::new(&network, weights, &inputs).outputs([4, 9]);
        let mut dropped = 0;
        for (row, states) in (0..rows).zip(&outputs) {
            for (t, state) in (0..steps).zip(states.chunks(4)) {
                let word = words[(row * steps + t) as usize];
                let at = match batch {
                    true => Coordinates { stream: Stream::BatchMask, site: 0, pass: 9, sample: 0 },
                    false => Coordinates { stream: Stream::TrainingMask, site: 0, pass: 4, sample: row },
                };
                let kept = dropout.keep.keeps(at.word(word, rng::key(SEED)));
                assert_eq!(state, [if kept { 2.0 } else { 0.0 }; 4], "row {row}, step {t}, word {word}");
                dropped += u32::from(!kept);
            }
        }
        assert!((rows * steps / 4..rows * steps * 3 / 4).contains(&dropped), "{dropped}");
    }
}
