//! Trained weights and the rows that they are asked about: what `eval` and `predict` have in common.

use std::ops::Range;
use std::path::{Path, PathBuf};

use thinnet::config::Config;
use thinnet::data::file::{self, Rows, Sets};
use thinnet::{Dataset, Error, Inputs, Model};

use super::{Failure, range};

#[derive(Debug, clap::Args)]
pub(crate) struct Source {
    /// The folder of a run, or weights (.safetensors).
    model: PathBuf,
    /// The network of weights that another program wrote, as TOML.
    #[arg(long, value_name = "FILE.toml")]
    network: Option<PathBuf>,
    /// An idx folder (its test part, if it has one), a .csv, .npy or .npz, or `digits`. Unless given, the test rows of the run, or
    /// its validation rows.
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Only these rows of --data.
    #[arg(long, value_name = "A..B", value_parser = range, requires = "data")]
    rows: Option<Range<u32>>,
}

/// The rows that were asked for, with their targets where there are any.
pub(super) struct Asked {
    pub(super) inputs: Inputs,
    pub(super) dataset: Option<Dataset>,
    /// What they are, for messages.
    pub(super) what: String,
}

impl Source {
    /// The weights, and the rows to ask them about.
    pub(super) fn load(&self) -> Result<(Model, Asked), Failure> {
        let (model, config) = self.model()?;
        let asked = match (&self.data, config) {
            (Some(path), config) => self.data(path, &model, config.as_ref())?,
            (None, Some(config)) => of_run(&config)?,
            (None, None) => {
                let message = format!("{} is weights alone; say with --data what to ask them about", self.model.display());
                return Err(Failure::Usage(message));
            }
        };
        Ok((model, asked))
    }

    fn model(&self) -> Result<(Model, Option<Config>), Failure> {
        if self.model.is_dir() {
            if self.network.is_some() {
                return Err(Failure::Usage("--network is for weights of another program; a run has its own".into()));
            }
            let config = Config::read(&self.model.join("config.toml"))?;
            return Ok((Model::load(self.model.join("model.safetensors"))?, Some(config)));
        }
        let Some(file) = &self.network else { return Ok((Model::load(&self.model)?, None)) };
        let config = Config::read(file)?;
        // The width of the input is in the weights, unless the file says it.
        let layers = config.network.network(config.network.input.unwrap_or(1))?;
        let first = &layers.parameters()?[0].name;
        let inputs = match config.network.input {
            Some(inputs) => inputs,
            None => thinnet::checkpoint::columns_of(&self.model, first)?.unwrap_or(1),
        };
        let model = Model::load_weights(&self.model, &config.network.network(inputs)?)?;
        Ok((model, Some(config)))
    }

    fn data(&self, path: &Path, model: &Model, config: Option<&Config>) -> Result<Asked, Failure> {
        let rows = self.rows.clone().map(Rows);
        let target = config.and_then(|config| config.data.target.as_ref());
        let task = thinnet::config::task(model.network().loss);
        let (inputs, dataset) = file::load_for(path, rows, target, model.preprocessing(), task)?;
        Ok(Asked { inputs, dataset, what: format!("rows of {}", path.display()) })
    }
}

/// The test rows of a run, or its validation rows.
fn of_run(config: &Config) -> Result<Asked, Failure> {
    let Sets { valid, test, .. } = config.data.load(config.task(), config.seed)?;
    let (dataset, what) = match (test, valid) {
        (Some(test), _) => (test, "test rows"),
        (None, Some(valid)) => (valid, "validation rows"),
        (None, None) => {
            let problem = "the run has neither test nor validation rows; say with --data what to ask it about".into();
            return Err(Error::Data(problem).into());
        }
    };
    Ok(Asked { inputs: dataset.inputs().clone(), dataset: Some(dataset), what: what.into() })
}
