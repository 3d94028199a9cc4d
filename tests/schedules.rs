//! Rates that move during a training: the step table, whole trainings, going on, and what a step costs.

use thinnet::data::{Dataset, digits};
use thinnet::network::{Concrete, Recurrent, Schedule, Unit, Way};
use thinnet::plan::{Mode, Options, Plans, Source, Training, Update};
use thinnet::{Activation, Dense, Device, Dropout, KeepProb, Model, Network, Noise, Optimizer, TrainOptions, Trainer, rng};

use crate::common::device;

const WAYS: [Way; 4] = [Way::Linear, Way::Cosine, Way::Step, Way::Curriculum];

fn keep(keep: f64) -> KeepProb {
    KeepProb::new(keep).unwrap()
}

/// A way from `from` to `to`.
fn moving(way: Way, [from, to]: [f64; 2], over: u32) -> Dropout {
    Dropout::keep(to).unwrap().schedule(Schedule::new(way, over).from(keep(from)))
}

/// The formulas of [`Schedule`], by themselves.
fn formula(way: Way, [a, b]: [f64; 2], over: u32, update: u32) -> f64 {
    let s = f64::from(update) / f64::from(over);
    match way {
        _ if s >= 1.0 => b,
        Way::Linear => a + s * (b - a),
        Way::Cosine => b + 0.5 * (a - b) * (1.0 + (std::f64::consts::PI * s).cos()),
        Way::Step => a,
        Way::Curriculum => b + (a - b) * (-10.0 * s).exp(),
        other => panic!("{other:?} has no formula here"),
    }
}

/// Sites of every kind whose values follow a rate. The rate of two ways to one value may differ in the last bit of an f64, and
/// its threshold by 1.
#[test]
fn the_step_table_follows_the_schedule_in_every_step() {
    for (way, ends) in WAYS.into_iter().flat_map(|way| [[1.0, 0.5], [0.5, 1.0], [0.9, 0.3], [0.2, 0.7]].map(|ends| (way, ends))) {
        let over = 37;
        let steps = moving(way, ends, over).variational();
        let lstm = Recurrent::lstm(4).input(steps).recurrent(steps.batch()).output(steps);
        let gaussian = moving(way, ends, over).noise(Noise::Gaussian);
        let alpha = moving(way, ends, over).noise(Noise::Alpha);
        let weights = Dropout { schedule: steps.schedule, ..Dropout::drop_connect(ends[1]).unwrap() };
        let network = Network::new([3, 4]).recurrent(lstm).dropout(gaussian).dense(Dense::new(5)).dropout(alpha);
        let network = network.dense(Dense::new(5)).dropout(weights).dense(Dense::new(3));
        let source = Source { name: "rows".into(), rows: 10, byte_scale: None, labelled: true, window: None };
        let options = Options {
            name: "train".into(),
            mode: Mode::Train(Training::from(Update::Sgd)),
            batch: 4,
            members: 1,
            source,
            variable_rates: false,
            store_output: false,
            store_gradient: false,
        };
        let mut plans = Plans::new(Device::cpu().caps());
        plans.add(&network, options).unwrap();
        let plan = &plans.plans[0];
        assert_eq!(plan.sites.len(), 6, "{way:?}, {ends:?}: a rate that is 1 at one end is a site");
        for update in (0..50).chain([u32::MAX]) {
            let rate = formula(way, ends, over, update);
            let sites = plan.site_steps(&network, rng::key(1), [3, update], || vec![0; 4]);
            for (site, step) in plan.sites.iter().zip(&sites) {
                let threshold = u64::from(step.keep_all) << 32 | u64::from(step.threshold);
                let apart = threshold.abs_diff(keep(rate).threshold());
                assert!(apart <= u64::from(way != Way::Step), "{way:?}, {ends:?}, update {update}: {threshold} at {rate}");
                let scale = match network.dropout_at(site.layer).unwrap().noise {
                    Noise::Gaussian => ((1.0 - rate) / rate).sqrt(),
                    Noise::Alpha => (rate + 1.758_099_340_847_376_6f64.powi(2) * rate * (1.0 - rate)).powf(-0.5),
                    _ => 1.0 / rate,
                };
                // One rounding to f32; near a rate of 1 the root of 1 - rate has few digits.
                let error = (f64::from(step.scale) - scale).abs();
                assert!(error <= 1e-7 * scale + 1e-8, "{way:?}, {ends:?}, update {update}: {} for {scale}", step.scale);
            }
        }
        // The rates do move, and end where they should.
        let at = |update| plan.site_steps(&network, rng::key(1), [0, update], || vec![0; 4])[0].clone();
        assert_ne!((at(0).threshold, at(0).keep_all), (at(over).threshold, at(over).keep_all));
        assert_eq!(at(over), at(u32::MAX));
    }
}

fn network(dropout: Dropout) -> Network {
    let relu = Dense::new(24).activation(Activation::Relu);
    Network::new(64).dropout(dropout).dense(relu).dropout(dropout).dense(Dense::new(10))
}

fn options(optimizer: Optimizer, batch: u32) -> TrainOptions {
    TrainOptions { seed: 3, batch, optimizer, ..TrainOptions::default() }
}

fn data() -> Dataset {
    digits().slice(0..150).unwrap()
}

/// Recurrent, noisy and weight-dropping networks over rows of digits, for which the rate is all that moves.
fn networks(dropout: Dropout) -> Vec<Network> {
    let steps = dropout.variational();
    let lstm = Recurrent::lstm(8).input(steps).recurrent(steps).output(steps);
    let weights = |dropout: Dropout| Dropout { schedule: dropout.schedule, ..Dropout::drop_connect(dropout.keep.get()).unwrap() };
    let tanh = || Dense::new(12).activation(Activation::Tanh);
    vec![
        network(dropout),
        Network::new([8, 8]).recurrent(lstm).dense(Dense::new(10)),
        Network::new(64).dense(tanh()).dropout(dropout.noise(Noise::Gaussian)).dense(Dense::new(10)),
        Network::new(64).dense(tanh()).dropout(dropout.noise(Noise::Alpha)).dense(Dense::new(10)),
        Network::new(64).dense(tanh()).dropout(weights(dropout)).dense(Dense::new(10)),
        Network::new([1, 8, 8]).dropout(dropout.unit(Unit::Block(2))).layer(thinnet::Layer::Flatten).dense(Dense::new(10)),
    ]
}

/// The same rate at every site.
fn at_rate(network: &Network, rate: KeepProb) -> Network {
    let mut network = network.clone();
    network.change_layers(|_, layer| {
        if let thinnet::Layer::Dropout(dropout) = layer
            && !dropout.is_none()
        {
            *dropout = Dropout { keep: rate, schedule: None, ..*dropout };
        }
    });
    network
}

/// Epochs of one update, each at a constant rate: a new trainer that goes on from the weights of the last, bit for bit.
#[test]
fn a_schedule_is_the_training_with_the_rate_of_each_step_by_hand() {
    let (data, optimizer) = (digits().slice(0..40).unwrap(), Optimizer::sgd(0.5));
    for way in WAYS {
        for scheduled in networks(moving(way, [0.9, 0.5], 5)) {
            let mut trainer = Trainer::new(device(), &scheduled, &data, options(optimizer, 40)).unwrap();
            trainer.fit(7).unwrap();
            let by_hand = |shift: u32| {
                let mut model = Model::initial(&scheduled, 3).unwrap();
                for epoch in 0..7 {
                    let rate = keep(formula(way, [0.9, 0.5], 5, epoch + shift));
                    let constant = Model::new(at_rate(&scheduled, rate), model.weights().to_vec()).unwrap();
                    let options = TrainOptions { first_epoch: epoch, ..options(optimizer, 40) };
                    let mut trainer = Trainer::from_model(device(), &constant, &data, options).unwrap();
                    trainer.fit(1).unwrap();
                    model = trainer.model().unwrap();
                }
                model.weights().to_vec()
            };
            let weights = trainer.model().unwrap().weights().to_vec();
            assert!(weights == by_hand(0), "{way:?}: {scheduled:?}");
            assert!(weights != by_hand(1), "{way:?}: a schedule that is one step ahead passes");
        }
    }
}

/// Ragged batches of 150 rows: 5 updates an epoch, 2 where three steps make one. The middle of the way lies in epoch 2.
#[test]
fn a_training_that_goes_on_is_in_the_middle_of_its_schedule() {
    for (batch, accumulate, over) in [(32, 1, 20), (32, 3, 8)] {
        let (network, data) = (network(moving(Way::Linear, [1.0, 0.4], over)), data());
        let options = |first_epoch| TrainOptions { accumulate, first_epoch, ..options(Optimizer::sgd(0.1), batch) };
        let mut straight = Trainer::new(device(), &network, &data, options(0)).unwrap();
        straight.fit(2).unwrap();
        let half = straight.model().unwrap();
        straight.fit(3).unwrap();
        let go_on = |network: &Network, first_epoch| {
            let model = Model::new(network.clone(), half.weights().to_vec()).unwrap();
            let mut trainer = Trainer::from_model(device(), &model, &data, options(first_epoch)).unwrap();
            trainer.fit(3).unwrap();
            trainer.model().unwrap().weights().to_vec()
        };
        let straight = straight.model().unwrap().weights().to_vec();
        assert!(go_on(&network, 2) == straight);
        // The same masks' words, with the schedule of a training that began half as late, or is through.
        let late = self::network(moving(Way::Linear, [1.0, 0.4], over + 5));
        assert!(go_on(&late, 2) != straight && go_on(&at_rate(&network, keep(0.4)), 2) != straight);
        // A file keeps the schedule.
        let bytes = half.to_safetensors().unwrap();
        let read = Model::from_safetensors(&bytes).unwrap();
        assert_eq!(read.network(), &network);
    }
}

#[test]
fn how_a_training_is_split_into_calls_changes_no_bit_of_a_schedule() {
    for scheduled in networks(moving(Way::Curriculum, [1.0, 0.4], 17)) {
        let trained = |fits: &[u32]| {
            let mut trainer = Trainer::new(device(), &scheduled, &data(), options(Optimizer::adam(0.01), 32)).unwrap();
            fits.iter().for_each(|&epochs| _ = trainer.fit(epochs).unwrap());
            trainer.model().unwrap().weights().to_vec()
        };
        let whole = trained(&[4]);
        assert!(whole == trained(&[1, 2, 1]) && whole == trained(&[3, 0, 1]), "{scheduled:?}");
        assert!(whole != trained(&[3]));
    }
}

/// The rate at the end of the way changes; what is behind of the way stays.
#[test]
fn another_keep_is_another_end_of_the_schedule() {
    let (data, optimizer) = (data(), Optimizer::momentum(0.1, 0.9));
    let begun = |dropout: Dropout| Trainer::new(device(), &network(dropout), &data, options(optimizer, 32)).unwrap();
    let trained = |trainer: &mut Trainer| {
        trainer.fit(3).unwrap();
        trainer.model().unwrap().weights().to_vec()
    };
    let mut changed = begun(moving(Way::Cosine, [1.0, 0.8], 10));
    [0, 2].into_iter().for_each(|layer| changed.set_keep(layer, keep(0.3)).unwrap());
    let changed = trained(&mut changed);
    assert!(changed == trained(&mut begun(moving(Way::Cosine, [1.0, 0.3], 10))));
    assert!(changed != trained(&mut begun(moving(Way::Cosine, [1.0, 0.8], 10))));
    assert!(changed != trained(&mut begun(Dropout::keep(0.3).unwrap())));
    // A schedule that ends at 1 is planned, although its keep is 1.
    let mut early = begun(moving(Way::Step, [0.5, 1.0], 4));
    [0, 2].into_iter().for_each(|layer| early.set_keep(layer, keep(0.7)).unwrap());
    assert!(trained(&mut early) == trained(&mut begun(moving(Way::Step, [0.5, 0.7], 4))));
}

/// The rate of concrete dropout is a weight, and noise of keep_prob 0 has no deviation: set_keep says so, and changes nothing.
#[test]
fn a_keep_that_could_not_be_is_refused() {
    let concrete = Concrete { temperature: 0.1, weight_regularizer: 1e-4, dropout_regularizer: 1e-3 };
    let concrete = Dropout::keep(0.8).unwrap().noise(Noise::Concrete(concrete));
    let gaussian = Dropout::keep(0.8).unwrap().noise(Noise::Gaussian);
    for (dropout, to, words) in [(concrete, 0.5, "learned"), (concrete, 0.0, "learned"), (gaussian, 0.0, "gaussian")] {
        let dense = |units| Dense::new(units).activation(Activation::Tanh);
        let network = Network::new(64).dense(dense(8)).dropout(dropout).dense(Dense::new(10));
        let mut trainer = Trainer::new(device(), &network, &data(), options(Optimizer::sgd(0.1), 32)).unwrap();
        let message = trainer.set_keep(1, keep(to)).unwrap_err().to_string();
        assert!(message.contains("layer 1") && message.contains(words), "{message}");
        trainer.fit(1).unwrap();
        let mut untouched = Trainer::new(device(), &network, &data(), options(Optimizer::sgd(0.1), 32)).unwrap();
        untouched.fit(1).unwrap();
        assert!(trainer.model().unwrap() == untouched.model().unwrap());
    }
}

/// A schedule counts updates in 32 bits: 5 an epoch, from epoch 2^32 / 5 on they would begin anew.
#[test]
fn updates_that_a_schedule_cannot_count_are_refused() {
    let first_epoch = u32::MAX / 5;
    let options = TrainOptions { first_epoch, ..options(Optimizer::sgd(0.1), 32) };
    let fit = |dropout: Dropout| {
        let mut trainer = Trainer::new(device(), &network(dropout), &data(), options.clone()).unwrap();
        trainer.fit(1).map(|_| ())
    };
    let message = fit(moving(Way::Linear, [1.0, 0.5], 10)).unwrap_err().to_string();
    assert!(message.contains("2^32") && message.contains("schedules"), "{message}");
    fit(Dropout::keep(0.5).unwrap()).unwrap();
}

#[test]
fn without_dropout_nothing_is_scheduled() {
    let (data, optimizer) = (data(), Optimizer::sgd(0.1));
    let trained = |network: &Network| {
        let mut trainer = Trainer::new(device(), network, &data, options(optimizer, 32)).unwrap();
        trainer.fit(2).unwrap();
        trainer.model().unwrap().weights().to_vec()
    };
    let scheduled = network(moving(Way::Step, [0.5, 0.8], 1000));
    let plain = at_rate(&scheduled, KeepProb::ONE);
    assert!(trained(&scheduled.without_dropout()) == trained(&plain));
    assert!(trained(&scheduled) != trained(&plain));
}

/// Rates that move in every step of 8 epochs of 5 updates, over every kind of site. The count is that of all buffers, textures,
/// bind groups and pipelines that the library makes of a device, which is one of its own here: reading a weight makes a buffer,
/// another rate where there was none makes pipelines.
#[test]
fn a_step_at_a_new_rate_creates_nothing() {
    let device = Device::open().unwrap();
    let gpu = device.gpu().unwrap();
    for scheduled in networks(moving(Way::Linear, [1.0, 0.2], 1000)) {
        let mut trainer = Trainer::new(&device, &scheduled, &data(), options(Optimizer::adam(0.01), 32)).unwrap();
        trainer.fit(1).unwrap();
        let (created, submissions) = (gpu.created(), gpu.submissions());
        trainer.fit(8).unwrap();
        assert_eq!(gpu.created(), created, "a step created a buffer, a bind group or a pipeline: {scheduled:?}");
        assert!(gpu.submissions() > submissions);
        // What the count would notice.
        let _ = trainer.model().unwrap();
        let read = gpu.created();
        assert!(read > created, "reading the weights makes buffers");
        let mut other =
            Trainer::new(&device, &at_rate(&scheduled, keep(0.5)), &data(), options(Optimizer::adam(0.01), 32)).unwrap();
        assert!(gpu.created() > read, "another trainer makes buffers and bind groups");
        let created = gpu.created();
        other.fit(1).unwrap();
        assert_eq!(gpu.created(), created);
    }
}
