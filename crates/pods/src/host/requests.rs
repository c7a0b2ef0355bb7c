//! Answers what only a process in the host's namespaces can do.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::{Egress, HostOptions, ports};
use crate::channel::{Channel, Request, Response, ToSupervisor};

/// How long a connection beyond the mesh may take to be made.
const DIAL_DEADLINE: Duration = Duration::from_secs(10);

/// An answer and the sockets that go beside it.
pub(super) struct Reply {
    answer: Response,
    descriptors: Vec<OwnedFd>,
}

impl Reply {
    pub(super) async fn send(self, id: u64, channel: &Channel) {
        let borrowed: Vec<BorrowedFd<'_>> = self.descriptors.iter().map(AsFd::as_fd).collect();
        // A supervisor that does not hear the answer has ended.
        let _ = channel.send(&ToSupervisor::Response { id, answer: self.answer }, &borrowed).await;
    }
}

pub(super) async fn answer(options: &HostOptions, request: Request) -> Reply {
    let result = match request {
        Request::Listen { port } => {
            listening(ports::listen(&options.addresses, ports::wished(port)))
        }
        Request::ListenForApi => {
            listening(ports::listen(&[Ipv4Addr::LOCALHOST.into()], options.api_port))
        }
        Request::Dial { .. } | Request::Resolve { .. } if options.egress == Egress::Closed => {
            Err(io::Error::new(io::ErrorKind::NetworkUnreachable, "the egress is closed"))
        }
        Request::Dial { address, port } => connected(dial(address, port).await),
        Request::Resolve { name } => resolve(&name).await,
    };
    result.unwrap_or_else(|error| Reply {
        answer: Response::Failed { text: error.to_string(), code: error.raw_os_error() },
        descriptors: Vec::new(),
    })
}

fn listening(listeners: io::Result<Vec<TcpListener>>) -> io::Result<Reply> {
    let listeners = listeners?;
    let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
    let descriptors = listeners.into_iter().map(OwnedFd::from).collect();
    Ok(Reply { answer: Response::Listening(addresses), descriptors })
}

fn connected(stream: io::Result<TcpStream>) -> io::Result<Reply> {
    let stream = stream?.into_std()?;
    Ok(Reply { answer: Response::Connected, descriptors: vec![stream.into()] })
}

async fn dial(address: Option<IpAddr>, port: u16) -> io::Result<TcpStream> {
    let attempt = async {
        let Some(address) = address else {
            // The machine itself: programs listen on either loopback address.
            let first = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await;
            return match first {
                Ok(stream) => Ok(stream),
                Err(_) => TcpStream::connect(SocketAddr::from((Ipv6Addr::LOCALHOST, port))).await,
            };
        };
        TcpStream::connect(SocketAddr::new(address, port)).await
    };
    timeout(DIAL_DEADLINE, attempt).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()))
}

async fn resolve(name: &str) -> io::Result<Reply> {
    let mut addresses: Vec<IpAddr> = match lookup_host((name, 0)).await {
        Ok(found) => found.map(|address| address.ip()).collect(),
        // The system's resolver has no error kind for "no such name".
        Err(error) if error.raw_os_error().is_none() => Vec::new(),
        Err(error) => return Err(error),
    };
    addresses.dedup();
    Ok(Reply { answer: Response::Addresses(addresses), descriptors: Vec::new() })
}
