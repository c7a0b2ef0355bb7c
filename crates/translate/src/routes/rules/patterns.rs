//! Regular expressions in rules: whether one can be compiled, and what that costs.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    thread::LocalKey,
};

use weft_api::virtual_service::{HttpMatch, StringMatch};
use weft_config::{text_match, text_match::NotAPattern};

/// Bytes of patterns that are remembered.
const REMEMBERED: usize = 8 << 20;
/// What remembering one takes besides its text, in bytes, about.
const OVERHEAD: usize = 128;

/// The unit of [`cost`]: bytes of a pattern, or states that it is compiled to. A release build
/// takes up to 50 µs for so many.
const LENGTH: usize = 64;
/// What a pattern costs that grows to the most memory that one may take.
const LARGE: usize = 50;
/// What it costs besides where some letters are compared without their case.
const CASELESS: usize = 4;
/// What a class costs whose characters of Unicode are each looked up in other cases: a range may
/// have a million.
const FOLDED: usize = 400;

/// What compiling the patterns of `one` costs; a short pattern is 1.
pub(crate) fn cost(one: &HttpMatch) -> usize {
    let single = [&one.uri, &one.method, &one.scheme, &one.authority].into_iter().flatten();
    let maps = [&one.headers, &one.without_headers, &one.query_params];
    let all = single.chain(maps.into_iter().flat_map(|map| map.values()));
    let patterns = all.filter_map(|text: &StringMatch| text.regex.as_deref());
    patterns.map(cost_of).fold(0, usize::saturating_add)
}

/// What compiling `pattern` costs at most, about.
pub(crate) fn cost_of(pattern: &str) -> usize {
    let flags = flags(pattern);
    let of_unicode = [r"\p", r"\P", r"\x{", r"\u", r"\U"];
    let is_unicode = flags.unicode
        || !pattern.is_ascii()
        || of_unicode.iter().any(|mark| pattern.contains(mark));
    let growth = match is_unicode {
        true if pattern.contains(['[', '.', '\\', '{']) => LARGE,
        true => 0,
        false => (states(pattern, flags.spaced) / LENGTH).min(LARGE),
    };
    let folded = match (flags.caseless, is_unicode) {
        (false, _) => 0,
        (true, false) => CASELESS,
        (true, true) => CASELESS + FOLDED * classes(pattern),
    };
    1 + pattern.len() / LENGTH + growth + folded
}

/// Flags that some part of a pattern may have.
#[derive(Clone, Copy, Default)]
struct Flags {
    caseless: bool,
    unicode: bool,
    /// Blanks and comments mean nothing.
    spaced: bool,
}

/// The flags that groups of `pattern` set or take away; all of them where blanks may stand
/// between the characters that say so.
fn flags(pattern: &str) -> Flags {
    let mut found = Flags::default();
    for group in pattern.split("(?").skip(1) {
        let letters = group.chars().take_while(|one| one.is_ascii_alphabetic() || *one == '-');
        for letter in letters {
            found.caseless |= letter == 'i';
            found.unicode |= letter == 'u';
            found.spaced |= letter == 'x';
        }
    }
    match found.spaced {
        true => Flags { caseless: true, unicode: true, spaced: true },
        false => found,
    }
}

/// How many classes `pattern` has, and operations on these.
fn classes(pattern: &str) -> usize {
    let is_class = |pair: &&[u8]| matches!(*pair, b"&&" | b"--" | b"~~" | br"\p" | br"\P");
    pattern.matches('[').count() + pattern.as_bytes().windows(2).filter(is_class).count()
}

/// How many states `pattern` has at most when it is compiled without Unicode, about: repetitions
/// of groups multiply, those of single characters and classes add.
fn states(pattern: &str, spaced: bool) -> usize {
    let (mut sum, mut product) = (pattern.len(), 1_usize);
    for (at, _) in pattern.match_indices('{') {
        let count = pattern[at + 1..].split('}').next().unwrap_or_default();
        let counts = count.split(',').map(|text| match text.trim() {
            "" => Ok(0),
            text => text.parse(),
        });
        let most = counts.collect::<Result<Vec<usize>, _>>().map(|all| all.into_iter().max());
        let Ok(Some(most)) = most else { return usize::MAX };
        match pattern[..at].chars().next_back() {
            Some(')' | '}' | '?' | '*' | '+') => product = product.saturating_mul(most.max(1)),
            _ if spaced => product = product.saturating_mul(most.max(1)),
            _ => sum = sum.saturating_add(most),
        }
    }
    sum.saturating_mul(product)
}

/// How many patterns were compiled on this thread so far; wraps around.
pub(crate) fn compiled() -> usize {
    COMPILED.get()
}

/// What is known of patterns: compiling one may take milliseconds, and the same ones are read for
/// each host, gateway and diagnostic.
#[derive(Default)]
struct Known {
    /// Of each pattern how many groups it has, where that is asked for.
    verdicts: HashMap<String, Result<usize, NotAPattern>>,
    bytes: usize,
}

thread_local! {
    static COMPILED: Cell<usize> = const { Cell::new(0) };
    static KNOWN: RefCell<Known> = RefCell::default();
    /// The same of patterns for parts of texts.
    static KNOWN_PARTS: RefCell<Known> = RefCell::default();
}

/// Whether `pattern` can be compiled; that never changes.
pub(crate) fn validated(pattern: &str) -> Result<(), NotAPattern> {
    remembered(&KNOWN, pattern, |text| text_match::compile(text).map(|_| 0)).map(|_| ())
}

/// How many groups `pattern` has, which stands for parts of texts.
pub(crate) fn groups(pattern: &str) -> Result<usize, NotAPattern> {
    remembered(&KNOWN_PARTS, pattern, |text| {
        text_match::compile_part(text).map(|compiled| compiled.captures_len() - 1)
    })
}

fn remembered(
    known: &'static LocalKey<RefCell<Known>>,
    pattern: &str,
    compile: fn(&str) -> Result<usize, NotAPattern>,
) -> Result<usize, NotAPattern> {
    if let Some(known) = known.with_borrow(|known| known.verdicts.get(pattern).cloned()) {
        return known;
    }
    COMPILED.set(COMPILED.get().wrapping_add(1));
    let found = compile(pattern);
    // An error has the text once more.
    let bytes = OVERHEAD + pattern.len() * if found.is_ok() { 1 } else { 2 };
    known.with_borrow_mut(|known| {
        if known.bytes.saturating_add(bytes) > REMEMBERED {
            *known = Known::default();
        }
        known.bytes += bytes;
        known.verdicts.insert(pattern.to_owned(), found.clone());
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_pattern_is_not_found_out_again() {
        for pattern in ["a+".to_owned(), "b".repeat(2_000)] {
            let before = compiled();
            assert!(validated(&pattern).is_ok() && validated(&pattern).is_ok());
            assert_eq!(compiled() - before, 1);
        }
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        for at in 0..3 * REMEMBERED / (1 << 20) {
            assert!(validated(&format!("({at}{}", "x".repeat(1 << 19))).is_err());
            assert!(KNOWN.with_borrow(|known| known.bytes) <= REMEMBERED);
        }
    }

    #[test]
    fn patterns_cost_what_they_may_grow_to() {
        let uuid = "[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}";
        let folded = "(?iu)".to_owned() + &"[ -\u{10ffff}]".repeat(10);
        let letters = r"(?i)\pL".repeat(100);
        for (pattern, cheapest, dearest) in [
            ("/api/v1/[^/]+", 1, 1),
            ("/caf\u{e9}", 1, 1),
            ("(?:/a|/b)", 1, 1),
            ("(?i)/foo/bar", 5, 5),
            (uuid, 2, 8),
            (r"\PN{30}", 51, 51),
            ("a{6000}", 51, 100),
            ("(((a{10}){10}){10}){10}", 51, 51),
            ("a{10}{10}{10}{10}", 51, 51),
            ("(?:a{1000}){100}", 51, 51),
            ("(?x)a {100} {100}", 51, 10_000),
            (folded.as_str(), 4_000, 10_000),
            ("(?i)[ -\u{10ffff}]", 400, 1_000),
            ("(?x)( ?i)[ -\\x{10ffff}]", 400, 2_000),
            (letters.as_str(), 4_000, 50_000),
        ] {
            let cost = cost_of(pattern);
            assert!((cheapest..=dearest).contains(&cost), "{pattern}: {cost}");
        }
    }
}
