use thinnet::{Config, Error};

use super::EXAMPLE;

/// What is changed in the example (the first occurrence), and what the message contains.
const REFUSED: [(&str, &str, &[&str]); 79] = [
    // Keys.
    (
        "momentum =",
        "momentun =",
        &["line 18: train.optimizer.sgd.momentun: unknown key; did you mean \"momentum\"? (expected lr, "],
    ),
    ("{ keep = 0.5", "{ kep = 0.5", &["line 12: network.layers[2].dropout.kep: unknown key", "did you mean \"keep\"?"]),
    ("seed =", "sede =", &["line 2: sede: unknown key; did you mean \"seed\"? (expected seed, data, network, train or augment)"]),
    ("[train]", "[training]", &["line 15: training: unknown key; did you mean \"train\"?"]),
    ("batch =", "batch_size =", &["line 17: train.batch_size: unknown key; did you mean \"batch\"?"]),
    ("batch =", "lr =", &["line 17: train.lr: unknown key; it is a key of the optimizer"]),
    ("batch =", "zzz =", &["line 17: train.zzz: unknown key; expected epochs, batch, "]),
    ("valid =", "validation =", &["line 6: data.validation: unknown key; did you mean \"valid\"?"]),
    ("loss =", "los =", &["line 8: network.los: unknown key; did you mean \"loss\"?"]),
    ("{ dense = 10 }", "{ dens = 10 }", &["line 13: network.layers[3].dens: unknown key; did you mean \"dense\"?"]),
    (
        "{ dense = 10 }",
        "{ conv = 10 }",
        &["line 13: network.layers[3].conv: unknown key; did you mean \"conv2d\"? (expected dense, dropout, "],
    ),
    (
        "weight_decay = 0.0",
        "schedule = { step = { evry = 2 } }",
        &["line 19: train.schedule.step.evry: unknown key; did you mean \"every\"?"],
    ),
    (
        "weight_decay = 0.0",
        "momentum_ramp = { from = 0.5, epoch = 2 }",
        &["line 19: train.momentum_ramp.epoch: unknown key; did you mean \"epochs\"?"],
    ),
    // Words.
    ("\"relu\"", "\"Rely\"", &["line 11: network.layers[1].activation = \"Rely\": unknown word; did you mean \"relu\"?"]),
    ("\"he_normal\"", "\"xavier\"", &["line 11: network.layers[1].init = \"xavier\": unknown word; expected he_uniform, "]),
    ("\"softmax_cross_entropy\"", "\"cross_entropy\"", &["line 8: network.loss = \"cross_entropy\": unknown word; did you mean"]),
    ("{ sgd =", "{ sdg =", &["line 18: train.optimizer.sdg: unknown key; did you mean \"sgd\"?"]),
    (
        "{ sgd = { lr = 0.1, momentum = 0.95 } }",
        "\"adm\"",
        &["line 18: train.optimizer = \"adm\": unknown word; did you mean \"adam\"?"],
    ),
    (
        "keep = 0.5 ",
        "keep = 0.5, mode = \"inverse\" ",
        &["line 12: network.layers[2].dropout.mode = \"inverse\": unknown word; did you mean \"inverted\"?"],
    ),
    (
        "weight_decay = 0.0",
        "schedule = \"cosin\"",
        &["line 19: train.schedule = \"cosin\": unknown word; did you mean \"cosine\"?"],
    ),
    (
        "\"softmax_cross_entropy\"",
        "\"gaussian_nl\"",
        &["line 8: network.loss = \"gaussian_nl\": unknown word; did you mean \"gaussian_nll\"?"],
    ),
    // Types.
    (
        "epochs = 5",
        "epochs = \"5\"",
        &["line 16: train.epochs: invalid type: string \"5\", expected an integer from 0 to 4294967295"],
    ),
    ("epochs = 5", "epochs = 5.5", &["line 16: train.epochs: ", "5.5", "expected an integer"]),
    ("batch = 128", "batch = -1", &["line 17: train.batch: ", "-1", "expected an integer from 0"]),
    ("batch = 128", "batch = 4294967296", &["line 17: train.batch: ", "4294967296", "to 4294967295"]),
    ("lr = 0.1", "lr = true", &["line 18: train.optimizer.sgd.lr: invalid type: boolean `true`, expected a number"]),
    ("{ dense = 10 }", "{ dense = \"10\" }", &["line 13: network.layers[3].dense: invalid type"]),
    (
        "{ dense = 10 }",
        "10",
        &["line 13: network.layers[3]: invalid type: integer `10`, expected a table such as { dense = 128 }"],
    ),
    ("{ keep = 0.5 }", "0.5", &["line 12: network.layers[2].dropout: invalid type", "expected a table such as { keep = 0.5 }"]),
    ("seed = 42", "seed = -42", &["line 2: seed: ", "-42", "an integer from 0 to 18446744073709551615"]),
    ("seed = 42", "seed = \"18446744073709551616\"", &["line 2: seed: ", "18446744073709551616", "decimal digits"]),
    ("seed = 42", "seed = \"+42\"", &["line 2: seed: ", "decimal digits"]),
    ("\"0..55000\"", "\"all\"", &["line 5: data.train: ", "\"all\""]),
    (
        "{ sgd = { lr = 0.1, momentum = 0.95 } }",
        "\"adam\"",
        &["line 18: train.optimizer = \"adam\": needs a table, as in { adam = { lr = 0.001 } }"],
    ),
    ("{ sgd = { lr = 0.1, momentum = 0.95 } }", "0.1", &["line 18: train.optimizer: "]),
    ("{ sgd = { lr = 0.1, momentum = 0.95 } }", "{}", &["line 18: train.optimizer: expected a table with exactly one key"]),
    (
        "{ sgd = { lr = 0.1, momentum = 0.95 } }",
        "{ sgd = 0.1 }",
        &["line 18: train.optimizer.sgd: invalid type: floating point `0.1`, expected a table"],
    ),
    ("{ sgd = {", "{ adam = { lr = 1 }, sgd = {", &["line 18: train.optimizer: expected a table with exactly one key"]),
    (
        "weight_decay = 0.0",
        "schedule = \"step\"",
        &["line 19: train.schedule = \"step\": needs a table, as in { step = { every = "],
    ),
    (
        "weight_decay = 0.0",
        "momentum_ramp = 0.5",
        &["line 19: train.momentum_ramp: invalid type: floating point `0.5`, expected a table"],
    ),
    ("layers = [", "layers = 3\nx = [", &["line 9: network.layers: invalid type: integer `3`, expected an array"]),
    ("[network]\n", "network = 3\n[x]\n", &["line 7: data.network: unknown key"]),
    ("[train]\n", "[[train]]\n", &["line 15: train[0]: invalid type: table, expected an integer"]),
    ("[data]\n", "[data\n", &["line 3: unclosed table, expected `]`"]),
    ("path = \"fashion-mnist\"", "path = 3", &["line 4: data.path: invalid type: integer `3`, expected a string"]),
    ("batch = 128", "batch = 99999999999999999999999999999999999999999999", &["line 17: train.batch: integer number overflowed"]),
    ("seed = 42", "seed = 99999999999999999999", &["line 2: seed: invalid type: integer `99999999999999999999`"]),
    ("{ dense = 10 }", "{ dense = 10 ", &["line 14: invalid inline table element"]),
    ("{ dense = 10 }", "{}", &["line 13: network.layers[3]: is of no kind; a layer is { dense = UNITS }"]),
    (
        "{ dense = 10 }",
        "{ dropout = { keep = 0.5 }, init = \"zeros\" }",
        &["line 13: network.layers[3].init: a dropout layer has no init; give it to the layer in front"],
    ),
    (
        "\"relu\"",
        "\"re`lu, expected `x\"",
        &["line 11: network.layers[1].activation = \"re`lu, expected `x\": unknown word; expected identity, relu, "],
    ),
    ("batch =", "\"a.b\" =", &["train.a.b: unknown key; expected epochs, "]),
    ("batch =", "network.batch =", &["line 17: train.network: unknown key; expected epochs, "]),
    // What is missing, doubled, or no TOML.
    ("lr = 0.1, ", "", &["line 18: train.optimizer.sgd.lr: is missing"]),
    ("layers", "# layers", &["line 10: "]),
    ("\"relu\"", "relu", &["line 11: "]),
    ("batch = 128", "epochs = 6", &["line 17: duplicate key at `epochs`"]),
    // Values.
    ("epochs = 5", "epochs = 0", &["line 16: train.epochs = 0: must be at least 1"]),
    ("batch = 128", "batch = 0", &["line 17: train.batch = 0: a batch has at least one row"]),
    ("weight_decay = 0.0", "accumulate = 0", &["line 19: train.accumulate = 0: an update takes at least 1 step"]),
    ("weight_decay = 0.0", "weight_decay = -0.1", &["line 19: train.weight_decay = -0.1: "]),
    ("weight_decay = 0.0", "weight_decay = nan", &["line 19: train.weight_decay = NaN: "]),
    ("weight_decay = 0.0", "clip_norm = 0", &["line 19: train.clip_norm = 0: ", "leave it out"]),
    ("weight_decay = 0.0", "warmup = 1e300", &["line 19: train.warmup = 1e300: must be a number from 0 to 3.4e38"]),
    ("weight_decay = 0.0", "clip_norm = 1e-40", &["line 19: train.clip_norm = 1e-40: ", "from 1.2e-38"]),
    ("weight_decay = 0.0", "max_norm = -3", &["line 19: train.max_norm = -3: "]),
    ("weight_decay = 0.0", "warmup = -1", &["line 19: train.warmup = -1: "]),
    (
        "weight_decay = 0.0",
        "schedule = { cosine = { epochs = nan } }",
        &["line 19: train.schedule.cosine.epochs: NaN is not a number"],
    ),
    (
        "weight_decay = 0.0",
        "schedule = { step = { every = 0, factor = 0.1 } }",
        &["line 19: train.schedule.step.every = 0: must be a positive number"],
    ),
    ("weight_decay = 0.0", "momentum_ramp = { from = 1, epochs = 2 }", &["line 19: train.momentum_ramp.from = 1: "]),
    ("momentum = 0.95", "momentum = 1.5", &["line 18: train.optimizer.sgd.momentum = 1.5: must lie from 0 to below 1"]),
    (
        "keep = 0.5",
        "keep = 1.5",
        &["line 12: network.layers[2].dropout.keep: keep_prob 1.5 is not usable: a probability lies from 0 to 1"],
    ),
    ("keep = 0.5", "drop = 50", &["line 12: network.layers[2].dropout.drop: drop_prob 50 is not usable", "percentage"]),
    ("keep = 0.5", "keep = 0.5, drop = 0.5", &["line 12: network.layers[2].dropout: needs either keep"]),
    ("{ dense = 10 }", "{ dense = 10, dropout = { keep = 0.5 } }", &["line 13: network.layers[3]: is dense and dropout at once"]),
    ("{ dense = 10 }", "{ dense = 0 }", &["line 13: network.layers[3].dense = 0: a layer needs at least 1 unit"]),
    ("keep = 0.5", "keep = 0.5, site = 0", &["line 12: network.layers[2].dropout.site: site 0 is also the site of layer 0"]),
    ("valid =", "valid_fraction = 0.1\nvalid =", &["line 6: data.valid_fraction = 0.1: data.valid already says"]),
    ("valid = \"55000..60000\"", "valid_fraction = 1.0", &["line 6: data.valid_fraction = 1: must lie above 0"]),
];

#[test]
fn what_is_refused_is_named_by_line_and_key_with_what_was_meant() {
    let mut wrong = String::new();
    for (from, to, said) in REFUSED {
        let text = EXAMPLE.replacen(from, to, 1);
        assert_ne!(text, EXAMPLE, "{from} is not in the example");
        let Err(Error::Data(message)) = Config::parse(&text) else {
            wrong += &format!("{to} was not refused\n");
            continue;
        };
        for said in said.iter().filter(|said| !message.contains(*said)) {
            wrong += &format!("{to}: {message}\n  lacks {said}\n");
        }
        // A suggestion is made only where one is expected.
        let meant = |text: &str| text.contains("did you mean");
        if meant(&message) != said.iter().any(|said| meant(said)) {
            wrong += &format!("{to}: {message}\n  means what it should not\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn whole_tables_that_do_not_fit_are_refused() {
    for (text, said) in [
        ("", "network: is missing"),
        ("[network]", "line 1: network.layers: is missing"),
        ("[network]\nlayers = []", "line 2: network.layers: is empty"),
        ("[network]\nlayers = [{ dropout = { keep = 0.5 } }]", "line 2: network.layers: has no dense layer"),
        ("[network]\ninput = 0\nlayers = [{ dense = 1 }]", "line 2: network.input = 0: must be at least 1"),
        (
            "[network]\nlayers = [{ dense = 1 }]\n[train]\npatience = 3",
            "line 4: train.patience = 3: stopping early needs validation",
        ),
        ("[network]\nlayers = [{ dense = 1 }]\n[train]\npatience = 0", "line 4: train.patience = 0: must be at least 1"),
        (
            "[network]\nlayers = [{ dense = 1 }]\n[train]\nmomentum_ramp = { from = 0.5, epochs = 2 }",
            "line 4: train.momentum_ramp = 0.5 over 2 epochs: this optimizer has no momentum",
        ),
        ("[network]\nlayers = [{ dense = 70000 }, { dense = 70000 }]", "line 2: network.layers[1].dense: units = 70000"),
        ("[[network.layers]]\ndense = 4\n[[network.layers]]\ndense = 0", "line 4: network.layers[1].dense = 0"),
        ("[network]\nlayers = [\n{ dense = 1 }\n[train]", "line 4: "),
        (
            "[network]\nlayers = [{ dense = 1 }]\n[augment]\nnoise = -0.1",
            "line 4: augment.noise = -0.1: is a standard deviation, a number from 0 up",
        ),
        ("[network]\nlayers = [{ dense = 1 }]\n[augment]\nmixup = nan", "line 4: augment.mixup = NaN: is the alpha of Beta"),
        (
            "[network]\nlayers = [{ dense = 1 }]\n[augment]\nflips = true",
            "line 4: augment.flips: unknown key; did you mean \"flip\"?",
        ),
        ("[network]\nlayers = [{ dense = 1 }]\n[augment]\nshift = -1", "line 4: augment.shift: "),
    ] {
        let message = Config::parse(text).unwrap_err().to_string();
        assert!(message.contains(said), "{text}: {message}");
    }
}
