//! `weft exec`: a command beside a container's own.

use std::{io::IsTerminal, process::ExitCode};

use anyhow::{Context, Result};
use futures::channel::mpsc;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use weft_cluster::client::{Command, Size, Streams};

use super::{ChosenCluster, InPod, runtime, stream};
use crate::terminal::note;

/// Runs a command in a container and exits with its exit code.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    within: InPod,
    /// Pass standard input to the command
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Run the command in a terminal
    #[arg(short = 't', long)]
    tty: bool,
    /// The command, after `--`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Runs the command.
pub fn run(arguments: &Arguments, chosen: ChosenCluster<'_>) -> Result<ExitCode> {
    let runtime = runtime()?;
    let ended = runtime.block_on(exec(arguments, chosen));
    // A read of standard input cannot be given up, and must not keep the program here.
    runtime.shutdown_background();
    ended
}

async fn exec(arguments: &Arguments, chosen: ChosenCluster<'_>) -> Result<ExitCode> {
    let (cluster, container) = arguments.within.find(chosen).await?;
    let terminal = arguments.tty && std::io::stdin().is_terminal();
    if arguments.tty && !terminal {
        note("standard input is not a terminal; the command gets none");
    }
    let command = Command { words: arguments.command.clone(), terminal };
    let raw = terminal.then(Raw::enter).transpose()?;
    let (sender, sizes) = mpsc::channel(1);
    let resizing = tokio::spawn(async move {
        if terminal {
            follow_size(sender).await;
        }
    });
    let stdin = match arguments.stdin {
        true => Some(Box::new(stream(std::io::stdin())?) as Box<_>),
        false => None,
    };
    let streams = Streams {
        stdin,
        stdout: &mut stream(std::io::stdout())?,
        stderr: &mut stream(std::io::stderr())?,
        sizes,
    };
    let ended = cluster.exec(&container, &command, streams).await;
    resizing.abort();
    drop(raw);
    Ok(ExitCode::from(ended?))
}

/// Tells the terminal's size, now and whenever it changes.
async fn follow_size(mut sender: mpsc::Sender<Size>) {
    let Ok(mut changed) = signal(SignalKind::window_change()) else { return };
    loop {
        if let Ok(size) = tcgetwinsize(std::io::stdin()) {
            let size = Size { width: size.ws_col, height: size.ws_row };
            if sender.try_send(size).is_err_and(|error| error.is_disconnected()) {
                return;
            }
        }
        if changed.recv().await.is_none() {
            return;
        }
    }
}

/// A terminal that passes every key on, until it is dropped.
struct Raw {
    before: Termios,
}

impl Raw {
    fn enter() -> Result<Self> {
        let before = tcgetattr(std::io::stdin()).context("reading the terminal's mode")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw)
            .context("changing the terminal's mode")?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs no mode.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}
