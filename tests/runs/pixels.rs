use super::{Place, SMALL};
use thinnet::data::digits;

/// The built-in digits as a table: pixels of 0 to 16 divided by `by`.
fn table(by: f32) -> String {
    let names: Vec<String> = (0..64).map(|column| format!("p{column}")).collect();
    let digits = digits();
    let row = |row: u32| {
        let pixels = digits.inputs().row_f32(row).into_iter().map(|pixel| (pixel * 16.0 / by).to_string());
        pixels.chain([digits.labels()[row as usize].to_string()]).collect::<Vec<_>>().join(",") + "\n"
    };
    names.join(",") + ",label\n" + &(0..400).map(row).collect::<String>()
}

/// The file of a model keeps what its inputs were multiplied by, and every command that reads data for it compares.
#[test]
fn a_model_of_bytes_refuses_the_same_pixels_undivided() {
    let place = Place::with(SMALL);
    place.prints("train net.toml --out run");
    place.write("wide.csv", table(1.0));
    place.write("scaled.csv", table(16.0));
    for arguments in [
        "eval run --data wide.csv",
        "eval run/model.safetensors --data wide.csv --rows 300..400",
        "predict run --data wide.csv",
        "calibrate run --ood wide.csv --out elsewhere",
    ] {
        let text = place.fails(arguments, 2);
        for part in ["wide.csv", "numbers up to 16", "bytes divided by 16", "divide these by 16"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    assert_eq!(place.json("eval run --data scaled.csv --rows 300..400")[0]["loss"], place.json("eval run")[0]["loss"]);
    // A model of the table takes no bytes.
    place.write("table.toml", SMALL.replace("\"digits\"", "\"wide.csv\""));
    place.prints("train table.toml --out table");
    let text = place.fails("eval table --data digits", 2);
    assert!(text.contains("learned from numbers as they are") && text.contains("divided by 16"), "{text}");
}
