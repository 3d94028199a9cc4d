use super::{Place, SMALL, cells, keys, number};

const FILES: [&str; 6] =
    ["checkpoint.safetensors", "config.toml", "curves.svg", "history.csv", "model.safetensors", "timing.csv"];

#[test]
fn a_run_is_six_files_in_the_folder_of_its_name() {
    let place = Place::with(SMALL);
    let text = place.prints("train net.toml");
    assert!(text.contains("On the 100 test rows") && text.contains("thinnet eval runs/net"), "{text}");
    assert_eq!((place.names("."), place.names("runs")), (vec!["net.toml".into(), "runs".into()], vec!["net".into()]));
    assert_eq!(place.names("runs/net"), FILES);
    let history = place.text("runs/net/history.csv");
    assert!(history.starts_with("epoch,train_loss,train_accuracy,valid_loss,valid_accuracy\n"), "{history}");
    let lines = cells(&history);
    assert_eq!(lines.iter().map(|line| line[0]).collect::<Vec<_>>(), ["1", "2", "3"]);
    assert!(lines.iter().all(|line| line.len() == 5 && line.iter().all(|cell| number(cell).is_finite())));
    let timing = place.text("runs/net/timing.csv");
    assert!(timing.starts_with("epoch,seconds\n") && cells(&timing).len() == 3, "{timing}");
    let curves = place.text("runs/net/curves.svg");
    assert!(curves.trim_end().ends_with("</svg>"));
    for text in ["accuracy, %", "loss"] {
        assert!(curves.lines().any(|line| line.trim() == text), "{text} is not in the picture");
    }
}

#[test]
fn a_figure_that_does_not_exist_is_an_empty_cell() {
    let place = Place::with(&SMALL.replace("valid = \"200..300\"\ntest = \"300..400\"\n", ""));
    place.prints("train net.toml --out blind");
    let history = place.text("blind/history.csv");
    let lines = cells(&history);
    assert!(lines.len() == 3 && lines.iter().all(|line| line[3..] == ["", ""] && number(line[2]) >= 0.0), "{history}");
    // A regression has losses and no accuracies.
    place.write("line.csv", super::line_csv(50));
    place.write(
        "line.toml",
        "[data]\npath = \"line.csv\"\ntarget = \"price\"\nvalid_fraction = 0.2\n\
         [network]\nloss = \"mean_squared_error\"\nlayers = [{ dense = 4 }, { dense = 1 }]\n[train]\nepochs = 2\n",
    );
    place.prints("train line.toml --out line");
    let history = place.text("line/history.csv");
    let lines = cells(&history);
    assert!(lines.len() == 2 && lines.iter().all(|line| [line[2], line[4]] == ["", ""]), "{history}");
    assert!(lines.iter().all(|line| number(line[1]) > 0.0 && number(line[3]) > 0.0), "{history}");
}

#[test]
fn a_run_is_a_function_of_its_file() {
    let place = Place::with(SMALL);
    place.write("other.toml", SMALL.replace("seed = 3", "seed = 4"));
    place.prints("train net.toml --out a");
    place.prints("train net.toml --out b");
    place.prints("train other.toml --out c");
    // The file that a run keeps is a file of the same run.
    place.prints("train a/config.toml --out d");
    place.prints("train net.toml --data digits --out e");
    // A window for 104 of the 200 rows.
    place.prints("train net.toml --data-budget 0.0125 --out f");
    for name in ["model.safetensors", "history.csv"] {
        let [a, b, c, d, e, f] = ["a", "b", "c", "d", "e", "f"].map(|run| place.bytes(&format!("{run}/{name}")));
        assert!(a == b && a == d && a == e && a == f, "{name} of one seed differs");
        assert!(a != c, "{name} of two seeds is the same");
    }
    assert_eq!(place.text("a/config.toml"), place.text("d/config.toml"));
    let text = place.fails("train net.toml --data-budget 0.001 --out g", 2);
    assert!(text.contains("`data_budget` = 1048") && text.contains("share of the budget"), "{text}");
}

#[test]
fn a_run_is_not_replaced_unasked() {
    let place = Place::with(SMALL);
    place.prints("train net.toml --out run");
    place.write("run/notes.txt", "mine");
    place.write("net.toml", SMALL.replace("seed = 3", "seed = 4"));
    let before = place.everything();
    let text = place.fails("train net.toml --out run", 2);
    assert!(text.contains("run exists already") && text.contains("--force"), "{text}");
    assert!(place.everything() == before, "a refused training changes something");
    // Even then not what this program did not write.
    let text = place.fails("train net.toml --out run --force", 2);
    assert!(text.contains("notes.txt") && text.contains("runs only"), "{text}");
    assert!(place.everything() == before, "a refused training changes something");
    std::fs::remove_file(place.path("run/notes.txt")).unwrap();
    // A slash at the end means the same place.
    place.prints("train net.toml --out run/ --force");
    assert_eq!(place.names("run"), FILES);
    assert!(before[&place.path("run/history.csv")].as_ref() != Some(&place.bytes("run/history.csv")));
    assert_eq!(place.names("."), ["net.toml", "run"]);
}

#[test]
fn a_training_that_diverges_leaves_nothing() {
    let place = Place::with(&SMALL.replace("lr = 0.01", "lr = 1e30"));
    place.write("old/history.csv", "of an earlier run");
    let before = place.everything();
    for arguments in ["train net.toml", "train net.toml --out a/b/c", "train net.toml --out old --force"] {
        let text = place.fails(arguments, 1);
        assert!(text.starts_with("error: ") && text.contains("diverged") && text.contains("smaller learning rate"), "{text}");
        assert!(place.everything() == before, "{arguments} leaves something: {:?}", place.everything().keys());
    }
    // A place that no folder can have.
    place.write("file", "kept");
    let before = place.everything();
    let text = place.fails("train net.toml --out file/run", 1);
    assert!(text.contains("file/run") && text.contains("--out"), "{text}");
    assert!(place.everything() == before);
}

#[test]
fn json_is_the_history_and_the_test_which_eval_repeats() {
    let place = Place::with(SMALL);
    let rows = place.json("train net.toml --out run");
    let [epochs @ .., whole, test] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((epochs.len(), keys(whole)), (3, vec!["best", "diverged", "what"]));
    assert!(whole["best"].is_null() && whole["diverged"] == false, "{whole}");
    let history = place.text("run/history.csv");
    for (row, line) in epochs.iter().zip(cells(&history)) {
        assert_eq!(keys(row), ["epoch", "train_accuracy", "train_loss", "valid_accuracy", "valid_loss", "what"]);
        assert_eq!(row["what"], "epoch");
        let names = ["epoch", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy"];
        for (name, cell) in names.iter().zip(line) {
            let difference = (row[*name].as_f64().unwrap() - number(cell)).abs();
            assert!(difference <= 0.5000001e-6, "{name}: {} and {cell}", row[*name]);
        }
    }
    assert_eq!(keys(test), ["accuracy", "loss", "rows", "what"]);
    assert_eq!(test["what"], "evaluation");
    assert_eq!(test["rows"], 100);
    // The same weights, from a file, from anywhere, in whatever words.
    assert_eq!(&place.json("eval run")[0], test);
    assert_eq!(&place.json("eval run/model.safetensors --data digits --rows 300..400")[0], test);
    assert_ne!(&place.json("eval run --data digits --rows 400..500")[0], test);
    let said = place.prints("eval run");
    let loss =
        format!("loss {:.4}, accuracy {:.2} %", test["loss"].as_f64().unwrap(), 100.0 * test["accuracy"].as_f64().unwrap());
    assert!(said.contains(&loss) && said.starts_with("100 test rows"), "{said}");
    assert!(place.prints("train net.toml --out again").contains(&loss));
}

#[test]
fn every_line_of_json_says_what_it_is() {
    let concrete = "keep = 0.8, concrete = { weight_regularizer = 1e-6, dropout_regularizer = 1e-5 }";
    let place = Place::with(&SMALL.replace("keep = 0.5", concrete));
    let rows = place.json("train net.toml --out run --profile=1");
    let what: Vec<&str> = rows.iter().map(|row| row["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["profile", "epoch", "epoch", "epoch", "training", "learned_rate", "evaluation"]);
    let rate = &rows[5];
    assert_eq!((keys(rate), &rate["place"]), (vec!["collapsed", "drop_prob", "place", "what"], &"layer 1 (dropout)".into()));
    // What people read says the same rate.
    let text = place.prints("train net.toml --out again");
    let said = format!("layer 1 (dropout) has learned to drop {:.5}", rate["drop_prob"].as_f64().unwrap());
    assert!(text.contains(&said), "{said}: {text}");
}

#[test]
fn data_are_found_beside_the_file_and_from_anywhere() {
    let place = Place::new();
    place.write("far/animals.csv", super::animals_csv(60));
    place.write(
        "far/net.toml",
        "[data]\npath = \"animals.csv\"\ntest = \"40..60\"\n[network]\nlayers = [{ dense = 3 }]\n[train]\nepochs = 2\n",
    );
    let rows = place.json("train far/net.toml --out run");
    assert_eq!(&place.json("eval run")[0], rows.last().unwrap());
    let moved = std::process::Command::new(env!("CARGO_BIN_EXE_thinnet"))
        .args(["eval", "../run", "--json"])
        .current_dir(place.path("far"))
        .output()
        .unwrap();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&moved.stdout).unwrap(), *rows.last().unwrap());
}

/// A file sorted by class, cut in two: what is judged was never taught.
#[test]
fn classes_that_no_row_teaches_are_named() {
    let rows = |class: &'static str| (0..30).map(move |i| format!("{},{i},{class}\n", class.len()));
    let csv = "a,b,label\n".to_owned() + &["x", "yy", "zzz"].into_iter().flat_map(rows).collect::<String>();
    let net = "[data]\npath = \"sorted.csv\"\ntrain = \"0..60\"\ntest = \"60..90\"\n[network]\nlayers = [{ dense = 3 }]\n[train]\nepochs = 1\n";
    let place = Place::with(net);
    place.write("sorted.csv", csv);
    let says = |command: &str| String::from_utf8(place.run(command).stderr).unwrap();
    for command in ["train net.toml", "preflight net.toml"] {
        let text = says(command);
        assert!(text.contains("note: no row to learn from has the class zzz"), "{text}");
    }
    place.write("net.toml", net.replace("0..60", "0..70").replace("60..90", "70..90"));
    let text = says("train net.toml --force");
    assert!(!text.contains("note: no row"), "{text}");
}
