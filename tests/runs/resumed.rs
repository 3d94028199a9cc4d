//! Trainings that go on from their folder: the bits are those of a training that was never interrupted.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::{Place, SMALL, tensors};

const MODEL: &str = "model.safetensors";

/// A command as a process of its own.
pub(super) fn spawned(place: &Place, args: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thinnet"));
    command.args(args.split(' ')).current_dir(place.path(".")).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// The same of a training, once it has said what it trains.
pub(super) fn started(place: &Place, args: &str) -> Child {
    let mut training = spawned(place, args);
    BufReader::new(training.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
    training
}

/// Waits for what a command that is under way will bring about, however slow the machine is.
pub(super) fn until(enough: impl Fn() -> bool) {
    let since = Instant::now();
    while !enough() {
        assert!(since.elapsed() < Duration::from_secs(300), "it has not come about in five minutes");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Ends a command by a signal.
pub(super) fn ended(training: Child, signal: &str) -> Output {
    assert!(Command::new("kill").args([signal, &training.id().to_string()]).status().unwrap().success());
    training.wait_with_output().unwrap()
}

/// What a command that must succeed says besides its output.
pub(super) fn said(place: &Place, arguments: &str) -> String {
    let output = place.run(arguments);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments}: {text}");
    text
}

/// Epochs of a run, 0 where there is none yet.
pub(super) fn epochs(place: &Place, run: &str) -> usize {
    let history = std::fs::read_to_string(place.path(&format!("{run}/history.csv"))).unwrap_or_default();
    history.lines().count().saturating_sub(1)
}

/// Whether two runs have the same weights and the same history.
fn same(place: &Place, runs: [&str; 2]) -> bool {
    let [a, b] = runs.map(|run| (tensors(&place.path(&format!("{run}/{MODEL}"))), place.text(&format!("{run}/history.csv"))));
    a == b
}

/// Patience, accumulated gradients and moments: all that a training keeps.
fn network() -> String {
    SMALL
        .replace(
            "epochs = 3",
            "epochs = 1000000\nbatch = 16\naccumulate = 3\npatience = 1000000\nmomentum_ramp = { from = 0.1, epochs = 9 }",
        )
        .replace("{ adam = { lr = 0.01 } }", "{ sgd = { lr = 0.001, momentum = 0.9 } }")
}

#[cfg(unix)]
#[test]
fn an_interrupted_training_goes_on_bit_for_bit() {
    let place = Place::with(&network());
    let training = started(&place, "train net.toml --out run --save-every 0.2");
    until(|| epochs(&place, "run") > 0);
    let output = ended(training, "-INT");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(130) && text.contains("To go on: thinnet train run --resume"), "{text}");
    let first = epochs(&place, "run");
    let total = first + 20;
    // From the folder alone, in two pieces, the last with the file.
    let text = said(&place, &format!("train run --resume --epochs {}", first + 10));
    assert!(text.contains(&format!("Going on with run in epoch {} of {}.", first + 1, first + 10)), "{text}");
    assert_eq!(epochs(&place, "run"), first + 10);
    said(&place, &format!("train net.toml --out run --resume --epochs {total}"));
    said(&place, &format!("train net.toml --out whole --epochs {total}"));
    assert!(same(&place, ["run", "whole"]));
    assert!(place.text("run/config.toml").contains(&format!("epochs = {total}")));
    // What is through is through.
    let refused = place.fails(&format!("train run --resume --epochs {total}"), 2);
    assert!(refused.contains("are all trained") && refused.contains("--epochs"), "{refused}");
}

#[cfg(unix)]
#[test]
fn a_training_that_was_killed_goes_on_from_what_was_saved() {
    let place = Place::with(&network());
    let training = started(&place, "train net.toml --out run --save-every 0.2");
    // The first save is within the first epoch.
    until(|| epochs(&place, "run") > 0);
    ended(training, "-KILL");
    let total = epochs(&place, "run") + 20;
    said(&place, &format!("train run --resume --epochs {total} --save-every 0"));
    said(&place, &format!("train net.toml --out whole --epochs {total} --save-every 0"));
    assert!(same(&place, ["run", "whole"]));
}

#[test]
fn another_training_does_not_go_on_with_the_run() {
    let place = Place::with(SMALL);
    let refused = place.fails("train net.toml --resume", 2);
    assert!(refused.contains("runs/net/checkpoint.safetensors is not there"), "{refused}");
    said(&place, "train net.toml");
    let before = std::fs::read(place.path("runs/net/checkpoint.safetensors")).unwrap();
    for (from, to, message) in [
        ("lr = 0.01", "lr = 0.02", "train.optimizer.adam.lr is 0.02, but was 0.01"),
        ("seed = 3", "seed = 4", "seed is 4, but was 3"),
        ("dense = 16", "dense = 17", "network.layers[0].dense is 17, but was 16"),
        ("0..200", "0..199", "training rows are not those"),
        ("200..300", "201..300", "validation rows are not those"),
    ] {
        place.write("other.toml", SMALL.replace(from, to));
        let refused = place.fails("train other.toml --out runs/net --resume --epochs 5", 2);
        assert!(refused.contains(message), "{refused}");
        let file = if message.contains("rows") { "runs/net/checkpoint.safetensors" } else { "other.toml" };
        assert!(refused.contains(file), "{refused}");
    }
    let refused = place.fails("train runs/net", 2);
    assert!(refused.contains("is a folder") && refused.contains("--resume"), "{refused}");
    assert!(place.fails("train runs/net --resume --out elsewhere --epochs 5", 2).contains("goes on there"));
    assert!(place.fails("train net.toml --resume --force", 2).contains("--force"));
    assert!(place.fails("train net.toml --save-every=-1 --out a", 2).contains("seconds"));
    let refused = place.fails("predict runs/net/checkpoint.safetensors --data digits", 2);
    assert!(refused.contains("checkpoint of a training") && refused.contains("model.safetensors"), "{refused}");
    assert!(std::fs::read(place.path("runs/net/checkpoint.safetensors")).unwrap() == before);
    // Patience and epochs may be others; a family of products, too, and it is said.
    place.write("net.toml", SMALL.replace("epochs = 3", "epochs = 5\npatience = 4"));
    let text = said(&place, "--matmul tile train net.toml --resume");
    assert!(text.contains("sums are added in another order"), "{text}");
    assert_eq!(epochs(&place, "runs/net"), 5);
}

/// A schedule that has come to its end would train nothing: that is refused, and another one in the file goes on.
#[test]
fn a_training_whose_schedule_has_ended_goes_on_with_another() {
    let place = Place::with(&SMALL.replace("epochs = 3", "epochs = 2\nschedule = { cosine = {} }"));
    said(&place, "train net.toml");
    let before = std::fs::read(place.path("runs/net/checkpoint.safetensors")).unwrap();
    let refused = place.fails("train runs/net --resume --epochs 4", 2);
    assert!(refused.contains("learning rate to 0 in the 2 epochs") && refused.contains("cosine = { epochs = 4 }"), "{refused}");
    assert!(std::fs::read(place.path("runs/net/checkpoint.safetensors")).unwrap() == before);
    let config = place.text("runs/net/config.toml");
    place.write("runs/net/config.toml", config.replace("epochs = 2.0", "epochs = 4.0"));
    let text = said(&place, "train runs/net --resume --epochs 4");
    assert!(text.contains("schedule of the learning rate is {\"cosine\":{\"epochs\":4.0"), "{text}");
    let losses: Vec<String> = place.text("runs/net/history.csv").lines().skip(1).map(ToOwned::to_owned).collect();
    let valid = |epoch: usize| losses[epoch].split(',').nth(3).unwrap().to_owned();
    assert!(losses.len() == 4 && valid(1) != valid(2), "{losses:?}");
    // The file of the beginning says the same when its epochs are as many.
    place.write("net.toml", SMALL.replace("epochs = 3", "epochs = 5\nschedule = { cosine = { epochs = 4 } }"));
    assert!(place.fails("train net.toml --resume", 2).contains("learning rate to 0"));
}

/// The last good checkpoint stays where there is no better one, and what was written is said.
#[test]
fn a_training_that_diverges_leaves_the_checkpoint_before() {
    // Weight decay makes the weights a hundred times larger at every update, whatever the loss says.
    let network = "[data]\npath = \"x.csv\"\n[network]\nlayers = [{ dense = 2 }]\n[train]\nepochs = 14\nbatch = 4\n\
                   weight_decay = 1e5\noptimizer = { sgd = { lr = 1e-3 } }\n";
    let place = Place::with(network);
    place.write("x.csv", "x,class\n1,a\n2,b\n3,a\n4,b\n");
    said(&place, "train net.toml --out run");
    let before = place.everything();
    let refused = place.fails("train run --resume --epochs 40", 1);
    assert!(refused.contains("diverged"), "{refused}");
    assert!(place.everything() == before);
    // With patience the best epoch is kept, and nothing is said to be there that is not.
    let network = SMALL.replace("epochs = 3", "epochs = 60\npatience = 60\nweight_decay = 5e4\nbatch = 200");
    let network = network.replace("{ adam = { lr = 0.01 } }", "{ sgd = { lr = 1e-3 } }");
    place.write("net.toml", network);
    let text = place.prints("train net.toml --out far");
    assert!(text.contains("diverged") && text.contains("there is no checkpoint"), "{text}");
    assert!(!text.contains("checkpoint.safetensors"), "{text}");
    assert!(!place.path("far/checkpoint.safetensors").exists());
}

/// What else is in the folder of a run stays, and no more is replaced than what was trained.
#[test]
fn going_on_replaces_nothing_but_the_run() {
    let place = Place::with(SMALL);
    said(&place, "train net.toml --out run --profile=1");
    said(&place, "calibrate run");
    place.write("run/notes.txt", "years");
    let profile = place.bytes("run/profile.json");
    let text = said(&place, "train run --resume --epochs 4");
    assert!(text.contains("calibrate again"), "{text}");
    assert!(place.text("run/notes.txt") == "years" && place.bytes("run/profile.json") == profile);
    assert!(place.path("run/calibration").exists() && epochs(&place, "run") == 4);
    assert_eq!(place.names("."), ["net.toml", "run"], "nothing is left beside it");
}

#[test]
fn patience_that_is_given_or_taken_away_later_counts_from_then_on() {
    let best = SMALL.replace("epochs = 3", "epochs = 30\npatience = 2").replace("0.01", "0.1").replace("0..200", "0..60");
    let place = Place::with(&best);
    said(&place, "train net.toml --out run");
    let ended = epochs(&place, "run");
    assert!(ended < 30);
    let refused = place.fails("train run --resume", 2);
    assert!(refused.contains("patience"), "{refused}");
    // Without it the weights are the last ones.
    place.write("net.toml", best.replace("patience = 2", ""));
    said(&place, &format!("train net.toml --out run --resume --epochs {}", ended + 1));
    said(&place, &format!("train net.toml --out whole --epochs {}", ended + 1));
    assert!(same(&place, ["run", "whole"]));
    assert!(place.fails("train nowhere --resume", 2).contains("neither such a file nor such a run"));
    assert!(place.fails("train net.toml --out none --epochs 0", 2).contains("--epochs"));
}
