//! Runs plans on the GPU. Everything is created once; a submission is one encoder and one compute pass over many steps.

use std::sync::Arc;

use super::readback::{Mapping, Staging};
use super::textures::Textures;
use super::{Gpu, section_binding};
use crate::Result;
use crate::kernels::Access;
use crate::memory::Tensor;
use crate::plan::{Plan, Plans};
use crate::step::Step;
use crate::work::{Snapshot, Work};

mod profile;

pub(super) use profile::TIMESTAMPS;

/// Submissions that may be under way, and one more that is being read.
const STAGING: usize = 3;

/// Words of one upload or download: bounded, because running out of staging memory would lose the device.
const CHUNK: usize = 4 << 20;

/// Plans with their buffers, pipelines and bind groups.
#[derive(Debug)]
pub struct Executor {
    gpu: Arc<Gpu>,
    plans: Plans,
    buffers: Vec<wgpu::Buffer>,
    textures: Textures,
    /// By plan, by kernel.
    dispatches: Vec<Vec<Dispatch>>,
    /// The step table: rows of `row_bytes`.
    table: wgpu::Buffer,
    row_bytes: u32,
    rows: Vec<u8>,
    staging: Vec<Staging>,
    next_staging: usize,
}

#[derive(Debug)]
struct Dispatch {
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
    /// How many bindings read the step table, each with the row's offset.
    dynamic: usize,
    grid: [u32; 3],
    /// The textures it reads.
    textures: Vec<usize>,
    /// The textures whose tensors it writes.
    outdates: Vec<usize>,
}

/// A dispatch of a submission.
struct Due<'a> {
    dispatch: &'a Dispatch,
    /// Where the step's row of the step table begins, in bytes.
    row: u32,
    /// The textures that have to be filled before it.
    stale: Vec<usize>,
}

/// A submission under way.
#[derive(Debug)]
pub(crate) struct Pending {
    staging: usize,
    mapping: Mapping,
}

impl Executor {
    /// Creates everything that the plans need.
    pub(crate) fn new(gpu: Arc<Gpu>, plans: Plans) -> Result<Self> {
        let storage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let buffers: Vec<_> =
            plans.buffers.iter().map(|b| gpu.buffer(&b.name, 4 * u64::from(b.words), storage)).collect::<Result<_>>()?;
        let row_bytes = plans.row_bytes();
        let read_only = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let table = gpu.buffer("step table", u64::from(row_bytes) * plans.max_steps() as u64, read_only)?;

        // The parameters of all kernels are slices of one buffer.
        let kernels = plans.plans.iter().flat_map(|p| &p.kernels);
        let mut bytes = Vec::new();
        let slices: Vec<_> = kernels
            .map(|kernel| {
                let at = bytes.len() as u64;
                bytes.extend_from_slice(kernel.params());
                bytes.resize(bytes.len().next_multiple_of(256), 0);
                wgpu::BufferSize::new(kernel.params().len() as u64).map(|size| (at, size))
            })
            .collect();
        let params = gpu.buffer("kernel parameters", bytes.len().max(256) as u64, read_only)?;
        gpu.guarded("kernel parameters", || gpu.queue.write_buffer(&params, 0, &bytes))?;

        let mut slices =
            slices.into_iter().flatten().map(|(offset, size)| wgpu::BufferBinding { buffer: &params, offset, size: Some(size) });
        let mut textures = Textures::default();
        let mut dispatches = Vec::new();
        for plan in &plans.plans {
            let mut bound = Vec::new();
            for (kernel, params) in (0..plan.kernels.len()).zip(&mut slices) {
                bound.push(Dispatch::new(&gpu, plan, kernel, params, &table, &buffers, &mut textures)?);
            }
            dispatches.push(bound);
        }
        for (plan, dispatches) in plans.plans.iter().zip(&mut dispatches) {
            for (kernel, dispatch) in plan.kernels.iter().zip(dispatches) {
                dispatch.outdates = textures.written_by(kernel.as_ref(), plan.options.members);
            }
        }
        let metrics = plans.plans.iter().filter_map(|p| p.metrics.map(|m| (m, p.options.members)));
        let words: u32 = metrics.map(|(m, members)| m.losses.span(members) + m.hits.span(members)).sum();
        let staging = (0..STAGING).map(|_| Staging::new(&gpu, 4 * u64::from(words.max(1)))).collect::<Result<_>>()?;
        Ok(Self { gpu, plans, buffers, textures, dispatches, table, row_bytes, rows: Vec::new(), staging, next_staging: 0 })
    }

    /// The plans.
    pub fn plans(&self) -> &Plans {
        &self.plans
    }

    fn write_table<'a>(&mut self, work: impl Iterator<Item = (usize, &'a Step)>) -> Result<()> {
        self.rows.clear();
        for (plan, step) in work {
            let start = self.rows.len();
            self.rows.resize(start + self.row_bytes as usize, 0);
            self.plans.plans[plan].row_layout().write(step, &mut self.rows[start..]);
        }
        self.gpu.guarded("the step table", || self.gpu.queue.write_buffer(&self.table, 0, &self.rows))
    }

    /// The dispatches of some steps, to be recorded next.
    fn due<'a>(&'a self, dispatches: impl Iterator<Item = (&'a Dispatch, usize)>) -> Vec<Due<'a>> {
        let due = |(dispatch, row): (&'a Dispatch, usize)| {
            let stale = self.textures.due(&dispatch.textures, &dispatch.outdates);
            Due { dispatch, row: row as u32 * self.row_bytes, stale }
        };
        dispatches.map(due).collect()
    }

    fn due_of(&self, work: &[Work]) -> Vec<Due<'_>> {
        self.due(
            work.iter()
                .enumerate()
                .flat_map(|(row, work)| self.dispatches[work.plan].iter().map(move |dispatch| (dispatch, row))),
        )
    }

    /// One pass, but for the copies into textures, which lie between passes.
    fn record(&self, encoder: &mut wgpu::CommandEncoder, due: &[Due<'_>]) {
        let mut open: Option<wgpu::ComputePass<'static>> = None;
        for Due { dispatch, row, stale } in due {
            if !stale.is_empty() {
                open = None;
                stale.iter().for_each(|&texture| self.textures.fill(texture, encoder, &self.buffers));
            }
            let pass = open.get_or_insert_with(|| encoder.begin_compute_pass(&Default::default()).forget_lifetime());
            dispatch.run(pass, *row);
        }
    }

    pub(crate) fn run_kernel(&mut self, plan: usize, kernel: usize, step: &Step) -> Result<()> {
        self.write_table(std::iter::once((plan, step)))?;
        let encoder = self.gpu.guarded("recording a kernel", || {
            let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
            self.record(&mut encoder, &self.due(std::iter::once((&self.dispatches[plan][kernel], 0))));
            encoder
        });
        let index = self.ran(encoder.and_then(|encoder| self.gpu.submit(encoder)))?;
        self.gpu.wait(index)
    }

    /// Passes on what became of something that was recorded.
    fn ran<T>(&self, result: Result<T>) -> Result<T> {
        result.inspect_err(|_| self.textures.outdate_all())
    }

    pub(crate) fn submit(&mut self, work: &[Work]) -> Result<Pending> {
        self.write_table(work.iter().map(|w| (w.plan, &w.step)))?;
        let staging = self.next_staging;
        self.next_staging = (staging + 1) % STAGING;
        let encoder = self.gpu.guarded("recording steps", || {
            let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
            self.record(&mut encoder, &self.due_of(work));
            let mut at = 0;
            self.for_each_metric(|tensor, words| {
                let (source, bytes) = ((&self.buffers[tensor.buffer.0], 4 * u64::from(tensor.offset)), 4 * u64::from(words));
                self.staging[staging].copy(&mut encoder, source, at, bytes);
                at += bytes;
            });
            encoder
        });
        let mapping = self.ran(encoder.and_then(|encoder| self.staging[staging].submit(&self.gpu, encoder)))?;
        Ok(Pending { staging, mapping })
    }

    /// Calls `f(tensor, words)` for every metric tensor, in the order in which [`Snapshot::new`] reads them.
    fn for_each_metric(&self, mut f: impl FnMut(Tensor, u32)) {
        Snapshot::new(&self.plans, |tensor, words| {
            f(tensor, words);
            vec![0; words as usize]
        });
    }

    pub(crate) fn wait(&mut self, pending: Pending) -> Result<Snapshot> {
        let mut words = 0;
        self.for_each_metric(|_, n| words += n as usize);
        let values = self.staging[pending.staging].read(&self.gpu, pending.mapping, words)?;
        let mut rest = values.as_slice();
        Ok(Snapshot::new(&self.plans, |_, words| {
            let (first, others) = rest.split_at(words as usize);
            rest = others;
            first.to_vec()
        }))
    }

    pub(crate) fn write(&self, tensor: Tensor, member: u32, words: &[u32]) -> Result<()> {
        let start = 4 * (u64::from(tensor.offset) + u64::from(tensor.stride) * u64::from(member));
        let buffer = &self.buffers[tensor.buffer.0];
        self.textures.outdate(tensor.buffer);
        for (i, chunk) in words.chunks(CHUNK).enumerate() {
            let at = start + 4 * (i * CHUNK) as u64;
            self.gpu.guarded("an upload", || self.gpu.queue.write_buffer(buffer, at, bytemuck::cast_slice(chunk)))?;
            if chunk.len() == CHUNK {
                // Let the staging memory of this chunk go before the next one is taken.
                let index = self.gpu.guarded("an upload", || self.gpu.queue.submit([]))?;
                self.gpu.wait(index)?;
            }
        }
        Ok(())
    }

    /// The rows are written into staging memory of the queue's, which copies them when the submissions before are done. Mapped buffers
    /// of our own take 4 ms instead of 16 for 20 MB on lavapipe, which are the rows of 200 ms: too little to keep them for.
    pub(crate) fn write_rows<'a>(
        &self,
        tensor: Tensor,
        row_bytes: usize,
        rows: impl ExactSizeIterator<Item = &'a [u8]>,
    ) -> Result<()> {
        let Some(bytes) = wgpu::BufferSize::new((rows.len() * row_bytes) as u64) else { return Ok(()) };
        let (buffer, start) = (&self.buffers[tensor.buffer.0], 4 * u64::from(tensor.offset));
        self.textures.outdate(tensor.buffer);
        self.gpu.guarded("an upload of rows", || {
            // Without a view there is an error in the scope.
            let Some(mut view) = self.gpu.queue.write_buffer_with(buffer, start, bytes) else { return };
            for (i, row) in rows.enumerate() {
                let (mut values, mut padding) = view.slice(i * row_bytes..(i + 1) * row_bytes).split_at(row.len());
                values.copy_from_slice(row);
                padding.fill(0);
            }
        })
    }

    pub(crate) fn read(&self, tensor: Tensor, member: u32) -> Result<Vec<u32>> {
        let start = 4 * (u64::from(tensor.offset) + u64::from(tensor.stride) * u64::from(member));
        let staging = Staging::new(&self.gpu, 4 * (tensor.len as usize).min(CHUNK) as u64)?;
        let mut values = Vec::with_capacity(tensor.len as usize);
        while values.len() < tensor.len as usize {
            let words = CHUNK.min(tensor.len as usize - values.len());
            let source = (&self.buffers[tensor.buffer.0], start + 4 * values.len() as u64);
            let encoder = self.gpu.guarded("recording a download", || {
                let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
                staging.copy(&mut encoder, source, 0, 4 * words as u64);
                encoder
            })?;
            let mapping = staging.submit(&self.gpu, encoder)?;
            values.extend(staging.read(&self.gpu, mapping, words)?);
        }
        Ok(values)
    }
}

impl Dispatch {
    fn new(
        gpu: &Gpu,
        plan: &Plan,
        kernel: usize,
        params: wgpu::BufferBinding<'_>,
        table: &wgpu::Buffer,
        buffers: &[wgpu::Buffer],
        textures: &mut Textures,
    ) -> Result<Self> {
        let (kernel, members) = (&plan.kernels[kernel], plan.options.members);
        let entry = kernel.entry();
        let pipeline = gpu.pipeline(entry, members, kernel.constants())?;
        let sections = kernel.sections();
        let read = textures.read_by(gpu, kernel.as_ref(), members)?;
        let mut views = read.iter().map(|&texture| textures.view(texture));
        let mut resources = vec![wgpu::BindingResource::Buffer(params)];
        resources.extend(
            sections.iter().map(|&section| wgpu::BindingResource::Buffer(section_binding(table, plan.row_layout(), section))),
        );
        for (tensor, binding) in kernel.tensors().into_iter().zip(entry.tensors) {
            let buffer = || wgpu::BufferBinding {
                buffer: &buffers[tensor.buffer.0],
                offset: 4 * u64::from(tensor.offset),
                size: wgpu::BufferSize::new(4 * u64::from(tensor.span(members).next_multiple_of(4))),
            };
            resources.push(match binding.access {
                Access::Texture => wgpu::BindingResource::TextureView(views.next().expect("a view for each texture")),
                Access::Read | Access::Write => wgpu::BindingResource::Buffer(buffer()),
            });
        }
        let bind_group = gpu.bind_group(entry, &pipeline, resources)?;
        let [x, y] = kernel.grid();
        let (pipeline, grid) = (pipeline.pipeline, [x, y, members]);
        Ok(Self { pipeline, bind_group, dynamic: sections.len(), grid, textures: read, outdates: Vec::new() })
    }

    /// Records the dispatch; the step's row begins at byte `row` of the step table.
    fn run(&self, pass: &mut wgpu::ComputePass<'_>, row: u32) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[row; 4][..self.dynamic]);
        let [x, y, z] = self.grid;
        pass.dispatch_workgroups(x, y, z);
    }
}
