//! Convolutions in groups, each output channel over some of the input channels alone: computed directly.

use super::build::{Builder, Value};
use super::forward::Trace;
use crate::Result;
use crate::kernels::grouped::{GroupedBackwardInput, GroupedBackwardWeight, GroupedForward, GroupedParams};
use crate::memory::Tensor;
use crate::network::{Activation, Conv2d};

/// What the backward pass of a convolution in groups reads.
#[derive(Clone, Copy)]
pub(super) struct Grouped {
    layer: usize,
    params: GroupedParams,
    x: Value,
    pub(super) y: Tensor,
    pub(super) activation: Activation,
}

impl<'a> Builder<'a> {
    pub(super) fn grouped(
        &mut self,
        layer: usize,
        conv: &'a Conv2d,
        activation: Activation,
        x: Value,
        trace: &mut Vec<Trace>,
    ) -> Result<Value> {
        let shape = self.network.shapes()?.swap_remove(layer);
        let x = self.pixels(&format!("pixels.{layer}"), x, &shape, trace)?;
        let [height, width] = shape.map();
        let params = GroupedParams::new(conv, [shape.0[0], height, width], self.plans.row_words());
        let gelu = activation == Activation::Gelu;
        let name = format!("{}.{layer}", if gelu { "preactivation" } else { "activation" });
        let y = self.value(&name, params.out[0] * params.out[1], conv.channels)?;
        let (weight, bias) = self.weight_and_bias(layer, "")?;
        let (x_stride, y_stride, weight_stride, bias_stride) = (x.tensor.stride, y.tensor.stride, weight.stride, bias.stride);
        let params = GroupedParams { x_stride, y_stride, weight_stride, bias_stride, ..params };
        let fused = if gelu { Activation::Identity } else { activation };
        let (x_tensor, y_tensor) = (x.tensor, y.tensor);
        self.push(GroupedForward { params, activation: fused, x: x_tensor, weight, bias, y: y_tensor });
        trace.push(Trace::Grouped(Grouped { layer, params, x, y: y.tensor, activation }));
        match gelu {
            true => Ok(Value { tensor: self.gelu_forward(&format!("activation.{layer}"), y)?, ..y }),
            false => Ok(y),
        }
    }

    /// As that of other convolutions.
    pub(super) fn grouped_backward(&mut self, grouped: &Grouped, dy: Value, wanted: bool) -> Result<Option<Value>> {
        let Grouped { layer, x, .. } = *grouped;
        let ((dweight, dbias), (weight, _)) = (self.weight_and_bias(layer, ".grad")?, self.weight_and_bias(layer, "")?);
        let (y_stride, weight_stride, bias_stride) = (dy.tensor.stride, dweight.stride, dbias.stride);
        let params = GroupedParams { y_stride, weight_stride, bias_stride, ..grouped.params };
        let (dy_tensor, x_in) = (dy.tensor, x.tensor);
        self.push(GroupedBackwardWeight { params, dy: dy_tensor, x_in, dweight, dbias });
        let dx = match wanted {
            false => None,
            true => {
                let dx = self.gradient(x.pixels, x.columns)?;
                let params = GroupedParams { x_stride: dx.tensor.stride, weight_stride: weight.stride, ..params };
                self.push(GroupedBackwardInput { params, dy: dy_tensor, weight, dx: dx.tensor });
                Some(dx)
            }
        };
        self.release(dy);
        Ok(dx)
    }
}
