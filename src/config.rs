//! A network and its training as one TOML file. Every key has a default but the layers; [`template`] lists them all.
//!
//! ```toml
//! seed = 42
//! [data]
//! path = "digits"
//! train = "0..1200"
//! valid = "1200..1797"
//! [network]
//! layers = [{ dense = 128, activation = "relu" }, { dropout = { keep = 0.5 } }, { dense = 10 }]
//! [train]
//! epochs = 20
//! optimizer = { adam = { lr = 0.002 } }
//! ```
//!
//! A message names the line, the key from the top, as `network.layers[2].dropout.keep`, what was expected, and the key that
//! was probably meant.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};

use crate::data::file::DataOptions;
use crate::data::{Augmentation, Sets, Task};
use crate::network::Layer;
use crate::optimizer::{LrSchedule, MomentumRamp, Optimizer};
use crate::trainer::TrainOptions;
use crate::{Error, Result};

mod check;
mod input;
mod problem;
mod template;

pub use input::NetworkOptions;
pub use template::{Outputs, sequence_template, template};

/// A network, its data and its training: all that a run is a function of.
///
/// ```
/// let text = r#"
/// [network]
/// layers = [{ dropout = { keep = 0.8 } }, { dense = 10 }]
/// [train]
/// bach = 64
/// "#;
/// let error = thinnet::Config::parse(text).unwrap_err().to_string();
/// assert!(error.contains(r#"line 5: train.bach: unknown key; did you mean "batch"?"#), "{error}");
/// let config = thinnet::Config::parse(&text.replace("bach", "batch"))?;
/// assert_eq!((config.train.batch, config.train.epochs), (64, 10));
/// # Ok::<(), thinnet::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct Config {
    /// Seed of everything random; in files an integer from 0 up, past 2^63 - 1 a string of decimal digits. Default 0.
    #[serde(default, with = "seed")]
    pub seed: u64,
    /// Where the data are and how they are divided. Default: the embedded digits, all for training.
    #[serde(default)]
    pub data: DataOptions,
    /// The network.
    pub network: NetworkOptions,
    /// How it is trained.
    #[serde(default, deserialize_with = "train_table")]
    pub train: TrainTable,
    /// How rows are changed in training. Default: they are not.
    #[serde(default, skip_serializing_if = "Augmentation::is_none")]
    pub augment: Augmentation,
}

/// The table `[train]`: how the network is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table")]
pub struct TrainTable {
    /// How often every row is seen. Default 10.
    pub epochs: u32,
    /// Rows of a batch. Default 32.
    pub batch: u32,
    /// How the gradient changes the weights. Default: Adam at 0.001.
    pub optimizer: Optimizer,
    /// L2 term added to the gradient; in AdamW decoupled. Default 0.
    pub weight_decay: f64,
    /// Batches whose gradients are averaged for one update. Default 1.
    pub accumulate: u32,
    /// The greatest norm of the gradient of all parameters together; a longer one is scaled down. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// The greatest norm of a unit's incoming weights, held after every update. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_norm: Option<f64>,
    /// How the learning rate falls. Default: it does not. In files, cosine's `epochs` is [`TrainTable::epochs`] if left out.
    pub schedule: LrSchedule,
    /// Epochs in which the learning rate grows linearly to what the schedule says, from one update's share. Default 0.
    pub warmup: f64,
    /// Momentum that grows to the optimizer's. Default: it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub momentum_ramp: Option<MomentumRamp>,
    /// Training stops after so many epochs without a better validation loss. Default: it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<u32>,
    /// By how much a validation loss has to be lower to count as better. Default 0.
    pub min_delta: f64,
    /// Whether the training data are also judged in evaluation mode after each epoch. Default false.
    pub evaluate_train: bool,
}

impl Default for TrainTable {
    fn default() -> Self {
        Self {
            epochs: 10,
            batch: 32,
            optimizer: Optimizer::adam(0.001),
            weight_decay: 0.0,
            accumulate: 1,
            clip_norm: None,
            max_norm: None,
            schedule: LrSchedule::Constant,
            warmup: 0.0,
            momentum_ramp: None,
            patience: None,
            min_delta: 0.0,
            evaluate_train: false,
        }
    }
}

impl TrainTable {
    /// The options of a training with this seed, without augmentation; [`Config::options`] has it.
    pub fn options(&self, seed: u64) -> TrainOptions {
        TrainOptions {
            seed,
            batch: self.batch,
            accumulate: self.accumulate,
            optimizer: self.optimizer,
            weight_decay: self.weight_decay,
            clip_norm: self.clip_norm,
            max_norm: self.max_norm,
            schedule: self.schedule,
            warmup: self.warmup,
            momentum_ramp: self.momentum_ramp,
            augment: Augmentation::default(),
            evaluate_train: self.evaluate_train,
            first_epoch: 0,
            data_budget: None,
        }
    }
}

impl Config {
    /// Reads a file and checks it. [`Config::data_path`] says where its data are.
    ///
    /// # Errors
    /// [`Error::File`]: a file that cannot be read, or what [`Config::parse`] refuses.
    pub fn read(path: &Path) -> Result<Self> {
        let failed = |problem: String| Error::File { path: path.into(), problem };
        let text = std::fs::read_to_string(path).map_err(|e| failed(format!("cannot be read: {e}")))?;
        problem::parse(&text).map_err(failed)
    }

    /// Reads TOML and checks it.
    ///
    /// # Errors
    /// [`Error::Data`]: text that is no TOML, unknown, missing and doubled keys, values of the wrong type, and everything that
    /// [`Config::check`] refuses, each with its line and its key.
    pub fn parse(text: &str) -> Result<Self> {
        problem::parse(text).map_err(Error::Data)
    }

    /// Reads the data: [`DataOptions::load`] as the loss needs it, with numbers of words where the first layer is an embedding.
    ///
    /// # Errors
    /// As [`DataOptions::load`].
    pub fn load(&self) -> Result<Sets> {
        let words = self.data.words || matches!(self.network.layers.first(), Some(Layer::Embedding(_)));
        let data = DataOptions { words, ..self.data.clone() };
        data.load(Task::from(self.network.loss), self.seed)
    }

    /// The options of the training that the whole file describes.
    pub fn options(&self) -> TrainOptions {
        TrainOptions { augment: self.augment, ..self.train.options(self.seed) }
    }

    /// Checks what needs no data: every number, the layers, the sites, options that exclude or need each other.
    ///
    /// # Errors
    /// [`Error::Data`] with the key's path.
    pub fn check(&self) -> Result<()> {
        check::config(self).map_err(|problem| Error::Data(problem.to_string()))
    }

    /// The same as TOML, every key with its value: [`Config::parse`] gives the same configuration back, to the last bit.
    ///
    /// A NaN, which [`Config::check`] refuses, stays one.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut tables = String::new();
        // Never fails: every key is a string, and the seed says for itself what does not fit TOML's integers.
        let Ok(toml::Value::Table(config)) = toml::Value::try_from(self) else { return text };
        for (key, value) in config {
            let toml::Value::Table(table) = value else {
                text += &format!("{key} = {value}\n");
                continue;
            };
            tables += &format!("\n[{key}]\n");
            for (key, value) in table {
                match value {
                    toml::Value::Array(layers) if key == "layers" => {
                        tables += "layers = [\n";
                        layers.iter().for_each(|layer| tables += &format!("  {layer},\n"));
                        tables += "]\n";
                    }
                    value => tables += &format!("{key} = {value}\n"),
                }
            }
        }
        text + &tables
    }

    /// Where the data of a configuration in this file are: a relative path is relative to the file's folder if it exists there,
    /// otherwise to the working folder, as given. `digits` is always the embedded data set.
    pub fn data_path(&self, file: &Path) -> PathBuf {
        let path = &self.data.path;
        let beside = file.parent().unwrap_or(Path::new("")).join(path);
        match path != Path::new("digits") && beside.exists() {
            true => beside,
            false => path.clone(),
        }
    }
}

/// A cosine without `epochs` ends with the training.
fn train_table<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<TrainTable, D::Error> {
    let mut table = TrainTable::deserialize(deserializer)?;
    if let LrSchedule::Cosine { epochs, .. } = &mut table.schedule
        && epochs.is_nan()
    {
        *epochs = f64::from(table.epochs);
    }
    Ok(table)
}

/// A u64 in TOML, whose integers end at 2^63 - 1: beyond, a string.
mod seed {
    use serde::{Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(seed: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        match i64::try_from(*seed) {
            Ok(seed) => serializer.serialize_i64(seed),
            Err(_) => serializer.collect_str(seed),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        struct Seed;

        impl de::Visitor<'_> for Seed {
            type Value = u64;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "an integer from 0 to {}, above {} as a string of decimal digits", u64::MAX, i64::MAX)
            }

            fn visit_u64<E: de::Error>(self, seed: u64) -> Result<u64, E> {
                Ok(seed)
            }

            fn visit_i64<E: de::Error>(self, seed: i64) -> Result<u64, E> {
                u64::try_from(seed).map_err(|_| E::invalid_value(de::Unexpected::Signed(seed), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
                let digits = text.bytes().all(|byte| byte.is_ascii_digit()); // `parse` would also take "+1"
                let seed = text.parse().ok().filter(|_| digits);
                seed.ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_any(Seed)
    }
}
