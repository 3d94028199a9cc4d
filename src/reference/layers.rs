//! Layers in their places, forward and backward: a residual block holds lists of layers of its own.

use super::functions::{activate, dense_backward, dense_forward, derivative, has_kink};
use super::masks::{self, Affine, SiteFactors, affine, factors, select};
use super::norm::{self, Normal};
use super::{Masks, concrete, embedding, maps, recurrent};
use crate::Result;
use crate::network::{Activation, Concrete, Dense, Dropout, Layer, Network, Noise, Recurrent, Residual, Shape, Unit};

/// A layer with all that belongs to it.
pub(super) struct Node<'a> {
    pub(super) layer: &'a Layer,
    /// The shape in front of it.
    pub(super) shape: Shape,
    /// Its site, if it is dropout.
    site: Option<u32>,
    /// Its parameter tensors, by number and in order.
    pub(super) tensors: Vec<usize>,
    /// The layers of its branch, or its own sites.
    pub(super) branch: Vec<Node<'a>>,
    /// The layers of its skip.
    pub(super) skip: Vec<Node<'a>>,
    /// Dropout of its weights, and that site.
    connect: Option<(&'a Dropout, u32)>,
}

/// The layers of a network.
pub(super) fn nodes(network: &Network) -> Result<Vec<Node<'_>>> {
    let (shapes, sites, parameters) = (network.shapes()?, network.sites()?, network.parameters()?);
    // Numbers of layers and tensors follow the order of `Network::walk`.
    fn of<'a>(layers: &'a [Layer], next: &mut usize, make: &impl Fn(usize, &'a Layer) -> Node<'a>) -> Vec<Node<'a>> {
        let mut nodes: Vec<Node> = Vec::new();
        for layer in layers {
            let mut node = make(*next, layer);
            node.connect = nodes.last().and_then(Node::weights_dropped);
            *next += 1;
            let [branch, skip] = layer.inner();
            node.branch = of(branch, next, make);
            node.skip = of(skip, next, make);
            nodes.push(node);
        }
        nodes
    }
    let make = |number: usize, layer| Node {
        layer,
        shape: shapes[number].clone(),
        site: sites[number],
        tensors: (0..parameters.len()).filter(|&tensor| parameters[tensor].layer == number).collect(),
        branch: Vec::new(),
        skip: Vec::new(),
        connect: None,
    };
    Ok(of(&network.layers, &mut 0, &make))
}

/// A layer's part of a forward pass: what went in, what came out, and what the way back needs.
pub(super) struct Done {
    x: Vec<f64>,
    pub(super) y: Vec<f64>,
    saved: Saved,
}

enum Saved {
    Nothing,
    /// The argument of the activation.
    Inner(Vec<f64>),
    /// The argument of the activation, and the factors of the weights.
    Connected(Vec<f64>, Vec<Option<f64>>),
    Dropped(Affine),
    /// The factors, and their derivatives by the logit.
    Concrete(Vec<f64>, Vec<f64>),
    Normal(Normal),
    Recurrent(recurrent::Saved),
    /// The factors of the words of every row, and the lengths of the rows.
    Words(Vec<Option<f64>>, Vec<usize>),
    Residual {
        /// The factor of the branch for every row; a row without one has not passed through it.
        paths: Vec<Option<f64>>,
        branch: Vec<Done>,
        skip: Vec<Done>,
    },
}

/// What every site does to one sample.
pub(super) fn site_factors(nodes: &[Node], masks: &Masks) -> Vec<SiteFactors> {
    let mut sites = Vec::new();
    for node in nodes {
        match (node.layer, node.connect) {
            (Layer::Dropout(dropout), _) if dropout.unit != Unit::Weight => {
                sites.push(masks::site_factors(dropout, node.site(), &node.shape, 1, masks));
            }
            (Layer::Dense(dense), Some((dropout, site))) => {
                sites.push(masks::site_factors(dropout, site, &node.connected(dense), 1, masks));
            }
            (Layer::Recurrent(recurrent), _) => {
                for (number, site) in node.branch.iter().enumerate() {
                    let dropout = site.dropout(of_gates(recurrent, number));
                    sites.push(masks::site_factors(&dropout, site.site(), &site.shape, 1, masks));
                }
                continue;
            }
            _ => {}
        }
        sites.extend([&node.branch, &node.skip].into_iter().flat_map(|inner| site_factors(inner, masks)));
    }
    sites
}

/// Runs layers one after the other over rows of x; `masks` has the samples of these rows, `batch` the lengths that rows of
/// sequences have.
pub(super) fn forward(nodes: &[Node], weights: &[Vec<f64>], x: &[f64], lengths: Option<&[u32]>, masks: &Masks) -> Vec<Done> {
    let mut done: Vec<Done> = Vec::new();
    for node in nodes {
        let x = done.last().map_or_else(|| x.to_vec(), |before| before.y.clone());
        let (y, saved) = node.forward(weights, &x, lengths, masks);
        done.push(Done { x, y, saved });
    }
    done
}

/// dL/dx from dL/dy; adds to the gradients of every tensor.
pub(super) fn backward(
    nodes: &[Node],
    done: &[Done],
    weights: &[Vec<f64>],
    upstream: &[f64],
    gradients: &mut [Vec<f64>],
) -> Vec<f64> {
    let backward = |dy: Vec<f64>, (node, done): (&Node, &Done)| node.backward(done, weights, &dy, gradients);
    nodes.iter().zip(done).rev().fold(upstream.to_vec(), backward)
}

/// Whether a site of a recurrent layer has a mask for each gate. The sites are input, recurrent input and output of each direction.
fn of_gates(recurrent: &Recurrent, number: usize) -> bool {
    recurrent.untied && number % 3 == 1
}

/// What layers give: x itself, if there are none.
fn output<'a>(done: &'a [Done], x: &'a [f64]) -> &'a [f64] {
    done.last().map_or(x, |last| &last.y)
}

/// f(z), and z for the way back.
fn activated(activation: Activation, z: Vec<f64>) -> (Vec<f64>, Saved) {
    (z.iter().map(|&z| activate(activation, z)).collect(), Saved::Inner(z))
}

/// dL/dz from dL/dy.
fn through(activation: Activation, z: &[f64], dy: &[f64]) -> Vec<f64> {
    dy.iter().zip(z).map(|(dy, &z)| dy * derivative(activation, z)).collect()
}

/// The rows that have a factor.
fn kept_rows(paths: &[Option<f64>], values: &[f64]) -> Vec<f64> {
    let columns = values.len() / paths.len().max(1);
    let rows = paths.iter().enumerate().filter(|(_, factor)| factor.is_some());
    rows.flat_map(|(row, _)| &values[row * columns..][..columns]).copied().collect()
}

/// Such rows, each times its factor.
fn scaled(paths: &[Option<f64>], values: &[f64]) -> Vec<f64> {
    let factors: Vec<f64> = paths.iter().copied().flatten().collect();
    let columns = values.len() / factors.len().max(1);
    values.iter().enumerate().map(|(i, value)| factors[i / columns] * value).collect()
}

/// Adds such rows where they belong; a row without a factor stays.
fn add_to_rows(paths: &[Option<f64>], values: &[f64], sums: &mut [f64]) {
    let columns = sums.len() / paths.len().max(1);
    let mut values = values.iter();
    for (row, _) in paths.iter().enumerate().filter(|(_, factor)| factor.is_some()) {
        sums[row * columns..][..columns].iter_mut().zip(&mut values).for_each(|(sum, value)| *sum += value);
    }
}

impl<'a> Node<'a> {
    fn rows(&self, x: &[f64]) -> usize {
        x.len() / self.shape.elements() as usize
    }

    /// Its first tensors.
    fn tensors<'w, const N: usize>(&self, weights: &'w [Vec<f64>]) -> [&'w [f64]; N] {
        std::array::from_fn(|i| weights[self.tensors[i]].as_slice())
    }

    /// Elements of a channel.
    fn pixels(&self) -> usize {
        self.shape.0[1..].iter().product::<u32>() as usize
    }

    /// The dropout of the weights behind it that it is, if it is.
    fn weights_dropped(&self) -> Option<(&'a Dropout, u32)> {
        match self.layer {
            Layer::Dropout(dropout) if dropout.unit == Unit::Weight => Some((dropout, self.site?)),
            _ => None,
        }
    }

    fn forward(&self, weights: &[Vec<f64>], x: &[f64], lengths: Option<&[u32]>, masks: &Masks) -> (Vec<f64>, Saved) {
        let rows = self.rows(x);
        match self.layer {
            Layer::Dense(dense) => self.forward_dense(dense, weights, x, masks),
            Layer::Conv2d(conv) => {
                let [weight, bias] = self.tensors(weights);
                activated(conv.activation, maps::conv_forward(conv, &self.shape, weight, bias, x))
            }
            Layer::Activation(activation) => activated(*activation, x.to_vec()),
            Layer::Dropout(Dropout { unit: Unit::Weight, .. }) => (x.to_vec(), Saved::Nothing),
            Layer::Dropout(Dropout { noise: Noise::Concrete(concrete), .. }) => {
                self.forward_concrete(concrete, weights, x, masks)
            }
            Layer::Dropout(dropout) => {
                let affine = affine(dropout, self.site(), &self.shape, rows, masks);
                (affine.forward(x), Saved::Dropped(affine))
            }
            Layer::Pool(pool) => (maps::pool_forward(pool, &self.shape, x), Saved::Nothing),
            Layer::GlobalAveragePool => (maps::mean_forward(self.pixels(), x), Saved::Nothing),
            Layer::Flatten => (x.to_vec(), Saved::Nothing),
            Layer::BatchNorm(batch) => {
                let [weight, bias, mean, variance] = self.tensors(weights);
                let running = || mean.iter().copied().zip(variance.iter().copied()).collect();
                let running = matches!(masks, Masks::None).then(running);
                let sets = (self.shape.0[0] as usize, norm::of_channels(&self.shape, rows));
                let (y, normal) = norm::forward(batch.epsilon, [weight, bias], running, sets, x);
                (y, Saved::Normal(normal))
            }
            Layer::LayerNorm(layer) => {
                let sets = (rows, norm::of_samples(&self.shape, rows));
                let (y, normal) = norm::forward(layer.epsilon, self.tensors(weights), None, sets, x);
                (y, Saved::Normal(normal))
            }
            Layer::Residual(residual) => self.forward_residual(residual, weights, x, masks),
            Layer::Recurrent(recurrent) => {
                let of_site = |(number, site): (usize, &Node)| site.factors(of_gates(recurrent, number), rows, masks);
                let sites = self.branch.iter().enumerate().map(of_site).collect();
                let (y, saved) = self.stack(recurrent, weights, sites, self.lengths(lengths, rows)).forward(x);
                (y, Saved::Recurrent(saved))
            }
            Layer::Embedding(table) => {
                let (factors, lengths) = (self.branch[0].factors(false, rows, masks), self.lengths(lengths, rows));
                let [weight] = self.tensors(weights);
                let y = embedding::forward(weight, table.width as usize, &factors, &lengths, x);
                (y, Saved::Words(factors, lengths))
            }
        }
    }

    /// How many steps each row has: all, if nothing else is said.
    fn lengths(&self, lengths: Option<&[u32]>, rows: usize) -> Vec<usize> {
        let of_rows = |lengths: &[u32]| lengths.iter().map(|&length| length as usize).collect();
        lengths.map_or_else(|| vec![self.shape.0[0] as usize; rows], of_rows)
    }

    fn stack<'s>(
        &'s self,
        recurrent: &'s Recurrent,
        weights: &'s [Vec<f64>],
        factors: Vec<Vec<Option<f64>>>,
        lengths: Vec<usize>,
    ) -> recurrent::Stack<'s> {
        let shape = [self.shape.0[0], self.shape.0[1]].map(|extent| extent as usize);
        let tensors = self.tensors.iter().map(|&tensor| weights[tensor].as_slice()).collect();
        recurrent::Stack { recurrent, shape, tensors, factors, lengths }
    }

    fn forward_dense(&self, dense: &Dense, weights: &[Vec<f64>], x: &[f64], masks: &Masks) -> (Vec<f64>, Saved) {
        let [weight, bias] = self.tensors(weights);
        let Some((dropout, site)) = self.connect else { return activated(dense.activation, dense_forward(weight, bias, x)) };
        // All rows share the weights and so their mask: that of one sample.
        let factors = factors(dropout, site, &self.connected(dense), 1, masks);
        let z = dense_forward(&select(&factors, weight), bias, x);
        (z.iter().map(|&z| activate(dense.activation, z)).collect(), Saved::Connected(z, factors))
    }

    /// The shape of a dense layer's weights.
    fn connected(&self, dense: &Dense) -> Shape {
        Shape(vec![dense.units, self.shape.elements()])
    }

    fn forward_concrete(&self, concrete: &Concrete, weights: &[Vec<f64>], x: &[f64], masks: &Masks) -> (Vec<f64>, Saved) {
        let Masks::Drawn { seed, pass, samples, .. } = *masks else {
            return (x.to_vec(), Saved::Concrete(vec![1.0; x.len()], vec![0.0; x.len()]));
        };
        let [logit] = self.tensors(weights);
        let words = concrete::words(seed, self.site(), pass, samples, self.shape.elements());
        let (factors, by_logit) = concrete::factors(concrete, logit[0], words.into_iter());
        (x.iter().zip(&factors).map(|(x, factor)| x * factor).collect(), Saved::Concrete(factors, by_logit))
    }

    fn site(&self) -> u32 {
        self.site.expect("Network::sites gives every dropout layer a site")
    }

    /// The factors of a site inside of a layer, or of a path. Masks of untied gates have a unit for each element of `[gates,
    /// hidden]`.
    fn factors(&self, untied: bool, rows: usize, masks: &Masks) -> Vec<Option<f64>> {
        factors(&self.dropout(untied), self.site(), &self.shape, rows, masks)
    }

    fn dropout(&self, untied: bool) -> Dropout {
        let Layer::Dropout(dropout) = self.layer else { unreachable!("only dropout has factors") };
        let unit = if untied { Unit::Element } else { dropout.unit };
        Dropout { unit, ..*dropout }
    }

    /// The layers of the branch that are computed: path dropout at its end is a matter of rows.
    fn computed(&self) -> &[Node<'a>] {
        match self.branch.split_last() {
            Some((last, others)) if matches!(last.layer, Layer::Dropout(dropout) if dropout.unit == Unit::Path) => others,
            _ => &self.branch,
        }
    }

    fn forward_residual(&self, residual: &Residual, weights: &[Vec<f64>], x: &[f64], masks: &Masks) -> (Vec<f64>, Saved) {
        let rows = self.rows(x);
        let paths = match (residual.branch.last(), self.branch.last()) {
            (Some(Layer::Dropout(dropout)), Some(last)) if dropout.unit == Unit::Path => {
                // All elements of a sample share one factor.
                let factors = last.factors(false, rows, masks);
                factors.chunks(last.shape.elements() as usize).map(|row| row[0]).collect()
            }
            _ => vec![Some(1.0); rows],
        };
        let passing: Vec<u32>;
        let inside = match *masks {
            Masks::Drawn { seed, pass, update, samples } => {
                passing = samples.iter().zip(&paths).filter(|(_, factor)| factor.is_some()).map(|(&sample, _)| sample).collect();
                Masks::Drawn { seed, pass, update, samples: &passing }
            }
            Masks::None => Masks::None,
        };
        let entering = kept_rows(&paths, x);
        // No layer that knows lengths stands in a block.
        let branch = forward(self.computed(), weights, &entering, None, &inside);
        let skip = forward(&self.skip, weights, x, None, masks);
        let mut y = output(&skip, x).to_vec();
        add_to_rows(&paths, &scaled(&paths, output(&branch, &entering)), &mut y);
        (y, Saved::Residual { paths, branch, skip })
    }

    /// dL/dx from dL/dy; adds to the gradients of its tensors.
    fn backward(&self, done: &Done, weights: &[Vec<f64>], dy: &[f64], gradients: &mut [Vec<f64>]) -> Vec<f64> {
        let mut add = |(dw, db, dx): (Vec<f64>, Vec<f64>, Vec<f64>)| {
            for (&tensor, gradient) in self.tensors.iter().zip([dw, db]) {
                gradients[tensor].iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g);
            }
            dx
        };
        let Done { x, saved, .. } = done;
        match (self.layer, saved) {
            (Layer::Dense(dense), Saved::Inner(z)) => {
                let [weight, bias] = self.tensors(weights);
                add(dense_backward(weight, bias.len(), x, &through(dense.activation, z, dy)))
            }
            (Layer::Conv2d(conv), Saved::Inner(z)) => {
                let [weight] = self.tensors(weights);
                add(maps::conv_backward(conv, &self.shape, weight, x, &through(conv.activation, z, dy)))
            }
            (Layer::Activation(activation), Saved::Inner(z)) => through(*activation, z, dy),
            (Layer::Dense(dense), Saved::Connected(z, factors)) => {
                let [weight, bias] = self.tensors(weights);
                let weight = select(factors, weight);
                let (dw, db, dx) = dense_backward(&weight, bias.len(), x, &through(dense.activation, z, dy));
                add((select(factors, &dw), db, dx))
            }
            (_, Saved::Dropped(affine)) => affine.backward(dy),
            (_, Saved::Concrete(factors, by_logit)) => {
                let terms = dy.iter().zip(x).zip(by_logit).map(|((dy, x), slope)| dy * x * slope);
                add((vec![terms.sum()], Vec::new(), dy.iter().zip(factors).map(|(dy, factor)| dy * factor).collect()))
            }
            (Layer::Recurrent(recurrent), Saved::Recurrent(saved)) => {
                let own = self.tensors[0]..self.tensors[0] + self.tensors.len();
                self.stack(recurrent, weights, Vec::new(), Vec::new()).backward(saved, dy, &mut gradients[own])
            }
            (Layer::Embedding(table), Saved::Words(factors, lengths)) => {
                let dw = embedding::backward(table.vocabulary as usize, factors, lengths, x, dy);
                add((dw, Vec::new(), vec![0.0; x.len()])) // The number of a word has no gradient.
            }
            (Layer::Pool(pool), _) => maps::pool_backward(pool, &self.shape, x, dy),
            (Layer::GlobalAveragePool, _) => maps::mean_backward(self.pixels(), dy),
            (_, Saved::Normal(normal)) => {
                let [weight] = self.tensors(weights);
                add(norm::backward(normal, weight, dy))
            }
            (_, Saved::Residual { paths, branch, skip }) => {
                let mut dx = backward(&self.skip, skip, weights, dy, gradients);
                let behind = scaled(paths, &kept_rows(paths, dy));
                add_to_rows(paths, &backward(self.computed(), branch, weights, &behind, gradients), &mut dx);
                dx
            }
            _ => dy.to_vec(), // flatten
        }
    }
}

/// The running mean and variance of every batch norm after this pass, in the order of the tensors.
pub(super) fn running_statistics(nodes: &[Node], done: &[Done], weights: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let mut found = Vec::new();
    for (node, done) in nodes.iter().zip(done) {
        match (node.layer, &done.saved) {
            (Layer::BatchNorm(batch), Saved::Normal(normal)) => {
                let [_, _, mean, variance] = node.tensors(weights);
                found.extend(norm::followed(batch, normal, mean, variance));
            }
            (_, Saved::Residual { branch, skip, .. }) => {
                found.extend(running_statistics(&node.branch, branch, weights));
                found.extend(running_statistics(&node.skip, skip, weights));
            }
            _ => {}
        }
    }
    found
}

/// The least distance of an activation's argument from its kink, and of the largest pixel of a window from the next one. Exact
/// zeros and ties come from what is dropped or rectified before, which stays so.
pub(super) fn kink_distance(nodes: &[Node], done: &[Done]) -> f64 {
    let kink = |activation: Activation, z: &[f64]| match has_kink(activation) {
        true => z.iter().map(|z| z.abs()).filter(|&z| z != 0.0).fold(f64::INFINITY, f64::min),
        false => f64::INFINITY,
    };
    let of_layer = |(node, done): (&Node, &Done)| match (node.layer, &done.saved) {
        (Layer::Dense(dense), Saved::Inner(z) | Saved::Connected(z, _)) => kink(dense.activation, z),
        (Layer::Recurrent(recurrent), Saved::Recurrent(saved)) => saved.kink_distance(recurrent.cell),
        (Layer::Conv2d(conv), Saved::Inner(z)) => kink(conv.activation, z),
        (Layer::Activation(activation), Saved::Inner(z)) => kink(*activation, z),
        (Layer::Pool(pool), _) => maps::tie_distance(pool, &node.shape, &done.x),
        (_, Saved::Residual { branch, skip, .. }) => kink_distance(node.computed(), branch).min(kink_distance(&node.skip, skip)),
        _ => f64::INFINITY,
    };
    nodes.iter().zip(done).map(of_layer).fold(f64::INFINITY, f64::min)
}
