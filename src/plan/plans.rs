//! The plans of one device, over one table of buffers.

use super::{ALIGN, BufferSpec, Caps, Options, Plan, build};
use crate::kernels::Access;
use crate::memory::{BufferId, Tensor};
use crate::network::Network;
use crate::{Error, Result, work};

/// Iterations that loops with constant bounds may take besides those of [`Kernel::iterations`](crate::kernels::Kernel::iterations).
const CONSTANT_LOOPS: u64 = 256;

/// Plans over one table of buffers.
#[derive(Debug)]
pub struct Plans {
    /// What the device can do.
    pub caps: Caps,
    /// The buffers, by [`BufferId`].
    pub buffers: Vec<BufferSpec>,
    /// The plans, in the order they were added.
    pub plans: Vec<Plan>,
}

impl Plans {
    /// No plans yet.
    pub fn new(caps: Caps) -> Self {
        Self { caps, buffers: Vec::new(), plans: Vec::new() }
    }

    /// Plans a network and returns the plan's number.
    ///
    /// # Errors
    /// A network or options that make no sense, or that do not fit the device.
    pub fn add(&mut self, network: &Network, options: Options) -> Result<usize> {
        let plan = build::plan(network, options, self)?;
        self.check_limits(&plan)?;
        self.plans.push(plan);
        Ok(self.plans.len() - 1)
    }

    /// Adds a hand-made plan, as tests of single kernels do.
    pub fn push(&mut self, plan: Plan) -> usize {
        self.plans.push(plan);
        self.plans.len() - 1
    }

    /// Bytes of a row of the step table, which all plans share.
    pub(crate) fn row_bytes(&self) -> u32 {
        self.plans.iter().map(|plan| plan.row_layout().row_bytes()).max().unwrap_or(256)
    }

    /// The most steps of one submission.
    pub fn max_steps(&self) -> usize {
        work::table_rows(self.row_bytes())
    }

    /// Words that the rows of weights and activations are padded to.
    pub fn row_words(&self) -> u32 {
        self.caps.matmul.row_words()
    }

    /// A buffer by name, made or enlarged to hold `words`. Plans run one after the other, so they may share it.
    pub fn buffer(&mut self, name: &str, words: u64) -> Result<BufferId> {
        let words = u32::try_from(words.next_multiple_of(ALIGN))
            .map_err(|_| self.too_large(name, "bytes", 4 * words, self.caps.max_buffer.min(4 * u64::from(u32::MAX))))?;
        if let Some(i) = self.buffers.iter().position(|b| b.name == name) {
            self.buffers[i].words = self.buffers[i].words.max(words);
            return Ok(BufferId(i));
        }
        self.buffers.push(BufferSpec { name: name.into(), words });
        Ok(BufferId(self.buffers.len() - 1))
    }

    /// A tensor with a buffer of its own, `len` words for each of `members`.
    pub fn tensor(&mut self, name: &str, len: u64, members: u32) -> Result<Tensor> {
        let stride = len.next_multiple_of(ALIGN);
        let buffer = self.buffer(name, stride * u64::from(members))?;
        Ok(Tensor { buffer, offset: 0, len: len as u32, stride: if members == 1 { 0 } else { stride as u32 } })
    }

    fn too_large(&self, what: &str, unit: &str, needed: u64, available: u64) -> Error {
        let remedy = "use a smaller batch, network or data set (bytes take a quarter of the room of f32), or an adapter with larger limits";
        Error::Limit { what: format!("{what} on {} ({unit})", self.caps.adapter), needed, available, remedy }
    }

    /// Whether the device can hold and run a plan.
    ///
    /// # Errors
    /// The first buffer, binding or grid that is too large.
    pub fn check_limits(&self, plan: &Plan) -> Result<()> {
        for buffer in &self.buffers {
            if 4 * u64::from(buffer.words) > self.caps.max_buffer {
                return Err(self.too_large(
                    &format!("buffer {}", buffer.name),
                    "bytes",
                    4 * u64::from(buffer.words),
                    self.caps.max_buffer,
                ));
            }
        }
        for kernel in &plan.kernels {
            // A texture is no binding of a buffer; whether it fits has decided on the kernel.
            let bindings = kernel.entry().tensors.iter().zip(kernel.tensors());
            for (_, tensor) in bindings.filter(|(binding, _)| binding.access != Access::Texture) {
                let bytes = 4 * u64::from(tensor.span(plan.options.members));
                if bytes > self.caps.max_binding {
                    let what = format!("{} of {}", self.buffers[tensor.buffer.0].name, kernel.entry().name);
                    return Err(self.too_large(&what, "bytes", bytes, self.caps.max_binding));
                }
            }
            let needed = kernel.iterations() + CONSTANT_LOOPS;
            if needed > u64::from(self.caps.max_iterations) {
                let what = format!("the loops of {} on {} (iterations)", kernel.entry().name, self.caps.adapter);
                let remedy = "the adapter ends longer loops without a word, and results would be wrong; use fewer units, pixels, steps or \
                              rows in a batch, or another adapter (`cpu` has no such limit)";
                return Err(Error::Limit { what, needed, available: self.caps.max_iterations.into(), remedy });
            }
            if let Some(groups) = kernel.grid().into_iter().find(|&groups| groups > self.caps.max_groups) {
                return Err(self.too_large(
                    &format!("the grid of {}", kernel.entry().name),
                    "workgroups",
                    groups.into(),
                    self.caps.max_groups.into(),
                ));
            }
        }
        Ok(())
    }
}
