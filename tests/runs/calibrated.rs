use serde_json::Value;
use thinnet::calibration::{Probabilities, Reliability, RiskCoverage};

use super::{Place, SMALL, animals_csv, cells, keys, line_csv, number};

const FILES: [&str; 5] = ["figures.csv", "reliability.csv", "reliability.svg", "risk-coverage.csv", "risk-coverage.svg"];

/// Rows of noise as wide as digits, with a header and no labels.
fn noise_csv(rows: usize) -> String {
    let header: Vec<String> = (0..64).map(|i| format!("p{i}")).collect();
    let row = |values: &[f32]| values.iter().map(|v| (0.5 + 0.5 * v).to_string()).collect::<Vec<_>>().join(",");
    let rows: Vec<String> = crate::common::numbers(64 * rows, 4).chunks(64).map(row).collect();
    format!("{}\n{}\n", header.join(","), rows.join("\n"))
}

fn of<'a>(row: &'a Value, key: &str) -> &'a Value {
    row.get(key).unwrap_or_else(|| panic!("{key} is not in {row}"))
}

#[test]
fn the_figures_are_those_of_the_answers() {
    let place = Place::with(SMALL);
    place.prints("train net.toml --out run");
    place.write("noise.csv", noise_csv(50));
    let rows = place.json("calibrate run --draws 0 --ood noise.csv --bins 10");
    let [single, scaled] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((of(single, "way"), of(scaled, "way")), (&Value::from("single pass"), &Value::from("single pass")));
    let temperature = of(scaled, "temperature").as_f64().unwrap();
    assert!(of(single, "temperature").is_null() && temperature > 0.0 && temperature != 1.0);

    // The same from what `predict` answers, which is rounded to f32, and the labels of the digits.
    let text = place.prints("predict run");
    let values: Vec<f64> =
        cells(&text).iter().flat_map(|row| row[2..].iter().map(|cell| number(cell)).collect::<Vec<_>>()).collect();
    let said = Probabilities::new(10, values).unwrap();
    let digits = thinnet::data::digits();
    let labels = &digits.labels()[300..400];
    let close = |row: &Value, key: &str, want: f64| {
        let got = of(row, key).as_f64().unwrap();
        assert!((got - want).abs() < 1e-5, "{key}: {got} is not {want}");
    };
    close(single, "nll", said.nll(labels).unwrap());
    close(single, "brier", said.brier(labels).unwrap());
    close(single, "ece", Reliability::of(&said, labels, 10).unwrap().ece());
    let eval = &place.json("eval run")[0];
    for row in [single, scaled] {
        close(row, "accuracy", eval["accuracy"].as_f64().unwrap());
        assert_eq!((of(row, "rows"), of(row, "bins")), (&100.into(), &10.into()));
    }
    // The loss is the likelihood, in f32 on the device.
    close(single, "nll", eval["loss"].as_f64().unwrap());
    assert_ne!(of(single, "nll"), of(scaled, "nll"));
    let curve = RiskCoverage::of(&said.right(labels).unwrap(), &said.entropy()).unwrap();
    let entropy = &of(single, "scores")["entropy"];
    close(entropy, "area_of_risk", curve.area());
    close(entropy, "accuracy_with_10_percent_referred", curve.accuracy_when_referred(0.1));
    assert!((0.0..=1.0).contains(&of(entropy, "auroc").as_f64().unwrap()));
    assert_eq!(keys(of(single, "scores")), ["1 - largest probability", "entropy"]);
    // The temperature is that of the validation rows: no other in steps of a per cent is better there.
    place.prints("predict run --data digits --rows 200..300 --logits --out l.csv");
    let logits = place.text("l.csv");
    let z: Vec<f64> =
        cells(&logits).iter().flat_map(|row| row[2..].iter().map(|cell| number(cell)).collect::<Vec<_>>()).collect();
    let z = thinnet::calibration::Logits::new(10, z).unwrap();
    let nll = |t: f64| z.probabilities(t).unwrap().nll(&digits.labels()[200..300]).unwrap();
    assert!(nll(temperature) < nll(1.01 * temperature).min(nll(temperature / 1.01)), "{temperature}");
}

#[test]
fn a_calibration_is_a_folder_of_pictures_and_tables_in_its_run() {
    let place = Place::with(SMALL);
    place.prints("train net.toml --out run");
    place.write("noise.csv", noise_csv(50));
    let text = place.prints("calibrate run --draws 0 --ood noise.csv");
    for part in [
        "Judged by 100 test rows.",
        "single pass, T = ",
        "expected calibration error, 15 bins",
        "AUROC of entropy",
        "50 rows of noise.csv",
        "Written to run/calibration: ",
    ] {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
    assert_eq!(place.names("run/calibration"), [&["figures.csv", "ood.csv", "ood.svg"], &FILES[1..]].concat());
    for (picture, labels) in [
        ("reliability", &["calibration error", "said, but not right", "confidence", "100 test rows"][..]),
        ("risk-coverage", &["all wrong rows first", "single pass: entropy", "referred, %"]),
        ("ood", &["100 test rows", "50 rows of noise.csv", "entropy, nats", "AUROC"]),
    ] {
        let svg = place.text(&format!("run/calibration/{picture}.svg"));
        assert!(svg.trim_end().ends_with("</svg>") && !svg.contains("NaN") && !svg.contains("inf"), "{picture}");
        labels.iter().for_each(|label| assert!(svg.contains(label), "{label:?} is not in {picture}.svg"));
    }
    let bins = place.text("run/calibration/reliability.csv");
    let (bins, figures) = (cells(&bins), place.text("run/calibration/figures.csv"));
    assert_eq!(bins.len(), 2 * 15);
    for (way, temperature) in [(&bins[..15], true), (&bins[15..], false)] {
        assert_eq!(way[0][1].is_empty(), temperature);
        assert_eq!(way.iter().map(|bin| number(bin[4])).sum::<f64>(), 100.0);
        let filled = way.iter().filter(|bin| bin[4] != "0");
        let ece = filled.map(|bin| number(bin[4]) * (number(bin[5]) - number(bin[6])).abs()).sum::<f64>() / 100.0;
        let line = figures.lines().filter(|line| line.contains("calibration error")).nth(usize::from(!temperature)).unwrap();
        assert!((number(line.rsplit(',').next().unwrap()) - ece).abs() < 1e-9, "{line}: {ece}");
    }
    let referral = place.text("run/calibration/risk-coverage.csv");
    assert_eq!(cells(&referral).len(), 2 * 2 * 100);
    let ood = place.text("run/calibration/ood.csv");
    for column in [1, 2] {
        // The way's name may have a comma, in quotes.
        let sum: f64 = ood.lines().skip(1).map(|line| number(line.rsplit(',').nth(column - 1).unwrap())).sum();
        assert!((sum - 2.0).abs() < 1e-9, "{sum}");
    }
}

#[test]
fn a_calibration_replaces_nothing_but_a_calibration_and_only_when_told_to() {
    let place = Place::with(SMALL);
    place.prints("train net.toml --out run");
    place.prints("calibrate run");
    let before = place.everything();
    assert!(place.fails("calibrate run", 2).contains("--force"));
    assert!(place.fails("calibrate run --out run --force", 2).contains("replaces what this command wrote only"));
    place.fails("calibrate run --out run", 2);
    place.fails("calibrate run --bins 0 --out other", 2);
    place.fails("calibrate run --ood nowhere.csv --out other", 2);
    assert!(place.everything() == before);
    place.prints("calibrate run --force");
    assert!(place.everything() == before, "the same again");
    assert_eq!(place.names("run/calibration"), FILES);
    // A run is replaced with its calibration, but not with what somebody else put there.
    place.write("run/calibration/thesis.txt", "years");
    place.fails("train net.toml --out run --force", 2);
    place.fails("calibrate run --force", 2);
    std::fs::remove_file(place.path("run/calibration/thesis.txt")).unwrap();
    place.prints("train net.toml --out run --force");
    assert!(!place.path("run/calibration").exists());
    // Weights without a run are judged, and nothing is written.
    let before = place.everything();
    let text = place.prints("calibrate run/model.safetensors --data digits --rows 300..400");
    assert!(text.contains("Nothing is written") && text.contains("No temperature") && text.contains("name their run"), "{text}");
    assert!(place.everything() == before);
    place.prints("calibrate run/model.safetensors --data digits --rows 300..400 --out a/b");
    assert_eq!(place.names("a/b"), FILES);
}

#[test]
fn a_temperature_that_cannot_be_fitted_has_a_reason() {
    let place = Place::with(SMALL);
    let why = |network: &str, arguments: &str| {
        place.write("net.toml", network);
        place.prints("train net.toml --out run --force");
        let rows = place.json(&format!("calibrate run --draws 0 {arguments}"));
        assert!(rows.len() == 2 && of(&rows[0], "temperature").is_null(), "{rows:?}");
        of(&rows[1], "no_temperature").as_str().unwrap().to_owned()
    };
    assert!(why(&SMALL.replace("valid = \"200..300\"\n", ""), "").contains("no validation rows"));
    assert!(why(&SMALL.replace("test = \"300..400\"\n", ""), "").contains("validation rows are judged"));
    assert!(why(SMALL, "--data digits --rows 299..400").contains("are among those judged"));
    // Rows beside those are judged with the run's temperature.
    place.prints("train net.toml --out run --force");
    let [here, there] = ["", "--data digits --rows 300..400 --out again"].map(|a| place.json(&format!("calibrate run {a}")));
    assert_eq!(here, there);
}

#[test]
fn validation_rows_that_are_all_right_give_no_temperature() {
    let place = Place::with(
        "[data]\npath = \"animals.csv\"\nvalid = \"60..90\"\ntest = \"90..120\"\n[network]\n\
         layers = [{ dense = 16, activation = \"relu\" }, { dense = 3 }]\n[train]\nepochs = 20\n\
         optimizer = { adam = { lr = 0.05 } }\n",
    );
    place.write("animals.csv", animals_csv(120));
    place.prints("train net.toml --out run");
    assert_eq!(place.json("eval run --data animals.csv --rows 60..90")[0]["accuracy"], 1.0, "the classes lie apart");
    let text = place.prints("calibrate run");
    assert!(text.contains("No Monte-Carlo: the network drops nothing"), "{text}");
    assert!(text.contains("100.00 %") && text.contains("all 30 validation rows are right") && !text.contains("T ="), "{text}");
}

#[test]
fn one_output_tells_two_classes_apart_and_several_sigmoids_are_refused() {
    let network = |layer: &str| {
        format!(
            "[data]\npath = \"t.csv\"\nvalid = \"40..60\"\ntest = \"60..100\"\n[network]\nloss = \"binary_cross_entropy\"\n\
             layers = [{{ dense = {layer} }}]\n[train]\nepochs = 5\noptimizer = {{ adam = {{ lr = 0.05 }} }}\n"
        )
    };
    let place = Place::with(&network("1"));
    let row = |i: usize| format!("{},{},{}\n", i % 7, i % 5, ["no", "yes"][usize::from((i * i) % 7 > 2)]);
    place.write("t.csv", "a,b,label\n".to_owned() + &(0..100).map(row).collect::<String>());
    place.prints("train net.toml --out run");
    let (rows, eval) = (place.json("calibrate run"), place.json("eval run"));
    assert_eq!(of(&rows[0], "accuracy"), &eval[0]["accuracy"]);
    let (nll, loss) = (of(&rows[0], "nll").as_f64().unwrap(), eval[0]["loss"].as_f64().unwrap());
    assert!((nll - loss).abs() < 1e-5, "{nll} {loss}");
    place.write("net.toml", network("2"));
    place.prints("train net.toml --out two");
    let text = place.fails("calibrate two", 2);
    assert!(text.contains("2 outputs have a sigmoid each") && text.contains("thinnet eval"), "{text}");
    assert!(!place.path("two/calibration").exists());
}

#[test]
fn a_regression_is_judged_in_its_own_units() {
    let place = Place::with(
        "[data]\npath = \"line.csv\"\ntarget = \"price\"\nvalid = \"200..300\"\ntest = \"300..400\"\n[network]\n\
         loss = \"mean_squared_error\"\nlayers = [{ dense = 16, activation = \"relu\" }, { dense = 1 }]\n[train]\nepochs = 30\n\
         optimizer = { adam = { lr = 0.01 } }\n",
    );
    place.write("line.csv", line_csv(400));
    place.prints("train net.toml --out run");
    let (answers, table) = (place.prints("predict run"), place.text("line.csv"));
    let (truth, answers) = (cells(&table), cells(&answers));
    let square = |row: &Vec<&str>| (number(row[1]) - number(truth[number(row[0]) as usize][2])).powi(2);
    let rmse = (answers.iter().map(square).sum::<f64>() / 100.0).sqrt();
    let rows = place.json("calibrate run");
    let figure = |key: &str| of(&rows[0], key).as_f64().unwrap();
    assert!((figure("rmse") / rmse - 1.0).abs() < 1e-4 && rows.len() == 2 && rows[0]["target"] == "price", "{rows:?} {rmse}");
    assert!(figure("rmse_of_mean") > 100.0 && figure("deviation") > 0.0 && figure("log_likelihood").is_finite());
    let inside = |half: f64| answers.iter().filter(|row| square(row).sqrt() <= half * figure("deviation")).count() as f64 / 100.0;
    assert_eq!((figure("covered_50"), figure("covered_90")), (inside(0.674_489_75), inside(1.644_853_63)));
    assert!(of(&rows[1], "no_draws").as_str().unwrap().contains("drops nothing"), "{rows:?}");
    assert_eq!(place.names("run/calibration"), ["figures.csv", "intervals.csv", "intervals.svg"]);
    let text = place.prints("calibrate run --force");
    assert!(text.contains("targets inside the 90 % interval") && text.contains("no uncertainty of its own"), "{text}");
    place.write("other.csv", "a,b\n1,2\n");
    assert!(place.fails("calibrate run --ood other.csv --out o", 2).contains("--ood"));
    // Without validation rows there is no width.
    let text = place.prints("calibrate run/model.safetensors --data line.csv --target price --rows 300..400");
    assert!(text.contains("There are no intervals") && !text.contains("90 %"), "{text}");
}

#[test]
fn a_regression_without_test_rows_has_no_intervals_and_says_nothing_of_their_width() {
    let network = "[data]\npath = \"line.csv\"\ntarget = \"price\"\nvalid = \"20..30\"\ntest = \"30..40\"\n[network]\n\
                   loss = \"mean_squared_error\"\nlayers = [{ dense = 8 }, { dropout = { keep = 0.5 } }, { dense = 1 }]\n\
                   [train]\nepochs = 2\n";
    let place = Place::with(network);
    place.write("line.csv", line_csv(40));
    let (width, draws) = ("as wide for every row", "Its intervals are those of all draws");
    for (network, there) in [(network.to_owned(), true), (network.replace("test = \"30..40\"\n", ""), false)] {
        place.write("net.toml", network);
        place.prints("train net.toml --out run --force");
        let text = place.prints("calibrate run --draws 4");
        for (said, expected) in [(width, there), (draws, there), ("There are no intervals of single pass", !there)] {
            assert_eq!(text.contains(said), expected, "{said}: {text}");
        }
        assert!(text.contains("no uncertainty of its own") && text.contains("Monte-Carlo: 4 draws"), "{text}");
    }
}

/// The work is done when it is printed.
#[cfg(target_os = "linux")]
#[test]
fn a_calibration_that_cannot_be_printed_is_written() {
    let place = Place::with(SMALL);
    place.prints("train net.toml --out run");
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_thinnet"));
    let output = command.args(["calibrate", "run", "--draws", "0"]).current_dir(place.path(".")).stdout(full).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && text.contains("standard output cannot be written"), "{text}");
    assert_eq!(place.names("run/calibration"), FILES);
}

/// Figures of weights that are no more there would be taken for those of the weights that are.
#[cfg(unix)]
#[test]
fn a_calibration_of_weights_that_change_meanwhile_is_refused() {
    let place = Place::with(SMALL);
    place.prints("train net.toml --out run");
    // Foreign rows come last, when somebody writes them.
    let status = std::process::Command::new("mkfifo").arg(place.path("noise.csv")).status();
    assert!(status.unwrap().success());
    let calibration = super::resumed::spawned(&place, "calibrate run --draws 0 --ood noise.csv");
    let mut rows = std::fs::File::options().write(true).open(place.path("noise.csv")).unwrap();
    place.prints("train run --resume --epochs 4");
    std::io::Write::write_all(&mut rows, noise_csv(50).as_bytes()).unwrap();
    drop(rows);
    let output = calibration.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && text.contains("run: the weights have changed since they were read"), "{text}");
    assert!(output.stdout.is_empty() && !place.path("run/calibration").exists());
    assert!(place.names("run").iter().all(|name| !name.contains("part")));
}
