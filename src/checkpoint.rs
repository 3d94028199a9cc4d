//! Models as safetensors files; trainings as they stand, [`Checkpoint`], too.
//!
//! The tensors have the names and layouts of the state dict of PyTorch's `nn.Sequential` in which every dropout and every
//! activation but the identity is a module of its own. One metadata key, `thinnet`, holds sorted JSON: the network, the
//! version of the mask contract, the expression of that `nn.Sequential`. No time, no path, no adapter: equal weights give
//! equal bytes.
//!
//! A residual block is `Residual(branch, skip)` in the expression, a module that PyTorch lacks:
//!
//! ```python
//! class Residual(nn.Module):
//!     def __init__(self, branch, skip): super().__init__(); self.branch, self.skip = branch, skip
//!     def forward(self, x): return self.skip(x) + self.branch(x)
//! ```
//!
//! A state dict goes both ways: PyTorch's `load_state_dict` takes a file of thinnet's (its batch norms begin to count batches, a
//! number that is not in the file, from 0), [`Model::load_weights`] takes a file of PyTorch's (and leaves `num_batches_tracked`
//! out).
//!
//! Vanilla dropout is folded when a model is saved ([`Model::fold_vanilla`]): PyTorch's `nn.Dropout` is inverted.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::data::Preprocessing;
use crate::model::Model;
use crate::network::{
    Activation, BatchNorm, Cell, Conv2d, Dense, Dropout, DropoutMode, Layer, LayerNorm, Network, Noise, Pool2d, PoolKind,
    Recurrent, Residual, Shape, Unit,
};
use crate::rng::CONTRACT_VERSION;
use crate::{Error, Result};

mod training;

pub use training::Checkpoint;
pub(crate) use training::training_difference;
pub(crate) use training::{MOMENTS, State};

const KEY: &str = "thinnet";

// The fields in alphabetical order, as they are written.
#[derive(Debug, Serialize, Deserialize)]
struct Metadata {
    mask_contract: u32,
    network: Network,
    #[serde(default, skip_serializing_if = "Preprocessing::is_default")]
    preprocessing: Preprocessing,
    sequential: String,
}

/// The `nn.Sequential` whose state dict a model's file is. What PyTorch has no module for, as DropBlock or a mask that a batch
/// shares, is `nn.Identity()`, which it is in evaluation; how `Residual` is defined says the [module](self).
///
/// # Errors
/// A network that does not fit together.
pub fn sequential(network: &Network) -> Result<String> {
    let shapes = network.shapes()?;
    Ok(modules(&network.layers, &mut shapes.iter()))
}

/// Layers as an `nn.Sequential`; takes the shape in front of each, in the order of [`Network::walk`].
fn modules<'a>(layers: &[Layer], shapes: &mut impl Iterator<Item = &'a Shape>) -> String {
    let mut modules = Vec::new();
    for layer in layers {
        let before = shapes.next().expect("a shape for each layer");
        modules.push(module(layer, before, shapes));
        if let Layer::Dense(Dense { activation, .. }) | Layer::Conv2d(Conv2d { activation, .. }) = layer
            && *activation != Activation::Identity
        {
            modules.push(activation_module(*activation).into());
        }
    }
    format!("nn.Sequential({})", modules.join(", "))
}

fn module<'a>(layer: &Layer, before: &Shape, shapes: &mut impl Iterator<Item = &'a Shape>) -> String {
    let pair = |[a, b]: [u32; 2]| format!("({a}, {b})");
    let list = |shape: &Shape| shape.0.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    match layer {
        Layer::Dropout(dropout) => dropout_module(dropout),
        Layer::Dense(dense) => format!("nn.Linear({}, {})", before.0[0], dense.units),
        Layer::Conv2d(Conv2d { channels, window, groups, .. }) => format!(
            "nn.Conv2d({}, {channels}, {}, stride={}, padding={}, dilation={}, groups={groups})",
            before.0[0],
            pair(window.kernel),
            pair(window.stride),
            pair(window.padding),
            pair(window.dilation)
        ),
        Layer::Pool(Pool2d { kind, window }) => {
            let name = if *kind == PoolKind::Max { "MaxPool2d" } else { "AvgPool2d" };
            format!("nn.{name}({}, stride={}, padding={})", pair(window.kernel), pair(window.stride), pair(window.padding))
        }
        // The mean leaves extents of 1, which flatten takes away.
        Layer::GlobalAveragePool if before.0.len() == 2 => "nn.AdaptiveAvgPool1d(1), nn.Flatten()".into(),
        Layer::GlobalAveragePool if before.0.len() == 4 => "nn.AdaptiveAvgPool3d(1), nn.Flatten()".into(),
        Layer::GlobalAveragePool => "nn.AdaptiveAvgPool2d(1), nn.Flatten()".into(),
        Layer::Flatten => "nn.Flatten()".into(),
        Layer::Activation(activation) => activation_module(*activation).into(),
        Layer::BatchNorm(BatchNorm { epsilon, momentum }) => {
            let axes = if before.0.len() == 1 { 1 } else { 2 };
            format!("nn.BatchNorm{axes}d({}, eps={epsilon:e}, momentum={momentum})", before.0[0])
        }
        Layer::LayerNorm(LayerNorm { epsilon }) => format!("nn.LayerNorm([{}], eps={epsilon:e})", list(before)),
        Layer::Recurrent(recurrent) => {
            // Their shapes are those of its sites.
            for _ in recurrent.inner() {
                shapes.next();
            }
            recurrent_module(recurrent, before.0[1])
        }
        Layer::Embedding(embedding) => {
            shapes.next();
            format!("nn.Embedding({}, {})", embedding.vocabulary, embedding.width)
        }
        Layer::Residual(Residual { branch, skip }) => {
            let branch = modules(branch, shapes);
            let skip = if skip.is_empty() { "nn.Identity()".into() } else { modules(skip, shapes) };
            format!("Residual({branch}, {skip})")
        }
    }
}

/// Of which a sequence is the first output, the last states the second.
fn recurrent_module(recurrent: &Recurrent, features: u32) -> String {
    let (name, nonlinearity) = match recurrent.cell {
        Cell::RnnTanh => ("RNN", ""),
        Cell::RnnRelu => ("RNN", ", nonlinearity='relu'"),
        Cell::Gru => ("GRU", ""),
        Cell::Lstm => ("LSTM", ""),
    };
    let bidirectional = if recurrent.directions() == 2 { ", bidirectional=True" } else { "" };
    let (hidden, layers) = (recurrent.hidden, recurrent.layer_count());
    format!("nn.{name}({features}, {hidden}, num_layers={layers}, batch_first=True{bidirectional}{nonlinearity})")
}

fn dropout_module(dropout: &Dropout) -> String {
    // 1 - 0.8 is 0.19999999999999996 in f64; twelve digits say what was meant.
    let drop = ((1.0 - dropout.keep.get()) * 1e12).round() / 1e12;
    match (dropout.noise, dropout.unit) {
        (Noise::Alpha, Unit::Element) => return format!("nn.AlphaDropout({drop})"),
        (Noise::Alpha, Unit::Spatial1d | Unit::Spatial2d | Unit::Spatial3d) => return format!("nn.FeatureAlphaDropout({drop})"),
        (Noise::Bernoulli, _) => {}
        // In evaluation it is absent.
        _ => return "nn.Identity()".into(),
    }
    match (dropout.mode, dropout.unit) {
        (DropoutMode::Inverted | DropoutMode::Vanilla, Unit::Element) => format!("nn.Dropout({drop})"),
        (DropoutMode::Inverted | DropoutMode::Vanilla, Unit::Spatial1d) => format!("nn.Dropout1d({drop})"),
        (DropoutMode::Inverted | DropoutMode::Vanilla, Unit::Spatial2d) => format!("nn.Dropout2d({drop})"),
        (DropoutMode::Inverted | DropoutMode::Vanilla, Unit::Spatial3d) => format!("nn.Dropout3d({drop})"),
        // PyTorch has no module of it, and its nn.Dropout is another regulariser; in evaluation it is absent.
        _ => "nn.Identity()".into(),
    }
}

fn activation_module(activation: Activation) -> &'static str {
    match activation {
        Activation::Identity => "nn.Identity()",
        Activation::Relu => "nn.ReLU()",
        Activation::Tanh => "nn.Tanh()",
        Activation::Sigmoid => "nn.Sigmoid()",
        Activation::LeakyRelu => "nn.LeakyReLU(0.01)",
        Activation::Gelu => "nn.GELU(approximate='tanh')",
        Activation::Selu => "nn.SELU()",
    }
}

impl Model {
    /// The bytes of the model's safetensors file.
    ///
    /// # Errors
    /// Never for a model that was built by this crate.
    pub fn to_safetensors(&self) -> Result<Vec<u8>> {
        let broken = |e: String| Error::Data(format!("the model cannot be written as safetensors: {e}"));
        if self.network().has_vanilla_dropout() {
            return self.fold_vanilla()?.to_safetensors();
        }
        let metadata = Metadata {
            mask_contract: CONTRACT_VERSION,
            network: self.network().clone(),
            preprocessing: self.preprocessing().clone(),
            sequential: sequential(self.network())?,
        };
        let json = serde_json::to_string(&metadata).map_err(|e| broken(e.to_string()))?;
        let parameters = self.network().parameters()?;
        let mut views = BTreeMap::new();
        for (parameter, values) in parameters.iter().zip(self.weights()) {
            let shape = parameter.shape.iter().map(|&n| n as usize).collect();
            let view = TensorView::new(Dtype::F32, shape, bytemuck::cast_slice(values)).map_err(|e| broken(e.to_string()))?;
            views.insert(parameter.name.clone(), view);
        }
        safetensors::serialize(views, Some([(KEY.to_owned(), json)].into())).map_err(|e| broken(e.to_string()))
    }

    /// Writes the model: first beside the file, then in its place, so that nothing is lost when writing fails.
    ///
    /// # Errors
    /// A path that cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        write_file(path.as_ref(), &self.to_safetensors()?)
    }

    /// Reads a model that [`Model::save`] wrote.
    ///
    /// # Errors
    /// A file that is missing, is no safetensors file, was not written by thinnet, follows another version of the mask
    /// contract, or lacks, adds or reshapes a tensor.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        read_file(path.as_ref(), Self::from_safetensors)
    }

    /// Reads the bytes of a model's file.
    ///
    /// # Errors
    /// As [`Model::load`], but for the path.
    pub fn from_safetensors(bytes: &[u8]) -> Result<Self> {
        let (_, header) = SafeTensors::read_metadata(bytes)
            .map_err(|e| Error::Data(format!("is no safetensors file ({e}); save or copy it again")))?;
        let metadata = |key: &str| header.metadata().as_ref().and_then(|m| m.get(key));
        if metadata(training::KEY).is_some() {
            let problem = "is the checkpoint of a training, which goes on from it (Trainer::resume, Checkpoint::model, thinnet train \
                           --resume); name the model.safetensors beside it";
            return Err(Error::Data(problem.into()));
        }
        let json = metadata(KEY).ok_or_else(|| {
            Error::Data(format!(
                "has no metadata key {KEY:?}, so its network is not known; if it is another program's, say which network it \
                 belongs to (Model::load_weights, or --network FILE.toml)"
            ))
        })?;
        let metadata: Metadata =
            serde_json::from_str(json).map_err(|e| Error::Data(format!("its metadata key {KEY:?} is not readable: {e}")))?;
        check_contract(metadata.mask_contract)?;
        Self::from_tensors(bytes, metadata.network)?.with_preprocessing(metadata.preprocessing)
    }

    /// Reads a safetensors file of any program that has the names and layouts of this network's state dict (see
    /// [`sequential`]), such as PyTorch's.
    ///
    /// # Errors
    /// A file that is missing or no safetensors file, or that lacks, adds or reshapes a tensor: all of them are listed.
    pub fn load_weights(path: impl AsRef<Path>, network: &Network) -> Result<Self> {
        read_file(path.as_ref(), |bytes| {
            let model = Self::from_tensors(bytes, network.clone())?;
            // A file of thinnet's own knows what its inputs have been through.
            match Self::from_safetensors(bytes) {
                Ok(own) => model.with_preprocessing(own.preprocessing().clone()),
                Err(_) => Ok(model),
            }
        })
    }

    /// The tensors of a file as the weights of a network.
    fn from_tensors(bytes: &[u8], network: Network) -> Result<Self> {
        let tensors = SafeTensors::deserialize(bytes)
            .map_err(|e| Error::Data(format!("is no safetensors file ({e}); save or copy it again")))?;
        let parameters = network.parameters()?;
        let (mut problems, mut weights) = (Vec::new(), Vec::new());
        for parameter in &parameters {
            let shape: Vec<usize> = parameter.shape.iter().map(|&n| n as usize).collect();
            let name = &parameter.name;
            match tensors.tensor(name) {
                Err(_) => problems.push(format!("{name} is missing, expected F32 {shape:?}")),
                Ok(tensor) if tensor.shape() != shape || tensor.dtype() != Dtype::F32 => {
                    problems.push(format!("{name} is {:?} {:?}, expected F32 {shape:?}", tensor.dtype(), tensor.shape()));
                }
                Ok(tensor) => weights.push(bytemuck::pod_collect_to_vec::<u8, f32>(tensor.data())),
            }
        }
        let known = |name: &str| parameters.iter().any(|p| p.name == name);
        // PyTorch's batch norms also count their batches, which matters to a momentum of its own alone.
        let counts =
            |name: &str| name.strip_suffix("num_batches_tracked").is_some_and(|module| known(&format!("{module}running_mean")));
        let mut names = tensors.names().into_iter().map(|name| name.to_owned()).collect::<Vec<_>>();
        names.sort_unstable();
        problems.extend(
            names.iter().filter(|name| !known(name) && !counts(name)).map(|name| format!("{name} is not part of the network")),
        );
        if !problems.is_empty() {
            let expected = sequential(&network)?;
            return Err(Error::Data(format!("does not fit its network: {}; the network is {expected}", problems.join("; "))));
        }
        Model::new(network, weights)
    }
}

pub(crate) fn check_contract(version: u32) -> Result<()> {
    match version {
        CONTRACT_VERSION => Ok(()),
        other => Err(Error::Data(format!("follows version {other} of the mask contract, this is version {CONTRACT_VERSION}"))),
    }
}

/// Whether [`Model::save`] can fold every site of vanilla dropout.
///
/// # Errors
/// As [`Model::fold_vanilla`].
pub fn check_foldable(network: &Network) -> Result<()> {
    crate::model::factors(network).map(|_| ())
}

/// The columns of a weight in a safetensors file, so the inputs of its layer; `None` if it has no such matrix.
///
/// # Errors
/// A file that is missing or no safetensors file.
pub fn columns_of(path: impl AsRef<Path>, weight: &str) -> Result<Option<u32>> {
    read_file(path.as_ref(), |bytes| {
        let tensors = SafeTensors::deserialize(bytes)
            .map_err(|e| Error::Data(format!("is no safetensors file ({e}); save or copy it again")))?;
        let columns = tensors.tensor(weight).ok().and_then(|tensor| tensor.shape().get(1).copied());
        Ok(columns.and_then(|columns| u32::try_from(columns).ok()))
    })
}

/// Writes a file whole: first beside its place and down to the disk, then there, so that nothing is lost when writing fails or the
/// machine goes down.
fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let written = || {
        let mut file = std::fs::File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    written().map_err(|e| {
        let _ = std::fs::remove_file(&beside); // ours alone; the error that is reported is the first
        Error::File { path: path.into(), problem: format!("cannot be written: {e}") }
    })
}

/// Reads a file whole; what is wrong with its content is said with its path.
fn read_file<T>(path: &Path, parse: impl FnOnce(&[u8]) -> Result<T>) -> Result<T> {
    let failed = |problem: String| Error::File { path: path.into(), problem };
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml")) {
        let run = Path::new("runs").join(path.file_stem().unwrap_or_default());
        let problem = format!(
            "is a network file, which has no weights; name the folder of its run, such as {}, or the model.safetensors in it",
            run.display()
        );
        return Err(failed(problem));
    }
    let bytes = std::fs::read(path).map_err(|e| failed(format!("cannot be read: {e}")))?;
    parse(&bytes).map_err(|error| match error {
        Error::Data(problem) => failed(problem),
        other => failed(other.to_string()),
    })
}
