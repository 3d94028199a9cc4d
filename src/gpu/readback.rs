//! From device buffers to host memory: the only place that maps a buffer.

use futures_intrusive::channel::shared::{OneshotReceiver, oneshot_channel};

use super::Gpu;
use crate::{Error, Result};

/// A staging buffer that the host reads.
#[derive(Debug)]
pub(super) struct Staging {
    buffer: wgpu::Buffer,
}

/// A staging buffer whose submission is under way.
#[derive(Debug)]
pub(super) struct Mapping {
    receiver: OneshotReceiver<std::result::Result<(), wgpu::BufferAsyncError>>,
    index: Option<wgpu::SubmissionIndex>,
}

impl Staging {
    pub(super) fn new(gpu: &Gpu, bytes: u64) -> Result<Self> {
        let buffer = gpu.buffer("staging", bytes, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST)?;
        Ok(Self { buffer })
    }

    /// Records a copy of `bytes` bytes.
    pub(super) fn copy(&self, encoder: &mut wgpu::CommandEncoder, source: (&wgpu::Buffer, u64), at: u64, bytes: u64) {
        encoder.copy_buffer_to_buffer(source.0, source.1, &self.buffer, at, Some(bytes));
    }

    /// Submits the encoder; the buffer is mapped once its copies are done.
    pub(super) fn submit(&self, gpu: &Gpu, encoder: wgpu::CommandEncoder) -> Result<Mapping> {
        let (sender, receiver) = oneshot_channel();
        encoder.map_buffer_on_submit(&self.buffer, wgpu::MapMode::Read, .., move |result| {
            let _ = sender.send(result);
        });
        Ok(Mapping { receiver, index: Some(gpu.submit(encoder)?) })
    }

    /// Waits for the submission and returns the buffer's first `words` words.
    pub(super) fn read(&self, gpu: &Gpu, mut mapping: Mapping, words: usize) -> Result<Vec<u32>> {
        let failed = |message: String| Error::Gpu { place: "reading back".into(), message };
        if let Some(index) = mapping.index.take() {
            gpu.wait(index)?;
        }
        match pollster::block_on(mapping.receiver.receive()) {
            Some(Ok(())) => {}
            Some(Err(error)) => return Err(failed(error.to_string())),
            None => return Err(Error::DeviceLost("the read-back was given up".into())),
        }
        let values = {
            let view = self.buffer.get_mapped_range(..).map_err(|error| failed(error.to_string()))?;
            bytemuck::pod_collect_to_vec(&view[..4 * words])
        };
        self.buffer.unmap();
        Ok(values)
    }
}
