//! One time step of a recurrent layer in one direction, forward and backward, gates fused: `shaders/lib/recurrent.wgsl` has the
//! formulas, `recurrent.wgsl` and `recurrent_shuffle.wgsl` the kernels of the families of [`Matmul`]. One type here stands for a
//! kernel of either family: they share one twin.
//!
//! A layer over T steps is T launches forward, [`RecurrentParams::at`] for the step of each, and T backward in the opposite order.
//! What comes before them and after is products of whole matrices: `W_ih x + b_ih` for all steps at once, the gradients of the
//! weights, the gradient of x.

use super::division::Division;
use super::matmul::Matmul;
use super::{Constants, Kernel, MAX_GROUPS, Tolerance, linear_grid, params};
use crate::mask_rule::SiteMask;
use crate::memory::{Memory, Tensor};
use crate::network::Cell;
use crate::plan::Caps;
use crate::step::{Section, Step};

mod entries;
mod twin;

pub use entries::{RecurrentBackward, RecurrentForward};

params! {
    /// `params` of `recurrent.wgsl`.
    RecurrentParams {
        hidden: u32, hidden_quads: u32, gates_row: u32, hidden_row: u32,
        weight_row: u32, bias_at: u32, steps: u32, t: u32,
        before: u32, after: u32, first: u32, last: u32,
        carried: u32, y_at: u32, input_at: u32,
        input_plane: u32, cell_at: u32, hidden_at: u32, stream_and_site: u32,
        samples_stride: u32, lengths_stride: u32, weight_stride: u32, gates_stride: u32,
        sequence_stride: u32, dy_stride: u32, by_quads: Division, pad0: u32, pad1: u32, pad2: u32, pad3: u32,
    }
}

/// Who shares a mask of recurrent dropout, beside what [`crate::mask_rule::MaskRule`] says of samples and draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecurrentMask {
    /// All steps and all gates: unit f of the hidden units (Gal and Ghahramani 2016, tied).
    Tied,
    /// The gates; every step t has another mask: unit t H + f of H hidden units.
    Step,
    /// All steps; every gate g has another mask: unit g H + f (Gal and Ghahramani 2016, untied).
    Untied,
}

impl RecurrentMask {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Tied, Self::Step, Self::Untied];
}

/// Recurrent dropout: a site of the plan, and who shares its masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecurrentSite {
    /// The site, and how its masks are drawn.
    pub mask: SiteMask,
    /// Who shares them.
    pub kind: RecurrentMask,
}

/// What the module is specialised by beside the masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecurrentShape {
    /// The cell.
    pub cell: Cell,
    /// Lanes of a workgroup of the shuffle family, 4, 8 or 16; 0 for the plain one.
    pub lanes: u32,
    /// Samples of an invocation, which share each weight that it loads: of the plain family 1, or 4 for software adapters; of the
    /// shuffle family 8 or 16, a multiple of its lanes.
    pub rows: u32,
}

impl RecurrentShape {
    /// The kernels for a layer on a device: those of the family that [`Matmul::for_steps`] names.
    pub fn of(caps: &Caps, size: &RecurrentSize, members: u32) -> Self {
        let cell = size.cell;
        match caps.matmul.for_steps(caps, [size.hidden, size.columns(), members]) {
            Matmul::Shuffle { lanes } => {
                // On lavapipe with 8 lanes, 8, 16 and 32 samples were about as fast. Fewer give every core work where a layer is small.
                let groups = size.hidden.div_ceil(4 * lanes) * size.batch.div_ceil(16);
                Self { cell, lanes, rows: if groups < 4 { 8 } else { 16 } }
            }
            Matmul::Plain | Matmul::Tile => Self { cell, lanes: 0, rows: if caps.software { 4 } else { 1 } },
        }
    }
}

/// The extents of a recurrent layer in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecurrentSize {
    /// The cell.
    pub cell: Cell,
    /// Hidden units H, at least 1.
    pub hidden: u32,
    /// Steps T of the longest sequence, at least 1.
    pub steps: u32,
    /// Rows of the batch.
    pub batch: u32,
    /// Words that rows are padded to, a multiple of 4.
    pub row_words: u32,
    /// The kind of its recurrent dropout, where it has any.
    pub masks: Option<RecurrentMask>,
}

/// Where the planes of `sequence` begin, in words from its beginning, each a multiple of 64. A cell that lacks a plane has no words
/// in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planes {
    /// The outputs, `[batch T, hidden_words]`.
    pub y: u64,
    /// The recurrent inputs, `[batch T, hidden_words]` each.
    pub input: u64,
    /// How many of them there are: one for all gates, or one for each.
    pub inputs: u32,
    /// Words from one of them to the next.
    pub input_plane: u64,
    /// c and its carry of the LSTM, the carry of the GRU, `[batch T, hidden_words]`.
    pub cell: u64,
    /// Of the GRU, `[batch T, gates_words]`.
    pub hidden: u64,
    /// Words of a member. Where they do not fit a buffer the planes do not fit [`RecurrentParams`] either.
    pub words: u64,
}

impl RecurrentSize {
    /// Words of a row of y, of an input, of cell, of dy and of W.
    pub fn hidden_words(&self) -> u32 {
        self.hidden.next_multiple_of(self.row_words)
    }

    /// Rows of W, columns of `gates`: each gate has `hidden` of them, rounded up to 4.
    pub fn columns(&self) -> u32 {
        self.cell.gates() * self.hidden.next_multiple_of(4)
    }

    /// Words of a row of `gates` and of the hidden plane.
    pub fn gates_words(&self) -> u32 {
        self.columns().next_multiple_of(self.row_words)
    }

    /// Words from W to its bias, a multiple of 64.
    pub fn bias_words(&self) -> u32 {
        (self.columns() * self.hidden_words()).next_multiple_of(64)
    }

    /// How `sequence` is divided.
    pub fn planes(&self) -> Planes {
        let rows = u64::from(self.batch) * u64::from(self.steps);
        let plane = |words: u32| (rows * u64::from(words)).next_multiple_of(64);
        let (of_hidden, inputs) = (plane(self.hidden_words()), inputs(self.cell, self.masks));
        let cell = of_hidden * (1 + u64::from(inputs));
        let hidden = cell + if matches!(self.cell, Cell::Gru | Cell::Lstm) { of_hidden } else { 0 };
        let words = hidden + if self.cell == Cell::Gru { plane(self.gates_words()) } else { 0 };
        Planes { y: 0, input: of_hidden, inputs, input_plane: of_hidden, cell, hidden, words }
    }
}

/// Input planes of a cell.
fn inputs(cell: Cell, masks: Option<RecurrentMask>) -> u32 {
    if masks == Some(RecurrentMask::Untied) { cell.gates() } else { 1 }
}

impl RecurrentParams {
    /// A layer whose samples all have every step, without strides, without a site, and with its bias where
    /// [`RecurrentSize::bias_words`] says; its step is that of [`RecurrentParams::at`].
    pub fn new(size: &RecurrentSize) -> Self {
        let (planes, hidden_quads) = (size.planes(), size.hidden.div_ceil(4));
        let quads = |words: u64| (words / 4) as u32;
        let params = Self {
            hidden: size.hidden,
            hidden_quads,
            gates_row: size.gates_words() / 4,
            hidden_row: size.hidden_words() / 4,
            weight_row: size.hidden_words() / 4,
            bias_at: size.bias_words() / 4,
            steps: size.steps,
            y_at: quads(planes.y),
            input_at: quads(planes.input),
            input_plane: quads(planes.input_plane),
            cell_at: quads(planes.cell),
            hidden_at: quads(planes.hidden),
            by_quads: Division::by(hidden_quads),
            ..Self::default()
        };
        params.at(0, false, None)
    }

    /// Step t, below `steps`, of a layer that goes from the first step to the last, or in `reverse`.
    ///
    /// With a truncation of k steps, at least 1, no gradient passes between the steps k n - 1 and k n, whatever the direction and the
    /// length (Williams and Peng 1990, with h = h' = k): the state does.
    pub fn at(self, t: u32, reverse: bool, truncation: Option<u32>) -> Self {
        let end = self.steps - 1;
        let place = if reverse { end - t } else { t };
        let (first, last) = (place == 0, place == end);
        let (before, after) = if reverse { (t + 1, t.wrapping_sub(1)) } else { (t.wrapping_sub(1), t + 1) };
        // The later of the two steps that the gradient would pass between.
        let cut = truncation.is_some_and(|steps| (if reverse { t } else { t + 1 }).is_multiple_of(steps));
        Self {
            t,
            before: if first { t } else { before },
            after: if last { t } else { after },
            first: first.into(),
            last: last.into(),
            carried: (!last && !cut).into(),
            ..self
        }
    }
}

/// One invocation per quad of units of as many samples as it takes, of the rows that `gates` has room for.
fn grid(params: &RecurrentParams, shape: RecurrentShape, gates: Tensor) -> [u32; 2] {
    let samples = gates.len / (4 * params.gates_row) / params.steps;
    let tiles = samples.div_ceil(shape.rows);
    match shape.lanes {
        0 => linear_grid(tiles * params.hidden_quads, MAX_GROUPS),
        lanes => [params.hidden_quads.div_ceil(lanes), tiles],
    }
}

macro_rules! recurrent_kernel {
    ($kernel:ident) => {
        impl Kernel for $kernel {
            fn sections(&self) -> Vec<Section> {
                vec![Section::Step, self.site.map_or(Section::Unused, |site| Section::Site(site.mask.index))]
            }

            fn constants(&self) -> Constants {
                entries::constants(self.shape, self.site)
            }

            fn texture_rows(&self) -> Vec<u32> {
                if self.shape.lanes == 0 { Vec::new() } else { vec![4 * self.params.weight_row] }
            }

            fn grid(&self) -> [u32; 2] {
                grid(&self.params, self.shape, self.gates)
            }

            fn iterations(&self) -> u64 {
                4 * u64::from(self.params.hidden_quads + 1) + u64::from(self.shape.rows)
            }

            fn twin(&self, memory: &Memory, step: &Step, member: usize) {
                let [gates, sequence] = self.results(memory, step, member);
                twin::store(memory, self.gates, member, &gates);
                twin::store(memory, self.sequence, member, &sequence);
            }

            fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
                let [gates, sequence] = self.results(memory, step, member);
                vec![twin::bounds(self.gates, &gates), twin::bounds(self.sequence, &sequence)]
            }
        }
    };
}

recurrent_kernel!(RecurrentForward);
recurrent_kernel!(RecurrentBackward);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_follow_each_other_at_multiples_of_64_words() {
        for (cell, masks) in Cell::ALL.into_iter().flat_map(|cell| [None, Some(RecurrentMask::Untied)].map(|masks| (cell, masks)))
        {
            let size = RecurrentSize { cell, hidden: 33, steps: 7, batch: 5, row_words: 4, masks };
            let (planes, params) = (size.planes(), RecurrentParams::new(&size));
            let (of_hidden, of_gates) = (1280, (35 * 36 * u64::from(cell.gates())).next_multiple_of(64));
            let inputs = if masks.is_some() { u64::from(cell.gates()) } else { 1 };
            let has_cell = u64::from(matches!(cell, Cell::Gru | Cell::Lstm));
            let has_hidden = u64::from(cell == Cell::Gru);
            assert_eq!((planes.y, planes.input, planes.input_plane), (0, of_hidden, of_hidden), "{cell:?}");
            assert_eq!(u64::from(planes.inputs), inputs);
            assert_eq!((planes.cell, planes.hidden), (of_hidden * (1 + inputs), of_hidden * (1 + inputs + has_cell)), "{cell:?}");
            assert_eq!(planes.words, planes.hidden + has_hidden * of_gates, "{cell:?}");
            let words = [planes.y, planes.input, planes.cell, planes.hidden, planes.words, u64::from(size.bias_words())];
            assert!(words.iter().all(|words| words % 64 == 0), "{cell:?}: {planes:?}");
            assert_eq!(u64::from(4 * params.hidden_at), planes.hidden);
        }
    }

    #[test]
    fn software_adapters_shuffle_where_the_weight_fits_a_texture() {
        let shape = |caps: &Caps, hidden, batch, members| {
            let size =
                RecurrentSize { cell: Cell::Lstm, hidden, steps: 3, batch, row_words: caps.matmul.row_words(), masks: None };
            let RecurrentShape { lanes, rows, .. } = RecurrentShape::of(caps, &size, members);
            [lanes, rows]
        };
        let caps = |software, matmul| Caps { software, matmul, max_texture: 8192, ..Caps::baseline() };
        assert_eq!(shape(&caps(false, Matmul::Tile), 256, 64, 1), [0, 1]);
        assert_eq!(shape(&caps(true, Matmul::Plain), 256, 64, 1), [0, 4]);
        let software = |lanes| caps(true, Matmul::Shuffle { lanes });
        assert_eq!([64, 33, 32].map(|batch| shape(&software(8), 32, batch, 1)), [[8, 16], [8, 8], [8, 8]]);
        assert_eq!([4, 16].map(|lanes| shape(&software(lanes), 3, 1, 1)), [[4, 8], [0, 4]]);
        // 1024 units are 4096 rows of W, one panel of 260 texels, of which 31 fit.
        assert_eq!([1024, 1025].map(|hidden| shape(&software(8), hidden, 64, 31)), [[8, 16], [0, 4]]);
        assert_eq!(shape(&software(8), 1024, 64, 32), [0, 4]);
        assert_eq!(shape(&Caps { max_texture: 4096, ..software(8) }, 4, 64, 1), [0, 4]);
    }

    #[test]
    fn truncation_has_the_same_borders_in_both_directions() {
        let size = RecurrentSize { cell: Cell::Lstm, hidden: 1, steps: 5, batch: 1, row_words: 4, masks: None };
        let params = RecurrentParams::new(&size);
        let carried = |reverse, truncation| std::array::from_fn(|t| params.at(t as u32, reverse, truncation).carried);
        assert_eq!(carried(false, None), [1, 1, 1, 1, 0]);
        assert_eq!(carried(true, None), [0, 1, 1, 1, 1]);
        assert_eq!(carried(false, Some(2)), [1, 0, 1, 0, 0]);
        assert_eq!(carried(true, Some(2)), [0, 1, 0, 1, 0]);
        assert_eq!(carried(true, Some(1)), [0; 5]);
        assert_eq!(carried(false, Some(9)), [1, 1, 1, 1, 0]);
    }
}
