//! The GPU: an opened device, and the one place that creates buffers, bind groups and pipelines.
//!
//! Every call to wgpu runs inside error scopes: wgpu's default handler panics, and a caller's own handler is never touched.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use crate::kernels::matmul::Matmul;
use crate::kernels::{Access, Constants, Entry, with_u64};
use crate::plan::Caps;
use crate::step::RowLayout;
use crate::{Error, Result};

pub mod adapter;
pub mod executor;
mod probe;
mod readback;
mod textures;

/// The wgpu features that thinnet needs: none.
pub fn required_features() -> wgpu::Features {
    wgpu::Features::empty()
}

/// The limits that thinnet needs of a device: those that WebGPU guarantees. Request more for larger buffers.
pub fn required_limits() -> wgpu::Limits {
    wgpu::Limits::default()
}

/// An opened device and its compiled kernels.
#[derive(Debug)]
pub struct Gpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
    caps: Caps,
    /// Why the device was lost. Set for a device of our own only: a device has one lost callback, and a caller's is the caller's.
    lost: Arc<OnceLock<String>>,
    pipelines: Mutex<HashMap<(&'static str, u32, Constants), Pipeline>>,
    created: AtomicU64,
    submissions: AtomicU64,
}

/// A compiled kernel and the layout of its bindings.
#[derive(Debug, Clone)]
pub(crate) struct Pipeline {
    pub(crate) pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
}

impl Gpu {
    /// Opens an adapter; see [`crate::Device::open`].
    pub(crate) async fn open(name: Option<&str>) -> Result<Self> {
        let adapter = adapter::choose(name).await?;
        let lost = Arc::new(OnceLock::new());
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("thinnet"),
            // Asked for where they are there: software adapters multiply matrices with subgroups, Philox is faster with 64-bit
            // integers, a profile reads timestamps.
            required_features: adapter.features()
                & (wgpu::Features::SUBGROUP | wgpu::Features::SHADER_INT64 | executor::TIMESTAMPS),
            required_limits: adapter.limits(),
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        };
        let (device, queue) = adapter.request_device(&descriptor).await.map_err(|e| {
            Error::NoAdapter(format!("adapter {:?} was found but could not be opened: {e}", adapter.get_info().name))
        })?;
        let flag = Arc::clone(&lost);
        device.set_device_lost_callback(move |reason, message| {
            let _ = flag.set(format!("{reason:?}: {message}"));
        });
        // All calls are inside error scopes; what reaches this handler is a defect, and must not end the caller's process.
        device.on_uncaptured_error(Arc::new(|error| eprintln!("thinnet: wgpu error outside any scope: {error}")));
        Self::new(device, queue, lost)
    }

    /// Uses a caller's device as it is.
    pub(crate) fn from_wgpu(device: wgpu::Device, queue: wgpu::Queue) -> Result<Self> {
        Self::new(device, queue, Arc::default())
    }

    fn new(device: wgpu::Device, queue: wgpu::Queue, lost: Arc<OnceLock<String>>) -> Result<Self> {
        let caps = adapter::caps(&device.adapter_info(), &device.limits(), device.features());
        let (least, limits) = (required_limits(), device.limits());
        let pair = |f: fn(&wgpu::Limits) -> u32| (f(&least), f(&limits));
        for (what, (needed, available)) in [
            ("storage buffers a stage", pair(|l| l.max_storage_buffers_per_shader_stage)),
            ("dynamic storage buffers a pipeline layout", pair(|l| l.max_dynamic_storage_buffers_per_pipeline_layout)),
            ("invocations a workgroup", pair(|l| l.max_compute_invocations_per_workgroup)),
            ("invocations a workgroup in x", pair(|l| l.max_compute_workgroup_size_x)),
            ("workgroups a dimension", pair(|l| l.max_compute_workgroups_per_dimension)),
            ("bytes of workgroup memory", pair(|l| l.max_compute_workgroup_storage_size)),
        ] {
            if available < needed {
                return Err(Error::Limit {
                    what: format!("thinnet on {} ({what})", caps.adapter),
                    needed: needed.into(),
                    available: available.into(),
                    remedy: "request the device with at least thinnet::ops::required_limits()",
                });
            }
        }
        let (created, submissions) = (AtomicU64::new(0), AtomicU64::new(0));
        let mut gpu = Self { device, queue, caps, lost, pipelines: Mutex::default(), created, submissions };
        if let Matmul::Shuffle { lanes } = gpu.caps.matmul
            && !probe::lanes_are_in_order(&gpu, lanes)?
        {
            gpu.caps.matmul = Matmul::Plain;
        }
        gpu.caps.max_iterations = probe::iterations(&gpu)?;
        Ok(gpu)
    }

    /// What the device can do.
    pub fn caps(&self) -> &Caps {
        &self.caps
    }

    /// The wgpu device.
    pub fn device(&self) -> &wgpu::Device {
        &self.device
    }

    /// The wgpu queue.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.queue
    }

    /// How many buffers, bind groups and pipelines were created on this device so far.
    pub fn created(&self) -> u64 {
        self.created.load(Ordering::Relaxed)
    }

    /// How many submissions were made so far.
    pub fn submissions(&self) -> u64 {
        self.submissions.load(Ordering::Relaxed)
    }

    /// Runs wgpu calls with every class of error captured.
    pub(crate) fn guarded<R>(&self, place: &str, calls: impl FnOnce() -> R) -> Result<R> {
        self.check_lost()?;
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let result = calls();
        // Scopes pop in reverse order; natively the futures are ready at once.
        let errors = [validation.pop(), memory.pop(), internal.pop()].map(pollster::block_on);
        self.check_lost()?;
        match errors.into_iter().flatten().next() {
            None => Ok(result),
            Some(wgpu::Error::OutOfMemory { .. }) => Err(Error::OutOfMemory { what: place.into(), bytes: 0 }),
            Some(error) => Err(Error::Gpu { place: place.into(), message: error.to_string() }),
        }
    }

    fn check_lost(&self) -> Result<()> {
        match self.lost.get() {
            None => Ok(()),
            Some(reason) => Err(Error::DeviceLost(reason.clone())),
        }
    }

    pub(crate) fn buffer(&self, label: &str, bytes: u64, usage: wgpu::BufferUsages) -> Result<wgpu::Buffer> {
        if bytes > self.caps.max_buffer {
            let remedy = "use a smaller batch, network or data set, or an adapter with larger limits";
            return Err(Error::Limit {
                what: format!("buffer {label} (bytes)"),
                needed: bytes,
                available: self.caps.max_buffer,
                remedy,
            });
        }
        self.created.fetch_add(1, Ordering::Relaxed);
        let descriptor = wgpu::BufferDescriptor { label: Some(label), size: bytes, usage, mapped_at_creation: false };
        self.guarded(label, || self.device.create_buffer(&descriptor)).map_err(|error| match error {
            Error::OutOfMemory { what, .. } => Error::OutOfMemory { what, bytes },
            other => other,
        })
    }

    /// A texture of quads, filled by copies and read by kernels.
    pub(crate) fn texture(&self, width: u32, height: u32) -> Result<wgpu::Texture> {
        self.created.fetch_add(1, Ordering::Relaxed);
        let descriptor = wgpu::TextureDescriptor {
            label: Some("operand"),
            size: wgpu::Extent3d { width, height, depth_or_array_layers: 1 },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: wgpu::TextureFormat::Rgba32Float,
            usage: wgpu::TextureUsages::STORAGE_BINDING | wgpu::TextureUsages::COPY_DST,
            view_formats: &[],
        };
        self.guarded("an operand texture", || self.device.create_texture(&descriptor)).map_err(|error| match error {
            Error::OutOfMemory { what, .. } => Error::OutOfMemory { what, bytes: 16 * u64::from(width) * u64::from(height) },
            other => other,
        })
    }

    /// The compiled kernel for plans of `members` members, from the cache if it was asked for before.
    pub(crate) fn pipeline(&self, entry: &'static Entry, members: u32, constants: Constants) -> Result<Pipeline> {
        let mut pipelines = self.pipelines.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let key = (entry.name, members, constants);
        if let Some(pipeline) = pipelines.get(&key) {
            return Ok(pipeline.clone());
        }
        self.created.fetch_add(1, Ordering::Relaxed);
        let pipeline = self.guarded(entry.name, || self.compile(entry, members, &key.2))?;
        pipelines.insert(key, pipeline.clone());
        Ok(pipeline)
    }

    fn compile(&self, entry: &'static Entry, members: u32, constants: &Constants) -> Pipeline {
        let buffer = |read_only, has_dynamic_offset| {
            let ty = wgpu::BufferBindingType::Storage { read_only };
            wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size: None }
        };
        let texture = wgpu::BindingType::StorageTexture {
            access: wgpu::StorageTextureAccess::ReadOnly,
            format: wgpu::TextureFormat::Rgba32Float,
            view_dimension: wgpu::TextureViewDimension::D2,
        };
        let sections = (1..).zip(entry.sections).map(|(number, _)| (number, buffer(true, true)));
        let tensors = entry.tensors.iter().map(|tensor| match tensor.access {
            Access::Texture => (tensor.number, texture),
            access => (tensor.number, buffer(access == Access::Read, false)),
        });
        let visibility = wgpu::ShaderStages::COMPUTE;
        let entries: Vec<_> = std::iter::once((0, buffer(true, false)))
            .chain(sections)
            .chain(tensors)
            .map(|(binding, ty)| wgpu::BindGroupLayoutEntry { binding, visibility, ty, count: None })
            .collect();
        let layout =
            self.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(entry.name), entries: &entries });
        let pipeline_layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(entry.name),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let source = entry.module(members, constants);
        let source = if self.caps.int64 { with_u64(&source) } else { source };
        let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(entry.file),
            source: wgpu::ShaderSource::Wgsl(source.into()),
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(entry.name),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(entry.name),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        Pipeline { pipeline, layout }
    }

    /// Binds `params`, the sections of the step table and the tensors, in this order, as every kernel declares them.
    pub(crate) fn bind_group(
        &self,
        entry: &Entry,
        pipeline: &Pipeline,
        resources: Vec<wgpu::BindingResource<'_>>,
    ) -> Result<wgpu::BindGroup> {
        self.created.fetch_add(1, Ordering::Relaxed);
        let numbers = (0..=entry.sections.len() as u32).chain(entry.tensors.iter().map(|tensor| tensor.number));
        let entries: Vec<_> =
            numbers.zip(resources).map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource }).collect();
        let descriptor = wgpu::BindGroupDescriptor { label: Some(entry.name), layout: &pipeline.layout, entries: &entries };
        self.guarded(entry.name, || self.device.create_bind_group(&descriptor))
    }

    pub(crate) fn submit(&self, encoder: wgpu::CommandEncoder) -> Result<wgpu::SubmissionIndex> {
        self.submissions.fetch_add(1, Ordering::Relaxed);
        self.guarded("a submission", || self.queue.submit([encoder.finish()]))
    }

    /// Waits for a submission. A lost device is an error, not a wait without end.
    pub(crate) fn wait(&self, index: wgpu::SubmissionIndex) -> Result<()> {
        loop {
            self.check_lost()?;
            let wait = wgpu::PollType::Wait { submission_index: Some(index.clone()), timeout: Some(Duration::from_secs(10)) };
            match self.device.poll(wait) {
                Ok(_) => return self.check_lost(),
                Err(wgpu::PollError::Timeout) => {} // a long step on a slow adapter; look at the lost flag and go on
                Err(error) => {
                    // A device that was lost with nothing under way took no submission, and tells of the loss when it is polled.
                    let _ = self.device.poll(wgpu::PollType::Poll);
                    self.check_lost()?;
                    return Err(Error::Gpu { place: "waiting for the device".into(), message: error.to_string() });
                }
            }
        }
    }
}

/// The binding of one section of the step table.
pub(crate) fn section_binding(table: &wgpu::Buffer, layout: RowLayout, section: crate::step::Section) -> wgpu::BufferBinding<'_> {
    let size = wgpu::BufferSize::new(u64::from(layout.size(section)));
    wgpu::BufferBinding { buffer: table, offset: u64::from(layout.offset(section)), size }
}
