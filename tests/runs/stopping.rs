use std::io::{BufRead, BufReader};

use super::resumed::{ended, epochs, spawned, until};
use super::{Place, SMALL, cells, number, tensors};

#[test]
fn patience_keeps_the_weights_of_the_best_epoch() {
    // Adam at 0.1 learns 100 digits by heart, then the loss of others rises.
    let network = SMALL.replace("0..200", "0..100").replace("0.01", "0.1").replace("epochs = 3", "epochs = 60\npatience = 4");
    let place = Place::with(&network.replace("{ dropout = { keep = 0.5 } },", "").replace("test = \"300..400\"\n", ""));
    let text = place.prints("train net.toml --out run");
    let history = place.text("run/history.csv");
    let losses: Vec<f64> = cells(&history).iter().map(|line| number(line[3])).collect();
    assert!(losses.len() < 60, "it does not stop early");
    let best = (0..losses.len()).min_by(|&a, &b| losses[a].total_cmp(&losses[b])).unwrap();
    assert_eq!(best + 1 + 4, losses.len(), "{losses:?}");
    // Without test rows a run is judged by its validation rows.
    let eval = &place.json("eval run")[0];
    let [loss, accuracy] = ["loss", "accuracy"].map(|key| eval[key].as_f64().unwrap());
    let expected = &cells(&history)[best];
    assert!((loss - number(expected[3])).abs() < 2e-6 && (accuracy - number(expected[4])).abs() < 2e-6, "{eval} {expected:?}");
    assert!((loss - losses.last().unwrap()).abs() > 1e-3, "the last epoch would do as well");
    let marked: Vec<&str> = text.lines().filter(|line| line.contains("best, kept")).collect();
    assert!(marked.len() == 1 && marked[0].trim_start().starts_with(&format!("{} ", best + 1)), "{text}");
}

#[test]
fn four_small_batches_are_one_large() {
    let base = SMALL.replace("0..200", "0..256").replace("200..300", "300..400").replace("\ntest = \"300..400\"", "");
    let place = Place::with(&base.replace("[train]", "[train]\nbatch = 32\naccumulate = 4"));
    place.write("large.toml", base.replace("[train]", "[train]\nbatch = 128"));
    place.write("small.toml", base.replace("[train]", "[train]\nbatch = 32"));
    for name in ["net", "large", "small"] {
        place.prints(&format!("train {name}.toml"));
    }
    let [parts, large, small] =
        ["net", "large", "small"].map(|name| tensors(&place.path(&format!("runs/{name}/model.safetensors"))));
    let apart = |other: &std::collections::BTreeMap<String, (Vec<usize>, Vec<f32>)>| {
        let pairs = parts.iter().flat_map(|(name, (_, values))| values.iter().zip(&other[name].1));
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    // Six updates of Adam at 0.01 move a weight by up to 0.06; other masks would show.
    assert!(apart(&large) < 2e-4, "{}", apart(&large));
    assert!(apart(&small) > 0.02, "{}", apart(&small));
}

/// Hours of training are not lost to a key.
#[cfg(unix)]
#[test]
fn ctrl_c_keeps_what_there_is_by_then() {
    let place = Place::with(&SMALL.replace("epochs = 3", "epochs = 1000000"));
    let mut training = spawned(&place, "train net.toml --out run --save-every 0.2");
    // It says what it is about to train; then it trains some epochs.
    let mut introduction = String::new();
    BufReader::new(training.stdout.as_mut().unwrap()).read_line(&mut introduction).unwrap();
    assert!(introduction.contains("1000000 epochs"), "{introduction}");
    until(|| epochs(&place, "run") > 0);
    let output = ended(training, "-INT");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{text}");
    let epochs = epochs(&place, "run");
    assert!(text.contains(&format!("Interrupted in epoch {} of 1000000; run has what there was by then.", epochs + 1)), "{text}");
    assert!(epochs > 0 && place.prints("eval run").contains("rows"));
}
