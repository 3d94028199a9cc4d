//! What executors are given and what they give back: steps of plans, and the metrics at the end of a submission.

use crate::memory::Tensor;
use crate::plan::Plans;
use crate::step::Step;

/// Rows of the step table: the most steps of one submission.
pub const MAX_STEPS: usize = 1024;

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
