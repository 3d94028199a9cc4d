//! Sequences as text: the `.ts` format of the UEA archive, plain or gzipped, read line by line. The rules for users are in the
//! documentation of the module above.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;

use super::Task;
use super::labels::{self, TextColumn};
use super::shown::{listed, shown};
use super::source::{Ask, Source, Spread, bad, open};
use crate::data::{Inputs, Targets};
use crate::{Error, Result};

/// What is wrong, without the file.
type Found<T> = std::result::Result<T, String>;

/// What stands in the last field of a line.
#[derive(Debug, Clone, PartialEq)]
enum Last {
    /// Another feature: there are no targets.
    Feature,
    /// A number.
    Number,
    /// One of these classes, which the header names in its line.
    Class(Vec<String>, u64),
}

/// The header, as far as it says how lines are read.
#[derive(Debug)]
struct Header {
    last: Last,
    /// Features, where the header says how many there are.
    features: Option<usize>,
    equal: bool,
    steps: Option<usize>,
}

/// The lines below the header.
#[derive(Debug, Default)]
struct Rows {
    features: usize,
    /// Step by step, one sequence behind the other.
    values: Vec<f32>,
    lengths: Vec<u32>,
    spread: Vec<Spread>,
    column: TextColumn,
    ids: HashMap<String, u32>,
    numbers: Vec<f32>,
}

pub(super) fn read(path: &Path, ask: &Ask) -> Result<Source> {
    let mut lines = BufReader::new(open(path, "a .ts file of sequences")?);
    let (mut text, mut number) = (Vec::new(), 0u64);
    let mut next = |text: &mut Vec<u8>| -> Result<Option<u64>> {
        text.clear();
        let read = lines.read_until(b'\n', text);
        let length = read.map_err(|error| bad(path, format!("is unreadable or cut off ({error}); copy or write it again")))?;
        number += 1;
        Ok((length > 0).then_some(number))
    };
    let at = |number: u64, problem: String| bad(path, format!("line {number}{problem}"));
    let mut header = Header { last: Last::Feature, features: None, equal: false, steps: None };
    loop {
        let Some(number) = next(&mut text)? else {
            return Err(bad(
                path,
                "has no line `@data`; expected a .ts file: lines that begin with @, then @data, then the sequences",
            ));
        };
        let Some(line) = line(&text).map_err(|problem| at(number, problem))? else { continue };
        if header.tag(line, number).map_err(|problem| at(number, problem))? {
            break;
        }
    }
    header.check(ask).map_err(|problem| bad(path, problem))?;
    let mut rows = Rows::default();
    if let (Last::Class(names, number), None) = (&header.last, ask.known) {
        for name in names {
            rows.class(name, *number);
        }
    }
    while let Some(number) = next(&mut text)? {
        let Some(line) = line(&text).map_err(|problem| at(number, problem))? else { continue };
        rows.add(line, number, &header, ask).map_err(|problem| at(number, problem))?;
    }
    rows.source(header.last, ask).map_err(|error| match error {
        Error::Data(problem) => bad(path, problem),
        other => other,
    })
}

/// A line without the spaces around it, if it is neither empty nor a comment, which may be in any encoding.
fn line(bytes: &[u8]) -> Found<Option<&str>> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes).trim_ascii();
    if bytes.is_empty() || bytes.starts_with(b"#") || bytes.starts_with(b"%") {
        return Ok(None);
    }
    std::str::from_utf8(bytes).map(Some).map_err(|_| " is not UTF-8 text; save the file as UTF-8".into())
}

impl Header {
    /// Reads a line that begins with @; whether it is the last one.
    fn tag(&mut self, line: &str, number: u64) -> Found<bool> {
        let Some(tag) = line.strip_prefix('@') else {
            return Err(format!(" is `{}`, but above the line `@data` every line begins with @ or #; add `@data`", shown(line)));
        };
        let mut words = tag.split_whitespace();
        let key = words.next().unwrap_or("").to_lowercase();
        let value = words.next().map(str::to_lowercase);
        let says = || format!(", @{} ", shown(&key));
        let flag = || match value.as_deref() {
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            _ => Err(format!("{}is {}; write true or false", says(), shown(value.as_deref().unwrap_or("empty")))),
        };
        let count = || match value.as_ref().and_then(|value| value.parse::<usize>().ok()).filter(|&count| count > 0) {
            Some(count) => Ok(Some(count)),
            None => Err(format!("{}is {}; write a whole number from 1", says(), shown(value.as_deref().unwrap_or("empty")))),
        };
        match key.as_str() {
            "data" => return Ok(true),
            "timestamps" if flag()? => {
                return Err(format!("{}is true: steps with times are not read; write their values alone", says()));
            }
            "univariate" if flag()? => self.features = Some(1),
            "dimension" | "dimensions" => self.features = count()?,
            "equallength" => self.equal = flag()?,
            "serieslength" => self.steps = count()?,
            "targetlabel" if flag()? => self.last = Last::Number,
            "classlabel" if flag()? => {
                let names: Vec<String> = words.map(String::from).collect();
                if names.is_empty() {
                    return Err(format!("{}names no class; write the names behind it: @classLabel true a b", says()));
                }
                self.last = Last::Class(names, number);
            }
            _ => {} // Names and remarks.
        }
        Ok(false)
    }

    /// Whether there is what the loss needs.
    fn check(&self, ask: &Ask) -> Found<()> {
        match (&self.last, ask.task) {
            _ if !ask.targets => Ok(()),
            (Last::Feature, _) => {
                Err("has no targets; its header needs @classLabel true with the names of classes, or @targetLabel true".into())
            }
            (Last::Number, Task::Classes) => {
                Err("has numbers to learn (@targetLabel), but this loss needs classes; train with mean_squared_error".into())
            }
            (Last::Class(..), Task::Values) => {
                Err("has classes (@classLabel), but this loss needs numbers; train with softmax_cross_entropy".into())
            }
            _ => Ok(()),
        }
    }
}

impl Rows {
    /// Adds a line below the header.
    fn add(&mut self, line: &str, number: u64, header: &Header, ask: &Ask) -> Found<()> {
        let mut fields: Vec<&str> = line.split(':').collect();
        let last = if header.last == Last::Feature { None } else { fields.pop() };
        let expected = if self.lengths.is_empty() { header.features } else { Some(self.features) };
        let found = fields.len();
        if found == 0 || expected.is_some_and(|expected| expected != found) {
            let expected = expected.map_or("at least 1".into(), |expected| expected.to_string());
            let behind = if last.is_some() { ", and its target behind the last `:`" } else { "" };
            return Err(format!(" has {found} features, expected {expected}; separate features by `:`{behind}"));
        }
        if self.lengths.is_empty() {
            self.features = found;
            self.spread = vec![Spread::default(); found];
        }
        let steps = fields[0].split(',').count();
        // Before there is room for the values, which a line of unequal features could ask too much of.
        let lengths = fields.iter().map(|field| field.split(',').count());
        if let Some((feature, own)) = lengths.enumerate().find(|&(_, own)| own != steps) {
            let place = feature + 1;
            return Err(format!(", feature {place} has {own} steps, feature 1 {steps}; give all features of a line as many"));
        }
        let start = self.values.len();
        self.values.resize(start + steps * found, 0.0);
        for (feature, field) in fields.iter().enumerate() {
            for (step, cell) in field.split(',').enumerate() {
                let value = value(cell, feature, step)?;
                self.spread[feature].add(value);
                self.values[start + step * found + feature] = value as f32;
            }
        }
        let first = self.lengths.first().map(|&length| length as usize).or(header.steps);
        if let Some(first) = first.filter(|&first| header.equal && first != steps) {
            return Err(format!(
                " has {steps} steps, but the header says equal lengths, and they are {first}; write @equalLength false"
            ));
        }
        self.lengths.push(u32::try_from(steps).map_err(|_| format!(" has {steps} steps; steps are below 2^32"))?);
        match last {
            Some(cell) if ask.targets => self.target(cell.trim(), number, &header.last),
            _ => Ok(()),
        }
    }

    /// Adds what stands behind the features.
    fn target(&mut self, cell: &str, number: u64, last: &Last) -> Found<()> {
        match last {
            Last::Class(names, _) => {
                labels::check(cell).map_err(|problem| format!(", the class {problem}"))?;
                let as_number = cell.parse::<f64>();
                if !names.iter().any(|name| name == cell || as_number.as_ref().is_ok_and(|number| name.parse() == Ok(*number))) {
                    let listed = listed(names);
                    let remedy = "correct it, or name it behind @classLabel";
                    return Err(format!(", the class is `{}`, none of {listed}; {remedy}", shown(cell)));
                }
                let id = self.class(cell, number);
                self.column.rows.push(id);
            }
            _ => match cell.parse::<f32>() {
                Ok(value) if value.is_finite() => self.numbers.push(value),
                _ => return Err(format!(", the target is `{}`; write a finite number behind the last `:`", shown(cell))),
            },
        }
        Ok(())
    }

    /// The number of a class, which is first named in this line.
    fn class(&mut self, name: &str, number: u64) -> u32 {
        if let Some(&id) = self.ids.get(name) {
            return id;
        }
        let id = self.column.add(name, number);
        self.ids.insert(name.into(), id);
        id
    }

    fn source(self, last: Last, ask: &Ask) -> Result<Source> {
        if self.lengths.is_empty() {
            return Err(Error::Data("has no sequence below the line `@data`; add at least one".into()));
        }
        for (feature, spread) in self.spread.iter().enumerate() {
            spread.check().map_err(|problem| Error::Data(format!("feature {} {problem}", feature + 1)))?;
        }
        let inputs = Inputs::from_sequences(self.features as u32, self.values, self.lengths)?;
        if !ask.targets {
            return Ok(Source::of(inputs, None));
        }
        if last == Last::Number {
            return Ok(Source::of(inputs, Some(Targets::Values { columns: 1, values: self.numbers })));
        }
        let known = ask.known.map(|known| known.output_names.as_slice());
        let (targets, output_names) =
            labels::encode(self.column, Task::Classes, "class", known, |line| line).map_err(Error::Data)?;
        Ok(Source { output_names, ..Source::of(inputs, Some(targets)) })
    }
}

/// A finite number that f32 holds.
fn value(cell: &str, feature: usize, step: usize) -> Found<f64> {
    let cell = cell.trim();
    let remedy = "fill in a number, or remove the line";
    let problem = match cell.parse::<f64>() {
        Ok(value) if (value as f32).is_finite() => return Ok(value),
        _ if cell.is_empty() => "is empty".into(),
        Ok(value) if value.is_nan() => "is missing (NaN)".into(),
        Ok(_) => format!("is {}, which is not finite or beyond 3.4e38", shown(cell)),
        Err(_) if cell == "?" => "is missing (?)".into(),
        Err(_) => format!("is `{}`, not a number", shown(cell)),
    };
    Err(format!(", feature {}, step {} {problem}; {remedy}", feature + 1, step + 1))
}
