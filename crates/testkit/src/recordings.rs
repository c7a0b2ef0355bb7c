//! Recordings of what Istio and Envoy did: their worlds as documents, and the lists of what is compared.
//!
//! Two tests replay them: one through explanations, one through a proxy that runs.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};
use weft_manifest::Document;

/// Fields of requests that say something of the proxy or of the connection.
pub const OF_REQUESTS: &[&str] = &[
    "connection",
    "content-length",
    "host",
    "transfer-encoding",
    "x-b3-sampled",
    "x-b3-spanid",
    "x-b3-traceid",
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-external-address",
    "x-envoy-original-path",
    "x-exchange",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-request-id",
];

/// The same of replies.
pub const OF_REPLIES: &[&str] = &["connection", "content-length", "date", "server"];

/// Fields of a message by their names in lower case; several values are joined.
pub type Fields = BTreeMap<String, String>;

/// A group of worlds with the exchanges that were recorded in them.
pub struct Recording {
    value: Value,
    /// What worlds share, by name.
    backdrops: BTreeMap<String, Vec<Document>>,
}

impl Recording {
    /// Reads a group.
    pub fn read(group: &str) -> Self {
        let path = folder().join(format!("{group}.json"));
        let text = fs::read_to_string(path).expect("the recording is there");
        let value: Value = serde_json::from_str(&text).expect("it is JSON");
        let backdrops = value["backdrops"].as_object().expect("backdrops").iter();
        let backdrops = backdrops.map(|(name, texts)| (name.clone(), documents(texts))).collect();
        Self { value, backdrops }
    }

    /// The worlds of the group.
    pub fn worlds(&self) -> &[Value] {
        self.value["worlds"].as_array().expect("a group has worlds")
    }

    /// The objects of a world, with those that it shares, and the mesh's settings.
    pub fn documents(&self, world: &Value) -> Vec<Document> {
        let common = match world["backdrop"].as_str() {
            Some(name) => self.backdrops.get(name),
            None => self.backdrops.values().next(),
        };
        let mut all = common.cloned().unwrap_or_default();
        all.extend(documents(&world["objects"]));
        if world["mesh_config"].is_object() {
            let settings = json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": "istio", "namespace": "istio-system"},
                "data": {"mesh": world["mesh_config"].to_string()},
            });
            all.extend(weft_manifest::read("mesh.yaml", &settings.to_string()));
        }
        all
    }
}

/// The documents in a list of texts.
fn documents(texts: &Value) -> Vec<Document> {
    let texts = texts.as_array().into_iter().flatten().filter_map(Value::as_str);
    texts.flat_map(|text| weft_manifest::read("world.yaml", text)).collect()
}

/// The exchanges of a world.
pub fn exchanges(world: &Value) -> &[Value] {
    world["exchanges"].as_array().expect("a world has exchanges")
}

/// Whether two recordings of an exchange differed.
pub fn is_unstable(exchange: &Value) -> bool {
    exchange["unstable"].is_array() || exchange["unstable"].is_object()
}

/// The differences of a group that are listed for one of the two replays: the reason, by world
/// and number of the exchange.
pub fn listed(group: &str, replay: &str) -> BTreeMap<(String, usize), String> {
    let text = fs::read_to_string(folder().join("differences.yaml")).expect("it is there");
    let documents = weft_manifest::read("differences.yaml", &text);
    let list = documents[0].value.as_ref().expect("it is YAML")["differences"].clone();
    let mut listed = BTreeMap::new();
    for one in list.as_array().expect("a list of differences") {
        assert!(matches!(one["replay"].as_str(), Some("explain" | "proxy")), "whose? {one}");
        if one["group"] != group || one["replay"] != replay {
            continue;
        }
        let reason = one["reason"].as_str().expect("a reason");
        for world in several(&one["world"]) {
            for exchange in several(&one["exchange"]) {
                let world = world.as_str().expect("the name of a world").to_owned();
                let number = exchange.as_u64().expect("the number of an exchange");
                let key = (world, usize::try_from(number).expect("a small number"));
                let before = listed.insert(key, reason.to_owned());
                assert!(before.is_none(), "listed twice: {one}");
            }
        }
    }
    listed
}

/// One value, or each of a list.
fn several(value: &Value) -> &[Value] {
    match value {
        Value::Array(all) => all,
        one => std::slice::from_ref(one),
    }
}

/// Recorded fields but for those `left_out`.
pub fn fields(recorded: Option<&Map<String, Value>>, left_out: &[&str]) -> Fields {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = recorded.into_iter().flatten().map(|(name, value)| match value.as_array() {
        Some(values) => (name.clone(), values.iter().map(text).collect()),
        None => (name.clone(), vec![text(value)]),
    });
    own_fields(&all.collect(), left_out)
}

/// Fields that were found but for those `left_out`.
pub fn own_fields(own: &BTreeMap<String, Vec<String>>, left_out: &[&str]) -> Fields {
    own.iter()
        .filter(|(name, _)| !left_out.contains(&name.to_ascii_lowercase().as_str()))
        .map(|(name, values)| {
            let joined = values.join(",").replace(", ", ",");
            // HTTP/1 has one field for cookies.
            let joined = if name == "cookie" { joined.replace("; ", ",") } else { joined };
            (name.to_ascii_lowercase(), joined)
        })
        .collect()
}

/// Where the recordings are.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/recordings")
}
