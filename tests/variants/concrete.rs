//! Concrete dropout (Gal, Hron and Kendall, NeurIPS 2017) in training: the rate that is learned falls with the number of rows,
//! and one that would collapse is held.

use thinnet::kernels::concrete::LOGIT_LIMIT;
use thinnet::network::Concrete;
use thinnet::rng::{self, Coordinates, Stream};
use thinnet::{
    Activation, Dataset, Dense, Dropout, Inputs, KeepProb, Layer, Loss, Network, Noise, Optimizer, TrainOptions, Trainer,
};

use crate::common::device;

/// y = 2 x + 8 + noise of deviation 1, x normal, as in the paper.
fn data(rows: u32) -> Dataset {
    let normal = |i: u32, which: u32| {
        let words = Coordinates { stream: Stream::ContinuousNoise, site: which, pass: 0, sample: i }.quad(0, rng::key(5));
        rng::normal([words[0], words[1]]) as f32
    };
    let x: Vec<f32> = (0..rows).map(|i| normal(i, 0)).collect();
    let y = x.iter().zip(0..).map(|(x, i)| 2.0 * x + 8.0 + normal(i, 1)).collect();
    Dataset::with_values(Inputs::from_f32(1, x).unwrap(), 1, y).unwrap()
}

fn network(concrete: Concrete) -> Network {
    let site = Dropout::keep(0.9).unwrap().noise(Noise::Concrete(concrete));
    let hidden = || Dense::new(32).activation(Activation::Relu);
    let network = Network::new(1).dense(hidden()).dropout(site).dense(hidden()).dropout(site).dense(Dense::new(1));
    network.loss(Loss::MeanSquaredError)
}

/// Trains for so many steps of 50 rows: the logits of the drop probabilities, and the loss of the last epoch.
fn trained(network: &Network, data: &Dataset, (seed, lr, steps): (u64, f64, u32)) -> (Vec<f32>, f64) {
    let options = TrainOptions { seed, batch: 50, optimizer: Optimizer::adam(lr), ..TrainOptions::default() };
    let mut trainer = Trainer::new(device(), network, data, options).unwrap();
    let loss = trainer.fit(steps / (data.rows() / 50)).unwrap().last().unwrap().running.loss;
    let model = trainer.model().unwrap();
    let parameters = network.parameters().unwrap();
    let logits = parameters.iter().zip(model.weights()).filter(|(parameter, _)| parameter.name.ends_with("p_logit"));
    (logits.map(|(_, logit)| logit[0]).collect(), loss)
}

/// The drop probabilities of both sites after 2000 steps, for 50 rows and for 5000.
fn rates(rows: u32, seed: u64) -> Vec<f64> {
    // A length scale that is not small, so that a short training is enough.
    let (logits, loss) = trained(&network(Concrete::new(rows, 0.1, 1.0)), &data(rows), (seed, 0.01, 2000));
    let rates: Vec<f64> = logits.iter().map(|&logit| 1.0 / (1.0 + (-f64::from(logit)).exp())).collect();
    println!("{rows} rows, seed {seed}: drop probabilities {rates:.3?}, loss {loss:.3}");
    rates
}

/// Measured for seeds 1 and 2: 0.389, 0.041 and 0.378, 0.068 for 50 rows, 0.005, 0.003 and 0.013, 0.005 for 5000: a factor of 13
/// at least.
#[test]
fn the_rate_is_higher_after_few_rows_than_after_many() {
    for seed in [1, 2] {
        let (few, many) = (rates(50, seed), rates(5000, seed));
        for (few, many) in few.iter().zip(&many) {
            assert!(*few > 3.0 * many, "seed {seed}: {few} and {many}");
        }
    }
}

/// From a drop probability of 1e-4, a logit of -9.2: without its entropy it falls on, since noise costs, in steps of half a
/// unit, which Adam makes of every gradient. Past its limit of -12 the gradient is 0, and the rest of the momentum is a way of
/// 0.5 * 0.9 / 0.1 at most. 400 steps of half a unit would end at -200. With an entropy that counts for more it comes back to a
/// half.
#[test]
fn a_rate_that_would_collapse_stays_within_its_guard() {
    let data = data(500);
    let of = |weight_regularizer, dropout_regularizer| {
        let concrete = Concrete { temperature: 0.1, weight_regularizer, dropout_regularizer };
        let mut network = network(concrete);
        network.change_layers(|_, layer| {
            if let Layer::Dropout(dropout) = layer {
                dropout.keep = KeepProb::new(1.0 - 1e-4).unwrap();
            }
        });
        let (logits, loss) = trained(&network, &data, (1, 0.5, 400));
        println!("{concrete:?}: logits {logits:?}, loss {loss}");
        assert!(loss.is_finite() && logits.iter().all(|logit| logit.is_finite()));
        logits
    };
    let falling = of(1.0, 0.0);
    assert!(falling.iter().all(|logit| (-LOGIT_LIMIT - 5.0..-10.0).contains(logit)), "{falling:?}");
    assert!(falling.iter().any(|&logit| logit <= -LOGIT_LIMIT), "none reaches the guard: {falling:?}");
    let back = of(0.0, 1.0);
    assert!(back.iter().all(|logit| logit.abs() < 2.0), "{back:?}");
}
