//! The wiring of a plan: every kernel against its twin in place, whole gradients against the reference, with dropout on.

use thinnet::executor::Executor;
use thinnet::kernels::Access;
use thinnet::memory::BufferId;
use thinnet::network::{Activation, Dense, Layer, Network};
use thinnet::reference::{self, Masks};
use thinnet::step::Step;
use thinnet::work::Work;
use thinnet::{Dropout, Optimizer, cpu};

use crate::balls::{self, Ball, Outcome};
use crate::common::{POISON, compare_kernel, device, whole};
use crate::drive::{self, Member, TRAIN, batch_of, rows_of, widen};

fn dense(units: u32, activation: Activation) -> Layer {
    Layer::Dense(Dense::new(units).activation(activation))
}

fn dropout(keep_prob: f64) -> Layer {
    Layer::Dropout(Dropout::keep(keep_prob).unwrap())
}

/// Dropout of the input, between layers, twice in a row and of the output; every activation in every place.
pub(crate) fn networks() -> [Network; 3] {
    use Activation::{Identity, Relu, Sigmoid, Tanh};
    let with = |layers: Vec<Layer>| Network { layers, ..Network::new(13) };
    [
        with(vec![
            dropout(0.8),
            dense(31, Relu),
            dropout(0.5),
            dense(7, Tanh),
            Layer::Dropout(Dropout::keep(0.7).unwrap().site(9)),
            dense(5, Identity),
        ]),
        with(vec![dense(31, Sigmoid), dropout(0.6), dense(7, Relu), dropout(0.9), dropout(0.8), dense(5, Identity)]),
        with(vec![dropout(0.9), dense(30, Tanh), dense(9, Relu), dropout(0.5), dense(6, Sigmoid), dense(5, Tanh), dropout(0.9)]),
    ]
}

/// One member, or two that differ in everything that members may differ in; one rate of each network is 1 for the second.
pub(crate) fn members(network: &Network, count: u64, optimizer: [Optimizer; 2]) -> Vec<Member> {
    let sites = network.sites().unwrap().into_iter().flatten().count();
    let rates = [[0.8, 0.5, 0.7, 0.6], [0.6, 1.0, 0.9, 0.5]];
    let member = |m: usize| {
        let seed = [5 << 33 | 7, 11][m];
        Member::new(network, seed, optimizer[m]).rates(&rates[m][..sites]).weight_decay([0.0, 0.01][m])
    };
    (0..count as usize).map(member).collect()
}

/// Copies what the device wrote into the twin's memory, so that the next kernel starts from the same words.
fn take_over(executor: &Executor, twin: &cpu::Executor, (plan, kernel): (usize, usize)) {
    let kernel = &twin.plans().plans[plan].kernels[kernel];
    for (binding, tensor) in kernel.entry().tensors.iter().zip(kernel.tensors()) {
        if binding.access == Access::Write {
            let words = executor.read(whole(twin.plans(), tensor.buffer), 0).unwrap();
            twin.memory().buffer_mut(tensor.buffer).copy_from_slice(&words);
        }
    }
}

/// Compares after every kernel of three epochs of training, each followed by an evaluation. Returns the kernels compared.
fn compare_every_kernel(network: &Network, members: &[Member], bytes: bool) -> usize {
    let (rows, batch) = (17, 7); // the last of three batches has 3 rows
    let make = if bytes { drive::random_bytes } else { drive::random_data };
    let (data, update) = (make(rows, 13, 5, 3), members[0].optimizer.update());
    let plans = || drive::plans(device().caps(), network, &data, batch, update, members.len() as u32);
    let twin = cpu::Executor::new(plans());
    let memory = twin.memory();
    let train = &twin.plans().plans[TRAIN];
    // What a kernel has to write before another reads it starts poisoned; the rest starts at 0 and is part of the program.
    for (i, buffer) in twin.plans().buffers.iter().enumerate() {
        if buffer.name.starts_with("batch.") || buffer.name.starts_with("activation.") || buffer.name.starts_with("gradient.") {
            memory.buffer_mut(BufferId(i)).fill(POISON);
        }
    }
    for parameter in network.parameters().unwrap() {
        (0..members.len()).for_each(|m| memory.u32_mut(train.tensor(&format!("{}.grad", parameter.name)), m).fill(POISON));
    }
    drive::fill(train, &data, members, |tensor, member, words| {
        memory.u32_mut(tensor, member as usize)[..words.len()].copy_from_slice(words);
    });
    let mut executor = Executor::new(device(), plans()).unwrap();
    for i in 0..twin.plans().buffers.len() {
        executor.write(whole(twin.plans(), BufferId(i)), 0, &memory.buffer(BufferId(i))).unwrap();
    }
    let mut compared = 0;
    for epoch in 0..3 {
        let evaluation = drive::evaluation(members, rows, batch);
        for Work { plan, step } in drive::training(members, rows, batch, epoch..epoch + 1).iter().chain(&evaluation) {
            for kernel in 0..twin.plans().plans[*plan].kernels.len() {
                compare_kernel(&mut executor, &twin, (*plan, kernel), step);
                take_over(&executor, &twin, (*plan, kernel));
                compared += 1;
            }
        }
    }
    compared
}

const ADAM: [Optimizer; 2] = [
    Optimizer::Adam { lr: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
    Optimizer::Adam { lr: 0.03, beta1: 0.8, beta2: 0.99, epsilon: 1e-6 },
];
pub(crate) const SGD: [Optimizer; 2] =
    [Optimizer::Sgd { lr: 0.1, momentum: 0.9, nesterov: false }, Optimizer::Sgd { lr: 0.03, momentum: 0.0, nesterov: false }];

#[test]
fn every_kernel_of_a_step_agrees_with_its_twin() {
    for (i, network) in networks().iter().enumerate() {
        let optimizer = [ADAM, SGD, ADAM][i];
        let compared = compare_every_kernel(network, &members(network, 1, optimizer), i == 1);
        assert!(compared > 9 * 20, "{compared} kernels were compared");
    }
}

#[test]
fn every_kernel_of_a_step_of_two_members_agrees_with_its_twin() {
    for (i, network) in networks().iter().enumerate() {
        let optimizer = [SGD, ADAM, SGD][i];
        let compared = compare_every_kernel(network, &members(network, 2, optimizer), i != 1);
        assert!(compared > 9 * 20, "{compared} kernels were compared");
    }
}

/// The largest error in units of its bound; infinite where a number is none.
pub(crate) fn ratio(found: &[Vec<f64>], expected: &[Vec<f64>], bounds: &[Vec<Ball>]) -> f64 {
    let mut largest = 0.0;
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), expected.iter().map(Vec::len).collect::<Vec<_>>());
    for ((found, expected), bounds) in found.iter().zip(expected).zip(bounds) {
        assert!(found.len() == bounds.len() && !found.is_empty());
        for ((f, e), bound) in found.iter().zip(expected).zip(bounds) {
            let ratio = (f - e).abs() / bound.rad;
            largest = if ratio <= largest { largest } else { ratio };
        }
    }
    if largest.is_nan() { f64::INFINITY } else { largest }
}

/// One step of one member on the device, with all that the reference needs to do the same.
struct OnDevice {
    network: Network,
    weights: Vec<Vec<f64>>,
    gradients: Vec<Vec<f64>>,
    inputs: Vec<f64>,
    labels: Vec<u32>,
    samples: Vec<u32>,
    seed: u64,
    pass: u32,
}

impl OnDevice {
    fn masks(&self) -> Masks<'_> {
        Masks::Drawn { seed: self.seed, pass: self.pass, samples: &self.samples }
    }

    /// The reference's gradients at other weights, in another network or with other masks.
    fn reference(&self, network: &Network, weights: &[Vec<f64>], masks: &Masks) -> Vec<Vec<f64>> {
        reference::gradients(network, weights, &self.inputs, &self.labels, masks).unwrap()
    }

    /// The step in balls: its radii are the tolerance.
    fn balls(&self) -> Outcome {
        let weights: Vec<Vec<Ball>> = self.weights.iter().map(|w| w.iter().copied().map(Ball::exact).collect()).collect();
        let (inputs, labels) = (&self.inputs, &self.labels);
        balls::Step { network: &self.network, weights: &weights, inputs, targets: labels.into(), masks: self.masks() }.run()
    }
}

/// Runs `steps` on the device and hands over each of them for each member, from the weights that the device then had.
fn on_device(network: &Network, members: &[Member], (rows, batch): (u32, u32), f: &mut dyn FnMut(&Step, OnDevice)) {
    let (data, update) = (drive::random_data(rows, 13, 5, 8), members[0].optimizer.update());
    let plans = drive::plans(device().caps(), network, &data, batch, update, members.len() as u32);
    let mut executor = Executor::new(device(), plans).unwrap();
    drive::upload(&executor, &data, members);
    for work in drive::training(members, rows, batch, 4..6) {
        let read =
            |executor: &Executor, suffix: &str, m: usize| widen(&drive::parameters_of(executor, network, suffix, m as u32));
        let before: Vec<_> = (0..members.len()).map(|m| read(&executor, "", m)).collect();
        let submission = executor.submit(std::slice::from_ref(&work)).unwrap();
        executor.wait(submission).unwrap();
        for ((m, member), weights) in members.iter().enumerate().zip(before) {
            let (inputs, labels, samples) = batch_of(&data, &rows_of(&work.step, m, rows));
            let (seed, pass, network) = (member.seed, work.step.epoch, member.model.network().clone());
            let gradients = read(&executor, ".grad", m);
            f(&work.step, OnDevice { network, weights, gradients, inputs, labels, samples, seed, pass });
        }
    }
}

#[test]
fn gradients_on_the_device_are_those_of_the_reference() {
    for network in networks() {
        let mut compared = 0;
        on_device(&network, &members(&network, 2, SGD), (17, 7), &mut |step, run| {
            let balls = run.balls();
            assert!(balls.kink > 0.0, "a ReLU is undecided: {}", balls.kink);
            let want = run.reference(&run.network, &run.weights, &run.masks());
            let error = ratio(&run.gradients, &want, &balls.gradients);
            assert!(error <= 1.0, "{network:?}, epoch {}, position {}: {error} bounds", step.epoch, step.position);
            // The bounds belong to the same function: their midpoints are its value, to the precision of f64.
            let mids: Vec<Vec<f64>> = balls.gradients.iter().map(|g| g.iter().map(|ball| ball.mid).collect()).collect();
            assert!(ratio(&mids, &want, &balls.gradients) < 1e-6);
            println!("right gradient: {error} bounds");
            for (what, wrong) in wrong_gradients(&run) {
                let seen = ratio(&run.gradients, &wrong, &balls.gradients);
                println!("  {what}: {seen} bounds");
                assert!(seen >= 10.0, "{what}: only {seen} bounds, where the right gradient has {error}");
            }
            compared += 1;
        });
        assert_eq!(compared, 2 * 3 * 2, "two epochs of three batches for two members");
    }
}

/// What a wrong plan would compute: each has to lie far outside the bounds.
fn wrong_gradients(run: &OnDevice) -> Vec<(String, Vec<Vec<f64>>)> {
    let next_pass = Masks::Drawn { seed: run.seed, pass: run.pass + 1, samples: &run.samples };
    let mut wrong = vec![("the next pass".to_owned(), run.reference(&run.network, &run.weights, &next_pass))];
    let mut permuted = run.samples.clone();
    permuted.rotate_left(1);
    let other_samples = Masks::Drawn { seed: run.seed, pass: run.pass, samples: &permuted };
    wrong.push(("the samples of other rows".into(), run.reference(&run.network, &run.weights, &other_samples)));
    for (t, parameter) in run.network.parameters().unwrap().iter().enumerate().filter(|(t, _)| t % 2 == 0) {
        let (units, inputs) = (parameter.shape[0] as usize, parameter.shape[1] as usize);
        let mut weights = run.weights.clone();
        weights[t] = (0..units * inputs).map(|i| run.weights[t][i % units * inputs + i / units]).collect();
        wrong.push((format!("{} transposed", parameter.name), run.reference(&run.network, &weights, &run.masks())));
    }
    for (i, layer) in run.network.layers.iter().enumerate() {
        let Layer::Dropout(dropout) = layer else { continue };
        let keeps_all = dropout.keep.get() == 1.0;
        if !keeps_all {
            let mut network = run.network.clone();
            network.layers[i] = self::dropout(1.0);
            let gradients = run.reference(&pinned(&run.network, &network), &run.weights, &run.masks());
            wrong.push((format!("no mask in layer {i}"), gradients));
        }
        if !keeps_all && run.network.layers[..i].iter().any(|layer| matches!(layer, Layer::Dense(_))) {
            wrong.push((format!("no mask in the backward pass of layer {i}"), without_backward_mask(run, i)));
        }
    }
    wrong
}

/// `network` with the sites that the layers of `original` have, written out.
fn pinned(original: &Network, network: &Network) -> Network {
    let mut network = network.clone();
    for (layer, site) in network.layers.iter_mut().zip(original.sites().unwrap()) {
        if let Layer::Dropout(dropout) = layer {
            dropout.site = site;
        }
    }
    network
}

/// The gradients of a plan that forgets the backward kernel of dropout layer `i`, put together from those of the layers
/// above it and of the layers below it.
fn without_backward_mask(run: &OnDevice, i: usize) -> Vec<Vec<f64>> {
    let whole = pinned(&run.network, &run.network);
    let shapes = whole.shapes().unwrap();
    let part = |layers: &[Layer], input: usize| Network { layers: layers.to_vec(), ..Network::new(shapes[input].0[0]) };
    let below = part(&whole.layers[..i], 0);
    let split = below.parameters().unwrap().len();
    let outputs = reference::forward(&whole, &run.weights, &run.inputs, &run.masks()).unwrap();
    let logits = outputs.last().unwrap();
    let classes = logits.len() / run.labels.len();
    let mut dlogits = Vec::new();
    for (z, &label) in logits.chunks(classes).zip(&run.labels) {
        let sum: f64 = z.iter().map(|z| z.exp()).sum();
        let wanted = |c: usize| if c == label as usize { 1.0 } else { 0.0 };
        dlogits.extend((0..classes).map(|c| (z[c].exp() / sum - wanted(c)) / run.labels.len() as f64));
    }
    // A network needs a dense layer, so dropout behind the last one has its gradient unmasked by hand: it is `dlogits`.
    let (above_gradients, upstream) = if whole.layers[i + 1..].iter().any(|layer| matches!(layer, Layer::Dense(_))) {
        let above = part(&whole.layers[i + 1..], i + 1);
        reference::backward(&above, &run.weights[split..], &outputs[i], &dlogits, &run.masks()).unwrap()
    } else {
        (Vec::new(), dlogits)
    };
    let masks = run.masks();
    let (mut gradients, _) = reference::backward(&below, &run.weights[..split], &run.inputs, &upstream, &masks).unwrap();
    gradients.extend(above_gradients);
    gradients
}

/// Central differences with step h err by c h^2 + O(h^4), so the values at h and h / 2 tell c; rounding errs by about
/// 2^-52 loss / h.
#[test]
fn gradients_on_the_device_are_finite_differences_with_dropout_on() {
    let step = 1e-5;
    for network in networks() {
        let mut compared = 0;
        on_device(&network, &members(&network, 1, ADAM), (9, 5), &mut |_, run| {
            let balls = run.balls();
            // A pre-activation moves by the step times an input, or times a few weights on the way from a layer below.
            assert!(balls.kink > 30.0 * step, "a ReLU is at its kink: {}", balls.kink);
            let numeric = |h| {
                let (weights, inputs, labels) = (&run.weights, &run.inputs, &run.labels);
                reference::numeric_gradients(&run.network, weights, inputs, labels, &run.masks(), h).unwrap()
            };
            let (coarse, fine) = (numeric(step), numeric(step / 2.0));
            let mut bounds = balls.gradients.clone();
            for ((bounds, coarse), fine) in bounds.iter_mut().zip(&coarse).zip(&fine) {
                for ((bound, c), f) in bounds.iter_mut().zip(coarse).zip(fine) {
                    bound.rad += (c - f).abs() + 100.0 * f64::EPSILON / step;
                }
            }
            let error = ratio(&run.gradients, &fine, &bounds);
            assert!(error <= 1.0, "{network:?}: {error} bounds");
            let next_pass = Masks::Drawn { seed: run.seed, pass: run.pass + 1, samples: &run.samples };
            let wrong = run.reference(&run.network, &run.weights, &next_pass);
            let seen = ratio(&wrong, &fine, &bounds);
            println!("right gradient: {error} bounds, of the next pass: {seen}");
            assert!(seen >= 10.0, "the bounds admit the masks of the next pass");
            compared += 1;
        });
        assert_eq!(compared, 2 * 2);
    }
}
