//! Data sets that are streamed: the same bits as resident ones, with nothing but a window of them on the device.

use thinnet::data::{Dataset, Inputs, digits};
use thinnet::executor::Executor;
use thinnet::plan::{Mode, Plans};
use thinnet::{Activation, Dense, Device, Dropout, Metrics, Model, Network, Optimizer, TrainOptions, Trainer};

use crate::common::{POISON, device};
use crate::drive::{self, Member, TRAIN};
use crate::host::Host;

/// Dropout of the input and of a hidden layer.
fn network(columns: u32, classes: u32) -> Network {
    Network::new(columns)
        .dropout(Dropout::keep(0.8).unwrap())
        .dense(Dense::new(16).activation(Activation::Relu))
        .dropout(Dropout::keep(0.5).unwrap())
        .dense(Dense::new(classes))
}

/// Rows of the training and of the validation data: more than an evaluation batch, and no multiple of any batch.
const ROWS: (u32, u32) = (1100, 600);

/// Rows of the windows: a batch of evaluation fits, the validation data do not.
const WINDOW: u32 = 540;

#[derive(Debug, PartialEq)]
struct Run {
    epochs: Vec<(u32, Metrics, Option<Metrics>, Option<Metrics>)>,
    model: Model,
}

/// A training in calls of `fit` with these numbers of epochs, the rows of its windows and how many submissions it took.
fn run(device: &Device, data: [&Dataset; 2], options: TrainOptions, fits: &[u32]) -> (Run, [Option<u32>; 2], usize) {
    let model = Model::initial(&network(13, 3), 9).unwrap();
    let mut trainer = Trainer::from_model(device, &model, (data[0], data[1]), options).unwrap();
    let mut submissions = 0;
    for &epochs in fits {
        trainer.fit_with(epochs, |_| submissions += 1).unwrap();
    }
    let plans = &trainer.plans().plans;
    let windows = [&plans[TRAIN], plans.last().unwrap()].map(|plan| plan.options.source.window);
    let epochs = trainer.history().iter().map(|e| (e.epoch, e.running, e.train, e.valid)).collect();
    (Run { epochs, model: trainer.model().unwrap() }, windows, submissions)
}

#[test]
fn a_streamed_training_is_a_resident_one_bit_for_bit() {
    type Make = fn(u32, u32, u32, u64) -> Dataset;
    let kinds: [(Make, u64); 2] = [(drive::random_data, 64), (drive::random_bytes, 16)];
    for device in [device(), &Device::cpu()] {
        for (make, row_bytes) in kinds {
            let data = [make(ROWS.0, 13, 3, 1), make(ROWS.1, 13, 3, 2)];
            let data = [&data[0], &data[1]];
            for (accumulate, evaluate_train, first_epoch) in [(1, false, 0), (3, true, 0), (1, true, 2)] {
                let optimizer = Optimizer::adam(0.01);
                let resident =
                    TrainOptions { batch: 96, accumulate, evaluate_train, first_epoch, optimizer, ..TrainOptions::default() };
                let data_budget = Some(2 * u64::from(WINDOW) * row_bytes);
                let streamed = TrainOptions { data_budget, ..resident.clone() };
                let (expected, windows, _) = run(device, data, resident.clone(), &[3]);
                assert_eq!(windows, [None, None]);
                let (got, windows, submissions) = run(device, data, streamed.clone(), &[3]);
                assert_eq!(windows, [Some(WINDOW), Some(WINDOW)]);
                assert!(submissions >= 3 * 4, "{submissions} submissions: a window was used for more rows than it has");
                assert!(got == expected, "accumulate {accumulate}, row of {row_bytes} bytes: {:?}", got.epochs);
                assert!(run(device, data, streamed, &[1, 2]).0 == expected, "in parts");
                let other = TrainOptions { seed: 1, ..resident };
                assert!(run(device, data, other, &[3]).0 != expected, "another order and other masks end in the same weights");
            }
        }
    }
}

#[test]
fn the_window_is_read_where_the_step_says_and_nowhere_else() {
    let data = drive::random_data(75, 13, 3, 4);
    let member = Member::new(&network(13, 3), 5, Optimizer::sgd(0.1));
    let members = std::slice::from_ref(&member);
    let mut work = drive::training(members, data.rows(), 32, 0..2);
    let weights = |executor: &Executor| drive::parameters_of(executor, &network(13, 3), "", 0);
    let by_hand = |window: Option<u32>| {
        let mut plans = Plans::new(device().caps());
        let mode = Mode::Train(member.optimizer.update().into());
        let mut options = drive::options("train", mode, &data, 32, 1);
        options.source.window = window;
        plans.add(&network(13, 3), options).unwrap();
        Executor::new(device(), plans).unwrap()
    };
    let mut resident = by_hand(None);
    drive::upload(&resident, &data, members);
    for work in &work {
        let submission = resident.submit(std::slice::from_ref(work)).unwrap();
        resident.wait(submission).unwrap();
    }

    const AT: u32 = 7;
    let rows: Vec<Vec<f32>> = (0..data.rows()).map(|row| data.inputs().row_f32(row)).collect();
    for (off, same) in [(0, true), (1, false)] {
        let mut streamed = by_hand(Some(40));
        let inputs = streamed.plans().plans[TRAIN].tensor("data.inputs");
        assert_eq!(inputs.len, 40 * 16);
        drive::fill(&streamed.plans().plans[TRAIN], &data, members, |tensor, member, words| {
            if tensor != inputs {
                streamed.write(tensor, member, words).unwrap();
            }
        });
        for work in &mut work {
            // What is not of this batch is no number, also where the rows of an earlier one were.
            streamed.write(inputs, 0, &vec![POISON; inputs.len as usize]).unwrap();
            let nan = [f32::NAN; 13];
            let chosen = drive::rows_of(&work.step, 0, data.rows()).into_iter().map(|row| rows[row as usize].as_slice());
            let window: Vec<&[u8]> = std::iter::repeat_n(&nan[..], AT as usize).chain(chosen).map(bytemuck::cast_slice).collect();
            streamed.write_rows(inputs, 64, window.into_iter()).unwrap();
            work.step.window = AT - off;
            let submission = streamed.submit(std::slice::from_ref(work)).unwrap();
            streamed.wait(submission).unwrap();
        }
        assert_eq!(weights(&streamed) == weights(&resident), same, "the window read {off} rows too early");
    }
}

#[test]
fn members_and_windows_that_do_not_fit_are_refused() {
    let data = drive::random_data(75, 13, 3, 4);
    for (members, window, texts) in [(2, 40, ["`members` = 2", "window: None"]), (1, 31, ["`window` = 31", "32 rows of a batch"])]
    {
        let mut options = drive::options("eval", Mode::Eval, &data, 32, members);
        options.source.window = Some(window);
        let error = Plans::new(device().caps()).add(&network(13, 3), options).unwrap_err().to_string();
        texts.into_iter().for_each(|text| assert!(error.contains(text), "{text:?} is not in {error}"));
    }
}

#[test]
fn a_budget_that_holds_no_batch_is_refused_with_its_numbers() {
    let data = drive::random_data(1000, 13, 3, 4);
    let error = |data_budget, batch| {
        let options = TrainOptions { data_budget: Some(data_budget), batch, ..TrainOptions::default() };
        Trainer::new(device(), &network(13, 3), &data, options).unwrap_err().to_string()
    };
    let texts = ["`data_budget` = 6399", "100 rows of the train data, 6400 bytes", "smaller batch"];
    texts.into_iter().for_each(|text| assert!(error(6399, 100).contains(text), "{text:?} is not in {}", error(6399, 100)));
    assert!(error(0, 1).contains("`data_budget` = 0"));
    let options = TrainOptions { data_budget: Some(6400), batch: 100, ..TrainOptions::default() };
    Trainer::new(device(), &network(13, 3), &data, options).unwrap().fit(1).unwrap();
}

#[test]
fn a_step_of_a_streamed_training_creates_nothing() {
    let device = Device::open().unwrap();
    let gpu = device.gpu().unwrap();
    let data = drive::random_data(1000, 13, 3, 4);
    let options = TrainOptions { data_budget: Some(100 * 64), ..TrainOptions::default() };
    let mut trainer = Trainer::new(&device, &network(13, 3), &data, options).unwrap();
    trainer.fit(1).unwrap();
    let (created, submissions) = (gpu.created(), gpu.submissions());
    trainer.fit(2).unwrap();
    assert_eq!(gpu.created(), created, "a step created a buffer, a bind group or a pipeline");
    assert!(gpu.submissions() - submissions >= 20, "a window of three batches was filled once for more of them");
}

/// A data set that is larger than a binding of one of two devices, which differ in nothing else.
#[test]
fn a_data_set_larger_than_a_binding_is_trained_evaluated_and_predicted() {
    let device = |binding: u64| {
        let max_storage_buffer_binding_size = binding;
        let limits = thinnet::wgpu::Limits { max_storage_buffer_binding_size, ..thinnet::ops::required_limits() };
        let (device, queue) = Host::open_with(limits);
        Device::from_wgpu(device, queue).unwrap()
    };
    // 1,797 rows of 64 numbers are 460,032 bytes; a batch of evaluation is 131,072.
    let values = (0..digits().rows()).flat_map(|row| digits().inputs().row_f32(row)).collect();
    let data = Dataset::new(Inputs::from_f32(64, values).unwrap(), digits().labels().to_vec(), 10).unwrap();
    let results = [128 << 20, 256 << 10].map(|binding| {
        let device = device(binding);
        let options = TrainOptions { evaluate_train: true, ..TrainOptions::default() };
        let mut trainer = Trainer::new(&device, &network(64, 10), &data, options).unwrap();
        assert_eq!(trainer.plans().plans[TRAIN].options.source.window, (binding < 460_032).then_some(1024));
        let judged = trainer.fit(2).unwrap()[1].train;
        let model = trainer.model().unwrap();
        let metrics = model.evaluate(&device, &data).unwrap();
        assert_eq!(Some(metrics), judged);
        let logits = model.logits(&device, data.inputs()).unwrap();
        (model, metrics, logits)
    });
    assert!(results[0] == results[1], "a device with small bindings has other results");
    let error = Model::initial(&network(64, 10), 1).unwrap().evaluate(&device(64 << 10), &data).unwrap_err().to_string();
    assert!(error.contains("512 rows") && error.contains("131072") && error.contains("65536"), "{error}");
}
