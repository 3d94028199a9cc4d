//! The layers of a network as data, and what each makes of a shape.

use serde::{Deserialize, Serialize};

use super::conv::{Conv2d, Pool2d, PoolKind};
use super::{Activation, Dropout, Embedding, Init, Recurrent, Shape, file};

/// One layer of a [`crate::Network`].
///
/// In files a layer is one table, whose kind is the name of its first key: `{ dense = 128, activation = "relu" }`,
/// `{ dropout = { keep = 0.5 } }`, `{ conv2d = 20, kernel = 5 }`, `{ max_pool = 2 }`, `{ flatten = true }`, `{ batch_norm = true }`,
/// `{ layer_norm = true }`, `{ activation = "relu" }`, `{ residual = [...], skip = [...] }`, `{ lstm = 64, input = { keep = 0.8, variational = true } }`
/// (or `gru`, `rnn`), `{ embedding = 16, vocabulary = 29 }`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "file::Fields", into = "file::Fields")]
#[non_exhaustive]
pub enum Layer {
    /// `y = f(x W^T + b)`.
    Dense(Dense),
    /// Dropout of what comes before it; as the first layer, of the input.
    Dropout(Dropout),
    /// `y = f(W * x + b)`.
    Conv2d(Conv2d),
    /// The largest or the mean of a window.
    Pool(Pool2d),
    /// The mean of each channel: `[C, ...]` becomes `[C]`.
    GlobalAveragePool,
    /// Any shape as one axis, in row-major order: PyTorch's `nn.Flatten`.
    Flatten,
    /// An activation by itself, as behind a normalisation.
    Activation(Activation),
    /// `y = gamma (x - mean) / sqrt(variance + epsilon) + beta`, mean and variance over the batch.
    BatchNorm(BatchNorm),
    /// The same, mean and variance over each sample.
    LayerNorm(LayerNorm),
    /// `y = skip(x) + branch(x)`.
    Residual(Residual),
    /// RNN, GRU or LSTM.
    Recurrent(Recurrent),
    /// A vector for each word.
    Embedding(Embedding),
}

/// A fully connected layer, `y = f(x W^T + b)`.
///
/// x: `[batch, inputs]`, W: `[units, inputs]` (PyTorch's `nn.Linear` layout), b: `[units]`, y: `[batch, units]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Dense {
    /// Number of outputs.
    pub units: u32,
    /// The function f, applied element by element.
    pub activation: Activation,
    /// How W is initialised; `None` chooses by the activation, see [`Activation::init`]. b starts at 0.
    pub init: Option<Init>,
}

impl Dense {
    /// A layer of `units` outputs without activation.
    pub fn new(units: u32) -> Self {
        Self { units, activation: Activation::Identity, init: None }
    }

    /// Sets the activation.
    pub fn activation(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }

    /// Sets the initialiser of the weights.
    pub fn init(self, init: Init) -> Self {
        Self { init: Some(init), ..self }
    }

    fn output(&self, before: &Shape) -> Result<Shape, String> {
        let [inputs] = *before.0.as_slice() else {
            return Err(format!("expects one axis of features, but gets shape {before}; put flatten in front of it"));
        };
        if self.units == 0 || u64::from(self.units) * u64::from(inputs) > u64::from(u32::MAX / 2) {
            let problem = "units must be at least 1, and units x inputs at most 2^31 - 1";
            return Err(format!("units = {} over {inputs} inputs: {problem}", self.units));
        }
        Ok(Shape::from(self.units))
    }
}

/// Batch normalisation (Ioffe and Szegedy, ICML 2015) of features `[F]` or of the channels of maps `[C, H, W]`, with PyTorch's
/// semantics.
///
/// ```text
/// training     mean, variance over the rows of the batch (and the pixels of a channel), the variance divided by their number n;
///              running_mean += momentum (mean - running_mean)
///              running_var  += momentum (variance n / (n - 1) - running_var)
/// evaluation   mean = running_mean, variance = running_var
/// y = weight (x - mean) / sqrt(variance + epsilon) + bias
/// ```
///
/// In a branch whose samples are dropped (DropPath) the statistics are those of the samples that pass through it. A batch of one number
/// for each channel has no variance: its running variance stays.
///
/// Dropout in front of it makes the variance that it learns in training another one than that in evaluation:
/// [`crate::preflight::variance_shift`] says by how much.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchNorm {
    /// Added to the variance. PyTorch's default: 1e-5.
    pub epsilon: f64,
    /// The share of the batch in the running statistics. PyTorch's default: 0.1.
    pub momentum: f64,
}

impl Default for BatchNorm {
    fn default() -> Self {
        Self { epsilon: 1e-5, momentum: 0.1 }
    }
}

/// Layer normalisation (Ba, Kiros and Hinton, 2016): `y = weight (x - mean) / sqrt(variance + epsilon) + bias`, mean and variance over
/// all elements of a sample. Weight and bias have a sample's shape: PyTorch's `nn.LayerNorm(shape)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerNorm {
    /// Added to the variance. PyTorch's default: 1e-5.
    pub epsilon: f64,
}

impl Default for LayerNorm {
    fn default() -> Self {
        Self { epsilon: 1e-5 }
    }
}

/// A residual block (He et al., CVPR 2016), `y = skip(x) + branch(x)`; both have one output shape. Without skip layers the skip is x itself.
///
/// With [`super::Unit::Path`] dropout as the last layer of the branch, the branch is dropped for whole samples (stochastic depth), and
/// not computed for them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Residual {
    /// The layers of the branch.
    pub branch: Vec<Layer>,
    /// The layers that bring x to the branch's shape, as a convolution of 1 x 1; empty: x as it is.
    pub skip: Vec<Layer>,
}

impl Layer {
    /// The layer's kind, as in messages and files.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Dense(_) => "dense",
            Self::Dropout(_) => "dropout",
            Self::Conv2d(_) => "conv2d",
            Self::Pool(Pool2d { kind: PoolKind::Max, .. }) => "max_pool",
            Self::Pool(Pool2d { kind: PoolKind::Average, .. }) => "average_pool",
            Self::GlobalAveragePool => "global_average_pool",
            Self::Flatten => "flatten",
            Self::Activation(_) => "activation",
            Self::BatchNorm(_) => "batch_norm",
            Self::LayerNorm(_) => "layer_norm",
            Self::Residual(_) => "residual",
            Self::Recurrent(recurrent) => recurrent.cell.name(),
            Self::Embedding(_) => "embedding",
        }
    }

    /// Whether it has weights, or layers inside that may have.
    pub(crate) fn may_learn(&self) -> bool {
        !matches!(self, Self::Dropout(_) | Self::Activation(_) | Self::Flatten | Self::Pool(_) | Self::GlobalAveragePool)
    }

    /// The layers inside it: those of the branch, then those of the skip; the sites of a recurrent layer or an embedding.
    pub fn inner(&self) -> [&[Layer]; 2] {
        match self {
            Self::Residual(Residual { branch, skip }) => [branch, skip],
            Self::Recurrent(recurrent) => [recurrent.inner(), &[]],
            Self::Embedding(embedding) => [embedding.inner(), &[]],
            _ => [&[], &[]],
        }
    }

    pub(super) fn inner_mut(&mut self) -> [&mut [Layer]; 2] {
        match self {
            Self::Residual(Residual { branch, skip }) => [branch, skip],
            Self::Recurrent(recurrent) => [&mut recurrent.sites, &mut []],
            Self::Embedding(embedding) => [&mut embedding.sites, &mut []],
            _ => [&mut [], &mut []],
        }
    }

    /// The shape behind it; of a residual block, whose layers have been checked, that behind its branch.
    pub(super) fn output(&self, before: &Shape) -> Result<Shape, String> {
        let epsilon = |value: f64| match value >= 0.0 && value.is_finite() {
            true => Ok(before.clone()),
            false => Err(format!("epsilon = {value} must be a number from 0 up")),
        };
        match self {
            Self::Dense(dense) => dense.output(before),
            Self::Dropout(dropout) => dropout.check(before).map(|()| before.clone()),
            Self::Conv2d(conv) => conv.output(before),
            Self::Pool(pool) => pool.output(before),
            Self::GlobalAveragePool => match before.0.len() {
                1 => {
                    Err(format!("takes the mean over the pixels of a channel, but gets features of shape {before}; leave it out"))
                }
                _ => Ok(Shape::from(before.0[0])),
            },
            Self::Flatten => {
                let elements: u64 = before.0.iter().map(|&n| u64::from(n)).product();
                u32::try_from(elements).map(Shape::from).map_err(|_| format!("shape {before} has more than 2^32 - 1 elements"))
            }
            Self::Activation(_) | Self::Residual(_) => Ok(before.clone()),
            Self::BatchNorm(BatchNorm { momentum, .. }) if !(0.0..=1.0).contains(momentum) => {
                Err(format!("momentum = {momentum} is the share of the batch in the running statistics, from 0 to 1"))
            }
            Self::BatchNorm(_) if !matches!(before.0.len(), 1 | 3) => {
                Err(format!("takes features [F] or maps [channel, y, x], but gets shape {before}"))
            }
            Self::BatchNorm(norm) => epsilon(norm.epsilon),
            Self::Recurrent(recurrent) => recurrent.shape(before),
            Self::Embedding(embedding) => embedding.shape(before),
            Self::LayerNorm(norm) => epsilon(norm.epsilon),
        }
    }
}
