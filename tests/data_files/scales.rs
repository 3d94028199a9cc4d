//! The same pixels as bytes and as other numbers: a model takes those of the scale that it learned from.

use std::path::Path;

use thinnet::Error;
use thinnet::data::{Portion, Preprocessing, Rows, Task};

use super::sequences::npz;
use super::{DataOptions, Folder, floats, idx, inputs_for, load_for, npy, raw};

const PIXELS: [u8; 6] = [0, 51, 255, 102, 7, 204];

/// Three rows of two pixels in every kind of file; the archives have a test part of the other kind.
fn pixels() -> Folder {
    let scaled = PIXELS.map(|byte| f32::from(byte) / 255.0);
    let as_csv = |values: [f32; 6]| {
        let rows = values.chunks(2).zip([0, 1, 0]).map(|(row, label)| format!("{},{},{label}\n", row[0], row[1]));
        "a,b,y\n".to_owned() + &rows.collect::<String>()
    };
    let (wide, dark) = (PIXELS.map(f32::from), PIXELS.map(|byte| byte / 16));
    let labels = npy("|u1", "(3,)", &[0, 1, 0]);
    Folder::new(&[
        ("train-images-idx3-ubyte", &idx(&[3, 1, 2], &PIXELS)),
        ("train-labels-idx1-ubyte", &idx(&[3], &[0, 1, 0])),
        ("wide.csv", as_csv(wide).as_bytes()),
        ("scaled.csv", as_csv(scaled).as_bytes()),
        ("wide.npy", &npy("<f4", "(3, 2)", &floats(&wide))),
        ("scaled.npy", &npy("<f4", "(3, 2)", &floats(&scaled))),
        ("bytes.npy", &npy("|u1", "(3, 2)", &PIXELS)),
        ("dark.npy", &npy("|u1", "(3, 2)", &dark)),
        ("signs.npy", &npy("|b1", "(3, 2)", &[0, 1, 1, 0, 1, 0])),
        ("wide_labels.npy", &labels),
        ("scaled_labels.npy", &labels),
        ("bytes_labels.npy", &labels),
        ("signs_labels.npy", &labels),
    ])
}

fn known(folder: &Folder, name: &str, standardize: bool) -> Preprocessing {
    let options = DataOptions { standardize: Some(standardize), ..folder.options(name) };
    options.load(Task::Classes, 0).unwrap().preprocessing
}

/// Why rows of a file are refused, with targets and without, whole and in part.
fn refusal(folder: &Folder, name: &str, known: &Preprocessing) -> Option<String> {
    let path = folder.path(name);
    let part = Portion::Rows(Rows(1..3));
    let asked = [&Portion::All, &part].map(|portion| {
        let (with, without) = (load_for(&path, portion, None, known, Task::Classes), inputs_for(&path, portion, None, known));
        let said = |error: Option<Error>| error.map(|error| error.to_string());
        let (with, without) = (said(with.err()), said(without.err()));
        assert_eq!(with.is_some(), without.is_some(), "{with:?} {without:?}");
        with
    });
    assert_eq!(asked[0].is_some(), asked[1].is_some());
    asked[0].clone()
}

#[test]
fn numbers_above_1_are_refused_where_a_model_learned_from_bytes() {
    let folder = pixels();
    // Named columns are those of a table only.
    for (trained, standardize) in [("", false), ("bytes.npy", false), ("bytes.npy", true)] {
        let known = known(&folder, trained, standardize);
        assert_eq!(known.scale, Some(1.0 / 255.0));
        for name in ["wide.csv", "wide.npy"] {
            let text = refusal(&folder, name, &known).expect("refused");
            for part in [name, "up to 255", "bytes divided by 255", "divide these by 255", "u8"] {
                assert!(text.contains(part), "{part}: {text}");
            }
        }
        for name in ["", "scaled.csv", "scaled.npy", "bytes.npy", "signs.npy"] {
            assert_eq!(refusal(&folder, name, &known), None, "{name}");
        }
    }
}

#[test]
fn bytes_are_refused_where_a_model_learned_from_numbers_as_they_are() {
    let folder = pixels();
    for (trained, standardize) in [("wide.npy", true), ("wide.npy", false), ("signs.npy", false)] {
        let known = known(&folder, trained, standardize);
        assert_eq!(known.scale, Some(1.0));
        for name in ["", "bytes.npy"] {
            let text = refusal(&folder, name, &known).expect("refused");
            for part in ["bytes up to 255", "divided by 255", "numbers as they are", "f32 or csv"] {
                assert!(text.contains(part), "{part}: {text}");
            }
        }
        // Booleans are the numbers 0 and 1.
        for name in ["wide.csv", "scaled.npy", "signs.npy"] {
            assert_eq!(refusal(&folder, name, &known), None, "{name}");
        }
    }
}

#[test]
fn what_is_not_known_of_a_model_refuses_nothing() {
    let folder = pixels();
    for trained in ["bytes.npy", "wide.npy"] {
        let unknown = Preprocessing { scale: None, ..known(&folder, trained, false) };
        for name in ["", "wide.csv", "bytes.npy"] {
            assert_eq!(refusal(&folder, name, &unknown), None, "{name}");
        }
        // Words are whole numbers in whatever type; those of a file of before the scale was kept are read as they were.
        let words = Preprocessing { words: true, scale: Some(1.0), ..Default::default() };
        assert_eq!(refusal(&folder, trained, &words), None);
        assert!(known(&folder, trained, false).agrees_with(&unknown), "a file without it");
        assert!(!unknown.agrees_with(&known(&folder, trained, false)));
    }
}

#[test]
fn bytes_of_the_digits_are_told_from_those_of_other_pictures() {
    let digits = DataOptions::new("digits").load(Task::Classes, 0).unwrap();
    assert_eq!((digits.preprocessing.scale, digits.train), (Some(1.0 / 16.0), thinnet::data::digits()));
    let folder = pixels();
    // Pixels up to 16 that are divided by 255 would be black for it; up to 255 they are as bright as its own.
    let inputs = |name: &str, known| inputs_for(&folder.path(name), &Portion::All, None, known);
    let text = inputs("dark.npy", &digits.preprocessing).unwrap_err().to_string();
    for part in ["dark.npy", "bytes up to 15", "divided by 255", "bytes divided by 16", "divide them by 16", "f32"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    inputs("bytes.npy", &digits.preprocessing).unwrap();
    let known = known(&folder, "bytes.npy", false);
    let embedded = inputs_for(Path::new("digits"), &Portion::All, None, &known).unwrap();
    assert_eq!(embedded, *thinnet::data::digits().inputs());
}

#[test]
fn a_test_set_of_another_kind_than_the_training_set_is_refused() {
    let folder = pixels();
    // As a table beside the training table cannot be bytes, an archive has to show it.
    let archive = |train: &Vec<u8>, test: &Vec<u8>| {
        let labels = npy("|u1", "(3,)", &[0, 1, 0]);
        let arrays = [("x_train", train), ("y_train", &labels), ("x_test", test), ("y_test", &labels)];
        npz(&arrays.map(|(name, bytes)| (name, bytes.clone())))
    };
    let [wide, scaled, bytes] = ["wide.npy", "scaled.npy", "bytes.npy"].map(|name| std::fs::read(folder.path(name)).unwrap());
    for (train, test, part) in [
        (&bytes, &wide, Some("divide these by 255")),
        (&wide, &bytes, Some("numbers as they are")),
        (&bytes, &scaled, None),
        (&bytes, &bytes, None),
        (&wide, &wide, None),
    ] {
        std::fs::write(folder.path("both.npz"), archive(train, test)).unwrap();
        let refused = raw(folder.options("both.npz")).load(Task::Classes, 0).err().map(|error| error.to_string());
        assert_eq!(refused.is_some(), part.is_some(), "{refused:?}");
        assert!(refused.is_none_or(|text| text.contains(part.unwrap_or_default())));
    }
}
