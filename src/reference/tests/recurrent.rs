//! Recurrent layers and embeddings: PyTorch's numbers, the masks word by word, truncation, and what stands behind the end of a
//! sample.
//!
//! `scripts/pytorch/recurrent.py` made `tests/fixtures/pytorch_recurrent.json`.

use serde_json::Value;

use super::*;
use crate::network::{Cell, Embedding, Layer, Recurrent};

fn figures() -> Value {
    serde_json::from_str(include_str!("../../../tests/fixtures/pytorch_recurrent.json")).unwrap()
}

fn list(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// The largest difference; infinite where one is not a number, or where there are not equally many.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    let differences = a.iter().zip(b).map(|(a, b)| Some((a - b).abs()).filter(|d| !d.is_nan()).unwrap_or(f64::INFINITY));
    if a.len() == b.len() { differences.fold(0.0, f64::max) } else { f64::INFINITY }
}

/// Outputs and all gradients. Sums of some hundred products of numbers below 10 in another order, 15 digits each: 1e-12 is ample,
/// and every weight that is moved by 0.01 is seen.
#[test]
fn recurrent_layers_and_embeddings_are_those_of_pytorch() {
    let figures = figures();
    let cases = figures["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 11);
    for case in cases {
        let network: Network = serde_json::from_value(case["network"].clone()).unwrap();
        let (inputs, upstream) = (list(&case["inputs"]), list(&case["upstream"]));
        let lengths: Option<Vec<u32>> = serde_json::from_value(case["lengths"].clone()).unwrap();
        let parameters = network.parameters().unwrap();
        let tensors = |key: &str| parameters.iter().map(|p| list(&case[key][&p.name])).collect::<Vec<_>>();
        assert_eq!(case["weights"].as_object().unwrap().len(), parameters.len());
        let (weights, batch) = (tensors("weights"), Batch { inputs: &inputs, lengths: lengths.as_deref() });
        let of = |weights: &[Vec<f64>]| forward(&network, weights, batch, &Masks::None).unwrap().pop().unwrap();
        let expected = list(&case["outputs"]);
        let off = distance(&of(&weights), &expected);
        let (gradients, dx) = backward(&network, &weights, batch, &upstream, &Masks::None).unwrap();
        let worst = gradients.iter().zip(tensors("gradients")).map(|(g, e)| distance(g, &e)).fold(0.0, f64::max);
        let inward = case["input_gradient"].as_array().map_or(0.0, |_| distance(&dx, &list(&case["input_gradient"])));
        println!("{}: outputs off by {off:.1e}, gradients by {worst:.1e}, {inward:.1e}", case["name"]);
        assert!(off <= 1e-12 && worst <= 1e-12 && inward <= 1e-12, "{}", case["name"]);
        for (tensor, parameter) in parameters.iter().enumerate() {
            let mut moved = weights.clone();
            moved[tensor].iter_mut().enumerate().for_each(|(i, w)| *w += if i % 2 == 0 { 0.01 } else { 0.005 });
            assert!(distance(&of(&moved), &expected) > 1e-6, "{}: {} goes unseen", case["name"], parameter.name);
        }
    }
}

/// W with ones where a gate's unit meets the feature of its number.
fn identities(gates: usize, hidden: usize, inputs: usize) -> Vec<f64> {
    (0..gates * hidden * inputs).map(|i| f64::from(i / inputs % hidden == i % inputs)).collect()
}

fn half(unit: Unit) -> Dropout {
    Dropout::keep(0.5).unwrap().unit(unit)
}

/// The factor that the word of a unit gives at keep_prob 0.5, of a sample or of the batch.
fn factor(batch: bool, site: u32, sample: u32, unit: u32) -> f64 {
    let counter = if batch { [unit / 4, 0, UPDATE, 6 << 24 | site] } else { [unit / 4, sample, PASS, site] };
    if rng::philox4x32_10(counter, [3, 7 << 8])[unit as usize % 4] < 1 << 31 { 2.0 } else { 0.0 }
}

/// Two layers in both directions of `max(x, 0)`, whose only mask is in front or behind: every element of the output is a product
/// of factors.
#[test]
fn masks_in_front_and_behind_have_the_words_of_their_sites_and_units() {
    let (steps, hidden, mut kept) = (5u32, 3u32, 0);
    for (unit, batch) in [(Unit::STEPS, false), (Unit::Element, false), (Unit::STEPS, true), (Unit::Element, true)] {
        let mode = |dropout: Dropout| if batch { dropout.batch() } else { dropout };
        let at = |t: u32, f: u32, features: u32| if unit == Unit::STEPS { f } else { t * features + f };
        let layers = Recurrent::new(Cell::RnnRelu, hidden).layers(2).bidirectional().sequence();
        for (place, recurrent) in [(0, layers.clone().input(mode(half(unit)))), (2, layers.output(mode(half(unit))))] {
            let network = Network::new([steps, hidden]).recurrent(recurrent).layer(Layer::Flatten);
            // The second layer takes the forward half, which is what both directions of the first give alike.
            let inputs = |layer: u32| if layer == 0 { 3 } else { 6 };
            let tensors = |layer| vec![identities(1, 3, inputs(layer)), vec![0.0; 9], vec![0.0; 3], vec![0.0; 3]];
            let weights: Vec<Vec<f64>> = [0, 0, 1, 1].into_iter().flat_map(tensors).collect();
            let y = forward(&network, &weights, &vec![1.0; 5 * 15], &DRAWN).unwrap().remove(0);
            for (i, &y) in y.iter().enumerate() {
                let (row, t, u) = (i / 30, i as u32 % 30 / 6, i as u32 % 6);
                let (direction, f) = (u / hidden, u % hidden);
                let site = |layer: u32, direction: u32| 3 * (2 * layer + direction) + place;
                let of = |site, features| factor(batch, site, SAMPLES[row], at(t, f, features));
                let wide = if place == 0 { 6 } else { 3 };
                let expected = of(site(0, 0), 3) * of(site(1, direction), wide);
                kept += u32::from(y != 0.0);
                assert_eq!(y, expected, "{unit:?}, batch {batch}, place {place}, row {row}, step {t}, unit {u}");
            }
        }
    }
    assert!((100..600).contains(&kept), "{kept} of 1200");
}

/// The recurrent mask of an LSTM in either direction, against the formulas written down once more: unit f, t hidden + f of the
/// step whose input it is, or gate hidden + f.
#[test]
fn recurrent_masks_have_the_words_of_their_units() {
    let (steps, hidden) = (4usize, 2usize);
    let s = |z: f64| 1.0 / (1.0 + (-z).exp());
    for (kind, batch) in [(0, false), (1, false), (2, false), (0, true), (1, true), (2, true)] {
        let unit = if kind == 1 { Unit::Element } else { Unit::STEPS };
        let dropout = if batch { half(unit).batch() } else { half(unit) };
        let lstm = Recurrent::lstm(2).bidirectional().sequence().recurrent(dropout);
        let lstm = if kind == 2 { lstm.untied() } else { lstm };
        let network = Network::new([4, 2]).recurrent(lstm).layer(Layer::Flatten);
        let (x, lengths) = (random(5 * 8, 0), [4, 2, 1, 3, 4]);
        // W_ih and W_hh give each gate a unit's own feature, so that a unit is a sequence by itself.
        let of_direction = [identities(4, 2, 2), identities(4, 2, 2), vec![0.1; 8], vec![0.0; 8]];
        let weights = [of_direction.clone(), of_direction].concat();
        let y = forward(&network, &weights, Batch { inputs: &x, lengths: Some(&lengths) }, &DRAWN).unwrap().remove(0);
        for (row, &length) in lengths.iter().enumerate() {
            for (direction, f) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let (mut h, mut c) = (0.0, 0.0);
                let mut expected = vec![0.0; steps];
                for place in 0..length as usize {
                    let t = if direction == 0 { place } else { length as usize - 1 - place };
                    let gate = |g: usize| {
                        let unit = [f, t * hidden + f, g * hidden + f][kind] as u32;
                        x[(row * steps + t) * hidden + f] + 0.1 + factor(batch, 3 * direction + 1, SAMPLES[row], unit) * h
                    };
                    c = s(gate(1)) * c + s(gate(0)) * gate(2).tanh();
                    h = s(gate(3)) * c.tanh();
                    expected[t] = h;
                }
                for t in 0..steps {
                    let found = y[((row * steps + t) * 2 + direction as usize) * hidden + f];
                    assert!((found - expected[t]).abs() < 1e-14, "kind {kind}, row {row}, step {t}: {found}, {}", expected[t]);
                }
            }
        }
    }
}

/// A GRU's update carries h as it is: with z near 1 the state stays, whatever is dropped of it on the way to the gates.
#[test]
fn the_update_of_a_gru_is_not_masked() {
    let network = Network::new([6, 1]).recurrent(Recurrent::gru(1).recurrent(Dropout::keep(0.0).unwrap().variational()));
    // n = tanh(x), z = s(50 (1 - x)): x = 1 lets n in with s(0), x = 0 keeps h.
    let weights = [vec![0.0, -50.0, 1.0], vec![1.0, 1.0, 1.0], vec![0.0, 50.0, 0.0], vec![0.0; 3]];
    let inputs = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    let masks = Masks::Drawn { seed: SEED, pass: PASS, update: UPDATE, samples: &[1] };
    let y = forward(&network, &weights, &inputs, &masks).unwrap().remove(0);
    assert!((y[0] - 0.5 * 1f64.tanh()).abs() < 1e-12, "{y:?}");
}

/// What stands behind the end of a row, infinities even, neither shows nor is changed: outputs of these steps and gradients by
/// them are 0.
#[test]
fn what_is_behind_the_end_does_not_matter() {
    let (lengths, dropout) = ([5, 1, 3, 2, 4], half(Unit::Element));
    for cell in Cell::ALL {
        for recurrent in [Recurrent::new(cell, 3), Recurrent::new(cell, 3).layers(2).bidirectional()] {
            let recurrent = recurrent.input(dropout).recurrent(dropout).output(dropout).sequence();
            let width = (3 * recurrent.directions()) as usize;
            let network = Network::new([5, 2]).recurrent(recurrent).layer(Layer::Flatten);
            let (weights, clean) = (random_weights(&network), random(50, 0));
            let behind = |i: usize, features: usize| i / features % 5 >= lengths[i / features / 5] as usize;
            let dirty: Vec<f64> = clean.iter().enumerate().map(|(i, &x)| if behind(i, 2) { f64::NAN } else { x }).collect();
            let upstream: Vec<f64> = random(25 * width, 1);
            let poisoned: Vec<f64> =
                upstream.iter().enumerate().map(|(i, &u)| if behind(i, width) { f64::NAN } else { u }).collect();
            let run = |inputs: &[f64], upstream: &[f64]| {
                let batch = Batch { inputs, lengths: Some(&lengths) };
                let y = forward(&network, &weights, batch, &DRAWN).unwrap().remove(0);
                (y, backward(&network, &weights, batch, upstream, &DRAWN).unwrap())
            };
            let (y, (gradients, dx)) = run(&dirty, &poisoned);
            assert_eq!(
                (&y, (&gradients, &dx)),
                (&run(&clean, &upstream).0, (&run(&clean, &upstream).1.0, &run(&clean, &upstream).1.1))
            );
            assert!(y.iter().enumerate().all(|(i, &y)| !behind(i, width) || y == 0.0));
            assert!(dx.iter().enumerate().all(|(i, &g)| !behind(i, 2) || g == 0.0));
            // A row gives what it would give by itself, with no room behind its end.
            let alone = Network { input: [3, 2].into(), ..network.clone() };
            let masks = Masks::Drawn { seed: SEED, pass: PASS, update: UPDATE, samples: &SAMPLES[2..3] };
            let one = forward(&alone, &weights, &clean[20..26], &masks).unwrap().remove(0);
            assert_eq!(one, y[2 * 5 * width..][..3 * width]);
        }
    }
}

/// Truncated to k steps, gradients pass from step t to an earlier read one if there is no border between them, and then as they
/// do without truncation: each step's own upstream gradient, passed back by itself, says what dx is. W_ih being the identity, dx
/// is the gradient by the arguments of the gates, and that of the tensors follows.
#[test]
fn truncated_gradients_stop_at_the_borders() {
    let steps = 7usize;
    for (cell, k) in Cell::ALL.into_iter().flat_map(|cell| [1, 2, 3, 7].map(|k| (cell, k))) {
        for direction in [0, 1] {
            let (gates, lengths) = (cell.gates() as usize, [7, 4, 1, 6, 3]);
            let features = 2 * gates;
            let network = |truncate| {
                let mut recurrent = Recurrent::new(cell, 2).bidirectional().sequence();
                recurrent.truncate = truncate;
                Network::new([7, features as u32]).recurrent(recurrent).layer(Layer::Flatten)
            };
            let (truncated, network) = (network(Some(k)), network(None));
            let mut weights = random_weights(&network);
            weights[0] = identities(1, features, features);
            weights[4] = weights[0].clone();
            if cell == Cell::RnnRelu {
                // Units that live at every step.
                for tensor in [1, 2, 5, 6] {
                    weights[tensor].iter_mut().for_each(|w| *w = w.abs() / 2.0 + 0.1);
                }
            }
            let inputs = random(5 * steps * features, 0);
            let batch = Batch { inputs: &inputs, lengths: Some(&lengths) };
            // Of one direction alone.
            let mut upstream = random(5 * steps * 4, 1);
            upstream.iter_mut().enumerate().filter(|(i, _)| i % 4 / 2 != direction).for_each(|(_, u)| *u = 0.0);
            let (gradients, dx) = backward(&truncated, &weights, batch, &upstream, &DRAWN).unwrap();
            // Steps between two borders.
            let part = |t: usize| t / k as usize;
            let mut expected = vec![0.0; inputs.len()];
            let (mut whole, mut cut) = (vec![0.0; inputs.len()], false);
            for t in 0..steps {
                let own: Vec<f64> = upstream.iter().enumerate().map(|(i, &u)| if i / 4 % steps == t { u } else { 0.0 }).collect();
                let (_, dx) = backward(&network, &weights, batch, &own, &DRAWN).unwrap();
                for (i, g) in dx.into_iter().enumerate() {
                    whole[i] += g;
                    if part(i / features % steps) == part(t) {
                        expected[i] += g;
                    } else {
                        cut |= g != 0.0;
                    }
                }
            }
            assert!(distance(&dx, &expected) < 1e-13, "{cell:?}, {k}, {direction}: {}", distance(&dx, &expected));
            assert_eq!(cut, k < 7, "{cell:?}, {k}, {direction}");
            assert_eq!(distance(&dx, &whole) > 1e-4, cut);
            let own = &gradients[4 * direction..];
            let mut by_bias = vec![0.0; features];
            let mut by_weight = vec![0.0; features * features];
            for (i, &g) in dx.iter().enumerate() {
                by_bias[i % features] += g;
                let x = &inputs[i / features * features..][..features];
                (0..features).for_each(|f| by_weight[i % features * features + f] += g * x[f]);
            }
            assert!(distance(&own[0], &by_weight) < 1e-13 && distance(&own[2], &by_bias) < 1e-13);
            if cell != Cell::Gru {
                assert!(distance(&own[3], &by_bias) < 1e-13);
            }
        }
    }
}

/// A word that is dropped for a sample is 0 wherever it stands; its unit is its number.
#[test]
fn words_are_dropped_by_their_numbers() {
    for batch in [false, true] {
        let dropout = if batch { half(Unit::Element).batch() } else { half(Unit::Element) };
        let network = Network::new(6).embedding(Embedding::new(9, 2).dropout(dropout)).layer(Layer::Flatten).dense(Dense::new(1));
        let weights = random_weights(&network);
        let mut ids: Vec<f64> = (0..30).map(|i| f64::from(i * 7 % 9)).collect();
        let lengths = [6, 1, 5, 2, 4];
        // No word at all may stand behind the end.
        ids[10] = f64::NAN;
        ids[29] = 1e9;
        let y = forward(&network, &weights, Batch { inputs: &ids, lengths: Some(&lengths) }, &DRAWN).unwrap().remove(0);
        for (i, found) in y.into_iter().enumerate() {
            let (row, t, id) = (i / 12, i / 2 % 6, ids[i / 2].min(8.0) as u32);
            let word = weights[0][id as usize * 2 + i % 2];
            let expected = if t < lengths[row] as usize { factor(batch, 0, SAMPLES[row], id) * word } else { 0.0 };
            assert_eq!(found, expected, "batch {batch}, row {row}, step {t}");
        }
        let batch = Batch { inputs: &ids, lengths: Some(&lengths) };
        let (gradients, dx) = backward(&network, &weights, batch, &[1.0, -2.0, 3.0, 0.5, 1.5], &DRAWN).unwrap();
        assert!(gradients[0].iter().all(|g| g.is_finite()) && dx == [0.0; 30]);
    }
}

#[test]
fn sequences_that_do_not_fit_are_errors() {
    let network = Network::new([3, 2]).recurrent(Recurrent::gru(2));
    let (weights, inputs) = (random_weights(&network), [0.5; 12]);
    let says = |lengths: &[u32]| {
        let batch = Batch { inputs: &inputs, lengths: Some(lengths) };
        forward(&network, &weights, batch, &Masks::None).map_or_else(|e| e.to_string(), |_| String::new())
    };
    assert_eq!(says(&[3, 1]), "");
    assert!(says(&[3]).contains("1 lengths for 2 rows"));
    assert!(says(&[3, 0]).contains("a length of 0 is not from 1 to 3 steps"));
    assert!(says(&[4, 1]).contains("a length of 4"));
    let words = Network::new(2).embedding(Embedding::new(4, 2)).layer(Layer::Flatten).dense(Dense::new(1));
    let weights = random_weights(&words);
    let of = |ids: &[f64], lengths: &[u32]| {
        forward(&words, &weights, Batch { inputs: ids, lengths: Some(lengths) }, &Masks::None).map_err(|e| e.to_string())
    };
    assert!(of(&[3.0, 0.0], &[2]).is_ok() && of(&[3.0, f64::NAN], &[1]).is_ok());
    for id in [4.0, -1.0, f64::NAN] {
        assert!(of(&[1.0, id], &[2]).unwrap_err().contains("row 0 has"));
    }
}
