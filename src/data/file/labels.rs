//! A column of text becomes classes.

use std::collections::BTreeSet;

use super::Task;
use super::shown::{listed, shown};
use crate::data::Targets;

/// A column of text in which equal texts are kept once.
#[derive(Debug, Default)]
pub(super) struct TextColumn {
    texts: Vec<String>,
    /// The byte at which the record begins in which each text is first.
    places: Vec<u64>,
    /// Which text each row has.
    pub(super) rows: Vec<u32>,
}

impl TextColumn {
    /// The text of a number.
    pub(super) fn text(&self, id: u32) -> &str {
        &self.texts[id as usize]
    }

    pub(super) fn add(&mut self, text: &str, place: u64) -> u32 {
        self.texts.push(text.into());
        self.places.push(place);
        self.texts.len() as u32 - 1
    }
}

/// Refuses what stands for a missing label.
pub(super) fn check(cell: &str) -> Result<(), String> {
    match cell.parse::<f64>() {
        _ if cell.is_empty() => Err("is empty; fill in a label or remove the row".into()),
        Ok(value) if !value.is_finite() => Err(format!("is {}, no label; fill in a label or remove the row", shown(cell))),
        _ => Ok(()),
    }
}

/// The whole number that a label is, however it is written: 3, 3.0, 03.
fn whole(text: &str) -> Option<i64> {
    let value = text.parse::<f64>().ok()?;
    (value.fract() == 0.0 && value.abs() < 9e15).then_some(value as i64)
}

/// The class of a label among the names of a trained model.
fn class_of(label: &str, known: &[String]) -> Option<u32> {
    let canonical = whole(label).map(|number| number.to_string());
    known.iter().position(|name| name == label || canonical.as_ref() == Some(name)).map(|class| class as u32)
}

/// Classes and their names, which are empty where the classes are numbers from 0.
///
/// `line` tells the line of a place. `known` are the class names of a model that is trained already; empty names mean that its classes are numbers.
pub(super) fn encode(
    column: TextColumn,
    task: Task,
    name: &str,
    known: Option<&[String]>,
    line: impl Fn(u64) -> u64,
) -> Result<(Targets, Vec<String>), String> {
    let at = |text: usize| place(&column, text, name, &line);
    if let Some(known) = known.filter(|known| !known.is_empty()) {
        let class = |(text, label): (usize, &String)| {
            class_of(label, known).ok_or_else(|| {
                let remedy = "remove its rows or train on them";
                format!("{}, a class without training rows; {remedy}; the classes are {}", at(text), listed(known))
            })
        };
        let classes = column.texts.iter().enumerate().map(class).collect::<Result<Vec<_>, _>>()?;
        return Ok((classes_of(&column, &classes, known.len() as u32), known.to_vec()));
    }
    let numbers: Vec<Option<i64>> = column.texts.iter().map(|text| whole(text)).collect();
    let distinct: Vec<i64> = numbers.iter().flatten().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let all_whole = numbers.iter().all(Option::is_some);
    let fraction = || column.texts.iter().position(|text| text.parse::<f64>().is_ok_and(|value| value.fract() != 0.0));
    if !all_whole && column.texts.iter().all(|text| text.parse::<f64>().is_ok()) {
        let text = fraction().unwrap_or(0);
        if task == Task::Either {
            return probabilities(&column, name, line).map(|targets| (targets, vec![name.to_string()]));
        }
        let remedy = "classes are whole numbers or text; train with mean_squared_error if the targets are numbers";
        return Err(format!("{}, not a whole number; {remedy}", at(text)));
    }
    if known.is_some()
        && let Some(text) = numbers.iter().position(|number| !number.is_some_and(|n| (0..1 << 31).contains(&n)))
    {
        return Err(format!("{}, but the model's classes are whole numbers from 0; write them as numbers", at(text)));
    }
    let dense = distinct.iter().copied().eq(0..distinct.len() as i64);
    if all_whole && (dense || known.is_some()) {
        let classes: Vec<u32> = numbers.iter().flatten().map(|&number| number as u32).collect();
        let count = classes.iter().max().map_or(2, |&largest| (largest + 1).max(2));
        return Ok((classes_of(&column, &classes, count), Vec::new()));
    }
    // Sorted, so that the classes do not depend on the order of the rows.
    let names: Vec<String> = if all_whole {
        distinct.iter().map(i64::to_string).collect()
    } else {
        column.texts.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect()
    };
    if names.len() < 2 {
        return Err(format!("{} in every row; add rows of a second class", at(0)));
    }
    let class = |(text, number): (&String, &Option<i64>)| {
        let place = match number {
            Some(number) if all_whole => distinct.binary_search(number).ok(),
            _ => names.binary_search(text).ok(),
        };
        place.unwrap_or(0) as u32 // Every text is among the names, which are made of them.
    };
    let classes: Vec<u32> = column.texts.iter().zip(&numbers).map(class).collect();
    Ok((classes_of(&column, &classes, names.len() as u32), names))
}

/// Where a text is first, and what it is, for a message.
fn place(column: &TextColumn, text: usize, name: &str, line: impl Fn(u64) -> u64) -> String {
    format!("line {}, column `{}` is `{}`", line(column.places[text]), shown(name), shown(&column.texts[text]))
}

fn classes_of(column: &TextColumn, class_of_text: &[u32], classes: u32) -> Targets {
    Targets::Classes { labels: column.rows.iter().map(|&text| class_of_text[text as usize]).collect(), classes }
}

/// Numbers between 0 and 1, for binary cross-entropy.
fn probabilities(column: &TextColumn, name: &str, line: impl Fn(u64) -> u64) -> Result<Targets, String> {
    let values: Vec<f32> = column.texts.iter().map(|text| text.parse().unwrap_or(f32::NAN)).collect();
    if let Some(text) = values.iter().position(|value| !(0.0..=1.0).contains(value)) {
        let (line, name, value) = (line(column.places[text]), shown(name), shown(&column.texts[text]));
        let remedy = "binary cross-entropy needs 0..=1; scale the column or train with mean_squared_error";
        return Err(format!("line {line}, column `{name}` is {value}; {remedy}"));
    }
    Ok(Targets::Values { columns: 1, values: column.rows.iter().map(|&text| values[text as usize]).collect() })
}
