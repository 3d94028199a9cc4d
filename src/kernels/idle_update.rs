//! `shaders/idle_update.wgsl`: the optimizer's steps of rows of a weight that have no gradient; see [`crate::idle`].

use super::optimizer::{self, Written, bounds, exact, write};
use super::{Constants, Kernel, Tolerance, WORKGROUP, kernel, params};
use crate::idle::Idle;
use crate::memory::Memory;
use crate::plan::Update;
use crate::step::{Section, Step, list_words};

const SOURCE: &str = concat!(
    include_str!("../../shaders/lib/step.wgsl"),
    include_str!("../../shaders/lib/optimizer_step.wgsl"),
    include_str!("../../shaders/lib/optimizer.wgsl"),
    include_str!("../../shaders/lib/chosen_optimizer.wgsl"),
    include_str!("../../shaders/idle_update.wgsl")
);

fn variants() -> Vec<Constants> {
    (1..4).map(|optimizer| vec![("OPTIMIZER", optimizer)]).collect()
}

params! {
    /// `params` of `idle_update.wgsl`.
    IdleParams { dropped: u32, quads: u32, list_stride: u32, stride: u32, block_quads: u32, pad0: u32, pad1: u32, pad2: u32 }
}

impl IdleParams {
    /// For a weight whose rows have so many quads, where a step drops so many of them, without a stride, in the shortest blocks.
    pub fn new(dropped: u32, quads: u32) -> Self {
        // Where nothing is dropped there is a grid all the same.
        Self { dropped: dropped.max(1), quads, list_stride: list_words(1 + dropped), block_quads: 8, ..Self::default() }
    }
}

kernel! {
    /// As many of the optimizer's steps with `g = 0` as each listed row of a weight has waited.
    IdleUpdate = "idle_update" in "idle_update.wgsl", SOURCE;
    params IdleParams; sections [idle]; site site; sides update: Update;
    read []; write [w: 2, m: 3, v: 4]; variants variants
}

impl IdleUpdate {
    fn results(&self, memory: &Memory, step: &Step, member: usize) -> Written {
        let (w, m, v) = (memory.f32(self.w, member), memory.f32(self.m, member), memory.f32(self.v, member));
        let (values, width) = (&step.members[member], 4 * self.params.quads as usize);
        let site = &values.sites[self.site];
        let idle = site.idle.clone().unwrap_or_else(|| Idle::all_dropped(site));
        let optimizers: Vec<_> = idle.optimizers(&values.optimizer).collect();
        let mut results = [vec![None; w.len()], vec![None; w.len()], vec![None; w.len()]];
        for &[row, updates] in &idle.rows {
            for at in (row as usize * width..).take(width) {
                let mut now = [Some(exact(w[at])), Some(exact(m[at])), (self.update != Update::Sgd).then(|| exact(v[at]))];
                for o in optimizers[..updates as usize].iter().rev() {
                    let [w, m, v] = now.map(|value| value.unwrap_or_default());
                    now = optimizer::updated(self.update, o, exact(0.0), (w, m), || v).map(|new| new.map(optimizer::stored));
                }
                results.iter_mut().zip(now).for_each(|(result, new)| result[at] = new);
            }
        }
        results
    }
}

impl Kernel for IdleUpdate {
    fn sections(&self) -> Vec<Section> {
        vec![Section::Idle(self.site)]
    }

    fn constants(&self) -> Constants {
        vec![("OPTIMIZER", super::dense::optimizer_constant(self.update))]
    }

    fn grid(&self) -> [u32; 2] {
        [self.params.quads.div_ceil(self.params.block_quads), self.params.dropped.div_ceil(WORKGROUP / 8)]
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        write(memory, member, [self.w, self.m, self.v], self.results(memory, step, member));
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        bounds(self.results(memory, step, member))
    }
}
