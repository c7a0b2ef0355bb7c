//! Who asks.
//!
//! Facts of a proxy's own pod; nothing that a proxy claims of itself gets here.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use weft_api::kubernetes::Pod;
use weft_config::{Interest, Workload};

use crate::workload;

/// Facts of one proxy, from its authenticated pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's labels.
    pub labels: BTreeMap<String, String>,
    /// The pod's service account.
    pub account: String,
    /// The pod's addresses.
    pub addresses: Vec<IpAddr>,
    /// The workload that the pod belongs to.
    pub workload: Workload,
    /// What the proxy is for.
    pub role: Role,
}

/// What a proxy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// It carries the traffic of the application beside it.
    Sidecar,
    /// It listens for what Gateways say.
    Gateway,
}

/// Marks pods into which a sidecar was injected.
const INJECTED: &str = "sidecar.istio.io/status";

/// Names the templates that a pod was injected from.
const TEMPLATES: &str = "inject.istio.io/templates";

impl Client {
    /// The facts of `pod`.
    ///
    /// A pod that runs the proxy as its application is a gateway: one injected
    /// from the template `gateway`, or one that has a container `istio-proxy`
    /// though nothing was injected.
    pub fn of_pod(pod: &Pod) -> Self {
        let annotations = &pod.metadata.annotations;
        let from_template = annotations
            .get(TEMPLATES)
            .is_some_and(|names| names.split(',').any(|name| name.trim() == "gateway"));
        let proxy_alone = !annotations.contains_key(INJECTED)
            && pod.spec.containers.iter().any(|container| container.name == "istio-proxy");
        let account = match pod.spec.service_account_name.as_str() {
            "" => "default",
            name => name,
        };
        Self {
            namespace: pod.metadata.namespace.clone(),
            pod: pod.metadata.name.clone(),
            labels: pod.metadata.labels.clone(),
            account: account.to_owned(),
            addresses: pod.status.pod_ip.into_iter().collect(),
            workload: workload::of_pod(pod),
            role: if from_template || proxy_alone { Role::Gateway } else { Role::Sidecar },
        }
    }

    /// The clients that get the same answer to `interest` as this one.
    pub fn class(&self, interest: &Interest) -> Class {
        match interest {
            Interest::Own => Class::One(Arc::new(self.clone())),
            Interest::Host(..) | Interest::Address(_) => Class::Group(Arc::new(self.group())),
        }
    }

    /// The facts that rules look at.
    pub fn group(&self) -> Group {
        Group { namespace: self.namespace.clone(), labels: self.labels.clone(), role: self.role }
    }
}

/// The facts of a client that decide what it may see and which rules win for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group {
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What its proxy is for.
    pub role: Role,
}

/// Clients that get the same answer to an interest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// All with the same facts.
    Group(Arc<Group>),
    /// One pod, for what it runs itself.
    One(Arc<Client>),
}
