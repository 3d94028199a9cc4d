//! DropConnect: dense layers over dropped weights.

use super::Mode;
use super::build::{Builder, Linear, Value};
use crate::kernels::drop_connect::{
    DropConnectGaussian, DropConnectParams, DropConnectRows, DropWeightGradient, DropWeights, GAUSSIAN_DRAWS,
};
use crate::kernels::units::Sides;
use crate::network::Unit;
use crate::{Error, Result};

impl Builder<'_> {
    /// The same layer over weights of which a site has dropped some, for all rows of the step.
    pub(super) fn drop_weights(&mut self, index: usize, linear: Linear) -> Result<Linear> {
        self.check_dropped(index, linear)?;
        // The members of both lie equally far apart, because the bias, which stays where it is, has the stride of the weight.
        self.parameters("dropped weights", ".dropped")?;
        let (dropped, _) = self.weight_and_bias(linear.layer, ".dropped")?;
        let params = DropConnectParams { dropped_stride: dropped.stride, ..self.drop_connect_params(index, linear) };
        let (site, samples, weight) = (self.site_mask(index), self.samples, linear.weight);
        self.push(DropWeights { params, site, samples, weight, dropped });
        Ok(Linear { weight: dropped, dropped: Some(index), ..linear })
    }

    /// From the gradient of the dropped weights that of the weights, in place.
    pub(super) fn drop_weight_gradient(&mut self, index: usize, linear: Linear) {
        let params = self.drop_connect_params(index, linear);
        let (site, samples) = (self.site_mask(index), self.samples);
        self.push(DropWeightGradient { params, site, samples, gradient: linear.weight });
    }

    /// Whether a site drops weights, and what these give is drawn from a normal distribution in place of masks.
    pub(super) fn draws_gaussian_weights(&self, index: usize) -> bool {
        matches!(self.plan.options.mode, Mode::MonteCarlo(draws) if draws.gaussian_weights) && self.unit(index) == Unit::Weight
    }

    /// The layer without its activation, with a mask for each row, or with normal numbers for each: Monte-Carlo draws.
    pub(super) fn dropped_rows(&mut self, index: usize, linear: Linear) -> Result<Value> {
        self.check_dropped(index, linear)?;
        let y = self.value(&format!("preactivation.{}", linear.layer), 1, linear.outputs)?;
        let Linear { x, weight, bias, .. } = linear;
        let params = DropConnectParams {
            x_stride: x.stride,
            y_stride: y.tensor.stride,
            bias_at: (bias.offset - weight.offset) / 4,
            ..self.drop_connect_params(index, linear)
        };
        let (site, samples) = (self.site_mask(index), self.samples);
        let weight = crate::memory::Tensor { len: bias.offset + bias.len - weight.offset, ..weight };
        let y_tensor = y.tensor;
        if !self.draws_gaussian_weights(index) {
            self.push(DropConnectRows { params, site, samples, weight, x, y: y_tensor });
        } else if GAUSSIAN_DRAWS.contains(&site.rule) {
            self.push(DropConnectGaussian { params, site, samples, weight, x, y: y_tensor });
        } else {
            let problem = "draws of normal numbers are independent or antithetic; use one of these rules";
            return Err(Error::Option { option: "rule", value: format!("{:?}", site.rule), problem: problem.into() });
        }
        Ok(y)
    }

    fn check_dropped(&self, index: usize, linear: Linear) -> Result<()> {
        if linear.sides == Sides::default() {
            return Ok(());
        }
        Err(Error::Network {
            place: self.network.places()[self.plan.sites[index].layer].clone(),
            problem: "drops weights of a layer that per-batch unit dropout makes smaller; use one of the two".into(),
        })
    }

    fn drop_connect_params(&self, index: usize, linear: Linear) -> DropConnectParams {
        let at = (self.stream(index), self.plan.sites[index].site);
        DropConnectParams {
            samples_stride: self.samples.stride,
            weight_stride: linear.weight.stride,
            ..DropConnectParams::new([linear.outputs, linear.inputs], self.plans.row_words(), at)
        }
    }
}
