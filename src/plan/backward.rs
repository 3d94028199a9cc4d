//! The backward pass, and where the optimizer's step is a part of it.

use super::build::{Builder, Linear, Value};
use super::forward::Trace;
use super::{Gradient, Training, Update};
use crate::Result;
use crate::kernels::activation::{ActivationBackward, ActivationParams, GeluBackward};
use crate::kernels::dense::{DenseBackwardInput, DenseBackwardWeight, DenseParams, DenseUpdate, Epilogue};
use crate::kernels::dropout::DropoutBackward;
use crate::kernels::splits::{SplitsParams, SumSplits};
use crate::kernels::units::Sides;
use crate::memory::Tensor;
use crate::network::Activation;

impl Builder<'_> {
    /// A gradient `[batch * pixels, columns]` in a buffer that is not in use.
    pub(super) fn gradient(&mut self, pixels: u32, columns: u32) -> Result<Value> {
        let slot = self.gradients.iter().position(|&readers| readers == 0).unwrap_or(self.gradients.len());
        self.gradients.resize(self.gradients.len().max(slot + 1), 0);
        self.gradients[slot] = 1;
        self.value(&gradient_name(slot), pixels, columns)
    }

    /// A reader has read the gradient for the last time.
    pub(super) fn release(&mut self, gradient: Value) {
        let slot = self.slot(gradient);
        debug_assert!(self.gradients[slot] > 0, "a gradient is released by each of its readers");
        self.gradients[slot] -= 1;
    }

    /// The gradient has another reader.
    pub(super) fn retain(&mut self, gradient: Value) {
        let slot = self.slot(gradient);
        self.gradients[slot] += 1;
    }

    fn slot(&self, gradient: Value) -> usize {
        let mut slots =
            (0..self.gradients.len()).filter(|&slot| self.named(&gradient_name(slot)).buffer == gradient.tensor.buffer);
        slots.next().expect("gradients are in buffers of their own")
    }

    /// Whether the weights can be updated as their gradient is made. Clipping and accumulation need the whole gradient first, and a
    /// large batch may be summed in parts.
    pub(super) fn updates_at_once(&self, training: Training, trace: &[Trace]) -> bool {
        let whole = training.gradient == Gradient::Step && !training.clip_norm && !self.plan.options.store_gradient;
        let fits = |step: &Trace| match *step {
            Trace::Dense { linear, .. } => {
                linear.dropped.is_none()
                    && self.matmul(linear).splits([linear.outputs, linear.inputs], self.plan.options.batch).count == 1
            }
            Trace::Dropout { .. } => true,
            Trace::Pooled(_) | Trace::Turned(_) | Trace::Stepped(_) | Trace::Activation(..) => true,
            Trace::MapDropout(ref dropout) => !dropout.is_learned(),
            Trace::Convolution(_) | Trace::Grouped(_) | Trace::Residual(_) | Trace::Norm(_) => false,
            Trace::Recurrent(_) | Trace::Embedding(_) => false,
        };
        whole && trace.iter().all(fits)
    }

    /// From `dlogits`, the gradient of the output.
    pub(super) fn backward(&mut self, trace: &[Trace], dlogits: Value, training: Training, at_once: bool) -> Result<()> {
        match at_once {
            true => drop(self.optimizer_state(training.update)?),
            false => drop(self.parameters("gradients", ".grad")?),
        }
        self.at_once = at_once.then_some(training);
        self.sequence_backward(trace, dlogits, false)?;
        Ok(())
    }

    // CONTRACT: every kernel pushed here consumes the gradient that the one before it wrote. Guard: tests/gradients.rs.
    /// The gradient of what goes into a sequence, if it is wanted, from that of what comes out. Gives `dy` back.
    pub(super) fn sequence_backward(&mut self, trace: &[Trace], mut dy: Value, wanted: bool) -> Result<Option<Value>> {
        let first = if wanted { 0 } else { trace.iter().position(Trace::is_trained).unwrap_or(trace.len()) };
        // Whether dy is the gradient with respect to what the layer's epilogue was applied to.
        let mut undone = false;
        for (i, step) in trace.iter().enumerate().skip(first).rev() {
            let wanted = wanted || i > first;
            let was_undone = std::mem::take(&mut undone);
            let dx = match *step {
                Trace::Dropout { index, units } => {
                    let dx = self.gradient(1, units)?;
                    let params = self.dropout_params(index, units, self.samples, dy.tensor, dx.tensor);
                    let (site, samples) = (self.site_mask(index), self.samples);
                    self.push(DropoutBackward { params, site, samples, dy: dy.tensor, dx: dx.tensor });
                    self.release(dy);
                    Some(dx)
                }
                Trace::Dense { linear, y, activation, epilogue } => {
                    if !was_undone {
                        debug_assert!(epilogue.site.is_none(), "fused dropout is undone by the layer behind it");
                        dy = self.activation_backward(activation, dy, y)?;
                    }
                    let before = i.checked_sub(1).and_then(|before| trace.get(before));
                    let epilogue = match before {
                        Some(Trace::Dense { epilogue, .. }) => *epilogue,
                        _ => Epilogue::NONE,
                    };
                    undone = matches!(before, Some(Trace::Dense { activation, .. }) if *activation != Activation::Gelu);
                    let dx = match wanted {
                        true => Some(self.input_gradient(linear, dy, epilogue)?),
                        false => None,
                    };
                    match self.at_once {
                        Some(training) => self.weight_update(linear, dy.tensor, training)?,
                        None => self.weight_gradient(linear, dy.tensor)?,
                    }
                    self.release(dy);
                    dx
                }
                Trace::Convolution(ref conv) => {
                    let dy = self.activation_backward(conv.activation, dy, conv.y)?;
                    self.convolution_backward(conv, dy, wanted)?
                }
                Trace::Grouped(ref grouped) => {
                    let dy = self.activation_backward(grouped.activation, dy, grouped.y)?;
                    self.grouped_backward(grouped, dy, wanted)?
                }
                Trace::Pooled(pooled) => Some(self.pooled_backward(pooled, dy)?),
                Trace::Turned(turned) => Some(self.turned_backward(turned, dy)?),
                Trace::Activation(activation, y) => Some(self.activation_backward(activation, dy, y)?),
                Trace::MapDropout(ref dropout) => Some(self.map_dropout_backward(dropout, dy)?),
                Trace::Norm(ref norm) => {
                    let dy = self.activation_backward(norm.activation, dy, norm.y)?;
                    self.norm_backward(norm, dy, wanted)?
                }
                Trace::Residual(ref residual) => self.residual_backward(residual, dy, wanted)?,
                Trace::Stepped(stepped) => Some(self.stepped_backward(stepped, dy)?),
                Trace::Recurrent(ref recurrent) => self.recurrent_backward(recurrent, dy, wanted)?,
                Trace::Embedding(embedding) => {
                    debug_assert!(!wanted, "nothing in front of an embedding learns");
                    self.embedding_backward(embedding, dy)?;
                    None
                }
            };
            match dx {
                Some(dx) => dy = dx,
                None => return Ok(None),
            }
        }
        if wanted {
            return Ok(Some(dy));
        }
        self.release(dy);
        Ok(None)
    }

    /// The gradient with respect to what an activation was applied to, from its output, for GELU from its input. Gives `dy` back.
    pub(super) fn activation_backward(&mut self, activation: Activation, dy: Value, y: Tensor) -> Result<Value> {
        if activation == Activation::Identity {
            return Ok(dy);
        }
        let dx = self.gradient(dy.pixels, dy.columns)?;
        let params = ActivationParams {
            x_stride: y.stride,
            y_stride: y.stride,
            dy_stride: dy.tensor.stride,
            dx_stride: dx.tensor.stride,
            ..ActivationParams::new(activation, dy.columns, self.plans.row_words())
        };
        let (pixels, dy_tensor) = (dy.pixels, dy.tensor);
        match activation {
            Activation::Gelu => self.push_rows(pixels, GeluBackward { params, dy: dy_tensor, x: y, dx: dx.tensor }),
            _ => self.push_rows(pixels, ActivationBackward { params, dy: dy_tensor, output: y, dx: dx.tensor }),
        }
        self.release(dy);
        Ok(dx)
    }

    /// The gradient with respect to what `epilogue` made the layer's input of.
    fn input_gradient(&mut self, linear: Linear, dy: Value, epilogue: Epilogue) -> Result<Value> {
        let dx = self.gradient(1, linear.inputs)?;
        let (matmul, params) = self.dense_params(epilogue.site, (dx.tensor, dy.tensor), linear);
        let (samples, Linear { x, weight, .. }) = (self.samples, linear);
        let params = DenseParams { stored_stride: x.stride, ..params };
        self.push(DenseBackwardInput { matmul, params, epilogue, samples, x, weight, dy: dy.tensor, dx: dx.tensor });
        Ok(dx)
    }

    pub(super) fn weight_gradient(&mut self, linear: Linear, dy: Tensor) -> Result<()> {
        let thinned = linear.sides != Sides::default();
        let target = match thinned {
            true => self.compact("gradients", linear)?,
            false => {
                let (weight, bias) = self.weight_and_bias(linear.layer, ".grad")?;
                Linear { weight, bias, ..linear }
            }
        };
        self.gradient_of(target, dy)?;
        if let Some(index) = linear.dropped {
            self.drop_weight_gradient(index, target);
        }
        if thinned { self.scatter(target) } else { Ok(()) }
    }

    /// The gradient of a layer's weight and bias into the tensors that stand for them.
    pub(super) fn gradient_of(&mut self, linear: Linear, dy: Tensor) -> Result<()> {
        let (x, gradient, pixels) = (linear.x, span(linear.weight, linear.bias), linear.pixels);
        let (matmul, params) = self.dense_params(None, (x, dy), linear);
        let parts = matmul.splits([linear.outputs, linear.inputs], self.plan.options.batch * pixels);
        if parts.count == 1 {
            self.push_rows(pixels, DenseBackwardWeight { matmul, params, x, dy, gradient });
            return Ok(());
        }
        let (quads, splits) = (gradient.len / 4, parts.count);
        let partials = self.tensor("gradient.splits", u64::from(4 * quads) * u64::from(splits))?;
        let part = Tensor { len: gradient.len * splits, ..partials };
        let (split_rows, weight_stride) = (parts.rows, partials.stride);
        let params = DenseParams { splits, split_rows, split_quads: quads, weight_stride, ..params };
        self.push_rows(pixels, DenseBackwardWeight { matmul, params, x, dy, gradient: part });
        let params = SplitsParams::new(&params, partials.stride, gradient.stride);
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

fn gradient_name(slot: usize) -> String {
    format!("gradient.{slot}")
}

/// A weight and the bias behind it as one tensor.
fn span(weight: Tensor, bias: Tensor) -> Tensor {
    Tensor { len: bias.offset + bias.len - weight.offset, ..weight }
}
