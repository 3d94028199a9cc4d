//! A network as plain data: layers, activations, dropout sites, loss. Shapes are checked here.
//!
//! Invariant: nothing here knows of a GPU, a plan or a batch.

use serde::{Deserialize, Serialize};

use crate::rng;
use crate::{Error, Result};

mod dropout;
mod file;
mod loss;

pub use dropout::{Dropout, DropoutMode, KeepProb};
pub use loss::{LEAST_LOG_VARIANCE, Loss, deviation};

/// The shape of one sample: `[64]` for 64 features.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shape(pub Vec<u32>);

impl From<u32> for Shape {
    fn from(features: u32) -> Self {
        Self(vec![features])
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// A feed-forward network: the shape of a sample, layers in order, and the loss it is trained with.
///
/// ```
/// use thinnet::{Activation, Dense, Dropout, Network};
/// let network = Network::new(64)
///     .dense(Dense::new(128).activation(Activation::Relu))
///     .dropout(Dropout::keep(0.5)?)
///     .dense(Dense::new(10));
/// assert_eq!(network.parameters()?.len(), 4); // weight and bias, twice
/// # Ok::<(), thinnet::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Shape of one sample.
    pub input: Shape,
    /// Layers, from the input to the output.
    pub layers: Vec<Layer>,
    /// What training minimises.
    pub loss: Loss,
}

/// One layer of a [`Network`].
///
/// In files a layer is one table, whose kind is the name of its first key: `{ dense = 128, activation = "relu" }`,
/// `{ dropout = { keep = 0.5 } }`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "file::Fields", into = "file::Fields")]
#[non_exhaustive]
pub enum Layer {
    /// `y = f(x W^T + b)`.
    Dense(Dense),
    /// Dropout of what comes before it; as the first layer, of the input.
    Dropout(Dropout),
}

impl Layer {
    /// The layer's kind, as in messages and files.
    pub fn name(&self) -> &'static str {
        match self {
            Layer::Dense(_) => "dense",
            Layer::Dropout(_) => "dropout",
        }
    }
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
}

/// A function applied element by element.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Activation {
    /// `y = x`.
    #[default]
    Identity,
    /// `y = max(x, 0)`, with derivative 0 at 0.
    Relu,
    /// `y = tanh(x)`.
    Tanh,
    /// `y = 1 / (1 + e^-x)`.
    Sigmoid,
    /// `y = x` where x > 0, `0.01 x` elsewhere: PyTorch's slope.
    LeakyRelu,
    /// `y = x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2`: the tanh form of Hendrycks and Gimpel 2016, PyTorch's
    /// `approximate="tanh"`; WGSL has no erf.
    Gelu,
    /// `y = lambda x` where x > 0, `lambda alpha (e^x - 1)` elsewhere (Klambauer et al., NeurIPS 2017).
    Selu,
}

impl Activation {
    /// How the weights in front of it are initialised unless the layer says otherwise: so that the variance of what passes
    /// through stays the same. He for the rectifiers, LeCun for SELU, Glorot for the rest.
    pub fn init(self) -> Init {
        match self {
            Self::Relu | Self::LeakyRelu | Self::Gelu => Init::HeUniform,
            Self::Selu => Init::LecunNormal,
            Self::Identity | Self::Tanh | Self::Sigmoid => Init::GlorotUniform,
        }
    }
}

/// How a weight tensor is initialised. The values come from stream 2 of the mask contract, are computed in f64 and
/// rounded once: bit-equal on every machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Init {
    /// U(-a, a), a = sqrt(6 / fan_in) (He et al., ICCV 2015).
    HeUniform,
    /// N(0, 2 / fan_in) (He et al., ICCV 2015).
    HeNormal,
    /// U(-a, a), a = sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, AISTATS 2010).
    GlorotUniform,
    /// N(0, 2 / (fan_in + fan_out)) (Glorot and Bengio, AISTATS 2010).
    GlorotNormal,
    /// U(-a, a), a = sqrt(3 / fan_in) (LeCun et al., Efficient BackProp, 1998).
    LecunUniform,
    /// N(0, 1 / fan_in) (LeCun et al., 1998), which SELU needs.
    LecunNormal,
    /// 0. The units of a layer then stay alike for ever; for tests, and for a last layer.
    Zeros,
}

impl Init {
    /// Element `index` of the initial value of parameter tensor number `tensor`, for a layer of these fans.
    pub fn value(self, index: u32, tensor: u32, (fan_in, fan_out): (u32, u32), key: [u32; 2]) -> f32 {
        let at = rng::Coordinates { stream: rng::Stream::InitialWeights, site: tensor, pass: 0, sample: 0 };
        let (fan_in, fan_out) = (f64::from(fan_in), f64::from(fan_out));
        let variance = match self {
            Init::HeUniform | Init::HeNormal => 2.0 / fan_in,
            Init::GlorotUniform | Init::GlorotNormal => 2.0 / (fan_in + fan_out),
            Init::LecunUniform | Init::LecunNormal => 1.0 / fan_in,
            Init::Zeros => return 0.0,
        };
        let value = match self {
            Init::HeNormal | Init::GlorotNormal | Init::LecunNormal => {
                rng::normal([at.word(2 * index, key), at.word(2 * index + 1, key)]) * libm::sqrt(variance)
            }
            _ => (2.0 * rng::uniform(at.word(index, key)) - 1.0) * libm::sqrt(3.0 * variance),
        };
        value as f32
    }
}

/// One parameter tensor of a network, named as in the state dict of PyTorch's `nn.Sequential` in which every dropout and
/// every activation but the identity is a module of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// `0.weight`, `0.bias`, `3.weight` ...
    pub name: String,
    /// `[units, inputs]` of a weight, `[units]` of a bias.
    pub shape: Vec<u32>,
    /// The layer it belongs to.
    pub layer: usize,
    /// How it starts; `None` is 0.
    pub init: Option<Init>,
    /// (fan_in, fan_out) of its layer.
    pub fans: (u32, u32),
}

impl Parameter {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().map(|&n| n as usize).product()
    }

    /// Whether it has no element; a checked network has no such parameter.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its initial values, row-major, from the seed's key; `tensor` is its place among the network's parameters.
    pub fn initial_values(&self, tensor: u32, key: [u32; 2]) -> Vec<f32> {
        let value = |i| self.init.map_or(0.0, |init| init.value(i as u32, tensor, self.fans, key));
        (0..self.len()).map(value).collect()
    }
}

impl Network {
    /// A network without layers over samples of this shape, trained with softmax cross-entropy.
    pub fn new(input: impl Into<Shape>) -> Self {
        Self { input: input.into(), layers: Vec::new(), loss: Loss::SoftmaxCrossEntropy }
    }

    /// Sets the loss.
    pub fn loss(self, loss: Loss) -> Self {
        Self { loss, ..self }
    }

    /// Appends a dense layer.
    pub fn dense(mut self, dense: Dense) -> Self {
        self.layers.push(Layer::Dense(dense));
        self
    }

    /// Appends dropout of what comes before it.
    pub fn dropout(mut self, dropout: Dropout) -> Self {
        self.layers.push(Layer::Dropout(dropout));
        self
    }

    /// The same network with keep_prob 1 at every site: sites, weights and shuffles stay as they are.
    pub fn without_dropout(&self) -> Self {
        let mut network = self.clone();
        for layer in &mut network.layers {
            if let Layer::Dropout(dropout) = layer {
                dropout.keep = KeepProb::ONE;
            }
        }
        network
    }

    /// Whether a site scales in evaluation instead of in training.
    pub fn has_vanilla_dropout(&self) -> bool {
        self.layers.iter().any(|layer| matches!(layer, Layer::Dropout(d) if d.mode == DropoutMode::Vanilla))
    }

    /// The shape in front of every layer and, last, of the output.
    ///
    /// # Errors
    /// A layer that cannot take what comes before it, or has no units; a network without a dense layer; an odd number of outputs
    /// for [`Loss::GaussianNll`].
    pub fn shapes(&self) -> Result<Vec<Shape>> {
        let whole = |problem: String| Error::Network { place: "network".into(), problem };
        if self.input.0.is_empty() || self.input.0.contains(&0) {
            return Err(whole(format!("input shape {} has no elements; every extent is at least 1", self.input)));
        }
        let mut shapes = vec![self.input.clone()];
        for (i, layer) in self.layers.iter().enumerate() {
            let before = &shapes[i];
            let at = |problem: String| Error::Network { place: format!("layer {i} ({})", layer.name()), problem };
            shapes.push(match layer {
                Layer::Dropout(_) => before.clone(),
                Layer::Dense(dense) => {
                    if before.0.len() != 1 {
                        return Err(at(format!("expects one axis of features, but gets shape {before}")));
                    }
                    let weights = u64::from(dense.units) * u64::from(before.0[0]);
                    if dense.units == 0 || weights > u64::from(u32::MAX / 2) {
                        let problem = "units must be at least 1, and units x inputs at most 2^31 - 1";
                        return Err(at(format!("units = {} over {} inputs: {problem}", dense.units, before.0[0])));
                    }
                    Shape::from(dense.units)
                }
            });
        }
        if !self.layers.iter().any(|layer| matches!(layer, Layer::Dense(_))) {
            return Err(whole("has no dense layer, so there is nothing to train; add one".into()));
        }
        self.check_outputs()?;
        Ok(shapes)
    }

    /// The site of every layer (`None` where it is no dropout), counted in order of declaration unless overridden.
    ///
    /// # Errors
    /// A site above 24 bits, or one used twice.
    pub fn sites(&self) -> Result<Vec<Option<u32>>> {
        let mut taken = std::collections::BTreeMap::new();
        let mut sites = vec![None; self.layers.len()];
        let dropouts = self.layers.iter().enumerate().filter_map(|(i, layer)| match layer {
            Layer::Dropout(dropout) => Some((i, dropout)),
            Layer::Dense(_) => None,
        });
        for (count, (i, dropout)) in dropouts.enumerate() {
            let at = |problem| Error::Network { place: format!("layer {i} (dropout)"), problem };
            let site = dropout.site.unwrap_or(count as u32);
            rng::check_site(site).map_err(|e| at(e.to_string()))?;
            if let Some(other) = taken.insert(site, i) {
                return Err(at(format!(
                    "site {site} is also the site of layer {other}; two sites would draw the same mask, give one another `site`"
                )));
            }
            sites[i] = Some(site);
        }
        Ok(sites)
    }

    /// The parameter tensors in order of declaration.
    ///
    /// # Errors
    /// As [`Network::shapes`].
    pub fn parameters(&self) -> Result<Vec<Parameter>> {
        let shapes = self.shapes()?;
        let mut parameters = Vec::new();
        let mut module = 0;
        for (layer, (kind, before)) in self.layers.iter().zip(&shapes).enumerate() {
            if let Layer::Dense(dense) = kind {
                let (units, inputs) = (dense.units, before.0[0]);
                let init = dense.init.unwrap_or(dense.activation.init());
                let parameter = |name: &str, shape: Vec<u32>, init| Parameter {
                    name: format!("{module}.{name}"),
                    shape,
                    layer,
                    init,
                    fans: (inputs, units),
                };
                parameters.push(parameter("weight", vec![units, inputs], Some(init)));
                parameters.push(parameter("bias", vec![units], None));
                module += usize::from(dense.activation != Activation::Identity);
            }
            module += 1;
        }
        Ok(parameters)
    }

    /// Number of outputs, for a classifier the number of classes.
    ///
    /// # Errors
    /// As [`Network::shapes`].
    pub fn outputs(&self) -> Result<u32> {
        Ok(self.shapes()?.last().map_or(0, |shape| shape.0.iter().product()))
    }

    /// Numbers that a row's targets have, where they are numbers: as many as outputs, for [`Loss::GaussianNll`] half as many.
    ///
    /// # Errors
    /// As [`Network::shapes`].
    pub fn targets(&self) -> Result<u32> {
        Ok(self.outputs()? / if self.loss == Loss::GaussianNll { 2 } else { 1 })
    }

    /// # Errors
    /// An odd number of outputs where each target takes two.
    fn check_outputs(&self) -> Result<()> {
        let mut dense = self.layers.iter().enumerate().filter_map(|(i, layer)| match layer {
            Layer::Dense(dense) => Some((i, dense.units)),
            Layer::Dropout(_) => None,
        });
        match dense.next_back() {
            Some((i, units)) if self.loss == Loss::GaussianNll && units % 2 == 1 => Err(Error::Network {
                place: format!("layer {i} (dense)"),
                problem: format!(
                    "units = {units}: the loss gaussian_nll takes a mean and a log variance for each target, so the last layer \
                     has twice as many units as there are targets, as {} for {units}",
                    2 * units
                ),
            }),
            _ => Ok(()),
        }
    }
}
