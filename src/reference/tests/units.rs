//! Per-batch unit dropout: one set of units for all rows.

use super::*;

fn units(keep_prob: f64) -> Dropout {
    Dropout::units(keep_prob).unwrap()
}

/// 5-7-6-4 with units dropped in front of, between and behind the layers, and beside a mask for every sample.
fn thinned() -> Network {
    let dense = |units, activation| Dense::new(units).activation(activation);
    let hidden = Network::new(5).dropout(units(0.6)).dense(dense(7, Activation::Tanh)).dropout(units(0.5));
    let masked = hidden.dropout(Dropout::keep(0.8).unwrap()).dense(dense(6, Activation::Sigmoid)).dropout(units(0.7).site(9));
    masked.dense(dense(4, Activation::Identity))
}

const NEXT_UPDATE: Masks = Masks::Drawn { seed: SEED, pass: PASS, update: UPDATE + 1, samples: &SAMPLES };

/// The sum of the outputs, each with a weight of its own.
fn objective(network: &Network, weights: &[Vec<f64>], inputs: &[f64], upstream: &[f64], masks: &Masks) -> Result<f64> {
    let y = forward(network, weights, inputs, masks)?.pop().unwrap();
    Ok(y.iter().zip(upstream).map(|(y, u)| y * u).sum())
}

#[test]
fn gradients_are_the_numeric_ones_of_the_same_update() {
    for loss in LOSSES {
        let network = thinned().loss(loss);
        let (weights, inputs) = (random_weights(&network), random(25, 0));
        with_targets(loss, |targets| {
            let numeric = numeric_gradients(&network, &weights, &inputs, targets, &DRAWN, STEP).unwrap();
            let error = |masks| relative_error(&gradients(&network, &weights, &inputs, targets, masks).unwrap(), &numeric);
            println!("units, {loss:?}: relative error {:.1e}, of the next update {:.1e}", error(&DRAWN), error(&NEXT_UPDATE));
            assert!(error(&DRAWN) <= TOLERANCE);
            assert!(error(&NEXT_UPDATE) > 1e5 * TOLERANCE);
        });
    }
    let network = thinned();
    let (weights, inputs, upstream) = (random_weights(&network), random(25, 0), random(20, 1));
    let moved = |x: &[Vec<f64>]| objective(&network, &weights, &x[0], &upstream, &DRAWN);
    let numeric = central_differences(std::slice::from_ref(&inputs), STEP, moved).unwrap();
    let (_, dx) = backward(&network, &weights, &inputs, &upstream, &DRAWN).unwrap();
    assert!(relative_error(&[dx], &numeric) <= TOLERANCE);
}

/// A unit that the batch drops has no gradient at all: its row and its bias in front of the site, its column behind it.
#[test]
fn gradients_of_dropped_units_are_exactly_zero() {
    let network = Network::new(5).dense(Dense::new(7).activation(Activation::Tanh)).dropout(units(0.5)).dense(Dense::new(4));
    let (weights, inputs, upstream) = (random_weights(&network), random(25, 0), random(20, 1));
    for update in 0..20 {
        let at = Coordinates { stream: Stream::BatchMask, site: 0, pass: update, sample: 0 };
        let kept = rng::exact_k(at, 7, 4, rng::key(SEED));
        let masks = Masks::Drawn { seed: SEED, pass: PASS, update, samples: &SAMPLES };
        let (gradients, _) = backward(&network, &weights, &inputs, &upstream, &masks).unwrap();
        for unit in 0..7 {
            let row = &gradients[0][unit * 5..][..5];
            let behind: Vec<f64> = (0..4).map(|o| gradients[2][o * 7 + unit]).collect();
            let mut all = row.iter().chain([&gradients[1][unit]]).chain(&behind);
            let is_kept = kept.contains(&(unit as u32));
            assert!(all.all(|&g| (g != 0.0) == is_kept), "update {update}, unit {unit} kept {is_kept}: {row:?} {behind:?}");
        }
        assert!(gradients[3].iter().all(|&g| g != 0.0));
    }
}

/// The set is that of the optimizer step, whatever the rows.
#[test]
fn all_rows_share_a_set_and_its_factor_is_n_over_k() {
    let network = Network::new(7).dropout(units(0.4)).dense(Dense::new(1));
    let (weights, inputs) = (random_weights(&network), random(35, 0));
    let outputs = forward(&network, &weights, &inputs, &DRAWN).unwrap().remove(0);
    let at = Coordinates { stream: Stream::BatchMask, site: 0, pass: UPDATE, sample: 0 };
    let kept = rng::exact_k(at, 7, 3, rng::key(SEED));
    for (e, (y, x)) in outputs.iter().zip(&inputs).enumerate() {
        let expected = if kept.contains(&(e as u32 % 7)) { x * f64::from((7.0f64 / 3.0) as f32) } else { 0.0 };
        assert_eq!(*y, expected, "element {e}");
    }
    // Neither the epoch nor the samples matter.
    let other = Masks::Drawn { seed: SEED, pass: PASS + 5, update: UPDATE, samples: &[1, 2, 3, 4, 5] };
    assert_eq!(forward(&network, &weights, &inputs, &other).unwrap()[0], outputs);
    assert_ne!(forward(&network, &weights, &inputs, &NEXT_UPDATE).unwrap()[0], outputs);
    // In evaluation it is absent, and at keep_prob 0 nothing is left.
    assert_eq!(forward(&network, &weights, &inputs, &Masks::None).unwrap()[0], inputs);
    let nothing = Network::new(7).dropout(units(0.0)).dense(Dense::new(1));
    assert!(forward(&nothing, &weights, &[f64::NAN; 35], &DRAWN).unwrap()[0].iter().all(|&y| y == 0.0));
}
