//! The textures that kernels read instead of buffers. Each holds a copy of one tensor, made before a kernel reads it unless it was made
//! before and the tensor was not written since, by a kernel or by the host: nothing but a buffer carries a value from step to step.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::Gpu;
use crate::Result;
use crate::kernels::texture::Texture;
use crate::kernels::{Access, Kernel};
use crate::memory::{BufferId, Tensor};

/// The textures of an executor, by number.
#[derive(Debug, Default)]
pub(super) struct Textures(Vec<Filled>);

#[derive(Debug)]
struct Filled {
    tensor: Tensor,
    layout: Texture,
    texture: wgpu::Texture,
    view: wgpu::TextureView,
    /// Whether it holds what the tensor holds once all that was recorded has run. The host writes through shared references, too.
    fresh: AtomicBool,
}

impl Textures {
    /// Those that a kernel reads, in the order of its bindings.
    pub(super) fn read_by(&mut self, gpu: &Gpu, kernel: &dyn Kernel, members: u32) -> Result<Vec<usize>> {
        let bindings = kernel.entry().tensors.iter().zip(kernel.tensors());
        let read = bindings.filter(|(binding, _)| binding.access == Access::Texture).map(|(_, tensor)| tensor);
        read.zip(kernel.texture_rows())
            .map(|(tensor, row_words)| self.find(gpu, tensor, Texture::new(tensor, row_words, members)))
            .collect()
    }

    /// Those whose tensors a kernel writes, all textures being known.
    pub(super) fn written_by(&self, kernel: &dyn Kernel, members: u32) -> Vec<usize> {
        let bindings = kernel.entry().tensors.iter().zip(kernel.tensors());
        let written: Vec<Tensor> =
            bindings.filter(|(binding, _)| binding.access == Access::Write).map(|(_, tensor)| tensor).collect();
        let overlaps = |filled: &Filled| written.iter().any(|&tensor| overlap(filled.tensor, tensor, members));
        self.0.iter().enumerate().filter(|(_, filled)| overlaps(filled)).map(|(index, _)| index).collect()
    }

    /// Which textures have to be filled before a kernel that reads and writes these; it is recorded next.
    pub(super) fn due(&self, read: &[usize], written: &[usize]) -> Vec<usize> {
        let due = read.iter().copied().filter(|&index| !self.0[index].fresh.swap(true, Relaxed)).collect();
        written.iter().for_each(|&index| self.0[index].fresh.store(false, Relaxed));
        due
    }

    /// Something other than a recorded kernel writes into a buffer.
    pub(super) fn outdate(&self, buffer: BufferId) {
        self.0.iter().filter(|filled| filled.tensor.buffer == buffer).for_each(|filled| filled.fresh.store(false, Relaxed));
    }

    /// What was recorded may not have run.
    pub(super) fn outdate_all(&self) {
        self.0.iter().for_each(|filled| filled.fresh.store(false, Relaxed));
    }

    fn find(&mut self, gpu: &Gpu, tensor: Tensor, layout: Texture) -> Result<usize> {
        if let Some(index) = self.0.iter().position(|filled| filled.tensor == tensor && filled.layout == layout) {
            return Ok(index);
        }
        let [width, height] = layout.size();
        let texture = gpu.texture(width, height)?;
        let view = texture.create_view(&Default::default());
        self.0.push(Filled { tensor, layout, texture, view, fresh: AtomicBool::new(false) });
        Ok(self.0.len() - 1)
    }

    pub(super) fn view(&self, index: usize) -> &wgpu::TextureView {
        &self.0[index].view
    }

    /// Records the copies that fill a texture.
    pub(super) fn fill(&self, index: usize, encoder: &mut wgpu::CommandEncoder, buffers: &[wgpu::Buffer]) {
        let Filled { tensor, layout, texture, .. } = &self.0[index];
        for copy in layout.copies(*tensor) {
            let layout_of = wgpu::TexelCopyBufferLayout {
                offset: 4 * u64::from(copy.from),
                bytes_per_row: Some(4 * layout.row_words),
                rows_per_image: None,
            };
            let from = wgpu::TexelCopyBufferInfo { buffer: &buffers[tensor.buffer.0], layout: layout_of };
            let to = wgpu::TexelCopyTextureInfo { origin: wgpu::Origin3d { x: copy.x, y: 0, z: 0 }, ..texture.as_image_copy() };
            let extent = wgpu::Extent3d { width: layout.row_words / 4, height: copy.rows, depth_or_array_layers: 1 };
            encoder.copy_buffer_to_texture(from, to, extent);
        }
    }
}

fn overlap(a: Tensor, b: Tensor, members: u32) -> bool {
    a.buffer == b.buffer && a.offset < b.offset + b.span(members) && b.offset < a.offset + a.span(members)
}
