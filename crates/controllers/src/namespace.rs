//! What a namespace gets when it begins, and how it ends.

use serde_json::{Value, json};

use crate::{object, write::Write};

/// The ConfigMap that tells pods which authority signed the API server.
pub const ROOT_CA: &str = "kube-root-ca.crt";

/// What a living namespace lacks: its default account and the authority's certificate.
pub fn furnish(
    namespace: &Value,
    account: Option<&Value>,
    root: Option<&Value>,
    authority: &str,
) -> Vec<Write> {
    if object::is_terminating(namespace) {
        return Vec::new();
    }
    let within = object::name(namespace);
    let mut writes = Vec::new();
    if account.is_none() {
        writes.push(Write::Create(json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": within},
        })));
    }
    let data = json!({"ca.crt": authority});
    match root {
        None => writes.push(Write::Create(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": ROOT_CA, "namespace": within}, "data": data,
        }))),
        Some(root) if root["data"] != data => {
            let mut mended = root.clone();
            mended["data"] = data;
            writes.push(Write::Update(mended));
        }
        Some(_) => {}
    }
    writes
}

/// The next steps of a namespace's end, given what is still in it.
pub fn end(namespace: &Value, contents: &[&Value]) -> Vec<Write> {
    if !object::is_terminating(namespace) {
        return Vec::new();
    }
    if contents.is_empty() {
        let mut empty = namespace.clone();
        empty["spec"]["finalizers"] = json!([]);
        return vec![Write::Finalize(empty)];
    }
    contents
        .iter()
        .filter(|object| !object::is_terminating(object))
        .map(|object| Write::Delete(Value::clone(object)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(ending: Option<&str>) -> Value {
        json!({"metadata": {"name": "n", "deletionTimestamp": ending}, "spec": {"finalizers": ["kubernetes"]}})
    }

    #[test]
    fn a_namespace_gets_its_account_and_its_authority_once() {
        let made = furnish(&namespace(None), None, None, "PEM");
        let [Write::Create(account), Write::Create(root)] = made.as_slice() else {
            panic!("{made:?}")
        };
        assert_eq!(account["kind"], "ServiceAccount");
        assert_eq!(root["data"]["ca.crt"], "PEM");
        assert_eq!(furnish(&namespace(None), Some(account), Some(root), "PEM"), []);
    }

    #[test]
    fn a_namespace_ends_when_it_is_empty() {
        let (ending, pod) = (namespace(Some("now")), json!({"kind": "Pod"}));
        assert_eq!(end(&ending, &[&pod]), [Write::Delete(pod.clone())]);
        let dying = json!({"kind": "Pod", "metadata": {"deletionTimestamp": "now"}});
        assert_eq!(end(&ending, &[&dying]), []);
        let [Write::Finalize(last)] = &end(&ending, &[])[..] else { panic!("must end") };
        assert_eq!(last["spec"]["finalizers"], json!([]));
        assert_eq!(end(&namespace(None), &[]), []);
    }
}
