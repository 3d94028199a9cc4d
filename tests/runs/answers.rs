use super::{Place, SMALL, animals_csv, cells, line_csv, number};

/// Shape and values of an npy file of f32.
pub(super) fn npy(bytes: &[u8]) -> (String, Vec<f32>) {
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let length = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    assert_eq!(length % 64, 0);
    let header = String::from_utf8(bytes[10..length].to_vec()).unwrap();
    assert!(header.contains("'<f4'") && header.contains("'fortran_order': False") && header.ends_with('\n'), "{header}");
    let shape = header.split(['(', ')']).nth(1).unwrap().to_owned();
    (shape, bytes[length..].chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect())
}

#[test]
fn digits_get_a_class_and_ten_probabilities() {
    let place = Place::with(SMALL);
    place.prints("train net.toml --out run");
    let text = place.prints("predict run");
    assert_eq!(text.lines().next().unwrap(), "row,label,0,1,2,3,4,5,6,7,8,9");
    let rows = cells(&text);
    assert_eq!(rows.len(), 100);
    let (digits, mut right, mut all) = (thinnet::data::digits(), 0, Vec::new());
    let thinnet::Targets::Classes { labels, .. } = digits.targets() else { panic!("digits have classes") };
    for (i, row) in rows.iter().enumerate() {
        let values: Vec<f32> = row[2..].iter().map(|cell| cell.parse().unwrap()).collect();
        let largest = (0..10).max_by(|&a, &b| values[a].total_cmp(&values[b])).unwrap();
        assert_eq!((row[0], row[1]), (&*(300 + i).to_string(), &*largest.to_string()));
        assert!((values.iter().sum::<f32>() - 1.0).abs() < 1e-5 && values.iter().all(|p| (0.0..=1.0).contains(p)));
        right += u32::from(labels[300 + i] as usize == largest);
        all.extend(values);
    }
    let accuracy = place.json("eval run")[0]["accuracy"].as_f64().unwrap();
    assert!((f64::from(right) / 100.0 - accuracy).abs() < 1e-9, "{right} and {accuracy}");

    // The same in other forms: CSV keeps every bit.
    assert_eq!(place.prints("predict run --out p.csv") + &place.text("p.csv"), text);
    assert_eq!(place.prints("predict run --out p.npy"), "");
    assert_eq!(npy(&place.bytes("p.npy")), ("100, 10".into(), all.clone()));
    let json = place.json("predict run");
    assert_eq!((json.len(), &json[7]["row"], json[7]["label"].as_str().unwrap()), (100, &307.into(), rows[7][1]));
    assert_eq!(json[7]["outputs"].as_array().unwrap().len(), 10);
    assert_eq!(place.prints("predict run/model.safetensors --data digits --rows 300..400"), text);
    place.fails("predict run --out p.csv", 2);
    place.prints("predict run --data digits --rows 5..6 --out p.csv --force");
    assert!(place.text("p.csv").lines().count() == 2 && cells(&place.text("p.csv"))[0][0] == "5");

    // Softmax makes the probabilities of the logits.
    place.prints("predict run --logits --out l.npy");
    let (_, logits) = npy(&place.bytes("l.npy"));
    for (logits, probabilities) in logits.chunks(10).zip(all.chunks(10)) {
        let sum: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
        for (&l, &p) in logits.iter().zip(probabilities) {
            assert!((f64::from(l).exp() / sum - f64::from(p)).abs() < 1e-5);
        }
    }
    assert_eq!(place.names("."), ["l.npy", "net.toml", "p.csv", "p.npy", "run"]);
}

#[test]
fn classes_keep_the_names_they_have_in_the_table() {
    let place = Place::with(
        "[data]\npath = \"animals.csv\"\ntest = \"90..120\"\n[network]\nlayers = [{ dense = 16, activation = \"relu\" }, { dense = 3 }]\n\
         [train]\nepochs = 20\noptimizer = { adam = { lr = 0.05 } }\n",
    );
    place.write("animals.csv", animals_csv(120));
    place.prints("train net.toml --out run");
    let text = place.prints("predict run");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines[0], lines.len()), ("row,label,\"cat, big\",owl,zebra", 31));
    for (i, line) in lines[1..].iter().enumerate() {
        let name = ["zebra", "\"cat, big\"", "owl"][i % 3];
        assert!(line.starts_with(&format!("{},{name},", 90 + i)), "{line}");
    }
    assert_eq!(place.json("predict run")[1]["label"], "cat, big");
    // Other rows, without labels and with the columns in another order: columns go by their names.
    place.write("new.csv", "b,a\n0,0\n1,2\n4,4\n");
    let answers = place.json("predict run --data new.csv");
    let labels: Vec<&str> = answers.iter().map(|row| row["label"].as_str().unwrap()).collect();
    assert_eq!(labels, ["zebra", "cat, big", "owl"]);
    // The weights know the names and the scale.
    let alone = place.json("predict run/model.safetensors --data new.csv");
    assert_eq!(alone, answers);
    assert_eq!(place.json("eval run --data animals.csv")[0]["rows"], 120);
}

/// The noise of a price grows with a: its standard deviation is 10 + 5 a.
#[test]
fn a_likelihood_answers_means_and_deviations_in_the_units_of_their_targets() {
    let place = Place::with(
        "[data]\npath = \"noisy.csv\"\ntarget = [\"price\", \"far\"]\ntest = \"1500..2000\"\n[network]\nloss = \"gaussian_nll\"\n\
         layers = [{ dense = 32, activation = \"relu\" }, { dense = 4 }]\n[train]\nepochs = 40\noptimizer = { adam = { lr = 0.005 } }\n",
    );
    let words = crate::common::numbers(2 * 2000, 17);
    let noise = crate::common::numbers(12 * 2000, 18);
    let row = |(i, x): (usize, &[f32])| {
        let (a, b) = (5.0 + 5.0 * f64::from(x[0]), 3.0 * f64::from(x[1]));
        // The sum of twelve uniform numbers from -1/2 to 1/2 is nearly normal with deviation 1.
        let normal: f64 = noise[12 * i..][..12].iter().map(|&n| f64::from(n) / 2.0).sum();
        let price = 1000.0 + 50.0 * a - 30.0 * b + (10.0 + 5.0 * a) * normal;
        format!("{a},{b},{price},{}\n", 1e6 + 1000.0 * price)
    };
    let rows: String = words.chunks(2).enumerate().map(row).collect();
    place.write("noisy.csv", format!("a,b,price,far\n{rows}"));
    place.prints("train net.toml --out run");
    let (text, table) = (place.prints("predict run"), place.text("noisy.csv"));
    assert_eq!(text.lines().next().unwrap(), "row,price,far,price_deviation,far_deviation");
    let (answers, truth) = (cells(&text), cells(&table));
    let logits = place.prints("predict run --logits");
    assert_eq!(logits.lines().next().unwrap(), "row,price,far,price_log_variance,far_log_variance");
    let (mut nll, mut within, mut scales) = (0.0, [0.0; 2], [Vec::new(), Vec::new()]);
    for (row, raw) in answers.iter().zip(cells(&logits)) {
        let wanted = &truth[number(row[0]) as usize];
        for target in 0..2 {
            let (mean, deviation) = (number(row[1 + target]), number(row[3 + target]));
            let z = (number(wanted[2 + target]) - mean) / deviation;
            within[target] += f64::from(u8::from(z.abs() < 1.0)) / 500.0;
            scales[target].push(deviation / (number(raw[3 + target]) / 2.0).exp());
            nll += (2.0 * number(raw[3 + target]) / 2.0 + z * z) / 2.0 / 1000.0;
        }
        let expected = 10.0 + 5.0 * number(wanted[0]);
        assert!((0.5..2.0).contains(&(number(row[3]) / expected)), "{row:?}: a deviation of {expected}");
        assert!((number(row[4]) / number(row[3]) / 1000.0 - 1.0).abs() < 0.5, "one noise in two units: {row:?}");
    }
    // Among 500 rows 68.3 % lie within one deviation, give or take 2.1 %; the fit is off by a few per cent beside that.
    assert!(within.iter().all(|share| (share - 0.683).abs() < 0.1), "{within:?}");
    // Every row's deviation is scaled by that of its target over the training rows, and by nothing else.
    for (target, scales) in scales.iter().enumerate() {
        let of: Vec<f64> = truth[..1500].iter().map(|row| number(row[2 + target])).collect();
        let mean = of.iter().sum::<f64>() / 1500.0;
        let deviation = (of.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 1500.0).sqrt();
        assert!(scales.iter().all(|scale| (scale / deviation - 1.0).abs() < 1e-5), "{deviation}: {:?}", &scales[..5]);
    }
    let eval = place.json("eval run");
    assert!((eval[0]["loss"].as_f64().unwrap() - nll).abs() < 1e-4, "{nll}");
    assert!(eval[0]["accuracy"].is_null());
}

#[test]
fn a_regression_answers_in_the_units_of_its_targets() {
    let place = Place::with(
        "[data]\npath = \"line.csv\"\ntarget = \"price\"\ntest = \"300..400\"\n[network]\nloss = \"mean_squared_error\"\n\
         layers = [{ dense = 16, activation = \"relu\" }, { dense = 1 }]\n[train]\nepochs = 30\noptimizer = { adam = { lr = 0.01 } }\n",
    );
    place.write("line.csv", line_csv(400));
    let rows = place.json("train net.toml --out run");
    assert_eq!((rows.last().unwrap()["rows"].as_u64(), rows.last().unwrap()["accuracy"].as_f64()), (Some(100), None));
    let (text, table) = (place.prints("predict run"), place.text("line.csv"));
    assert_eq!(text.lines().next().unwrap(), "row,price");
    let (answers, truth) = (cells(&text), cells(&table));
    assert_eq!(answers.len(), 100);
    let mut squares = 0.0;
    for row in &answers {
        let expected = number(truth[number(row[0]) as usize][2]);
        assert!((number(row[1]) - expected).abs() < 60.0, "{row:?}: {expected}");
        squares += (number(row[1]) - expected).powi(2) / 100.0;
    }
    // Prices lie from 910 to 1590 with a deviation of 153.
    assert!(squares.sqrt() < 15.0, "{}", squares.sqrt());
    // The network's own output is standardised.
    let logits = place.prints("predict run --logits");
    assert!(cells(&logits).iter().all(|row| number(row[1]).abs() < 4.0));
    let loss = place.json("eval run")[0]["loss"].as_f64().unwrap();
    let deviation = {
        let of: Vec<f64> = truth[..300].iter().map(|row| number(row[2])).collect();
        let mean = of.iter().sum::<f64>() / 300.0;
        (of.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 300.0).sqrt()
    };
    assert!((loss.sqrt() * deviation / squares.sqrt() - 1.0).abs() < 0.02, "{loss} {deviation} {squares}");
}

/// A weight that is no number makes no answer, and no class.
#[test]
fn answers_that_are_no_numbers_are_refused() {
    let place = Place::with(SMALL);
    place.prints("train net.toml");
    let model = thinnet::Model::load(place.path("runs/net/model.safetensors")).unwrap();
    let mut weights = model.weights().to_vec();
    weights[2][0] = f32::NAN;
    let broken = thinnet::Model::new(model.network().clone(), weights).unwrap();
    broken.save(place.path("nan.safetensors")).unwrap();
    let text = place.fails("predict nan.safetensors --data digits --out answers.csv", 2);
    assert!(text.contains("row 0 is answered with what is not a number") && text.contains("train again"), "{text}");
    assert!(!place.path("answers.csv").exists());
}
