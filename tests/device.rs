//! Devices: which are found, what is said when none is, what happens when one is lost.

use thinnet::{Device, Error, Model, Network, data};

use crate::common::device;

fn network() -> Network {
    Network::new(64).dense(thinnet::Dense::new(10))
}

#[test]
fn an_adapter_that_is_not_there_is_an_error_that_says_what_to_do() {
    let error = Device::open_named("no such adapter").unwrap_err();
    assert!(matches!(error, Error::NoAdapter(_)));
    let text = error.to_string();
    // What was looked for, what was seen, what to install on each system, and the way out.
    let seen = device().caps().adapter;
    for part in ["no such adapter", &seen, "apt-get install", "dnf install", "pacman -S", "Windows", "macOS", "`cpu`"] {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

#[test]
fn part_of_a_name_in_any_case_is_enough() {
    let name = device().caps().adapter;
    let part: String = name.to_uppercase().chars().take(5).collect();
    assert_eq!(Device::open_named(&part).unwrap().caps().adapter, name);
    assert!(Device::open_named("CPU").unwrap().gpu().is_none(), "the CPU twins are named cpu");
}

#[test]
fn a_lost_device_is_an_error_and_no_panic() {
    let own = Device::open().unwrap();
    let model = Model::initial(&network(), 1).unwrap();
    let digits = data::digits();
    model.evaluate(&own, &digits).unwrap();
    let gpu = own.gpu().unwrap();
    gpu.device().destroy();
    // wgpu tells of the loss at the next poll; from then on every call says so.
    let _ = gpu.device().poll(thinnet::wgpu::PollType::Poll);
    for _ in 0..2 {
        let error = model.evaluate(&own, &digits).unwrap_err();
        assert!(matches!(error, Error::DeviceLost(_)), "{error}");
    }
    // Another device is not concerned.
    model.evaluate(&Device::open().unwrap(), &digits).unwrap();
}

/// With nothing under way, which is how training begins, and with a submission under way.
#[test]
fn a_device_that_is_lost_while_training_is_an_error() {
    for submissions in [1, 2, 3, 4] {
        let own = Device::open().unwrap();
        let digits = data::digits();
        let mut trainer = thinnet::Trainer::new(&own, &network(), &digits, Default::default()).unwrap();
        let gpu = own.gpu().unwrap().device().clone();
        let mut seen = 0;
        let result = trainer.fit_with(100_000, |_| {
            seen += 1;
            if seen == submissions {
                gpu.destroy();
            }
        });
        assert!(matches!(result, Err(Error::DeviceLost(_))), "after submission {submissions}: {result:?}");
    }
}
