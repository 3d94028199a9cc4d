//! The wiring of a plan: every kernel against its twin in place, whole gradients against the reference, with dropout on.

use std::collections::BTreeMap;

use thinnet::Device;
use thinnet::executor::Executor;
use thinnet::network::Network;
use thinnet::reference::{self, Masks};
use thinnet::step::Step;
use thinnet::{Activation, Dense, Dropout};

use crate::balls::{self, Ball, Outcome};
use crate::common::device;
use crate::drive::{self, BatchTargets, Member, batch_of, batch_targets, rows_of, widen};

mod families;
mod in_place;
mod networks;
mod wrong;

pub(crate) use networks::{ADAM, Case, SGD, every_activation_and_loss, members, mixed, networks, thinned, thinned_members};
use wrong::wrong_gradients;

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
#[derive(Debug, Clone)]
struct OnDevice {
    network: Network,
    weights: Vec<Vec<f64>>,
    gradients: Vec<Vec<f64>>,
    inputs: Vec<f64>,
    targets: BatchTargets,
    samples: Vec<u32>,
    seed: u64,
    pass: u32,
    update: u32,
}

impl OnDevice {
    fn masks(&self) -> Masks<'_> {
        Masks::Drawn { seed: self.seed, pass: self.pass, update: self.update, samples: &self.samples }
    }

    /// The reference's gradients at other weights, in another network or with other masks.
    fn reference(&self, network: &Network, weights: &[Vec<f64>], masks: &Masks) -> Vec<Vec<f64>> {
        reference::gradients(network, weights, &self.inputs, self.targets.get(), masks).unwrap()
    }

    /// The step in balls: its radii are the tolerance.
    fn balls(&self) -> Outcome {
        let weights: Vec<Vec<Ball>> = self.weights.iter().map(|w| w.iter().copied().map(Ball::exact).collect()).collect();
        let (inputs, targets) = (&self.inputs, self.targets.get());
        balls::Step { network: &self.network, weights: &weights, inputs, targets, masks: self.masks() }.run()
    }
}

/// Runs steps on a device and hands over each of them for each member, from the weights that the device then had.
fn on_device(
    device: &Device,
    (network, soft): &Case,
    members: &[Member],
    (rows, batch): (u32, u32),
    f: &mut dyn FnMut(&Step, OnDevice),
) {
    let (data, update) = (drive::data_for(network, rows, *soft, 8), members[0].optimizer.update());
    let plans = drive::plans(device.caps(), network, &data, batch, update, members.len() as u32);
    let mut executor = Executor::new(device, plans).unwrap();
    drive::upload(&executor, &data, members);
    let batches = rows.div_ceil(batch);
    for work in drive::training(members, rows, batch, 4..6) {
        let read =
            |executor: &Executor, suffix: &str, m: usize| widen(&drive::parameters_of(executor, network, suffix, m as u32));
        let before: Vec<_> = (0..members.len()).map(|m| read(&executor, "", m)).collect();
        let submission = executor.submit(std::slice::from_ref(&work)).unwrap();
        executor.wait(submission).unwrap();
        for ((m, member), weights) in members.iter().enumerate().zip(before) {
            let rows = rows_of(&work.step, m, rows);
            let (inputs, _, samples) = batch_of(&data, &rows);
            let (seed, pass, network) = (member.seed, work.step.epoch, member.model.network().clone());
            let update = pass * batches + work.step.position / batch;
            let (targets, gradients) = (batch_targets(&network, &data, &rows), read(&executor, ".grad", m));
            f(&work.step, OnDevice { network, weights, gradients, inputs, targets, samples, seed, pass, update });
        }
    }
}

fn check_gradients(device: &Device, case: &Case, count: u64) {
    check_gradients_of(device, case, &members(&case.0, count, SGD));
}

fn check_gradients_of(device: &Device, case: &Case, members: &[Member]) {
    let (mut compared, mut seen) = (0, BTreeMap::new());
    on_device(device, case, members, (17, 7), &mut |step, run| {
        let balls = run.balls();
        assert!(balls.kink > 0.0, "{:?}: a rectifier is undecided: {}", run.network, balls.kink);
        let want = run.reference(&run.network, &run.weights, &run.masks());
        let error = ratio(&run.gradients, &want, &balls.gradients);
        assert!(error <= 1.0, "{:?}, epoch {}, position {}: {error} bounds", run.network, step.epoch, step.position);
        // The bounds belong to the same function: their midpoints are its value, to the precision of f64.
        let mids: Vec<Vec<f64>> = balls.gradients.iter().map(|g| g.iter().map(|ball| ball.mid).collect()).collect();
        assert!(ratio(&mids, &want, &balls.gradients) < 1e-6);
        println!("right gradient: {error} bounds");
        for (what, wrong) in wrong_gradients(&run) {
            let largest: &mut f64 = seen.entry((run.seed, what)).or_default();
            *largest = largest.max(ratio(&run.gradients, &wrong, &balls.gradients));
        }
        compared += 1;
    });
    // A plan that is wrong is wrong in every step, so one step that shows it is enough: of three rows, a unit may be 0 in all.
    for ((seed, what), seen) in seen {
        println!("  {what}: {seen} bounds");
        assert!(seen >= 10.0, "{:?}, seed {seed}, {what}: only {seen} bounds", case.0);
    }
    assert_eq!(compared, 2 * 3 * members.len(), "two epochs of three batches");
}

#[test]
fn gradients_of_thinned_networks_are_those_of_the_reference() {
    for case in thinned() {
        for count in [1, 2] {
            check_gradients_of(device(), &case, &thinned_members(&case.0, count));
        }
    }
}

#[test]
fn a_batch_that_keeps_no_unit_has_no_gradient_below_it() {
    let dense = |units| Dense::new(units).activation(Activation::Tanh);
    let none = Dropout::units(0.0).unwrap();
    let network = Network::new(13).dense(dense(9)).dropout(none).dense(dense(6)).dense(Dense::new(5));
    let mut steps = 0;
    on_device(device(), &(network.clone(), false), &thinned_members(&network, 2), (17, 7), &mut |_, run| {
        let want = run.reference(&run.network, &run.weights, &run.masks());
        assert!(ratio(&run.gradients, &want, &run.balls().gradients) <= 1.0);
        assert!(run.gradients[..3].iter().flatten().all(|&g| g == 0.0) && run.gradients[3].iter().any(|&g| g != 0.0));
        steps += 1;
    });
    assert_eq!(steps, 12);
}

#[test]
fn gradients_on_the_device_are_those_of_the_reference() {
    for network in networks() {
        check_gradients(device(), &(network, false), 2);
    }
}

#[test]
fn gradients_through_every_activation_and_loss_are_those_of_the_reference() {
    for (i, case) in every_activation_and_loss().iter().enumerate() {
        check_gradients(device(), case, 1 + i as u64 % 2);
    }
}

#[test]
fn gradients_through_everything_at_once_are_those_of_the_reference() {
    for case in mixed() {
        check_gradients(device(), &case, 2);
    }
}

/// Central differences with step h err by c h^2 + O(h^4), so the values at h and h / 2 tell c; rounding errs by about
/// 2^-52 loss / h.
#[test]
fn gradients_on_the_device_are_finite_differences_with_dropout_on() {
    let step = 1e-5;
    for case in networks().map(|network| (network, false)).into_iter().chain(mixed()) {
        let mut compared = 0;
        on_device(device(), &case, &members(&case.0, 1, ADAM), (9, 5), &mut |_, run| {
            let balls = run.balls();
            // A pre-activation moves by the step times an input, or times a few weights on the way from a layer below.
            assert!(balls.kink > 30.0 * step, "a rectifier is at its kink: {}", balls.kink);
            let numeric = |h| {
                let (weights, inputs, targets) = (&run.weights, &run.inputs, run.targets.get());
                reference::numeric_gradients(&run.network, weights, inputs, targets, &run.masks(), h).unwrap()
            };
            let (coarse, fine) = (numeric(step), numeric(step / 2.0));
            let mut bounds = balls.gradients.clone();
            for ((bounds, coarse), fine) in bounds.iter_mut().zip(&coarse).zip(&fine) {
                for ((bound, c), f) in bounds.iter_mut().zip(coarse).zip(fine) {
                    bound.rad += (c - f).abs() + 100.0 * f64::EPSILON / step;
                }
            }
            let error = ratio(&run.gradients, &fine, &bounds);
            assert!(error <= 1.0, "{:?}: {error} bounds", run.network);
            let next_pass = Masks::Drawn { seed: run.seed, pass: run.pass + 1, update: run.update + 1, samples: &run.samples };
            let wrong = run.reference(&run.network, &run.weights, &next_pass);
            let seen = ratio(&wrong, &fine, &bounds);
            println!("right gradient: {error} bounds, of the next pass: {seen}");
            assert!(seen >= 10.0, "the bounds admit the masks of the next pass");
            compared += 1;
        });
        assert_eq!(compared, 2 * 2);
    }
}
