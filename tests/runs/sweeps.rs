use std::time::{Duration, Instant};

use super::resumed::{ended, said, spawned, until};
use super::{Place, SMALL, cells, keys};

#[test]
fn keep_1_in_a_sweep_is_the_training_without_dropout() {
    let place = Place::with(SMALL);
    let text = place.prints("sweep net.toml --keep 1,0.5 --seeds 2");
    assert!(text.contains("best") && text.contains("runs/net-sweep"), "{text}");
    assert_eq!((place.names("."), place.names("runs")), (vec!["net.toml".into(), "runs".into()], vec!["net-sweep".into()]));
    assert_eq!(place.names("runs/net-sweep"), ["config.toml", "curves.svg", "rates.csv", "rates.svg", "sweep.csv", "sweep.json"]);
    for name in ["curves.svg", "rates.svg"] {
        assert!(place.text(&format!("runs/net-sweep/{name}")).trim_end().ends_with("</svg>"));
    }
    let csv = place.text("runs/net-sweep/sweep.csv");
    assert!(csv.starts_with("keep,seed,epoch,train_loss,train_accuracy,valid_loss,valid_accuracy\n"), "{csv}");
    let rows = cells(&csv);
    assert_eq!(rows.len(), 2 * 2 * 3);
    // Each run of the sweep is the training of the same file with that rate and seed.
    let plain = SMALL.replace("{ dropout = { keep = 0.5 } }, ", "");
    for (keep, seed, network) in [("1", "3", &*plain), ("1", "4", &*plain), ("0.5", "3", SMALL), ("0.5", "4", SMALL)] {
        place.write("one.toml", network.replace("seed = 3", &format!("seed = {seed}")));
        place.prints("train one.toml --force");
        let history = place.text("runs/one/history.csv");
        let of_sweep: Vec<&[&str]> = rows.iter().filter(|row| row[..2] == [keep, seed]).map(|row| &row[2..]).collect();
        assert_eq!(of_sweep, cells(&history), "keep {keep}, seed {seed}");
    }
}

#[test]
fn json_of_a_sweep_is_one_rate_a_line() {
    let place = Place::with(SMALL);
    let rows = place.json("sweep net.toml --keep 0.8,0.5,0.8 --seeds 2 --out s");
    assert_eq!(rows.iter().map(|row| row["keep"].as_f64().unwrap()).collect::<Vec<_>>(), [0.5, 0.8]);
    for row in &rows {
        assert_eq!(keys(row), ["best", "difference", "difference_error", "keep", "mean", "standard_error", "tie"]);
    }
    assert_eq!(rows.iter().filter(|row| row["best"] == true).count(), 1);
    assert_eq!((rows[1]["difference"].as_f64(), rows[1]["difference_error"].as_f64()), (Some(0.0), Some(0.0)));
    // Means, standard errors and differences, from the figures of the last epoch.
    let csv = place.text("s/sweep.csv");
    let last = |keep: &str| -> Vec<f64> {
        let rows = cells(&csv);
        rows.iter().filter(|row| row[0] == keep && row[2] == "3").map(|row| 100.0 * row[6].parse::<f64>().unwrap()).collect()
    };
    let close = |value: &serde_json::Value, expected: f64| assert!((value.as_f64().unwrap() - expected).abs() < 1e-3, "{value}");
    let (half, most) = (last("0.5"), last("0.8"));
    close(&rows[0]["mean"], (half[0] + half[1]) / 2.0);
    close(&rows[0]["standard_error"], (half[0] - half[1]).abs() / 2.0);
    close(&rows[0]["difference"], (half[0] - most[0] + half[1] - most[1]) / 2.0);
    close(&rows[0]["difference_error"], (half[0] - most[0] - half[1] + most[1]).abs() / 2.0);
    let single = place.json("sweep net.toml --keep 0.5 --seeds 1 --out t");
    assert!(single.len() == 1 && single[0]["standard_error"].is_null() && single[0]["best"] == true);
}

/// Weights that hardly move answer the same at every rate.
#[test]
fn rates_of_one_mean_are_a_tie_and_the_one_that_drops_least_is_best() {
    let place = Place::with(&SMALL.replace("0.01", "1e-12").replace("epochs = 3", "epochs = 1"));
    let rows = place.json("sweep net.toml --keep 0.3,0.5,0.9,0.5 --seeds 2 --out s");
    assert!(rows.len() == 3 && rows.iter().all(|row| row["mean"] == rows[0]["mean"] && row["tie"] == true), "{rows:?}");
    assert_eq!(rows.iter().map(|row| row["best"] == true).collect::<Vec<_>>(), [false, false, true]);
    let text = place.prints("sweep net.toml --keep 0.3,0.9 --seeds 2 --out t");
    assert!(text.contains("It is a tie: keep 0.3, 0.9 reach the same mean"), "{text}");
    assert!(place.text("t/rates.svg").contains("best: keep 0.9, a tie"));
    place.write("net.toml", SMALL);
    assert!(!place.prints("sweep net.toml --keep 0.01,1 --seeds 1 --out u").contains("tie"));
}

#[test]
fn a_sweep_changes_the_layers_that_it_is_told_to() {
    let layers = "{ dropout = { keep = 0.9 } }, { dense = 16, activation = \"relu\" }, { dropout = { keep = 0.5 } }";
    let network = SMALL.replace("{ dense = 16, activation = \"relu\" }, { dropout = { keep = 0.5 } }", layers);
    let place = Place::with(&network);
    // The one train is at 0.9 and 0.5; a sweep leaves the input alone unless told otherwise.
    place.prints("train net.toml --out run");
    let history = place.text("run/history.csv");
    for (arguments, name) in
        [("--keep 0.5", "a"), ("--keep 0.9 --layer 0", "b"), ("--keep 0.9", "c"), ("--keep 0.5 --layer 0", "d")]
    {
        place.prints(&format!("sweep net.toml --seeds 1 {arguments} --out {name}"));
        let csv = place.text(&format!("{name}/sweep.csv"));
        let same = cells(&csv).iter().map(|row| &row[2..]).eq(cells(&history).iter().map(|row| &row[..]));
        assert_eq!(same, name < "c", "{arguments}");
    }
}

#[test]
fn a_sweep_that_fails_leaves_nothing_and_replaces_nothing_unasked() {
    let place = Place::with(SMALL);
    place.write("s/sweep.csv", "kept");
    place.write("file", "kept");
    let before = place.everything();
    assert!(place.fails("sweep net.toml --out s", 2).contains("--force"));
    place.fails("sweep net.toml --out file/s", 1);
    assert!(place.everything() == before);
    place.prints("sweep net.toml --keep 0.5 --seeds 1 --out s --force");
    assert_eq!(place.names("s").len(), 6);
    // A rate that diverges is a result.
    place.write("wild.toml", SMALL.replace("0.01", "1e30"));
    let text = place.fails("sweep wild.toml --keep 0.5,1 --seeds 1 --out wild", 1);
    assert!(text.contains("every rate diverged") && text.contains("smaller learning rate"), "{text}");
    assert_eq!(place.text("wild/rates.csv").lines().nth(1), Some("0.5,,,,"));
    assert_eq!(place.names("."), ["file", "net.toml", "s", "wild", "wild.toml"]);
}

const FILES: [&str; 4] = ["sweep.csv", "rates.csv", "curves.svg", "rates.svg"];

#[test]
fn a_sweep_goes_on_with_more_rates_and_seeds_as_if_they_had_been_there_from_the_start() {
    let place = Place::with(SMALL);
    let table = place.prints("sweep net.toml --keep 0.5,1 --seeds 2 --out whole");
    place.prints("sweep net.toml --keep 1 --seeds 1 --out part");
    let first = place.text("part/sweep.json");
    assert!(said(&place, "sweep net.toml --keep 0.5 --seeds 2 --out part --resume").contains("1 of 4 runs are through"));
    for name in FILES {
        assert_eq!(place.text(&format!("part/{name}")), place.text(&format!("whole/{name}")), "{name}");
    }
    // What was through was not made again: its seconds are those of the first time.
    let seconds = |json: &str| {
        let sweep: serde_json::Value = serde_json::from_str(json).unwrap();
        let run = sweep["runs"].as_array().unwrap().iter().find(|run| run["keep"] == 1.0 && run["seed"] == 3).cloned().unwrap();
        run["history"].as_array().unwrap().iter().map(|epoch| epoch["seconds"].as_f64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(seconds(&first), seconds(&place.text("part/sweep.json")));
    // From the folder alone; nothing is left to do.
    let before = place.everything();
    assert_eq!(place.prints("sweep part --resume"), table.replace("whole", "part"));
    assert!(place.everything() == before);
}

#[cfg(unix)]
#[test]
fn a_sweep_that_was_interrupted_or_killed_keeps_its_runs() {
    let place = Place::with(SMALL);
    let runs = || place.text("s/sweep.csv").lines().count() / 3;
    let mut made = 0;
    for (signal, arguments) in [
        ("-INT", "sweep net.toml --keep 0.5,1 --seeds 1000 --out s"),
        ("-KILL", "sweep s --resume"),
        ("-INT", "sweep net.toml --out s --resume"),
    ] {
        let sweep = spawned(&place, arguments);
        until(|| place.path("s/sweep.json").exists() && runs() > made + 2);
        let output = ended(sweep, signal);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(
            signal == "-KILL" || output.status.code() == Some(130) && text.contains("To go on: thinnet sweep s --resume"),
            "{text}"
        );
        assert!(signal == "-KILL" || text.contains(&format!("s has {} of 2000 runs", runs())), "{text}");
        assert!(made == 0 || signal == "-KILL" || text.contains(" of 2000 runs are through"), "{text}");
        made = runs();
    }
    // Seed by seed, so that what there is can be compared.
    place.prints("sweep net.toml --keep 0.5,1 --seeds 2 --out whole");
    let (whole, csv) = (place.text("whole/sweep.csv"), place.text("s/sweep.csv"));
    assert!(cells(&whole).iter().all(|row| cells(&csv).contains(row)), "{csv}");
    assert_eq!(place.text("s/rates.csv").lines().count(), 3);
}

#[test]
fn another_sweep_does_not_go_on_in_its_folder() {
    let place = Place::with(SMALL);
    assert!(place.fails("sweep net.toml --resume", 2).contains("sweep.json cannot be read"));
    place.prints("sweep net.toml --keep 0.5 --seeds 1");
    let before = place.everything();
    for (from, to, arguments, message) in [
        ("lr = 0.01", "lr = 0.02", "", "train.optimizer.adam.lr is 0.02, but was 0.01"),
        ("epochs = 3", "epochs = 4", "", "train.epochs is 4, but was 3"),
        ("0..200", "0..199", "", "training rows are not those"),
        ("200..300", "201..300", "", "validation rows are not those"),
        ("{ dense = 16", "{ dropout = { keep = 0.9 } }, { dense = 16", "", "network.layers"),
        ("seed", "seed", "--keep 0.5,2", "keep_prob 2"),
        ("seed", "seed", "--layer 0", "layer 0"),
        ("seed", "seed", "--force", "--resume"),
    ] {
        place.write("other.toml", SMALL.replace(from, to));
        let refused = place.fails(format!("sweep other.toml --out runs/net-sweep --resume {arguments}").trim(), 2);
        assert!(refused.contains(message), "{refused}");
    }
    std::fs::remove_file(place.path("other.toml")).unwrap();
    assert!(place.everything() == before);
    place.write("two.toml", SMALL.replace("layers = [", "layers = [{ dropout = { keep = 0.9 } }, "));
    place.prints("sweep two.toml --keep 0.5 --seeds 1 --layer 0");
    let refused = place.fails("sweep two.toml --resume --layer 2", 2);
    assert!(refused.contains("what is swept is 2, but was 0"), "{refused}");
    let whole = place.text("runs/net-sweep/sweep.json");
    for damaged in [
        &whole[..whole.len() / 2],
        &whole.replace("\"seed\": 3,", "\"seed\": 4,"),
        "{}",
        &whole.replace("\"epoch\": 1", "\"epoch\": 7"),
        &whole.replace("contract\": 1", "contract\": 9"),
    ] {
        place.write("runs/net-sweep/sweep.json", damaged);
        let refused = place.fails("sweep net.toml --resume", 2);
        assert!(
            refused.contains("sweep.json") && (refused.contains("begin another") || refused.contains("version 9")),
            "{refused}"
        );
    }
}

#[cfg(unix)]
#[test]
fn a_sweep_that_was_interrupted_in_its_first_lot_leaves_the_old_results() {
    let place = Place::with(SMALL);
    let since = Instant::now();
    place.prints("sweep net.toml --keep 1 --seeds 1 --out s");
    let moment = since.elapsed();
    place.write("long.toml", SMALL.replace("epochs = 3", "epochs = 1000000"));
    let before = place.everything();
    let again = |arguments: &str| {
        // By then a whole sweep was made, so that this one is under way.
        let sweep = spawned(&place, arguments);
        std::thread::sleep(moment.max(Duration::from_secs(2)));
        let output = ended(sweep, "-INT");
        assert_eq!(output.status.code(), Some(130));
        String::from_utf8(output.stderr).unwrap()
    };
    let text = again("sweep long.toml --keep 1 --seeds 1 --out s --force");
    assert!(text.contains("nothing of it is kept, and s is untouched") && place.everything() == before, "{text}");
    let text = again("sweep long.toml --keep 1 --seeds 1 --out new");
    assert!(text.contains("nothing of it is kept.") && place.everything() == before, "{text}");
}

#[test]
fn rates_that_diverged_are_not_made_again() {
    let place = Place::with(&SMALL.replace("0.01", "1e30"));
    place.fails("sweep net.toml --keep 0.5,1 --seeds 1 --out s", 1);
    let before = place.everything();
    let output = place.fails("sweep s --resume", 1);
    assert!(output.contains("2 of 2 runs are through") && output.contains("every rate diverged"), "{output}");
    assert!(place.everything() == before);
}

/// Two commands in one folder: the later one to write notices, writes nothing there, and loses nothing.
#[cfg(unix)]
#[test]
fn a_sweep_whose_folder_another_command_has_replaced_leaves_it_alone() {
    let place = Place::with(SMALL);
    // It appears whole, and eight runs take seconds: nothing is written while it is moved.
    place.write("long.toml", SMALL.replace("epochs = 3", "epochs = 200"));
    let sweep = spawned(&place, "sweep long.toml --keep 0.5,1 --seeds 8 --out s");
    until(|| place.path("s/sweep.json").exists());
    std::fs::rename(place.path("s"), place.path("moved")).unwrap();
    place.write("s/history.csv", "theirs");
    let output = sweep.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && text.contains("another command has written there"), "{text}");
    assert_eq!((place.names("s"), &*place.text("s/history.csv")), (vec!["history.csv".to_string()], "theirs"));
    let aside = place.names(".").into_iter().find(|name| name.starts_with("s.part-")).unwrap();
    assert!(place.text(&format!("{aside}/sweep.csv")).lines().count() > 3);
}
