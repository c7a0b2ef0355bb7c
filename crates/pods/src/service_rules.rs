//! The router's rules: addresses of Services lead to their endpoints, connections
//! beyond the mesh to where they may go.

use std::{collections::BTreeMap, net::Ipv4Addr};

use weft_nft::{Change, to_batch};
use weft_process::netfilter::{self, NetfilterError};

use crate::{
    host_ports::HostPorts,
    link::HostLink,
    network::SERVICES,
    object_watch::watch_objects,
    service_view::ServiceView,
    services::ServiceKind,
    translation::{self, Chains, Pair},
};

/// Rules in one batch: what the kernel takes at once is limited.
const BATCH: usize = 200;

/// The rules that are in force, and what was reported of those that are not.
pub(crate) struct Rules {
    known: Chains,
    reported: BTreeMap<String, String>,
}

/// Makes the rules as Services are now, for the first time; none when the kernel
/// takes none. Connections beyond the mesh go to port `egress`.
pub(crate) async fn create(
    services: &ServiceView,
    egress: Option<u16>,
    link: &HostLink,
) -> Option<Rules> {
    let table = translation::table();
    if let Err(error) = netfilter::apply(&to_batch(&[Change::ReplaceTable(table)])) {
        let text = format!("Services cannot be reached by their addresses: {error}");
        link.log(text).await;
        return None;
    }
    let mut rules = Rules { known: Chains::new(), reported: BTreeMap::new() };
    rules.update(services, egress, link).await;
    Some(rules)
}

/// Keeps the rules and the host's ports as Services are.
pub(crate) async fn keep(
    services: ServiceView,
    egress: Option<u16>,
    mut rules: Rules,
    (host_ports, link): (HostPorts, HostLink),
) {
    let following = services.clone();
    tokio::spawn(async move { follow_services(&following).await });
    loop {
        rules.update(&services, egress, &link).await;
        host_ports.changed();
        services.networks().changed().await;
    }
}

impl Rules {
    /// Makes the rules as Services are now; reports what the kernel refuses, when that is new.
    async fn update(&mut self, services: &ServiceView, egress: Option<u16>, link: &HostLink) {
        let wanted = wanted(services, egress);
        let refused =
            apply(&mut self.known, &wanted, |changes| netfilter::apply(&to_batch(changes)));
        let refused: BTreeMap<String, String> =
            refused.into_iter().map(|(chain, error)| (chain, causes(&error))).collect();
        for (chain, why) in &refused {
            if self.reported.get(chain) != Some(why) {
                let subject = subject(chain, services);
                link.log(format!("{subject} out of date in the router: {why}")).await;
            }
        }
        self.reported = refused;
    }
}

/// What is wrong when the rules of a chain are not in force.
fn subject(chain: &str, services: &ServiceView) -> String {
    let mut parts = chain.strip_prefix("services-").unwrap_or_default().split('-');
    let mut part = || parts.next()?.parse::<u8>().ok();
    let Some((third, fourth)) = part().zip(part()) else {
        return format!("addresses of Services (chain {chain}) are");
    };
    let [first, second, ..] = SERVICES.network().octets();
    let address = Ipv4Addr::new(first, second, third, fourth);
    let pairs = services.pairs();
    let found = pairs.iter().find(|(service, _)| service.kind == ServiceKind::Address(address));
    match found {
        Some((service, _)) => {
            format!("the address {address} of Service {}/{} is", service.namespace, service.name)
        }
        None => format!("the address {address} of a Service is"),
    }
}

/// The error and its causes.
fn causes(error: &NetfilterError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text += &format!(": {next}");
        cause = next.source();
    }
    text
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

/// Makes `known` what is `wanted`, as far as the kernel takes it; gives the chains that it
/// refuses. These stay as they are, or are empty, and the others do not depend on them.
fn apply<E>(
    known: &mut Chains,
    wanted: &Chains,
    kernel: impl Fn(&[Change]) -> Result<(), E>,
) -> Vec<(String, E)> {
    let changes = translation::changes(known, wanted);
    let mut refused = Vec::new();
    for batch in batches(&changes) {
        let together: Vec<Change> = batch.iter().map(|(_, change)| change.clone()).collect();
        let is_done = kernel(&together).is_ok();
        for (name, change) in batch {
            // One of a batch that is refused need not be this one.
            let done = if is_done { Ok(()) } else { kernel(std::slice::from_ref(change)) };
            match (done, wanted.get(name)) {
                (Ok(()), Some(rules)) => drop(known.insert(name.clone(), rules.clone())),
                (Ok(()), None) => drop(known.remove(name)),
                (Err(error), _) => {
                    refused.push((name.clone(), error));
                    // Without a chain of this name, those that jump to it would be refused.
                    if !known.contains_key(name) && kernel(&[translation::empty(name)]).is_ok() {
                        known.insert(name.clone(), Vec::new());
                    }
                }
            }
        }
    }
    refused
}

/// The changes in order, so many together as the kernel takes at once.
fn batches(changes: &[(String, Change)]) -> Vec<&[(String, Change)]> {
    let size = |change: &Change| match change {
        Change::ReplaceChains(_, _, chains) => {
            chains.iter().map(|chain| chain.rules.len() + 1).sum()
        }
        _ => 1,
    };
    let mut batches = Vec::new();
    let mut rest = changes;
    while !rest.is_empty() {
        let mut rules = 0;
        let fitting = rest.iter().take_while(|(_, change)| {
            rules += size(change);
            rules <= BATCH
        });
        let (now, later) = rest.split_at(fitting.count().max(1));
        batches.push(now);
        rest = later;
    }
    batches
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use weft_nft::Rule;

    use super::*;

    fn chains(text: &str) -> Chains {
        let chain = |word: &str| {
            let (name, rules) = word.split_once('=').expect("a name and a number of rules");
            (name.to_owned(), vec![Rule::new(); rules.parse().expect("a number")])
        };
        text.split_whitespace().map(chain).collect()
    }

    /// Brings what is known to what is wanted; the kernel refuses chains with rules whose
    /// name ends with `2`. Gives the refused ones and what is known then.
    #[track_caller]
    fn check(before: &str, after: &str, refused: &[&str], known: &str) {
        let largest = RefCell::new(0);
        let kernel = |changes: &[Change]| {
            let mut rules = 0;
            for change in changes {
                let Change::ReplaceChains(_, _, chains) = change else { continue };
                rules += chains[0].rules.len();
                if chains[0].name.ends_with('2') && !chains[0].rules.is_empty() {
                    return Err(());
                }
            }
            largest.replace_with(|largest| rules.max(*largest));
            Ok(())
        };
        let mut found = chains(before);
        let said = apply(&mut found, &chains(after), kernel);
        let names: Vec<&str> = said.iter().map(|(name, ())| name.as_str()).collect();
        assert_eq!(names, refused);
        assert_eq!(found, chains(known));
        assert!(*largest.borrow() <= 400);
    }

    #[test]
    fn a_chain_that_is_refused_stops_no_other() {
        check(
            "",
            "services-7-1=3 services-7-2=4000 services-7-3=3 services-7=3 services=1",
            &["services-7-2"],
            "services-7-1=3 services-7-2=0 services-7-3=3 services-7=3 services=1",
        );
    }

    #[test]
    fn a_chain_that_is_refused_stays_as_it_was_and_is_tried_again() {
        let before = "services-7-1=3 services-7-2=5";
        check(
            before,
            "services-7-1=9 services-7-2=6",
            &["services-7-2"],
            "services-7-1=9 services-7-2=5",
        );
    }

    #[test]
    fn chains_that_are_gone_are_forgotten() {
        check("services-7-1=3 services-7=1 services=1", "services=0", &[], "services=0");
    }

    #[test]
    fn many_chains_are_changed_in_many_batches() {
        let many: Vec<String> =
            (100..1_000).map(|number| format!("services-{number}1=9")).collect();
        check("", &many.join(" "), &[], &many.join(" "));
    }
}
