//! What commands write for people: names, messages and lines that others wrote, with
//! nothing in them that a terminal obeys. `logs` and `exec` pass on bytes as they are.

use std::io::{ErrorKind, IsTerminal, Write};

use anyhow::{Context, Result};
use weft_api::{visible, visible_in_line};

/// Writes text to standard output; a reader that has left is not a failure.
pub fn print(text: &str) -> Result<()> {
    write(&mut std::io::stdout().lock(), visible(text).as_bytes())
}

/// Writes text that programs read to standard output, as it is unless that is a terminal.
pub fn print_data(text: &str) -> Result<()> {
    match std::io::stdout().is_terminal() {
        true => print(text),
        false => write(&mut std::io::stdout().lock(), text.as_bytes()),
    }
}

/// Writes a line, or several, to standard error.
pub fn note(text: impl std::fmt::Display) {
    let text = text.to_string();
    // A reader that has left wants no notes.
    let _ = writeln!(std::io::stderr().lock(), "{}", visible(&text));
}

/// One line, to be written over by the next.
pub fn one_line(text: &str) -> std::borrow::Cow<'_, str> {
    visible_in_line(text)
}

fn write(out: &mut impl Write, bytes: &[u8]) -> Result<()> {
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other.context("writing to standard output"),
    }
}
