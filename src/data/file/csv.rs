//! Tables as text: comma-separated values under a header line, plain or gzipped. Read row by row, never as a whole.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use csv::{ErrorKind, Reader, ReaderBuilder, StringRecord, Trim};

use super::groups::{Groups, LEFT_OUT};
use super::labels::{self, TextColumn};
use super::source::{Ask, Source, Spread, bad, nearest, open};
use super::{Target, Task, steps};
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
    /// Which sequence the line is a step of.
    Sequence,
}

/// What every column is for.
struct Layout {
    names: Vec<String>,
    roles: Vec<Role>,
    inputs: Vec<String>,
    targets: Vec<String>,
}

/// What has been read.
struct Table<'a> {
    path: &'a Path,
    layout: Layout,
    /// Labels are read as text: what they are is known when all of them have been seen.
    as_text: bool,
    inputs: Vec<f32>,
    numbers: Vec<f32>,
    column: TextColumn,
    ids: HashMap<String, u32>,
    spread: Vec<Spread>,
    groups: Option<Groups>,
}

pub(super) fn read(path: &Path, ask: &Ask) -> Result<Source> {
    let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(text(path)?);
    let names = header(path, &mut reader)?;
    let layout = Layout::new(path, names, ask)?;
    let as_text = ask.task != Task::Values && layout.targets.len() == 1 && !names_targets(ask, &layout.targets);
    let spread = vec![Spread::default(); layout.inputs.len() + layout.targets.len()];
    let groups = ask.sequence.map(|_| Groups::default());
    let (inputs, numbers, column, ids) = Default::default();
    let mut table = Table { path, layout, as_text, inputs, numbers, column, ids, spread, groups };
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).map_err(|error| malformed(path, &error, &table.layout.names))? {
        table.add(&record)?;
    }
    table.source(ask)
}

impl Table<'_> {
    /// Adds a line.
    fn add(&mut self, record: &StringRecord) -> Result<()> {
        let (path, width) = (self.path, self.layout.inputs.len());
        let place = record.position().map_or(0, |position| position.byte());
        let start = self.inputs.len();
        self.inputs.resize(start + width, 0.0);
        let first_number = self.numbers.len();
        if !self.as_text {
            self.numbers.resize(first_number + self.layout.targets.len(), 0.0);
        }
        for ((cell, &role), name) in record.iter().zip(&self.layout.roles).zip(&self.layout.names) {
            // Of a sequence, the last line has the target; on the others it may be left out.
            let left_out = self.groups.is_some() && cell.is_empty();
            match role {
                Role::Input(column) => {
                    self.inputs[start + column] = number(path, place, (name, &mut self.spread[column]), cell, FEATURE)?;
                }
                Role::Target(_) if self.as_text && left_out => self.column.rows.push(LEFT_OUT),
                Role::Target(column) if left_out => self.numbers[first_number + column] = f32::NAN,
                Role::Target(_) if self.as_text => {
                    labels::check(cell).map_err(|problem| at(path, place, name, &problem))?;
                    let id = match self.ids.get(cell) {
                        Some(&id) => id,
                        None => {
                            let id = self.column.add(cell, place);
                            self.ids.insert(cell.to_string(), id);
                            id
                        }
                    };
                    self.column.rows.push(id);
                }
                Role::Target(column) => {
                    let spread = &mut self.spread[width + column];
                    self.numbers[first_number + column] = number(path, place, (name, spread), cell, TARGET)?;
                }
                Role::Sequence => {
                    let added = self.groups.as_mut().map_or(Ok(()), |groups| groups.add(cell, place));
                    added.map_err(|problem| at(path, place, name, &problem))?;
                }
                Role::Skipped => {}
            }
        }
        Ok(())
    }

    fn source(mut self, ask: &Ask) -> Result<Source> {
        let path = self.path;
        if self.inputs.is_empty() {
            return Err(bad(path, "has a header line and no rows below it; add at least one row"));
        }
        for (spread, name) in self.spread.iter().zip(self.layout.inputs.iter().chain(&self.layout.targets)) {
            spread.check().map_err(|problem| bad(path, format!("column `{name}` {problem}")))?;
        }
        if ask.targets {
            self.one_target_each()?;
        }
        let Self { layout, inputs, column, numbers, .. } = self;
        let width = layout.inputs.len() as u32;
        let inputs = match self.groups {
            Some(Groups { lengths, names, .. }) => Inputs::from_sequences(width, inputs, lengths)
                .and_then(|inputs| inputs.with_names(names))
                .map_err(|error| match error {
                    Error::Data(problem) => bad(path, problem),
                    other => other,
                })?,
            None => Inputs::from_f32(width, inputs)?,
        };
        let target = (!layout.targets.is_empty()).then(|| Target::from(layout.targets.clone()));
        let (targets, output_names) = if layout.targets.is_empty() || !ask.targets {
            (None, Vec::new())
        } else if self.as_text {
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

    /// Leaves one target for each sequence, of those of its lines.
    fn one_target_each(&mut self) -> Result<()> {
        let Some(groups) = &self.groups else { return Ok(()) };
        let names = &self.layout.targets;
        let found = match self.as_text {
            true => groups.labels(&mut self.column).map_err(|(place, problem)| (place, 0, problem)),
            false => groups.numbers(names.len(), &mut self.numbers),
        };
        found.map_err(|(place, column, problem)| at(self.path, place, &names[column], &problem))
    }
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
        let sequence = ask.sequence.map(|name| sequence_column(path, &names, (name, ask))).transpose()?;
        let targets = target_columns(path, &names, ask)?;
        if let Some(column) = sequence.filter(|column| targets.contains(column)) {
            return Err(bad(
                path,
                format!("the column `{}` is both `sequence` and `target`; name another for one", names[column]),
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
        let (hint, columns) = (nearest(wanted, names), listed(names));
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
