//! The dense layer, forward and backward, with what comes before and after it fused: `shaders/lib/dense.wgsl` has the formulas,
//! `dense.wgsl`, `dense_shuffle.wgsl` and `dense_tile.wgsl` the kernels of the families of [`Matmul`]. One type here stands for
//! a kernel of every family: they differ in bindings and grid, not in what they compute, and share one twin.

use super::matmul::{Matmul, Product};
use super::texture::PANEL_ROWS;
use super::{Constants, Kernel, Tolerance, WORKGROUP, activation, params};
use crate::mask_rule::SiteMask;
use crate::memory::{Memory, Tensor};
use crate::network::Activation;
use crate::plan::Update;
use crate::step::{Section, Step};

mod entries;
mod twin;

pub use entries::{DenseBackwardInput, DenseBackwardWeight, DenseForward, DenseUpdate};

const TILE_ROWS: u32 = 8; // of dense.wgsl
const TILE_TERMS: u32 = 16; // of a slice of dense_tile.wgsl

params! {
    /// `params` of the kernels of the dense layer.
    DenseParams {
        input_quads: u32, input_row: u32, outputs: u32, output_quads: u32,
        output_row: u32, bias_at: u32, panels: u32, splits: u32,
        stream_and_site: u32, samples_stride: u32, x_stride: u32, y_stride: u32,
        weight_stride: u32, split_rows: u32, split_quads: u32, stored_stride: u32,
    }
}

impl DenseParams {
    /// A layer over a batch of `rows`, its rows padded to `row_words`, without dropout, without strides and summed in one piece.
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
            split_rows: rows,
            ..Self::default()
        }
    }
}

/// What is done to the outputs of a dense layer before they are stored: an activation, then dropout.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Epilogue {
    /// The activation; GELU is none of a fused kernel, since its derivative needs its input.
    pub activation: Activation,
    /// Where there is dropout: the plan's site, and how its masks are drawn.
    pub site: Option<SiteMask>,
}

impl Epilogue {
    /// Nothing.
    pub const NONE: Self = Self { activation: Activation::Identity, site: None };

    fn constants(&self) -> Constants {
        entries::variant(activation::kind(self.activation), self.site.map_or(0, |site| site.rule.constant()), 1)
    }

    fn sections(&self) -> Vec<Section> {
        vec![Section::Step, self.site.map_or(Section::Unused, |site| Section::Site(site.index))]
    }
}

/// The number of an optimizer in WGSL, see `lib/chosen_optimizer.wgsl`.
pub(super) fn optimizer_constant(update: Update) -> u32 {
    match update {
        Update::Sgd => 1,
        Update::Adam => 2,
        Update::RmsProp => 3,
    }
}

/// Rows of the batch that a tensor has room for.
fn rows(tensor: Tensor, row_quads: u32) -> u32 {
    tensor.len / (4 * row_quads)
}

/// The grid of a product; the parts of a sum follow each other in y.
fn grid(matmul: Matmul, product: Product) -> [u32; 2] {
    let Product { rows, quads, splits, .. } = product;
    let [x, y] = match matmul {
        Matmul::Plain => [quads.div_ceil(8), rows.div_ceil(TILE_ROWS * (WORKGROUP / 8))],
        Matmul::Shuffle { lanes } => [quads.div_ceil(lanes), rows.div_ceil(lanes * product.shuffle_tiles(lanes))],
        Matmul::Tile => [quads.div_ceil(product.tile() / 4), rows.div_ceil(product.tile())],
    };
    [x, y * splits]
}

fn constants(matmul: Matmul, product: Product, epilogue: Constants) -> Constants {
    let shape = match matmul {
        Matmul::Plain => Vec::new(),
        Matmul::Shuffle { lanes } => entries::shuffle_constants(lanes, product.shuffle_tiles(lanes)),
        Matmul::Tile => entries::tile_constants(product.tile()),
    };
    [shape, epilogue].concat()
}

/// Iterations of the loop over the terms of a sum, so many quads of them, and of those over the rows of a mask.
fn terms(matmul: Matmul, quads: u32) -> u64 {
    let over_masks = 128;
    over_masks
        + match matmul {
            Matmul::Plain | Matmul::Shuffle { .. } => u64::from(quads),
            Matmul::Tile => u64::from(quads.div_ceil(TILE_TERMS / 4)),
        }
}

/// The same of a sum over so many rows of a batch.
fn rows_summed(matmul: Matmul, rows: u32) -> u64 {
    match matmul {
        Matmul::Plain => u64::from(rows) + 1,
        Matmul::Shuffle { .. } => u64::from(rows.div_ceil(4)) + 1,
        Matmul::Tile => u64::from(rows.div_ceil(TILE_TERMS)) + 1,
    }
}

/// Words of the rows of each texture operand, given in quads.
fn texture_rows(matmul: Matmul, quads: &[u32]) -> Vec<u32> {
    match matmul {
        Matmul::Plain | Matmul::Tile => Vec::new(),
        Matmul::Shuffle { .. } => quads.iter().map(|row| 4 * row).collect(),
    }
}

impl DenseForward {
    fn product(&self) -> Product {
        Product { rows: rows(self.y, self.params.output_row), quads: self.params.output_quads, splits: 1, of_weight: false }
    }
}

impl Kernel for DenseForward {
    fn sections(&self) -> Vec<Section> {
        self.epilogue.sections()
    }

    fn constants(&self) -> Constants {
        constants(self.matmul, self.product(), self.epilogue.constants())
    }

    fn texture_rows(&self) -> Vec<u32> {
        texture_rows(self.matmul, &[self.params.input_row; 2])
    }

    fn grid(&self) -> [u32; 2] {
        grid(self.matmul, self.product())
    }

    fn iterations(&self) -> u64 {
        terms(self.matmul, self.params.input_quads)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        twin::store(memory, self.y, member, &self.results(memory, step, member));
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        vec![twin::bounds(self.y, &self.results(memory, step, member))]
    }
}

impl DenseBackwardInput {
    fn product(&self) -> Product {
        Product { rows: rows(self.dx, self.params.input_row), quads: self.params.input_quads, splits: 1, of_weight: false }
    }
}

impl Kernel for DenseBackwardInput {
    fn sections(&self) -> Vec<Section> {
        self.epilogue.sections()
    }

    fn constants(&self) -> Constants {
        constants(self.matmul, self.product(), self.epilogue.constants())
    }

    fn texture_rows(&self) -> Vec<u32> {
        texture_rows(self.matmul, &[self.params.input_row, self.params.input_row, self.params.output_row])
    }

    fn grid(&self) -> [u32; 2] {
        grid(self.matmul, self.product())
    }

    fn iterations(&self) -> u64 {
        terms(self.matmul, self.params.output_quads)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        twin::store(memory, self.dx, member, &self.results(memory, step, member));
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        vec![twin::bounds(self.dx, &self.results(memory, step, member))]
    }
}

impl DenseBackwardWeight {
    fn product(&self) -> Product {
        Product { rows: self.params.outputs, quads: self.params.input_quads, splits: self.params.splits, of_weight: true }
    }
}

impl Kernel for DenseBackwardWeight {
    fn constants(&self) -> Constants {
        constants(self.matmul, self.product(), Epilogue::NONE.constants())
    }

    fn texture_rows(&self) -> Vec<u32> {
        texture_rows(self.matmul, &[self.params.input_row, self.params.output_row])
    }

    fn grid(&self) -> [u32; 2] {
        grid(self.matmul, self.product())
    }

    fn iterations(&self) -> u64 {
        rows_summed(self.matmul, self.params.split_rows)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        twin::store(memory, self.gradient, member, &self.results(memory, step, member));
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        vec![twin::bounds(self.gradient, &self.results(memory, step, member))]
    }
}

impl DenseUpdate {
    fn product(&self) -> Product {
        Product { rows: self.params.outputs, quads: self.params.input_quads, splits: self.params.splits, of_weight: true }
    }
}

impl Kernel for DenseUpdate {
    fn sections(&self) -> Vec<Section> {
        vec![Section::Step, Section::Optimizer]
    }

    fn constants(&self) -> Constants {
        constants(self.matmul, self.product(), entries::variant(0, 0, optimizer_constant(self.update)))
    }

    fn texture_rows(&self) -> Vec<u32> {
        texture_rows(self.matmul, &[self.params.input_row, self.params.output_row])
    }

    fn grid(&self) -> [u32; 2] {
        grid(self.matmul, self.product())
    }

    fn iterations(&self) -> u64 {
        rows_summed(self.matmul, self.params.split_rows)
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
