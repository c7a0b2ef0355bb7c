//! The one form of a path that routing, policy and the backend all see.
//!
//! RFC 3986 section 6.2.2, as far as Istio's default normalization goes: dot
//! segments, escapes of unreserved characters and backslashes are resolved,
//! double slashes and escaped ones stay, and the query is never touched.

use std::borrow::Cow;

/// An ambiguous path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the path does not begin with a slash, contains an escaped zero byte, or an escape within an \
     escape"
)]
pub struct BadPath;

/// The normal form of a request target's path and query, without fragment; it begins
/// with a slash, also where the path is empty (RFC 3986, section 6.2.3). Nothing is
/// allocated for a path that is in normal form already.
pub fn normalise(target: &str) -> Result<Cow<'_, str>, BadPath> {
    let whole = target.split('#').next().unwrap_or_default();
    let (path, query) = match whole.find('?') {
        Some(at) => whole.split_at(at),
        None => (whole, ""),
    };
    match path.as_bytes().first() {
        None => return Ok(Cow::Owned(format!("/{query}"))),
        Some(b'/' | b'\\') => {}
        Some(_) => return Err(BadPath),
    }
    if !needs_work(path) {
        return Ok(Cow::Borrowed(whole));
    }
    let mut normal = without_dots(&unescape(path)?);
    normal.push_str(query);
    Ok(Cow::Owned(normal))
}

/// Whether a path and query leads a server out of where it seems to be.
pub fn climbs(target: &str) -> bool {
    let path = without_query(target);
    if !path.bytes().any(|byte| matches!(byte, b'.' | b'%' | b'\\')) {
        return false;
    }
    let is_dots = |segment: &str| {
        matches!(segment, "." | "..") || segment.starts_with(".;") || segment.starts_with("..;")
    };
    // What cannot be read may mean anything to the server.
    unescape(path).map_or(true, |plain| plain.split('/').any(is_dots))
}

/// The path of a path and query.
pub fn without_query(path_and_query: &str) -> &str {
    path_and_query.split('?').next().unwrap_or_default()
}

fn needs_work(path: &str) -> bool {
    path.contains("/.")
        || path.bytes().any(|byte| matches!(byte, b'%' | b'\\') || is_escaped_always(byte))
}

/// Characters that are written as escapes in the normal form.
fn is_escaped_always(byte: u8) -> bool {
    matches!(byte, b'|' | b'^' | b'`' | b'{' | b'}' | b'"' | b'<' | b'>')
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn unescape(path: &str) -> Result<String, BadPath> {
    let mut plain = String::with_capacity(path.len() + 8);
    // Where a `%` stands that begins no escape.
    let mut alone = Vec::new();
    let mut rest = path;
    while let Some(next) = rest.chars().next() {
        let byte = escaped(rest);
        match (next, byte) {
            ('%', Some(0)) => return Err(BadPath),
            ('%', Some(byte)) if is_unreserved(byte) => {
                plain.push(char::from(byte));
                rest = &rest[3..];
                continue;
            }
            ('\\', _) => plain.push('/'),
            (next, _) if next.is_ascii() && is_escaped_always(next as u8) => {
                plain.push_str(&format!("%{:02X}", next as u32));
            }
            (next, _) => {
                if next == '%' && byte.is_none() {
                    alone.push(plain.len());
                }
                plain.push(next);
            }
        }
        rest = &rest[next.len_utf8()..];
    }
    // A decoded `%` that now begins an escape would mean something else to the next reader.
    match alone.iter().any(|at| escaped(&plain[*at..]).is_some()) {
        true => Err(BadPath),
        false => Ok(plain),
    }
}

/// The byte that `text` begins with, if it begins with an escape.
fn escaped(text: &str) -> Option<u8> {
    let digits = text.strip_prefix('%')?.get(..2)?;
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(())?;
    u8::from_str_radix(digits, 16).ok()
}

fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        let up = segment == ".." || segment.starts_with("..;");
        if up {
            kept.pop();
        }
        // Servers cut off what follows a semicolon before they resolve the segment.
        match up || segment == "." || segment.starts_with(".;") {
            true if last => kept.push(""),
            true => {}
            false => kept.push(segment),
        }
    }
    let mut normal = String::with_capacity(path.len());
    for segment in kept {
        normal.push('/');
        normal.push_str(segment);
    }
    if normal.is_empty() { "/".to_owned() } else { normal }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of `target -> normal form`, or `!` where it is refused.
    #[track_caller]
    fn check(cases: &str) {
        for case in cases.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (target, expected) = case.split_once(" -> ").expect("a case has an arrow");
            let got = normalise(target).map_or("!".to_owned(), Cow::into_owned);
            assert_eq!(got, expected, "{target}");
        }
    }

    #[test]
    fn dot_segments_are_resolved_and_double_slashes_stay() {
        check(
            "/ -> /
             // -> //
             ///a///b -> ///a///b
             /a/./b -> /a/b
             /a/../b -> /b
             /../a -> /a
             /a/.. -> /
             /a/. -> /a/
             /a/.../b -> /a/.../b
             /a/..;/b -> /b
             /.;/x -> /x
             /a/.;v=1/b -> /a/b
             /a/.; -> /a/
             /a;x=1/b -> /a;x=1/b
             /a//../b -> /a/b
             /a\\..\\b -> /b",
        );
    }

    #[test]
    fn only_escapes_of_unreserved_characters_are_resolved() {
        check(
            "/%61?q=%61 -> /a?q=%61
             /a/%2e%2E/b -> /b
             /a%2fb -> /a%2fb
             /a/%2F../b -> /a/%2F../b
             /a%252fb -> /a%252fb
             /a%7Eb -> /a~b
             /a%zz -> /a%zz
             /a%2 -> /a%2
             /a% -> /a%
             /a%é -> /a%é
             /a%00b -> !",
        );
    }

    #[test]
    fn an_escape_that_only_appears_by_resolving_another_is_refused() {
        check(
            "/a/%2%65%2%65/b -> !
             /%%32%65 -> !
             /%%32e -> !
             /%2%66 -> !
             /%%25 -> /%%25
             /%25%32e -> /%252e",
        );
    }

    #[test]
    fn some_characters_are_always_escaped() {
        check("/a|b -> /a%7Cb\n/a^b`c -> /a%5Eb%60c\n/a{b} -> /a%7Bb%7D\n/a\"<> -> /a%22%3C%3E");
    }

    #[test]
    fn a_path_that_climbs_is_seen_in_every_spelling() {
        for target in ["/a/..", "/a/./b", "/%2e%2e/%00", "/%2e%2E/b", "/a\\..\\b", "/..;x/b?q"] {
            assert!(climbs(target), "{target}");
        }
        for target in ["/a..b/.c", "/...", "/a?x=/../b", "/a%2fb", "/100%"] {
            assert!(!climbs(target), "{target}");
        }
    }

    #[test]
    fn a_path_begins_with_a_slash() {
        check("?x=1 -> /?x=1\n?a/../b -> /?a/../b\n\\a -> /a\na -> !\n* -> !\n.. -> !");
        assert_eq!(normalise("").as_deref(), Ok("/"));
        assert_eq!(normalise("#x").as_deref(), Ok("/"));
    }

    #[test]
    fn the_fragment_goes_and_the_query_stays() {
        check("/a#f -> /a\n/a?x#f -> /a?x\n/a?x=/b/../c -> /a?x=/b/../c");
    }
}
