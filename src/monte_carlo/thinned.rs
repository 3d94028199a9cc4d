//! The thinned network of a draw: smaller, without dropout, with the same answers.

use super::{MonteCarlo, bad, drops_features, thin, weights};
use crate::network::{Layer, Network};
use crate::{Model, Result};

impl Model {
    /// The thinned network of draw `draw` of [`Model::monte_carlo`] for the input with the sample number `sample` (any, for
    /// `one_network`): without dropout layers, without the units that the draw drops, its factors in the weights behind them. What it
    /// answers is what the draw answers, up to rounding. Inputs keep their number: the weights of dropped ones are 0.
    ///
    /// # Errors
    /// As [`Model::monte_carlo`]; a network that is not dense, or drops other than single features; a draw that is none of
    /// `options.draws`; a layer whose units are all dropped, which leaves no network; dropout of the network's output, behind
    /// which there is no weight.
    pub fn thinned(&self, options: &MonteCarlo, draw: u32, sample: u32) -> Result<Model> {
        options.check_draws()?;
        weights::check(self.network(), options)?;
        thin::check(self.network(), options)?;
        if draw >= options.draws {
            return bad("draw", draw, format!("the draws are 0..{}", options.draws));
        }
        if !drops_features(self.network()) {
            let problem = "only networks of dense layers, and of dropout of single features, are thinned to smaller ones of the \
                           same kind; replay the draw instead";
            return bad("network", "of other layers", problem);
        }
        let (sites, shapes) = (self.network().sites()?, self.network().shapes()?);
        if let Some(Layer::Dropout(_)) = self.network().layers.last() {
            return bad("network", "dropout last", "dropout of the output has no weight behind it that could take its factor");
        }
        let mut network = Network { layers: Vec::new(), ..self.network().clone() };
        let (mut weights, mut given) = (Vec::new(), self.weights().iter());
        let inputs = shapes[0].0[0] as usize;
        // What each input of the next layer is multiplied by; where it comes from in the layer before.
        let mut factors = vec![1.0f32; inputs];
        for (i, layer) in self.network().layers.iter().enumerate() {
            match layer {
                Layer::Dropout(dropout) => {
                    let site = sites[i].expect("a dropout layer has a site");
                    let units = factors.len() as u32;
                    let mut kept = vec![0.0; factors.len()];
                    for unit in options.kept_units(dropout, site, units, [draw, sample]) {
                        kept[unit as usize] = options.scale(dropout, units);
                    }
                    factors.iter_mut().zip(kept).for_each(|(factor, kept)| *factor *= kept);
                }
                Layer::Dense(dense) => {
                    let (weight, bias) = (given.next().expect("a weight"), given.next().expect("a bias"));
                    // The layer in front loses its dropped units; the inputs of the network stay.
                    let first = weights.is_empty();
                    let columns: Vec<usize> = (0..factors.len()).filter(|&c| first || factors[c] != 0.0).collect();
                    if columns.is_empty() {
                        return bad(
                            "draw",
                            draw,
                            format!("it drops all {} units in front of layer {i}, which leaves no network", factors.len()),
                        );
                    }
                    if !first {
                        keep_units(&mut network, &mut weights, &columns);
                    }
                    let row = |row: &[f32]| columns.iter().map(|&c| row[c] * factors[c]).collect::<Vec<_>>();
                    weights.push(weight.chunks(factors.len()).flat_map(row).collect());
                    weights.push(bias.clone());
                    network.layers.push(Layer::Dense(dense.clone()));
                    factors = vec![1.0; dense.units as usize];
                }
                _ => unreachable!("the network was seen to be a sequence of dense and dropout layers"),
            }
        }
        Model::new(network, weights)?.with_preprocessing(self.preprocessing().clone())
    }
}

/// Leaves these units of the last dense layer.
fn keep_units(network: &mut Network, weights: &mut [Vec<f32>], units: &[usize]) {
    let [.., weight, bias] = weights else { unreachable!("a dense layer was added before") };
    let columns = weight.len() / bias.len();
    *weight = units.iter().flat_map(|&unit| &weight[unit * columns..][..columns]).copied().collect();
    *bias = units.iter().map(|&unit| bias[unit]).collect();
    if let Some(Layer::Dense(dense)) = network.layers.last_mut() {
        dense.units = units.len() as u32;
    }
}
