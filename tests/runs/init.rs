use super::{Place, animals_csv, line_csv};

/// Lets a file train for one epoch.
fn one_epoch(place: &Place, file: &str) {
    place.write(file, place.text(file).replace("# epochs = 10", "epochs = 1"));
}

#[test]
fn what_init_writes_can_be_trained() {
    let place = Place::new();
    let text = place.prints("init --out digits.toml");
    assert!(text.contains("thinnet preflight digits.toml") && place.names(".") == ["digits.toml"], "{text}");
    assert_eq!(place.prints("init"), place.text("digits.toml"));
    one_epoch(&place, "digits.toml");
    let rows = place.json("train digits.toml");
    assert_eq!(rows.len(), 2, "an epoch and the training");

    place.write("line.csv", line_csv(60));
    place.prints("init --data line.csv --target price --regression --out line.toml");
    assert!(place.text("line.toml").contains("\ntarget = \"price\" "), "{}", place.text("line.toml"));
    one_epoch(&place, "line.toml");
    assert!(place.json("train line.toml")[0]["valid_loss"].as_f64().unwrap() > 0.0);
    place.prints("init --data line.csv --target price,b --regression --out both.toml");
    assert!(place.text("both.toml").contains("\ntarget = [\"price\", \"b\"] "), "{}", place.text("both.toml"));
    one_epoch(&place, "both.toml");
    place.prints("train both.toml");
    assert_eq!(place.prints("predict runs/both").lines().next().unwrap(), "row,price,b");

    place.write("animals.csv", animals_csv(60).replacen("label", "kind", 1));
    place.prints("init --data animals.csv --target kind --out animals.toml");
    one_epoch(&place, "animals.toml");
    let rows = place.json("train animals.toml");
    assert!(rows[0]["valid_accuracy"].as_f64().is_some());
    assert!(place.text("animals.toml").contains("{ dense = 3 },\n]"), "three animals, three outputs");
}

#[test]
fn init_replaces_nothing_unasked() {
    let place = Place::with("kept");
    let text = place.fails("init --out net.toml", 2);
    assert!(text.contains("net.toml exists already") && text.contains("--force"), "{text}");
    assert_eq!(place.text("net.toml"), "kept");
    place.prints("init --out net.toml --force");
    assert!(place.text("net.toml").contains("[network]") && place.names(".") == ["net.toml"]);
}
