//! Which files a command reads, so that it writes over none of them.

use std::path::{Path, PathBuf};

use clap::{ArgMatches, Command, FromArgMatches};
use thinnet::config::Config;

/// The paths that a command line names to be read. It has no option of its own, but looks at those of the others; so it stands
/// before them in a struct of arguments, for each takes what is its own out of the matches.
#[derive(Debug)]
pub(super) struct Reads(Vec<PathBuf>);

/// The arguments of all commands that are paths to be read.
const READ: [&str; 4] = ["model", "network", "data", "ood"];

impl FromArgMatches for Reads {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let path = |id: &&str| matches.try_get_one::<PathBuf>(id).ok().flatten().cloned();
        Ok(Self(READ.iter().filter_map(path).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for Reads {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}

impl Reads {
    /// All files and folders that are read: those that are named, and the data that the file of a run or of a network names.
    pub(super) fn all(&self) -> Vec<PathBuf> {
        let data = |path: &PathBuf| {
            let file = if path.is_dir() { path.join("config.toml") } else { path.clone() };
            // What is no network file has no data of its own; what is wrong with one is said where it is read.
            let config = is_toml(&file).then(|| Config::read(&file).ok()).flatten()?;
            Some(config.data_path(&file))
        };
        self.0.iter().cloned().chain(self.0.iter().filter_map(data)).collect()
    }
}

/// Whether a file is called one of TOML.
pub(super) fn is_toml(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"))
}
