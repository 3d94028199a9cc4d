//! `shaders/units.wgsl`: thinned networks of per-batch unit dropout, between whole matrices and those of the kept units alone.

use super::{Kernel, WORKGROUP, kernel, params};
use crate::memory::Memory;
use crate::step::{DROPPED, Section, Step, list_words};

const SOURCE: &str = concat!(include_str!("../../shaders/lib/step.wgsl"), include_str!("../../shaders/units.wgsl"));

params! {
    /// `params` of `units.wgsl`.
    UnitsParams {
        rows: u32, columns: u32, quads: u32, read_quads: u32,
        rows_thinned: u32, columns_thinned: u32, row_list_stride: u32, column_list_stride: u32,
        read_stride: u32, write_stride: u32, block_quads: u32, pad0: u32,
    }
}

/// Which site of the plan thins the rows of a matrix, and which its columns; `None` where all are kept. Of a weight
/// `[outputs, inputs]` the rows are thinned by the site behind the layer, the columns by the site in front of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sides {
    /// The site that drops rows.
    pub rows: Option<usize>,
    /// The site that drops columns.
    pub columns: Option<usize>,
}

impl UnitsParams {
    /// For a matrix `[rows, columns]` that is written from one with rows of `read_columns`, without strides, in the shortest
    /// blocks. The rows of both are padded to quads; `quads` and `read_quads` may be set to more, up to rows of a multiple of 64 columns.
    pub fn new(sides: Sides, [rows, columns]: [u32; 2], read_columns: u32) -> Self {
        Self {
            rows,
            columns,
            quads: columns.div_ceil(4),
            read_quads: read_columns.div_ceil(4),
            rows_thinned: sides.rows.is_some().into(),
            columns_thinned: sides.columns.is_some().into(),
            // A list of kept units is as long as the side that a gather writes, one of positions as that of a scatter.
            row_list_stride: list_words(rows),
            column_list_stride: list_words(columns),
            block_quads: 8,
            ..Self::default()
        }
    }

    /// A grid over `rows` rows.
    pub(super) fn grid(&self, rows: u32) -> [u32; 2] {
        [self.quads.div_ceil(self.block_quads).max(1), rows.div_ceil(WORKGROUP / 8).max(1)]
    }

    /// Words of a row that is written, and of one that is read.
    fn widths(&self) -> (usize, usize) {
        (4 * self.quads as usize, 4 * self.read_quads as usize)
    }
}

kernel! {
    /// `compact[a, b] = weight[kept_rows[a], kept_columns[b]]`, with all rows or columns where [`Sides`] says so.
    GatherWeight = "gather_weight" in "units.wgsl", SOURCE;
    params UnitsParams; sections [kept_rows, kept_columns]; sides sides: Sides;
    read [weight: 3]; write [compact: 4]
}

kernel! {
    /// `dweight[o, i] = compact_gradient[position_rows[o], position_columns[i]]`, 0 where o or i is dropped.
    ScatterGradient = "scatter_gradient" in "units.wgsl", SOURCE;
    params UnitsParams; sections [position_rows, position_columns]; sides sides: Sides;
    read [compact_gradient: 3]; write [dweight: 4]
}

kernel! {
    /// `compact[r, b] = x[r, kept_columns[b]]` of the valid rows of the batch.
    GatherColumns = "gather_columns" in "units.wgsl", SOURCE;
    params UnitsParams; sections [step, kept_columns]; site site;
    read [x: 3]; write [compact: 4]
}

/// The units of a matrix's side that are kept, of `all` where no site thins it.
pub(super) fn kept(step: &Step, member: usize, site: Option<usize>, all: u32) -> Vec<u32> {
    site.map_or_else(|| (0..all).collect(), |site| step.members[member].sites[site].kept.clone())
}

/// The sections of both sides; a side that is not thinned is bound to something that it does not use.
fn sections(sides: Sides, section: fn(usize) -> Section) -> Vec<Section> {
    [sides.rows, sides.columns].map(|site| site.map_or(Section::Step, section)).into()
}

impl Kernel for GatherWeight {
    fn sections(&self) -> Vec<Section> {
        sections(self.sides, Section::Kept)
    }

    fn grid(&self) -> [u32; 2] {
        self.params.grid(self.params.rows)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let (weight, mut compact) = (memory.u32(self.weight, member), memory.u32_mut(self.compact, member));
        let rows = kept(step, member, self.sides.rows, self.params.rows);
        let columns = kept(step, member, self.sides.columns, self.params.columns);
        let (width, read_width) = self.params.widths();
        for (a, row) in rows.into_iter().enumerate() {
            let out = &mut compact[a * width..][..width];
            out.fill(0);
            for (out, column) in out.iter_mut().zip(&columns).filter(|&(_, &column)| row != DROPPED && column != DROPPED) {
                *out = weight[row as usize * read_width + *column as usize];
            }
        }
    }
}

impl Kernel for ScatterGradient {
    fn sections(&self) -> Vec<Section> {
        sections(self.sides, Section::Positions)
    }

    fn grid(&self) -> [u32; 2] {
        self.params.grid(self.params.rows)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let (compact, mut dweight) = (memory.u32(self.compact_gradient, member), memory.u32_mut(self.dweight, member));
        let rows = kept(step, member, self.sides.rows, self.params.rows);
        let columns = kept(step, member, self.sides.columns, self.params.columns);
        let (width, read_width) = self.params.widths();
        dweight[..self.params.rows as usize * width].fill(0);
        for (a, row) in rows.into_iter().enumerate().filter(|&(_, row)| row != DROPPED) {
            for (b, column) in columns.iter().enumerate().filter(|&(_, &column)| column != DROPPED) {
                dweight[row as usize * width + *column as usize] = compact[a * read_width + b];
            }
        }
    }
}

impl Kernel for GatherColumns {
    fn sections(&self) -> Vec<Section> {
        vec![Section::Step, Section::Kept(self.site)]
    }

    fn grid(&self) -> [u32; 2] {
        self.params.grid(self.compact.len / (4 * self.params.quads).max(1))
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let (x, mut compact) = (memory.u32(self.x, member), memory.u32_mut(self.compact, member));
        let columns = &step.members[member].sites[self.site].kept;
        let (width, read_width) = self.params.widths();
        for r in 0..step.rows as usize {
            let out = &mut compact[r * width..][..width];
            out.fill(0);
            for (out, column) in out.iter_mut().zip(columns).filter(|&(_, &column)| column != DROPPED) {
                *out = x[r * read_width + *column as usize];
            }
        }
    }
}
