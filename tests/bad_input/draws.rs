use super::{Case, refuses, trained};
use crate::runs::{Place, SMALL, line_csv};

#[test]
fn options_of_draws_are_checked() {
    let place = trained();
    place.write("kept.npy", "kept");
    let needs = |option: &'static str| -> [&'static str; 2] { [option, "add --draws 100"] };
    let alone = [
        ("predict run --seed 3", needs("--seed")),
        ("predict run --one-network", needs("--one-network")),
        ("predict run --sampling antithetic", needs("--sampling")),
        ("predict run --gaussian-weights", needs("--gaussian-weights")),
        ("predict run --until-se 0.1", needs("--until-se")),
        ("predict run --precision 2", needs("--precision")),
        ("predict run --interval 0.9", needs("--interval")),
        ("predict run --keep-draws d.npy", needs("--keep-draws")),
        ("predict run --first-sample 7", needs("--first-sample")),
        ("predict run --all-std --logits", needs("--all-std")),
    ];
    let alone: Vec<Case<'_>> = alone.iter().map(|(arguments, says)| (*arguments, &says[..])).collect();
    refuses(&place, &alone);
    let cases: [Case<'_>; 26] = [
        ("predict run --top 3", &["--rank"]),
        ("predict run --draws 9 --logits", &["--logits", "not the logit of the mean probability", "leave out"]),
        ("predict run --rank bald --logits", &["--logits", "leave out"]),
        ("predict run --draws 1", &["`draws` = 1", "from 2 to"]),
        ("predict run --draws many", &["many", "--draws", "no whole number"]),
        ("predict run --draws 7 --sampling antithetic", &["7", "even number"]),
        ("predict run --draws 8 --sampling exact-k", &["exact-k", "add --one-network"]),
        ("predict run --draws 8 --sampling best", &["best", "latin-hypercube"]),
        ("predict run --draws 8 --sampling latin-hypercube --until-se 0.1", &["all together", "number of draws"]),
        ("predict run --draws 8 --gaussian-weights", &["gaussian_weights", "no DropConnect layer", "leave it out"]),
        (
            "predict run --draws 8 --gaussian-weights --sampling latin-hypercube",
            &["gaussian_weights", "Latin hypercube", "use independent or antithetic draws"],
        ),
        ("predict run --draws 8 --until-se 0", &["`until_se` = 0", "above 0"]),
        ("predict run --draws 8 --interval 0.9", &["--interval", "numbers of a regression", "--all-std"]),
        ("predict run --draws 8 --interval 90", &["90", "between 0 and 1, such as 0.9"]),
        ("predict run --draws 8 --precision 2", &["--precision", "tells classes apart", "leave it out"]),
        ("predict run --draws 8 --first-sample 4294967295", &["4294967295", "4294967394"]),
        ("predict run --draws 8 --keep-draws d.csv", &["d.csv", "end in .npy"]),
        ("predict run --draws 8 --keep-draws d", &["--keep-draws d", "end in .npy"]),
        ("predict run --draws 8 --keep-draws kept.npy", &["kept.npy exists already", "with --keep-draws", "--force"]),
        ("predict run --draws 8 --keep-draws b.npy --out b.npy", &["b.npy", "both --out and --keep-draws", "another file"]),
        ("predict run --draws 8 --keep-draws ./b.npy --out b.npy", &["b.npy", "both --out and --keep-draws", "another file"]),
        ("predict run --draws 8 --keep-draws nowhere/b.npy", &["nowhere/b.npy", "its folder does not exist"]),
        ("predict run --rank best", &["best", "variation-ratio"]),
        ("predict run --rank bald --top 0", &["--top", "at least 1"]),
        ("predict run --rank bald --out r.npy", &["--rank", ".npy", "write a .csv"]),
        ("predict run --rank bald --all-std", &["--rank", "--all-std"]),
    ];
    refuses(&place, &cases);
}

#[test]
fn networks_that_cannot_be_drawn_as_asked_are_named() {
    let place = Place::with(&SMALL.replace("{ dropout = { keep = 0.5 } },", "").replace("epochs = 3", "epochs = 1"));
    place.prints("train net.toml --out run");
    refuses(&place, &[("predict run --draws 8", &["no dropout layer with keep_prob below 1", "predict without draws"])]);

    let regression = |targets: &str, outputs: u32| {
        format!(
            "[data]\npath = \"line.csv\"\ntarget = {targets}\ntest = \"30..40\"\n[network]\nloss = \"mean_squared_error\"\nlayers = \
             [{{ dense = 4 }}, {{ dropout = {{ keep = 0.9 }} }}, {{ dense = {outputs} }}]\n[train]\nepochs = 1\n"
        )
    };
    place.write("line.csv", line_csv(40));
    for (name, targets, outputs) in [("one", "\"price\"", 1), ("two", "[\"b\", \"price\"]", 2)] {
        place.write("net.toml", regression(targets, outputs));
        place.prints(&format!("train net.toml --out {name}"));
    }
    let cases: [Case<'_>; 3] = [
        ("predict one --rank bald", &["--rank is for classes", "sort the table"]),
        ("predict one --draws 8 --precision 0", &["`precision` = 0", "above 0"]),
        ("predict two --draws 8 --precision 3", &["--precision 3", "2 targets", "gaussian_nll"]),
    ];
    refuses(&place, &cases);
    place.prints("predict two --draws 8");
}
