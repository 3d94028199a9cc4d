use thinnet::network::{BatchNorm, Conv2d, LayerNorm, Residual, Unit};
use thinnet::preflight::variance_shift;
use thinnet::{Dataset, Dense, Dropout, Inputs, Layer, Network, Optimizer, TrainOptions, Trainer};

fn norm() -> Layer {
    Layer::BatchNorm(BatchNorm::default())
}

fn drop(keep: f64) -> Layer {
    Layer::Dropout(Dropout::keep(keep).unwrap())
}

fn with(layers: Vec<Layer>) -> Network {
    let network = layers.into_iter().fold(Network::new([2, 4, 4]), Network::layer);
    network.layer(Layer::Flatten).dense(Dense::new(3))
}

fn conv() -> Layer {
    Layer::Conv2d(Conv2d::new(2, 1))
}

fn block(branch: Vec<Layer>) -> Layer {
    Layer::Residual(Residual { branch, skip: Vec::new() })
}

#[test]
fn it_is_said_where_batch_norm_sees_what_is_dropped() {
    let unit = |unit: Unit| Layer::Dropout(Dropout::keep(0.8).unwrap().unit(unit));
    for (layers, said) in [
        (vec![drop(0.5), norm()], "layer 0 (dropout) with keep_prob 0.5 stands in front of layer 1 (batch_norm): "),
        (vec![drop(0.5), norm()], " 2.00 times that in evaluation"),
        (
            vec![unit(Unit::Spatial2d), conv(), norm()],
            "layer 0 (dropout) with keep_prob 0.8 stands in front of layer 2 (batch_norm): ",
        ),
        (vec![unit(Unit::Block(2)), conv(), norm()], " 1.25 times that in evaluation"),
        (
            vec![norm(), drop(0.5), conv(), norm(), norm()],
            "layer 1 (dropout) with keep_prob 0.5 stands in front of layer 3 (batch_norm): ",
        ),
        (vec![drop(0.5), drop(0.9), norm()], "in front of layer 2 (batch_norm) (and one more pair): "),
        (
            vec![drop(0.5), block(vec![conv(), norm()]), norm()],
            "in front of layer 1.residual[1] (batch_norm) (and one more pair): ",
        ),
        (
            vec![block(vec![conv(), drop(0.5)]), norm()],
            "layer 0.residual[1] (dropout) with keep_prob 0.5 stands in front of layer 1 ",
        ),
    ] {
        let text = variance_shift(&with(layers.clone())).unwrap_or_else(|| panic!("{layers:?} is not noted"));
        assert!(text.contains(said), "{text}\nlacks {said}");
    }
    let units = Network::new(7).dropout(Dropout::units(0.5).unwrap()).layer(norm()).dense(Dense::new(3));
    assert!(variance_shift(&units).unwrap().contains(" 1.75 times"), "n / k = 7 / 4");
}

#[test]
fn it_is_not_said_where_it_does_not_apply() {
    let path = Layer::Dropout(Dropout::keep(0.5).unwrap().unit(Unit::Path));
    for layers in [
        vec![norm(), conv()],
        vec![conv(), drop(0.5)],
        vec![norm(), drop(0.5), conv()],
        vec![drop(1.0), norm()],
        vec![drop(0.0), norm()],
        vec![drop(0.5), Layer::LayerNorm(LayerNorm::default()), norm()],
        vec![block(vec![norm(), path.clone()]), block(vec![norm(), path])],
        vec![block(vec![norm(), drop(0.5)])],
    ] {
        assert_eq!(variance_shift(&with(layers.clone())), None, "{layers:?}");
    }
}

/// The factor as it is measured: the running variance behind dropout, with momentum 1 that of the only batch, and that of its inputs.
#[test]
fn the_factor_is_that_of_the_running_variance() {
    const ROWS: u32 = 20_000;
    // +-1 and 0 or 2: variance 1, mean 0 and 1.
    let signs: Vec<f32> =
        crate::common::words(ROWS as usize, 5).iter().map(|word| if word & 1 == 1 { 1.0 } else { -1.0 }).collect();
    let values: Vec<f32> = signs.iter().flat_map(|&sign| [sign, sign + 1.0]).collect();
    let data = Dataset::new(Inputs::from_f32(2, values).unwrap(), vec![0; ROWS as usize], 2).unwrap();
    let n = f64::from(ROWS);
    let mean = signs.iter().map(|&sign| f64::from(sign)).sum::<f64>() / n;
    let variance = (1.0 - mean * mean) * n / (n - 1.0);
    for p in [1.0, 0.8, 0.5] {
        let first = Layer::BatchNorm(BatchNorm { momentum: 1.0, ..BatchNorm::default() });
        let network = Network::new(2).layer(drop(p)).layer(first).dense(Dense::new(2));
        let options = TrainOptions { batch: ROWS, optimizer: Optimizer::sgd(1e-6), ..TrainOptions::default() };
        let mut trainer = Trainer::new(crate::common::device(), &network, &data, options).unwrap();
        trainer.fit(1).unwrap();
        let model = trainer.model().unwrap();
        let running = network.parameters().unwrap().iter().position(|p| p.name.ends_with("running_var")).unwrap();
        for (feature, m) in [0.0, 1.0].into_iter().enumerate() {
            let factor = 1.0 / p + (1.0 - p) / p * m * m;
            let found = f64::from(model.weights()[running][feature]) / variance;
            // y = x b / p with x = m +- 1 has E y^k = E x^k p^(1 - k); the variance of n numbers has the standard deviation
            // sqrt((fourth central moment - variance^2) / n). Five of them; for p = 1 what f32 rounds and the shift of the mean.
            let moment = |k: i32| ((m + 1.0f64).powi(k) + (m - 1.0f64).powi(k)) / 2.0 * f64::powi(p, 1 - k);
            let (m1, m2, m3, m4) = (moment(1), moment(2), moment(3), moment(4));
            let fourth = m4 - 4.0 * m1 * m3 + 6.0 * m1 * m1 * m2 - 3.0 * m1.powi(4);
            let tolerance = 5.0 * ((fourth - factor * factor).max(0.0) / n).sqrt() + 1e-4;
            assert!((found - factor).abs() < tolerance, "keep {p}, mean {m}: {found}, expected {factor} +- {tolerance}");
            // A factor without the mean would be refused, and so would none.
            assert!(p == 1.0 || (found - 1.0).abs() > 2.0 * tolerance, "the test could not fail: {tolerance}");
        }
    }
}
