//! The optimizers and the bounds on norms, by hand.

use super::*;

/// Unrolled by hand for gradients that change: two steps, without and with weight decay.
#[test]
fn optimizers_follow_their_recurrences() {
    let (lr, g1, g2): (f64, f64, f64) = (0.1, 0.5, -2.0);
    let sgd = Sgd { learning_rate: lr, momentum: 0.9, weight_decay: 0.25, nesterov: false };
    let (mut w, mut velocity) = ([2.0], [0.0]);
    sgd_step(&sgd, &mut w, &mut velocity, &[g1]); // v = 0.5 + 0.25 * 2 = 1
    assert!((w[0] - 1.9).abs() < 1e-15);
    sgd_step(&sgd, &mut w, &mut velocity, &[g2]); // v = 0.9 - 2 + 0.25 * 1.9 = -0.625
    assert!((w[0] - 1.9625).abs() < 1e-15);

    let nesterov = Sgd { nesterov: true, ..sgd };
    let (mut w, mut velocity) = ([2.0], [0.0]);
    sgd_step(&nesterov, &mut w, &mut velocity, &[g1]); // v = g = 1, so 1.9 v
    assert!((w[0] - 1.81).abs() < 1e-15);
    sgd_step(&nesterov, &mut w, &mut velocity, &[g2]); // g = -2 + 0.25 * 1.81, v = 0.9 + g
    assert!((w[0] - (1.81 - lr * (1.9 * -1.5475 + 0.81))).abs() < 1e-15);

    let adam = Adam { learning_rate: lr, beta1: 0.9, beta2: 0.999, epsilon: 0.01, weight_decay: 0.0, decoupled: false };
    let (mut w, mut m, mut v) = ([2.0], [0.0], [0.0]);
    adam_step(&adam, 1, &mut w, &mut m, &mut v, &[g1]); // Bias correction makes the first means g and g^2.
    assert!((w[0] - (2.0 - lr * g1 / (g1 + 0.01))).abs() < 1e-12);
    let before = w[0];
    adam_step(&adam, 2, &mut w, &mut m, &mut v, &[g2]); // (1 - b^2) = (1 - b) (1 + b)
    let (mean, square) = ((0.9 * g1 + g2) / 1.9, (0.999 * g1 * g1 + g2 * g2) / 1.999);
    assert!((w[0] - (before - lr * mean / (square.sqrt() + 0.01))).abs() < 1e-12);

    let decayed = Adam { weight_decay: 0.25, ..adam };
    let (mut w, mut m, mut v) = ([2.0], [0.0], [0.0]);
    adam_step(&decayed, 1, &mut w, &mut m, &mut v, &[g1]); // Coupled: g = 0.5 + 0.25 * 2 = 1.
    assert!((w[0] - (2.0 - lr * 1.0 / 1.01)).abs() < 1e-12);
    let (mut w, mut m, mut v) = ([2.0], [0.0], [0.0]);
    let decoupled = Adam { decoupled: true, ..decayed };
    adam_step(&decoupled, 1, &mut w, &mut m, &mut v, &[g1]); // The decay is 0.1 * 0.25 of the weight, the gradient 0.5.
    assert!((w[0] - (1.95 - lr * 0.5 / 0.51)).abs() < 1e-12 && (m[0] - 0.05).abs() < 1e-15);

    let rmsprop = RmsProp { learning_rate: lr, alpha: 0.75, epsilon: 0.5, momentum: 0.5, weight_decay: 0.25 };
    let (mut w, mut m, mut v) = ([2.0], [0.0], [0.0]);
    rmsprop_step(&rmsprop, &mut w, &mut m, &mut v, &[g1]); // g = 1, v = 1 / 4, m = 1 / (1 / 2 + 1 / 2)
    assert!((w[0] - 1.9).abs() < 1e-15 && v[0] == 0.25 && m[0] == 1.0);
    rmsprop_step(&rmsprop, &mut w, &mut m, &mut v, &[g2]); // g = -2 + 0.25 * 1.9
    let root = (0.75f64 * 0.25 + 0.25 * 1.525 * 1.525).sqrt();
    assert!((w[0] - (1.9 - lr * (0.5 - 1.525 / (root + 0.5)))).abs() < 1e-15);
}

#[test]
fn norms_are_bounded_by_hand() {
    let gradients = [vec![3.0, 0.0], vec![-4.0]];
    assert!((clip_factor(2.5, &gradients) - 2.5 / 5.000_001).abs() < 1e-15);
    assert_eq!((clip_factor(5.0, &gradients), clip_factor(5.001, &gradients)), (5.0 / 5.000_001, 1.0));
    assert!(clip_factor(1.0, &[vec![f64::NAN]]).is_nan());
    let mut weight = [3.0, -4.0, 6.0, 8.0, 0.0, 0.0];
    max_norm(5.0, &mut weight, 2);
    assert_eq!(weight, [3.0, -4.0, 3.0, 4.0, 0.0, 0.0]);
}
