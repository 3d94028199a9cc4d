//! What a call plans: its memory, and what it computes once.

use super::*;
use crate::network::{Dense, Dropout, Loss};

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
