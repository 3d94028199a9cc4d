//! What the columns of a table are for: inputs, targets, or which sequence a line is a step of.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::shown::{listed, shown};
use super::source::{Ask, bad, nearest};
use super::{Task, steps};
use crate::Result;

/// The names under which a target column is looked for, in this order.
const TARGET_NAMES: [&str; 4] = ["label", "target", "class", "y"];

/// What a column is for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Role {
    /// The input column of this number.
    Input(usize),
    /// The target column of this number.
    Target(usize),
    /// A target that nobody asked for.
    Skipped,
    /// Which sequence the line is a step of.
    Sequence,
}

/// What every column is for.
pub(super) struct Layout {
    pub(super) names: Vec<String>,
    pub(super) roles: Vec<Role>,
    pub(super) inputs: Vec<String>,
    pub(super) targets: Vec<String>,
}

impl Layout {
    pub(super) fn new(path: &Path, names: Vec<String>, ask: &Ask) -> Result<Self> {
        let sequence = ask.sequence.map(|name| sequence_column(path, &names, (name, ask))).transpose()?;
        let targets = target_columns(path, &names, ask)?;
        if let Some(column) = sequence.filter(|column| targets.contains(column)) {
            return Err(bad(
                path,
                format!("the column `{}` is both `sequence` and `target`; name another for one", shown(&names[column])),
            ));
        }
        let known = ask.known.map_or(&[][..], |known| &known.input_names);
        let others = names
            .iter()
            .enumerate()
            .filter(|(column, _)| !targets.contains(column) && sequence != Some(*column))
            .map(|(_, name)| name.clone());
        let inputs = if known.is_empty() { others.collect() } else { same_names(path, others.collect(), known)? };
        if sequence.is_none() {
            ask.known.map_or(Ok(()), |known| steps::in_columns(known, inputs.len(), path))?;
        }
        if inputs.is_empty() {
            return Err(bad(path, "line 1 has no column besides the target; add at least one column of inputs"));
        }
        let places: HashMap<&str, usize> = inputs.iter().enumerate().map(|(place, name)| (name.as_str(), place)).collect();
        let role = |(column, name): (usize, &String)| match targets.iter().position(|&target| target == column) {
            Some(place) if ask.targets => Role::Target(place),
            Some(_) => Role::Skipped,
            None if sequence == Some(column) => Role::Sequence,
            None => Role::Input(places[name.as_str()]),
        };
        let roles = names.iter().enumerate().map(role).collect();
        let targets = targets.iter().map(|&column| names[column].clone()).collect();
        Ok(Self { roles, inputs, targets, names })
    }
}

/// Where a line says which sequence it is a step of.
fn sequence_column(path: &Path, names: &[String], (wanted, ask): (&str, &Ask)) -> Result<usize> {
    names.iter().position(|name| name == wanted).ok_or_else(|| {
        let (hint, columns, wanted) = (nearest(wanted, names), listed(names), shown(wanted));
        // A trained model remembers the column, which nobody has named in the command that fails.
        let remedy = ask.known.map_or("", |_| "; name the one of this file with --sequence");
        bad(path, format!("line 1 has no column `{wanted}`{hint}, which `sequence` names{remedy}; the columns are {columns}"))
    })
}

/// Where the targets are.
fn target_columns(path: &Path, names: &[String], ask: &Ask) -> Result<Vec<usize>> {
    let find = |name: &str| names.iter().position(|other| other == name);
    // A column that the model was trained on is none of its targets, whatever it is called.
    let input = |name: &str| ask.known.is_some_and(|known| known.input_names.iter().any(|other| other == name));
    let target = |name: &str| find(name).filter(|_| !input(name));
    let wanted = match (ask.target, ask.known) {
        (Some(target), _) => target.names().to_vec(),
        // A model that answers numbers knows what they are called.
        (None, Some(known)) if ask.task != Task::Classes && known.output_names.iter().any(|name| target(name).is_some()) => {
            known.output_names.clone()
        }
        _ => {
            let column = TARGET_NAMES.into_iter().find_map(target);
            if column.is_none() && ask.targets {
                let (looked_for, columns) = (TARGET_NAMES.join(", "), listed(names));
                let remedy = "name the column of the targets with `target`";
                return Err(bad(
                    path,
                    format!("line 1 has none of the columns {looked_for}; {remedy}; the columns are {columns}"),
                ));
            }
            return Ok(column.into_iter().collect());
        }
    };
    if wanted.is_empty() {
        return Err(bad(path, "`target` is an empty list; name at least one column"));
    }
    if wanted.len() > 1 && ask.task == Task::Classes {
        let remedy = "name one column, or train with binary_cross_entropy or mean_squared_error";
        return Err(bad(path, format!("`target` names {} columns, but classes are in one; {remedy}", wanted.len())));
    }
    let mut columns = Vec::new();
    for name in &wanted {
        match find(name) {
            Some(column) if columns.contains(&column) => {
                return Err(bad(path, format!("`target` names the column `{}` twice; name it once", shown(name))));
            }
            Some(column) => columns.push(column),
            // For predictions the targets may be missing.
            None if !ask.targets => {}
            None => {
                let (hint, name) = (nearest(name, names), shown(name));
                return Err(bad(path, format!("line 1 has no column `{name}`{hint}; the columns are {}", listed(names))));
            }
        }
    }
    Ok(columns)
}

/// The model's input columns, if they are the columns of the file, in whatever order.
fn same_names(path: &Path, found: Vec<String>, known: &[String]) -> Result<Vec<String>> {
    let without = |names: &[String], others: &[String]| -> Vec<String> {
        let others: HashSet<&String> = others.iter().collect();
        names.iter().filter(|name| !others.contains(name)).cloned().collect()
    };
    let (missing, additional) = (without(known, &found), without(&found, known));
    if missing.is_empty() && additional.is_empty() {
        return Ok(known.to_vec());
    }
    let mut problem = String::from("line 1 does not have the columns that the model was trained on");
    if !missing.is_empty() {
        problem += &format!("; missing: {}; add them", listed(&missing));
    }
    if !additional.is_empty() {
        problem += &format!("; additional: {}; remove them, or name the targets among them with `target`", listed(&additional));
    }
    Err(bad(path, problem))
}

/// Whether a trained model says that these columns are its outputs, which makes them numbers.
pub(super) fn names_targets(ask: &Ask, targets: &[String]) -> bool {
    ask.task == Task::Either && ask.known.is_some_and(|known| known.output_names == targets)
}
