//! The forward pass: layer after layer, in the order of declaration. What a layer of maps becomes is in `maps.rs`.

use super::build::{Builder, Linear, Value};
use super::embedding::Embedding;
use super::grouped::Grouped;
use super::map_dropout::MapDropout;
use super::maps::{Convolution, Pooled, Turned};
use super::norm::Norm;
use super::recurrent::{Recurrent, Stepped};
use super::residual::Residual;
use super::{Mode, PlannedSite};
use crate::Result;
use crate::kernels::activation::{ActivationForward, ActivationParams, GeluForward};
use crate::kernels::dense::{DenseForward, Epilogue};
use crate::kernels::dropout::DropoutForward;
use crate::kernels::scale::{Scale, ScaleParams};
use crate::kernels::units::Sides;
use crate::memory::Tensor;
use crate::network::{Activation, Dense, Dropout, Layer, Noise, PoolKind, Shape, Unit};

/// A layer that a plan has something to do for.
#[derive(Clone, Copy)]
enum Piece<'a> {
    Dense(usize, &'a Dense),
    /// A site, by its number in the plan.
    Dropout(usize),
    /// The factor of vanilla dropout in evaluation.
    Scale(usize, f32),
    /// Any other layer.
    Layer(usize, &'a Layer),
}

/// What the backward pass needs to know of a piece's forward pass.
pub(super) enum Trace {
    /// `y` is what was stored after `epilogue`, for GELU what went into it.
    Dense {
        linear: Linear,
        y: Tensor,
        activation: Activation,
        epilogue: Epilogue,
    },
    /// Dropout by a kernel of its own.
    Dropout {
        index: usize,
        units: u32,
    },
    Convolution(Convolution),
    /// The same in groups.
    Grouped(Grouped),
    Pooled(Pooled),
    /// Maps in the other layout.
    Turned(Turned),
    /// An activation by itself, from what it gave, or for GELU took.
    Activation(Activation, Tensor),
    /// Dropout of maps.
    MapDropout(MapDropout),
    Residual(Residual),
    Norm(Norm),
    /// A sequence in the other layout.
    Stepped(Stepped),
    Recurrent(Recurrent),
    Embedding(Embedding),
}

impl Trace {
    /// Whether it learns.
    pub(super) fn is_trained(&self) -> bool {
        match self {
            Trace::Dense { .. } | Trace::Convolution(_) | Trace::Grouped(_) | Trace::Norm(_) => true,
            Trace::Recurrent(_) | Trace::Embedding(_) => true,
            Trace::Residual(residual) => residual.branch.iter().chain(&residual.skip).any(Trace::is_trained),
            Trace::MapDropout(dropout) => dropout.is_learned(),
            Trace::Dropout { .. } | Trace::Pooled(_) | Trace::Turned(_) | Trace::Stepped(_) | Trace::Activation(..) => false,
        }
    }
}

/// The layers of a sequence with their numbers in [`crate::Network::walk`], of which `first` is that of the first.
pub(super) fn numbered(layers: &[Layer], first: usize) -> Vec<(usize, &Layer)> {
    let mut number = first;
    let with_number = |layer| {
        let own = number;
        number += count(layer);
        (own, layer)
    };
    layers.iter().map(with_number).collect()
}

/// A layer and those inside it.
pub(super) fn count(layer: &Layer) -> usize {
    1 + layer.inner().into_iter().flatten().map(count).sum::<usize>()
}

impl<'a> Builder<'a> {
    /// The layers that leave a trace in this plan: a site whose rate is 1 and stays so does not, nor does any in evaluation but for
    /// the factor of vanilla dropout.
    fn pieces(&mut self, layers: &'a [Layer], first: usize) -> Result<Vec<Piece<'a>>> {
        let drawn = self.plan.options.mode != Mode::Eval;
        let mut pieces = Vec::new();
        for (layer, kind) in numbered(layers, first) {
            match kind {
                Layer::Dense(dense) => pieces.push(Piece::Dense(layer, dense)),
                Layer::Dropout(dropout) if drawn && self.drops(dropout) => pieces.push(Piece::Dropout(self.plan_site(layer)?)),
                Layer::Dropout(dropout) if !drawn && dropout.eval_scale() != 1.0 => {
                    pieces.push(Piece::Scale(layer, dropout.eval_scale()));
                }
                Layer::Dropout(_) | Layer::Activation(Activation::Identity) => {}
                other => pieces.push(Piece::Layer(layer, other)),
            }
        }
        Ok(pieces)
    }

    /// Whether a rate is below 1, or may become so.
    pub(super) fn drops(&self, dropout: &Dropout) -> bool {
        !dropout.is_none() || self.plan.options.variable_rates
    }

    /// Adds the site of a layer to the plan.
    pub(super) fn plan_site(&mut self, layer: usize) -> Result<usize> {
        let (sites, shapes) = (self.network.sites()?, self.network.shapes()?);
        let (Some(dropout), Some(site)) = (self.network.dropout_at(layer), sites[layer]) else {
            unreachable!("layer {layer} is dropout")
        };
        self.plan.sites.push(PlannedSite::new(layer, site, dropout, &shapes[layer]));
        Ok(self.plan.sites.len() - 1)
    }

    /// A site in front of the first dense layer or convolution is drawn by the gather kernel; one between two dense layers by the
    /// first of them, and its backward pass by the second; any other has kernels of its own.
    pub(super) fn forward(&mut self) -> Result<Vec<Trace>> {
        let (network, shapes) = (self.network, self.network.shapes()?);
        let pieces = self.pieces(&network.layers, 0)?;
        self.batch_rows()?;
        if let [Piece::Dropout(index), Piece::Dense(layer, dense)] = *pieces
            && let Some(output) = self.dropped_output(index, layer, dense)?
        {
            self.output = output;
            return Ok(Vec::new());
        }
        let mut rest = pieces.as_slice();
        let first = match *rest {
            [Piece::Dropout(index), Piece::Dense(..) | Piece::Layer(_, Layer::Conv2d(_)), ..] if self.is_plain(index) => {
                rest = &rest[1..];
                Some(index)
            }
            _ => None,
        };
        let columns = shapes[0].elements();
        let mut x = self.augmented(columns, first)?;
        // The site that thins the columns of x.
        let thinned = first.filter(|&index| self.kept_units(index).is_some());
        if let Some(site) = thinned {
            x = self.gather_columns(site, x, columns)?;
        }
        let (y, trace) = self.sequence(rest, Value { tensor: x, pixels: 1, columns, steps: false }, thinned, None)?;
        let last = shapes.last().cloned().unwrap_or(Shape(Vec::new()));
        debug_assert_eq!((y.pixels, y.columns), (1, last.elements()), "the output is a row for each sample");
        self.output = y.tensor;
        Ok(trace)
    }

    /// What the site keeps or drops as one.
    pub(super) fn unit(&self, index: usize) -> Unit {
        self.dropout(index).unit
    }

    /// Whether it is a mask of elements, which kernels of other layers draw too.
    pub(super) fn is_plain(&self, index: usize) -> bool {
        self.unit(index) == Unit::Element && self.dropout(index).noise == Noise::Bernoulli
    }

    /// Layers inside of a residual block, that begin with number `first`. The other way through it reads x too.
    pub(super) fn layers(&mut self, layers: &'a [Layer], first: usize, x: Value) -> Result<(Value, Vec<Trace>)> {
        let pieces = self.pieces(layers, first)?;
        self.sequence(&pieces, x, None, Some(x.tensor))
    }

    /// `thinned` is the site that thins the columns of x; `shared` is read by others, so that nothing may be written over it.
    fn sequence(
        &mut self,
        pieces: &[Piece<'a>],
        mut x: Value,
        mut thinned: Option<usize>,
        shared: Option<Tensor>,
    ) -> Result<(Value, Vec<Trace>)> {
        let shapes = self.network.shapes()?;
        let mut trace = Vec::new();
        let mut rest = pieces;
        // The site that drops weights of the next layer.
        let mut dropped = None;
        while let Some((&piece, others)) = rest.split_first() {
            rest = others;
            match piece {
                Piece::Scale(layer, factor) => {
                    if shared == Some(x.tensor) {
                        x = self.activation(&format!("scaled.{layer}"), Activation::Identity, x, &mut trace)?;
                    }
                    let params = ScaleParams { quads: self.row_quads(x.columns), factor, y_stride: x.tensor.stride, pad0: 0 };
                    self.push_rows(x.pixels, Scale { params, y: x.tensor });
                }
                Piece::Dropout(index) => {
                    let kept = self.kept_units(index);
                    if kept.is_some() && thinned != Some(index) {
                        return Err(self.misplaced(index));
                    }
                    if self.unit(index) == Unit::Weight {
                        dropped = Some(index);
                        continue;
                    }
                    if kept.is_none() && (!self.is_plain(index) || x.pixels > 1) {
                        x = self.map_dropout(index, x, &mut trace)?;
                        continue;
                    }
                    let units = kept.unwrap_or(x.columns);
                    x = Value { tensor: self.dropout_forward(index, x.tensor, units)?, pixels: 1, columns: units, steps: false };
                    trace.push(Trace::Dropout { index, units });
                }
                Piece::Dense(layer, dense) => {
                    let behind = match *rest {
                        [Piece::Dropout(index), Piece::Dense(..), ..] if self.kept_units(index).is_some() => Some(index),
                        _ => None,
                    };
                    let sides = Sides { rows: behind, columns: thinned };
                    thinned = behind;
                    let gelu = dense.activation == Activation::Gelu;
                    // Each draw has weights of its own.
                    let per_row = dropped.is_some() && matches!(self.plan.options.mode, Mode::MonteCarlo(_));
                    let site = match *rest {
                        _ if per_row => None,
                        [Piece::Dropout(index), Piece::Dense(..), ..] if !gelu && self.is_plain(index) => {
                            rest = &rest[1..];
                            Some(self.site_mask(index))
                        }
                        _ => None,
                    };
                    let epilogue = Epilogue { activation: if gelu { Activation::Identity } else { dense.activation }, site };
                    let linear = self.linear(layer, sides, x.tensor, (shapes[layer].elements(), dense.units))?;
                    let linear = match dropped.take() {
                        Some(index) if per_row => {
                            x = self.dropped_rows(index, linear)?;
                            if dense.activation != Activation::Identity {
                                x = self.activation(&format!("activation.{layer}"), dense.activation, x, &mut trace)?;
                            }
                            continue;
                        }
                        Some(index) => self.drop_weights(index, linear)?,
                        None => linear,
                    };
                    let (stored, y) = self.dense_forward(linear, dense.activation, epilogue)?;
                    trace.push(Trace::Dense { linear, y: stored, activation: dense.activation, epilogue });
                    x = Value { tensor: y, pixels: 1, columns: linear.outputs, steps: false };
                }
                Piece::Layer(layer, Layer::BatchNorm(norm)) => {
                    // The activation behind it, but GELU, whose derivative needs its input.
                    let activation = match *rest {
                        [Piece::Layer(_, &Layer::Activation(activation)), ..] if activation != Activation::Gelu => {
                            rest = &rest[1..];
                            activation
                        }
                        _ => Activation::Identity,
                    };
                    x = self.batch_norm(layer, norm, activation, x, &mut trace)?;
                }
                Piece::Layer(layer, Layer::Conv2d(conv)) => {
                    // The largest of rectified numbers is the rectified largest, and there are fewer of these; the gradient goes the
                    // same way, since that of a window without a positive number is that of its first or of its largest, times the
                    // slope at it, which is the same for both.
                    let rectified = matches!(conv.activation, Activation::Relu | Activation::LeakyRelu);
                    x = match *rest {
                        [Piece::Layer(number, Layer::Pool(pool)), ..] if rectified && pool.kind == PoolKind::Max => {
                            rest = &rest[1..];
                            let linear = self.convolution(layer, conv, Activation::Identity, x, &mut trace)?;
                            let largest = self.pool(number, pool, linear, &mut trace)?;
                            self.activation(&format!("rectified.{number}"), conv.activation, largest, &mut trace)?
                        }
                        _ => self.convolution(layer, conv, conv.activation, x, &mut trace)?,
                    };
                }
                Piece::Layer(layer, kind) => x = self.layer(layer, kind, x, &mut trace)?,
            }
        }
        Ok((x, trace))
    }

    /// What the backward pass reads, and the output; they are the same tensor but for GELU.
    pub(super) fn dense_forward(
        &mut self,
        linear: Linear,
        activation: Activation,
        epilogue: Epilogue,
    ) -> Result<(Tensor, Tensor)> {
        let Linear { layer, x, weight, bias, outputs, pixels, .. } = linear;
        let gelu = activation == Activation::Gelu;
        let y = self.rows_of(&format!("{}.{layer}", if gelu { "preactivation" } else { "activation" }), pixels, outputs)?;
        let (matmul, params) = self.dense_params(epilogue.site, (x, y), linear);
        let samples = self.samples;
        self.push_rows(pixels, DenseForward { matmul, params, epilogue, samples, bias, x, weight, y });
        if !gelu {
            return Ok((y, y));
        }
        Ok((y, self.gelu_forward(&format!("activation.{layer}"), Value { tensor: y, pixels, columns: outputs, steps: false })?))
    }

    /// An activation by itself. Its input stays: the backward pass of the layer in front, or a skip around it, may read it.
    pub(super) fn activation(&mut self, name: &str, activation: Activation, x: Value, trace: &mut Vec<Trace>) -> Result<Value> {
        if activation == Activation::Gelu {
            let y = self.gelu_forward(name, x)?;
            trace.push(Trace::Activation(activation, x.tensor));
            return Ok(Value { tensor: y, ..x });
        }
        let y = self.value(name, x.pixels, x.columns)?;
        let params = ActivationParams {
            x_stride: x.tensor.stride,
            y_stride: y.tensor.stride,
            ..ActivationParams::new(activation, x.columns, self.plans.row_words())
        };
        self.push_rows(x.pixels, ActivationForward { params, x: x.tensor, y: y.tensor });
        trace.push(Trace::Activation(activation, y.tensor));
        Ok(y)
    }

    /// GELU of x; other activations are computed in place.
    pub(super) fn gelu_forward(&mut self, name: &str, x: Value) -> Result<Tensor> {
        let y = self.rows_of(name, x.pixels, x.columns)?;
        let params = ActivationParams {
            x_stride: x.tensor.stride,
            y_stride: y.stride,
            ..ActivationParams::new(Activation::Gelu, x.columns, self.plans.row_words())
        };
        self.push_rows(x.pixels, GeluForward { params, x: x.tensor, y });
        Ok(y)
    }

    pub(super) fn dropout_forward(&mut self, index: usize, x: Tensor, units: u32) -> Result<Tensor> {
        let samples = self.samples;
        let y = self.matrix(&format!("activation.{}", self.plan.sites[index].layer), units)?;
        let params = self.dropout_params(index, units, samples, x, y);
        self.push(DropoutForward { params, site: self.site_mask(index), samples, x, y });
        Ok(y)
    }
}
