//! How rows are shared out, what is done to the values, and the same for a model that is trained already.

use thinnet::data::file::{inputs_for, load_for};
use thinnet::data::{DataOptions, Portion, Preprocessing, Rows, Standardization, Task, Values};
use thinnet::rng;

use super::{Folder, csv, gzip, numbers, one, raw, values};

#[test]
fn bytes_are_standardised_if_asked_for() {
    let keras = Folder::new(&[("keras.npz", include_bytes!("keras.npz"))]);
    let options = DataOptions { standardize: Some(true), ..keras.options("keras.npz") };
    let sets = options.load(Task::Classes, 0).unwrap();
    assert!(matches!(sets.train.inputs().values(), Values::F32(_)));
    let mean = &sets.preprocessing.inputs.unwrap().mean;
    assert!((mean[0] - 80.0 / 255.0).abs() < 1e-7, "{mean:?}"); // The bytes 0, 80 and 160.
}

/// Two columns of 200 numbers with means near 1000 and -0.02, deviations near 60 and 0.006, and a column of 0.1.
fn wide() -> String {
    let word = |row, unit| rng::uniform(rng::philox4x32_10([row, unit, 0, 0], [1, 2])[0]) - 0.5;
    let row = |row| format!("{},{},0.1,{}\n", 1000.0 + 200.0 * word(row, 0), -0.02 + 0.02 * word(row, 1), 5.0 + word(row, 2));
    format!("a,b,c,target\n{}", (0..200).map(row).collect::<String>())
}

/// Population mean and deviation of one column.
fn moments(values: &[f32], columns: usize, column: usize) -> (f64, f64) {
    let column: Vec<f64> = values.iter().skip(column).step_by(columns).map(|&value| f64::from(value)).collect();
    let mean = column.iter().sum::<f64>() / column.len() as f64;
    (mean, (column.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / column.len() as f64).sqrt())
}

#[test]
fn training_rows_have_mean_0_and_deviation_1() {
    let folder = csv(&wide());
    let options = DataOptions { valid: Some(Rows(150..200)), ..folder.options("table.csv") };
    let sets = options.load(Task::Values, 0).unwrap();
    let train = values(sets.train.inputs());
    for (mean, deviation) in [moments(&train, 3, 0), moments(&train, 3, 1), moments(numbers(&sets.train).1, 1, 0)] {
        // Standardised values are below 2 and rounded to f32, by at most 2^-24 of their size; so are their sum and spread.
        assert!(mean.abs() <= 2.0f64.powi(-23) && (deviation - 1.0).abs() <= 2.0f64.powi(-22), "{mean} {deviation}");
    }
    // A constant column becomes exactly 0, although 150 times 0.1 is not 15.
    assert!(train.iter().skip(2).step_by(3).all(|&value| value == 0.0));
    let fitted = sets.preprocessing.inputs.unwrap();
    assert_eq!((fitted.mean[2], fitted.deviation[2]), (f64::from(0.1f32), 1.0));
    // The constants of all rows are others: the test can tell them apart.
    let all = DataOptions { valid: None, ..options.clone() }.load(Task::Values, 0).unwrap().preprocessing.inputs.unwrap();
    assert!((all.mean[0] - fitted.mean[0]).abs() > 0.1);
    // The validation rows have the constants of the training rows.
    let unchanged = raw(options).load(Task::Values, 0).unwrap().valid.unwrap();
    let valid = sets.valid.unwrap();
    let mut expected = values(unchanged.inputs());
    fitted.apply(&mut expected);
    assert_eq!(values(valid.inputs()), expected);
    assert!(moments(&expected, 3, 0).0.abs() > 1e-3);
}

#[test]
fn inverting_undoes_standardising_up_to_rounding() {
    let folder = csv(&wide());
    let options = folder.options("table.csv");
    let sets = options.load(Task::Values, 0).unwrap();
    let original = values(raw(options).load(Task::Values, 0).unwrap().train.inputs());
    let fitted = sets.preprocessing.inputs.unwrap();
    let mut inverted = values(sets.train.inputs());
    fitted.invert(&mut inverted);
    let standardized = values(sets.train.inputs());
    for (i, (&back, &value)) in inverted.iter().zip(&original).enumerate() {
        // One rounding of the standardised value, scaled by the deviation, and one of the result; f64 adds nothing visible.
        let half_ulp = f64::from(f32::EPSILON) / 2.0;
        let bound = half_ulp * (fitted.deviation[i % 3] * f64::from(standardized[i]).abs() + f64::from(value).abs()) * 1.001;
        assert!((f64::from(back) - f64::from(value)).abs() <= bound, "{value} came back as {back}");
    }
}

#[test]
fn a_fit_is_the_textbook_formula() {
    let fitted = Standardization::fit(2, &[1.0, 1e30, 2.0, -1e30, 6.0, 1e30, 7.0, -1e30]);
    assert_eq!((fitted.mean, fitted.deviation[0]), (vec![4.0, 0.0], 6.5f64.sqrt()));
    assert!((fitted.deviation[1] / 1e30 - 1.0).abs() < 1e-7);
}

#[test]
fn a_share_held_out_is_a_function_of_the_seed() {
    let options = DataOptions { valid_fraction: Some(0.1), test: Some(Rows(1500..1797)), ..DataOptions::default() };
    let load = |options: &DataOptions, seed| options.load(Task::Classes, seed).unwrap();
    let sets = load(&options, 42);
    let (train, valid) = (sets.train.inputs().samples(), sets.valid.as_ref().unwrap().inputs().samples().to_vec());
    assert_eq!((train.len(), valid.len(), sets.test.as_ref().unwrap().rows()), (1350, 150, 297));
    let mut all = [train, &valid].concat();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..1500));
    // The words of the mask contract, spelled out: the drawn rows have smaller ones than all others.
    let word = |&row: &u32| (rng::philox4x32_10([0, row, 0, 7 << 24], rng::key(42))[0], row);
    assert!(valid.iter().map(word).max() < train.iter().map(word).min());
    assert_eq!(load(&options, 42), sets);
    assert_ne!(load(&options, 43).valid, sets.valid);
    // More rows held out are these and others.
    let more = load(&DataOptions { valid_fraction: Some(0.2), ..options.clone() }, 42).valid.unwrap();
    assert!(more.rows() == 300 && valid.iter().all(|row| more.inputs().samples().contains(row)));
    // Rounded: 0.0333 of 1500 is 49.95.
    assert_eq!(load(&DataOptions { valid_fraction: Some(0.0333), ..options }, 42).valid.unwrap().rows(), 50);
}

#[test]
fn rows_are_shared_out_as_named() {
    let options: DataOptions = serde_json::from_str(r#"{"train": "10..60", "valid": "0..10", "test": "60 .. 70"}"#).unwrap();
    let sets = options.load(Task::Classes, 0).unwrap();
    assert!(sets.train.inputs().samples().iter().copied().eq(10..60));
    assert_eq!(sets.train, thinnet::data::digits().slice(10..60).unwrap());
    assert!(sets.valid.unwrap().inputs().samples().iter().copied().eq(0..10));
    assert!(sets.test.unwrap().inputs().samples().iter().copied().eq(60..70));
    let rest = DataOptions { train: None, ..options }.load(Task::Classes, 0).unwrap().train;
    assert!(rest.inputs().samples().iter().copied().eq((10..60).chain(70..1797)));
}

#[test]
fn options_survive_json() {
    let text = r#"{"path":"a.csv","train":"0..9","valid_fraction":0.25,"target":["u","v"],"standardize":false}"#;
    let options: DataOptions = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&options).unwrap(), text);
    assert_eq!(serde_json::from_str::<DataOptions>("{}").unwrap(), DataOptions::default());
    assert_eq!(serde_json::to_string(&Preprocessing::default()).unwrap(), "{}");
    for wrong in [r#"{"rows": "0..9"}"#, r#"{"train": "9"}"#, r#"{"train": "9..9"}"#, r#"{"train": "5..-1"}"#] {
        assert!(serde_json::from_str::<DataOptions>(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_test_table_is_found_beside_the_training_table() {
    let (train, test) = (b"x,z,label\n1,5,b\n3,6,a\n1,5,a\n3,6,b\n", b"label,z,x\nb,5,9\n");
    let test_gz = gzip(test);
    for (train_name, test_name, bytes) in [
        ("train.csv", "test.csv", &test[..]),
        ("flowers.csv", "flowers_test.csv", test),
        ("small_train.csv", "small_test.csv.gz", &test_gz),
    ] {
        let folder = Folder::new(&[(train_name, train), (test_name, bytes)]);
        let sets = folder.load(train_name, Task::Classes);
        let found = sets.test.unwrap();
        // Columns are matched by name, and standardised by the training table: mean 2 and 5.5, deviation 1 and 0.5.
        assert_eq!((values(found.inputs()), found.labels(), found.classes()), (vec![7.0, -1.0], &[1][..], 2));
        let portion = load_for(&folder.path(train_name), &Portion::Test, None, &sets.preprocessing, Task::Classes).unwrap();
        assert_eq!(portion, found);
        // Rows of the table itself go before the table beside it.
        let options = DataOptions { test: Some(Rows(0..1)), ..folder.options(train_name) };
        assert_eq!(options.load(Task::Classes, 0).unwrap().test.unwrap().inputs().samples(), [0]);
    }
}

#[test]
fn a_trained_model_reads_files_as_in_training() {
    let sets = csv("x,z,target\n1,5,10\n3,6,30\n").load("table.csv", Task::Values);
    let known = sets.preprocessing;
    assert_eq!(numbers(&sets.train), (1, &[-1.0, 1.0][..]));
    let folder = Folder::new(&[("with.csv", b"z,target,x\n6,50,1\n5,10,3\n"), ("without.csv", b"z,x\n6,1\n5,3\n")]);
    let data = load_for(&folder.path("with.csv"), &Portion::All, None, &known, Task::Values).unwrap();
    assert_eq!((values(data.inputs()), numbers(&data)), (vec![-1.0, 1.0, 1.0, -1.0], (1, &[3.0, -1.0][..])));
    for name in ["with.csv", "without.csv"] {
        let inputs = inputs_for(&folder.path(name), &Portion::All, None, &known).unwrap();
        assert_eq!(inputs, *data.inputs());
        let some = inputs_for(&folder.path(name), &Portion::Rows(Rows(1..2)), one("target").as_ref(), &known).unwrap();
        assert_eq!((some.samples(), values(&some)), (&[1][..], vec![1.0, -1.0]));
    }
    // Class names stay the classes that they were, also where a file has fewer of them.
    let options = |folder: &Folder| DataOptions { target: one("kind"), ..folder.options("table.csv") };
    let folder = csv("x,kind\n1,c\n2,a\n3,b\n");
    let known = options(&folder).load(Task::Classes, 0).unwrap().preprocessing;
    let folder = csv("kind,x\nc,1\nb,1\n");
    let data = load_for(&folder.path("table.csv"), &Portion::All, one("kind").as_ref(), &known, Task::Classes).unwrap();
    assert_eq!((data.labels(), data.classes()), (&[2, 1][..], 3));
}

#[test]
fn a_long_table_is_read_whole() {
    let rows: String = (0..100_000).map(|row| format!("{row},{}\n", row % 7)).collect();
    let folder = csv(&format!("x,y\n{rows}"));
    let train = raw(folder.options("table.csv")).load(Task::Classes, 0).unwrap().train;
    assert_eq!((train.rows(), train.classes(), train.inputs().row_f32(99_999)), (100_000, 7, vec![99_999.0]));
}
