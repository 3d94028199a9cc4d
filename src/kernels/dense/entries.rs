//! The entries of the dense kernels: their sources, bindings and variants, one entry for each kernel of each family.

use std::mem::discriminant;

use super::{DenseParams, Epilogue};
use crate::kernels::matmul::Matmul;
use crate::kernels::texture::PANEL_ROWS;
use crate::kernels::{Access, Binding, Constants, Declared, Entry};
use crate::memory::Tensor;
use crate::plan::Update;

macro_rules! source {
    ($($file:literal),*) => {
        concat!(
            include_str!("../../../shaders/lib/step.wgsl"),
            include_str!("../../../shaders/lib/mul_high.wgsl"),
            include_str!("../../../shaders/lib/philox.wgsl"),
            include_str!("../../../shaders/lib/dropout.wgsl"),
            include_str!("../../../shaders/lib/activation.wgsl"),
            include_str!("../../../shaders/lib/optimizer_step.wgsl"),
            include_str!("../../../shaders/lib/optimizer.wgsl"),
            include_str!("../../../shaders/lib/chosen_optimizer.wgsl"),
            include_str!("../../../shaders/lib/dense.wgsl"),
            include_str!("../../../shaders/lib/dense_update.wgsl"),
            $(include_str!(concat!("../../../shaders/", $file))),*
        )
    };
}

const PLAIN: &str = source!("dense.wgsl");
const SHUFFLE: &str = source!("lib/texture.wgsl", "dense_shuffle.wgsl");
const TILE: &str = source!("dense_tile.wgsl");

/// What a kernel of the shuffle family is specialised by: lanes of a subgroup, and how many times so many rows it makes.
pub(super) fn shuffle_constants(lanes: u32, tiles: u32) -> Constants {
    vec![("LANES", lanes), ("TILES", tiles), ("GROUPS", tiles * lanes / 8), ("PANEL_ROWS", PANEL_ROWS)]
}

/// What a kernel of the tile family is specialised by: rows and columns of a workgroup.
pub(super) fn tile_constants(tile: u32) -> Constants {
    vec![("TILE", tile), ("HALVES", tile / 32)]
}

/// What the epilogue of a kernel is specialised by.
pub(super) fn variant(kind: u32, dropout: u32, optimizer: u32) -> Constants {
    vec![("ACTIVATION", kind), ("DROPOUT", dropout), ("OPTIMIZER", optimizer)]
}

/// Every activation with and without dropout, every rule of masks and every optimizer.
fn plain_variants() -> Vec<Constants> {
    (0..6).flat_map(|kind| [0, 1, 2 + kind % 5].map(|dropout| variant(kind, dropout, kind % 3 + 1))).collect()
}

/// Some of the activations, one for each shape: every width of subgroups, or every tile.
fn with_some(shapes: impl IntoIterator<Item = Constants>) -> Vec<Constants> {
    let rest = [(0, 0, 1), (1, 1, 2), (2, 2, 3), (5, 0, 1), (3, 3, 2), (4, 4, 3), (1, 5, 1)];
    let both = |(shape, (kind, dropout, optimizer))| [shape, variant(kind, dropout, optimizer)].concat();
    shapes.into_iter().zip(rest.into_iter().cycle()).map(both).collect()
}

fn shuffle_variants() -> Vec<Constants> {
    with_some(
        [(4, 2), (4, 8), (8, 1), (8, 4), (8, 8), (16, 1), (16, 2), (16, 4)].map(|(lanes, tiles)| shuffle_constants(lanes, tiles)),
    )
}

fn tile_variants() -> Vec<Constants> {
    with_some([64, 32, 64, 32, 32, 64].map(tile_constants))
}

const fn entry(name: &'static str, matmul: Matmul, sections: &'static [&'static str], tensors: &'static [Binding]) -> Entry {
    let params = (size_of::<DenseParams>(), DenseParams::FIELDS);
    match matmul {
        Matmul::Plain => Entry { name, file: "dense.wgsl", source: PLAIN, params, sections, tensors, variants: plain_variants },
        Matmul::Shuffle { .. } => {
            Entry { name, file: "dense_shuffle.wgsl", source: SHUFFLE, params, sections, tensors, variants: shuffle_variants }
        }
        Matmul::Tile => Entry { name, file: "dense_tile.wgsl", source: TILE, params, sections, tensors, variants: tile_variants },
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
                    if discriminant(&self.matmul) == discriminant(&$matmul) {
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
    TILE = "dense_forward_tile" as Matmul::Tile, BUFFERS;
}

dense_kernel! {
    /// The gradient with respect to what `x = drop(f(z))` was made of: `dx` with respect to z.
    DenseBackwardInput, ["step", "sites"], { epilogue: Epilogue },
    read [samples: 3]; operands [x: 4, weight: 5, dy: 6]; write [dx: 7];
    PLAIN = "dense_backward_input" as Matmul::Plain, BUFFERS;
    SHUFFLE = "dense_backward_input_shuffle" as ANY_LANES, TEXTURES;
    TILE = "dense_backward_input_tile" as Matmul::Tile, BUFFERS;
}

dense_kernel! {
    /// `dW = dy^T x` and, after it in `gradient`, `db`, the column sums of `dy`.
    DenseBackwardWeight, ["step"], {},
    read []; operands [x: 4, dy: 6]; write [gradient: 7];
    PLAIN = "dense_backward_weight" as Matmul::Plain, BUFFERS;
    SHUFFLE = "dense_backward_weight_shuffle" as ANY_LANES, TEXTURES;
    TILE = "dense_backward_weight_tile" as Matmul::Tile, BUFFERS;
}

dense_kernel! {
    /// The same, and the optimizer's update of W and b with it.
    DenseUpdate, ["step", "optimizer"], { update: Update },
    read []; operands [x: 4, dy: 6]; write [w: 7, m: 8, v: 9];
    PLAIN = "dense_update" as Matmul::Plain, BUFFERS;
    SHUFFLE = "dense_update_shuffle" as ANY_LANES, TEXTURES;
    TILE = "dense_update_tile" as Matmul::Tile, BUFFERS;
}
