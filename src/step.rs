//! What changes from step to step: one [`Step`] is one row of the step table, computed on the host in f64 and rounded once.
//!
//! On the device a kernel binds the sections it reads, with a dynamic offset for the row. A row consists of sections at 256-byte offsets: the step
//! itself, the optimizer, and one per dropout site; each holds an entry per member. `shaders/lib/step.wgsl` is the other side.
//! A site that drops units for the whole batch has two more sections, its lists: which units are kept, and where. Kernels whose rows are
//! not the samples of the batch, but pixels, or the samples that a branch is computed for, read a [`Scope`] in place of the step.

use bytemuck::{Pod, Zeroable};

use crate::idle::{Idle, MAX_UPDATES};
use crate::network::{Blocks, Dropout, DropoutMode, KeepProb, Unit};
use crate::rng::{self, Coordinates, Stream};

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
    /// Row of the window in which the batch begins, where the inputs are streamed; see [`crate::plan::Source::window`].
    pub window: u32,
    /// The values of each member.
    pub members: Vec<MemberStep>,
}

impl Step {
    /// The first `rows` rows of the first epoch, as a whole batch.
    pub fn new(rows: u32, members: Vec<MemberStep>) -> Self {
        Self { rows, position: 0, epoch: 0, slot: 0, batch_rows: rows, accumulated: 0, window: 0, members }
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
#[derive(Debug, Clone, PartialEq)]
pub struct SiteStep {
    /// The lower 32 bits of T.
    pub threshold: u32,
    /// 1 where T = 2^32, and where the batch shares a list of kept units: none of these is dropped.
    pub keep_all: u32,
    /// The factor of a kept unit, see [`Dropout::train_scale`].
    pub scale: f32,
    /// The pass coordinate of the mask contract.
    pub pass: u32,
    /// Units of the site, at a site of [`DropoutMode::Units`]; 0 at others.
    pub units: u32,
    /// The units that the whole batch keeps, in ascending order, at a site of [`DropoutMode::Units`]; empty at others. Where it keeps
    /// fewer than its plan has room for, [`DROPPED`] stands for the rest.
    pub kept: Vec<u32>,
    /// Which rows of a weight that it thins are updated without a gradient; `None`: those of the dropped units.
    pub idle: Option<Idle>,
}

/// Everything that the mask of a dropout site in one step depends on, but its dropout layer and the samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    /// The Philox key.
    pub key: [u32; 2],
    /// The site of the mask contract.
    pub site: u32,
    /// Units of the site.
    pub units: u32,
    /// Height and width of the maps, where blocks are dropped from them.
    pub map: [u32; 2],
    /// The pass of masks that each sample has of its own: the epoch.
    pub epoch: u32,
    /// The pass of masks that a batch shares: the optimizer step, from 0. The steps whose gradients make one update share it.
    pub update: u32,
}

/// No unit: the position of one that is not kept, see [`SiteStep::positions`], and what fills up a list.
pub const DROPPED: u32 = u32::MAX;

impl SiteStep {
    /// The values of inverted dropout at a rate in some pass.
    pub fn new(keep: KeepProb, pass: u32) -> Self {
        let threshold = keep.threshold();
        let (threshold, keep_all) = (threshold as u32, (threshold >> 32) as u32);
        Self { threshold, keep_all, scale: keep.scale(), pass, units: 0, kept: Vec::new(), idle: None }
    }

    /// The values of a site whose units are kept by their words: its threshold, its scale, the pass of its words.
    pub fn rate(dropout: &Dropout, map: [u32; 2], pass: u32) -> Self {
        match dropout.unit {
            Unit::Block(size) => {
                let blocks = Blocks::new(dropout.keep, size, map);
                let (threshold, keep_all) = (blocks.threshold as u32, (blocks.threshold >> 32) as u32);
                let scale = if dropout.mode == DropoutMode::Vanilla { 1.0 } else { blocks.scale() };
                Self { threshold, keep_all, scale, ..Self::new(dropout.keep, pass) }
            }
            _ => Self { scale: dropout.train_scale(1), ..Self::new(dropout.keep, pass) },
        }
    }

    /// The values of a dropout layer in a step.
    pub fn of(dropout: &Dropout, draw: &Draw) -> Self {
        let dropout = &dropout.at(draw.update);
        let scale = dropout.train_scale(draw.units);
        match dropout.mode {
            DropoutMode::Inverted | DropoutMode::Vanilla => Self::rate(dropout, draw.map, draw.epoch),
            DropoutMode::Batch => Self::rate(dropout, draw.map, draw.update),
            DropoutMode::Units => {
                let at = Coordinates { stream: Stream::BatchMask, site: draw.site, pass: draw.update, sample: 0 };
                let kept = rng::exact_k(at, draw.units, dropout.kept_count(draw.units), draw.key);
                Self::listed(kept, draw.units, scale, draw.update)
            }
        }
    }

    /// The values of a path in a step over these samples, whose list has the places of those that keep it, and room for `batch` of them.
    pub fn path(dropout: &Dropout, site: u32, key: [u32; 2], [epoch, update]: [u32; 2], samples: &[u32], batch: u32) -> Self {
        let dropout = &dropout.at(update);
        let keeps = |sample: u32| {
            let (stream, pass, sample) = match dropout.mode {
                DropoutMode::Batch => (Stream::BatchMask, update, 0),
                _ => (Stream::TrainingMask, epoch, sample),
            };
            dropout.keep.keeps(Coordinates { stream, site, pass, sample }.word(0, key))
        };
        let mut kept: Vec<u32> = (0..).zip(samples).filter(|&(_, &sample)| keeps(sample)).map(|(place, _)| place).collect();
        kept.resize(batch as usize, DROPPED);
        Self::listed(kept, batch, dropout.train_scale(1), epoch)
    }

    /// The values of a site that keeps the listed ones of its units for the whole batch.
    pub(crate) fn listed(kept: Vec<u32>, units: u32, scale: f32, pass: u32) -> Self {
        // What is kept of the units is all of the matrices that a thinned plan works on.
        let keep_all = u32::from(!kept.is_empty());
        Self { threshold: 0, keep_all, scale, pass, units, kept, idle: None }
    }

    /// Whether a unit with this word is kept.
    pub fn keeps(&self, word: u32) -> bool {
        self.keep_all == 1 || word < self.threshold
    }

    /// How many units its list keeps.
    pub fn count(&self) -> u32 {
        self.kept.iter().filter(|&&unit| unit != DROPPED).count() as u32
    }

    /// The place of each unit in the list of kept ones, [`DROPPED`] where it is not in it.
    pub fn positions(&self) -> Vec<u32> {
        let mut positions = vec![DROPPED; self.units as usize];
        for (position, &unit) in (0..).zip(&self.kept).filter(|&(_, &unit)| unit != DROPPED) {
            positions[unit as usize] = position;
        }
        positions
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
    /// The same for the plan's n-th scope, which has rows of its own.
    Scope(usize),
    /// `array<OptimizerStep, MEMBERS>`.
    Optimizer,
    /// `array<Site, MEMBERS>` of the plan's n-th site.
    Site(usize),
    /// Any part of the row: bound where a kernel's module was specialised so that it reads none.
    Unused,
    /// `array<u32>`: for each member the units that the n-th site keeps, in ascending order; members [`list_words`] apart.
    Kept(usize),
    /// `array<u32>`: for each member and unit of the n-th site its position in that list, or [`DROPPED`]; members
    /// [`list_words`] apart.
    Positions(usize),
    /// `Idle` of `idle_update.wgsl`: what the n-th site says in [`SiteStep::idle`], with the optimizer's scalars.
    Idle(usize),
}

/// What a dropout site takes in a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SiteLayout {
    /// Units of the site.
    pub units: u32,
    /// How many of them the whole batch keeps, where the row lists which; `None` at a site without lists.
    pub kept: Option<u32>,
    /// Whether the row lists the rows of a weight that are updated without a gradient.
    pub idle: bool,
}

impl SiteLayout {
    /// What a dropout layer of `units` units takes.
    pub fn of(dropout: &Dropout, units: u32) -> Self {
        Self { units, kept: (dropout.mode == DropoutMode::Units).then(|| dropout.kept_count(units)), idle: false }
    }

    /// How many units the whole batch drops: the most that a list of rows without a gradient has.
    pub fn dropped(&self) -> u32 {
        self.kept.map_or(0, |kept| self.units - kept)
    }
}

/// Words from one member's list of `len` words to the next: a multiple of 64, so that it can be read in vectors. The words behind
/// the list are 0. An empty list has room too, because no binding may be empty.
pub fn list_words(len: u32) -> u32 {
    len.max(1).next_multiple_of(64)
}

/// What the rows of a kernel are, where they are not the samples of the batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Rows of each sample: the pixels of a map.
    pub pixels: u32,
    /// The site whose list says which samples there are; `None`: all.
    pub path: Option<usize>,
}

impl Scope {
    /// The samples of the batch.
    pub const SAMPLES: Self = Self { pixels: 1, path: None };

    /// Valid rows in a step.
    pub fn rows(&self, step: &Step) -> u32 {
        let samples = self.path.map_or(step.rows, |site| step.members[0].sites[site].count());
        samples * self.pixels
    }
}

/// Where the sections of a row lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowLayout {
    /// Number of members.
    pub members: u32,
    /// The dropout sites.
    pub sites: Vec<SiteLayout>,
    /// The scopes.
    pub scopes: Vec<Scope>,
}

/// Bytes of `Step` in front of the keys.
const STEP_BYTES: u32 = 32;

/// Bytes of `Site`.
const SITE_BYTES: u32 = 16;

const ALIGN: u32 = 256; // WebGPU's minStorageBufferOffsetAlignment

impl RowLayout {
    /// Bytes of a section, without padding.
    pub fn size(&self, section: Section) -> u32 {
        let list = |len| 4 * list_words(len) * self.members;
        match section {
            Section::Step | Section::Scope(_) => STEP_BYTES + 16 * self.members,
            Section::Optimizer => size_of::<OptimizerStep>() as u32 * self.members,
            Section::Site(_) | Section::Unused => SITE_BYTES * self.members,
            Section::Kept(i) => self.sites[i].kept.map_or(0, list),
            Section::Positions(i) => self.sites[i].kept.map_or(0, |_| list(self.sites[i].units)),
            Section::Idle(i) if self.sites[i].idle => {
                let optimizers = MAX_UPDATES * size_of::<OptimizerStep>() as u32 * self.members;
                optimizers + list(1 + self.sites[i].dropped())
            }
            Section::Idle(_) => 0,
        }
    }

    /// First byte of a section in its row.
    pub fn offset(&self, section: Section) -> u32 {
        let after = |section| self.offset(section) + self.size(section).next_multiple_of(ALIGN);
        match section {
            Section::Step | Section::Unused => 0,
            Section::Optimizer => after(Section::Step),
            Section::Scope(0) => self.row_bytes_of_sites(),
            Section::Scope(i) => after(Section::Scope(i - 1)),
            Section::Site(0) => after(Section::Optimizer),
            Section::Site(i) => after(Section::Idle(i - 1)),
            Section::Kept(i) => after(Section::Site(i)),
            Section::Positions(i) => after(Section::Kept(i)),
            Section::Idle(i) => after(Section::Positions(i)),
        }
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> u32 {
        self.offset(Section::Scope(self.scopes.len()))
    }

    fn row_bytes_of_sites(&self) -> u32 {
        self.offset(Section::Site(self.sites.len()))
    }

    /// Writes a step into its row, which holds zeros.
    pub fn write(&self, step: &Step, row: &mut [u8]) {
        debug_assert_eq!(step.members.len(), self.members as usize, "a step has one entry per member of its plan");
        let mut put = |offset: u32, bytes: &[u8]| row[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        let Step { rows, position, epoch, slot, batch_rows, accumulated, window, .. } = *step;
        let scopes = self.scopes.iter().enumerate().map(|(i, scope)| (self.offset(Section::Scope(i)), scope.rows(step)));
        for (at, rows) in std::iter::once((0, rows)).chain(scopes) {
            put(at, bytemuck::cast_slice(&[rows, position, epoch, slot, batch_rows, accumulated, window, 0]));
            for (i, member) in (0..).zip(&step.members) {
                put(at + STEP_BYTES + 16 * i, bytemuck::cast_slice(&[member.key[0], member.key[1], 0, 0]));
            }
        }
        for (i, member) in (0..).zip(&step.members) {
            debug_assert_eq!(member.sites.len(), self.sites.len(), "a step has one entry per site of its plan");
            let optimizer = self.offset(Section::Optimizer);
            put(optimizer + i * size_of::<OptimizerStep>() as u32, bytemuck::bytes_of(&member.optimizer));
            for (s, site) in member.sites.iter().enumerate() {
                let words = [site.threshold, site.keep_all, site.scale.to_bits(), site.pass];
                put(self.offset(Section::Site(s)) + i * SITE_BYTES, bytemuck::cast_slice(&words));
                let SiteLayout { units, kept, idle } = self.sites[s];
                if let Some(kept) = kept {
                    let planned = (site.units, site.kept.len() as u32) == (units, kept);
                    assert!(planned, "a step keeps {} of {} units, its plan {kept} of {units}", site.kept.len(), site.units);
                    put(self.offset(Section::Kept(s)) + 4 * i * list_words(kept), bytemuck::cast_slice(&site.kept));
                    let positions = site.positions();
                    put(self.offset(Section::Positions(s)) + 4 * i * list_words(units), bytemuck::cast_slice(&positions));
                }
                if idle {
                    let (at, size) = (self.offset(Section::Idle(s)), size_of::<OptimizerStep>() as u32);
                    let list = site.idle.clone().unwrap_or_else(|| Idle::all_dropped(site));
                    list.check(site);
                    for (k, optimizer) in (0..).zip(list.optimizers(&member.optimizer)) {
                        put(at + (i * MAX_UPDATES + k) * size, bytemuck::bytes_of(optimizer));
                    }
                    let at = at + self.members * MAX_UPDATES * size + 4 * i * list_words(1 + self.sites[s].dropped());
                    put(at, bytemuck::cast_slice(&list.words()));
                }
            }
        }
    }
}
