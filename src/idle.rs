//! Updates of weights without a gradient, which wait until somebody reads the weight.
//!
//! Where a batch drops units, the rows of a weight that belong to them have no gradient: their optimizer's step depends on the weight
//! and its moments alone. Until the row is kept again nobody reads it, so its steps wait, and are then made one after another, without
//! storing what lies between: the same operations in the same order for a part of the loads and stores. No weight is behind at the
//! end of a submission, nor when a step of another plan reads it. Max-norm reads every weight in every step: there nothing waits.
//!
//! One kernel makes all of these steps, whether they waited or not, so that no weight depends on where submissions end; that a driver
//! compiles its copies of the formula alike is guarded by `training::updates_that_wait_change_no_bit` and by tests/resume.rs.

use std::borrow::Cow;

use crate::plan::{Mode, Plans};
use crate::step::{DROPPED, OptimizerStep, SiteStep};
use crate::work::Work;

/// Most steps of a row that are made together: the scalars of so many lie in the step table, and a kernel goes through all of them.
/// At keep_prob 0.5 one row in 16 has waited longer, at 0.2 two in five.
pub const MAX_UPDATES: u32 = 4;

/// The rows without a gradient that a step updates, of a weight whose rows a site thins.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Idle {
    /// The optimizer's scalars of the steps before this one, the last first.
    pub earlier: Vec<OptimizerStep>,
    /// Rows, each with how many steps it has waited, this one included: at least 1, and at most one more than there are scalars of
    /// earlier steps.
    pub rows: Vec<[u32; 2]>,
}

impl Idle {
    /// All rows that a step drops, which have not waited.
    pub fn all_dropped(site: &SiteStep) -> Self {
        let dropped = (0..).zip(site.positions()).filter(|&(_, at)| at == DROPPED);
        Self { earlier: Vec::new(), rows: dropped.map(|(unit, _)| [unit, 1]).collect() }
    }

    /// Panics unless a kernel may be given the list: it would read past the scalars, and write where a row has a gradient.
    pub(crate) fn check(&self, site: &SiteStep) {
        let scalars = 1 + self.earlier.len() as u32;
        assert!(scalars <= MAX_UPDATES, "the scalars of {scalars} steps, where {MAX_UPDATES} have room");
        let most = site.units as usize - site.kept.len();
        assert!(self.rows.len() <= most, "{} rows are listed, where {most} have room", self.rows.len());
        let positions = site.positions();
        let mut listed = vec![false; positions.len()];
        for &[row, updates] in &self.rows {
            assert!((1..=scalars).contains(&updates), "row {row} has waited {updates} steps, with the scalars of {scalars}");
            let idle = positions.get(row as usize) == Some(&DROPPED) && !std::mem::replace(&mut listed[row as usize], true);
            assert!(idle, "row {row} is listed twice, or is not one that the batch drops");
        }
    }

    /// The list as `idle_update.wgsl` reads it.
    pub fn words(&self) -> Vec<u32> {
        let rows = self.rows.iter().map(|&[row, updates]| MAX_UPDATES * row + updates - 1);
        std::iter::once(self.rows.len() as u32).chain(rows).collect()
    }

    /// The scalars of this step and, behind it, of those before.
    pub fn optimizers<'a>(&'a self, now: &'a OptimizerStep) -> impl Iterator<Item = &'a OptimizerStep> {
        std::iter::once(now).chain(&self.earlier)
    }
}

/// The same steps, in which rows without a gradient wait for the step before the one that keeps them.
pub(crate) fn put_off<'a>(plans: &Plans, work: &'a [Work]) -> Cow<'a, [Work]> {
    let waits = |plan: usize| {
        let plan = &plans.plans[plan];
        let reads_all = matches!(plan.options.mode, Mode::Train(training) if training.max_norm);
        !reads_all && plan.sites.iter().any(|site| site.layout.idle)
    };
    if !work.iter().any(|work| waits(work.plan)) {
        return Cow::Borrowed(work);
    }
    let mut work = work.to_vec();
    for run in work.chunk_by_mut(|a, b| a.plan == b.plan).filter(|run| waits(run[0].plan)) {
        let plan = &plans.plans[run[0].plan];
        for member in 0..plan.options.members as usize {
            for site in (0..plan.sites.len()).filter(|&site| plan.sites[site].layout.idle) {
                put_off_at(run, member, site);
            }
        }
    }
    Cow::Owned(work)
}

/// The same for one site in steps of one plan that follow each other.
fn put_off_at(run: &mut [Work], member: usize, site: usize) {
    let values = |work: &Work| work.step.members[member].sites[site].positions();
    let dropped: Vec<Vec<bool>> = run.iter().map(|work| values(work).into_iter().map(|at| at == DROPPED).collect()).collect();
    let mut waited = vec![0; dropped[0].len()];
    for now in 0..run.len() {
        let mut rows = Vec::new();
        for unit in (0..waited.len()).filter(|&unit| dropped[now][unit]) {
            waited[unit] += 1;
            let waits = dropped.get(now + 1).is_some_and(|next| next[unit]);
            if !waits || waited[unit] == MAX_UPDATES {
                rows.push([unit as u32, std::mem::take(&mut waited[unit])]);
            }
        }
        let before = rows.iter().map(|&[_, updates]| updates as usize - 1).max().unwrap_or(0);
        let earlier = run[now - before..now].iter().rev().map(|work| work.step.members[member].optimizer).collect();
        run[now].step.members[member].sites[site].idle = Some(Idle { earlier, rows });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Dropout;
    use crate::rng;
    use crate::step::{Draw, MemberStep, Step};

    /// Steps that keep `kept` of 40 units, each with a learning rate of its own.
    fn steps(count: u32, keep: f64) -> Vec<Work> {
        let step = |update| {
            let draw = Draw { key: rng::key(3), site: 1, units: 40, map: [1, 1], epoch: 0, update };
            let site = SiteStep::of(&Dropout::units(keep).unwrap(), &draw);
            let optimizer = OptimizerStep { learning_rate: update as f32, ..Default::default() };
            Work { plan: 0, step: Step::new(1, vec![MemberStep { key: draw.key, optimizer, sites: vec![site] }]) }
        };
        (0..count).map(step).collect()
    }

    /// How often each unit's row is updated without a gradient, with the scalars of which steps.
    fn made(run: &[Work]) -> Vec<Vec<(usize, f32)>> {
        let mut made = vec![Vec::new(); 40];
        for (at, work) in run.iter().enumerate() {
            let member = &work.step.members[0];
            let idle = member.sites[0].idle.clone().unwrap_or_else(|| Idle::all_dropped(&member.sites[0]));
            let optimizers: Vec<_> = idle.optimizers(&member.optimizer).collect();
            for &[row, updates] in &idle.rows {
                assert!((1..=MAX_UPDATES).contains(&updates));
                made[row as usize].extend(optimizers[..updates as usize].iter().rev().map(|o| (at, o.learning_rate)));
            }
        }
        made
    }

    #[test]
    fn every_update_is_made_once_in_order_and_before_its_row_is_read() {
        for keep in [0.8, 0.5, 0.1, 1.0] {
            for count in [1, 2, 30] {
                let plain = steps(count, keep);
                let mut run = plain.clone();
                put_off_at(&mut run, 0, 0);
                let (made, at_once) = (made(&run), made(&plain));
                for unit in 0..40 {
                    let scalars = |updates: &[(usize, f32)]| updates.iter().map(|&(_, scalar)| scalar).collect::<Vec<_>>();
                    assert_eq!(scalars(&made[unit]), scalars(&at_once[unit]), "unit {unit}");
                    for &(at, due) in &made[unit] {
                        let read = |step: usize| plain[step].step.members[0].sites[0].kept.contains(&(unit as u32));
                        assert!(due as usize <= at && !(due as usize..=at).any(read), "unit {unit} of step {due} at {at}");
                    }
                }
                let lists = run.iter().map(|work| work.step.members[0].sites[0].idle.as_ref().map_or(0, |idle| idle.rows.len()));
                let (rows, dropped) = (lists.sum::<usize>(), at_once.iter().map(Vec::len).sum::<usize>());
                assert!(
                    count < 30 || keep > 0.6 || 4 * rows < 3 * dropped,
                    "{rows} of {dropped} rows are written, so nothing waits"
                );
            }
        }
    }
}
