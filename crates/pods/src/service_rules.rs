//! The router's rules: addresses of Services lead to their endpoints, connections
//! beyond the mesh to where they may go.

use weft_nft::{Change, to_batch};
use weft_process::netfilter;

use crate::{
    host_ports::HostPorts,
    link::HostLink,
    object_watch::watch_objects,
    service_view::ServiceView,
    translation::{self, Chains, Pair},
};

/// Rules in one batch: what the kernel takes at once is limited.
const BATCH: usize = 200;

/// Makes the rules as Services are now, for the first time; none when the kernel
/// takes none. Connections beyond the mesh go to port `egress`.
pub(crate) async fn create(
    services: &ServiceView,
    egress: Option<u16>,
    link: &HostLink,
) -> Option<Chains> {
    let table = translation::table();
    let wanted = wanted(services, egress);
    let created = netfilter::apply(&to_batch(&[Change::ReplaceTable(table)]))
        .and_then(|()| apply(&translation::changes(&Chains::new(), &wanted)));
    match created {
        Ok(()) => Some(wanted),
        Err(error) => {
            let text = format!("Services cannot be reached by their addresses: {error}");
            link.log(text).await;
            None
        }
    }
}

/// Keeps the rules, which are `known` so far, and the host's ports, as Services are.
pub(crate) async fn keep(
    services: ServiceView,
    egress: Option<u16>,
    mut known: Chains,
    host_ports: HostPorts,
) {
    let following = services.clone();
    tokio::spawn(async move { follow_services(&following).await });
    loop {
        let wanted = wanted(&services, egress);
        match apply(&translation::changes(&known, &wanted)) {
            Ok(()) => known = wanted,
            Err(error) => tracing::error!(%error, "Services' addresses are out of date"),
        }
        host_ports.changed();
        services.networks().changed().await;
    }
}

fn wanted(services: &ServiceView, egress: Option<u16>) -> Chains {
    let pairs = services.pairs();
    let borrowed: Vec<Pair<'_>> =
        pairs.iter().map(|(service, endpoints)| (service, endpoints.as_slice())).collect();
    let networks = services.networks();
    let mut chains = translation::chains(&borrowed, &networks.links());
    chains.extend(translation::outside(egress, &networks.played_ranges()));
    chains
}

async fn follow_services(view: &ServiceView) {
    let store = view.store().all();
    let (Some(services), Some(slices)) = (store.resource("", "services"), view.slices()) else {
        return;
    };
    tokio::join!(
        watch_objects(store, &services, |_, _| view.networks().note_change()),
        watch_objects(store, &slices, |_, _| view.networks().note_change()),
    );
}

fn apply(changes: &[Change]) -> Result<(), netfilter::NetfilterError> {
    let size = |change: &Change| match change {
        Change::ReplaceChains(_, _, chains) => chains.iter().map(|chain| chain.rules.len()).sum(),
        _ => 1,
    };
    let mut rest = changes;
    while !rest.is_empty() {
        let mut rules = 0;
        let fitting = rest.iter().take_while(|change| {
            rules += size(change);
            rules <= BATCH
        });
        let (now, later) = rest.split_at(fitting.count().max(1));
        netfilter::apply(&to_batch(now))?;
        rest = later;
    }
    Ok(())
}
