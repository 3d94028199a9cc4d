//! Recurrent layers and embeddings against PyTorch: names, order of gates and semantics, both ways.
//!
//! `scripts/pytorch/recurrent.py` made `tests/fixtures/pytorch_recurrent.json`, and the state dicts of four of its cases as
//! PyTorch saves them. The reference's own tests compare all of its cases, and gradients.

use std::fs;
use std::path::PathBuf;

use safetensors::tensor::SafeTensors;
use serde_json::Value;
use thinnet::checkpoint::sequential;
use thinnet::reference::{self, Batch, Masks};
use thinnet::{Inputs, Model, Network};

use super::list;
use crate::common::device;
use crate::drive::widen;

struct Case {
    figures: Value,
    network: Network,
    path: PathBuf,
}

/// The cases whose weights are in a file: every cell, both directions, two layers, ragged lengths, words.
fn cases() -> Vec<Case> {
    let all: Value = serde_json::from_str(include_str!("../fixtures/pytorch_recurrent.json")).unwrap();
    let of = |figures: &Value| {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(figures["file"].as_str()?);
        let network = serde_json::from_value(figures["network"].clone()).unwrap();
        Some(Case { figures: figures.clone(), network, path })
    };
    let cases: Vec<Case> = all["cases"].as_array().unwrap().iter().filter_map(of).collect();
    assert_eq!(cases.len(), 4);
    cases
}

impl Case {
    fn lengths(&self) -> Vec<u32> {
        serde_json::from_value(self.figures["lengths"].clone()).unwrap()
    }

    fn model(&self) -> Model {
        Model::load_weights(&self.path, &self.network).unwrap()
    }
}

/// max|a - b| / max|b|; infinite where one is not a number.
fn far(found: impl Iterator<Item = f64>, expected: &[f64]) -> f64 {
    let largest = expected.iter().fold(0.0, |a: f64, e| a.max(e.abs()));
    let error = |(f, e): (f64, &f64)| Some((f - e).abs()).filter(|error| !error.is_nan()).unwrap_or(f64::INFINITY);
    found.zip(expected).map(error).fold(0.0, f64::max) / largest
}

#[test]
fn the_expressions_are_the_modules_that_pytorch_built() {
    for case in cases() {
        assert_eq!(sequential(&case.network).unwrap(), case.figures["sequential"].as_str().unwrap());
    }
}

/// The reference to the last digits; every tensor counts.
#[test]
fn pytorchs_weights_give_the_reference_pytorchs_outputs() {
    for case in cases() {
        let (weights, expected) = (widen(case.model().weights()), list(&case.figures["outputs"]));
        let (inputs, lengths) = (list(&case.figures["inputs"]), case.lengths());
        let of = |weights: &[Vec<f64>], lengths: &[u32]| {
            let batch = Batch { inputs: &inputs, lengths: Some(lengths) };
            reference::forward(&case.network, weights, batch, &Masks::None).unwrap().pop().unwrap()
        };
        let error = far(of(&weights, &lengths).into_iter(), &expected);
        assert!(error <= 1e-12, "{}: off by {error}", case.figures["name"]);
        assert!(far(of(&weights, &[5; 4]).into_iter(), &expected) > 1e-3, "{}: lengths go unseen", case.figures["name"]);
        for (tensor, parameter) in case.network.parameters().unwrap().iter().enumerate() {
            let mut changed = weights.clone();
            changed[tensor].iter_mut().enumerate().for_each(|(i, w)| *w += if i % 2 == 0 { 0.2 } else { 0.1 });
            let error = far(of(&changed, &lengths).into_iter(), &expected);
            assert!(error > 1e-3, "{} goes unseen: {error}", parameter.name);
        }
    }
}

/// The device within what PyTorch's users expect of another backend.
#[test]
fn pytorchs_weights_give_pytorchs_outputs() {
    for case in cases() {
        let (inputs, expected) = (list(&case.figures["inputs"]), list(&case.figures["outputs"]));
        let rows = Inputs::from_f32(case.network.input.elements(), inputs.iter().map(|&x| x as f32).collect()).unwrap();
        let rows = rows.with_lengths(5, case.lengths()).unwrap();
        let found = case.model().logits(device(), &rows).unwrap();
        assert_eq!(found.values().len(), expected.len());
        let error = far(found.values().iter().map(|&v| f64::from(v)), &expected);
        assert!(error <= 1e-4, "{}: off by {error}", case.figures["name"]);
    }
}

/// What thinnet writes is, tensor by tensor, what PyTorch has written.
#[test]
fn thinnets_files_have_the_tensors_of_pytorchs() {
    for case in cases() {
        let (given, written) = (fs::read(&case.path).unwrap(), case.model().to_safetensors().unwrap());
        let tensors = |bytes: &[u8]| {
            let file = SafeTensors::deserialize(bytes).unwrap();
            let tensors = file.tensors().into_iter().map(|(name, t)| (name, t.shape().to_vec(), t.data().to_vec()));
            tensors.collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(tensors(&given), tensors(&written));
        let own = &case.figures["weights"];
        assert_eq!(own.as_object().unwrap().len(), tensors(&given).len());
    }
}
