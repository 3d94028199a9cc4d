//! Whole gradients by every family of matrix products, against the reference.

use thinnet::kernels::matmul::Matmul;
use thinnet::plan::{Mode, Options, Plans, Update};
use thinnet::reference::Masks;
use thinnet::{Activation, Dense, Device, Dropout, Error, Network, Optimizer, TrainOptions, Trainer};

use super::{SGD, check_gradients, members, mixed, networks, on_device, ratio};
use crate::common::device;
use crate::drive;

/// The device with each of the families it can run.
fn families() -> Vec<Device> {
    let own = device().caps().matmul;
    let all =
        [Matmul::Plain, Matmul::Tile].into_iter().chain([own].into_iter().filter(|own| matches!(own, Matmul::Shuffle { .. })));
    all.map(|matmul| device().clone().with_matmul(matmul).unwrap()).collect()
}

#[test]
fn gradients_of_every_family_are_those_of_the_reference() {
    let own = device().caps().matmul;
    for device in families().into_iter().filter(|device| device.caps().matmul != own) {
        let cases: Vec<_> = networks().map(|network| (network, false)).into_iter().chain(mixed()).collect();
        cases.iter().for_each(|case| check_gradients(&device, case, 2));
    }
}

/// Of a batch so large that the tile family sums the gradients of weights in parts, most of which the last batch leaves empty.
#[test]
fn gradients_summed_in_parts_are_those_of_the_reference() {
    let dropout = || Dropout::keep(0.7).unwrap();
    let network = Network::new(13)
        .dropout(dropout())
        .dense(Dense::new(19).activation(Activation::Tanh))
        .dropout(dropout())
        .dense(Dense::new(5));
    let (rows, batch) = (1200, 1030);
    for device in families() {
        let (matmul, mut compared) = (device.caps().matmul, 0);
        assert_eq!(kernels(&device, &network, batch, true).contains(&"sum_splits"), matmul == Matmul::Tile, "{matmul}");
        on_device(&device, &(network.clone(), false), &members(&network, 2, SGD), (rows, batch), &mut |step, run| {
            let bounds = run.balls().gradients;
            let error = |masks: &Masks| ratio(&run.gradients, &run.reference(&run.network, &run.weights, masks), &bounds);
            let right = error(&run.masks());
            assert!(right <= 1.0, "{matmul}, position {}: {right} bounds", step.position);
            let next_pass = Masks::Drawn { seed: run.seed, pass: run.pass + 1, update: run.update + 1, samples: &run.samples };
            assert!(error(&next_pass) >= 10.0, "{matmul}: the bounds admit the masks of the next pass");
            compared += 1;
        });
        assert_eq!(compared, 2 * 2 * 2, "two epochs of two batches of two members");
    }
}

/// Parts lie in a buffer that all layers share. What another layer has left there between W and b is no part of the gradient's norm,
/// by which every step here is shortened, and a training that goes on, where that is 0, comes to the same bits.
#[test]
fn the_norm_of_a_gradient_summed_in_parts_is_that_of_the_parameters() {
    let network = Network::new(20).dense(Dense::new(30).activation(Activation::Tanh)).dense(Dense::new(9));
    let data = drive::data_for(&network, 1200, false, 8);
    let options = TrainOptions { batch: 600, optimizer: Optimizer::sgd(1.0), clip_norm: Some(0.05), ..Default::default() };
    let trained = |matmul| {
        let device = device().clone().with_matmul(matmul).unwrap();
        assert_eq!(kernels(&device, &network, 600, false).contains(&"sum_splits"), matmul == Matmul::Tile, "{matmul}");
        let mut trainer = Trainer::new(&device, &network, &data, options.clone()).unwrap();
        trainer.fit(1).unwrap();
        let mut resumed = Trainer::resume(&device, &trainer.checkpoint().unwrap(), &data).unwrap();
        trainer.fit(2).unwrap();
        resumed.fit(2).unwrap();
        let model = trainer.model().unwrap();
        assert!(model == resumed.model().unwrap(), "{matmul}: a training that went on has other weights");
        model
    };
    let (parts, whole) = (trained(Matmul::Tile), trained(Matmul::Plain));
    for (a, b) in parts.weights().iter().flatten().zip(whole.weights().iter().flatten()) {
        assert!((a - b).abs() < 1e-6, "{a} and {b}");
    }
}

/// The kernels of a training plan.
fn kernels(device: &Device, network: &Network, batch: u32, store_gradient: bool) -> Vec<&'static str> {
    let data = drive::data_for(network, 20, false, 8);
    let options = Options { store_gradient, ..drive::options("train", Mode::Train(Update::Sgd.into()), &data, batch, 1) };
    let mut plans = Plans::new(device.caps());
    let plan = plans.add(network, options).unwrap();
    plans.plans[plan].kernels.iter().map(|kernel| kernel.entry().name).collect()
}

/// A sum in parts is not updated from as it is made.
#[test]
fn weights_are_updated_at_once_where_their_gradient_is_summed_in_one_piece() {
    let tile = device().clone().with_matmul(Matmul::Tile).unwrap();
    let network = Network::new(13).dense(Dense::new(19)).dense(Dense::new(5));
    let small = kernels(&tile, &network, 511, false);
    assert!(small.contains(&"dense_update_tile") && !small.contains(&"sgd") && !small.contains(&"sum_splits"), "{small:?}");
    let large = kernels(&tile, &network, 512, false);
    assert!(!large.contains(&"dense_update_tile") && large.contains(&"sgd") && large.contains(&"sum_splits"), "{large:?}");
}

#[test]
fn a_family_that_the_device_cannot_run_is_refused() {
    let own = device().caps().matmul;
    let lanes = if own == (Matmul::Shuffle { lanes: 16 }) { 8 } else { 16 };
    let refused = |device: &Device, lanes: u32| device.clone().with_matmul(Matmul::Shuffle { lanes }).unwrap_err();
    for (device, lanes) in [(device(), lanes), (device(), 5), (&Device::cpu(), 8)] {
        let error = refused(device, lanes);
        assert!(matches!(error, Error::Option { option: "matmul", .. }), "{error}");
        let text = error.to_string();
        let caps = device.caps();
        for part in [&format!("shuffle of {lanes} lanes"), &caps.adapter, &caps.matmul.to_string(), "subgroups", "tile"] {
            assert!(text.contains(part), "{part:?} is not in: {text}");
        }
    }
    // Whatever was forced before, a device's own family is one that it can run.
    let back = device().clone().with_matmul(Matmul::Plain).unwrap().with_matmul(own).unwrap();
    assert_eq!((back.caps(), device().caps().matmul), (device().caps(), own));
}
