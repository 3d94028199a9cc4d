//! The textures that kernels read instead of buffers. Each holds a copy of one tensor, made before the first kernel of a step that
//! reads it and again after a kernel that writes the tensor: nothing but a buffer carries a value from step to step.

use super::Gpu;
use crate::Result;
use crate::kernels::texture::Texture;
use crate::kernels::{Access, Kernel};
use crate::memory::Tensor;

/// The textures of an executor, by number.
#[derive(Debug, Default)]
pub(super) struct Textures(Vec<Filled>);

#[derive(Debug)]
struct Filled {
    tensor: Tensor,
    layout: Texture,
    texture: wgpu::Texture,
    view: wgpu::TextureView,
    /// Whether it holds what the tensor holds, at this point of the plan.
    fresh: bool,
}

/// What one kernel reads: all of its textures, and those that have to be filled before it.
pub(super) struct Bound {
    pub(super) textures: Vec<usize>,
    pub(super) stale: Vec<usize>,
}

impl Textures {
    /// The textures of the next kernel of a plan, and what it writes noted.
    pub(super) fn bind(&mut self, gpu: &Gpu, kernel: &dyn Kernel, members: u32) -> Result<Bound> {
        let bindings = || kernel.entry().tensors.iter().zip(kernel.tensors());
        let read = bindings().filter(|(binding, _)| binding.access == Access::Texture).map(|(_, tensor)| tensor);
        let mut bound = Bound { textures: Vec::new(), stale: Vec::new() };
        for (tensor, row_words) in read.zip(kernel.texture_rows()) {
            let index = self.find(gpu, tensor, Texture::new(tensor, row_words, members))?;
            if !std::mem::replace(&mut self.0[index].fresh, true) {
                bound.stale.push(index);
            }
            bound.textures.push(index);
        }
        for (_, written) in bindings().filter(|(binding, _)| binding.access == Access::Write) {
            for filled in self.0.iter_mut().filter(|filled| overlap(filled.tensor, written, members)) {
                filled.fresh = false;
            }
        }
        Ok(bound)
    }

    /// The next kernel begins another plan, which may run after any.
    pub(super) fn end_plan(&mut self) {
        self.0.iter_mut().for_each(|filled| filled.fresh = false);
    }

    fn find(&mut self, gpu: &Gpu, tensor: Tensor, layout: Texture) -> Result<usize> {
        if let Some(index) = self.0.iter().position(|filled| filled.tensor == tensor && filled.layout == layout) {
            return Ok(index);
        }
        let [width, height] = layout.size();
        let texture = gpu.texture(width, height)?;
        let view = texture.create_view(&Default::default());
        self.0.push(Filled { tensor, layout, texture, view, fresh: false });
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
