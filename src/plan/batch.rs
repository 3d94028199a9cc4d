//! The two ends of a plan: the batch out of the data set, and the loss.

use super::build::{Builder, Value};
use super::{MetricTensors, Mode, Options, SLOTS};
use crate::kernels::gather::{GatherF32, GatherParams, GatherU8};
use crate::kernels::gaussian::{GaussianNll, GaussianNllForward};
use crate::kernels::loss::{CrossEntropy, CrossEntropyForward, LossParams};
use crate::kernels::metrics::{Metrics, MetricsParams};
use crate::kernels::output::{OutputParams, StoreOutput};
use crate::kernels::rows::{BatchRows, RowsParams};
use crate::kernels::targets::{BinaryCrossEntropy, BinaryCrossEntropyForward, SquaredError, SquaredErrorForward};
use crate::memory::Tensor;
use crate::network::Loss;
use crate::rng::Shuffle;
use crate::{Error, Result};

impl Builder<'_> {
    /// Which rows of the data set are the batch, and which samples they are.
    pub(super) fn batch_rows(&mut self) -> Result<()> {
        self.check_window()?;
        let Options { mode, batch, source, .. } = self.plan.options.clone();
        let ids = self.data("ids", source.rows.into())?;
        let rows = self.tensor("batch.rows", batch.into())?;
        let samples = self.tensor("batch.samples", u64::from(batch) * u64::from(self.rule().words()))?;
        self.samples = samples;
        match mode {
            Mode::MonteCarlo(draws) => self.draw_rows(draws, ids, rows, samples),
            Mode::Train(_) | Mode::Eval => {
                let params = RowsParams {
                    rows: source.rows,
                    half_bits: Shuffle::new(source.rows).half_bits,
                    shuffled: u32::from(mode != Mode::Eval),
                    rows_stride: rows.stride,
                    samples_stride: samples.stride,
                    ..RowsParams::default()
                };
                self.push(BatchRows { params, ids, rows, samples });
            }
        }
        Ok(())
    }

    /// The values of some rows of the data set, of which a site drops some. Of a streamed one they are the rows of the batch.
    pub(super) fn gather_rows(&mut self, name: &str, columns: u32, rows: Tensor, site: Option<usize>) -> Result<Tensor> {
        let (source, samples) = (self.plan.options.source.clone(), self.named("batch.samples"));
        let x = self.matrix(name, columns)?;
        let quads = columns.div_ceil(4);
        let params = GatherParams {
            quads,
            x_row: self.row_quads(columns),
            scale: source.byte_scale.unwrap_or(1.0),
            rows_stride: rows.stride,
            samples_stride: samples.stride,
            x_stride: x.stride,
            stream_and_site: self.stream_and_site(site),
            ..GatherParams::default()
        };
        let site = site.map(|index| self.site_mask(index));
        let (held, streamed) = (u64::from(source.window.unwrap_or(source.rows)), source.window.is_some());
        match source.byte_scale {
            Some(_) => {
                let bytes = self.data("inputs", held * u64::from(quads))?;
                self.push(GatherU8 { params, site, streamed, rows, samples, bytes, x });
            }
            None => {
                let values = self.data("inputs", held * u64::from(4 * quads))?;
                self.push(GatherF32 { params, site, streamed, rows, samples, values, x });
            }
        }
        Ok(x)
    }

    /// Whether the window of a streamed source can feed this plan.
    fn check_window(&self) -> Result<()> {
        let Options { mode, batch, members, source, .. } = &self.plan.options;
        let bad = |option, value: u32, problem: String| Err(Error::Option { option, value: value.to_string(), problem });
        match source.window {
            Some(_) if *members > 1 => bad(
                "members",
                *members,
                "each member has an order of its own, so that the window of a streamed data set, which holds the rows of one order, \
                 serves one member; keep the data set resident (window: None) or train the members one by one"
                    .into(),
            ),
            Some(window) if matches!(mode, Mode::MonteCarlo(_)) => {
                bad("window", window, "Monte-Carlo draws are made of resident inputs (window: None); draw for fewer inputs at once".into())
            }
            Some(window) if window < *batch => {
                bad("window", window, format!("must hold the {batch} rows of a batch; use a smaller batch or a larger window"))
            }
            _ => Ok(()),
        }
    }

    /// Loss and hits of every row and their sums; in training also the gradient of the output.
    pub(super) fn loss(&mut self) -> Result<Option<Value>> {
        let Options { name, mode, batch, source, members, store_output, .. } = self.plan.options.clone();
        let (logits, classes) = (self.output, self.network.outputs()?);
        if let Mode::MonteCarlo(draws) = mode {
            self.draw_statistics(draws)?;
            return Ok(None);
        }
        if store_output {
            let columns = u64::from(classes).next_multiple_of(4);
            let outputs = self.tensor(&format!("{name}.outputs"), u64::from(source.rows) * columns)?;
            let params = OutputParams {
                quads: classes.div_ceil(4),
                y_stride: logits.stride,
                outputs_stride: outputs.stride,
                y_row: self.row_quads(classes),
            };
            self.push(StoreOutput { params, y: logits, outputs });
        }
        if !source.labelled {
            return Ok(None);
        }
        let mixup = self.mixes();
        let rows = self.named(if mixup { "batch.mix" } else { "batch.rows" });
        let target_words = match self.network.loss {
            Loss::SoftmaxCrossEntropy => 1,
            _ => u64::from(self.network.targets()?).next_multiple_of(4),
        };
        let targets = self.data("targets", u64::from(source.rows) * target_words)?;
        let (loss, correct) = (self.tensor("batch.loss", batch.into())?, self.tensor("batch.correct", batch.into())?);
        let mut params = LossParams {
            classes,
            row_stride: 4 * self.row_quads(classes),
            targets_row: target_words as u32,
            rows_stride: rows.stride,
            logits_stride: logits.stride,
            loss_stride: loss.stride,
            correct_stride: correct.stride,
            ..LossParams::default()
        };
        let gradient = match mode {
            Mode::Train(_) => Some(self.gradient(1, classes)?),
            Mode::Eval | Mode::MonteCarlo(_) => None,
        };
        params.dlogits_stride = gradient.map_or(0, |dlogits| dlogits.tensor.stride);
        match (self.network.loss, gradient.map(|dlogits| dlogits.tensor)) {
            (Loss::SoftmaxCrossEntropy, Some(dlogits)) => {
                self.push(CrossEntropy { params, mixup, rows, labels: targets, logits, loss, correct, dlogits });
            }
            (Loss::SoftmaxCrossEntropy, None) => {
                self.push(CrossEntropyForward { params, rows, labels: targets, logits, loss, correct });
            }
            (Loss::BinaryCrossEntropy, Some(dlogits)) => {
                self.push(BinaryCrossEntropy { params, mixup, rows, targets, logits, loss, correct, dlogits });
            }
            (Loss::BinaryCrossEntropy, None) => {
                self.push(BinaryCrossEntropyForward { params, rows, targets, logits, loss, correct });
            }
            (Loss::MeanSquaredError, Some(dlogits)) => {
                self.push(SquaredError { params, mixup, rows, targets, logits, loss, correct, dlogits });
            }
            (Loss::MeanSquaredError, None) => {
                self.push(SquaredErrorForward { params, rows, targets, logits, loss, correct });
            }
            (Loss::GaussianNll, Some(dlogits)) => {
                self.push(GaussianNll { params, rows, targets, logits, loss, correct, dlogits });
            }
            (Loss::GaussianNll, None) => {
                self.push(GaussianNllForward { params, rows, targets, logits, loss, correct });
            }
        }
        let losses = self.plans.tensor(&format!("{name}.losses"), SLOTS.into(), members)?;
        let hits = self.plans.tensor(&format!("{name}.hits"), SLOTS.into(), members)?;
        let params = MetricsParams {
            loss_stride: loss.stride,
            correct_stride: correct.stride,
            losses_stride: losses.stride,
            hits_stride: hits.stride,
        };
        self.push(Metrics { params, loss, correct, losses, hits });
        self.plan.metrics = Some(MetricTensors { losses, hits });
        Ok(gradient)
    }
}
