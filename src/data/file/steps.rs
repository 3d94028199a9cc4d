//! How many steps sequences have room for: the longest of all sets, and with a trained model as many as it takes.

use std::path::Path;

use super::source::bad;
use crate::data::{Dataset, Inputs, Preprocessing, Sequences};
use crate::{Error, Result};

/// Gives all sets room for the longest sequence, and says how many steps that is.
pub(super) fn alike(sets: &mut [&mut Dataset], path: &Path) -> Result<u32> {
    let longest = |set: &&mut Dataset| set.inputs.lengths().and_then(|lengths| lengths.of_rows.iter().copied().max());
    let steps = sets.iter().filter_map(longest).max().unwrap_or(0);
    for set in sets {
        let inputs = set.inputs.clone().with_steps(steps);
        set.inputs = inputs.map_err(|error| of_file(error, path))?;
    }
    Ok(steps)
}

/// Rows without lengths, of a model that was trained with them, are sequences of all steps.
pub(super) fn expected(preprocessing: &Preprocessing, inputs: &mut Inputs, path: &Path) -> Result<()> {
    let Some(sequences) = &preprocessing.sequences else { return Ok(()) };
    if inputs.lengths().is_some() {
        return Ok(());
    }
    let of_rows = vec![sequences.steps; inputs.rows() as usize];
    *inputs = inputs.clone().with_lengths(sequences.steps, of_rows).map_err(|error| {
        let remedy =
            "give it sequences: a .ts, an .npz with an array `lengths`, or a .csv whose column of sequences --sequence names";
        match error {
            Error::Data(problem) => bad(path, format!("{problem}, which the model takes; {remedy}")),
            other => other,
        }
    })?;
    Ok(())
}

/// Refuses a table whose lines are no sequences of all steps of a model trained on sequences: they are steps, and nothing says whose.
pub(super) fn in_columns(known: &Preprocessing, columns: usize, path: &Path) -> Result<()> {
    let Some(Sequences { steps, .. }) = known.sequences else { return Ok(()) };
    let features = known.inputs.as_ref().map(|inputs| inputs.mean.len());
    let fits = match features {
        Some(features) => columns == features.saturating_mul(steps as usize),
        None => columns.is_multiple_of(steps as usize),
    };
    if fits {
        return Ok(());
    }
    let of = features.map_or(String::new(), |features| format!(" of {features} features"));
    let problem = format!("line 1 has {columns} columns of inputs, but the model takes sequences of at most {steps} steps{of}");
    Err(bad(path, problem + "; name the column that says which sequence a line is a step of with --sequence"))
}

/// Gives sequences the room that a trained model has for them.
pub(super) fn of_model(preprocessing: &Preprocessing, inputs: &mut Inputs, path: &Path) -> Result<()> {
    let Some(sequences) = &preprocessing.sequences else { return Ok(()) };
    *inputs = inputs.clone().with_steps(sequences.steps).map_err(|error| of_file(error, path))?;
    Ok(())
}

fn of_file(error: Error, path: &Path) -> Error {
    match error {
        Error::Data(problem) => bad(path, problem),
        other => other,
    }
}
