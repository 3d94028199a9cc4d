//! `shaders/thinned_update.wgsl`: the optimizer's step of all units from the gradient of the kept ones.

use super::optimizer::{self, exact};
use super::units::{self, Sides, UnitsParams};
use super::{Constants, Kernel, Tolerance, kernel};
use crate::memory::Memory;
use crate::plan::Update;
use crate::step::{DROPPED, Section, Step};

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/optimizer_step.wgsl"),
    include_str!("../../shaders/lib/optimizer.wgsl"),
    include_str!("../../shaders/lib/dense_update.wgsl"),
    include_str!("../../shaders/thinned_update.wgsl")
);

const ROWS: u32 = 4; // of thinned_update.wgsl

fn variants() -> Vec<Constants> {
    let of = |optimizer| units::spans().into_iter().map(move |span| [span, vec![("OPTIMIZER", optimizer)]].concat());
    (1..4).flat_map(of).collect()
}

kernel! {
    /// The optimizer's step with `g[o, i] = compact_gradient[position_rows[o], position_columns[i]]`, 0 where o or i is dropped.
    ThinnedUpdate = "thinned_update" in "thinned_update.wgsl", SOURCE;
    params UnitsParams; sections [position_rows, optimizer, position_columns]; site update: Update; sides sides: Sides;
    read [compact_gradient: 4]; write [w: 7, m: 8, v: 9]; variants variants
}

/// What the kernel writes of w, m and v, and how far the device may be off; `None` where it writes nothing.
type Written = [Vec<Option<(f64, f64)>>; 3];

impl ThinnedUpdate {
    fn results(&self, memory: &Memory, step: &Step, member: usize) -> Written {
        let compact = memory.f32(self.compact_gradient, member);
        let (w, m, v) = (memory.f32(self.w, member), memory.f32(self.m, member), memory.f32(self.v, member));
        let (width, read_width) = (4 * self.params.quads as usize, 4 * self.params.read_quads as usize);
        let values = &step.members[member];
        let positions = |site: Option<usize>, all: u32| match site {
            Some(site) => values.sites[site].positions(),
            None => (0..all).collect(),
        };
        let rows = positions(self.sides.rows, self.params.rows);
        let columns = positions(self.sides.columns, self.params.columns);
        let mut results = [vec![None; w.len()], vec![None; w.len()], vec![None; w.len()]];
        for (o, &row) in rows.iter().enumerate() {
            for i in 0..width {
                let column = columns.get(i).copied().unwrap_or(DROPPED);
                let dropped = row == DROPPED || column == DROPPED;
                let g = exact(if dropped { 0.0 } else { compact[row as usize * read_width + column as usize] });
                let at = o * width + i;
                let new = optimizer::updated(self.update, &values.optimizer, g, (w[at], m[at]), || v[at]);
                results.iter_mut().zip(new).for_each(|(result, new)| result[at] = new);
            }
        }
        results
    }
}

impl Kernel for ThinnedUpdate {
    fn sections(&self) -> Vec<Section> {
        let positions = |site: Option<usize>| site.map_or(Section::Unused, Section::Positions);
        vec![positions(self.sides.rows), Section::Optimizer, positions(self.sides.columns)]
    }

    fn constants(&self) -> Constants {
        [self.params.constants(), vec![("OPTIMIZER", super::dense::optimizer_constant(self.update))]].concat()
    }

    fn grid(&self) -> [u32; 2] {
        self.params.grid(self.params.rows, ROWS)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        let results = self.results(memory, step, member);
        for (tensor, results) in [self.w, self.m, self.v].into_iter().zip(results) {
            for (out, new) in memory.f32_mut(tensor, member).iter_mut().zip(results) {
                if let Some((value, _)) = new {
                    *out = value as f32;
                }
            }
        }
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        // No difference is below -1: what is left alone has the same bits.
        let bounds = |new: Vec<Option<(f64, f64)>>| {
            Tolerance::Bounds(new.into_iter().map(|new| new.map_or(-1.0, |(_, bound)| bound)).collect())
        };
        self.results(memory, step, member).map(bounds).into()
    }
}
