//! Addresses of names outside of the mesh, remembered for a short while.

use std::{cell::RefCell, collections::HashMap, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::lookup_host, time::Instant};

/// How long an answer is used.
const LIFETIME: Duration = Duration::from_secs(5);

/// Names and their addresses.
#[derive(Debug, Default)]
pub struct Names {
    known: RefCell<HashMap<(Arc<str>, u16), (Instant, Vec<SocketAddr>)>>,
}

impl Names {
    /// The addresses of `host`.
    pub async fn addresses(&self, host: &Arc<str>, port: u16) -> io::Result<Vec<SocketAddr>> {
        let key = (Arc::clone(host), port);
        if let Some((when, addresses)) = self.known.borrow().get(&key)
            && when.elapsed() < LIFETIME
        {
            return Ok(addresses.clone());
        }
        let addresses: Vec<_> = lookup_host((&**host, port)).await?.collect();
        self.known.borrow_mut().insert(key, (Instant::now(), addresses.clone()));
        Ok(addresses)
    }

    /// Forgets what is too old.
    pub fn sweep(&self) {
        self.known.borrow_mut().retain(|_, (when, _)| when.elapsed() < LIFETIME);
    }
}
