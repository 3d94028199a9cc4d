//! Trained weights and the rows that they are asked about: what `eval`, `predict` and `calibrate` have in common.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use thinnet::config::Config;
use thinnet::data::{Lengths, Portion, Preprocessing, Sequences, Sets, Target, Task, file};
use thinnet::{Dataset, Error, Inputs, Layer, Model, Network};

use super::output::is_toml;
use super::train::{in_file, read_config};
use super::{Failure, range};

#[derive(Debug, clap::Args)]
pub(crate) struct Source {
    /// The folder of a run, or weights (.safetensors).
    model: PathBuf,
    /// The network of weights that another program wrote, as TOML. Where its [data] are standardised, so are the inputs, by the same
    /// constants; set standardize = false if the weights take them as they are.
    #[arg(long, value_name = "FILE.toml")]
    network: Option<PathBuf>,
    /// An idx folder or .npz (its test part, if it has one), a .csv, .ts or .npy, or `digits`. Unless given, the test rows of the run,
    /// or its validation rows.
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// The target column of a .csv, where it is none of label, target, class and y and was not named in training.
    #[arg(long, value_name = "COLUMN", value_delimiter = ',', requires = "data")]
    target: Vec<String>,
    /// Only these rows of --data, of its test part where it has one.
    #[arg(long, value_name = "A..B", value_parser = range, requires = "data")]
    rows: Option<Range<u32>>,
    /// The column of a .csv that says which sequence a line is a step of, where it has another name than in training.
    #[arg(long, value_name = "COLUMN")]
    sequence: Option<String>,
}

/// The rows that were asked for, and what they are, for messages.
pub(super) struct Asked<T> {
    pub(super) rows: T,
    pub(super) what: String,
}

/// Weights, the rows to judge them by, and rows to fit something on.
pub(super) struct Apart {
    pub(super) model: Model,
    pub(super) rows: Asked<Dataset>,
    /// Validation rows, none of which is judged, or the reason why there are none.
    pub(super) valid: Result<Dataset, String>,
}

impl Source {
    /// All files and folders that are read: those that are named, and the data that the file of a run or of a network names.
    pub(super) fn reads(&self) -> Vec<PathBuf> {
        let named: Vec<&PathBuf> = [Some(&self.model), self.network.as_ref(), self.data.as_ref()].into_iter().flatten().collect();
        let data = |path: &&PathBuf| {
            let file = if path.is_dir() { path.join("config.toml") } else { path.to_path_buf() };
            // What is no network file has no data of its own; what is wrong with one is said where it is read.
            let config = is_toml(&file).then(|| Config::read(&file).ok()).flatten()?;
            Some(config.data_path(&file))
        };
        named.iter().copied().cloned().chain(named.iter().filter_map(data)).collect()
    }

    /// The weights, and the rows to judge them by.
    pub(super) fn judged(&self) -> Result<(Model, Asked<Dataset>), Failure> {
        self.sequence_has_a_table(None)?;
        let (model, config) = self.model()?;
        let Some(path) = &self.data else { return self.of_run(model, config) };
        let rows = self.labelled(path, &model, config.as_ref())?;
        Ok((model, rows))
    }

    /// The same with validation rows; `foreign` are other data that this command reads.
    pub(super) fn judged_apart(&self, foreign: Option<&Path>) -> Result<Apart, Failure> {
        self.sequence_has_a_table(foreign)?;
        let (model, config) = self.model()?;
        const NO_VALID: &str = "the run has no validation rows; give `valid` or `valid_fraction` in [data], and train again";
        let Some(path) = &self.data else {
            let Sets { valid, test, .. } = self.sets_of_run(&model, config)?;
            let (rows, valid) = match (test, valid) {
                (Some(test), valid) => (Asked { rows: test, what: "test rows".into() }, valid.ok_or(NO_VALID.into())),
                (None, Some(valid)) => {
                    let why =
                        "the run has no test rows, so that its validation rows are judged; give `test` in [data], or --data";
                    (Asked { rows: valid, what: "validation rows".into() }, Err(why.into()))
                }
                (None, None) => return Err(self.has_no_rows()),
            };
            return Ok(Apart { model, rows, valid });
        };
        let rows = self.labelled(path, &model, config.as_ref())?;
        let Some(config) = config else {
            return Ok(Apart { model, rows, valid: Err("weights alone have no validation rows; name their run".into()) });
        };
        let same_file = same(path, &config.data.path) && file::test_within(path)? == Portion::All;
        // What is wrong with the run's own data does not hinder other data from being judged.
        let valid = match self.sets_of_run(&model, Some(config)) {
            Ok(Sets { valid, .. }) => valid.ok_or_else(|| NO_VALID.into()),
            Err(error) => Err(error.to_string()),
        };
        let judged: BTreeSet<u32> = rows.rows.inputs().samples().iter().copied().collect();
        let valid = match valid {
            Ok(valid) if same_file && valid.inputs().samples().iter().any(|row| judged.contains(row)) => {
                Err("validation rows of the run are among those judged; choose others with --rows".into())
            }
            valid => valid,
        };
        Ok(Apart { model, rows, valid })
    }

    /// The rows of --data with their targets.
    fn labelled(&self, path: &Path, model: &Model, config: Option<&Config>) -> Result<Asked<Dataset>, Failure> {
        let (target, portion) = (self.target(config), file::test_within(path)?);
        let task = Task::from(model.network().loss);
        let rows = file::load_for(path, &portion, target.as_ref(), &self.known(model)?, task)?;
        fits(model, rows.inputs(), path)?;
        let rows = match self.within(rows.rows(), path)? {
            Some(range) => rows.slice(range)?,
            None => rows,
        };
        Ok(Asked { rows, what: what(path, &portion) })
    }

    /// The run or the weights, as they were named.
    pub(super) fn path(&self) -> &Path {
        &self.model
    }

    /// The folder of the run, if it is one.
    pub(super) fn run_folder(&self) -> Option<&Path> {
        self.model.is_dir().then_some(&self.model)
    }

    /// The weights, and the rows to answer for, which may have no targets.
    pub(super) fn asked(&self) -> Result<(Model, Asked<Inputs>), Failure> {
        self.sequence_has_a_table(None)?;
        let (model, config) = self.model()?;
        let Some(path) = &self.data else {
            let (model, Asked { rows, what }) = self.of_run(model, config)?;
            return Ok((model, Asked { rows: rows.inputs().clone(), what }));
        };
        let (target, portion) = (self.target(config.as_ref()), file::test_within(path)?);
        let rows = file::inputs_for(path, &portion, target.as_ref(), &self.known(&model)?)?;
        fits(&model, &rows, path)?;
        let rows = match self.within(rows.rows(), path)? {
            Some(range) => rows.slice(range)?,
            None => rows,
        };
        Ok((model, Asked { rows, what: what(path, &portion) }))
    }

    /// All rows of a path, of its test part where it has one, for a network that has not learned from such data: without labels.
    pub(super) fn foreign_rows(&self, model: &Model, path: &Path) -> Result<Asked<Inputs>, Failure> {
        let portion = file::test_within(path)?;
        let rows = file::inputs_for(path, &portion, None, &self.known(model)?)?;
        fits(model, &rows, path)?;
        Ok(Asked { rows, what: what(path, &portion) })
    }

    /// Refuses --sequence where nothing that is read has columns.
    fn sequence_has_a_table(&self, foreign: Option<&Path>) -> Result<(), Failure> {
        let Some(column) = &self.sequence else { return Ok(()) };
        let table = |path: &Path| {
            let name = path.to_string_lossy().to_lowercase();
            name.ends_with(".csv") || name.ends_with(".csv.gz")
        };
        match self.data.as_deref().into_iter().chain(foreign).any(table) {
            true => Ok(()),
            false => Err(Failure::Usage(format!(
                "--sequence {column} names a column of a .csv, and none is asked about; name one with --data, or leave it out"
            ))),
        }
    }

    /// What the model knows of its data, with the column of --sequence in place of the one of training.
    fn known(&self, model: &Model) -> Result<Preprocessing, Failure> {
        let (network, known) = (model.network(), model.preprocessing());
        let Some(column) = &self.sequence else { return Ok(known.clone()) };
        let steps = match &known.sequences {
            Some(sequences) => sequences.steps,
            None if of_sequences(network) => network.input.0[0],
            None => {
                return Err(Failure::Usage(format!(
                    "--sequence {column}: this network was not trained on sequences, but on rows; leave it out"
                )));
            }
        };
        let sequences = Some(Sequences { steps, column: Some(column.clone()) });
        Ok(Preprocessing { sequences, ..known.clone() })
    }

    /// The range of --rows, if these rows have it.
    fn within(&self, rows: u32, path: &Path) -> Result<Option<Range<u32>>, Failure> {
        match &self.rows {
            Some(range) if range.end > rows => {
                let (start, end) = (range.start, range.end);
                let problem = format!("has the rows 0..{rows}, and --rows {start}..{end} ends behind them; choose some of those");
                Err(Error::File { path: path.into(), problem }.into())
            }
            range => Ok(range.clone()),
        }
    }

    /// The column of --target, or the one of the run.
    fn target(&self, config: Option<&Config>) -> Option<Target> {
        match self.target.is_empty() {
            true => config.and_then(|config| config.data.target.clone()),
            false => Some(self.target.clone().into()),
        }
    }

    /// The test rows of a run, or its validation rows.
    fn of_run(&self, model: Model, config: Option<Config>) -> Result<(Model, Asked<Dataset>), Failure> {
        let Sets { valid, test, .. } = self.sets_of_run(&model, config)?;
        match (test, valid) {
            (Some(rows), _) => Ok((model, Asked { rows, what: "test rows".into() })),
            (None, Some(rows)) => Ok((model, Asked { rows, what: "validation rows".into() })),
            (None, None) => Err(self.has_no_rows()),
        }
    }

    fn has_no_rows(&self) -> Failure {
        let problem = "the run has neither test nor validation rows; say with --data what to ask it about".into();
        Error::File { path: self.model.clone(), problem }.into()
    }

    /// The sets of the run, which must be those of its training.
    fn sets_of_run(&self, model: &Model, config: Option<Config>) -> Result<Sets, Failure> {
        let Some(config) = config else {
            let message = format!("{} is weights alone; say with --data what to ask them about", self.model.display());
            return Err(Failure::Usage(message));
        };
        let name = self.network.clone().unwrap_or_else(|| self.model.join("config.toml"));
        let sets = config.load().map_err(|e| in_file(&name, e))?;
        if !sets.preprocessing.agrees_with(model.preprocessing()) {
            let problem = "the data have changed since the training: the rows learned from, their means, deviations or names are \
                           others than those kept with the weights; name the data to ask about with --data, or train again";
            return Err(Error::File { path: config.data.path, problem: problem.into() }.into());
        }
        Ok(sets)
    }

    fn model(&self) -> Result<(Model, Option<Config>), Failure> {
        let model = self.model.display();
        if !self.model.exists() {
            let problem =
                "there is no such file or folder; name a run, a folder that `thinnet train` wrote, or weights (.safetensors)";
            return Err(Failure::Usage(format!("{model}: {problem}")));
        }
        if self.model.is_dir() {
            if !self.model.join("config.toml").exists() {
                let problem =
                    "is no run, for it has no config.toml; name a folder that `thinnet train` wrote, or weights (.safetensors)";
                return Err(Failure::Usage(format!("{model}: {problem}")));
            }
            if self.network.is_some() {
                return Err(Failure::Usage("--network is for weights of another program; a run has its own".into()));
            }
            let config = Config::read(&self.model.join("config.toml"))?;
            return Ok((Model::load(self.model.join("model.safetensors"))?, Some(config)));
        }
        let Some(file) = &self.network else { return Ok((Model::load(&self.model)?, None)) };
        let mut config = read_config(file)?;
        config.data.path = config.data_path(file);
        // The width of the input is in the weights, unless the file says its shape: rows of columns meet a matrix first.
        let layers = config.network.without_data().map_err(|e| in_file(file, e))?;
        let sequences = of_sequences(&layers);
        let inputs = match config.network.input {
            Some(_) => layers.input.elements(),
            // No weight says how many steps a sequence has.
            None if sequences => {
                let sets = config.load().map_err(|e| in_file(file, e))?;
                let network = config.network.network_for(sets.train.inputs()).map_err(|e| in_file(file, e))?;
                config.network.input = Some(network.input.clone());
                network.input.elements()
            }
            None => {
                let first = layers.parameters()?.into_iter().find(|p| p.matrix).map_or(String::new(), |matrix| matrix.name);
                thinnet::checkpoint::columns_of(&self.model, &first)?.ok_or_else(|| {
                    let problem = format!(
                        "has no matrix {first}, the first weight of {}; a state dict of its nn.Sequential is needed: {}",
                        file.display(),
                        thinnet::checkpoint::sequential(&layers).unwrap_or_default()
                    );
                    Error::File { path: self.model.clone(), problem }
                })?
            }
        };
        let mut model = Model::load_weights(&self.model, &config.network.network(inputs).map_err(|e| in_file(file, e))?)?;
        if model.preprocessing().is_default() && (config.data.standardize != Some(false) || self.data.is_none() || sequences) {
            // Weights of another program: their inputs are standardised, and their outputs named, as a training by this file would.
            let sets = config.load().map_err(|e| in_file(file, e))?;
            fits(&model, sets.train.inputs(), &config.data.path)?;
            // What its program did to bytes, and which rows it learned from, is not known.
            model = model.with_preprocessing(Preprocessing { scale: None, fingerprint: None, ..sets.preprocessing })?;
        }
        Ok((model, Some(config)))
    }
}

/// Whether a network reads its input step by step.
fn of_sequences(network: &Network) -> bool {
    network.walk().into_iter().any(|layer| matches!(layer, Layer::Recurrent(_) | Layer::Embedding(_)))
}

/// What is to be said of sequences.
pub(super) fn sequences(lengths: &Lengths, features: u32) -> String {
    let ([least, median, largest], steps) = (lengths.spread(), lengths.steps);
    let plural = if features == 1 { "" } else { "s" };
    format!(
        "Sequences of {least} to {largest} steps (median {median}), with room for {steps}, {features} feature{plural} at each."
    )
}

/// Whether two paths are one place.
fn same(a: &Path, b: &Path) -> bool {
    a == b || a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b))
}

/// What the rows of a portion are.
fn what(path: &Path, portion: &Portion) -> String {
    let part = if *portion == Portion::Test { "test rows" } else { "rows" };
    format!("{part} of {}", path.display())
}

/// Refuses rows of another width than those that the network was made for.
fn fits(model: &Model, rows: &Inputs, path: &Path) -> Result<(), Failure> {
    let (columns, expected) = (rows.columns(), model.network().input.0.iter().product::<u32>());
    if columns == expected {
        return Ok(());
    }
    let problem =
        format!("has {columns} columns of inputs, but the network takes {expected}; give it data like those it learned from");
    Err(Error::File { path: path.into(), problem }.into())
}
