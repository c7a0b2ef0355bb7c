//! The variables of a container, and the pod's fields as text.
//!
//! Pure: other objects come through [`Objects`].

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use serde_json::Value;

use crate::network::{API, NODE};
use crate::spec::{Container, Pod, ResourceFieldRef, Variable};

/// The longest argument or variable that a program can be given (`MAX_ARG_STRLEN` of
/// Linux, with the zero at its end).
const LONGEST: usize = 128 << 10;
/// What the arguments and variables of a program can take together: a quarter of the
/// customary limit of a stack.
const LARGEST: usize = 2 << 20;

/// The machine as the node tells it to pods that ask for limits they do not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capacity {
    pub(crate) cpus: usize,
    pub(crate) memory: u64,
}

/// ConfigMaps and Secrets of the pod's namespace, decoded.
pub(crate) trait Objects {
    /// The entries of a ConfigMap.
    fn config_map(&self, name: &str) -> Option<BTreeMap<String, Vec<u8>>>;
    /// The entries of a Secret.
    fn secret(&self, name: &str) -> Option<BTreeMap<String, Vec<u8>>>;
}

/// What a pod's fields are read from.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) address: Ipv4Addr,
    pub(crate) capacity: Capacity,
}

/// All variables of `container`, in the order in which they were given; why not,
/// when something that they need is missing.
pub(crate) fn variables(
    fields: Fields<'_>,
    container: &Container,
    objects: &dyn Objects,
) -> Result<Variables, String> {
    let mut found = Variables::default();
    for source in &container.env_from {
        let (kind, reference, entries) = match (&source.config_map_ref, &source.secret_ref) {
            (Some(reference), _) => ("configmap", reference, objects.config_map(&reference.name)),
            (_, Some(reference)) => ("secret", reference, objects.secret(&reference.name)),
            _ => continue,
        };
        match entries {
            Some(entries) => {
                for (key, value) in entries {
                    let value = String::from_utf8_lossy(&value).into_owned();
                    found.set(format!("{}{key}", source.prefix), value)?;
                }
            }
            None if reference.optional => {}
            None => return Err(format!("{kind} {:?} not found", reference.name)),
        }
    }
    for variable in &container.env {
        if let Some(value) = value_of(fields, variable, container, objects)? {
            let value = match variable.value {
                Some(_) => found.expand(&value).ok_or_else(|| too_long(&variable.name))?,
                None => value,
            };
            found.set(variable.name.clone(), value)?;
        }
    }
    let defaults = [
        ("KUBERNETES_SERVICE_HOST", API.to_string()),
        ("KUBERNETES_SERVICE_PORT", "443".into()),
        ("KUBERNETES_SERVICE_PORT_HTTPS", "443".into()),
    ];
    for (name, value) in defaults {
        if found.value(name).is_none() {
            found.set(name.into(), value)?;
        }
    }
    Ok(found)
}

/// The words of a command line with the variables in them filled in; why not, when a
/// program cannot be given them.
pub(crate) fn command_line(line: &[String], variables: &Variables) -> Result<Vec<String>, String> {
    let mut room = LARGEST.saturating_sub(variables.bytes);
    let mut words = Vec::new();
    for (index, word) in line.iter().enumerate() {
        let word = variables.expand(word).ok_or_else(|| {
            format!("word {index} of the command line is longer than {LONGEST} bytes")
        })?;
        room = room.checked_sub(word.len() + 1).ok_or_else(too_large)?;
        words.push(word);
    }
    Ok(words)
}

fn too_long(name: &str) -> String {
    format!("env {name}: the value is longer than {LONGEST} bytes")
}

fn too_large() -> String {
    format!("command line and env are larger than {LARGEST} bytes together")
}

/// A field of the pod by its path, such as `metadata.labels['app']`.
pub(crate) fn field(fields: Fields<'_>, path: &str) -> Option<String> {
    let metadata = &fields.pod.metadata;
    let spec = &fields.pod.spec;
    if let Some((map, key)) = subscript(path) {
        let map = match map {
            "metadata.labels" => &metadata.labels,
            "metadata.annotations" => &metadata.annotations,
            _ => return None,
        };
        return Some(map.get(key).cloned().unwrap_or_default());
    }
    Some(match path {
        "metadata.name" => metadata.name.clone(),
        "metadata.namespace" => metadata.namespace.clone(),
        "metadata.uid" => metadata.uid.clone(),
        "metadata.labels" => lines(&metadata.labels),
        "metadata.annotations" => lines(&metadata.annotations),
        "spec.nodeName" => spec.node_name.clone(),
        "spec.serviceAccountName" => spec.service_account_name.clone(),
        "status.podIP" | "status.podIPs" => fields.address.to_string(),
        "status.hostIP" | "status.hostIPs" => NODE.to_string(),
        _ => return None,
    })
}

/// A resource of a container in units of the divisor, rounded up.
pub(crate) fn resource(
    fields: Fields<'_>,
    reference: &ResourceFieldRef,
    own: Option<&Container>,
) -> Option<String> {
    let spec = &fields.pod.spec;
    let container = match &reference.container_name {
        Some(name) => {
            spec.containers.iter().chain(&spec.init_containers).find(|one| &one.name == name)?
        }
        None => own?,
    };
    let (kind, name) = reference.resource.split_once('.')?;
    let amounts = match kind {
        "limits" => &container.resources.limits,
        "requests" => &container.resources.requests,
        _ => return None,
    };
    let amount = match (amounts.get(name).and_then(quantity), kind, name) {
        (Some(amount), ..) => amount,
        // Without a limit the machine is the limit.
        (None, "limits", "cpu") => fields.capacity.cpus as f64,
        (None, "limits", "memory") => fields.capacity.memory as f64,
        _ => 0.0,
    };
    let divisor = reference.divisor.as_ref().and_then(quantity).filter(|divisor| *divisor > 0.0);
    Some(format!("{:.0}", (amount / divisor.unwrap_or(1.0)).ceil()))
}

fn value_of(
    fields: Fields<'_>,
    variable: &Variable,
    container: &Container,
    objects: &dyn Objects,
) -> Result<Option<String>, String> {
    if let Some(value) = &variable.value {
        return Ok(Some(value.clone()));
    }
    let from = &variable.value_from;
    if let Some(reference) = &from.field_ref {
        let path = &reference.field_path;
        return field(fields, path)
            .map(Some)
            .ok_or_else(|| format!("env {}: no field {path:?}", variable.name));
    }
    if let Some(reference) = &from.resource_field_ref {
        return resource(fields, reference, Some(container))
            .map(Some)
            .ok_or_else(|| format!("env {}: no resource {:?}", variable.name, reference.resource));
    }
    let (kind, reference, entries) = match (&from.config_map_key_ref, &from.secret_key_ref) {
        (Some(reference), _) => ("configmap", reference, objects.config_map(&reference.name)),
        (_, Some(reference)) => ("secret", reference, objects.secret(&reference.name)),
        // A variable without a value is empty.
        _ => return Ok(Some(String::new())),
    };
    let value = entries.as_ref().and_then(|entries| entries.get(&reference.key));
    match (value, &entries) {
        (Some(value), _) => Ok(Some(String::from_utf8_lossy(value).into_owned())),
        _ if reference.optional => Ok(None),
        (None, Some(_)) => {
            Err(format!("couldn't find key {} in {kind} {:?}", reference.key, reference.name))
        }
        (None, None) => Err(format!("{kind} {:?} not found", reference.name)),
    }
}

/// Variables in order; a later one replaces an earlier one in its place.
///
/// Invariant: a program can be given each, and all together.
#[derive(Debug, Default)]
pub(crate) struct Variables {
    list: Vec<(String, String)>,
    places: HashMap<String, usize>,
    /// The length of all, as a program is given them.
    bytes: usize,
}

impl Variables {
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.places.get(name).map(|place| self.list[*place].1.as_str())
    }

    /// Adds a variable; why not, when a program cannot be given it.
    pub(crate) fn set(&mut self, name: String, value: String) -> Result<(), String> {
        // `NAME=value` and a zero.
        let length = name.len() + value.len() + 2;
        if length > LONGEST {
            return Err(too_long(&name));
        }
        let place = self.places.get(&name).copied();
        let before = place.map_or(0, |place| name.len() + self.list[place].1.len() + 2);
        let bytes = self.bytes - before + length;
        if bytes > LARGEST {
            return Err(too_large());
        }
        self.bytes = bytes;
        match place {
            Some(place) => self.list[place].1 = value,
            None => {
                self.places.insert(name.clone(), self.list.len());
                self.list.push((name, value));
            }
        }
        Ok(())
    }

    pub(crate) fn into_list(self) -> Vec<(String, String)> {
        self.list
    }

    /// `$(NAME)` becomes the variable's value, `$$` a dollar sign; what is unknown
    /// stays as it is. Nothing when the result is too long for a program.
    fn expand(&self, text: &str) -> Option<String> {
        let mut out = String::new();
        let mut rest = text;
        // Looked for once: without one behind it, no other `$(` has an end either.
        let mut has_end = true;
        while let Some(dollar) = rest.find('$') {
            out.push_str(&rest[..dollar]);
            let after = &rest[dollar + 1..];
            let open = after.strip_prefix('(').filter(|_| has_end);
            let closed = open.and_then(|open| open.split_once(')'));
            has_end &= open.is_none() || closed.is_some();
            if let Some(escaped) = after.strip_prefix('$') {
                out.push('$');
                rest = escaped;
            } else if let Some((name, tail)) = closed {
                match self.value(name) {
                    Some(value) => out.push_str(value),
                    None => out.push_str(&rest[dollar..dollar + name.len() + 3]),
                }
                rest = tail;
            } else {
                out.push('$');
                rest = after;
            }
            if out.len() > LONGEST {
                return None;
            }
        }
        out.push_str(rest);
        (out.len() < LONGEST).then_some(out)
    }
}

fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, key) = path.strip_suffix("']")?.split_once("['")?;
    Some((map, key))
}

/// A map as files of the downward API have it.
fn lines(map: &BTreeMap<String, String>) -> String {
    map.iter().map(|(key, value)| format!("{key}={value:?}\n")).collect()
}

/// A Kubernetes quantity, such as `100m`, `128Mi` or `2`.
fn quantity(value: &Value) -> Option<f64> {
    const SUFFIXES: [(&str, f64); 12] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
    ];
    let text = match value {
        Value::Number(number) => return number.as_f64(),
        Value::String(text) => text.trim(),
        _ => return None,
    };
    for (suffix, factor) in SUFFIXES {
        if let Some(number) = text.strip_suffix(suffix) {
            return number.parse::<f64>().ok().map(|number| number * factor);
        }
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests;
