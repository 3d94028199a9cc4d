use thinnet::calibration::{RiskCoverage, auroc};

use super::{close, refused, uniforms};

/// Scores with many ties.
fn coarse(n: usize, seed: u64) -> Vec<f64> {
    uniforms(n, seed).into_iter().map(|u| (6.0 * u).floor()).collect()
}

#[test]
fn the_least_certain_are_referred_first() {
    // By certainty: right, right, wrong, right, wrong.
    let (right, scores) = ([false, true, true, true, false], [0.9, 0.1, 0.2, 0.4, 0.3]);
    let curve = RiskCoverage::of(&right, &scores).unwrap();
    let expected = [1.0, 1.0, 2.0 / 3.0, 3.0 / 4.0, 3.0 / 5.0];
    curve.accuracy.iter().zip(expected).for_each(|(got, want)| close(*got, want));
    close(curve.area(), (1.0 / 3.0 + 1.0 / 4.0 + 2.0 / 5.0) / 5.0);
    for (share, want) in [(0.0, 0.6), (0.2, 0.75), (0.4, 2.0 / 3.0), (0.6, 1.0), (1.0, 1.0)] {
        close(curve.accuracy_when_referred(share), want);
    }
    // One row; all right; all wrong.
    assert_eq!(RiskCoverage::of(&[false], &[0.0]).unwrap().accuracy, [0.0]);
    for right in [true, false] {
        let curve = RiskCoverage::of(&[right; 7], &coarse(7, 1)).unwrap();
        assert!(curve.accuracy.iter().all(|a| *a == f64::from(u8::from(right))));
        close(curve.area(), f64::from(u8::from(!right)));
    }
}

/// Every order of the rows that the scores allow, each as likely.
#[test]
fn ties_count_as_the_mean_over_all_their_orders() {
    let (right, scores) = ([true, false, false, true, true, false], [1.0, 1.0, 0.0, 1.0, 0.0, 2.0]);
    let (mut sums, mut orders) = ([0.0; 6], 0.0);
    let mut order = vec![Vec::new()];
    for _ in 0..6 {
        let longer = |part: &Vec<usize>| {
            let part = part.clone();
            (0..6).filter(|i| !part.contains(i)).map(|i| [&part[..], &[i]].concat()).collect::<Vec<_>>()
        };
        order = order.iter().flat_map(longer).collect();
    }
    assert_eq!(order.len(), 720);
    for order in order.iter().filter(|order| order.is_sorted_by_key(|&i| scores[i] as u32)) {
        orders += 1.0;
        for k in 1..=6 {
            sums[k - 1] += order[..k].iter().filter(|&&i| right[i]).count() as f64 / k as f64;
        }
    }
    let curve = RiskCoverage::of(&right, &scores).unwrap();
    assert_eq!(orders, 2.0 * 6.0);
    curve.accuracy.iter().zip(sums).for_each(|(got, sum)| close(*got, sum / orders));
}

#[test]
fn the_order_of_the_rows_changes_no_bit() {
    let scores = coarse(200, 3);
    let right: Vec<bool> = uniforms(200, 4).into_iter().map(|u| u < 0.7).collect();
    let curve = RiskCoverage::of(&right, &scores).unwrap();
    let mut order: Vec<usize> = (0..200).collect();
    let keys = uniforms(200, 5);
    order.sort_by(|&a, &b| keys[a].total_cmp(&keys[b]));
    let (shuffled, scores_shuffled): (Vec<bool>, Vec<f64>) = order.iter().map(|&i| (right[i], scores[i])).unzip();
    assert_eq!(RiskCoverage::of(&shuffled, &scores_shuffled).unwrap(), curve);
    // A constant score knows nothing: a level curve.
    let level = RiskCoverage::of(&right, &[0.0; 200]).unwrap();
    let share = right.iter().filter(|r| **r).count() as f64 / 200.0;
    level.accuracy.iter().for_each(|a| close(*a, share));
    // No score is better than the one that knows, none worse than its opposite.
    let wrong: Vec<f64> = right.iter().map(|r| f64::from(u8::from(!r))).collect();
    let opposite: Vec<f64> = wrong.iter().map(|w| -w).collect();
    let area = |scores: &[f64]| RiskCoverage::of(&right, scores).unwrap().area();
    assert!(area(&wrong) < curve.area() && curve.area() < area(&opposite));
    // 0 and -0 are a tie.
    let signs = RiskCoverage::of(&[true, false], &[-0.0, 0.0]).unwrap();
    assert_eq!(signs, RiskCoverage::of(&[false, true], &[-0.0, 0.0]).unwrap());
}

fn brute(own: &[f64], other: &[f64]) -> f64 {
    let pair = |a: f64, b: f64| if b > a { 1.0 } else { 0.5 * f64::from(u8::from(a == b)) };
    own.iter().flat_map(|&a| other.iter().map(move |&b| pair(a, b))).sum::<f64>() / (own.len() * other.len()) as f64
}

#[test]
fn separation_is_the_share_of_pairs_in_order() {
    for (n, m, seed) in [(1, 1, 1), (1, 40, 2), (57, 1, 3), (200, 133, 4), (3, 500, 5)] {
        for fine in [false, true] {
            let of = |n, seed| if fine { uniforms(n, seed) } else { coarse(n, seed) };
            let (own, other) = (of(n, seed), of(m, seed + 100));
            // Halves are summed exactly, so that both divide the same numbers.
            assert_eq!(auroc(&own, &other).unwrap(), brute(&own, &other), "{n} {m}");
            close(auroc(&other, &own).unwrap(), 1.0 - brute(&own, &other));
            // Only the order counts.
            let [own, other] = [own, other].map(|s| s.iter().map(|v| (3.0 * v).exp() - 7.0).collect::<Vec<_>>());
            assert_eq!(auroc(&own, &other).unwrap(), brute(&own, &other));
        }
    }
    assert_eq!(auroc(&[0.0, 1.0], &[2.0, f64::INFINITY]).unwrap(), 1.0);
    assert_eq!(auroc(&[5.0, 5.0], &[5.0]).unwrap(), 0.5);
    assert_eq!(auroc(&[2.0], &[f64::NEG_INFINITY, 1.0]).unwrap(), 0.0);
    assert_eq!(auroc(&[-0.0], &[0.0]).unwrap(), 0.5);
}

#[test]
fn what_has_no_order_is_refused() {
    refused(auroc(&[], &[1.0]), &["no scores of the network's own data"]);
    refused(auroc(&[1.0], &[]), &["no scores of the other data"]);
    refused(auroc(&[1.0], &[0.0, f64::NAN]), &["other data", "row 1", "NaN"]);
    refused(RiskCoverage::of(&[], &[]), &["no uncertainty scores"]);
    refused(RiskCoverage::of(&[true, false], &[f64::NAN, 0.0]), &["row 0", "NaN"]);
    refused(RiskCoverage::of(&[true], &[0.0, 1.0]), &["2 uncertainty scores", "1 rows"]);
}
