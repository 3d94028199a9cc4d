//! Monte-Carlo dropout (Gal and Ghahramani, ICML 2016): the network runs many times with dropout on, and how far its answers are
//! apart says how sure it is. [`Model::monte_carlo`] makes one operation of it.
//!
//! Draws are rows of a batch. What the draws say is added up on the device, so that memory does not grow with their number; the part
//! of the network in front of the first dropout layer is computed once for each input. A draw is addressed, not random: its masks
//! are those of stream 1 of the mask contract at pass = draw and sample = the input's number (0 where all inputs share them), so
//! [`Model::replay`] gives the same output again and [`Model::thinned`] the thinned network that gave it.
//!
//! Whatever a site drops as one (features, channels, blocks, whole samples), a draw has the masks of training at the same rate,
//! with two exceptions. Dropout whose mask a whole batch shares ([`Dropout::batch`]) has one for each input, unless
//! [`MonteCarlo::one_network`] asks for one for all: draws have no batches. Batch norms take their running statistics, as in
//! evaluation, so that what is said of an input does not depend on the others.

use crate::data::Inputs;
use crate::mask_rule::MaskRule;
use crate::network::{Dropout, DropoutMode, Layer, Network, Noise, Unit};
use crate::rng::{self, Coordinates, Stream};
use crate::step::SiteStep;
use crate::{Device, Error, Loss, Model, Outputs, Result};

mod average;
mod intervals;
mod precision;
mod predictive;
mod run;
mod thin;
mod thinned;
mod weights;

pub use precision::Precision;
pub use predictive::Predictive;

use run::Ensemble;

/// How to draw: 100 independent draws for each input, unless told otherwise.
///
/// ```
/// use thinnet::monte_carlo::MonteCarlo;
/// let options = MonteCarlo { draws: 1000, seed: 7, ..MonteCarlo::default() };
/// assert!(!options.one_network);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct MonteCarlo {
    /// How many draws: at least 2. With `until_se` the most there will be.
    pub draws: u32,
    /// The seed of the masks.
    pub seed: u64,
    /// Whether each draw is one thinned network for all inputs, so that its answers are those of one function. Otherwise each input
    /// has masks of its own, as in a loop over a network in training mode.
    pub one_network: bool,
    /// The sample number of the first input; the others count from there. Inputs of two calls have masks of their own if their
    /// numbers differ. Without meaning for `one_network`, which draws at sample 0.
    pub first_sample: u32,
    /// Which masks the draws have.
    pub sampling: Sampling,
    /// Whether a layer behind [`Dropout::drop_connect`] is drawn from a normal distribution in place of masks (Wan et al., ICML 2013,
    /// section 3.2 and algorithm 2): in every draw the pre-activation of unit o of an input x is
    ///
    /// ```text
    /// y[o] = sum over i of W[o, i] x[i] + b[o] + sqrt((1 - p) / p * sum over i of (W[o, i] x[i])^2) n,  p = keep_prob
    /// ```
    ///
    /// and then come its activation and the rest of the network. y has the mean and the variance that it has over all masks, and its units
    /// are independent, as they are over masks; beyond that it is an approximation, the better the more weights add up. n is the
    /// normal number of words 2 o and 2 o + 1 of stream 9 at the site, pass = draw, the sample of the input; of two antithetic draws the
    /// second has it negated. A draw takes random words for each output, not for each weight. Other dropout layers have their masks. It
    /// needs a DropConnect layer, and independent or antithetic draws without `one_network`: such a draw is no thinned network.
    pub gaussian_weights: bool,
    /// Stop drawing when no standard error of a mean is above this; not before each unit is likely to have been kept and dropped, 3 draws
    /// divided by the rarer of the two.
    pub until_se: Option<f64>,
    /// Whether to return what every single draw says, `draws * inputs * outputs` numbers.
    pub keep_draws: bool,
    /// Precision tau = 1 / variance of the observation noise of a regression, in the units of the network's output; `None` leaves the
    /// noise out, so that the spread is that of the mean alone. A network trained with a loss of its own for the noise has no use for it.
    pub precision: Option<f64>,
    /// Rows of a batch, draws times inputs; `None` chooses by the widths of the network. The results differ by rounding.
    pub batch: Option<u32>,
}

impl Default for MonteCarlo {
    fn default() -> Self {
        Self {
            draws: 100,
            seed: 0,
            one_network: false,
            first_sample: 0,
            sampling: Sampling::Independent,
            gaussian_weights: false,
            until_se: None,
            keep_draws: false,
            precision: None,
            batch: None,
        }
    }
}

/// Which masks the draws of a call have. All but the last keep each unit with its keep_prob, so that they converge to the same mean.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sampling {
    /// Each draw by itself.
    #[default]
    Independent,
    /// In pairs: draw 2j + 1 takes the complements of the words of draw 2j. Fewer draws for the same error where the answer is a
    /// nearly monotone function of the masks; more where it is not. An even number of draws.
    Antithetic,
    /// Each unit (of blocks, each corner that a block may begin at) has its share of the T draws, but for a rest below 1: a
    /// feature is kept keep_prob T times. The standard errors are those of independent draws,
    /// an estimate that is too large where it helps; it cannot stop early, as T is known beforehand. Neither it nor antithetic draws
    /// serve networks with per-batch units, whose sets are drawn whole.
    LatinHypercube,
    /// Another distribution: thinned networks of exactly k = [`Dropout::kept_count`] units at every site, scaled by n / k, one
    /// network for each draw. Needs `one_network`, from the first site on a dense network that drops single features, and each
    /// dropout layer in front of a dense layer, behind one or first.
    ExactK,
}

impl Sampling {
    pub(crate) fn rule(self) -> MaskRule {
        match self {
            Self::Independent | Self::ExactK => MaskRule::Draw,
            Self::Antithetic => MaskRule::Antithetic,
            Self::LatinHypercube => MaskRule::LatinHypercube,
        }
    }
}

fn bad<T>(option: &'static str, value: impl ToString, problem: impl Into<String>) -> Result<T> {
    Err(Error::Option { option, value: value.to_string(), problem: problem.into() })
}

/// The most draws: they are counted in f32 on the device.
const MOST_DRAWS: u32 = 1 << 24;

impl MonteCarlo {
    /// What a site that draws by words takes in a step, from what it takes in training.
    fn site_step(&self, plain: SiteStep) -> SiteStep {
        match self.sampling {
            // stratum 2^32 + word < T draws, a number of 57 bits, of which the device gets both halves.
            Sampling::LatinHypercube => {
                let threshold = u64::from(plain.keep_all) << 32 | u64::from(plain.threshold);
                let bound = threshold * u64::from(self.draws);
                SiteStep { threshold: bound as u32, keep_all: (bound >> 32) as u32, pass: self.draws, ..plain }
            }
            Sampling::Independent | Sampling::Antithetic | Sampling::ExactK => plain,
        }
    }

    /// Whether a site keeps exactly k of its units.
    fn is_exact_k(&self, dropout: &Dropout) -> bool {
        self.sampling == Sampling::ExactK || dropout.mode == DropoutMode::Units
    }

    /// The factor of a kept unit in a draw: that of training, n / k where exactly k units are kept; vanilla dropout has none. Where
    /// normal numbers stand for the masks of weights it is their deviation.
    fn scale(&self, dropout: &Dropout, units: u32) -> f32 {
        match dropout.mode {
            _ if self.gaussian_weights && weights::drops_weights(dropout) => weights::deviation(dropout.keep),
            DropoutMode::Inverted if self.is_exact_k(dropout) => {
                Dropout { mode: DropoutMode::Units, ..*dropout }.train_scale(units)
            }
            _ => dropout.train_scale(units),
        }
    }

    /// The units that a site of features keeps in a draw of a sample, in ascending order.
    fn kept_units(&self, dropout: &Dropout, site: u32, units: u32, [draw, sample]: [u32; 2]) -> Vec<u32> {
        let (key, sample) = (rng::key(self.seed), if self.one_network { 0 } else { sample });
        if self.is_exact_k(dropout) {
            let at = Coordinates { stream: Stream::MonteCarloMask, site, pass: draw, sample: 0 };
            return rng::exact_k(at, units, dropout.kept_count(units), key);
        }
        let (rule, step) = (self.sampling.rule(), self.site_step(SiteStep::new(dropout.keep, 0)));
        let at = rng::stream_and_site(Stream::MonteCarloMask, site);
        let kept = (0..units.div_ceil(4)).flat_map(|quad| rule.kept(&step, key, at, [sample, draw], quad));
        (0..units).zip(kept).filter(|&(_, kept)| kept).map(|(unit, _)| unit).collect()
    }

    fn check(&self, inputs: &Inputs) -> Result<()> {
        self.check_draws()?;
        let last = u64::from(self.first_sample) + u64::from(inputs.rows()) - 1;
        if last > u64::from(u32::MAX) {
            return bad(
                "first_sample",
                self.first_sample,
                format!("the last input would have number {last}, above {}", u32::MAX),
            );
        }
        Ok(())
    }

    /// What can be judged without inputs.
    fn check_draws(&self) -> Result<()> {
        if self.draws < 2 || self.draws > MOST_DRAWS {
            return bad("draws", self.draws, format!("a spread takes from 2 to {MOST_DRAWS} draws"));
        }
        if self.sampling == Sampling::Antithetic && (self.draws % 2 == 1 || self.draws < 4) {
            return bad("draws", self.draws, "antithetic draws come in pairs; ask for an even number, at least 4");
        }
        if self.sampling == Sampling::ExactK && !self.one_network {
            return bad(
                "sampling",
                "ExactK",
                "a thinned network of exactly k units is drawn for all inputs; set one_network as well",
            );
        }
        match self.until_se {
            Some(se) if !(se > 0.0 && se.is_finite()) => {
                return bad("until_se", se, "a standard error to reach is a number above 0");
            }
            Some(se) if self.sampling == Sampling::LatinHypercube => {
                return bad(
                    "until_se",
                    se,
                    "Latin hypercube draws are only right all together; ask for a number of draws instead",
                );
            }
            _ => {}
        }
        match self.precision {
            Some(tau) if !(tau > 0.0 && tau.is_finite() && (1.0 / tau).is_finite()) => {
                return bad("precision", tau, "a precision, 1 / variance, is a number above 0 whose inverse is one too");
            }
            _ => {}
        }
        if self.batch == Some(0) {
            return bad("batch", 0, "a batch has at least one row");
        }
        Ok(())
    }
}

impl Model {
    /// The predictive distribution over some inputs: means, spreads and measures of doubt over `options.draws` draws.
    ///
    /// ```
    /// use thinnet::monte_carlo::MonteCarlo;
    /// use thinnet::{Dense, Device, Dropout, Model, Network, data};
    ///
    /// let digits = data::digits().slice(0..20)?;
    /// let network = Network::new(64).dense(Dense::new(32)).dropout(Dropout::keep(0.5)?).dense(Dense::new(10));
    /// let model = Model::initial(&network, 1)?;
    /// let predictive = model.monte_carlo(&Device::open()?, digits.inputs(), &MonteCarlo::default())?;
    /// println!("{:?} {:?}", predictive.mean().row(0), predictive.mutual_information()[0]);
    /// # Ok::<(), thinnet::Error>(())
    /// ```
    ///
    /// # Errors
    /// A network whose draws would all be the same, for it has no dropout layer with keep_prob below 1; options that contradict each
    /// other, or that the network has no layer for; inputs of another width than the network's; a network too large for the device.
    pub fn monte_carlo(&self, device: &Device, inputs: &Inputs, options: &MonteCarlo) -> Result<Predictive> {
        self.monte_carlo_with(device, inputs, options, |_, _| {})
    }

    /// [`Model::monte_carlo`], with `observe` told how many rows (draws times inputs) of how many are done.
    ///
    /// # Errors
    /// As [`Model::monte_carlo`].
    pub fn monte_carlo_with(
        &self,
        device: &Device,
        inputs: &Inputs,
        options: &MonteCarlo,
        observe: impl FnMut(u64, u64),
    ) -> Result<Predictive> {
        options.check(inputs)?;
        Ensemble::new(self, device, inputs, options)?.predictive(observe)
    }

    /// What draw `draw` of [`Model::monte_carlo`] with the same options says about the same inputs: class probabilities, or the
    /// numbers of a regression. Bit for bit what that draw was, on the same device.
    ///
    /// # Errors
    /// As [`Model::monte_carlo`]; a draw that is none of `options.draws`.
    pub fn replay(&self, device: &Device, inputs: &Inputs, options: &MonteCarlo, draw: u32) -> Result<Outputs> {
        options.check(inputs)?;
        if draw >= options.draws {
            return bad("draw", draw, format!("the draws are 0..{}", options.draws));
        }
        Ensemble::new(self, device, inputs, options)?.replay(draw)
    }
}

/// A network cut in front of its first dropout layer that drops something.
pub(crate) struct Halves {
    /// What is computed once for each input, if there is anything.
    pub(crate) before: Option<Model>,
    /// What is computed in every draw.
    pub(crate) rest: Model,
}

/// Whether a layer is dropout that drops something.
fn drops(layer: &Layer) -> bool {
    matches!(layer, Layer::Dropout(dropout) if dropout.keep.threshold() < 1 << 32)
}

/// Whether a layer is such dropout, or has some inside.
fn has_site(layer: &Layer) -> bool {
    drops(layer) || layer.inner().into_iter().flatten().any(has_site)
}

/// Whether a network is dense, and every site drops single features: what has a list of kept units, or bits for all of them.
fn drops_features(network: &Network) -> bool {
    let by_feature = |layer: &Layer| {
        !drops(layer) || matches!(layer, Layer::Dropout(Dropout { unit: Unit::Element, noise: Noise::Bernoulli, .. }))
    };
    // A rate that is learned is a parameter, also where it is switched off.
    let learned = |layer: &Layer| matches!(layer, Layer::Dropout(Dropout { noise: Noise::Concrete(_), .. }));
    network.is_dense() && network.layers.iter().all(|layer| by_feature(layer) && !learned(layer))
}

/// Cuts a model in front of the first layer that is, or contains, dropout that drops something. Sites keep their numbers.
fn halves(model: &Model) -> Result<Halves> {
    let (sites, shapes, parameters) = (model.network().sites()?, model.network().shapes()?, model.network().parameters()?);
    let mut network = model.network().clone();
    let Some(cut) = network.layers.iter().position(has_site) else {
        return Err(Error::Network {
            place: "network".into(),
            problem:
                "has no dropout layer with keep_prob below 1, so that all draws would be the same; predict without draws, or \
                      train with dropout"
                    .into(),
        });
    };
    network.change_layers(|number, layer| {
        if let Layer::Dropout(dropout) = layer {
            dropout.site = sites[number];
        }
    });
    let trains = |network: &Network| {
        network.walk().into_iter().any(|layer| matches!(layer, Layer::Dense(_) | Layer::Conv2d(_) | Layer::Recurrent(_)))
    };
    let mut rest = Network { layers: network.layers.split_off(cut), ..network.clone() };
    let mut before = Network { loss: Loss::MeanSquaredError, ..network };
    if !trains(&before) || !trains(&rest) {
        // A network has a dense layer or a convolution; dropout of the output alone has none behind it.
        before.layers.append(&mut rest.layers);
        rest.layers = std::mem::take(&mut before.layers);
    }
    let number = before.walk().len();
    rest.input = shapes[number].clone();
    let split = parameters.partition_point(|parameter| parameter.layer < number);
    let (first, last) = model.weights().split_at(split);
    let before = match number {
        0 => None,
        _ => {
            // The rest takes maps as rows of features, whatever layout the first half has them in.
            before.layers.push(Layer::Flatten);
            Some(Model::new(before, first.to_vec())?)
        }
    };
    Ok(Halves { before, rest: Model::new(rest, last.to_vec())? })
}
