//! Residual blocks, whose branch may be computed for some of the samples alone (stochastic depth).

use super::Mode;
use super::build::{Builder, Value};
use super::forward::{Trace, count, numbered};
use crate::Result;
use crate::kernels::residual::{Add, PathAdd, PathGather, PathSamples, ResidualParams};
use crate::memory::Tensor;
use crate::network::{self, Layer, Shape, Unit};
use crate::plan;
use crate::step::SiteLayout;

/// What the backward pass of a residual block reads.
pub(super) struct Residual {
    pub(super) branch: Vec<Trace>,
    pub(super) skip: Vec<Trace>,
    path: Option<Path>,
    /// `(pixels, columns)` of what goes in, and of what comes out.
    input: (u32, u32),
    output: (u32, u32),
}

/// A branch for the samples that keep it.
#[derive(Clone, Copy)]
struct Path {
    site: usize,
    /// The sample of each of its rows.
    samples: Tensor,
}

impl<'a> Builder<'a> {
    pub(super) fn residual(
        &mut self,
        layer: usize,
        residual: &'a network::Residual,
        x: Value,
        trace: &mut Vec<Trace>,
    ) -> Result<Value> {
        let shapes = self.network.shapes()?;
        let numbers = numbered(&residual.branch, layer + 1);
        let skip_first = layer + 1 + numbers.iter().map(|(_, layer)| count(layer)).sum::<usize>();
        // A block that needs maps in one layout in both ways takes them so.
        let x = if shapes[layer].0.len() == 3 { self.pixels(&format!("pixels.{layer}"), x, &shapes[layer], trace)? } else { x };
        let dropped = self.dropped_path(residual, &numbers)?;
        let layers = &residual.branch[..residual.branch.len() - usize::from(dropped.is_some())];
        let path = match dropped {
            Some(number) => Some(self.begin_path(number)?),
            None => None,
        };
        let behind = format!("pixels.behind.{layer}");
        let (skip, mut skip_trace) = self.layers(&residual.skip, skip_first, x)?;
        let outer = (self.path, self.samples);
        let branch_x = match path {
            Some(path) => self.enter_path(layer, path, x)?,
            None => x,
        };
        let (mut branch, mut branch_trace) = self.layers(layers, layer + 1, branch_x)?;
        if branch.pixels < skip.pixels {
            branch = self.pixels(&behind, branch, &as_map(skip), &mut branch_trace)?;
        }
        (self.path, self.samples) = outer;
        let skip = if skip.pixels < branch.pixels { self.pixels(&behind, skip, &as_map(branch), &mut skip_trace)? } else { skip };
        let y = self.value(&format!("activation.{layer}"), skip.pixels, skip.columns)?;
        self.add(path, true, (skip, branch), y);
        let (input, output) = ((x.pixels, x.columns), (y.pixels, y.columns));
        trace.push(Trace::Residual(Residual { branch: branch_trace, skip: skip_trace, path, input, output }));
        Ok(y)
    }

    /// The number of the layer that drops the branch for whole samples, if that saves the work of those.
    fn dropped_path(&self, residual: &network::Residual, numbers: &[(usize, &Layer)]) -> Result<Option<usize>> {
        let Some(&(number, Layer::Dropout(dropout))) = numbers.last() else { return Ok(None) };
        // Draws and members have masks of their own in each row; there the branch is computed for all, and its output dropped.
        let one_mask = matches!(self.plan.options.mode, Mode::Train(_)) && self.plan.options.members == 1;
        if dropout.unit != Unit::Path || !one_mask || !self.drops(dropout) {
            return Ok(None);
        }
        // There is nothing to save in a branch of nothing else.
        Ok(Some(number).filter(|_| residual.branch.len() > 1))
    }

    fn begin_path(&mut self, number: usize) -> Result<Path> {
        let (site, batch) = (self.plan.sites.len(), self.plan.options.batch);
        self.plan_site(number)?;
        self.plan.sites[site].layout = SiteLayout { units: batch, kept: Some(batch), idle: false };
        self.plan.sites[site].path = Some(plan::Path { within: self.path });
        let samples = self.tensor(&format!("path.samples.{site}"), batch.into())?;
        let params = ResidualParams {
            a_stride: self.samples.stride,
            y_stride: samples.stride,
            ..ResidualParams::new(1, self.plans.row_words(), 1, batch)
        };
        let given = self.samples;
        self.push(PathSamples { params, site, samples: given, kept_samples: samples });
        Ok(Path { site, samples })
    }

    fn residual_params(&self, rows: (u32, u32), strides: [u32; 3]) -> ResidualParams {
        let [a_stride, b_stride, y_stride] = strides;
        let params = ResidualParams::new(rows.1, self.plans.row_words(), rows.0, self.plan.options.batch);
        ResidualParams { a_stride, b_stride, y_stride, ..params }
    }

    /// The rows of the samples that keep the branch; what comes is for them.
    fn enter_path(&mut self, layer: usize, path: Path, x: Value) -> Result<Value> {
        let compact = self.value(&format!("path.{layer}"), x.pixels, x.columns)?;
        let params = self.residual_params((x.pixels, x.columns), [x.tensor.stride, 0, compact.tensor.stride]);
        self.push(PathGather { params, site: path.site, scaled: false, x: x.tensor, compact: compact.tensor });
        (self.path, self.samples) = (Some(path.site), path.samples);
        Ok(compact)
    }

    /// `y = skip + branch`, of the samples that keep it, scaled where that is forward.
    fn add(&mut self, path: Option<Path>, scaled: bool, (skip, branch): (Value, Value), y: Value) {
        let params = self.residual_params((y.pixels, y.columns), [skip.tensor.stride, branch.tensor.stride, y.tensor.stride]);
        let (a, b, y_tensor) = (skip.tensor, branch.tensor, y.tensor);
        match path {
            None => self.push_rows(y.pixels, Add { params, a, b, y: y_tensor }),
            Some(Path { site, .. }) => self.push(PathAdd { params, site, scaled, skip: a, branch: b, y: y_tensor }),
        }
    }

    /// The gradient of branch and skip, and of what goes into both, if it is wanted. Gives `dy` back.
    pub(super) fn residual_backward(&mut self, residual: &Residual, dy: Value, wanted: bool) -> Result<Option<Value>> {
        debug_assert_eq!((dy.pixels, dy.columns), residual.output, "the gradient of what came out");
        // Either way gives back the gradient that it is given.
        self.retain(dy);
        let outer = (self.path, self.samples);
        let branch_dy = match residual.path {
            None => dy,
            Some(path) => {
                let compact = self.gradient(dy.pixels, dy.columns)?;
                let params = self.residual_params((dy.pixels, dy.columns), [dy.tensor.stride, 0, compact.tensor.stride]);
                self.push(PathGather { params, site: path.site, scaled: true, x: dy.tensor, compact: compact.tensor });
                self.release(dy);
                (self.path, self.samples) = (Some(path.site), path.samples);
                compact
            }
        };
        let branch = self.sequence_backward(&residual.branch, branch_dy, wanted)?;
        (self.path, self.samples) = outer;
        let skip = self.sequence_backward(&residual.skip, dy, wanted)?;
        let (Some(branch), Some(skip)) = (branch, skip) else { return Ok(None) };
        let dx = self.gradient(residual.input.0, residual.input.1)?;
        self.add(residual.path, false, (skip, branch), dx);
        self.release(branch);
        self.release(skip);
        Ok(Some(dx))
    }
}

/// The shape of what has rows of pixels.
fn as_map(value: Value) -> Shape {
    Shape(vec![value.columns, 1, value.pixels])
}
