//! What a call plans: its memory, and what it computes once.

use super::*;
use crate::network::{Activation, Conv2d, Dense, Dropout, Loss, Unit};

/// Words of all buffers of a call.
fn words(network: &Network, rows: u32, options: &MonteCarlo) -> u64 {
    let inputs = Inputs::from_f32(20, vec![0.5; 20 * rows as usize]).unwrap();
    let model = Model::initial(network, 1).unwrap();
    let ensemble = Ensemble::new(&model, &Device::cpu(), &inputs, options).map(|ensemble| {
        let chunk = ensemble.chunk(0..rows, ensemble.kept().unwrap()).unwrap();
        chunk.executor.plans().buffers.iter().map(|buffer| u64::from(buffer.words)).sum()
    });
    ensemble.unwrap()
}

#[test]
fn more_draws_take_no_more_memory() {
    let network = Network::new(20).dropout(Dropout::keep(0.8).unwrap()).dense(Dense::new(4096)).dense(Dense::new(3));
    let draws = |draws| MonteCarlo { draws, ..MonteCarlo::default() };
    let narrow = Network::new(20).dropout(Dropout::keep(0.8).unwrap()).dense(Dense::new(60)).dense(Dense::new(3));
    for (network, rows) in [(&network, 1000), (&network, 100), (&narrow, 1000), (&narrow, 41)] {
        assert_eq!(words(network, rows, &draws(100)), words(network, rows, &draws(100_000)), "{rows} rows");
    }
    // A few rows take a batch of all their draws, up to the rows of a batch.
    let few = [100, 1000, 100_000].map(|n| words(&network, 1, &draws(n)));
    assert!(few[0] < few[1] && few[1] < few[2] && few[2] < 2 * words(&network, 1000, &draws(100)), "{few:?}");
    // Every single draw is stored where it is asked for, and for the quantiles of a regression while that is little.
    let kept = MonteCarlo { keep_draws: true, ..draws(1000) };
    assert_eq!(words(&network, 100, &kept) - words(&network, 100, &draws(1000)), (1000 * 100 * 4u64).next_multiple_of(64));
    let regression = network.loss(Loss::MeanSquaredError);
    let [small, large] = [100, 100_000].map(|n| words(&regression, 100, &draws(n)));
    assert!(small - large == (100 * 100 * 3u64).next_multiple_of(64), "100,000 draws take more than 64 MiB and are not stored");
}

#[test]
fn what_lies_before_the_first_site_that_drops_is_not_drawn() {
    let dropout = |keep| Dropout::keep(keep).unwrap();
    let network = Network::new(20).dropout(dropout(1.0)).dense(Dense::new(9)).dense(Dense::new(7)).dropout(dropout(0.5));
    let network = network.dense(Dense::new(3));
    let inputs = Inputs::from_f32(20, vec![0.5; 40]).unwrap();
    let (model, options) = (Model::initial(&network, 1).unwrap(), MonteCarlo::default());
    let device = Device::cpu();
    let ensemble = Ensemble::new(&model, &device, &inputs, &options).unwrap();
    let names = |kernels: &[Box<dyn crate::kernels::Kernel>]| kernels.iter().map(|k| k.entry().name).collect::<Vec<_>>();
    let chunk = ensemble.chunk(0..2, 0).unwrap();
    let kernels = names(&chunk.executor.plans().plans[0].kernels);
    assert_eq!(kernels, ["draw_rows", "gather_f32", "dense_forward", "draw_outputs", "merge_draws"]);
    // The site keeps the number that it has in the whole network.
    assert_eq!(chunk.executor.plans().plans[0].sites[0].site, 1);
}

/// LeNet with dropout of channels and of features.
fn lenet(first: f64) -> Network {
    let dropout = |keep, unit| Dropout::keep(keep).unwrap().unit(unit);
    let conv = |channels| Conv2d::new(channels, 5).activation(Activation::Relu);
    let maps = Network::new([1, 28, 28]).conv2d(conv(20)).dropout(dropout(first, Unit::Spatial2d)).max_pool(2);
    let maps = maps.conv2d(conv(50)).max_pool(2).layer(Layer::Flatten).dropout(dropout(0.5, Unit::Element));
    maps.dense(Dense::new(500).activation(Activation::Relu)).dense(Dense::new(10))
}

#[test]
fn a_batch_of_maps_has_as_many_rows_as_their_windows_leave_room_for() {
    let device = Device::cpu();
    let (options, inputs) = (MonteCarlo::default(), Inputs::from_f32(784, vec![0.5; 784 * 200]).unwrap());
    for (first, input, site) in [(0.9, 20 * 24 * 24, 0), (1.0, 50 * 4 * 4, 1)] {
        let model = Model::initial(&lenet(first), 1).unwrap();
        let ensemble = Ensemble::new(&model, &device, &inputs.slice(0..2).unwrap(), &options).unwrap();
        // What lies in front of the first site that drops is computed once, in rows of planar maps.
        assert_eq!(ensemble.inputs.columns(), input);
        let [rows, draws] = ensemble.tile(200).unwrap();
        let words = u64::from(rows * draws) * ensemble.rest.network().widest().unwrap();
        assert!(words <= ACTIVATION_WORDS && 2 * words > ACTIVATION_WORDS || rows * draws == BATCH, "{rows} x {draws}");
        let chunk = ensemble.chunk(0..2, 0).unwrap();
        let plans = chunk.executor.plans();
        assert!(plans.buffers.iter().all(|buffer| u64::from(buffer.words) <= 2 * ACTIVATION_WORDS), "{:?}", plans.buffers);
        assert_eq!(plans.plans[0].sites[0].site, site);
        let unfolds = plans.plans[0].kernels.iter().filter(|kernel| kernel.entry().name.starts_with("unfold")).count();
        assert_eq!(unfolds, usize::from(first < 1.0), "convolutions in every draw");
    }
}
