//! Layers of feature maps: convolutions as products of matrices, pools, and the two layouts of maps.

use super::Mode;
use super::build::{Builder, Linear, Value};
use super::forward::Trace;
use crate::Result;
use crate::kernels::dense::{DenseBackwardInput, Epilogue};
use crate::kernels::layout::{LayoutParams, PixelsToPlanar, PlanarToPixels};
use crate::kernels::pool::{AveragePoolBackward, AveragePoolForward, MaxPoolBackward, MaxPoolForward, PoolParams};
use crate::kernels::unfold::{Fold, FoldQuads, MapStrides, Unfold, UnfoldParams, UnfoldQuads};
use crate::kernels::units::Sides;
use crate::memory::Tensor;
use crate::network::{Activation, Conv2d, Layer, Pool2d, PoolKind, Shape, Window};

/// Words of unfolded maps that a training plan keeps from the forward to the backward pass: 256 MiB. What does not fit is unfolded again.
const KEPT_WORDS: u64 = 64 << 20;

/// What the backward pass of a convolution reads.
#[derive(Clone, Copy)]
pub(super) struct Convolution {
    /// The product over the unfolded maps, which are its x.
    pub(super) linear: Linear,
    pub(super) y: Tensor,
    pub(super) activation: Activation,
    input: Value,
    window: Window,
    channels: u32,
    map: [u32; 2],
    places: [u32; 2],
    /// Whether the unfolded maps are still there in the backward pass.
    kept: bool,
}

impl<'a> Builder<'a> {
    pub(super) fn layer(&mut self, layer: usize, kind: &'a Layer, x: Value, trace: &mut Vec<Trace>) -> Result<Value> {
        match kind {
            Layer::Pool(pool) => self.pool(layer, pool, x, trace),
            Layer::GlobalAveragePool => self.global_pool(layer, x, trace),
            Layer::Flatten => {
                let shape = self.network.shapes()?.swap_remove(layer);
                self.planar(layer, x, &shape, trace)
            }
            Layer::Activation(activation) => self.activation(&format!("activation.{layer}"), *activation, x, trace),
            Layer::Residual(residual) => self.residual(layer, residual, x, trace),
            Layer::LayerNorm(norm) => self.layer_norm(layer, norm, x, trace),
            Layer::Recurrent(recurrent) => self.recurrent(layer, recurrent, x, trace),
            Layer::Embedding(embedding) => self.embedding(layer, embedding, x, trace),
            Layer::Dense(_) | Layer::Dropout(_) | Layer::Conv2d(_) | Layer::BatchNorm(_) => {
                unreachable!("{} has pieces of its own", kind.name())
            }
        }
    }

    /// A convolution and an activation behind it.
    pub(super) fn convolution(
        &mut self,
        layer: usize,
        conv: &'a Conv2d,
        activation: Activation,
        x: Value,
        trace: &mut Vec<Trace>,
    ) -> Result<Value> {
        if conv.groups > 1 {
            return self.grouped(layer, conv, activation, x, trace);
        }
        let before = &self.network.shapes()?[layer];
        let (channels, map) = (before.0[0], before.map());
        let places = conv.window.places(map).expect("the network's shapes were checked");
        let (inputs, pixels) = (conv.window.kernel[0] * conv.window.kernel[1] * channels, places[0] * places[1]);
        let words = u64::from(self.plan.options.batch) * u64::from(pixels) * u64::from(4 * self.row_quads(inputs));
        let kept = matches!(self.plan.options.mode, Mode::Train(_)) && self.unfolded + words <= KEPT_WORDS;
        self.unfolded += if kept { words } else { 0 };
        let name = if kept { format!("unfolded.{layer}") } else { "unfolded".into() };
        let u = self.rows_of(&name, pixels, inputs)?;
        let (weight, bias) = self.weight_and_bias(layer, "")?;
        let sides = Sides::default();
        let linear = Linear { layer, x: u, weight, bias, inputs, outputs: conv.channels, sides, pixels, dropped: None };
        let nothing = Convolution { linear, y: u, activation, input: x, window: conv.window, channels, map, places, kept };
        self.unfold(&nothing);
        let fused = if activation == Activation::Gelu { Activation::Identity } else { activation };
        let (stored, y) = self.dense_forward(linear, activation, Epilogue { activation: fused, site: None })?;
        trace.push(Trace::Convolution(Convolution { y: stored, ..nothing }));
        Ok(Value { tensor: y, pixels, columns: conv.channels, steps: false })
    }

    /// Writes the unfolded maps.
    fn unfold(&mut self, conv: &Convolution) {
        let Convolution { linear: Linear { x: u, inputs, .. }, input, window, channels, map, places, .. } = *conv;
        let (row, words) = (self.row_quads(inputs), 4 * self.row_quads(input.columns));
        let planar = input.pixels == 1 && input.columns != channels;
        let layout = if planar { MapStrides::planar(words, map) } else { MapStrides::pixels(words, map) };
        let (x, params) = (input.tensor, UnfoldParams::unfold(&window, channels, map, places, layout, row));
        let params = UnfoldParams { read_stride: x.stride, write_stride: u.stride, ..params };
        match planar || !channels.is_multiple_of(4) {
            true => self.push(Unfold { params, x, u }),
            false => self.push(UnfoldQuads { params: params.of_quads(), x_quads: x, u }),
        }
    }

    /// The gradient of a convolution's weight from that of its output, before the activation; then, if it is wanted, that of its
    /// input, a row for each pixel. Gives `dy` back.
    pub(super) fn convolution_backward(&mut self, conv: &Convolution, dy: Value, wanted: bool) -> Result<Option<Value>> {
        let Convolution { linear, window, channels, map, places, kept, .. } = *conv;
        debug_assert_eq!((dy.pixels, dy.columns), (linear.pixels, linear.outputs), "the gradient of what came out");
        if !kept {
            self.unfold(conv);
        }
        self.weight_gradient(linear, dy.tensor)?;
        if !wanted {
            self.release(dy);
            return Ok(None);
        }
        // The unfolded maps have served; their gradient takes their place.
        let du = linear.x;
        let (matmul, params) = self.dense_params(None, (du, dy.tensor), linear);
        let (samples, weight) = (self.samples, linear.weight);
        // Without an epilogue nothing reads x; the weight is a matrix with rows of the same length.
        let kernel =
            DenseBackwardInput { matmul, params, epilogue: Epilogue::NONE, samples, x: weight, weight, dy: dy.tensor, dx: du };
        self.push_rows(linear.pixels, kernel);
        self.release(dy);
        let dx = self.gradient(map[0] * map[1], channels)?;
        let (u_row, row) = (self.row_quads(linear.inputs), self.row_quads(channels));
        let params = UnfoldParams::fold(&window, channels, map, places, u_row, row);
        let params = UnfoldParams { read_stride: du.stride, write_stride: dx.tensor.stride, ..params };
        match channels.is_multiple_of(4) {
            true => self.push(FoldQuads { params: params.of_quads(), du_quads: du, dx: dx.tensor }),
            false => self.push(Fold { params, du, dx: dx.tensor }),
        }
        // What goes into it may have been planar, as behind a layer norm; then so is its gradient.
        if (conv.input.pixels, conv.input.columns) != (dx.pixels, dx.columns) {
            return Ok(Some(self.turned_backward(Turned { map: [channels, map[0], map[1]], to_pixels: true }, dx)?));
        }
        Ok(Some(dx))
    }
}

/// Maps `[channels, height, width]` in the other layout.
#[derive(Clone, Copy)]
pub(super) struct Turned {
    map: [u32; 3],
    to_pixels: bool,
}

/// What the backward pass of a pool reads.
#[derive(Clone, Copy)]
pub(super) struct Pooled {
    params: PoolParams,
    channels: u32,
    /// Which element of each window was the largest; `None`: their mean.
    places: Option<Tensor>,
}

impl Builder<'_> {
    /// A row for each pixel, of maps of a shape.
    pub(super) fn pixels(&mut self, name: &str, x: Value, shape: &Shape, trace: &mut Vec<Trace>) -> Result<Value> {
        let x = if x.steps { self.joined(&format!("{name}.planar"), x, trace)? } else { x };
        let map = triple(shape);
        if x.pixels == map[1] * map[2] {
            return Ok(x);
        }
        let turned = Turned { map, to_pixels: true };
        let y = self.value(name, map[1] * map[2], map[0])?;
        self.turn(turned, x.tensor, y.tensor);
        trace.push(Trace::Turned(turned));
        Ok(y)
    }

    /// A row for each sample, of maps of a shape.
    pub(super) fn planar(&mut self, layer: usize, x: Value, shape: &Shape, trace: &mut Vec<Trace>) -> Result<Value> {
        if x.steps {
            return self.joined(&format!("planar.{layer}"), x, trace);
        }
        if x.pixels == 1 {
            return Ok(x);
        }
        let turned = Turned { map: triple(shape), to_pixels: false };
        let y = self.value(&format!("planar.{layer}"), 1, shape.elements())?;
        self.turn(turned, x.tensor, y.tensor);
        trace.push(Trace::Turned(turned));
        Ok(y)
    }

    fn turn(&mut self, Turned { map, to_pixels }: Turned, x: Tensor, y: Tensor) {
        let params = LayoutParams { x_stride: x.stride, y_stride: y.stride, ..LayoutParams::new(map, self.plans.row_words()) };
        match to_pixels {
            true => self.push(PlanarToPixels { params, x, y }),
            false => self.push(PixelsToPlanar { params, x, y }),
        }
    }

    pub(super) fn turned_backward(&mut self, turned: Turned, dy: Value) -> Result<Value> {
        let [channels, height, width] = turned.map;
        let dx = match turned.to_pixels {
            true => self.gradient(1, channels * height * width)?,
            false => self.gradient(height * width, channels)?,
        };
        self.turn(Turned { to_pixels: !turned.to_pixels, ..turned }, dy.tensor, dx.tensor);
        self.release(dy);
        Ok(dx)
    }

    pub(super) fn pool(&mut self, layer: usize, pool: &Pool2d, x: Value, trace: &mut Vec<Trace>) -> Result<Value> {
        let shape = self.network.shapes()?.swap_remove(layer);
        let x = self.pixels(&format!("pixels.{layer}"), x, &shape, trace)?;
        let params = PoolParams::new(triple(&shape), pool.window, self.plans.row_words());
        self.pooled(layer, (params, pool.kind), x, trace)
    }

    fn global_pool(&mut self, layer: usize, x: Value, trace: &mut Vec<Trace>) -> Result<Value> {
        let shape = self.network.shapes()?.swap_remove(layer);
        let x = self.pixels(&format!("pixels.{layer}"), x, &shape, trace)?;
        let params = PoolParams::global(triple(&shape), self.plans.row_words());
        self.pooled(layer, (params, PoolKind::Average), x, trace)
    }

    fn pooled(
        &mut self,
        layer: usize,
        (params, kind): (PoolParams, PoolKind),
        x: Value,
        trace: &mut Vec<Trace>,
    ) -> Result<Value> {
        let y = self.value(&format!("activation.{layer}"), params.out[0] * params.out[1], x.columns)?;
        let params = PoolParams { x_stride: x.tensor.stride, y_stride: y.tensor.stride, ..params };
        let channels = x.columns;
        let (x, y_tensor) = (x.tensor, y.tensor);
        let (params, places) = match kind {
            PoolKind::Max => {
                let words = u64::from(self.plan.options.batch) * u64::from(y.pixels) * u64::from(self.row_quads(channels));
                let places = self.tensor(&format!("places.{layer}"), words)?;
                let params = PoolParams { places_stride: places.stride, ..params };
                self.push(MaxPoolForward { params, x, y: y_tensor, places });
                (params, Some(places))
            }
            PoolKind::Average => {
                self.push(AveragePoolForward { params, x, y: y_tensor });
                (params, None)
            }
        };
        trace.push(Trace::Pooled(Pooled { params, channels, places }));
        Ok(y)
    }

    pub(super) fn pooled_backward(&mut self, Pooled { params, channels, places }: Pooled, dy: Value) -> Result<Value> {
        let dx = self.gradient(params.map[0] * params.map[1], channels)?;
        let params = PoolParams { x_stride: dx.tensor.stride, y_stride: dy.tensor.stride, ..params };
        match places {
            Some(won) => self.push(MaxPoolBackward { params, dy: dy.tensor, won, dx: dx.tensor }),
            None => self.push(AveragePoolBackward { params, dy: dy.tensor, dx: dx.tensor }),
        }
        self.release(dy);
        Ok(dx)
    }
}

/// Channels, height and width; of other shapes one channel-like axis after the other, as one map of a single row.
fn triple(shape: &Shape) -> [u32; 3] {
    match *shape.0.as_slice() {
        [channels, height, width] => [channels, height, width],
        _ => [shape.0[0], 1, shape.elements() / shape.0[0]],
    }
}
