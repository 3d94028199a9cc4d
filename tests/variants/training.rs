//! Trainings of recurrent networks over ragged batches of ragged sequences, against a loop over the reference's gradients.

use thinnet::network::Recurrent;
use thinnet::reference::{self, Batch, Masks, Targets};
use thinnet::rng::{self, Shuffle};
use thinnet::{Dataset, Dense, Dropout, Embedding, Inputs, Layer, Model, Network, Optimizer, TrainOptions, Trainer};

use crate::common::{device, numbers, words};
use crate::drive::widen;

const ROWS: u32 = 17;
const STEPS: u32 = 5;
const SEED: u64 = 31;
const RATE: f64 = 0.2;

fn networks() -> Vec<Network> {
    let keep = Dropout::keep(0.6).unwrap();
    let masks = |layer: Recurrent, mask: Dropout| layer.input(mask).recurrent(mask).output(mask);
    let over = |layer: Recurrent| Network::new([STEPS, 3]).recurrent(layer).dense(Dense::new(4));
    let first = Network::new([STEPS, 3]).recurrent(masks(Recurrent::gru(5).sequence(), keep));
    let words = Network::new(STEPS).embedding(Embedding::new(9, 3).dropout(keep));
    vec![
        over(masks(Recurrent::lstm(6).bidirectional(), keep.variational())),
        over(masks(Recurrent::gru(5).layers(2), keep)),
        over(Recurrent::lstm(5).untied().recurrent(keep.variational().batch()).truncate(2)),
        first.dropout(keep.variational()).recurrent(Recurrent::rnn(3).sequence()).layer(Layer::Flatten).dense(Dense::new(4)),
        words.recurrent(masks(Recurrent::lstm(4), keep.variational())).dense(Dense::new(4)),
    ]
}

/// Rows of random numbers or words also behind their ends.
fn inputs(network: &Network) -> Inputs {
    let columns = network.input.elements();
    let values = match network.layers[0] {
        Layer::Embedding(_) => words((columns * ROWS) as usize, 5).into_iter().map(|word| (word % 9) as f32).collect(),
        _ => numbers((columns * ROWS) as usize, 5),
    };
    Inputs::from_f32(columns, values).unwrap().with_samples((0..ROWS).map(|row| 900 + 3 * row).collect()).unwrap()
}

fn lengths() -> Vec<u32> {
    (0..ROWS).map(|row| 1 + row * 3 % STEPS).collect()
}

fn dataset(inputs: Inputs) -> Dataset {
    Dataset::new(inputs, (0..ROWS).map(|row| row * 5 % 4).collect(), 4).unwrap()
}

fn trained(network: &Network, data: &Dataset, (batch, accumulate): (u32, u32)) -> Vec<Vec<f32>> {
    let options = TrainOptions { seed: SEED, batch, accumulate, optimizer: Optimizer::sgd(RATE), ..TrainOptions::default() };
    let mut trainer = Trainer::new(device(), network, data, options).unwrap();
    trainer.fit(2).unwrap();
    trainer.model().unwrap().weights().to_vec()
}

/// Two epochs of SGD in f64, the masks of pass and update moved by `late`.
fn reference(network: &Network, data: &Dataset, lengths: &[u32], batch: u32, late: u32) -> Vec<Vec<f64>> {
    let mut weights = widen(Model::initial(network, SEED).unwrap().weights());
    let (mut update, key) = (0, rng::key(SEED));
    for epoch in 0..2 {
        let order: Vec<u32> = (0..ROWS).map(|at| Shuffle::new(ROWS).row(at, epoch, key)).collect();
        for rows in order.chunks(batch as usize) {
            let of = |values: &[u32]| rows.iter().map(|&row| values[row as usize]).collect::<Vec<u32>>();
            let inputs: Vec<f64> = rows.iter().flat_map(|&row| data.inputs().row_f32(row)).map(f64::from).collect();
            let (labels, samples, lengths) = (of(data.labels()), of(data.inputs().samples()), of(lengths));
            let masks = Masks::Drawn { seed: SEED, pass: epoch + late, update: update + late, samples: &samples };
            let batch = Batch { inputs: &inputs, lengths: Some(&lengths) };
            let targets: Targets = labels.as_slice().into();
            let gradients = reference::gradients(network, &weights, batch, targets, &masks).unwrap();
            weights.iter_mut().flatten().zip(gradients.iter().flatten()).for_each(|(w, g)| *w -= RATE * g);
            update += 1;
        }
    }
    weights
}

/// The largest difference of a weight, by the largest way that a weight went.
fn far(found: &[Vec<f32>], expected: &[Vec<f64>], network: &Network) -> f64 {
    let initial = widen(Model::initial(network, SEED).unwrap().weights());
    let way = expected.iter().flatten().zip(initial.iter().flatten()).fold(0.0, |a: f64, (e, i)| a.max((e - i).abs()));
    let errors = found.iter().flatten().zip(expected.iter().flatten()).map(|(&f, e)| (f64::from(f) - e).abs());
    errors.fold(0.0, |a: f64, b| if b <= a { a } else { b }) / way
}

/// A gradient is right within c eps of its largest element, c the rounded operations of `gradient_check`: of 5 steps, each with
/// sums of some 30 terms and four functions of 168 eps, in both directions, in two layers, 15,000 eps = 9e-4. The six errors of
/// a training add up as its gradients do.
const TOLERANCE: f64 = 1e-3;

#[test]
fn training_over_ragged_batches_of_ragged_sequences_follows_the_reference() {
    for network in networks() {
        let data = dataset(inputs(&network).with_lengths(STEPS, lengths()).unwrap());
        let found = trained(&network, &data, (7, 1));
        let error = far(&found, &reference(&network, &data, &lengths(), 7, 0), &network);
        let others = [
            far(&found, &reference(&network, &data, &[STEPS; ROWS as usize], 7, 0), &network),
            far(&found, &reference(&network, &data, &lengths(), 7, 1), &network),
            far(&found, &reference(&network, &data, &lengths(), 8, 0), &network),
        ];
        println!("{error:.1e}; without lengths, with the next masks, in batches of 8: {others:.1?}");
        assert!(error <= TOLERANCE, "{error}: {network:?}");
        assert!(others.iter().all(|other| *other > 10.0 * TOLERANCE), "{others:?}: {network:?}");
    }
}

/// Lengths that are those of all steps are no lengths, bit for bit; room for more steps changes nothing but rounding, and a
/// batch split in three nothing but the order of sums.
#[test]
fn lengths_room_and_accumulation_change_nothing_where_they_say_nothing() {
    for network in networks() {
        let plain = dataset(inputs(&network));
        let whole = dataset(inputs(&network).with_lengths(STEPS, vec![STEPS; ROWS as usize]).unwrap());
        assert!(trained(&network, &plain, (7, 1)) == trained(&network, &whole, (7, 1)), "{network:?}");

        let ragged = inputs(&network).with_lengths(STEPS, lengths()).unwrap();
        let once = trained(&network, &dataset(ragged.clone()), (12, 1));
        assert!(once != trained(&network, &whole, (12, 1)));
        let expected = widen(&once);
        let split = far(&trained(&network, &dataset(ragged.clone()), (4, 3)), &expected, &network);
        assert!(split <= 1e-4, "{split}: {network:?}");
        if network.layers.iter().any(|layer| matches!(layer, Layer::Flatten)) {
            continue; // as many weights as steps
        }
        let mut longer = network.clone();
        longer.input.0[0] = STEPS + 4;
        let room = trained(&longer, &dataset(ragged.with_steps(STEPS + 4).unwrap()), (12, 1));
        let room = far(&room, &expected, &network);
        assert!(room <= 1e-4, "{room}: {network:?}");
    }
}
