//! Networks of sequences, noise, dropped weights and moving rates: healthy ones pass, and what is said of their rates is true.

use super::{HEALTHY, checks, failures, healthy};
use crate::runs::Place;

/// The healthy configuration with other layers between the input and the last.
fn with(layers: &str) -> String {
    let (before, rest) = HEALTHY.split_once("layers = [").unwrap();
    let (_, after) = rest.split_once("{ dense = 10 }").unwrap();
    format!("{before}layers = [\n{layers}\n  {{ dense = 10 }}{after}").replace("0.001", "0.003")
}

fn found(place: &Place, name: &str) -> String {
    checks(place).iter().find(|check| check["check"] == name).unwrap()["found"].as_str().unwrap().to_owned()
}

#[test]
fn healthy_networks_of_every_variant_pass() {
    let concrete = "concrete = { weight_regularizer = 1e-6, dropout_regularizer = 1e-5 }";
    let norm = format!(
        "{{ dense = 64 }}, {{ batch_norm = true }}, {{ activation = \"relu\" }}, {{ dropout = {{ keep = 0.9, {concrete} }} }},"
    );
    for layers in [
        "{ dense = 64, activation = \"relu\" }, { dropout = { keep = 0.8, noise = \"gaussian\" } },",
        "{ dense = 64, activation = \"selu\" }, { dropout = { keep = 0.9, noise = \"alpha\" } },",
        "{ dense = 64, activation = \"relu\" }, { dropout = { keep = 0.5, weights = true } },",
        "{ dense = 64, activation = \"relu\" }, { dropout = { keep = 0.5, schedule = { linear = 100 } } },",
        "{ dense = 64, activation = \"relu\" }, { dropout = { keep = 1.0, schedule = { step = 100, from = 0.5 } } },",
        &format!("{{ dense = 64, activation = \"relu\" }}, {{ dropout = {{ keep = 0.9, {concrete} }} }},"),
        &norm,
    ] {
        healthy(&Place::with(&with(layers)));
    }
    let sequences =
        with("{ lstm = 32, input = { keep = 0.8, variational = true }, recurrent = { keep = 0.8, variational = true } },");
    let place = Place::with(&sequences.replace("[network]", "[network]\ninput = [8, 8]"));
    healthy(&place);
    // Only the sites that drop are listed: the input and the recurrent input.
    assert_eq!(found(&place, "keep_prob"), "layer 0.input: 0.8 of 8, layer 0.recurrent: 0.8 of 32");
    assert!(found(&place, "keep rates").matches(" for 0.8").count() == 2, "{}", found(&place, "keep rates"));
}

/// A rate that moves is judged where it is lowest; masks for each gate need recurrent dropout.
#[test]
fn what_is_said_of_rates_covers_the_whole_training() {
    let scheduled = |from: &str| {
        with(&format!("{{ dense = 64 }}, {{ dropout = {{ keep = 0.5, schedule = {{ step = 100, from = {from} }} }} }},"))
    };
    let place = Place::with(&scheduled("0.9"));
    assert_eq!(found(&place, "keep_prob"), "layer 1: 0.9 at first, 0.5 in the end, of 64");
    assert!(!failures(&checks(&place)).contains(&"keep_prob"));
    let low = checks(&Place::with(&scheduled("0.02")));
    assert!(failures(&low).contains(&"keep_prob"), "{low:#?}");
    let untied = |keep: &str| {
        let layers = format!("{{ lstm = 8, untied = true, recurrent = {{ keep = {keep}, variational = true }} }},");
        Place::with(&with(&layers).replace("[network]", "[network]\ninput = [8, 8]"))
    };
    assert_eq!(found(&untied("1.0"), "keep_prob"), "layer 0: untied gates, but nothing recurrent is dropped");
    assert_eq!(found(&untied("0.8"), "keep_prob"), "layer 0.recurrent: 0.8 of 8");
}

/// Two words of a sentence of four say its class.
#[test]
fn a_healthy_network_of_words_passes() {
    let place = Place::with(
        "[data]\npath = \"words.csv\"\nsequence = \"id\"\nvalid_fraction = 0.2\n[network]\nlayers = [\n  \
         { embedding = 16, vocabulary = 60, \
         words = { keep = 0.9 } },\n  { gru = 32 },\n  { dense = 2 },\n]\n[train]\noptimizer = { adam = { lr = 0.005 } }\n",
    );
    let row = |row: u32| {
        let word = |t: u32| (row * 31 + t * 17 + row * t) % 60;
        let class = u32::from(word(0) >= 30);
        (0..4)
            .map(|t| format!("{row},{},{}\n", word(t), if t == 3 { class.to_string() } else { String::new() }))
            .collect::<String>()
    };
    place.write("words.csv", "id,word,y\n".to_owned() + &(0..1000).map(row).collect::<String>());
    let checks = checks(&place);
    assert!(failures(&checks).is_empty(), "{checks:#?}");
}
