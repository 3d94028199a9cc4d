//! `shaders/thinned_update.wgsl`: the optimizer's step of the kept rows of a weight from the gradient of the kept units.

use super::optimizer::{self, Written, bounds, exact, write};
use super::units::{self, Sides, UnitsParams};
use super::{Constants, Kernel, Tolerance, kernel};
use crate::memory::Memory;
use crate::plan::Update;
use crate::step::{DROPPED, Section, Step};

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/optimizer_step.wgsl"),
    include_str!("../../shaders/lib/optimizer.wgsl"),
    include_str!("../../shaders/lib/chosen_optimizer.wgsl"),
    include_str!("../../shaders/lib/dense_update.wgsl"),
    include_str!("../../shaders/thinned_update.wgsl")
);

fn variants() -> Vec<Constants> {
    (1..4).map(|optimizer| vec![("OPTIMIZER", optimizer)]).collect()
}

kernel! {
    /// The optimizer's step of the rows `o = kept_rows[a]` with `g[o, i] = compact_gradient[a, position_columns[i]]`, 0 where i is
    /// dropped. The other rows are those of [`super::idle_update::IdleUpdate`].
    ThinnedUpdate = "thinned_update" in "thinned_update.wgsl", SOURCE;
    params UnitsParams; sections [kept_rows, optimizer, position_columns]; site update: Update; sides sides: Sides;
    read [compact_gradient: 4]; write [w: 7, m: 8, v: 9]; variants variants
}

impl ThinnedUpdate {
    fn results(&self, memory: &Memory, step: &Step, member: usize) -> Written {
        let compact = memory.f32(self.compact_gradient, member);
        let (w, m, v) = (memory.f32(self.w, member), memory.f32(self.m, member), memory.f32(self.v, member));
        let (width, read_width) = (4 * self.params.quads as usize, 4 * self.params.read_quads as usize);
        let values = &step.members[member];
        let rows = units::kept(step, member, self.sides.rows, self.params.rows);
        let columns = match self.sides.columns {
            Some(site) => values.sites[site].positions(),
            None => (0..self.params.columns).collect(),
        };
        let mut results = [vec![None; w.len()], vec![None; w.len()], vec![None; w.len()]];
        for (a, row) in rows.into_iter().enumerate().filter(|&(_, row)| row != DROPPED) {
            for i in 0..width {
                let column = columns.get(i).copied().unwrap_or(DROPPED);
                let g = exact(if column == DROPPED { 0.0 } else { compact[a * read_width + column as usize] });
                let at = row as usize * width + i;
                let new = optimizer::updated(self.update, &values.optimizer, g, (exact(w[at]), exact(m[at])), || exact(v[at]));
                results.iter_mut().zip(new).for_each(|(result, new)| result[at] = new);
            }
        }
        results
    }
}

impl Kernel for ThinnedUpdate {
    fn sections(&self) -> Vec<Section> {
        let of = |site: Option<usize>, list: fn(usize) -> Section| site.map_or(Section::Unused, list);
        vec![of(self.sides.rows, Section::Kept), Section::Optimizer, of(self.sides.columns, Section::Positions)]
    }

    fn constants(&self) -> Constants {
        vec![("OPTIMIZER", super::dense::optimizer_constant(self.update))]
    }

    fn grid(&self) -> [u32; 2] {
        self.params.grid(self.params.rows)
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        write(memory, member, [self.w, self.m, self.v], self.results(memory, step, member));
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        bounds(self.results(memory, step, member))
    }
}
