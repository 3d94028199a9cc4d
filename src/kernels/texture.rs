//! Matrices as storage textures, for the kernels of `dense_shuffle.wgsl` and `recurrent_shuffle.wgsl`: one texel is a quad of columns.
//!
//! The rows of a member fill panels of at most [`PANEL_ROWS`] rows side by side; the members' panels follow each other. Between
//! two panels lie [`PAD_QUADS`] texels, and under all of them one row that is never written and so stays 0. A texture has no more
//! than the executor's copy of a buffer in it: it carries nothing from one kernel to another.

use crate::memory::Tensor;

/// Rows of a panel; a multiple of every tile, and half the least texture extent that WebGPU guarantees.
pub const PANEL_ROWS: u32 = 4096;

/// Texels between two panels, as in `lib/texture.wgsl`.
pub const PAD_QUADS: u32 = 4;

/// Words of a texture copy's row are a multiple of this: 256 bytes, WebGPU's bytes-per-row alignment.
pub const ROW_WORDS: u32 = 64;

/// Rows that tiles may read past the last one.
const TILE_ROWS: u32 = 64;

/// How a tensor `[rows, row_words]` lies in a texture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Texture {
    /// Words of a row.
    pub row_words: u32,
    /// Rows of one member.
    pub rows: u32,
    /// Copies of the matrix: 1 where the members share it.
    pub members: u32,
}

/// One `copy_buffer_to_texture`: whole rows of the tensor's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copy {
    /// The first word in the buffer.
    pub from: u32,
    /// Where in the texture, in texels.
    pub x: u32,
    /// Number of rows.
    pub rows: u32,
}

impl Texture {
    /// A tensor's rows of `row_words`.
    pub fn new(tensor: Tensor, row_words: u32, members: u32) -> Self {
        Self { row_words, rows: tensor.len / row_words, members: if tensor.stride == 0 { 1 } else { members } }
    }

    /// Panels of one member.
    pub fn panels(&self) -> u32 {
        self.rows.div_ceil(PANEL_ROWS)
    }

    /// Width and height in texels.
    pub fn size(&self) -> [u32; 2] {
        let panel = self.row_words / 4 + PAD_QUADS;
        [panel.saturating_mul(self.panels() * self.members), self.rows.min(PANEL_ROWS).next_multiple_of(TILE_ROWS) + 1]
    }

    /// The copies that fill it.
    pub fn copies(&self, tensor: Tensor) -> Vec<Copy> {
        let panel = |index: u32| {
            let (member, first) = (index / self.panels(), index % self.panels() * PANEL_ROWS);
            let from = tensor.offset + member * tensor.stride + first * self.row_words;
            Copy { from, x: index * (self.row_words / 4 + PAD_QUADS), rows: (self.rows - first).min(PANEL_ROWS) }
        };
        (0..self.members * self.panels()).map(panel).collect()
    }
}
