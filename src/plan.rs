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

use crate::data::Augmentation;
use crate::kernels::matmul::Matmul;
use crate::kernels::{Kernel, MAX_GROUPS};
use crate::mask_rule::MaskRule;
use crate::memory::Tensor;
use crate::network::{Dropout, KeepProb, Network, Shape};
use crate::step::{Draw, RowLayout, Scope, SiteLayout, SiteStep};

mod augment;
mod backward;
mod batch;
mod build;
mod draws;
mod drop_connect;
mod embedding;
mod forward;
mod grouped;
mod map_dropout;
mod maps;
mod noise;
mod norm;
mod plans;
mod recurrent;
mod residual;
mod thin;
mod train;

pub use plans::Plans;

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
    /// Whether shaders may have 64-bit integers, which Philox is faster with.
    pub int64: bool,
    /// Largest extent of a two-dimensional texture.
    pub max_texture: u32,
    /// Iterations after which the adapter ends the loops of an invocation, all of them together, without an error: 65,535 on lavapipe.
    pub max_iterations: u32,
    /// How matrices are multiplied, where shapes allow it.
    pub matmul: Matmul,
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
            int64: false,
            max_texture: 8192,
            max_iterations: u32::MAX,
            matmul: Matmul::Plain,
        }
    }
}

/// What a plan does. There is no default: dropout is never on in evaluation by accident, nor off in training.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Mode {
    /// Shuffled rows, dropout, loss, backward, and what [`Training`] says.
    Train(Training),
    /// Rows in order, no dropout, deterministic.
    Eval,
    /// Monte-Carlo draws: every row of a batch is a draw of an input, and what the network says is added up over the draws.
    MonteCarlo(Draws),
}

/// Which masks the draws of a Monte-Carlo plan have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Draws {
    /// How a mask comes from its words.
    pub rule: MaskRule,
    /// Whether all inputs of a draw share a mask, at sample 0: one network per draw.
    pub shared: bool,
    /// How many draws are stored, one by one, beside the sums over all of them.
    pub kept: u32,
    /// Whether layers whose weights are dropped are drawn from a normal distribution, see
    /// [`crate::monte_carlo::MonteCarlo::gaussian_weights`]; the scale of their sites in the steps is then `sqrt((1 - p) / p)`.
    pub gaussian_weights: bool,
}

/// What a training plan does with its rows and with the gradient. The optimizer's numbers are in the step table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Training {
    /// The optimizer.
    pub update: Update,
    /// Whether the gradient of one step makes the update, or the sum over several steps.
    pub gradient: Gradient,
    /// Whether the norm of the whole gradient is bounded.
    pub clip_norm: bool,
    /// Whether the norm of each unit's incoming weights is bounded.
    pub max_norm: bool,
    /// How the rows are changed.
    pub augment: Augmentation,
}

impl From<Update> for Training {
    /// An update after every step, and nothing else.
    fn from(update: Update) -> Self {
        Self { update, gradient: Gradient::Step, clip_norm: false, max_norm: false, augment: Augmentation::default() }
    }
}

/// Which gradient makes an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Gradient {
    /// That of the step.
    Step,
    /// None yet: the step's gradient is added to a sum.
    Accumulate,
    /// The sum, with the step's gradient added.
    Accumulated,
}

/// Which optimizer kernel updates the weights; its scalars are in the step table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Update {
    /// SGD, with momentum or not.
    Sgd,
    /// Adam and AdamW.
    Adam,
    /// RMSprop.
    RmsProp,
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
    /// Whether there are targets (labels, or numbers where the loss wants them), so that loss and hits can be computed.
    pub labelled: bool,
    /// `None`: the inputs are resident, all of them in one buffer. `Some(rows)`: they are streamed, through a window of so many rows:
    /// each submission brings the rows of its batches, one after the other, and [`Step::window`] says where its batch begins. Targets
    /// and sample numbers are resident either way.
    ///
    /// [`Step::window`]: crate::step::Step::window
    pub window: Option<u32>,
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
    /// Whether the gradient of every weight is stored; otherwise it may be used up as it is made.
    pub store_gradient: bool,
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
    /// Height and width of a map; `[1, 1]` of features.
    pub map: [u32; 2],
    /// At the end of a branch that is computed for some samples alone, which its list says.
    pub path: Option<Path>,
    /// What it takes in the step table.
    pub layout: SiteLayout,
}

impl PlannedSite {
    /// The site of a dropout layer over samples of this shape.
    pub fn new(layer: usize, site: u32, dropout: &Dropout, shape: &Shape) -> Self {
        let units = dropout.unit.mask_shape(shape).elements();
        Self { layer, site, keep: dropout.keep, map: shape.map(), path: None, layout: SiteLayout::of(dropout, units) }
    }
}

/// A branch that is computed for some of the samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// The site of the branch around it, whose samples these are some of; `None`: of the batch.
    pub within: Option<usize>,
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
    /// What the rows are of kernels that do not work on the samples of the batch, in the order of [`crate::step::Section::Scope`].
    pub scopes: Vec<Scope>,
    /// Where the metrics are added up, if the source is labelled.
    pub metrics: Option<MetricTensors>,
    /// Named tensors: `0.weight`, `0.weight.grad`, `activation.1`, `train.labels` ...
    pub tensors: BTreeMap<String, Tensor>,
}

impl Plan {
    /// How a step of this plan lies in the step table.
    pub fn row_layout(&self) -> RowLayout {
        let sites = self.sites.iter().map(|site| site.layout).collect();
        RowLayout { members: self.options.members, sites, scopes: self.scopes.clone() }
    }

    /// The values of the sites in a step of `[epoch, update]`; `samples` are those of its rows, asked for only if a path lists some.
    pub fn site_steps(
        &self,
        network: &Network,
        key: [u32; 2],
        [epoch, update]: [u32; 2],
        samples: impl Fn() -> Vec<u32>,
    ) -> Vec<SiteStep> {
        let mut steps: Vec<SiteStep> = Vec::new();
        // The samples that each path keeps.
        let mut kept = vec![Vec::new(); self.sites.len()];
        for (number, site) in self.sites.iter().enumerate() {
            let dropout = network.dropout_at(site.layer).expect("a site is a dropout layer");
            let (units, map) = (site.layout.units, site.map);
            steps.push(match site.path {
                None => SiteStep::of(dropout, &Draw { key, site: site.site, units, map, epoch, update }),
                Some(Path { within }) => {
                    let samples = within.map_or_else(&samples, |around| kept[around].clone());
                    let step = SiteStep::path(dropout, site.site, key, [epoch, update], &samples, units);
                    kept[number] = step.kept.iter().filter_map(|&place| samples.get(place as usize).copied()).collect();
                    step
                }
            });
        }
        steps
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

const ALIGN: u64 = 64; // words: 256 bytes, the largest binding alignment of WebGPU
