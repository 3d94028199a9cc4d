//! Per-batch unit dropout: which units a step keeps, how often, and where the mode shows.
//!
//! Seeds are fixed, so a test passes always or never; the false-alarm rates are those of a seed drawn anew.

use thinnet::config::Config;
use thinnet::data::{Dataset, Inputs};
use thinnet::network::{DropoutMode, Layer};
use thinnet::plan::{Mode, Plans, Update};
use thinnet::rng::{self, Coordinates, Stream, exact_k};
use thinnet::step::{DROPPED, Draw, SiteLayout, SiteStep};
use thinnet::{Activation, Dense, Device, Dropout, Error, Model, Network, Optimizer, TrainOptions, Trainer, checkpoint};

use crate::common::{device, numbers, options};

fn at(site: u32, pass: u32) -> Coordinates {
    Coordinates { stream: Stream::BatchMask, site, pass, sample: 0 }
}

/// Seed, site, pass, n, k, the kept units.
type SetVector = (u64, u32, u32, u32, u32, &'static [u32]);

/// Sets that the contract publishes, and one of another seed, made by another program.
const SETS: [SetVector; 3] = [
    (42, 0, 0, 16, 8, &[4, 5, 7, 9, 10, 12, 14, 15]),
    (42, 0, 1, 16, 8, &[0, 1, 2, 4, 5, 6, 9, 15]),
    ((1 << 40) + 7, 3, 5, 11, 4, &[0, 3, 6, 7]),
];

#[test]
fn sets_are_those_of_the_contract() {
    for (seed, site, pass, n, k, kept) in SETS {
        assert_eq!(exact_k(at(site, pass), n, k, rng::key(seed)), kept, "seed {seed}, site {site}, pass {pass}");
    }
    // The README shows the first two.
    let readme = include_str!("../README.md");
    for (.., kept) in &SETS[..2] {
        let text: Vec<String> = kept.iter().map(u32::to_string).collect();
        assert!(readme.contains(&text.join(" ")), "the README does not list {kept:?}");
    }
}

#[test]
fn sets_have_exactly_k_units_and_are_nested() {
    for n in [0, 1, 2, 3, 4, 5, 31, 64, 257] {
        for pass in 0..3 {
            let key = rng::key(9);
            let mut order: Vec<u32> = (0..n).collect();
            order.sort_by_key(|&unit| (at(5, pass).word(unit, key), unit));
            let mut larger = exact_k(at(5, pass), n, n + 3, key);
            assert_eq!(larger, (0..n).collect::<Vec<_>>());
            for k in (0..=n).rev() {
                let kept = exact_k(at(5, pass), n, k, key);
                assert!(kept.len() == k as usize && kept.is_sorted(), "{k} of {n}: {kept:?}");
                assert!(kept.iter().all(|unit| larger.contains(unit)), "{k} of {n} is no subset of {}", k + 1);
                let mut first = order[..k as usize].to_vec();
                first.sort_unstable();
                assert_eq!(kept, first, "{k} of {n}");
                larger = kept;
            }
        }
    }
}

/// Sets drawn for the tests below.
const DRAWS: u32 = 1_000_000;

/// The largest deviation of `counts` from `share` of the draws, in standard deviations of one count.
fn worst(counts: impl IntoIterator<Item = u32>, share: f64) -> f64 {
    let draws = f64::from(DRAWS);
    let deviation = |count| (f64::from(count) - draws * share).abs() / (draws * share * (1.0 - share)).sqrt();
    counts.into_iter().map(deviation).fold(0.0, f64::max)
}

/// Draws at successive optimizer steps are independent, so the count of a unit is binomial. A bound of five standard deviations
/// is crossed by one of n units by chance n times in 1.7 million. A unit kept 1 % too seldom is ten standard deviations off
/// (n = 16) or nearly nineteen (n = 9): it is missed once in 3.5 million times at most.
#[test]
fn every_unit_is_kept_equally_often_and_1_percent_less_is_noticed() {
    for (n, k) in [(16, 8), (9, 7)] {
        let (mut counts, mut wrong) = (vec![0; n as usize], vec![0; n as usize]);
        for pass in 0..DRAWS {
            let mut kept = exact_k(at(2, pass), n, k, rng::key(7));
            kept.iter().for_each(|&unit| counts[unit as usize] += 1);
            // In one of a hundred draws unit 3 gives its place away.
            if let (Some(i), 0) = (kept.iter().position(|&unit| unit == 3), pass % 100) {
                kept[i] = (0..n).find(|unit| !kept.contains(unit)).unwrap();
            }
            kept.iter().for_each(|&unit| wrong[unit as usize] += 1);
        }
        let share = f64::from(k) / f64::from(n);
        assert_eq!(counts.iter().sum::<u32>(), k * DRAWS);
        assert!(worst(counts, share) <= 5.0, "{k} of {n}");
        assert!(worst(wrong, share) > 5.0, "the test of {k} of {n} accepts a unit that is kept 1 % too seldom");
    }
}

/// Two units are kept together with probability k (k - 1) / (n (n - 1)). One of 120 pairs crosses five standard deviations by
/// chance once in 14,000 times; a probability that is 7 % off, as that of independent units, is 39 standard deviations away.
#[test]
fn two_units_are_kept_together_as_often_as_without_replacement() {
    const N: usize = 16;
    let (k, keep) = (8u32, 1 << 31);
    let [mut together, mut independent] = [[0; N * N]; 2];
    let count = |counts: &mut [u32; N * N], kept: &[u32]| {
        for (i, &a) in kept.iter().enumerate() {
            kept[i + 1..].iter().for_each(|&b| counts[a as usize * N + b as usize] += 1);
        }
    };
    for pass in 0..DRAWS {
        count(&mut together, &exact_k(at(2, pass), N as u32, k, rng::key(8)));
        let words = (0..N as u32 / 4).flat_map(|quad| at(2, pass).quad(quad, rng::key(8)));
        let kept: Vec<u32> = words.zip(0..).filter(|&(word, _)| word < keep).map(|(_, unit)| unit).collect();
        count(&mut independent, &kept);
    }
    let pairs = |counts: [u32; N * N]| (0..N * N).filter(|i| i / N < i % N).map(move |i| counts[i]);
    let share = f64::from(k * (k - 1)) / (N * (N - 1)) as f64;
    assert_eq!(pairs(together).count(), 120);
    let (right, wrong) = (worst(pairs(together), share), worst(pairs(independent), share));
    println!("pairs: {right} standard deviations, of independent units {wrong}");
    assert!(right <= 5.0);
    assert!(wrong > 30.0, "the test accepts independent units");
}

#[test]
fn rates_become_counts_and_factors() {
    // keep_prob, n, k; halves are rounded up.
    for (keep, n, k) in [
        (0.5, 16, 8),
        (0.5, 7, 4),
        (0.5, 1, 1),
        (0.3, 10, 3),
        (0.8, 1024, 819),
        (1e-9, 1000, 1),
        (0.999, 100, 100),
        (1.0, 33, 33),
        (0.0, 33, 0),
    ] {
        let dropout = Dropout::units(keep).unwrap();
        assert_eq!((dropout.mode, dropout.kept_count(n)), (DropoutMode::Units, k), "keep_prob {keep} of {n}");
        let scale = if k == 0 { 0.0 } else { (f64::from(n) / f64::from(k)) as f32 };
        assert_eq!((dropout.train_scale(n), dropout.eval_scale()), (scale, 1.0));
        assert_eq!(SiteLayout::of(&dropout, n), SiteLayout { units: n, kept: Some(k), idle: false });
    }
    assert_eq!(Dropout::units(0.8).unwrap().train_scale(1024), 1024.0 / 819.0);
    assert_ne!(Dropout::units(0.8).unwrap().train_scale(1024), Dropout::keep(0.8).unwrap().train_scale(1024));
    for wrong in [-0.1, 1.5, f64::NAN] {
        assert!(Dropout::units(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_step_keeps_the_set_of_its_update_whatever_the_epoch() {
    let draw = Draw { key: rng::key(42), site: 0, units: 16, map: [1, 1], epoch: 9, update: 1 };
    let step = SiteStep::of(&Dropout::units(0.5).unwrap(), &draw);
    assert_eq!((&step.kept[..], step.pass, step.units, step.scale), (SETS[1].5, 1, 16, 2.0));
    assert_eq!(step, SiteStep::of(&Dropout::units(0.5).unwrap(), &Draw { epoch: 0, ..draw }));
    let positions: Vec<u32> =
        (0..16).map(|unit| SETS[1].5.iter().position(|&kept| kept == unit).map_or(DROPPED, |i| i as u32)).collect();
    assert_eq!(step.positions(), positions);
    // None of the units of the smaller network is dropped from it once more.
    assert!(step.keeps(0) && step.keeps(u32::MAX));
    let other = SiteStep::of(&Dropout::keep(0.5).unwrap(), &draw);
    assert_eq!((other.pass, other.units, other.kept.len(), other.keeps(u32::MAX)), (9, 0, 0, false));
    let nothing = SiteStep::of(&Dropout::units(0.0).unwrap(), &draw);
    assert_eq!((nothing.scale, nothing.kept.len(), nothing.positions()), (0.0, 0, vec![DROPPED; 16]));
}

fn network(dropout: Dropout) -> Network {
    Network::new(5).dense(Dense::new(16).activation(Activation::Relu)).dropout(dropout).dense(Dense::new(3))
}

#[test]
fn files_have_the_mode_by_its_own_name() {
    let text = "[network]\nlayers = [{ dropout = { drop = 0.25, mode = \"units\", site = 9 } }, { dense = 1 }]";
    let Layer::Dropout(read) = Config::parse(text).unwrap().network.layers.remove(0) else { panic!("no dropout") };
    assert_eq!(read, Dropout::units(0.75).unwrap().site(9));
    let network = network(Dropout::units(0.5).unwrap());
    let json = serde_json::to_string(&network).unwrap();
    assert!(json.contains(r#"{"dropout":{"keep":0.5,"mode":"units"}}"#), "{json}");
    assert_eq!(serde_json::from_str::<Network>(&json).unwrap(), network);
}

/// Evaluation has nothing of it, a file keeps it, and PyTorch's expression does not pass it off as `nn.Dropout`.
#[test]
fn evaluation_and_files_leave_the_weights_as_they_are() {
    let model = |dropout| Model::initial(&network(dropout), 4).unwrap();
    let (units, plain) = (model(Dropout::units(0.25).unwrap()), model(Dropout::keep(1.0).unwrap()));
    let inputs = Inputs::from_f32(5, numbers(35, 1)).unwrap();
    let logits = |model: &Model| model.logits(&Device::cpu(), &inputs).unwrap();
    assert_eq!(logits(&units), logits(&plain));
    assert_ne!(logits(&units), logits(&model(Dropout::keep(0.25).unwrap().vanilla())), "a factor in evaluation would show");
    assert_eq!(Model::from_safetensors(&units.to_safetensors().unwrap()).unwrap(), units);
    let expression = "nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Identity(), nn.Linear(16, 3))";
    assert_eq!(checkpoint::sequential(units.network()).unwrap(), expression);
    // Folding vanilla dropout at another site leaves it alone.
    let mixed = network(Dropout::units(0.5).unwrap()).dropout(Dropout::keep(0.5).unwrap().vanilla()).dense(Dense::new(2));
    let folded = Model::initial(&mixed, 4).unwrap().fold_vanilla().unwrap();
    assert_eq!(folded.network().layers[1], Layer::Dropout(Dropout::units(0.5).unwrap()));
    assert_eq!(folded.network().layers[3], Layer::Dropout(Dropout::keep(0.5).unwrap()));
}

#[test]
fn a_site_without_a_dense_layer_behind_it_is_refused_with_its_place() {
    let units = Dropout::units(0.5).unwrap();
    let dense = || Dense::new(5).activation(Activation::Relu);
    let networks = [
        (1, Network::new(4).dense(dense()).dropout(units)),
        (1, Network::new(4).dense(dense()).dropout(units).dropout(Dropout::keep(0.5).unwrap()).dense(dense())),
        (2, Network::new(4).dense(dense()).dropout(Dropout::keep(0.5).unwrap()).dropout(units).dense(dense())),
        (1, Network::new(4).dropout(units).dropout(units).dense(dense())),
    ];
    for (layer, network) in networks {
        let options = thinnet::plan::Options { mode: Mode::Train(Update::Sgd.into()), ..options(3, 1) };
        match Plans::new(thinnet::plan::Caps::baseline()).add(&network, options) {
            Err(Error::Network { place, problem }) => {
                assert!(place == format!("layer {layer} (dropout)") || place == "layer 0 (dropout)", "{place}");
                assert!(problem.contains("in front of a dense layer") && problem.contains("inverted"), "{problem}");
            }
            other => panic!("{network:?}: {other:?}"),
        }
    }
}

/// The lists of a wide layer make the rows of the step table long: the table has fewer of them.
#[test]
fn a_layer_may_be_as_wide_as_its_weights_fit() {
    let wide = Network::new(1).dense(Dense::new(60_000)).dropout(Dropout::units(0.5).unwrap()).dense(Dense::new(2));
    let mut plans = Plans::new(thinnet::plan::Caps::baseline());
    let options = thinnet::plan::Options { mode: Mode::Train(Update::Sgd.into()), ..options(1, 1) };
    let plan = plans.add(&wide, options).unwrap();
    let bytes = u64::from(plans.plans[plan].row_layout().row_bytes()) * plans.max_steps() as u64;
    assert!(bytes <= plans.caps.max_buffer && plans.max_steps() < 100, "{} rows of the table: {bytes} bytes", plans.max_steps());
    let data = Dataset::new(Inputs::from_f32(1, numbers(20, 1)).unwrap(), (0..20).map(|row| row % 2).collect(), 2).unwrap();
    let options = TrainOptions { batch: 1, optimizer: Optimizer::momentum(1e-6, 0.9), ..TrainOptions::default() };
    let mut trainer = Trainer::new(device(), &wide, &data, options).unwrap();
    let losses: Vec<f64> = trainer.fit(2).unwrap().iter().map(|epoch| epoch.running.loss).collect();
    assert!(losses.len() == 2 && losses.iter().all(|loss| loss.is_finite()), "{losses:?}");
}
