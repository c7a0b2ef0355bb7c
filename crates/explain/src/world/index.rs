//! The objects by what they are looked up by.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use weft_api::{Kind, Object, kubernetes::SERVICE_NAME_LABEL};
use weft_translate::Translator;

/// The objects by what they are looked up by, so that a look does not walk all of them.
#[derive(Default)]
pub(super) struct Index {
    /// Of each kind, by key.
    pub(super) kinds: BTreeMap<Kind, Vec<Arc<Object>>>,
    /// EndpointSlices by namespace and Service.
    pub(super) slices: HashMap<(String, String), Vec<Arc<Object>>>,
    /// Pods by address.
    pub(super) pods: HashMap<IpAddr, Arc<Object>>,
    /// Services by address.
    pub(super) services: HashMap<IpAddr, Arc<Object>>,
    /// Services with a selector, by namespace.
    pub(super) selecting: HashMap<String, Vec<Arc<Object>>>,
}

impl Index {
    pub(super) fn of(translator: &Translator) -> Self {
        let mut all: Vec<_> = translator.objects().collect();
        all.sort_by_key(|(key, _)| *key);
        let mut index = Self::default();
        for (key, object) in all {
            index.kinds.entry(key.kind).or_default().push(Arc::clone(object));
            match &**object {
                Object::EndpointSlice(slice) => {
                    let Some(name) = slice.metadata.labels.get(SERVICE_NAME_LABEL) else {
                        continue;
                    };
                    let service = (key.namespace.clone(), name.clone());
                    index.slices.entry(service).or_default().push(Arc::clone(object));
                }
                Object::Pod(pod) => {
                    if let Some(ip) = pod.status.pod_ip {
                        index.pods.entry(ip).or_insert_with(|| Arc::clone(object));
                    }
                }
                Object::Service(service) => {
                    for ip in service.addresses() {
                        index.services.entry(ip).or_insert_with(|| Arc::clone(object));
                    }
                    if !service.spec.selector.is_empty() {
                        let of_namespace = index.selecting.entry(key.namespace.clone());
                        of_namespace.or_default().push(Arc::clone(object));
                    }
                }
                _ => {}
            }
        }
        index
    }
}
