//! Addresses and node ports of Services: a hash of namespace and name, the next
//! free when taken.
//!
//! So a Service keeps its address when it is deleted and made again, and two
//! runs of the same files give the same addresses.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::Ipv4Addr,
};

use serde_json::{Value, json};
use weft_controllers::{addresses, object};

use crate::{
    resource::{Builtin, Resource},
    status::{Cause, Status},
};

/// Which address belongs to which Service (`namespace/name`).
#[derive(Debug, Default)]
pub struct Addresses {
    taken: BTreeMap<Ipv4Addr, String>,
    node_ports: BTreeMap<u64, String>,
}

/// The ports that Services of type NodePort may have on a node.
const NODE_PORTS: std::ops::RangeInclusive<u64> = 30_000..=32_767;

impl Addresses {
    /// Gives a new Service its address, unless it is to have none.
    pub fn assign(&self, service: &mut Value) -> Result<(), Status> {
        self.assign_ports(service)?;
        let spec = &service["spec"];
        if spec["type"] == "ExternalName" || spec["clusterIP"] == "None" {
            return Ok(());
        }
        let address = match spec["clusterIP"].as_str() {
            None | Some("") => {
                let (namespace, name) = (object::namespace(service), object::name(service));
                let is_taken = |address| self.taken.contains_key(&address);
                let found = addresses::service(namespace, name, is_taken);
                if is_taken(found) {
                    let why = "failed to allocate an IP address: range is full";
                    let cause = Cause::invalid("spec.clusterIP", &"".into(), why);
                    return Err(Status::invalid("", "Service", name, &[cause]));
                }
                found
            }
            Some(text) => self.wanted(service, text)?,
        };
        service["spec"]["clusterIP"] = address.to_string().into();
        service["spec"]["clusterIPs"] = json!([address.to_string()]);
        Ok(())
    }

    /// Keeps the address over an update; gives one to a Service that now needs it.
    pub fn keep(&self, old: &Value, new: &mut Value) -> Result<(), Status> {
        keep_ports(old, new);
        self.assign_ports(new)?;
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
        if !resource.is(Builtin::Service) {
            return;
        }
        let address =
            |service: &Value| service["spec"]["clusterIP"].as_str()?.parse::<Ipv4Addr>().ok();
        if let Some(address) = old.and_then(address) {
            self.taken.remove(&address);
        }
        for port in old.into_iter().flat_map(node_ports) {
            self.node_ports.remove(&port);
        }
        for (port, service) in
            new.into_iter().flat_map(|new| node_ports(new).map(move |port| (port, new)))
        {
            self.node_ports.insert(port, owner(service));
        }
        if let Some((address, service)) = new.and_then(|new| Some((address(new)?, new))) {
            self.taken.insert(address, owner(service));
        }
    }

    /// Gives the ports of a Service of type NodePort their ports on the node.
    fn assign_ports(&self, service: &mut Value) -> Result<(), Status> {
        if service["spec"]["type"] != "NodePort" {
            return Ok(());
        }
        let me = owner(service);
        let mut own = BTreeSet::new();
        for (index, port) in object::items(&service["spec"]["ports"]).enumerate() {
            let Some(wish) = port["nodePort"].as_u64().filter(|port| *port != 0) else { continue };
            let refuse = |why: &str| {
                let field = format!("spec.ports[{index}].nodePort");
                let cause = Cause::invalid(field, &port["nodePort"], why);
                Err(Status::invalid("", "Service", object::name(service), &[cause]))
            };
            if !NODE_PORTS.contains(&wish) {
                let (least, most) = (NODE_PORTS.start(), NODE_PORTS.end());
                return refuse(&format!(
                    "provided port is not in the valid range. The range of valid ports is \
                     {least}-{most}"
                ));
            }
            if self.node_ports.get(&wish).is_some_and(|other| *other != me) || !own.insert(wish) {
                return refuse("provided port is already allocated");
            }
        }
        let is_free = |port: &u64| !self.node_ports.contains_key(port) && !own.contains(port);
        let mut free: BTreeSet<u64> = NODE_PORTS.filter(is_free).collect();
        let name = object::name(service).to_owned();
        let ports = service["spec"]["ports"].as_array_mut().into_iter().flatten();
        for (index, port) in ports.enumerate() {
            if port["nodePort"].as_u64().is_some_and(|port| port != 0) {
                continue;
            }
            let found =
                take_port(&mut free, &format!("{me}:{}", port["port"])).ok_or_else(|| {
                    let field = format!("spec.ports[{index}].nodePort");
                    let why = "failed to allocate a nodePort: range is full";
                    Status::invalid("", "Service", &name, &[Cause::invalid(field, &0.into(), why)])
                })?;
            port["nodePort"] = found.into();
        }
        Ok(())
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

/// Takes the first free port from where a hash of `seed` points; none when all are taken.
fn take_port(free: &mut BTreeSet<u64>, seed: &str) -> Option<u64> {
    let count = NODE_PORTS.end() - NODE_PORTS.start() + 1;
    // FNV-1a: the same in every run.
    let hash = seed.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let start = NODE_PORTS.start() + hash % count;
    let found = free.range(start..).next().or_else(|| free.first()).copied()?;
    free.remove(&found);
    Some(found)
}

/// `namespace/name`.
fn owner(service: &Value) -> String {
    format!("{}/{}", object::namespace(service), object::name(service))
}

fn node_ports(service: &Value) -> impl Iterator<Item = u64> + '_ {
    let ports = object::items(&service["spec"]["ports"]);
    ports.filter_map(|port| port["nodePort"].as_u64()).filter(|port| *port != 0)
}

/// A port that says nothing of the node keeps what it had there.
fn keep_ports(old: &Value, new: &mut Value) {
    if new["spec"]["type"] != "NodePort" {
        return;
    }
    let taken: BTreeSet<u64> = node_ports(new).collect();
    let ports = object::items(&old["spec"]["ports"]);
    let before: HashMap<(&Value, &Value), u64> = ports
        .filter_map(|one| Some(((&one["port"], &one["protocol"]), one["nodePort"].as_u64()?)))
        .collect();
    for port in new["spec"]["ports"].as_array_mut().into_iter().flatten() {
        let had = before.get(&(&port["port"], &port["protocol"])).copied();
        if let Some(had) = had.filter(|had| port["nodePort"].is_null() && !taken.contains(had)) {
            port["nodePort"] = had.into();
        }
    }
}
