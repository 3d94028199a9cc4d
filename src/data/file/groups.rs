//! Lines of a table that are the steps of sequences: consecutive ones that a column says the same of.

use std::collections::HashSet;

use super::labels::TextColumn;
use super::shown::shown;

/// Sequences as they are read.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// Steps of each.
    pub(super) lengths: Vec<u32>,
    /// The byte at which each line begins.
    places: Vec<u64>,
    /// What the column says of each.
    pub(super) names: Vec<String>,
    seen: HashSet<String>,
}

/// A target that a line leaves out.
pub(super) const LEFT_OUT: u32 = u32::MAX;

impl Groups {
    /// Adds a line.
    ///
    /// # Errors
    /// What is wrong with the cell, without the line.
    pub(super) fn add(&mut self, cell: &str, place: u64) -> Result<(), String> {
        if cell.is_empty() {
            return Err("is empty; say which sequence the line is a step of".into());
        }
        self.places.push(place);
        match self.lengths.last_mut() {
            Some(length) if self.names.last().is_some_and(|last| last == cell) => *length += 1,
            _ if self.seen.insert(cell.into()) => {
                self.lengths.push(1);
                self.names.push(cell.into());
            }
            _ => {
                return Err(format!(
                    "is `{}` again, behind lines of another sequence; put the lines of a sequence together, in their order",
                    shown(cell)
                ));
            }
        }
        Ok(())
    }

    /// The lines of each sequence.
    fn lines(&self) -> impl Iterator<Item = std::ops::Range<usize>> + use<'_> {
        self.lengths.iter().scan(0, |start, &length| {
            let first = *start;
            *start += length as usize;
            Some(first..*start)
        })
    }

    /// One label for each sequence, of one for each line, which may be left out on all lines but the last.
    ///
    /// # Errors
    /// The byte of a line and what is wrong in it.
    pub(super) fn labels(&self, column: &mut TextColumn) -> Result<(), (u64, String)> {
        let of_lines = std::mem::take(&mut column.rows);
        for lines in self.lines() {
            let end = lines.end - 1;
            let label = of_lines[end];
            if label == LEFT_OUT {
                return Err((
                    self.places[end],
                    "is empty on the last line of its sequence; give the sequence a label there".into(),
                ));
            }
            if let Some(line) = lines.into_iter().find(|&line| of_lines[line] != label && of_lines[line] != LEFT_OUT) {
                let [own, last] = [of_lines[line], label].map(|id| shown(column.text(id)));
                return Err((self.places[line], format!("is `{own}`, but on the last line of its sequence `{last}`; {ALIKE}")));
            }
            column.rows.push(label);
        }
        Ok(())
    }

    /// The same of `columns` numbers a line, NaN where one is left out. An error names the column, too.
    ///
    /// # Errors
    /// As [`Groups::labels`].
    pub(super) fn numbers(&self, columns: usize, numbers: &mut Vec<f32>) -> Result<(), (u64, usize, String)> {
        let of_lines = std::mem::take(numbers);
        for lines in self.lines() {
            let end = lines.end - 1;
            for column in 0..columns {
                let at = |line: usize| of_lines[line * columns + column];
                let last = at(end);
                if last.is_nan() {
                    let problem = "is empty on the last line of its sequence; give the sequence a number there";
                    return Err((self.places[end], column, problem.into()));
                }
                if let Some(line) = lines.clone().find(|&line| !at(line).is_nan() && at(line) != last) {
                    let problem = format!("is {}, but on the last line of its sequence {last}; {ALIKE}", at(line));
                    return Err((self.places[line], column, problem));
                }
                numbers.push(last);
            }
        }
        Ok(())
    }
}

const ALIKE: &str = "make them alike, or leave it out on all lines but the last";
