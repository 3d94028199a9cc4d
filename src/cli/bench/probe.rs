//! Kernels that thinnet's own are compared with, straight on wgpu: a copy, which is as fast as memory lets any kernel be.

use thinnet::gpu::Gpu;
use thinnet::wgpu;
use thinnet::{Error, Result};

use super::measure::{Timed, median};

/// A kernel with its bindings, ready to run.
pub(crate) struct Probe {
    device: wgpu::Device,
    queue: wgpu::Queue,
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
    groups: [u32; 2],
}

impl Probe {
    /// The only entry point of `wgsl`, over storage buffers that are bound to 0, 1 ... in order.
    pub(crate) fn new(gpu: &Gpu, wgsl: String, buffers: &[&wgpu::Buffer], groups: [u32; 2]) -> Self {
        let (device, queue) = (gpu.device().clone(), gpu.queue().clone());
        let source = wgpu::ShaderSource::Wgsl(wgsl.into());
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: None,
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        let resources = (0..).zip(buffers);
        let entries: Vec<_> =
            resources.map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() }).collect();
        let layout = &pipeline.get_bind_group_layout(0);
        let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries });
        Self { device, queue, pipeline, bind_group, groups }
    }

    /// Runs it so many times, one after the other in one submission, and waits.
    pub(crate) fn run(&self, repetitions: u32) -> Result<()> {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, &self.bind_group, &[]);
            for _ in 0..repetitions {
                pass.dispatch_workgroups(self.groups[0], self.groups[1], 1);
            }
        }
        self.queue.submit([encoder.finish()]);
        wait(&self.device)
    }
}

/// Waits until the device is done with everything.
pub(crate) fn wait(device: &wgpu::Device) -> Result<()> {
    let failed = |e: wgpu::PollError| Error::Gpu { place: "waiting for the device".into(), message: e.to_string() };
    device.poll(wgpu::PollType::wait_indefinitely()).map(|_| ()).map_err(failed)
}

/// A storage buffer that holds `words`.
pub(crate) fn buffer(gpu: &Gpu, words: &[u32]) -> wgpu::Buffer {
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let size = 4 * words.len() as u64;
    let descriptor = wgpu::BufferDescriptor { label: Some("bench"), size, usage, mapped_at_creation: false };
    let buffer = gpu.device().create_buffer(&descriptor);
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    gpu.queue().write_buffer(&buffer, 0, &bytes);
    buffer
}

/// The words of a buffer.
pub(crate) fn read(gpu: &Gpu, buffer: &wgpu::Buffer) -> Result<Vec<u32>> {
    let (sender, receiver) = std::sync::mpsc::channel();
    wgpu::util::DownloadBuffer::read_buffer(gpu.device(), gpu.queue(), &buffer.slice(..), move |bytes| {
        let _ = sender.send(bytes); // nobody listens any more if waiting failed
    });
    wait(gpu.device())?;
    let failed = |message: String| Error::Gpu { place: "reading a buffer".into(), message };
    let bytes = receiver.recv().map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))?;
    Ok(bytes.chunks_exact(4).map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]])).collect())
}

/// Words that are all different.
pub(crate) fn counted(words: u32) -> Vec<u32> {
    (0..words).map(|i| i.wrapping_mul(2_654_435_761)).collect()
}

/// Invocations of a workgroup, and vec4 that each of them copies.
const COPIES: [[u32; 2]; 6] = [[64, 1], [256, 1], [64, 4], [256, 4], [64, 16], [32, 64]];

fn copy_of(gpu: &Gpu, [group, each]: [u32; 2], [x, y]: [&wgpu::Buffer; 2], words: u32) -> Probe {
    let groups = words.div_ceil(4 * group * each);
    let rows = groups.div_ceil(gpu.caps().max_groups);
    let wgsl = format!(
        "@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
         @group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
         @compute @workgroup_size({group})
         fn copy(@builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                 @builtin(local_invocation_index) lane: u32) {{
             let first = (at.y * groups.x + at.x) * {group}u * {each}u + lane;
             for (var i = 0u; i < {each}u; i++) {{
                 let quad = first + i * {group}u;
                 if (quad < arrayLength(&y)) {{
                     y[quad] = x[quad];
                 }}
             }}
         }}"
    );
    Probe::new(gpu, wgsl, &[x, y], [groups.div_ceil(rows), rows])
}

/// The fastest of several copies of `words` words (a multiple of four) from one buffer to another, each seen to copy before its
/// time counts. It moves `8 * words` bytes.
///
/// # Errors
/// A lost device, or a copy that is none.
pub(crate) fn copy(gpu: &Gpu, words: u32) -> Result<Timed<'static>> {
    let content = counted(words);
    let x = buffer(gpu, &content);
    let mut best: Option<(f64, Probe)> = None;
    for shape in COPIES {
        let y = buffer(gpu, &vec![0x7fc0_dead; words as usize]);
        let probe = copy_of(gpu, shape, [&x, &y], words);
        probe.run(1)?;
        if read(gpu, &y)? != content {
            let message = format!("the copy by workgroups of {} is not what was copied", shape[0]);
            return Err(Error::Gpu { place: "a copy".into(), message });
        }
        let mut times = Vec::new();
        for _ in 0..3 {
            let began = std::time::Instant::now();
            probe.run(2)?;
            times.push(began.elapsed().as_secs_f64());
        }
        let time = median(&times);
        if best.as_ref().is_none_or(|(fastest, _)| time < *fastest) {
            best = Some((time, probe));
        }
    }
    let (_, probe) = best.expect("there is more than one shape");
    Ok(Timed::new(1, move |n| probe.run(n)))
}
