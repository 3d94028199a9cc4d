use std::path::Path;

use thinnet::config::{Config, NetworkOptions};
use thinnet::network::{BatchNorm, Conv2d, LayerNorm, Pool2d, PoolKind, Residual, Shape, Unit, Window};
use thinnet::{Activation, Dense, Dropout, DropoutMode, Error, Init, KeepProb, Layer, Network};

/// Every layer and every unit of dropout, with every key, on maps of digits.
const ALL: &str = r#"[network]
input = [1, 8, 8]
layers = [
  { conv2d = 4, kernel = 3, stride = 1, padding = 1, dilation = 1, groups = 1, activation = "relu", init = "he_normal" },
  { dropout = { keep = 0.9, spatial = 2 } },
  { conv2d = 6, kernel = [3, 1], stride = [1, 2], padding = [2, 0], dilation = [2, 1], groups = 2 },
  { batch_norm = true, epsilon = 0.001, momentum = 0.25 },
  { activation = "tanh" },
  { dropout = { keep = 0.8, block = 2 } },
  { max_pool = 2, stride = 1, padding = 1 },
  { dropout = { keep = 0.7, shared_axes = [0, 2] } },
  { average_pool = [2, 1] },
  { dropout = { keep = 0.6, mode = "batch" } },
  { residual = [
      { layer_norm = true, epsilon = 0.01 },
      { residual = [{ activation = "relu" }, { dropout = { keep = 0.5, path = true } }] },
    ], skip = [
      { conv2d = 6, kernel = 1 },
    ] },
  { global_average_pool = true },
  { flatten = true },
  { dense = 10 },
]
"#;

fn parsed(network: &str) -> thinnet::Result<NetworkOptions> {
    Config::parse(&format!("[network]\n{network}")).map(|config| config.network)
}

#[track_caller]
fn refused(text: &str, said: &str) {
    match Config::parse(text) {
        Err(Error::Data(message)) => assert!(message.contains(said), "{text}\n{message}\nlacks {said}"),
        other => panic!("{text} gives {other:?}"),
    }
}

#[test]
fn every_layer_is_read_as_it_is_built() {
    let unit = |keep: f64, unit: Unit| Layer::Dropout(Dropout::keep(keep).unwrap().unit(unit));
    let first = Conv2d::new(4, 3).padding(1).activation(Activation::Relu).init(Init::HeNormal);
    let window = Window { kernel: [3, 1], stride: [1, 2], padding: [2, 0], dilation: [2, 1] };
    let average = Window { stride: [2, 1], ..Window::new([2, 1]) };
    let inner = vec![Layer::Activation(Activation::Relu), unit(0.5, Unit::Path)];
    let branch =
        vec![Layer::LayerNorm(LayerNorm { epsilon: 0.01 }), Layer::Residual(Residual { branch: inner, skip: Vec::new() })];
    let built = Network::new([1, 8, 8])
        .conv2d(first)
        .layer(unit(0.9, Unit::Spatial2d))
        .conv2d(Conv2d::new(6, 1).window(window).groups(2))
        .layer(Layer::BatchNorm(BatchNorm { epsilon: 0.001, momentum: 0.25 }))
        .layer(Layer::Activation(Activation::Tanh))
        .layer(unit(0.8, Unit::Block(2)))
        .layer(Layer::Pool(Pool2d::new(PoolKind::Max, 2).stride(1).padding(1)))
        .layer(unit(0.7, Unit::shared(&[0, 2]).unwrap()))
        .layer(Layer::Pool(Pool2d { kind: PoolKind::Average, window: average }))
        .dropout(Dropout { mode: DropoutMode::Batch, ..Dropout::keep(0.6).unwrap() })
        .residual(Residual { branch, skip: vec![Layer::Conv2d(Conv2d::new(6, 1))] })
        .layer(Layer::GlobalAveragePool)
        .layer(Layer::Flatten)
        .dense(Dense::new(10));
    let config = Config::parse(ALL).unwrap();
    assert_eq!(config.network.network(64).unwrap(), built);
    assert_eq!(config.network.without_data().unwrap(), built);
    assert_eq!(Config::parse(&config.to_toml()).unwrap(), config, "{}", config.to_toml());
}

#[test]
fn the_input_is_a_number_or_a_shape() {
    let flat = "\nlayers = [{ flatten = true }, { dense = 3 }]";
    for (written, shape, again) in [
        ("64", vec![64], "input = 64\n"),
        ("[64]", vec![64], "input = 64\n"),
        ("[1, 8, 8]", vec![1, 8, 8], "input = [1, 8, 8]\n"),
        ("[4, 16]", vec![4, 16], "input = [4, 16]\n"),
    ] {
        let config = Config::parse(&format!("[network]\ninput = {written}{flat}")).unwrap();
        assert_eq!(config.network.input, Some(Shape(shape.clone())));
        assert_eq!(config.network.network(64).unwrap().input, Shape(shape));
        assert!(config.to_toml().contains(again), "{}", config.to_toml());
    }
    assert_eq!(parsed(flat).unwrap().network(64).unwrap().input, Shape::from(64));
    let expected = "line 2: network.input: expected a number of columns, or a shape such as [1, 28, 28]: channels, height, width";
    for (written, said) in [
        ("0", "line 2: network.input = 0: must be at least 1"),
        ("[]", "line 2: network.input = []: has no axis; give a number of columns, or [1, 28, 28]"),
        ("[1, 0, 8]", "line 2: network.input = [1, 0, 8]: every extent must be at least 1"),
        ("[65536, 65536]", "line 2: network.input = [65536, 65536]: has more than 2^32 - 1 elements"),
        ("-1", expected),
        ("[1.5]", expected),
        ("\"1x8x8\"", expected),
        ("[[8, 8]]", expected),
    ] {
        refused(&format!("[network]\ninput = {written}{flat}"), said);
    }
}

#[test]
fn a_shape_has_as_many_elements_as_the_data_have_columns() {
    let options =
        parsed("input = [1, 32, 32]\nlayers = [{ conv2d = 1, kernel = 3 }, { flatten = true }, { dense = 3 }]").unwrap();
    assert_eq!(options.network(1024).unwrap().input, Shape::from([1, 32, 32]));
    for (columns, said) in [
        (
            784,
            "network.input = [1, 32, 32]: has 1024 elements, but the data have 784 columns; give the shape of their samples, as \
               [1, 28, 28] for square images, or choose",
        ),
        (3072, "have 3072 columns; give the shape of their samples, as [3, 32, 32] for square images, or choose"),
        (785, "have 785 columns; give the shape of their samples or choose the data it was made for"),
    ] {
        let message = options.network(columns).unwrap_err().to_string();
        assert!(message.contains(said), "{message}\nlacks {said}");
    }
}

#[test]
fn layers_of_maps_ask_for_the_shape_of_a_sample() {
    for (data, shape) in [("digits", "[1, 8, 8]"), ("images", "[1, 28, 28]")] {
        for (layer, key) in [
            ("{ conv2d = 2, kernel = 3 }", "layers[1].conv2d"),
            ("{ max_pool = 2 }", "layers[1].max_pool"),
            ("{ average_pool = 2 }", "layers[1].average_pool"),
            ("{ global_average_pool = true }", "layers[1].global_average_pool"),
            ("{ dropout = { keep = 0.5, spatial = 2 } }", "layers[1].dropout"),
            ("{ dropout = { keep = 0.5, block = 2 } }", "layers[1].dropout"),
            ("{ dropout = { keep = 0.5, shared_axes = [1] } }", "layers[1].dropout"),
            ("{ residual = [{ max_pool = 1 }] }", "layers[1].residual[0].max_pool"),
        ] {
            let text = format!("[data]\npath = \"{data}\"\n[network]\nlayers = [{{ dense = 4 }},\n{layer}, {{ dense = 3 }}]");
            refused(&text, &format!("line 5: network.{key}: takes feature maps [channel, y, x], but a row of data is one axis"));
            refused(&text, &format!("give the shape of a sample in [network], as input = {shape}"));
        }
    }
    let text = "[network]\nlayers = [{ dense = 4 },\n{ dropout = { keep = 0.5, variational = true } }, { dense = 3 }]";
    refused(text, "variational dropout is for sequences [steps, features]");
    // A number is a shape, too: one without space.
    let text = "[network]\ninput = 64\nlayers = [{ max_pool = 2 }, { dense = 3 }]";
    refused(text, "line 3: network.layers[0].max_pool: pooling takes feature maps [channel, y, x], but gets shape [64]");
}

/// How many columns there are is not known without data; what fits no number of columns is wrong all the same.
#[test]
fn blocks_over_columns_that_are_not_known_yet() {
    for layers in [
        "{ residual = [{ dense = 64 }] }",
        "{ batch_norm = true }, { layer_norm = true }, { residual = [{ batch_norm = true }] }",
        "{ residual = [{ residual = [{ dense = 64, activation = \"relu\" }] }, { dense = 64 }] }",
        "{ residual = [{ activation = \"relu\" }], skip = [{ dense = 64 }] }",
        "{ residual = [{ dense = 5 }], skip = [{ dense = 5 }] }",
        "{ dense = 7 }, { residual = [{ dense = 7 }] }",
        "{ dropout = { keep = 0.5, path = true } }",
    ] {
        let options = parsed(&format!("layers = [{layers}, {{ dense = 3 }}]")).unwrap_or_else(|e| panic!("{layers}: {e}"));
        options.network(64).unwrap_or_else(|e| panic!("{layers}: {e}"));
    }
    let other = parsed("layers = [{ residual = [{ dense = 63 }] }, { dense = 3 }]").unwrap();
    assert!(other.network(64).unwrap_err().to_string().contains("adds a branch of shape [63] to a skip of shape [64]"));
    for (layers, said) in [
        (
            "{ residual = [{ dense = 5 }], skip = [{ dense = 6 }] }",
            "layers[0].residual: adds a branch of shape [5] to a skip of shape [6]",
        ),
        (
            "{ residual = [{ dense = 5 }] }, { residual = [{ dense = 6 }] }",
            "layers[1].residual: adds a branch of shape [6] to a skip of shape [5]",
        ),
        (
            "{ dense = 7 }, { residual = [{ dense = 8 }] }",
            "layers[1].residual: adds a branch of shape [8] to a skip of shape [7]",
        ),
    ] {
        refused(&format!("[network]\nlayers = [{layers}, {{ dense = 3 }}]"), said);
    }
}

const PATHS: &str = "input = [1, 8, 8]\nlayers = [
  { residual = [{ batch_norm = true }, { dropout = { keep = 1.0, path = true } }] },
  { dropout = { keep = 0.25 } },
  { residual = [{ batch_norm = true }, { dropout = { keep = 0.9, path = true } }] },
  { flatten = true }, { dense = 3 }]";

#[test]
fn path_keep_is_a_linear_schedule_over_all_paths() {
    let options = parsed(&format!("path_keep = 0.5\n{PATHS}")).unwrap();
    let network = options.network(64).unwrap();
    let keeps = |network: &Network| (0..8).filter_map(|i| network.dropout_at(i).map(|d| d.keep.get())).collect::<Vec<_>>();
    assert_eq!(keeps(&network), [0.75, 0.25, 0.5]);
    assert_eq!(network, parsed(PATHS).unwrap().network(64).unwrap().linear_depth(0.5).unwrap());
    assert_eq!(keeps(&parsed(PATHS).unwrap().network(64).unwrap()), [1.0, 0.25, 0.9]);
    assert_eq!(options.path_keep, Some(KeepProb::new(0.5).unwrap()));
    let config = Config::parse(&format!("[network]\npath_keep = 0.5\n{PATHS}")).unwrap();
    assert_eq!(Config::parse(&config.to_toml()).unwrap(), config);

    refused(&format!("[network]\npath_keep = 1.5\n{PATHS}"), "line 2: network.path_keep: keep_prob 1.5 is not usable");
    refused(&format!("[network]\npath_kep = 0.5\n{PATHS}"), "line 2: network.path_kep: unknown key; did you mean \"path_keep\"?");
    let none = "line 2: network.path_keep = 0.5: there is no path whose rate it could set; leave it out, or end the branch";
    refused("[network]\npath_keep = 0.5\nlayers = [{ dense = 3 }]", none);
}

/// What takes the place of a layer of [`ALL`] or of some of its text, and what is said about it.
const WRONG: [(&str, &str, &str); 37] = [
    (
        "{ conv2d = 4, kernel = 3,",
        "{ conv2d = 4,",
        "line 4: network.layers[0]: a conv2d layer needs its kernel, as { conv2d = 20, ",
    ),
    ("kernel = 3, stride", "kernl = 3, stride", "line 4: network.layers[0].kernl: unknown key; did you mean \"kernel\"?"),
    (
        "kernel = 3, stride",
        "kernel = \"3\", stride",
        "line 4: network.layers[0].kernel: expected a whole number, or [height, width]",
    ),
    ("kernel = [3, 1]", "kernel = [3]", "line 6: network.layers[2].kernel: expected a whole number, or [height, width]"),
    (
        "kernel = 3, stride",
        "kernel = 11, stride",
        "line 4: network.layers[0].conv2d: the window has height 11, but the map of 8 x 8",
    ),
    ("stride = 1, padding = 1, d", "stride = 0, padding = 1, d", "line 4: network.layers[0].conv2d: stride has height 0"),
    ("groups = 2", "groups = 4", "line 6: network.layers[2].conv2d: groups = 4 must divide"),
    ("groups = 2", "group = 2", "line 6: network.layers[2].group: unknown key; did you mean \"groups\"?"),
    ("\"he_normal\"", "\"he_norm\"", "line 4: network.layers[0].init = \"he_norm\": unknown word; did you mean \"he_normal\"?"),
    (
        ", groups = 2",
        ", epsilon = 2",
        "line 6: network.layers[2].epsilon: a conv2d layer has no epsilon; it may have kernel, stride",
    ),
    ("spatial = 2", "spatial = 1", "line 5: network.layers[1].dropout: spatial = 1 drops whole channels of samples [channel, x]"),
    ("spatial = 2", "spatial = 4", "line 5: network.layers[1].dropout: spatial = 4: a channel has 1, 2 or 3 axes of space"),
    ("spatial = 2", "spacial = 2", "line 5: network.layers[1].dropout.spacial: unknown key; did you mean \"spatial\"?"),
    (
        "spatial = 2",
        "spatial = 2, block = 2",
        "line 5: network.layers[1].dropout: has several of spatial, shared_axes, block, path, variational and weights",
    ),
    (
        "spatial = 2",
        "mode = \"units\"",
        "line 5: network.layers[1].dropout: per-batch unit dropout, mode \"units\", drops features",
    ),
    ("block = 2", "block = 5", "line 9: network.layers[5].dropout: block = 5 must be at least 1 and fit into the map of 8 x 4"),
    ("block = 2", "block = true", "line 9: network.layers[5].dropout.block: invalid type: boolean `true`, expected an integer"),
    ("[0, 2]", "[0, 3]", "line 11: network.layers[7].dropout: shares axis 3, but shape [6, 9, 5] has axes 0 to 2"),
    ("[0, 2]", "2", "line 11: network.layers[7].dropout.shared_axes: invalid type: integer `2`, expected an array"),
    (
        "mode = \"batch\"",
        "mode = \"batches\"",
        "line 13: network.layers[9].dropout.mode = \"batches\": unknown word; did you mean \"batch\"?",
    ),
    ("momentum = 0.25", "momentum = 2.5", "line 7: network.layers[3].batch_norm: momentum = 2.5 is the share of the batch"),
    ("momentum = 0.25", "momentun = 0.25", "line 7: network.layers[3].momentun: unknown key; did you mean \"momentum\"?"),
    ("batch_norm = true", "batchnorm = true", "line 7: network.layers[3].batchnorm: unknown key; did you mean \"batch_norm\"?"),
    ("batch_norm = true", "batch_norm = {}", "line 7: network.layers[3].batch_norm: invalid type: table, expected true or false"),
    (
        "batch_norm = true",
        "batch_norm = false",
        "line 7: network.layers[3]: batch_norm = false is no layer; write batch_norm = true",
    ),
    ("\"tanh\" }", "\"tanh\", init = \"zeros\" }", "line 8: network.layers[4]: is of no kind, for it has only activation, init"),
    (
        "max_pool = 2,",
        "max_pool = 2, kernel = 2,",
        "line 10: network.layers[6].kernel: a max_pool layer has no kernel; it may have stride",
    ),
    ("max_pool = 2,", "max_pool = 20,", "line 10: network.layers[6].max_pool: the window has height 20"),
    ("average_pool = [2", "avg_pool = [2", "line 12: network.layers[8].avg_pool: unknown key; did you mean \"average_pool\"?"),
    (
        "epsilon = 0.01 ",
        "momentum = 0.01 ",
        "line 15: network.layers[10].residual[0].momentum: a layer_norm layer has no momentum",
    ),
    ("epsilon = 0.01 ", "epsilon = nan ", "line 15: network.layers[10].residual[0].layer_norm: epsilon = NaN must be a number"),
    (
        "{ activation = \"relu\" }, {",
        "{ max_pool = 20 }, {",
        "line 16: network.layers[10].residual[1].residual[0].max_pool: the window",
    ),
    ("path = true", "path = 1", "line 16: network.layers[10].residual[1].residual[1].dropout.path: invalid type: integer `1`"),
    (
        "conv2d = 6, kernel = 1 }",
        "conv2d = 6, kernel = 1, init = \"x\" }",
        "line 18: network.layers[10].skip[0].init = \"x\": unknown word",
    ),
    (
        "conv2d = 6, kernel = 1 }",
        "conv2d = 7, kernel = 1 }",
        "network.layers[10].residual: adds a branch of shape [6, 4, 5] to a skip of shape [7, 4, 5]",
    ),
    (
        "path = true",
        "path = true, site = 0",
        "line 16: network.layers[10].residual[1].residual[1].dropout.site: site 0 is also the site of layer 1",
    ),
    (
        "flatten = true",
        "flatten = true, kernel = 2",
        "line 21: network.layers[12].kernel: a flatten layer has no kernel; it stands alone",
    ),
];

#[test]
fn what_is_wrong_inside_a_layer_is_named_by_its_key() {
    let mut wrong = String::new();
    for (from, to, said) in WRONG {
        let text = ALL.replacen(from, to, 1);
        assert_ne!(text, ALL, "{from} is not there");
        match Config::parse(&text) {
            Err(Error::Data(message)) if message.contains(said) => {}
            other => wrong += &format!("{to}: {other:?}\n  lacks {said}\n"),
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_example_of_a_convolutional_network_is_what_its_comments_say() {
    let config = Config::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fashion_cnn.toml")).unwrap();
    let network = config.network.network(784).unwrap();
    let shapes: Vec<Vec<u32>> = network.shapes().unwrap().into_iter().map(|shape| shape.0).collect();
    let commented: Vec<Vec<u32>> = include_str!("../../examples/fashion_cnn.toml")
        .lines()
        .filter_map(|line| line.split_once("# [")?.1.strip_suffix(']'))
        .map(|shape| shape.split(", ").map(|extent| extent.parse().unwrap()).collect())
        .collect();
    // Behind each convolution, each pool and flatten.
    assert_eq!(commented, [1, 2, 4, 5, 7].map(|layer| shapes[layer].clone()));
    let sites =
        network.layers.iter().filter(|layer| **layer == Layer::Dropout(Dropout::keep(0.9).unwrap().unit(Unit::Spatial2d)));
    assert_eq!((sites.count(), network.outputs().unwrap(), config.train.epochs, config.train.batch), (2, 10, 3, 64));
}
