//! From the gradient to the new weights: accumulation, clipping, optimizer, max-norm.

use super::build::Builder;
use super::{ALIGN, Gradient, Training, Update};
use crate::Result;
use crate::kernels::gradients::{AccumulateGradients, ClipGradient, GradientNorm, GradientParams, PARTIALS};
use crate::kernels::max_norm::{MaxNorm, MaxNormParams};
use crate::kernels::optimizer::{Adam, OptimizerParams, RmsProp, Sgd};
use crate::memory::Tensor;
use crate::network::{Layer, Parameter};

impl Builder<'_> {
    /// What is left to do when the backward pass is done, which has updated the weights `at_once` or not at all.
    pub(super) fn train(&mut self, training: Training, at_once: bool) -> Result<()> {
        if at_once {
            return if training.max_norm { self.max_norm() } else { Ok(()) };
        }
        let gradient = match training.gradient {
            Gradient::Step => self.named("gradients"),
            Gradient::Accumulate | Gradient::Accumulated => self.accumulate()?,
        };
        if training.gradient == Gradient::Accumulate {
            return Ok(());
        }
        if training.clip_norm {
            self.clip(gradient)?;
        }
        self.update(training.update, gradient)?;
        if training.max_norm {
            self.max_norm()?;
        }
        Ok(())
    }

    /// The whole of the weights, in parts that fit a binding: (first word, words).
    fn parts(&self, whole: Tensor) -> Vec<(u32, u32)> {
        let others = u64::from(whole.stride) * u64::from(self.plan.options.members - 1);
        let room = (self.plans.caps.max_binding / 4).saturating_sub(others) / ALIGN * ALIGN;
        // Without room for any part the limits are checked, and named, on the whole.
        let chunk = if room == 0 { whole.len } else { u32::try_from(room).unwrap_or(u32::MAX).min(whole.len) };
        (0..whole.len.div_ceil(chunk)).map(|i| (i * chunk, chunk.min(whole.len - i * chunk))).collect()
    }

    /// Adds the gradient of the step to that of the steps before.
    fn accumulate(&mut self) -> Result<Tensor> {
        let gradients = self.named("gradients");
        let sum = self.parameters("gradient sums", ".sum")?;
        for (start, len) in self.parts(sum) {
            let params =
                GradientParams { quads: len / 4, dw_stride: gradients.stride, sum_stride: sum.stride, ..Default::default() };
            self.push(AccumulateGradients { params, dw: part(gradients, start, len), sum: part(sum, start, len) });
        }
        Ok(sum)
    }

    /// The norm of the whole gradient, then every part shortened by it.
    fn clip(&mut self, gradient: Tensor) -> Result<()> {
        let parts = self.parts(gradient);
        let count = PARTIALS * parts.len() as u32;
        let partials = self.tensor("gradient.partials", count.into())?;
        let params =
            |len| GradientParams { quads: len / 4, partials: count, dw_stride: gradient.stride, sum_stride: partials.stride };
        for (i, &(start, len)) in (0..).zip(&parts) {
            let (dw, partials) = (part(gradient, start, len), part(partials, i * PARTIALS, PARTIALS));
            self.push(GradientNorm { params: params(len), dw, partials });
        }
        for &(start, len) in &parts {
            self.push(ClipGradient { params: params(len), partials, dw: part(gradient, start, len) });
        }
        Ok(())
    }

    /// What the optimizer keeps of every weight: one number, or two.
    pub(super) fn optimizer_state(&mut self, update: Update) -> Result<(Tensor, Option<Tensor>)> {
        let moment1 = self.parameters("moment1", ".moment1")?;
        let moment2 = match update {
            Update::Adam | Update::RmsProp => Some(self.parameters("moment2", ".moment2")?),
            Update::Sgd => None,
        };
        Ok((moment1, moment2))
    }

    /// One dispatch over all weights, or several where they exceed the binding limit.
    fn update(&mut self, update: Update, gradient: Tensor) -> Result<()> {
        let whole = self.named("weights");
        let (moment1, moment2) = self.optimizer_state(update)?;
        for (start, len) in self.parts(whole) {
            let params = OptimizerParams { quads: len / 4, stride: whole.stride, pad0: 0, pad1: 0 };
            let part = |tensor| part(tensor, start, len);
            let (dw, w, m) = (part(gradient), part(whole), part(moment1));
            match (update, moment2.map(part)) {
                (Update::Adam, Some(v)) => self.push(Adam { params, dw, w, m, v }),
                (Update::RmsProp, Some(v)) => self.push(RmsProp { params, dw, w, m, v }),
                _ => self.push(Sgd { params, dw, w, m }),
            }
        }
        Ok(())
    }

    /// Shortens the rows of every weight; biases are free.
    fn max_norm(&mut self) -> Result<()> {
        let layers = self.network.walk();
        // The rows of a table are no weights into a unit.
        let into_units = |p: &Parameter| p.matrix && !matches!(layers[p.layer], Layer::Embedding(_));
        for parameter in self.network.parameters()?.into_iter().filter(into_units) {
            let weight = self.named(&parameter.name);
            let rows = parameter.device_rows();
            let params = MaxNormParams { quads: weight.len / rows / 4, rows, stride: weight.stride, ..Default::default() };
            self.push(MaxNorm { params, weight });
        }
        Ok(())
    }
}

fn part(tensor: Tensor, start: u32, len: u32) -> Tensor {
    Tensor { offset: tensor.offset + start, len, ..tensor }
}
