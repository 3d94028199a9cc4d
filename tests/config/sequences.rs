//! Networks of sequences in files: the shape that comes from the data, words, what is refused.

use thinnet::data::{DataOptions, Inputs, Values};
use thinnet::{Config, Error, NetworkOptions, Shape};

fn parsed(network: &str) -> NetworkOptions {
    Config::parse(&format!("[network]\n{network}")).unwrap_or_else(|e| panic!("{network}: {e}")).network
}

/// Two rows of at most three steps.
fn sequences(features: u32) -> Inputs {
    Inputs::from_sequences(features, vec![1.0; 4 * features as usize], vec![3, 1]).unwrap()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>, parts: &[&str]) {
    let message = result.unwrap_err().to_string();
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

#[test]
fn sequences_say_the_shape_of_the_input() {
    let lstm = parsed(
        "layers = [{ lstm = 8, sequence = true }, { dropout = { keep = 0.5, variational = true } }, { gru = 4 }, { dense = 2 }]",
    );
    assert_eq!(lstm.network_for(&sequences(5)).unwrap().input, Shape::from([3, 5]));
    assert_eq!(lstm.without_data().unwrap().outputs().unwrap(), 2);
    let given =
        parsed("input = [3, 5]\nlayers = [{ dropout = { keep = 0.9, variational = true } }, { lstm = 8 }, { dense = 2 }]");
    assert_eq!(given.network_for(&sequences(5)).unwrap().input, Shape::from([3, 5]));
    // Rows without lengths have all steps, where the file says how many.
    assert_eq!(given.network_for(&Inputs::from_f32(15, vec![1.0; 30]).unwrap()).unwrap().input, Shape::from([3, 5]));
    // Layers in front of the recurrent one do not matter.
    let first = parsed("layers = [{ dropout = { keep = 0.9, variational = true } }, { lstm = 8 }, { dense = 2 }]");
    assert_eq!(first.network_for(&sequences(5)).unwrap().input, Shape::from([3, 5]));
    // What is no network of sequences takes them as maps of one row.
    let flat = parsed("layers = [{ flatten = true }, { dense = 2 }]");
    assert_eq!(flat.network_for(&sequences(5)).unwrap().input, Shape::from([3, 5]));
    assert_eq!(flat.network_for(&Inputs::from_f32(15, vec![1.0; 30]).unwrap()).unwrap().input, Shape::from(15));
    let words = parsed("layers = [{ embedding = 6, vocabulary = 30 }, { lstm = 8 }, { dense = 2 }]");
    assert_eq!(words.network_for(&sequences(1)).unwrap().input, Shape::from(3));
    assert_eq!(words.network_for(&Inputs::from_f32(4, vec![1.0; 8]).unwrap()).unwrap().input, Shape::from(4));
}

#[test]
fn shapes_that_the_data_have_not_are_refused() {
    let lstm = parsed("layers = [{ lstm = 8 }, { dense = 2 }]");
    let rows = Inputs::from_f32(15, vec![1.0; 30]).unwrap();
    refused(lstm.network_for(&rows), &["network.input", "rows of 15 columns without lengths", "input = [steps, features]"]);
    let other = parsed("input = [5, 3]\nlayers = [{ lstm = 8 }, { dense = 2 }]");
    refused(other.network_for(&sequences(5)), &["network.input = [5, 3]", "at most 3 steps of 5 features", "[3, 5]"]);
    let smaller = parsed("input = [2, 5]\nlayers = [{ lstm = 8 }, { dense = 2 }]");
    refused(smaller.network_for(&sequences(5)), &["network.input = [2, 5]", "10 elements", "15 columns"]);
    let words = parsed("layers = [{ embedding = 6, vocabulary = 30 }, { lstm = 8 }, { dense = 2 }]");
    refused(words.network_for(&sequences(5)), &["embedding", "one word a step", "5 features"]);
    for (text, parts) in [
        (
            "[data]\nstandardize = true\n[network]\nlayers = [{ embedding = 6, vocabulary = 30 }, { lstm = 8 }, { dense = 2 }]",
            &["line 2: data.standardize = true", "embedding"][..],
        ),
        ("[data]\nwords = true\n[network]\nlayers = [{ lstm = 8 }, { dense = 2 }]", &["line 2: data.words = true", "embedding"]),
        (
            "[data]\nsequenc = \"id\"\n[network]\nlayers = [{ dense = 2 }]",
            &["line 2: data.sequenc", "did you mean \"sequence\"?"],
        ),
    ] {
        refused(Config::parse(text), parts);
    }
}

#[test]
fn an_embedding_makes_words_of_the_data() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("words.csv");
    std::fs::write(&path, "id,word,y\n1,4,\n1,5,0\n2,6,1\n").unwrap();
    let text =
        "[data]\nsequence = \"id\"\n[network]\nlayers = [{ embedding = 6, vocabulary = 30 }, { lstm = 8 }, { dense = 2 }]\n";
    let mut config = Config::parse(text).unwrap();
    assert_eq!(Config::parse(&config.to_toml()).unwrap(), config);
    config.data.path = path;
    let sets = config.load().unwrap();
    assert_eq!(sets.train.inputs().values(), &Values::F32(vec![4.0, 5.0, 6.0, 0.0]));
    assert!(sets.preprocessing.words && sets.preprocessing.inputs.is_none());
    assert_eq!(config.network.network_for(sets.train.inputs()).unwrap().input, Shape::from(2));
    // Without the embedding they are numbers like any others.
    let data = DataOptions { words: false, ..config.data };
    assert!(data.load(thinnet::data::Task::Classes, 0).unwrap().preprocessing.inputs.is_some());
}

#[test]
fn shapes_that_only_the_data_say_are_refused_with_those_of_the_data() {
    // Of one step of sequences they would be other shapes than of the data's three.
    for (layers, place, shape) in [
        ("{ lstm = 8, sequence = true }, { dense = 2 }", "layer 1 (dense)", "[3, 8]"),
        ("{ lstm = 8, sequence = true }", "network", "[3, 8]"),
        ("{ flatten = true }, { lstm = 8 }, { dense = 2 }", "layer 1 (lstm)", "gets shape [15]"),
    ] {
        let network = parsed(&format!("layers = [{layers}]"));
        refused(network.network_for(&sequences(5)), &[place, shape]);
    }
    // A block that suits three steps, not one.
    let block = "{ lstm = 8, sequence = true }, { flatten = true }, { residual = [{ dense = 24 }] }, { dense = 2 }";
    assert!(parsed(&format!("layers = [{block}]")).network_for(&sequences(5)).is_ok());
    let other = parsed(&format!("layers = [{}]", block.replace("24", "8")));
    refused(other.network_for(&sequences(5)), &["layer 2 (residual)", "24"]);
    // What no data can mend is found in the file, with its line.
    for (layers, parts) in [
        ("{ lstm = 0 }, { dense = 2 }", &["line 2: network.layers[0].lstm", "hidden = 0"][..]),
        ("{ lstm = 4 }, { gru = 3 }", &["line 2: network.layers[1].gru", "gets shape [4]", "sequence = true"]),
    ] {
        refused(Config::parse(&format!("[network]\nlayers = [{layers}]")), parts);
    }
}
