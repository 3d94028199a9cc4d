//! The time of every kernel: what is listed, that it adds up, and that it changes no training.

use thinnet::kernels::matmul::Matmul;
use thinnet::profile::{Clock, Profile, profile};
use thinnet::{Activation, Dense, Device, Dropout, Network, TrainOptions, Trainer, data, wgpu};

use crate::common::device;
use crate::host::Host;

fn network(hidden: u32) -> Network {
    let dense = |units| Dense::new(units).activation(Activation::Relu);
    let dropout = || Dropout::keep(0.5).unwrap();
    Network::new(64).dense(dense(hidden)).dropout(dropout()).dense(dense(hidden)).dropout(dropout()).dense(Dense::new(10))
}

/// Every kernel of the plans of a training with these options, in order: plan, place, name, grid.
fn planned(device: &Device, network: &Network, options: &TrainOptions) -> Vec<(usize, usize, String, Option<[u32; 3]>)> {
    let trainer = Trainer::new(device, network, &data::digits(), options.clone()).unwrap();
    let plans = trainer.plans().plans.iter().enumerate();
    let kernels = plans.flat_map(|(p, plan)| plan.kernels.iter().enumerate().map(move |(k, kernel)| (p, k, kernel)));
    let kernels = kernels.map(|(p, k, kernel)| {
        let [x, y] = kernel.grid();
        (p, k, kernel.entry().name.to_owned(), Some([x, y, 1]))
    });
    kernels.collect()
}

/// What a profile lists, as [`planned`] does.
fn listed(profile: &Profile) -> Vec<(usize, usize, String, Option<[u32; 3]>)> {
    profile.kernels.iter().map(|kernel| (kernel.plan, kernel.kernel, kernel.name.clone(), kernel.grid)).collect()
}

/// What must hold of a profile whose kernels were timed.
#[track_caller]
fn adds_up(profile: &Profile) {
    let timed = || profile.kernels.iter().chain(&profile.copies).map(|timed| (timed, timed.times.expect("it was timed")));
    for (timed, times) in timed() {
        assert!(times.median_us > 0.0 && times.mean_us > 0.0 && times.share > 0.0, "{timed}");
        assert!(!timed.reads.is_empty() || !timed.writes.is_empty(), "{timed}");
    }
    let shares: f64 = timed().map(|(_, times)| times.share).sum();
    assert!((shares - 1.0).abs() < 1e-9, "the shares add up to {shares}");
    let sum: f64 = timed().map(|(_, times)| times.mean_us * f64::from(times.dispatches)).sum::<f64>() / f64::from(profile.steps);
    let (kernels, step) = (profile.kernels_us.unwrap(), profile.timed_step_us.unwrap());
    assert!((kernels - sum).abs() < 1e-9 * sum, "{kernels} us of kernels, which are {sum} us");
    // Two clocks: in another unit than it says, the device's would be off by a factor of a thousand. A busy machine makes up one
    // of fifteen.
    assert!(kernels < step, "{kernels} us of kernels in steps of {step} us");
    assert!(step < 500.0 * kernels, "only {kernels} us of kernels in steps of {step} us");
}

#[test]
fn every_kernel_of_the_plan_is_listed_once_in_order_and_the_shares_add_up() {
    let (network, options) = (network(200), TrainOptions { batch: 64, ..Default::default() });
    let profile = profile(device(), &network, &data::digits(), &options, 7).unwrap();
    assert_eq!(
        (profile.clock, profile.batch, profile.steps),
        (Clock::Timestamps, 64, 7),
        "every driver of the tests has a clock"
    );
    assert_eq!(profile.adapter, device().caps().adapter);
    assert_eq!(listed(&profile), planned(device(), &network, &options));
    assert!(profile.kernels.iter().chain(&profile.copies).all(|timed| timed.times.unwrap().dispatches == 7), "{profile}");
    adds_up(&profile);
    // What is copied is read by the kernel behind it.
    for copies in &profile.copies {
        let kernel = &profile.kernels[copies.kernel];
        assert!(kernel.name == copies.name && !copies.reads.is_empty() && copies.grid.is_none());
        assert!(copies.reads.iter().all(|name| kernel.reads.contains(name)), "{copies}");
    }
    let text = profile.to_string();
    assert!(profile.kernels.iter().all(|kernel| text.contains(&kernel.to_string())), "{text}");
    assert_eq!(text.lines().count(), 5 + profile.kernels.len() + profile.copies.len(), "{text}");
    assert!(text.contains("3.weight") && text.contains("timestamp queries of the device"), "{text}");
    let shares = text.lines().skip(5).map(|line| line.split_whitespace().next().unwrap().parse::<f64>().unwrap());
    assert!(shares.collect::<Vec<_>>().is_sorted_by(|a, b| a >= b), "{text}");
}

#[test]
fn steps_that_add_to_a_gradient_are_timed_beside_those_that_use_it_up() {
    let (network, options) = (network(64), TrainOptions { accumulate: 3, ..Default::default() });
    let profile = profile(device(), &network, &data::digits(), &options, 9).unwrap();
    assert_eq!(listed(&profile), planned(device(), &network, &options));
    adds_up(&profile);
    let dispatches = |plan| profile.kernels.iter().filter(move |kernel| kernel.plan == plan).map(|k| k.times.unwrap().dispatches);
    assert!(profile.kernels.iter().any(|kernel| kernel.plan == 1));
    assert!(dispatches(0).all(|n| n == 3) && dispatches(1).all(|n| n == 6), "{profile}");
}

#[test]
fn more_queries_than_a_set_has_are_shared_out() {
    // A submission has up to 64 steps, and two queries for each of their dispatches and copies.
    let network = (0..8).fold(Network::new(64), |network, _| network.dense(Dense::new(8).activation(Activation::Tanh)));
    let network = network.dense(Dense::new(10));
    let profile = profile(device(), &network, &data::digits(), &TrainOptions { batch: 4, ..Default::default() }, 300).unwrap();
    let queries = 2 * 64 * (profile.kernels.len() + profile.copies.len()) as u32;
    assert!(queries > wgpu::QUERY_SET_MAX_QUERIES, "{queries} queries fit one set: take more layers");
    assert!(profile.kernels.iter().all(|kernel| kernel.times.unwrap().dispatches == 300), "{profile}");
    adds_up(&profile);
}

#[test]
fn a_profile_changes_no_training_on_its_device() {
    let (network, options, digits) = (network(32), TrainOptions::default(), data::digits());
    let trained = |profiled: bool| {
        let mut trainer = Trainer::new(device(), &network, &digits, options.clone()).unwrap();
        for _ in 0..2 {
            trainer.fit(1).unwrap();
            if profiled {
                profile(device(), &network, &digits, &options, 3).unwrap();
            }
        }
        let losses: Vec<f64> = trainer.history().iter().map(|epoch| epoch.running.loss).collect();
        (trainer.model().unwrap().to_safetensors().unwrap(), losses)
    };
    assert!(trained(false) == trained(true), "a profile between the epochs changes the training");
}

/// The negative control: the same adapter, opened without the feature.
#[test]
fn a_device_without_timestamp_queries_says_so_and_shows_no_zeros() {
    let (wgpu_device, queue) = Host::open();
    assert!(!wgpu_device.features().contains(wgpu::Features::TIMESTAMP_QUERY));
    let bare = Device::from_wgpu(wgpu_device, queue).unwrap();
    let (network, options) = (network(32), TrainOptions::default());
    let profile = profile(&bare, &network, &data::digits(), &options, 5).unwrap();
    assert_eq!((profile.clock, profile.timed_step_us, profile.kernels_us), (Clock::None, None, None));
    assert!(profile.step_us > 0.0);
    assert_eq!(listed(&profile), planned(&bare, &network, &options));
    assert!(profile.kernels.iter().all(|kernel| kernel.times.is_none()) && profile.copies.is_empty());
    let text = profile.to_string();
    assert!(text.lines().count() == 1 && text.contains("no timestamp queries") && text.contains("not timed"), "{text}");
    assert!(text.contains("TIMESTAMP_QUERY") && text.contains("host's clock"), "{text}");
}

/// Copies into textures lie between passes and take a feature of their own, which Apple's GPUs lack; their plans have no copies.
#[test]
fn timestamps_outside_of_passes_are_needed_where_there_are_copies_and_nowhere_else() {
    let (network, options) = (network(32), TrainOptions { batch: 16, ..Default::default() });
    let with = |features| {
        let (wgpu_device, queue) = Host::open_as(thinnet::ops::required_limits(), features);
        let device = Device::from_wgpu(wgpu_device, queue).unwrap();
        profile(&device, &network, &data::digits(), &options, 3).unwrap()
    };
    let profile = with(wgpu::Features::TIMESTAMP_QUERY);
    assert!(profile.clock == Clock::Timestamps && profile.copies.is_empty(), "{profile}");
    adds_up(&profile);
    let shuffles = matches!(device().caps().matmul, Matmul::Shuffle { .. });
    let profile =
        with(wgpu::Features::TIMESTAMP_QUERY | (device().gpu().unwrap().device().features() & wgpu::Features::SUBGROUP));
    assert_eq!(profile.clock, if shuffles { Clock::None } else { Clock::Timestamps });
}

#[test]
fn the_cpu_twins_are_timed_by_the_host() {
    let (network, options) = (network(16), TrainOptions::default());
    let profile = profile(&Device::cpu(), &network, &data::digits(), &options, 2).unwrap();
    assert_eq!(profile.clock, Clock::Host);
    assert_eq!(listed(&profile), planned(&Device::cpu(), &network, &options));
    adds_up(&profile);
    assert!(profile.to_string().contains("the host's clock around each kernel"), "{profile}");
}

#[test]
fn a_profile_of_no_steps_is_refused() {
    let error = profile(device(), &network(8), &data::digits(), &TrainOptions::default(), 0).unwrap_err().to_string();
    assert!(error.contains("`steps` = 0") && error.contains("at least 1"), "{error}");
}
