//! Addresses of Services: a hash of namespace and name, the next free when taken.
//!
//! So a Service keeps its address when it is deleted and made again, and two
//! runs of the same files give the same addresses.

use std::{collections::BTreeMap, net::Ipv4Addr};

use serde_json::{Value, json};
use weft_controllers::{addresses, object};

use crate::{
    resource::Resource,
    status::{Cause, Status},
};

/// Which address belongs to which Service (`namespace/name`).
#[derive(Debug, Default)]
pub struct Addresses {
    taken: BTreeMap<Ipv4Addr, String>,
}

impl Addresses {
    /// Gives a new Service its address, unless it is to have none.
    pub fn assign(&self, service: &mut Value) -> Result<(), Status> {
        let spec = &service["spec"];
        if spec["type"] == "ExternalName" || spec["clusterIP"] == "None" {
            return Ok(());
        }
        let address = match spec["clusterIP"].as_str() {
            None | Some("") => {
                let (namespace, name) = (object::namespace(service), object::name(service));
                addresses::service(namespace, name, |address| self.taken.contains_key(&address))
            }
            Some(text) => self.wanted(service, text)?,
        };
        service["spec"]["clusterIP"] = address.to_string().into();
        service["spec"]["clusterIPs"] = json!([address.to_string()]);
        Ok(())
    }

    /// Keeps the address over an update; gives one to a Service that now needs it.
    pub fn keep(&self, old: &Value, new: &mut Value) -> Result<(), Status> {
        let had = &old["spec"]["clusterIP"];
        let wish = &new["spec"]["clusterIP"];
        if new["spec"]["type"] == "ExternalName" {
            return Ok(());
        }
        if wish.as_str().is_none_or(str::is_empty) && had.is_string() {
            new["spec"]["clusterIP"] = had.clone();
            new["spec"]["clusterIPs"] = json!([had]);
            return Ok(());
        }
        if wish == had {
            return Ok(());
        }
        if had.is_string() && old["spec"]["type"] != "ExternalName" {
            let cause = Cause::invalid("spec.clusterIP", wish, "field is immutable");
            return Err(Status::invalid("", "Service", object::name(new), &[cause]));
        }
        self.assign(new)
    }

    /// Follows what is stored.
    pub fn note(&mut self, resource: &Resource, old: Option<&Value>, new: Option<&Value>) {
        if resource.plural != "services" {
            return;
        }
        let address =
            |service: &Value| service["spec"]["clusterIP"].as_str()?.parse::<Ipv4Addr>().ok();
        if let Some(address) = old.and_then(address) {
            self.taken.remove(&address);
        }
        if let Some((address, service)) = new.and_then(|new| Some((address(new)?, new))) {
            let owner = format!("{}/{}", object::namespace(service), object::name(service));
            self.taken.insert(address, owner);
        }
    }

    fn wanted(&self, service: &Value, text: &str) -> Result<Ipv4Addr, Status> {
        let refuse = |why: &str| {
            let cause = Cause::invalid("spec.clusterIP", &text.into(), why);
            Status::invalid("", "Service", object::name(service), &[cause])
        };
        let address: Ipv4Addr =
            text.parse().map_err(|_| refuse("must be empty, \"None\", or an IPv4 address"))?;
        if !addresses::is_service(address) {
            return Err(refuse("the provided address is not in the valid range 10.96.0.0/16"));
        }
        match self.taken.get(&address) {
            Some(owner) => Err(refuse(&format!("provided IP is already allocated to {owner}"))),
            None => Ok(address),
        }
    }
}
