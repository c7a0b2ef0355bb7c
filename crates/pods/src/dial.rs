//! Services as the supervisor's own process reaches them: it stands in the
//! router, so that their addresses lead to their endpoints.

use std::{io, net::Ipv4Addr};

use futures::{FutureExt, future::BoxFuture};
use tokio::{net::TcpStream, time::timeout};
use weft_apiserver::{DIAL_DEADLINE, Dial, Store};

use crate::services::{ServiceKind, service};

/// Dials Services from the router.
pub(crate) struct RouterDial {
    store: Store,
}

impl RouterDial {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    fn address(&self, namespace: &str, name: &str) -> io::Result<Ipv4Addr> {
        let services = self.store.resource("", "services");
        let found = services.and_then(|services| self.store.get(&services, namespace, name));
        match found.map(|object| service(&object).kind) {
            Some(ServiceKind::Address(address)) => Ok(address),
            Some(_) => {
                let text = format!("Service {namespace}/{name} has no address of its own");
                Err(io::Error::new(io::ErrorKind::AddrNotAvailable, text))
            }
            None => {
                let text = format!("there is no Service {namespace}/{name}");
                Err(io::Error::new(io::ErrorKind::NotFound, text))
            }
        }
    }
}

impl Dial for RouterDial {
    fn service(
        &self,
        namespace: &str,
        name: &str,
        port: u16,
    ) -> BoxFuture<'static, io::Result<TcpStream>> {
        let address = self.address(namespace, name);
        async move {
            let connecting = TcpStream::connect((address?, port));
            timeout(DIAL_DEADLINE, connecting).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()))
        }
        .boxed()
    }
}
