//! A kernel whose rows are not the samples of the batch: the same kernel, which reads a [`Scope`] in place of the step.

use super::{Constants, Declared, Entry, Kernel, Tolerance};
use crate::memory::{Memory, Tensor};
use crate::step::{Scope, Section, Step};

/// A kernel over the rows of a scope.
#[derive(Debug)]
pub struct Scoped {
    /// The kernel.
    pub kernel: Box<dyn Kernel>,
    /// The scope.
    pub scope: Scope,
    /// Its number in the plan.
    pub number: usize,
}

impl Scoped {
    /// The step as the kernel sees it.
    fn step(&self, step: &Step) -> Step {
        Step { rows: self.scope.rows(step), ..step.clone() }
    }
}

impl Declared for Scoped {
    fn entry(&self) -> &'static Entry {
        self.kernel.entry()
    }

    fn params(&self) -> &[u8] {
        self.kernel.params()
    }

    fn tensors(&self) -> Vec<Tensor> {
        self.kernel.tensors()
    }
}

impl Kernel for Scoped {
    fn sections(&self) -> Vec<Section> {
        let scoped = |section| if section == Section::Step { Section::Scope(self.number) } else { section };
        self.kernel.sections().into_iter().map(scoped).collect()
    }

    fn constants(&self) -> Constants {
        self.kernel.constants()
    }

    fn texture_rows(&self) -> Vec<u32> {
        self.kernel.texture_rows()
    }

    fn grid(&self) -> [u32; 2] {
        self.kernel.grid()
    }

    fn iterations(&self) -> u64 {
        self.kernel.iterations()
    }

    fn twin(&self, memory: &Memory, step: &Step, member: usize) {
        self.kernel.twin(memory, &self.step(step), member);
    }

    fn tolerance(&self, memory: &Memory, step: &Step, member: usize) -> Vec<Tolerance> {
        self.kernel.tolerance(memory, &self.step(step), member)
    }
}
