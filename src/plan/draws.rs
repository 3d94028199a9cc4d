//! The two ends of a Monte-Carlo plan: which draw of which input each row is, and what the network says added up over the draws.

use super::build::Builder;
use super::{Draws, Mode};
use crate::Result;
use crate::kernels::dense_dropped::{DenseOfDropped, DroppedParams, DroppedShape};
use crate::kernels::draws::{DrawOutputs, DrawRows, DrawsParams, FIELDS, KeepDraws, MergeDraws, Readout};
use crate::kernels::matmul::Matmul;
use crate::kernels::units::Sides;
use crate::memory::Tensor;
use crate::network::{Activation, Dense};

impl Builder<'_> {
    pub(super) fn draw_rows(&mut self, draws: Draws, ids: Tensor, rows: Tensor, samples: Tensor) {
        let params = DrawsParams { one_mask: draws.shared.into(), ..DrawsParams::default() };
        self.push(DrawRows { params, ids, rows, samples });
    }

    /// The output of a network that is no more than a site and a dense layer, as what is left of one whose only site is in front of its
    /// last layer: by one kernel, where there is one for it.
    pub(super) fn dropped_output(&mut self, index: usize, layer: usize, dense: &Dense) -> Result<Option<Tensor>> {
        let source = self.plan.options.source.clone();
        let drawn =
            matches!(self.plan.options.mode, Mode::MonteCarlo(_)) && self.is_plain(index) && self.kept_units(index).is_none();
        if !drawn || source.byte_scale.is_some() || dense.activation != Activation::Identity {
            return Ok(None);
        }
        let (rows, samples) = (self.named("batch.rows"), self.named("batch.samples"));
        let inputs = self.network.input.elements();
        let linear = self.linear(layer, Sides::default(), rows, (inputs, dense.units))?;
        let lanes = match self.matmul(linear) {
            Matmul::Shuffle { lanes } if dense.units <= DenseOfDropped::most_outputs(lanes) => lanes,
            _ => return Ok(None),
        };
        let y = self.matrix(&format!("activation.{layer}"), dense.units)?;
        let params = DroppedParams {
            input_quads: inputs.div_ceil(4),
            input_row: self.row_quads(inputs),
            outputs: dense.units,
            output_quads: dense.units.div_ceil(4),
            output_row: self.row_quads(dense.units),
            stream_and_site: self.stream_and_site(Some(index)),
            ..DroppedParams::default()
        };
        let values = self.data("inputs", u64::from(source.rows) * u64::from(4 * params.input_quads))?;
        let shape = DroppedShape { site: self.site_mask(index), lanes };
        self.push(DenseOfDropped { params, shape, rows, samples, values, bias: linear.bias, weight: linear.weight, y });
        Ok(Some(y))
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
