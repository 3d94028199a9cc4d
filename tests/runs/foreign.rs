use safetensors::tensor::{Dtype, TensorView};

use super::{Place, SMALL, tensors};

/// A file of tensors and nothing else, as another program writes it.
fn strip(place: &Place, name: &str, tensors: &[(&str, &[usize], &[f32])]) {
    let views = tensors.iter().map(|(name, shape, values)| {
        let bytes = bytemuck::cast_slice(values);
        ((*name).to_owned(), TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap())
    });
    place.write(name, safetensors::serialize(views, None).unwrap());
}

#[test]
fn weights_of_another_program_answer_as_its_network() {
    let place = Place::with(SMALL);
    place.prints("train net.toml --out run");
    let own = tensors(&place.path("run/model.safetensors"));
    let all: Vec<(&str, &[usize], &[f32])> = own.iter().map(|(name, (shape, values))| (&**name, &**shape, &**values)).collect();
    strip(&place, "foreign.safetensors", &all);
    let rows = "--data digits --rows 300..400";
    let text = place.fails(&format!("predict foreign.safetensors {rows}"), 2);
    assert!(text.contains("--network FILE.toml"), "{text}");
    let expected = place.prints("predict run");
    let with = "foreign.safetensors --network net.toml";
    assert_eq!(place.prints(&format!("predict {with} {rows}")), expected);
    // The rows of the network file, unless others are named.
    assert_eq!(place.prints(&format!("predict {with}")), expected);
    assert_eq!(place.json(&format!("eval {with}")), place.json("eval run"));
    place.write("wide.toml", SMALL.replace("[network]", "[network]\ninput = 64"));
    assert_eq!(place.prints("predict foreign.safetensors --network wide.toml"), expected);
}

/// Columns have names, with constants or without: what the network file's training would keep is what foreign weights get.
#[test]
fn weights_of_another_program_get_the_names_and_constants_of_its_network_file() {
    let place = Place::new();
    let row = |i: u32| format!("{},{},{}\n", i % 7, i % 5, ["no", "yes"][(i % 7 > 3) as usize]);
    place.write("t.csv", "a,b,label\n".to_owned() + &(0..60).map(row).collect::<String>());
    for standardize in ["true", "false"] {
        let net = format!(
            "[data]\npath = \"t.csv\"\nstandardize = {standardize}\nvalid_fraction = 0.2\n[network]\nlayers = [{{ dense = 2 }}]\n[train]\nepochs = 2\n"
        );
        place.write("net.toml", net);
        place.prints("train net.toml --out run --force");
        let own = tensors(&place.path("run/model.safetensors"));
        let all: Vec<(&str, &[usize], &[f32])> =
            own.iter().map(|(name, (shape, values))| (&**name, &**shape, &**values)).collect();
        strip(&place, "foreign.safetensors", &all);
        let expected = place.prints("predict run");
        assert!(expected.starts_with("row,label,no,yes\n"), "{expected}");
        assert_eq!(place.prints("predict foreign.safetensors --network net.toml"), expected);
        assert_eq!(place.json("eval foreign.safetensors --network net.toml"), place.json("eval run"));
    }
}

#[test]
fn every_tensor_that_does_not_fit_is_listed() {
    let place = Place::with(SMALL);
    let zeros = [0.0; 2000];
    strip(
        &place,
        "odd.safetensors",
        &[
            ("0.weight", &[16, 64], &zeros[..16 * 64]),
            ("3.weight", &[16, 10], &zeros[..160]),
            ("3.bias", &[11], &zeros[..11]),
            ("bn.mean", &[16], &zeros[..16]),
            ("a.extra", &[1], &zeros[..1]),
        ],
    );
    let text = place.fails("eval odd.safetensors --network net.toml", 2);
    for part in [
        "odd.safetensors",
        "0.bias is missing, expected F32 [16]",
        "3.weight is F32 [16, 10], expected F32 [10, 16]",
        "3.bias is F32 [11], expected F32 [10]",
        "a.extra is not part of the network",
        "bn.mean is not part of the network",
        "nn.Linear(64, 16)",
    ] {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
    assert!(!text.contains("0.weight is"), "{text}");
}
