//! What `thinnet check` runs: that it passes here, that each group has something to say, and that a difference is named.

use std::collections::BTreeSet;

use thinnet::check::{Finding, Group, all};
use thinnet::executor::Executor;
use thinnet::gradient_check::cases;
use thinnet::{Activation, Dense, Device, Network, Optimizer, compare};

use crate::common::device;
use crate::drive::{self, Member};

/// The gradients of all networks have a test of their own, in gradient_check, and their kernels in tests/gradients; here those of the first
/// ones, and of the large ones.
#[test]
fn this_adapter_and_the_twins_pass() {
    for (device, seed) in [(device(), 3), (&Device::cpu(), 4)] {
        let mut seen = [0; 6];
        for check in all(seed) {
            let group = check.group();
            let of_networks = matches!(group, Group::Kernels | Group::Gradients);
            let large = check.name().starts_with("large") && device.gpu().is_some();
            if of_networks && !check.name().starts_with("dense") && !large {
                continue;
            }
            let finding = check.run(device).unwrap();
            let right = match finding {
                Finding::Within(share) => of_networks && (0.0..=1.0).contains(&share),
                _ => !of_networks && finding == Finding::Equal,
            };
            assert!(right, "{group}, {}: {finding:?}", check.name());
            seen[Group::ALL.iter().position(|&one| one == group).unwrap()] += 1;
        }
        assert!(seen.iter().all(|&count| count > 0) && seen[1] == 10 && seen[4] == 13 && seen[5] == 5, "{seen:?}");
    }
}

#[test]
fn checks_have_names_of_their_own_and_come_by_group() {
    let all = all(1);
    let names: BTreeSet<_> = all.iter().map(|check| (check.group().to_string(), check.name())).collect();
    assert_eq!(names.len(), all.len());
    let groups: Vec<Group> = all.iter().map(|check| check.group()).collect();
    assert_eq!(groups.chunk_by(PartialEq::eq).map(|run| run[0]).collect::<Vec<_>>(), Group::ALL);
    let count = |group| groups.iter().filter(|&&one| one == group).count();
    assert_eq!([count(Group::Kernels), count(Group::Gradients)], [cases().len() + 4, cases().len()]);
}

/// Where the twins are those of another activation, the first kernel that has one is named.
#[test]
fn the_first_kernel_that_differs_is_named_with_its_numbers() {
    let network = |f| Network::new(13).dense(Dense::new(9).activation(f)).dense(Dense::new(5));
    let data = drive::random_data(7, 13, 5, 3);
    let members = [Member::new(&network(Activation::Tanh), 1, Optimizer::sgd(0.1))];
    let plans = |f| drive::plans(device().caps(), &network(f), &data, 7, members[0].optimizer.update(), 1);
    let against = |f| {
        let mut executor = Executor::new(device(), plans(Activation::Tanh)).unwrap();
        let twin = Executor::new(&Device::cpu(), plans(f)).unwrap();
        drive::upload(&executor, &data, &members);
        drive::upload(&twin, &data, &members);
        let (Executor::Cpu(twin), step) = (twin, &drive::training(&members, 7, 7, 0..1)[0].step) else { panic!("no twin") };
        compare::step_on_both(&mut executor, &twin, drive::TRAIN, step).unwrap()
    };
    let share = against(Activation::Tanh).unwrap();
    assert!(share > 0.0 && share <= 1.0, "{share}");
    let found = against(Activation::Sigmoid).unwrap_err();
    for part in ["of the step, dense_forward", "activation.", "words differ", "device", "twin", "allowed: at most"] {
        assert!(found.contains(part), "{part:?} is not in: {found}");
    }
}
