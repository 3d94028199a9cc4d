use serde_json::Value;
use thinnet::calibration::{Probabilities, RiskCoverage, auroc, covered, rmse};
use thinnet::{Device, Model, MonteCarlo, data};

use super::{Place, SMALL, cells, keys, line_csv, number};
use crate::common::numbers;

/// A network with dropout on a line.
const LINE: &str = "[data]\npath = \"line.csv\"\ntarget = \"price\"\nvalid = \"200..300\"\ntest = \"300..400\"\n[network]\n\
    loss = \"mean_squared_error\"\nlayers = [{ dense = 16, activation = \"relu\" }, { dropout = { keep = 0.9 } }, { dense = 1 }]\n\
    [train]\nepochs = 30\noptimizer = { adam = { lr = 0.01 } }\n";

fn figure(row: &Value, key: &str) -> f64 {
    row[key].as_f64().unwrap_or_else(|| panic!("{key} is no number in {row}"))
}

#[track_caller]
fn close(what: &str, got: f64, want: f64) {
    assert!((got - want).abs() < 1e-5 * want.abs().max(1.0), "{what}: {got} is not {want}");
}

/// 50 rows of noise as wide as digits, from 0 to 1 like their pixels.
fn noise() -> Vec<f32> {
    numbers(64 * 50, 4).iter().map(|v| 0.5 + 0.5 * v).collect()
}

fn noise_csv() -> String {
    let header: Vec<String> = (0..64).map(|i| format!("p{i}")).collect();
    let rows: Vec<String> = noise().chunks(64).map(|row| row.iter().map(f32::to_string).collect::<Vec<_>>().join(",")).collect();
    format!("{}\n{}\n", header.join(","), rows.join("\n"))
}

#[test]
fn monte_carlo_figures_are_those_of_the_draws() {
    let place = Place::with(SMALL);
    place.prints("train net.toml --out run");
    place.write("noise.csv", noise_csv());
    let rows = place.json("calibrate run --ood noise.csv --draws 40");
    let ways: Vec<(&str, bool)> = rows.iter().map(|row| (row["way"].as_str().unwrap(), row["temperature"].is_null())).collect();
    assert_eq!(ways, [("single pass", true), ("single pass", false), ("Monte-Carlo", true), ("Monte-Carlo", false)]);

    // The same from the library: the judged rows are the samples from 0, then the validation rows, then the foreign ones.
    let (model, device) = (Model::load(place.path("run/model.safetensors")).unwrap(), Device::open().unwrap());
    let digits = data::digits();
    let labels = &digits.labels()[300..400];
    let options = MonteCarlo { draws: 40, ..MonteCarlo::default() };
    let own = model.monte_carlo(&device, digits.slice(300..400).unwrap().inputs(), &options).unwrap();
    let said = Probabilities::from_outputs(&own.mean()).unwrap();
    let drawn = &rows[2];
    close("nll", figure(drawn, "nll"), said.nll(labels).unwrap());
    close("accuracy", figure(drawn, "accuracy"), said.accuracy(labels).unwrap());
    close("standard error", figure(drawn, "largest_standard_error"), own.largest_standard_error());
    assert_eq!(drawn["draws"], 40);
    let foreign = data::Inputs::from_f32(64, noise()).unwrap();
    let foreign = model.monte_carlo(&device, &foreign, &MonteCarlo { first_sample: 200, ..options.clone() }).unwrap();
    let right = said.right(labels).unwrap();
    for (name, own, foreign) in [
        ("entropy", said.entropy(), Probabilities::from_outputs(&foreign.mean()).unwrap().entropy()),
        ("mutual information", own.mutual_information(), foreign.mutual_information()),
        ("variation ratio", own.variation_ratio(), foreign.variation_ratio()),
    ] {
        let score = &drawn["scores"][name];
        close(name, figure(score, "area_of_risk"), RiskCoverage::of(&right, &own).unwrap().area());
        close(name, figure(score, "auroc"), auroc(&own, &foreign).unwrap());
    }
    assert_eq!(keys(&rows[3]["scores"]), ["1 - largest probability", "entropy"]);
    assert!(rows[0]["draws"].is_null() && rows[0]["nll"] != drawn["nll"]);

    let text = place.prints("calibrate run --ood noise.csv --draws 40 --force");
    for part in ["Monte-Carlo: 40 draws", "standard error of a mean probability is at most", "AUROC of mutual information"] {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
    let ood = place.text("run/calibration/ood.svg");
    assert!(ood.contains("mutual information, nats") && ood.contains("entropy, nats"));
    assert!(place.text("run/calibration/risk-coverage.svg").contains("Monte-Carlo: variation ratio"));
    assert_eq!(cells(&place.text("run/calibration/ood.csv")).len(), 5 * 25);
}

#[test]
fn no_draws_are_a_single_pass() {
    let place = Place::with(SMALL);
    place.prints("train net.toml --out run");
    let single = place.json("calibrate run --draws 0 --out a");
    assert!(single.iter().all(|row| row["way"] == "single pass"), "{single:?}");
    let all = place.json("calibrate run --draws 4 --out b");
    assert_eq!((all.len(), &all[..2]), (4, &single[..]), "draws change nothing of a single pass");
    assert!(!place.prints("calibrate run --draws 0 --out c").contains("Monte-Carlo"));
    assert!(place.fails("calibrate run --draws 1 --out d", 2).contains("at least 2 draws"));
    assert!(place.fails("calibrate run --precision 1 --out d", 2).contains("tells classes apart"));
    place.fails("calibrate run --precision -1 --out d", 2);
}

#[test]
fn intervals_of_a_regression_are_in_the_files_as_in_the_figures() {
    let place = Place::with(LINE);
    place.write("line.csv", line_csv(400));
    place.prints("train net.toml --out run");
    let rows = place.json("calibrate run");
    let [single, drawn] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((&single["way"], &drawn["way"]), (&"single pass".into(), &"Monte-Carlo".into()));
    assert!(figure(drawn, "deviation") > 0.0 && figure(drawn, "deviation_of_draws") > 0.0);
    assert!(single["deviation_of_draws"].is_null() && figure(drawn, "draws") == 100.0);
    let (intervals, observed) = (place.text("run/calibration/intervals.csv"), place.text("line.csv"));
    let (table, observed) = (cells(&intervals), cells(&observed));
    for (way, table) in rows.iter().zip(table.chunks(100)) {
        let column = |at: usize| table.iter().map(|row| number(row[at])).collect::<Vec<_>>();
        assert!(table.iter().all(|row| row[0] == way["way"] && row[1] == "price"), "{way}");
        for row in table {
            close("observed", number(row[3]), number(observed[number(row[2]) as usize][2]));
            let ends = [7, 5, 6, 8].map(|at: usize| number(row[at]));
            assert!(ends.is_sorted() && ends[0] < ends[3], "{row:?}");
        }
        close("rmse", figure(way, "rmse"), rmse(&column(4), &column(3)).unwrap());
        for (name, low, high) in [("covered_50", 5, 6), ("covered_90", 7, 8)] {
            close(name, figure(way, name), covered(&column(3), &column(low), &column(high)).unwrap());
        }
    }
    let svg = place.text("run/calibration/intervals.svg");
    assert!(svg.contains("90 % interval") && svg.contains("Monte-Carlo") && !svg.contains("NaN"));
}

#[test]
fn the_noise_is_fitted_or_given() {
    let place = Place::with(LINE);
    place.write("line.csv", line_csv(400));
    place.prints("train net.toml --out run");
    let noise = |arguments: &str| place.json(&format!("calibrate run {arguments}")).remove(1);
    // The targets' deviation, which makes the unit of the network's output, is that of the training rows.
    let model = Model::load(place.path("run/model.safetensors")).unwrap();
    let unit = model.preprocessing().targets.as_ref().unwrap().deviation[0];
    let given = noise("--precision 25 --out a");
    close("deviation", figure(&given, "deviation"), unit / 5.0);
    // The likelihood of the validation rows is largest at the fitted noise: judged by them, no other has more.
    let fitted = (unit / figure(&noise("--out b"), "deviation")).powi(2);
    let likelihood = |tau: f64, out: &str| {
        figure(&noise(&format!("--data line.csv --rows 200..300 --precision {tau} --out {out}")), "log_likelihood")
    };
    let best = likelihood(fitted, "c");
    assert!(best > likelihood(1.5 * fitted, "d").max(likelihood(fitted / 1.5, "e")), "{fitted}");
    // Without validation rows nothing is known of it, and a given noise is enough.
    let weights = "run/model.safetensors --data line.csv --target price --rows 300..400";
    let rows = place.json(&format!("calibrate {weights}"));
    assert!(rows[1]["no_intervals"].as_str().unwrap().contains("--precision"), "{rows:?}");
    let rows = place.json(&format!("calibrate {weights} --precision 25"));
    assert_eq!(rows[1]["log_likelihood"], given["log_likelihood"]);
}

#[test]
fn a_network_that_says_its_noise_has_rows_of_their_own_width() {
    let knows = LINE.replace("mean_squared_error", "gaussian_nll").replace("{ dense = 1 }", "{ dense = 2 }");
    let place = Place::with(&knows);
    place.write("line.csv", line_csv(400));
    place.prints("train net.toml --out run");
    let rows = place.json("calibrate run");
    let answers = place.prints("predict run");
    let deviations: Vec<f64> = cells(&answers).iter().map(|row| number(row[2])).collect();
    close("deviation", figure(&rows[0], "deviation"), deviations.iter().sum::<f64>() / 100.0);
    let intervals = place.text("run/calibration/intervals.csv");
    for (row, deviation) in cells(&intervals).iter().zip(&deviations) {
        close("width", number(row[8]) - number(row[7]), 2.0 * 1.644_853_626_951_472_2 * deviation);
    }
    assert!(figure(&rows[1], "log_likelihood").is_finite() && figure(&rows[1], "deviation_of_draws") > 0.0);
    assert!(place.prints("calibrate run --force").contains("the deviation that the network says of each row"));
    assert!(place.fails("calibrate run --precision 2 --out o", 2).contains("gaussian_nll"));
}

#[test]
fn sets_of_units_are_drawn_as_they_are_trained() {
    let place = Place::new();
    place.write("units.toml", SMALL.replace("keep = 0.5", "keep = 0.5, mode = \"units\""));
    place.prints("train units.toml --out units");
    assert!(place.json("calibrate units --draws 10").iter().any(|row| row["way"] == "Monte-Carlo"), "one network a draw");
}

#[test]
fn each_target_of_a_regression_says_how_exact_its_means_are() {
    let two = LINE.replace("target = \"price\"", "target = [\"price\", \"b\"]").replace("{ dense = 1 }", "{ dense = 2 }");
    let place = Place::with(&two);
    place.write("line.csv", line_csv(400));
    place.prints("train net.toml --out run");
    let rows = place.json("calibrate run --draws 25");
    let ways: Vec<_> = rows.iter().map(|row| (row["way"].as_str().unwrap(), row["target"].as_str().unwrap())).collect();
    assert_eq!(ways, [("single pass", "price"), ("single pass", "b"), ("Monte-Carlo", "price"), ("Monte-Carlo", "b")]);
    assert!(rows[..2].iter().all(|row| row["largest_standard_error"].is_null() && row["mean_standard_error"].is_null()));
    // The draws of predict are the same: std / sqrt(draws) of each row, in the target's own units.
    let answers = place.prints("predict run --draws 25");
    assert!(answers.starts_with("row,price,b,price_std,b_std,"), "{answers}");
    for (row, column) in rows[2..].iter().zip([3, 4]) {
        let errors: Vec<f64> = cells(&answers).iter().map(|row| number(row[column]) / 5.0).collect();
        close("largest", figure(row, "largest_standard_error"), errors.iter().copied().fold(0.0, f64::max));
        close("mean", figure(row, "mean_standard_error"), errors.iter().sum::<f64>() / errors.len() as f64);
    }
    assert_ne!(rows[2]["mean_standard_error"], rows[3]["mean_standard_error"]);
}

#[test]
fn dropped_weights_are_judged_by_masks_or_by_normal_numbers() {
    let place = Place::with(&SMALL.replace("keep = 0.5", "keep = 0.5, weights = true").replace("epochs = 3", "epochs = 1"));
    place.prints("train net.toml --out run");
    let (model, device) = (Model::load(place.path("run/model.safetensors")).unwrap(), Device::open().unwrap());
    let digits = data::digits().slice(300..400).unwrap();
    let mut judged = Vec::new();
    for (arguments, gaussian_weights) in [("--out a", false), ("--out b --gaussian-weights", true)] {
        let options = MonteCarlo { draws: 20, gaussian_weights, ..MonteCarlo::default() };
        let own = model.monte_carlo(&device, digits.inputs(), &options).unwrap();
        let nll = Probabilities::from_outputs(&own.mean()).unwrap().nll(digits.labels()).unwrap();
        let rows = place.json(&format!("calibrate run --draws 20 {arguments}"));
        let drawn = rows.iter().find(|row| row["way"] == "Monte-Carlo").unwrap();
        close("nll", figure(drawn, "nll"), nll);
        judged.push(nll);
    }
    assert!((judged[0] - judged[1]).abs() > 1e-4, "{judged:?} are the same draws");
    assert!(place.fails("calibrate run --draws 0 --gaussian-weights --out c", 2).contains("--draws 0 asks for none"));
    place.write("net.toml", SMALL.replace("epochs = 3", "epochs = 1"));
    place.prints("train net.toml --out masks");
    let text = place.fails("calibrate masks --gaussian-weights --out c", 2);
    assert!(text.contains("gaussian_weights") && text.contains("no DropConnect layer"), "{text}");
}
