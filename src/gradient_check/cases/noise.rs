//! Dropout by other noise than a mask, of weights, and at rates that move.

use super::{Named, half, named, over_features, over_maps, padded, shared, tanh};
use crate::network::{
    Activation, Concrete, Dense, Dropout, DropoutMode, KeepProb, Layer, Network, Noise, Recurrent, Schedule, Unit, Way,
};

pub(super) fn all() -> Vec<Named> {
    let mut all = gaussian();
    all.extend(alpha());
    all.extend(concrete());
    all.extend(drop_connect());
    all.extend(scheduled());
    all
}

/// WGSL's cos is within 2^-11 only: noise of a small deviation is held to a bound that still shows what is wrong.
fn gaussian() -> Vec<Named> {
    let noise = || Dropout::keep(0.98).expect("a probability").noise(Noise::Gaussian);
    vec![
        named("gaussian noise of features", over_features(Layer::Dropout(noise()))),
        named("gaussian noise of features, Batch", over_features(Layer::Dropout(noise().batch()))),
        named("gaussian noise of maps", over_maps(Layer::Dropout(noise()))),
        named("gaussian noise of maps, Spatial2d", over_maps(Layer::Dropout(noise().unit(Unit::Spatial2d)))),
        named(
            "gaussian noise of maps, shared axes 0 and 2, Batch",
            over_maps(Layer::Dropout(noise().unit(shared(&[0, 2])).batch())),
        ),
        named(
            "gaussian noise of a sequence, variational",
            Network::new([5, 3])
                .recurrent(Recurrent::rnn(3).sequence())
                .dropout(noise().variational())
                .recurrent(Recurrent::lstm(3))
                .dense(Dense::new(3)),
        ),
    ]
}

fn alpha() -> Vec<Named> {
    let noise = |unit, mode| half(unit, mode).noise(Noise::Alpha);
    let selu = |units| Dense::new(units).activation(Activation::Selu);
    let network = |mode| Network::new(3).dense(selu(6)).dropout(noise(Unit::Element, mode)).dense(selu(5));
    let [inverted, batch] = [DropoutMode::Inverted, DropoutMode::Batch];
    vec![
        named("alpha dropout of SELU", network(inverted).dropout(noise(Unit::Element, inverted)).dense(Dense::new(3))),
        named("alpha dropout of SELU, Batch", network(batch).dense(Dense::new(3))),
        named("feature alpha dropout of maps", over_maps(Layer::Dropout(noise(Unit::Spatial2d, inverted)))),
        named("alpha dropout of maps", over_maps(Layer::Dropout(noise(Unit::Element, inverted)))),
    ]
}

/// Regularizers that are large enough to show.
fn concrete() -> Vec<Named> {
    let of = |temperature| Concrete { temperature, weight_regularizer: 0.05, dropout_regularizer: 0.02 };
    let site = |temperature| Dropout::keep(0.6).expect("a probability").noise(Noise::Concrete(of(temperature)));
    let features = Network::new(3).dropout(site(0.5)).dense(tanh(5)).dropout(site(0.2)).dense(Dense::new(3));
    let convolution = Network::new([2, 5, 4]).conv2d(padded(3).activation(Activation::Tanh)).dropout(site(0.3)).conv2d(padded(2));
    vec![
        named("concrete dropout of features", features),
        named("concrete dropout, the paper's temperature", over_features(Layer::Dropout(site(0.1)))),
        named("concrete dropout of maps", convolution.layer(Layer::Flatten).dropout(site(0.2)).dense(Dense::new(3))),
    ]
}

fn drop_connect() -> Vec<Named> {
    let weights = || Dropout::drop_connect(0.5).expect("a half is a probability");
    let both = Network::new(3).dense(tanh(5)).dropout(weights()).dense(tanh(6)).dropout(weights()).dense(Dense::new(3));
    let behind = Network::new(3).dense(tanh(5)).dropout(half(Unit::Element, DropoutMode::Inverted)).dropout(weights());
    vec![
        named("drop connect", over_features(Layer::Dropout(weights()))),
        named("drop connect of the first layer", Network::new(5).dropout(weights()).dense(tanh(6)).dense(Dense::new(3))),
        named("drop connect of two layers", both),
        named("drop connect behind dropout", behind.dense(Dense::new(3))),
    ]
}

/// In step 0 each is at its first rate: what takes the site's own is far away.
fn scheduled() -> Vec<Named> {
    let from = KeepProb::new(0.5).expect("a half is a probability");
    let late = |way| Schedule::new(way, 10).from(from);
    let site = |way| Dropout::keep(0.9).expect("a probability").schedule(late(way));
    let mut all = Vec::new();
    for way in [Way::Linear, Way::Cosine, Way::Step, Way::Curriculum] {
        all.push(named(format!("scheduled rate, {way:?}"), over_features(Layer::Dropout(site(way)))));
    }
    let (linear, gaussian) = (site(Way::Linear), Dropout::keep(0.5).expect("a half is a probability").noise(Noise::Gaussian));
    let gaussian = gaussian.schedule(Schedule::new(Way::Linear, 10).from(KeepProb::new(0.98).expect("a probability")));
    let connect = Dropout { schedule: Some(late(Way::Cosine)), ..Dropout::drop_connect(0.9).expect("a probability") };
    let steps = linear.variational();
    all.push(named("scheduled rate, channels, Batch", over_maps(Layer::Dropout(linear.unit(Unit::Spatial2d).batch()))));
    all.push(named("scheduled rate, blocks", over_maps(Layer::Dropout(linear.unit(Unit::Block(2))))));
    all.push(named("scheduled rate, alpha", over_features(Layer::Dropout(linear.noise(Noise::Alpha)))));
    all.push(named("scheduled rate, gaussian", over_features(Layer::Dropout(gaussian))));
    all.push(named("scheduled rate, drop connect", over_features(Layer::Dropout(connect))));
    all.push(named(
        "scheduled rate, variational lstm",
        Network::new([5, 3]).recurrent(Recurrent::lstm(3).input(steps).recurrent(steps).output(steps)).dense(Dense::new(3)),
    ));
    all
}
