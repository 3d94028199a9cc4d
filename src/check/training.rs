//! Trainings that have to end at the same bits.

use crate::data::{self, Dataset};
use crate::network::{Activation, BatchNorm, Conv2d, Dense, Dropout, KeepProb, Layer, Network, Recurrent, Unit};
use crate::optimizer::Optimizer;
use crate::sweep::{all_sites, with_keep};
use crate::trainer::Data;
use crate::{Checkpoint, Device, Epoch, Model, Result, TrainOptions, Trainer};

const EPOCHS: u32 = 4;

/// A network, trained twice.
#[derive(Debug, Clone)]
pub(super) struct Trained {
    name: &'static str,
    network: Network,
    optimizer: Optimizer,
    way: Way,
}

/// How the second training differs from the first.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Again,
    /// The device is waited for after each epoch; in the first training, submissions go on from epoch to epoch, and so do the updates of
    /// dropped rows that wait.
    EpochByEpoch,
    Resumed,
    /// Several networks in the same dispatches.
    Together,
}

fn relu(units: u32) -> Dense {
    Dense::new(units).activation(Activation::Relu)
}

fn keep(keep: f64) -> Dropout {
    Dropout::keep(keep).expect("these are probabilities")
}

fn dense() -> Network {
    Network::new(64)
        .dropout(keep(0.8))
        .dense(relu(32))
        .dropout(keep(0.5))
        .dense(relu(24))
        .dropout(keep(0.5))
        .dense(Dense::new(10))
}

fn units() -> Network {
    let half = || Dropout::units(0.5).expect("a half is a probability");
    Network::new(64).dense(relu(48)).dropout(half()).dense(relu(33)).dropout(half()).dense(Dense::new(10))
}

fn maps() -> Network {
    Network::new([1, 8, 8])
        .conv2d(Conv2d::new(6, 3).padding(1).activation(Activation::Relu))
        .layer(Layer::BatchNorm(BatchNorm::default()))
        .max_pool(2)
        .dropout(keep(0.8).unit(Unit::Spatial2d))
        .layer(Layer::Flatten)
        .dense(Dense::new(10))
}

fn sequences() -> Network {
    let lstm = Recurrent::lstm(12).recurrent(keep(0.75).variational());
    Network::new([8, 8]).recurrent(lstm).dropout(keep(0.5)).dense(Dense::new(10))
}

/// Networks of dense layers, with per-batch units, of maps and of sequences, each in every way that it can be trained.
pub(super) fn all() -> Vec<Trained> {
    let networks = [
        ("dense layers", dense(), Optimizer::adam(0.002)),
        ("per-batch units", units(), Optimizer::momentum(0.02, 0.9)),
        ("feature maps", maps(), Optimizer::momentum(0.02, 0.9)),
        ("sequences", sequences(), Optimizer::adam(0.002)),
    ];
    let mut all = Vec::new();
    for (name, network, optimizer) in networks {
        for way in [Way::Again, Way::EpochByEpoch, Way::Resumed] {
            all.push(Trained { name, network: network.clone(), optimizer, way });
        }
    }
    // Other networks are always trained one by one.
    all.push(Trained { name: "dense layers", network: dense(), optimizer: Optimizer::adam(0.002), way: Way::Together });
    all
}

/// Rows to learn from, the last step of an epoch a short one, and rows to judge by.
fn sets() -> Result<(Dataset, Dataset)> {
    let digits = data::digits();
    Ok((digits.slice(0..100)?, digits.slice(100..150)?))
}

impl Trained {
    pub(super) fn name(&self) -> String {
        let way = match self.way {
            Way::Again => "trained again",
            Way::EpochByEpoch => "trained epoch by epoch",
            Way::Resumed => "resumed from a checkpoint",
            Way::Together => "trained together with others",
        };
        format!("{}, {way}", self.name)
    }

    fn options(&self, seed: u64) -> TrainOptions {
        TrainOptions { seed, batch: 32, optimizer: self.optimizer, weight_decay: 1e-3, ..TrainOptions::default() }
    }

    /// How the second training differs from the first.
    pub(super) fn difference(&self, device: &Device, seed: u64) -> Result<Option<String>> {
        if self.way == Way::Together {
            return self.together(device, seed);
        }
        let (train, valid) = &sets()?;
        // An evaluation reads all weights, so that nothing waits past it.
        let data = || match self.way {
            Way::EpochByEpoch => Data::from(train),
            _ => Data::from((train, valid)),
        };
        let new = || Trainer::new(device, &self.network, data(), self.options(seed));
        let (mut first, mut second) = (new()?, new()?);
        first.fit(EPOCHS)?;
        match self.way {
            Way::EpochByEpoch => {
                for _ in 0..EPOCHS {
                    second.fit(1)?;
                }
            }
            Way::Resumed => {
                second.fit(EPOCHS / 2)?;
                let checkpoint = Checkpoint::from_safetensors(&second.checkpoint()?.to_safetensors()?)?;
                second = Trainer::resume(device, &checkpoint, data())?;
                second.fit(EPOCHS - EPOCHS / 2)?;
            }
            Way::Again | Way::Together => {
                second.fit(EPOCHS)?;
            }
        }
        let weights = weights(&self.network, [&first.model()?, &second.model()?])?;
        Ok(weights.or_else(|| histories([first.history(), second.history()])))
    }

    /// Two rates with two seeds, which are trained in the same dispatches, against each alone.
    fn together(&self, device: &Device, seed: u64) -> Result<Option<String>> {
        let (train, valid) = &sets()?;
        let (layers, mut runs) = (all_sites(&self.network), Vec::new());
        for (keep, seed) in [(0.5, seed), (0.8, seed), (0.5, seed.wrapping_add(1)), (0.8, seed.wrapping_add(1))] {
            runs.push((with_keep(&self.network, &layers, KeepProb::new(keep)?)?, seed));
        }
        let mut together = Trainer::together(device, &runs, (train, valid), self.options(seed))?;
        together.fit(EPOCHS)?;
        for (number, (network, seed)) in (0..).zip(&runs) {
            let mut alone = Trainer::new(device, network, (train, valid), self.options(*seed))?;
            alone.fit(EPOCHS)?;
            let weights = weights(network, [&alone.model()?, &together.member_model(number)?])?;
            let history = &together.members()[number as usize].history;
            if let Some(difference) = weights.or_else(|| histories([alone.history(), history])) {
                return Ok(Some(format!("network {number} of {}: {difference}", runs.len())));
            }
        }
        Ok(None)
    }
}

/// The first tensor that differs, by so much as a sign of 0.
fn weights(network: &Network, [first, second]: [&Model; 2]) -> Result<Option<String>> {
    let each = network.parameters()?.into_iter().zip(first.weights().iter().zip(second.weights()));
    let mut differ = each.filter_map(|(parameter, (a, b))| {
        let unequal = || a.iter().zip(b).filter(|(a, b)| a.to_bits() != b.to_bits());
        let (name, count) = (parameter.name, unequal().count());
        let furthest = unequal().map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        (count > 0).then(|| format!("{count} of {} numbers of {name} differ, by up to {furthest:e}", a.len()))
    });
    Ok(differ.next())
}

/// The first epoch whose metrics differ.
fn histories([first, second]: [&[Epoch]; 2]) -> Option<String> {
    if first.len() != second.len() {
        return Some(format!("{} epochs in the first training, {} in the second", first.len(), second.len()));
    }
    let differs = |(a, b): &(&Epoch, &Epoch)| (a.running, a.valid) != (b.running, b.valid);
    let (a, b) = first.iter().zip(second).find(differs)?;
    let valid = |epoch: &Epoch| epoch.valid.map_or(f64::NAN, |valid| valid.loss);
    let losses = format!("{:e} and {:e}, on validation rows {:e} and {:e}", a.running.loss, b.running.loss, valid(a), valid(b));
    Some(format!("epoch {} has another loss: {losses}", a.epoch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_of_a_weight_or_of_a_loss_is_a_difference() {
        let network = dense();
        let model = Model::initial(&network, 3).unwrap();
        assert_eq!(weights(&network, [&model, &model]).unwrap(), None);
        let mut moved = model.weights().to_vec();
        (moved[3][23], moved[4][1]) = (-0.0, moved[4][1].next_up());
        let found = weights(&network, [&model, &Model::new(network.clone(), moved.clone()).unwrap()]).unwrap().unwrap();
        assert_eq!(found, "1 of 24 numbers of 4.bias differ, by up to 0e0");
        moved[3][23] = 0.0;
        let found = weights(&network, [&model, &Model::new(network.clone(), moved).unwrap()]).unwrap().unwrap();
        assert!(found.starts_with("1 of 240 numbers of 7.weight differ, by up to "), "{found}");

        let (train, valid) = &sets().unwrap();
        let mut trainer = Trainer::new(&Device::cpu(), &network, (train, valid), TrainOptions::default()).unwrap();
        let history = trainer.fit(2).unwrap().to_vec();
        assert_eq!(histories([&history, &history]), None);
        let mut other = history.clone();
        other[1].seconds += 1.0;
        assert_eq!(histories([&history, &other]), None, "how long it took is no difference");
        other[1].valid.as_mut().unwrap().loss *= 1.0 + f64::EPSILON;
        assert!(histories([&history, &other]).unwrap().starts_with("epoch 1 has another loss"));
        assert!(histories([&history, &history[..1]]).is_some());
    }
}
