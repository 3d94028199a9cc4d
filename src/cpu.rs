//! Runs plans through the CPU twins, kernel by kernel: the oracle of the device, and the way out without any adapter (slow).

use std::time::Instant;

use crate::memory::{Memory, Tensor};
use crate::plan::Plans;
use crate::profile::Lap;
use crate::step::Step;
use crate::work::{Snapshot, Work};

/// Plans and their buffers in host memory.
#[derive(Debug)]
pub struct Executor {
    plans: Plans,
    memory: Memory,
}

impl Executor {
    /// Zeroed buffers for these plans.
    pub fn new(plans: Plans) -> Self {
        let memory = Memory::new(plans.buffers.iter().map(|b| b.words));
        Self { plans, memory }
    }

    /// The plans.
    pub fn plans(&self) -> &Plans {
        &self.plans
    }

    /// The buffers.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Runs one kernel of a plan.
    pub fn run_kernel(&self, plan: usize, kernel: usize, step: &Step) {
        let plan = &self.plans.plans[plan];
        for member in 0..plan.options.members as usize {
            plan.kernels[kernel].twin(&self.memory, step, member);
        }
    }

    /// Runs steps and returns the metrics after the last.
    pub(crate) fn run(&self, work: &[Work]) -> Snapshot {
        for Work { plan, step } in work {
            for kernel in 0..self.plans.plans[*plan].kernels.len() {
                self.run_kernel(*plan, kernel, step);
            }
        }
        Snapshot::new(&self.plans, |tensor, words| self.read_span(tensor, words))
    }

    /// Runs steps kernel by kernel with the host's clock beside them.
    pub(crate) fn profile(&self, work: &[Work]) -> Vec<Lap> {
        let mut laps = Vec::new();
        for &Work { plan, ref step } in work {
            for kernel in 0..self.plans.plans[plan].kernels.len() {
                let began = Instant::now();
                self.run_kernel(plan, kernel, step);
                laps.push(Lap { plan, kernel, copies: false, microseconds: 1e6 * began.elapsed().as_secs_f64() });
            }
        }
        laps
    }

    /// `words` words from the beginning of a tensor.
    fn read_span(&self, tensor: Tensor, words: u32) -> Vec<u32> {
        self.memory.buffer(tensor.buffer)[tensor.offset as usize..][..words as usize].to_vec()
    }
}
