//! Volumes as JSON, files as lines.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::*;
use crate::{environment::Capacity, spec::Pod};

struct Known;

impl Objects for Known {
    fn config_map(&self, name: &str) -> Option<BTreeMap<String, Vec<u8>>> {
        let entries = [("a.txt".into(), b"A".to_vec()), ("b.txt".into(), b"B".to_vec())];
        (name == "settings").then(|| BTreeMap::from(entries))
    }

    fn secret(&self, name: &str) -> Option<BTreeMap<String, Vec<u8>>> {
        let one = |key: &str| Some(BTreeMap::from([(key.to_owned(), b"K".to_vec())]));
        match name {
            "keys" => one("key"),
            "stray" => one("../key"),
            _ => None,
        }
    }
}

impl Tokens for Known {
    fn token(&self, audience: &str, lifetime: Duration) -> Result<String, String> {
        Ok(format!("token for {audience:?} {}s", lifetime.as_secs()))
    }

    fn api_certificate(&self) -> &str {
        "CERTIFICATE"
    }
}

fn with_sources<T>(use_them: impl FnOnce(&Sources<'_>) -> T) -> T {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "web-1", "namespace": "shop", "labels": {"app": "web"}},
    }))
    .unwrap();
    let capacity = Capacity { cpus: 2, memory: 1 << 30 };
    let fields = Fields { pod: &pod, address: Ipv4Addr::LOCALHOST, capacity };
    use_them(&Sources { fields, objects: &Known, tokens: &Known })
}

#[track_caller]
fn check(volume: Value, expected: &str) {
    let volume: Volume = serde_json::from_value(volume).unwrap();
    let found = with_sources(|sources| files(&volume, sources));
    assert_eq!(text(found), expected);
}

fn text(found: Result<Files, String>) -> String {
    let line = |(name, content): (String, Content)| {
        let text = String::from_utf8_lossy(&content.bytes).trim_end().to_owned();
        format!("{name} {:o} {text}", content.mode)
    };
    match found {
        Ok(files) => files.into_iter().map(line).collect::<Vec<_>>().join("\n"),
        Err(error) => format!("! {error}"),
    }
}

#[test]
fn objects_become_files_whole_or_by_key() {
    check(json!({"configMap": {"name": "settings"}}), "a.txt 644 A\nb.txt 644 B");
    check(
        json!({"secret": {"secretName": "keys", "defaultMode": 0o400,
            "items": [{"key": "key", "path": "tls/private"}]}}),
        "tls/private 400 K",
    );
    check(json!({"emptyDir": {"medium": "Memory"}}), "");
}

#[test]
fn projected_sources_share_a_folder() {
    check(
        json!({"projected": {"defaultMode": 0o640, "sources": [
            {"serviceAccountToken": {"audience": "istio-ca", "expirationSeconds": 43200, "path": "istio-token"}},
            {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
            {"configMap": {"name": "settings", "items": [{"key": "a.txt", "path": "a"}]}},
        ]}}),
        "a 640 A\nistio-token 640 token for \"istio-ca\" 43200s\nlabels 640 app=\"web\"",
    );
}

#[test]
fn what_is_missing_or_not_served_is_named() {
    check(json!({"configMap": {"name": "gone"}}), "! configmap \"gone\" not found");
    check(json!({"configMap": {"name": "gone", "optional": true}}), "");
    check(
        json!({"configMap": {"name": "settings", "items": [{"key": "z", "path": "z"}]}}),
        "! configmap \"settings\" references non-existent key: z",
    );
    let refused = |volume: Value| check_kind(&serde_json::from_value(volume).unwrap()).unwrap_err();
    assert_eq!(
        refused(json!({"name": "disk", "hostPath": {"path": "/"}})),
        "volume \"disk\": hostPath is not served; use emptyDir, configMap or secret",
    );
    assert_eq!(
        refused(json!({"name": "nfs", "nfs": {}})),
        "volume \"nfs\": its kind is not served; use emptyDir",
    );
}

#[test]
fn no_path_leaves_its_volume() {
    check(
        json!({"configMap": {"name": "settings", "items": [{"key": "a.txt", "path": "../../etc/x"}]}}),
        "! path \"../../etc/x\" leaves its volume",
    );
    check(json!({"secret": {"secretName": "stray"}}), "! path \"../key\" leaves its volume");
    for name in ["..", "/home", "a/b", ""] {
        assert!(check_name(name).is_err(), "{name:?}");
    }
    assert_eq!(check_name("istio-token"), Ok(()));
}

#[test]
fn what_a_link_leads_to_is_left_alone() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(other.path().join("mine"), "1").unwrap();
    std::os::unix::fs::symlink(other.path(), folder.path().join("link")).unwrap();
    write(folder.path(), &Files::new()).unwrap();
    assert!(other.path().join("mine").exists());
    assert!(!folder.path().join("link").exists());
}

#[test]
fn every_pod_can_reach_the_api_server() {
    assert_eq!(
        text(with_sources(account_files)),
        "ca.crt 644 CERTIFICATE\nnamespace 644 shop\ntoken 644 token for \"\" 3600s"
    );
}

#[test]
fn a_token_is_renewed_before_its_end() {
    let volumes: Vec<Volume> = serde_json::from_value(json!([
        {"projected": {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 1000}}]}},
    ]))
    .unwrap();
    assert_eq!(renewal(&volumes), Duration::from_secs(800));
    assert_eq!(renewal(&[]), Duration::from_secs(2880));
}

#[test]
fn a_folder_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let content = |text: &str| Content { bytes: text.into(), mode: 0o600 };
    let first = Files::from([("a".into(), content("1")), ("deep/b".into(), content("2"))]);
    write(folder.path(), &first).unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("deep/b")).unwrap(), "2");
    write(folder.path(), &Files::from([("a".into(), content("3"))])).unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("a")).unwrap(), "3");
    assert!(!folder.path().join("deep/b").exists());
}
