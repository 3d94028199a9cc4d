use thinnet::calibration::{Logits, Temperature};

use super::{close, drawn, logits};

#[track_caller]
fn fitted(z: &Logits, labels: &[u32]) -> f64 {
    match z.fit_temperature(labels).unwrap() {
        Temperature::At(temperature) => temperature,
        other => panic!("{other:?}"),
    }
}

fn nll(z: &Logits, labels: &[u32], temperature: f64) -> f64 {
    z.probabilities(temperature).unwrap().nll(labels).unwrap()
}

/// Labels that are right for some rows and any for the rest, so that a finite temperature is best.
fn some_right(z: &Logits, seed: u64) -> Vec<u32> {
    drawn(&z.probabilities(1.7).unwrap(), seed)
}

#[test]
fn no_temperature_of_a_grid_is_better() {
    let mut found = 0;
    for (rows, classes, spread, seed) in [(40, 2, 1.0, 1), (300, 3, 5.0, 2), (1000, 10, 20.0, 3), (200, 4, 0.01, 4)] {
        let z = Logits::new(classes, logits(rows, classes, spread, seed)).unwrap();
        let labels = some_right(&z, seed);
        let Temperature::At(best) = z.fit_temperature(&labels).unwrap() else { continue };
        found += 1;
        let least = nll(&z, &labels, best);
        for step in -300..=300 {
            let other = best * (f64::from(step) / 100.0).exp();
            assert!(nll(&z, &labels, other) >= least - 1e-12, "{best}: {other} is better, {rows} x {classes}");
        }
        // The minimum is sharp enough to be told from its neighbours.
        assert!(nll(&z, &labels, 1.2 * best) > least && nll(&z, &labels, best / 1.2) > least);
    }
    assert!(found >= 3, "{found}");
}

/// The estimate of b = 1/T is normal with variance 1 / (n mean Var_b[z]), the inverse of the information; 5 deviations.
#[test]
fn the_temperature_that_the_labels_were_drawn_with_is_found() {
    let z = Logits::new(5, logits(20_000, 5, 3.0, 1)).unwrap();
    let said = z.probabilities(1.0).unwrap();
    let (labels, values) = (drawn(&said, 2), logits(20_000, 5, 3.0, 1));
    let variance = |row: usize| {
        let moment = |power: i32| said.row(row).iter().zip(&values[5 * row..]).map(|(p, z)| p * z.powi(power)).sum::<f64>();
        moment(2) - moment(1).powi(2)
    };
    let deviation = 1.0 / (0..20_000).map(variance).sum::<f64>().sqrt();
    let b = 1.0 / fitted(&z, &labels);
    assert!(deviation < 0.02 && (b - 1.0).abs() < 5.0 * deviation, "{b} +- {deviation}");
    // Logits three times as large need three times the temperature, and that mends them.
    let exaggerated = Logits::new(5, values.iter().map(|z| 3.0 * z).collect()).unwrap();
    let temperature = fitted(&exaggerated, &labels);
    assert!((temperature * b / 3.0 - 1.0).abs() < 1e-9, "{temperature}");
    assert!(nll(&exaggerated, &labels, temperature) < nll(&exaggerated, &labels, 1.0) - 0.1);
}

#[test]
fn probabilities_are_scaled_as_their_logits_are() {
    let z = Logits::new(4, logits(500, 4, 6.0, 7)).unwrap();
    let labels = some_right(&z, 8);
    let said = z.probabilities(1.0).unwrap();
    let logs = Logits::from_probabilities(&said);
    for temperature in [0.3, 1.0, 2.5] {
        let (a, b) = (z.probabilities(temperature).unwrap(), logs.probabilities(temperature).unwrap());
        (0..500).flat_map(|row| a.row(row).iter().zip(b.row(row)).collect::<Vec<_>>()).for_each(|(a, b)| close(*a, *b));
        assert_eq!(a.answers(), said.answers());
    }
    assert!((fitted(&z, &labels) / fitted(&logs, &labels) - 1.0).abs() < 1e-9);
}

#[test]
fn rows_that_give_no_temperature_are_told_apart() {
    let fit =
        |classes, values: &[f64], labels: &[u32]| Logits::new(classes, values.to_vec()).unwrap().fit_temperature(labels).unwrap();
    // All right, also where another class is as likely.
    assert_eq!(fit(2, &[1.0, 0.0, -3.0, 2.0], &[0, 1]), Temperature::Zero);
    assert_eq!(fit(2, &[1.0, 1.0, 0.0, 2.0], &[1, 1]), Temperature::Zero);
    // All wrong, and as often wrong as right by the same distance.
    assert_eq!(fit(3, &[1.0, 0.0, 0.0], &[1]), Temperature::Infinite);
    assert_eq!(fit(2, &[1.0, 0.0, 1.0, 0.0], &[0, 1]), Temperature::Infinite);
    // Nothing said.
    assert_eq!(fit(2, &[4.0, 4.0, -1.0, -1.0], &[0, 1]), Temperature::At(1.0));
    // Three of four right at distance d: 1 / (1 + e^(-d / T)) = 3/4, so T = d / ln 3, whatever the scale.
    for d in [1e-30, 1e-3, 1.0, 40.0, 1e5, 1e300] {
        let Temperature::At(temperature) = fit(2, &[d, 0.0, d, 0.0, d, 0.0, d, 0.0], &[0, 1, 0, 0]) else { panic!("{d}") };
        assert!((temperature * 3f64.ln() / d - 1.0).abs() < 1e-9, "{d}: {temperature}");
    }
    // One row of a thousand is wrong by a hair: a small temperature, not none.
    let mut values = [0.0, 5.0].repeat(1000);
    values[0] = 5.001;
    let Temperature::At(temperature) = fit(2, &values, &[1; 1000]) else { panic!() };
    assert!(temperature > 0.0 && temperature < 0.9, "{temperature}");
}
