//! Places to write to: what is read is never replaced, and a place that cannot be written to is found out before the work.

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
