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
mod unit;

pub use activation::{Activation, Init};
pub use blocks::Blocks;
pub use conv::{Conv2d, Pool2d, PoolKind, Window};
pub use dropout::{Concrete, Dropout, DropoutMode, KeepProb, Noise};
pub use layer::{BatchNorm, Dense, Layer, LayerNorm, Residual};
pub use loss::{LEAST_LOG_VARIANCE, Loss, deviation};
pub use noise::{SELU_LIMIT, alpha_affine, gaussian_sigma};
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

    /// Changes every layer in the order of [`Network::walk`], by its number.
    pub fn change_layers(&mut self, mut change: impl FnMut(usize, &mut Layer)) {
        fn of(layers: &mut [Layer], next: &mut usize, change: &mut impl FnMut(usize, &mut Layer)) {
            for layer in layers {
                change(*next, layer);
                *next += 1;
                layer.inner_mut().into_iter().for_each(|inner| of(inner, next, change));
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

    /// The same network with keep_prob 1 at every site, always: sites, weights and shuffles stay as they are. Concrete dropout leaves
    /// its learned rate behind: that is no parameter of this network, and initial weights behind it are others.
    pub fn without_dropout(&self) -> Self {
        let mut network = self.clone();
        network.change_layers(|_, layer| {
            if let Layer::Dropout(dropout) = layer {
                (dropout.keep, dropout.schedule) = (KeepProb::ONE, None);
                if matches!(dropout.noise, Noise::Concrete(_)) {
                    dropout.noise = Noise::Bernoulli;
                }
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

    /// The shape in front of every layer of [`Network::walk`] and, last, of the output.
    ///
    /// # Errors
    /// A layer that cannot take what comes before it, or has no units; a network without a layer to train; an output that is no row of
    /// features; an odd number of outputs for [`Loss::GaussianNll`].
    pub fn shapes(&self) -> Result<Vec<Shape>> {
        let whole = |problem: String| Error::Network { place: "network".into(), problem };
        if self.input.0.is_empty() || self.input.0.contains(&0) {
            return Err(whole(format!("input shape {} has no elements; every extent is at least 1", self.input)));
        }
        if self.input.0.len() > 8 {
            return Err(whole(format!("input shape {} has {} axes; at most 8 are possible", self.input, self.input.0.len())));
        }
        if self.input.0.iter().try_fold(1u32, |product, &n| product.checked_mul(n)).is_none() {
            return Err(whole(format!("input shape {} has more than 2^32 - 1 elements", self.input)));
        }
        let mut shapes = Vec::new();
        let output = shapes_of(&self.layers, self.input.clone(), "", &mut shapes)?;
        if !self.walk().into_iter().any(|layer| matches!(layer, Layer::Dense(_) | Layer::Conv2d(_) | Layer::Recurrent(_))) {
            return Err(whole("has no dense layer, so there is nothing to train; add one".into()));
        }
        if output.0.len() != 1 {
            let problem = format!(
                "gives maps of shape {output}, but the loss takes a row of outputs; end with flatten and dense, or with \
                                   global_average_pool"
            );
            return Err(whole(problem));
        }
        self.check_outputs(output.elements())?;
        shapes.push(output);
        Ok(shapes)
    }

    /// Words of the widest matrix that a sample takes on a device, its rows padded to 64: what goes from layer to layer, a row for each
    /// pixel, and the windows of a convolution.
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
                _ => 0,
            };
            padded(1, before.elements().into()).max(pixels).max(windows)
        });
        Ok(words.max().unwrap_or(1))
    }

    /// Where every layer of [`Network::walk`] stands, as in messages: `layer 3.residual[1] (conv2d)`.
    pub(crate) fn places(&self) -> Vec<String> {
        fn of(layers: &[Layer], prefix: &str, places: &mut Vec<String>) {
            for (i, layer) in layers.iter().enumerate() {
                places.push(place(prefix, i, layer));
                for (inner, name) in layer.inner().into_iter().zip(inner_names(layer)) {
                    of(inner, &inside(prefix, i, name), places);
                }
            }
        }
        let mut places = Vec::new();
        of(&self.layers, "", &mut places);
        places
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

    /// # Errors
    /// An odd number of outputs where each target takes two.
    fn check_outputs(&self, units: u32) -> Result<()> {
        if self.loss != Loss::GaussianNll || units.is_multiple_of(2) {
            return Ok(());
        }
        // What decides how many outputs there are: the last layer that is no dropout.
        let last = self.layers.iter().rposition(|layer| !matches!(layer, Layer::Dropout(_))).unwrap_or(0);
        Err(Error::Network {
            place: place("", last, &self.layers[last]),
            problem: format!(
                "units = {units}: the loss gaussian_nll takes a mean and a log variance for each target, so the last layer has twice \
                 as many units as there are targets, as {} for {units}",
                2 * units
            ),
        })
    }
}

/// What the layers inside a residual block are called in places and files.
const INNER: [&str; 2] = ["residual", "skip"];

/// What the layers inside a layer are called.
fn inner_names(layer: &Layer) -> [&'static str; 2] {
    if matches!(layer, Layer::Residual(_)) { INNER } else { ["sites", ""] }
}

fn place(prefix: &str, number: usize, layer: &Layer) -> String {
    match prefix {
        "" => format!("layer {number} ({})", layer.name()),
        _ => format!("layer {prefix}[{number}] ({})", layer.name()),
    }
}

/// The prefix of the places inside a layer.
fn inside(prefix: &str, number: usize, name: &str) -> String {
    match prefix {
        "" => format!("{number}.{name}"),
        _ => format!("{prefix}[{number}].{name}"),
    }
}

/// The shape behind a recurrent layer or an embedding; adds those of its sites.
fn inner_sites(layer: &Layer, before: &Shape, shapes: &mut Vec<Shape>) -> std::result::Result<Shape, String> {
    let behind = layer.output(before)?;
    match layer {
        Layer::Recurrent(recurrent) => {
            for (number, site) in recurrent.inner().iter().enumerate() {
                let Layer::Dropout(dropout) = site else { unreachable!("the sites of a recurrent layer are dropout") };
                recurrent.check_site(number, dropout)?;
            }
            shapes.extend(recurrent.site_shapes(before));
        }
        Layer::Embedding(embedding) => shapes.push(Shape::from(embedding.vocabulary)),
        _ => {}
    }
    Ok(behind)
}

/// Adds the shape in front of every layer, and returns that behind the last.
fn shapes_of(layers: &[Layer], input: Shape, prefix: &str, shapes: &mut Vec<Shape>) -> Result<Shape> {
    let mut before = input;
    for (i, layer) in layers.iter().enumerate() {
        let at = |problem: String| Error::Network { place: place(prefix, i, layer), problem };
        shapes.push(before.clone());
        before = match layer {
            Layer::Residual(Residual { branch, skip }) => {
                if branch.is_empty() {
                    return Err(at("has a branch without layers; give it some: { residual = [...] }".into()));
                }
                let behind = shapes_of(branch, before.clone(), &inside(prefix, i, INNER[0]), shapes)?;
                let skipped = shapes_of(skip, before, &inside(prefix, i, INNER[1]), shapes)?;
                if behind != skipped {
                    let layer = match behind.0.len() {
                        1 => format!("dense = {}", behind.0[0]),
                        _ => format!("conv2d = {}, kernel = 1", behind.0[0]),
                    };
                    return Err(at(format!(
                        "adds a branch of shape {behind} to a skip of shape {skipped}; give it skip layers that end in {behind}, as \
                         skip = [{{ {layer} }}]"
                    )));
                }
                behind
            }
            Layer::Recurrent(_) | Layer::Embedding(_) if !prefix.is_empty() => {
                return Err(at("stands in a residual block; recurrent layers and embeddings stand outside of them".into()));
            }
            Layer::Embedding(_) if i > 0 => {
                return Err(at("takes the numbers of words, which are the input; make it the first layer".into()));
            }
            Layer::Recurrent(_) | Layer::Embedding(_) => inner_sites(layer, &before, shapes).map_err(at)?,
            Layer::Dropout(Dropout { unit: Unit::Weight, .. }) => {
                let Some(Layer::Dense(_)) = layers.get(i + 1) else {
                    return Err(at(
                        "drops the weights of the layer behind it, which must be dense; put it in front of a dense layer".into(),
                    ));
                };
                layer.output(&before).map_err(at)?
            }
            _ => layer.output(&before).map_err(at)?,
        };
        if before.0.iter().try_fold(1u32, |product, &n| product.checked_mul(n)).is_none() {
            return Err(at(format!("gives shape {before}, which has more than 2^32 - 1 elements")));
        }
    }
    Ok(before)
}
