//! Recurrent layers, embeddings and the newer dropout variants in files: every key, lists for each direction, defaults, what is
//! refused.

use thinnet::config::{Config, NetworkOptions};
use thinnet::network::{Cell, Concrete, Place, Recurrent, Schedule, Way};
use thinnet::{Activation, Dense, Dropout, DropoutMode, Embedding, Error, KeepProb, Layer, Model, Network, Noise, Unit};

fn parsed(network: &str) -> thinnet::Result<NetworkOptions> {
    Config::parse(&format!("[network]\n{network}")).map(|config| config.network)
}

fn built(network: &str) -> Network {
    parsed(network).and_then(|options| options.without_data()).unwrap_or_else(|error| panic!("{network}: {error}"))
}

fn keep(keep: f64) -> Dropout {
    Dropout::keep(keep).unwrap()
}

/// The same from the file, from what is written of it again, and with weights as safetensors.
#[track_caller]
fn round_trip(text: &str, expected: &Network) {
    let config = Config::parse(&format!("[network]\n{text}")).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(config.network.without_data().unwrap(), *expected, "{text}");
    let again = config.to_toml();
    assert_eq!(Config::parse(&again).unwrap_or_else(|error| panic!("{again}: {error}")), config, "{again}");
    let model = Model::initial(expected, 4).unwrap();
    assert_eq!(Model::from_safetensors(&model.to_safetensors().unwrap()).unwrap(), model);
    let json = serde_json::to_string(expected).unwrap();
    assert_eq!(serde_json::from_str::<Network>(&json).unwrap(), *expected, "{json}");
}

#[test]
fn every_key_of_a_recurrent_layer_is_read_and_written() {
    let text = r#"input = [6, 5]
layers = [
  { rnn = 3, sequence = true },
  { rnn = 3, activation = "relu", sequence = true, input = { keep = 0.9 } },
  { gru = 4, layers = 2, bidirectional = true, sequence = true, truncate = 3, recurrent = { keep = 0.8, variational = true } },
  { lstm = 5, untied = true, input = { drop = 0.25, variational = true },
    recurrent = { keep = 0.7, variational = true, mode = "batch" }, output = { keep = 0.6, site = 90 } },
  { dense = 2 },
]"#;
    let first = Recurrent::rnn(3).sequence();
    let second = Recurrent::new(Cell::RnnRelu, 3).sequence().input(keep(0.9));
    let third = Recurrent::gru(4).layers(2).bidirectional().sequence().truncate(3).recurrent(keep(0.8).variational());
    let fourth = Recurrent::lstm(5).untied().input(keep(0.75).variational()).recurrent(keep(0.7).variational().batch());
    let network = Network::new([6, 5]).recurrent(first).recurrent(second).recurrent(third);
    round_trip(text, &network.recurrent(fourth.output(keep(0.6).site(90))).dense(Dense::new(2)));
    // What is left out is what the builder leaves out.
    let plain = built("input = [6, 5]\nlayers = [{ lstm = 4 }]");
    assert_eq!(plain, Network::new([6, 5]).recurrent(Recurrent::lstm(4)));
    let Layer::Recurrent(lstm) = &plain.layers[0] else { panic!("{plain:?}") };
    assert_eq!((lstm.layer_count(), lstm.directions(), lstm.sequence, lstm.untied, lstm.truncate), (1, 1, false, false, None));
    assert!([Place::Input, Place::Recurrent, Place::Output].iter().all(|&place| lstm.dropout(0, 0, place).is_none()));
}

/// One for each direction of each layer, forward first, then the next layer.
#[test]
fn lists_say_the_dropout_of_each_direction() {
    let text = "input = [6, 5]\nlayers = [{ gru = 4, layers = 2, bidirectional = true, input = [{ keep = 0.9 }, \
                { keep = 0.8 }, { keep = 0.7, \
                variational = true }, { keep = 0.6, mode = \"batch\" }], output = { keep = 0.5 } }, { dense = 2 }]";
    let network = built(text);
    let Layer::Recurrent(gru) = &network.layers[0] else { panic!("{network:?}") };
    let of = |place| [[0, 0], [0, 1], [1, 0], [1, 1]].map(|[layer, direction]| *gru.dropout(layer, direction, place));
    assert_eq!(of(Place::Input), [keep(0.9), keep(0.8), keep(0.7).variational(), keep(0.6).batch()]);
    assert_eq!(of(Place::Output), [keep(0.5); 4]);
    assert!(of(Place::Recurrent).iter().all(Dropout::is_none));
    round_trip(text, &network);
    // Sites count through them: 3 places of 4.
    let sites: Vec<u32> = network.sites().unwrap().into_iter().flatten().collect();
    assert_eq!(sites, (0..12).collect::<Vec<_>>());
}

#[test]
fn every_key_of_the_variants_is_read_and_written() {
    let text = r#"input = 7
layers = [
  { embedding = 4, vocabulary = 30, words = { keep = 0.9, mode = "batch" } },
  { dropout = { keep = 0.8, noise = "gaussian", variational = true } },
  { lstm = 5 },
  { dropout = { keep = 0.7, noise = "alpha" } },
  { dense = 6, activation = "selu" },
  { dropout = { drop = 0.1, concrete = { weight_regularizer = 1e-6, dropout_regularizer = 1e-5 } } },
  { dense = 6 },
  { dropout = { keep = 0.5, concrete = { weight_regularizer = 0.5, dropout_regularizer = 0.25, temperature = 0.3 } } },
  { dense = 6 },
  { dropout = { keep = 0.5, weights = true } },
  { dense = 6 },
  { dropout = { keep = 0.5, schedule = { linear = 1000 } } },
  { dense = 6 },
  { dropout = { keep = 1.0, schedule = { step = 50, from = 0.5 } } },
  { dense = 6 },
  { dropout = { keep = 0.25, mode = "batch", schedule = { cosine = 7, from = 0.125 } } },
  { dense = 6 },
  { dropout = { keep = 0.5, weights = true, schedule = { curriculum = 9 } } },
  { dense = 2 },
]"#;
    let concrete = |temperature, weight_regularizer, dropout_regularizer| {
        Noise::Concrete(Concrete { temperature, weight_regularizer, dropout_regularizer })
    };
    let moving = |way, over, from: f64| Schedule::new(way, over).from(KeepProb::new(from).unwrap());
    let weights = Dropout::drop_connect(0.5).unwrap();
    let dense = || Dense::new(6);
    let network = Network::new(7)
        .embedding(Embedding::new(30, 4).dropout(keep(0.9).batch()))
        .dropout(keep(0.8).noise(Noise::Gaussian).variational())
        .recurrent(Recurrent::lstm(5))
        .dropout(keep(0.7).noise(Noise::Alpha))
        .dense(dense().activation(Activation::Selu))
        .dropout(keep(0.9).noise(concrete(0.1, 1e-6, 1e-5)))
        .dense(dense())
        .dropout(keep(0.5).noise(concrete(0.3, 0.5, 0.25)))
        .dense(dense())
        .dropout(weights)
        .dense(dense())
        .dropout(keep(0.5).schedule(moving(Way::Linear, 1000, 1.0)))
        .dense(dense())
        .dropout(keep(1.0).schedule(moving(Way::Step, 50, 0.5)))
        .dense(dense())
        .dropout(keep(0.25).batch().schedule(moving(Way::Cosine, 7, 0.125)))
        .dense(dense())
        .dropout(weights.schedule(moving(Way::Curriculum, 9, 1.0)))
        .dense(Dense::new(2));
    assert_eq!((weights.unit, weights.mode), (Unit::Weight, DropoutMode::Batch));
    round_trip(text, &network);
}

#[track_caller]
fn refused(network: &str, parts: &[&str]) {
    let message = match parsed(network).and_then(|options| options.without_data()) {
        Err(Error::Data(message)) => message,
        Err(other) => other.to_string(),
        Ok(network) => panic!("{network:?} is taken"),
    };
    for part in parts {
        assert!(message.contains(part), "{network}\n{message}\nlacks {part:?}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_its_place_and_a_remedy() {
    let dropouts: [(&str, &[&str]); 13] = [
        ("keep = 0.5, variational = true, spatial = 1", &["several of spatial", "variational", "give only one"]),
        ("keep = 0.5, weights = true, variational = true", &["several of", "weights", "give only one"]),
        ("keep = 0.5, schedule = { linear = 0 }", &["0 steps", "leave the schedule out"]),
        ("keep = 0.5, schedule = { linear = 5, cosine = 5 }", &["one of linear, cosine, step and curriculum"]),
        ("keep = 0.5, schedule = { from = 0.9 }", &["one of linear, cosine, step and curriculum"]),
        ("keep = 0.5, schedule = { quadratic = 5 }", &["quadratic"]),
        ("keep = 0.5, schedule = { linear = 5, from = 1.5 }", &["from", "1.5"]),
        ("keep = 0.5, mode = \"units\", schedule = { linear = 5 }", &["scheduled", "\"inverted\" or \"batch\""]),
        ("keep = 0.0, noise = \"gaussian\"", &["gaussian", "keep is above 0"]),
        ("keep = 0.5, noise = \"gaussian\", schedule = { linear = 5, from = 0.0 }", &["gaussian", "keep is above 0"]),
        ("keep = 0.0, concrete = { weight_regularizer = 1e-6, dropout_regularizer = 1e-5 }", &["learned", "keep = 0"]),
        (
            "keep = 0.5, noise = \"alpha\", concrete = { weight_regularizer = 1.0, dropout_regularizer = 1.0 }",
            &["leave noise out"],
        ),
        (
            "keep = 0.5, concrete = { weight_regularizer = 1.0, dropout_regularizer = 1.0, temperature = 0.0 }",
            &["temperature = 0"],
        ),
    ];
    for (dropout, parts) in dropouts {
        let text = format!("input = 4\nlayers = [{{ dense = 6 }}, {{ dropout = {{ {dropout} }} }}, {{ dense = 2 }}]");
        refused(&text, &[parts, &["layers[1]"]].concat());
    }
}

#[test]
fn recurrent_layers_and_embeddings_say_what_they_take() {
    let layers: [(&str, &[&str]); 16] = [
        ("{ lstm = 0 }", &["network.layers[0]", "hidden = 0", "at least 1"]),
        ("{ lstm = 2147483648 }", &["network.layers[0]", "hidden = 2147483648", "fewer than 2^30"]),
        ("{ gru = 4, layers = 0 }", &["network.layers[0]", "layers = 0", "1 to 64"]),
        ("{ rnn = 4, truncate = 0 }", &["network.layers[0]", "truncate = 0", "leave it out"]),
        ("{ rnn = 4, activation = \"gelu\" }", &["tanh or relu"]),
        ("{ lstm = 4, activation = \"relu\" }", &["activation"]),
        ("{ lstm = 4, untied = true, recurrent = { keep = 0.5 } }", &["untied", "variational"]),
        (
            "{ rnn = 4, untied = true, recurrent = { keep = 0.5, variational = true } }",
            &["network.layers[0]", "untied = true", "an rnn has one gate"],
        ),
        ("{ lstm = 4, input = { keep = 0.5, mode = \"vanilla\" } }", &["inverted", "\"batch\""]),
        ("{ lstm = 4, input = { keep = 0.5, noise = \"gaussian\" } }", &["in front of the layer"]),
        ("{ lstm = 4, input = { keep = 0.5, weights = true } }", &["drops"]),
        ("{ lstm = 4, input = { keep = 0.5, spatial = 1 } }", &["variational"]),
        ("{ lstm = 4, bidirectional = true, input = [{ keep = 0.5 }] }", &["input lists 1 dropouts", "2 directions"]),
        ("{ flatten = true }, { lstm = 4 }", &["network.layers[1]", "[steps, features]"]),
        (
            "{ lstm = 4, sequence = true }, { embedding = 3, vocabulary = 5 }, { dense = 2 }",
            &["network.layers[1]", "first layer"],
        ),
        ("{ residual = [{ lstm = 4, sequence = true }] }, { flatten = true }", &["residual block", "outside"]),
    ];
    for (layers, parts) in layers {
        refused(&format!("input = [6, 5]\nlayers = [{layers}, {{ dense = 2 }}]"), parts);
    }
    let conv = "input = [1, 8, 8]\nlayers = [{ dropout = { keep = 0.5, weights = true } }, { conv2d = 3, kernel = 3 }, \
                { flatten = true }, { dense = 2 }]";
    refused(conv, &["network.layers[0]", "must be dense", "in front of a dense layer"]);
    refused(
        "input = 4\nlayers = [{ dense = 3 }, { dropout = { keep = 0.5, weights = true } }]",
        &["network.layers[1]", "must be dense"],
    );
    refused("input = [6, 5]\nlayers = [{ embedding = 3, vocabulary = 5 }, { gru = 3 }]", &["network.layers[0]", "[steps]"]);
    refused("input = 6\nlayers = [{ embedding = 3 }, { gru = 3 }]", &["vocabulary"]);
}
