//! The terminal's side: the only part that acts in the host's namespaces.
//!
//! It starts the supervisor, binds host ports, makes the outgoing sockets of pods, and
//! passes on what the supervisor tells. It knows no pods.

mod ports;
mod requests;

use std::{
    ffi::OsString,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

pub use crate::channel::{Egress, HostPort};
use crate::{
    admit::raise_descriptors,
    channel::{self, Channel, ToHost, ToSupervisor},
};

pub use ports::wished;

/// How long a graceful end may take before the supervisor is killed.
const LONGEST_STOP: Duration = Duration::from_secs(45);
/// Events that wait for the reader; a supervisor that tells more waits.
const QUEUE: usize = 256;

/// How the supervisor is started, and what it may use of the host.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// The program whose supervising subcommand is run; usually this one.
    pub program: PathBuf,
    /// Its arguments; they must lead to [`crate::supervisor::enter`].
    pub arguments: Vec<OsString>,
    /// Whether pods reach what is beyond the mesh.
    pub egress: Egress,
    /// Where host ports are bound.
    pub addresses: Vec<IpAddr>,
    /// The port of the API server, if it is free.
    pub api_port: u16,
    /// Handed to the supervisor as it is.
    pub settings: Value,
}

impl HostOptions {
    /// Loopback addresses, connections outside the mesh, and nothing else.
    pub fn new(program: PathBuf, arguments: Vec<OsString>) -> Self {
        Self {
            program,
            arguments,
            egress: Egress::Open,
            addresses: vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            api_port: 16443,
            settings: Value::Null,
        }
    }
}

/// What the supervisor tells.
#[derive(Debug)]
#[non_exhaustive]
pub enum HostEvent {
    /// How far the start has come.
    Progress {
        /// What is being done.
        text: String,
        /// Steps that are done.
        done: usize,
        /// Steps in all.
        total: usize,
    },
    /// Everything is up; what the supervising program wants to be known.
    Ready(Value),
    /// A line for the person at the terminal.
    Log(String),
    /// A Service's port can be reached on the host.
    HostPort(HostPort),
    /// It no longer can.
    HostPortClosed(HostPort),
    /// The supervisor has ended, and everything with it.
    Ended(ExitStatus),
}

/// Why there is no supervisor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The channel could not be made.
    #[error("making the channel to the supervisor")]
    Channel(#[source] io::Error),
    /// The program did not start.
    #[error("starting {} as supervisor", program.display())]
    Spawn {
        /// What was to be run.
        program: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// A running supervisor. Dropping it ends everything at once.
#[derive(Debug)]
pub struct Host {
    events: mpsc::Receiver<HostEvent>,
    channel: Arc<Channel>,
    service: JoinHandle<()>,
}

impl Host {
    /// Starts the supervisor; needs a runtime.
    pub fn start(options: HostOptions) -> Result<Self, HostError> {
        // Each connection that is being made for a pod takes one here.
        raise_descriptors();
        let (ours, theirs) = channel::pair().map_err(HostError::Channel)?;
        let mut command = Command::new(&options.program);
        // Its own process group: a Ctrl-C at the terminal is for the terminal's
        // process alone, which then ends everything in order.
        command.args(&options.arguments).stdin(Stdio::from(theirs)).process_group(0);
        let mut command = tokio::process::Command::from(command);
        let child = command
            .spawn()
            .map_err(|source| HostError::Spawn { program: options.program.clone(), source })?;
        // The command still holds the supervisor's end of the channel.
        drop(command);
        let channel = Arc::new(Channel::new(ours).map_err(HostError::Channel)?);
        let (sender, events) = mpsc::channel(QUEUE);
        let service = tokio::spawn(serve(options, Arc::clone(&channel), sender, child));
        Ok(Self { events, channel, service })
    }

    /// What the supervisor tells next; `None` after [`HostEvent::Ended`].
    pub async fn next(&mut self) -> Option<HostEvent> {
        self.events.recv().await
    }

    /// Asks for a graceful end. Events keep coming until [`HostEvent::Ended`].
    pub async fn ask_to_stop(&self) {
        // A supervisor that does not hear this has ended already.
        let _ = self.channel.send(&ToSupervisor::Stop, &[]).await;
    }

    /// Ends gracefully, and hard when that takes too long.
    pub async fn stop(mut self) {
        self.ask_to_stop().await;
        let ended = async {
            while let Some(event) = self.events.recv().await {
                if matches!(event, HostEvent::Ended(_)) {
                    break;
                }
            }
        };
        let _ = timeout(LONGEST_STOP, ended).await;
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // With this task the last copy of the channel goes, and with that the
        // supervisor.
        self.service.abort();
    }
}

async fn serve(
    options: HostOptions,
    channel: Arc<Channel>,
    events: mpsc::Sender<HostEvent>,
    mut child: tokio::process::Child,
) {
    let start = ToSupervisor::Start { egress: options.egress, settings: options.settings.clone() };
    let _ = channel.send(&start, &[]).await;
    let options = Arc::new(options);
    let mut requests = tokio::task::JoinSet::new();
    loop {
        let message = tokio::select! {
            message = channel.receive::<ToHost>() => message,
            Some(_) = requests.join_next() => continue,
        };
        let event = match message {
            Ok(Some((ToHost::Ask { id, request }, _))) => {
                let (options, channel) = (Arc::clone(&options), Arc::clone(&channel));
                requests.spawn(async move {
                    requests::answer(&options, request).await.send(id, &channel).await;
                });
                continue;
            }
            Ok(Some((message, _))) => message.into_event(),
            // The channel is closed or broken; either way it is over.
            Ok(None) | Err(_) => break,
        };
        if let Some(event) = event
            && events.send(event).await.is_err()
        {
            break;
        }
    }
    if let Ok(status) = child.wait().await {
        let _ = events.send(HostEvent::Ended(status)).await;
    }
}

impl ToHost {
    fn into_event(self) -> Option<HostEvent> {
        Some(match self {
            Self::Progress { text, done, total } => HostEvent::Progress { text, done, total },
            Self::Ready(value) => HostEvent::Ready(value),
            Self::Log(line) => HostEvent::Log(line),
            Self::HostPort(port) => HostEvent::HostPort(port),
            Self::HostPortClosed(port) => HostEvent::HostPortClosed(port),
            Self::Ask { .. } => return None,
        })
    }
}
