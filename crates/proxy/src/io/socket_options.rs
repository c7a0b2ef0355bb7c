//! Options of every TCP socket, accepted or dialled.

use std::{io, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use weft_config::TcpKeepAlive;

/// The pause between two probes of a silent peer.
const PROBE_INTERVAL: Duration = Duration::from_secs(15);

/// The longest time that the kernel takes.
const MOST_PROBING: Duration = Duration::from_secs(32_767);

/// Sets what every connection has: no delay for short writes, probes after it was silent for
/// `keep_alive`, and an end when the peer acknowledges nothing for `user_timeout`.
pub fn set(socket: SockRef<'_>, keep_alive: Duration, user_timeout: Duration) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let probes = TcpKeepalive::new().with_time(keep_alive).with_interval(PROBE_INTERVAL);
    socket.set_tcp_keepalive(&probes)?;
    socket.set_tcp_user_timeout(Some(user_timeout))
}

/// Sets what `probes` say; the rest stays.
pub fn probe(socket: SockRef<'_>, probes: &TcpKeepAlive) -> io::Result<()> {
    let second = Duration::from_secs(1);
    let mut set = TcpKeepalive::new();
    if let Some(count) = probes.probes {
        // The kernel takes no more.
        set = set.with_retries(count.clamp(1, 127));
    }
    if let Some(time) = probes.time {
        set = set.with_time(time.clamp(second, MOST_PROBING));
    }
    if let Some(interval) = probes.interval {
        set = set.with_interval(interval.clamp(second, MOST_PROBING));
    }
    socket.set_tcp_keepalive(&set)
}
