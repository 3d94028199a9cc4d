//! What executors are given and what they give back: steps of plans, and the metrics at the end of a submission.

use crate::memory::Tensor;
use crate::plan::Plans;
use crate::step::Step;

/// The most steps of one submission; a plan whose rows of the step table are long has fewer, see [`Plans::max_steps`].
pub const MAX_STEPS: usize = 1024;

/// Bytes of the step table, unless a single row has more. A dropout layer takes 256 bytes of a row, so that all of [`MAX_STEPS`] fit for up to
/// some sixty of them; one of per-batch units lists units. Steps of more layers or of such widths are slow enough for fewer.
const TABLE_BYTES: u32 = 1 << 24;

/// How many rows of so many bytes the step table has.
pub(crate) fn table_rows(row_bytes: u32) -> usize {
    ((TABLE_BYTES / row_bytes) as usize).clamp(1, MAX_STEPS)
}

/// One step of one plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    /// The plan's number.
    pub plan: usize,
    /// Its step.
    pub step: Step,
}

/// The metrics of every plan at the end of a submission.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// By plan: sums of losses and hits, `[member][slot]`; empty for a plan without metrics.
    metrics: Vec<(u32, Vec<u32>, Vec<u32>)>,
}

impl Snapshot {
    /// Reads the metrics of every plan with `read(tensor, words)`.
    pub(crate) fn new(plans: &Plans, mut read: impl FnMut(Tensor, u32) -> Vec<u32>) -> Self {
        let metrics = plans.plans.iter().map(|plan| match plan.metrics {
            None => (0, Vec::new(), Vec::new()),
            Some(m) => {
                let members = plan.options.members;
                (m.losses.stride, read(m.losses, m.losses.span(members)), read(m.hits, m.hits.span(members)))
            }
        });
        Self { metrics: metrics.collect() }
    }

    /// The sum of the row losses and the number of correct rows of a plan's member in a slot.
    pub fn sums(&self, plan: usize, member: u32, slot: u32) -> (f32, u32) {
        let (stride, losses, hits) = &self.metrics[plan];
        let at = (stride * member + slot) as usize;
        (f32::from_bits(losses[at]), hits[at])
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_STEPS, table_rows};

    #[test]
    fn the_step_table_has_all_rows_that_fit_and_one_at_least() {
        assert_eq!([256, 1 << 14, 1 << 15, 1 << 24, u32::MAX].map(table_rows), [MAX_STEPS, MAX_STEPS, 512, 1, 1]);
    }
}
