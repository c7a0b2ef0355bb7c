//! What ConfigMaps and Secrets have to be.

use serde_json::Value;

use super::{causes::Causes, names};

/// The most that the values of a ConfigMap or a Secret may hold.
const MOST: usize = 1 << 20;

/// Checks a ConfigMap.
pub fn config_map(object: &Value, causes: &mut Causes) {
    let mut size = 0;
    for list in ["data", "binaryData"] {
        for (key, value) in object[list].as_object().into_iter().flatten() {
            check_key(key, &format!("{list}[{key}]"), causes);
            if list == "data" && object["binaryData"].get(key).is_some() {
                let rule = "duplicate of key present in binaryData";
                causes.invalid(format!("data[{key}]"), &key.as_str().into(), rule);
            }
            let length = value.as_str().unwrap_or_default().len();
            size += if list == "data" { length } else { length / 4 * 3 };
        }
    }
    if size > MOST {
        // Kubernetes names no field here.
        causes.too_long("[]", MOST);
    }
}

/// Checks a Secret.
pub fn secret(object: &Value, causes: &mut Causes) {
    let mut size = 0;
    for (key, value) in object["data"].as_object().into_iter().flatten() {
        check_key(key, &format!("data[{key}]"), causes);
        size += value.as_str().unwrap_or_default().len() / 4 * 3;
    }
    if size > MOST {
        causes.too_long("data", MOST);
    }
    let wanted: &[&str] = match object["type"].as_str() {
        Some("kubernetes.io/tls") => &["tls.crt", "tls.key"],
        Some("kubernetes.io/dockerconfigjson") => &[".dockerconfigjson"],
        Some("kubernetes.io/dockercfg") => &[".dockercfg"],
        Some("kubernetes.io/ssh-auth") => &["ssh-privatekey"],
        _ => &[],
    };
    for key in wanted {
        if object["data"].get(key).is_none() {
            causes.required(format!("data[{key}]"), "");
        }
    }
}

fn check_key(key: &str, field: &str, causes: &mut Causes) {
    causes.follows(field, &key.into(), names::config_key);
}
