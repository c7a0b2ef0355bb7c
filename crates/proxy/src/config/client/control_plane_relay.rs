//! A local tunnel to the control plane, for a gRPC client that opens its own sockets.
//!
//! Where only a mark tells the proxy's packets from the application's, a connection
//! without the mark is captured and redirected to the proxy. So the marked connection is
//! opened here, and relayed to a loopback address that the gRPC client dials.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, lookup_host},
    time::timeout,
};

use weft_config::Limits;

use crate::{
    connection::relay::{Passed, RelayLimits, relay},
    upstream::dial::{DialError, DialTarget, Dialer},
};

/// How long each step may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Opens a tunnel to `address` for one connection, and returns where to dial it.
pub async fn open(address: &str, dialer: &Dialer) -> io::Result<SocketAddr> {
    let found = timeout(PATIENCE, lookup_host(address)).await.map_err(io::Error::from)??.next();
    let address = found.ok_or_else(|| io::Error::from(io::ErrorKind::HostUnreachable))?;
    let target = DialTarget { address, application: false };
    let mut far = dialer.dial(target, PATIENCE).await.map_err(|error| match error {
        DialError::Refused(error) => error,
        slow @ DialError::Timeout(_) => io::Error::new(io::ErrorKind::TimedOut, slow),
    })?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let near = listener.local_addr()?;
    tokio::task::spawn_local(async move {
        if let Ok(Ok((mut stream, _))) = timeout(PATIENCE, listener.accept()).await {
            drop(listener);
            let idle = Limits::sidecar().relay_idle;
            let limits = RelayLimits { idle, buffers: &Arc::default() };
            // How it ends, the stream notices itself.
            let _ = relay(&mut stream, &mut far, &Passed::default(), limits).await;
        }
    });
    Ok(near)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        task::LocalSet,
    };

    #[tokio::test]
    async fn a_tunnel_relays_one_connection_to_the_control_plane() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap().to_string();
        let talking = async {
            let near = open(&address, &Dialer::default()).await.unwrap();
            let mut client = TcpStream::connect(near).await.unwrap();
            let (mut far, _) = server.accept().await.unwrap();
            client.write_all(b"hello").await.unwrap();
            let mut heard = [0; 5];
            far.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"hello");
            assert!(TcpStream::connect(near).await.is_err());
        };
        LocalSet::new().run_until(talking).await;
    }
}
