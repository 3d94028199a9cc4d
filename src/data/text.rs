//! Characters as numbers: lines of text, every prefix of which asks for the next character.

use std::collections::BTreeSet;

use super::{Dataset, Inputs};
use crate::{Error, Result};

/// The characters of lines of text, numbered: the vocabulary of a model that writes such lines.
///
/// ```text
/// 0 .. n          the n characters that occur, in the order of their code points
/// n = Text::end   the end mark, behind the last character of every line
/// ```
///
/// ```
/// use thinnet::data::Text;
/// let lines = ["anna", "nina"];
/// let text = Text::of(lines)?;
/// assert_eq!((text.characters(), text.end(), text.size()), (&['a', 'i', 'n'][..], 3, 4));
/// let data = text.next_characters(lines, 3)?;
/// // "a" asks for 'n', "an" for the second one, "ann" for 'a', and "nna", the last three of "anna", for the end.
/// assert_eq!(data.rows(), 8);
/// assert_eq!((data.inputs().row_f32(0), data.labels()[0]), (vec![0.0, 0.0, 0.0], 2));
/// assert_eq!((data.inputs().row_f32(3), data.labels()[3]), (vec![2.0, 2.0, 0.0], 3));
/// assert_eq!(data.inputs().lengths().unwrap().of_rows, [1, 2, 3, 3, 1, 2, 3, 3]);
/// assert_eq!(text.line(&[2, 1, 2, 0, 3, 0]), "nina");
/// # Ok::<(), thinnet::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(Vec<char>);

/// An f32 tells so many words apart, and an embedding takes no more; with the end mark.
const MAX_SIZE: usize = 1 << 24;

impl Text {
    /// The vocabulary of some lines.
    ///
    /// # Errors
    /// [`Error::Data`] if no line has a character.
    pub fn of<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let characters: BTreeSet<char> = lines.into_iter().flat_map(str::chars).collect();
        // Never too many: there are 1,112,064 characters.
        debug_assert!(characters.len() < MAX_SIZE);
        match characters.is_empty() {
            true => Err(Error::Data("no line has a character; give at least one line of text".into())),
            false => Ok(Self(characters.into_iter().collect())),
        }
    }

    /// The characters; each has its place as its number.
    pub fn characters(&self) -> &[char] {
        &self.0
    }

    /// The number of the end mark.
    pub fn end(&self) -> u32 {
        self.0.len() as u32
    }

    /// How many numbers there are, the end mark among them: the outputs of a model, and the vocabulary of its embedding.
    pub fn size(&self) -> u32 {
        self.end() + 1
    }

    /// The number of a character, if it is in the vocabulary.
    pub fn number(&self, character: char) -> Option<u32> {
        self.0.binary_search(&character).ok().map(|place| place as u32)
    }

    /// The numbers of a line's characters, without an end mark.
    ///
    /// # Errors
    /// [`Error::Data`] naming a character that is not in the vocabulary.
    pub fn numbers(&self, line: &str) -> Result<Vec<u32>> {
        let number = |(place, character): (usize, char)| {
            self.number(character).ok_or_else(|| {
                let remedy = "remove it, or make the vocabulary of a text that has it";
                Error::Data(format!("character {} is {character:?}, which is not in the vocabulary; {remedy}", place + 1))
            })
        };
        line.chars().enumerate().map(number).collect()
    }

    /// The text of some numbers, up to the first end mark; numbers beyond the vocabulary are left out.
    pub fn line(&self, numbers: &[u32]) -> String {
        let before_end = numbers.iter().take_while(|&&number| number != self.end());
        before_end.filter_map(|&number| self.0.get(number as usize)).collect()
    }

    /// Every prefix of every line that has at least one character, as a row of at most `steps` words: its last characters, zeros behind
    /// them, its length. The class is the character behind the prefix, or the end mark. Rows stand line by line, shorter prefixes
    /// first, and are numbered in this order; lines without a character have none.
    ///
    /// # Errors
    /// [`Error::Data`] naming the line, from 1, of a character that is not in the vocabulary; for `steps` = 0; if no line has a
    /// character; for 2^32 elements or more.
    pub fn next_characters<'a>(&self, lines: impl IntoIterator<Item = &'a str>, steps: u32) -> Result<Dataset> {
        if steps == 0 {
            return Err(Error::Data("steps = 0: a row needs room for at least one character".into()));
        }
        let (mut values, mut lengths, mut labels) = (Vec::new(), Vec::new(), Vec::new());
        for (line, text) in lines.into_iter().enumerate() {
            let numbers = self.numbers(text).map_err(|error| match error {
                Error::Data(problem) => Error::Data(format!("line {}, {problem}", line + 1)),
                other => other,
            })?;
            for end in 1..=numbers.len() {
                let prefix = &numbers[end.saturating_sub(steps as usize)..end];
                // Exact: a number is below 2^24.
                values.extend(prefix.iter().map(|&number| number as f32));
                lengths.push(prefix.len() as u32);
                labels.push(numbers.get(end).copied().unwrap_or(self.end()));
            }
        }
        if lengths.is_empty() {
            return Err(Error::Data("no line has a character; give at least one line of text".into()));
        }
        Dataset::new(Inputs::from_sequences(1, values, lengths)?.with_steps(steps)?, labels, self.size())
    }
}
