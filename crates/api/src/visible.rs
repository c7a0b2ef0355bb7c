//! Text that others wrote, as it may be shown on a terminal.

use std::{borrow::Cow, fmt::Write as _};

/// The text with its control characters spelled out, as in `\x1b`: they would move the
/// cursor, hide what stands there, or write to the clipboard. Ends of lines and tabs stay.
pub fn visible(text: &str) -> Cow<'_, str> {
    spelled(text, |letter| is_hidden(letter) && !matches!(letter, '\n' | '\t'))
}

/// Like [`visible`], for text that is part of one line.
pub fn visible_in_line(text: &str) -> Cow<'_, str> {
    spelled(text, is_hidden)
}

/// Control characters, and those that turn the direction of the text around them.
fn is_hidden(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn spelled(text: &str, is_hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_hidden) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match (is_hidden(letter), u32::from(letter)) {
            (false, _) => out.push(letter),
            (true, code @ ..=0xff) => drop(write!(out, "\\x{code:02x}")),
            (true, code) => drop(write!(out, "\\u{{{code:x}}}")),
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_spelled_out() {
        for (text, expected) in [
            ("plain, with\ttabs\nand é ✓", "plain, with\ttabs\nand é ✓"),
            ("\x1b]52;c;aGk=\x07", "\\x1b]52;c;aGk=\\x07"),
            ("a\rb\x08\x7f\0", "a\\x0db\\x08\\x7f\\x00"),
            ("\u{9b}31m", "\\x9b31m"),
            ("a\u{202e}b", "a\\u{202e}b"),
        ] {
            assert_eq!(visible(text), expected);
        }
        assert_eq!(visible_in_line("a\nb\tc"), "a\\x0ab\\x09c");
    }
}
