//! The name server of all pods.
//!
//! Names of the mesh come from the store at the moment of the question; others
//! from pods that play the outside, and at last from the host.

mod lookups;
mod names;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType, rdata},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    sync::Semaphore,
    time::timeout,
};
use weft_process::peers::Connection;

use crate::{
    admit::{self, RELIEF},
    channel::Egress,
    link::HostLink,
    network::{DNS, HOST},
    service_view::ServiceView,
};
pub(crate) use lookups::Lookups;
pub(crate) use names::Directory;
use names::{LookupResult, QueryKind, RecordData, Zone};

/// The user's own machine.
const HOST_NAME: &str = "host.weft.internal";
const PORT: u16 = 53;
/// Seconds that an answer may be remembered. Names move with pods.
const LIFETIME: u32 = 5;
/// An alias may lead to an alias, but not for ever.
const LONGEST_CHAIN: usize = 8;
/// A datagram, where the question does not give a size (RFC 1035, 4.2.1).
const SMALLEST_DATAGRAM: usize = 512;

/// Connections at most, of all pods and of one. Questions come as datagrams first.
const CONNECTIONS: (usize, usize) = (1024, 64);
/// The part of all descriptors that these may take.
const PART: usize = 16;
/// How long a connection waits for a question, or for its answer to be taken.
const IDLE: Duration = Duration::from_secs(10);
/// Datagrams that are answered at a time.
const DATAGRAMS: usize = 4096;
/// How long the host may take for a name; programs ask again after as long.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(5);

/// Where names are looked up.
pub(crate) struct Resolver {
    /// The domain of the cluster's names.
    pub(crate) domain: String,
    /// Names of the cluster, and those that pods play.
    pub(crate) services: ServiceView,
    /// The host, which knows all others.
    pub(crate) link: HostLink,
    /// Whether the host is asked.
    pub(crate) egress: Egress,
    /// What it is being asked for.
    pub(crate) lookups: Lookups,
}

/// Serves names until it is dropped.
pub(crate) async fn serve(resolver: Resolver) -> io::Result<()> {
    let resolver = Arc::new(resolver);
    let address = SocketAddr::from((DNS, PORT));
    let datagrams = Arc::new(UdpSocket::bind(address).await?);
    let streams = TcpListener::bind(address).await?;
    tokio::spawn(serve_datagrams(Arc::clone(&resolver), datagrams));
    let (most, of_peer) = CONNECTIONS;
    let peers = admit::peers(most.min(admit::share(PART)), of_peer);
    let serve = move |stream, connection: Connection| {
        let resolver = Arc::clone(&resolver);
        async move {
            let peer = connection.peer();
            // The asker closes; what it sent wrongly ends the connection.
            serve_stream(stream, &connection, |question| {
                let resolver = Arc::clone(&resolver);
                async move {
                    respond(&resolver, &question, Asker { peer, transport: Transport::Stream })
                        .await
                }
            })
            .await
        }
    };
    tokio::spawn(admit::accept(Arc::new(streams), peers, serve));
    Ok(())
}

async fn serve_datagrams(resolver: Arc<Resolver>, socket: Arc<UdpSocket>) {
    let mut buffer = [0; 4096];
    let turns = Arc::new(Semaphore::new(DATAGRAMS));
    loop {
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else {
            tokio::time::sleep(RELIEF).await;
            continue;
        };
        // A client that gets no answer asks again.
        let Ok(turn) = Arc::clone(&turns).try_acquire_owned() else { continue };
        let question = buffer[..length].to_vec();
        let (resolver, socket) = (Arc::clone(&resolver), Arc::clone(&socket));
        tokio::spawn(async move {
            let _turn = turn;
            let asker = Asker { peer: peer.ip(), transport: Transport::Datagram };
            if let Some(answer) = respond(&resolver, &question, asker).await {
                // A client that gets no answer asks again.
                let _ = socket.send_to(&answer, peer).await;
            }
        });
    }
}

/// Answers the questions of one connection, one after the other; one that is idle for too
/// long ends.
async fn serve_stream<F: Future<Output = Option<Vec<u8>>>>(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    connection: &Connection,
    answer: impl Fn(Vec<u8>) -> F,
) -> io::Result<()> {
    connection.established();
    loop {
        let length = timeout(IDLE, stream.read_u16()).await??;
        let mut question = vec![0; usize::from(length)];
        timeout(IDLE, stream.read_exact(&mut question)).await??;
        // A client that sends slowly, or takes no answer, makes room for another.
        let busy = connection.begin();
        let Some(answer) = answer(question).await else { return Ok(()) };
        drop(busy);
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        let written = async {
            stream.write_u16(length).await?;
            stream.write_all(&answer).await
        };
        timeout(IDLE, written).await??;
    }
}

/// Who asks, and over what.
#[derive(Clone, Copy)]
struct Asker {
    peer: IpAddr,
    transport: Transport,
}

/// What carries a message, which decides how long it may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    Datagram,
    Stream,
}

async fn respond(
    resolver: &Resolver,
    bytes: &[u8],
    Asker { peer, transport }: Asker,
) -> Option<Vec<u8>> {
    let question = Message::from_vec(bytes).ok()?;
    if question.metadata.message_type != MessageType::Query {
        return None;
    }
    let answer = answer(resolver, &question, peer).await;
    let encoded = answer.to_vec().ok()?;
    let room = match question.edns.is_some() {
        true => usize::from(question.max_payload()).max(SMALLEST_DATAGRAM),
        false => SMALLEST_DATAGRAM,
    };
    match transport == Transport::Datagram && encoded.len() > room {
        true => answer.truncate().to_vec().ok(),
        false => Some(encoded),
    }
}

async fn answer(resolver: &Resolver, question: &Message, peer: IpAddr) -> Message {
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.metadata.recursion_desired = question.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    let [query] = question.queries.as_slice() else {
        answer.metadata.response_code = ResponseCode::FormErr;
        return answer;
    };
    answer.add_query(query.clone());
    if question.metadata.op_code != OpCode::Query || query.query_class() != DNSClass::IN {
        answer.metadata.response_code = ResponseCode::NotImp;
        return answer;
    }
    match records(resolver, query, peer).await {
        Ok(Some(records)) => {
            answer.metadata.authoritative = true;
            answer.add_answers(records);
        }
        Ok(None) => answer.metadata.response_code = ResponseCode::NXDomain,
        Err(error) => {
            tracing::debug!(name = %query.name(), %error, "a name cannot be looked up");
            answer.metadata.response_code = ResponseCode::ServFail;
        }
    }
    answer
}

/// The records of an answer; `None` when there is no such name.
async fn records(
    resolver: &Resolver,
    query: &Query,
    peer: IpAddr,
) -> io::Result<Option<Vec<Record>>> {
    let kind = match query.query_type() {
        RecordType::A => QueryKind::Address,
        RecordType::SRV => QueryKind::Service,
        _ => QueryKind::Other,
    };
    let mut owner = query.name().clone();
    let mut records = Vec::new();
    for _ in 0..LONGEST_CHAIN {
        let name = owner.to_lowercase().to_ascii();
        let name = name.trim_end_matches('.');
        let entries = match in_zone(resolver, name, kind) {
            LookupResult::Entries(entries) => entries,
            LookupResult::NoSuchName => {
                return Ok(if records.is_empty() { None } else { Some(records) });
            }
            LookupResult::Elsewhere if name == HOST_NAME => match kind {
                QueryKind::Address => vec![RecordData::Address(HOST)],
                _ => Vec::new(),
            },
            LookupResult::Elsewhere => match from_host(resolver, peer, name, kind).await? {
                Some(entries) => entries,
                None if records.is_empty() => return Ok(None),
                None => return Ok(Some(records)),
            },
        };
        let mut next = None;
        for entry in entries {
            let data = match entry {
                RecordData::Address(address) => RData::A(rdata::A(address)),
                RecordData::Service { port, target } => {
                    RData::SRV(rdata::SRV::new(0, 100, port, parse(&target)?))
                }
                RecordData::Alias(target) => {
                    let target = parse(&target)?;
                    next = Some(target.clone());
                    RData::CNAME(rdata::CNAME(target))
                }
            };
            records.push(Record::from_rdata(owner.clone(), LIFETIME, data));
        }
        match next {
            Some(alias) => owner = alias,
            None => return Ok(Some(records)),
        }
    }
    Ok(Some(records))
}

fn in_zone(resolver: &Resolver, name: &str, kind: QueryKind) -> LookupResult {
    let zone = Zone { domain: &resolver.domain, directory: &resolver.services };
    zone.look_up(name, kind)
}

async fn from_host(
    resolver: &Resolver,
    peer: IpAddr,
    name: &str,
    kind: QueryKind,
) -> io::Result<Option<Vec<RecordData>>> {
    if resolver.egress != Egress::Open {
        return Ok(None);
    }
    let too_many = || io::Error::other("the pod, or all together, ask for too many names at once");
    let lookup = resolver.lookups.begin(peer).ok_or_else(too_many)?;
    let (link, wanted) = (resolver.link.clone(), name.to_owned());
    // It counts until the host has answered, though nothing waits for it any more.
    let asking = tokio::spawn(async move {
        let _lookup = lookup;
        link.resolve(wanted).await
    });
    let found = timeout(LOOKUP_DEADLINE, asking).await?.map_err(io::Error::other)??;
    if found.is_empty() {
        return Ok(None);
    }
    // The host's resolver gives addresses only, and pods have no IPv6.
    Ok(Some(match kind {
        QueryKind::Address => found
            .into_iter()
            .filter_map(|address| match address {
                std::net::IpAddr::V4(address) => Some(RecordData::Address(address)),
                std::net::IpAddr::V6(_) => None,
            })
            .collect(),
        _ => Vec::new(),
    }))
}

fn parse(name: &str) -> io::Result<Name> {
    let mut name = Name::from_ascii(name).map_err(io::Error::other)?;
    name.set_fqdn(true);
    Ok(name)
}

#[cfg(test)]
mod tests {
    use tokio::{net::TcpStream, time::Instant};

    use super::*;

    async fn connection() -> Connection {
        let peers = admit::peers(1, 1);
        let arrival = peers.arrive([10, 244, 0, 2].into()).expect("nobody else is there");
        arrival.enter().await.expect("nobody else is there")
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_question_ends() {
        let (_peer, own) = tokio::io::duplex(64);
        let begun = Instant::now();
        let served = serve_stream(own, &connection().await, |_| async { None }).await;
        assert_eq!(served.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed(), IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn questions_are_answered_until_one_is_not_whole() {
        let (mut peer, own) = tokio::io::duplex(64);
        let asker = async {
            for _ in 0..3 {
                peer.write_all(b"\0\x02hi").await.unwrap();
                assert_eq!(peer.read_u16().await.unwrap(), 4);
                let mut answer = [0; 4];
                peer.read_exact(&mut answer).await.unwrap();
                assert_eq!(&answer, b"hihi");
            }
            peer.write_all(b"\0\x02h").await.unwrap();
            peer
        };
        let held = connection().await;
        let serving = serve_stream(own, &held, |question| async move {
            Some([question.as_slice(), &question].concat())
        });
        let (served, _peer) = tokio::join!(serving, asker);
        assert_eq!(served.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    /// Clients of one pod, or of the machine itself, that do all they can to stay.
    #[tokio::test]
    async fn connections_without_a_whole_question_keep_no_other_out() {
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = listener.local_addr().unwrap();
        let peers = admit::peers(64, 64);
        let serve = |stream, connection: Connection| async move {
            serve_stream(stream, &connection, |question| async { Some(question) }).await
        };
        let serving = tokio::spawn(admit::accept(listener, Arc::clone(&peers), serve));
        let mut held = Vec::new();
        for number in 0..400 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            match number % 3 {
                0 => {}
                1 => stream.write_all(b"\xff\xffslow").await.unwrap(),
                // Its answers are more than it takes.
                _ => while stream.try_write(&[1; 257 + 2]).is_ok() {},
            }
            held.push(stream);
        }
        let mut honest = TcpStream::connect(address).await.unwrap();
        honest.write_all(b"\0\x02hi").await.unwrap();
        let mut answer = [0; 4];
        honest.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"\0\x02hi");
        assert!(peers.connections() <= 64);
        serving.abort();
    }
}
