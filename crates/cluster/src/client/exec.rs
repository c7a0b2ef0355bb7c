//! Running a command in a container.

use futures::{SinkExt, channel::mpsc};
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Status};
use kube::{
    Api,
    api::{AttachParams, TerminalSize},
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy};

use super::{ClientError, Cluster, Container, encode, kube_error};

/// What runs, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// The program and its arguments.
    pub words: Vec<String>,
    /// Whether it gets a terminal.
    pub terminal: bool,
}

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// The caller's ends of the command's streams.
pub struct Streams<'a> {
    /// What the command reads; none when it reads nothing.
    pub stdin: Option<Box<dyn AsyncRead + Unpin + Send>>,
    /// Where its output goes.
    pub stdout: &'a mut (dyn AsyncWrite + Unpin + Send),
    /// Where its errors go.
    pub stderr: &'a mut (dyn AsyncWrite + Unpin + Send),
    /// Sizes of the caller's terminal.
    pub sizes: mpsc::Receiver<Size>,
}

/// The API has commands in the URL, which may have 64 KB with everything around them.
const LONGEST_COMMAND: usize = 63 * 1024;

impl Cluster {
    /// Runs a command beside a container's own; its exit code.
    pub async fn exec(
        &self,
        container: &Container,
        command: &Command,
        streams: Streams<'_>,
    ) -> Result<u8, ClientError> {
        let lengths = command.words.iter().map(|word| "&command=".len() + encode(word).len());
        if lengths.sum::<usize>() > LONGEST_COMMAND {
            let text = "the command is too long for the API; pass it on standard input, as in \
                        `weft exec -i POD -- sh < FILE`";
            return Err(ClientError::Usage(text.to_owned()));
        }
        let api: Api<Pod> = Api::namespaced(self.kube().clone(), &container.namespace);
        let parameters = AttachParams::default()
            .container(&container.name)
            .stdin(streams.stdin.is_some())
            .stdout(true)
            .stderr(!command.terminal)
            .tty(command.terminal);
        let mut process =
            api.exec(&container.pod, &command.words, &parameters).await.map_err(kube_error)?;
        let status = process.take_status();
        let writer = process.stdin();
        let (reader, errors) = (process.stdout(), process.stderr());
        let sizes = process.terminal_size();
        let Streams { stdin, stdout, stderr, sizes: changes } = streams;
        let reading = tokio::spawn(async move {
            if let (Some(mut stdin), Some(mut writer)) = (stdin, writer) {
                // A command that stops reading is not a failure of the caller.
                let _ = copy(&mut stdin, &mut writer).await;
                let _ = writer.shutdown().await;
            }
        });
        let resizing = tokio::spawn(resize(changes, sizes));
        let pumped = futures::try_join!(pump(reader, stdout), pump(errors, stderr));
        reading.abort();
        resizing.abort();
        pumped.map_err(|source| ClientError::Stream { what: "writing output", source })?;
        let status = match status {
            Some(status) => status.await,
            None => None,
        };
        outcome(status)
    }
}

async fn pump(
    from: Option<impl AsyncRead + Unpin>,
    to: &mut (dyn AsyncWrite + Unpin + Send),
) -> std::io::Result<()> {
    if let Some(mut from) = from {
        copy(&mut from, to).await?;
    }
    to.flush().await
}

async fn resize(mut changes: mpsc::Receiver<Size>, to: Option<mpsc::Sender<TerminalSize>>) {
    use futures::StreamExt;

    let Some(mut to) = to else { return };
    while let Some(Size { width, height }) = changes.next().await {
        if to.send(TerminalSize { width, height }).await.is_err() {
            return;
        }
    }
}

/// The exit code in the status that ends a command.
fn outcome(status: Option<Status>) -> Result<u8, ClientError> {
    let Some(status) = status else {
        let why = "the connection ended before the command".to_owned();
        return Err(ClientError::Unreachable(why));
    };
    if status.status.as_deref() == Some("Success") {
        return Ok(0);
    }
    let causes = status.details.and_then(|details| details.causes).unwrap_or_default();
    let code = causes.iter().find(|cause| cause.reason.as_deref() == Some("ExitCode"));
    let code = code.and_then(|cause| cause.message.as_deref()?.parse::<i32>().ok());
    match code {
        Some(code) => Ok(u8::try_from(code).unwrap_or(u8::MAX)),
        None => Err(ClientError::Usage(status.message.unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: &str, expected: Result<u8, &str>) {
        let status: Status = serde_json::from_str(status).unwrap();
        let outcome = outcome(Some(status)).map_err(|error| error.to_string());
        assert_eq!(outcome, expected.map_err(str::to_owned));
    }

    #[test]
    fn the_status_that_ends_a_command_has_its_exit_code() {
        check(r#"{"status": "Success"}"#, Ok(0));
        let failed = r#"{"status": "Failure", "reason": "NonZeroExitCode", "message": "x",
            "details": {"causes": [{"reason": "ExitCode", "message": "56"}]}}"#;
        check(failed, Ok(56));
        check(r#"{"status": "Failure", "message": "no such program"}"#, Err("no such program"));
    }
}
