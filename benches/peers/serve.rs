//! How `run.py` talks to the programs that it compares: all of them are this, around works of their own.
//!
//! Called with `WORK SECONDS` a program measures one work and prints one JSON line. Without arguments it prints who it is, then
//! answers each line `WORK SECONDS` of standard input with one.

use std::collections::HashMap;
use std::io::BufRead;

use super::Result;
use super::measure::Timed;

/// Blocks whose median is an answer.
pub(crate) const BLOCKS: u32 = 5;

/// Who answers.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) version: String,
    /// What it runs on.
    pub(crate) adapter: String,
}

/// Prints the answers to `arguments`, or, without any, to standard input. `make` prepares a work by its name.
pub(crate) fn serve(program: &Program, arguments: &[String], make: impl Fn(&str) -> Result<Timed<'static>>) {
    let mut works = HashMap::new();
    if !arguments.is_empty() {
        return println!("{}", answer(&arguments.join(" "), &mut works, &make));
    }
    // A string's debug form is JSON, as long as all of it can be printed.
    let Program { name, version, adapter } = program;
    println!("{{\"program\": {name:?}, \"version\": {version:?}, \"adapter\": {adapter:?}}}");
    for line in std::io::stdin().lock().lines().map_while(std::result::Result::ok) {
        println!("{}", answer(&line, &mut works, &make));
    }
}

/// Works that were asked for already are kept, with everything compiled.
fn answer(request: &str, works: &mut HashMap<String, Timed<'static>>, make: &impl Fn(&str) -> Result<Timed<'static>>) -> String {
    let mut measured = || {
        let (work, seconds) = request.trim().split_once(' ').unwrap_or((request, ""));
        let Ok(seconds) = seconds.parse() else { return Ok(Err(format!("{request:?} is not WORK SECONDS, such as mlp 0.5"))) };
        let timed = match works.entry(work.to_owned()) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => entry.insert(make(work)?),
        };
        timed.seconds(seconds, BLOCKS).map(Ok)
    };
    match measured() {
        Ok(Ok(seconds)) => format!("{{\"seconds\": {seconds:e}}}"),
        Ok(Err(message)) => format!("{{\"error\": {message:?}}}"),
        Err(error) => format!("{{\"error\": {:?}}}", error.to_string()),
    }
}

/// The extents of `matmul-MxKxN`.
pub(crate) fn matmul(work: &str) -> Option<[usize; 3]> {
    let extents: Option<Vec<usize>> = work.strip_prefix("matmul-")?.split('x').map(|extent| extent.parse().ok()).collect();
    extents?.try_into().ok()
}

/// What is asked for, but not known: `mlp`, `digits`, each also with `-dropout`, `matmul-MxKxN`, `dropout`, `copy` and `draws`
/// should be.
pub(crate) fn unknown(work: &str) -> String {
    format!(
        "there is no work {work:?}; there is mlp, mlp-dropout, digits, digits-dropout, matmul-512x512x512 ..., dropout, copy, draws"
    )
}
