//! Trainings that end before their time: what was there before stays, and the message says what there is.

use super::resumed::{ended, epochs, said, started, until};
use super::{Place, SMALL};

/// A training in which every update multiplies the weights by 1 - 2.1, until a loss is no number.
fn diverging() -> String {
    let network = SMALL.replace("epochs = 3", "epochs = 100000\nweight_decay = 2100");
    network.replace("{ adam = { lr = 0.01 } }", "{ sgd = { lr = 1e-3 } }")
}

/// The same with epochs of one step and nothing else: what is saved after the first submission is saved after an epoch, however long
/// saving takes and however late it is done again.
fn diverging_by_steps() -> String {
    diverging().replace("epochs = 100000", "epochs = 100000\nbatch = 200").replace("valid = \"200..300\"\n", "")
}

fn after(epochs: usize) -> String {
    format!("after {epochs} epoch{}", if epochs == 1 { "" } else { "s" })
}

/// The folder that a training has left beside its place.
fn beside(place: &Place) -> Option<String> {
    place.names(".").into_iter().find(|name| name.starts_with("run.part-"))
}

#[test]
fn a_run_is_replaced_only_when_the_training_has_ended() {
    let place = Place::with(SMALL);
    said(&place, "train net.toml --out run");
    let before = place.bytes("run/model.safetensors");
    let unchanged = || place.bytes("run/model.safetensors") == before && place.text("run/history.csv").lines().count() == 4;
    place.write("wild.toml", diverging_by_steps());
    let text = place.fails("train wild.toml --out run --force --save-every 0.001", 1);
    let aside = beside(&place).expect("epochs that were saved are kept");
    assert!(unchanged() && text.contains("diverged") && text.contains("the old run in run is untouched"), "{text}");
    assert!(text.contains(&format!("{aside} has the weights and a checkpoint after ")), "{text}");
    assert!(place.text(&format!("{aside}/history.csv")).lines().count() > 1);
    // What is kept is a run.
    place.prints(&format!("eval {aside}"));
    std::fs::remove_dir_all(place.path(&aside)).unwrap();
    // Without a saved epoch nothing stays.
    place.write("wild.toml", diverging());
    let text = place.fails("train wild.toml --out run --force --save-every 0", 1);
    assert!(unchanged() && text.contains("nothing is kept of it; the old run in run is untouched"), "{text}");
    assert_eq!(beside(&place), None);
    // A training that ends takes the place, and only then.
    said(&place, "train net.toml --out run --force --epochs 5 --save-every 0.001");
    assert!(place.text("run/history.csv").lines().count() == 6 && beside(&place).is_none());
}

#[cfg(unix)]
#[test]
fn ctrl_c_replaces_a_run_by_epochs_alone() {
    let place = Place::with(SMALL);
    said(&place, "train net.toml --out run");
    let before = place.everything();
    // One epoch of minutes.
    let long = SMALL.replace("epochs = 3", "epochs = 2\nbatch = 1").replace("0..200", "400..1797");
    place.write("long.toml", long.replace("dense = 16", "dense = 1000, activation = \"relu\" }, { dense = 1000"));
    let output = ended(started(&place, "train long.toml --out run --force --save-every 0 --adapter cpu"), "-INT");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(130) && text.contains("the old run in run is untouched, and nothing is kept"), "{text}");
    std::fs::remove_file(place.path("long.toml")).unwrap();
    assert!(place.everything() == before);
    place.write("many.toml", SMALL.replace("epochs = 3", "epochs = 1000000"));
    let training = started(&place, "train many.toml --out run --force --save-every 0.2");
    until(|| beside(&place).is_some_and(|beside| epochs(&place, &beside) > 3));
    let output = ended(training, "-INT");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(130) && text.contains("run has what there was by then"), "{text}");
    assert!(epochs(&place, "run") > 3 && beside(&place).is_none());
}

/// Another command may have written a run where --force was said of an older one.
#[cfg(unix)]
#[test]
fn what_force_was_not_said_of_is_not_replaced() {
    let place = Place::with(SMALL);
    said(&place, "train net.toml --out run");
    place.write("many.toml", SMALL.replace("epochs = 3", "epochs = 1000000"));
    let training = started(&place, "train many.toml --out run --force --save-every 0.2");
    until(|| beside(&place).is_some_and(|beside| epochs(&place, &beside) > 0));
    said(&place, "train run --resume --epochs 6");
    let theirs = place.bytes("run/model.safetensors");
    let output = ended(training, "-INT");
    let text = String::from_utf8_lossy(&output.stderr);
    let aside = beside(&place).expect("what was trained is kept");
    assert!(output.status.code() == Some(1) && text.contains("another command has written there"), "{text}");
    assert!(text.contains(&aside) && place.bytes("run/model.safetensors") == theirs, "{text}");
}

#[test]
fn a_training_that_diverges_says_what_there_is() {
    let place = Place::with(&diverging_by_steps());
    place.write("soon.toml", diverging());
    let text = place.fails("train soon.toml --out run --save-every 0", 1);
    assert!(text.contains("diverged") && text.contains("; nothing was written") && !place.path("run").exists(), "{text}");
    let text = place.fails("train net.toml --out run --save-every 0.001", 1);
    assert!(text.contains("; run has the weights and a checkpoint after ") && text.contains("--force in its place"), "{text}");
    let epochs = epochs(&place, "run");
    assert!(text.contains(&format!("checkpoint {};", after(epochs))), "{text}");
    let text = place.fails("train run --resume --save-every 0", 1);
    assert!(text.contains(&format!("; run is untouched, with a checkpoint {};", after(epochs))), "{text}");
}

/// What is listed was written by this command.
#[test]
fn a_training_that_diverges_with_a_best_epoch_lists_what_it_has_written() {
    let place = Place::with(&diverging().replace("[train]", "[train]\npatience = 100000"));
    said(&place, "train net.toml --out run --epochs 2 --profile=1");
    let checkpoint = place.bytes("run/checkpoint.safetensors");
    let text = place.prints("train net.toml --out run --resume --epochs 100000 --save-every 0");
    let written = text.lines().find(|line| line.starts_with("Written to run: ")).unwrap();
    assert!(!written.contains("checkpoint.safetensors") && !written.contains("profile.json"), "{text}");
    assert!(
        text.contains("diverged") && text.contains("checkpoint.safetensors was written before that (after 2 epochs)"),
        "{text}"
    );
    assert!(place.bytes("run/checkpoint.safetensors") == checkpoint);
    let rows = place.json("train net.toml --out far --save-every 0");
    let whole = rows.iter().find(|row| row["what"] == "training").unwrap();
    assert_eq!((&whole["best"], &whole["diverged"]), (&1.into(), &true.into()));
    let rows = place.json("train net.toml --out near --epochs 2");
    assert_eq!(rows.iter().find(|row| row["what"] == "training").unwrap()["diverged"], false);
}

/// A limit on the length of a file ends a write as a full disk does: the weights fit, and the checkpoint, with its moments, does not.
#[cfg(target_os = "linux")]
#[test]
fn on_a_full_disk_the_weights_are_kept_and_it_is_said_of_which_epoch() {
    let place = Place::with(&SMALL.replace("dense = 16", "dense = 256"));
    let full = |arguments: &str| {
        let command = format!("trap '' XFSZ; ulimit -f 300; exec {} {arguments} --adapter cpu", env!("CARGO_BIN_EXE_thinnet"));
        let output = std::process::Command::new("sh").args(["-c", &command]).current_dir(place.path(".")).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        text
    };
    let text = full("train net.toml --out run --epochs 2");
    let aside = beside(&place).expect("the weights are kept");
    assert!(text.contains("checkpoint.safetensors") && text.contains("cannot be written"), "{text}");
    assert!(text.contains(&format!("; {aside} has the weights after 2 epochs")) && !place.path("run").exists(), "{text}");
    place.prints(&format!("eval {aside} --adapter cpu"));
    said(&place, "train net.toml --out run --epochs 2 --adapter cpu");
    let text = full("train run --resume --epochs 3");
    assert!(text.contains("; run has the weights after 3 epochs and a checkpoint after 2 epochs"), "{text}");
}
