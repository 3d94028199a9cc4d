//! The two ends of a Monte-Carlo plan: which draw of which input each row is, and what the network says added up over the draws.

use super::Draws;
use super::build::Builder;
use crate::Result;
use crate::kernels::draws::{DrawOutputs, DrawRows, DrawsParams, FIELDS, KeepDraws, MergeDraws, Readout};
use crate::memory::Tensor;

impl Builder<'_> {
    pub(super) fn draw_rows(&mut self, draws: Draws, ids: Tensor, rows: Tensor, samples: Tensor) {
        let params = DrawsParams { one_mask: draws.shared.into(), ..DrawsParams::default() };
        self.push(DrawRows { params, ids, rows, samples });
    }

    pub(super) fn draw_statistics(&mut self, draws: Draws) -> Result<()> {
        let (y, outputs, readout) = (self.output, self.network.outputs()?, Readout::of(self.network.loss));
        let (batch, inputs) = (u64::from(self.plan.options.batch), self.plan.options.source.rows);
        let (columns, width) = (readout.columns(outputs), readout.width(outputs));
        let params =
            DrawsParams { outputs, y_row: 4 * self.row_quads(outputs), columns, width, inputs, ..DrawsParams::default() };
        let drawn = self.tensor("draws.values", batch * u64::from(width))?;
        self.push(DrawOutputs { params, readout, y, values: drawn });
        let each = u64::from(inputs) * u64::from(columns);
        let state = self.tensor("draws.state", each * FIELDS as u64)?;
        self.push(MergeDraws { params, readout, drawn, state });
        if draws.kept > 0 {
            let kept = self.tensor("draws.kept", each * u64::from(draws.kept))?;
            self.push(KeepDraws { params, drawn, draws: kept });
        }
        Ok(())
    }
}
