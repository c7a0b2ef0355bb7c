//! Carries the bytes of one connection over another, both ways.

use std::{io, time::Duration};

use tokio::{
    io::AsyncWriteExt as _,
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    time::Instant,
};
use weft_process::peers::Connection;

/// Bytes that are on their way in each direction at most.
const BUFFER: usize = 64 << 10;
/// A relay that is in use says so this often. Of two that were last used within this time,
/// either may make room for a new one.
const USED_AGAIN: Duration = Duration::from_secs(1);

/// Copies both ways until both have ended. There is no deadline, as programs keep
/// connections that are silent for long: the one that was not used for longest makes room
/// when its peer has too many.
pub(crate) async fn relay(
    mut one: TcpStream,
    mut other: TcpStream,
    connection: &Connection,
) -> io::Result<()> {
    one.set_nodelay(true)?;
    other.set_nodelay(true)?;
    let ((from_one, to_one), (from_other, to_other)) = (one.split(), other.split());
    let there = copy(from_one, to_other, connection);
    let back = copy(from_other, to_one, connection);
    tokio::try_join!(there, back).map(|_| ())
}

async fn copy(
    from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    connection: &Connection,
) -> io::Result<()> {
    let mut used = Instant::now();
    loop {
        from.readable().await?;
        // A connection on which nothing comes has no buffer.
        let mut buffer = Vec::with_capacity(BUFFER);
        loop {
            match from.try_read_buf(&mut buffer) {
                Ok(0) => return to.shutdown().await,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            to.write_all(&buffer).await?;
            buffer.clear();
            if used.elapsed() >= USED_AGAIN {
                used = Instant::now();
                drop(connection.begin());
            }
        }
    }
}

#[cfg(test)]
mod tests;
