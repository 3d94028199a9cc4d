//! A network as plain data: layers, activations, dropout sites, loss. Shapes are checked here.
//!
//! Invariant: nothing here knows of a GPU, a plan or a batch.

use serde::{Deserialize, Serialize};

use crate::rng;
use crate::{Error, Result};

mod activation;
mod blocks;
mod conv;
mod dropout;
mod dropout_file;
mod file;
mod layer;
mod loss;
mod noise;
mod parameter;
mod recurrent;
mod recurrent_file;
mod schedule;
mod shapes;
mod unit;

pub use activation::{Activation, Init};
pub use blocks::Blocks;
pub use conv::{Conv2d, Pool2d, PoolKind, Window};
pub use dropout::{Dropout, DropoutMode, KeepProb};
pub use layer::{BatchNorm, Dense, Layer, LayerNorm, Residual};
pub use loss::{LEAST_LOG_VARIANCE, Loss, deviation};
pub use noise::{Concrete, Noise, SELU_LIMIT, alpha_affine, gaussian_sigma};
pub use parameter::Parameter;
pub use recurrent::{Cell, Embedding, Place, Recurrent};
pub use schedule::{Schedule, Way};
pub use unit::{Axes, Unit};

/// The shape of one sample: `[64]` for 64 features, `[3, 32, 32]` for maps of 3 channels, 32 pixels high and wide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shape(pub Vec<u32>);

impl From<u32> for Shape {
    fn from(features: u32) -> Self {
        Self(vec![features])
    }
}

impl From<[u32; 1]> for Shape {
    fn from([features]: [u32; 1]) -> Self {
        features.into()
    }
}

impl From<[u32; 2]> for Shape {
    fn from(steps_features: [u32; 2]) -> Self {
        Self(steps_features.into())
    }
}

impl From<[u32; 3]> for Shape {
    fn from(channels_height_width: [u32; 3]) -> Self {
        Self(channels_height_width.into())
    }
}

impl Shape {
    /// Number of elements, where they fit a u32, as in a checked network.
    pub fn elements(&self) -> u32 {
        self.0.iter().product()
    }

    /// Height and width of a map `[channel, y, x]`; `[1, 1]` of any other shape.
    pub fn map(&self) -> [u32; 2] {
        match *self.0.as_slice() {
            [_, height, width] => [height, width],
            _ => [1, 1],
        }
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

impl Network {
    /// A network without layers over samples of this shape, trained with softmax cross-entropy.
    pub fn new(input: impl Into<Shape>) -> Self {
        Self { input: input.into(), layers: Vec::new(), loss: Loss::SoftmaxCrossEntropy }
    }

    /// Sets the loss.
    pub fn loss(self, loss: Loss) -> Self {
        Self { loss, ..self }
    }

    /// Appends a layer.
    pub fn layer(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }

    /// Appends a dense layer.
    pub fn dense(self, dense: Dense) -> Self {
        self.layer(Layer::Dense(dense))
    }

    /// Appends dropout of what comes before it.
    pub fn dropout(self, dropout: Dropout) -> Self {
        self.layer(Layer::Dropout(dropout))
    }

    /// Appends a convolution.
    pub fn conv2d(self, conv: Conv2d) -> Self {
        self.layer(Layer::Conv2d(conv))
    }

    /// Appends the largest of every square of `kernel` x `kernel` pixels.
    pub fn max_pool(self, kernel: u32) -> Self {
        self.layer(Layer::Pool(Pool2d::new(PoolKind::Max, kernel)))
    }

    /// Appends a recurrent layer.
    pub fn recurrent(self, recurrent: Recurrent) -> Self {
        self.layer(Layer::Recurrent(recurrent))
    }

    /// Appends a table of words.
    pub fn embedding(self, embedding: Embedding) -> Self {
        self.layer(Layer::Embedding(embedding))
    }

    /// Appends a residual block.
    pub fn residual(self, residual: Residual) -> Self {
        self.layer(Layer::Residual(residual))
    }

    /// Every layer in depth-first order of declaration: a residual block, the layers of its branch, those of its skip, what follows it.
    /// A layer's place in this order is its number.
    pub fn walk(&self) -> Vec<&Layer> {
        fn of<'a>(layers: &'a [Layer], all: &mut Vec<&'a Layer>) {
            for layer in layers {
                all.push(layer);
                layer.inner().into_iter().for_each(|inner| of(inner, all));
            }
        }
        let mut all = Vec::new();
        of(&self.layers, &mut all);
        all
    }

    /// Changes every layer in the order of [`Network::walk`], by its number. In a recurrent layer and an embedding there is nothing but
    /// dropout: another layer that is put in its place there means none.
    pub fn change_layers(&mut self, mut change: impl FnMut(usize, &mut Layer)) {
        fn of(layers: &mut [Layer], next: &mut usize, change: &mut impl FnMut(usize, &mut Layer)) {
            for layer in layers {
                change(*next, layer);
                *next += 1;
                layer.inner_mut().into_iter().for_each(|inner| of(inner, next, change));
                if let Layer::Recurrent(_) | Layer::Embedding(_) = layer {
                    let sites = layer.inner_mut().into_iter().flatten();
                    sites
                        .filter(|site| !matches!(site, Layer::Dropout(_)))
                        .for_each(|site| *site = Layer::Dropout(Dropout::NONE));
                }
            }
        }
        of(&mut self.layers, &mut 0, &mut change);
    }

    /// The same network with keep_prob falling with depth at its sites of [`Unit::Path`] (Huang et al., ECCV 2016, equation 4): the l-th
    /// of L keeps `1 - l / L (1 - last)`.
    ///
    /// # Errors
    /// See [`KeepProb::new`].
    pub fn linear_depth(mut self, last: f64) -> Result<Self> {
        let path = |layer: &Layer| matches!(layer, Layer::Dropout(dropout) if dropout.unit == Unit::Path);
        let (last, count) = (KeepProb::new(last)?.get(), self.walk().into_iter().filter(|layer| path(layer)).count());
        let keep = |l: usize| KeepProb::new(1.0 - l as f64 / count as f64 * (1.0 - last));
        let rates = (1..=count).map(keep).collect::<Result<Vec<_>>>()?;
        let mut rates = rates.into_iter();
        self.change_layers(|_, layer| {
            if let Layer::Dropout(dropout) = layer
                && dropout.unit == Unit::Path
                && let Some(keep) = rates.next()
            {
                dropout.keep = keep;
            }
        });
        Ok(self)
    }

    /// The dropout layer of a number in [`Network::walk`], if it is one.
    pub fn dropout_at(&self, layer: usize) -> Option<&Dropout> {
        match self.walk().get(layer) {
            Some(Layer::Dropout(dropout)) => Some(dropout),
            _ => None,
        }
    }

    /// Whether it is a sequence of dense and dropout layers, over one axis of features.
    pub(crate) fn is_dense(&self) -> bool {
        self.input.0.len() == 1 && self.layers.iter().all(|layer| matches!(layer, Layer::Dense(_) | Layer::Dropout(_)))
    }

    /// The same network with keep_prob 1 at every site, always: sites, weights and shuffles stay as they are, also the rates that concrete
    /// dropout has learned, which are not used.
    pub fn without_dropout(&self) -> Self {
        let mut network = self.clone();
        network.change_layers(|_, layer| {
            if let Layer::Dropout(dropout) = layer {
                (dropout.keep, dropout.schedule) = (KeepProb::ONE, None);
            }
        });
        network
    }

    /// The same network whose recurrent layers pass gradients through all steps.
    pub(crate) fn without_truncation(&self) -> Self {
        let mut network = self.clone();
        network.change_layers(|_, layer| {
            if let Layer::Recurrent(recurrent) = layer {
                recurrent.truncate = None;
            }
        });
        network
    }

    /// Whether a site scales in evaluation instead of in training.
    pub fn has_vanilla_dropout(&self) -> bool {
        self.walk().into_iter().any(|layer| matches!(layer, Layer::Dropout(d) if d.mode == DropoutMode::Vanilla))
    }

    /// Words of the widest matrix that a sample takes on a device, its rows padded to 64: what goes from layer to layer, a row for each
    /// pixel, the windows of a convolution, and the gates of a recurrent layer.
    pub(crate) fn widest(&self) -> Result<u64> {
        let padded = |rows: u32, columns: u64| u64::from(rows) * columns.next_multiple_of(64);
        let shapes = self.shapes()?;
        let words = self.walk().into_iter().zip(&shapes).map(|(layer, before)| {
            let [height, width] = before.map();
            let pixels = if height * width > 1 { padded(height * width, before.0[0].into()) } else { 0 };
            let windows = match layer {
                Layer::Conv2d(conv) => {
                    let [kernel, places] = [conv.window.kernel, conv.window.places(before.map()).unwrap_or([1, 1])];
                    padded(places[0] * places[1], u64::from(kernel[0] * kernel[1]) * u64::from(before.0[0].max(conv.channels)))
                }
                // All gates of all steps; the planes of a sequence are no wider together.
                Layer::Recurrent(recurrent) => {
                    padded(before.0[0], u64::from(recurrent.cell.gates() * recurrent.hidden.next_multiple_of(4)))
                }
                Layer::Embedding(embedding) => padded(before.0[0], embedding.width.into()),
                _ => 0,
            };
            padded(1, before.elements().into()).max(pixels).max(windows)
        });
        Ok(words.max().unwrap_or(1))
    }

    /// The site of every layer of [`Network::walk`] (`None` where it is no dropout), counted in order of declaration unless overridden.
    ///
    /// # Errors
    /// A site above 24 bits, or one used twice.
    pub fn sites(&self) -> Result<Vec<Option<u32>>> {
        let (layers, places) = (self.walk(), self.places());
        let mut taken = std::collections::BTreeMap::new();
        let mut sites = vec![None; layers.len()];
        let dropouts = layers.iter().enumerate().filter_map(|(i, layer)| match layer {
            Layer::Dropout(dropout) => Some((i, dropout)),
            _ => None,
        });
        for (count, (i, dropout)) in dropouts.enumerate() {
            let at = |problem| Error::Network { place: places[i].clone(), problem };
            let site = dropout.site.unwrap_or(count as u32);
            rng::check_site(site).map_err(|e| at(e.to_string()))?;
            if let Some(other) = taken.insert(site, i) {
                let other = places[other].trim_end_matches(" (dropout)");
                return Err(at(format!(
                    "site {site} is also the site of {other}; two sites would draw the same mask, give one another `site`"
                )));
            }
            sites[i] = Some(site);
        }
        Ok(sites)
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
}
