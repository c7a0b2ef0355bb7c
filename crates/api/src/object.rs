//! Any object, and its name.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    Kind, Metadata,
    destination_rule::DestinationRule,
    gateway::Gateway,
    ingress::{Ingress, IngressClass},
    kubernetes::{ConfigMap, EndpointSlice, Namespace, Pod, Service},
    service_entry::{ServiceEntry, WorkloadEntry},
    sidecar::Sidecar,
    virtual_service::VirtualService,
};

/// Names one object: `VirtualService/default/hello`, `Namespace/legacy`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for kinds that have none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    /// The key of `kind` called `name` in `namespace`.
    pub fn new(kind: Kind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.is_empty() {
            true => write!(f, "{}/{}", self.kind, self.name),
            false => write!(f, "{}/{}/{}", self.kind, self.namespace, self.name),
        }
    }
}

/// A text that is not `Kind/namespace/name` or `Kind/name`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not KIND/NAMESPACE/NAME")]
pub struct NotAKey(pub String);

impl FromStr for Key {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        let error = || NotAKey(text.to_owned());
        let mut parts = text.split('/');
        let kind: Kind = parts.next().and_then(|kind| kind.parse().ok()).ok_or_else(error)?;
        match (parts.next(), parts.next(), parts.next()) {
            (Some(name), None, None) if !name.is_empty() => Ok(Self::new(kind, "", name)),
            (Some(namespace), Some(name), None) if !name.is_empty() => {
                Ok(Self::new(kind, namespace, name))
            }
            _ => Err(error()),
        }
    }
}

impl TryFrom<String> for Key {
    type Error = NotAKey;

    fn try_from(text: String) -> Result<Self, NotAKey> {
        text.parse()
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.to_string()
    }
}

/// An object that decides something about traffic.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// `v1 Namespace`
    Namespace(Namespace),
    /// `v1 Pod`
    Pod(Pod),
    /// `v1 Service`
    Service(Service),
    /// `v1 ConfigMap`
    ConfigMap(ConfigMap),
    /// `discovery.k8s.io/v1 EndpointSlice`
    EndpointSlice(EndpointSlice),
    /// `networking.k8s.io/v1 Ingress`
    Ingress(Ingress),
    /// `networking.k8s.io/v1 IngressClass`
    IngressClass(IngressClass),
    /// `networking.istio.io Gateway`
    Gateway(Gateway),
    /// `networking.istio.io VirtualService`
    VirtualService(VirtualService),
    /// `networking.istio.io DestinationRule`
    DestinationRule(DestinationRule),
    /// `networking.istio.io ServiceEntry`
    ServiceEntry(ServiceEntry),
    /// `networking.istio.io WorkloadEntry`
    WorkloadEntry(WorkloadEntry),
    /// `networking.istio.io Sidecar`
    Sidecar(Sidecar),
}

impl Object {
    /// The object's metadata.
    pub fn metadata(&self) -> &Metadata {
        match self {
            Self::Namespace(object) => &object.metadata,
            Self::Pod(object) => &object.metadata,
            Self::Service(object) => &object.metadata,
            Self::ConfigMap(object) => &object.metadata,
            Self::EndpointSlice(object) => &object.metadata,
            Self::Ingress(object) => &object.metadata,
            Self::IngressClass(object) => &object.metadata,
            Self::Gateway(object) => &object.metadata,
            Self::VirtualService(object) => &object.metadata,
            Self::DestinationRule(object) => &object.metadata,
            Self::ServiceEntry(object) => &object.metadata,
            Self::WorkloadEntry(object) => &object.metadata,
            Self::Sidecar(object) => &object.metadata,
        }
    }

    /// The object's metadata, to be filled in.
    pub(crate) fn metadata_mut(&mut self) -> &mut Metadata {
        match self {
            Self::Namespace(object) => &mut object.metadata,
            Self::Pod(object) => &mut object.metadata,
            Self::Service(object) => &mut object.metadata,
            Self::ConfigMap(object) => &mut object.metadata,
            Self::EndpointSlice(object) => &mut object.metadata,
            Self::Ingress(object) => &mut object.metadata,
            Self::IngressClass(object) => &mut object.metadata,
            Self::Gateway(object) => &mut object.metadata,
            Self::VirtualService(object) => &mut object.metadata,
            Self::DestinationRule(object) => &mut object.metadata,
            Self::ServiceEntry(object) => &mut object.metadata,
            Self::WorkloadEntry(object) => &mut object.metadata,
            Self::Sidecar(object) => &mut object.metadata,
        }
    }

    /// The object's kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Namespace(_) => Kind::Namespace,
            Self::Pod(_) => Kind::Pod,
            Self::Service(_) => Kind::Service,
            Self::ConfigMap(_) => Kind::ConfigMap,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Ingress(_) => Kind::Ingress,
            Self::IngressClass(_) => Kind::IngressClass,
            Self::Gateway(_) => Kind::Gateway,
            Self::VirtualService(_) => Kind::VirtualService,
            Self::DestinationRule(_) => Kind::DestinationRule,
            Self::ServiceEntry(_) => Kind::ServiceEntry,
            Self::WorkloadEntry(_) => Kind::WorkloadEntry,
            Self::Sidecar(_) => Kind::Sidecar,
        }
    }

    /// The object's name among all objects.
    pub fn key(&self) -> Key {
        let metadata = self.metadata();
        Key::new(self.kind(), metadata.namespace.clone(), metadata.name.clone())
    }
}
