//! A file to begin with: every key of `[data]`, `[train]` and `[augment]`, those with their default commented out.

use std::fmt::Write as _;

use super::TrainTable;
use crate::data::{Augmentation, DataOptions};

/// What a network is to answer with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outputs {
    /// One of so many classes.
    Classes(u32),
    /// So many numbers.
    Values(u32),
}

/// Key, value, what it means.
type Line = (&'static str, String, &'static str);

/// A commented TOML file for these data, of so many rows, with layers that suit the outputs.
///
/// A key that is commented out has its default, or none, as its line says.
///
/// ```
/// use thinnet::config::{Config, Outputs, template};
/// use thinnet::data::DataOptions;
/// let config = Config::parse(&template(&DataOptions::default(), Outputs::Classes(10), 1797))?;
/// assert_eq!(config.network.network(64)?.outputs()?, 10);
/// # Ok::<(), thinnet::Error>(())
/// ```
pub fn template(data: &DataOptions, outputs: Outputs, rows: u32) -> String {
    let (part, units) = match outputs {
        Outputs::Classes(classes) => ([("256", "0.5"), ("128", "0.5")], classes),
        Outputs::Values(columns) => ([("50", "0.9"), ("50", "0.9")], columns),
    };
    let part = part.iter().fold(String::new(), |text, (units, keep)| {
        text + &format!("  {{ dense = {units}, activation = \"relu\" }},\n  {{ dropout = {{ keep = {keep} }} }},\n")
    });
    with_layers(data, outputs, rows, &format!("{part}  {{ dense = {units} }},\n"))
}

/// The same for sequences with lengths: an LSTM whose masks all steps share.
///
/// ```
/// use thinnet::config::{Config, Outputs, sequence_template};
/// use thinnet::data::DataOptions;
/// let config = Config::parse(&sequence_template(&DataOptions::new("speech.ts"), Outputs::Classes(9), 270))?;
/// assert_eq!(config.network.without_data()?.outputs()?, 9);
/// # Ok::<(), thinnet::Error>(())
/// ```
pub fn sequence_template(data: &DataOptions, outputs: Outputs, rows: u32) -> String {
    let (Outputs::Classes(units) | Outputs::Values(units)) = outputs;
    let mask = "{ keep = 0.75, variational = true }";
    let lstm = format!("  {{ lstm = 64, input = {mask}, recurrent = {mask} }},\n");
    with_layers(data, outputs, rows, &format!("{lstm}  {{ dropout = {{ keep = 0.5 }} }},\n  {{ dense = {units} }},\n"))
}

fn with_layers(data: &DataOptions, outputs: Outputs, rows: u32, layers: &str) -> String {
    let mut text = String::from("# A line that is commented out shows the key's default, or an example where there is none.\n");
    text += "seed = 0                                     # of initial weights, order of the rows, masks; an integer, past 2^63 - 1 a string\n";

    let split = rows - rows / 10;
    let quoted = |text: &str| toml::Value::from(text).to_string();
    text += "\n[data]\n";
    let target = match &data.target {
        Some(target) => ("", toml::Value::try_from(target).map_or_else(|e| e.to_string(), |value| value.to_string())),
        None => ("# ", quoted("label")),
    };
    let sequence = data.sequence.as_ref().map_or(("# ", "id"), |column| ("", column.as_str()));
    let sequence =
        (sequence.0, ("sequence", quoted(sequence.1), "column that says which sequence a line of a .csv is a step of"));
    // A validation set of no row is none.
    let fraction = if rows < 20 { "# " } else { "" };
    for (comment, (key, value, meaning)) in [
        (
            "",
            (
                "path",
                quoted(&data.path.to_string_lossy()),
                "folder of idx files, .csv, .ts, .npy or .npz file, or \"digits\" (embedded)",
            ),
        ),
        ("# ", ("train", quoted(&format!("0..{split}")), "rows to learn from; default: all that are for nothing else")),
        (
            "# ",
            (
                "valid",
                quoted(&format!("{split}..{rows}")),
                "rows that judge each epoch, instead of valid_fraction; default: none",
            ),
        ),
        (
            fraction,
            ("valid_fraction", "0.1".into(), "share of the rows, drawn by the seed, that judges each epoch; default: none"),
        ),
        (
            "# ",
            (
                "test",
                quoted(&format!("{split}..{rows}")),
                "rows that judge the result, as they stand; default: those of NAME_test",
            ),
        ),
        (target.0, ("target", target.1, "column to learn, or [\"several\", \"columns\"]; default: label, target, class or y")),
        ("# ", ("standardize", "true".into(), "mean 0 and deviation 1 over the training rows; default: all but bytes")),
        sequence,
        ("# ", ("words", "false".into(), "inputs are numbers of words, for an embedding")),
    ] {
        line(&mut text, comment, &(key, value, meaning));
    }

    text += "\n[network]\n";
    let (comment, loss) = match outputs {
        Outputs::Classes(_) => ("# ", "softmax_cross_entropy"),
        Outputs::Values(_) => ("", "mean_squared_error"),
    };
    let losses = "softmax_cross_entropy, binary_cross_entropy, mean_squared_error, gaussian_nll";
    line(&mut text, comment, &("loss", quoted(loss), losses));
    let shape = "channels, height, width, or steps, features; default: as the data";
    line(&mut text, "# ", &("input", "[1, 8, 8]".into(), shape));
    let paths = "keep_prob of the last site of paths, others linear with depth; default: their own";
    line(&mut text, "# ", &("path_keep", "0.5".into(), paths));
    text += &format!("layers = [\n{layers}]\n");

    text += "\n[train]\n";
    train().iter().for_each(|one| line(&mut text, "# ", one));
    text += "\n[augment]\n";
    augment().iter().for_each(|one| line(&mut text, "# ", one));
    text
}

/// The keys of `[augment]`, taken apart by name as those of `[train]`.
fn augment() -> Vec<Line> {
    let Augmentation { shift, flip, noise, cutout, mixup } = Augmentation::default();
    vec![
        ("shift", shift.to_string(), "pixels by which images are shifted at most, over zeros"),
        ("flip", flip.to_string(), "mirror half of the images left to right"),
        ("noise", format!("{noise:?}"), "standard deviation of noise on every value"),
        ("cutout", cutout.to_string(), "side of a square of every image that is set to 0, in pixels"),
        ("mixup", format!("{mixup:?}"), "alpha of mixup, such as 0.2: pairs of rows with shares of Beta(alpha, alpha)"),
    ]
}

/// The keys of `[train]`. Taken apart by name, so that a new key cannot be forgotten.
fn train() -> Vec<Line> {
    let TrainTable {
        epochs,
        batch,
        optimizer,
        weight_decay,
        accumulate,
        clip_norm: _,
        max_norm: _,
        schedule,
        warmup,
        momentum_ramp: _,
        patience: _,
        min_delta,
        evaluate_train,
    } = TrainTable::default();
    // Never fails: the value of every default is TOML.
    let of = |value: Result<toml::Value, _>| value.map_or_else(|e: toml::ser::Error| e.to_string(), |value| value.to_string());
    vec![
        ("epochs", epochs.to_string(), "how often every row is seen"),
        ("batch", batch.to_string(), "rows of a batch"),
        // Adam's other numbers have defaults of their own.
        (
            "optimizer",
            format!("{{ adam = {{ lr = {} }} }}", optimizer.lr()),
            "or sgd (lr, momentum, nesterov), adamw (lr, ..), rmsprop (lr, alpha, ..)",
        ),
        ("weight_decay", of(toml::Value::try_from(weight_decay)), "L2 term added to the gradient; in adamw decoupled"),
        ("accumulate", accumulate.to_string(), "batches whose gradients make one update"),
        ("clip_norm", "1.0".into(), "greatest norm of the whole gradient; default: none"),
        ("max_norm", "3.0".into(), "greatest norm of the weights into a unit; default: none"),
        ("schedule", of(toml::Value::try_from(schedule)), "or { cosine = { floor = 0.01 } }, step, exponential, inverse_time"),
        ("warmup", of(toml::Value::try_from(warmup)), "epochs in which the learning rate grows to what is set"),
        ("momentum_ramp", "{ from = 0.5, epochs = 5.0 }".into(), "momentum that grows to that of sgd or rmsprop; default: none"),
        ("patience", "5".into(), "stop after so many epochs without a better validation loss; default: never"),
        ("min_delta", of(toml::Value::try_from(min_delta)), "how much lower is better"),
        ("evaluate_train", evaluate_train.to_string(), "judge the training data without dropout, too, after each epoch"),
    ]
}

fn line(text: &mut String, comment: &str, (key, value, meaning): &Line) {
    let _ = writeln!(text, "{:<44} # {meaning}", format!("{comment}{key} = {value}"));
}
