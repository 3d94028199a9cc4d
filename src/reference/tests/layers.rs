//! Every layer and every dropout variant: finite differences with random upstream gradients, running statistics, dropped paths.

use super::*;
use crate::gradient_check::{Case, Numbers, cases};
use crate::network::{BatchNorm, Conv2d, Layer, Residual};

/// sum(upstream * output) at some weights and inputs, the last of `at`.
fn objective(network: &Network, at: &[Vec<f64>], lengths: Option<&[u32]>, upstream: &[f64], masks: &Masks) -> Result<f64> {
    let (inputs, weights) = at.split_last().unwrap();
    let y = forward(network, weights, Batch { inputs, lengths }, masks)?.pop().unwrap();
    Ok(y.iter().zip(upstream).map(|(y, u)| y * u).sum())
}

/// Everything the tests of a case need: all tensors, the inputs last.
struct Run {
    network: Network,
    at: Vec<Vec<f64>>,
    lengths: Option<Vec<u32>>,
    upstream: Vec<f64>,
    samples: Vec<u32>,
    seed: u64,
}

impl Run {
    fn new(case: &Case) -> Self {
        let numbers = Numbers::new(case, 5).unwrap();
        let widen = |values: &[f32]| values.iter().copied().map(f64::from).collect::<Vec<_>>();
        let mut at: Vec<_> = numbers.model.weights().iter().map(|w| widen(w)).collect();
        let inputs = numbers.batch.inputs();
        at.push((0..case.rows).flat_map(|row| widen(&inputs.row_f32(row))).collect());
        let outputs = (case.rows * case.network.outputs().unwrap()) as usize;
        // Truncated gradients are those of no function.
        let (network, samples) = (case.network.without_truncation(), inputs.samples().to_vec());
        let lengths = inputs.lengths().map(|lengths| lengths.of_rows.clone());
        Self { network, at, lengths, upstream: random(outputs, 77), samples, seed: numbers.seed }
    }

    fn drawn(&self, update: u32) -> Masks<'_> {
        Masks::Drawn { seed: self.seed, pass: update, update, samples: &self.samples }
    }

    /// Gradients of every tensor and of the inputs, without those of running statistics.
    fn analytic(&self, masks: &Masks) -> Vec<Vec<f64>> {
        let (inputs, weights) = self.at.split_last().unwrap();
        let batch = Batch { inputs, lengths: self.lengths.as_deref() };
        let (mut gradients, dx) = backward(&self.network, weights, batch, &self.upstream, masks).unwrap();
        gradients.push(dx);
        self.trained(gradients)
    }

    fn numeric(&self, masks: &Masks) -> Vec<Vec<f64>> {
        let f = |at: &[Vec<f64>]| objective(&self.network, at, self.lengths.as_deref(), &self.upstream, masks);
        self.trained(central_differences(&self.at, STEP, f).unwrap())
    }

    fn trained(&self, mut tensors: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
        let parameters = self.network.parameters().unwrap();
        for (parameter, tensor) in parameters.iter().zip(&mut tensors).filter(|(parameter, _)| !parameter.trained) {
            assert!(parameter.name.contains("running_"));
            tensor.clear();
        }
        tensors
    }

    /// The largest difference over the largest element of all tensors: a bias in front of a batch norm has gradient 0.
    fn error(found: &[Vec<f64>], expected: &[Vec<f64>]) -> f64 {
        let all = |tensors: &[Vec<f64>]| tensors.iter().flatten().copied().collect::<Vec<_>>();
        relative_error(&[all(found)], &[all(expected)])
    }
}

#[test]
fn gradients_of_every_layer_and_variant_are_finite_differences() {
    for case in cases() {
        let run = Run::new(&case);
        let numeric = run.numeric(&run.drawn(0));
        let right = Run::error(&run.analytic(&run.drawn(0)), &numeric);
        // A mask of one unit for the whole batch may be the same in the next step, but not in each of twenty.
        let others = (1..=20).map(|update| Run::error(&run.analytic(&run.drawn(update)), &numeric));
        let wrong = others.fold(0.0, f64::max);
        println!("{}: {right:.1e}, with the masks of later steps {wrong:.1e}", case.name);
        assert!(right <= 0.1 * TOLERANCE, "{}: {right}", case.name);
        let drops = case.network != case.network.without_dropout();
        assert_eq!(wrong > 1e5 * TOLERANCE, drops, "{}: {wrong}", case.name);
    }
}

#[test]
fn gradients_in_evaluation_are_finite_differences() {
    let mut compared = 0;
    for case in cases().iter().filter(|case| case.network.parameters().unwrap().iter().any(|p| !p.trained)) {
        let run = Run::new(case);
        let (inputs, weights) = run.at.split_last().unwrap();
        let distance = kink_distance(&case.network, weights, inputs, &Masks::None).unwrap();
        if distance < 10.0 * STEP {
            continue; // The numbers were drawn for training.
        }
        let numeric = run.numeric(&Masks::None);
        assert!(Run::error(&run.analytic(&Masks::None), &numeric) <= TOLERANCE, "{}", case.name);
        assert!(Run::error(&run.analytic(&run.drawn(0)), &numeric) > 1e4 * TOLERANCE, "{}", case.name);
        compared += 1;
    }
    assert!(compared >= 6, "{compared} cases");
}

#[test]
fn running_statistics_have_no_gradient_and_follow_the_batch_in_training_only() {
    let network =
        Network::new(1).layer(Layer::BatchNorm(BatchNorm { momentum: 0.25, ..BatchNorm::default() })).dense(Dense::new(1));
    let weights = [vec![1.0], vec![0.0], vec![2.0], vec![3.0], vec![1.0], vec![0.0]];
    let samples = [0, 1, 2, 3];
    let of = |inputs: &[f64], masks: Masks| running_statistics(&network, &weights, inputs, &masks).unwrap();
    let masks = |rows| Masks::Drawn { seed: 0, pass: 0, update: 0, samples: &samples[..rows] };
    // Mean 4, variance (9 + 1 + 1 + 9) / 4 = 5, times 4 / 3.
    assert_eq!(of(&[1.0, 3.0, 5.0, 7.0], masks(4)), [vec![2.0 + 0.25 * 2.0], vec![3.0 + 0.25 * (20.0 / 3.0 - 3.0)]]);
    // One number has a mean, but no variance.
    assert_eq!(of(&[6.0], masks(1)), [vec![3.0], vec![3.0]]);
    assert_eq!(of(&[1.0, 3.0, 5.0, 7.0], Masks::None), [vec![2.0], vec![3.0]]);
    let (gradients, _) = backward(&network, &weights, &[1.0, 3.0], &[1.0, -2.0], &masks(2)).unwrap();
    assert_eq!(gradients[2..4], [vec![0.0], vec![0.0]]);
    assert!(gradients[0][0] != 0.0);
}

/// A batch of one number a channel normalises to 0, and passes nothing back.
#[test]
fn batch_norm_of_one_number_is_its_bias() {
    let network = Network::new(2).layer(Layer::BatchNorm(BatchNorm::default())).layer(Layer::Flatten).dense(Dense::new(1));
    let weights = [vec![2.0, 3.0], vec![0.5, -0.5], vec![0.0; 2], vec![1.0; 2], vec![1.0, 1.0], vec![0.0]];
    let masks = Masks::Drawn { seed: 0, pass: 0, update: 0, samples: &[7] };
    assert_eq!(forward(&network, &weights, &[5.0, -9.0], &masks).unwrap()[0], [0.5, -0.5]);
    let (gradients, dx) = backward(&network, &weights, &[5.0, -9.0], &[1.0], &masks).unwrap();
    assert_eq!((dx, &gradients[0], &gradients[1]), (vec![0.0; 2], &vec![0.0; 2], &vec![1.0; 2]));
}

/// Random weights, but a running variance is positive.
fn weights_of(network: &Network) -> Vec<Vec<f64>> {
    let mut weights = random_weights(network);
    for (parameter, values) in network.parameters().unwrap().iter().zip(&mut weights) {
        if parameter.name.ends_with("running_var") {
            values.iter_mut().for_each(|value| *value = value.abs() + 0.5);
        }
    }
    weights
}

/// conv, batch norm, element dropout and a path that keeps half, over maps of 2 x 3 x 2.
fn dropped_path(mode: fn(Dropout) -> Dropout) -> (Network, Network) {
    let half = || Dropout::keep(0.5).unwrap();
    let path = Layer::Dropout(mode(half().unit(Unit::Path)));
    let branch =
        vec![Layer::Conv2d(Conv2d::new(2, 3).padding(1)), Layer::BatchNorm(BatchNorm::default()), Layer::Dropout(half())];
    let with = [branch.clone(), vec![path]].concat();
    let network = |branch| {
        let block = Network::new([2, 3, 2]).residual(Residual { branch, skip: Vec::new() });
        block.layer(Layer::Flatten).dense(Dense::new(1))
    };
    (network(with), network(branch))
}

/// A residual block with a dropped path gives the skip, plus the scaled branch of a network that has only the rows that pass.
#[test]
fn a_dropped_path_is_not_computed() {
    let (network, alone) = dropped_path(|path| path);
    let (weights, samples) = (weights_of(&network), (0..9).collect::<Vec<u32>>());
    let inputs = random(9 * 12, 0);
    let masks = Masks::Drawn { seed: SEED, pass: PASS, update: UPDATE, samples: &samples };
    // Site 1 is the path: unit 0 of every sample.
    let word = |sample| rng::philox4x32_10([0, sample, PASS, 1], rng::key(SEED))[0];
    let passing: Vec<u32> = samples.iter().copied().filter(|&sample| word(sample) < 1 << 31).collect();
    assert!((2..8).contains(&passing.len()), "{passing:?}");
    let kept: Vec<f64> = passing.iter().flat_map(|&row| &inputs[row as usize * 12..][..12]).copied().collect();
    let only = Masks::Drawn { seed: SEED, pass: PASS, update: UPDATE, samples: &passing };
    let block = forward(&alone, &weights, &kept, &only).unwrap().remove(0);
    let mut expected = inputs.clone();
    for (i, &row) in passing.iter().enumerate() {
        for e in 0..12 {
            expected[row as usize * 12 + e] += 2.0 * (block[i * 12 + e] - kept[i * 12 + e]);
        }
    }
    let found = forward(&network, &weights, &inputs, &masks).unwrap().remove(0);
    assert!(found.iter().zip(&expected).all(|(f, e)| (f - e).abs() < 1e-14), "{found:?} {expected:?}");
    let (of_all, of_kept) =
        (running_statistics(&network, &weights, &inputs, &masks), running_statistics(&alone, &weights, &kept, &only));
    assert_eq!(of_all.unwrap(), of_kept.unwrap());
    // Of a row that is dropped nothing reaches the branch, not even what is no number.
    let dropped = samples.iter().find(|sample| !passing.contains(sample)).unwrap();
    let mut poisoned = inputs.clone();
    poisoned[*dropped as usize * 12..][..12].fill(f64::NAN);
    let found = forward(&network, &weights, &poisoned, &masks).unwrap().remove(0);
    assert_eq!(found.iter().filter(|y| y.is_nan()).count(), 12);
    // In evaluation every row passes, unscaled.
    let evaluated = forward(&network, &weights, &inputs, &Masks::None).unwrap();
    assert_eq!(evaluated, forward(&alone, &weights, &inputs, &Masks::None).unwrap());
}

/// One draw for the batch: all rows pass, or the block is its skip and its batch norm has seen nothing.
#[test]
fn a_path_of_a_batch_passes_all_rows_or_none() {
    let (network, alone) = dropped_path(Dropout::batch);
    let (weights, inputs) = (weights_of(&network), random(60, 0));
    let mut seen = [0; 2];
    for update in 0..40 {
        let masks = Masks::Drawn { seed: SEED, pass: PASS, update, samples: &SAMPLES };
        let passes = rng::philox4x32_10([0, 0, update, 6 << 24 | 1], rng::key(SEED))[0] < 1 << 31;
        seen[usize::from(passes)] += 1;
        let y = forward(&network, &weights, &inputs, &masks).unwrap().remove(0);
        let statistics = running_statistics(&network, &weights, &inputs, &masks).unwrap();
        let (gradients, dx) = backward(&network, &weights, &inputs, &SAMPLES.map(f64::from), &masks).unwrap();
        if passes {
            let block = forward(&alone, &weights, &inputs, &masks).unwrap().remove(0);
            let expected = inputs.iter().zip(&block).map(|(x, y)| x + 2.0 * (y - x));
            assert!(y.iter().zip(expected).all(|(y, e)| (y - e).abs() < 1e-14));
            assert_eq!(statistics, running_statistics(&alone, &weights, &inputs, &masks).unwrap());
            assert!(gradients[0].iter().any(|&g| g != 0.0));
        } else {
            assert_eq!((&y, &statistics[..]), (&inputs, &weights[4..6]));
            assert!(gradients[..6].iter().flatten().all(|&g| g == 0.0));
            let expected = SAMPLES.iter().flat_map(|&u| weights[6].iter().map(move |w| w * f64::from(u)));
            assert!(dx.iter().zip(expected).all(|(g, e)| *g == e));
        }
    }
    assert!(seen.iter().all(|&count| count > 5), "{seen:?}");
}
