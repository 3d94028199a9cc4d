//! The networks whose gradients are checked: every layer, every dropout variant, and some combinations; small and ragged.
//!
//! Layers that train stand in front of the layer in question, so that what it passes back is seen, and behind it, so that what
//! reaches it differs from element to element.

use super::Case;

mod noise;
mod sequences;

use crate::network::{
    Activation, BatchNorm, Conv2d, Dense, Dropout, DropoutMode, Layer, LayerNorm, Loss, Network, Pool2d, PoolKind, Residual,
    Shape, Unit, Window,
};

/// Every case. Their names differ.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: String, network: Network| cases.push(Case { name, network, rows: 6 });
    for (name, network) in dense()
        .into_iter()
        .chain(convolutions())
        .chain(pools())
        .chain(norms())
        .chain(in_front_of_convolutions())
        .chain(residuals())
    {
        add(name, network);
    }
    for (name, network) in features_dropped().into_iter().chain(maps_dropped()).chain(paths_dropped()).chain(combinations()) {
        add(name, network);
    }
    for (name, network) in sequences::all().into_iter().chain(noise::all()) {
        add(name, network);
    }
    cases
}

type Named = (String, Network);

fn named(name: impl Into<String>, network: Network) -> Named {
    (name.into(), network)
}

fn tanh(units: u32) -> Dense {
    Dense::new(units).activation(Activation::Tanh)
}

/// Large enough that one which is forgotten, or stands in the wrong place, shows.
const EPSILON: f64 = 0.1;

fn batch_norm() -> Layer {
    Layer::BatchNorm(BatchNorm { epsilon: EPSILON, ..BatchNorm::default() })
}

/// Half of the units.
fn half(unit: Unit, mode: DropoutMode) -> Dropout {
    Dropout { unit, mode, ..Dropout::keep(0.5).expect("a half is a probability") }
}

fn padded(channels: u32) -> Conv2d {
    Conv2d::new(channels, 3).padding(1)
}

/// A layer over 5 features, between dense layers.
fn over_features(layer: Layer) -> Network {
    Network::new(3).dense(tanh(5)).layer(layer).dense(Dense::new(3))
}

/// A layer over maps of 3 channels, 5 x 4, between a convolution and a dense layer.
fn over_maps(layer: Layer) -> Network {
    Network::new([2, 5, 4]).conv2d(padded(3).activation(Activation::Tanh)).layer(layer).layer(Layer::Flatten).dense(Dense::new(3))
}

fn dense() -> Vec<Named> {
    use Activation::{Gelu, Identity, LeakyRelu, Relu, Selu, Sigmoid, Tanh};
    let activations = [Identity, Relu, Tanh, Sigmoid, LeakyRelu, Gelu, Selu];
    let network = |f| Network::new(5).dense(tanh(6)).dense(Dense::new(7).activation(f)).dense(Dense::new(4));
    let by_activation = activations.map(|f| named(format!("dense, {f:?}"), network(f)));
    let losses = [Loss::BinaryCrossEntropy, Loss::MeanSquaredError, Loss::GaussianNll];
    let by_loss = losses.map(|loss| named(format!("dense, {loss:?}"), network(Tanh).loss(loss)));
    by_activation.into_iter().chain(by_loss).collect()
}

fn convolutions() -> Vec<Named> {
    let uneven = Window { kernel: [3, 2], stride: [2, 1], padding: [1, 0], dilation: [1, 2] };
    // 5 x 4 in front: a stride of 2 leaves the last column out.
    let convolutions = [
        ("3 x 3", Conv2d::new(5, 3)),
        ("1 x 1", Conv2d::new(2, 1)),
        ("padding 1", padded(2)),
        ("stride 2", Conv2d::new(2, 3).stride(2)),
        ("stride 2, padding 1", padded(5).stride(2)),
        ("dilation 2, padding 2", Conv2d::new(2, 3).dilation(2).padding(2)),
        ("depthwise", padded(6).groups(3)),
        ("each axis by itself", Conv2d::new(2, 1).window(uneven)),
    ];
    let mut all: Vec<Named> =
        convolutions.into_iter().map(|(name, conv)| named(format!("conv2d, {name}"), over_maps(Layer::Conv2d(conv)))).collect();
    let input = || Network::new([2, 3, 5]).conv2d(Conv2d::new(4, 1).activation(Activation::Tanh));
    let end = |network: Network| network.layer(Layer::Flatten).dense(Dense::new(3));
    all.push(named("conv2d, groups 2", end(input().conv2d(padded(6).groups(2)))));
    all.push(named("conv2d, ReLU", end(input().conv2d(padded(3).activation(Activation::Relu)))));
    all.push(named("conv2d, mean squared error", end(input().conv2d(padded(3))).loss(Loss::MeanSquaredError)));
    all
}

fn pools() -> Vec<Named> {
    let wide = Window { kernel: [2, 3], stride: [1, 2], padding: [1, 1], dilation: [1, 1] };
    let mut all = Vec::new();
    for (name, kind) in [("max_pool", PoolKind::Max), ("average_pool", PoolKind::Average)] {
        let pools = [
            ("2", Pool2d::new(kind, 2)), // leaves the last row out
            ("3, stride 2, padding 1", Pool2d::new(kind, 3).stride(2).padding(1)),
            ("3, stride 1", Pool2d::new(kind, 3).stride(1)),
            ("2 x 3", Pool2d { kind, window: wide }),
        ];
        all.extend(pools.map(|(what, pool)| named(format!("{name} {what}"), over_maps(Layer::Pool(pool)))));
    }
    let pooled = Network::new([2, 5, 3]).conv2d(padded(5).activation(Activation::Tanh)).layer(Layer::GlobalAveragePool);
    all.push(named("global_average_pool", pooled.dense(Dense::new(3))));
    all.push(named("flatten", Network::new([2, 3, 3]).layer(Layer::Flatten).dense(tanh(5)).dense(Dense::new(3))));
    all.push(named("activation, ReLU", over_maps(Layer::Activation(Activation::Relu))));
    all.push(named("activation, Gelu", over_features(Layer::Activation(Activation::Gelu))));
    all
}

fn norms() -> Vec<Named> {
    let norm = LayerNorm { epsilon: EPSILON };
    vec![
        named("batch_norm of features", over_features(batch_norm())),
        named("batch_norm of maps", over_maps(batch_norm())),
        named("layer_norm of features", over_features(Layer::LayerNorm(norm))),
        named("layer_norm of maps", over_maps(Layer::LayerNorm(norm))),
    ]
}

/// Layers between two convolutions, which takes maps in a layout of its own; and a layer norm in front of the only one.
fn in_front_of_convolutions() -> Vec<Named> {
    let norm = || Layer::LayerNorm(LayerNorm { epsilon: EPSILON });
    let end = |network: Network| network.conv2d(padded(2)).layer(Layer::Flatten).dense(Dense::new(3));
    let between = [
        ("layer_norm", norm()),
        ("batch_norm", batch_norm()),
        ("activation", Layer::Activation(Activation::Tanh)),
        ("average_pool", Layer::Pool(Pool2d::new(PoolKind::Average, 2))),
        ("dropout of elements", Layer::Dropout(half(Unit::Element, INVERTED))),
        ("dropout of blocks", Layer::Dropout(half(Unit::Block(2), INVERTED))),
    ];
    let mut all: Vec<Named> = between
        .map(|(name, layer)| {
            let network = Network::new([2, 5, 4]).conv2d(padded(3).activation(Activation::Tanh)).layer(layer);
            named(format!("{name} in front of conv2d"), end(network))
        })
        .into();
    for channels in [1, 3] {
        let network = Network::new([channels, 5, 4]).layer(norm());
        all.push(named(format!("layer_norm of {channels} channels first"), end(network)));
    }
    let branch = Residual { branch: vec![norm(), Layer::Conv2d(padded(3))], skip: Vec::new() };
    all.push(named("layer_norm in front of conv2d in a branch", end(Network::new([2, 5, 4]).conv2d(padded(3)).residual(branch))));
    all
}

/// Layers with an identity skip.
fn block(branch: Vec<Layer>) -> Layer {
    Layer::Residual(Residual { branch, skip: Vec::new() })
}

fn conv(conv: Conv2d) -> Layer {
    Layer::Conv2d(conv)
}

fn residuals() -> Vec<Named> {
    let smooth = |channels| conv(padded(channels).activation(Activation::Tanh));
    let projected = Residual {
        branch: vec![conv(padded(4).stride(2)), batch_norm(), Layer::Activation(Activation::Gelu), conv(padded(4)), batch_norm()],
        skip: vec![conv(Conv2d::new(4, 1).stride(2)), batch_norm()],
    };
    let nested = block(vec![smooth(3), block(vec![batch_norm(), smooth(3)]), conv(padded(3))]);
    vec![
        named("residual of features", over_features(block(vec![Layer::Dense(tanh(6)), Layer::Dense(Dense::new(5))]))),
        named("residual, identity", over_maps(block(vec![smooth(4), conv(padded(3))]))),
        named("residual, projection", over_maps(Layer::Residual(projected))),
        named("residual, nested", over_maps(nested)),
    ]
}

const INVERTED: DropoutMode = DropoutMode::Inverted;
const MODES: [DropoutMode; 3] = [INVERTED, DropoutMode::Vanilla, DropoutMode::Batch];

/// A unit of shared axes.
fn shared(axes: &[u8]) -> Unit {
    Unit::shared(axes).expect("axes below 8, each once")
}

fn features_dropped() -> Vec<Named> {
    let network = |dropout: Dropout| {
        let hidden = Network::new(5).dropout(dropout).dense(tanh(7)).dropout(dropout);
        hidden.dense(tanh(6)).dropout(dropout.site(9)).dense(Dense::new(4))
    };
    let mut all = Vec::new();
    for mode in [MODES.as_slice(), &[DropoutMode::Units]].concat() {
        all.push(named(format!("dropout of features, {mode:?}"), network(half(Unit::Element, mode))));
    }
    for mode in MODES {
        all.push(named(format!("dropout of features, paths, {mode:?}"), over_features(Layer::Dropout(half(Unit::Path, mode)))));
    }
    let of = |shape: Vec<u32>, unit| Network {
        input: Shape(shape),
        ..Network::new(1).dropout(half(unit, INVERTED)).layer(Layer::Flatten).dense(tanh(5)).dense(Dense::new(3))
    };
    all.push(named("dropout of [channel, x], Spatial1d", of(vec![5, 4], Unit::Spatial1d)));
    all.push(named("dropout of [channel, z, y, x], Spatial3d", of(vec![5, 2, 1, 3], Unit::Spatial3d)));
    all
}

fn maps_dropped() -> Vec<Named> {
    let units = [
        ("elements", Unit::Element),
        ("Spatial2d", Unit::Spatial2d),
        ("shared axis 0", shared(&[0])),
        ("shared axes 0 and 2", shared(&[0, 2])),
        ("shared axis 1", shared(&[1])),
        ("blocks of 2", Unit::Block(2)),
        ("blocks of 3", Unit::Block(3)),
        ("paths", Unit::Path),
    ];
    let mut all = Vec::new();
    for (name, unit) in units {
        all.extend(
            MODES.map(|mode| named(format!("dropout of maps, {name}, {mode:?}"), over_maps(Layer::Dropout(half(unit, mode))))),
        );
    }
    all
}

/// A path at the end of a branch.
fn paths_dropped() -> Vec<Named> {
    let network = |mode| {
        let path = Layer::Dropout(half(Unit::Path, mode));
        over_maps(block(vec![conv(padded(2)), batch_norm(), Layer::Activation(Activation::Gelu), conv(padded(3)), path]))
    };
    MODES.map(|mode| named(format!("residual, dropped path, {mode:?}"), network(mode))).into()
}

fn combinations() -> Vec<Named> {
    let dropped = |unit| Layer::Dropout(half(unit, INVERTED));
    let relu = || Layer::Activation(Activation::Relu);
    let features =
        || block(vec![Layer::Dense(tanh(6)), dropped(Unit::Element), Layer::Dense(Dense::new(5)), dropped(Unit::Path)]);
    let inner =
        || block(vec![conv(padded(3)), batch_norm(), relu(), dropped(Unit::Spatial2d), conv(padded(3)), dropped(Unit::Path)]);
    let nested = block(vec![conv(padded(3)), dropped(Unit::Element), inner(), conv(Conv2d::new(3, 1)), dropped(Unit::Path)]);
    let small = Network::new([2, 6, 5]).conv2d(padded(3)).layer(batch_norm()).layer(relu()).layer(dropped(Unit::Spatial2d));
    let network = |first: Conv2d, behind: Vec<Layer>| {
        let network = behind.into_iter().fold(Network::new([1, 6, 5]).conv2d(first), Network::layer);
        network.layer(Layer::Flatten).dense(Dense::new(3))
    };
    let block_drop = vec![batch_norm(), dropped(Unit::Block(3)), Layer::Pool(Pool2d::new(PoolKind::Average, 2))];
    let before = vec![dropped(Unit::Element), batch_norm(), relu(), Layer::Pool(Pool2d::new(PoolKind::Max, 2))];
    vec![
        named(
            "conv2d, batch_norm, ReLU, Spatial2d, max_pool, dense",
            small.max_pool(2).layer(Layer::Flatten).dense(Dense::new(3)),
        ),
        named("conv2d, batch_norm, blocks, average_pool", network(padded(3), block_drop)),
        named("dropout in front of batch_norm", network(padded(3), before)),
        named("residual of features, dropped path", over_features(features())),
        named("residual, dropped path around Spatial2d", over_maps(inner())),
        named("residual, nested dropped paths", over_maps(nested)),
    ]
}
