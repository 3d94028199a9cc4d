//! Rows changed at random, between the gather kernel and the network, in training plans alone.

use super::Mode;
use super::build::Builder;
use crate::Result;
use crate::data::Augmentation;
use crate::kernels::augment::{Augment, AugmentParams, Changes};
use crate::kernels::mixup::{MIX, MixupParams, MixupPartners};
use crate::memory::Tensor;

impl Builder<'_> {
    /// What is changed of the rows of this plan.
    fn augmentation(&self) -> Option<Augmentation> {
        match self.plan.options.mode {
            Mode::Train(training) if !training.augment.is_none() => Some(training.augment),
            _ => None,
        }
    }

    /// Whether the loss has two targets for every row.
    pub(super) fn mixes(&self) -> bool {
        self.augmentation().is_some_and(|augment| augment.mixup > 0.0)
    }

    /// The rows of the batch, changed as the plan says; `site` drops some of the values then, if not on the way.
    pub(super) fn augmented(&mut self, columns: u32, site: Option<usize>) -> Result<Tensor> {
        let (rows, samples) = (self.named("batch.rows"), self.named("batch.samples"));
        let Some(augment) = self.augmentation() else {
            return self.gather_rows("batch.x", columns, rows, site);
        };
        augment.check_for(self.network, self.plan.options.source.window.is_some())?;
        let x = self.gather_rows("batch.x", columns, rows, None)?;
        // Without mixup nothing reads what stands for the partners.
        let (mix, other) = if augment.mixup > 0.0 { self.partners(augment.mixup, columns)? } else { (samples, x) };
        let y = self.matrix("batch.augmented", columns)?;
        let params = AugmentParams {
            samples_stride: samples.stride,
            mix_stride: mix.stride,
            x_stride: x.stride,
            other_stride: other.stride,
            y_stride: y.stride,
            ..AugmentParams::new(&augment, &self.network.input, self.row_quads(columns))
        };
        self.push(Augment { params, changes: Changes::of(&augment), samples, mix, x, other, y });
        site.map_or(Ok(y), |index| self.dropout_forward(index, y, columns))
    }

    /// Which row each row is mixed with, in which shares, and the values of these rows.
    fn partners(&mut self, alpha: f64, columns: u32) -> Result<(Tensor, Tensor)> {
        let (batch, count) = (self.plan.options.batch, self.plan.options.source.rows);
        let (rows, samples, ids) = (self.named("batch.rows"), self.named("batch.samples"), self.data("ids", count.into())?);
        let partners = self.tensor("batch.partners", batch.into())?;
        let mix = self.tensor("batch.mix", u64::from(MIX) * u64::from(batch))?;
        let params = MixupParams {
            rows_stride: rows.stride,
            samples_stride: samples.stride,
            partners_stride: partners.stride,
            mix_stride: mix.stride,
            ..MixupParams::new(count, alpha)
        };
        self.push(MixupPartners { params, rows, samples, ids, partners, mix });
        Ok((mix, self.gather_rows("batch.other", columns, partners, None)?))
    }
}
