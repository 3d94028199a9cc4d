//! Loops that are unrolled before WGSL sees them, for kernels that need every index to be a constant.
//!
//! ```text
//! //# for i in 0..LANES
//! let a{i} = subgroupShuffle(a, {i}u);
//! //# end
//! ```
//! becomes one line for each i. A bound is a number, a constant of the module, or a product of such.

/// Appends `source` to `out` with its loops unrolled.
///
/// # Panics
/// On a bound that is no constant, and on a loop without end: the shaders are ours, and the tests unroll all of them.
pub(super) fn unroll(source: &str, constants: &[(&'static str, u32)], out: &mut String) {
    let lines: Vec<&str> = source.lines().collect();
    block(&lines, &mut Vec::new(), constants, out);
}

fn block(lines: &[&str], indices: &mut Vec<(String, u32)>, constants: &[(&'static str, u32)], out: &mut String) {
    let mut at = 0;
    while at < lines.len() {
        let Some(head) = lines[at].trim().strip_prefix("//# for ") else {
            let line = |text: String, (name, value): &(String, u32)| text.replace(&format!("{{{name}}}"), &value.to_string());
            *out += &indices.iter().fold(lines[at].to_owned(), line);
            out.push('\n');
            at += 1;
            continue;
        };
        let (name, bound) = head.split_once(" in 0..").unwrap_or_else(|| panic!("no loop: {head}"));
        let end = at + end_of(&lines[at..]);
        for i in 0..value(bound, constants) {
            indices.push((name.to_owned(), i));
            block(&lines[at + 1..end], indices, constants, out);
            indices.pop();
        }
        at = end + 1;
    }
}

/// The line that ends the loop that begins with the first line.
fn end_of(lines: &[&str]) -> usize {
    let mut depth = 0;
    for (i, line) in lines.iter().map(|line| line.trim()).enumerate() {
        depth += i32::from(line.starts_with("//# for ")) - i32::from(line == "//# end");
        if depth == 0 {
            return i;
        }
    }
    panic!("a loop without end: {}", lines[0])
}

fn value(product: &str, constants: &[(&'static str, u32)]) -> u32 {
    let factor = |text: &str| {
        let named = constants.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        named.or_else(|| text.parse().ok()).unwrap_or_else(|| panic!("{text} is no constant of this module"))
    };
    product.split('*').map(|text| factor(text.trim())).product()
}

#[cfg(test)]
mod tests {
    use super::unroll;

    fn unrolled(source: &str) -> String {
        let mut out = String::new();
        unroll(source, &[("N", 2), ("M", 3)], &mut out);
        out
    }

    #[test]
    fn loops_nest_and_their_bounds_are_products() {
        assert_eq!(
            unrolled("a\n//# for i in 0..N\n  x{i}\n  //# for j in 0..2\n  y{i}{j}\n  //# end\n//# end\nb {i}"),
            "a\n  x0\n  y00\n  y01\n  x1\n  y10\n  y11\nb {i}\n"
        );
        assert_eq!(unrolled("//# for i in 0..N * M\n{i}\n//# end").lines().count(), 6);
        assert_eq!(unrolled("fn f() {}\n"), "fn f() {}\n");
    }

    #[test]
    #[should_panic(expected = "K is no constant")]
    fn an_unknown_bound_is_found() {
        unrolled("//# for i in 0..K\n//# end");
    }

    #[test]
    #[should_panic(expected = "without end")]
    fn a_loop_without_end_is_found() {
        unrolled("//# for i in 0..N\nx");
    }
}
