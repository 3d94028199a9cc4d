//! Which kernels multiply matrices on a device: chosen here and nowhere else, by what the device can do and by shapes, never by
//! timing, which would change the order of sums from run to run.

use serde::Serialize;

use super::texture::{PAD_QUADS, PANEL_ROWS, ROW_WORDS};
use crate::plan::Caps;

/// The families of matrix products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Matmul {
    /// `dense.wgsl`: any device.
    Plain,
    /// `dense_shuffle.wgsl`: software adapters with subgroups of so many lanes.
    Shuffle {
        /// Lanes of every subgroup: 4, 8 or 16.
        lanes: u32,
    },
}

impl Matmul {
    /// The family for a device with subgroups of these sizes (smallest, largest).
    pub fn of(software: bool, subgroups: (u32, u32)) -> Self {
        match subgroups {
            (lanes @ (4 | 8 | 16), largest) if software && lanes == largest => Self::Shuffle { lanes },
            _ => Self::Plain,
        }
    }

    /// Words that the rows of weights and activations are padded to.
    pub fn row_words(self) -> u32 {
        match self {
            Self::Plain => 4,
            Self::Shuffle { .. } => ROW_WORDS,
        }
    }

    /// The family for a dense layer of `[outputs, inputs]` over a batch: the plain one where the matrices are no textures.
    pub fn for_layer(self, caps: &Caps, [batch, inputs, outputs, members]: [u32; 4]) -> Self {
        let width = |columns: u32, rows: u32| {
            let panels = u64::from(rows.div_ceil(PANEL_ROWS)) * u64::from(members);
            (u64::from(columns.next_multiple_of(ROW_WORDS) / 4) + u64::from(PAD_QUADS)) * panels
        };
        let widest = width(inputs, batch).max(width(outputs, batch)).max(width(inputs, outputs));
        let fits = outputs <= PANEL_ROWS && widest <= u64::from(caps.max_texture) && PANEL_ROWS < caps.max_texture;
        if fits { self } else { Self::Plain }
    }
}

/// Rows of a result that one workgroup of the shuffle family makes, in tiles of `lanes`: as many as registers hold, fewer where
/// the result is small, so that every core has work.
pub(super) fn tiles(lanes: u32, rows: u32, quads: u32) -> u32 {
    let groups = |tiles: u32| rows.div_ceil(tiles * lanes) * quads.div_ceil(lanes);
    let most = 32 / lanes;
    let least = 8u32.div_ceil(lanes);
    let mut tiles = most;
    while tiles > least && groups(tiles) < 4 {
        tiles /= 2;
    }
    tiles
}
