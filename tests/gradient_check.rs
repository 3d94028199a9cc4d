//! The table of gradient checks, and that it can fail.

use thinnet::gradient_check::{Case, Numbers, cases, check};
use thinnet::network::Layer;
use thinnet::{Conv2d, Dense, Model, Network};

use crate::common::device;

#[test]
fn every_layer_and_every_variant_has_the_right_gradients() {
    let table = check(device(), 1).unwrap();
    println!("{table}");
    assert_eq!(table.0.len(), cases().len());
    assert!(table.0.iter().all(|row| row.passed()), "{table}");
}

/// The bound must not admit the masks of another seed, nor weights that are off by 1 %.
#[test]
fn wrong_masks_and_weights_are_far_outside_the_bound() {
    for case in cases() {
        let right = Numbers::new(&case, 2).unwrap();
        let exact = right.gradients().unwrap();
        assert_eq!(right.bounds(&exact).unwrap(), 0.0);
        // A mask of one unit for the whole batch may be the same at another seed, but not at each of twenty.
        let others = (1..=20).map(|seed| Numbers { seed: right.seed + seed, ..right.clone() }.gradients().unwrap());
        let masks = others.map(|wrong| right.bounds(&wrong).unwrap()).fold(0.0, f64::max);
        let mut weights = right.model.weights().to_vec();
        weights[0].iter_mut().for_each(|weight| *weight *= 1.01);
        let moved = Numbers { model: Model::new(case.network.clone(), weights).unwrap(), ..right.clone() };
        let weight = right.bounds(&moved.gradients().unwrap()).unwrap();
        println!("{}: masks {masks:.0} bounds, weights {weight:.1} bounds", case.name);
        let drops = case.network != case.network.without_dropout();
        assert!(weight > 5.0 && (masks > 100.0) == drops, "{}: masks {masks}, weight {weight}", case.name);
    }
}

/// What is not a number, or missing, is outside every bound.
#[test]
fn gradients_that_are_no_numbers_fail() {
    let right = Numbers::new(&cases()[0], 3).unwrap();
    let mut broken = right.gradients().unwrap();
    assert_eq!(right.bounds(&broken[..1]).unwrap(), f64::INFINITY);
    broken[2][1] = f64::NAN;
    assert_eq!(right.bounds(&broken).unwrap(), f64::INFINITY);
}

/// Three convolutions of 512 maps of 28 x 28 unfold to more than a plan keeps for the backward pass, so one is unfolded again there, over
/// the others' gradients.
#[test]
fn maps_that_are_unfolded_again_have_the_right_gradients() {
    let network = Network::new([1, 28, 28])
        .conv2d(Conv2d::new(4, 3).padding(1))
        .conv2d(Conv2d::new(4, 3).padding(1))
        .conv2d(Conv2d::new(2, 3).padding(1))
        .layer(Layer::Flatten)
        .dense(Dense::new(3));
    let numbers = Numbers::new(&Case { name: "large maps".into(), network, rows: 512 }, 1).unwrap();
    let bounds = numbers.bounds(&numbers.on_device(device()).unwrap()).unwrap();
    assert!(bounds <= 1.0, "{bounds}");
}
