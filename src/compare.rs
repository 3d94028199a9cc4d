//! A kernel on a device and its twin over the same words: what the tests do with every kernel, and `thinnet check` with those of whole
//! steps.

use crate::executor::Executor;
use crate::kernels::{Access, Kernel, Tolerance};
use crate::memory::{BufferId, Tensor};
use crate::plan::Plans;
use crate::step::Step;
use crate::{Result, cpu};

/// What a buffer holds after a kernel ran on a device and through its twin.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// The buffer.
    pub buffer: BufferId,
    /// Its words on the device.
    pub device: Vec<u32>,
    /// Its words after the twin.
    pub twin: Vec<u32>,
    /// How far each word, as f32, may be from the twin's; `None` where the bits must agree.
    pub bounds: Vec<Option<f64>>,
}

impl Compared {
    /// Which words are outside of their bounds, the first five of them with their values.
    pub fn difference(&self) -> Option<String> {
        difference(&self.device, &self.twin, &self.bounds)
    }

    /// The largest distance from the twin in units of its bound, where words are within their bounds.
    pub fn of_bound(&self) -> f64 {
        let value = |word: u32| f64::from(f32::from_bits(word));
        let words = self.device.iter().zip(&self.twin).zip(&self.bounds).filter(|((device, twin), _)| device != twin);
        words.fold(0.0, |largest, ((&device, &twin), bound)| match bound {
            // Zeros of two signs are no distance apart, and may have the bound 0.
            Some(bound) if value(device) != value(twin) => f64::max(largest, (value(device) - value(twin)).abs() / bound),
            _ => largest,
        })
    }
}

/// Which words differ: from equal bits, or where a bound is given, as f32, by more than it. Written so that NaN differs from everything
/// but the same bits, and a bound that is no number admits nothing.
///
/// # Panics
/// If the lengths differ.
pub fn difference(device: &[u32], twin: &[u32], bounds: &[Option<f64>]) -> Option<String> {
    assert!(device.len() == twin.len() && device.len() == bounds.len(), "the lengths differ");
    let value = |word: u32| f64::from(f32::from_bits(word));
    let fits =
        |i: usize| device[i] == twin[i] || bounds[i].is_some_and(|bound| (value(device[i]) - value(twin[i])).abs() <= bound);
    let wrong: Vec<usize> = (0..device.len()).filter(|&i| !fits(i)).collect();
    let line = |&i: &usize| {
        let ([d, t], bound) = ([device[i], twin[i]], bounds[i].map_or("equal bits".into(), |bound| format!("at most {bound:e}")));
        format!(
            "  [{i}] device {:e} ({d:#010x}), twin {:e} ({t:#010x}), {:e} apart, allowed: {bound}",
            value(d),
            value(t),
            value(d) - value(t)
        )
    };
    let lines: Vec<String> = wrong.iter().take(5).map(line).collect();
    (!wrong.is_empty()).then(|| format!("{} of {} words differ\n{}", wrong.len(), device.len(), lines.join("\n")))
}

/// All words of a buffer.
pub fn whole(plans: &Plans, buffer: BufferId) -> Tensor {
    Tensor { buffer, offset: 0, len: plans.buffers[buffer.0].words, stride: 0 }
}

/// All buffers of some plans.
pub fn buffers(plans: &Plans) -> Vec<BufferId> {
    (0..plans.buffers.len()).map(BufferId).collect()
}

/// The tensors that a kernel writes.
pub fn written(kernel: &dyn Kernel) -> Vec<Tensor> {
    let tensors = kernel.entry().tensors.iter().zip(kernel.tensors());
    tensors.filter(|(binding, _)| binding.access == Access::Write).map(|(_, tensor)| tensor).collect()
}

/// Runs kernel `(plan, kernel)` on both executors, whose memories are equal, and returns these buffers: where the kernel writes, with its
/// tolerance, elsewhere to be the same.
///
/// # Errors
/// A lost device.
pub fn run_on_both(
    executor: &mut Executor,
    twin: &cpu::Executor,
    (plan, kernel): (usize, usize),
    step: &Step,
    buffers: &[BufferId],
) -> Result<Vec<Compared>> {
    let (plans, memory) = (twin.plans(), twin.memory());
    let of = plans.plans[plan].kernels[kernel].as_ref();
    let tolerances: Vec<Vec<Tolerance>> = (0..step.members.len()).map(|m| of.tolerance(memory, step, m)).collect();
    executor.run_kernel(plan, kernel, step)?;
    twin.run_kernel(plan, kernel, step);

    let written = written(of);
    let compared = |&id: &BufferId| {
        let mut bounds: Vec<Option<f64>> = vec![None; plans.buffers[id.0].words as usize];
        for (member, tolerances) in tolerances.iter().enumerate() {
            for (tensor, tolerance) in written.iter().zip(tolerances).filter(|(tensor, _)| tensor.buffer == id) {
                if let Tolerance::Bounds(list) = tolerance {
                    let start = (tensor.offset + tensor.stride * member as u32) as usize;
                    bounds[start..].iter_mut().zip(list).for_each(|(bound, value)| *bound = Some(*value));
                }
            }
        }
        let (device, twin) = (executor.read(whole(plans, id), 0)?, memory.buffer(id).to_vec());
        Ok(Compared { buffer: id, device, twin, bounds })
    };
    buffers.iter().map(compared).collect()
}

/// Copies what the device has into the twin's memory, so that the next kernel starts from the same words on both.
pub fn take_over(compared: &[Compared], twin: &cpu::Executor) {
    for Compared { buffer, device, .. } in compared {
        twin.memory().buffer_mut(*buffer).copy_from_slice(device);
    }
}

/// Runs a step on both executors, which hold the same words, kernel by kernel, each from what the device has: the largest distance from a
/// twin in units of its bound, or else the first kernel that is outside of it, by name and with numbers.
///
/// # Errors
/// A lost device.
pub fn step_on_both(
    executor: &mut Executor,
    twin: &cpu::Executor,
    plan: usize,
    step: &Step,
) -> Result<std::result::Result<f64, String>> {
    let (plans, mut largest) = (twin.plans(), 0.0);
    let name = |id: BufferId| &plans.buffers[id.0].name;
    for (number, kernel) in plans.plans[plan].kernels.iter().enumerate() {
        let mut buffers: Vec<BufferId> = written(kernel.as_ref()).into_iter().map(|tensor| tensor.buffer).collect();
        buffers.sort_by_key(|id| id.0);
        buffers.dedup();
        let compared = run_on_both(executor, twin, (plan, number), step, &buffers)?;
        for compared in &compared {
            if let Some(difference) = compared.difference() {
                let (kernel, buffer) = (kernel.entry().name, name(compared.buffer));
                return Ok(Err(format!("kernel {number} of the step, {kernel}, leaves in {buffer}: {difference}")));
            }
            largest = f64::max(largest, compared.of_bound());
        }
        take_over(&compared, twin);
    }
    // Each read costs a GPU a wait, so what no kernel writes is looked at once.
    for id in buffers(plans) {
        let (device, twin) = (executor.read(whole(plans, id), 0)?, twin.memory().buffer(id));
        if let Some(difference) = difference(&device, &twin, &vec![None; twin.len()]) {
            return Ok(Err(format!("a kernel of the step has changed {}, which it does not write: {difference}", name(id))));
        }
    }
    Ok(Ok(largest))
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn the_comparison_rejects_nan_differences_beyond_the_bound_and_other_bits() {
        let f = |x: f32| x.to_bits();
        assert!(difference(&[f(1.0)], &[f(1.0)], &[None]).is_none());
        assert!(difference(&[f(1.0)], &[f(1.0f32.next_up())], &[None]).is_some());
        assert!(difference(&[f(1.0)], &[f(1.5)], &[Some(0.5)]).is_none());
        assert!(difference(&[f(1.0)], &[f(1.5)], &[Some(0.4)]).is_some());
        assert!(difference(&[f(f32::NAN)], &[f(1.0)], &[Some(f64::INFINITY)]).is_some());
        assert!(difference(&[f(1.0)], &[f(f32::NAN)], &[Some(f64::INFINITY)]).is_some());
        assert!(difference(&[f(1.0)], &[f(1.0)], &[Some(f64::NAN)]).is_none(), "equal bits need no bound");
        assert!(difference(&[f(1.0)], &[f(2.0)], &[Some(f64::NAN)]).is_some(), "a bound that is no number admits nothing");
        assert!(difference(&[0x7fc0_dead], &[f(0.0)], &[Some(1.0)]).is_some(), "an output that was not written");
    }
}
