//! A program with a wgpu device of its own: buffers, encoders, a read-back; and the mask contract, written out unit by unit.

use std::sync::{OnceLock, mpsc};

use thinnet::ops::{Ops, Samples, Shape, Site, dropout_backward, dropout_forward, dropout_mask};
use thinnet::rng::{self, Coordinates, Stream};
use thinnet::wgpu::util::{BufferInitDescriptor, DeviceExt};
use thinnet::{Error, KeepProb, wgpu};

use crate::common::{self, POISON};

/// Usages of a buffer that operations use and tests fill and read.
pub(crate) const USAGE: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_SRC).union(wgpu::BufferUsages::COPY_DST);

/// A device and the operations compiled for it.
pub(crate) struct Host {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) ops: Ops,
}

impl Host {
    /// The adapter under test.
    pub(crate) fn shared() -> &'static Host {
        static HOST: OnceLock<Host> = OnceLock::new();
        HOST.get_or_init(|| {
            let gpu = common::device().gpu().expect("the adapter under test is no CPU twin");
            Host::new(gpu.device().clone(), gpu.queue().clone()).unwrap()
        })
    }

    pub(crate) fn new(device: wgpu::Device, queue: wgpu::Queue) -> Result<Self, Error> {
        Ok(Self { ops: Ops::new(device.clone(), queue.clone())?, device, queue })
    }

    /// A device as a host program requests it, with what the crate says it needs and nothing else.
    pub(crate) fn open() -> (wgpu::Device, wgpu::Queue) {
        Self::open_with(thinnet::ops::required_limits())
    }

    pub(crate) fn open_with(required_limits: wgpu::Limits) -> (wgpu::Device, wgpu::Queue) {
        Self::open_as(required_limits, thinnet::ops::required_features())
    }

    pub(crate) fn open_as(required_limits: wgpu::Limits, required_features: wgpu::Features) -> (wgpu::Device, wgpu::Queue) {
        // The adapter that the rest of the suite runs on, which the environment may have chosen.
        let name = common::device().caps().adapter;
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
        let backends = wgpu::Backends::from_env().unwrap_or_default();
        let adapters = pollster::block_on(instance.enumerate_adapters(backends));
        let adapter = adapters.into_iter().find(|a| a.get_info().name == name).expect("the adapter was opened before");
        let descriptor = wgpu::DeviceDescriptor { required_features, required_limits, ..Default::default() };
        pollster::block_on(adapter.request_device(&descriptor)).unwrap()
    }

    /// A buffer with these words.
    pub(crate) fn buffer(&self, words: &[u32]) -> wgpu::Buffer {
        let contents = bytemuck::cast_slice(words);
        self.device.create_buffer_init(&BufferInitDescriptor { label: Some("test"), contents, usage: USAGE })
    }

    /// A buffer for `elements` words that no kernel has written yet.
    pub(crate) fn poisoned(&self, elements: u32) -> wgpu::Buffer {
        self.buffer(&vec![POISON; elements as usize])
    }

    /// All words of a buffer.
    pub(crate) fn read(&self, buffer: &wgpu::Buffer) -> Vec<u32> {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let descriptor = wgpu::BufferDescriptor { label: None, size: buffer.size(), usage, mapped_at_creation: false };
        let staging = self.device.create_buffer(&descriptor);
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, None);
        self.queue.submit([encoder.finish()]);
        let (sender, receiver) = mpsc::channel();
        staging.map_async(wgpu::MapMode::Read, .., move |result| sender.send(result).unwrap());
        self.device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        // Another test's thread may be the one that runs the callback.
        receiver.recv().unwrap().unwrap();
        bytemuck::pod_collect_to_vec(&staging.get_mapped_range(..).unwrap())
    }

    /// The mask of a shape, drawn on the device.
    pub(crate) fn mask(&self, site: &Site, shape: &Shape<'_>) -> Vec<u32> {
        let mask = self.poisoned(shape.rows * shape.units);
        let mut encoder = self.device.create_command_encoder(&Default::default());
        dropout_mask(&self.ops, &mut encoder, site, shape, &mask).unwrap();
        self.queue.submit([encoder.finish()]);
        self.read(&mask)
    }

    /// `x` after [`dropout_forward`] and `dy` after [`dropout_backward`], as bits.
    pub(crate) fn forward_backward(&self, site: &Site, shape: &Shape<'_>, x: &[f32], dy: &[f32]) -> (Vec<u32>, Vec<u32>) {
        let elements = shape.rows * shape.units;
        let (x, dy) = (self.buffer(bytemuck::cast_slice(x)), self.buffer(bytemuck::cast_slice(dy)));
        let (y, dx) = (self.poisoned(elements), self.poisoned(elements));
        let mut encoder = self.device.create_command_encoder(&Default::default());
        dropout_forward(&self.ops, &mut encoder, site, shape, &x, &y).unwrap();
        dropout_backward(&self.ops, &mut encoder, site, shape, &dy, &dx).unwrap();
        self.queue.submit([encoder.finish()]);
        (self.read(&y), self.read(&dx))
    }
}

/// A site with every coordinate at 0 and seed 42, for tests to change.
pub(crate) fn site(keep_prob: f64) -> Site {
    Site { keep: KeepProb::new(keep_prob).unwrap(), seed: 42, stream: Stream::TrainingMask, site: 0, pass: 0 }
}

/// Rows for the samples 0, 1, 2 ...
pub(crate) fn shape(rows: u32, units: u32) -> Shape<'static> {
    Shape { rows, units, samples: Samples::From(0) }
}

/// The mask that the contract asks for, from [`Coordinates`] and the threshold alone.
pub(crate) fn contract(site: &Site, samples: impl IntoIterator<Item = u32>, units: u32) -> Vec<u32> {
    let (key, threshold) = (rng::key(site.seed), site.keep.threshold());
    let Site { stream, site, pass, .. } = *site;
    let row = |sample| {
        let at = Coordinates { stream, site, pass, sample };
        (0..units).map(move |unit| u32::from(u64::from(at.word(unit, key)) < threshold))
    };
    samples.into_iter().flat_map(row).collect()
}
