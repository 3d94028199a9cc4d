//! Draws of a network whose only site is in front of its last layer: software adapters have one kernel for all that a draw computes.

use thinnet::kernels::matmul::Matmul;
use thinnet::mask_rule::MaskRule;
use thinnet::monte_carlo::MonteCarlo;
use thinnet::network::Noise;
use thinnet::plan::{Caps, Draws, Mode, Options, Plans, Source};
use thinnet::{Activation, Dense, Dropout, Network};

use super::{all_samplings, inputs, loud};
use crate::common::device;

/// Dropout, and a layer of so many outputs behind it.
fn last(inputs: u32, outputs: u32) -> Network {
    Network::new(inputs).dropout(Dropout::keep(0.5).unwrap()).dense(Dense::new(outputs))
}

/// The kernels of a draw of one of these on a device with 8 lanes, or of the plain family.
fn kernels(network: &Network, mode: Mode, matmul: Matmul, byte_scale: Option<f32>) -> Vec<&'static str> {
    let source = Source { name: "data".into(), rows: 20, byte_scale, labelled: false, window: None };
    let options = Options {
        name: "draws".into(),
        mode,
        batch: 20,
        members: 1,
        source,
        variable_rates: false,
        store_output: false,
        store_gradient: false,
    };
    let mut plans = Plans::new(Caps { matmul, ..Caps::baseline() });
    plans.add(network, options).unwrap();
    plans.plans[0].kernels.iter().map(|kernel| kernel.entry().name).collect()
}

#[test]
fn one_kernel_drops_and_multiplies_where_the_layer_is_narrow() {
    let drawn = Mode::MonteCarlo(Draws { rule: MaskRule::Draw, shared: false, kept: 0, gaussian_weights: false });
    let eight = Matmul::Shuffle { lanes: 8 };
    let fused = |network: &Network, mode, matmul, byte_scale| {
        let names = kernels(network, mode, matmul, byte_scale);
        let one = names.contains(&"dense_of_dropped");
        assert_ne!(one, names.iter().any(|name| name.starts_with("gather") || name.starts_with("dense_forward")), "{names:?}");
        one
    };
    assert!(fused(&last(100, 10), drawn, eight, None));
    assert!(fused(&last(100, 32), drawn, eight, None));
    assert!(!fused(&last(100, 33), drawn, eight, None), "a second workgroup would drop the same inputs again");
    assert!(!fused(&last(100, 10), drawn, Matmul::Plain, None));
    assert!(!fused(&last(100, 10), drawn, eight, Some(1.0)), "bytes are scaled by the gather kernel");
    assert!(!fused(&last(100, 10), Mode::Eval, eight, None), "an evaluation drops nothing");
    let with = |network: Network| fused(&network, drawn, eight, None);
    let dropout = |dropout: Dropout| Network::new(100).dropout(dropout).dense(Dense::new(10));
    assert!(!with(dropout(Dropout::keep(0.5).unwrap().noise(Noise::Gaussian))));
    assert!(!with(Network::new(100).dropout(Dropout::keep(0.5).unwrap()).dense(Dense::new(10).activation(Activation::Tanh))));
    assert!(!with(last(100, 10).dense(Dense::new(3))));
}

/// The same masks, so the same answers but for the order of sums: on the device's own kernels and on the plain ones.
#[test]
fn its_draws_are_those_of_the_plain_kernels() {
    let plain = device().clone().with_matmul(Matmul::Plain).unwrap();
    for (hidden, outputs) in [(70, 10), (33, 3)] {
        let network = Network::new(5).dense(Dense::new(hidden).activation(Activation::Relu));
        let network = network.dropout(Dropout::keep(0.7).unwrap()).dense(Dense::new(outputs));
        let (model, inputs) = (loud(&network, 1.0), inputs(23, 5));
        for options in all_samplings().into_iter().filter(|options| !options.one_network) {
            let drawn = |device, seed| model.monte_carlo(device, &inputs, &MonteCarlo { seed, ..options.clone() }).unwrap();
            let (own, other) = (drawn(device(), 5), drawn(&plain, 5));
            let far = |a: &thinnet::Outputs, b: &thinnet::Outputs| {
                a.values().iter().zip(b.values()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
            };
            assert!(far(&own.mean(), &other.mean()) < 1e-5 && far(&own.std(), &other.std()) < 1e-4, "{options:?}");
            assert!(far(&own.mean(), &drawn(&plain, 6).mean()) > 1e-2, "another seed draws other masks");
        }
    }
}
