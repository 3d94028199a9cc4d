//! The dense layer, forward and backward, with what comes before and after it fused: `shaders/lib/dense.wgsl` has the formulas,
//! `dense.wgsl` and `dense_shuffle.wgsl` the kernels of the two families of [`Matmul`]. One type here stands for a kernel of every
//! family: they differ in bindings and grid, not in what they compute, and share one twin.

use super::matmul::{Matmul, tiles};
use super::texture::PANEL_ROWS;
use super::{Access, Binding, Constants, Declared, Entry, Kernel, Tolerance, WORKGROUP, activation, params};
use crate::memory::{Memory, Tensor};
use crate::network::Activation;
use crate::plan::Update;
use crate::step::{Section, Step};

mod twin;

macro_rules! source {
    ($($file:literal),*) => {
        concat!(
            include_str!("../../shaders/lib/step.wgsl"),
            include_str!("../../shaders/lib/philox.wgsl"),
            include_str!("../../shaders/lib/dropout.wgsl"),
            include_str!("../../shaders/lib/activation.wgsl"),
            include_str!("../../shaders/lib/optimizer_step.wgsl"),
            include_str!("../../shaders/lib/optimizer.wgsl"),
            include_str!("../../shaders/lib/dense.wgsl"),
            include_str!("../../shaders/lib/dense_update.wgsl"),
            $(include_str!(concat!("../../shaders/", $file))),*
        )
    };
}

const PLAIN: &str = source!("dense.wgsl");
const SHUFFLE: &str = source!("lib/texture.wgsl", "dense_shuffle.wgsl");

const TILE_ROWS: u32 = 8; // of dense.wgsl

params! {
    /// `params` of the kernels of the dense layer.
    DenseParams {
        input_quads: u32, input_row: u32, outputs: u32, output_quads: u32,
        output_row: u32, bias_at: u32, panels: u32, splits: u32,
        stream_and_site: u32, samples_stride: u32, x_stride: u32, y_stride: u32,
        weight_stride: u32, pad0: u32, pad1: u32, pad2: u32,
    }
}

impl DenseParams {
    /// A layer over a batch of `rows`, its rows padded to `row_words`, without dropout and without strides.
    pub fn new(inputs: u32, outputs: u32, rows: u32, row_words: u32) -> Self {
        let panels = rows.div_ceil(PANEL_ROWS);
        Self {
            input_quads: inputs.div_ceil(4),
            input_row: inputs.next_multiple_of(row_words) / 4,
            outputs,
            output_quads: outputs.div_ceil(4),
            output_row: outputs.next_multiple_of(row_words) / 4,
            panels,
            splits: 1,
            ..Self::default()
        }
    }
}

/// What is done to the outputs of a dense layer before they are stored: an activation, then dropout.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Epilogue {
    /// The activation; GELU is none of a fused kernel, since its derivative needs its input.
    pub activation: Activation,
    /// The plan's site, where there is dropout.
    pub site: Option<usize>,
}

impl Epilogue {
    /// Nothing.
    pub const NONE: Self = Self { activation: Activation::Identity, site: None };

    fn constants(&self) -> Constants {
        variant(activation::kind(self.activation), self.site.is_some().into(), 1)
    }

    fn sections(&self) -> Vec<Section> {
        vec![Section::Step, self.site.map_or(Section::Unused, Section::Site)]
    }
}

fn shuffle_constants(lanes: u32, tiles: u32) -> Constants {
    vec![("LANES", lanes), ("TILES", tiles), ("GROUPS", tiles * lanes / 8), ("PANEL_ROWS", PANEL_ROWS)]
}

/// The number of an optimizer in WGSL, see `lib/dense_update.wgsl`.
pub(super) fn optimizer_constant(update: Update) -> u32 {
    match update {
        Update::Sgd => 1,
        Update::Adam => 2,
        Update::RmsProp => 3,
    }
}

/// Every activation with and without dropout, and every optimizer.
fn plain_variants() -> Vec<Constants> {
    (0..6).flat_map(|kind| [0, 1].map(|dropout| variant(kind, dropout, kind % 3 + 1))).collect()
}

/// Every width of subgroups, with it some of the activations.
fn shuffle_variants() -> Vec<Constants> {
    let shapes = [(4, 2), (4, 8), (8, 1), (8, 4), (16, 1), (16, 2)];
    let rest = [(0, 0, 1), (1, 1, 2), (2, 1, 3), (5, 0, 1), (3, 1, 2), (4, 0, 3)];
    let both = |((lanes, tiles), (kind, dropout, optimizer))| {
        [shuffle_constants(lanes, tiles), variant(kind, dropout, optimizer)].concat()
    };
    shapes.into_iter().zip(rest).map(both).collect()
}

fn variant(kind: u32, dropout: u32, optimizer: u32) -> Constants {
    vec![("ACTIVATION", kind), ("DROPOUT", dropout), ("OPTIMIZER", optimizer)]
}

const fn entry(name: &'static str, matmul: Matmul, sections: &'static [&'static str], tensors: &'static [Binding]) -> Entry {
    let params = (size_of::<DenseParams>(), DenseParams::FIELDS);
    match matmul {
        Matmul::Plain => Entry { name, file: "dense.wgsl", source: PLAIN, params, sections, tensors, variants: plain_variants },
        Matmul::Shuffle { .. } => {
            Entry { name, file: "dense_shuffle.wgsl", source: SHUFFLE, params, sections, tensors, variants: shuffle_variants }
        }
    }
}

const ANY_LANES: Matmul = Matmul::Shuffle { lanes: 0 };

const fn binding(name: &'static str, number: u32, access: Access) -> Binding {
    Binding { name, number, access }
}

/// Declares the entries of a kernel, one for each family that has it, and what is the same for all.
macro_rules! dense_kernel {
    ($(#[$doc:meta])* $kernel:ident, [$($section:literal),*], { $($extra:ident: $extra_type:ty),* },
     read [$($read:ident: $read_at:literal),*]; operands [$($operand:ident: $operand_at:literal),*]; write [$($write:ident: $write_at:literal),*];
     $($family:ident = $name:literal as $matmul:expr, $tensors:ident;)+) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        #[expect(missing_docs, reason = "each field is a binding that the shader's header describes")]
        pub struct $kernel {
            pub matmul: Matmul,
            pub params: DenseParams,
            $(pub $extra: $extra_type,)*
            $(pub $read: Tensor,)*
            $(pub $operand: Tensor,)*
            $(pub $write: Tensor,)*
        }

        impl $kernel {
            const SECTIONS: &[&str] = &[$($section),*];
            const BUFFERS: &[Binding] = &[
                $(binding(stringify!($read), $read_at, Access::Read),)*
                $(binding(stringify!($operand), $operand_at, Access::Read),)*
                $(binding(stringify!($write), $write_at, Access::Write),)*
            ];
            const TEXTURES: &[Binding] = &[
                $(binding(stringify!($read), $read_at, Access::Read),)*
                $(binding(stringify!($operand), $operand_at, Access::Texture),)*
                $(binding(stringify!($write), $write_at, Access::Write),)*
            ];
            $(
                /// The entry point of one family.
                pub const $family: Entry = entry($name, $matmul, Self::SECTIONS, Self::$tensors);
            )+
        }

        impl Declared for $kernel {
            fn entry(&self) -> &'static Entry {
                $({
                    static ENTRY: Entry = $kernel::$family;
                    if matches!((self.matmul, $matmul), (Matmul::Plain, Matmul::Plain) | (Matmul::Shuffle { .. }, Matmul::Shuffle { .. })) {
                        return &ENTRY;
                    }
                })+
                unreachable!("{} has no {:?} kernel", stringify!($kernel), self.matmul)
            }

            fn params(&self) -> &[u8] {
                bytemuck::bytes_of(&self.params)
            }

            fn tensors(&self) -> Vec<Tensor> {
                vec![$(self.$read,)* $(self.$operand,)* $(self.$write,)*]
            }
        }
    };
}

dense_kernel! {
    /// `y = drop(f(x W^T + b))`.
    DenseForward, ["step", "sites"], { epilogue: Epilogue },
    read [samples: 3, bias: 6]; operands [x: 4, weight: 5]; write [y: 7];
    PLAIN = "dense_forward" as Matmul::Plain, BUFFERS;
    SHUFFLE = "dense_forward_shuffle" as ANY_LANES, TEXTURES;
}

dense_kernel! {
    /// The gradient with respect to what `x = drop(f(z))` was made of: `dx` with respect to z.
    DenseBackwardInput, ["step", "sites"], { epilogue: Epilogue },
    read [samples: 3]; operands [x: 4, weight: 5, dy: 6]; write [dx: 7];
    PLAIN = "dense_backward_input" as Matmul::Plain, BUFFERS;
    SHUFFLE = "dense_backward_input_shuffle" as ANY_LANES, TEXTURES;
}

dense_kernel! {
    /// `dW = dy^T x` and, after it in `gradient`, `db`, the column sums of `dy`.
    DenseBackwardWeight, ["step"], {},
    read []; operands [x: 4, dy: 6]; write [gradient: 7];
    PLAIN = "dense_backward_weight" as Matmul::Plain, BUFFERS;
    SHUFFLE = "dense_backward_weight_shuffle" as ANY_LANES, TEXTURES;
}

dense_kernel! {
    /// The same, and the optimizer's update of W and b with it.
    DenseUpdate, ["step", "optimizer"], { update: Update },
    read []; operands [x: 4, dy: 6]; write [w: 7, m: 8, v: 9];
    PLAIN = "dense_update" as Matmul::Plain, BUFFERS;
    SHUFFLE = "dense_update_shuffle" as ANY_LANES, TEXTURES;
}

/// Rows of the batch that a tensor has room for.
fn rows(tensor: Tensor, row_quads: u32) -> u32 {
    tensor.len / (4 * row_quads)
}

/// The grid of a result `[rows, quads]`.
fn grid(matmul: Matmul, rows: u32, quads: u32) -> [u32; 2] {
    match matmul {
        Matmul::Plain => [quads.div_ceil(8), rows.div_ceil(TILE_ROWS * (WORKGROUP / 8))],
        Matmul::Shuffle { lanes } => [quads.div_ceil(lanes), rows.div_ceil(lanes * tiles(lanes, rows, quads))],
    }
}

fn constants(matmul: Matmul, [rows, quads]: [u32; 2], epilogue: Constants) -> Constants {
    match matmul {
        Matmul::Plain => epilogue,
        Matmul::Shuffle { lanes } => [shuffle_constants(lanes, tiles(lanes, rows, quads)), epilogue].concat(),
    }
}

/// Words of the rows of each texture operand, given in quads.
fn texture_rows(matmul: Matmul, quads: &[u32]) -> Vec<u32> {
    match matmul {
        Matmul::Plain => Vec::new(),
        Matmul::Shuffle { .. } => quads.iter().map(|row| 4 * row).collect(),
    }
}

impl DenseForward {
    fn result(&self) -> [u32; 2] {
        [rows(self.y, self.params.output_row), self.params.output_quads]
    }
}

impl Kernel for DenseForward {
    fn sections(&self) -> Vec<Section> {
        self.epilogue.sections()
    }

    fn constants(&self) -> Constants {
        constants(self.matmul, self.result(), self.epilogue.constants())
    }

    fn texture_rows(&self) -> Vec<u32> {
        texture_rows(self.matmul, &[self.params.input_row; 2])
    }

    fn grid(&self) -> [u32; 2] {
        let [rows, quads] = self.result();
        grid(self.matmul, rows, quads)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        twin::store(memory, self.y, member, &self.results(memory, step, member));
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        vec![twin::bounds(self.y, &self.results(memory, step, member))]
    }
}

impl DenseBackwardInput {
    fn result(&self) -> [u32; 2] {
        [rows(self.dx, self.params.input_row), self.params.input_quads]
    }
}

impl Kernel for DenseBackwardInput {
    fn sections(&self) -> Vec<Section> {
        self.epilogue.sections()
    }

    fn constants(&self) -> Constants {
        constants(self.matmul, self.result(), self.epilogue.constants())
    }

    fn texture_rows(&self) -> Vec<u32> {
        texture_rows(self.matmul, &[self.params.input_row, self.params.input_row, self.params.output_row])
    }

    fn grid(&self) -> [u32; 2] {
        let [rows, quads] = self.result();
        grid(self.matmul, rows, quads)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        twin::store(memory, self.dx, member, &self.results(memory, step, member));
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        vec![twin::bounds(self.dx, &self.results(memory, step, member))]
    }
}

impl DenseBackwardWeight {
    fn result(&self) -> [u32; 2] {
        [self.params.outputs, self.params.input_quads]
    }
}

impl Kernel for DenseBackwardWeight {
    fn constants(&self) -> Constants {
        constants(self.matmul, self.result(), Epilogue::NONE.constants())
    }

    fn texture_rows(&self) -> Vec<u32> {
        texture_rows(self.matmul, &[self.params.input_row, self.params.output_row])
    }

    fn grid(&self) -> [u32; 2] {
        let [rows, quads] = self.result();
        let [x, y] = grid(self.matmul, rows, quads);
        [x, y * self.params.splits]
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        twin::store(memory, self.gradient, member, &self.results(memory, step, member));
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        vec![twin::bounds(self.gradient, &self.results(memory, step, member))]
    }
}

impl DenseUpdate {
    fn result(&self) -> [u32; 2] {
        [self.params.outputs, self.params.input_quads]
    }
}

impl Kernel for DenseUpdate {
    fn sections(&self) -> Vec<Section> {
        vec![Section::Step, Section::Optimizer]
    }

    fn constants(&self) -> Constants {
        constants(self.matmul, self.result(), variant(0, 0, optimizer_constant(self.update)))
    }

    fn texture_rows(&self) -> Vec<u32> {
        texture_rows(self.matmul, &[self.params.input_row, self.params.output_row])
    }

    fn grid(&self) -> [u32; 2] {
        let [rows, quads] = self.result();
        grid(self.matmul, rows, quads)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let [w, m, v] = self.results(memory, step, member);
        twin::store(memory, self.w, member, &w);
        twin::store(memory, self.m, member, &m);
        if self.update != Update::Sgd {
            twin::store(memory, self.v, member, &v);
        }
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        let [w, m, v] = self.results(memory, step, member);
        let v = if self.update == Update::Sgd { Tolerance::Exact } else { twin::bounds(self.v, &v) };
        vec![twin::bounds(self.w, &w), twin::bounds(self.m, &m), v]
    }
}
