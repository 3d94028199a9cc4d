//! Sequences by every command: what is said of them, and that a model keeps their room.

use super::{Place, cells};
use crate::data_files::sequences::npz;
use crate::data_files::{floats, npy};

/// Sequences of one to `longest` steps of two features, whose sign says the class.
fn ts(rows: u32, longest: u32) -> String {
    let row = |row: u32| {
        let sign = if row.is_multiple_of(2) { 1.0 } else { -1.0 };
        let feature = |scale: f64| {
            let steps = 1 + row * 7 % longest;
            (0..steps).map(|t| format!("{}", sign * scale * (1.0 + f64::from(t)))).collect::<Vec<_>>().join(",")
        };
        format!("{}:{}:{}\n", feature(1.0), feature(10.0), ["up", "down"][row as usize % 2])
    };
    let rows: String = (0..rows).map(row).collect();
    format!("@problemName Signs\n@dimensions 2\n@equalLength false\n@classLabel true up down\n@data\n{rows}")
}

#[test]
fn data_says_steps_features_and_lengths() {
    let place = Place::new();
    place.write("s_TRAIN.ts", ts(5, 4));
    place.write("s_TEST.ts", ts(8, 6));
    let text = place.prints("data s_TRAIN.ts");
    // Lengths 1, 4, 3, 2, 1 and, of the test set, 1, 2, 3, 4, 5, 6, 1, 2.
    let expected = "rows: 5, 2 classes. Sequences of 1 to 4 steps (median 2), with room for 6, 2 features at each.\n\
                    test: 8, 2 classes. Sequences of 1 to 6 steps (median 2), with room for 6, 2 features at each.\n\
                    outputs: down, up\n";
    assert_eq!(text, expected);
    let rows = place.json("data s_TRAIN.ts");
    assert_eq!((&rows[0]["lengths"], &rows[0]["steps"], &rows[0]["features"]), (&[1, 2, 4].into(), &6.into(), &2.into()));
    assert_eq!((rows.len(), &rows[1]["rows"]), (2, &8.into()));
    assert_eq!((&rows[0]["outputs"], &rows[1]["outputs"]), (&["down", "up"].into(), &["down", "up"].into()));
    assert!(place.json("data digits")[0].get("outputs").is_none(), "digits have no other names");
    assert_eq!(place.prints("data digits"), "rows: 1797, 10 classes. 64 columns.\n");
    assert!(place.fails("data none.ts", 2).contains("none.ts: found no such file"));
    place.write("steps.csv", "id,x,y\n1,1,0\n1,2,0\n2,3,1\n");
    let text = place.prints("data steps.csv --sequence id");
    assert_eq!(text, "rows: 2, 2 classes. Sequences of 1 to 2 steps (median 1), with room for 2, 1 feature at each.\n");
    // What a file says does nothing to a terminal.
    place.write("loud.csv", format!("x,y\n1,\u{1b}[2Jcat\n2,{}\n", "b".repeat(70)));
    let text = place.prints("data loud.csv");
    assert!(text.ends_with(&format!("outputs: \\u{{1b}}[2Jcat, {}...\n", "b".repeat(60))), "{text:?}");
}

#[test]
fn init_suits_sequences() {
    let place = Place::new();
    place.write("s.ts", ts(30, 4));
    place.prints("init --data s.ts --out s.toml");
    let text = place.text("s.toml");
    assert!(text.contains("{ lstm = 64") && text.contains("{ dense = 2 },\n]"), "{text}");
    place.write("steps.csv", "id,x,y\n1,1,0\n1,2,0\n2,3,1\n");
    place.prints("init --data steps.csv --sequence id --out steps.toml");
    assert!(place.text("steps.toml").contains("\nsequence = \"id\" "), "{}", place.text("steps.toml"));
}

#[test]
fn a_model_answers_for_sequences_of_other_lengths() {
    let place = Place::new();
    place.write("s_TRAIN.ts", ts(40, 4));
    place.write("s_TEST.ts", ts(10, 6));
    // A network that reads all steps, with the zeros behind the end.
    let net = "[data]\npath = \"s_TRAIN.ts\"\n[network]\nlayers = [{ flatten = true }, { dense = 2 }]\n[train]\nepochs = 30\n\
               optimizer = { adam = { lr = 0.05 } }\n";
    place.write("net.toml", net);
    let said = place.prints("train net.toml");
    assert!(said.contains("Sequences of 1 to 4 steps (median 2), with room for 6, 2 features at each."), "{said}");
    assert!(place.text("runs/net/config.toml").contains("s_TRAIN.ts"));
    // Shorter sequences, without classes.
    place.write("new.ts", "@classLabel false\n@data\n5:50\n-1,-2:-10,-20\n");
    let answers = place.prints("predict runs/net --data new.ts");
    let labels: Vec<&str> = answers.lines().map(|line| line.split(',').nth(1).unwrap()).collect();
    assert_eq!(labels, ["label", "up", "down"], "{answers}");
    place.prints("eval runs/net");
    place.prints("eval runs/net --data s_TEST.ts");
    // Longer ones have no place.
    place.write("long.ts", "@classLabel false\n@data\n5:50\n1,2,3,4,5,6,7:1,2,3,4,5,6,7\n");
    let text = place.fails("predict runs/net --data long.ts", 2);
    assert!(text.contains("long.ts: row 1 has 7 steps, more than the 6 there is room for"), "{text}");
    // Features that it has not learned from.
    place.write("wide.ts", "@classLabel false\n@data\n5:50:1\n");
    let text = place.fails("predict runs/net --data wide.ts", 2);
    assert!(text.contains("wide.ts: has 3 features at a step, but the preprocessing has 2 means"), "{text}");
}

#[test]
fn a_sweep_reaches_the_dropout_inside_a_recurrent_layer() {
    let place = Place::new();
    place.write("s.ts", ts(40, 4));
    let net = |first: f64, second: f64| {
        format!(
            "seed = 2\n[data]\npath = \"s.ts\"\ntrain = \"0..30\"\nvalid = \"30..40\"\n[network]\nlayers = [\n  \
             {{ gru = 8, bidirectional = true, recurrent = [{{ keep = {first}, variational = true }}, {{ keep = {second}, \
             variational = true }}] }},\n  {{ dense = 2 }},\n]\n[train]\nepochs = 2\noptimizer = {{ adam = {{ lr = 0.01 }} }}\n"
        )
    };
    place.write("net.toml", net(0.9, 0.8));
    // The swept rate is that of the training whose file has it there, for one direction and for both.
    for (at, first, second) in [("0.recurrent[0]", 0.5, 0.8), ("0.recurrent[1]", 0.9, 0.5), ("0.recurrent", 0.5, 0.5)] {
        place.write("one.toml", net(first, second));
        place.prints("train one.toml --out run --force");
        place.prints(&format!("sweep net.toml --seeds 1 --keep 0.5 --layer {at} --out sweep --force"));
        let (swept, trained) = (place.text("sweep/sweep.csv"), place.text("run/history.csv"));
        let same = cells(&swept).iter().map(|row| &row[2..]).eq(cells(&trained).iter().map(|row| &row[..]));
        assert!(same, "{at}: {swept}{trained}");
        // Another rate is another training.
        place.prints(&format!("sweep net.toml --seeds 1 --keep 0.6 --layer {at} --out sweep --force"));
        let swept = place.text("sweep/sweep.csv");
        assert!(cells(&swept).iter().map(|row| &row[2..]).ne(cells(&trained).iter().map(|row| &row[..])), "{at}");
    }
    // The places that a refusal and preflight name are those that a sweep takes.
    let text = place.fails("sweep net.toml --layer 0 --out other", 2);
    assert!(text.contains("layer 0: is no dropout layer") && text.contains("among 0.recurrent[0], 0.recurrent[1]"), "{text}");
    let checks = String::from_utf8(place.run("preflight net.toml").stdout).unwrap();
    assert!(checks.contains("layer 0.recurrent[0]: 0.9 of 8, layer 0.recurrent[1]: 0.8 of 8"), "{checks}");
    // What a file has wrong there is named by the same path.
    place.write("two.toml", net(0.9, 0.8).replace("keep = 0.8,", "keep = 0.8, site = 1,"));
    let text = place.fails("train two.toml --out two", 2);
    assert!(text.contains("network.layers[0].recurrent[1].site: site 1 is also the site of layer 0.recurrent[0]"), "{text}");
}

/// An LSTM with dropout of its state, on these data.
fn lstm(data: &str) -> String {
    format!(
        "[data]\n{data}\n[network]\nlayers = [{{ lstm = 6, recurrent = {{ keep = 0.7, variational = true }} }}, {{ dense = 2 }}]\n\
         [train]\nepochs = 12\noptimizer = {{ adam = {{ lr = 0.05 }} }}\n"
    )
}

/// The same sequences as of [`ts`] as lines of a table, `column` telling them apart.
fn table(rows: u32, longest: u32, column: &str, labelled: bool) -> String {
    let label = |row: u32| if labelled { [",up", ",down"][row as usize % 2] } else { "" };
    let lines = (0..rows).flat_map(|row| {
        let sign = if row.is_multiple_of(2) { 1 } else { -1 };
        (1..=i64::from(1 + row * 7 % longest)).map(move |t| format!("s{row},{},{}{}\n", sign * t, 10 * sign * t, label(row)))
    });
    let target = if labelled { ",label" } else { "" };
    format!("{column},a,b{target}\n{}", lines.collect::<String>())
}

/// A column of a prediction.
fn column<'a>(answers: &'a str, name: &str) -> Vec<&'a str> {
    let header = answers.lines().next().unwrap();
    let at = header.split(',').position(|column| column == name).unwrap_or_else(|| panic!("no {name} in {header}"));
    cells(answers).iter().map(|row| row[at]).collect()
}

/// The class of each row of a prediction.
fn labels(answers: &str) -> Vec<&str> {
    column(answers, "label")
}

/// A prediction of the sequences of [`table`], without what the table calls them.
fn nameless(answers: &str) -> String {
    let line = |line: &str| {
        let cells: Vec<&str> = line.splitn(3, ',').collect();
        assert_eq!(cells[1], if cells[0] == "row" { "sequence".into() } else { format!("s{}", cells[0]) }, "{answers}");
        format!("{},{}\n", cells[0], cells[2])
    };
    answers.lines().map(line).collect()
}

const SIX: [&str; 6] = ["up", "down", "up", "down", "up", "down"];

#[test]
fn a_model_of_a_ts_file_answers_for_tables() {
    let place = Place::new();
    place.write("s.ts", ts(40, 5));
    place.write("ts.toml", lstm("path = \"s.ts\"\nvalid_fraction = 0.25"));
    place.prints("train ts.toml");
    place.write("six.ts", ts(6, 4).replace("@classLabel true up down", "@classLabel true down up"));
    let own = place.prints("predict runs/ts --data six.ts");
    assert_eq!(labels(&own), SIX);
    let drawn = place.prints("predict runs/ts --data six.ts --draws 10 --seed 3");
    assert!(drawn.starts_with("row,label,down,up,label_std"), "{drawn}");
    // A table has to say whose steps its lines are; then it gives the same numbers.
    place.write("six.csv", table(6, 4, "series", false));
    let says = "line 1 has 3 columns of inputs, but the model takes sequences of at most 5 steps of 2 features; name the column";
    let text = place.fails("predict runs/ts --data six.csv", 2);
    assert!(text.contains(says) && text.contains("--sequence"), "{text}");
    let same = |command: &str, answers: &str| assert_eq!(nameless(&place.prints(command)), answers, "{command}");
    same("predict runs/ts --data six.csv --sequence series", &own);
    same("predict runs/ts --data six.csv --sequence series --draws 10 --seed 3", &drawn);
    same("predict runs/ts/model.safetensors --data six.csv --sequence series", &own);
    // A row is called what the table calls it, wherever it stands.
    let some = place.prints("predict runs/ts --data six.csv --sequence series --rows 2..5");
    assert_eq!((column(&some, "row"), column(&some, "sequence")), (vec!["2", "3", "4"], vec!["s2", "s3", "s4"]));
    let ranked = place.prints("predict runs/ts --data six.csv --sequence series --rank entropy --draws 10 --seed 3");
    let names: Vec<String> = column(&ranked, "row").iter().map(|row| format!("s{row}")).collect();
    assert_eq!(column(&ranked, "sequence"), names);
    assert_ne!(column(&ranked, "row"), ["0", "1", "2", "3", "4", "5"], "the order is another one");
    let first = place.prints("--json predict runs/ts --data six.csv --sequence series --rows 3..4");
    assert!(first.contains("\"row\":3,\"sequence\":\"s3\""), "{first}");
    let text = place.fails("predict runs/ts --data six.csv --sequence serie", 2);
    assert!(text.contains("no column `serie` (did you mean `series`?)"), "{text}");
    // The commands that judge read it alike.
    place.write("labelled.csv", table(6, 4, "series", true));
    let eval = place.prints("eval runs/ts --data six.ts").replace("six.ts", "labelled.csv");
    assert_eq!(place.prints("eval runs/ts --data labelled.csv --sequence series"), eval);
    let text = place.prints("calibrate runs/ts --data labelled.csv --sequence series --draws 4 --out judged");
    assert!(text.contains("6 rows of labelled.csv"), "{text}");
    let text = place.prints("calibrate runs/ts --ood six.csv --sequence series --draws 4 --out foreign");
    assert!(text.contains("6 rows of six.csv"), "{text}");
    // Where no table is read, the option would say nothing.
    for rest in ["", " --data six.ts"] {
        let text = place.fails(&format!("predict runs/ts --sequence series{rest}"), 2);
        assert!(text.contains("--sequence series names a column of a .csv") && text.contains("--data"), "{text}");
    }
}

#[test]
fn a_model_of_a_table_knows_its_column_of_sequences() {
    let place = Place::new();
    place.write("steps.csv", table(40, 5, "id", true));
    place.write("steps.toml", lstm("path = \"steps.csv\"\nsequence = \"id\""));
    place.prints("train steps.toml");
    place.write("six.csv", table(6, 4, "id", false));
    let own = place.prints("predict runs/steps --data six.csv");
    assert_eq!(labels(&own), SIX);
    let drawn = place.prints("predict runs/steps --data six.csv --draws 10");
    assert_eq!(labels(&drawn).len(), 6);
    // Another file may call the column otherwise.
    place.write("other.csv", table(6, 4, "series", false));
    let text = place.fails("predict runs/steps --data other.csv", 2);
    assert!(text.contains("no column `id`") && text.contains("name the one of this file with --sequence"), "{text}");
    assert_eq!(place.prints("predict runs/steps --data other.csv --sequence series"), own);
    // Files of other kinds need none.
    place.write("six.ts", ts(6, 4));
    assert_eq!(place.prints("predict runs/steps --data six.ts"), nameless(&own));
    // A network of rows has no steps.
    place.write("rows.csv", "a,b,label\n1,2,x\n3,4,y\n");
    let net = "[data]\npath = \"rows.csv\"\n[network]\nlayers = [{ dense = 2 }]\n[train]\nepochs = 1\n";
    place.write("rows.toml", net);
    place.prints("train rows.toml");
    let text = place.fails("predict runs/rows --data rows.csv --sequence label", 2);
    assert!(text.contains("--sequence label: this network was not trained on sequences"), "{text}");
}

#[test]
fn a_model_of_an_archive_takes_lengths() {
    let place = Place::new();
    let archive = |rows: u32, more: &[(&str, Vec<u8>)]| {
        let value = |row: u32, i: u32| if row.is_multiple_of(2) { 1.0 } else { -1.0 } * (1 + i) as f32;
        let x: Vec<f32> = (0..rows).flat_map(|row| (0..8).map(move |i| value(row, i))).collect();
        npz(&[&[("x", npy("<f4", &format!("({rows}, 4, 2)"), &floats(&x)))], more].concat())
    };
    let bytes = |name, values: Vec<u8>| (name, npy("|u1", &format!("({},)", values.len()), &values));
    let (y, lengths) = ((0..20).map(|row| row % 2).collect(), (0..20).map(|row| 1 + row % 4).collect());
    place.write("s.npz", archive(20, &[bytes("y", y), bytes("lengths", lengths)]));
    place.write("s.toml", lstm("path = \"s.npz\""));
    place.prints("train s.toml");
    place.write("six.npz", archive(6, &[bytes("lengths", vec![4, 3, 2, 1, 2, 3])]));
    place.write("whole.npz", archive(6, &[bytes("lengths", vec![4; 6])]));
    place.write("none.npz", archive(6, &[]));
    let six = place.prints("predict runs/s --data six.npz");
    assert_eq!(labels(&six), ["0", "1", "0", "1", "0", "1"]);
    // Without lengths all steps are there.
    let whole = place.prints("predict runs/s --data whole.npz");
    assert!(place.prints("predict runs/s --data none.npz") == whole && whole != six, "{whole}");
}
