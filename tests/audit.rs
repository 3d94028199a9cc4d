//! Masks of the contract pass, every planted fault is found by the check that names it, and p-values are what they say.

use thinnet::audit::audit;
use thinnet::ops::Site;
use thinnet::preflight::{Check, Outcome};
use thinnet::rng::{Stream, philox4x32_10};
use thinnet::{Device, KeepProb, masks};

/// Dropout of ones by the contract.
fn of_contract(rows: u32, units: u32, keep: f64, seed: u64) -> Vec<f32> {
    let site = Site { keep: KeepProb::new(keep).unwrap(), seed, stream: Stream::TrainingMask, site: 1, pass: 2 };
    let mask = masks::draw(&Device::cpu(), &site, 0..rows, 0..units).unwrap();
    mask.concat().into_iter().map(|kept| if kept { (1.0 / keep) as f32 } else { 0.0 }).collect()
}

/// 32 random bits at a place.
fn word(place: u32) -> u32 {
    philox4x32_10([place / 4, 7, 7, 7], [1, 2])[place as usize % 4]
}

/// A mask by what `kept` says of a row and a unit.
fn made(rows: u32, units: u32, kept: impl Fn(u32, u32) -> bool) -> Vec<f32> {
    (0..rows)
        .flat_map(|row| (0..units).map(move |unit| (row, unit)))
        .map(|(row, unit)| f32::from(u8::from(kept(row, unit))))
        .collect()
}

fn failed(checks: &[Check]) -> Vec<&'static str> {
    checks.iter().filter(|check| check.failed()).map(|check| check.name).collect()
}

/// What a check found, and its advice.
fn of<'a>(checks: &'a [Check], name: &str) -> (&'a str, &'a str) {
    let check = checks.iter().find(|check| check.name == name).unwrap();
    match &check.outcome {
        Outcome::Failed(text) | Outcome::Skipped(text) => (&check.found, text),
        Outcome::Passed => (&check.found, ""),
    }
}

#[test]
fn masks_of_the_contract_pass() {
    for (rows, units, keep) in [
        (400, 512, 0.5),
        (1000, 100, 0.9),
        (64, 4096, 0.1),
        (3000, 33, 0.8),
        (2, 8, 0.5),
        (1, 1, 0.5),
        (9, 9, 0.8),
        (1, 5000, 0.99),
    ] {
        for seed in 0..4 {
            let checks = audit(units, &of_contract(rows, units, keep, seed), Some(keep)).unwrap();
            assert!(failed(&checks).is_empty(), "{rows} rows of {units} units at {keep}, seed {seed}: {checks:?}");
        }
    }
    // Rates at which there is nothing to look at.
    for (keep, value) in [(1.0, 1.0), (0.0, 0.0)] {
        let checks = audit(8, &[value; 80], Some(keep)).unwrap();
        assert!(failed(&checks).is_empty() && of(&checks, "lags").1.contains("every unit is"), "{checks:?}");
    }
}

/// Of good masks, a share x at most has a p-value below x. (The bounds are not sharp: it may be fewer.)
#[test]
fn p_values_are_no_smaller_than_they_say() {
    let shapes = [(60, 40, 0.5), (40, 200, 0.9), (200, 16, 0.3), (30, 64, 0.97)];
    for name in ["rate", "units", "rows", "pairs", "lags"] {
        let p_values: Vec<f64> = (0..600)
            .flat_map(|seed| {
                let (rows, units, keep) = shapes[seed as usize % shapes.len()];
                let checks = audit(units, &of_contract(rows, units, keep, 100 + seed), Some(keep)).unwrap();
                of(&checks, name).0.rsplit_once("; p = ").map(|(_, p)| p.parse().unwrap())
            })
            .collect();
        assert!(p_values.len() >= 150, "{name}: {} p-values", p_values.len());
        for level in [0.1, 0.01] {
            let expected = level * p_values.len() as f64;
            let below = p_values.iter().filter(|p| **p < level).count() as f64;
            // Four standard deviations of a count with that mean.
            assert!(below <= expected + 4.0 * expected.sqrt(), "{name}: {below} of {} below {level}", p_values.len());
        }
    }
}

#[test]
fn a_rate_of_eight_bits_is_named() {
    // 0.9 of 256 is 230.4.
    let mask = made(2000, 1024, |row, unit| word(row * 1024 + unit) >> 24 < 230);
    let checks = audit(1024, &mask, Some(0.9)).unwrap();
    assert_eq!(failed(&checks), ["rate"], "{checks:?}");
    assert!(of(&checks, "rate").1.contains("230/256"), "{checks:?}");
    // Without the rate that was asked for nothing is wrong with it.
    let checks = audit(1024, &mask, None).unwrap();
    assert!(failed(&checks).is_empty() && of(&checks, "rate").1.contains("--keep"), "{checks:?}");
    // A rate 1 percent off is seen as such.
    let checks = audit(1024, &made(2000, 1024, |row, unit| word(row * 1024 + unit) < 3_895_000_000), Some(0.9)).unwrap();
    assert!(failed(&checks) == ["rate"] && !of(&checks, "rate").1.contains("256"), "{checks:?}");
}

/// `hash(seed ^ index)`, as it is found in a crate: seeds below the number of units permute one mask.
#[test]
fn masks_that_permute_one_mask_are_named() {
    let mask = made(111, 4096, |seed, unit| word(seed ^ unit) < 1 << 31);
    let checks = audit(4096, &mask, Some(0.5)).unwrap();
    assert!(failed(&checks).contains(&"rows"), "{checks:?}");
    let (found, advice) = of(&checks, "rows");
    assert!(found.contains("varies 0.000 times") && advice.contains("permute one mask"), "{found} {advice}");
}

#[test]
fn a_mask_that_is_used_twice_is_named_with_its_rows() {
    let twice = |row, unit| word((if row == 700 { 31 } else { row }) * 512 + unit) < 3_865_470_566;
    let checks = audit(512, &made(1000, 512, twice), Some(0.9)).unwrap();
    assert_eq!(failed(&checks), ["pairs"], "{checks:?}");
    assert!(of(&checks, "pairs").0.contains("rows 31 and 700 are the same"), "{checks:?}");
    // Two ranks that draw the same masks.
    let checks = audit(512, &made(128, 512, |row, unit| word(row % 64 * 512 + unit) < 1 << 31), Some(0.5)).unwrap();
    assert_eq!(failed(&checks), ["units", "pairs", "lags"], "{checks:?}");
    assert!(of(&checks, "lags").0.contains("the same 64 rows on"), "{checks:?}");
    assert!(of(&checks, "units").1.contains("from row to row"), "{checks:?}");
    // The opposite of each other.
    let checks = audit(512, &made(2, 512, |row, unit| (word(unit) < 1 << 31) ^ (row == 1)), Some(0.5)).unwrap();
    assert!(failed(&checks).contains(&"pairs") && of(&checks, "pairs").0.contains("opposite"), "{checks:?}");
    // Three quarters of it.
    let partly = |row: u32, unit: u32| word(if unit < 384 { unit } else { row * 512 + unit }) < 1 << 31;
    let checks = audit(512, &made(2, 512, partly), Some(0.5)).unwrap();
    assert!(failed(&checks).contains(&"pairs") && of(&checks, "pairs").1.contains("in part"), "{checks:?}");
    // Rows of one dropped unit, of which some are the same by chance, hide nothing.
    let sparse = |row, unit| match row {
        500 | 900 => word(500 * 512 + unit) < 3_865_470_566,
        _ => unit != word(row) % 512,
    };
    let checks = audit(512, &made(1000, 512, sparse), None).unwrap();
    assert!(of(&checks, "pairs").0.contains("rows 500 and 900 are the same"), "{checks:?}");
    // Rows too short to tell.
    let checks = audit(8, &made(1000, 8, |row, unit| word(row * 8 + unit) < 1 << 31), Some(0.5)).unwrap();
    assert!(failed(&checks).is_empty() && of(&checks, "pairs").1.contains("by chance"), "{checks:?}");
}

#[test]
fn one_mask_for_all_rows_is_found() {
    let checks = audit(100, &made(50, 100, |_, unit| word(unit) < 1 << 31), Some(0.5)).unwrap();
    assert_eq!(failed(&checks), ["rows", "units", "pairs", "lags"], "{checks:?}");
}

#[test]
fn units_that_are_dropped_together_are_found() {
    let checks = audit(512, &made(200, 512, |row, unit| word(row * 128 + unit / 4) < 1 << 31), Some(0.5)).unwrap();
    assert_eq!(failed(&checks), ["rows", "pairs", "lags"], "{checks:?}");
    assert!(of(&checks, "rows").1.contains("channel") && of(&checks, "lags").0.contains("the one 1 on"), "{checks:?}");
    // A rate that would be impossible if all units were independent is one of few channels.
    let seed = (0..100).map(|seed| seed * 1000).find(|&seed| {
        let kept = (0..400u32).filter(|channel| word(seed + channel) < 1 << 31).count();
        kept.abs_diff(200) > 20
    });
    let mask = made(50, 512, |row, unit| word(seed.unwrap() + row * 8 + unit / 64) < 1 << 31);
    let checks = audit(512, &mask, Some(0.5)).unwrap();
    assert!(failed(&checks)[0] == "rows", "{checks:?}");
    assert!(failed(&audit(512, &mask, Some(0.9)).unwrap()).contains(&"rate"));
}

#[test]
fn rows_whose_streams_overlap_are_found() {
    // Each row begins 100 numbers behind the one before.
    let checks = audit(512, &made(200, 512, |row, unit| word(row * 100 + unit) < 1 << 31), Some(0.5)).unwrap();
    assert!(failed(&checks).contains(&"lags"), "{checks:?}");
    let (found, advice) = of(&checks, "lags");
    assert!(found.contains("the one -100 of it 1 row on") && advice.contains("overlap"), "{found} {advice}");
}

/// Generators whose numbers come again, at any distance: found by `lags` alone, or by rows that are the same.
#[test]
fn numbers_that_come_again_are_found() {
    let half = |place: u32| word(place) < 1 << 31;
    let two_ranks = |row: u32, unit: u32| half(row % 250 * 256 + unit + row / 250 * 100);
    let steps = |row: u32, unit: u32| half(row / 16 * 3000 + row % 16 * 256 + unit);
    for (name, mask, units, place) in [
        ("a period of 2^14", made(600, 100, |row, unit| half((row * 100 + unit) % (1 << 14))), 100, "-16 of it 164 rows on"),
        ("two ranks 100 numbers apart", made(500, 256, two_ranks), 256, "-100 of it 250 rows on"),
        ("steps of 16 rows that overlap", made(200, 256, steps), 256, "the one +72 of it 4 rows on"),
        ("one long row, its second half the first", made(1, 50_000, |_, unit| half(unit % 25_000)), 50_000, "the one 25000 on"),
    ] {
        let checks = audit(units, &mask, Some(0.5)).unwrap();
        assert_eq!(failed(&checks), ["lags"], "{name}: {checks:?}");
        assert!(of(&checks, "lags").0.contains(place), "{name}: {checks:?}");
    }
    // More rows than are compared in pairs, and further apart than the longest distance.
    let again = |row: u32, unit: u32| half((if row == 150_000 { 7 } else { row }) * 64 + unit);
    let checks = audit(64, &made(150_001, 64, again), Some(0.5)).unwrap();
    assert!(failed(&checks) == ["pairs"] && of(&checks, "pairs").0.contains("rows 7 and 150000 are the same"), "{checks:?}");
}

#[test]
fn a_row_or_the_end_of_rows_that_is_never_dropped_is_named() {
    let tenth = |place: u32| word(place) < 3_865_470_566;
    let checks = audit(512, &made(1000, 512, |row, unit| row == 400 || tenth(row * 512 + unit)), Some(0.9)).unwrap();
    assert_eq!(failed(&checks), ["rows"], "{checks:?}");
    let (found, advice) = of(&checks, "rows");
    assert!(found.contains("row 400, which keeps 512") && advice.starts_with("that row"), "{found} {advice}");
    // Too few rows to judge a unit by itself.
    let checks = audit(100_000, &made(2, 100_000, |row, unit| unit >= 99_000 || tenth(row * 100_000 + unit)), Some(0.9)).unwrap();
    assert!(failed(&checks)[0] == "units" && of(&checks, "units").0.contains("128 units in a row"), "{checks:?}");
}

#[test]
fn a_unit_that_is_never_dropped_is_named() {
    let mask = made(2000, 256, |row, unit| unit == 17 || word(row * 256 + unit) < 3_865_470_566);
    let checks = audit(256, &mask, Some(0.9)).unwrap();
    assert_eq!(failed(&checks), ["units"], "{checks:?}");
    let (found, advice) = of(&checks, "units");
    assert!(found.contains("unit 17, 2000 of 2000 times") && advice.starts_with("that is"), "{checks:?}");
}

#[test]
fn values_that_are_no_mask_are_refused_or_named() {
    let scaled = |scale: f32| -> Vec<f32> { of_contract(100, 64, 0.9, 1).iter().map(|value| value * scale).collect() };
    assert!(failed(&audit(64, &scaled(1.0), Some(0.9)).unwrap()).is_empty());
    // As bfloat16 has 1/0.9.
    assert!(failed(&audit(64, &scaled(1.109375 * 0.9), Some(0.9)).unwrap()).is_empty());
    let checks = audit(64, &scaled(0.9), Some(0.9)).unwrap();
    assert!(
        failed(&checks).is_empty() && of(&checks, "values").0.contains("wrong for what inverted dropout makes"),
        "{checks:?}"
    );
    let checks = audit(64, &scaled(0.95), Some(0.9)).unwrap();
    assert!(failed(&checks) == ["values"] && of(&checks, "values").0.contains("1/keep_prob is 1.111111"), "{checks:?}");
    let mut values = scaled(1.0);
    *values.iter_mut().find(|value| **value > 0.0).unwrap() = 2.0;
    let checks = audit(64, &values, Some(0.9)).unwrap();
    assert!(failed(&checks) == ["values"] && of(&checks, "values").1.contains("array of ones"), "{checks:?}");
    for (units, values, keep, message) in [
        (0, vec![1.0], None, "no rows of 0 units"),
        (4, vec![], None, "0 values"),
        (4, vec![1.0; 7], None, "7 values are no rows of 4 units"),
        (2, vec![1.0, 1.0, 0.0, f32::NAN], None, "row 1, unit 1 of the masks is NaN"),
        (2, vec![1.0; 4], Some(1.5), "keep_prob 1.5"),
    ] {
        let error = audit(units, &values, keep).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}
