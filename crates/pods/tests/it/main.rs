//! Real namespaces, real processes: a supervisor that runs pods, and what a
//! terminal's process sees of it.
//!
//! This binary plays all parts: the terminal (the tests), the supervisor
//! (`supervise`), and the programs that run in pods (`serve`, `ask`, `look-up`).
//! So it has a `main` of its own.
#![allow(clippy::unwrap_used, reason = "a test binary without the harness is not seen as a test")]

mod programs;
mod scenes;
mod supervise;
mod terminal;

use std::{env, ffi::OsString, process::ExitCode};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let words: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
    match words.as_slice() {
        ["supervise", ..] => supervise::main(&arguments),
        ["may-enter"] => supervise::may_enter(&arguments),
        ["serve", port, name] => programs::serve(port, name),
        ["serve-lent", port, name] => programs::serve_lent(port, name),
        ["ask", address] => programs::ask(address),
        ["look-up", name] => programs::look_up(name),
        ["capture", flags @ ..] => programs::capture(flags),
        ["graceful", seconds] => programs::graceful(seconds),
        ["hold", marker] => terminal::hold(marker),
        ["as-user", ..] => terminal::main(terminal::Who::User),
        _ => terminal::main(terminal::Who::Caller),
    }
}
