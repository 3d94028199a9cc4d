//! Draws on a device: [`Ensemble`] plans the part of a network behind its first dropout layer, and runs its draws.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Instant;

use super::predictive::{Kept, Predictive, Sums};
use super::{MOST_DRAWS, MonteCarlo, Sampling, bad, halves, has_site, thin, weights};
use crate::data::Inputs;
use crate::executor::Executor;
use crate::kernels::draws::{FIELDS, Readout};
use crate::mask_rule::MaskRule;
use crate::model::{check_inputs, ranges, source, upload_data, upload_weights};
use crate::network::{Dropout, DropoutMode, Layer, Loss, Network, Noise};
use crate::pacer::Pacer;
use crate::plan::{Draws, Mode, Options, PlannedSite, Plans};
use crate::rng;
use crate::step::{DROPPED, MemberStep, OptimizerStep, SiteStep, Step};
use crate::work::Work;
use crate::{Device, Error, Model, Outputs, Result};

/// Words of the widest activation of a batch: 16 MiB, enough rows to fill a device and no more memory than a training has.
const ACTIVATION_WORDS: u64 = 1 << 22;

/// The most rows of a batch, however narrow the network: more keep no device busier, and draws of some inputs are to take the same
/// memory however many there are.
const BATCH: u32 = 4096;

/// The fewest rows of a batch of features, however wide the network: fewer keep no device busy.
const LEAST_BATCH: u32 = 256;

/// Bytes of the single draws of a regression that are stored without being asked for: its quantiles are exact then.
const KEPT_BYTES: u64 = 64 << 20;

/// Draws before a call that may stop early looks at its errors; fewer say little of them.
const FIRST_CHECK: u32 = 32;

/// What happens in a share q of draws happens at least once in 3 / q of them in 95 of 100 cases (the rule of three, Hanley and
/// Lippman-Hand 1983).
const RULE_OF_THREE: f64 = 3.0;

/// The draws of a model for some inputs.
pub(super) struct Ensemble<'a> {
    device: &'a Device,
    pub(super) options: &'a MonteCarlo,
    /// What runs in every draw: the weights, and the dropout layers as the caller has them.
    pub(super) rest: Model,
    /// Its inputs, with the sample numbers of the contract.
    pub(super) inputs: Inputs,
    pub(super) rule: MaskRule,
    /// What is planned, the first that has room for a draw runs it: with thinned layers, where all inputs of a draw share a mask and
    /// that is faster, and whole ones.
    planned: Vec<Network>,
}

/// Some of the inputs, on the device, and how their draws are laid out in batches.
struct Chunk {
    executor: Executor,
    inputs: u32,
    /// Inputs and draws of a batch.
    tile: [u32; 2],
}

/// # Errors
/// Latin hypercube draws of noise that is no mask.
fn check_noise(network: &Network, options: &MonteCarlo) -> Result<()> {
    let continuous = |layer: &Layer| {
        matches!(layer, Layer::Dropout(Dropout { noise: Noise::Gaussian | Noise::Concrete(_), .. })) && has_site(layer)
    };
    match network.walk().into_iter().position(continuous) {
        Some(layer) if options.sampling == Sampling::LatinHypercube => Err(Error::Network {
            place: network.places()[layer].clone(),
            problem:
                "has noise that is no mask, which Latin hypercube draws have no strata for; use independent or antithetic draws"
                    .into(),
        }),
        _ => Ok(()),
    }
}

/// What has no observation noise of one precision for all rows would leave the option without a word.
fn check_precision(loss: Loss, precision: Option<f64>) -> Result<()> {
    match (Readout::of(loss), precision) {
        (Readout::Softmax | Readout::Sigmoid, Some(tau)) => {
            bad("precision", tau, "it is that of a regression's observations, and these answers are probabilities; leave it out")
        }
        (Readout::Gaussian, Some(tau)) => bad(
            "precision",
            tau,
            "the network was trained with gaussian_nll and says itself how large its noise is; leave it out",
        ),
        _ => Ok(()),
    }
}

impl<'a> Ensemble<'a> {
    pub(super) fn new(model: &Model, device: &'a Device, inputs: &Inputs, options: &'a MonteCarlo) -> Result<Self> {
        check_inputs(model.network(), inputs)?;
        let halves = halves(model)?;
        weights::check(model.network(), options)?;
        let inputs = match &halves.before {
            None => inputs.clone(),
            Some(before) => {
                let outputs = before.logits(device, inputs)?;
                let columns = before.network().outputs()?;
                let halfway = Inputs::from_f32(columns, outputs.values().to_vec()).map_err(|_| {
                    let problem = "in front of the first dropout layer the network gives values that are no finite numbers; its weights, or \
                                   a row, are too large: the answers without draws say which row";
                    Error::Data(problem.into())
                })?;
                // Sequences that are not yet one state each are as long as they were.
                match (inputs.lengths(), halves.rest.network().input.0.as_slice()) {
                    (Some(lengths), &[steps, _]) if steps == lengths.steps => {
                        halfway.with_lengths(steps, lengths.of_rows.clone())?
                    }
                    _ => halfway,
                }
            }
        };
        check_noise(halves.rest.network(), options)?;
        check_precision(model.network().loss, options.precision)?;
        let first = options.first_sample;
        let inputs = inputs.clone().with_samples((first..=first + (inputs.rows() - 1)).collect())?;
        let planned = thin::planned(halves.rest.network(), options, inputs.rows(), device.caps().software)?;
        Ok(Self { device, options, rest: halves.rest, inputs, rule: options.sampling.rule(), planned })
    }

    /// Every mask there is, as 2^units draws of whole layers.
    pub(super) fn every_mask(mut self) -> Result<Self> {
        self.planned = vec![thin::whole(self.rest.network())?];
        Ok(Self { rule: MaskRule::EveryMask, ..self })
    }

    fn readout(&self) -> Readout {
        Readout::of(self.rest.network().loss)
    }

    fn outputs(&self) -> Result<u32> {
        self.rest.network().outputs()
    }

    /// How many answers each draw gives for an input.
    pub(super) fn answers(&self) -> Result<usize> {
        Ok(self.readout().answers(self.readout().columns(self.outputs()?) as usize))
    }

    /// Inputs and draws of a batch: as many rows as the widest layer leaves room for, all inputs before a second draw.
    fn tile(&self, inputs: u32) -> Result<[u32; 2]> {
        let network = self.rest.network();
        // Maps and their windows may fill the room with a single sample.
        let least = if network.input.0.len() == 1 { LEAST_BATCH } else { 1 };
        let room = u32::try_from(ACTIVATION_WORDS / network.widest()?).unwrap_or(BATCH);
        let rows = self.options.batch.unwrap_or(room.clamp(least, BATCH));
        let inputs = inputs.min(rows);
        let most = match self.options.until_se {
            // The kept units of a draw are listed in its step, so that a step has one draw.
            _ if thin::is_thinned(&self.planned[0]) => 1,
            // A batch is drawn whole before its errors are looked at.
            Some(_) => self.options.draws.min(FIRST_CHECK),
            None => self.options.draws,
        };
        Ok([inputs, (rows / inputs).clamp(1, most)])
    }

    /// How many inputs fit the device at once, with `kept` stored draws each.
    fn inputs_at_once(&self, kept: u32) -> Result<u32> {
        let columns = u64::from(self.readout().columns(self.outputs()?));
        let words = u64::from(self.inputs.columns().next_multiple_of(4)).max(columns * u64::from(kept.max(FIELDS as u32)));
        let caps = self.device.caps();
        Ok(u32::try_from(caps.max_binding.min(caps.max_buffer) / 4 / words).unwrap_or(u32::MAX).max(1))
    }

    fn chunk(&self, rows: Range<u32>, kept: u32) -> Result<Chunk> {
        let inputs = self.inputs.slice(rows)?;
        let tile = self.tile(inputs.rows())?;
        let mut plans = Plans::new(self.device.caps());
        let gaussian_weights = self.options.gaussian_weights;
        let draws = Draws { rule: self.rule, shared: self.options.one_network, kept, gaussian_weights };
        let options = Options {
            name: "draws".into(),
            mode: Mode::MonteCarlo(draws),
            batch: tile[0] * tile[1],
            members: 1,
            source: source("inputs", &inputs, false),
            variable_rates: false,
            store_output: false,
            store_gradient: false,
        };
        for network in &self.planned {
            plans.add(network, options.clone())?;
        }
        // All plans share the buffers of their weights and inputs.
        let executor = Executor::new(self.device, plans)?;
        upload_weights(&executor, 0, 0, &self.rest)?;
        upload_data(&executor, 0, self.rest.network(), &inputs, None)?;
        Ok(Chunk { executor, inputs: inputs.rows(), tile })
    }

    /// What a site takes in a step that begins with `draw`; `None` where it has no room for the units that are kept.
    fn site(&self, network: &Network, site: &PlannedSite, draw: u32, first_bit: u32) -> Option<SiteStep> {
        let (Some(given), Some(planned)) = (self.rest.network().dropout_at(site.layer), network.dropout_at(site.layer)) else {
            unreachable!("layer {} is planned as a site, so it is dropout", site.layer)
        };
        let units = site.layout.units;
        if planned.mode == DropoutMode::Units {
            let mut kept = self.options.kept_units(given, site.site, units, [draw, 0]);
            let room = site.layout.kept.unwrap_or(0) as usize;
            if kept.len() > room {
                return None;
            }
            kept.resize(room, DROPPED);
            return Some(SiteStep::listed(kept, units, self.options.scale(given, units), draw));
        }
        let mut plain = SiteStep::rate(planned, site.map, 0);
        if self.options.is_exact_k(given) || self.options.gaussian_weights && weights::drops_weights(given) {
            plain.scale = self.options.scale(given, units);
        }
        Some(match self.rule {
            MaskRule::EveryMask => SiteStep { threshold: 0, keep_all: 0, pass: first_bit, ..plain },
            _ => self.options.site_step(plain),
        })
    }

    /// The member of a step and its plan, the first that has room for the draw.
    fn member(&self, sites: &[Vec<PlannedSite>], draw: u32) -> (usize, MemberStep) {
        let member = |(plan, network): (usize, &Network)| {
            let mut first_bit = 0;
            let sites = sites[plan].iter().map(|site| {
                let step = self.site(network, site, draw, first_bit);
                first_bit += site.layout.units;
                step
            });
            let (key, sites) = (rng::key(self.options.seed), sites.collect::<Option<_>>()?);
            Some((plan, MemberStep { key, optimizer: OptimizerStep::default(), sites }))
        };
        self.planned.iter().enumerate().find_map(member).expect("the last plan has whole layers or room for exactly k units")
    }

    /// Some draws of a chunk, draw after draw: one by one, as the units of each may be listed.
    fn work<'b>(&'b self, chunk: &Chunk, draws: Range<u32>, first: u32) -> impl Iterator<Item = Work> + use<'b, 'a> {
        let ([inputs, together], all, end) = (chunk.tile, chunk.inputs, draws.end);
        let sites: Vec<_> = chunk.executor.plans().plans.iter().map(|plan| plan.sites.clone()).collect();
        draws.step_by(together as usize).flat_map(move |draw| {
            let ((plan, member), draws) = (self.member(&sites, draw), together.min(end - draw));
            (0..all).step_by(inputs as usize).map(move |position| {
                let inputs = inputs.min(all - position);
                let step = Step::new(inputs * draws, vec![member.clone()]);
                let step = Step { position, epoch: draw, batch_rows: inputs, accumulated: draw - first, ..step };
                Work { plan, step }
            })
        })
    }

    /// Runs some draws of a chunk; `observe` is told of the rows of each step.
    fn run(&self, chunk: &mut Chunk, draws: Range<u32>, first: u32, mut observe: impl FnMut(u64)) -> Result<()> {
        let mut all = self.work(chunk, draws, first).peekable();
        let (mut pacer, mut in_flight) = (Pacer::new(chunk.executor.plans().max_steps()), VecDeque::new());
        loop {
            if in_flight.len() < pacer.room() && all.peek().is_some() {
                let work: Vec<Work> = all.by_ref().take(pacer.next()).collect();
                let rows: u64 = work.iter().map(|work| u64::from(work.step.rows)).sum();
                let submitted = Instant::now();
                in_flight.push_back((chunk.executor.submit(&work)?, work.len(), rows, submitted));
                continue;
            }
            let Some((submission, work, rows, submitted)) = in_flight.pop_front() else { return Ok(()) };
            chunk.executor.wait(submission)?;
            pacer.completed(work, submitted);
            observe(rows);
        }
    }

    fn read(&self, chunk: &Chunk, name: &str, words: usize) -> Result<Vec<f32>> {
        let mut all = chunk.executor.read(chunk.executor.plans().plans[0].tensor(name), 0)?;
        all.truncate(words);
        Ok(bytemuck::cast_vec(all))
    }

    /// The sums over some draws of a chunk.
    fn sums(&self, chunk: &Chunk, draws: u32) -> Result<Sums> {
        let (outputs, readout) = (self.outputs()?, self.readout());
        let words = chunk.inputs as usize * readout.columns(outputs) as usize * FIELDS;
        let pairs = self.rule == MaskRule::Antithetic;
        Ok(Sums { readout, outputs, draws, pairs, state: self.read(chunk, "draws.state", words)? })
    }

    /// How many draws are stored one by one.
    fn kept(&self) -> Result<u32> {
        let bytes = 4 * u64::from(self.options.draws) * u64::from(self.inputs.rows()) * u64::from(self.outputs()?);
        let for_quantiles = matches!(self.readout(), Readout::Values | Readout::Gaussian) && bytes <= KEPT_BYTES;
        Ok(if self.options.keep_draws || for_quantiles { self.options.draws } else { 0 })
    }

    /// # Errors
    /// More single draws of one input than a tensor of the device holds.
    fn check_kept(&self, kept: u32) -> Result<()> {
        let most = self.device.caps().max_binding / 4 / u64::from(self.readout().columns(self.outputs()?));
        match u64::from(kept) > most {
            true => bad(
                "draws",
                kept,
                format!("at most {most} single draws of an input can be stored on this device; draw fewer, or do not store them"),
            ),
            false => Ok(()),
        }
    }

    pub(super) fn predictive(&self, mut observe: impl FnMut(u64, u64)) -> Result<Predictive> {
        let (rows, draws, kept) = (self.inputs.rows(), self.options.draws, self.kept()?);
        self.check_kept(kept)?;
        let total = u64::from(rows) * u64::from(draws);
        let mut done = 0;
        let mut predictive = Predictive::none(self.readout(), self.outputs()?, self.options.precision, kept > 0);
        for range in ranges(rows, self.inputs_at_once(kept)?) {
            let mut chunk = self.chunk(range, kept)?;
            let mut drawn = 0;
            let sums = loop {
                let next = self.next_check(drawn, &chunk);
                self.run(&mut chunk, drawn..next, 0, |rows| {
                    done += rows;
                    observe(done, total);
                })?;
                drawn = next;
                let sums = self.sums(&chunk, drawn)?;
                let reached = self.options.until_se.is_some_and(|se| sums.largest_standard_error() <= se);
                if drawn == draws || reached {
                    break sums;
                }
            };
            let columns = self.readout().columns(self.outputs()?);
            let words = drawn as usize * (chunk.inputs * columns) as usize;
            let kept = if kept > 0 { self.read(&chunk, "draws.kept", words)? } else { Vec::new() };
            predictive.append(&sums, Kept { columns, values: kept })?;
        }
        observe(total, total);
        Ok(predictive)
    }

    /// After how many draws to look at the standard errors again: all, unless the call may stop early.
    fn next_check(&self, drawn: u32, chunk: &Chunk) -> u32 {
        let draws = self.options.draws;
        match self.options.until_se {
            None => draws,
            // A quarter more each time, in whole batches and pairs.
            Some(_) => {
                let next = (drawn + (drawn / 4).max(FIRST_CHECK)).max(self.first_check());
                next.next_multiple_of(2 * chunk.tile[1]).min(draws)
            }
        }
    }

    /// Draws in which every unit is likely to have been both kept and dropped: before that the draws may be alike without being sure.
    fn first_check(&self) -> u32 {
        let rare = self.rest.network().walk().into_iter().filter_map(|layer| match layer {
            Layer::Dropout(dropout) => Some(dropout.keep.get().min(1.0 - dropout.keep.get())).filter(|&share| share > 0.0),
            _ => None,
        });
        (RULE_OF_THREE / rare.fold(0.5, f64::min)).ceil().clamp(FIRST_CHECK.into(), MOST_DRAWS.into()) as u32
    }

    /// What one draw says, with the kernels and the shapes of the whole call.
    pub(super) fn replay(&self, draw: u32) -> Result<Outputs> {
        let columns = self.readout().columns(self.outputs()?) as usize;
        let mut values = Vec::new();
        // As many inputs at once as in the call that is replayed.
        for range in ranges(self.inputs.rows(), self.inputs_at_once(self.kept()?)?) {
            let mut chunk = self.chunk(range, 1)?;
            self.run(&mut chunk, draw..draw + 1, draw, |_| {})?;
            let kept = self.read(&chunk, "draws.kept", chunk.inputs as usize * columns)?;
            values.extend(kept.chunks(columns).flat_map(|row| &row[..self.readout().answers(columns)]));
        }
        Ok(Outputs::of(self.readout().answers(columns), values))
    }

    /// What every draw `0..draws` says about all inputs, `[draws, inputs, outputs]`, as `each` input's draws come.
    pub(super) fn every_draw(&self, mut each: impl FnMut(u32, usize, &[f32])) -> Result<()> {
        let columns = self.readout().columns(self.outputs()?) as usize;
        for range in ranges(self.inputs.rows(), self.inputs_at_once(self.options.draws)?) {
            let mut chunk = self.chunk(range.clone(), self.options.draws)?;
            self.run(&mut chunk, 0..self.options.draws, 0, |_| {})?;
            let inputs = chunk.inputs as usize;
            let kept = self.read(&chunk, "draws.kept", self.options.draws as usize * inputs * columns)?;
            for (i, row) in kept.chunks(columns).enumerate() {
                each((i / inputs) as u32, range.start as usize + i % inputs, &row[..self.readout().answers(columns)]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
