//! A draw computed in f64: the reference in evaluation, layer by layer, and masks unit by unit.

use thinnet::mask_rule::MaskRule;
use thinnet::monte_carlo::{MonteCarlo, Sampling};
use thinnet::network::{Blocks, Parameter};
use thinnet::reference::{self, Masks};
use thinnet::rng::{self, Coordinates, Stream};
use thinnet::step::SiteStep;
use thinnet::{Dense, Dropout, DropoutMode, Layer, Model, Network, Residual, Shape, Unit};

/// A draw for one input.
pub(super) struct Walk<'a> {
    model: &'a Model,
    parameters: Vec<Parameter>,
    shapes: Vec<Shape>,
    sites: Vec<Option<u32>>,
    options: &'a MonteCarlo,
    draw: u32,
    sample: u32,
}

impl Walk<'_> {
    /// The numbers that a draw gives for a row.
    pub(super) fn output(model: &Model, options: &MonteCarlo, draw: u32, sample: u32, row: &[f32]) -> Vec<f64> {
        let network = model.network();
        let (parameters, shapes, sites) = (network.parameters().unwrap(), network.shapes().unwrap(), network.sites().unwrap());
        let walk = Walk { model, parameters, shapes, sites, options, draw, sample };
        walk.layers(&network.layers, &mut 0, row.iter().map(|&v| f64::from(v)).collect())
    }

    /// Layers of which the first has number `next` in the walk.
    fn layers(&self, layers: &[Layer], next: &mut usize, mut x: Vec<f64>) -> Vec<f64> {
        for layer in layers {
            let number = *next;
            *next += 1;
            x = match layer {
                Layer::Dropout(dropout) => {
                    let factors = self.factors(dropout, number);
                    factors.into_iter().zip(x).map(|(factor, x)| factor * x).collect()
                }
                Layer::Residual(Residual { branch, skip }) => {
                    let branch = self.layers(branch, next, x.clone());
                    let skip = self.layers(skip, next, x);
                    branch.iter().zip(skip).map(|(a, b)| a + b).collect()
                }
                layer => self.single(layer, number, &x),
            };
        }
        x
    }

    /// One layer as the reference has it in evaluation. A network needs an output, which is not looked at.
    fn single(&self, layer: &Layer, number: usize, x: &[f64]) -> Vec<f64> {
        let own = self.parameters.iter().zip(self.model.weights()).filter(|(parameter, _)| parameter.layer == number);
        let mut weights: Vec<Vec<f64>> = own.map(|(_, w)| w.iter().map(|&w| f64::from(w)).collect()).collect();
        let layers = vec![layer.clone(), Layer::Flatten, Layer::Dense(Dense::new(1))];
        let network = Network { input: self.shapes[number].clone(), layers, ..Network::new(1) };
        weights.extend([vec![0.0; network.shapes().unwrap()[2].elements() as usize], vec![0.0]]);
        reference::forward(&network, &weights, x, &Masks::None).unwrap().remove(0)
    }

    /// The factor of every element: 0 where it is dropped.
    fn factors(&self, dropout: &Dropout, number: usize) -> Vec<f64> {
        let (shape, site) = (&self.shapes[number], self.sites[number].unwrap());
        let vanilla = dropout.mode == DropoutMode::Vanilla;
        if let Unit::Block(size) = dropout.unit {
            let [height, width] = shape.map();
            let blocks = Blocks::new(dropout.keep, size, [height, width]);
            let scale = if vanilla { 1.0 } else { 1.0 / blocks.keep };
            let seed = |c, y, x| {
                let inside = y <= height - size && x <= width - size;
                inside && !self.keeps(blocks.threshold, site, (c * height + y) * width + x)
            };
            let element = |element: u32| {
                let (c, y, x) = (element / (height * width), element / width % height, element % width);
                let places = |i: u32| (i + 1).saturating_sub(size)..=i;
                let covered = places(y).any(|y| places(x).any(|x| seed(c, y, x)));
                if covered { 0.0 } else { scale }
            };
            return (0..shape.elements()).map(element).collect();
        }
        let extents = dropout.unit.mask_shape(shape).0;
        let scale = if vanilla { 1.0 } else { 1.0 / dropout.keep.get() };
        let element = |element: u32| {
            let (mut rest, mut unit, mut stride) = (element, 0, 1);
            for (&extent, &of_mask) in shape.0.iter().zip(&extents).rev() {
                unit += if of_mask > 1 { rest % extent * stride } else { 0 };
                stride *= of_mask;
                rest /= extent;
            }
            if self.keeps(dropout.keep.threshold(), site, unit) { scale } else { 0.0 }
        };
        (0..shape.elements()).map(element).collect()
    }

    /// Whether the draw keeps a unit whose threshold is T.
    fn keeps(&self, threshold: u64, site: u32, unit: u32) -> bool {
        let (key, sample) = (rng::key(self.options.seed), if self.options.one_network { 0 } else { self.sample });
        let word = |pass| Coordinates { stream: Stream::MonteCarloMask, site, pass, sample }.word(unit, key);
        match self.options.sampling {
            Sampling::Independent => u64::from(word(self.draw)) < threshold,
            Sampling::Antithetic if self.draw % 2 == 1 => u64::from(!word(self.draw - 1)) < threshold,
            Sampling::Antithetic => u64::from(word(self.draw)) < threshold,
            Sampling::LatinHypercube => {
                // The strata are tested in `masks.rs`; here it is their bound that matters, T draws.
                let (draws, bound) = (self.options.draws, threshold * u64::from(self.options.draws));
                let plain = SiteStep::new(thinnet::KeepProb::ONE, draws);
                let step = SiteStep { threshold: bound as u32, keep_all: (bound >> 32) as u32, ..plain };
                let at = rng::stream_and_site(Stream::MonteCarloMask, site);
                MaskRule::LatinHypercube.kept(&step, key, at, [sample, self.draw], unit / 4)[unit as usize % 4]
            }
            other => panic!("{other:?}"),
        }
    }
}
