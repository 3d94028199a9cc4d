//! Batch and layer normalisation.

use super::Mode;
use super::build::{Builder, Value};
use super::forward::Trace;
use crate::Result;
use crate::kernels::batch_norm::{BatchNormBackward, BatchNormForward, BatchNormParams};
use crate::kernels::batch_norm_statistics::{BatchNormFinish, BatchNormMoments, BatchNormStatistics, StatisticsParams};
use crate::kernels::columns::Parts;
use crate::kernels::layer_norm::{LayerNormBackward, LayerNormForward, LayerNormParams};
use crate::kernels::norm_gradients::{BatchNormGradients, LayerNormGradients, NormGradientsFinish, NormGradientsParams};
use crate::memory::Tensor;
use crate::network::{Activation, BatchNorm, LayerNorm};

/// What the backward pass of a normalisation reads.
#[derive(Clone, Copy)]
pub(super) struct Norm {
    layer: usize,
    x: Value,
    /// The output, after `activation`.
    pub(super) y: Tensor,
    pub(super) activation: Activation,
    moments: Tensor,
    /// Of a layer norm.
    epsilon: Option<f32>,
}

impl Builder<'_> {
    /// With the activation that follows it, which is none that has kernels of its own.
    pub(super) fn batch_norm(
        &mut self,
        layer: usize,
        norm: &BatchNorm,
        activation: Activation,
        x: Value,
        trace: &mut Vec<Trace>,
    ) -> Result<Value> {
        let shape = self.network.shapes()?.swap_remove(layer);
        let x = if shape.0.len() == 3 { self.pixels(&format!("pixels.{layer}"), x, &shape, trace)? } else { x };
        let moments = self.statistics(layer, norm, x)?;
        let y = self.value(&format!("activation.{layer}"), x.pixels, x.columns)?;
        let (weight, bias) = self.weight_and_bias(layer, "")?;
        let params = BatchNormParams {
            x_stride: x.tensor.stride,
            y_stride: y.tensor.stride,
            moments_stride: moments.stride,
            weight_stride: weight.stride,
            ..BatchNormParams::new(x.columns, self.plans.row_words())
        };
        let (x_tensor, y_tensor) = (x.tensor, y.tensor);
        self.push_rows(x.pixels, BatchNormForward { params, activation, x: x_tensor, moments, weight, bias, y: y_tensor });
        trace.push(Trace::Norm(Norm { layer, x, y: y.tensor, activation, moments, epsilon: None }));
        Ok(y)
    }

    /// Mean and 1 / sqrt(variance + epsilon): of the batch, which the running ones follow, or in evaluation the running ones.
    fn statistics(&mut self, layer: usize, norm: &BatchNorm, x: Value) -> Result<Tensor> {
        let parts = Parts::new(self.plan.options.batch * x.pixels, x.columns);
        let row = self.row_quads(x.columns);
        let params = StatisticsParams::new(x.columns, parts, row, [norm.epsilon as f32, norm.momentum as f32]);
        let moments = self.tensor(&format!("moments.{layer}"), params.moments().into())?;
        let [running_mean, running_var] = self.running(layer)?;
        let params = StatisticsParams {
            x_stride: x.tensor.stride,
            moments_stride: moments.stride,
            running_stride: running_mean.stride,
            ..params
        };
        if !matches!(self.plan.options.mode, Mode::Train(_)) {
            self.push(BatchNormMoments { params, mean: running_mean, variance: running_var, moments });
            return Ok(moments);
        }
        let partials = self.tensor("norm.partials", params.partials().into())?;
        let params = StatisticsParams { partials_stride: partials.stride, ..params };
        self.push_rows(x.pixels, BatchNormStatistics { params, x: x.tensor, partials });
        let finish = BatchNormFinish { params, x: x.tensor, parts: partials, moments, running_mean, running_var };
        self.push_rows(x.pixels, finish);
        Ok(moments)
    }

    /// The running mean and variance of a layer.
    fn running(&self, layer: usize) -> Result<[Tensor; 2]> {
        let parameters = self.network.parameters()?;
        let mut running = parameters.iter().filter(|parameter| parameter.layer == layer && !parameter.trained);
        let mut next = || self.named(&running.next().expect("a batch norm has a running mean and variance").name);
        Ok([next(), next()])
    }

    pub(super) fn layer_norm(&mut self, layer: usize, norm: &LayerNorm, x: Value, trace: &mut Vec<Trace>) -> Result<Value> {
        let shape = self.network.shapes()?.swap_remove(layer);
        let x = self.planar(layer, x, &shape, trace)?;
        let y = self.value(&format!("activation.{layer}"), 1, x.columns)?;
        let moments = self.tensor(&format!("moments.{layer}"), u64::from(2 * self.plan.options.batch))?;
        let (weight, bias) = self.weight_and_bias(layer, "")?;
        let epsilon = norm.epsilon as f32;
        let params = LayerNormParams {
            x_stride: x.tensor.stride,
            y_stride: y.tensor.stride,
            weight_stride: weight.stride,
            moments_stride: moments.stride,
            ..LayerNormParams::new(x.columns, self.plans.row_words(), epsilon)
        };
        let (x_tensor, y_tensor) = (x.tensor, y.tensor);
        self.push(LayerNormForward { params, x: x_tensor, weight, bias, y: y_tensor, moments });
        let activation = Activation::Identity;
        trace.push(Trace::Norm(Norm { layer, x, y: y.tensor, activation, moments, epsilon: Some(epsilon) }));
        Ok(y)
    }

    /// The gradients of weight and bias from that of the output, before the activation; then, if it is wanted, that of the input. Gives
    /// `dy` back.
    pub(super) fn norm_backward(&mut self, norm: &Norm, dy: Value, wanted: bool) -> Result<Option<Value>> {
        let Norm { layer, x, moments, epsilon, .. } = *norm;
        debug_assert_eq!((dy.pixels, dy.columns), (x.pixels, x.columns), "the gradient of what came out");
        let (dweight, dbias) = self.weight_and_bias(layer, ".grad")?;
        let (weight, _) = self.weight_and_bias(layer, "")?;
        let (bias_at, row_words) = ((dbias.offset - dweight.offset) / 4, self.plans.row_words());
        let gradient = Tensor { len: 4 * bias_at + dbias.len, ..dweight };
        let parts = Parts::new(self.plan.options.batch * x.pixels, x.columns);
        let params = NormGradientsParams {
            bias_at,
            x_stride: x.tensor.stride,
            dy_stride: dy.tensor.stride,
            moments_stride: moments.stride,
            gradient_stride: gradient.stride,
            ..NormGradientsParams::new(x.columns, parts, row_words)
        };
        let whole = parts.count == 1;
        let partials = if whole { gradient } else { self.tensor("norm.gradients", params.partials().into())? };
        let params = NormGradientsParams { partials_stride: partials.stride, ..params };
        let (x_tensor, dy_tensor) = (x.tensor, dy.tensor);
        match epsilon {
            None => self.push_rows(x.pixels, BatchNormGradients { params, x: x_tensor, dy: dy_tensor, moments, partials }),
            Some(_) => self.push(LayerNormGradients { params, x: x_tensor, dy: dy_tensor, row_moments: moments, partials }),
        }
        if !whole {
            self.push(NormGradientsFinish { params, parts: partials, gradient });
        }
        if !wanted {
            self.release(dy);
            return Ok(None);
        }
        let dx = self.gradient(x.pixels, x.columns)?;
        match epsilon {
            None => {
                let params = BatchNormParams {
                    bias_at,
                    x_stride: x.tensor.stride,
                    dy_stride: dy.tensor.stride,
                    dx_stride: dx.tensor.stride,
                    moments_stride: moments.stride,
                    weight_stride: weight.stride,
                    gradient_stride: gradient.stride,
                    ..BatchNormParams::new(x.columns, row_words)
                };
                let dx = dx.tensor;
                self.push_rows(x.pixels, BatchNormBackward { params, x: x_tensor, moments, weight, dy: dy_tensor, gradient, dx });
            }
            Some(epsilon) => {
                let params = LayerNormParams {
                    x_stride: x.tensor.stride,
                    dy_stride: dy.tensor.stride,
                    dx_stride: dx.tensor.stride,
                    weight_stride: weight.stride,
                    moments_stride: moments.stride,
                    ..LayerNormParams::new(x.columns, row_words, epsilon)
                };
                self.push(LayerNormBackward { params, x: x_tensor, weight, dy: dy_tensor, stored: moments, dx: dx.tensor });
            }
        }
        self.release(dy);
        Ok(Some(dx))
    }
}
