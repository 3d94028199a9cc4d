//! Data in memory: the digits, selections, labels with noise, and what is refused.

use thinnet::Error;
use thinnet::data::{Dataset, Inputs, Values, digits};

mod sequences;

/// The message of an [`Error::Data`].
#[track_caller]
fn data_error<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::Data(message)) => message,
        other => panic!("not refused as data: {other:?}"),
    }
}

/// Five rows of two values and their labels, of three classes.
fn five_rows() -> Dataset {
    let inputs = Inputs::from_f32(2, (0..10).map(|v| v as f32).collect()).unwrap();
    Dataset::new(inputs, vec![0, 1, 2, 0, 1], 3).unwrap()
}

#[test]
fn digits_are_those_of_scikit_learn() {
    let digits = digits();
    assert_eq!((digits.rows(), digits.columns(), digits.classes()), (1797, 64, 10));
    assert_eq!(digits.labels()[..4], [0, 1, 2, 3]);
    let mut counts = [0; 10];
    for &label in digits.labels() {
        counts[label as usize] += 1;
    }
    assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
    let Values::U8 { bytes, scale } = digits.inputs().values() else { panic!("digits are bytes") };
    assert_eq!((bytes.len(), *scale, bytes.iter().max()), (1797 * 64, 1.0 / 16.0, Some(&16)));
    assert_eq!(bytes[..8], [0, 0, 5, 13, 9, 1, 0, 0]);
    assert!(digits.inputs().samples().iter().copied().eq(0..1797));
}

#[test]
fn digits_pass_the_checks_that_they_skip() {
    let digits = digits();
    let Values::U8 { bytes, scale } = digits.inputs().values().clone() else { panic!("digits are bytes") };
    let inputs = Inputs::from_u8(64, bytes, scale).unwrap();
    assert_eq!(Dataset::new(inputs, digits.labels().to_vec(), 10).unwrap(), digits);
}

#[test]
fn bytes_are_scaled_in_f32() {
    let inputs = Inputs::from_u8(3, vec![0, 1, 255, 9, 8, 7], 1.0 / 255.0).unwrap();
    assert_eq!((inputs.rows(), inputs.columns()), (2, 3));
    assert_eq!(inputs.row_f32(0), [0.0, 1.0f32 / 255.0, 255.0 * (1.0f32 / 255.0)]);
}

#[test]
fn inputs_that_are_not_whole_rows_are_refused() {
    assert!(data_error(Inputs::from_u8(0, vec![1], 1.0)).contains("0 columns"));
    assert!(data_error(Inputs::from_u8(3, vec![], 1.0)).contains("no values"));
    assert!(data_error(Inputs::from_u8(3, vec![1, 2, 3, 4], 1.0)).contains("4 values are not whole rows of 3 columns"));
    assert!(data_error(Inputs::from_f32(0, vec![1.0])).contains("0 columns"));
    assert!(data_error(Inputs::from_f32(3, vec![])).contains("no values"));
    assert!(data_error(Inputs::from_f32(3, vec![1.0; 4])).contains("1 are left over"));
}

#[test]
fn a_scale_that_makes_infinite_values_is_refused() {
    for scale in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
        assert!(data_error(Inputs::from_u8(1, vec![1], scale)).contains("scale"));
    }
}

#[test]
fn a_value_that_is_not_finite_is_named_by_row_and_column() {
    let mut values = vec![0.5; 12];
    values[7] = f32::NAN;
    assert!(data_error(Inputs::from_f32(3, values.clone())).contains("row 2, column 1 is NaN"));
    values[3] = f32::NEG_INFINITY;
    assert!(data_error(Inputs::from_f32(3, values)).contains("row 1, column 0 is -inf"));
}

#[test]
fn select_keeps_samples_and_labels_of_its_rows() {
    let twice = five_rows().slice(1..5).unwrap().select(&[3, 0]).unwrap();
    assert_eq!(twice.inputs().samples(), [4, 1]);
    assert_eq!(twice.labels(), [1, 1]);
    assert_eq!(twice.classes(), 3);
    assert_eq!(*twice.inputs().values(), Values::F32(vec![8.0, 9.0, 2.0, 3.0]));
    let bytes = Inputs::from_u8(2, vec![0, 1, 2, 3, 4, 5], 0.5).unwrap().select(&[2, 1]).unwrap();
    assert_eq!(*bytes.values(), Values::U8 { bytes: vec![4, 5, 2, 3], scale: 0.5 });
}

#[test]
fn samples_of_the_callers_own_survive_select() {
    let inputs = five_rows().inputs().clone().with_samples(vec![900, 7, u32::MAX, 0, 12]).unwrap();
    assert_eq!(inputs.select(&[2, 0]).unwrap().samples(), [u32::MAX, 900]);
}

#[test]
fn rows_that_would_share_masks_are_refused() {
    let set = five_rows();
    let message = data_error(set.select(&[1, 3, 1]));
    assert!(message.contains("row 1 is selected twice"), "{message}");
    let message = data_error(set.inputs().clone().with_samples(vec![4, 9, 5, 9, 1]));
    assert!(message.contains("rows 1 and 3 both have sample number 9"), "{message}");
    assert!(data_error(set.inputs().clone().with_samples(vec![1])).contains("1 sample numbers for 5 rows"));
}

#[test]
fn names_go_with_their_rows() {
    let inputs = five_rows().inputs().clone();
    assert_eq!(inputs.names(), None);
    let named = inputs.clone().with_names(["a", "b", "c", "d", "e"].map(String::from).into()).unwrap();
    assert_eq!(named.select(&[4, 1]).unwrap().names().unwrap(), ["e", "b"]);
    assert_eq!(named.slice(1..3).unwrap().names().unwrap(), ["b", "c"]);
    assert!(data_error(inputs.with_names(vec!["a".into()])).contains("1 names for 5 rows"));
}

#[test]
#[expect(clippy::reversed_empty_ranges, reason = "a reversed range is what is refused")]
fn rows_that_do_not_exist_are_refused() {
    let set = five_rows();
    assert!(data_error(set.select(&[0, 5])).contains("row 5 is selected, but the rows are 0..5"));
    assert!(data_error(set.select(&[])).contains("no row is selected"));
    for range in [0..6, 2..2, 3..1, 5..6, 0..u32::MAX] {
        assert!(data_error(set.slice(range.clone())).contains(&format!("rows {range:?}")));
    }
}

#[test]
fn a_label_that_does_not_fit_is_named_by_row_and_value() {
    let inputs = five_rows().inputs().clone();
    let message = data_error(Dataset::new(inputs.clone(), vec![0, 1, 2, 7, 9], 3));
    assert!(message.contains("row 3 has label 7"), "{message}");
    assert!(data_error(Dataset::new(inputs, vec![0; 4], 3)).contains("4 labels for 5 rows"));
}

#[test]
fn noisy_labels_replace_exactly_the_share_asked_for() {
    let digits = digits();
    for (fraction, count) in [(0.0, 0), (0.2, 359), (0.5, 899), (1.0, 1797)] {
        let (noisy, replaced) = digits.with_noisy_labels(fraction, 1).unwrap();
        assert_eq!(replaced.len(), count);
        assert!(replaced.is_sorted_by(|a, b| a < b));
        assert_eq!((noisy.inputs(), noisy.classes()), (digits.inputs(), 10));
        let changed = (0..1797u32).filter(|&row| noisy.labels()[row as usize] != digits.labels()[row as usize]);
        assert!(changed.into_iter().all(|row| replaced.binary_search(&row).is_ok()));
    }
}

#[test]
fn noisy_labels_are_uniform_over_all_classes() {
    let digits = digits();
    let (noisy, _) = digits.with_noisy_labels(1.0, 2).unwrap();
    let mut counts = [0.0f64; 10];
    for &label in noisy.labels() {
        counts[label as usize] += 1.0;
    }
    let expected = 179.7;
    let chi_squared: f64 = counts.iter().map(|c| (c - expected) * (c - expected) / expected).sum();
    assert!(chi_squared < 27.88, "{chi_squared}: {counts:?}"); // p = 0.001 with 9 degrees of freedom
    // One in ten stays right by chance: 179.7 expected, standard deviation 12.7, five of them on each side.
    let right = noisy.labels().iter().zip(digits.labels()).filter(|(a, b)| a == b).count();
    assert!((116..=243).contains(&right), "{right}");
}

#[test]
fn noisy_labels_are_the_same_on_every_machine() {
    let digits = digits();
    let (noisy, replaced) = digits.with_noisy_labels(0.01, 42).unwrap();
    let labels: Vec<u32> = replaced.iter().map(|&row| noisy.labels()[row as usize]).collect();
    // Computed by an implementation of the mask contract in Python, not by this crate.
    assert_eq!(replaced, [0, 259, 269, 385, 392, 414, 498, 613, 699, 808, 912, 982, 1223, 1378, 1601, 1680, 1725, 1738]);
    assert_eq!(labels, [7, 2, 4, 8, 9, 5, 4, 6, 3, 2, 2, 0, 4, 3, 9, 0, 4, 2]);
    assert_ne!(digits.with_noisy_labels(0.01, 43).unwrap().1, replaced);
}

#[test]
fn noise_follows_the_sample_and_not_the_row() {
    let digits = digits();
    let (all, _) = digits.with_noisy_labels(1.0, 7).unwrap();
    let (some, _) = digits.slice(100..200).unwrap().with_noisy_labels(1.0, 7).unwrap();
    assert_eq!(some.labels(), &all.labels()[100..200]);
}

#[test]
fn a_share_that_is_none_is_refused() {
    for fraction in [-0.1, 1.1, f64::NAN] {
        assert!(matches!(five_rows().with_noisy_labels(fraction, 0), Err(Error::Option { option: "fraction", .. })));
    }
}
