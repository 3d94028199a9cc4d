//! Thinned layers of per-batch unit dropout: a layer between such sites is trained on the matrices of its kept units alone, which
//! are gathered before it runs and whose gradient is scattered back, 0 where a unit was dropped, or updates the weights at once.

use super::build::{Builder, Linear};
use super::{ALIGN, Update};
use crate::kernels::idle_update::{IdleParams, IdleUpdate};
use crate::kernels::thinned_update::ThinnedUpdate;
use crate::kernels::units::{GatherColumns, GatherWeight, ScatterGradient, Sides, UnitsParams};
use crate::memory::Tensor;
use crate::{Error, Result};

impl Builder<'_> {
    /// How many units a site keeps for a whole batch, or has room for; `None` where every sample has a mask of its own, and where none is kept: such
    /// a site is planned like one of keep_prob 0.
    pub(super) fn kept_units(&self, index: usize) -> Option<u32> {
        self.plan.sites[index].layout.kept.filter(|&kept| kept > 0)
    }

    pub(super) fn misplaced(&self, index: usize) -> Error {
        Error::Network {
            place: self.network.places()[self.plan.sites[index].layer].clone(),
            problem:
                "per-batch unit dropout, mode \"units\", stands in front of a dense layer, and behind one or first: it makes \
                      both smaller; move it there, or use mode \"inverted\", a mask for every sample"
                    .into(),
        }
    }

    /// `[batch, kept]`: the columns of x that a site keeps.
    pub(super) fn gather_columns(&mut self, site: usize, x: Tensor, columns: u32) -> Result<Tensor> {
        let kept = self.kept_units(site).unwrap_or(columns);
        let compact = self.matrix("batch.x.kept", kept)?;
        let params = UnitsParams {
            read_stride: x.stride,
            write_stride: compact.stride,
            ..self.units_params(Sides { rows: None, columns: Some(site) }, [self.plan.options.batch, kept], columns)
        };
        self.push(GatherColumns { params, site, x, compact });
        Ok(compact)
    }

    /// A dense layer over x, with its own weights or those of the units that its sides keep.
    pub(super) fn linear(&mut self, layer: usize, sides: Sides, x: Tensor, (inputs, outputs): (u32, u32)) -> Result<Linear> {
        let (weight, bias) = self.weight_and_bias(layer, "")?;
        let whole = Linear { layer, x, weight, bias, inputs, outputs, sides, pixels: 1, dropped: None };
        if sides == Sides::default() {
            return Ok(whole);
        }
        let units = |site: Option<usize>, all| site.and_then(|site| self.kept_units(site)).unwrap_or(all);
        let thin = Linear { inputs: units(sides.columns, inputs), outputs: units(sides.rows, outputs), ..whole };
        let thin = self.compact("weights", thin)?;
        let params = self.matrix_params(thin, inputs);
        let params = UnitsParams { read_stride: weight.stride, write_stride: thin.weight.stride, ..params };
        self.push(GatherWeight { params, sides, weight, compact: thin.weight });
        let (params, sides) = self.bias_params(thin, outputs);
        let params = UnitsParams { read_stride: bias.stride, write_stride: thin.bias.stride, ..params };
        self.push(GatherWeight { params, sides, weight: bias, compact: thin.bias });
        Ok(thin)
    }

    /// The same layer over a buffer of its own for the kept units' weight and, behind it, bias, or for their gradients.
    pub(super) fn compact(&mut self, role: &str, linear: Linear) -> Result<Linear> {
        let bias_at = (linear.outputs * 4 * self.row_quads(linear.inputs)).next_multiple_of(ALIGN as u32);
        let len = 4 * self.row_quads(linear.outputs);
        let whole = self.tensor(&format!("kept {role}.{}", linear.layer), u64::from(bias_at + len))?;
        let weight = Tensor { len: linear.outputs * 4 * self.row_quads(linear.inputs), ..whole };
        Ok(Linear { weight, bias: Tensor { offset: bias_at, len, ..whole }, ..linear })
    }

    /// Writes the gradient of all units from that of the kept ones.
    pub(super) fn scatter(&mut self, gradient: Linear) -> Result<()> {
        let (dweight, dbias) = self.weight_and_bias(gradient.layer, ".grad")?;
        let shapes = self.network.shapes()?;
        let (inputs, outputs) = (shapes[gradient.layer].elements(), shapes[gradient.layer + 1].elements());
        let all = Linear { inputs, outputs, ..gradient };
        let params = self.matrix_params(all, gradient.inputs);
        let params = UnitsParams { read_stride: gradient.weight.stride, write_stride: dweight.stride, ..params };
        self.push(ScatterGradient { params, sides: gradient.sides, compact_gradient: gradient.weight, dweight });
        let (params, sides) = self.bias_params(all, gradient.outputs);
        let params = UnitsParams { read_stride: gradient.bias.stride, write_stride: dbias.stride, ..params };
        self.push(ScatterGradient { params, sides, compact_gradient: gradient.bias, dweight: dbias });
        Ok(())
    }

    /// The optimizer's step of all units with the gradient of the kept ones. The rows of a weight that a batch drops may wait for
    /// it, see [`crate::idle`].
    pub(super) fn thinned_update(&mut self, gradient: Linear, update: Update) -> Result<()> {
        let shapes = self.network.shapes()?;
        let (inputs, outputs) = (shapes[gradient.layer].elements(), shapes[gradient.layer + 1].elements());
        let (kept, all) = (Linear { inputs, ..gradient }, Linear { inputs, outputs, ..gradient });
        let (weights, moments) = (self.weight_and_bias(all.layer, "")?, self.weight_and_bias(all.layer, ".moment1")?);
        let squares = match update {
            Update::Sgd => (self.nothing()?, self.nothing()?),
            Update::Adam | Update::RmsProp => self.weight_and_bias(all.layer, ".moment2")?,
        };
        let strides =
            |params, compact: Tensor| UnitsParams { read_stride: compact.stride, write_stride: weights.0.stride, ..params };
        let params = strides(self.matrix_params(kept, gradient.inputs), gradient.weight);
        let compact_gradient = gradient.weight;
        let (w, m, v) = (weights.0, moments.0, squares.0);
        self.push(ThinnedUpdate { params, update, sides: all.sides, compact_gradient, w, m, v });
        if let Some(site) = all.sides.rows {
            let layout = &mut self.plan.sites[site].layout;
            layout.idle = true;
            let dropped = layout.dropped();
            let params = IdleParams {
                stride: w.stride,
                block_quads: self.block_quads(),
                ..IdleParams::new(dropped, self.row_quads(inputs))
            };
            self.push(IdleUpdate { params, site, update, w, m, v });
        }
        let (params, sides) = self.bias_params(all, gradient.outputs);
        let (params, compact_gradient) = (strides(params, gradient.bias), gradient.bias);
        let (w, m, v) = (weights.1, moments.1, squares.1);
        self.push(ThinnedUpdate { params, update, sides, compact_gradient, w, m, v });
        Ok(())
    }

    /// For writing the layer's weight from one with rows of `columns`.
    fn matrix_params(&self, linear: Linear, columns: u32) -> UnitsParams {
        self.units_params(linear.sides, [linear.outputs, linear.inputs], columns)
    }

    /// For writing the layer's bias, a row, from one of `columns`: what thins the rows of the weight thins its columns.
    fn bias_params(&self, linear: Linear, columns: u32) -> (UnitsParams, Sides) {
        let sides = Sides { rows: None, columns: linear.sides.rows };
        (self.units_params(sides, [1, linear.outputs], columns), sides)
    }

    fn units_params(&self, sides: Sides, shape: [u32; 2], read_columns: u32) -> UnitsParams {
        let (quads, read_quads) = (self.row_quads(shape[1]), self.row_quads(read_columns));
        UnitsParams { quads, read_quads, block_quads: self.block_quads(), ..UnitsParams::new(sides, shape, read_columns) }
    }

    /// Software adapters go through long rows at a stretch, so that the CPU fetches ahead: it made gather_weight take 0.6 of its
    /// time. GPUs have as many workgroups as possible.
    fn block_quads(&self) -> u32 {
        if self.plans.caps.software { 256 } else { 8 }
    }
}
