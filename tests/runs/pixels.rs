use thinnet::data::{Preprocessing, Values, digits};
use thinnet::{Dataset, Model};

use super::{Place, SMALL};
use crate::data_files::npy;
use crate::data_files::sequences::npz;

/// The built-in digits as a table: pixels of 0 to 16 divided by `by`.
fn table(by: f32) -> String {
    let names: Vec<String> = (0..64).map(|column| format!("p{column}")).collect();
    let digits = digits();
    let row = |row: u32| {
        let pixels = digits.inputs().row_f32(row).into_iter().map(|pixel| (pixel * 16.0 / by).to_string());
        pixels.chain([digits.labels()[row as usize].to_string()]).collect::<Vec<_>>().join(",") + "\n"
    };
    names.join(",") + ",label\n" + &(0..400).map(row).collect::<String>()
}

/// The file of a model keeps what its inputs were multiplied by, and every command that reads data for it compares.
#[test]
fn a_model_of_bytes_refuses_the_same_pixels_undivided() {
    let place = Place::with(SMALL);
    place.prints("train net.toml --out run");
    place.write("wide.csv", table(1.0));
    place.write("scaled.csv", table(16.0));
    for arguments in [
        "eval run --data wide.csv",
        "eval run/model.safetensors --data wide.csv --rows 300..400",
        "predict run --data wide.csv",
        "calibrate run --ood wide.csv --out elsewhere",
    ] {
        let text = place.fails(arguments, 2);
        for part in ["wide.csv", "numbers up to 16", "bytes divided by 16", "divide these by 16"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    assert_eq!(place.json("eval run --data scaled.csv --rows 300..400")[0]["loss"], place.json("eval run")[0]["loss"]);
    // A model of the table takes no bytes.
    place.write("table.toml", SMALL.replace("\"digits\"", "\"wide.csv\""));
    place.prints("train table.toml --out table");
    let text = place.fails("eval table --data digits", 2);
    assert!(text.contains("learned from numbers as they are") && text.contains("divided by 16"), "{text}");
}

/// The first 400 digits as an archive of bytes, in some order.
fn archive(order: impl Iterator<Item = u32>) -> Vec<u8> {
    let rows: Dataset = digits().select(&order.collect::<Vec<_>>()).unwrap();
    let Values::U8 { bytes, .. } = rows.inputs().values() else { panic!("digits are bytes") };
    let labels: Vec<u8> = rows.labels().iter().map(|&label| label as u8).collect();
    npz(&[("x", npy("|u1", "(400, 64)", bytes)), ("y", npy("|u1", "(400,)", &labels))])
}

/// Bytes are not standardised, so that no mean tells other rows: training rows would be judged as test rows.
#[test]
fn rows_in_another_order_are_not_those_of_the_training() {
    let place = Place::with(&SMALL.replace("\"digits\"", "\"pixels.npz\""));
    place.write("pixels.npz", archive(0..400));
    place.prints("train net.toml --out run");
    let own = place.json("eval run");
    place.write("pixels.npz", archive((0..400).rev()));
    for arguments in ["eval run", "predict run", "calibrate run --out elsewhere"] {
        let text = place.fails(arguments, 2);
        assert!(text.contains("pixels.npz") && text.contains("changed since the training: the rows learned from"), "{text}");
    }
    // Rows that are not learned from may be others, and the training rows under another name are the same.
    place.write("pixels.npz", archive((0..300).chain((300..400).rev())));
    assert_ne!(place.json("eval run")[0]["loss"], serde_json::Value::Null);
    place.write("pixels.npz", archive(0..400));
    assert_eq!(place.json("eval run"), own);
    // A model of before the fingerprint was kept is judged as it was.
    let model = Model::load(place.path("run/model.safetensors")).unwrap();
    let known = Preprocessing { fingerprint: None, ..model.preprocessing().clone() };
    assert!(model.preprocessing().fingerprint.is_some());
    model.with_preprocessing(known).unwrap().save(place.path("run/model.safetensors")).unwrap();
    place.write("pixels.npz", archive((0..400).rev()));
    place.prints("eval run");
}
