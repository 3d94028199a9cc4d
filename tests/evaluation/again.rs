//! A predictor answers as its model does, bit for bit, whatever it was asked before.

use thinnet::network::Layer;
use thinnet::{Activation, Conv2d, Dataset, Dense, Device, Dropout, Inputs, Loss, Model, Network, Predictor, Recurrent, data};

use crate::common::{device, numbers};

/// Calls of all kinds in an order in which some have a call of their kind before them and some do not.
#[test]
fn a_predictor_answers_as_its_model_does() {
    let dense = Network::new(64).dense(Dense::new(21).activation(Activation::Gelu)).dropout(Dropout::keep(0.5).unwrap());
    let maps = Network::new([1, 8, 8]).conv2d(Conv2d::new(3, 3).activation(Activation::Relu)).max_pool(2).layer(Layer::Flatten);
    let digits = data::digits();
    let bytes = |rows| digits.slice(rows).unwrap();
    let floats = |rows: u32, seed| Inputs::from_f32(64, numbers(64 * rows as usize, seed)).unwrap();
    for (device, most) in [(device(), 1300), (&Device::cpu(), 9)] {
        for network in [dense.clone().dense(Dense::new(10)), maps.clone().dense(Dense::new(10))] {
            let model = Model::initial(&network, 6).unwrap();
            let mut predictor = Predictor::new(model.clone(), device);
            assert_eq!(*predictor.model(), model);
            for (first, rows) in [(0, 1), (7, 1), (8, most), (0, most), (3, 5), (9, 1), (0, 5)] {
                let part = bytes(first..first + rows);
                assert_eq!(predictor.predict(part.inputs()).unwrap(), model.predict(device, part.inputs()).unwrap());
                assert_eq!(predictor.logits(part.inputs()).unwrap(), model.logits(device, part.inputs()).unwrap());
                assert_eq!(predictor.evaluate(&part).unwrap(), model.evaluate(device, &part).unwrap());
                let other = floats(rows, u64::from(first));
                assert_eq!(predictor.predict(&other).unwrap(), model.predict(device, &other).unwrap());
            }
            // What is refused changes nothing.
            let narrow = Inputs::from_f32(3, vec![0.0; 3]).unwrap();
            assert!(predictor.predict(&narrow).is_err());
            assert_eq!(predictor.predict(bytes(2..3).inputs()).unwrap(), model.predict(device, bytes(2..3).inputs()).unwrap());
        }
    }
}

/// Lengths are a part of the inputs, not of what is prepared for them; so are the targets of a regression.
#[test]
fn sequences_of_other_lengths_and_other_targets_take_what_is_there() {
    let network = Network::new([5, 3]).recurrent(Recurrent::gru(7)).dense(Dense::new(4)).loss(Loss::GaussianNll);
    let model = Model::initial(&network, 8).unwrap();
    let mut predictor = Predictor::new(model.clone(), device());
    for seed in 0..4 {
        let inputs = Inputs::from_f32(15, numbers(6 * 15, seed)).unwrap();
        let inputs = match seed % 2 {
            0 => inputs,
            _ => inputs.with_lengths(5, (0..6).map(|row| 1 + (row + seed as u32) % 5).collect()).unwrap(),
        };
        assert_eq!(predictor.predict(&inputs).unwrap(), model.predict(device(), &inputs).unwrap(), "{seed}");
        let data = Dataset::with_values(inputs, 2, numbers(6 * 2, seed + 10)).unwrap();
        assert_eq!(predictor.evaluate(&data).unwrap(), model.evaluate(device(), &data).unwrap(), "{seed}");
    }
}
