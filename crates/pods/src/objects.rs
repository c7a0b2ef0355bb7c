//! Other objects and tokens, as one pod sees them.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use serde_json::Value;
use weft_apiserver::{Authority, TokenRequest};

use crate::{
    environment::Objects,
    pod_store::PodStore,
    spec::Pod,
    volumes::{self, Tokens},
};

/// The objects of a pod's namespace, and its service account.
pub(crate) struct PodObjects<'a> {
    store: &'a PodStore,
    authority: &'a Authority,
    pod: &'a Pod,
}

impl<'a> PodObjects<'a> {
    pub(crate) fn new(store: &'a PodStore, authority: &'a Authority, pod: &'a Pod) -> Self {
        Self { store, authority, pod }
    }

    /// Versions of the objects that the pod's volumes are made from: its account's
    /// identity, and each ConfigMap and Secret. Absent objects count as such.
    pub(crate) fn versions(&self) -> Vec<Option<String>> {
        let namespace = &self.pod.metadata.namespace;
        let field = |plural: &str, name: &str, field: &str| {
            let object = self.store.find("", plural, namespace, name)?;
            object["metadata"][field].as_str().map(str::to_owned)
        };
        let account = field("serviceaccounts", self.account(), "uid");
        let files = volumes::objects(&self.pod.spec.volumes).into_iter();
        let versions = files.map(|(plural, name)| field(plural, &name, "resourceVersion"));
        std::iter::once(account).chain(versions).collect()
    }

    fn account(&self) -> &str {
        match self.pod.spec.service_account_name.as_str() {
            "" => "default",
            name => name,
        }
    }

    fn entries(&self, plural: &str, name: &str, fields: [&str; 2]) -> Option<Entries> {
        let object = self.store.find("", plural, &self.pod.metadata.namespace, name)?;
        let [text, encoded] = fields;
        let mut entries = Entries::new();
        for (key, value) in object[text].as_object().into_iter().flatten() {
            entries.insert(key.clone(), value.as_str().unwrap_or_default().into());
        }
        for (key, value) in object[encoded].as_object().into_iter().flatten() {
            entries.insert(key.clone(), decode(value));
        }
        Some(entries)
    }
}

type Entries = BTreeMap<String, Vec<u8>>;

impl Objects for PodObjects<'_> {
    fn config_map(&self, name: &str) -> Option<Entries> {
        self.entries("configmaps", name, ["data", "binaryData"])
    }

    fn secret(&self, name: &str) -> Option<Entries> {
        self.entries("secrets", name, ["stringData", "data"])
    }
}

impl Tokens for PodObjects<'_> {
    fn token(&self, audience: &str, lifetime: Duration) -> Result<String, String> {
        let metadata = &self.pod.metadata;
        let account = self.account();
        let object = self
            .store
            .find("", "serviceaccounts", &metadata.namespace, account)
            .ok_or_else(|| format!("serviceaccount {account:?} not found"))?;
        let request = TokenRequest {
            namespace: metadata.namespace.clone(),
            account: account.to_owned(),
            account_uid: object["metadata"]["uid"].as_str().unwrap_or_default().to_owned(),
            pod: Some((metadata.name.clone(), metadata.uid.clone())),
            audiences: if audience.is_empty() { Vec::new() } else { vec![audience.to_owned()] },
            lifetime,
        };
        self.authority
            .service_account_token(&request, SystemTime::now())
            .map_err(|error| error.to_string())
    }

    fn api_certificate(&self) -> &str {
        self.authority.ca_pem()
    }
}

/// What the API server accepted as base64 is base64.
fn decode(value: &Value) -> Vec<u8> {
    decode_base64(value.as_str().unwrap_or_default())
}

/// RFC 4648, 4; characters that do not belong there are skipped.
fn decode_base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0u32, 0u32);
    for digit in text.bytes().filter_map(digit) {
        held = held << 6 | u32::from(digit);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits & 0xff) as u8);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_decoded() {
        for (text, expected) in
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("aGVsbG8+Pw==", "hello>?")]
        {
            assert_eq!(decode_base64(text), expected.as_bytes());
        }
    }
}
