//! Kernels of training and evaluation steps beside their CPU twins.

use super::Finding;
use crate::data;
use crate::gradient_check::{self, Case, GradientStep, Numbers};
use crate::network::{Activation, BatchNorm, Conv2d, Dense, Dropout, Layer, Network, Recurrent, Unit};
use crate::optimizer::Optimizer;
use crate::{Device, Model, Result, TrainOptions};

/// A network whose kernels are compared, and how it is trained.
#[derive(Debug, Clone)]
pub(super) struct Stepped {
    of: Of,
    options: TrainOptions,
}

#[derive(Debug, Clone)]
enum Of {
    /// A small and ragged one.
    Case(Case),
    /// One with the shapes of real trainings, which have kernels of their own: larger tiles, sums in parts. It reads so many digits,
    /// as bytes.
    Digits(&'static str, Network, u32),
}

/// How the network of a number is trained: every optimizer, with and without what needs the whole gradient first.
fn options(number: usize) -> TrainOptions {
    let nesterov = Optimizer::Sgd { lr: 0.05, momentum: 0.9, nesterov: true };
    TrainOptions {
        optimizer: [nesterov, Optimizer::adam(0.01), Optimizer::rmsprop(0.01), Optimizer::adamw(0.01)][number % 4],
        weight_decay: 0.02,
        clip_norm: (number % 3 == 2).then_some(0.5),
        max_norm: (number % 5 == 4).then_some(0.7),
        ..TrainOptions::default()
    }
}

/// The networks of the gradient check, and a few large ones.
pub(super) fn all() -> Vec<Stepped> {
    let cases = gradient_check::cases().into_iter().map(Of::Case);
    let large = large().into_iter().map(|(name, network, rows)| Of::Digits(name, network, rows));
    cases.chain(large).enumerate().map(|(number, of)| Stepped { of, options: options(number) }).collect()
}

fn large() -> [(&'static str, Network, u32); 4] {
    let relu = |units| Dense::new(units).activation(Activation::Relu);
    let keep = |keep| Dropout::keep(keep).expect("these are probabilities");
    let half = || Dropout::units(0.5).expect("a half is a probability");
    let conv = |channels| Conv2d::new(channels, 3).padding(1).activation(Activation::Relu);
    // 64 workgroups of 64 x 64, and a batch of three parts.
    let dense = Network::new(64).dropout(keep(0.8)).dense(relu(516)).dropout(keep(0.5));
    let units = Network::new(64).dense(relu(512)).dropout(half()).dense(relu(256)).dropout(half());
    let maps = Network::new([1, 8, 8]).conv2d(conv(16)).layer(Layer::BatchNorm(BatchNorm::default()));
    let sequences = Network::new([8, 8]).recurrent(Recurrent::lstm(96).recurrent(keep(0.75).variational()));
    [
        (
            "large dense layers",
            dense.dense(Dense::new(512).activation(Activation::Gelu)).dropout(keep(0.5)).dense(Dense::new(10)),
            600,
        ),
        ("large layers of per-batch units", units.dense(Dense::new(10)), 600),
        (
            "large feature maps",
            maps.dropout(keep(0.8).unit(Unit::Spatial2d))
                .conv2d(conv(32))
                .max_pool(2)
                .layer(Layer::Flatten)
                .dense(Dense::new(10)),
            128,
        ),
        ("large sequences", sequences.dense(Dense::new(10)), 128),
    ]
}

impl Stepped {
    pub(super) fn name(&self) -> String {
        match &self.of {
            Of::Case(case) => case.name.clone(),
            Of::Digits(name, ..) => (*name).into(),
        }
    }

    pub(super) fn beside_twins(&self, device: &Device, seed: u64) -> Result<Finding> {
        let found = match &self.of {
            Of::Case(case) => Numbers::new(case, seed)?.beside_twins(device, Some(&self.options))?,
            Of::Digits(_, network, rows) => {
                let (model, batch) = (&Model::initial(network, seed)?, &data::digits().slice(0..*rows)?);
                GradientStep { model, batch, seed }.beside_twins(device, Some(&self.options))?
            }
        };
        Ok(found.map_or_else(Finding::Wrong, Finding::Within))
    }
}
