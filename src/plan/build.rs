//! How a network becomes kernels: which follows which, and what of a layer one kernel does.

use std::collections::BTreeMap;

use super::{ALIGN, Caps, Mode, Options, Plan, Plans, Training};
use crate::kernels::Kernel;
use crate::kernels::dense::DenseParams;
use crate::kernels::dropout::DropoutParams;
use crate::kernels::matmul::Matmul;
use crate::kernels::scoped::Scoped;
use crate::kernels::units::Sides;
use crate::mask_rule::{MaskRule, SiteMask};
use crate::memory::{BufferId, Tensor};
use crate::network::{Dropout, DropoutMode, Network, Noise, Parameter};
use crate::rng::{self, Stream};
use crate::step::{Scope, Section};
use crate::{Error, Result};

/// Plans a network.
///
/// # Errors
/// A network or options that make no sense.
pub(super) fn plan(network: &Network, options: Options, plans: &mut Plans) -> Result<Plan> {
    check(network, &options, &plans.caps)?;
    let mut builder = Builder::new(network, options, plans)?;
    let trace = builder.forward()?;
    let gradient = builder.loss()?;
    if let (Mode::Train(training), Some(gradient)) = (builder.plan.options.mode, gradient) {
        let at_once = builder.updates_at_once(training, &trace);
        builder.backward(&trace, gradient, training, at_once)?;
        builder.train(training, at_once)?;
    }
    Ok(builder.plan)
}

fn check(network: &Network, options: &Options, caps: &Caps) -> Result<()> {
    let bad = |option, value: String, problem: &str| Err(Error::Option { option, value, problem: problem.into() });
    network.shapes()?;
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
    /// Rows of each sample: the places of a convolution's window.
    pub(super) pixels: u32,
    /// The site that drops its weights.
    pub(super) dropped: Option<usize>,
}

/// What flows between two layers, or its gradient: `[batch * pixels, columns]`. Maps `[C, H, W]` are planar, a row of C H W columns for each
/// sample, or a row of C columns for each pixel; sequences `[T, F]` are planar too, or a row of F columns for each step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Value {
    pub(super) tensor: Tensor,
    pub(super) pixels: u32,
    pub(super) columns: u32,
    /// Whether the rows of a sample are the steps of a sequence.
    pub(super) steps: bool,
}

/// Parameters in an order in which the bias of each product lies behind its weight: the files have both weights of a direction of a recurrent
/// layer in front of both biases.
fn with_biases_behind(mut parameters: Vec<Parameter>) -> Vec<Parameter> {
    let gates: Vec<usize> = (0..parameters.len()).filter(|&i| parameters[i].gates > 0).collect();
    gates.chunks_exact(4).for_each(|four| parameters.swap(four[1], four[2]));
    parameters
}

pub(super) struct Builder<'a> {
    pub(super) network: &'a Network,
    pub(super) plans: &'a mut Plans,
    pub(super) plan: Plan,
    /// Who has yet to read each of the gradient buffers.
    pub(super) gradients: Vec<u32>,
    pub(super) output: Tensor,
    /// The sample of each row of the batch, or of each row that a branch is computed for.
    pub(super) samples: Tensor,
    /// The site whose list says for which samples a branch is computed, inside of it.
    pub(super) path: Option<usize>,
    /// How the weights are updated as their gradient is made, if they are.
    pub(super) at_once: Option<Training>,
    /// Words of unfolded maps that are kept for the backward pass.
    pub(super) unfolded: u64,
}

impl<'a> Builder<'a> {
    fn new(network: &'a Network, options: Options, plans: &'a mut Plans) -> Result<Self> {
        let plan =
            Plan { options, kernels: Vec::new(), sites: Vec::new(), scopes: Vec::new(), metrics: None, tensors: BTreeMap::new() };
        let nowhere = Tensor { buffer: BufferId(0), offset: 0, len: 0, stride: 0 };
        let (gradients, unfolded) = (Vec::new(), 0);
        let mut builder =
            Self { network, plans, plan, gradients, output: nowhere, samples: nowhere, path: None, at_once: None, unfolded };
        builder.parameters("weights", "")?;
        builder.tensors_of("statistics", "", |parameter| !parameter.trained)?;
        Ok(builder)
    }

    /// One buffer for a role (weights, gradients, a moment): every trained parameter at a 256-byte offset, member after member.
    pub(super) fn parameters(&mut self, role: &str, suffix: &str) -> Result<Tensor> {
        self.tensors_of(role, suffix, |parameter| parameter.trained)
    }

    fn tensors_of(&mut self, role: &str, suffix: &str, which: impl Fn(&Parameter) -> bool) -> Result<Tensor> {
        let mut layout = Vec::new();
        let mut words = 0u64;
        for parameter in with_biases_behind(self.network.parameters()?).into_iter().filter(which) {
            let len = u64::from(parameter.device_rows()) * u64::from(4 * self.row_quads(parameter.device_columns()));
            layout.push((parameter.name, words, len));
            words += len.next_multiple_of(ALIGN);
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
        self.rows_of(name, 1, units)
    }

    /// `[batch * pixels, columns]`, padded rows.
    pub(super) fn rows_of(&mut self, name: &str, pixels: u32, columns: u32) -> Result<Tensor> {
        let words = u64::from(self.plan.options.batch) * u64::from(pixels) * u64::from(4 * self.row_quads(columns));
        self.tensor(name, words)
    }

    pub(super) fn value(&mut self, name: &str, pixels: u32, columns: u32) -> Result<Value> {
        Ok(Value { tensor: self.rows_of(name, pixels, columns)?, pixels, columns, steps: false })
    }

    pub(super) fn named(&self, name: &str) -> Tensor {
        self.plan.tensor(name)
    }

    /// Adds a kernel whose rows are samples.
    pub(super) fn push(&mut self, kernel: impl Kernel + 'static) {
        self.push_rows(1, kernel);
    }

    /// Adds a kernel with `pixels` rows for each sample.
    pub(super) fn push_rows(&mut self, pixels: u32, kernel: impl Kernel + 'static) {
        let scope = Scope { pixels, path: self.path };
        let kernel: Box<dyn Kernel> = Box::new(kernel);
        if scope == Scope::SAMPLES || !kernel.sections().contains(&Section::Step) {
            return self.plan.kernels.push(kernel);
        }
        let number = self.plan.scopes.iter().position(|&known| known == scope).unwrap_or_else(|| {
            self.plan.scopes.push(scope);
            self.plan.scopes.len() - 1
        });
        self.plan.kernels.push(Box::new(Scoped { kernel, scope, number }));
    }

    /// The family and the parameters of a dense layer's kernel over tensors in the roles of x and y.
    pub(super) fn dense_params(&self, site: Option<SiteMask>, (x, y): (Tensor, Tensor), linear: Linear) -> (Matmul, DenseParams) {
        let Linear { inputs, outputs, weight, bias, .. } = linear;
        let (matmul, rows) = (self.matmul(linear), self.plan.options.batch * linear.pixels);
        let params = DenseParams {
            bias_at: (bias.offset - weight.offset) / 4,
            stream_and_site: self.stream_and_site(site.map(|site| site.index)),
            samples_stride: self.samples.stride,
            x_stride: x.stride,
            y_stride: y.stride,
            weight_stride: weight.stride,
            ..DenseParams::new(inputs, outputs, rows, self.plans.row_words())
        };
        (matmul, params)
    }

    /// The family of a layer's kernels.
    pub(super) fn matmul(&self, Linear { inputs, outputs, pixels, .. }: Linear) -> Matmul {
        let Options { batch, members, .. } = self.plan.options;
        self.plans.caps.matmul.for_layer(&self.plans.caps, [batch * pixels, inputs, outputs, members])
    }

    /// Weight and bias of a layer, or what a role has for them.
    pub(super) fn weight_and_bias(&self, layer: usize, suffix: &str) -> Result<(Tensor, Tensor)> {
        let parameters = self.network.parameters()?;
        let mut names = parameters.iter().filter(|p| p.layer == layer).map(|p| format!("{}{suffix}", p.name));
        let mut next = || self.named(&names.next().expect("the layer has a weight and a bias"));
        Ok((next(), next()))
    }

    /// How the masks of this plan's sites are drawn.
    pub(super) fn rule(&self) -> MaskRule {
        match self.plan.options.mode {
            Mode::MonteCarlo(draws) => draws.rule,
            Mode::Train(_) | Mode::Eval => MaskRule::Pass,
        }
    }

    pub(super) fn stream(&self, index: usize) -> Stream {
        match self.plan.options.mode {
            Mode::MonteCarlo(_) if self.is_continuous(index) || self.draws_gaussian_weights(index) => Stream::MonteCarloNoise,
            Mode::MonteCarlo(_) => Stream::MonteCarloMask,
            Mode::Train(_) | Mode::Eval if self.has_one_mask(index) => Stream::BatchMask,
            Mode::Train(_) | Mode::Eval if self.is_continuous(index) => Stream::ContinuousNoise,
            Mode::Train(_) | Mode::Eval => Stream::TrainingMask,
        }
    }

    /// Whether a unit of a site is multiplied with a number that may be any.
    fn is_continuous(&self, index: usize) -> bool {
        matches!(self.dropout(index).noise, Noise::Gaussian | Noise::Concrete(_))
    }

    /// The dropout of a site.
    pub(super) fn dropout(&self, index: usize) -> &'a Dropout {
        self.network.dropout_at(self.plan.sites[index].layer).expect("a site is a dropout layer")
    }

    /// Whether all samples of a step share the mask of a site, each unit by itself.
    fn has_one_mask(&self, index: usize) -> bool {
        self.dropout(index).mode == DropoutMode::Batch
    }

    pub(super) fn site_mask(&self, index: usize) -> SiteMask {
        // What is kept for the whole batch is all of the matrices that a thinned layer works on.
        let rule = match self.rule() {
            _ if self.kept_units(index).is_some() => MaskRule::All,
            MaskRule::Pass if self.has_one_mask(index) => MaskRule::Batch,
            rule => rule,
        };
        SiteMask { index, rule }
    }

    pub(super) fn stream_and_site(&self, site: Option<usize>) -> u32 {
        site.map_or(0, |index| rng::stream_and_site(self.stream(index), self.plan.sites[index].site))
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
            ..DropoutParams::new(4 * self.row_quads(units), self.stream(index), self.plan.sites[index].site)
        }
    }
}
