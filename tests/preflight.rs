//! The checks before a long training: healthy configurations pass, and each planted mistake is caught by its own check.

use serde_json::Value;

/// Networks of feature maps: what is healthy and what is not.
mod maps;
/// Schedules that end too early, or never.
mod schedules;
/// Dropout in front of batch norm: where it is said, and that it is true.
mod variance_shift;
/// Networks of sequences, noise and moving rates.
mod variants;

use crate::runs::{Place, line_csv};

/// The network of the tests, on 1000 digits.
const HEALTHY: &str = r#"seed = 0
[data]
path = "digits"
train = "0..1000"
valid = "1000..1400"
[network]
layers = [
  { dense = 64, activation = "relu" },
  { dropout = { keep = 0.5 } },
  { dense = 64, activation = "relu" },
  { dropout = { keep = 0.5 } },
  { dense = 10 },
]
[train]
optimizer = { adam = { lr = 0.001 } }
"#;

const SGD: &str = "{ sgd = { lr = 0.1, momentum = 0.9 } }";

const NAMES: [&str; 11] = [
    "output",
    "keep_prob",
    "inputs",
    "weights",
    "first loss",
    "cost falls",
    "rows unseen",
    "gradients",
    "keep rates",
    "two modes",
    "schedules",
];

/// The checks of `net.toml`, by the exit code that goes with them.
#[track_caller]
fn checks(place: &Place) -> Vec<Value> {
    let output = place.run("preflight net.toml --json");
    let (text, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let checks: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(checks.iter().map(|check| check["check"].as_str().unwrap()).collect::<Vec<_>>(), NAMES, "{said}");
    let failed = failures(&checks).len();
    assert_eq!(output.status.code(), Some(i32::from(failed > 0)), "{text}{said}");
    assert_eq!(said.is_empty(), failed == 0);
    checks
}

fn failures(checks: &[Value]) -> Vec<&str> {
    checks.iter().filter(|check| check["outcome"] == "FAILED").map(|check| check["check"].as_str().unwrap()).collect()
}

/// The first check that fails is this one, with this advice; which others may fail with it is said too.
#[track_caller]
fn caught(place: &Place, name: &str, advice: &[&str], others: &[&str]) {
    let checks = checks(place);
    let failed = failures(&checks);
    assert!(failed.contains(&name), "{name} is not among {failed:?}: {checks:#?}");
    assert!(failed.iter().all(|other| *other == name || others.contains(other)), "{failed:?}: {checks:#?}");
    let check = checks.iter().find(|check| check["check"] == name).unwrap();
    for part in advice {
        assert!(check["advice"].as_str().unwrap().contains(part), "{part:?} is not in {check}");
    }
}

#[track_caller]
fn healthy(place: &Place) {
    let checks = checks(place);
    let failed = failures(&checks);
    assert!(failed.is_empty(), "{failed:?}: {checks:#?}");
}

/// Digits as a table, pixels from 0 to 255, row `i` with the label of row `label(i)`.
fn digits_csv(label: impl Fn(usize) -> usize) -> String {
    let digits = thinnet::data::digits();
    let thinnet::Targets::Classes { labels, .. } = digits.targets() else { panic!("digits have classes") };
    let header: String = (0..64).map(|i| format!("p{i},")).collect();
    let row = |i: usize| {
        let pixels: String = digits.inputs().row_f32(i as u32).iter().map(|p| format!("{},", (255.0 * p).round())).collect();
        format!("{pixels}{}\n", labels[label(i)])
    };
    let rows: String = (0..1400).map(row).collect();
    format!("{header}label\n{rows}")
}

// Twenty seeds of each passed by hand, and as many of twelve other configurations.
#[test]
fn healthy_configurations_pass_whatever_the_seed() {
    for seed in 0..5 {
        for optimizer in ["{ adam = { lr = 0.001 } }", SGD] {
            let network = HEALTHY.replace("seed = 0", &format!("seed = {seed}"));
            healthy(&Place::with(&network.replace("{ adam = { lr = 0.001 } }", optimizer)));
        }
    }
    let place = Place::with(HEALTHY);
    let text = place.prints("preflight net.toml");
    assert!(text.contains("Nothing speaks against training. Next: thinnet train net.toml"), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("ok ")).count(), NAMES.len(), "{text}");
    assert_eq!(place.names("."), ["net.toml"]);
    // More than there is: every batch is all rows.
    healthy(&Place::with(&HEALTHY.replace("[train]", "[train]\nbatch = 4294967295").replace("0.001", "0.01")));
}

#[test]
fn a_learning_rate_a_thousand_times_too_large_is_caught() {
    for seed in 0..5 {
        for optimizer in ["{ adam = { lr = 1.0 } }", "{ sgd = { lr = 100.0, momentum = 0.9 } }"] {
            let network = HEALTHY.replace("seed = 0", &format!("seed = {seed}"));
            let place = Place::with(&network.replace("{ adam = { lr = 0.001 } }", optimizer));
            caught(&place, "cost falls", &["learning rate", "too large", "try "], &[]);
        }
    }
}

#[test]
fn labels_that_do_not_belong_to_their_rows_are_caught() {
    let shuffle = thinnet::rng::Shuffle::new(1400);
    for seed in 0..5 {
        let network = HEALTHY.replace("\"digits\"", "\"digits.csv\"").replace("seed = 0", &format!("seed = {seed}"));
        let place = Place::with(&network);
        let key = thinnet::rng::key(100 + seed);
        place.write("digits.csv", digits_csv(|i| shuffle.row(i as u32, 0, key) as usize));
        caught(&place, "rows unseen", &["labels belong to their rows", "shuffled"], &[]);
    }
}

#[test]
fn inputs_that_are_not_scaled_are_caught() {
    let network = HEALTHY.replace("\"digits\"", "\"digits.csv\"");
    let place = Place::with(&network.replace("[network]", "standardize = false\n[network]"));
    place.write("digits.csv", digits_csv(|i| i));
    caught(&place, "inputs", &["1/255", "standardize = true"], &["first loss", "cost falls"]);
    place.write("net.toml", &network);
    healthy(&place);
}

/// 200 updates are too few for it, but it learns: that is no fault of the labels.
#[test]
fn a_small_network_that_learns_slowly_passes() {
    let regression = HEALTHY
        .replace("\"digits\"", "\"slow.csv\"")
        .replace("train = \"0..1000\"\n", "")
        .replace("valid = \"1000..1400\"\n", "");
    let (before, rest) = regression.split_once("layers = [").unwrap();
    let (_, after) = rest.split_once("]\n").unwrap();
    let layers = "layers = [{ dense = 8, activation = \"relu\" }, { dense = 1 }]\nloss = \"mean_squared_error\"\n";
    let place = Place::with(&format!("{before}{layers}{after}").replace("batch = 128\n", ""));
    let numbers = |i: u32| [7, 11, 13].map(|step| f64::from(i * step % 37) / 18.0 - 1.0);
    let line = |i: u32| {
        let [a, b, c] = numbers(i);
        format!("{a},{b},{c},{}\n", 0.5 * a - b * c)
    };
    place.write("slow.csv", "a,b,c,y\n".to_owned() + &(0..300).map(line).collect::<String>());
    healthy(&place);
    let found = checks(&place).iter().find(|check| check["check"] == "rows unseen").unwrap()["found"].to_string();
    assert!(!found.contains("after 200 updates"), "{found}");
}

#[test]
fn dropout_of_the_output_is_caught() {
    let last = "  { dense = 10 },\n";
    let network = HEALTHY.replace(last, &format!("{last}  {{ dropout = {{ keep = 0.9 }} }},\n"));
    caught(&Place::with(&network), "output", &["remove the last dropout layer", "behind hidden layers"], &[]);
    // One that keeps everything does no harm.
    healthy(&Place::with(&network.replace("keep = 0.9", "keep = 1.0")));
}

#[test]
fn dropout_of_the_output_at_an_earlier_step_is_caught() {
    let last = "  { dense = 10 },\n";
    let early = |layers: &str| HEALTHY.replace(last, &format!("{last}  {layers},\n"));
    // keep is where a schedule ends; until then 0.7 of the answers are left.
    let scheduled = "{ dropout = { keep = 1.0, schedule = { step = 100, from = 0.7 } } }";
    caught(&Place::with(&early(scheduled)), "output", &["remove the last dropout layer"], &[]);
    // What has no weights does not learn.
    let behind = "{ dropout = { keep = 0.9 } },\n  { activation = \"sigmoid\" }";
    let checks = checks(&Place::with(&early(behind)));
    assert!(failures(&checks).contains(&"output"), "{checks:#?}");
    assert_eq!(checks[0]["found"], "dropout behind the last layer that learns, in layer 5");
    // A schedule from 1 to 1 drops nothing.
    let never = scheduled.replace("from = 0.7", "from = 1.0");
    healthy(&Place::with(&early(&never)));
}

#[test]
fn dropout_of_the_output_inside_the_last_recurrent_layer_is_caught() {
    let sequences = |layers: &str| {
        let (before, rest) = HEALTHY.split_once("layers = [").unwrap();
        let (_, after) = rest.split_once("  { dense = 10 },\n").unwrap();
        format!("{before}input = [8, 8]\nlayers = [\n  {layers},\n{after}")
    };
    let output = |layers: &str| {
        let checks = checks(&Place::with(&sequences(layers)));
        (checks[0]["outcome"].as_str().unwrap().to_owned(), checks[0].to_string())
    };
    for (layers, outcome) in [
        ("{ gru = 10, output = { keep = 0.9 } }", "FAILED"),
        ("{ gru = 10, output = { keep = 1.0, schedule = { step = 100, from = 0.7 } } }", "FAILED"),
        ("{ gru = 5, bidirectional = true, output = [{ keep = 1.0 }, { keep = 0.9 }] }", "FAILED"),
        // Between its inner layers, in front of it, and behind a layer that another one reads.
        ("{ gru = 10, layers = 2, output = [{ keep = 0.9 }, { keep = 1.0 }] }", "ok"),
        ("{ gru = 10, input = { keep = 0.9 }, recurrent = { keep = 0.9 } }", "ok"),
        ("{ gru = 16, output = { keep = 0.9 } },\n  { dense = 10 }", "ok"),
    ] {
        let (found, check) = output(layers);
        assert_eq!(found, outcome, "{layers}: {check}");
        assert!(outcome == "ok" || check.contains("remove `output` of the last recurrent layer"), "{layers}: {check}");
    }
}

#[test]
fn a_keep_prob_that_leaves_next_to_nothing_is_caught() {
    let network = HEALTHY.replacen("keep = 0.5", "keep = 0.02", 1);
    caught(&Place::with(&network), "keep_prob", &["layer 1 keeps 0.02 of its 64 units", "keep = 0.98"], &[]);
}

#[test]
fn weights_that_are_all_alike_are_caught() {
    let zeros = HEALTHY.replace("dense = 64,", "dense = 64, init = \"zeros\",");
    caught(&Place::with(&zeros), "weights", &["init = \"zeros\"", "he_uniform"], &[]);
    // Only the first layer.
    let first = HEALTHY.replacen("dense = 64,", "dense = 64, init = \"zeros\",", 1);
    caught(&Place::with(&first), "weights", &["init = \"zeros\"", "he_uniform"], &[]);
    // A last layer may begin with zeros: its units have gradients of their own.
    healthy(&Place::with(&HEALTHY.replace("dense = 10 ", "dense = 10, init = \"zeros\" ")));
}

#[test]
fn regressions_and_yes_or_no_pass() {
    let place = Place::with(
        "[data]\npath = \"line.csv\"\ntarget = \"price\"\nvalid_fraction = 0.2\n[network]\nloss = \"mean_squared_error\"\n\
         layers = [{ dense = 32, activation = \"relu\" }, { dropout = { keep = 0.9 } }, { dense = 1 }]\n\
         [train]\noptimizer = { adam = { lr = 0.003 } }\n",
    );
    place.write("line.csv", line_csv(500));
    healthy(&place);
    let likelihood =
        place.text("net.toml").replace("mean_squared_error", "gaussian_nll").replace("{ dense = 1 }", "{ dense = 2 }");
    let regression = place.text("net.toml");
    place.write("net.toml", &likelihood);
    healthy(&place);
    // Prices of other rows: no mean is near.
    let table = place.text("line.csv");
    let mut prices: Vec<String> = crate::runs::cells(&table).iter().map(|row| row[2].to_owned()).collect();
    prices.rotate_left(7);
    let rows = crate::runs::cells(&table);
    let shifted: String = rows.iter().zip(prices).map(|(row, price)| format!("{},{},{price}\n", row[0], row[1])).collect();
    place.write("line.csv", format!("a,b,price\n{shifted}"));
    caught(&place, "rows unseen", &["labels belong to their rows"], &[]);
    place.write("line.csv", table);
    place.write("net.toml", regression);
    // Whether the line is above its middle: one output, log 2 at first.
    let network = place.text("net.toml").replace("mean_squared_error", "binary_cross_entropy").replace("price", "label");
    place.write("net.toml", &network);
    let table = place.text("line.csv");
    let rows: String = crate::runs::cells(&table)
        .iter()
        .map(|row| format!("{},{},{}\n", row[0], row[1], u8::from(crate::runs::number(row[2]) > 1250.0)))
        .collect();
    place.write("line.csv", format!("a,b,label\n{rows}"));
    healthy(&place);
    // One class that is nearly all leaves few rows to be right about.
    let rare: String = rows
        .lines()
        .zip(crate::runs::cells(&table))
        .map(|(_, row)| format!("{},{},{}\n", row[0], row[1], u8::from(crate::runs::number(row[2]) > 1450.0)))
        .collect();
    place.write("line.csv", format!("a,b,label\n{rare}"));
    place.write("net.toml", network.replace("0.003", "0.01"));
    healthy(&place);
    // Targets that have nothing to do with their rows.
    let words = crate::common::words(500, 11);
    let rows: String =
        crate::runs::cells(&rows).iter().zip(words).map(|(row, word)| format!("{},{},{}\n", row[0], row[1], word & 1)).collect();
    place.write("line.csv", format!("a,b,label\n{rows}"));
    caught(&place, "rows unseen", &["labels belong to their rows"], &[]);
}
