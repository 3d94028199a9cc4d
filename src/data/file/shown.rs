//! What a file says of itself, such as names of columns and classes, as far as people are shown it.

use std::fmt::Write;

/// The most characters of one name or cell.
const MOST: usize = 60;

/// The beginning of a text, at most 60 characters and `...`, with control characters escaped.
///
/// ```
/// use thinnet::data::file::shown;
/// assert_eq!(shown("petal width"), "petal width");
/// assert_eq!(shown("\u{1b}[31mred"), "\\u{1b}[31mred");
/// assert_eq!(shown(&"x".repeat(1000)), "x".repeat(60) + "...");
/// ```
pub fn shown(text: &str) -> String {
    match text.char_indices().nth(MOST) {
        Some((end, _)) => escaped(&text[..end]) + "...",
        None => escaped(text),
    }
}

/// The same text without characters that would do something to a terminal instead of being seen on it: controls, and those that turn
/// the direction of writing.
pub(super) fn escaped(text: &str) -> String {
    let turns =
        |c| matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2028}' | '\u{2029}' | '\u{2066}'..='\u{2069}');
    text.chars().fold(String::with_capacity(text.len()), |mut safe, c| {
        match c.is_control() || turns(c) {
            // Writing to a String does not fail.
            true => write!(safe, "{}", c.escape_default()).unwrap_or_default(),
            false => safe.push(c),
        }
        safe
    })
}

/// Names for a message, which stays readable with thousands of them.
pub(super) fn listed(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().take(20).map(|name| format!("`{}`", shown(name))).collect();
    let rest = if names.len() > quoted.len() { format!(" and {} more", names.len() - quoted.len()) } else { String::new() };
    quoted.join(", ") + &rest
}
