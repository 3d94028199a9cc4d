//! Making the runs of a sweep, those of small networks several at a time.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering::Relaxed;

use super::{Run, Sweep, with_keep};
use crate::data::{Dataset, fingerprint};
use crate::network::{Dropout, DropoutMode, KeepProb, Layer, Network, Noise, Unit};
use crate::trainer::{Epoch, Progress, Trainer};
use crate::{Device, Error, Result};

/// The most runs that are made together. What a small network waits for is dispatches, 20 to 40 us each on lavapipe whatever is in them,
/// and together they wait once.
const MOST: u64 = 8;

/// How many weights, and how many activations of their batches, runs that are made together have at most. Of networks of 50,000 weights
/// a step of several takes as long for each as alone (lavapipe on two cores); larger ones and GPUs were not measured.
const NUMBERS: u64 = 1 << 18;

impl Sweep {
    /// Makes the runs that are not through, every rate with one seed before the next seed, so that what there is when it is stopped can
    /// be compared. Small networks whose dropout is the usual one, inverted, of elements, are trained several in the same dispatches,
    /// each as if it were alone. `observe` is told the keep_prob and the seed of each run that is being made, and the progress of the
    /// first; it may stop the sweep, which loses these runs alone. So does an error. The seconds of a run are those of all that were
    /// trained with it.
    ///
    /// # Errors
    /// Other rows than those it began with; as [`Trainer::new`] and [`Trainer::fit`], but that a run that diverges ends with the epochs it
    /// had.
    pub fn fit(
        &mut self,
        device: &Device,
        (train, valid): (&Dataset, &Dataset),
        mut observe: impl FnMut(&Self, &[(f64, u64)], &Progress<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        self.check_rows(train, valid)?;
        let most = together(&self.network, self.options.batch.min(train.rows()))?;
        let all = self.missing(usize::MAX).len();
        // Lots of one size, because kernels are compiled for a number of networks.
        let mut size = all.div_ceil(all.div_ceil(most).max(1)).max(1);
        loop {
            let runs = self.missing(size);
            let Some(last) = runs.last() else { return Ok(ControlFlow::Continue(())) };
            let filled = runs.iter().chain(std::iter::repeat_n(last, size - runs.len()));
            let network = |&(keep, seed): &(KeepProb, u64)| Ok((with_keep(&self.network, &self.layers, keep)?, seed));
            let networks = filled.map(network).collect::<Result<Vec<_>>>()?;
            let mut trainer = match Trainer::together(device, &networks, (train, valid), self.options.clone()) {
                // What is too large for the device together may not be so alone; what is streamed, or would round otherwise.
                Err(Error::Limit { .. } | Error::OutOfMemory { .. } | Error::Option { option: "members", .. }) if size > 1 => {
                    size = size.div_ceil(2);
                    continue;
                }
                trainer => trainer?,
            };
            let runs: Vec<(f64, u64)> = runs.into_iter().map(|(keep, seed)| (keep.get(), seed)).collect();
            let stop = trainer.stop_flag();
            let trained = trainer.fit_with(self.epochs, |progress| {
                if observe(self, &runs, progress).is_break() {
                    stop.store(true, Relaxed);
                }
            });
            match trained {
                Ok(_) | Err(Error::Diverged { .. }) => {}
                Err(error) => return Err(error),
            }
            // Those that fill up the last lot are the last run again.
            for (&(keep, seed), member) in runs.iter().zip(trainer.members()) {
                if member.diverged || member.history.len() == self.epochs as usize {
                    let history = member.history.iter().copied().take_while(is_finite).collect();
                    self.runs.push(Run { keep, seed, history, diverged: member.diverged });
                    self.matmul.get_or_insert_with(|| device.caps().matmul.to_string());
                }
            }
            self.sort();
            if stop.load(Relaxed) {
                return Ok(ControlFlow::Break(()));
            }
        }
    }

    fn check_rows(&self, train: &Dataset, valid: &Dataset) -> Result<()> {
        for (name, data, was) in [("training", train, self.data[0]), ("validation", valid, self.data[1])] {
            if fingerprint::with_samples(data) != was {
                let problem = format!(
                    "the {name} rows are not those of the sweep, or in another order (which rows a fraction takes the seed decides); give \
                     it the same, or begin another sweep"
                );
                return Err(Error::Data(problem));
            }
        }
        Ok(())
    }

    /// The first runs that are not through, at most so many.
    fn missing(&self, most: usize) -> Vec<(KeepProb, u64)> {
        let all = self.seeds.iter().flat_map(|&seed| self.keeps.iter().map(move |&keep| (keep, seed)));
        all.filter(|&(keep, seed)| !self.has(keep, seed)).take(most).collect()
    }
}

/// How many runs of a network may be made together: one where keep_prob 1 has other kernels than no dropout, or where a layer's
/// depend on how many there are.
fn together(network: &Network, batch: u32) -> Result<usize> {
    let simple = |layer: &&Layer| match layer {
        Layer::Dropout(Dropout { unit, mode, noise, .. }) => {
            (*unit, *mode, *noise) == (Unit::Element, DropoutMode::Inverted, Noise::Bernoulli)
        }
        Layer::Residual(_) | Layer::Recurrent(_) | Layer::Embedding(_) => false,
        _ => true,
    };
    if !network.walk().iter().all(simple) {
        return Ok(1);
    }
    let weights: u64 = network.parameters()?.iter().map(|parameter| parameter.len() as u64).sum();
    let elements: u64 = network.shapes()?.iter().map(|shape| u64::from(shape.elements())).sum();
    let numbers = u64::max(weights, u64::from(batch) * elements);
    Ok((NUMBERS / numbers.max(1)).clamp(1, MOST) as usize)
}

fn is_finite(epoch: &Epoch) -> bool {
    [Some(epoch.running), epoch.train, epoch.valid].iter().flatten().all(|metrics| metrics.loss.is_finite())
}
