use thinnet::data::{Dataset, Inputs};
use thinnet::executor::Executor;
use thinnet::kernels::EPS;
use thinnet::memory::Tensor;
use thinnet::plan::{Mode, Training, Update};
use thinnet::reference::{self, Augmented, Masks};
use thinnet::step::Step;
use thinnet::{Activation, Augmentation, Dense, Device, Dropout, Layer, Loss, Network, Optimizer, Shape, TrainOptions, Trainer};

use crate::balls::{self, Ball};
use crate::common::device;
use crate::drive::{self, BatchTargets, Member, TRAIN, batch_targets, rows_of, widen};

/// How often each decision is made, and what noise and shares are made of.
mod statistics;

const SHAPE: [u32; 3] = [2, 5, 4];
const ELEMENTS: u32 = 40;
const ROWS: u32 = 19;

const ALL: Augmentation = Augmentation { shift: 2, flip: true, noise: 0.1, cutout: 3, mixup: 0.4 };

/// The same network over images and, for the oracles, over rows of as many features.
fn networks(loss: Loss) -> [Network; 2] {
    let network = |input: Network| {
        input
            .dropout(Dropout::keep(0.8).unwrap())
            .dense(Dense::new(7).activation(Activation::Tanh))
            .dropout(Dropout::keep(0.5).unwrap())
            .dense(Dense::new(3))
            .loss(loss)
    };
    [network(Network::new(SHAPE).layer(Layer::Flatten)), network(Network::new(ELEMENTS))]
}

fn training(augment: Augmentation) -> Training {
    Training { augment, ..Update::Sgd.into() }
}

/// Every step of some epochs on the device; `f` sees each, with the weights before it.
fn run(
    network: &Network,
    data: &Dataset,
    augment: Augmentation,
    batch: u32,
    mut f: impl FnMut(&Executor, &Step, &[Vec<Vec<f32>>]),
) {
    let members = [11, 12].map(|seed| Member::new(network, seed, Optimizer::sgd(0.05)));
    let plans = drive::plans(device().caps(), network, data, batch, training(augment), 2);
    let mut executor = Executor::new(device(), plans).unwrap();
    drive::upload(&executor, data, &members);
    for work in drive::training(&members, ROWS, batch, 0..2) {
        let weights = [0, 1].map(|m| drive::parameters_of(&executor, network, "", m));
        let submission = executor.submit(std::slice::from_ref(&work)).unwrap();
        executor.wait(submission).unwrap();
        f(&executor, &work.step, &weights);
    }
}

/// What the reference makes of some rows.
fn expected(data: &Dataset, augment: &Augmentation, rows: &[u32], seed: u64, epoch: u32) -> Vec<Augmented> {
    let values: Vec<f64> = (0..data.rows()).flat_map(|row| data.inputs().row_f32(row)).map(f64::from).collect();
    let all = (values.as_slice(), data.inputs().samples());
    let one = |&row: &u32| reference::augmented(augment, &Shape::from(SHAPE), all, row as usize, (seed, epoch)).unwrap();
    rows.iter().map(one).collect()
}

/// How far an element may be from the reference: cos and sqrt of the noise, see `kernels/augment.rs`, whose radius is at most
/// sqrt(2 log 2^24) < 5.8, roundings, and lambda, which the device has as a multiple of 2^-24.
fn bound(augment: &Augmentation, value: f64) -> f64 {
    let noise = augment.noise * (5.8 * (0.5f64).powi(11) + (0.5f64).powi(9));
    let largest = 1.0 + 5.8 * augment.noise;
    noise + 8.0 * EPS * (value.abs() + largest) + if augment.mixup > 0.0 { 4.0 * EPS * largest } else { 0.0 }
}

fn differ(got: &[f32], expected: &[Augmented], augment: &Augmentation) -> usize {
    let expected = expected.iter().flat_map(|row| &row.inputs);
    assert_eq!(got.len(), expected.clone().count());
    let near = |&(&got, &value): &(&f32, &f64)| (f64::from(got) - value).abs() <= bound(augment, value);
    got.len() - got.iter().zip(expected).filter(near).count()
}

/// The gradient of the mixed loss in f64 over the rows that the device saw, its error, and the loss of every row.
fn oracle(
    network: &Network,
    weights: &[Vec<f64>],
    inputs: &[f64],
    targets: [&BatchTargets; 2],
    shares: &[f64],
    masks: Masks,
) -> (Vec<Vec<f64>>, Vec<Vec<f64>>, Vec<Ball>) {
    let Masks::Drawn { seed, pass, update, samples } = masks else { unreachable!("training draws masks") };
    let mut gradient: Vec<Vec<f64>> = weights.iter().map(|w| vec![0.0; w.len()]).collect();
    for (r, (x, &share)) in inputs.chunks(ELEMENTS as usize).zip(shares).enumerate() {
        let masks = Masks::Drawn { seed, pass, update, samples: &samples[r..=r] };
        for (targets, share) in targets.into_iter().zip([share, 1.0 - share]) {
            let one = match targets {
                BatchTargets::Labels(labels) => BatchTargets::Labels(vec![labels[r]]),
                BatchTargets::Values(values) => BatchTargets::Values(values[3 * r..][..3].to_vec()),
            };
            let part = reference::gradients(network, weights, x, one.get(), &masks).unwrap();
            let factor = share / shares.len() as f64;
            gradient.iter_mut().flatten().zip(part.iter().flatten()).for_each(|(sum, g)| *sum += factor * g);
        }
    }
    // Twice the errors of both losses together: a mixed target is rounded three times, 6 EPS, where each of the two allows for 9 EPS
    // of its distance to the output.
    let balls: Vec<Vec<Ball>> = weights.iter().map(|w| w.iter().copied().map(Ball::exact).collect()).collect();
    let [a, b] = targets.map(|targets| balls::Step { network, weights: &balls, inputs, targets: targets.get(), masks }.run());
    let radii = |(a, b): (&Vec<Ball>, &Vec<Ball>)| a.iter().zip(b).map(|(a, b)| 2.0 * (a.rad + b.rad)).collect();
    let errors = a.gradients.iter().zip(&b.gradients).map(radii).collect();
    let losses = a
        .losses
        .iter()
        .zip(&b.losses)
        .zip(shares)
        .map(|((a, b), &share)| Ball { mid: share * a.mid + (1.0 - share) * b.mid, rad: 2.0 * (a.rad + b.rad) });
    (gradient, errors, losses.collect())
}

/// Everything on: what the network sees, the loss of every row and the gradient, in every step of two epochs, for two members with
/// seeds of their own. Each oracle must refuse what is wrong in one thing.
#[test]
fn a_training_with_everything_on_is_the_references() {
    for (loss, bytes) in [(Loss::SoftmaxCrossEntropy, true), (Loss::BinaryCrossEntropy, false), (Loss::MeanSquaredError, false)] {
        let [network, flat] = networks(loss);
        let data = match bytes {
            true => drive::random_bytes(ROWS, ELEMENTS, 3, 5),
            false => drive::data_for(&flat, ROWS, true, 5),
        };
        let (mut steps, mut refused) = (0, [0; 4]);
        run(&network, &data, ALL, 8, |executor, step, weights| {
            for (m, seed) in [(0, 11), (1, 12)] {
                let rows = rows_of(step, m as usize, ROWS);
                let wanted = expected(&data, &ALL, &rows, seed, step.epoch);
                let size = (rows.len(), ELEMENTS as usize);
                let seen = drive::numbers_of(executor, TRAIN, ("batch.augmented", m), size);
                assert_eq!(differ(&seen, &wanted, &ALL), 0, "{loss:?}, member {m}, {step:?}");
                let other = |augment, epoch| differ(&seen, &expected(&data, &augment, &rows, seed, epoch), &ALL);
                refused[0] += usize::from(other(ALL, step.epoch + 1) > 0);
                refused[1] += usize::from(other(Augmentation { mixup: 0.5, ..ALL }, step.epoch) > 0);

                let samples: Vec<u32> = rows.iter().map(|&row| data.inputs().samples()[row as usize]).collect();
                let masks = Masks::Drawn { seed, pass: step.epoch, update: steps, samples: &samples };
                let partners: Vec<u32> = wanted.iter().map(|row| row.partner as u32).collect();
                let (own, partner) = (batch_targets(&flat, &data, &rows), batch_targets(&flat, &data, &partners));
                let shares: Vec<f64> = wanted.iter().map(|row| row.share).collect();
                let inputs: Vec<f64> = seen.iter().copied().map(f64::from).collect();
                let (weights, got) = (widen(&weights[m as usize]), drive::parameters_of(executor, &network, ".grad", m));
                let wrong = |targets, shares: &[f64]| {
                    let (gradient, errors, losses) = oracle(&flat, &weights, &inputs, targets, shares, masks);
                    let near = |((&got, g), e): ((&f32, &f64), &f64)| (f64::from(got) - g).abs() <= *e;
                    let triples = got.iter().flatten().zip(gradient.iter().flatten()).zip(errors.iter().flatten());
                    let rows = drive::numbers_of(executor, TRAIN, ("batch.loss", m), (1, rows.len()));
                    let hit = |(got, ball): &(&f32, &Ball)| (f64::from(**got) - ball.mid).abs() <= ball.rad;
                    let missed = rows.len() - rows.iter().zip(&losses).filter(hit).count();
                    (triples.filter(|&triple| !near(triple)).count(), missed)
                };
                assert_eq!(wrong([&own, &partner], &shares), (0, 0), "{loss:?}, member {m}, {step:?}");
                let (gradients, losses) = wrong([&partner, &own], &shares);
                refused[2] += usize::from(gradients > 0 && losses > 0);
                let (gradients, losses) = wrong([&own, &own], &shares);
                refused[3] += usize::from(gradients > 0 && losses > 0);
            }
            steps += 1;
        });
        assert_eq!(
            (steps, refused),
            (6, [12; 4]),
            "{loss:?}: a wrong epoch, alpha, order of targets or single target is admitted"
        );
    }
}

/// What the device makes of every sample number in an epoch, with batches of this size.
fn by_sample(data: &Dataset, augment: Augmentation, batch: u32) -> Vec<[Vec<Vec<u32>>; 2]> {
    let mut epochs = vec![[vec![Vec::new(); ROWS as usize], vec![Vec::new(); ROWS as usize]]; 2];
    run(&networks(Loss::SoftmaxCrossEntropy)[0], data, augment, batch, |executor, step, _| {
        for (m, samples) in epochs[step.epoch as usize].iter_mut().enumerate() {
            let rows = rows_of(step, m, ROWS);
            let seen = drive::numbers_of(executor, TRAIN, ("batch.augmented", m as u32), (rows.len(), ELEMENTS as usize));
            for (&row, values) in rows.iter().zip(seen.chunks(ELEMENTS as usize)) {
                samples[row as usize] = values.iter().map(|v| v.to_bits()).collect();
            }
        }
    });
    epochs
}

#[test]
fn a_row_is_changed_alike_in_batches_of_every_size_and_otherwise_in_every_epoch() {
    let data = drive::random_data(ROWS, ELEMENTS, 3, 5);
    for augment in [ALL, Augmentation { mixup: 0.0, noise: 0.0, ..ALL }] {
        let whole = by_sample(&data, augment, ROWS);
        for batch in [1, 7] {
            assert!(by_sample(&data, augment, batch) == whole, "batches of {batch}");
        }
        assert!(whole.iter().flatten().flatten().all(|row| row.len() == ELEMENTS as usize));
        let alike = |a: &[Vec<u32>], b: &[Vec<u32>]| a.iter().zip(b).filter(|(a, b)| a == b).count();
        assert!(alike(&whole[0][0], &whole[1][0]) < ROWS as usize / 2, "two epochs");
        assert!(alike(&whole[0][0], &whole[0][1]) < ROWS as usize / 2, "two seeds");
    }
}

/// Weights after some epochs from epoch `first_epoch` on.
fn trained(device: &Device, data: &Dataset, options: &TrainOptions, epochs: &[u32]) -> Vec<Vec<f32>> {
    let network = &networks(Loss::SoftmaxCrossEntropy)[0];
    let mut model = thinnet::Model::initial(network, options.seed).unwrap();
    let mut first_epoch = 0;
    for &count in epochs {
        let mut trainer = Trainer::from_model(device, &model, data, TrainOptions { first_epoch, ..options.clone() }).unwrap();
        trainer.fit(count).unwrap();
        model = trainer.model().unwrap();
        first_epoch += count;
    }
    model.weights().to_vec()
}

#[test]
fn a_resumed_and_a_streamed_training_see_the_same_rows() {
    let data = drive::random_data(ROWS, ELEMENTS, 3, 5);
    for device in [device(), &Device::cpu()] {
        let options = TrainOptions { augment: ALL, batch: 4, optimizer: Optimizer::sgd(0.1), ..Default::default() };
        let whole = trained(device, &data, &options, &[3]);
        assert!(trained(device, &data, &options, &[1, 2]) == whole, "resumed");
        let plain = TrainOptions { augment: Augmentation::default(), ..options.clone() };
        assert!(trained(device, &data, &plain, &[3]) != whole, "augmentation changes nothing");
        // A window of streamed rows cannot reach partners.
        let pixels = TrainOptions { augment: Augmentation { mixup: 0.0, ..ALL }, ..options };
        let streamed = TrainOptions { data_budget: Some(8 * 4 * u64::from(ELEMENTS)), ..pixels.clone() };
        assert!(trained(device, &data, &streamed, &[3]) == trained(device, &data, &pixels, &[3]), "streamed");
    }
}

/// Noise too small to change any number: the way through the kernel, and dropout of the input behind it, must not change a bit,
/// whichever way the dropout is drawn.
#[test]
fn what_changes_nothing_leaves_every_weight_as_it_is() {
    let data = drive::random_data(ROWS, ELEMENTS, 3, 5);
    let drop = Dropout::keep(0.8).unwrap();
    for device in [device(), &Device::cpu()] {
        for dropout in [drop, drop.vanilla(), Dropout::units(0.8).unwrap()] {
            let network = Network::new(ELEMENTS).dropout(dropout).dense(Dense::new(9)).dense(Dense::new(3));
            let train = |noise: f64| {
                let augment = Augmentation { noise, ..Augmentation::default() };
                let options = TrainOptions { augment, batch: 8, optimizer: Optimizer::sgd(0.1), ..Default::default() };
                let mut trainer = Trainer::new(device, &network, &data, options).unwrap();
                trainer.fit(2).unwrap();
                trainer.model().unwrap()
            };
            assert!(train(1e-30) == train(0.0), "{dropout:?}");
            assert!(train(1e-3) != train(0.0), "{dropout:?}");
        }
    }
}

#[test]
fn evaluation_and_its_results_know_nothing_of_augmentation() {
    let data = drive::random_data(ROWS, ELEMENTS, 3, 5);
    let [network, _] = networks(Loss::SoftmaxCrossEntropy);
    let options = TrainOptions { augment: ALL, evaluate_train: true, optimizer: Optimizer::sgd(0.1), ..Default::default() };
    let mut trainer = Trainer::new(device(), &network, (&data, &data), options).unwrap();
    let last = *trainer.fit(2).unwrap().last().unwrap();
    assert_eq!(last.train, last.valid);
    assert_eq!(last.valid.unwrap(), trainer.model().unwrap().evaluate(device(), &data).unwrap());
    for plan in &trainer.plans().plans {
        let augmented = plan.kernels.iter().any(|kernel| ["augment", "mixup_partners"].contains(&kernel.entry().name));
        assert_eq!(augmented, matches!(plan.options.mode, Mode::Train(_)), "{}", plan.options.name);
    }
}

/// The tensor that the network reads behind the first site, which the gather kernel draws otherwise.
#[test]
fn dropout_of_the_input_comes_after_augmentation() {
    let data = drive::random_data(ROWS, ELEMENTS, 3, 5);
    let [network, _] = networks(Loss::SoftmaxCrossEntropy);
    let plans = drive::plans(device().caps(), &network, &data, 8, training(ALL), 1);
    let names: Vec<_> = plans.plans[TRAIN].kernels.iter().map(|kernel| kernel.entry().name).collect();
    let gather = ["batch_rows", "gather_f32", "mixup_partners", "gather_f32", "augment", "dropout_forward"];
    assert_eq!(names[..6], gather);
    let written = |i: usize| -> Tensor { *plans.plans[TRAIN].kernels[i].tensors().last().unwrap() };
    assert_eq!(plans.plans[TRAIN].kernels[5].tensors()[1], written(4));
    let inputs = plans.plans[TRAIN].kernels[6].tensors();
    assert!(inputs.contains(&written(5)), "the first dense layer reads {inputs:?}");
}

#[test]
fn what_cannot_be_augmented_is_refused_with_the_place_and_a_remedy() {
    let data = drive::random_data(ROWS, ELEMENTS, 3, 5);
    let [images, features] = networks(Loss::SoftmaxCrossEntropy);
    let none = Augmentation::default();
    let gaussian = Network::new(ELEMENTS).dense(Dense::new(2)).loss(Loss::GaussianNll);
    let inputs = Inputs::from_f32(ELEMENTS, crate::common::numbers((ROWS * ELEMENTS) as usize, 3)).unwrap();
    let values = Dataset::with_values(inputs, 1, vec![0.5; ROWS as usize]).unwrap();
    let budget = Some(8 * 4 * u64::from(ELEMENTS));
    for (network, data, augment, data_budget, said) in [
        (&features, &data, Augmentation { shift: 1, ..none }, None, "`augment.shift` = 1"),
        (&features, &data, Augmentation { flip: true, ..none }, None, "followed by flatten"),
        (&features, &data, Augmentation { cutout: 2, ..none }, None, "input has shape [40]"),
        (&images, &data, Augmentation { shift: 4, ..none }, None, "images of 5 x 4; use a smaller"),
        (&images, &data, Augmentation { cutout: 6, ..none }, None, "images of 5 x 4; use a smaller"),
        (&images, &data, Augmentation { noise: f64::NAN, ..none }, None, "`augment.noise` = NaN"),
        (&images, &data, Augmentation { noise: 1e39, ..none }, None, "standard deviation"),
        (&images, &data, Augmentation { mixup: 1001.0, ..none }, None, "from 0 (off) to 1000"),
        (&images, &data, Augmentation { mixup: 0.2, ..none }, budget, "raise data_budget"),
        (&gaussian, &values, Augmentation { mixup: 0.2, ..none }, None, "use mean_squared_error"),
    ] {
        let options = TrainOptions { augment, data_budget, batch: 4, ..Default::default() };
        let message = Trainer::new(&Device::cpu(), network, data, options).unwrap_err().to_string();
        assert!(message.contains(said), "{augment:?}: {message}");
    }
    // What fits passes.
    for augment in [Augmentation { noise: 0.1, mixup: 0.2, ..none }, none] {
        Trainer::new(&Device::cpu(), &features, &data, TrainOptions { augment, ..Default::default() }).unwrap();
    }
}

#[test]
fn words_have_no_noise_and_sequences_no_mixture() {
    use thinnet::{Embedding, Recurrent};
    let words = Network::new(5).embedding(Embedding::new(30, 8)).recurrent(Recurrent::lstm(4)).dense(Dense::new(2));
    let numbers = Network::new([5, 3]).recurrent(Recurrent::lstm(4)).dense(Dense::new(2));
    let noise = Augmentation { noise: 0.1, ..Augmentation::default() };
    let mixup = Augmentation { mixup: 0.2, ..Augmentation::default() };
    let flip = Augmentation { flip: true, ..Augmentation::default() };
    for (network, augment, said) in [
        (&words, noise, "would make other words"),
        (&words, mixup, "sequences end at steps of their own"),
        (&numbers, mixup, "sequences end at steps of their own"),
        (&numbers, flip, "the input has shape [5, 3]"),
    ] {
        let message = augment.check_for(network, false).unwrap_err().to_string();
        assert!(message.contains(said), "{message}");
    }
    noise.check_for(&numbers, false).unwrap();
}
