//! Which kernels multiply matrices on a device: chosen here and nowhere else, by what the device can do and by shapes, never by
//! timing, which would change the order of sums from run to run. [`crate::Device::with_matmul`] forces a family.

use std::fmt;

use serde::Serialize;

use super::texture::{PAD_QUADS, PANEL_ROWS, ROW_WORDS};
use crate::plan::Caps;

/// The families of matrix products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Matmul {
    /// `dense.wgsl`: any device; operands straight from buffers, no barrier.
    Plain,
    /// `dense_shuffle.wgsl`, `recurrent_shuffle.wgsl`: software adapters with subgroups of so many lanes.
    Shuffle {
        /// Lanes of every subgroup: 4, 8 or 16.
        lanes: u32,
    },
    /// `dense_tile.wgsl`: any device, made for GPUs; operands through workgroup memory, sums in registers. How fast it is on
    /// hardware has not been measured yet.
    Tile,
}

impl fmt::Display for Matmul {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain => f.write_str("plain"),
            Self::Shuffle { lanes: 0 } => f.write_str("shuffle"),
            Self::Shuffle { lanes } => write!(f, "shuffle of {lanes} lanes"),
            Self::Tile => f.write_str("tile"),
        }
    }
}

/// The parts that the sum over a batch is made in: `count` parts of at most `rows` rows, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Splits {
    /// Number of parts.
    pub count: u32,
    /// Rows of a part; the last may have fewer.
    pub rows: u32,
}

/// The fewest rows of a batch in a part of its sum: its partial sums are written and read once, whatever it sums.
const SPLIT_ROWS: u32 = 256;

/// The workgroups that the parts of a sum are to give a GPU.
const SPLIT_GROUPS: u32 = 256;

/// The workgroups of 64 x 64 that a product must have so that smaller ones are not used. Chosen without a measurement: GPUs have
/// from a handful of cores to more than a hundred.
const LARGE_GROUPS: u32 = 64;

impl Matmul {
    /// The family for a device with subgroups of these sizes (smallest, largest).
    pub fn of(software: bool, subgroups: (u32, u32)) -> Self {
        match subgroups {
            _ if !software => Self::Tile,
            (lanes @ (4 | 8 | 16), largest) if lanes == largest => Self::Shuffle { lanes },
            _ => Self::Plain,
        }
    }

    /// Words that the rows of weights and activations are padded to.
    pub fn row_words(self) -> u32 {
        match self {
            Self::Plain | Self::Tile => 4,
            Self::Shuffle { .. } => ROW_WORDS,
        }
    }

    /// The family for a dense layer of `[outputs, inputs]` over a batch: the plain one where matrices that should be textures do
    /// not fit into them, and the tile one, whose loops are shorter, where the device would end those of the plain one.
    pub fn for_layer(self, caps: &Caps, [batch, inputs, outputs, members]: [u32; 4]) -> Self {
        let longest = batch.max(inputs.div_ceil(4)).max(outputs.div_ceil(4));
        match self.with_textures(caps, [batch, inputs, outputs, members]) {
            Self::Plain if longest > caps.max_iterations / 2 => Self::Tile,
            family => family,
        }
    }

    fn with_textures(self, caps: &Caps, [batch, inputs, outputs, members]: [u32; 4]) -> Self {
        let Self::Shuffle { .. } = self else { return self };
        let width = |columns: u32, rows: u32| {
            let panels = u64::from(rows.div_ceil(PANEL_ROWS)) * u64::from(members);
            (u64::from(columns.next_multiple_of(ROW_WORDS) / 4) + u64::from(PAD_QUADS)) * panels
        };
        let widest = width(inputs, batch).max(width(outputs, batch)).max(width(inputs, outputs));
        let fits = outputs <= PANEL_ROWS && widest <= u64::from(caps.max_texture) && PANEL_ROWS < caps.max_texture;
        if fits { self } else { Self::Plain }
    }

    /// The family for the steps of a recurrent layer, whose W_hh is `[outputs, hidden]`: it is the only texture of the shuffle family's
    /// kernels, in one panel for each member. The plain one where it does not fit, in place of the tile one, and for 16 lanes, with which
    /// a case of the shuffle kernels has failed on lavapipe.
    pub fn for_steps(self, caps: &Caps, [hidden, outputs, members]: [u32; 3]) -> Self {
        let Self::Shuffle { lanes: 4 | 8 } = self else { return Self::Plain };
        let width = (u64::from(hidden.next_multiple_of(ROW_WORDS) / 4) + u64::from(PAD_QUADS)) * u64::from(members);
        let fits = outputs <= PANEL_ROWS && width <= u64::from(caps.max_texture) && PANEL_ROWS < caps.max_texture;
        if fits { self } else { Self::Plain }
    }

    /// The parts in which the gradient of a weight `[outputs, inputs]` is summed over a batch. Each part has workgroups of its
    /// own, so that a small gradient over many rows keeps a GPU busy; a texture has the rows of a panel in one piece.
    pub fn splits(self, [outputs, inputs]: [u32; 2], batch: u32) -> Splits {
        match self {
            Self::Plain => Splits { count: 1, rows: batch },
            Self::Shuffle { .. } => Splits { count: batch.div_ceil(PANEL_ROWS), rows: PANEL_ROWS },
            Self::Tile => {
                let groups = outputs.div_ceil(64) * inputs.div_ceil(64);
                let most = SPLIT_GROUPS.div_ceil(groups).min(batch / SPLIT_ROWS).max(1);
                // Even parts, of whole slices of dense_tile.wgsl.
                let rows = batch.div_ceil(most).next_multiple_of(16);
                Splits { count: batch.div_ceil(rows), rows }
            }
        }
    }
}

/// A product as the kernels see it: what of the shape of its result decides how it is divided among workgroups.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product {
    /// Rows of the result.
    pub(super) rows: u32,
    /// Quads of its columns.
    pub(super) quads: u32,
    /// How many parts its sums are made in.
    pub(super) splits: u32,
    /// Whether it is the gradient of a weight, a sum over the batch.
    pub(super) of_weight: bool,
}

impl Product {
    /// Rows and columns of the result that one workgroup of the tile family makes: 64, or 32 where that would leave too few
    /// workgroups.
    pub(super) fn tile(self) -> u32 {
        let groups = u64::from(self.rows.div_ceil(64)) * u64::from(self.quads.div_ceil(16)) * u64::from(self.splits);
        if groups >= u64::from(LARGE_GROUPS) { 64 } else { 32 }
    }

    /// Rows of the result that one workgroup of the shuffle family makes, in tiles of `lanes`: as many as registers hold, fewer
    /// where the result is small, so that every core has work.
    pub(super) fn shuffle_tiles(self, lanes: u32) -> u32 {
        let groups = |tiles: u32| self.rows.div_ceil(tiles * lanes) * self.quads.div_ceil(lanes);
        // 64 rows load less for every product. Over a batch that was a fifth faster or more on lavapipe, with 8 and with 16 lanes; for
        // the gradient of a weight it was slower.
        if lanes >= 8 && !self.of_weight && groups(64 / lanes) >= 32 {
            return 64 / lanes;
        }
        let most = 32 / lanes;
        let least = 8u32.div_ceil(lanes);
        let mut tiles = most;
        while tiles > least && groups(tiles) < 4 {
            tiles /= 2;
        }
        tiles
    }
}

#[cfg(test)]
mod tests {
    use super::{Matmul, Product, Splits};

    #[test]
    fn software_adapters_shuffle_where_they_can_and_gpus_use_tiles() {
        assert_eq!(Matmul::of(false, (0, 0)), Matmul::Tile);
        assert_eq!(Matmul::of(false, (8, 8)), Matmul::Tile);
        assert_eq!(Matmul::of(true, (8, 8)), Matmul::Shuffle { lanes: 8 });
        assert_eq!(Matmul::of(true, (4, 8)), Matmul::Plain);
        assert_eq!(Matmul::of(true, (0, 0)), Matmul::Plain);
    }

    #[test]
    fn the_parts_of_a_sum_cover_the_batch_and_give_a_gpu_work() {
        assert_eq!(Matmul::Tile.splits([50, 500], 100_000), Splits { count: 32, rows: 3136 });
        assert_eq!(Matmul::Tile.splits([1024, 1024], 100_000), Splits { count: 1, rows: 100_000 });
        assert_eq!(Matmul::Tile.splits([10, 128], 511).count, 1);
        assert_eq!(Matmul::Tile.splits([10, 128], 512), Splits { count: 2, rows: 256 });
        assert_eq!(Matmul::Plain.splits([1, 1], 100_000).count, 1);
        assert_eq!(Matmul::Shuffle { lanes: 8 }.splits([50, 500], 8193), Splits { count: 3, rows: 4096 });
        for batch in [1, 15, 255, 256, 257, 600, 1021, 4099, 65_537, 1 << 24] {
            for outputs in [1, 50, 64, 65, 700, 5000] {
                let Splits { count, rows } = Matmul::Tile.splits([outputs, 300], batch);
                assert!(
                    count >= 1 && u64::from(count - 1) * u64::from(rows) < u64::from(batch),
                    "{outputs} over {batch}: an empty part"
                );
                assert!(u64::from(count) * u64::from(rows) >= u64::from(batch), "{outputs} over {batch}: rows are left out");
                assert!(count == 1 || rows >= 256, "{outputs} over {batch}: parts of {rows} rows");
            }
        }
    }

    #[test]
    fn a_small_product_has_smaller_tiles_unless_its_parts_are_many() {
        let tile = |rows, quads, splits| Product { rows, quads, splits, of_weight: false }.tile();
        assert_eq!([tile(512, 128, 1), tile(128, 256, 1), tile(1, 1, 1), tile(u32::MAX, 1 << 20, 1)], [64, 32, 32, 64]);
        assert_eq!([tile(50, 125, 32), tile(50, 125, 3)], [64, 32]);
    }
}
