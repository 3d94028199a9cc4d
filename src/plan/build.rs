//! How a network becomes kernels: forward, loss, backward, update.

use std::collections::BTreeMap;

use super::{ALIGN, Caps, MetricTensors, Mode, Options, Plan, PlannedSite, Plans, SLOTS};
use crate::kernels::Kernel;
use crate::kernels::activation::{ActivationBackward, ActivationForward, ActivationParams, GeluBackward, GeluForward};
use crate::kernels::dense::{DenseBackwardBias, DenseBackwardInput, DenseBackwardWeight, DenseForward, DenseParams};
use crate::kernels::dropout::{DropoutBackward, DropoutForward, DropoutParams};
use crate::kernels::gather::{GatherF32, GatherParams, GatherU8};
use crate::kernels::loss::{CrossEntropy, CrossEntropyForward, LossParams};
use crate::kernels::metrics::{Metrics, MetricsParams};
use crate::kernels::output::{OutputParams, StoreOutput};
use crate::kernels::rows::{BatchRows, RowsParams};
use crate::kernels::scale::{Scale, ScaleParams};
use crate::kernels::targets::{BinaryCrossEntropy, BinaryCrossEntropyForward, SquaredError, SquaredErrorForward};
use crate::memory::{BufferId, Tensor};
use crate::network::{Activation, Dense, Layer, Loss, Network};
use crate::rng::{Shuffle, Stream};
use crate::{Error, Result};

/// Plans a network.
///
/// # Errors
/// A network or options that make no sense.
pub(super) fn plan(network: &Network, options: Options, plans: &mut Plans) -> Result<Plan> {
    check(network, &options, &plans.caps)?;
    let mut builder = Builder::new(network, options, plans)?;
    let trace = builder.forward()?;
    builder.loss(&trace)?;
    if let Mode::Train(training) = builder.plan.options.mode {
        builder.backward(&trace)?;
        builder.train(training)?;
    }
    Ok(builder.plan)
}

fn check(network: &Network, options: &Options, caps: &Caps) -> Result<()> {
    let bad = |option, value: String, problem: &str| Err(Error::Option { option, value, problem: problem.into() });
    let shapes = network.shapes()?;
    if shapes[0].0.len() != 1 {
        return Err(Error::Network {
            place: "network".into(),
            problem: format!("input shape {} has more than one axis, which no layer takes yet", shapes[0]),
        });
    }
    if options.batch == 0 {
        return bad("batch", "0".into(), "a batch has at least one row");
    }
    if options.members == 0 || options.members > caps.max_groups {
        return bad("members", options.members.to_string(), "at least 1, and at most the device's workgroups in one dimension");
    }
    if options.source.rows == 0 {
        return bad("rows", "0".into(), "the data set is empty");
    }
    if matches!(options.mode, Mode::Train(_)) && !options.source.labelled {
        return bad("source", options.source.name.clone(), "training needs labels");
    }
    Ok(())
}

/// What the backward pass needs to know of a layer's forward pass.
enum Trace {
    /// `f` is what the activation's derivative is taken from.
    Dense {
        layer: usize,
        x: Tensor,
        f: Tensor,
        inputs: u32,
        outputs: u32,
        activation: Activation,
    },
    Dropout {
        index: usize,
        units: u32,
    },
}

pub(super) struct Builder<'a> {
    pub(super) network: &'a Network,
    pub(super) plans: &'a mut Plans,
    pub(super) plan: Plan,
    /// Gradient buffers in turn: each backward kernel reads one and writes the other.
    turn: usize,
    output: Tensor,
}

impl<'a> Builder<'a> {
    fn new(network: &'a Network, options: Options, plans: &'a mut Plans) -> Result<Self> {
        let plan = Plan { options, kernels: Vec::new(), sites: Vec::new(), metrics: None, tensors: BTreeMap::new() };
        let nowhere = Tensor { buffer: BufferId(0), offset: 0, len: 0, stride: 0 };
        let mut builder = Self { network, plans, plan, turn: 0, output: nowhere };
        builder.parameters("weights", "")?;
        Ok(builder)
    }

    /// One buffer for a role (weights, gradients, a moment): every parameter at a 256-byte offset, member after member.
    pub(super) fn parameters(&mut self, role: &str, suffix: &str) -> Result<Tensor> {
        let mut layout = Vec::new();
        let mut words = 0u64;
        for parameter in self.network.parameters()? {
            let columns = u64::from(*parameter.shape.last().unwrap_or(&1)).next_multiple_of(4);
            let rows: u64 = parameter.shape[..parameter.shape.len() - 1].iter().map(|&n| u64::from(n)).product();
            layout.push((parameter.name, words, rows * columns));
            words += (rows * columns).next_multiple_of(ALIGN);
        }
        let whole = self.plans.tensor(role, words, self.plan.options.members)?;
        for (name, offset, len) in layout {
            let tensor = Tensor { offset: offset as u32, len: len as u32, ..whole };
            self.plan.tensors.insert(format!("{name}{suffix}"), tensor);
        }
        self.plan.tensors.insert(role.into(), whole);
        Ok(whole)
    }

    /// A tensor of this plan, one per member.
    pub(super) fn tensor(&mut self, name: &str, len: u64) -> Result<Tensor> {
        let tensor = self.plans.tensor(name, len, self.plan.options.members)?;
        self.plan.tensors.insert(name.into(), tensor);
        Ok(tensor)
    }

    /// A tensor of the data set, shared by all members.
    fn data(&mut self, what: &str, len: u64) -> Result<Tensor> {
        let name = format!("{}.{what}", self.plan.options.source.name);
        let tensor = self.plans.tensor(&name, len, 1)?;
        self.plan.tensors.insert(name, tensor);
        Ok(tensor)
    }

    /// `[batch, units]`, rows padded to quads.
    fn matrix(&mut self, name: &str, units: u32) -> Result<Tensor> {
        self.tensor(name, u64::from(self.plan.options.batch) * u64::from(units).next_multiple_of(4))
    }

    pub(super) fn named(&self, name: &str) -> Tensor {
        self.plan.tensor(name)
    }

    pub(super) fn push(&mut self, kernel: impl Kernel + 'static) {
        self.plan.kernels.push(Box::new(kernel));
    }

    /// The rows of the batch, then their values.
    fn gather(&mut self, columns: u32) -> Result<Tensor> {
        let Options { mode, batch, source, .. } = self.plan.options.clone();
        let (rows, samples) = (self.tensor("batch.rows", batch.into())?, self.tensor("batch.samples", batch.into())?);
        let ids = self.data("ids", source.rows.into())?;
        let params = RowsParams {
            rows: source.rows,
            half_bits: Shuffle::new(source.rows).half_bits,
            shuffled: u32::from(matches!(mode, Mode::Train(_))),
            rows_stride: rows.stride,
            samples_stride: samples.stride,
            ..RowsParams::default()
        };
        self.push(BatchRows { params, ids, rows, samples });

        let x = self.matrix("batch.x", columns)?;
        let quads = columns.div_ceil(4);
        let params = |scale| GatherParams { quads, scale, rows_stride: rows.stride, x_stride: x.stride };
        match source.byte_scale {
            Some(scale) => {
                let bytes = self.data("inputs", u64::from(source.rows) * u64::from(quads))?;
                self.push(GatherU8 { params: params(scale), rows, bytes, x });
            }
            None => {
                let values = self.data("inputs", u64::from(source.rows) * u64::from(4 * quads))?;
                self.push(GatherF32 { params: params(1.0), rows, values, x });
            }
        }
        Ok(x)
    }

    fn forward(&mut self) -> Result<Vec<Trace>> {
        let (shapes, sites) = (self.network.shapes()?, self.network.sites()?);
        let mut x = self.gather(shapes[0].0[0])?;
        let mut trace = Vec::new();
        let network = self.network;
        for (layer, kind) in network.layers.iter().enumerate() {
            let (inputs, outputs) = (shapes[layer].0[0], shapes[layer + 1].0[0]);
            match kind {
                Layer::Dense(dense) => {
                    let (f, y) = self.dense_forward(layer, dense, x, inputs)?;
                    trace.push(Trace::Dense { layer, x, f, inputs, outputs, activation: dense.activation });
                    x = y;
                }
                Layer::Dropout(dropout) => {
                    let training = matches!(self.plan.options.mode, Mode::Train(_));
                    let drops = dropout.keep.threshold() < 1 << 32 || self.plan.options.variable_rates;
                    if !training && dropout.eval_scale() != 1.0 {
                        let params =
                            ScaleParams { quads: inputs.div_ceil(4), factor: dropout.eval_scale(), y_stride: x.stride, pad0: 0 };
                        self.push(Scale { params, y: x });
                    }
                    if let (true, true, Some(site)) = (training, drops, sites[layer]) {
                        let index = self.plan.sites.len();
                        self.plan.sites.push(PlannedSite::new(layer, site, dropout, inputs));
                        x = self.dropout_forward(index, x, inputs)?;
                        trace.push(Trace::Dropout { index, units: inputs });
                    }
                }
            }
        }
        self.output = x;
        Ok(trace)
    }

    /// What the activation's derivative is taken from, and the output; they are the same tensor but for GELU.
    fn dense_forward(&mut self, layer: usize, dense: &Dense, x: Tensor, inputs: u32) -> Result<(Tensor, Tensor)> {
        let (weight, bias) = self.weight_and_bias(layer, "")?;
        let y = self.matrix(&format!("activation.{layer}"), dense.units)?;
        let z = match dense.activation {
            Activation::Gelu => self.matrix(&format!("preactivation.{layer}"), dense.units)?,
            _ => y,
        };
        let params = DenseParams {
            x_stride: x.stride,
            weight_stride: weight.stride,
            bias_stride: bias.stride,
            y_stride: z.stride,
            ..DenseParams::new(inputs, dense.units)
        };
        self.push(DenseForward { params, x, weight, bias, y: z });
        let params =
            ActivationParams { x_stride: z.stride, y_stride: y.stride, ..ActivationParams::new(dense.activation, dense.units) };
        match dense.activation {
            Activation::Identity => {}
            Activation::Gelu => self.push(GeluForward { params, x: z, y }),
            _ => self.push(ActivationForward { params, y }),
        }
        Ok((z, y))
    }

    fn weight_and_bias(&self, layer: usize, suffix: &str) -> Result<(Tensor, Tensor)> {
        let parameters = self.network.parameters()?;
        let mut names = parameters.iter().filter(|p| p.layer == layer).map(|p| format!("{}{suffix}", p.name));
        let mut next = || self.named(&names.next().expect("a dense layer has a weight and a bias"));
        Ok((next(), next()))
    }

    fn dropout_params(&self, index: usize, units: u32, samples: Tensor, input: Tensor, output: Tensor) -> DropoutParams {
        DropoutParams {
            samples_stride: samples.stride,
            in_stride: input.stride,
            out_stride: output.stride,
            // The padding of a row is dropped or kept like units: it is 0 either way.
            ..DropoutParams::new(units.next_multiple_of(4), Stream::TrainingMask, self.plan.sites[index].site)
        }
    }

    fn dropout_forward(&mut self, index: usize, x: Tensor, units: u32) -> Result<Tensor> {
        let samples = self.named("batch.samples");
        let y = self.matrix(&format!("activation.{}", self.plan.sites[index].layer), units)?;
        let params = self.dropout_params(index, units, samples, x, y);
        self.push(DropoutForward { params, site: index, samples, x, y });
        Ok(y)
    }

    /// Loss and hits of every row and their sums; in training also the gradient of the output, in gradient buffer 0.
    fn loss(&mut self, trace: &[Trace]) -> Result<()> {
        let Options { name, mode, batch, source, members, store_output, .. } = self.plan.options.clone();
        let (logits, classes) = (self.output, self.network.outputs()?);
        if store_output {
            let columns = u64::from(classes).next_multiple_of(4);
            let outputs = self.tensor(&format!("{name}.outputs"), u64::from(source.rows) * columns)?;
            let params =
                OutputParams { quads: classes.div_ceil(4), y_stride: logits.stride, outputs_stride: outputs.stride, pad0: 0 };
            self.push(StoreOutput { params, y: logits, outputs });
        }
        if !source.labelled {
            return Ok(());
        }
        let rows = self.named("batch.rows");
        let target_words = match self.network.loss {
            Loss::SoftmaxCrossEntropy => 1,
            Loss::BinaryCrossEntropy | Loss::MeanSquaredError => u64::from(classes).next_multiple_of(4),
        };
        let targets = self.data("targets", u64::from(source.rows) * target_words)?;
        let (loss, correct) = (self.tensor("batch.loss", batch.into())?, self.tensor("batch.correct", batch.into())?);
        let mut params = LossParams {
            classes,
            row_stride: classes.next_multiple_of(4),
            rows_stride: rows.stride,
            logits_stride: logits.stride,
            loss_stride: loss.stride,
            correct_stride: correct.stride,
            ..LossParams::default()
        };
        let gradient = match mode {
            Mode::Train(_) => Some(self.gradient(trace, classes)?),
            Mode::Eval => None,
        };
        params.dlogits_stride = gradient.map_or(0, |dlogits| dlogits.stride);
        match (self.network.loss, gradient) {
            (Loss::SoftmaxCrossEntropy, Some(dlogits)) => {
                self.push(CrossEntropy { params, rows, labels: targets, logits, loss, correct, dlogits });
            }
            (Loss::SoftmaxCrossEntropy, None) => {
                self.push(CrossEntropyForward { params, rows, labels: targets, logits, loss, correct });
            }
            (Loss::BinaryCrossEntropy, Some(dlogits)) => {
                self.push(BinaryCrossEntropy { params, rows, targets, logits, loss, correct, dlogits });
            }
            (Loss::BinaryCrossEntropy, None) => {
                self.push(BinaryCrossEntropyForward { params, rows, targets, logits, loss, correct });
            }
            (Loss::MeanSquaredError, Some(dlogits)) => {
                self.push(SquaredError { params, rows, targets, logits, loss, correct, dlogits });
            }
            (Loss::MeanSquaredError, None) => {
                self.push(SquaredErrorForward { params, rows, targets, logits, loss, correct });
            }
        }
        let losses = self.plans.tensor(&format!("{name}.losses"), SLOTS.into(), members)?;
        let hits = self.plans.tensor(&format!("{name}.hits"), SLOTS.into(), members)?;
        let params = MetricsParams {
            loss_stride: loss.stride,
            correct_stride: correct.stride,
            losses_stride: losses.stride,
            hits_stride: hits.stride,
        };
        self.push(Metrics { params, loss, correct, losses, hits });
        self.plan.metrics = Some(MetricTensors { losses, hits });
        Ok(())
    }

    /// The next gradient `[batch, units]`. Two buffers in turn serve all layers; each is as large as the widest needs.
    fn gradient(&mut self, trace: &[Trace], units: u32) -> Result<Tensor> {
        let widths = trace.iter().map(|t| match t {
            Trace::Dense { inputs, outputs, .. } => *inputs.max(outputs),
            Trace::Dropout { units, .. } => *units,
        });
        let widest = widths.max().unwrap_or(units).max(units);
        let name = ["gradient.a", "gradient.b"][self.turn];
        self.turn = 1 - self.turn;
        let whole = self.matrix(name, widest)?;
        Ok(Tensor { len: self.plan.options.batch * units.next_multiple_of(4), ..whole })
    }

    // CONTRACT: every kernel pushed here consumes the gradient that the one before it wrote. Guard: tests/gradients.rs.
    fn backward(&mut self, trace: &[Trace]) -> Result<()> {
        self.parameters("gradients", ".grad")?;
        // dlogits was the first of the two gradient buffers.
        let mut dy = Tensor { len: self.output.len, ..self.named("gradient.a") };
        let first = trace.iter().position(|t| matches!(t, Trace::Dense { .. })).unwrap_or(0);
        for (i, step) in trace.iter().enumerate().rev() {
            match *step {
                Trace::Dropout { .. } if i < first => {} // nothing before it is trained
                Trace::Dropout { index, units } => {
                    let (samples, dx) = (self.named("batch.samples"), self.gradient(trace, units)?);
                    let params = self.dropout_params(index, units, samples, dy, dx);
                    self.push(DropoutBackward { params, site: index, samples, dy, dx });
                    dy = dx;
                }
                Trace::Dense { layer, x, f, inputs, outputs, activation } => {
                    if activation != Activation::Identity {
                        let dx = self.gradient(trace, outputs)?;
                        let params = ActivationParams {
                            x_stride: f.stride,
                            y_stride: f.stride,
                            dy_stride: dy.stride,
                            dx_stride: dx.stride,
                            ..ActivationParams::new(activation, outputs)
                        };
                        match activation {
                            Activation::Gelu => self.push(GeluBackward { params, dy, x: f, dx }),
                            _ => self.push(ActivationBackward { params, dy, output: f, dx }),
                        }
                        dy = dx;
                    }
                    let dx = if i > first { Some(self.gradient(trace, inputs)?) } else { None };
                    self.dense_backward(layer, DenseParams::new(inputs, outputs), x, dy, dx)?;
                    dy = dx.unwrap_or(dy);
                }
            }
        }
        Ok(())
    }

    fn dense_backward(&mut self, layer: usize, shape: DenseParams, x: Tensor, dy: Tensor, dx: Option<Tensor>) -> Result<()> {
        let (weight, _) = self.weight_and_bias(layer, "")?;
        let (dweight, dbias) = self.weight_and_bias(layer, ".grad")?;
        let params = DenseParams {
            x_stride: x.stride,
            weight_stride: dweight.stride,
            bias_stride: dbias.stride,
            y_stride: dy.stride,
            ..shape
        };
        self.push(DenseBackwardWeight { params, x, dy, dweight });
        self.push(DenseBackwardBias { params, dy, dbias });
        if let Some(dx) = dx {
            let params = DenseParams { x_stride: dx.stride, weight_stride: weight.stride, ..params };
            self.push(DenseBackwardInput { params, weight, dy, dx });
        }
        Ok(())
    }
}
