//! Training rows are told from others, by a number that is the same on every machine.

use thinnet::data::{DataOptions, Preprocessing, Rows, Task};

use super::{Folder, floats, npy};

/// The fingerprint of the first `rows` rows of some arrays.
fn fingerprint(x: &[u8], y: &[u8], rows: u32, task: Task) -> u64 {
    let folder = Folder::new(&[("x.npy", x), ("y.npy", y)]);
    let options = DataOptions { train: Some(Rows(0..rows)), ..folder.options("x.npy") };
    options.load(task, 0).unwrap().preprocessing.fingerprint.unwrap()
}

#[test]
fn a_fingerprint_is_the_same_everywhere() {
    // Computed by a program of its own from the words that the module's documentation says.
    let x = npy("|u1", "(3, 3)", &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(fingerprint(&x, &npy("|u1", "(3,)", &[0, 1, 0]), 3, Task::Classes), 0x605f59b3da5fed15);
    let (x, y) = (npy("<f4", "(3, 1)", &floats(&[1.5, -2.0, 0.25])), npy("<f4", "(3,)", &floats(&[4.0, 5.0, -6.0])));
    assert_eq!(fingerprint(&x, &y, 3, Task::Values), 0xf679fcedd755316b);
    // Standardised values are of f64 arithmetic, so they are taken as they were read.
    let big: Vec<u8> = [1.5f32, -2.0, 0.25].iter().flat_map(|value| value.to_be_bytes()).collect();
    assert_eq!(fingerprint(&npy(">f4", "(3, 1)", &big), &y, 3, Task::Values), 0xf679fcedd755316b);
}

#[test]
fn whatever_changes_in_training_rows_changes_their_fingerprint_and_nothing_else_does() {
    let bytes: Vec<u8> = (0..120).map(|i: u8| i.wrapping_mul(37)).collect();
    let labels: Vec<u8> = (0..12).map(|row| row % 3).collect();
    let of = |bytes: &[u8], labels: &[u8], shape: &str, rows: u32| {
        fingerprint(&npy("|u1", shape, bytes), &npy("|u1", "(12,)", labels), rows, Task::Classes)
    };
    let own = of(&bytes, &labels, "(12, 10)", 8);
    let mut seen = vec![own, of(&bytes, &labels, "(12, 10)", 7)];
    for at in 0..80 {
        let mut other = bytes.clone();
        other[at] ^= 0x80;
        seen.push(of(&other, &labels, "(12, 10)", 8));
    }
    for row in 0..8 {
        let mut other = labels.clone();
        other[row] = 2 - other[row] / 2;
        seen.push(of(&bytes, &other, "(12, 10)", 8));
    }
    // Rows in another order, inputs with their labels or without.
    let turned: Vec<u8> = bytes.chunks(10).rev().flatten().copied().collect();
    seen.push(of(&turned, &labels, "(12, 10)", 8));
    seen.push(of(&turned, &labels.iter().rev().copied().collect::<Vec<_>>(), "(12, 10)", 8));
    let all = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), all);
    // What is not learned from may change, and the shape of a picture is no value.
    let mut other = bytes.clone();
    other[80..].fill(0);
    assert_eq!(of(&other, &labels, "(12, 10)", 8), own);
    assert_eq!(of(&bytes, &labels, "(12, 2, 5)", 8), own);
}

#[test]
fn preprocessing_without_a_fingerprint_is_compared_without() {
    let with = |fingerprint, scale| Preprocessing { fingerprint, scale, ..Default::default() };
    let now = with(Some(5), Some(1.0));
    for (kept, agrees) in [
        (with(None, None), true),
        (with(Some(5), None), true),
        (with(None, Some(1.0)), true),
        (with(Some(6), Some(1.0)), false),
        (with(Some(5), Some(0.5)), false),
        (Preprocessing { output_names: vec!["a".into()], ..now.clone() }, false),
    ] {
        assert_eq!(now.agrees_with(&kept), agrees, "{kept:?}");
    }
    let text = serde_json::to_string(&with(Some(u64::MAX), Some(1.0 / 255.0))).unwrap();
    assert_eq!(serde_json::from_str::<Preprocessing>(&text).unwrap(), with(Some(u64::MAX), Some(1.0 / 255.0)));
}
