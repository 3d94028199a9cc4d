use std::path::Path;

use thinnet::config::{Config, NetworkOptions, Outputs, TrainTable, template};
use thinnet::data::file::{DataOptions, Rows, Target};
use thinnet::network::{DropoutMode, Shape};
use thinnet::optimizer::{Prior, weight_decay_of};
use thinnet::{
    Activation, Augmentation, Dense, Dropout, Error, Init, KeepProb, Layer, Loss, LrSchedule, MomentumRamp, Network, Optimizer,
};

/// Networks of feature maps: shapes of samples, every layer, paths.
mod maps;
/// What is refused, and in which words.
mod refused;
mod sequences;
mod variants;

const EXAMPLE: &str = r#"
seed = 42
[data]
path = "fashion-mnist"
train = "0..55000"
valid = "55000..60000"
[network]
loss = "softmax_cross_entropy"
layers = [
  { dropout = { keep = 0.8 } },
  { dense = 1024, activation = "relu", init = "he_normal" },
  { dropout = { keep = 0.5 } },
  { dense = 10 },
]
[train]
epochs = 5
batch = 128
optimizer = { sgd = { lr = 0.1, momentum = 0.95 } }
weight_decay = 0.0
"#;

fn dropout(keep: f64) -> Dropout {
    Dropout::keep(keep).unwrap()
}

/// A configuration of one dense layer and the defaults.
fn least() -> Config {
    Config::parse("[network]\nlayers = [{ dense = 3 }]").unwrap()
}

#[test]
fn the_example_has_the_values_it_says() {
    let expected = Config {
        seed: 42,
        data: DataOptions {
            path: "fashion-mnist".into(),
            train: Some(Rows(0..55000)),
            valid: Some(Rows(55000..60000)),
            ..Default::default()
        },
        network: NetworkOptions {
            input: None,
            path_keep: None,
            loss: Loss::SoftmaxCrossEntropy,
            layers: vec![
                Layer::Dropout(dropout(0.8)),
                Layer::Dense(Dense::new(1024).activation(Activation::Relu).init(Init::HeNormal)),
                Layer::Dropout(dropout(0.5)),
                Layer::Dense(Dense::new(10)),
            ],
        },
        train: TrainTable { epochs: 5, batch: 128, optimizer: Optimizer::momentum(0.1, 0.95), ..Default::default() },
        augment: Augmentation::default(),
    };
    assert_eq!(Config::parse(EXAMPLE).unwrap(), expected);
    let network = Network::new(784)
        .dropout(dropout(0.8))
        .dense(Dense::new(1024).activation(Activation::Relu).init(Init::HeNormal))
        .dropout(dropout(0.5))
        .dense(Dense::new(10));
    assert_eq!(expected.network.network(784).unwrap(), network);
    let options = expected.options();
    assert_eq!((options.seed, options.batch, options.optimizer), (42, 128, Optimizer::momentum(0.1, 0.95)));
}

#[test]
fn what_is_left_out_has_the_documented_default() {
    let Config { seed, data, network, train, augment } = least();
    assert_eq!((seed, data.path.as_path(), network.loss), (0, Path::new("digits"), Loss::SoftmaxCrossEntropy));
    assert_eq!((train.epochs, train.batch, train.optimizer), (10, 32, Optimizer::adam(0.001)));
    assert_eq!((train.weight_decay, train.accumulate, train.schedule, train.warmup), (0.0, 1, LrSchedule::Constant, 0.0));
    assert_eq!((train.clip_norm, train.max_norm, train.momentum_ramp, train.patience), (None, None, None, None));
    assert_eq!((train.min_delta, train.evaluate_train), (0.0, false));
    assert!(augment.is_none());
    assert_eq!(train.options(7).optimizer, thinnet::TrainOptions::default().optimizer);
}

#[test]
fn a_cosine_without_epochs_ends_with_the_training() {
    for (written, expected) in [
        ("cosine = {}", LrSchedule::Cosine { epochs: 7.0, floor: 0.0 }),
        ("cosine = { floor = 0.01 }", LrSchedule::Cosine { epochs: 7.0, floor: 0.01 }),
        ("cosine = { epochs = 3.5 }", LrSchedule::Cosine { epochs: 3.5, floor: 0.0 }),
        ("cosine = { epochs = 4 }", LrSchedule::Cosine { epochs: 4.0, floor: 0.0 }),
        ("inverse_time = { decay = 1 }", LrSchedule::InverseTime { decay: 1.0 }),
    ] {
        let text = format!("[network]\nlayers = [{{ dense = 3 }}]\n[train]\nschedule = {{ {written} }}\nepochs = 7");
        assert_eq!(Config::parse(&text).unwrap().train.schedule, expected);
    }
}

#[test]
fn seeds_are_any_u64() {
    for (written, seed) in [
        ("0", 0),
        ("9223372036854775807", i64::MAX as u64),
        ("\"9223372036854775808\"", 1 << 63),
        ("\"18446744073709551615\"", u64::MAX),
        ("\"7\"", 7),
        ("0xff", 255),
    ] {
        let text = format!("seed = {written}\n[network]\nlayers = [{{ dense = 3 }}]");
        assert_eq!(Config::parse(&text).unwrap().seed, seed);
    }
}

/// A dozen configurations in which every key has at least two values.
fn several() -> Vec<Config> {
    let optimizers = [
        Optimizer::sgd(0.1),
        Optimizer::nesterov(1.0 / 3.0, 0.9),
        Optimizer::adam(1e-3),
        Optimizer::adamw(3e-4),
        Optimizer::rmsprop(1e-2),
        Optimizer::Adam { lr: 1.0, beta1: 0.0, beta2: 1.0 - 1.0 / 1024.0, epsilon: 1e-20 },
    ];
    let schedules = [
        LrSchedule::Constant,
        LrSchedule::Step { every: 2.5, factor: 0.1 },
        LrSchedule::Exponential { factor: 0.95 },
        LrSchedule::Cosine { epochs: 12.0, floor: 1e-3 },
        LrSchedule::InverseTime { decay: 0.1 + 0.2 },
    ];
    let seeds = [0, 1, i64::MAX as u64, 1 << 63, u64::MAX];
    let losses = [Loss::SoftmaxCrossEntropy, Loss::BinaryCrossEntropy, Loss::MeanSquaredError, Loss::GaussianNll];
    let paths = ["digits", "a \"quoted\" folder/train.csv", "C:\\data\\x.npz", "größe"];
    let targets = [None, Some(Target::One("price".into())), Some(Target::Many(vec!["a b".into(), "c".into()]))];
    let at = |i: u32| i as usize;
    (0..12)
        .map(|i| {
            let keep = [0.5, 1.0 / 3.0, 0.1 + 0.2, 1.0, 0.0, 2f64.powi(-33)][at(i) % 6];
            let site = Dropout { site: (i % 3 == 0).then_some(i + 5), ..dropout(keep) };
            let dropout = if i % 2 == 0 { site.vanilla() } else { site };
            let activation = [Activation::Identity, Activation::LeakyRelu, Activation::Selu, Activation::Gelu][at(i) % 4];
            let some = i % 2 == 1;
            let optimizer = optimizers[at(i) % 6];
            Config {
                seed: seeds[at(i) % 5],
                data: DataOptions {
                    path: paths[at(i) % 4].into(),
                    train: some.then_some(Rows(i..i + 100)),
                    valid: (i % 4 == 1).then_some(Rows(200..300)),
                    valid_fraction: (i % 4 == 3).then_some(1.0 / f64::from(i)),
                    test: (i % 3 == 1).then_some(Rows(400..u32::MAX)),
                    target: targets[at(i) % 3].clone(),
                    standardize: [None, Some(true), Some(false)][at(i) % 3],
                    sequence: (i % 5 == 2).then(|| "id \"x\"".into()),
                    words: false,
                },
                network: NetworkOptions {
                    input: (i % 5 == 0).then_some(Shape::from(i + 1)),
                    path_keep: None,
                    loss: losses[at(i) % 3],
                    layers: vec![
                        Layer::Dropout(dropout),
                        Layer::Dense(Dense { units: i + 1, activation, init: some.then_some(Init::LecunUniform) }),
                    ],
                },
                train: TrainTable {
                    epochs: i + 1,
                    batch: 1 << i,
                    optimizer,
                    weight_decay: f64::from(i) * 1e-5,
                    accumulate: i % 3 + 1,
                    clip_norm: some.then_some(1.0),
                    max_norm: (!some).then_some(3.5),
                    schedule: schedules[at(i) % 5],
                    warmup: f64::from(i) / 10.0,
                    momentum_ramp: (i % 6 == 1).then_some(MomentumRamp { from: 0.5, epochs: 0.7 }),
                    patience: some.then_some(i),
                    min_delta: f64::from(i) / 7.0,
                    evaluate_train: some,
                },
                augment: Augmentation {
                    shift: i % 3,
                    flip: some,
                    noise: f64::from(i % 4) / 3.0,
                    cutout: i % 5,
                    mixup: f64::from(i % 2) / 5.0,
                },
            }
        })
        .collect()
}

#[test]
fn a_configuration_and_its_toml_are_the_same() {
    let example = Config::parse(EXAMPLE).unwrap();
    for config in several().into_iter().chain([example, least()]) {
        config.check().unwrap();
        let text = config.to_toml();
        assert_eq!(Config::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}")), config, "{text}");
        assert_eq!(Config::parse(&text).unwrap().to_toml(), text);
        for (layer, again) in config.network.layers.iter().zip(&Config::parse(&text).unwrap().network.layers) {
            if let (Layer::Dropout(layer), Layer::Dropout(again)) = (layer, again) {
                assert_eq!(layer.keep.get().to_bits(), again.keep.get().to_bits());
            }
        }
    }
}

#[test]
fn toml_is_written_as_one_would() {
    let written = Config::parse(EXAMPLE).unwrap().to_toml();
    let layers = EXAMPLE.find("layers = [").unwrap()..EXAMPLE.find("[train]").unwrap();
    assert!(written.contains(EXAMPLE[layers].trim_end()), "{written}");
    assert!(written.starts_with("seed = 42\n\n[data]\npath = \"fashion-mnist\"\n"), "{written}");
    let sgd = "optimizer = { sgd = { lr = 0.1, momentum = 0.95, nesterov = false } }\n";
    assert!(written.contains(sgd), "{written}");
}

#[test]
fn a_network_of_other_columns_is_refused() {
    let network = NetworkOptions { input: Some(64.into()), ..least().network };
    assert_eq!(network.network(64).unwrap(), Network::new(64).dense(Dense::new(3)));
    let message = network.network(65).unwrap_err().to_string();
    assert!(message.starts_with("network.input = 64: the data have 65 columns"), "{message}");
}

#[test]
fn files_are_read_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.toml");
    let missing = Config::read(&file).unwrap_err();
    assert!(matches!(&missing, Error::File { path, problem } if *path == file && problem.starts_with("cannot be read")));
    std::fs::write(&file, EXAMPLE).unwrap();
    let config = Config::read(&file).unwrap();
    assert_eq!(config, Config::parse(EXAMPLE).unwrap());
    std::fs::write(&file, EXAMPLE.replace("batch", "bach")).unwrap();
    let problem = Config::read(&file).unwrap_err();
    assert!(matches!(&problem, Error::File { path, problem } if *path == file && problem.starts_with("line 17: train.bach")));

    // Beside the file if it is there, as given if not.
    assert_eq!(config.data_path(&file), Path::new("fashion-mnist"));
    std::fs::create_dir(folder.path().join("fashion-mnist")).unwrap();
    std::fs::create_dir(folder.path().join("digits")).unwrap();
    assert_eq!(config.data_path(&file), folder.path().join("fashion-mnist"));
    assert_eq!(least().data_path(&file), Path::new("digits"));
    assert_eq!(config.data_path(Path::new("run.toml")), Path::new("fashion-mnist"));
}

#[test]
fn the_template_is_a_configuration() {
    for (path, what, rows, loss, keep) in [
        ("digits", Outputs::Classes(10), 1797, Loss::SoftmaxCrossEntropy, 0.5),
        ("a \"b\".csv", Outputs::Values(2), 3, Loss::MeanSquaredError, 0.9),
        ("a.csv", Outputs::Values(1), 1_000_000, Loss::MeanSquaredError, 0.9),
    ] {
        let text = template(&DataOptions::new(path), what, rows);
        let config = Config::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let (Outputs::Classes(outputs) | Outputs::Values(outputs)) = what;
        assert_eq!(config.network.network(5).unwrap().outputs().unwrap(), outputs);
        assert_eq!((config.data.path.as_path(), config.network.loss), (Path::new(path), loss));
        assert!(config.network.layers.contains(&Layer::Dropout(dropout(keep))));
        assert_eq!(config.train, TrainTable::default());
        assert!(text.lines().all(|line| line.chars().count() <= 130), "{text}");
    }
}

/// The names of the keys of a table and, with their `#`, of those that are commented out, with what follows.
fn keys<'a>(text: &'a str, table: &str) -> Vec<(&'a str, &'a str)> {
    let body = text.split_once(&format!("[{table}]\n")).unwrap().1;
    let body = body.split_once("\n[").map_or(body, |(body, _)| body);
    let key = |line: &'a str| line.trim_start_matches("# ").split_once(" = ");
    body.lines().filter(|line| !line.starts_with(' ')).filter_map(key).collect()
}

#[test]
fn the_template_has_every_key_and_its_default() {
    let text = template(&DataOptions::default(), Outputs::Classes(10), 1797);
    let full = Config {
        data: DataOptions {
            train: Some(Rows(0..1)),
            valid: Some(Rows(0..1)),
            valid_fraction: Some(0.1),
            test: Some(Rows(0..1)),
            target: Some(Target::One("x".into())),
            standardize: Some(true),
            sequence: Some("x".into()),
            words: true,
            ..DataOptions::default()
        },
        network: NetworkOptions { input: Some(1.into()), path_keep: Some(KeepProb::ONE), ..least().network },
        train: TrainTable {
            clip_norm: Some(1.0),
            max_norm: Some(1.0),
            momentum_ramp: Some(MomentumRamp { from: 0.5, epochs: 1.0 }),
            patience: Some(1),
            ..TrainTable::default()
        },
        ..least()
    };
    let augment = Augmentation { shift: 1, flip: true, noise: 0.5, cutout: 3, mixup: 0.2 };
    let full = Config { augment, ..full }.to_toml();
    let names = |text: &str, table: &str| {
        let mut names: Vec<String> = keys(text, table).into_iter().map(|(key, _)| key.to_owned()).collect();
        names.sort();
        names
    };
    for table in ["data", "network", "train", "augment"] {
        assert_eq!(names(&text, table), names(&full, table), "{table}\n{text}");
    }
    for (key, rest) in keys(&text, "augment") {
        let config = Config::parse(&format!("[network]\nlayers = [{{ dense = 1 }}]\n[augment]\n{key} = {rest}")).unwrap();
        assert!(config.augment.is_none(), "{key} = {rest}");
    }
    // Each line of [train] can be used as it is, and those with a default change nothing.
    for (key, rest) in keys(&text, "train") {
        let sgd = if key == "momentum_ramp" { "optimizer = { sgd = { lr = 0.1, momentum = 0.9 } }\n" } else { "" };
        let layers = "[network]\nlayers = [{ dense = 1 }]\n[data]\nvalid_fraction = 0.1\n[train]";
        let config = Config::parse(&format!("{layers}\n{sgd}{key} = {rest}")).unwrap_or_else(|e| panic!("{key}: {e}"));
        assert_eq!(config.train == TrainTable::default(), !rest.contains("default: "), "{key} = {rest}");
    }
}

#[test]
fn augmentation_is_read_and_goes_into_the_options() {
    let text = "[network]\nlayers = [{ dense = 1 }]\n[augment]\nshift = 2\nflip = true\nnoise = 0.1\ncutout = 8\nmixup = 0.2";
    let augment = Augmentation { shift: 2, flip: true, noise: 0.1, cutout: 8, mixup: 0.2 };
    assert_eq!(Config::parse(text).unwrap().options().augment, augment);
}

#[test]
fn modes_and_sites_are_read() {
    let text = "[network]\nlayers = [{ dropout = { drop = 0.25, mode = \"vanilla\", site = 9 } }, { dense = 1 }]";
    let Layer::Dropout(read) = Config::parse(text).unwrap().network.layers.remove(0) else { panic!("no dropout") };
    assert_eq!((read.keep.get(), read.mode, read.site), (0.75, DropoutMode::Vanilla, Some(9)));
}

/// The network file of the README, with all its keys.
#[test]
fn the_readmes_example_is_a_configuration() {
    let readme = include_str!("../README.md");
    let text = readme.split_once("```toml\n").unwrap().1.split_once("```").unwrap().0;
    let config = Config::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!((config.seed, config.network.layers.len(), config.train.patience), (42, 4, Some(3)));
    assert_eq!(config.train.schedule, LrSchedule::Cosine { epochs: 5.0, floor: 0.0 });
}

#[test]
fn the_example_of_a_regression_is_what_its_comments_say() {
    let config = Config::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/diabetes.toml")).unwrap();
    assert_eq!((config.network.loss, config.data.path.as_path()), (Loss::MeanSquaredError, Path::new("diabetes.csv")));
    assert_eq!((config.data.valid, config.data.test), (Some(Rows(300..354)), Some(Rows(354..442))));
    assert_eq!(config.network.network(10).unwrap().outputs().unwrap(), 1);
    for (keep, decay) in [(0.9, config.train.weight_decay), (0.95, 3.5e-3)] {
        let prior = Prior { length_scale: 1.0, dropout: Dropout::keep(keep).unwrap(), rows: 300, targets: 1 };
        assert!((weight_decay_of(&prior, 2.0).unwrap() - decay).abs() < 0.05e-3);
    }
}
