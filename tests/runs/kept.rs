//! What is kept with the weights is what counts: constants, names, test rows, the best epoch.

use thinnet::data::{Preprocessing, Standardization, digits};
use thinnet::{Dense, Device, EarlyStopping, Model, Network, Optimizer, TrainOptions, Trainer};

use super::Place;

/// y = 500 a - 3 b + 1000 over columns of very different size.
fn table(rows: u32, shift: f64) -> String {
    let row = |i: u32| {
        let (a, b) = (f64::from(i % 17) / 17.0 + shift, f64::from(i % 23) * 40.0);
        format!("{a},{b},{}\n", 500.0 * a - 3.0 * b + 1000.0)
    };
    "a,b,price\n".to_owned() + &(0..rows).map(row).collect::<String>()
}

const REGRESSION: &str = r#"[data]
path = "houses.csv"
target = "price"
valid_fraction = 0.2
[network]
loss = "mean_squared_error"
layers = [{ dense = 16, activation = "tanh" }, { dense = 1 }]
[train]
epochs = 20
optimizer = { adam = { lr = 0.02 } }
"#;

#[test]
fn constants_are_those_of_the_training_whatever_the_file_holds_now() {
    let place = Place::with(REGRESSION);
    place.write("houses.csv", table(200, 0.0));
    place.prints("train net.toml");
    let loss = |arguments: &str| place.json(arguments)[0]["loss"].as_f64().unwrap();
    let weights = "runs/net/model.safetensors";
    let run = loss("eval runs/net --data houses.csv");
    assert!(run < 0.1, "{run}");
    // The file's own constants, also where a network file names its network.
    assert_eq!(loss(&format!("eval {weights} --data houses.csv --target price")), run);
    assert_eq!(loss(&format!("eval {weights} --network net.toml --data houses.csv")), run);
    let own = place.prints("predict runs/net --data houses.csv");
    assert_eq!(place.prints(&format!("predict {weights} --network net.toml --data houses.csv")), own);
    assert!(own.starts_with("row,price\n"), "{own}");
    // Other data at the same place are other data.
    place.write("houses.csv", table(200, 5.0));
    let text = place.fails("eval runs/net", 2);
    assert!(text.contains("houses.csv") && text.contains("changed since the training") && text.contains("--data"), "{text}");
    assert!(loss("eval runs/net --data houses.csv") > run, "judged by the constants of the training");
}

#[test]
fn numbers_that_f32_cannot_tell_apart_are_refused_and_named() {
    let place = Place::with(&REGRESSION.replace("\"price\"", "\"y\""));
    place.write("houses.csv", "time,y\n1700000000,1\n1700000030,2\n1700000060,3\n1700000090,4\n1700000099,5\n");
    let text = place.fails("train net.toml", 2);
    assert!(text.contains("houses.csv") && text.contains("`time`") && text.contains("subtract 1700000000"), "{text}");
    place.write("houses.csv", "time,y\n0,1\n30,2\n60,3\n90,4\n99,5\n");
    place.prints("train net.toml");
    // The same in the columns of an npy file; small numbers, and large ones far apart, are well.
    place.write("npy.toml", REGRESSION.replace("houses.csv", "x.npy").replace("target = \"price\"\n", ""));
    place.write("y.npy", npy("<f8", 1, (0..6u8).map(|i| f64::from(i).to_le_bytes())));
    let large = |i: i64| [i, (1 << 30) + i, i << 30].map(i64::to_le_bytes);
    place.write("x.npy", npy("<i8", 3, (0..6).flat_map(large)));
    let text = place.fails("train npy.toml", 2);
    assert!(text.contains("x.npy") && text.contains("column 1") && text.contains("subtract 1073741824"), "{text}");
    place.write("x.npy", npy("<i8", 3, (0..6).flat_map(|i| [i, 2 * i, i << 30].map(i64::to_le_bytes))));
    place.prints("train npy.toml");
}

/// An npy file of so many columns.
fn npy(descr: &str, columns: usize, values: impl Iterator<Item = [u8; 8]>) -> Vec<u8> {
    let values: Vec<u8> = values.flatten().collect();
    let rows = values.len() / 8 / columns;
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows}, {columns}), }}\n");
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), &values].concat()
}

#[test]
fn a_site_that_cannot_be_saved_is_refused_before_the_training() {
    let place = Place::with(
        &super::SMALL.replace("{ dense = 10 }]", "{ dense = 10 }, { dropout = { keep = 0.5, mode = \"vanilla\" } }]"),
    );
    let before = place.everything();
    let text = place.fails("train net.toml", 2);
    assert!(text.contains("net.toml") && text.contains("layer 3") && text.contains("inverted"), "{text}");
    assert!(place.everything() == before);
}

/// Weight decay of 50 over the learning rate multiplies every weight by -49 at each update: it overflows after some twenty epochs of
/// one update, and the epochs before are not lost.
#[test]
fn a_training_that_diverges_late_gives_its_best_epoch() {
    let (train, valid) = (digits().slice(0..200).unwrap(), digits().slice(200..400).unwrap());
    let network = Network::new(64).dense(Dense::new(10));
    let options = TrainOptions { optimizer: Optimizer::sgd(1e-3), weight_decay: 5e4, batch: 200, ..Default::default() };
    let device = Device::open().unwrap();
    let mut trainer = Trainer::new(&device, &network, (&train, &valid), options).unwrap();
    let best = trainer.fit_best(60, EarlyStopping { patience: 60, min_delta: 0.0 }, |_| {}).unwrap();
    let epochs = trainer.history().len();
    assert!((10..40).contains(&epochs), "{epochs}");
    assert_eq!(best.epoch.epoch, 0, "it only becomes worse");
    assert_eq!(best.model.evaluate(&device, &valid).unwrap().loss, best.epoch.valid.unwrap().loss);
    assert!(trainer.fit_best(1, EarlyStopping { patience: 1, min_delta: f64::NAN }, |_| {}).is_err());
}

#[test]
fn a_history_of_another_width_is_refused() {
    let model = Model::initial(&Network::new(3).dense(Dense::new(2)), 0).unwrap();
    let of = |mean: Vec<f64>, deviation: Vec<f64>| Some(Standardization { mean, deviation });
    let inputs = |inputs| model.clone().with_preprocessing(Preprocessing { inputs, ..Default::default() });
    let targets = |targets| model.clone().with_preprocessing(Preprocessing { targets, ..Default::default() });
    inputs(of(vec![0.0; 3], vec![1.0; 3])).unwrap();
    targets(of(vec![0.0; 2], vec![1.0; 2])).unwrap();
    for (result, words) in [
        (inputs(of(vec![0.0; 2], vec![1.0; 3])), "2 means and 3 deviations"),
        (inputs(of(vec![0.0; 3], vec![1.0, 0.0, 1.0])), "not usable"),
        (targets(of(vec![f64::NAN; 2], vec![1.0; 2])), "not usable"),
        (targets(of(vec![0.0; 3], vec![1.0; 3])), "3 means"),
    ] {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn a_history_of_sequences_has_means_of_features() {
    let network = Network::new([3, 2]).recurrent(thinnet::Recurrent::lstm(4)).dense(Dense::new(2));
    let model = Model::initial(&network, 0).unwrap();
    let history = |steps, features| {
        let inputs = Some(Standardization { mean: vec![0.5; features], deviation: vec![2.0; features] });
        let sequences = Some(thinnet::data::Sequences { steps, column: None });
        model.clone().with_preprocessing(Preprocessing { inputs, sequences, ..Default::default() })
    };
    let kept = history(3, 2).unwrap();
    let again = Model::from_safetensors(&kept.to_safetensors().unwrap()).unwrap();
    assert_eq!(again.preprocessing(), kept.preprocessing());
    for (steps, features, words) in
        [(3, 6, "6 means"), (2, 3, "sequences of 2 steps, but the network has an input of [3, 2]"), (0, 6, "of 0 steps")]
    {
        let message = history(steps, features).unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
    }
}
