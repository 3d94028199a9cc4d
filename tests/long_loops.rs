//! Loops that an adapter would end early: lavapipe stops an invocation after 65,535 iterations of all its loops, without an error.

use std::collections::BTreeMap;

use thinnet::data::{Dataset, Inputs};
use thinnet::kernels::matmul::Matmul;
use thinnet::plan::{Caps, Mode, Plans, Update};
use thinnet::{Activation, Dense, Device, Error, Layer, Network, Optimizer, TrainOptions, Trainer};

use crate::common::{device, numbers};
use crate::drive;

/// What lavapipe can do, as its probe finds it.
fn short() -> Caps {
    Caps { max_iterations: 65_532, matmul: Matmul::Plain, max_binding: 1 << 40, max_buffer: 1 << 40, ..Caps::baseline() }
}

/// Whether networks can be trained with so few iterations; what is refused names the kernel.
fn planned(network: &Network, rows: u32) -> Result<(), String> {
    let data = drive::data_for(network, rows, false, 1);
    match Plans::new(short()).add(network, drive::options("train", Mode::Train(Update::Sgd.into()), &data, rows, 1)) {
        Ok(_) => Ok(()),
        Err(Error::Limit { what, needed, available, remedy }) => {
            assert!(needed > available && available == 65_532 && remedy.contains("without a word"), "{what}: {needed}");
            Err(what)
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn the_device_says_after_how_many_iterations_it_ends_loops() {
    let Caps { max_iterations, adapter, .. } = device().caps();
    if adapter.contains("llvmpipe") {
        assert!((65_000..=65_535).contains(&max_iterations), "{max_iterations}");
    }
    assert_eq!(Device::cpu().caps().max_iterations, u32::MAX);
}

#[test]
fn networks_that_need_longer_loops_are_refused() {
    let classes = |n| Network::new(4).dense(Dense::new(n));
    assert_eq!(planned(&classes(80_000), 3), Ok(()));
    assert!(planned(&classes(90_000), 3).unwrap_err().contains("the loops of cross_entropy"));
    let pooled = |side| Network::new([1, side, side]).layer(Layer::GlobalAveragePool).dense(Dense::new(2));
    assert_eq!(planned(&pooled(250), 2), Ok(()));
    assert!(planned(&pooled(256), 2).unwrap_err().contains("the loops of average_pool"));
    // A longer sum of a product is made by kernels whose loops are shorter.
    let wide = |n: u32| Network::new(n).dense(Dense::new(2));
    assert_eq!(planned(&wide(300_001), 2), Ok(()));
    assert_eq!(planned(&classes(3), 100_000), Ok(()));
}

/// One training step of SGD with a large rate, on the device and by the twins: how much the weights moved, and how far they are apart.
fn trained(network: &Network, data: &Dataset) -> [f32; 2] {
    let options = TrainOptions { batch: data.rows(), optimizer: Optimizer::sgd(1.0), ..TrainOptions::default() };
    let [device, twins] = [device().clone(), Device::cpu()].map(|device| {
        let mut trainer = Trainer::new(&device, network, data, options.clone()).unwrap();
        let before = trainer.model().unwrap();
        trainer.fit(1).unwrap();
        (before, trainer.model().unwrap())
    });
    let far = |a: &thinnet::Model, b: &thinnet::Model| {
        let pairs = a.weights().iter().zip(b.weights()).flat_map(|(a, b)| a.iter().zip(b));
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    [far(&device.0, &device.1), far(&device.1, &twins.1)]
}

/// Beyond 21,845 classes three loops over them one by one would be too long, beyond 65,535 one.
#[test]
fn every_one_of_many_classes_learns() {
    let classes = 70_001;
    let network = Network::new(4).dense(Dense::new(classes));
    let inputs = Inputs::from_f32(4, numbers(12, 5)).unwrap();
    let data = Dataset::new(inputs, vec![0, 30_000, classes - 1], classes).unwrap();
    let [moved, apart] = trained(&network, &data);
    assert!(moved > 0.1 && apart < 1e-6, "moved {moved}, {apart} from the twins");
}

#[test]
fn every_one_of_many_inputs_counts() {
    let inputs = 300_001;
    let network = Network::new(inputs).dense(Dense::new(3).activation(Activation::Tanh)).dense(Dense::new(2));
    let values = numbers(2 * inputs as usize, 6).into_iter().map(|v| v / 300.0).collect();
    let data = Dataset::new(Inputs::from_f32(inputs, values).unwrap(), vec![0, 1], 2).unwrap();
    let [moved, apart] = trained(&network, &data);
    assert!(moved > 1e-3 && apart < 1e-5, "moved {moved}, {apart} from the twins");
}

/// Loops whose bound is no small constant, by file. A new one is no error: say in `Kernel::iterations` of the kernels that run it
/// how often it runs at most, then count it here.
const LOOPS: [(&str, usize); 36] = [
    ("augment.wgsl", 1),
    ("batch_norm.wgsl", 2),
    ("batch_norm_statistics.wgsl", 5),
    ("clip.wgsl", 2),
    ("concrete_regularizer.wgsl", 2),
    ("dense.wgsl", 3),
    ("dense_dropped_shuffle.wgsl", 1),
    ("dense_shuffle.wgsl", 4),
    ("dense_tile.wgsl", 4),
    ("draws.wgsl", 7),
    ("drop_block.wgsl", 4),
    ("drop_connect.wgsl", 2),
    ("embedding.wgsl", 3),
    ("gaussian.wgsl", 3),
    ("gradients.wgsl", 1),
    ("grouped.wgsl", 12),
    ("idle_update.wgsl", 1),
    ("layer_norm.wgsl", 5),
    ("lib/dropout.wgsl", 1),
    ("lib/map_units.wgsl", 2),
    ("loss.wgsl", 3),
    ("map_dropout.wgsl", 2),
    ("max_norm.wgsl", 2),
    ("metrics.wgsl", 1),
    ("noise.wgsl", 1),
    ("norm_gradients.wgsl", 3),
    ("pool.wgsl", 12),
    ("recurrent.wgsl", 4),
    ("recurrent_shuffle.wgsl", 4),
    ("recurrent_weight.wgsl", 1),
    ("rows.wgsl", 1),
    ("splits.wgsl", 1),
    ("targets.wgsl", 4),
    ("thinned_update.wgsl", 1),
    ("unfold.wgsl", 6),
    ("units.wgsl", 3),
];

#[test]
fn every_long_loop_is_known_to_its_kernel() {
    let small = |bound: &str| {
        let bound = bound.trim();
        bound.ends_with('u') && bound[..bound.len() - 1].parse::<u32>().is_ok()
            || bound.chars().all(|c| c.is_ascii_uppercase() || c == '_')
    };
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir("shaders").unwrap().chain(std::fs::read_dir("shaders/lib").unwrap()) {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "wgsl") {
            continue;
        }
        for line in std::fs::read_to_string(&path).unwrap().lines().map(str::trim) {
            let bound = line.strip_prefix("for (").map(|head| head.split(';').nth(1).unwrap().rsplit(['<', '=']).next().unwrap());
            let long = bound.map_or(line.starts_with("while (") || line.starts_with("loop {"), |bound| !small(bound));
            *found.entry(path.strip_prefix("shaders").unwrap().display().to_string()).or_insert(0) += usize::from(long);
        }
    }
    found.retain(|_, loops| *loops > 0);
    let known: BTreeMap<_, _> = LOOPS.iter().map(|&(file, loops)| (file.to_owned(), loops)).collect();
    assert_eq!(found, known);
}
