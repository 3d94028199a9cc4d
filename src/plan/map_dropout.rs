//! Dropout of feature maps, by kernels of its own: elements, channels, blocks, whole samples.

use super::build::{Builder, Value};
use super::forward::Trace;
use super::noise::Learned;
use crate::Result;
use crate::kernels::drop_block::{DropBlockBackward, DropBlockColumns, DropBlockForward, DropBlockParams, DropBlockRows};
use crate::kernels::map_dropout::{MapDropoutParams, MapLayout, MapVariant};
use crate::memory::Tensor;
use crate::network::{Shape, Unit};

/// What the backward pass of dropout of maps reads: no mask, which is drawn again.
#[derive(Clone)]
pub(super) struct MapDropout {
    index: usize,
    shape: Shape,
    pixels: u32,
    columns: u32,
    steps: bool,
    /// Of concrete dropout.
    learned: Option<Learned>,
}

impl MapDropout {
    /// Whether it has a rate that is learned.
    pub(super) fn is_learned(&self) -> bool {
        self.learned.is_some()
    }
}

impl Builder<'_> {
    pub(super) fn map_dropout(&mut self, index: usize, x: Value, trace: &mut Vec<Trace>) -> Result<Value> {
        let layer = self.plan.sites[index].layer;
        let shape = self.network.shapes()?.swap_remove(layer);
        let x = match self.unit(index) {
            Unit::Block(_) => self.pixels(&format!("pixels.{layer}"), x, &shape, trace)?,
            _ => x,
        };
        let dropout =
            MapDropout { index, shape, pixels: x.pixels, columns: x.columns, steps: x.steps, learned: self.learned(index, x)? };
        let y = self.value(&format!("activation.{layer}"), x.pixels, x.columns)?;
        match self.unit(index) {
            Unit::Block(size) => {
                let (params, hidden) = self.blocks(&dropout, size, (x.tensor, y.tensor))?;
                self.push(DropBlockForward { params, site: index, hidden, x: x.tensor, y: y.tensor });
            }
            unit => {
                let (params, variant) = self.map_params(&dropout, unit, (x.tensor, y.tensor));
                self.noise_forward(index, dropout.learned, (params, variant), (x.tensor, y.tensor));
            }
        }
        trace.push(Trace::MapDropout(dropout));
        Ok(Value { steps: x.steps, ..y })
    }

    pub(super) fn map_dropout_backward(&mut self, dropout: &MapDropout, dy: Value) -> Result<Value> {
        let dx = self.gradient(dropout.pixels, dropout.columns)?;
        let index = dropout.index;
        match self.unit(index) {
            Unit::Block(size) => {
                let (params, hidden) = self.blocks(dropout, size, (dy.tensor, dx.tensor))?;
                self.push(DropBlockBackward { params, site: index, hidden, dy: dy.tensor, dx: dx.tensor });
            }
            unit => {
                let (params, variant) = self.map_params(dropout, unit, (dy.tensor, dx.tensor));
                self.noise_backward(index, dropout.learned, (params, variant), (dy.tensor, dx.tensor))?;
            }
        }
        self.release(dy);
        Ok(dx)
    }

    fn map_params(&self, dropout: &MapDropout, unit: Unit, (input, output): (Tensor, Tensor)) -> (MapDropoutParams, MapVariant) {
        let row = self.row_quads(dropout.columns);
        let planar = dropout.pixels == 1 && dropout.columns == dropout.shape.elements();
        let layout = match dropout.steps {
            true => MapLayout::Steps,
            false if planar => MapLayout::Planar,
            false => MapLayout::Pixels,
        };
        let at = (self.stream(dropout.index), self.plan.sites[dropout.index].site);
        let (params, variant) = MapDropoutParams::new(&dropout.shape, unit, layout, [row, row], at);
        let strides = [self.samples.stride, input.stride, output.stride];
        let [samples_stride, in_stride, out_stride] = strides;
        (MapDropoutParams { samples_stride, in_stride, out_stride, ..params }, variant)
    }

    /// Draws which pixels are covered by blocks.
    fn blocks(
        &mut self,
        dropout: &MapDropout,
        size: u32,
        (input, output): (Tensor, Tensor),
    ) -> Result<(DropBlockParams, Tensor)> {
        let ([height, width], row) = (dropout.shape.map(), self.row_quads(dropout.columns));
        let at = (self.stream(dropout.index), self.plan.sites[dropout.index].site);
        let params = DropBlockParams::new([dropout.shape.0[0], height, width], size, [row, row], at);
        let words = u64::from(self.plan.options.batch) * u64::from(params.bits());
        let (seeded, covered) = (self.tensor("blocks.seeded", words)?, self.tensor("blocks.covered", words)?);
        let params = DropBlockParams {
            samples_stride: self.samples.stride,
            seeded_stride: seeded.stride,
            covered_stride: covered.stride,
            in_stride: input.stride,
            out_stride: output.stride,
            ..params
        };
        let (site, samples) = (self.site_mask(dropout.index), self.samples);
        self.push(DropBlockRows { params, site, samples, seeded_words: seeded });
        self.push(DropBlockColumns { params, seeded, covered });
        Ok((params, covered))
    }
}
