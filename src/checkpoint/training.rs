//! [`Checkpoint`]: a training as it is between two steps, as a safetensors file.
//!
//! The weights have the names of a model's file, and so has what is kept beside each of them, with an ending: `0.weight.moment1`,
//! `.moment2` (the optimizer's), `.sum` (the gradients of the steps that do not make an update yet), `.best` (the weights of the
//! best epoch). One metadata key, `thinnet-training`, holds JSON: the network, the options, where the training is, its history.
//! There is no state of a random generator, because there is none.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{check_contract, read_file, write_file};
use crate::data::Preprocessing;
use crate::network::Parameter;
use crate::rng::CONTRACT_VERSION;
use crate::trainer::Epoch;
use crate::{Error, Model, Network, Result, TrainOptions};

pub(super) const KEY: &str = "thinnet-training";

/// The endings of what a plan may keep beside every weight.
pub(crate) const MOMENTS: [&str; 3] = [".moment1", ".moment2", ".sum"];

/// The ending of the weights of the best epoch.
const BEST: &str = ".best";

/// All that a training depends on but its data, between two steps: [`Trainer::checkpoint`](crate::Trainer::checkpoint) makes it,
/// [`Trainer::resume`](crate::Trainer::resume) goes on from it, in another process or on another machine.
///
/// ```
/// use thinnet::{Checkpoint, Dense, Device, Dropout, Network, TrainOptions, Trainer, data};
/// let (device, digits) = (Device::open()?, data::digits().slice(0..200)?);
/// let network = Network::new(64).dropout(Dropout::keep(0.8)?).dense(Dense::new(10));
/// let mut trainer = Trainer::new(&device, &network, &digits, TrainOptions::default())?;
/// trainer.fit(2)?;
/// let path = std::env::temp_dir().join("thinnet-doc.checkpoint");
/// trainer.checkpoint()?.save(&path)?;
///
/// let mut resumed = Trainer::resume(&device, &Checkpoint::load(&path)?, &digits)?;
/// trainer.fit(3)?;
/// resumed.fit(3)?;
/// assert!(resumed.model()? == trainer.model()?); // the same masks, the same bits
/// # std::fs::remove_file(path).unwrap();
/// # Ok::<(), thinnet::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    pub(crate) state: State,
    pub(crate) model: Model,
    /// By ending, of every parameter; of one that is not trained, zeros.
    pub(crate) moments: BTreeMap<String, Vec<Vec<f32>>>,
    /// The weights of the best epoch, if one was looked for.
    pub(crate) best: Option<Model>,
}

/// What of a training is no tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    pub(crate) mask_contract: u32,
    pub(crate) network: Network,
    pub(crate) options: TrainOptions,
    /// The family of matrix products, on which the order of sums depends.
    pub(crate) matmul: String,
    /// The fingerprints of the data.
    pub(crate) train: u64,
    pub(crate) valid: Option<u64>,
    /// The epoch that it is in, and the rows of it that are through.
    pub(crate) epoch: u32,
    pub(crate) position: u32,
    /// Which evaluation, and which of its steps, once all rows are through.
    pub(crate) evaluation: Option<(usize, usize)>,
    /// By plan, the sums over the epoch so far: the bits of the loss, and the hits.
    pub(crate) sums: Vec<[u32; 2]>,
    pub(crate) history: Vec<Epoch>,
    pub(crate) seconds: f64,
    pub(crate) best: Option<Epoch>,
    /// Of its data; nothing in files of before it was kept.
    #[serde(default)]
    pub(crate) preprocessing: Preprocessing,
}

impl Checkpoint {
    /// The network, with the rates as they are by now.
    pub fn network(&self) -> &Network {
        &self.state.network
    }

    /// How it is trained.
    pub fn options(&self) -> &TrainOptions {
        &self.state.options
    }

    /// The epochs that are through.
    pub fn history(&self) -> &[Epoch] {
        &self.state.history
    }

    /// The best epoch of [`Trainer::fit_best`](crate::Trainer::fit_best) by then.
    pub fn best(&self) -> Option<Epoch> {
        self.state.best
    }

    /// The weights.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// What multiplied its matrices, as [`Matmul`](crate::kernels::matmul::Matmul) is printed. On a device that does it otherwise
    /// the training goes on with the same masks, but its sums are added in another order.
    pub fn matmul(&self) -> &str {
        &self.state.matmul
    }

    /// The same with another [`TrainOptions::data_budget`], which depends on the device and changes no result.
    pub fn with_data_budget(mut self, data_budget: Option<u64>) -> Self {
        self.state.options.data_budget = data_budget;
        self
    }

    /// The first number, with its place and both values, in which a training of this network with these options would be another
    /// one; the data budget is none of its.
    pub fn difference(&self, network: &Network, options: &TrainOptions) -> Option<String> {
        training_difference((network, options), (&self.state.network, &self.state.options))
    }

    /// The bytes of its file.
    ///
    /// # Errors
    /// Never for a checkpoint that was made by this crate.
    pub fn to_safetensors(&self) -> Result<Vec<u8>> {
        let broken = |e: String| Error::Data(format!("the checkpoint cannot be written as safetensors: {e}"));
        let parameters = self.state.network.parameters()?;
        let mut views = BTreeMap::new();
        let best = self.best.iter().map(|best| (BEST, best.weights()));
        let moments = self.moments.iter().map(|(ending, values)| (ending.as_str(), values.as_slice()));
        for (ending, values) in [("", self.model.weights())].into_iter().chain(moments).chain(best) {
            for (parameter, values) in parameters.iter().zip(values).filter(|(p, _)| is_kept(p, ending)) {
                let view = TensorView::new(Dtype::F32, extents(parameter), bytemuck::cast_slice(values));
                views.insert(format!("{}{ending}", parameter.name), view.map_err(|e| broken(e.to_string()))?);
            }
        }
        let json = serde_json::to_string(&self.state).map_err(|e| broken(e.to_string()))?;
        safetensors::serialize(views, Some([(KEY.to_owned(), json)].into())).map_err(|e| broken(e.to_string()))
    }

    /// Reads the bytes of its file.
    ///
    /// # Errors
    /// As [`Checkpoint::load`], but for the path.
    pub fn from_safetensors(bytes: &[u8]) -> Result<Self> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(unreadable)?;
        let Some(json) = header.metadata().as_ref().and_then(|m| m.get(KEY)) else {
            let problem = "has no metadata key \"thinnet-training\", so it is no checkpoint of a training; a model's weights are where \
                           Trainer::from_model begins, with new optimizer state";
            return Err(Error::Data(problem.into()));
        };
        // Before the rest, which another version may have otherwise.
        let version = serde_json::from_str(json).ok().and_then(|state: Value| state.get("mask_contract")?.as_u64());
        check_contract(version.map_or(Ok(CONTRACT_VERSION), u32::try_from).unwrap_or(u32::MAX))?;
        let state: State = serde_json::from_str(json).map_err(unreadable)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(unreadable)?;
        let parameters = state.network.parameters()?;
        let group = |ending: &str| parameters.iter().map(|p| read(&tensors, p, ending)).collect::<Result<Vec<_>>>();
        let model = |weights| Model::new(state.network.clone(), weights)?.with_preprocessing(state.preprocessing.clone());
        let best = state.best.map(|_| model(group(BEST)?)).transpose()?;
        let model = model(group("")?)?;
        let mut moments = BTreeMap::new();
        for ending in MOMENTS {
            if tensors.names().iter().any(|name| name.ends_with(ending)) {
                moments.insert(ending.to_owned(), group(ending)?);
            }
        }
        Ok(Self { state, model, moments, best })
    }

    /// Writes it: first beside the file, then in its place, so that the last one is not lost when writing fails.
    ///
    /// # Errors
    /// A path that cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        write_file(path.as_ref(), &self.to_safetensors()?)
    }

    /// Reads what [`Checkpoint::save`] wrote.
    ///
    /// # Errors
    /// A file that is missing, is no checkpoint, follows another version of the mask contract, or was damaged.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        read_file(path.as_ref(), Self::from_safetensors)
    }
}

/// Whether a file has a parameter's tensor of this ending.
fn is_kept(parameter: &Parameter, ending: &str) -> bool {
    parameter.trained || !MOMENTS.contains(&ending)
}

fn extents(parameter: &Parameter) -> Vec<usize> {
    parameter.shape.iter().map(|&n| n as usize).collect()
}

fn unreadable(problem: impl std::fmt::Display) -> Error {
    Error::Data(format!("is no checkpoint that can be read ({problem}); take an earlier one"))
}

fn read(tensors: &SafeTensors<'_>, parameter: &Parameter, ending: &str) -> Result<Vec<f32>> {
    if !is_kept(parameter, ending) {
        return Ok(vec![0.0; parameter.len()]);
    }
    let name = format!("{}{ending}", parameter.name);
    let tensor = tensors.tensor(&name).map_err(unreadable)?;
    if tensor.dtype() != Dtype::F32 || tensor.shape() != extents(parameter) {
        let (dtype, shape) = (tensor.dtype(), tensor.shape());
        return Err(unreadable(format!("{name} is {dtype:?} {shape:?}, expected F32 {:?}", extents(parameter))));
    }
    Ok(bytemuck::pod_collect_to_vec(tensor.data()))
}

/// The first number in which the training of this network with these options is another one than that was, see
/// [`Checkpoint::difference`].
pub(crate) fn training_difference(is: (&Network, &TrainOptions), was: (&Network, &TrainOptions)) -> Option<String> {
    // As a configuration has them: the seed and the augmentation are tables of their own.
    let [is, was] = [is, was].map(|(network, options)| {
        let mut train = serde_json::json!(TrainOptions { data_budget: None, ..options.clone() });
        let [seed, augment] = ["seed", "augment"].map(|key| train[key].take());
        serde_json::json!({ "seed": seed, "network": network, "train": train, "augment": augment })
    });
    difference("", &is, &was)
}

/// The first place in which two values differ, and both.
fn difference(place: &str, is: &Value, was: &Value) -> Option<String> {
    let within = |key: &str| if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") };
    match (is, was) {
        _ if is == was => None,
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
            a.iter().zip(b.values()).find_map(|((key, a), b)| difference(&within(key), a, b))
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(i, (a, b))| difference(&format!("{place}[{i}]"), a, b))
        }
        _ => Some(format!("{place} is {is}, but was {was}")),
    }
}
