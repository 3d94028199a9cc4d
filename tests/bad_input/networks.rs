use super::{Case, refuses};
use crate::runs::{Place, SMALL, animals_csv, line_csv};

/// A network file in which one thing is another: what is replaced, by what, what the message says besides the file.
type Change<'a> = (&'a str, &'a str, &'a [&'a str]);

fn refuses_changes(place: &Place, base: &str, changes: &[Change<'_>]) {
    let mut commands = Vec::new();
    for (i, (from, to, _)) in changes.iter().enumerate() {
        assert!(base.contains(from), "{from}");
        place.write(&format!("net{i}.toml"), base.replace(from, to));
        commands.push((format!("train net{i}.toml"), format!("net{i}.toml")));
    }
    let says: Vec<Vec<&str>> =
        commands.iter().zip(changes).map(|((_, file), change)| [&[file.as_str()], change.2].concat()).collect();
    let cases: Vec<Case<'_>> = commands.iter().zip(&says).map(|((command, _), says)| (command.as_str(), &says[..])).collect();
    refuses(place, &cases);
}

#[test]
fn network_files_are_checked() {
    let changes: [Change<'_>; 28] = [
        ("seed = 3", "seed = -1", &["line 1: seed", "-1", "an integer from 0"]),
        ("seed = 3", "seed = 3\nsede = 4", &["line 2: sede", "unknown key", "did you mean \"seed\"?"]),
        ("epochs = 3", "epochs = \"3\"", &["line 10: train.epochs", "\"3\""]),
        ("epochs = 3", "epochs = 0", &["line 10: train.epochs = 0", "at least 1"]),
        ("epochs = 3", "epoch = 3", &["line 10: train.epoch", "did you mean \"epochs\"?"]),
        ("epochs = 3", "batch = 0", &["line 10: train.batch = 0", "at least one row"]),
        ("epochs = 3", "accumulate = 0", &["line 10: train.accumulate = 0", "at least 1"]),
        ("epochs = 3", "patience = 0", &["line 10: train.patience = 0", "leave it out"]),
        ("epochs = 3", "clip_norm = 0.0", &["line 10: train.clip_norm = 0", "leave it out"]),
        ("epochs = 3", "momentum_ramp = { from = 0.5, epochs = 5.0 }", &["line 10: train.momentum_ramp", "use sgd or rmsprop"]),
        ("epochs = 3", "epochs = 3\nepochs = 4", &["line 11", "epochs"]),
        ("lr = 0.01", "lr = -0.01", &["line 11: train.optimizer.adam.lr = -0.01", "positive"]),
        ("lr = 0.01", "lr = nan", &["line 11: train.optimizer.adam.lr = NaN"]),
        ("adam", "adamm", &["line 11: train.optimizer", "adamm", "adam"]),
        ("keep = 0.5", "keep = 1.5", &["line 8: network.layers[1].dropout.keep", "1.5", "from 0 to 1"]),
        ("keep = 0.5", "rate = 0.5", &["line 8: network.layers[1].dropout.rate", "unknown key"]),
        ("dense = 16", "dense = 0", &["line 8: network.layers[0].dense = 0", "at least 1 unit"]),
        ("dense = 16", "dense = 16.5", &["line 8: network.layers[0].dense", "16.5"]),
        ("\"relu\"", "\"rely\"", &["line 8: network.layers[0].activation", "rely", "relu"]),
        ("dense = 10", "dense = 9", &["9", "10 classes"]),
        (
            "{ dense = 10 }]",
            "{ dense = 11 }]\nloss = \"gaussian_nll\"",
            &["line 8: network.layers[2].dense: units = 11: the loss gaussian_nll", "a mean and a log variance", "22 for 11"],
        ),
        ("[network]", "[network]\ninput = 63", &["network.input = 63", "64 columns", "leave `input` out"]),
        ("[train]", "[train", &["line 9"]),
        ("\"200..300\"", "\"100..300\"", &["valid", "100..300", "overlaps `train` = 0..200", "give every row to one"]),
        ("\"200..300\"", "\"1700..1800\"", &["valid", "1700..1800", "digits has the rows 0..1797", "choose"]),
        ("\"200..300\"", "\"300..200\"", &["line 5: data.valid", "300..200", "FIRST..END"]),
        ("\"200..300\"", "\"200..300\"\nvalid_fraction = 0.1", &["line 6: data.valid_fraction", "give only one"]),
        ("valid = \"200..300\"", "valid_fraction = 1.5", &["line 5: data.valid_fraction = 1.5", "below 1"]),
    ];
    refuses_changes(&Place::new(), SMALL, &changes);
}

#[test]
fn networks_that_do_not_suit_their_data_are_refused() {
    let place = Place::new();
    place.write("line.csv", line_csv(20));
    place.write("animals.csv", animals_csv(21));
    let base = "[data]\npath = \"animals.csv\"\n[network]\nlayers = [{ dense = 4 }, { dense = 3 }]\n[train]\nepochs = 1\n";
    let with = |data: &str| format!("[data]\n{data}\n[network]");
    let replaced = "[data]\npath = \"animals.csv\"\n[network]";
    let [classes, missing, both, twice, none] = [
        with("path = \"line.csv\"\ntarget = \"price\""),
        with("path = \"animals.csv\"\ntarget = \"labl\""),
        with("path = \"animals.csv\"\ntarget = [\"label\", \"b\"]"),
        with("path = \"digits\"\ntarget = \"label\""),
        with("path = \"animals.csv\"\nvalid = \"0..10\"\ntest = \"10..21\""),
    ];
    let changes: [Change<'_>; 9] = [
        ("{ dense = 3 }", "{ dense = 1 }", &["3 classes"]),
        ("{ dense = 3 }]", "{ dense = 1 }]\nloss = \"binary_cross_entropy\"", &["3 classes"]),
        ("[network]", "[network]\nloss = \"mean_squared_error\"", &["line 2", "label"]),
        (replaced, &classes, &["line.csv", "price", "mean_squared_error"]),
        (replaced, &missing, &["animals.csv", "labl", "did you mean `label`?"]),
        (replaced, &both, &["target"]),
        (replaced, &twice, &["target", "remove `target`"]),
        (replaced, &none, &["no row", "left to train on", "leave some out"]),
        ("path = \"animals.csv\"", "path = \"nowhere.csv\"", &["nowhere.csv", "no such file", "check the path"]),
    ];
    // Where the data are at fault, the message names their file, which then is the one that counts.
    let mut commands = Vec::new();
    for (i, (from, to, _)) in changes.iter().enumerate() {
        assert!(base.contains(from), "{from}");
        place.write(&format!("net{i}.toml"), base.replace(from, to));
        commands.push(format!("train net{i}.toml"));
    }
    let cases: Vec<Case<'_>> = commands.iter().zip(&changes).map(|(command, change)| (command.as_str(), change.2)).collect();
    refuses(&place, &cases);
}

#[test]
fn networks_of_maps_are_checked() {
    let changes: [Change<'_>; 9] = [
        ("input = [1, 8, 8]\n", "", &["line 9: network.layers[0].conv2d", "a row of data is one axis", "input = [1, 8, 8]"]),
        ("[1, 8, 8]", "[1, 4, 8]", &["network.input = [1, 4, 8]", "32 elements", "64 columns", "as [1, 8, 8] for square images"]),
        ("[1, 8, 8]", "[64]", &["line 10: network.layers[0].conv2d", "[64]", "three axes"]),
        ("[1, 8, 8]", "\"8 x 8\"", &["line 8: network.input", "a number of columns, or a shape such as [1, 28, 28]"]),
        ("{ max_pool = 2 }", "{ max_pool = 9 }", &["line 11: network.layers[1].max_pool", "height 9", "map of 8 x 8"]),
        (
            "keep = 0.9, block = 2",
            "keep = 0.9, blok = 2",
            &["line 14: network.layers[4].dropout.blok", "did you mean \"block\"?"],
        ),
        ("{ flatten = true },\n", "", &["network.layers[7].dense", "put flatten in front of it"]),
        ("[train]", "path_keep = 0.5\n[train]", &["line 22: network.path_keep = 0.5", "no path", "leave it out"]),
        (
            "{ flatten = true }",
            "{ residual = [{ conv2d = 9, kernel = 1 }] }, { flatten = true }",
            &["line 17: network.layers[7].residual", "[9, 4, 4]", "[8, 4, 4]", "skip = ["],
        ),
    ];
    refuses_changes(&Place::new(), crate::runs::maps::CNN, &changes);
}

#[test]
fn weights_of_maps_ask_for_rows_and_networks_that_fit() {
    let place = Place::with(&crate::runs::maps::CNN.replace("epochs = 2", "epochs = 1"));
    place.prints("train net.toml --out run");
    place.write("wide.csv", "a,b,c,label\n1,0,1,0\n1,0,1,1\n");
    place.write("other.toml", crate::runs::maps::CNN.replace("conv2d = 8, kernel = 3", "conv2d = 8, kernel = 1"));
    refuses(
        &place,
        &[
            ("eval run --data wide.csv", &["wide.csv", "3 columns", "takes 64"]),
            (
                "eval run/model.safetensors --network other.toml --data digits",
                &["run/model.safetensors", "4.weight is F32 [8, 3, 3, 3], expected F32 [8, 3, 1, 1]", "nn.Conv2d(6, 8, (1, 1)"],
            ),
        ],
    );
}
