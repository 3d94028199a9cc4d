//! Tables as text: comma-separated values under a header line, plain or gzipped. Read row by row, never as a whole.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use csv::{ErrorKind, Reader, ReaderBuilder, StringRecord, Trim};

use super::columns::{Layout, Role, names_targets};
use super::groups::{Groups, LEFT_OUT};
use super::labels::{self, TextColumn};
use super::shown::shown;
use super::source::{Ask, Source, Spread, bad, open};
use super::{Target, Task};
use crate::data::{Inputs, Targets};
use crate::{Error, Result};

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
    let mut reader = ReaderBuilder::new().flexible(true).trim(Trim::All).from_reader(text(path)?);
    let names = header(path, &mut reader)?;
    let layout = Layout::new(path, names, ask)?;
    let as_text = ask.task != Task::Values && layout.targets.len() == 1 && !names_targets(ask, &layout.targets);
    let spread = vec![Spread::default(); layout.inputs.len() + layout.targets.len()];
    let groups = ask.sequence.map(|_| Groups::default());
    let (inputs, numbers, column, ids) = Default::default();
    let mut table = Table { path, layout, as_text, inputs, numbers, column, ids, spread, groups };
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).map_err(|error| malformed(path, &error, &table.layout.names))? {
        // A quote that is not closed swallows lines, which is what is wrong then, and not the number of cells.
        one_line_each(path, &record, &table.layout.names)?;
        as_wide(path, &record, table.layout.names.len())?;
        table.add(&record)?;
    }
    table.source(ask)
}

/// Refuses a cell that goes over several lines: a quote that is not closed makes one of the rest of the file.
fn one_line_each(path: &Path, record: &StringRecord, names: &[String]) -> Result<()> {
    let Some(column) = record.iter().position(|cell| cell.contains(['\n', '\r'])) else { return Ok(()) };
    // The cells in front of it have no line of their own.
    let line = record.position().map_or(1, |position| line(path, position.byte()));
    let name = names.get(column).map_or(String::new(), |name| format!(" `{}`", shown(name)));
    let (number, cell) = (column + 1, shown(&record[column]));
    let remedy = "a quote may not be closed: close it, or write the cell on one line";
    Err(bad(path, format!("line {line}, column {number}{name} goes over several lines (`{cell}`); {remedy}")))
}

/// Refuses a line that has more or fewer cells than the header.
fn as_wide(path: &Path, record: &StringRecord, expected: usize) -> Result<()> {
    if record.len() == expected {
        return Ok(());
    }
    let line = record.position().map_or(0, |position| line(path, position.byte()));
    let remedy = "give every row as many cells as the header has, and quote cells with commas in them";
    Err(bad(path, format!("line {line} has {} cells, expected {expected}; {remedy}", record.len())))
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
            spread.check().map_err(|problem| bad(path, format!("column `{}` {problem}", shown(name))))?;
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

/// The names of the columns.
fn header(path: &Path, reader: &mut Reader<Text>) -> Result<Vec<String>> {
    let header = reader.headers().map_err(|error| malformed(path, &error, &[]))?.clone();
    one_line_each(path, &header, &[])?;
    let names: Vec<String> = header.iter().map(String::from).collect();
    if names.is_empty() {
        return Err(bad(path, "is empty; expected a csv file: a line of column names, then one line for each row"));
    }
    if let [only] = &names[..]
        && let Some(separator) = [';', '\t', '|'].into_iter().find(|&separator| only.contains(separator))
    {
        return Err(bad(
            path,
            format!("line 1 has one column, `{}`; separate columns by commas instead of {separator:?}", shown(only)),
        ));
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
            return Err(bad(path, format!("line 1, columns {first} and {number} are both called `{}`; rename one", shown(name))));
        }
    }
    Ok(names)
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
            let problem = format!("is {}, which is not finite or beyond 3.4e38; fill in a number or remove the row", shown(cell));
            Err(at(path, place, name, &problem))
        }
        Err(_) => Err(at(path, place, name, &format!("is `{}`, not a number; {remedy}", shown(cell)))),
    }
}

fn at(path: &Path, place: u64, name: &str, problem: &str) -> Error {
    bad(path, format!("line {}, column `{}` {problem}", line(path, place), shown(name)))
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
            let column = names.get(err.field()).map_or(String::new(), |name| format!(" `{}`", shown(name)));
            let number = err.field() + 1;
            bad(path, format!("line {line}, column {number}{column} is not UTF-8 text; save the file as UTF-8"))
        }
        _ => bad(path, format!("is no csv file ({error}); write it again")),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    bad(path, format!("is unreadable or cut off ({error}); copy or write it again"))
}
