//! Options of every TCP socket, accepted or dialled.

use std::{io, time::Duration};

use socket2::{SockRef, TcpKeepalive};

/// The pause between two probes of a silent peer.
const PROBE_INTERVAL: Duration = Duration::from_secs(15);

/// Sets what every connection has: no delay for short writes, probes after it was silent for
/// `keep_alive`, and an end when the peer acknowledges nothing for `user_timeout`.
pub fn set(socket: SockRef<'_>, keep_alive: Duration, user_timeout: Duration) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let probes = TcpKeepalive::new().with_time(keep_alive).with_interval(PROBE_INTERVAL);
    socket.set_tcp_keepalive(&probes)?;
    socket.set_tcp_user_timeout(Some(user_timeout))
}
