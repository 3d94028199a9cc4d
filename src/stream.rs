//! Data sets whose inputs do not fit the device: each submission brings the rows of its batches.
//!
//! The host knows the rows of every batch, because their order is a pure function of the epoch. It writes them, one batch after the
//! other, into memory of the queue's own while the device is still busy with the submission before; the queue copies them into the
//! window, a buffer of the device, when that submission is done. One window is therefore enough, and which rows are resident
//! changes no result.

use crate::data::{Inputs, Values};
use crate::executor::Executor;
use crate::memory::Tensor;
use crate::plan::{Caps, Mode, Plans};
use crate::rng::Shuffle;
use crate::work::Work;
use crate::{Error, Result};

/// Bytes of a window, unless one batch needs more: of the networks measured, a submission reads less in its 0.2 seconds.
const WINDOW: u64 = 32 << 20;

/// The inputs of a data set, as room on the device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    pub(crate) name: &'static str,
    pub(crate) rows: u32,
    /// Bytes of a row on the device.
    pub(crate) row_bytes: u64,
    /// The most rows that one step reads.
    pub(crate) batch: u32,
}

impl Need {
    pub(crate) fn new(name: &'static str, inputs: &Inputs, batch: u32) -> Self {
        Self { name, rows: inputs.rows(), row_bytes: row_bytes(inputs) as u64, batch }
    }

    fn bytes(&self) -> u64 {
        u64::from(self.rows) * self.row_bytes
    }

    fn batch_bytes(&self) -> u64 {
        u64::from(self.batch) * self.row_bytes
    }
}

/// Bytes of a row on the device, where it is padded to four columns.
fn row_bytes(inputs: &Inputs) -> usize {
    let padded = (inputs.columns() as usize).next_multiple_of(4);
    match inputs.values() {
        Values::U8 { .. } => padded,
        Values::F32(_) => 4 * padded,
    }
}

/// The values of a row. A data set larger than the host's memory would read them from its file here.
fn fetch(inputs: &Inputs, row: u32) -> &[u8] {
    let columns = inputs.columns() as usize;
    let start = row as usize * columns;
    match inputs.values() {
        Values::U8 { bytes, .. } => &bytes[start..][..columns],
        Values::F32(values) => bytemuck::cast_slice(&values[start..][..columns]),
    }
}

/// For each data set `None` where all of it is resident, or the rows of its window: the only place that decides it.
///
/// One that fits a binding of the device is resident, unless the budget, in bytes for all of them, is too small. Data sets share the
/// budget equally, but what a small one leaves of its share is for the larger ones.
///
/// # Errors
/// A batch that its share of the budget, or a binding, cannot hold.
pub(crate) fn windows(caps: &Caps, budget: Option<u64>, needs: &[Need]) -> Result<Vec<Option<u32>>> {
    // A tensor is counted in 32-bit words and padded to 256 bytes.
    let limit = caps.max_binding.min(caps.max_buffer).min(4 * u64::from(u32::MAX)) / 256 * 256;
    let mut windows = vec![None; needs.len()];
    let mut order: Vec<usize> = (0..needs.len()).collect();
    order.sort_by_key(|&i| needs[i].bytes());
    let mut left = budget.unwrap_or(u64::MAX);
    for (at, &i) in order.iter().enumerate() {
        let need = &needs[i];
        let share = left / (needs.len() - at) as u64;
        let room = share.min(limit);
        let taken = match need.bytes() <= room {
            true => need.bytes(),
            false => room.min(WINDOW.max(need.batch_bytes())),
        };
        if taken < need.batch_bytes() {
            return Err(too_small(caps, budget, need, room));
        }
        if taken < need.bytes() {
            windows[i] = Some((taken / need.row_bytes) as u32);
        }
        left -= taken;
    }
    Ok(windows)
}

fn too_small(caps: &Caps, budget: Option<u64>, need: &Need, room: u64) -> Error {
    let (name, batch, bytes) = (need.name, need.batch, need.batch_bytes());
    match budget {
        Some(budget) if bytes <= caps.max_binding.min(caps.max_buffer) => Error::Option {
            option: "data_budget",
            value: format!("{budget} bytes"),
            problem: format!(
                "a step reads {batch} rows of the {name} data, {bytes} bytes of inputs, but its share of the budget is {room} bytes; \
                 use a larger budget, a smaller batch of training or, where it is an evaluation's, fewer rows, or inputs of bytes, \
                 which take a quarter of the room of f32"
            ),
        },
        _ => Error::Limit {
            what: format!("a batch of {batch} rows of the {name} data on {} (bytes of inputs)", caps.adapter),
            needed: bytes,
            available: room,
            remedy: "use a smaller batch, inputs of bytes, which take a quarter of the room of f32, or an adapter with larger limits",
        },
    }
}

/// The streamed data sets of an executor.
#[derive(Debug, Default)]
pub(crate) struct Streams(Vec<Stream>);

#[derive(Debug)]
struct Stream {
    source: String,
    inputs: Inputs,
    shuffle: Shuffle,
    window: Tensor,
    /// Rows of the window.
    capacity: usize,
    /// The most rows that one step reads.
    batch: usize,
    /// The rows that the steps of the next submission read, in order.
    rows: Vec<u32>,
}

impl Streams {
    /// Adds the data set of a plan, if it is streamed and not yet there.
    pub(crate) fn add(&mut self, plans: &Plans, plan: usize, inputs: &Inputs) {
        let source = &plans.plans[plan].options.source;
        let Some(capacity) = source.window.filter(|_| self.0.iter().all(|stream| stream.source != source.name)) else { return };
        let readers = plans.plans.iter().map(|plan| &plan.options).filter(|options| options.source.name == source.name);
        self.0.push(Stream {
            source: source.name.clone(),
            inputs: inputs.clone(),
            shuffle: Shuffle::new(source.rows),
            window: plans.plans[plan].tensor(&format!("{}.inputs", source.name)),
            capacity: capacity as usize,
            batch: readers.map(|options| options.batch as usize).max().unwrap_or(0),
            rows: Vec::with_capacity(capacity as usize),
        });
    }

    /// Begins a submission, which may use all of every window again.
    pub(crate) fn begin(&mut self) {
        self.0.iter_mut().for_each(|stream| stream.rows.clear());
    }

    /// Whether the submission can have another step, whichever it is.
    pub(crate) fn have_room(&self) -> bool {
        self.0.iter().all(|stream| stream.rows.len() + stream.batch <= stream.capacity)
    }

    /// Gives a step its place in the window, if its inputs are streamed.
    pub(crate) fn place(&mut self, plans: &Plans, work: &mut Work) {
        let options = &plans.plans[work.plan].options;
        let Some(stream) = self.0.iter_mut().find(|stream| stream.source == options.source.name) else { return };
        let step = &mut work.step;
        step.window = stream.rows.len() as u32;
        let positions = step.position..step.position + step.rows;
        match options.mode {
            Mode::Eval | Mode::MonteCarlo(_) => stream.rows.extend(positions),
            Mode::Train(_) => {
                let key = step.members[0].key;
                stream.rows.extend(positions.map(|position| stream.shuffle.row(position, step.epoch, key)));
            }
        }
    }

    /// Brings the rows of the steps that were placed since [`Streams::begin`], for the next submission.
    pub(crate) fn upload(&self, executor: &Executor) -> Result<()> {
        for stream in self.0.iter().filter(|stream| !stream.rows.is_empty()) {
            let rows = stream.rows.iter().map(|&row| fetch(&stream.inputs, row));
            executor.write_rows(stream.window, row_bytes(&stream.inputs), rows)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
