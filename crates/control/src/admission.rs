//! Which connections of proxies are taken in: a peer that holds many keeps no other out.

use std::{net::IpAddr, pin::Pin, sync::Arc};

use weft_process::peers::{Busy, Peers};
use weft_wire::server::{Admission, Admitted, Entering};

/// The peers of the ports for proxies.
pub(crate) struct Proxies(pub(crate) Arc<Peers>);

/// A connection is busy as long as it is there: a proxy always waits for changes.
struct Proxy(Busy);

impl Admission for Proxies {
    fn arrive(&self, peer: IpAddr) -> Option<Entering> {
        let arrival = self.0.arrive(peer)?;
        Some(Box::pin(async {
            let connection = arrival.enter().await?;
            Some(Box::new(Proxy(connection.begin())) as Box<dyn Admitted>)
        }))
    }
}

impl Admitted for Proxy {
    fn opened(&self) {
        self.0.connection().established();
    }

    fn closed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.0.connection().closed())
    }
}
