//! Places to write to: what is read is never replaced, and a place that cannot be written to is found out before the work.
//! Names of columns: each of them once.

use super::{Place, SMALL, line_csv};

const LINE: &str = "[data]\npath = \"line.csv\"\ntarget = \"price\"\nvalid = \"20..30\"\ntest = \"30..40\"\n[network]\n\
     loss = \"mean_squared_error\"\nlayers = [{ dense = 4 }, { dropout = { keep = 0.5 } }, { dense = 1 }]\n[train]\nepochs = 1\n";

#[test]
fn force_replaces_no_file_that_is_read() {
    let place = Place::with(LINE);
    place.write("line.csv", line_csv(40));
    place.write("new.csv", "a,b\n1,2\n3,4\n");
    place.write("rows.npy", "kept");
    // Folders that a calibration and a sweep would take for their own.
    place.write("c/figures.csv", line_csv(40));
    place.write("s/history.csv", line_csv(40));
    place.prints("train net.toml --out run");
    place.prints("init --data new.csv --target a --regression --out kept.toml");
    let before = place.everything();
    for (arguments, file) in [
        ("predict run --data new.csv --out new.csv", "new.csv"),
        ("predict run --data new.csv --out run/../new.csv", "new.csv"),
        ("predict run --draws 4 --data rows.npy --keep-draws rows.npy", "rows.npy"),
        // The data of the run, which the command line does not name.
        ("predict run --out line.csv", "line.csv"),
        ("predict run/model.safetensors --network net.toml --data new.csv --out line.csv", "line.csv"),
        ("calibrate run --data c/figures.csv --target price --out c", "c/figures.csv"),
        ("sweep net.toml --data s/history.csv --keep 0.5 --seeds 1 --out s", "s/history.csv"),
    ] {
        let text = place.fails(&format!("{arguments} --force"), 2);
        assert!(
            text.contains(file) && text.contains("which this command reads") && text.contains("choose another place"),
            "{text}"
        );
        assert!(place.everything() == before, "{arguments}");
    }
    let text = place.fails("init --data new.csv --target a --regression --out new.csv --force", 2);
    assert!(text.contains("new.csv") && text.contains("must end in .toml") && place.everything() == before, "{text}");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(place.path("new.csv"), place.path("link.csv")).unwrap();
        place.fails("predict run --data link.csv --out new.csv --force", 2);
        assert_eq!(place.text("new.csv"), "a,b\n1,2\n3,4\n");
    }
    // Answers are replaced as ever.
    place.prints("predict run --data new.csv --out answers.csv");
    place.prints("predict run --data new.csv --out answers.csv --force");
}

/// Where there is no such adapter, opening the device ends with 3: whatever ends with another code was found out before.
#[test]
fn a_place_that_cannot_be_written_to_is_found_out_before_the_device_is_opened() {
    let place = Place::with(SMALL);
    place.prints("train net.toml --out run");
    place.write("file", "kept");
    let before = place.everything();
    for (arguments, code, says) in [
        ("predict run --out nowhere/x.csv", 2, "nowhere/x.csv: its folder does not exist"),
        ("predict run --draws 4 --out nowhere/x.csv", 2, "nowhere/x.csv: its folder does not exist"),
        ("predict run --draws 4 --keep-draws nowhere/x.npy", 2, "nowhere/x.npy: its folder does not exist"),
        ("predict run --out file/x.csv", 1, "file/x.csv: cannot be written"),
        ("predict run --out answers.csv/", 2, "answers.csv/ ends like a folder; name a file with --out"),
        ("predict run --out answers.csv/.", 2, "ends like a folder"),
        ("predict run --draws 4 --keep-draws draws.npy/", 2, "name a file with --keep-draws"),
        ("init --out nowhere/net.toml", 2, "nowhere/net.toml: its folder does not exist"),
        ("calibrate run --out file/c", 1, "file/c: cannot be created"),
        ("sweep net.toml --out file/s", 1, "file/s: cannot be created"),
        ("demo --out file/d", 1, "file/d: cannot be created"),
        ("predict run --out x.csv", 3, "no-such-adapter"),
        ("calibrate run --out new/c", 3, "no-such-adapter"),
    ] {
        let text = place.fails(&format!("{arguments} --adapter no-such-adapter"), code);
        assert!(text.contains(says), "{arguments}: {text}");
        assert!(place.everything() == before, "{arguments} leaves something behind");
    }
}

/// The columns of an answer, no two of which have one name.
#[track_caller]
fn columns(place: &Place, arguments: &str) -> Vec<String> {
    let text = place.prints(arguments);
    let columns: Vec<String> = text.lines().next().unwrap().split(',').map(Into::into).collect();
    let once: std::collections::BTreeSet<&String> = columns.iter().collect();
    assert_eq!(once.len(), columns.len(), "{columns:?}");
    columns
}

#[test]
fn every_column_of_a_prediction_has_a_name_of_its_own() {
    let classes = ["label", "row", "row_std", "sequence", "variation_ratio"];
    let network = "[data]\npath = \"t.csv\"\ntest = \"40..60\"\n[network]\nlayers = [{ dense = 8 }, { dropout = { keep = 0.5 } }, \
                   { dense = 5 }]\n[train]\nepochs = 1\n";
    let place = Place::with(network);
    let row = |i: usize| format!("{},{},{}\n", i % 5, i % 7, classes[i % 5]);
    place.write("t.csv", "a,b,label\n".to_owned() + &(0..60).map(row).collect::<String>());
    place.prints("train net.toml --out run");
    let answers = ["row", "label", "outputs_label", "outputs_row", "row_std", "sequence"];
    assert_eq!(columns(&place, "predict run"), [&answers[..], &["variation_ratio"]].concat());
    let drawn = columns(&place, "predict run --draws 4 --all-std");
    assert_eq!(drawn[..7], [&answers[..], &["outputs_variation_ratio"]].concat());
    assert_eq!(drawn[7..9], ["label_std", "std_row_std"]);
    assert_eq!(drawn.last().unwrap(), "variation_ratio");
    // The labels are the classes' own names.
    assert!(place.json("predict run").iter().all(|row| classes.contains(&row["label"].as_str().unwrap())));

    place.write("line.csv", line_csv(40).replacen("price", "row", 1));
    place.write("net.toml", LINE.replace("price", "row"));
    place.prints("train net.toml --out line");
    assert_eq!(columns(&place, "predict line"), ["row", "outputs_row"]);
    let drawn = columns(&place, "predict line --draws 4 --interval 0.9 --interval 0.5 --interval 0.90");
    assert_eq!(drawn[2..], ["row_std", "row_total_std", "row_low_90", "row_high_90", "row_low_50", "row_high_50"]);
}
