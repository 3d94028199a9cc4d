use super::{Place, cells, keys, tensors};

/// Convolutions, pools and every unit of dropout that is not a path.
pub(crate) const CNN: &str = r#"seed = 3
[data]
path = "digits"
train = "0..200"
valid = "200..300"
test = "300..400"
[network]
input = [1, 8, 8]
layers = [
  { conv2d = 6, kernel = 3, padding = 1, activation = "relu" },
  { max_pool = 2 },
  { dropout = { keep = 0.9, spatial = 2 } },
  { conv2d = 8, kernel = 3, padding = 1, groups = 2 },
  { dropout = { keep = 0.9, block = 2 } },
  { activation = "relu" },
  { dropout = { keep = 0.9, shared_axes = [0], mode = "batch" } },
  { flatten = true },
  { dense = 16, activation = "relu" },
  { dropout = { keep = 0.5 } },
  { dense = 10 },
]
[train]
epochs = 2
optimizer = { adam = { lr = 0.01 } }
"#;

/// Two residual blocks with paths, batch norm, and dropout behind the last of it.
pub(crate) const RESIDUAL: &str = r#"seed = 3
[data]
path = "digits"
train = "0..200"
valid = "200..300"
test = "300..400"
[network]
input = [1, 8, 8]
path_keep = 0.5
layers = [
  { conv2d = 4, kernel = 3, stride = 2 },
  { batch_norm = true },
  { activation = "relu" },
  { residual = [
      { conv2d = 4, kernel = 3, padding = 1 },
      { batch_norm = true },
      { dropout = { keep = 1.0, path = true } },
    ] },
  { residual = [
      { conv2d = 8, kernel = 3, padding = 1, activation = "relu" },
      { batch_norm = true },
      { dropout = { keep = 1.0, path = true } },
    ], skip = [{ conv2d = 8, kernel = 1 }] },
  { global_average_pool = true },
  { dropout = { keep = 0.8 } },
  { dense = 10 },
]
[train]
epochs = 2
optimizer = { adam = { lr = 0.01 } }
"#;

/// What train says of its last test is what eval and predict find in the file of weights.
fn goes_round(network: &str, dropouts: &[&str]) {
    let place = Place::with(network);
    let rows = place.json("train net.toml --profile=1 --out run");
    assert!(!rows[0]["profile"]["kernels"].as_array().unwrap().is_empty());
    let history = &rows[1..];
    assert_eq!(history.len(), 4, "two epochs, the training and the test");
    assert_eq!(place.names("run").len(), 7);
    // A run is a function of its file, also of the one that it keeps.
    place.prints("train run/config.toml --out again");
    for name in ["model.safetensors", "history.csv"] {
        assert!(place.bytes(&format!("run/{name}")) == place.bytes(&format!("again/{name}")), "{name} differs");
    }
    let test = history.last().unwrap();
    assert_eq!(&place.json("eval run")[0], test);
    assert_eq!(&place.json("eval run/model.safetensors --data digits --rows 300..400")[0], test);
    let predicted = place.prints("predict run");
    let right = cells(&predicted).iter().filter(|row| digit(row[0]) == row[1].parse::<u32>().unwrap()).count();
    assert_eq!(right as f64 / 100.0, test["accuracy"].as_f64().unwrap());
    // The same as weights of another program, whose network is in a file.
    let own = tensors(&place.path("run/model.safetensors"));
    let views = own.iter().map(|(name, (shape, values))| {
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytemuck::cast_slice(values));
        (name.clone(), view.unwrap())
    });
    place.write("foreign.safetensors", safetensors::serialize(views, None).unwrap());
    assert_eq!(place.prints("predict foreign.safetensors --network net.toml"), predicted);
    // Layers of a sweep are named as in the file, and any other is refused with those there are.
    let last = dropouts.last().unwrap();
    let rates = place.json(&format!("sweep net.toml --keep 0.6,1 --seeds 1 --layer {last} --out sweep"));
    assert_eq!(keys(&rates[0]), ["best", "difference", "difference_error", "keep", "mean", "standard_error", "tie"]);
    let among = dropouts.join(", ");
    let text = place.fails("sweep net.toml --layer 0 --out other", 2);
    assert!(text.contains("layer 0: is no dropout layer") && text.contains(&format!("choose among {among}")), "{text}");
}

fn digit(row: &str) -> u32 {
    thinnet::data::digits().labels()[row.parse::<usize>().unwrap()]
}

#[test]
fn a_convolutional_network_goes_through_every_command() {
    goes_round(CNN, &["2", "4", "6", "9"]);
}

#[test]
fn a_residual_network_goes_through_every_command() {
    goes_round(RESIDUAL, &["3.residual[2]", "4.residual[2]", "6"]);
}

#[test]
fn the_site_of_a_sweep_inside_a_block_is_the_one_that_is_trained() {
    // The schedule makes it 0.75 and 0.5; a sweep of the first path at 0.75 changes nothing.
    let place = Place::with(RESIDUAL);
    place.prints("train net.toml --out run");
    let history = place.text("run/history.csv");
    for (arguments, name, equal) in [
        ("0.75 --layer 3.residual[2]", "a", true),
        ("0.75 --layer 4.residual[2]", "b", false),
        ("0.5 --layer 4.residual[2]", "c", true),
    ] {
        place.prints(&format!("sweep net.toml --seeds 1 --keep {arguments} --out {name}"));
        let csv = place.text(&format!("{name}/sweep.csv"));
        let same = cells(&csv).iter().map(|row| &row[2..]).eq(cells(&history).iter().map(|row| &row[..]));
        assert_eq!(same, equal, "{arguments}");
    }
}

#[test]
fn dropout_in_front_of_batch_norm_is_noted_once() {
    let note = |place: &Place, arguments: &str| {
        let output = place.run(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        said
    };
    let shifted = RESIDUAL.replace("[train]\nepochs = 2", "[train]\nepochs = 1").replacen(
        "{ batch_norm = true },",
        "{ dropout = { keep = 0.8, spatial = 2 } }, { batch_norm = true },",
        1,
    );
    let place = Place::with(&shifted);
    let said = note(&place, "train net.toml --out run --json");
    let begins = "note: layer 1 (dropout) with keep_prob 0.8 stands in front of layer 2 (batch_norm): the variance that batch norm \
                  learns in training is 1.25 times that in evaluation";
    assert!(said.starts_with(begins) && said.lines().count() == 1, "{said}");
    // A sweep says it of the rate that drops most.
    let said = note(&place, "sweep net.toml --keep 0.9,0.5 --layer 1 --seeds 1 --out sweep");
    assert!(said.starts_with("note: layer 1 (dropout) with keep_prob 0.5 ") && said.lines().count() == 1, "{said}");
    // Nothing is dropped in front of batch norm but paths.
    place.write("net.toml", RESIDUAL.replace("epochs = 2", "epochs = 1"));
    assert_eq!(note(&place, "train net.toml --out quiet"), "");
}
