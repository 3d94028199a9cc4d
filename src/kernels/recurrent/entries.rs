//! The entries of the recurrent kernels: their sources, bindings and variants, one entry for each kernel of each family.

use super::{RecurrentMask, RecurrentParams, RecurrentShape, RecurrentSite, inputs};
use crate::kernels::texture::PANEL_ROWS;
use crate::kernels::{Access, Binding, Constants, Declared, Entry};
use crate::mask_rule::{MaskRule, SiteMask};
use crate::memory::Tensor;
use crate::network::Cell;

macro_rules! source {
    ($($file:literal),*) => {
        concat!(
            include_str!("../../../shaders/lib/step.wgsl"),
            include_str!("../../../shaders/lib/index.wgsl"),
            include_str!("../../../shaders/lib/mul_high.wgsl"),
            include_str!("../../../shaders/lib/division.wgsl"),
            include_str!("../../../shaders/lib/philox.wgsl"),
            include_str!("../../../shaders/lib/dropout.wgsl"),
            include_str!("../../../shaders/lib/kept_bits.wgsl"),
            include_str!("../../../shaders/lib/activation.wgsl"),
            include_str!("../../../shaders/lib/recurrent.wgsl"),
            $(include_str!(concat!("../../../shaders/", $file))),*
        )
    };
}

const PLAIN: &str = source!("recurrent.wgsl");
const SHUFFLE: &str = source!("lib/texture.wgsl", "recurrent_shuffle.wgsl");

pub(super) fn constants(shape: RecurrentShape, site: Option<RecurrentSite>) -> Constants {
    let of_family = match shape.lanes {
        0 => vec![("ROWS", shape.rows)],
        lanes => vec![("LANES", lanes), ("TILES", shape.rows / lanes), ("PANEL_ROWS", PANEL_ROWS)],
    };
    let of_layer = [
        ("CELL", shape.cell as u32),
        ("GATES", shape.cell.gates()),
        ("INPUTS", inputs(shape.cell, site.map(|site| site.kind))),
        ("DROPOUT", site.map_or(0, |site| site.mask.rule.constant())),
        ("MASKS", site.map_or(0, |site| site.kind as u32)),
    ];
    of_family.into_iter().chain(of_layer).collect()
}

/// Every cell with every kind of mask and none, in shapes that take turns; and every rule.
fn variants(shapes: &[[u32; 2]]) -> Vec<Constants> {
    let site = |kind, rule| RecurrentSite { mask: SiteMask { index: 0, rule }, kind };
    let kinds = RecurrentMask::ALL.map(|kind| Some(site(kind, MaskRule::Pass))).into_iter().chain([None]);
    let cells = [Cell::Gru, Cell::Lstm, Cell::RnnTanh, Cell::RnnRelu].into_iter();
    let all = cells.flat_map(|cell| kinds.clone().map(move |site| (cell, site)));
    let rules = MaskRule::ALL.into_iter().zip(RecurrentMask::ALL.into_iter().cycle());
    let rules = rules.map(|(rule, kind)| (Cell::Gru, Some(site(kind, rule))));
    let with_shape = |(i, (cell, site)): (usize, _)| {
        // Four kinds of masks for each cell: where four is a multiple of the shapes, they take turns from cell to cell.
        let turn = if 4 % shapes.len() == 0 { i + i / 4 } else { i };
        let [lanes, rows] = shapes[turn % shapes.len()];
        constants(RecurrentShape { cell, lanes, rows }, site)
    };
    all.chain(rules).enumerate().map(with_shape).collect()
}

fn plain_variants() -> Vec<Constants> {
    variants(&[[0, 1], [0, 4]])
}

fn shuffle_variants() -> Vec<Constants> {
    variants(&[[8, 16], [4, 8], [16, 16], [4, 16], [8, 8]])
}

const fn binding(name: &'static str, number: u32, access: Access) -> Binding {
    Binding { name, number, access }
}

const fn entry(name: &'static str, shuffle: bool, tensors: &'static [Binding]) -> Entry {
    let params = (size_of::<RecurrentParams>(), RecurrentParams::FIELDS);
    let (file, source, variants): (_, _, fn() -> Vec<Constants>) = match shuffle {
        true => ("recurrent_shuffle.wgsl", SHUFFLE, shuffle_variants),
        false => ("recurrent.wgsl", PLAIN, plain_variants),
    };
    Entry { name, file, source, params, sections: &["step", "sites"], tensors, variants }
}

impl RecurrentParams {
    /// W without its bias, and the bias, of the tensor with both.
    fn parts(&self, shape: RecurrentShape, weight: Tensor) -> [Tensor; 2] {
        let (rows, bias_at) = (4 * shape.cell.gates() * self.hidden_quads, 4 * self.bias_at);
        let bias = Tensor { offset: weight.offset + bias_at, len: weight.len - bias_at, ..weight };
        [Tensor { len: rows * 4 * self.weight_row, ..weight }, bias]
    }
}

/// Declares a kernel of both families. The shuffle family has W as a texture, and where it adds the bias a binding for that.
macro_rules! recurrent_kernel {
    ($(#[$doc:meta])* $kernel:ident = $plain:literal, $shuffle:literal; read $read:ident: 4; bias [$($bias:ident)?]) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        #[expect(missing_docs, reason = "each field is a binding that the shader's header describes")]
        pub struct $kernel {
            pub params: RecurrentParams,
            pub site: Option<RecurrentSite>,
            pub shape: RecurrentShape,
            pub samples: Tensor,
            pub $read: Tensor,
            pub weight: Tensor,
            pub gates: Tensor,
            pub sequence: Tensor,
        }

        impl $kernel {
            /// The entry point of the plain family.
            pub const PLAIN: Entry = entry($plain, false, &[
                binding("samples", 3, Access::Read),
                binding(stringify!($read), 4, Access::Read),
                binding("weight", 5, Access::Read),
                binding("gates", 6, Access::Write),
                binding("sequence", 7, Access::Write),
            ]);
            /// The entry point of the shuffle family.
            pub const SHUFFLE: Entry = entry($shuffle, true, &[
                binding("samples", 3, Access::Read),
                binding(stringify!($read), 4, Access::Read),
                binding("weight", 5, Access::Texture),
                $(binding(stringify!($bias), 8, Access::Read),)?
                binding("gates", 6, Access::Write),
                binding("sequence", 7, Access::Write),
            ]);
        }

        impl Declared for $kernel {
            fn entry(&self) -> &'static Entry {
                static PLAIN: Entry = $kernel::PLAIN;
                static SHUFFLE: Entry = $kernel::SHUFFLE;
                if self.shape.lanes == 0 { &PLAIN } else { &SHUFFLE }
            }

            fn params(&self) -> &[u8] {
                bytemuck::bytes_of(&self.params)
            }

            fn tensors(&self) -> Vec<Tensor> {
                if self.shape.lanes == 0 {
                    return vec![self.samples, self.$read, self.weight, self.gates, self.sequence];
                }
                let [weight, _bias] = self.params.parts(self.shape, self.weight);
                $(let $bias = _bias;)?
                vec![self.samples, self.$read, weight, $($bias,)? self.gates, self.sequence]
            }
        }
    };
}

recurrent_kernel! {
    /// Step t: activated `gates`, and in `sequence` the output, the state and the recurrent input of the following step. `weight` has
    /// W and, behind it, its bias.
    RecurrentForward = "recurrent_forward", "recurrent_forward_shuffle"; read lengths: 4; bias [bias]
}

recurrent_kernel! {
    /// Step t backward: in `gates` the gradients of what was activated, and in `sequence` what the step before needs. `weight` has W
    /// and, behind it, its bias.
    RecurrentBackward = "recurrent_backward", "recurrent_backward_shuffle"; read dy: 4; bias []
}
