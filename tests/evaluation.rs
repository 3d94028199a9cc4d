//! Evaluation never draws a mask, and what a plan leaves out.

use thinnet::executor::Executor;
use thinnet::network::{Layer, Network};
use thinnet::plan::{Caps, Mode, Options, Plans, Update};
use thinnet::reference::{self, Masks};
use thinnet::step::Section;
use thinnet::{Dense, KeepProb, Model};

use crate::balls::{self, Ball};
use crate::common::{device, numbers};
use crate::drive::{self, EVAL, Member, batch_of, batch_targets, widen};
use crate::gradients::{Case, SGD, members, mixed, networks, ratio};

mod again;
mod maps;

#[test]
fn evaluation_agrees_with_the_reference_without_masks() {
    for network in networks() {
        check_evaluation(&(network.clone(), false), &members(&network, 2, SGD));
    }
}

/// Vanilla dropout multiplies by keep_prob; the rate is the plan's, so the members share it.
#[test]
fn evaluation_through_everything_agrees_with_the_reference_without_masks() {
    for case in mixed() {
        let members = [5, 11].map(|seed| Member::new(&case.0, seed, SGD[0]));
        check_evaluation(&case, &members);
    }
}

fn check_evaluation((network, soft): &Case, members: &[Member]) {
    let (rows, batch, mut decided) = (17, 7, 0);
    let data = drive::data_for(network, rows, *soft, 21);
    let plans = drive::plans(device().caps(), network, &data, batch, members[0].optimizer.update(), 2);
    let mut executor = Executor::new(device(), plans).unwrap();
    drive::upload(&executor, &data, members);
    for work in drive::evaluation(members, rows, batch) {
        let submission = executor.submit(std::slice::from_ref(&work)).unwrap();
        executor.wait(submission).unwrap();
        let first = work.step.position;
        let rows = (first..first + work.step.rows).collect::<Vec<_>>();
        let ((inputs, _, samples), targets) = (batch_of(&data, &rows), batch_targets(network, &data, &rows));
        for (m, member) in members.iter().enumerate() {
            let weights = widen(member.model.weights());
            let exact: Vec<Vec<Ball>> = weights.iter().map(|w| w.iter().copied().map(Ball::exact).collect()).collect();
            let (network, inputs, targets) = (member.model.network(), &inputs, targets.get());
            let balls = balls::Step { network, weights: &exact, inputs, targets, masks: Masks::None }.run();
            let losses = |masks| vec![reference::row_losses(network, &weights, inputs, targets, &masks).unwrap()];
            let read = |name| executor.read(executor.plans().plans[EVAL].tensor(name), m as u32).unwrap();
            let bits = &read("batch.loss")[..rows.len()];
            let found = [bits.iter().map(|&bits| f64::from(f32::from_bits(bits))).collect()];
            let bounds = std::slice::from_ref(&balls.losses);
            let error = ratio(&found, &losses(Masks::None), bounds);
            assert!(error <= 1.0, "{network:?}: {error} bounds");
            let drawn = Masks::Drawn { seed: member.seed, pass: 0, update: 0, samples: &samples };
            assert!(ratio(&found, &losses(drawn), bounds) >= 10.0, "the bounds admit dropout");
            if network.has_vanilla_dropout() {
                let unscaled = network.without_dropout();
                let losses = vec![reference::row_losses(&unscaled, &weights, inputs, targets, &Masks::None).unwrap()];
                assert!(ratio(&found, &losses, bounds) >= 10.0, "the bounds admit units that are not scaled");
            }
            let hits: u32 = read("batch.correct")[..rows.len()].iter().sum();
            let (least, most) = balls.hits;
            assert!((least..=most).contains(&hits), "{hits} hits, the reference has {least} to {most}");
            decided += usize::from(least == most);
        }
    }
    assert!(decided > 4, "hits of only {decided} of 6 batches are certain");
}

#[test]
fn logits_of_thousands_have_the_losses_of_the_reference() {
    let data = drive::random_data(17, 13, 5, 2);
    let network = Network::new(13).dense(Dense::new(5));
    let weights = vec![numbers(65, 1).into_iter().map(|w| 2000.0 * w).collect(), numbers(5, 2)];
    let model = Model::new(network.clone(), weights).unwrap();
    let (inputs, labels, _) = batch_of(&data, &(0..17).collect::<Vec<_>>());
    let weights: Vec<Vec<Ball>> = widen(model.weights()).into_iter().map(|w| w.into_iter().map(Ball::exact).collect()).collect();
    let (inputs, labels) = (&inputs, &labels);
    let balls = balls::Step { network: &network, weights: &weights, inputs, targets: labels.into(), masks: Masks::None }.run();
    let spread = |z: &[Ball]| z.iter().fold(0.0, |a: f64, z| a.max(z.mid)) - z.iter().fold(0.0, |a: f64, z| a.min(z.mid));
    assert!(balls.logits.chunks(5).any(|z| spread(z) > 2000.0), "e^z would not overflow");
    let expected = reference::loss(&network, &widen(model.weights()), inputs, labels, &Masks::None).unwrap();
    let bound = balls::sum(balls.losses.iter().copied()).rad / 17.0;
    let found = model.evaluate(device(), &data).unwrap();
    assert!((found.loss - expected).abs() <= bound, "{found:?}, the reference has {expected} +- {bound}");
    assert!(bound < 1e-3 * expected, "the bound says nothing: {bound}");
}

/// The sites that kernels with such names draw masks of in the forward pass.
fn drawn(kernels: &[(&str, Option<usize>)]) -> Vec<usize> {
    kernels.iter().filter(|(name, _)| !name.contains("backward")).filter_map(|(_, site)| *site).collect()
}

/// The names of a plan's kernels, with the site that each draws a mask of, and the sites.
fn kernels_of(network: &Network, mode: Mode, variable_rates: bool) -> (Vec<(&'static str, Option<usize>)>, Vec<u32>) {
    let mut plans = Plans::new(Caps::baseline());
    let data = drive::random_data(17, 13, 5, 1);
    let options = Options { variable_rates, ..drive::options("plan", mode, &data, 7, 1) };
    plans.add(network, options).unwrap();
    let site = |section| match section {
        Section::Site(site) => Some(site),
        _ => None,
    };
    let kernels = plans.plans[0].kernels.iter();
    let names = kernels.map(|kernel| (kernel.entry().name, kernel.sections().into_iter().find_map(site))).collect();
    (names, plans.plans[0].sites.iter().map(|site| site.site).collect())
}

#[test]
fn dropout_and_the_optimizer_are_absent_from_an_evaluation_plan() {
    for network in networks() {
        for variable_rates in [false, true] {
            let (names, sites) = kernels_of(&network, Mode::Eval, variable_rates);
            assert!(names.contains(&("dense_forward", None)) && names.contains(&("cross_entropy_forward", None)), "{names:?}");
            let absent = ["dropout", "adam", "sgd", "backward", "update"];
            assert!(!names.iter().any(|(name, _)| absent.iter().any(|part| name.contains(part))), "{names:?}");
            assert!(names.iter().all(|(_, site)| site.is_none()) && sites.is_empty());
        }
    }
}

#[test]
fn a_site_at_keep_prob_1_has_no_kernel_and_moves_no_other_site() {
    for network in networks() {
        let all: Vec<u32> = network.sites().unwrap().into_iter().flatten().collect();
        let (names, sites) = kernels_of(&network, Mode::Train(Update::Adam.into()), false);
        assert_eq!((drawn(&names), &sites), ((0..all.len()).collect(), &all));

        let (names, sites) = kernels_of(&network.without_dropout(), Mode::Train(Update::Adam.into()), false);
        assert!(names.contains(&("adam", None)) && drawn(&names).is_empty() && sites.is_empty(), "{names:?}");
        // Rates that may change keep their kernels whatever they are now.
        let (names, sites) = kernels_of(&network.without_dropout(), Mode::Train(Update::Adam.into()), true);
        assert_eq!((drawn(&names), &sites), ((0..all.len()).collect(), &all));

        let mut first = network.clone();
        let layer = first.layers.iter_mut().find_map(|layer| match layer {
            Layer::Dropout(dropout) => Some(dropout),
            _ => None,
        });
        layer.unwrap().keep = KeepProb::new(1.0).unwrap();
        let (names, sites) = kernels_of(&first, Mode::Train(Update::Sgd.into()), false);
        assert_eq!((drawn(&names), &sites[..]), ((0..all.len() - 1).collect(), &all[1..]));
    }
}
