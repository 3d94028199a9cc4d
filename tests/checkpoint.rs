//! Models as files: what is in them, that nothing is lost, and what is refused.

use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use thinnet::checkpoint::sequential;
use thinnet::data::digits;
use thinnet::rng::CONTRACT_VERSION;
use thinnet::{Activation, Dense, Dropout, Error, Model, Network, TrainOptions, Trainer};

use crate::common::{device, numbers};

/// 64-31-7-10 with input dropout, two activations and a site of its own.
fn network() -> Network {
    Network::new(64)
        .dropout(Dropout::keep(0.75).unwrap())
        .dense(Dense::new(31).activation(Activation::Relu))
        .dropout(Dropout::keep(0.5).unwrap().site(5))
        .dense(Dense::new(7).activation(Activation::Tanh))
        .dense(Dense::new(10))
}

/// A model whose weights have the bits that a text format would lose.
fn model() -> Model {
    let mut weights = Model::initial(&network(), 3).unwrap().weights().to_vec();
    weights[1] = numbers(31, 9);
    weights[0][..5].copy_from_slice(&[-0.0, f32::MIN_POSITIVE / 8.0, f32::MAX, f32::INFINITY, 1.0f32.next_up()]);
    Model::new(network(), weights).unwrap()
}

fn bits(model: &Model) -> Vec<Vec<u32>> {
    model.weights().iter().map(|w| w.iter().map(|v| v.to_bits()).collect()).collect()
}

/// Names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_model_survives_its_file_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    model().save(&path).unwrap();
    let loaded = Model::load(&path).unwrap();
    assert_eq!((loaded.network(), bits(&loaded)), (&network(), bits(&model())));
    assert_eq!(names(folder.path()), ["model.safetensors"]);
    assert_eq!(fs::read(&path).unwrap(), model().to_safetensors().unwrap());
    // A second save replaces the first.
    let other = Model::initial(&network(), 4).unwrap();
    other.save(&path).unwrap();
    assert_eq!(bits(&Model::load(&path).unwrap()), bits(&other));
    assert_eq!(names(folder.path()), ["model.safetensors"]);
}

#[test]
fn equal_weights_are_equal_bytes_and_a_loaded_model_predicts_the_same_bits() {
    let data = digits().slice(0..150).unwrap();
    let train = || {
        let mut trainer = Trainer::new(device(), &network(), &data, TrainOptions::default()).unwrap();
        trainer.fit(2).unwrap();
        trainer.model().unwrap()
    };
    let (first, second) = (train(), train());
    let bytes = first.to_safetensors().unwrap();
    assert!(bytes == second.to_safetensors().unwrap());
    let loaded = Model::from_safetensors(&bytes).unwrap();
    let outputs = |model: &Model| {
        let values = model.logits(device(), data.inputs()).unwrap();
        values.values().iter().map(|v| v.to_bits()).collect::<Vec<_>>()
    };
    assert_eq!(outputs(&first), outputs(&loaded));
    assert_ne!(outputs(&loaded), outputs(&Model::initial(&network(), 0).unwrap()));
    assert_eq!(first.evaluate(device(), &data).unwrap(), loaded.evaluate(device(), &data).unwrap());
}

#[test]
fn a_file_is_the_state_dict_of_its_sequential_with_one_metadata_key() {
    let bytes = model().to_safetensors().unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Vec<_> = file.tensors().into_iter().map(|(name, t)| (name, t.shape().to_vec(), t.dtype())).collect();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let expected: [(&str, &[usize]); 6] = [
        ("1.bias", &[31]),
        ("1.weight", &[31, 64]),
        ("4.bias", &[7]),
        ("4.weight", &[7, 31]),
        ("6.bias", &[10]),
        ("6.weight", &[10, 7]),
    ];
    assert_eq!(tensors, expected.map(|(name, shape)| (name.to_owned(), shape.to_vec(), Dtype::F32)));
    let weight = file.tensor("4.weight").unwrap();
    assert_eq!(weight.data(), bytemuck::cast_slice::<f32, u8>(&model().weights()[2]), "row-major, [units, inputs]");

    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().clone().unwrap();
    assert_eq!(metadata.keys().collect::<Vec<_>>(), ["thinnet"]);
    let json: serde_json::Value = serde_json::from_str(&metadata["thinnet"]).unwrap();
    assert_eq!(json["mask_contract"], 1);
    assert_eq!(serde_json::from_value::<Network>(json["network"].clone()).unwrap(), network());
    assert_eq!(json["sequential"], sequential(&network()).unwrap());
    let keys: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["mask_contract", "network", "sequential"]);
}

#[test]
fn a_sequential_has_a_module_for_every_dropout_and_every_activation() {
    assert_eq!(
        sequential(&network()).unwrap(),
        "nn.Sequential(nn.Dropout(0.25), nn.Linear(64, 31), nn.ReLU(), nn.Dropout(0.5), nn.Linear(31, 7), nn.Tanh(), nn.Linear(7, 10))"
    );
    let plain = Network::new(3).dense(Dense::new(2)).dense(Dense::new(4).activation(Activation::Sigmoid));
    assert_eq!(sequential(&plain).unwrap(), "nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 4), nn.Sigmoid())");
    let names: Vec<String> = plain.parameters().unwrap().into_iter().map(|p| p.name).collect();
    assert_eq!(names, ["0.weight", "0.bias", "1.weight", "1.bias"]);
}

/// The bytes of the model's file with other tensors or other metadata.
fn changed(
    tensors: impl FnOnce(&mut Vec<(String, Vec<usize>, Dtype, Vec<u8>)>),
    metadata: impl FnOnce(String) -> Option<String>,
) -> Vec<u8> {
    let bytes = model().to_safetensors().unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let owned = |(name, t): (String, TensorView)| (name, t.shape().to_vec(), t.dtype(), t.data().to_vec());
    let mut list: Vec<_> = file.tensors().into_iter().map(owned).collect();
    tensors(&mut list);
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let json = metadata(header.metadata().clone().unwrap()["thinnet"].clone());
    let views = list.iter().map(|(name, shape, dtype, data)| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    safetensors::serialize(views.collect::<Vec<_>>(), json.map(|json| [("thinnet".to_owned(), json)].into())).unwrap()
}

/// Loads bytes as a file and returns the message, which names the file.
#[track_caller]
fn refused(bytes: &[u8], parts: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.safetensors");
    fs::write(&path, bytes).unwrap();
    let error = Model::load(&path).unwrap_err();
    assert!(matches!(&error, Error::File { path: named, .. } if *named == path), "{error:?}");
    let message = error.to_string();
    assert!(parts.iter().all(|part| message.contains(part)), "{message:?} lacks one of {parts:?}");
}

#[test]
fn files_that_are_no_models_are_refused() {
    let missing = Model::load("no/such/model.safetensors").unwrap_err().to_string();
    assert!(missing.contains("no/such/model.safetensors: cannot be read"), "{missing}");
    let bytes = model().to_safetensors().unwrap();
    assert_eq!(Model::from_safetensors(&changed(|_| {}, Some)).unwrap().network(), &network(), "unchanged, it is a model");
    for length in [0, 7, 100, bytes.len() - 1] {
        refused(&bytes[..length], &["is no safetensors file"]);
    }
    refused(&[bytes.clone(), vec![0]].concat(), &["is no safetensors file"]);
    refused(b"PK\x03\x04 an archive and nothing else at all", &["is no safetensors file"]);
    refused(&changed(|_| {}, |_| None), &["no metadata key \"thinnet\"", "Model::load_weights"]);
    refused(&changed(|_| {}, |_| Some("{}".into())), &["\"thinnet\" is not readable", "missing field"]);
    refused(&changed(|_| {}, |json| Some(json.replace("\"keep\":0.75", "\"keep\":7.5"))), &["keep_prob 7.5 is not usable"]);
    refused(&changed(|_| {}, |json| Some(json.replace("\"site\":5", "\"site\":0"))), &["site 0 is also the site of layer 0"]);
}

#[test]
fn another_version_of_the_mask_contract_is_refused() {
    let next = CONTRACT_VERSION + 1;
    let version = |json: String| json.replace("\"mask_contract\":1", &format!("\"mask_contract\":{next}"));
    refused(&changed(|_| {}, |json| Some(version(json))), &["version 2 of the mask contract", "this is version 1"]);
}

#[test]
fn every_tensor_that_does_not_fit_is_listed_by_name() {
    let bytes = changed(
        |tensors| {
            tensors.retain(|(name, ..)| name != "1.weight");
            let bias = tensors.iter_mut().find(|(name, ..)| name == "4.bias").unwrap();
            bias.1 = vec![7, 1];
            let weight = tensors.iter_mut().find(|(name, ..)| name == "6.weight").unwrap();
            weight.2 = Dtype::I32; // as many bytes as F32
            tensors.push(("8.running_mean".into(), vec![2], Dtype::F32, vec![0; 8]));
        },
        Some,
    );
    refused(
        &bytes,
        &[
            "1.weight is missing",
            "4.bias is F32 [7, 1], expected F32 [7]",
            "6.weight is I32 [10, 7], expected F32 [10, 7]",
            "8.running_mean is not part of the network",
        ],
    );
}

#[test]
fn a_save_that_fails_leaves_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let taken = folder.path().join("taken");
    fs::create_dir(&taken).unwrap();
    fs::write(taken.join("kept"), "kept").unwrap();
    let message = model().save(&taken).unwrap_err().to_string();
    assert!(message.contains("taken: cannot be written"), "{message}");
    assert_eq!((names(folder.path()), names(&taken)), (vec!["taken".to_owned()], vec!["kept".to_owned()]));

    // No room for the file that is written first: a folder has its name.
    let path = folder.path().join("model");
    model().save(&path).unwrap();
    fs::create_dir(folder.path().join("model.part")).unwrap();
    let other = Model::initial(&network(), 4).unwrap();
    assert!(matches!(other.save(&path), Err(Error::File { .. })));
    assert_eq!(bits(&Model::load(&path).unwrap()), bits(&model()));
    assert!(matches!(model().save(folder.path().join("no").join("folder")), Err(Error::File { .. })));
}

#[test]
fn weights_that_do_not_fit_the_network_make_no_model() {
    let weights = model().weights().to_vec();
    let message = |weights| match Model::new(network(), weights) {
        Err(Error::Data(message)) => message,
        other => panic!("not refused as data: {other:?}"),
    };
    assert!(message(weights[..5].to_vec()).contains("6 parameter tensors, but 5 were given"));
    let mut short = weights.clone();
    short[3].pop();
    let problem = message(short);
    assert!(problem.contains("4.bias") && problem.contains("7 values, but 6 were given"), "{problem}");
}
