//! The command line on files: training, evaluation, prediction and sweeps in a folder of their own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// Regression, class names and the numbers of a prediction.
mod answers;
/// How far a run's certainty can be trusted.
mod calibrated;
/// Answers by Monte-Carlo draws, and the rows most worth labelling.
mod drawn;
/// Which units were off when a row was seen.
mod explained;
/// Weights that thinnet did not write.
mod foreign;
/// Network files made for some data.
mod init;
/// A run's certainty with Monte-Carlo dropout beside a single pass.
mod judged;
/// What is kept with the weights.
mod kept;
/// Networks of feature maps, with blocks and paths, by every command.
pub(crate) mod maps;
/// Where commands write, and what they must not replace.
mod outputs;
/// The same pixels as bytes and as other numbers.
mod pixels;
/// The time of every kernel before a training.
mod profiled;
/// Runs that --force replaces, and what is left of trainings that end before their time.
mod replaced;
/// Trainings that were interrupted and go on.
mod resumed;
/// Sequences by every command.
mod sequences;
/// Early stopping and accumulated gradients from the command line.
mod stopping;
/// Rates of dropout compared in pairs.
mod sweeps;
/// The files of a run, and that a run is a function of its file.
mod trained;

/// A network that learns something of the digits in a fifth of a second.
pub(crate) const SMALL: &str = r#"seed = 3
[data]
path = "digits"
train = "0..200"
valid = "200..300"
test = "300..400"
[network]
layers = [{ dense = 16, activation = "relu" }, { dropout = { keep = 0.5 } }, { dense = 10 }]
[train]
epochs = 3
optimizer = { adam = { lr = 0.01 } }
"#;

/// A working folder, gone in the end.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// The same with `net.toml`.
    pub(crate) fn with(network: &str) -> Self {
        let place = Self::new();
        place.write("net.toml", network);
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub(crate) fn text(&self, name: &str) -> String {
        String::from_utf8(self.bytes(name)).unwrap()
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Arguments are separated by spaces.
    pub(crate) fn run(&self, arguments: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_thinnet"));
        command.args(arguments.split_whitespace()).current_dir(self.0.path()).output().unwrap()
    }

    /// What a command prints that must succeed.
    #[track_caller]
    pub(crate) fn prints(&self, arguments: &str) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same with `--json`, an object a line.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &str) -> Vec<Value> {
        let text = self.prints(&format!("{arguments} --json"));
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
    }

    /// What a command says that must fail.
    #[track_caller]
    pub(crate) fn fails(&self, arguments: &str, code: i32) -> String {
        let output = self.run(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments}: {text}");
        text
    }

    /// Everything in the folder: files with their content, folders without.
    pub(crate) fn everything(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let (mut found, mut folders) = (BTreeMap::new(), vec![self.0.path().to_path_buf()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let content = path.is_file().then(|| std::fs::read(&path).unwrap());
                if content.is_none() {
                    folders.push(path.clone());
                }
                found.insert(path, content);
            }
        }
        found
    }

    /// The names in a folder, sorted.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path().join(folder)).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// The lines of a table behind its header, as cells.
pub(crate) fn cells(csv: &str) -> Vec<Vec<&str>> {
    csv.lines().skip(1).map(|line| line.split(',').collect()).collect()
}

pub(crate) fn number(text: &str) -> f64 {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}

/// The keys of an object, sorted.
pub(crate) fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// The tensors of a safetensors file as f32, by name.
pub(crate) fn tensors(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let bytes = std::fs::read(path).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let values = |data: &[u8]| data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    tensors.iter().map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), values(view.data())))).collect()
}

/// Two features and a target that is a line of them: 1000 + 50 a - 30 b.
pub(crate) fn line_csv(rows: usize) -> String {
    let words = crate::common::numbers(2 * rows, 7);
    let row = |x: &[f32]| {
        let (a, b) = (5.0 + 5.0 * f64::from(x[0]), 3.0 * f64::from(x[1]));
        format!("{a},{b},{}\n", 1000.0 + 50.0 * a - 30.0 * b)
    };
    let rows: String = words.chunks(2).map(row).collect();
    format!("a,b,price\n{rows}")
}

/// Three classes with names of their own around three points.
pub(crate) fn animals_csv(rows: usize) -> String {
    let words = crate::common::numbers(2 * rows, 8);
    let names = ["zebra", "\"cat, big\"", "owl"];
    let row = |(i, x): (usize, &[f32])| {
        let class = i % 3;
        let (a, b) = (2.0 * class as f32 + 0.3 * x[0], (class * class) as f32 + 0.3 * x[1]);
        format!("{a},{b},{}\n", names[class])
    };
    let rows: String = words.chunks(2).enumerate().map(row).collect();
    format!("a,b,label\n{rows}")
}
