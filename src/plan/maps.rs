//! Layers of feature maps: convolutions as products of matrices.

use super::Mode;
use super::build::{Builder, Linear, Value};
use super::forward::Trace;
use crate::Result;
use crate::kernels::dense::{DenseBackwardInput, Epilogue};
use crate::kernels::unfold::{Fold, FoldQuads, MapLayout, Unfold, UnfoldParams, UnfoldQuads};
use crate::kernels::units::Sides;
use crate::memory::Tensor;
use crate::network::{Activation, Conv2d, Layer, Window};

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

impl Builder<'_> {
    pub(super) fn layer(&mut self, layer: usize, kind: &Layer, x: Value, trace: &mut Vec<Trace>) -> Result<Value> {
        match kind {
            Layer::Conv2d(conv) => self.convolution(layer, conv, x, trace),
            other => todo!("{}", other.name()),
        }
    }

    fn convolution(&mut self, layer: usize, conv: &Conv2d, x: Value, trace: &mut Vec<Trace>) -> Result<Value> {
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
        let linear = Linear { layer, x: u, weight, bias, inputs, outputs: conv.channels, sides, pixels };
        let nothing =
            Convolution { linear, y: u, activation: conv.activation, input: x, window: conv.window, channels, map, places, kept };
        self.unfold(&nothing);
        let activation = if conv.activation == Activation::Gelu { Activation::Identity } else { conv.activation };
        let (stored, y) = self.dense_forward(linear, conv.activation, Epilogue { activation, site: None })?;
        trace.push(Trace::Convolution(Convolution { y: stored, ..nothing }));
        Ok(Value { tensor: y, pixels, columns: conv.channels })
    }

    /// Writes the unfolded maps.
    fn unfold(&mut self, conv: &Convolution) {
        let Convolution { linear: Linear { x: u, inputs, .. }, input, window, channels, map, places, .. } = *conv;
        let (row, words) = (self.row_quads(inputs), 4 * self.row_quads(input.columns));
        let planar = input.pixels == 1 && input.columns != channels;
        let layout = if planar { MapLayout::planar(words, map) } else { MapLayout::pixels(words, map) };
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
        Ok(Some(dx))
    }
}
