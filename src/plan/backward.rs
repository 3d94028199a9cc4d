//! The backward pass, and where the optimizer's step is a part of it.

use super::build::{Builder, Linear, Trace};
use super::{Gradient, Options, Training, Update};
use crate::Result;
use crate::kernels::activation::{ActivationBackward, ActivationParams, GeluBackward};
use crate::kernels::dense::{DenseBackwardInput, DenseBackwardWeight, DenseParams, DenseUpdate, Epilogue};
use crate::kernels::dropout::DropoutBackward;
use crate::kernels::splits::{SplitsParams, SumSplits};
use crate::kernels::units::Sides;
use crate::memory::Tensor;
use crate::network::Activation;

impl Builder<'_> {
    /// The next gradient `[batch, units]`. Two buffers in turn serve all layers; each is as large as the widest needs.
    pub(super) fn gradient(&mut self, trace: &[Trace], units: u32) -> Result<Tensor> {
        let widths = trace.iter().map(|t| match t {
            Trace::Dense { linear, .. } => linear.inputs.max(linear.outputs),
            Trace::Dropout { units, .. } => *units,
        });
        let widest = widths.max().unwrap_or(units).max(units);
        let name = ["gradient.a", "gradient.b"][self.turn];
        self.turn = 1 - self.turn;
        let whole = self.matrix(name, widest)?;
        Ok(Tensor { len: self.plan.options.batch * 4 * self.row_quads(units), ..whole })
    }

    /// Whether the weights can be updated as their gradient is made. Clipping and accumulation need the whole gradient first, and a
    /// large batch may be summed in parts.
    pub(super) fn updates_at_once(&self, training: Training, trace: &[Trace]) -> bool {
        let whole = training.gradient == Gradient::Step && !training.clip_norm && !self.plan.options.store_gradient;
        let fits = |step: &Trace| match *step {
            Trace::Dense { linear: Linear { inputs, outputs, .. }, .. } => {
                let Options { batch, members, .. } = self.plan.options;
                let matmul = self.plans.caps.matmul.for_layer(&self.plans.caps, [batch, inputs, outputs, members]);
                matmul.splits([outputs, inputs], batch).count == 1
            }
            Trace::Dropout { .. } => true,
        };
        whole && trace.iter().all(fits)
    }

    // CONTRACT: every kernel pushed here consumes the gradient that the one before it wrote. Guard: tests/gradients.rs.
    pub(super) fn backward(&mut self, trace: &[Trace], training: Training, at_once: bool) -> Result<()> {
        match at_once {
            true => drop(self.optimizer_state(training.update)?),
            false => drop(self.parameters("gradients", ".grad")?),
        }
        // dlogits was the first of the two gradient buffers.
        let mut dy = Tensor { len: self.output.len, ..self.named("gradient.a") };
        let first = trace.iter().position(|t| matches!(t, Trace::Dense { .. })).unwrap_or(0);
        // Whether dy is the gradient with respect to what the layer's epilogue was applied to.
        let mut undone = false;
        for (i, step) in trace.iter().enumerate().rev() {
            match *step {
                Trace::Dropout { .. } if i < first => {} // nothing before it is trained
                Trace::Dropout { index, units } => {
                    let (samples, dx) = (self.named("batch.samples"), self.gradient(trace, units)?);
                    let params = self.dropout_params(index, units, samples, dy, dx);
                    self.push(DropoutBackward { params, site: self.site_mask(index), samples, dy, dx });
                    dy = dx;
                }
                Trace::Dense { linear, y, activation, epilogue } => {
                    if !undone && activation != Activation::Identity {
                        debug_assert!(epilogue.site.is_none(), "fused dropout is undone by the layer behind it");
                        dy = self.activation_backward(trace, activation, linear.outputs, (dy, y))?;
                    }
                    let before = i.checked_sub(1).and_then(|before| trace.get(before));
                    let epilogue = match before {
                        Some(Trace::Dense { epilogue, .. }) => *epilogue,
                        _ => Epilogue::NONE,
                    };
                    undone = matches!(before, Some(Trace::Dense { activation, .. }) if *activation != Activation::Gelu);
                    let dx = match i > first {
                        true => Some(self.input_gradient(trace, linear, dy, epilogue)?),
                        false => None,
                    };
                    match at_once {
                        true => self.weight_update(linear, dy, training)?,
                        false => self.weight_gradient(linear, dy)?,
                    }
                    dy = dx.unwrap_or(dy);
                }
            }
        }
        Ok(())
    }

    fn activation_backward(
        &mut self,
        trace: &[Trace],
        activation: Activation,
        units: u32,
        (dy, y): (Tensor, Tensor),
    ) -> Result<Tensor> {
        let dx = self.gradient(trace, units)?;
        let params = ActivationParams {
            x_stride: y.stride,
            y_stride: y.stride,
            dy_stride: dy.stride,
            dx_stride: dx.stride,
            ..ActivationParams::new(activation, units, self.plans.row_words())
        };
        match activation {
            Activation::Gelu => self.push(GeluBackward { params, dy, x: y, dx }),
            _ => self.push(ActivationBackward { params, dy, output: y, dx }),
        }
        Ok(dx)
    }

    /// The gradient with respect to what `epilogue` made the layer's input of.
    fn input_gradient(&mut self, trace: &[Trace], linear: Linear, dy: Tensor, epilogue: Epilogue) -> Result<Tensor> {
        let dx = self.gradient(trace, linear.inputs)?;
        let (matmul, params) = self.dense_params(epilogue.site, (dx, dy), linear);
        let (samples, Linear { x, weight, .. }) = (self.named("batch.samples"), linear);
        let params = DenseParams { stored_stride: x.stride, ..params };
        self.push(DenseBackwardInput { matmul, params, epilogue, samples, x, weight, dy, dx });
        Ok(dx)
    }

    fn weight_gradient(&mut self, linear: Linear, dy: Tensor) -> Result<()> {
        let thinned = linear.sides != Sides::default();
        let target = match thinned {
            true => self.compact("gradients", linear)?,
            false => {
                let (weight, bias) = self.weight_and_bias(linear.layer, ".grad")?;
                Linear { weight, bias, ..linear }
            }
        };
        self.gradient_of(target, dy)?;
        if thinned { self.scatter(target) } else { Ok(()) }
    }

    /// The gradient of a layer's weight and bias into the tensors that stand for them.
    fn gradient_of(&mut self, linear: Linear, dy: Tensor) -> Result<()> {
        let (x, gradient) = (linear.x, span(linear.weight, linear.bias));
        let (matmul, params) = self.dense_params(None, (x, dy), linear);
        let parts = matmul.splits([linear.outputs, linear.inputs], self.plan.options.batch);
        if parts.count == 1 {
            self.push(DenseBackwardWeight { matmul, params, x, dy, gradient });
            return Ok(());
        }
        let (quads, splits) = (gradient.len / 4, parts.count);
        let partials = self.tensor("gradient.splits", u64::from(4 * quads) * u64::from(splits))?;
        let part = Tensor { len: gradient.len * splits, ..partials };
        let (split_rows, weight_stride) = (parts.rows, partials.stride);
        let params = DenseParams { splits, split_rows, split_quads: quads, weight_stride, ..params };
        self.push(DenseBackwardWeight { matmul, params, x, dy, gradient: part });
        let params = SplitsParams { quads, splits, partials_stride: partials.stride, gradient_stride: gradient.stride };
        self.push(SumSplits { params, partials: part, gradient });
        Ok(())
    }

    /// SGD keeps one number for each weight; what is bound in place of the other is not touched.
    pub(super) fn nothing(&mut self) -> Result<Tensor> {
        self.tensor("nothing", 64)
    }

    fn weight_update(&mut self, linear: Linear, dy: Tensor, training: Training) -> Result<()> {
        if linear.sides != Sides::default() {
            let gradient = self.compact("gradients", linear)?;
            self.gradient_of(gradient, dy)?;
            return self.thinned_update(gradient, training.update);
        }
        let role = |suffix: &str| self.weight_and_bias(linear.layer, suffix).map(|(weight, bias)| span(weight, bias));
        let (w, m) = (role("")?, role(".moment1")?);
        let v = match training.update {
            Update::Sgd => self.nothing()?,
            Update::Adam | Update::RmsProp => role(".moment2")?,
        };
        let x = linear.x;
        let (matmul, params) = self.dense_params(None, (x, dy), linear);
        self.push(DenseUpdate { matmul, params, update: training.update, x, dy, w, m, v });
        Ok(())
    }
}

/// A weight and the bias behind it as one tensor.
fn span(weight: Tensor, bias: Tensor) -> Tensor {
    Tensor { len: bias.offset + bias.len - weight.offset, ..weight }
}
