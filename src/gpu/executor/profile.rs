//! Steps with timestamp queries: a pass for every dispatch, a timestamp at its beginning and one at its end. Query sets are made
//! here and nowhere else, so that a training without a profile has none.

use super::super::Gpu;
use super::super::readback::Staging;
use std::sync::atomic::Ordering;

use super::{Dispatch, Due, Executor};
use crate::Result;
use crate::profile::{Clock, Lap};
use crate::work::Work;

/// The features that a profile uses where they are there: the second for the copies into textures, which are in no pass.
pub(in crate::gpu) const TIMESTAMPS: wgpu::Features =
    wgpu::Features::TIMESTAMP_QUERY.union(wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS);

/// An even number, so that a pair of timestamps lies in one set.
const QUERIES_A_SET: u32 = wgpu::QUERY_SET_MAX_QUERIES;

const BYTES: u64 = wgpu::QUERY_SIZE as u64;

/// Room for pairs of timestamps.
struct Queries {
    sets: Vec<wgpu::QuerySet>,
    count: u32,
    resolved: wgpu::Buffer,
    staging: Staging,
}

impl Queries {
    fn new(gpu: &Gpu, count: u32) -> Result<Self> {
        let set = || {
            gpu.created.fetch_add(1, Ordering::Relaxed);
            let descriptor =
                wgpu::QuerySetDescriptor { label: Some("profile"), ty: wgpu::QueryType::Timestamp, count: QUERIES_A_SET };
            gpu.guarded("timestamp queries", || gpu.device.create_query_set(&descriptor))
        };
        let sets = (0..count.div_ceil(QUERIES_A_SET)).map(|_| set()).collect::<Result<_>>()?;
        let bytes = BYTES * u64::from(count.max(1));
        let resolved = gpu.buffer("timestamps", bytes, wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC)?;
        Ok(Self { sets, count, resolved, staging: Staging::new(gpu, bytes)? })
    }

    /// The set of a query and its number there.
    fn at(&self, query: u32) -> (&wgpu::QuerySet, u32) {
        (&self.sets[(query / QUERIES_A_SET) as usize], query % QUERIES_A_SET)
    }

    /// Records the way from the sets to the staging buffer.
    fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        for (first, set) in (0..self.count).step_by(QUERIES_A_SET as usize).zip(&self.sets) {
            let queries = QUERIES_A_SET.min(self.count - first);
            encoder.resolve_query_set(set, 0..queries, &self.resolved, BYTES * u64::from(first));
        }
        self.staging.copy(encoder, (&self.resolved, 0), 0, BYTES * u64::from(self.count));
    }
}

impl Executor {
    /// Whether the device has the timestamps that these plans take.
    pub(crate) fn clock(&self) -> Clock {
        let copies = self.dispatches.iter().flatten().any(|dispatch| !dispatch.textures.is_empty());
        let needed = if copies { TIMESTAMPS } else { wgpu::Features::TIMESTAMP_QUERY };
        if self.gpu.device.features().contains(needed) { Clock::Timestamps } else { Clock::None }
    }

    /// Runs steps with timestamps and waits for them.
    pub(crate) fn profile(&mut self, work: &[Work]) -> Result<Vec<Lap>> {
        if self.clock() == Clock::None {
            return Ok(Vec::new());
        }
        self.write_table(work.iter().map(|w| (w.plan, &w.step)))?;
        let due = self.due_of(work);
        let mut laps = laps(work, &due, &self.dispatches);
        let queries = Queries::new(&self.gpu, 2 * laps.len() as u32)?;
        let encoder = self.gpu.guarded("recording steps with timestamps", || {
            let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
            self.record_timed(&mut encoder, &due, &queries);
            queries.resolve(&mut encoder);
            encoder
        });
        let mapping = self.ran(encoder.and_then(|encoder| queries.staging.submit(&self.gpu, encoder)))?;
        let words = queries.staging.read(&self.gpu, mapping, 2 * queries.count as usize)?;
        let ticks: Vec<u64> = words.chunks_exact(2).map(|w| u64::from(w[0]) | u64::from(w[1]) << 32).collect();
        let microseconds = f64::from(self.gpu.queue.get_timestamp_period()) / 1e3;
        for (lap, pair) in laps.iter_mut().zip(ticks.chunks_exact(2)) {
            // A clock that was set back between the two, as drivers do when a device sleeps, says nothing: NaN is left out.
            lap.microseconds = pair[1].checked_sub(pair[0]).map_or(f64::NAN, |ticks| ticks as f64 * microseconds);
        }
        laps.retain(|lap| !lap.microseconds.is_nan());
        Ok(laps)
    }

    fn record_timed(&self, encoder: &mut wgpu::CommandEncoder, due: &[Due<'_>], queries: &Queries) {
        let mut next = (0..queries.count).step_by(2);
        let mut next = || next.next().map(|query| queries.at(query)).expect("a pair of queries for every lap");
        for Due { dispatch, row, stale } in due {
            if !stale.is_empty() {
                let (set, query) = next();
                encoder.write_timestamp(set, query);
                stale.iter().for_each(|&texture| self.textures.fill(texture, encoder, &self.buffers));
                encoder.write_timestamp(set, query + 1);
            }
            dispatch.run(&mut timed_pass(encoder, next()), *row);
        }
    }
}

/// What [`Executor::record_timed`] puts timestamps around, in this order.
fn laps(work: &[Work], due: &[Due<'_>], dispatches: &[Vec<Dispatch>]) -> Vec<Lap> {
    let kernels = work.iter().flat_map(|&Work { plan, .. }| (0..dispatches[plan].len()).map(move |kernel| (plan, kernel)));
    let mut laps = Vec::new();
    for ((plan, kernel), Due { stale, .. }) in kernels.zip(due) {
        let lap = |copies| Lap { plan, kernel, copies, microseconds: f64::NAN };
        laps.extend((!stale.is_empty()).then(|| lap(true)));
        laps.push(lap(false));
    }
    laps
}

/// A pass that writes the query and the one behind it when it begins and ends.
fn timed_pass<'a>(encoder: &'a mut wgpu::CommandEncoder, (query_set, query): (&wgpu::QuerySet, u32)) -> wgpu::ComputePass<'a> {
    let timestamp_writes = Some(wgpu::ComputePassTimestampWrites {
        query_set,
        beginning_of_pass_write_index: Some(query),
        end_of_pass_write_index: Some(query + 1),
    });
    encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some("timed"), timestamp_writes })
}
