//! From a network to kernels: the only place that knows which kernel follows which.
//!
//! [`Plans`] holds one table of buffers and any number of plans over it, so that training and evaluation share weights and
//! data. A [`Plan`] is plain data and touches no GPU: the executors of `gpu` and `cpu` run the same one.
//!
//! Invariants: dropout is absent from an evaluation plan, not switched off; no kernel reads and writes the same buffer
//! through two bindings; every matrix row is padded with zeros to a multiple of four columns, and stays so.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::kernels::activation::{ActivationBackward, ActivationForward, ActivationParams};
use crate::kernels::dense::{DenseBackwardBias, DenseBackwardInput, DenseBackwardWeight, DenseForward, DenseParams};
use crate::kernels::dropout::{DropoutBackward, DropoutForward, DropoutParams};
use crate::kernels::gather::{GatherF32, GatherParams, GatherU8};
use crate::kernels::loss::{CrossEntropy, CrossEntropyForward, LossParams};
use crate::kernels::metrics::{Metrics, MetricsParams};
use crate::kernels::optimizer::{Adam, OptimizerParams, Sgd};
use crate::kernels::output::{OutputParams, StoreOutput};
use crate::kernels::rows::{BatchRows, RowsParams};
use crate::kernels::{Kernel, MAX_GROUPS};
use crate::memory::{BufferId, Tensor};
use crate::network::{Activation, Dense, KeepProb, Layer, Network};
use crate::rng::{Shuffle, Stream};
use crate::step::RowLayout;
use crate::{Error, Result};

/// What a device can do, as plain data: printable, and made by hand in tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Caps {
    /// The adapter's name.
    pub adapter: String,
    /// `Vulkan`, `Metal`, `Dx12` ... or `twins`.
    pub backend: String,
    /// Whether it is a software adapter.
    pub software: bool,
    /// Largest buffer in bytes.
    pub max_buffer: u64,
    /// Largest storage binding in bytes.
    pub max_binding: u64,
    /// Storage buffers a kernel may bind.
    pub max_storage_buffers: u32,
    /// Invocations a workgroup may have.
    pub max_invocations: u32,
    /// Workgroups in one dimension of a dispatch.
    pub max_groups: u32,
    /// Workgroup memory in bytes.
    pub workgroup_memory: u32,
    /// Smallest and largest subgroup size; 0 where the device has no subgroup operations.
    pub subgroups: (u32, u32),
}

impl Caps {
    /// The least that WebGPU guarantees, which every kernel of the baseline fits into.
    pub fn baseline() -> Self {
        Self {
            adapter: "WebGPU baseline".into(),
            backend: "none".into(),
            software: false,
            max_buffer: 256 << 20,
            max_binding: 128 << 20,
            max_storage_buffers: 8,
            max_invocations: 256,
            max_groups: MAX_GROUPS,
            workgroup_memory: 16 << 10,
            subgroups: (0, 0),
        }
    }
}

/// What a plan does. There is no default: dropout is never on in evaluation by accident, nor off in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// Shuffled rows, dropout, loss, backward, optimizer.
    Train(Update),
    /// Rows in order, no dropout, deterministic.
    Eval,
}

/// Which optimizer kernel updates the weights; its scalars are in the step table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Update {
    /// SGD with momentum.
    Sgd,
    /// Adam.
    Adam,
}

/// The data set that a plan draws its batches from. Plans whose sources have one name share its buffers.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Name of the data set.
    pub name: String,
    /// Number of rows.
    pub rows: u32,
    /// `Some(scale)`: bytes, scaled when gathered; `None`: f32.
    pub byte_scale: Option<f32>,
    /// Whether there are labels, so that loss and hits can be computed.
    pub labelled: bool,
}

/// How to plan a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Name of the plan; its metrics and outputs are named after it.
    pub name: String,
    /// Training or evaluation.
    pub mode: Mode,
    /// Rows of a batch.
    pub batch: u32,
    /// How many networks run at once, each with its own weights, key and rates.
    pub members: u32,
    /// Where the batches come from.
    pub source: Source,
    /// Whether rates differ from the network's by step or member, so that a site at keep_prob 1 has its kernels too.
    pub variable_rates: bool,
    /// Whether the output of every row is stored.
    pub store_output: bool,
}

/// A buffer of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BufferSpec {
    /// Its name, unique in the program.
    pub name: String,
    /// Its length in 32-bit words.
    pub words: u32,
}

/// Slots for the metrics of as many epochs in a row.
pub const SLOTS: u32 = 256;

/// Running sums of the loss and of correct rows, by slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricTensors {
    /// Sums of the row losses, f32.
    pub losses: Tensor,
    /// Counts of correct rows, u32.
    pub hits: Tensor,
}

/// A dropout site that a plan draws masks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlannedSite {
    /// The layer.
    pub layer: usize,
    /// The site of the mask contract.
    pub site: u32,
    /// The network's rate.
    pub keep: KeepProb,
}

/// Kernels in order, with everything they read and write.
#[derive(Debug)]
pub struct Plan {
    /// As in [`Options`].
    pub options: Options,
    /// One dispatch each, in order.
    pub kernels: Vec<Box<dyn Kernel>>,
    /// The dropout sites, in the order of [`crate::step::Section::Site`].
    pub sites: Vec<PlannedSite>,
    /// Where the metrics are added up, if the source is labelled.
    pub metrics: Option<MetricTensors>,
    /// Named tensors: `0.weight`, `0.weight.grad`, `activation.1`, `train.labels` ...
    pub tensors: BTreeMap<String, Tensor>,
}

impl Plan {
    /// How a step of this plan lies in the step table.
    pub fn row_layout(&self) -> RowLayout {
        RowLayout { members: self.options.members, sites: self.sites.len() as u32 }
    }

    /// A tensor by name.
    ///
    /// # Panics
    /// If the plan has none of that name.
    pub fn tensor(&self, name: &str) -> Tensor {
        *self.tensors.get(name).unwrap_or_else(|| panic!("plan {} has no tensor {name}", self.options.name))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { name, mode, batch, members, .. } = &self.options;
        writeln!(f, "plan {name}: {mode:?}, batch {batch}, members {members}, {} dispatches", self.kernels.len())?;
        for kernel in &self.kernels {
            let [x, y] = kernel.grid();
            writeln!(f, "  {:22} {x} x {y} x {members}", kernel.entry().name)?;
        }
        Ok(())
    }
}

/// Plans over one table of buffers.
#[derive(Debug)]
pub struct Plans {
    /// What the device can do.
    pub caps: Caps,
    /// The buffers, by [`BufferId`].
    pub buffers: Vec<BufferSpec>,
    /// The plans, in the order they were added.
    pub plans: Vec<Plan>,
}

impl Plans {
    /// No plans yet.
    pub fn new(caps: Caps) -> Self {
        Self { caps, buffers: Vec::new(), plans: Vec::new() }
    }

    /// Plans a network and returns the plan's number.
    ///
    /// # Errors
    /// A network or options that make no sense, or that do not fit the device.
    pub fn add(&mut self, network: &Network, options: Options) -> Result<usize> {
        check(network, &options, &self.caps)?;
        let mut builder = Builder::new(network, options, self)?;
        let trace = builder.forward()?;
        builder.loss(&trace)?;
        if let Mode::Train(optimizer) = builder.plan.options.mode {
            builder.backward(&trace)?;
            builder.update(optimizer)?;
        }
        let plan = builder.plan;
        self.check_limits(&plan)?;
        self.plans.push(plan);
        Ok(self.plans.len() - 1)
    }

    /// Adds a hand-made plan, as tests of single kernels do.
    pub fn push(&mut self, plan: Plan) -> usize {
        self.plans.push(plan);
        self.plans.len() - 1
    }

    /// A buffer by name, made or enlarged to hold `words`. Plans run one after the other, so they may share it.
    pub fn buffer(&mut self, name: &str, words: u64) -> Result<BufferId> {
        let words =
            u32::try_from(words.next_multiple_of(ALIGN)).map_err(|_| self.too_large(name, 4 * words, 4 * u64::from(u32::MAX)))?;
        if let Some(i) = self.buffers.iter().position(|b| b.name == name) {
            self.buffers[i].words = self.buffers[i].words.max(words);
            return Ok(BufferId(i));
        }
        self.buffers.push(BufferSpec { name: name.into(), words });
        Ok(BufferId(self.buffers.len() - 1))
    }

    /// A tensor with a buffer of its own, `len` words for each of `members`.
    pub fn tensor(&mut self, name: &str, len: u64, members: u32) -> Result<Tensor> {
        let stride = len.next_multiple_of(ALIGN);
        let buffer = self.buffer(name, stride * u64::from(members))?;
        Ok(Tensor { buffer, offset: 0, len: len as u32, stride: if members == 1 { 0 } else { stride as u32 } })
    }

    fn too_large(&self, what: &str, needed: u64, available: u64) -> Error {
        let remedy = "use a smaller batch, network or data set, or an adapter with larger limits";
        Error::Limit { what: format!("{what} on {} (bytes)", self.caps.adapter), needed, available, remedy }
    }

    fn check_limits(&self, plan: &Plan) -> Result<()> {
        for buffer in &self.buffers {
            if 4 * u64::from(buffer.words) > self.caps.max_buffer {
                return Err(self.too_large(
                    &format!("buffer {}", buffer.name),
                    4 * u64::from(buffer.words),
                    self.caps.max_buffer,
                ));
            }
        }
        for kernel in &plan.kernels {
            for tensor in kernel.tensors() {
                let bytes = 4 * u64::from(tensor.span(plan.options.members));
                if bytes > self.caps.max_binding {
                    let what = format!("{} of {}", self.buffers[tensor.buffer.0].name, kernel.entry().name);
                    return Err(self.too_large(&what, bytes, self.caps.max_binding));
                }
            }
            if let Some(groups) = kernel.grid().into_iter().find(|&groups| groups > self.caps.max_groups) {
                return Err(self.too_large(
                    &format!("the grid of {} (workgroups)", kernel.entry().name),
                    groups.into(),
                    self.caps.max_groups.into(),
                ));
            }
        }
        Ok(())
    }
}

const ALIGN: u64 = 64; // words: 256 bytes, the largest binding alignment of WebGPU

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
    Dense { layer: usize, x: Tensor, y: Tensor, inputs: u32, outputs: u32, activation: Activation },
    Dropout { index: usize, units: u32 },
}

struct Builder<'a> {
    network: &'a Network,
    plans: &'a mut Plans,
    plan: Plan,
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
    fn parameters(&mut self, role: &str, suffix: &str) -> Result<Tensor> {
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
    fn tensor(&mut self, name: &str, len: u64) -> Result<Tensor> {
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

    fn named(&self, name: &str) -> Tensor {
        self.plan.tensor(name)
    }

    fn push(&mut self, kernel: impl Kernel + 'static) {
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
                    let y = self.dense_forward(layer, dense, x, inputs)?;
                    trace.push(Trace::Dense { layer, x, y, inputs, outputs, activation: dense.activation });
                    x = y;
                }
                Layer::Dropout(dropout) => {
                    let training = matches!(self.plan.options.mode, Mode::Train(_));
                    let drops = dropout.keep.threshold() < 1 << 32 || self.plan.options.variable_rates;
                    if let (true, true, Some(site)) = (training, drops, sites[layer]) {
                        let index = self.plan.sites.len();
                        self.plan.sites.push(PlannedSite { layer, site, keep: dropout.keep });
                        x = self.dropout_forward(index, x, inputs)?;
                        trace.push(Trace::Dropout { index, units: inputs });
                    }
                }
            }
        }
        self.output = x;
        Ok(trace)
    }

    fn dense_forward(&mut self, layer: usize, dense: &Dense, x: Tensor, inputs: u32) -> Result<Tensor> {
        let (weight, bias) = self.weight_and_bias(layer, "")?;
        let y = self.matrix(&format!("activation.{layer}"), dense.units)?;
        let params = DenseParams {
            x_stride: x.stride,
            weight_stride: weight.stride,
            bias_stride: bias.stride,
            y_stride: y.stride,
            ..DenseParams::new(inputs, dense.units)
        };
        self.push(DenseForward { params, x, weight, bias, y });
        if dense.activation != Activation::Identity {
            let params = ActivationParams { y_stride: y.stride, ..ActivationParams::new(dense.activation, dense.units) };
            self.push(ActivationForward { params, y });
        }
        Ok(y)
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
        let labels = self.data("labels", source.rows.into())?;
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
        if matches!(mode, Mode::Train(_)) {
            let dlogits = self.gradient(trace, classes)?;
            params.dlogits_stride = dlogits.stride;
            self.push(CrossEntropy { params, rows, labels, logits, loss, correct, dlogits });
        } else {
            self.push(CrossEntropyForward { params, rows, labels, logits, loss, correct });
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
                Trace::Dense { layer, x, y, inputs, outputs, activation } => {
                    if activation != Activation::Identity {
                        let dx = self.gradient(trace, outputs)?;
                        let strides = ActivationParams {
                            y_stride: y.stride,
                            dy_stride: dy.stride,
                            dx_stride: dx.stride,
                            ..ActivationParams::new(activation, outputs)
                        };
                        self.push(ActivationBackward { params: strides, dy, output: y, dx });
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

    /// One dispatch over all weights, or several where they exceed the binding limit.
    fn update(&mut self, optimizer: Update) -> Result<()> {
        let (whole, gradients) = (self.named("weights"), self.named("gradients"));
        let moment1 = self.parameters("moment1", ".moment1")?;
        let moment2 = match optimizer {
            Update::Adam => Some(self.parameters("moment2", ".moment2")?),
            Update::Sgd => None,
        };
        let others = u64::from(whole.stride) * u64::from(self.plan.options.members - 1);
        let room = (self.plans.caps.max_binding / 4).saturating_sub(others) / ALIGN * ALIGN;
        // Without room for any part the limits are checked, and named, on the whole.
        let chunk = if room == 0 { whole.len } else { u32::try_from(room).unwrap_or(u32::MAX).min(whole.len) };
        let mut start = 0;
        while start < whole.len {
            let len = chunk.min(whole.len - start);
            let part = |tensor: Tensor| Tensor { offset: tensor.offset + start, len, ..tensor };
            let params = OptimizerParams { quads: len / 4, stride: whole.stride, pad0: 0, pad1: 0 };
            let (dw, w, m) = (part(gradients), part(whole), part(moment1));
            match moment2 {
                Some(moment2) => self.push(Adam { params, dw, w, m, v: part(moment2) }),
                None => self.push(Sgd { params, dw, w, m }),
            }
            start += len;
        }
        Ok(())
    }
}
