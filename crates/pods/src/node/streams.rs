//! The streams of a command that runs beside a container's own: pipes, or a
//! terminal.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    process::Stdio,
};

use bytes::Bytes;
use nix::{
    pty::{Winsize as Size, openpty},
    sys::signal::Signal,
    unistd::Pid,
};
use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    termios::{Winsize, tcsetwinsize},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::unix::pipe,
    sync::mpsc,
};
use weft_apiserver::{ExecIo, TerminalSize};

use crate::{
    begin::Task,
    launch::{self, Streams, beside},
    reaper::{Process, signal_group},
    runtime::Runtime,
};

/// Runs a task with pipes; resolves to its exit code.
pub(super) async fn piped(runtime: &Runtime, pid: Pid, task: Task, io: ExecIo) -> io::Result<i32> {
    let (streams, ends) = streams(&io)?;
    let process = beside(&runtime.reaper, pid, task, streams).await?;
    Ok(attend(process, ends, io).await)
}

/// Runs a task at a terminal, whose size follows the caller's.
pub(super) async fn at_terminal(
    runtime: &Runtime,
    pid: Pid,
    task: Task,
    mut io: ExecIo,
) -> io::Result<i32> {
    let size = Size { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let pair = openpty(Some(&size), None)?;
    let sizes = pair.master.try_clone()?;
    let (_, no_sizes) = mpsc::channel::<TerminalSize>(1);
    let mut resize = std::mem::replace(&mut io.resize, no_sizes);
    let input = pair.master.try_clone()?;
    unblock(&pair.master)?;
    let process = launch::at_terminal(runtime, pid, task, pair.slave).await?;
    let resizing = tokio::spawn(async move {
        while let Some(size) = resize.recv().await {
            let size =
                Winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 };
            // A terminal that is gone has no size.
            let _ = tcsetwinsize(sizes.as_fd(), size);
        }
    });
    let ends = Ends { stdin: Some(input), stdout: pair.master, stderr: None };
    let code = attend(process, ends, io).await;
    resizing.abort();
    Ok(code)
}

/// This side's ends of a process's streams.
struct Ends {
    stdin: Option<OwnedFd>,
    stdout: OwnedFd,
    stderr: Option<OwnedFd>,
}

fn streams(io: &ExecIo) -> io::Result<(Streams, Ends)> {
    let (stdout, out) = io::pipe()?;
    let (stdin, to_stdin) = match io.stdin.is_some() {
        true => {
            let (reader, writer) = io::pipe()?;
            (Stdio::from(reader), Some(writer.into()))
        }
        false => (Stdio::null(), None),
    };
    let (stderr, error) = match io.stderr.is_some() {
        true => {
            let (reader, writer) = io::pipe()?;
            (Some(reader.into()), Stdio::from(writer))
        }
        false => (None, Stdio::from(out.try_clone()?)),
    };
    let ends = Ends { stdin: to_stdin, stdout: stdout.into(), stderr };
    for end in [ends.stdin.as_ref(), Some(&ends.stdout), ends.stderr.as_ref()].into_iter().flatten()
    {
        unblock(end)?;
    }
    Ok((Streams { stdin, stdout: out.into(), stderr: error }, ends))
}

/// Nothing here may block.
fn unblock(end: &impl AsFd) -> io::Result<()> {
    Ok(fcntl_setfl(end, fcntl_getfl(end)? | OFlags::NONBLOCK)?)
}

/// Carries the streams until the process has ended and all that it wrote is
/// passed on. Ends it when its reader is gone.
async fn attend(process: Process, ends: Ends, io: ExecIo) -> i32 {
    let pid = process.pid;
    let listener = io.stdout.clone();
    let feeding = tokio::spawn(feed(ends.stdin, io.stdin));
    let reading = async {
        tokio::join!(pass(Some(ends.stdout), Some(io.stdout)), pass(ends.stderr, io.stderr),)
    };
    let mut ended = process.ended;
    let code = tokio::select! {
        (ending, _) = async { tokio::join!(&mut ended, reading) } => {
            ending.map_or(255, |ending| ending.code)
        }
        () = listener.closed() => {
            signal_group(pid, Signal::SIGKILL);
            137
        }
    };
    feeding.abort();
    code
}

async fn feed(stdin: Option<OwnedFd>, source: Option<mpsc::Receiver<Bytes>>) {
    let (Some(stdin), Some(mut source)) = (stdin, source) else { return };
    let Ok(mut stdin) = pipe::Sender::from_owned_fd_unchecked(stdin) else { return };
    while let Some(chunk) = source.recv().await {
        if stdin.write_all(&chunk).await.is_err() {
            return;
        }
    }
}

async fn pass(from: Option<OwnedFd>, to: Option<mpsc::Sender<Bytes>>) {
    let (Some(from), Some(to)) = (from, to) else { return };
    let Ok(mut from) = pipe::Receiver::from_owned_fd_unchecked(from) else { return };
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length) = from.read(&mut buffer).await {
        if length == 0 || to.send(Bytes::copy_from_slice(&buffer[..length])).await.is_err() {
            return;
        }
    }
}
