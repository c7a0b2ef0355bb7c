//! Options of every TCP socket, accepted or dialled.

use std::{io, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use weft_config::ProcessLimits;

/// The pause between two probes of a silent peer.
const PROBE_INTERVAL: Duration = Duration::from_secs(15);

/// Sets what every connection has: no delay for short writes, probes while it is silent, and
/// an end when the peer acknowledges nothing for too long.
pub fn set(socket: SockRef<'_>, limits: &ProcessLimits) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let probes = TcpKeepalive::new().with_time(limits.tcp_keep_alive).with_interval(PROBE_INTERVAL);
    socket.set_tcp_keepalive(&probes)?;
    socket.set_tcp_user_timeout(Some(limits.tcp_user_timeout))
}
