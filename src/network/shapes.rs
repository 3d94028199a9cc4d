//! The shapes in a network, and where its layers stand: what fits together, and what messages say of the rest.

use super::{Dropout, Layer, Loss, Network, Noise, Residual, Shape, Unit};
use crate::{Error, Result};

impl Network {
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

    /// Where every layer of [`Network::walk`] stands, as in messages: `layer 3.residual[1] (conv2d)`.
    pub(crate) fn places(&self) -> Vec<String> {
        let named = |(layer, address): (&Layer, String)| format!("layer {address} ({})", layer.name());
        self.walk().into_iter().zip(self.addresses()).map(named).collect()
    }

    /// The path of every layer of [`Network::walk`] in the file, from the number of the layer in `layers` on: `3`,
    /// `3.residual[1]`, of the dropout inside a recurrent layer `0.recurrent`, or `0.recurrent[1]` where there are several
    /// directions of layers.
    pub(crate) fn addresses(&self) -> Vec<String> {
        fn of(layers: &[Layer], list: &str, addresses: &mut Vec<String>) {
            for (i, layer) in layers.iter().enumerate() {
                let own = address(list, i);
                addresses.push(own.clone());
                match layer {
                    Layer::Recurrent(recurrent) => {
                        let names = recurrent.site_names().into_iter().map(|name| format!("{own}.{name}"));
                        addresses.extend(names);
                    }
                    Layer::Embedding(_) => addresses.push(format!("{own}.words")),
                    _ => {
                        for (inner, name) in layer.inner().into_iter().zip(INNER) {
                            of(inner, &inside(list, i, name), addresses);
                        }
                    }
                }
            }
        }
        let mut addresses = Vec::new();
        of(&self.layers, "", &mut addresses);
        addresses
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

/// The path of a layer of a list: the number alone at the top, where the list has no name.
fn address(list: &str, number: usize) -> String {
    if list.is_empty() { number.to_string() } else { format!("{list}[{number}]") }
}

fn place(list: &str, number: usize, layer: &Layer) -> String {
    format!("layer {} ({})", address(list, number), layer.name())
}

/// The path of a list inside a layer.
fn inside(list: &str, number: usize, name: &str) -> String {
    format!("{}.{name}", address(list, number))
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

/// Whether the first of these layers that has weights, or layers inside, is dense or a convolution.
fn feeds_weights(layers: &[Layer]) -> bool {
    matches!(layers.iter().find(|layer| layer.may_learn()), Some(Layer::Dense(_) | Layer::Conv2d(_)))
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
            Layer::Dropout(Dropout { noise: Noise::Concrete(_), .. }) if !feeds_weights(&layers[i + 1..]) => {
                return Err(at(
                    "learns its rate from the weights of the layer behind it, which must be dense or a convolution of the same list; put it in \
                     front of one"
                        .into(),
                ));
            }
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
