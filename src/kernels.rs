//! Kernels: one WGSL entry point each, declared once with its bindings, its grid, its CPU twin and its tolerance.
//!
//! To add a kernel: its entry point in `shaders/FAMILY.wgsl`, its `kernel!` declaration, grid and twin in
//! `kernels/FAMILY.rs`, its line in [`ALL`], and its case in `tests/kernels/FAMILY.rs`. A forgotten twin does not compile; a
//! forgotten line in `ALL`, a wrong binding or a struct that does not match the shader fails `tests/shaders.rs`, without a GPU;
//! a forgotten case fails `tests/kernels/FAMILY.rs`.
//!
//! `params` and the step table are read-only storage, not uniforms, and a kernel copies what it needs of them before its
//! first branch. lavapipe (Mesa 22.3) specialises a kernel whose branches or loop bounds depend on uniforms alone, again at
//! every dispatch: a training step of the digits network took 14.9 ms with uniforms and takes 1.9 ms without.

use crate::memory::{Memory, Tensor};
use crate::step::{Section, Step};

pub mod activation;
pub mod augment;
pub mod batch_norm;
pub mod batch_norm_statistics;
pub mod columns;
pub mod concrete;
pub mod concrete_regularizer;
mod declare;
pub mod dense;
pub mod dense_dropped;
pub mod division;
pub mod draws;
pub mod drop_block;
pub mod drop_connect;
pub mod dropout;
pub mod embedding;
pub mod gather;
pub mod gaussian;
pub mod gradients;
pub mod grouped;
pub mod idle_update;
pub mod layer_norm;
pub mod layout;
pub mod loss;
pub mod map_dropout;
pub mod matmul;
pub mod max_norm;
pub mod metrics;
pub mod mixup;
pub mod noise;
pub mod norm_gradients;
mod normal;
pub mod optimizer;
pub mod output;
pub mod philox;
pub mod pool;
pub mod recurrent;
pub mod recurrent_weight;
pub mod residual;
pub mod rows;
pub mod scale;
pub mod scoped;
pub mod sequence;
pub mod splits;
pub mod states;
mod sums;
pub mod targets;
pub mod texture;
pub mod thinned_update;
pub mod unfold;
pub mod units;
mod unroll;

pub(crate) use declare::{first, first_type, kernel, params};

/// Every entry point.
pub static ALL: &[&Entry] = &[
    &activation::ActivationBackward::ENTRY,
    &activation::ActivationForward::ENTRY,
    &activation::GeluBackward::ENTRY,
    &activation::GeluForward::ENTRY,
    &batch_norm::BatchNormBackward::ENTRY,
    &batch_norm::BatchNormForward::ENTRY,
    &batch_norm_statistics::BatchNormFinish::ENTRY,
    &batch_norm_statistics::BatchNormMoments::ENTRY,
    &batch_norm_statistics::BatchNormStatistics::ENTRY,
    &augment::Augment::ENTRY,
    &concrete::ConcreteForward::ENTRY,
    &concrete::ConcreteGradient::ENTRY,
    &concrete_regularizer::ConcreteDecay::ENTRY,
    &concrete_regularizer::ConcreteFinish::ENTRY,
    &dense::DenseForward::PLAIN,
    &dense::DenseForward::SHUFFLE,
    &dense::DenseForward::TILE,
    &dense::DenseBackwardInput::PLAIN,
    &dense::DenseBackwardInput::SHUFFLE,
    &dense::DenseBackwardInput::TILE,
    &dense::DenseBackwardWeight::PLAIN,
    &dense::DenseBackwardWeight::SHUFFLE,
    &dense::DenseBackwardWeight::TILE,
    &dense::DenseUpdate::PLAIN,
    &dense::DenseUpdate::SHUFFLE,
    &dense::DenseUpdate::TILE,
    &dense_dropped::DenseOfDropped::ENTRY,
    &draws::DrawOutputs::ENTRY,
    &draws::DrawRows::ENTRY,
    &draws::KeepDraws::ENTRY,
    &draws::MergeDraws::ENTRY,
    &drop_block::DropBlockBackward::ENTRY,
    &drop_block::DropBlockColumns::ENTRY,
    &drop_block::DropBlockForward::ENTRY,
    &drop_block::DropBlockRows::ENTRY,
    &drop_connect::DropConnectGaussian::ENTRY,
    &drop_connect::DropConnectRows::ENTRY,
    &drop_connect::DropWeightGradient::ENTRY,
    &drop_connect::DropWeights::ENTRY,
    &dropout::DropoutBackward::ENTRY,
    &dropout::DropoutForward::ENTRY,
    &dropout::DropoutMask::ENTRY,
    &dropout::DropoutMaskRagged::ENTRY,
    &dropout::DropoutRagged::ENTRY,
    &embedding::EmbeddingBackward::ENTRY,
    &embedding::EmbeddingForward::ENTRY,
    &embedding::EmbeddingLists::ENTRY,
    &gather::GatherF32::ENTRY,
    &gather::GatherU8::ENTRY,
    &gaussian::GaussianNll::ENTRY,
    &gaussian::GaussianNllForward::ENTRY,
    &gradients::AccumulateGradients::ENTRY,
    &gradients::ClipGradient::ENTRY,
    &gradients::GradientNorm::ENTRY,
    &grouped::GroupedBackwardInput::ENTRY,
    &grouped::GroupedBackwardWeight::ENTRY,
    &grouped::GroupedForward::ENTRY,
    &idle_update::IdleUpdate::ENTRY,
    &layout::PixelsToPlanar::ENTRY,
    &layout::PlanarToPixels::ENTRY,
    &layer_norm::LayerNormBackward::ENTRY,
    &layer_norm::LayerNormForward::ENTRY,
    &loss::CrossEntropy::ENTRY,
    &loss::CrossEntropyForward::ENTRY,
    &map_dropout::MapDropoutBackward::ENTRY,
    &map_dropout::MapDropoutForward::ENTRY,
    &max_norm::MaxNorm::ENTRY,
    &metrics::Metrics::ENTRY,
    &noise::AlphaDropout::ENTRY,
    &noise::GaussianNoise::ENTRY,
    &norm_gradients::BatchNormGradients::ENTRY,
    &norm_gradients::LayerNormGradients::ENTRY,
    &norm_gradients::NormGradientsFinish::ENTRY,
    &mixup::MixupPartners::ENTRY,
    &optimizer::Adam::ENTRY,
    &optimizer::RmsProp::ENTRY,
    &optimizer::Sgd::ENTRY,
    &output::StoreOutput::ENTRY,
    &philox::PhiloxWords::ENTRY,
    &pool::AveragePoolBackward::ENTRY,
    &pool::AveragePoolForward::ENTRY,
    &pool::MaxPoolBackward::ENTRY,
    &pool::MaxPoolForward::ENTRY,
    &recurrent::RecurrentBackward::PLAIN,
    &recurrent::RecurrentBackward::SHUFFLE,
    &recurrent::RecurrentForward::PLAIN,
    &recurrent::RecurrentForward::SHUFFLE,
    &recurrent_weight::RecurrentWeight::ENTRY,
    &residual::Add::ENTRY,
    &residual::PathAdd::ENTRY,
    &residual::PathGather::ENTRY,
    &residual::PathSamples::ENTRY,
    &rows::BatchRows::ENTRY,
    &scale::Scale::ENTRY,
    &sequence::BatchLengths::ENTRY,
    &sequence::PlanarToSteps::ENTRY,
    &sequence::StepsToPlanar::ENTRY,
    &splits::SumSplits::ENTRY,
    &states::StatesBackward::ENTRY,
    &states::StatesForward::ENTRY,
    &targets::BinaryCrossEntropy::ENTRY,
    &targets::BinaryCrossEntropyForward::ENTRY,
    &targets::SquaredError::ENTRY,
    &targets::SquaredErrorForward::ENTRY,
    &thinned_update::ThinnedUpdate::ENTRY,
    &unfold::Fold::ENTRY,
    &unfold::FoldQuads::ENTRY,
    &unfold::Unfold::ENTRY,
    &unfold::UnfoldQuads::ENTRY,
    &units::GatherColumns::ENTRY,
    &units::GatherWeight::ENTRY,
    &units::ScatterGradient::ENTRY,
];

/// Invocations of one workgroup; put in front of every module. No result depends on it.
pub const WORKGROUP: u32 = 64;

/// WebGPU's limit on workgroups in one dimension of a dispatch.
pub const MAX_GROUPS: u32 = 65_535;

/// An entry point as it is declared, without tensors: what the tests compare with the shader.
#[derive(Debug)]
pub struct Entry {
    /// The entry point's name in WGSL, and the kernel's name everywhere.
    pub name: &'static str,
    /// The file in `shaders/`.
    pub file: &'static str,
    /// WGSL text without the constants of [`Entry::module`].
    pub source: &'static str,
    /// Size of `params` and the name and offset of its fields.
    pub params: (usize, &'static [(&'static str, usize)]),
    /// Names of the variables that hold sections of the step table, bound from 1 on; `params` is bound to 0.
    pub sections: &'static [&'static str],
    /// The tensors.
    pub tensors: &'static [Binding],
    /// What its module may be specialised by, for the tests, which look at each: at least one list.
    pub variants: fn() -> Vec<Constants>,
}

/// WGSL constants of type u32, put in front of a module, and the numbers of its unrolled loops.
pub type Constants = Vec<(&'static str, u32)>;

/// A tensor of an entry point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    /// Name of the field and of the WGSL variable.
    pub name: &'static str,
    /// Its `@binding`.
    pub number: u32,
    /// Whether the kernel writes it.
    pub access: Access,
}

const MUL_HIGH: &str = include_str!("../shaders/lib/mul_high.wgsl");
const MUL_HIGH_U64: &str = include_str!("../shaders/lib/mul_high_u64.wgsl");

/// The same module for a device with 64-bit integers ([`crate::plan::Caps::int64`]); the same bits, sooner: a fifth off a dispatch
/// of dropout on lavapipe.
pub fn with_u64(module: &str) -> String {
    module.replace(MUL_HIGH, MUL_HIGH_U64)
}

impl Entry {
    /// The whole module for plans of `members` members, specialised by `constants`, with its loops unrolled.
    pub fn module(&self, members: u32, constants: &[(&'static str, u32)]) -> String {
        let mut module = String::new();
        for (name, value) in [("MEMBERS", members), ("WORKGROUP", WORKGROUP)].iter().chain(constants) {
            module += &format!("const {name}: u32 = {value}u;\n");
        }
        unroll::unroll(self.source, constants, &mut module);
        module
    }
}

/// How a kernel uses a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// `var<storage, read>`.
    Read,
    /// `texture_storage_2d<rgba32float, read>`: the executor copies the tensor into a texture before the kernel runs, see
    /// [`texture`].
    Texture,
    /// `var<storage, read_write>`.
    Write,
}

/// The part of a kernel that `kernel!` writes.
pub trait Declared {
    /// The entry point.
    fn entry(&self) -> &'static Entry;
    /// The bytes of its `params`.
    fn params(&self) -> &[u8];
    /// Its tensors, in the order of [`Entry::tensors`].
    fn tensors(&self) -> Vec<Tensor>;
}

/// One dispatch of a plan.
pub trait Kernel: Declared + std::fmt::Debug + Send + Sync {
    /// The sections of the step table it reads, in the order of [`Entry::sections`].
    fn sections(&self) -> Vec<Section> {
        vec![Section::Step]
    }

    /// What its module is specialised by, one of [`Entry::variants`].
    fn constants(&self) -> Constants {
        Vec::new()
    }

    /// Words of a row of each tensor that it reads as a texture.
    fn texture_rows(&self) -> Vec<u32> {
        Vec::new()
    }

    /// Iterations of all loops of an invocation together at most, where their bounds are no small constants. An adapter may end
    /// loops after so many, without a word; see [`Caps::max_iterations`](crate::plan::Caps::max_iterations).
    fn iterations(&self) -> u64 {
        0
    }

    /// Workgroups in x and y; z is the member.
    fn grid(&self) -> [u32; 2];

    /// The CPU twin: the same result for one member, from the same formulas.
    fn twin(&self, memory: &Memory, step: &Step, member: usize);

    /// How far the device may be from the twin, for each tensor that is written, given the memory before the dispatch.
    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        let _ = (memory, step, member);
        let written = self.entry().tensors.iter().filter(|binding| binding.access == Access::Write);
        written.map(|_| Tolerance::Exact).collect()
    }
}

/// How far one member's tensor on the device may be from the twin's.
#[derive(Debug, Clone, PartialEq)]
pub enum Tolerance {
    /// The same bits.
    Exact,
    /// `|device - twin| <= bound` element by element, as f32; an element beyond the bounds must have the same bits.
    Bounds(Vec<f64>),
}

/// Unit roundoff of f32.
pub const EPS: f64 = 1.0 / (1u64 << 24) as f64;

/// What an operation may be off by, beside its relative error, where an operand or the result is denormal: WGSL lets a device
/// flush it to zero.
pub const FLUSH: f64 = f32::MIN_POSITIVE as f64;

/// `gamma_n = n eps / (1 - n eps)`, the error of n rounded operations in any order (Higham 2002, section 3.1).
pub fn gamma(n: usize) -> f64 {
    let ne = n as f64 * EPS;
    ne / (1.0 - ne)
}

/// WGSL's bound on the relative error of `exp(x)`: (3 + 2 |x|) ULP, an ULP being at most 2 eps.
pub fn exp_error(x: f64) -> f64 {
    (3.0 + 2.0 * x.abs()) * 2.0 * EPS
}

/// Workgroups for `invocations` invocations, folded into two dimensions past `max` workgroups.
pub fn linear_grid(invocations: u32, max: u32) -> [u32; 2] {
    let groups = invocations.div_ceil(WORKGROUP).max(1);
    let y = groups.div_ceil(max);
    [groups.div_ceil(y), y]
}
