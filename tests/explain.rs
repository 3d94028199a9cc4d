//! What is said to have been off is what the mask contract, and a forward pass, say was off.

use std::collections::BTreeMap;

use thinnet::explain::{Explained, Units, explain};
use thinnet::gradient_check::{Numbers, cases};
use thinnet::ops::Site;
use thinnet::reference::{self, Batch, Masks};
use thinnet::rng::{self, Shuffle, Stream};
use thinnet::{Dense, Device, Dropout, DropoutMode, KeepProb, Layer, Network, TrainOptions, Unit, masks};

fn with(units: u32, dropout: Dropout) -> Network {
    Network::new(4).dense(Dense::new(units)).dropout(dropout).dense(Dense::new(2))
}

/// The mask of the contract at a site, as many units as there are, drawn by the twin.
fn of_contract(
    explained: &Explained,
    site: &thinnet::explain::Site,
    dropout: &Dropout,
    [seed, pass, sample]: [u64; 3],
) -> Vec<bool> {
    let shared = matches!(dropout.mode, DropoutMode::Batch);
    let (stream, pass, sample) = match shared {
        true => (Stream::BatchMask, explained.update, 0),
        false => (Stream::TrainingMask, pass as u32, sample as u32),
    };
    let keep = KeepProb::new(site.keep_prob).unwrap();
    let at = Site { keep, seed, stream, site: site.site, pass };
    masks::draw(&Device::cpu(), &at, sample..sample + 1, 0..site.shape.iter().product()).unwrap().concat()
}

/// Every variant of every layer: masks of units by the contract, and at dropout layers of the network itself what a forward pass drops.
#[test]
fn every_variant_is_explained_as_it_is_drawn() {
    let (mut by_contract, mut by_pass) = (BTreeMap::new(), BTreeMap::new());
    for case in cases() {
        let numbers = Numbers::new(&case, 5).unwrap();
        let inputs = numbers.batch.inputs();
        let samples = inputs.samples();
        // The first epoch, and one batch of all rows.
        let options = TrainOptions { seed: numbers.seed, batch: 1 << 20, ..Default::default() };
        let sample = samples[1];
        let explained = explain(&case.network, &options, samples, sample, 0).unwrap();
        assert!(explained.update == 0 && explained.batch.len() == samples.len());
        for site in &explained.sites {
            let number = case.network.sites().unwrap().iter().position(|&other| other == Some(site.site)).unwrap();
            let Layer::Dropout(dropout) = case.network.walk()[number] else { panic!("{} is no dropout", site.layer) };
            let Units::Kept(kept) = &site.units else { continue };
            assert_eq!(kept.len() as u32, site.shape.iter().product::<u32>(), "{}: {site:?}", case.name);
            let whole = !matches!(dropout.unit, Unit::Block(_)) && dropout.mode != DropoutMode::Units;
            if whole {
                let expected = of_contract(&explained, site, dropout, [numbers.seed, 0, sample.into()]);
                assert_eq!(*kept, expected, "{}: {}", case.name, site.layer);
                *by_contract.entry(site.unit.clone()).or_insert(0) += 1;
            }
        }
        // The outputs of every layer of the list, in training.
        let weights: Vec<Vec<f64>> =
            numbers.model.weights().iter().map(|tensor| tensor.iter().map(|&w| f64::from(w)).collect()).collect();
        let x: Vec<f64> = (0..inputs.rows()).flat_map(|row| inputs.row_f32(row)).map(f64::from).collect();
        let lengths = inputs.lengths().map(|lengths| lengths.of_rows.as_slice());
        let masks = Masks::Drawn { seed: numbers.seed, pass: 0, update: 0, samples };
        let outputs = reference::forward(&case.network, &weights, Batch { inputs: &x, lengths }, &masks).unwrap();
        for (i, layer) in case.network.layers.iter().enumerate().skip(1) {
            let address = format!("layer {i} (");
            let Some(site) = explained.sites.iter().find(|site| site.layer.starts_with(&address)) else { continue };
            let (Layer::Dropout(dropout), Units::Kept(kept)) = (layer, &site.units) else { continue };
            // Alpha dropout replaces by another number than 0, and DropConnect lets units pass.
            if dropout.noise != thinnet::Noise::Bernoulli || dropout.unit == Unit::Weight {
                continue;
            }
            let elements = outputs[i].len() / samples.len();
            let row = |values: &[f64]| values[elements..2 * elements].to_vec();
            let shape =
                &case.network.shapes().unwrap()[case.network.walk().iter().position(|l| std::ptr::eq(*l, layer)).unwrap()];
            for (element, (before, after)) in row(&outputs[i - 1]).into_iter().zip(row(&outputs[i])).enumerate() {
                let kept = kept[unit(element, &shape.0, &site.shape)];
                assert!(kept && (before == 0.0) == (after == 0.0) || !kept && after == 0.0, "{}: element {element}", case.name);
            }
            *by_pass.entry(site.unit.clone()).or_insert(0) += 1;
        }
    }
    assert!(by_contract.len() >= 8 && by_contract.values().sum::<u32>() > 80, "{by_contract:?}");
    assert!(by_pass.len() >= 8 && by_pass.keys().any(|unit| unit.contains("blocks")), "{by_pass:?}");
}

/// The unit of an element, from the extents of both.
fn unit(element: usize, shape: &[u32], mask: &[u32]) -> usize {
    let (mut rest, mut places) = (element, Vec::new());
    for &extent in shape.iter().rev() {
        places.insert(0, rest % extent as usize);
        rest /= extent as usize;
    }
    places.iter().zip(mask).fold(0, |unit, (place, &extent)| unit * extent as usize + if extent == 1 { 0 } else { *place })
}

/// 103 rows in batches of 8 whose gradients are added by twos: every epoch ends with a smaller batch.
#[test]
fn the_batch_is_that_of_the_order_of_the_epoch() {
    let network = with(8, Dropout::keep(0.5).unwrap());
    let options = TrainOptions { seed: 9, batch: 8, accumulate: 2, ..Default::default() };
    let samples: Vec<u32> = (500..603).collect();
    for epoch in [0, 3] {
        let shuffle = Shuffle::new(103);
        let order: Vec<u32> = (0..103).map(|position| samples[shuffle.row(position, epoch, rng::key(9)) as usize]).collect();
        for (batch, rows) in (0..).zip(order.chunks(16)) {
            for sample in rows {
                let explained = explain(&network, &options, &samples, *sample, epoch).unwrap();
                assert_eq!((explained.update, &explained.batch[..]), (epoch * 7 + batch, rows));
                assert_eq!(order[explained.position as usize], *sample);
            }
        }
    }
}

/// The vectors of the README: seed 42, site 0, 8 of 16 units, passes 0 and 1.
#[test]
fn units_that_a_batch_keeps_are_those_of_the_contract() {
    let units = Dropout { mode: DropoutMode::Units, ..Dropout::keep(0.5).unwrap() };
    let network = with(16, units);
    let options = TrainOptions { seed: 42, batch: 5, ..Default::default() };
    let samples: Vec<u32> = (0..10).collect();
    let mut seen = [0, 0];
    for sample in 0..10 {
        let explained = explain(&network, &options, &samples, sample, 0).unwrap();
        let Units::Kept(kept) = &explained.sites[0].units else { panic!() };
        let kept: Vec<usize> = (0..16).filter(|&unit| kept[unit]).collect();
        let expected = [[4, 5, 7, 9, 10, 12, 14, 15], [0, 1, 2, 4, 5, 6, 9, 15]][explained.update as usize];
        assert_eq!(kept, expected);
        seen[explained.update as usize] += 1;
    }
    assert_eq!(seen, [5, 5]);
}

/// A rate that moves is that of the update.
#[test]
fn rates_are_those_of_the_update() {
    let schedule = thinnet::Schedule::new(thinnet::network::Way::Linear, 10);
    let network = with(64, Dropout::keep(0.5).unwrap().schedule(schedule));
    let options = TrainOptions { batch: 10, ..Default::default() };
    let samples: Vec<u32> = (0..10).collect();
    for (epoch, keep_prob) in [(4, 0.8), (10, 0.5), (100, 0.5)] {
        let explained = explain(&network, &options, &samples, 3, epoch).unwrap();
        assert!((explained.sites[0].keep_prob - keep_prob).abs() < 1e-6, "{epoch}: {}", explained.sites[0].keep_prob);
    }
    // At the beginning nothing is dropped.
    let explained = explain(&network, &options, &samples, 3, 0).unwrap();
    assert!(explained.sites.is_empty());
}

#[test]
fn a_row_that_is_not_there_and_an_epoch_that_never_comes_are_refused() {
    let network = with(16, Dropout::keep(0.5).unwrap());
    let options = TrainOptions { batch: 2, ..Default::default() };
    let refused = |samples: &[u32], sample, epoch| explain(&network, &options, samples, sample, epoch).unwrap_err().to_string();
    assert!(refused(&[5, 6, 9], 7, 0).contains("none of the 3 training rows, which are from 5 to 9"));
    assert!(refused(&[], 7, 0).contains("no training rows"));
    assert!(refused(&[5, 6, 9], 6, u32::MAX).contains("2^32"), "{}", refused(&[5, 6, 9], 6, u32::MAX));
}
