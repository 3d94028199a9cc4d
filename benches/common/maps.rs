//! Training steps of networks of feature maps: a small convolutional network with each kind of dropout, and a residual network whose
//! branches are dropped.

use thinnet::network::{BatchNorm, Layer};
use thinnet::{
    Activation, Conv2d, Dataset, Dense, Device, Dropout, Inputs, Network, Optimizer, Residual, Result, TrainOptions, Trainer,
    Unit,
};

use crate::measure::Timed;
use crate::probe;

/// Samples of a step, and steps of an epoch.
const BATCH: u32 = 64;
const BATCHES: u32 = 4;

/// What is dropped behind both pools of the convolutional network, at keep_prob 0.9.
pub(crate) const DROPS: [(&str, Option<[Unit; 2]>); 4] = [
    ("cnn", None),
    ("cnn-element", Some([Unit::Element; 2])),
    ("cnn-spatial", Some([Unit::Spatial2d; 2])),
    ("cnn-block", Some([Unit::Block(5), Unit::Block(3)])),
];

/// conv 20 (5 x 5), pool, conv 50 (5 x 5), pool, 500, 10; a small one of the same kind for a test.
pub(crate) fn cnn(units: Option<[Unit; 2]>, test: bool) -> Result<Network> {
    let [first, second, hidden] = if test { [4, 6, 8] } else { [20, 50, 500] };
    let mut network = Network::new(if test { [1, 20, 20] } else { [1, 28, 28] });
    for (layer, channels) in [first, second].into_iter().enumerate() {
        network = network.conv2d(Conv2d::new(channels, 5).activation(Activation::Relu)).max_pool(2);
        if let Some(units) = units {
            let unit = if test && matches!(units[layer], Unit::Block(_)) { Unit::Block(2) } else { units[layer] };
            network = network.dropout(Dropout::keep(0.9)?.unit(unit));
        }
    }
    Ok(network.layer(Layer::Flatten).dense(Dense::new(hidden).activation(Activation::Relu)).dense(Dense::new(10)))
}

/// Twelve residual blocks of two convolutions on maps of 16 x 14 x 14, each kept with this probability.
pub(crate) fn paths(keep: f64, test: bool) -> Result<Network> {
    let (channels, blocks) = if test { (4, 2) } else { (16, 12) };
    let conv = || Layer::Conv2d(Conv2d::new(channels, 3).padding(1));
    let norm = || Layer::BatchNorm(BatchNorm::default());
    let mut network =
        Network::new([1, 28, 28]).conv2d(Conv2d::new(channels, 3).stride(2).padding(1).activation(Activation::Relu));
    for _ in 0..blocks {
        let drop = Layer::Dropout(Dropout::keep(keep)?.unit(Unit::Path));
        let branch = vec![conv(), norm(), Layer::Activation(Activation::Relu), conv(), norm(), drop];
        network = network.residual(Residual { branch, skip: Vec::new() });
    }
    Ok(network.layer(Layer::GlobalAveragePool).dense(Dense::new(10)))
}

/// Training steps with SGD and momentum over images that mean nothing.
pub(crate) fn training(device: &Device, network: &Network) -> Result<Timed<'static>> {
    let (rows, columns) = (BATCH * BATCHES, network.input.elements());
    let inputs = probe::counted(rows * columns).into_iter().map(|word| (word >> 8) as f32 / (1 << 24) as f32);
    let data = Dataset::new(Inputs::from_f32(columns, inputs.collect())?, (0..rows).map(|row| row % 10).collect(), 10)?;
    let options = TrainOptions { batch: BATCH, optimizer: Optimizer::momentum(0.01, 0.9), ..Default::default() };
    let mut trainer = Trainer::new(device, network, &data, options)?;
    Ok(Timed::new(BATCHES, move |epochs| trainer.fit(epochs).map(|_| ())))
}
