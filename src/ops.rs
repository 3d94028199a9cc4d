//! Single operations for programs that have a wgpu device, buffers and an encoder of their own.
//!
//! ```
//! use thinnet::{KeepProb, ops, rng::Stream, wgpu};
//! # let Ok(own) = thinnet::Device::open() else { panic!("{}", thinnet::Device::open().unwrap_err()) };
//! # let (device, queue) = (own.gpu().unwrap().device().clone(), own.gpu().unwrap().queue().clone());
//! // The caller's device, queue, buffers and encoder.
//! let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
//! let buffer = |label| device.create_buffer(&wgpu::BufferDescriptor { label, size: 4 * 6 * 10, usage, mapped_at_creation: false });
//! let (x, y) = (buffer(Some("x")), buffer(Some("y")));
//! let mut encoder = device.create_command_encoder(&Default::default());
//!
//! let ops = ops::Ops::new(device.clone(), queue.clone())?;
//! let site = ops::Site { keep: KeepProb::new(0.8)?, seed: 42, stream: Stream::TrainingMask, site: 0, pass: 3 };
//! let shape = ops::Shape { rows: 6, units: 10, samples: ops::Samples::From(0) };
//! ops::dropout_forward(&ops, &mut encoder, &site, &shape, &x, &y)?;
//! queue.submit([encoder.finish()]);
//! # Ok::<(), thinnet::Error>(())
//! ```
//!
//! The mask depends on the coordinates alone ([`crate::rng`]): the backward pass, a recomputation or another machine draws
//! the same one. Operations on one queue run in the order of submission; nothing else needs to be synchronised.

use std::sync::Arc;

pub use crate::gpu::{required_features, required_limits};

use crate::gpu::Gpu;
use crate::kernels::dropout::{
    self, DropoutBackward, DropoutForward, DropoutMask, DropoutMaskRagged, DropoutParams, DropoutRagged,
};
use crate::kernels::{Entry, MAX_GROUPS, linear_grid};
use crate::mask_rule::MaskRule;
use crate::network::KeepProb;
use crate::rng::{self, Stream};
use crate::step::{MemberStep, OptimizerStep, RowLayout, Section, SiteLayout, SiteStep, Step};
use crate::{Error, Result};

/// The compiled operations of a device. Make one and keep it; a clone shares the compiled kernels.
#[derive(Debug, Clone)]
pub struct Ops {
    gpu: Arc<Gpu>,
    /// Bound where no list of samples is given.
    nothing: wgpu::Buffer,
}

impl Ops {
    /// Uses a device of the caller's and its queue. Nothing of it is changed. Encoders and buffers that are passed to the
    /// operations must be of this device; wgpu itself panics, or takes another buffer, where they are of another instance.
    ///
    /// # Errors
    /// Limits below [`required_limits`].
    pub fn new(device: wgpu::Device, queue: wgpu::Queue) -> Result<Self> {
        let gpu = Arc::new(Gpu::from_wgpu(device, queue)?);
        let nothing = gpu.buffer("no samples", 16, wgpu::BufferUsages::STORAGE)?;
        Ok(Self { gpu, nothing })
    }
}

/// Which mask: every coordinate of the mask contract but sample and unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Site {
    /// The probability that a unit is kept.
    pub keep: KeepProb,
    /// The seed.
    pub seed: u64,
    /// What the mask is for.
    pub stream: Stream,
    /// The place in the network, at most [`rng::MAX_SITE`].
    pub site: u32,
    /// How often the samples have been seen.
    pub pass: u32,
}

/// The sample coordinate of each row.
#[derive(Debug, Clone, Copy)]
pub enum Samples<'a> {
    /// This one, the next, and so on.
    From(u32),
    /// `u32` per row, in a buffer with `STORAGE`.
    Listed(&'a wgpu::Buffer),
}

/// A matrix `[rows, units]`, rows one after the other without padding. It is read and written four units at a time, which is
/// faster, where `units` is a multiple of 4.
#[derive(Debug, Clone, Copy)]
pub struct Shape<'a> {
    /// Number of rows.
    pub rows: u32,
    /// Number of units of a row.
    pub units: u32,
    /// The sample of each row.
    pub samples: Samples<'a>,
}

impl Shape<'_> {
    /// A kernel that reads and writes vec4 where rows consist of them.
    fn entry(&self, quads: &'static Entry, ragged: &'static Entry) -> &'static Entry {
        if self.units.is_multiple_of(4) { quads } else { ragged }
    }
}

/// Records `y = keep ? x / keep_prob : 0` into the caller's encoder.
///
/// x, y: f32 `[rows, units]`, two buffers with `STORAGE`.
///
/// # Errors
/// A buffer too small or without `STORAGE`, one that is both read and written, a shape with no elements or too many, a site
/// above 24 bits, a sample above 32 bits. Nothing is recorded then.
pub fn dropout_forward(
    ops: &Ops,
    encoder: &mut wgpu::CommandEncoder,
    site: &Site,
    shape: &Shape<'_>,
    x: &wgpu::Buffer,
    y: &wgpu::Buffer,
) -> Result<()> {
    let tensors = [("x", x), ("y", y)];
    record(ops, encoder, shape.entry(&DropoutForward::ENTRY, &DropoutRagged::ENTRY), site, shape, &tensors)
}

/// Records `dx = keep ? dy / keep_prob : 0` into the caller's encoder, with the mask of the forward pass drawn again.
///
/// dy, dx: f32 `[rows, units]`, two buffers with `STORAGE`.
///
/// # Errors
/// As [`dropout_forward`].
pub fn dropout_backward(
    ops: &Ops,
    encoder: &mut wgpu::CommandEncoder,
    site: &Site,
    shape: &Shape<'_>,
    dy: &wgpu::Buffer,
    dx: &wgpu::Buffer,
) -> Result<()> {
    let tensors = [("dy", dy), ("dx", dx)];
    record(ops, encoder, shape.entry(&DropoutBackward::ENTRY, &DropoutRagged::ENTRY), site, shape, &tensors)
}

/// Records `mask = keep ? 1 : 0` into the caller's encoder.
///
/// mask: u32 `[rows, units]`, a buffer with `STORAGE`.
///
/// # Errors
/// As [`dropout_forward`].
pub fn dropout_mask(
    ops: &Ops,
    encoder: &mut wgpu::CommandEncoder,
    site: &Site,
    shape: &Shape<'_>,
    mask: &wgpu::Buffer,
) -> Result<()> {
    let entry = shape.entry(&DropoutMask::ENTRY, &DropoutMaskRagged::ENTRY);
    record(ops, encoder, entry, site, shape, &[("mask", mask)])
}

fn record(
    ops: &Ops,
    encoder: &mut wgpu::CommandEncoder,
    entry: &'static Entry,
    site: &Site,
    shape: &Shape<'_>,
    tensors: &[(&'static str, &wgpu::Buffer)],
) -> Result<()> {
    rng::check_site(site.site)?;
    check(ops, shape, tensors)?;
    let gpu = &ops.gpu;
    let params = DropoutParams::new(shape.units, site.stream, site.site);
    let (params, samples) = match shape.samples {
        Samples::From(first) => (params.from_first_sample(first), ops.nothing.as_entire_buffer_binding()),
        Samples::Listed(buffer) => {
            let size = wgpu::BufferSize::new(4 * u64::from(shape.rows));
            (params, wgpu::BufferBinding { buffer, offset: 0, size })
        }
    };
    let layout =
        RowLayout { members: 1, sites: vec![SiteLayout { units: shape.units, ..SiteLayout::default() }], scopes: Vec::new() };
    let member = MemberStep {
        key: rng::key(site.seed),
        optimizer: OptimizerStep::default(),
        sites: vec![SiteStep::new(site.keep, site.pass)],
    };
    let step = Step::new(shape.rows, vec![member]);
    // One small buffer holds the row of the step table and, behind it, the parameters.
    let (at, size) = (layout.row_bytes() as usize, size_of::<DropoutParams>());
    let mut bytes = vec![0; at + size];
    layout.write(&step, &mut bytes);
    bytes[at..].copy_from_slice(bytemuck::bytes_of(&params));
    let values = gpu.buffer(entry.name, bytes.len() as u64, wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST)?;
    gpu.guarded(entry.name, || gpu.queue().write_buffer(&values, 0, &bytes))?;

    let pipeline = gpu.pipeline(entry, 1, dropout::constants(MaskRule::Pass))?;
    let params = wgpu::BufferBinding { buffer: &values, offset: at as u64, size: wgpu::BufferSize::new(size as u64) };
    let section = |section| crate::gpu::section_binding(&values, layout.clone(), section);
    let mut resources = vec![params, section(Section::Step), section(Section::Site(0)), samples];
    // What is needed of a buffer and no more: it may be larger than a binding may be.
    let size = wgpu::BufferSize::new(4 * u64::from(shape.rows) * u64::from(shape.units));
    resources.extend(tensors.iter().map(|&(_, buffer)| wgpu::BufferBinding { buffer, offset: 0, size }));
    let bind_group = gpu.bind_group(entry, &pipeline, resources.into_iter().map(wgpu::BindingResource::Buffer).collect())?;
    let [x, y] = linear_grid(shape.rows * shape.units.div_ceil(4), MAX_GROUPS);
    gpu.guarded(entry.name, || {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&pipeline.pipeline);
        pass.set_bind_group(0, &bind_group, &[0, 0]);
        pass.dispatch_workgroups(x, y, 1);
    })
}

/// wgpu would find these too, but only when the caller's encoder is finished, and without saying what to do.
fn check(ops: &Ops, shape: &Shape<'_>, tensors: &[(&'static str, &wgpu::Buffer)]) -> Result<()> {
    let elements = u64::from(shape.rows) * u64::from(shape.units);
    if elements == 0 || elements > u64::from(u32::MAX / 2) {
        let value = format!("[{}, {}]", shape.rows, shape.units);
        return Err(Error::Option { option: "shape", value, problem: "must have from 1 to 2^31 - 1 elements".into() });
    }
    let listed = match shape.samples {
        Samples::From(first) if first.checked_add(shape.rows - 1).is_none() => {
            let problem = format!("the last of {} rows would be a sample above 2^32 - 1", shape.rows);
            return Err(Error::Option { option: "samples", value: format!("From({first})"), problem });
        }
        Samples::From(_) => None,
        Samples::Listed(buffer) => Some(("samples", buffer, 4 * u64::from(shape.rows))),
    };
    let matrices = tensors.iter().map(|&(name, buffer)| (name, buffer, 4 * elements));
    for (name, buffer, bytes) in matrices.chain(listed) {
        let bad = |problem: String| Err(Error::Data(format!("buffer {name}: {problem}")));
        if buffer.size() < bytes {
            return bad(format!("has {} bytes, but needs {bytes}", buffer.size()));
        }
        if bytes > ops.gpu.caps().max_binding {
            return bad(format!("needs {bytes} bytes, but the device binds at most {}", ops.gpu.caps().max_binding));
        }
        if !buffer.usage().contains(wgpu::BufferUsages::STORAGE) {
            return bad("was created without BufferUsages::STORAGE".into());
        }
    }
    let Some(((output, written), inputs)) = tensors.split_last() else { return Ok(()) };
    let mut inputs = inputs.iter().copied().chain(listed.map(|(name, buffer, _)| (name, buffer)));
    match inputs.find(|(_, buffer)| buffer == written) {
        None => Ok(()),
        Some((input, _)) => {
            Err(Error::Data(format!("{input} and {output} are the same buffer; a dispatch reads and writes two different ones")))
        }
    }
}
