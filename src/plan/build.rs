//! How a network becomes kernels: which follows which, and what of a layer one kernel does.

use std::collections::BTreeMap;

use super::{ALIGN, Caps, Mode, Options, Plan, PlannedSite, Plans};
use crate::kernels::Kernel;
use crate::kernels::activation::{ActivationParams, GeluForward};
use crate::kernels::dense::{DenseForward, DenseParams, Epilogue};
use crate::kernels::dropout::{DropoutForward, DropoutParams};
use crate::kernels::matmul::Matmul;
use crate::kernels::scale::{Scale, ScaleParams};
use crate::kernels::units::Sides;
use crate::mask_rule::{MaskRule, SiteMask};
use crate::memory::{BufferId, Tensor};
use crate::network::{Activation, Dense, Dropout, Layer, Network};
use crate::rng::{self, Stream};
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
        let at_once = builder.updates_at_once(training, &trace);
        builder.backward(&trace, training, at_once)?;
        builder.train(training, at_once)?;
    }
    Ok(builder.plan)
}

fn check(network: &Network, options: &Options, caps: &Caps) -> Result<()> {
    let bad = |option, value: String, problem: &str| Err(Error::Option { option, value, problem: problem.into() });
    let shapes = network.shapes()?;
    // The rows of a data set are planar: an image in front of flatten is a row as it is.
    if shapes[0].0.len() != 1 && !matches!(network.layers.first(), Some(Layer::Flatten)) {
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
    if matches!(options.mode, Mode::MonteCarlo(_)) && options.members > 1 {
        return bad(
            "members",
            options.members.to_string(),
            "Monte-Carlo draws are rows of one network's batch; plan its members one by one",
        );
    }
    if matches!(options.mode, Mode::Train(_)) && !options.source.labelled {
        return bad("source", options.source.name.clone(), "training needs labels");
    }
    Ok(())
}

/// A layer that a plan has something to do for.
#[derive(Clone, Copy)]
enum Piece<'a> {
    Dense(usize, &'a Dense),
    /// A site, by its number in the plan.
    Dropout(usize),
    /// The factor of vanilla dropout in evaluation, over so many units.
    Scale(f32, u32),
}

/// What the backward pass needs to know of a piece's forward pass.
pub(super) enum Trace {
    /// `y` is what was stored after `epilogue`, for GELU what went into it.
    Dense { linear: Linear, y: Tensor, activation: Activation, epilogue: Epilogue },
    /// Dropout by a kernel of its own.
    Dropout { index: usize, units: u32 },
}

/// The matrices of a dense layer in a plan; of one that is thinned on some sides, those of its kept units.
#[derive(Debug, Clone, Copy)]
pub(super) struct Linear {
    pub(super) layer: usize,
    pub(super) x: Tensor,
    pub(super) weight: Tensor,
    pub(super) bias: Tensor,
    pub(super) inputs: u32,
    pub(super) outputs: u32,
    pub(super) sides: Sides,
}

pub(super) struct Builder<'a> {
    pub(super) network: &'a Network,
    pub(super) plans: &'a mut Plans,
    pub(super) plan: Plan,
    /// Gradient buffers in turn: each backward kernel reads one and writes the other.
    pub(super) turn: usize,
    pub(super) output: Tensor,
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
            let columns = u64::from(4 * self.row_quads(*parameter.shape.last().unwrap_or(&1)));
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
    pub(super) fn data(&mut self, what: &str, len: u64) -> Result<Tensor> {
        let name = format!("{}.{what}", self.plan.options.source.name);
        let tensor = self.plans.tensor(&name, len, 1)?;
        self.plan.tensors.insert(name, tensor);
        Ok(tensor)
    }

    /// Quads from one row of weights or activations to the next.
    pub(super) fn row_quads(&self, columns: u32) -> u32 {
        columns.next_multiple_of(self.plans.row_words()) / 4
    }

    /// `[batch, units]`, padded rows.
    pub(super) fn matrix(&mut self, name: &str, units: u32) -> Result<Tensor> {
        self.tensor(name, u64::from(self.plan.options.batch) * u64::from(4 * self.row_quads(units)))
    }

    pub(super) fn named(&self, name: &str) -> Tensor {
        self.plan.tensor(name)
    }

    pub(super) fn push(&mut self, kernel: impl Kernel + 'static) {
        self.plan.kernels.push(Box::new(kernel));
    }

    /// The layers that leave a trace in this plan: a site whose rate is 1 and stays so does not, nor does any in evaluation but for
    /// the factor of vanilla dropout.
    fn pieces(&mut self) -> Result<Vec<Piece<'a>>> {
        let (network, sites, shapes) = (self.network, self.network.sites()?, self.network.shapes()?);
        let drawn = self.plan.options.mode != Mode::Eval;
        let mut pieces = Vec::new();
        for (layer, kind) in network.layers.iter().enumerate() {
            let drops = |dropout: &Dropout| dropout.keep.threshold() < 1 << 32 || self.plan.options.variable_rates;
            match (kind, sites[layer]) {
                (Layer::Dense(dense), _) => pieces.push(Piece::Dense(layer, dense)),
                (Layer::Dropout(dropout), Some(site)) if drawn && drops(dropout) => {
                    pieces.push(Piece::Dropout(self.plan.sites.len()));
                    self.plan.sites.push(PlannedSite::new(layer, site, dropout, &shapes[layer]));
                }
                (Layer::Dropout(dropout), _) if !drawn && dropout.eval_scale() != 1.0 => {
                    pieces.push(Piece::Scale(dropout.eval_scale(), shapes[layer].0[0]));
                }
                (Layer::Dropout(_) | Layer::Flatten, _) => {}
                (other, _) => todo!("{}", other.name()),
            }
        }
        Ok(pieces)
    }

    /// A site in front of the first dense layer is drawn by the gather kernel, one between two dense layers by the first of them,
    /// and its backward pass by the second; any other has kernels of its own.
    fn forward(&mut self) -> Result<Vec<Trace>> {
        let (shapes, pieces) = (self.network.shapes()?, self.pieces()?);
        let mut rest = pieces.as_slice();
        let first = match *rest {
            [Piece::Dropout(index), Piece::Dense(..), ..] => {
                rest = &rest[1..];
                Some(index)
            }
            _ => None,
        };
        let mut x = self.gather(shapes[0].elements(), first)?;
        // The site that thins the columns of x.
        let mut thinned = first.filter(|&index| self.kept_units(index).is_some());
        if let Some(site) = thinned {
            x = self.gather_columns(site, x, shapes[0].elements())?;
        }
        let mut trace = Vec::new();
        while let Some((&piece, others)) = rest.split_first() {
            rest = others;
            match piece {
                Piece::Scale(factor, units) => {
                    let params = ScaleParams { quads: self.row_quads(units), factor, y_stride: x.stride, pad0: 0 };
                    self.push(Scale { params, y: x });
                }
                Piece::Dropout(index) => {
                    let kept = self.kept_units(index);
                    if kept.is_some() && thinned != Some(index) {
                        return Err(self.misplaced(index));
                    }
                    let units = kept.unwrap_or(shapes[self.plan.sites[index].layer].0[0]);
                    x = self.dropout_forward(index, x, units)?;
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
                    let site = match *rest {
                        [Piece::Dropout(index), Piece::Dense(..), ..] if !gelu => {
                            rest = &rest[1..];
                            Some(self.site_mask(index))
                        }
                        _ => None,
                    };
                    let epilogue = Epilogue { activation: if gelu { Activation::Identity } else { dense.activation }, site };
                    let linear = self.linear(layer, sides, x, (shapes[layer].0[0], dense.units))?;
                    let (stored, y) = self.dense_forward(linear, dense.activation, epilogue)?;
                    trace.push(Trace::Dense { linear, y: stored, activation: dense.activation, epilogue });
                    x = y;
                }
            }
        }
        self.output = x;
        Ok(trace)
    }

    /// What the backward pass reads, and the output; they are the same tensor but for GELU.
    fn dense_forward(&mut self, linear: Linear, activation: Activation, epilogue: Epilogue) -> Result<(Tensor, Tensor)> {
        let Linear { layer, x, weight, bias, outputs, .. } = linear;
        let gelu = activation == Activation::Gelu;
        let y = self.matrix(&format!("{}.{layer}", if gelu { "preactivation" } else { "activation" }), outputs)?;
        let (matmul, params) = self.dense_params(epilogue.site, (x, y), linear);
        let samples = self.named("batch.samples");
        self.push(DenseForward { matmul, params, epilogue, samples, bias, x, weight, y });
        if !gelu {
            return Ok((y, y));
        }
        let output = self.matrix(&format!("activation.{layer}"), outputs)?;
        let params = ActivationParams {
            x_stride: y.stride,
            y_stride: output.stride,
            ..ActivationParams::new(activation, outputs, self.plans.row_words())
        };
        self.push(GeluForward { params, x: y, y: output });
        Ok((y, output))
    }

    /// The family and the parameters of a dense layer's kernel over tensors in the roles of x and y.
    pub(super) fn dense_params(&self, site: Option<SiteMask>, (x, y): (Tensor, Tensor), linear: Linear) -> (Matmul, DenseParams) {
        let (Options { batch, members, .. }, Linear { inputs, outputs, weight, bias, .. }) = (&self.plan.options, linear);
        let matmul = self.plans.caps.matmul.for_layer(&self.plans.caps, [*batch, inputs, outputs, *members]);
        let params = DenseParams {
            bias_at: (bias.offset - weight.offset) / 4,
            stream_and_site: self.stream_and_site(site.map(|site| site.index)),
            samples_stride: self.named("batch.samples").stride,
            x_stride: x.stride,
            y_stride: y.stride,
            weight_stride: weight.stride,
            ..DenseParams::new(inputs, outputs, *batch, self.plans.row_words())
        };
        (matmul, params)
    }

    /// Weight and bias of a layer, or what a role has for them.
    pub(super) fn weight_and_bias(&self, layer: usize, suffix: &str) -> Result<(Tensor, Tensor)> {
        let parameters = self.network.parameters()?;
        let mut names = parameters.iter().filter(|p| p.layer == layer).map(|p| format!("{}{suffix}", p.name));
        let mut next = || self.named(&names.next().expect("a dense layer has a weight and a bias"));
        Ok((next(), next()))
    }

    /// How the masks of this plan's sites are drawn.
    pub(super) fn rule(&self) -> MaskRule {
        match self.plan.options.mode {
            Mode::MonteCarlo(draws) => draws.rule,
            Mode::Train(_) | Mode::Eval => MaskRule::Pass,
        }
    }

    fn stream(&self) -> Stream {
        match self.plan.options.mode {
            Mode::MonteCarlo(_) => Stream::MonteCarloMask,
            Mode::Train(_) | Mode::Eval => Stream::TrainingMask,
        }
    }

    pub(super) fn site_mask(&self, index: usize) -> SiteMask {
        // What is kept for the whole batch is all of the matrices that a thinned layer works on.
        let rule = if self.kept_units(index).is_some() { MaskRule::All } else { self.rule() };
        SiteMask { index, rule }
    }

    pub(super) fn stream_and_site(&self, site: Option<usize>) -> u32 {
        site.map_or(0, |index| rng::stream_and_site(self.stream(), self.plan.sites[index].site))
    }

    pub(super) fn dropout_params(
        &self,
        index: usize,
        units: u32,
        samples: Tensor,
        input: Tensor,
        output: Tensor,
    ) -> DropoutParams {
        DropoutParams {
            samples_stride: samples.stride,
            in_stride: input.stride,
            out_stride: output.stride,
            // The padding of a row is dropped or kept like units: it is 0 either way.
            ..DropoutParams::new(4 * self.row_quads(units), self.stream(), self.plan.sites[index].site)
        }
    }

    pub(super) fn dropout_forward(&mut self, index: usize, x: Tensor, units: u32) -> Result<Tensor> {
        let samples = self.named("batch.samples");
        let y = self.matrix(&format!("activation.{}", self.plan.sites[index].layer), units)?;
        let params = self.dropout_params(index, units, samples, x, y);
        self.push(DropoutForward { params, site: self.site_mask(index), samples, x, y });
        Ok(y)
    }
}
