//! What a dropout of maps multiplies with: masks, Gaussian noise, the masks of alpha dropout, or relaxed ones whose rate is learned.

use super::Mode;
use super::build::{Builder, Value};
use crate::Result;
use crate::kernels::concrete::{ConcreteForward, ConcreteGradient, ConcreteParams};
use crate::kernels::concrete_regularizer::{ConcreteDecay, ConcreteFinish, RegularizerParams};
use crate::kernels::gradients::{GradientNorm, GradientParams, PARTIALS};
use crate::kernels::map_dropout::{MapDropoutBackward, MapDropoutForward, MapDropoutParams, MapVariant};
use crate::kernels::noise::{AlphaDropout, GaussianNoise};
use crate::memory::Tensor;
use crate::network::{Concrete, Layer, Noise};

/// What the gradient of a learned rate is made of.
#[derive(Clone, Copy)]
pub(super) struct Learned {
    concrete: Concrete,
    layer: usize,
    /// What goes into the dropout.
    x: Tensor,
    logit: Tensor,
    /// Units that are dropped.
    units: u32,
}

impl Builder<'_> {
    /// What is learned at a site of concrete dropout.
    pub(super) fn learned(&mut self, index: usize, x: Value) -> Result<Option<Learned>> {
        let Noise::Concrete(concrete) = self.dropout(index).noise else { return Ok(None) };
        let layer = self.plan.sites[index].layer;
        let logit = self.logit(layer, "")?;
        let units = self.network.shapes()?[layer].elements();
        Ok(Some(Learned { concrete, layer, x: x.tensor, logit, units }))
    }

    fn logit(&self, layer: usize, suffix: &str) -> Result<Tensor> {
        let parameters = self.network.parameters()?;
        let logit = parameters.iter().find(|parameter| parameter.layer == layer).expect("concrete dropout has a rate");
        Ok(self.named(&format!("{}{suffix}", logit.name)))
    }

    pub(super) fn noise_forward(
        &mut self,
        index: usize,
        learned: Option<Learned>,
        (params, variant): (MapDropoutParams, MapVariant),
        (x, y): (Tensor, Tensor),
    ) {
        let (site, samples) = (self.site_mask(index), self.samples);
        match (self.dropout(index).noise, learned) {
            (Noise::Gaussian, _) => {
                let (params, variant) = params.element_by_element(variant);
                self.push(GaussianNoise { params, site, variant, samples, x, y });
            }
            (Noise::Alpha, _) => self.push(AlphaDropout { params, site, variant, samples, x, y }),
            (Noise::Concrete(_), Some(learned)) => {
                let (params, variant) = params.element_by_element(variant);
                let params = self.concrete_params(params, learned);
                self.push(ConcreteForward { params, site, variant, samples, logit: learned.logit, x, y });
            }
            _ => self.push(MapDropoutForward { params, site, variant, samples, x, y }),
        }
    }

    pub(super) fn noise_backward(
        &mut self,
        index: usize,
        learned: Option<Learned>,
        (params, variant): (MapDropoutParams, MapVariant),
        (dy, dx): (Tensor, Tensor),
    ) -> Result<()> {
        let (site, samples) = (self.site_mask(index), self.samples);
        match (self.dropout(index).noise, learned) {
            (Noise::Gaussian, _) => {
                let (params, variant) = params.element_by_element(variant);
                self.push(GaussianNoise { params, site, variant, samples, x: dy, y: dx });
            }
            (Noise::Concrete(_), Some(learned)) => {
                let (params, variant) = params.element_by_element(variant);
                let whole = self.concrete_params(params, learned);
                self.push(ConcreteForward { params: whole, site, variant, samples, logit: learned.logit, x: dy, y: dx });
                // Its input is x, its output dy.
                let over = MapDropoutParams { in_stride: learned.x.stride, out_stride: dy.stride, ..params };
                let params = self.concrete_params(over, learned);
                self.logit_gradient(
                    learned,
                    ConcreteGradient {
                        params,
                        site,
                        variant,
                        samples,
                        logit: learned.logit,
                        x: learned.x,
                        dy,
                        partials: learned.x,
                    },
                )?;
            }
            _ => self.push(MapDropoutBackward { params, site, variant, samples, dy, dx }),
        }
        Ok(())
    }

    fn concrete_params(&self, map: MapDropoutParams, learned: Learned) -> ConcreteParams {
        let params = ConcreteParams::new(map, self.plan.options.batch, learned.concrete.temperature);
        ConcreteParams { logit_stride: learned.logit.stride, ..params }
    }

    /// The gradient of the rate, whose partial sums `kernel` makes, and what the regulariser adds to that of the weights behind it.
    fn logit_gradient(&mut self, learned: Learned, kernel: ConcreteGradient) -> Result<()> {
        debug_assert!(matches!(self.plan.options.mode, Mode::Train(_)), "only training goes backward");
        let partials = self.tensor("concrete.partials", kernel.params.partials.into())?;
        let count = kernel.params.partials;
        let params = ConcreteParams { partials_stride: partials.stride, ..kernel.params };
        self.push(ConcreteGradient { params, partials, ..kernel });
        let (weight, gradient) = self.regularized(learned.layer)?;
        let squares = self.tensor("concrete.squares", PARTIALS.into())?;
        let quads = weight.len / 4;
        let params = GradientParams { quads, partials: PARTIALS, dw_stride: weight.stride, sum_stride: squares.stride };
        self.push(GradientNorm { params, dw: weight, partials: squares });
        let Concrete { weight_regularizer, dropout_regularizer, .. } = learned.concrete;
        let dlogit = self.logit(learned.layer, ".grad")?;
        let params = RegularizerParams {
            logit_stride: learned.logit.stride,
            partials_stride: partials.stride,
            squares_stride: squares.stride,
            dlogit_stride: dlogit.stride,
            w_stride: weight.stride,
            dw_stride: gradient.stride,
            ..RegularizerParams::new([weight_regularizer, dropout_regularizer], learned.units, count, quads)
        };
        let logit = learned.logit;
        self.push(ConcreteFinish { params, logit, partials, squares, dlogit });
        self.push(ConcreteDecay { params, logit, w: weight, dw: gradient });
        Ok(())
    }

    /// The weight of the layer behind a site, and its gradient.
    fn regularized(&self, site: usize) -> Result<(Tensor, Tensor)> {
        let behind = self.network.walk().into_iter().enumerate().skip(site + 1);
        let mut layers = behind.filter(|(_, layer)| matches!(layer, Layer::Dense(_) | Layer::Conv2d(_)));
        // What stands in between has neither weights nor layers inside.
        let (layer, _) = layers.next().expect("the network was seen to have such a layer behind a rate that is learned");
        Ok((self.weight_and_bias(layer, "")?.0, self.weight_and_bias(layer, ".grad")?.0))
    }
}
