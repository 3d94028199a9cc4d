//! [`Device`]: an adapter that was opened, or the CPU twins; and the executor that runs plans on either.

use std::sync::Arc;

use crate::gpu::{self, Gpu};
use crate::kernels::matmul::Matmul;
use crate::memory::Tensor;
use crate::plan::{Caps, Plans};
use crate::profile::{Clock, Lap};
use crate::step::Step;
use crate::work::{Snapshot, Work};
use crate::{Error, Result, cpu, idle};

/// Where networks are trained and evaluated. Cheap to clone; clones share the device and its compiled kernels.
#[derive(Debug, Clone)]
pub struct Device {
    kind: Kind,
    /// The family of matrix products, where another is wanted than the device's own.
    matmul: Option<Matmul>,
}

#[derive(Debug, Clone)]
enum Kind {
    Gpu(Arc<Gpu>),
    Cpu,
}

impl Device {
    /// Opens the best adapter: discrete GPUs first, then integrated ones, then software. wgpu's environment variables
    /// (`WGPU_ADAPTER_NAME`, `WGPU_BACKEND`, `WGPU_POWER_PREF`) narrow the choice; the adapter name `cpu` is the CPU twins.
    ///
    /// # Errors
    /// [`crate::Error::NoAdapter`], which says what was looked for, what was seen and what to install.
    pub fn open() -> Result<Self> {
        pollster::block_on(Self::open_async(None))
    }

    /// Opens the first adapter whose name contains `name`, whatever the case; `cpu` is the CPU twins, which need no
    /// adapter and are slow.
    ///
    /// # Errors
    /// As [`Device::open`].
    pub fn open_named(name: &str) -> Result<Self> {
        pollster::block_on(Self::open_async(Some(name)))
    }

    /// [`Device::open`] or [`Device::open_named`] without blocking.
    ///
    /// # Errors
    /// As [`Device::open`].
    pub async fn open_async(name: Option<&str>) -> Result<Self> {
        let name = name.map(str::to_owned).or_else(|| std::env::var("WGPU_ADAPTER_NAME").ok().filter(|name| !name.is_empty()));
        match name.as_deref() {
            Some(name) if name.eq_ignore_ascii_case("cpu") => Ok(Self::cpu()),
            name => Ok(Self::new(Kind::Gpu(Arc::new(Gpu::open(name).await?)))),
        }
    }

    /// Uses a device of the caller's and its queue. Nothing of it is changed: neither its error handler nor its lost
    /// callback, so that the loss of such a device shows as [`crate::Error::Gpu`]; the caller's own callback tells of it.
    ///
    /// # Errors
    /// Limits below [`crate::ops::required_limits`].
    pub fn from_wgpu(device: wgpu::Device, queue: wgpu::Queue) -> Result<Self> {
        Ok(Self::new(Kind::Gpu(Arc::new(Gpu::from_wgpu(device, queue)?))))
    }

    /// The CPU twins.
    pub fn cpu() -> Self {
        Self::new(Kind::Cpu)
    }

    fn new(kind: Kind) -> Self {
        Self { kind, matmul: None }
    }

    /// The same device with another family of matrix products than it would choose: to compare them, or to add up in the order
    /// of another device. The families give the same masks.
    ///
    /// ```
    /// use thinnet::{Device, kernels::matmul::Matmul};
    ///
    /// let device = Device::cpu().with_matmul(Matmul::Tile)?;
    /// assert_eq!(device.caps().matmul, Matmul::Tile);
    /// # Ok::<(), thinnet::Error>(())
    /// ```
    ///
    /// # Errors
    /// A family that the device cannot run: [`Matmul::Shuffle`] with another number of lanes than it was found to have.
    pub fn with_matmul(self, matmul: Matmul) -> Result<Self> {
        let own = Self::new(self.kind.clone()).caps();
        match matmul {
            Matmul::Shuffle { .. } if matmul != own.matmul => Err(Error::Option {
                option: "matmul",
                value: matmul.to_string(),
                problem: format!(
                    "{} does not have it: it needs a software adapter whose subgroups always have so many lanes (4, 8 or 16), in the \
                     order of the invocations; this device's own choice is {}, and plain and tile run everywhere",
                    own.adapter, own.matmul
                ),
            }),
            _ => Ok(Self { matmul: Some(matmul), ..self }),
        }
    }

    /// What the device can do, with the family of matrix products that it uses.
    pub fn caps(&self) -> Caps {
        let caps = match &self.kind {
            Kind::Gpu(gpu) => gpu.caps().clone(),
            Kind::Cpu => Caps {
                adapter: "cpu".into(),
                backend: "twins".into(),
                software: true,
                max_buffer: 1 << 33,
                max_binding: 1 << 33,
                ..Caps::baseline()
            },
        };
        Caps { matmul: self.matmul.unwrap_or(caps.matmul), ..caps }
    }

    /// The GPU, unless this is the CPU twins.
    pub fn gpu(&self) -> Option<&Gpu> {
        match &self.kind {
            Kind::Gpu(gpu) => Some(gpu),
            Kind::Cpu => None,
        }
    }
}

/// A submission under way.
#[derive(Debug)]
pub struct Submission(Pending);

#[derive(Debug)]
enum Pending {
    Gpu(gpu::executor::Pending),
    Done(Snapshot),
}

/// Runs plans on a device.
#[derive(Debug)]
pub enum Executor {
    /// On the GPU.
    Gpu(gpu::executor::Executor),
    /// Through the twins.
    Cpu(cpu::Executor),
}

impl Executor {
    /// Creates everything that the plans need: buffers (zeroed), pipelines, bind groups.
    ///
    /// # Errors
    /// Too little memory, or a kernel that the driver refuses.
    pub fn new(device: &Device, plans: Plans) -> Result<Self> {
        Ok(match &device.kind {
            Kind::Gpu(gpu) => Self::Gpu(gpu::executor::Executor::new(gpu.clone(), plans)?),
            Kind::Cpu => Self::Cpu(cpu::Executor::new(plans)),
        })
    }

    /// The plans.
    pub fn plans(&self) -> &Plans {
        match self {
            Self::Gpu(executor) => executor.plans(),
            Self::Cpu(executor) => executor.plans(),
        }
    }

    /// Overwrites the first words of a member's tensor.
    ///
    /// # Errors
    /// A lost device.
    pub fn write(&self, tensor: Tensor, member: u32, words: &[u32]) -> Result<()> {
        assert!(words.len() <= tensor.len as usize, "{} words do not fit a tensor of {}", words.len(), tensor.len);
        match self {
            Self::Gpu(executor) => executor.write(tensor, member, words),
            Self::Cpu(executor) => {
                executor.memory().u32_mut(tensor, member as usize)[..words.len()].copy_from_slice(words);
                Ok(())
            }
        }
    }

    /// Overwrites the first rows of a tensor of one member, for the submissions after this call: those under way still read what was
    /// there. Each of `rows` is padded with zeros to `row_bytes`, a multiple of 4.
    ///
    /// # Errors
    /// A lost device.
    pub fn write_rows<'a>(&self, tensor: Tensor, row_bytes: usize, rows: impl ExactSizeIterator<Item = &'a [u8]>) -> Result<()> {
        let bytes = rows.len() * row_bytes;
        assert!(bytes <= 4 * tensor.len as usize, "{bytes} bytes do not fit a tensor of {} words", tensor.len);
        match self {
            Self::Gpu(executor) => executor.write_rows(tensor, row_bytes, rows),
            Self::Cpu(executor) => {
                let mut words = executor.memory().u32_mut(tensor, 0);
                let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
                for (to, row) in bytes.chunks_mut(row_bytes).zip(rows) {
                    to[..row.len()].copy_from_slice(row);
                    to[row.len()..].fill(0);
                }
                Ok(())
            }
        }
    }

    /// A member's tensor.
    ///
    /// # Errors
    /// A lost device.
    pub fn read(&self, tensor: Tensor, member: u32) -> Result<Vec<u32>> {
        match self {
            Self::Gpu(executor) => executor.read(tensor, member),
            Self::Cpu(executor) => Ok(executor.memory().u32(tensor, member as usize).to_vec()),
        }
    }

    /// Runs one kernel of a plan and waits for it.
    ///
    /// # Errors
    /// A lost device.
    pub fn run_kernel(&mut self, plan: usize, kernel: usize, step: &Step) -> Result<()> {
        match self {
            Self::Gpu(executor) => executor.run_kernel(plan, kernel, step),
            Self::Cpu(executor) => {
                executor.run_kernel(plan, kernel, step);
                Ok(())
            }
        }
    }

    /// Records and submits steps in order, at most [`Plans::max_steps`] of them; within them updates may wait, see [`crate::idle`]. At most two
    /// submissions should be under way.
    ///
    /// # Errors
    /// A lost device.
    pub fn submit(&mut self, work: &[Work]) -> Result<Submission> {
        let most = self.plans().max_steps();
        assert!(work.len() <= most, "{} steps in one submission; the step table holds {most}", work.len());
        let work = &idle::put_off(self.plans(), work);
        Ok(Submission(match self {
            Self::Gpu(executor) => Pending::Gpu(executor.submit(work)?),
            Self::Cpu(executor) => Pending::Done(executor.run(work)),
        }))
    }

    /// What a profile times kernels with.
    pub fn clock(&self) -> Clock {
        match self {
            Self::Gpu(executor) => executor.clock(),
            Self::Cpu(_) => Clock::Host,
        }
    }

    /// Runs steps in order, waits for them and says how long every dispatch took. Without a clock it runs nothing.
    pub(crate) fn profile(&mut self, work: &[Work]) -> Result<Vec<Lap>> {
        let work = &idle::put_off(self.plans(), work);
        match self {
            Self::Gpu(executor) => executor.profile(work),
            Self::Cpu(executor) => Ok(executor.profile(work)),
        }
    }

    /// Waits for a submission and returns the metrics at its end.
    ///
    /// # Errors
    /// A lost device.
    pub fn wait(&mut self, submission: Submission) -> Result<Snapshot> {
        match (self, submission.0) {
            (Self::Gpu(executor), Pending::Gpu(pending)) => executor.wait(pending),
            (_, Pending::Done(snapshot)) => Ok(snapshot),
            (Self::Cpu(_), Pending::Gpu(_)) => unreachable!("a submission is waited for by the executor that made it"),
        }
    }
}
