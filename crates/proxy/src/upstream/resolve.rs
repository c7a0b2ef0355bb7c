//! Addresses of names outside of the mesh, remembered for a short while.

use std::{cell::RefCell, collections::HashMap, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::lookup_host, time::Instant};

/// How long an answer is used.
const LIFETIME: Duration = Duration::from_secs(5);

/// Names and their addresses.
#[derive(Debug, Default)]
pub struct Names {
    known: RefCell<HashMap<(Arc<str>, u16), Answer>>,
}

/// When a name was looked up, and what was found.
#[derive(Debug)]
struct Answer {
    when: Instant,
    addresses: Vec<SocketAddr>,
}

impl Names {
    /// The addresses of `host`.
    pub async fn addresses(&self, host: &Arc<str>, port: u16) -> io::Result<Vec<SocketAddr>> {
        let key = (Arc::clone(host), port);
        if let Some(known) = self.known.borrow().get(&key)
            && known.when.elapsed() < LIFETIME
        {
            return Ok(known.addresses.clone());
        }
        let addresses: Vec<_> = lookup_host((&**host, port)).await?.collect();
        let answer = Answer { when: Instant::now(), addresses: addresses.clone() };
        self.known.borrow_mut().insert(key, answer);
        Ok(addresses)
    }

    /// Forgets what is too old.
    pub fn sweep(&self) {
        self.known.borrow_mut().retain(|_, known| known.when.elapsed() < LIFETIME);
    }
}
