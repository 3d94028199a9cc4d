//! The training loop: what changes no bit, what the device is spared, and that the numbers are those of the reference.

use thinnet::data::{Dataset, digits};
use thinnet::executor::Executor;
use thinnet::plan::{Mode, Options, Plans, SLOTS, Training};
use thinnet::work::{Snapshot, Work};
use thinnet::{Activation, Dense, Device, Dropout, Metrics, Model, Network, Optimizer, TrainOptions, Trainer};

use crate::common::device;
use crate::drive::{self, Member, TRAIN};

/// 64-32-10 with dropout of the input and of the hidden layer.
fn network() -> Network {
    Network::new(64)
        .dropout(Dropout::keep(0.9).unwrap())
        .dense(Dense::new(32).activation(Activation::Relu))
        .dropout(Dropout::keep(0.5).unwrap())
        .dense(Dense::new(10))
}

fn options(seed: u64) -> TrainOptions {
    TrainOptions { seed, optimizer: Optimizer::adam(0.01), ..TrainOptions::default() }
}

/// The bytes of the model after calls of `fit` with these numbers of epochs.
fn trained(data: &Dataset, seed: u64, fits: &[u32]) -> Vec<u8> {
    let mut trainer = Trainer::new(device(), &network(), data, options(seed)).unwrap();
    for &epochs in fits {
        trainer.fit(epochs).unwrap();
    }
    trainer.model().unwrap().to_safetensors().unwrap()
}

#[test]
fn a_seed_ends_in_the_same_bytes_however_often_and_in_however_many_parts_it_is_run() {
    let data = digits().slice(0..203).unwrap();
    let bytes = trained(&data, 7, &[5]);
    assert!(bytes == trained(&data, 7, &[5]), "a second run ends in other bytes");
    assert!(bytes == trained(&data, 7, &[2, 3]), "fit(2); fit(3) is not fit(5)");
    assert!(bytes == trained(&data, 7, &[1, 1, 0, 3]));
    assert!(bytes != trained(&data, 8, &[5]), "another seed ends in the same bytes");
    assert!(bytes != trained(&data, 7, &[4]), "the fifth epoch changes nothing");
}

/// Runs work in submissions of `steps` steps and returns the last snapshot.
fn run(executor: &mut Executor, work: &[Work], steps: usize) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for work in work.chunks(steps) {
        let submission = executor.submit(work).unwrap();
        snapshot = executor.wait(submission).unwrap();
    }
    snapshot
}

/// All bits of a member: weights and moments.
fn bits(executor: &Executor, network: &Network, member: u32) -> Vec<Vec<u32>> {
    let first = &network.parameters().unwrap()[0].name;
    let tensors = &executor.plans().plans[TRAIN].tensors;
    let held = ["", ".moment1", ".moment2"].into_iter().filter(|suffix| tensors.contains_key(&format!("{first}{suffix}")));
    let tensors = held.flat_map(|suffix| drive::parameters_of(executor, network, suffix, member));
    tensors.map(|tensor| tensor.into_iter().map(f32::to_bits).collect()).collect()
}

/// An executor with the weights and data of members, ready to train in batches of 32.
fn executor(device: &Device, data: &Dataset, members: &[Member]) -> Executor {
    let (network, update) = (members[0].model.network(), members[0].optimizer.update());
    let plans = drive::plans(device.caps(), network, data, 32, update, members.len() as u32);
    let executor = Executor::new(device, plans).unwrap();
    drive::upload(&executor, data, members);
    executor
}

#[test]
fn how_many_steps_share_a_submission_changes_no_bit() {
    for (device, rows, epochs) in [(device(), 203, 4), (&Device::cpu(), 45, 2)] {
        let data = digits().slice(0..rows).unwrap();
        let seed = 1 << 40 | 7; // both halves of the key
        let member = Member::new(&network(), seed, Optimizer::adam(0.01)).weight_decay(0.02);
        let work = drive::training(std::slice::from_ref(&member), rows, 32, 0..epochs);
        let by_hand = |steps| {
            let mut executor = executor(device, &data, std::slice::from_ref(&member));
            let snapshot = run(&mut executor, &work, steps);
            let sums: Vec<(f32, u32)> = (0..epochs).map(|slot| snapshot.sums(TRAIN, 0, slot)).collect();
            (bits(&executor, &network(), 0), sums)
        };
        let (one_by_one, sums) = by_hand(1);
        assert_eq!(by_hand(work.len()), (one_by_one.clone(), sums.clone()));
        assert_eq!(by_hand(3), (one_by_one.clone(), sums.clone()));

        let options = TrainOptions { weight_decay: 0.02, ..options(seed) };
        let mut trainer = Trainer::from_model(device, &member.model, &data, options).unwrap();
        trainer.fit(epochs).unwrap();
        let weights: Vec<Vec<u32>> =
            trainer.model().unwrap().weights().iter().map(|w| w.iter().map(|v| v.to_bits()).collect()).collect();
        assert!(weights == one_by_one[..weights.len()], "the trainer's weights are others than those of its steps");
        for (epoch, (loss, hits)) in trainer.history().iter().zip(sums) {
            let rows = f64::from(rows);
            assert_eq!(epoch.running, Metrics { loss: f64::from(loss) / rows, accuracy: Some(f64::from(hits) / rows) });
        }
    }
}

/// Units that are dropped for the whole batch, of which some are dropped for longer than updates wait.
fn thinned() -> Network {
    let (units, relu) = (|keep| Dropout::units(keep).unwrap(), |units| Dense::new(units).activation(Activation::Relu));
    let network = Network::new(64).dropout(units(0.8)).dense(relu(33)).dropout(units(0.5)).dense(relu(24));
    network.dropout(units(0.2)).dense(Dense::new(10))
}

/// An executor whose weights are updated as their gradient is made, so that updates of dropped rows may wait.
fn at_once(device: &Device, data: &Dataset, members: &[Member], max_norm: f64) -> Executor {
    let (network, mut plans) = (members[0].model.network(), Plans::new(device.caps()));
    let training = Training { max_norm: max_norm.is_finite(), ..members[0].optimizer.update().into() };
    for (name, mode) in [("train", Mode::Train(training)), ("eval", Mode::Eval)] {
        let options = drive::options(name, mode, data, 32, members.len() as u32);
        plans.add(network, Options { store_gradient: false, ..options }).unwrap();
    }
    let kernels: Vec<&str> = plans.plans[TRAIN].kernels.iter().map(|kernel| kernel.entry().name).collect();
    assert!(["idle_update", "thinned_update"].iter().all(|name| kernels.contains(name)), "{kernels:?}");
    let executor = Executor::new(device, plans).unwrap();
    drive::upload(&executor, data, members);
    executor
}

/// Within a submission, and there until somebody reads all weights, updates of dropped rows wait.
#[test]
fn updates_that_wait_change_no_bit() {
    let nesterov = Optimizer::Sgd { lr: 0.05, momentum: 0.9, nesterov: true };
    for (device, rows, epochs) in [(device(), 203, 4), (&Device::cpu(), 77, 5)] {
        let data = digits().slice(0..rows).unwrap();
        let cases = [
            (&[Optimizer::adam(0.01)][..], f64::INFINITY),
            (&[nesterov, Optimizer::sgd(0.1)], f64::INFINITY),
            (&[nesterov], 0.5),
            (&[Optimizer::rmsprop(0.01)], f64::INFINITY),
        ];
        for (optimizers, bound) in cases {
            let member = |(seed, &optimizer)| {
                Member::new(&thinned(), seed, optimizer).weight_decay(0.02 * seed as f64).norms(f64::INFINITY, bound)
            };
            let members: Vec<Member> = (1..).zip(optimizers).map(member).collect();
            let mut work = drive::training(&members, rows, 32, 0..epochs);
            let steps = work.len();
            let evaluations = drive::evaluation(&members, rows, 32);
            work.splice(steps / 2..steps / 2, evaluations);
            let by_hand = |steps| {
                let mut executor = at_once(device, &data, &members, bound);
                let snapshot = run(&mut executor, &work, steps);
                let of = |m: u32| -> (Vec<_>, Vec<_>) {
                    let sums = |plan| (0..epochs).map(move |slot| (plan, slot));
                    let sums = sums(TRAIN).chain(sums(drive::EVAL)).map(|(plan, slot)| snapshot.sums(plan, m, slot));
                    (bits(&executor, &thinned(), m), sums.collect())
                };
                (0..members.len() as u32).map(of).collect::<Vec<_>>()
            };
            let one_by_one = by_hand(1);
            for steps in [2, 7, work.len()] {
                assert!(by_hand(steps) == one_by_one, "{steps} steps in a submission, {optimizers:?}");
            }
        }
    }
}

/// A bound on the norm of all gradients that none reaches needs the whole gradient first: scattered, and then one kernel for all weights.
#[test]
fn kernels_that_update_the_kept_and_the_dropped_end_where_those_of_all_weights_do() {
    let data = digits().slice(0..203).unwrap();
    for optimizer in [Optimizer::adam(0.01), Optimizer::momentum(0.05, 0.9), Optimizer::rmsprop(0.01)] {
        let weights = |options| {
            let mut trainer = Trainer::new(device(), &thinned(), &data, options).unwrap();
            trainer.fit(4).unwrap();
            trainer.model().unwrap().weights().concat()
        };
        let options = TrainOptions { optimizer, weight_decay: 0.02, batch: 32, ..TrainOptions::default() };
        let [kept, all] = [None, Some(1e30)].map(|clip_norm| weights(TrainOptions { clip_norm, ..options.clone() }));
        let worst = kept.iter().zip(&all).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= 1e-5, "{optimizer:?}: weights {worst} apart");
        let other = weights(TrainOptions { weight_decay: 0.021, ..options });
        assert!(kept.iter().zip(&other).any(|(a, b)| (a - b).abs() > 1e-4), "{optimizer:?}: nothing would be seen");
    }
}

#[test]
fn two_members_are_two_single_runs_bit_for_bit() {
    let data = digits().slice(100..241).unwrap();
    let optimizers = [
        [Optimizer::adam(0.01), Optimizer::Adam { lr: 0.003, beta1: 0.8, beta2: 0.99, epsilon: 1e-6 }],
        [Optimizer::momentum(0.1, 0.9), Optimizer::sgd(0.03)],
    ];
    for optimizer in optimizers {
        let members = [
            Member::new(&network(), 1 << 40 | 3, optimizer[0]).rates(&[0.8, 0.5]),
            Member::new(&network(), 9, optimizer[1]).rates(&[1.0, 0.7]).weight_decay(0.01),
        ];
        let mut both = executor(device(), &data, &members);
        let snapshot = run(&mut both, &drive::training(&members, data.rows(), 32, 0..3), 4);
        for (m, member) in members.iter().enumerate() {
            let alone = std::slice::from_ref(member);
            let mut single = executor(device(), &data, alone);
            let single_snapshot = run(&mut single, &drive::training(alone, data.rows(), 32, 0..3), 4);
            assert!(bits(&both, &network(), m as u32) == bits(&single, &network(), 0), "member {m}");
            for slot in 0..3 {
                assert_eq!(snapshot.sums(TRAIN, m as u32, slot), single_snapshot.sums(TRAIN, 0, slot), "member {m}");
            }
        }
        assert!(bits(&both, &network(), 0) != bits(&both, &network(), 1));
    }
}

#[test]
fn a_step_creates_nothing_and_shares_its_submission_with_others() {
    // A device of its own: the other tests create things on the shared one.
    let device = Device::open().unwrap();
    let gpu = device.gpu().unwrap();
    let digits = digits();
    let (train, valid) = (digits.slice(0..500).unwrap(), digits.slice(500..600).unwrap());
    let relu = |units| Dense::new(units).activation(Activation::Relu);
    let half = || Dropout::keep(0.5).unwrap();
    let network = Network::new(64).dense(relu(128)).dropout(half()).dense(relu(128)).dropout(half()).dense(Dense::new(10));
    let mut trainer = Trainer::new(&device, &network, (&train, &valid), TrainOptions::default()).unwrap();
    trainer.fit(1).unwrap();
    let (created, submissions) = (gpu.created(), gpu.submissions());
    let began = std::time::Instant::now();
    trainer.fit(7).unwrap(); // 7 * 16 steps
    let fifths = began.elapsed().as_secs_f64() / 0.2;
    assert_eq!(gpu.created(), created, "a step created a buffer, a bind group or a pipeline");
    let submissions = gpu.submissions() - submissions;
    // A submission takes about a fifth of a second, so a busy machine may make more of them than five.
    let most = 5.0f64.max(2.0 + 2.0 * fifths);
    assert!(submissions >= 1 && submissions as f64 <= most, "{submissions} submissions in {fifths} fifths of a second");
}

#[test]
fn every_row_is_seen_once_an_epoch_whatever_the_batch() {
    let data = digits().slice(0..75).unwrap();
    let member = Member::new(&network(), 3, Optimizer::sgd(0.1));
    for batch in [1, 2, 32, 74, 75] {
        let update = member.optimizer.update();
        let plans = drive::plans(device().caps(), &network(), &data, batch, update, 1);
        let mut executor = Executor::new(device(), plans).unwrap();
        drive::upload(&executor, &data, std::slice::from_ref(&member));
        let mut orders = Vec::new();
        for epoch in 0..2 {
            let mut order = Vec::new();
            for work in drive::training(std::slice::from_ref(&member), 75, batch, epoch..epoch + 1) {
                run(&mut executor, std::slice::from_ref(&work), 1);
                let rows = executor.read(executor.plans().plans[TRAIN].tensor("batch.rows"), 0).unwrap();
                order.extend_from_slice(&rows[..work.step.rows as usize]);
            }
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..75), "batch {batch}: {order:?}");
            orders.push(order);
        }
        assert!(orders[0] != orders[1], "two epochs have one order");
    }
}

#[test]
fn an_epoch_at_a_vanishing_learning_rate_has_the_metrics_of_an_evaluation() {
    let data = digits().slice(0..75).unwrap();
    let network = network().without_dropout();
    // The changes are far below an ULP of every weight but a bias of 0, whose change is far below one of any sum.
    let optimizer = Optimizer::sgd(1e-30);
    // The last case goes on until a slot is used again.
    for (batch, epochs) in [(1, 2), (2, 2), (32, 2), (74, 2), (75, 2), (1000, SLOTS + 2)] {
        let options = TrainOptions { batch, optimizer, evaluate_train: true, ..options(5) };
        let mut trainer = Trainer::new(device(), &network, &data, options).unwrap();
        let first = trainer.fit(epochs).unwrap()[0].train;
        for epoch in trainer.history() {
            assert_eq!(epoch.train, first, "batch {batch}: the weights changed, or another epoch shows through");
            let judged = epoch.train.unwrap();
            assert_eq!(epoch.running.accuracy, judged.accuracy, "batch {batch}");
            // The same losses, added in another order.
            let bound = 2.0 * thinnet::kernels::gamma(75) * judged.loss;
            assert!((epoch.running.loss - judged.loss).abs() <= bound, "batch {batch}: {epoch:?}");
        }
    }
}

#[test]
fn the_last_validation_of_a_training_is_the_evaluation_of_its_model() {
    let digits = digits();
    // More rows than one evaluation batch has, and no multiple of it.
    let (train, valid) = (digits.slice(0..203).unwrap(), digits.slice(203..903).unwrap());
    let options = TrainOptions { evaluate_train: true, ..options(4) };
    let mut trainer = Trainer::new(device(), &network(), (&train, &valid), options).unwrap();
    let last = *trainer.fit(3).unwrap().last().unwrap();
    let model = trainer.model().unwrap();
    assert_eq!(last.valid.unwrap(), model.evaluate(device(), &valid).unwrap());
    assert_eq!(last.train.unwrap(), model.evaluate(device(), &train).unwrap());
    assert!(last.train != last.valid && last.train != Some(last.running));
    let initial = Model::initial(&network(), 4).unwrap().evaluate(device(), &valid).unwrap();
    assert!(initial != last.valid.unwrap(), "training changed nothing");
}

/// Epochs with their metrics, from calls of `fit` with these numbers of epochs.
fn history(device: &Device, batch: u32, evaluate_train: bool, fits: &[u32]) -> Vec<(u32, Metrics, Option<Metrics>)> {
    let data = drive::random_data(5, 3, 2, 1);
    let network = Network::new(3).dropout(Dropout::keep(0.5).unwrap()).dense(Dense::new(2));
    let options = TrainOptions { batch, evaluate_train, ..options(6) };
    let mut trainer = Trainer::new(device, &network, &data, options).unwrap();
    for &epochs in fits {
        trainer.fit(epochs).unwrap();
    }
    trainer.history().iter().map(|e| (e.epoch, e.running, e.train)).collect()
}

#[test]
fn more_epochs_than_there_are_slots_are_kept_apart() {
    // On the twins an epoch of one step takes microseconds, so that a submission would hold more epochs than there are slots.
    let cases = [(device(), 2, true, SLOTS + 40), (&Device::cpu(), 5, false, 6 * SLOTS)];
    for (device, batch, evaluate_train, epochs) in cases {
        let at_once = history(device, batch, evaluate_train, &[epochs]);
        assert!(at_once.iter().map(|epoch| epoch.0).eq(0..epochs));
        let sevens = vec![7; (epochs / 7) as usize];
        assert_eq!(at_once, history(device, batch, evaluate_train, &[&sevens[..], &[epochs % 7]].concat()));
        // Epochs that share a slot have metrics of their own.
        let pairs = at_once.iter().zip(&at_once[SLOTS as usize..]);
        assert!(pairs.clone().all(|(a, b)| a.1 != b.1 && (a.2 != b.2 || !evaluate_train)), "an epoch has another's metrics");
    }
}
