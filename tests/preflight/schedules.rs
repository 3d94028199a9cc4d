//! What changes with time against the time there is.

use thinnet::network::{Schedule, Way};
use thinnet::optimizer::MomentumRamp;
use thinnet::preflight::{Outcome, schedules};
use thinnet::{Dense, Dropout, LrSchedule, Network, Optimizer, TrainOptions};

use crate::runs::Place;

/// 100 rows in batches of 20: 5 updates an epoch.
fn options() -> TrainOptions {
    TrainOptions { batch: 20, optimizer: Optimizer::sgd(0.1), ..Default::default() }
}

fn said(network: &Network, options: &TrainOptions, epochs: u32) -> Option<String> {
    let check = schedules(network, options, epochs, 100);
    match check.outcome {
        Outcome::Failed(advice) => Some(check.found + "; " + &advice),
        _ => None,
    }
}

#[test]
fn what_does_not_come_to_its_end_in_the_training_is_said() {
    let network = Network::new(4).dense(Dense::new(2));
    let cosine = |epochs, floor| TrainOptions { schedule: LrSchedule::Cosine { epochs, floor }, ..options() };
    let ramp = |epochs| TrainOptions {
        optimizer: Optimizer::momentum(0.1, 0.9),
        momentum_ramp: Some(MomentumRamp { from: 0.5, epochs }),
        ..options()
    };
    let cases = [
        (TrainOptions { warmup: 3.0, ..options() }, 3, None),
        (TrainOptions { warmup: 1000.0, ..options() }, 3, Some("0.3 % of what is set")),
        (cosine(3.0, 0.0), 3, None),
        (cosine(3.0, 0.1), 30, None),
        (cosine(2.5, 0.0), 3, None),
        (cosine(2.5, 0.0), 9, Some("0 from epoch 4 on")),
        (TrainOptions { first_epoch: 3, ..cosine(3.0, 0.0) }, 1, Some("0 from epoch 4 on")),
        (TrainOptions { schedule: LrSchedule::Exponential { factor: 1e-20 }, ..options() }, 4, Some("0 from epoch 4 on")),
        (ramp(3.0), 3, None),
        (ramp(1000.0), 3, Some("comes to 0.501 of 0.9")),
    ];
    for (options, epochs, expected) in cases {
        let said = said(&network, &options, epochs);
        match (expected, &said) {
            (None, None) => {}
            (Some(part), Some(text)) if text.contains(part) => {}
            _ => panic!("{epochs} epochs of {options:?}: {said:?}"),
        }
    }
}

#[test]
fn a_rate_of_dropout_that_does_not_come_to_where_it_goes_is_said() {
    let scheduled = |way, over| {
        let dropout = Dropout::keep(0.5).unwrap().schedule(Schedule::new(way, over));
        Network::new(4).dense(Dense::new(4)).dropout(dropout).dense(Dense::new(2))
    };
    assert_eq!(said(&scheduled(Way::Linear, 15), &options(), 3), None);
    let text = said(&scheduled(Way::Linear, 100_000), &options(), 3).unwrap();
    assert!(text.contains("layer 1 (dropout)") && text.contains("1.000 in the 15 of the training"), "{text}");
    assert!(said(&scheduled(Way::Step, 16), &options(), 3).unwrap().contains("at most 15 optimizer steps"));
    assert_eq!(said(&scheduled(Way::Step, 16), &TrainOptions { first_epoch: 1, ..options() }, 3), None);
}

/// The command says it before it trains; keep 0, too.
#[test]
fn training_says_what_preflight_finds_without_running_anything() {
    const NET: &str = "[network]\nlayers = [{ dense = 8, activation = \"relu\" }, { dropout = { keep = KEEP } }, { dense = 10 }]\n\
                       [train]\nepochs = 2\nwarmup = WARMUP\n";
    let notes = |keep: &str, warmup: &str| {
        let place = Place::with(&NET.replace("KEEP", keep).replace("WARMUP", warmup));
        let out = place.run("train net.toml");
        assert!(out.status.success());
        String::from_utf8(out.stderr).unwrap()
    };
    let quiet = notes("0.5", "0.1");
    assert!(!quiet.contains("note:"), "{quiet}");
    let loud = notes("0.0", "100.0");
    assert!(loud.contains("keeps 0 of its 8 units") && loud.contains("warm-up of 100 epochs outlasts"), "{loud}");
}
