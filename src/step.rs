//! What changes from step to step: one [`Step`] is one row of the step table, computed on the host in f64 and rounded once.
//!
//! On the device a kernel binds the sections it reads, with a dynamic offset for the row. A row consists of sections at 256-byte offsets: the step
//! itself, the optimizer, and one per dropout site; each holds an entry per member. `shaders/lib/step.wgsl` is the other side.

use bytemuck::{Pod, Zeroable};

use crate::network::{Dropout, KeepProb};

/// One step of a plan: a batch, and the values of every member.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Valid rows of the batch.
    pub rows: u32,
    /// Where the batch begins in the order of the epoch.
    pub position: u32,
    /// Which order of the rows.
    pub epoch: u32,
    /// Where the metrics are added up.
    pub slot: u32,
    /// Rows of the whole batch, over which the gradient is a mean: `rows`, unless gradients are accumulated.
    pub batch_rows: u32,
    /// Rows of the batch whose gradients are already accumulated; 0 begins a batch.
    pub accumulated: u32,
    /// The values of each member.
    pub members: Vec<MemberStep>,
}

impl Step {
    /// The first `rows` rows of the first epoch, as a whole batch.
    pub fn new(rows: u32, members: Vec<MemberStep>) -> Self {
        Self { rows, position: 0, epoch: 0, slot: 0, batch_rows: rows, accumulated: 0, members }
    }
}

/// What one member of a step has of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberStep {
    /// The Philox key.
    pub key: [u32; 2],
    /// The optimizer's scalars.
    pub optimizer: OptimizerStep,
    /// One entry per dropout site of the plan.
    pub sites: Vec<SiteStep>,
}

/// A dropout site in one step.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct SiteStep {
    /// The lower 32 bits of T.
    pub threshold: u32,
    /// 1 where T = 2^32.
    pub keep_all: u32,
    /// The factor of a kept unit: 1 / keep_prob, or 1 for vanilla dropout.
    pub scale: f32,
    /// The pass coordinate of the mask contract.
    pub pass: u32,
}

impl SiteStep {
    /// The values of inverted dropout at a rate in some pass.
    pub fn new(keep: KeepProb, pass: u32) -> Self {
        let threshold = keep.threshold();
        Self { threshold: threshold as u32, keep_all: (threshold >> 32) as u32, scale: keep.scale(), pass }
    }

    /// The values of a dropout layer in some pass.
    pub fn of(dropout: &Dropout, pass: u32) -> Self {
        Self { scale: dropout.train_scale(), ..Self::new(dropout.keep, pass) }
    }

    /// Whether a unit with this word is kept.
    pub fn keeps(&self, word: u32) -> bool {
        self.keep_all == 1 || word < self.threshold
    }
}

/// The optimizer's scalars in one step; their meaning is in `shaders/optimizer.wgsl`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
#[expect(missing_docs, reason = "each field is a symbol of the formulas in optimizer.wgsl")]
pub struct OptimizerStep {
    pub learning_rate: f32,
    pub weight_decay: f32,
    pub beta1: f32,
    pub one_minus_beta1: f32,
    pub beta2: f32,
    pub one_minus_beta2: f32,
    pub root_bias2: f32,
    pub epsilon: f32,
    pub decoupled_decay: f32,
    pub nesterov: u32,
    pub clip_norm: f32,
    pub max_norm: f32,
}

/// A part of a row that one kernel binding reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Section {
    /// `Step` of `lib/step.wgsl`.
    Step,
    /// `array<OptimizerStep, MEMBERS>`.
    Optimizer,
    /// `array<Site, MEMBERS>` of the plan's n-th site.
    Site(usize),
    /// Any part of the row: bound where a kernel's module was specialised so that it reads none.
    Unused,
}

/// Where the sections of a row lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowLayout {
    /// Number of members.
    pub members: u32,
    /// Number of dropout sites.
    pub sites: u32,
}

/// Bytes of `Step` in front of the keys.
const STEP_BYTES: u32 = 32;

const ALIGN: u32 = 256; // WebGPU's minStorageBufferOffsetAlignment

impl RowLayout {
    /// Bytes of a section, without padding.
    pub fn size(&self, section: Section) -> u32 {
        match section {
            Section::Step => STEP_BYTES + 16 * self.members,
            Section::Optimizer => size_of::<OptimizerStep>() as u32 * self.members,
            Section::Site(_) | Section::Unused => size_of::<SiteStep>() as u32 * self.members,
        }
    }

    /// First byte of a section in its row.
    pub fn offset(&self, section: Section) -> u32 {
        let after = |section| self.offset(section) + self.size(section).next_multiple_of(ALIGN);
        match section {
            Section::Step | Section::Unused => 0,
            Section::Optimizer => after(Section::Step),
            Section::Site(0) => after(Section::Optimizer),
            Section::Site(i) => after(Section::Site(i - 1)),
        }
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> u32 {
        self.offset(Section::Site(self.sites as usize))
    }

    /// Writes a step into its row.
    pub fn write(&self, step: &Step, row: &mut [u8]) {
        debug_assert_eq!(step.members.len(), self.members as usize, "a step has one entry per member of its plan");
        let mut put = |offset: usize, bytes: &[u8]| row[offset..offset + bytes.len()].copy_from_slice(bytes);
        let Step { rows, position, epoch, slot, batch_rows, accumulated, .. } = *step;
        put(0, bytemuck::cast_slice(&[rows, position, epoch, slot, batch_rows, accumulated, 0, 0]));
        for (i, member) in step.members.iter().enumerate() {
            debug_assert_eq!(member.sites.len(), self.sites as usize, "a step has one entry per site of its plan");
            put(STEP_BYTES as usize + 16 * i, bytemuck::cast_slice(&[member.key[0], member.key[1], 0, 0]));
            let optimizer = self.offset(Section::Optimizer) as usize;
            put(optimizer + i * size_of::<OptimizerStep>(), bytemuck::bytes_of(&member.optimizer));
            for (s, site) in member.sites.iter().enumerate() {
                let offset = self.offset(Section::Site(s)) as usize;
                put(offset + i * size_of::<SiteStep>(), bytemuck::bytes_of(site));
            }
        }
    }
}
