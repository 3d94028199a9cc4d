//! Monte-Carlo draws of a network with two hidden layers: what is timed, after a look at what single draws say.

use thinnet::data::Inputs;
use thinnet::monte_carlo::MonteCarlo;
use thinnet::{Activation, Dense, Device, Dropout, Error, Model, Network, Result};

use super::measure::Timed;
use super::probe;

/// The inputs that a draw is looked at for.
const LOOKED_AT: u32 = 3;

/// A classifier of 10 classes with ReLU, and how many draws of how many inputs.
#[derive(Debug, Clone)]
pub(crate) struct Drawing {
    pub(crate) inputs: u32,
    pub(crate) hidden: [u32; 2],
    /// keep_prob of the input and after each hidden layer; no dropout layer where it is 1.
    pub(crate) keep: [f64; 3],
    pub(crate) rows: u32,
    pub(crate) draws: u32,
}

impl Drawing {
    /// 784-1024-1024-10, 100 draws of 1000 inputs, dropout everywhere.
    pub(crate) fn mlp() -> Self {
        Self { inputs: 784, hidden: [1024, 1024], keep: [0.8, 0.5, 0.5], rows: 1000, draws: 100 }
    }

    /// Too small to say anything, but large enough that one network for all inputs runs on thinned layers.
    pub(crate) fn tiny() -> Self {
        Self { inputs: 16, hidden: [256, 256], keep: [0.8, 0.5, 0.5], rows: 600, draws: 4 }
    }

    fn network(&self) -> Result<Network> {
        let drop = |network: Network, keep: f64| Ok(if keep < 1.0 { network.dropout(Dropout::keep(keep)?) } else { network });
        let mut network = drop(Network::new(self.inputs), self.keep[0])?;
        for (units, keep) in self.hidden.into_iter().zip([self.keep[1], self.keep[2]]) {
            network = drop(network.dense(Dense::new(units).activation(Activation::Relu)), keep)?;
        }
        Ok(network.dense(Dense::new(10)))
    }

    /// Whole calls of [`Model::monte_carlo`], with all that belongs to one: seconds of a draw of all inputs. What some draws say is
    /// compared with their thinned networks before.
    ///
    /// # Errors
    /// A lost device; a draw that does not say what its thinned network says.
    pub(crate) fn timed(&self, device: &Device, options: MonteCarlo) -> Result<Timed<'static>> {
        let model = Model::initial(&self.network()?, 1)?;
        let numbers = probe::counted(self.rows * self.inputs).into_iter().map(|word| (word >> 8) as f32 / (1 << 24) as f32);
        let inputs = Inputs::from_f32(self.inputs, numbers.collect())?;
        check(&model, device, &inputs, &options)?;
        let (device, options) = (device.clone(), MonteCarlo { draws: self.draws, ..options });
        Ok(Timed::new(self.draws, move |calls| {
            (0..calls).try_for_each(|_| model.monte_carlo(&device, &inputs, &options).map(|_| ()))
        }))
    }
}

/// A draw answers an input as the input's thinned network of that draw does: they are apart by rounding, by less than a hundredth of
/// what the thinned network of the next draw is.
fn check(model: &Model, device: &Device, inputs: &Inputs, options: &MonteCarlo) -> Result<()> {
    let options = MonteCarlo { draws: 4, keep_draws: true, ..options.clone() };
    let drawn = model.monte_carlo(device, inputs, &options)?;
    for row in (0..LOOKED_AT).map(|i| i * (inputs.rows() - 1) / (LOOKED_AT - 1)) {
        let one = inputs.slice(row..row + 1)?;
        let far = |draw: u32, network: u32| -> Result<f32> {
            let answer = drawn.draw(draw).expect("the draws are kept");
            let thinned = model.thinned(&options, network, row)?.predict(device, &one)?;
            let pairs = answer.row(row as usize).iter().zip(thinned.row(0));
            Ok(pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max))
        };
        let (near, far) = (far(1, 1)?, far(1, 2)?);
        if near.partial_cmp(&(0.01 * far)) != Some(std::cmp::Ordering::Less) {
            let message = format!("draw 1 is {near} from its own network, and {far} from that of draw 2");
            return Err(Error::Gpu { place: format!("Monte-Carlo draws of input {row}"), message });
        }
    }
    Ok(())
}
