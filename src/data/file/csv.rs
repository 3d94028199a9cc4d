//! Tables as text: comma-separated values under a header line, plain or gzipped. Read row by row, never as a whole.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use csv::{ErrorKind, Reader, ReaderBuilder, StringRecord, Trim};

use super::labels::{self, TextColumn};
use super::source::{Ask, Source, Spread, bad, nearest, open};
use super::{Target, Task};
use crate::data::{Inputs, Targets};
use crate::{Error, Result};

/// The names under which a target column is looked for, in this order.
const TARGET_NAMES: [&str; 4] = ["label", "target", "class", "y"];

/// What a column is for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Role {
    /// The input column of this number.
    Input(usize),
    /// The target column of this number.
    Target(usize),
    /// A target that nobody asked for.
    Skipped,
}

/// What every column is for.
struct Layout {
    names: Vec<String>,
    roles: Vec<Role>,
    inputs: Vec<String>,
    targets: Vec<String>,
}

pub(super) fn read(path: &Path, ask: &Ask) -> Result<Source> {
    let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(text(path)?);
    let names = header(path, &mut reader)?;
    let layout = Layout::new(path, names, ask)?;
    let width = layout.inputs.len();
    // Labels are read as text: what they are is known when all of them have been seen.
    let as_text = ask.task != Task::Values && layout.targets.len() == 1 && !names_targets(ask, &layout.targets);
    let (mut inputs, mut numbers, mut column) = (Vec::new(), Vec::new(), TextColumn::default());
    let mut ids = HashMap::new();
    let mut spread = vec![Spread::default(); width + layout.targets.len()];
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).map_err(|error| malformed(path, &error, &layout.names))? {
        let place = record.position().map_or(0, |position| position.byte());
        let start = inputs.len();
        inputs.resize(start + width, 0.0);
        let first_number = numbers.len();
        if !as_text {
            numbers.resize(first_number + layout.targets.len(), 0.0);
        }
        for ((cell, &role), name) in record.iter().zip(&layout.roles).zip(&layout.names) {
            match role {
                Role::Input(column) => inputs[start + column] = number(path, place, (name, &mut spread[column]), cell, FEATURE)?,
                Role::Target(_) if as_text => {
                    labels::check(cell).map_err(|problem| at(path, place, name, &problem))?;
                    let id = match ids.get(cell) {
                        Some(&id) => id,
                        None => {
                            let id = column.add(cell, place);
                            ids.insert(cell.to_string(), id);
                            id
                        }
                    };
                    column.rows.push(id);
                }
                Role::Target(column) => {
                    let spread = &mut spread[width + column];
                    numbers[first_number + column] = number(path, place, (name, spread), cell, TARGET)?;
                }
                Role::Skipped => {}
            }
        }
    }
    if inputs.is_empty() {
        return Err(bad(path, "has a header line and no rows below it; add at least one row"));
    }
    for (spread, name) in spread.iter().zip(layout.inputs.iter().chain(&layout.targets)) {
        spread.check().map_err(|problem| bad(path, format!("column `{name}` {problem}")))?;
    }
    let inputs = Inputs::from_f32(width as u32, inputs)?;
    let target = (!layout.targets.is_empty()).then(|| Target::from(layout.targets.clone()));
    let (targets, output_names) = if layout.targets.is_empty() || !ask.targets {
        (None, Vec::new())
    } else if as_text {
        let name = &layout.targets[0];
        let known = ask.known.map(|known| known.output_names.as_slice());
        let (targets, names) =
            labels::encode(column, ask.task, name, known, |place| line(path, place)).map_err(|problem| bad(path, problem))?;
        (Some(targets), names)
    } else {
        (Some(Targets::Values { columns: layout.targets.len() as u32, values: numbers }), layout.targets.clone())
    };
    Ok(Source { inputs, targets, input_names: layout.inputs, output_names, target })
}

/// Whether a trained model says that these columns are its outputs, which makes them numbers.
fn names_targets(ask: &Ask, targets: &[String]) -> bool {
    ask.task == Task::Either && ask.known.is_some_and(|known| known.output_names == targets)
}

/// The names of the columns.
fn header(path: &Path, reader: &mut Reader<Text>) -> Result<Vec<String>> {
    let header = reader.headers().map_err(|error| malformed(path, &error, &[]))?.clone();
    let names: Vec<String> = header.iter().map(String::from).collect();
    if names.is_empty() {
        return Err(bad(path, "is empty; expected a csv file: a line of column names, then one line for each row"));
    }
    if let [only] = &names[..]
        && let Some(separator) = [';', '\t', '|'].into_iter().find(|&separator| only.contains(separator))
    {
        return Err(bad(path, format!("line 1 has one column, `{only}`; separate columns by commas instead of {separator:?}")));
    }
    if names.iter().all(|name| name.parse::<f64>().is_ok()) {
        return Err(bad(path, "line 1 has only numbers; add a header line with the names of the columns"));
    }
    let mut seen = HashMap::new();
    for (column, name) in names.iter().enumerate() {
        let number = column + 1;
        if name.is_empty() {
            let remedy = "name it, or remove it: pandas leaves out the index with to_csv(index=False)";
            return Err(bad(path, format!("line 1, column {number} has no name; {remedy}")));
        }
        if let Some(first) = seen.insert(name.as_str(), number) {
            return Err(bad(path, format!("line 1, columns {first} and {number} are both called `{name}`; rename one")));
        }
    }
    Ok(names)
}

impl Layout {
    fn new(path: &Path, names: Vec<String>, ask: &Ask) -> Result<Self> {
        let targets = target_columns(path, &names, ask)?;
        let known = ask.known.map_or(&[][..], |known| &known.input_names);
        let others = names.iter().enumerate().filter(|(column, _)| !targets.contains(column)).map(|(_, name)| name.clone());
        let inputs = if known.is_empty() { others.collect() } else { same_names(path, others.collect(), known)? };
        if inputs.is_empty() {
            return Err(bad(path, "line 1 has no column besides the target; add at least one column of inputs"));
        }
        let places: HashMap<&str, usize> = inputs.iter().enumerate().map(|(place, name)| (name.as_str(), place)).collect();
        let role = |(column, name): (usize, &String)| match targets.iter().position(|&target| target == column) {
            Some(place) if ask.targets => Role::Target(place),
            Some(_) => Role::Skipped,
            None => Role::Input(places[name.as_str()]),
        };
        let roles = names.iter().enumerate().map(role).collect();
        let targets = targets.iter().map(|&column| names[column].clone()).collect();
        Ok(Self { roles, inputs, targets, names })
    }
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
                return Err(bad(path, format!("`target` names the column `{name}` twice; name it once")));
            }
            Some(column) => columns.push(column),
            // For predictions the targets may be missing.
            None if !ask.targets => {}
            None => {
                let hint = nearest(name, names);
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

/// Names for a message, which stays readable with thousands of columns.
fn listed(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(20).map(|name| format!("`{name}`")).collect();
    let rest = if names.len() > shown.len() { format!(" and {} more", names.len() - shown.len()) } else { String::new() };
    shown.join(", ") + &rest
}

const FEATURE: &str = "remove the column or encode it as numbers, for classes one column of 0 and 1 for each";
const TARGET: &str = "this loss needs targets that are numbers; train with softmax_cross_entropy if they are classes";

/// A number from a cell of the column `name`.
fn number(path: &Path, place: u64, (name, spread): (&str, &mut Spread), cell: &str, remedy: &str) -> Result<f32> {
    match cell.parse::<f64>() {
        Ok(value) if (value as f32).is_finite() => {
            spread.add(value);
            Ok(value as f32)
        }
        _ if cell.is_empty() => Err(at(path, place, name, "is empty; fill in a number or remove the row")),
        Ok(_) => {
            let problem = format!("is {cell}, which is not finite or beyond 3.4e38; fill in a number or remove the row");
            Err(at(path, place, name, &problem))
        }
        Err(_) => Err(at(path, place, name, &format!("is `{}`, not a number; {remedy}", shortened(cell)))),
    }
}

/// The beginning of a cell, for a message.
fn shortened(cell: &str) -> String {
    if cell.chars().count() > 40 { cell.chars().take(40).chain("...".chars()).collect() } else { cell.into() }
}

fn at(path: &Path, place: u64, name: &str, problem: &str) -> Error {
    bad(path, format!("line {}, column `{name}` {problem}", line(path, place)))
}

type Text = BufReader<Box<dyn Read>>;

/// The file behind its byte order mark, so that places in it count from the same byte everywhere.
fn text(path: &Path) -> Result<Text> {
    let mut reader = BufReader::new(open(path, "a csv file with a header line")?);
    // An error is not left to the parser: behind one, gzip's decoder says that the file is at its end.
    if reader.fill_buf().map_err(|error| unreadable(path, &error))?.starts_with("\u{feff}".as_bytes()) {
        reader.consume(3);
    }
    Ok(reader)
}

/// The line of a record that the parser found at this byte.
///
/// The parser's own lines are those of blank lines in front of a record, and of the record before where lines end in CR LF. So
/// the file is read once more, which only errors do.
fn line(path: &Path, place: u64) -> u64 {
    let Ok(reader) = text(path) else { return 0 };
    let (mut line, mut last) = (1, 0);
    for (at, byte) in reader.bytes().map_while(std::io::Result::ok).enumerate() {
        let ends = byte == b'\r' || byte == b'\n';
        if at as u64 >= place && !ends {
            break;
        }
        line += u64::from(ends && !(byte == b'\n' && last == b'\r'));
        last = byte;
    }
    line
}

/// What the parser found wrong.
fn malformed(path: &Path, error: &csv::Error, names: &[String]) -> Error {
    match error.kind() {
        ErrorKind::Io(error) => unreadable(path, error),
        ErrorKind::Utf8 { pos, err } => {
            let line = pos.as_ref().map_or(1, |position| line(path, position.byte()));
            let column = names.get(err.field()).map_or(String::new(), |name| format!(" `{name}`"));
            let number = err.field() + 1;
            bad(path, format!("line {line}, column {number}{column} is not UTF-8 text; save the file as UTF-8"))
        }
        ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let line = pos.as_ref().map_or(0, |position| line(path, position.byte()));
            let remedy = "give every row as many cells as the header has, and quote cells with commas in them";
            bad(path, format!("line {line} has {len} cells, expected {expected_len}; {remedy}"))
        }
        _ => bad(path, format!("is no csv file ({error}); write it again")),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    bad(path, format!("is unreadable or cut off ({error}); copy or write it again"))
}
