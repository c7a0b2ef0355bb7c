//! Connections that no proxy sees.

use weft_api::kubernetes::Pod;
use weft_inject::Traffic;
use weft_translate::Role;

use super::{Direction, HopResult, ProxiedConnection};
use crate::{
    explanation::{Because, Hop, Outcome},
    world::World,
};

/// Why the sidecar of a pod does not see the connection, though there is one.
fn excluded(world: &World, pod: &Pod, connection: &ProxiedConnection) -> Option<String> {
    if world.client(pod).role == Role::Gateway {
        return None;
    }
    let (traffic, which) = match connection.direction {
        Direction::Outbound => {
            (Traffic::Outbound(connection.dialled.address), "what it sends to this address")
        }
        Direction::Inbound => {
            (Traffic::Inbound(connection.dialled.port()), "what it is sent on this port")
        }
    };
    let annotations = &pod.metadata.annotations;
    let annotation = weft_inject::uncaptured(annotations, world.sidecars(), traffic)?;
    let keeps = match annotations.contains_key(annotation) {
        true => format!("the pod's annotation {annotation} keeps"),
        false => format!("the mesh's settings, where the pod has no annotation {annotation}, keep"),
    };
    Some(format!("{keeps} {which} away from its sidecar, so no rule of the mesh applies"))
}

/// A connection that no proxy sees: the pod has none, or it stays within the pod.
pub(super) fn unseen(
    world: &World,
    pod: &Pod,
    connection: &ProxiedConnection,
) -> Option<HopResult> {
    let leaves = connection.direction == Direction::Outbound;
    let stays = leaves && connection.dialled.address.ip().is_loopback();
    let why = match (world.has_proxy(pod), leaves) {
        _ if stays => {
            "the address is the pod itself, and what stays in a pod meets no proxy".to_owned()
        }
        (true, _) => excluded(world, pod, connection)?,
        (false, true) => {
            "the pod has no sidecar, so no rule of the mesh applies to what it sends; \
             label its namespace istio-injection=enabled and start it again"
                .to_owned()
        }
        (false, false) => {
            "the pod has no sidecar, so no rule of the mesh applies to what it is sent; \
             label its namespace istio-injection=enabled and start it again"
                .to_owned()
        }
    };
    let mut hop = Hop::new(connection.pod.to_string(), Outcome::Passthrough);
    hop.because.push(Because {
        object: format!("Pod/{}/{}", pod.metadata.namespace, pod.metadata.name),
        rule: String::new(),
        source: None,
        verdict: "not matched".to_owned(),
        why,
    });
    let onwards = connection.dialled.known().filter(|_| leaves && !stays);
    Some(HopResult { hop, onwards, head: None })
}
