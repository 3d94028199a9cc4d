use std::path::Path;

use thinnet::data::file::{Portion, inputs_for};
use thinnet::monte_carlo::{MonteCarlo, Predictive, Sampling};
use thinnet::{Inputs, Model};

use super::answers::npy;
use super::{Place, SMALL, cells, line_csv, number};
use crate::common::device;

/// A run of digits with its weights and its 100 test rows.
fn run_of_digits() -> (Place, Model, Inputs) {
    let place = Place::with(SMALL);
    place.prints("train net.toml --out run");
    let model = Model::load(place.path("run/model.safetensors")).unwrap();
    (place, model, thinnet::data::digits().slice(300..400).unwrap().inputs().clone())
}

/// What a command that must succeed says on standard error.
#[track_caller]
fn says(place: &Place, arguments: &str) -> String {
    let output = place.run(arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments}: {text}");
    text
}

/// Numbers of every row in the order of the columns, from the first ones on.
fn columns(text: &str, first: usize) -> Vec<f32> {
    cells(text).iter().flat_map(|row| row[first..].iter().map(|cell| cell.parse().unwrap()).collect::<Vec<f32>>()).collect()
}

/// The columns of classes: means, then every deviation or that of the label alone, then the measures of doubt.
fn of_classes(drawn: &Predictive, every_std: bool) -> Vec<f32> {
    let (mean, std) = (drawn.mean(), drawn.std());
    let measures = [drawn.predictive_entropy(), drawn.expected_entropy(), drawn.mutual_information(), drawn.variation_ratio()];
    let labels = mean.labels();
    let row = |i: usize| {
        let spread = if every_std { std.row(i).to_vec() } else { vec![std.row(i)[labels[i] as usize]] };
        let doubt = measures.each_ref().map(|measure| measure[i] as f32);
        [mean.row(i), &spread, &doubt].concat()
    };
    (0..drawn.rows()).flat_map(row).collect()
}

#[test]
fn a_table_of_draws_has_the_numbers_of_the_library_bit_for_bit() {
    let (place, model, inputs) = run_of_digits();
    let drawn = |options: MonteCarlo| model.monte_carlo(device(), &inputs, &options).unwrap();
    let options = || MonteCarlo { draws: 40, seed: 7, ..MonteCarlo::default() };
    let plain = drawn(MonteCarlo { keep_draws: true, ..options() });

    let text = place.prints("predict run --draws 40 --seed 7");
    let doubt = "predictive_entropy,expected_entropy,mutual_information,variation_ratio";
    assert_eq!(text.lines().next().unwrap(), format!("row,label,0,1,2,3,4,5,6,7,8,9,label_std,{doubt}"));
    assert!(columns(&text, 2) == of_classes(&plain, false));
    for (i, (row, label)) in cells(&text).iter().zip(plain.mean().labels()).enumerate() {
        assert_eq!((row[0], row[1]), (&*(300 + i).to_string(), &*label.to_string()));
    }
    let all = place.prints("predict run --draws 40 --seed 0x7 --all-std");
    assert!(all.starts_with(&format!(
        "row,label,0,1,2,3,4,5,6,7,8,9,0_std,1_std,2_std,3_std,4_std,5_std,6_std,7_std,8_std,9_std,{doubt}\n"
    )));
    assert!(columns(&all, 2) == of_classes(&plain, true));

    // The same in other forms, and every single draw.
    place.prints("predict run --draws 40 --seed 7 --out p.npy --keep-draws d.npy");
    assert_eq!(npy(&place.bytes("p.npy")), ("100, 24".into(), of_classes(&plain, true)));
    let draws: Vec<f32> = (0..40).flat_map(|draw| plain.draw(draw).unwrap().values().to_vec()).collect();
    assert_eq!(npy(&place.bytes("d.npy")), ("40, 100, 10".into(), draws));
    let json = place.json("predict run --draws 40 --seed 7");
    let list = |key: &str| json[3][key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect::<Vec<_>>();
    assert_eq!((json.len(), &json[3]["row"], json[3]["label"].as_str().unwrap()), (100, &303.into(), cells(&text)[3][1]));
    assert!(list("outputs") == plain.mean().row(3) && list("std") == plain.std().row(3));
    assert_eq!(json[3]["mutual_information"].as_f64().unwrap() as f32, plain.mutual_information()[3] as f32);

    // The seed is one of masks, and each way of drawing is the library's.
    assert_eq!(place.prints("predict run --draws 40 --seed 7"), text, "one seed, the same table");
    let other = |options: &str| columns(&place.prints(&format!("predict run --draws 40 {options}")), 2);
    assert!(other("") == of_classes(&drawn(MonteCarlo { seed: 0, ..options() }), false));
    for (arguments, one_network, sampling) in [
        ("", false, Sampling::Independent),
        ("--one-network", true, Sampling::Independent),
        ("--sampling independent", false, Sampling::Independent),
        ("--sampling antithetic", false, Sampling::Antithetic),
        ("--sampling latin-hypercube", false, Sampling::LatinHypercube),
        ("--sampling exact-k --one-network", true, Sampling::ExactK),
    ] {
        let expected = of_classes(&drawn(MonteCarlo { one_network, sampling, ..options() }), false);
        assert!(other(&format!("--seed 7 {arguments}")) == expected, "{arguments}");
        assert!(other(&format!("--seed 8 {arguments}")) != expected, "{arguments}: another seed");
    }
}

#[test]
fn weights_are_drawn_by_masks_or_from_a_normal_distribution() {
    let place = Place::with(&SMALL.replace("keep = 0.5", "keep = 0.5, weights = true").replace("epochs = 3", "epochs = 1"));
    place.prints("train net.toml --out run");
    let model = Model::load(place.path("run/model.safetensors")).unwrap();
    let inputs = thinnet::data::digits().slice(300..400).unwrap().inputs().clone();
    let mut tables = Vec::new();
    for (arguments, gaussian_weights) in [("", false), (" --gaussian-weights", true)] {
        let options = MonteCarlo { draws: 20, seed: 7, gaussian_weights, ..MonteCarlo::default() };
        let expected = of_classes(&model.monte_carlo(device(), &inputs, &options).unwrap(), false);
        let table = columns(&place.prints(&format!("predict run --draws 20 --seed 7{arguments}")), 2);
        assert!(table == expected, "{arguments:?}");
        tables.push(table);
    }
    assert_ne!(tables[0], tables[1]);
}

#[test]
fn what_was_reached_is_said_on_standard_error() {
    let (place, model, inputs) = run_of_digits();
    let error = model.monte_carlo(device(), &inputs, &MonteCarlo { draws: 40, ..MonteCarlo::default() }).unwrap();
    let line = says(&place, "predict run --draws 40");
    assert!(line.starts_with("40 draws of each of 100 rows in ") && line.lines().count() == 1, "{line}");
    let said = number(line.trim_end().trim_end_matches('.').rsplit(' ').next().unwrap());
    // Three digits are shown.
    assert!((said / error.largest_standard_error() - 1.0).abs() < 5e-3, "{line}: {}", error.largest_standard_error());
    let latin = says(&place, "predict run --draws 40 --sampling latin-hypercube");
    assert!(latin.contains("as if draws were independent"), "{latin}");

    // A bound stops the draws, or was not reached.
    let options = MonteCarlo { draws: 5000, until_se: Some(0.01), ..MonteCarlo::default() };
    let stopped = model.monte_carlo(device(), &inputs, &options).unwrap();
    assert!(stopped.draws() < 5000);
    let line = says(&place, "predict run --draws 5000 --until-se 0.01");
    assert!(line.starts_with(&format!("{} draws of each ", stopped.draws())) && !line.contains("not reached"), "{line}");
    let line = says(&place, "predict run --draws 40 --until-se 1e-4");
    assert!(line.contains(": 0.0001 was not reached, ask for more --draws."), "{line}");
}

#[test]
fn rows_are_numbered_for_their_masks_from_the_first_sample() {
    let (place, ..) = run_of_digits();
    let table = |arguments: &str| columns(&place.prints(&format!("predict run --draws 40 {arguments}")), 2);
    let whole = table("");
    let far = |part: &[f32]| whole[50 * 15..].iter().zip(part).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    // Batches of another shape add up 40 numbers below 2.4 in another order: 40 * 40 roundings of at most 6e-8 each.
    let here = far(&table("--data digits --rows 350..400 --first-sample 50"));
    assert!(here < 40.0 * 2.4 * 6e-8 * 40.0, "{here}");
    assert!(far(&table("--data digits --rows 350..400")) > 0.01, "other numbers, other masks");
}

#[test]
fn a_ranking_has_the_most_doubtful_rows_first_and_equal_ones_by_their_numbers() {
    let (place, model, inputs) = run_of_digits();
    let drawn = |draws| model.monte_carlo(device(), &inputs, &MonteCarlo { draws, ..MonteCarlo::default() }).unwrap();
    // 100 draws unless told otherwise.
    let drawn_100 = drawn(100);
    let measures = [
        ("bald", "mutual_information", drawn_100.mutual_information()),
        ("entropy", "predictive_entropy", drawn_100.predictive_entropy()),
        ("variation-ratio", "variation_ratio", drawn_100.variation_ratio()),
    ];
    for (rank, key, scores) in &measures {
        let text = place.prints(&format!("predict run --rank {rank}"));
        assert_eq!(text.lines().next().unwrap(), format!("row,label,{key}"));
        let rows = cells(&text);
        let mut order: Vec<usize> = rows.iter().map(|row| row[0].parse::<usize>().unwrap() - 300).collect();
        assert!(order.windows(2).all(|pair| (scores[pair[0]], pair[1]) > (scores[pair[1]], pair[0])), "{rank}");
        for (row, &i) in rows.iter().zip(&order) {
            assert_eq!((row[1], row[2].parse()), (&*drawn_100.mean().labels()[i].to_string(), Ok(scores[i] as f32)));
        }
        order.sort_unstable();
        assert!(order.into_iter().eq(0..100), "{rank}: every row once");
        let top: String = text.lines().take(1 + 7).map(|line| format!("{line}\n")).collect();
        assert_eq!(place.prints(&format!("predict run --rank {rank} --top 7")), top);
        assert_eq!(place.prints(&format!("predict run --rank {rank} --top 1000")), text);
    }
    // Of four draws there are few different shares, so that many rows are equal.
    let (shares, text) = (drawn(4).variation_ratio(), place.prints("predict run --rank variation-ratio --draws 4"));
    let order: Vec<usize> = cells(&text).iter().map(|row| row[0].parse::<usize>().unwrap() - 300).collect();
    assert!(order.windows(2).filter(|pair| shares[pair[0]] == shares[pair[1]]).count() > 50);
    assert!(order.windows(2).all(|pair| (shares[pair[0]], pair[1]) > (shares[pair[1]], pair[0])));
    // The ranking is one of the rows that were asked about, with the names of the table.
    let json = place.json("predict run --rank bald --top 2 --draws 100");
    let ranked = place.prints("predict run --rank bald --top 2 --out r.csv") + &place.text("r.csv");
    assert!(
        json.len() == 2 && json[0]["row"].as_u64() == cells(&ranked)[0][0].parse().ok() && json[0]["mutual_information"].is_f64()
    );
}

#[test]
fn one_output_has_one_deviation_and_several_sigmoids_each_their_own() {
    let network = |layer: &str| {
        format!(
            "[data]\npath = \"t.csv\"\ntest = \"60..100\"\n[network]\nloss = \"binary_cross_entropy\"\nlayers = [{{ dense = 8, \
             activation = \"relu\" }}, {{ dropout = {{ keep = 0.5 }} }}, {{ dense = {layer} }}]\n[train]\nepochs = 2\n"
        )
    };
    let place = Place::with(&network("1"));
    let row = |i: usize| format!("{},{},{}\n", i % 7, i % 5, ["no", "yes"][usize::from((i * i) % 7 > 2)]);
    place.write("t.csv", "a,b,label\n".to_owned() + &(0..100).map(row).collect::<String>());
    place.prints("train net.toml --out run");
    let text = place.prints("predict run --draws 20");
    assert!(text.starts_with("row,label,probability,label_std,predictive_entropy,"), "{text}");
    let both = place.prints("predict run --draws 20 --all-std");
    assert!(both.starts_with("row,label,probability,probability_std,predictive_entropy,"), "{both}");
    assert_eq!(columns(&text, 2), columns(&both, 2), "the label's deviation is the probability's");
    for row in cells(&text) {
        assert_eq!(row[1], ["no", "yes"][usize::from(number(row[2]) > 0.5)]);
    }
    // Several outputs are no classes: they have no label, and each has its deviation.
    place.write("net.toml", network("2"));
    place.prints("train net.toml --out two");
    let text = place.prints("predict two --draws 20");
    assert!(text.starts_with("row,no,yes,no_std,yes_std,predictive_entropy,"), "{text}");
    assert!(place.prints("predict two --rank bald --top 3").starts_with("row,mutual_information\n"));
}

/// A regression of one target of 300 learned rows, and its 100 test rows as the network sees them.
fn run_of_line(loss: &str, layer: &str) -> (Place, Model, Inputs) {
    let place = Place::with(&format!(
        "[data]\npath = \"line.csv\"\ntarget = \"price\"\ntest = \"300..400\"\n[network]\nloss = \"{loss}\"\nlayers = [{{ dense = 16, \
         activation = \"relu\" }}, {{ dropout = {{ keep = 0.9 }} }}, {{ dense = {layer} }}]\n[train]\nepochs = 10\n\
         optimizer = {{ adam = {{ lr = 0.01 }} }}\n"
    ));
    place.write("line.csv", line_csv(400));
    place.prints("train net.toml --out run");
    let model = Model::load(place.path("run/model.safetensors")).unwrap();
    let target = vec!["price".to_owned()].into();
    let inputs = inputs_for(Path::new(&place.path("line.csv")), &Portion::All, Some(&target), model.preprocessing()).unwrap();
    (place, model, inputs.slice(300..400).unwrap())
}

/// Mean, both deviations and the ends of some intervals, in the targets' units.
fn of_values(model: &Model, inputs: &Inputs, options: &MonteCarlo, shares: &[f64]) -> Vec<f32> {
    let drawn = model.monte_carlo(device(), inputs, options).unwrap();
    let drawn = drawn.in_units(model.preprocessing().targets.as_ref().unwrap()).unwrap();
    let mut all = vec![drawn.mean(), drawn.std(), drawn.total_std()];
    all.extend(shares.iter().flat_map(|&share| drawn.interval(share).unwrap()));
    (0..drawn.rows()).flat_map(|i| all.iter().map(|column| column.row(i)[0]).collect::<Vec<_>>()).collect()
}

#[test]
fn draws_of_a_regression_are_in_the_units_of_its_target() {
    let (place, model, inputs) = run_of_line("mean_squared_error", "1");
    let options = || MonteCarlo { draws: 40, seed: 2, ..MonteCarlo::default() };
    let text = place.prints("predict run --draws 40 --seed 2");
    let intervals = "price_low_50,price_high_50,price_low_90,price_high_90";
    assert_eq!(text.lines().next().unwrap(), format!("row,price,price_std,price_total_std,{intervals}"));
    assert!(columns(&text, 1) == of_values(&model, &inputs, &options(), &[0.5, 0.9]));
    for row in cells(&text) {
        let [mean, std, total, low_50, high_50, low_90, high_90] = [1, 2, 3, 4, 5, 6, 7].map(|i| number(row[i]));
        assert!((900.0..1600.0).contains(&mean) && std > 1.0 && total == std, "prices lie from 910 to 1590: {row:?}");
        // Few units are dropped from, so that many draws may be equal.
        assert!(low_90 <= low_50 && low_50 <= high_50 && high_50 <= high_90 && low_90 < high_90, "{row:?}");
    }
    let line = says(&place, "predict run --draws 40");
    assert!(line.contains("of a standardised target") && line.contains("those of the draws; they hold the mean"), "{line}");

    // With noise: 1 / 4 of the variance of the standardised target.
    let noisy = place.prints("predict run --draws 40 --seed 2 --precision 4 --interval 0.999 --interval 0.5");
    assert_eq!(
        noisy.lines().next().unwrap(),
        "row,price,price_std,price_total_std,price_low_99.9,price_high_99.9,price_low_50,price_high_50"
    );
    let with_noise = MonteCarlo { precision: Some(4.0), ..options() };
    assert!(columns(&noisy, 1) == of_values(&model, &inputs, &with_noise, &[0.999, 0.5]));
    let noise = model.preprocessing().targets.as_ref().unwrap().deviation[0] / 2.0;
    for row in cells(&noisy) {
        let (std, total) = (number(row[2]), number(row[3]));
        assert!((total.powi(2) / (std.powi(2) + noise.powi(2)) - 1.0).abs() < 1e-5, "{row:?}: {noise}");
    }
    let line = says(&place, "predict run --draws 40 --precision 4");
    assert!(line.ends_with("Intervals are those of the draws.\n"), "{line}");

    place.prints("predict run --draws 40 --seed 2 --out p.npy --keep-draws d.npy");
    assert_eq!(npy(&place.bytes("p.npy")), ("100, 7".into(), columns(&text, 1)));
    let (shape, draws) = npy(&place.bytes("d.npy"));
    let mean = draws.iter().step_by(100).map(|&draw| f64::from(draw)).sum::<f64>() / 40.0;
    assert!(shape == "40, 100, 1" && (mean / number(cells(&text)[0][1]) - 1.0).abs() < 1e-5, "{shape} {mean}");
    let json = place.json("predict run --draws 40 --seed 2");
    assert!(json[0]["label"].is_null() && json[0]["high_90"][0].as_f64().unwrap() as f32 == columns(&text, 1)[6]);
}

#[test]
fn a_regression_that_knows_its_noise_adds_it_to_that_of_the_draws() {
    let (place, model, inputs) = run_of_line("gaussian_nll", "2");
    let text = place.prints("predict run --draws 40 --interval 0.9");
    assert_eq!(text.lines().next().unwrap(), "row,price,price_std,price_total_std,price_low_90,price_high_90");
    let options = MonteCarlo { draws: 40, ..MonteCarlo::default() };
    assert!(columns(&text, 1) == of_values(&model, &inputs, &options, &[0.9]));
    assert!(cells(&text).iter().all(|row| number(row[3]) > number(row[2])), "noise makes the deviation larger");
    assert!(says(&place, "predict run --draws 40").ends_with("Intervals are those of the draws.\n"));
    let says = place.fails("predict run --draws 40 --precision 4", 2);
    assert!(says.contains("gaussian_nll") && says.contains("leave it out"), "{says}");
}
