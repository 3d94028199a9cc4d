//! Networks as plain data: shapes, sites, parameters, initial weights, and their JSON.

use thinnet::network::{Parameter, Window};
use thinnet::{Activation, Conv2d, Dense, Dropout, Error, Init, KeepProb, Layer, Model, Network, Residual, Shape, Unit, rng};

fn half() -> Dropout {
    Dropout::keep(0.5).unwrap()
}

/// Every activation, and dropout before, between and behind the dense layers.
fn network() -> Network {
    Network::new(13)
        .dropout(Dropout::keep(0.75).unwrap())
        .dense(Dense::new(31).activation(Activation::Relu))
        .dropout(half())
        .dense(Dense::new(7))
        .dense(Dense::new(6).activation(Activation::Tanh).init(Init::HeNormal))
        .dense(Dense::new(5).activation(Activation::Sigmoid))
        .dropout(half().site(9))
}

/// The place and the problem of an [`Error::Network`].
#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> (String, String) {
    match result {
        Err(Error::Network { place, problem }) => (place, problem),
        other => panic!("not refused as a network: {other:?}"),
    }
}

#[test]
fn shapes_are_those_in_front_of_every_layer_and_of_the_output() {
    let widths: Vec<Vec<u32>> = network().shapes().unwrap().into_iter().map(|shape| shape.0).collect();
    assert_eq!(widths, [13, 13, 31, 31, 7, 6, 5, 5].map(|n| vec![n]));
    assert_eq!(network().outputs().unwrap(), 5);
}

#[test]
fn networks_that_do_not_fit_together_are_refused_with_the_layer() {
    let (place, problem) = refused(Network::new(0).dense(Dense::new(2)).shapes());
    assert!(place == "network" && problem.contains("input shape [0]"), "{place}: {problem}");
    let (place, problem) = refused(Network::new(Shape(vec![])).dense(Dense::new(2)).shapes());
    assert!(place == "network" && problem.contains("no elements"), "{place}: {problem}");
    let (place, problem) = refused(Network::new(3).dropout(half()).shapes());
    assert!(place == "network" && problem.contains("no dense layer"), "{place}: {problem}");
    let (place, problem) = refused(Network::new(3).dropout(half()).dense(Dense::new(0)).shapes());
    assert!(place == "layer 1 (dense)" && problem.contains("units = 0 over 3 inputs"), "{place}: {problem}");
    let (place, problem) = refused(Network::new(1 << 16).dense(Dense::new(1 << 15)).shapes());
    assert!(place == "layer 0 (dense)" && problem.contains("units = 32768 over 65536 inputs"), "{place}: {problem}");
    assert!(Network::new(1 << 16).dense(Dense::new((1 << 15) - 1)).shapes().is_ok());
    let (place, problem) = refused(Network::new(Shape(vec![8, 8])).dense(Dense::new(2)).shapes());
    assert!(place == "layer 0 (dense)" && problem.contains("gets shape [8, 8]"), "{place}: {problem}");
}

#[test]
fn sites_count_dropout_layers_from_0_unless_overridden() {
    assert_eq!(network().sites().unwrap(), [Some(0), None, Some(1), None, None, None, Some(9)]);
    // A rate of 1 keeps its number, and so do those behind it.
    assert_eq!(network().without_dropout().sites().unwrap(), network().sites().unwrap());
    let last = Network::new(3).dense(Dense::new(2)).dropout(half().site(rng::MAX_SITE));
    assert_eq!(last.sites().unwrap(), [None, Some((1 << 24) - 1)]);
}

#[test]
fn sites_that_two_layers_share_or_that_need_more_than_24_bits_are_refused() {
    let (place, problem) = refused(Network::new(3).dropout(half().site(1)).dense(Dense::new(2)).dropout(half()).sites());
    assert_eq!(place, "layer 2 (dropout)");
    assert!(problem.contains("site 1 is also the site of layer 0"), "{problem}");
    let (place, problem) = refused(Network::new(3).dense(Dense::new(2)).dropout(half().site(1 << 24)).sites());
    assert_eq!(place, "layer 1 (dropout)");
    assert!(problem.contains("16777216") && problem.contains("at most 16777215"), "{problem}");
    // What uses sites refuses it too.
    let network = Network::new(3).dropout(half().site(1)).dense(Dense::new(2)).dropout(half());
    assert!(matches!(Model::initial(&network, 0), Err(Error::Network { .. })));
}

#[test]
fn parameters_have_the_names_of_a_sequential_with_a_module_for_every_activation() {
    let parameters = network().parameters().unwrap();
    let names: Vec<&str> = parameters.iter().map(|p| p.name.as_str()).collect();
    // Dropout 0, Linear 1, ReLU 2, Dropout 3, Linear 4, Linear 5, Tanh 6, Linear 7, Sigmoid 8, Dropout 9.
    assert_eq!(names, ["1.weight", "1.bias", "4.weight", "4.bias", "5.weight", "5.bias", "7.weight", "7.bias"]);
    let expected = [
        (vec![31, 13], 1, Some(Init::HeUniform), (13, 31)),
        (vec![7, 31], 3, Some(Init::GlorotUniform), (31, 7)),
        (vec![6, 7], 4, Some(Init::HeNormal), (7, 6)),
        (vec![5, 6], 5, Some(Init::GlorotUniform), (6, 5)),
    ];
    for (pair, (shape, layer, init, fans)) in parameters.chunks(2).zip(expected) {
        let of = |p: &Parameter| (p.shape.clone(), p.layer, p.init, p.fans);
        assert_eq!(of(&pair[0]), (shape.clone(), layer, init, fans));
        assert_eq!(of(&pair[1]), (vec![shape[0]], layer, None, fans));
        assert_eq!((pair[0].len(), pair[1].len()), ((shape[0] * shape[1]) as usize, shape[0] as usize));
    }
}

/// Elements 0, 1, 2, 3, 4, 13, 100 and 216 of tensors 0 and 2 of 13-31-7 for seed 5 * 2^33 + 7, computed in Python from the
/// text of the mask contract, with Python's own functions, and rounded once: not by this crate.
const INITIAL: [(Init, [[u32; 8]; 2]); 4] = [
    (
        Init::HeUniform,
        [
            [0x3d80cf4a, 0xbec265bb, 0x3d0bfeb1, 0x3e9b6102, 0xbf0301b7, 0x3d818636, 0xbeeabdec, 0xbef5bbf7],
            [0xbead486c, 0xbd8b5a36, 0xbebc19d4, 0x3e56f524, 0x3edb02f5, 0xbea0c29f, 0xbeb49c9e, 0x3ebd74ae],
        ],
    ),
    (
        Init::HeNormal,
        [
            [0x3da27574, 0xbd97f13f, 0xbf39d7d3, 0xbde01331, 0x3e49c0b4, 0xbf3cce6c, 0xbd5377e8, 0x3ed083d4],
            [0xbeef004c, 0xbd26ada2, 0xbd12f554, 0x3ed9d07d, 0xbd425632, 0x3e8b76be, 0x3e0fc99a, 0xbf2fbc2d],
        ],
    ),
    (
        Init::GlorotUniform,
        [
            [0x3d0c07eb, 0xbe53550e, 0x3c9830c4, 0x3e28ea2b, 0xbe8e6b57, 0x3d0ccec6, 0xbe7f30fb, 0xbe859215],
            [0xbe9c82ce, 0xbd7bbaa8, 0xbea9e50d, 0x3e4226e8, 0x3ec5d046, 0xbe91334b, 0xbea32168, 0x3eab1e55],
        ],
    ),
    (
        Init::GlorotNormal,
        [
            [0x3d309c81, 0xbd252dc4, 0xbeca0860, 0xbd73985d, 0x3ddb5410, 0xbecd410e, 0xbce5e3f0, 0x3e62adfe],
            [0xbed7de4f, 0xbd168bab, 0xbd04bbfc, 0x3ec4bb77, 0xbd2f86e8, 0x3e7bee32, 0x3e01ded3, 0xbf1eb9cd],
        ],
    ),
];

#[test]
fn initial_weights_are_bit_equal_to_those_of_another_implementation() {
    for (init, tensors) in INITIAL {
        let relu = |units| Dense::new(units).activation(Activation::Relu).init(init);
        let network = Network::new(13).dense(relu(31)).dropout(half()).dense(relu(7));
        let model = Model::initial(&network, 5 << 33 | 7).unwrap();
        for (tensor, expected) in [0, 2].into_iter().zip(tensors) {
            let bits = [0, 1, 2, 3, 4, 13, 100, 216].map(|i| model.weights()[tensor][i].to_bits());
            assert_eq!(bits, expected, "{init:?}, tensor {tensor}");
        }
        assert!(model.weights()[1].iter().chain(&model.weights()[3]).all(|b| b.to_bits() == 0), "biases start at 0");
        assert_ne!(Model::initial(&network, 7).unwrap().weights()[0], model.weights()[0], "the seed's upper half counts");
    }
}

/// 160,000 weights. The standard error of a sample variance is sqrt(2 / n) of it for normal numbers, 0.35 %, and sqrt(0.8 / n)
/// for uniform ones; of a mean it is sigma / sqrt(n). Each bound is five of them, a false alarm in 1.7 million. A variance
/// wrong by 3.5 %, a factor of 1.017 on the weights, is missed in one of a million.
#[test]
fn initial_weights_have_the_variance_of_their_papers() {
    let (fan_in, fan_out) = (800, 200);
    let n = f64::from(fan_in * fan_out);
    for (init, variance, fourth) in [
        (Init::HeUniform, 2.0 / 800.0, 0.8),
        (Init::HeNormal, 2.0 / 800.0, 2.0),
        (Init::GlorotUniform, 2.0 / 1000.0, 0.8),
        (Init::GlorotNormal, 2.0 / 1000.0, 2.0f64),
    ] {
        let network = Network::new(fan_in).dense(Dense::new(fan_out).init(init));
        let weights = Model::initial(&network, 3).unwrap().weights()[0].clone();
        let mean = weights.iter().copied().map(f64::from).sum::<f64>() / n;
        let sample = weights.iter().map(|&w| f64::from(w) * f64::from(w)).sum::<f64>() / n;
        let of_variance = 5.0 * (fourth / n).sqrt();
        assert!((sample / variance - 1.0).abs() < of_variance, "{init:?}: {sample}, expected {variance} +- {of_variance}");
        assert!(mean.abs() < 5.0 * (variance / n).sqrt(), "{init:?}: mean {mean}");
        let largest = weights.iter().fold(0.0f32, |a, w| a.max(w.abs()));
        let uniform = matches!(init, Init::HeUniform | Init::GlorotUniform);
        assert_eq!(f64::from(largest) < (3.0 * variance).sqrt() * (1.0 + 1e-7), uniform, "{init:?}: largest {largest}");
    }
}

#[test]
fn relu_layers_start_as_he_and_others_as_glorot_say() {
    use Activation::{Identity, Relu, Sigmoid, Tanh};
    for (activation, init) in
        [(Identity, Init::GlorotUniform), (Relu, Init::HeUniform), (Tanh, Init::GlorotUniform), (Sigmoid, Init::GlorotUniform)]
    {
        let dense = Dense::new(4).activation(activation);
        let weights = |dense| Model::initial(&Network::new(9).dense(dense), 1).unwrap().weights().to_vec();
        assert_eq!(weights(dense.clone()), weights(dense.init(init)), "{activation:?}");
    }
}

#[test]
fn without_dropout_changes_the_rates_and_nothing_else() {
    let plain = network().without_dropout();
    for (before, after) in network().layers.iter().zip(&plain.layers) {
        match (before, after) {
            (Layer::Dropout(before), Layer::Dropout(after)) => {
                assert_eq!((after.keep.get(), after.site), (1.0, before.site));
            }
            (before, after) => assert_eq!(before, after),
        }
    }
    assert_eq!(plain.layers.len(), network().layers.len());
}

const JSON: &str = r#"{"input":[13],"layers":[
    {"dropout":{"keep":0.75}},
    {"dense":31,"activation":"relu"},
    {"dropout":{"keep":0.5}},
    {"dense":7},
    {"dense":6,"activation":"tanh","init":"he_normal"},
    {"dense":5,"activation":"sigmoid"},
    {"dropout":{"keep":0.5,"site":9}}
],"loss":"softmax_cross_entropy"}"#;

#[test]
fn a_network_and_its_json_are_the_same() {
    assert_eq!(serde_json::from_str::<Network>(JSON).unwrap(), network());
    let written: String = JSON.lines().map(str::trim).collect();
    assert_eq!(serde_json::to_string(&network()).unwrap(), written);
    // A rate survives to the last bit.
    let third = Network::new(1).dropout(Dropout::keep(1.0 / 3.0).unwrap()).dense(Dense::new(1));
    assert_eq!(serde_json::from_str::<Network>(&serde_json::to_string(&third).unwrap()).unwrap(), third);
    // Both doors, and the mode.
    let doors = JSON.replacen(r#""keep":0.75"#, r#""drop":0.25"#, 1);
    assert_eq!(serde_json::from_str::<Network>(&doors).unwrap(), network());
    let vanilla = Network::new(1).dropout(Dropout::keep(0.5).unwrap().vanilla()).dense(Dense::new(1));
    let text = serde_json::to_string(&vanilla).unwrap();
    assert!(text.contains(r#"{"dropout":{"keep":0.5,"mode":"vanilla"}}"#), "{text}");
    assert_eq!(serde_json::from_str::<Network>(&text).unwrap(), vanilla);
}

#[test]
fn keys_and_values_that_mean_nothing_are_refused_by_name() {
    for (from, to, named) in [
        (r#""input""#, r#""inputs":[1],"input""#, "inputs"),
        (r#""dense":31"#, r#""dense":31,"unit":2"#, "unit"),
        (r#"{"dense":7"#, r#"{"conv":7"#, "conv"),
        (r#""relu""#, r#""celu""#, "celu"),
        (r#""he_normal""#, r#""he""#, "he"),
        (r#""softmax_cross_entropy""#, r#""mse""#, "mse"),
        (r#""dense":31"#, r#""dense":-1"#, "-1"),
    ] {
        let json = JSON.replacen(from, to, 1);
        assert_ne!(json, JSON, "{from} is not in the text");
        let message = serde_json::from_str::<Network>(&json).unwrap_err().to_string();
        assert!(message.contains(&format!("`{named}`")), "{to}: {message}");
    }
    // What is wrong with a layer as a whole.
    for (from, to, words) in [
        (r#""keep":0.75"#, r#""keep":0.75,"drop":0.25"#, "either keep"),
        (r#""keep":0.75"#, r#""site":3"#, "either keep"),
        (r#"{"dense":7}"#, "{}", "no kind"),
        (r#"{"dense":7}"#, r#"{"dense":7,"dropout":{"keep":0.5}}"#, "two layers"),
        (r#"{"dropout":{"keep":0.75}}"#, r#"{"dropout":{"keep":0.75},"activation":"relu"}"#, "a dropout layer has no activation"),
    ] {
        let json = JSON.replacen(from, to, 1);
        assert_ne!(json, JSON, "{from} is not in the text");
        let message = serde_json::from_str::<Network>(&json).unwrap_err().to_string();
        assert!(message.contains(words), "{to}: {message}");
    }
}

#[test]
fn a_keep_prob_that_is_none_is_refused_in_json_with_its_value() {
    for (text, named) in [("1.5", "1.5"), ("-0.1", "-0.1"), ("80", "80"), ("1e-12", "0.000000000001")] {
        let message = serde_json::from_str::<KeepProb>(text).unwrap_err().to_string();
        assert!(message.contains(&format!("keep_prob {named} is not usable")), "{message}");
        assert!(serde_json::from_str::<Network>(&JSON.replacen("0.75", text, 1)).is_err());
    }
    assert!(serde_json::from_str::<KeepProb>("null").is_err(), "null is what JSON writes for NaN");
    for keep in [0.0, 0.5, 1.0] {
        assert_eq!(serde_json::from_str::<KeepProb>(&keep.to_string()).unwrap(), KeepProb::new(keep).unwrap());
    }
}

/// Huang et al., ECCV 2016, equation 4: the l-th of L blocks is kept with 1 - l / L (1 - last).
#[test]
fn paths_are_kept_less_the_deeper_they_lie() {
    let block = |keep: f64| {
        let path = Layer::Dropout(Dropout::keep(keep).unwrap().unit(Unit::Path));
        let inner = Residual { branch: vec![Layer::Dense(Dense::new(4)), path], skip: Vec::new() };
        Residual { branch: vec![Layer::Dense(Dense::new(4)), Layer::Residual(inner)], skip: Vec::new() }
    };
    let network = Network::new(4).dropout(half()).residual(block(0.9)).residual(block(0.3)).dense(Dense::new(2));
    let keeps = |network: &Network| -> Vec<f64> {
        let keep = |layer: &&Layer| if let Layer::Dropout(dropout) = layer { Some(dropout.keep.get()) } else { None };
        network.walk().iter().filter_map(keep).collect()
    };
    // The site of elements keeps its rate.
    assert_eq!(keeps(&network.clone().linear_depth(0.5).unwrap()), [0.5, 0.75, 0.5]);
    assert_eq!(keeps(&network.clone().linear_depth(0.0).unwrap()), [0.5, 0.5, 0.0]);
    assert_eq!(keeps(&network.clone().linear_depth(1.0).unwrap()), [0.5, 1.0, 1.0]);
    assert!(network.linear_depth(1.5).is_err());
}

#[test]
fn shapes_past_what_kernels_can_address_are_refused_with_their_place() {
    let conv = |window: Window| Network::new([1, 8, 8]).conv2d(Conv2d::new(1, 1).window(window)).layer(Layer::GlobalAveragePool);
    let one = Window::new([1, 1]);
    let (place, problem) = refused(conv(Window { padding: [32_764, 32_764], ..one }).shapes());
    assert_eq!((&place[..], problem.contains("2^32 - 1")), ("layer 0 (conv2d)", true), "{problem}");
    let (place, problem) = refused(conv(Window { stride: [1, 4_000_000_000], ..one }).shapes());
    assert_eq!((&place[..], problem.contains("stride")), ("layer 0 (conv2d)", true), "{problem}");
    let (_, problem) = refused(Network::new(Shape(vec![2; 9])).layer(Layer::Flatten).dense(Dense::new(2)).shapes());
    assert!(problem.contains("9 axes"), "{problem}");
    assert!(conv(Window { padding: [3, 3], stride: [5, 5], ..one }).shapes().is_ok());
}

/// A rate that is learned has a weight behind it, steps share a mask where there are steps, and what has no rate of its own is not swept.
#[test]
fn what_learns_shares_or_moves_nothing_is_refused() {
    use thinnet::network::{Concrete, Schedule, Way};
    use thinnet::{Cell, Noise, Recurrent};
    let learned = |keep: f64| Dropout::keep(keep).unwrap().noise(Noise::Concrete(Concrete::new(100, 0.1, 1.0)));
    let said = |network: Network| network.shapes().unwrap_err().to_string();
    let last = || Dense::new(3);
    let lstm = || Recurrent::new(Cell::Lstm, 4);
    let residual = Residual { branch: vec![Layer::Dense(Dense::new(5))], skip: Vec::new() };
    let in_branch = Residual { branch: vec![Layer::Dense(Dense::new(5)), Layer::Dropout(learned(0.9))], skip: Vec::new() };
    for network in [
        Network::new(5).dense(last()).dropout(learned(0.9)),
        Network::new([6, 5]).dropout(learned(0.9)).recurrent(lstm()).dense(last()),
        Network::new(5).dropout(learned(0.9)).residual(residual).dense(last()),
        Network::new(5).residual(in_branch).dense(last()),
    ] {
        assert!(said(network.clone()).contains("learns its rate from the weights of the layer behind it"), "{network:?}");
    }
    let whole = Dropout::keep(0.5).unwrap().variational();
    let after = said(Network::new([6, 5]).recurrent(lstm()).dropout(whole).dense(last()));
    assert!(after.contains("path = true drops whole samples"), "{after}");
    let before = Network::new([6, 5]).recurrent(lstm().sequence()).dropout(whole).layer(Layer::Flatten).dense(last());
    before.shapes().unwrap();

    let switched_off = Network::new(5).dropout(learned(1.0)).dense(last());
    assert_eq!(Model::initial(&switched_off, 1).unwrap().learned_rates().unwrap(), []);
    let rates = Model::initial(&Network::new(5).dropout(learned(0.75)).dense(last()), 1).unwrap().learned_rates().unwrap();
    assert!(rates.len() == 1 && !rates[0].collapsed && (rates[0].drop_prob - 0.25).abs() < 1e-6, "{rates:?}");

    let moving = Dropout::keep(0.5).unwrap().schedule(Schedule::new(Way::Linear, 10));
    for site in [moving, learned(0.9)] {
        let network = Network::new(5).dropout(site).dense(last());
        let error = thinnet::sweep::with_keep(&network, &[0], KeepProb::new(0.8).unwrap()).unwrap_err().to_string();
        assert!(error.contains("scheduled or learned"), "{error}");
    }
}

#[test]
fn dropout_is_found_by_the_path_that_messages_print() {
    use thinnet::network::{Embedding, Recurrent};
    use thinnet::sweep::{sites_at, with_keep};
    let branch = vec![Layer::Dense(Dense::new(6)), Layer::Dropout(half())];
    let skip = vec![Layer::Dropout(half()), Layer::Dense(Dense::new(6))];
    // Numbers of the walk: embedding 0, its words 1, GRU 2, its sites 3 to 14, dropout 15, block 16, its layers 17 to 20.
    let network = Network::new(4)
        .embedding(Embedding::new(9, 5).dropout(half()))
        .recurrent(Recurrent::gru(3).layers(2).bidirectional().input(half()))
        .dropout(half())
        .residual(Residual { branch, skip })
        .dense(Dense::new(2));
    network.shapes().unwrap();
    for (place, numbers) in [
        ("0.words", &[1][..]),
        ("1.input", &[3, 6, 9, 12]),
        ("1.input[2]", &[9]),
        ("1.output[3]", &[14]),
        ("2", &[15]),
        ("layer 2 (dropout)", &[15]),
        ("3.residual[1]", &[18]),
        ("layer 3.skip[0]", &[19]),
    ] {
        assert_eq!(sites_at(&network, place).unwrap(), numbers, "{place}");
    }
    let all = "choose among 0.words, 1.input[0], 1.input[1], 1.input[2], 1.input[3], 2, 3.residual[1], 3.skip[0]";
    for place in ["0", "1", "3", "3.residual", "3.skip", "3.residual[0]", "1.input[4]", "1.inp", "15", "", "."] {
        let (refused, problem) = refused(sites_at(&network, place));
        assert!(refused == format!("layer {place}") && problem.contains(all), "{place:?}: {refused}: {problem}");
    }
    let (place, _) = refused(with_keep(&network, &[17], KeepProb::ONE));
    assert_eq!(place, "layer 3.residual[0] (dense)");
}
