//! Kernels that work on the columns of a matrix, such as the sums over a batch: how they divide it among workgroups
//! (`shaders/lib/columns.wgsl`), and what their twins share.

use std::ops::Range;

pub(super) use super::sums::{Number, bounds, store};
use super::{EPS, WORKGROUP};
use crate::memory::Tensor;

/// Quads of columns that a workgroup takes side by side, where there are as many: 256 bytes of a row.
const MOST_QUADS: u32 = 16;

/// The fewest rows of a part: what is found in it is written and read once, whatever it sums.
const PART_ROWS: u32 = 128;

/// The most parts; one invocation goes through all of them.
const MOST_PARTS: u32 = 64;

/// The workgroups that the parts of a sum are to give a GPU.
const PART_GROUPS: u32 = 256;

/// How a workgroup lies over a matrix: `1 << width_shift` quads of columns side by side, and under each its lanes, a row each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    /// Quads of the matrix.
    pub(super) quads: u32,
    /// The logarithm of the quads of a workgroup.
    pub(super) width_shift: u32,
}

impl Block {
    /// For a matrix of so many columns.
    pub(super) fn new(columns: u32) -> Self {
        let quads = columns.div_ceil(4);
        Self { quads, width_shift: quads.next_power_of_two().min(MOST_QUADS).trailing_zeros() }
    }

    /// Rows that a workgroup takes at a time.
    pub(super) fn lanes(self) -> u32 {
        WORKGROUP >> self.width_shift
    }

    /// Workgroups side by side.
    pub(super) fn groups(self) -> u32 {
        self.quads.div_ceil(1 << self.width_shift)
    }

    /// The grid of a kernel whose workgroups take `rows` rows of `room`.
    pub(super) fn grid(self, room: u32, rows: u32) -> [u32; 2] {
        [self.groups(), room.div_ceil(rows).max(1)]
    }
}

/// The parts that sums over the rows of a batch are made in: `count` parts of `rows` rows, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// Number of parts, at most 64.
    pub count: u32,
    /// Rows of a part; the last may have fewer.
    pub rows: u32,
}

impl Parts {
    /// For a batch of at most `room` rows of so many columns, whatever it has in a step: as many parts as give a GPU work.
    pub fn new(room: u32, columns: u32) -> Self {
        let most = PART_GROUPS.div_ceil(Block::new(columns).groups()).min(MOST_PARTS);
        let rows = room.div_ceil(most).max(PART_ROWS);
        Self { count: room.div_ceil(rows).max(1), rows }
    }

    /// The rows of a part, of `valid` in all.
    pub(super) fn range(self, part: u32, valid: u32) -> Range<usize> {
        let first = (part * self.rows).min(valid);
        first as usize..(first + self.rows).min(valid) as usize
    }
}

/// The error of an operation: WGSL rounds to either side.
pub(super) const UNIT: f64 = 2.0 * EPS;

/// The error of n such operations in a row.
pub(super) fn gamma_unit(n: usize) -> f64 {
    super::gamma(2 * n)
}

/// No numbers, for all words of a tensor.
pub(super) fn untouched(tensor: Tensor) -> Vec<Number> {
    vec![None; tensor.len as usize]
}

/// `1 / sqrt(variance + epsilon)` and its error, where the variance is off by `error`.
///
/// The variance of the device may be anywhere around; then come an addition and inverseSqrt, 2 ULP or 2 units; the twin rounds.
pub(super) fn inverse_deviation((variance, error): (f64, f64), epsilon: f32) -> (f64, f64) {
    let inverse = |variance: f64| 1.0 / (variance.max(0.0) + f64::from(epsilon)).sqrt();
    let (low, exact, high) = (inverse(variance + error), inverse(variance), inverse(variance - error));
    (exact, (exact - low).max(high - exact) * (1.0 + 3.0 * UNIT) + 3.5 * UNIT * exact)
}

#[cfg(test)]
mod tests {
    use super::{Block, Parts};

    #[test]
    fn the_parts_of_a_batch_cover_it_and_none_is_empty() {
        for room in [0, 1, 127, 128, 129, 5000, 12_544, 100_352, 1 << 20] {
            for columns in [1, 16, 64, 65, 512, 10_000] {
                let Parts { count, rows } = Parts::new(room, columns);
                assert!((1..=64).contains(&count) && rows >= 128, "{room} x {columns}: {count} parts of {rows}");
                assert!(u64::from(count) * u64::from(rows) >= u64::from(room), "{room} x {columns}: rows are left out");
                assert!(room == 0 || (count - 1) * rows < room, "{room} x {columns}: an empty part");
            }
        }
        assert_eq!(Parts::new(100_352, 64), Parts { count: 64, rows: 1568 });
        assert_eq!(Parts::new(64, 10_000).count, 1);
    }

    #[test]
    fn a_block_has_as_many_quads_as_the_matrix_but_at_most_16() {
        let of = |columns| (1 << Block::new(columns).width_shift, Block::new(columns).groups());
        assert_eq!(
            [of(1), of(5), of(16), of(20), of(64), of(68), of(512)],
            [(1, 1), (2, 1), (4, 1), (8, 1), (16, 1), (16, 2), (16, 8)]
        );
    }
}
