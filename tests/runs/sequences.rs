//! Sequences by every command: what is said of them, and that a model keeps their room.

use super::Place;

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
    assert_eq!(place.prints("data digits"), "rows: 1797, 10 classes. 64 columns.\n");
    assert!(place.fails("data none.ts", 2).contains("none.ts: found no such file"));
    place.write("steps.csv", "id,x,y\n1,1,0\n1,2,0\n2,3,1\n");
    let text = place.prints("data steps.csv --sequence id");
    assert_eq!(text, "rows: 2, 2 classes. Sequences of 1 to 2 steps (median 1), with room for 2, 1 feature at each.\n");
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
