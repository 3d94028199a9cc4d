//! `thinnet predict`: the answer for every row.

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};

use thinnet::{Loss, Model, Outputs};

use super::data::{Asked, Source};
use super::output::{field, refuse_existing, write_whole};
use super::{Cli, Failure};

/// Answer for every row of some data.
///
/// Answers for every row: its class and the probability of each class, or the numbers of a regression in their own units; with
/// the loss gaussian_nll the mean of each target, then the standard deviation of each.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    /// File to write, .csv or .npy ([rows, outputs] of f32); CSV on standard output unless given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The network's output as it is, before softmax or sigmoid, as log variances, and standardised where the targets were.
    #[arg(long)]
    logits: bool,
    /// Replace a file that is there already.
    #[arg(long)]
    force: bool,
}

pub(super) fn run(args: &Args, cli: &Cli) -> Result<(), Failure> {
    let extension = args.out.as_deref().and_then(Path::extension).map(|e| e.to_string_lossy().to_lowercase());
    if let (Some(out), false) = (&args.out, matches!(extension.as_deref(), Some("csv" | "npy"))) {
        return Err(Failure::Usage(format!("--out {}: the file must end in .csv or .npy", out.display())));
    }
    args.out.as_deref().map_or(Ok(()), |out| refuse_existing(out, args.force))?;
    let (model, Asked { rows: inputs, .. }) = args.source.asked()?;
    let device = cli.device()?;
    let outputs = match args.logits {
        true => model.logits(&device, &inputs)?,
        false => model.in_own_units(model.predict(&device, &inputs)?),
    };
    let rows = inputs.samples();
    match (&args.out, extension.as_deref()) {
        (None, _) if cli.json => json(&model, rows, &outputs, args.logits),
        (None, _) => Ok(std::io::stdout().lock().write_all(csv(&model, rows, &outputs, args.logits).as_bytes())?),
        (Some(out), Some("npy")) => {
            let shape = [outputs.rows(), outputs.values().len() / outputs.rows()];
            write_whole(out, &npy(shape, outputs.values()))
        }
        (Some(out), _) => write_whole(out, csv(&model, rows, &outputs, args.logits).as_bytes()),
    }
}

/// The class of a row of probabilities (or logits), where the network tells classes apart.
fn class(model: &Model, row: &[f32], logits: bool) -> Option<usize> {
    match (model.network().loss, row.len()) {
        (Loss::SoftmaxCrossEntropy, _) => Some((0..row.len()).fold(0, |best, c| if row[c] > row[best] { c } else { best })),
        (Loss::BinaryCrossEntropy, 1) => Some(usize::from(row[0] > if logits { 0.0 } else { 0.5 })),
        _ => None,
    }
}

/// The name of a class or of an output; numbers where there are no names, or other ones: a single output that tells two classes
/// apart has the names of two, or, where its targets were numbers, that of their column.
fn class_name(model: &Model, class: usize, columns: usize) -> String {
    let names = &model.preprocessing().output_names;
    match names.len() == columns.max(2) {
        true => names[class].clone(),
        false => class.to_string(),
    }
}

/// The name of a column of numbers: that of its target, with what it is of it where that is not the value.
fn value_name(model: &Model, column: usize, columns: usize, logits: bool) -> String {
    let names = &model.preprocessing().output_names;
    let (targets, spread) = match (model.network().loss, logits) {
        (Loss::GaussianNll, true) => (columns / 2, "_log_variance"),
        (Loss::GaussianNll, false) => (columns / 2, "_deviation"),
        _ => (columns, ""),
    };
    let target = column % targets;
    let name = if names.len() == targets { names[target].clone() } else { format!("y{target}") };
    if column < targets { name } else { name + spread }
}

/// `row,label,CLASS,CLASS...` or `row,TARGET...,TARGET_deviation...`; rows are numbered as in their file, from 0.
fn csv(model: &Model, rows: &[u32], outputs: &Outputs, logits: bool) -> String {
    let columns = outputs.row(0).len();
    let labelled = class(model, outputs.row(0), logits).is_some();
    let mut text = String::from(if labelled { "row,label" } else { "row" });
    for column in 0..columns {
        let name = match (labelled, columns) {
            (true, 1) => "probability".into(),
            (true, _) => class_name(model, column, columns),
            (false, _) => value_name(model, column, columns, logits),
        };
        text += &format!(",{}", field(&name));
    }
    text.push('\n');
    for (i, row) in rows.iter().enumerate() {
        let values = outputs.row(i);
        write!(text, "{row}").expect("a String takes everything");
        if let Some(class) = class(model, values, logits) {
            text += &format!(",{}", field(&class_name(model, class, columns)));
        }
        values.iter().for_each(|value| write!(text, ",{value}").expect("a String takes everything"));
        text.push('\n');
    }
    text
}

/// An npy file, version 1.0: magic, version, length of the header, a header padded to a multiple of 64 bytes, the values.
fn npy([rows, columns]: [usize; 2], values: &[f32]) -> Vec<u8> {
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    let fill = (10 + header.len() + 1).next_multiple_of(64) - (10 + header.len() + 1);
    header.extend(std::iter::repeat_n(' ', fill));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

fn json(model: &Model, rows: &[u32], outputs: &Outputs, logits: bool) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    for (i, row) in rows.iter().enumerate() {
        let label = class(model, outputs.row(i), logits).map(|class| class_name(model, class, outputs.row(i).len()));
        writeln!(out, "{}", serde_json::json!({ "row": row, "label": label, "outputs": outputs.row(i) }))?;
    }
    Ok(())
}
