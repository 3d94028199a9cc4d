//! What is done to rows that were read: checked against the loss, selected, standardised.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use super::shown::shown;
use super::{Task, scale, source, steps};
use crate::Result;
use crate::data::{Dataset, Inputs, Lengths, Preprocessing, Standardization, Targets, Values};

/// The targets, in the range of the loss.
pub(super) fn checked(targets: Option<Targets>, task: Task, path: &Path) -> Result<Targets> {
    let targets = targets.ok_or_else(|| source::bad(path, "has no targets; name them with `target`"))?;
    if let (Task::Either, Targets::Values { columns, values }) = (task, &targets)
        && let Some(at) = values.iter().position(|value| !(0.0..=1.0).contains(value))
    {
        let (row, column, value) = (at / *columns as usize, at % *columns as usize, values[at]);
        let remedy = "binary cross-entropy needs 0..=1; scale the targets or train with mean_squared_error";
        return Err(source::bad(path, format!("row {row}, target {column} is {value}; {remedy}")));
    }
    Ok(targets)
}

/// So many classes are made of whatever numbers labels are, however few rows there are.
const MOST_CLASSES: u64 = 1 << 16;

/// Refuses labels that are evidently no numbers of classes: a network would have an output for each number up to the largest. A source
/// of `rows` rows, these among them, has up to 65,536 classes, or 16 for each row.
pub(super) fn numbered(data: &Dataset, rows: u64, path: &Path) -> Result<()> {
    let Some((row, &label)) = data.labels().iter().enumerate().max_by_key(|&(_, label)| label) else { return Ok(()) };
    let classes = u64::from(label) + 1;
    if classes <= MOST_CLASSES.max(16 * rows) {
        return Ok(());
    }
    let problem = format!("row {row} has label {label}, which makes {classes} classes of {rows} rows");
    let remedy = "number the classes from 0: save numpy.unique(y, return_inverse=True)[1]";
    Err(source::bad(path, format!("{problem}; {remedy}, or train with mean_squared_error if labels are numbers")))
}

/// Refuses rows to learn from that are all of one class: a network would learn to answer nothing else.
pub(super) fn learnable(train: &Dataset, names: &[String], path: &Path) -> Result<()> {
    let Some((&class, rest)) = train.labels().split_first() else { return Ok(()) };
    if rest.iter().any(|&other| other != class) {
        return Ok(());
    }
    let (rows, name) = (train.rows(), names.get(class as usize).map_or(String::new(), |name| format!(" (`{}`)", shown(name))));
    let problem = format!("all rows to learn from ({rows}) are of class {class}{name}, and two classes are needed");
    let remedy = "choose other rows with `train`, `valid` and `test`, or shuffle the rows of a file that is sorted by class";
    Err(source::bad(path, format!("{problem}; {remedy}")))
}

pub(super) fn check_widths(train: &Dataset, test: Option<&Dataset>, path: &Path) -> Result<()> {
    let width = |targets: &Targets| match targets {
        Targets::Classes { .. } => 0,
        Targets::Values { columns, .. } => *columns,
    };
    let Some(test) = test else { return Ok(()) };
    if train.inputs.lengths().is_some() != test.inputs.lengths().is_some() {
        let problem =
            "only one of the training set and the test set found with it has lengths; save `lengths` of both, or of none";
        return Err(source::bad(path, problem));
    }
    let columns = if train.inputs.lengths().is_some() { "features at a step" } else { "columns" };
    for (what, found, expected) in [
        (columns, test.inputs.features(), train.inputs.features()),
        ("target columns (0 are classes)", width(&test.targets), width(&train.targets)),
    ] {
        if found != expected {
            let problem = format!("the test set found with it has {found} {what}, the training set {expected}; make them alike");
            return Err(source::bad(path, problem));
        }
    }
    Ok(())
}

pub(super) fn apply(preprocessing: &Preprocessing, data: &mut Dataset, path: &Path) -> Result<()> {
    standardized(preprocessing, &mut data.inputs, path)?;
    match (&preprocessing.targets, &mut data.targets) {
        (Some(standardization), Targets::Values { columns, values }) => {
            fits(standardization, *columns, "columns of targets", path)?;
            standardization.apply(values);
            finite(values, *columns, "target", &data.inputs.samples, path)
        }
        _ => Ok(()),
    }
}

pub(super) fn standardized(preprocessing: &Preprocessing, inputs: &mut Inputs, path: &Path) -> Result<()> {
    scale::check(preprocessing, inputs, path)?;
    steps::expected(preprocessing, inputs, path)?;
    let Some(standardization) = &preprocessing.inputs else { return Ok(()) };
    let what = if inputs.lengths().is_some() { "features at a step" } else { "columns of inputs" };
    fits(standardization, inputs.features(), what, path)?;
    if let Values::U8 { .. } = inputs.values() {
        inputs.values = Values::F32(as_f32(inputs).into_owned()).into();
    }
    // Behind the end of a sequence stands 0, before and after.
    let existing: Vec<_> = inputs.existing().collect();
    if let Values::F32(values) = Arc::make_mut(&mut inputs.values) {
        existing.into_iter().for_each(|row| standardization.apply(&mut values[row]));
        finite(values, inputs.columns, "column", &inputs.samples, path)?;
    }
    Ok(())
}

fn fits(standardization: &Standardization, columns: u32, what: &str, path: &Path) -> Result<()> {
    let (means, deviations) = (standardization.mean.len(), standardization.deviation.len());
    if means == columns as usize && deviations == means {
        return Ok(());
    }
    let problem = format!("has {columns} {what}, but the preprocessing has {means} means and {deviations} deviations");
    Err(source::bad(path, problem + "; use the columns that the model was trained on"))
}

fn finite(values: &[f32], columns: u32, what: &str, samples: &[u32], path: &Path) -> Result<()> {
    let Some(at) = values.iter().position(|value| !value.is_finite()) else { return Ok(()) };
    let (row, column) = (samples[at / columns as usize], at % columns as usize);
    let problem = format!("row {row}, {what} {column} is beyond f32 when standardised: it is far from all training rows");
    Err(source::bad(path, problem + "; check or remove it"))
}

/// The values as the device sees them.
pub(super) fn as_f32(inputs: &Inputs) -> Cow<'_, [f32]> {
    match inputs.values() {
        Values::U8 { bytes, scale } => bytes.iter().map(|&byte| f32::from(byte) * scale).collect(),
        Values::F32(values) => Cow::Borrowed(values),
    }
}

/// Keeps some rows, ascending, in place: a copy would double the memory.
pub(super) fn keep_rows(data: &mut Dataset, rows: &[u32]) {
    fn keep<T: Copy>(values: &mut Vec<T>, columns: u32, rows: &[u32]) {
        let columns = columns as usize;
        for (to, &from) in rows.iter().enumerate() {
            values.copy_within(from as usize * columns..(from as usize + 1) * columns, to * columns);
        }
        values.truncate(rows.len() * columns);
    }
    let columns = data.inputs.columns;
    match Arc::make_mut(&mut data.inputs.values) {
        Values::U8 { bytes, .. } => keep(bytes, columns, rows),
        Values::F32(values) => keep(values, columns, rows),
    }
    keep(&mut data.inputs.samples, 1, rows);
    if let Some(Lengths { of_rows, .. }) = &mut data.inputs.lengths {
        keep(of_rows, 1, rows);
    }
    if let Some(names) = &mut data.inputs.names {
        *names = rows.iter().map(|&row| std::mem::take(&mut names[row as usize])).collect();
    }
    match &mut data.targets {
        Targets::Classes { labels, .. } => keep(labels, 1, rows),
        Targets::Values { columns, values } => keep(values, *columns, rows),
    }
}
