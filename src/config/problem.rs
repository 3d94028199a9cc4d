//! From TOML to a [`Config`]: what is wrong with a file, where, and what was probably meant.

use toml::de::{DeTable, DeValue};

use super::Config;
use super::check::{self, Problem};

/// The configuration, or a message.
pub(super) fn parse(text: &str) -> Result<Config, String> {
    let invalid = |error: &toml::de::Error| {
        let at = error.span();
        let what = at.clone().and_then(|span| text.get(span)).filter(|what| !what.is_empty() && !what.contains('\n'));
        let what = what.map_or(String::new(), |what| format!(" at `{what}`"));
        at_line(at.map(|span| line(text, span.start)), &format!("{}{what}", error.message()))
    };
    let deserializer = toml::Deserializer::parse(text).map_err(|e| invalid(&e))?;
    let known = |problem: &Problem| at_line(find(text, &problem.path), &problem.to_string());
    let config: Config = serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let problem = explain(text, error.path(), error.inner().message());
        let span = error.inner().span().filter(|_| !problem.path.is_empty());
        let at = find(text, &problem.path).or_else(|| span.map(|span| line(text, span.start)));
        at_line(at, &problem.to_string())
    })?;
    check::config(&config).map_err(|problem| known(&problem))?;
    Ok(config)
}

fn at_line(line: Option<usize>, message: &str) -> String {
    line.map_or(message.to_owned(), |line| format!("line {line}: {message}"))
}

/// The line, from 1, that this byte is in.
fn line(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|&byte| byte == b'\n').count()
}

/// The line of a key, or of the innermost table around it that the text has.
fn find(text: &str, path: &str) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let (mut at, mut table, mut array) = (None, Some(document.get_ref()), None);
    for part in path.split(['.', '[']) {
        let value = match part.strip_suffix(']').and_then(|index| index.parse::<usize>().ok()) {
            Some(index) => array.and_then(|array: &toml::de::DeArray<'_>| array.get(index)).map(|value| (value.span(), value)),
            None => table.and_then(|table| {
                let (key, value) = table.iter().find(|(key, _)| key.get_ref() == part)?;
                Some((key.span(), value))
            }),
        };
        let Some((span, value)) = value else { break };
        at = Some(line(text, span.start));
        (table, array) = match value.get_ref() {
            DeValue::Table(table) => (Some(table), None),
            DeValue::Array(array) => (None, Some(array)),
            _ => break,
        };
    }
    at
}

/// serde's message in the words of a file.
fn explain(text: &str, path: &serde_path_to_error::Path, message: &str) -> Problem {
    let mut path = match path.to_string() {
        path if path == "." => String::new(),
        path => path.trim_end_matches(".?").to_owned(),
    };
    let message = message.trim();
    let inside = |path: &str, key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    let quoted = |what: &str| {
        let rest = message.strip_prefix(what)?.strip_prefix(" `")?;
        // The word is the user's and may hold anything; what is known does not.
        let (word, known) = rest.rsplit_once("`, ").or(rest.rsplit_once('`'))?;
        let (word, known) = rest.rsplit_once("`, expected ").unwrap_or((word, known));
        Some((word, known.split('`').skip(1).step_by(2).collect::<Vec<_>>()))
    };
    if let Some((key, _)) = quoted("missing field") {
        return Problem { path: inside(&path, key), value: None, problem: "is missing".into() };
    }
    // toml's own words for the keys of a variant, instead of serde's.
    let unexpected = || {
        let (keys, known) = message.strip_prefix("unexpected keys in table: ")?.split_once(", available keys: ")?;
        Some((keys.split(", ").next()?, known.split(", ").collect()))
    };
    if let Some((key, known)) = quoted("unknown field").or_else(unexpected) {
        if path != key && !path.ends_with(&format!(".{key}")) {
            path = inside(&path, key);
        }
        let problem = format!("unknown key; {}", instead(&path, key, &known));
        return Problem { path, value: None, problem };
    }
    if let Some((word, known)) = quoted("unknown variant") {
        let instead = instead(&path, word, &known);
        // `optimizer = { adm = ... }` is a key, `optimizer = "adm"` a word.
        let key = inside(&path, word);
        return match find(text, &format!("{key}.")).is_some() && has(text, &key) {
            true => Problem { path: key, value: None, problem: format!("unknown key; {instead}") },
            false => Problem { path, value: Some(format!("{word:?}")), problem: format!("unknown word; {instead}") },
        };
    }
    if message.starts_with("invalid type: unit variant")
        && let Some((outer, word)) = path.rsplit_once('.')
    {
        let problem = format!("needs a table, as in {{ {word} = {{ {} }} }}", numbers(word));
        return Problem { path: outer.to_owned(), value: Some(format!("{word:?}")), problem };
    }
    if message.starts_with("wanted exactly 1 element") {
        let problem = "expected a table with exactly one key, the kind, as in { adam = { lr = 0.001 } }".into();
        return Problem { path, value: None, problem };
    }
    // A key of another kind of layer, at its own line.
    if let Some((_, key)) = message.split_once(" layer has no ").filter(|(kind, _)| kind.starts_with("a ")) {
        path = inside(&path, key.split(';').next().unwrap_or(key));
    }
    let mut problem = message.to_owned();
    for (rust, words) in [
        ("invalid type: map", "invalid type: table"),
        ("expected u32", "expected an integer from 0 to 4294967295"),
        ("expected f64", "expected a number"),
        ("expected a boolean", "expected true or false"),
        ("expected a sequence", "expected an array"),
        ("expected path string", "expected a string"),
    ] {
        problem = problem.replace(rust, words);
    }
    if let Some((before, _)) = problem.split_once("expected struct ") {
        problem = format!("{before}expected a table");
    }
    Problem { path, value: None, problem }
}

/// Whether the text has a value at this path.
fn has(text: &str, path: &str) -> bool {
    let Ok(document) = toml::from_str::<toml::Value>(text) else { return false };
    let mut value = &document;
    for part in path.split(['.', '[']) {
        let next = match part.strip_suffix(']').and_then(|index| index.parse::<usize>().ok()) {
            Some(index) => value.get(index),
            None => value.get(part),
        };
        let Some(next) = next else { return false };
        value = next;
    }
    true
}

/// Numbers for a word that needs some.
fn numbers(word: &str) -> &'static str {
    match word {
        "sgd" => "lr = 0.1, momentum = 0.9",
        "adam" | "adamw" | "rmsprop" => "lr = 0.001",
        "step" => "every = 10, factor = 0.5",
        "exponential" => "factor = 0.95",
        "cosine" => "floor = 0.01",
        "inverse_time" => "decay = 0.1",
        _ => "..",
    }
}

/// What can be written instead of a word that is not known: the most alike, if one is, and all.
fn instead(path: &str, word: &str, known: &[&str]) -> String {
    if path.strip_prefix("train.") == Some(word)
        && ["lr", "momentum", "nesterov", "beta1", "beta2", "learning_rate"].contains(&word)
    {
        return "it is a key of the optimizer, as in optimizer = { sgd = { lr = 0.1, momentum = 0.9 } }".into();
    }
    let known_words = match known {
        [] => "there is none here".to_owned(),
        [one] => format!("expected {one}"),
        [most @ .., last] => format!("expected {} or {last}", most.join(", ")),
    };
    match nearest(word, known) {
        Some(near) => format!("did you mean {near:?}? ({known_words})"),
        None => known_words,
    }
}

/// The known word most like this one, if any is like it: it begins it, is one slip
/// away, is inside it, or has most of its letters in order.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    let likeness = |known: &str| {
        let contained = match word.len().min(known.len()) {
            ..3 => 0.0,
            _ if word.starts_with(known) || known.starts_with(&word) => 0.95,
            _ if strsim::osa_distance(&word, known) == 1 => 0.9,
            _ if word.contains(known) || known.contains(&word) => 0.85,
            _ => 0.0,
        };
        strsim::jaro_winkler(&word, known).max(contained)
    };
    let best = known.iter().map(|&known| (likeness(known), known)).max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|&(likeness, _)| likeness >= 0.8).map(|(_, known)| known)
}
