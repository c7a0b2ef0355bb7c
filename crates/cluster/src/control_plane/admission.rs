//! What is answered to an admission review: a patch with the sidecar, or what is
//! wrong with an object.
//!
//! Pure: a review comes in, a review goes out.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use weft_api::{Diagnostic, Key, Severity, field::clipped};
use weft_inject::{Decision, Namespace, Owner, Settings};

/// The longest warning that API servers pass on.
const LONGEST_WARNING: usize = 256;
/// The longest refusal, in letters.
const LONGEST_MESSAGE: usize = 16 << 10;

/// What is answered about a pod.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Injected {
    /// It is left as it is.
    Skipped(Value),
    /// It gets a sidecar, or is refused.
    Answer(Value),
}

/// The answer about a pod of `namespace`.
pub(super) fn inject(review: &Value, namespace: &Namespace, settings: &Settings) -> Injected {
    let pod = &review["request"]["object"];
    match weft_inject::decide(pod, namespace, settings) {
        Decision::Inject => Injected::Answer(sidecar(review, &namespace.name, settings)),
        Decision::Skip(why) => {
            tracing::debug!("a pod of {} is not injected: {why}", namespace.name);
            Injected::Skipped(allowed(review))
        }
        Decision::Refuse(why) => Injected::Answer(denied(review, why, &[])),
    }
}

/// The answer that adds the sidecar.
fn sidecar(review: &Value, namespace: &str, settings: &Settings) -> Value {
    let pod = &review["request"]["object"];
    let warnings: Vec<String> = weft_inject::warnings(pod)
        .iter()
        .map(|warning| shortened(&format!("{}: {}", warning.field, warning.message)))
        .collect();
    let patch = weft_inject::patch(pod, &Owner::of_pod(pod), namespace, settings);
    let mut answer = allowed(review);
    if !warnings.is_empty() {
        answer["response"]["warnings"] = warnings.into();
    }
    match serde_json::to_vec(&patch) {
        Ok(patch) => {
            answer["response"]["patchType"] = "JSONPatch".into();
            answer["response"]["patch"] = STANDARD.encode(patch).into();
            answer
        }
        Err(error) => denied(review, format!("the sidecar cannot be added: {error}"), &[]),
    }
}

/// The answer about an object of the mesh.
///
/// An object that is being deleted is let pass when nothing but its metadata changes: a
/// finalizer of it has to be removable. One that was invalid before may stay so: only
/// errors that the old object did not have deny.
pub(super) fn validate(mut review: Value) -> Value {
    let object = review["request"]["object"].take();
    let old = review["request"]["oldObject"].take();
    let is_going = object["metadata"]["deletionTimestamp"].is_string();
    if is_going && says_the_same(&object, &old) {
        return allowed(&review);
    }
    let unread = weft_api::unknown_istio_kind(&object);
    // One at a time: each of them may be large.
    let (key, diagnostics) = judged(object);
    let has_errors = diagnostics.iter().any(|one| one.severity == Severity::Error);
    let before = match has_errors && old.is_object() {
        true => judged(old).1,
        false => Vec::new(),
    };
    let mut warnings = Vec::new();
    let mut errors = Vec::new();
    for diagnostic in &diagnostics {
        match diagnostic.severity {
            Severity::Error if !before.contains(diagnostic) => errors.push(diagnostic.to_string()),
            Severity::Error | Severity::Warning => {
                warnings.push(shortened(&diagnostic.to_string()));
            }
            Severity::Info => {}
        }
    }
    if let (None, Some(warning)) = (key, unread) {
        warnings.push(shortened(&warning));
    }
    if !errors.is_empty() {
        return denied(
            &review,
            clipped(&errors.join("; "), LONGEST_MESSAGE).into_owned(),
            &warnings,
        );
    }
    let mut answer = allowed(&review);
    if !warnings.is_empty() {
        answer["response"]["warnings"] = warnings.into();
    }
    answer
}

/// Whether two states of an object differ in nothing but their metadata.
fn says_the_same(object: &Value, old: &Value) -> bool {
    let (Some(object), Some(old)) = (object.as_object(), old.as_object()) else { return false };
    let fields = object.keys().chain(old.keys()).filter(|field| *field != "metadata");
    fields.into_iter().all(|field| object.get(field) == old.get(field))
}

/// The object's name, and all problems of the object on its own.
fn judged(object: Value) -> (Option<Key>, Vec<Diagnostic>) {
    let mut checked = weft_api::check_whole(object);
    if let Some(object) = &checked.object {
        checked.diagnostics.extend(weft_control::unreadable_patterns(object));
    }
    (checked.key, checked.diagnostics)
}

fn shortened(text: &str) -> String {
    match text.chars().nth(LONGEST_WARNING - 1) {
        None => text.to_owned(),
        Some(_) => clipped(text, LONGEST_WARNING - 1).into_owned(),
    }
}

/// A review that lets the request pass as it is.
fn allowed(review: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {"uid": review["request"]["uid"], "allowed": true},
    })
}

fn denied(review: &Value, message: String, warnings: &[String]) -> Value {
    let mut answer = allowed(review);
    answer["response"]["allowed"] = false.into();
    answer["response"]["status"] = json!({
        "status": "Failure",
        "reason": "Invalid",
        "code": 422,
        "message": message,
    });
    if !warnings.is_empty() {
        answer["response"]["warnings"] = warnings.into();
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn review(object: Value) -> Value {
        json!({"request": {"uid": "7", "namespace": "shop", "object": object}})
    }

    #[test]
    fn a_pod_of_a_labelled_namespace_gets_a_patch() {
        let pod = json!({
            "metadata": {"name": "cart"},
            "spec": {"containers": [{"name": "cart", "image": "cart"}]},
        });
        let labels = [("istio-injection".to_owned(), "enabled".to_owned())].into();
        let namespace = Namespace { name: "shop".to_owned(), labels };
        let answer = inject(&review(pod.clone()), &namespace, &Settings::default());
        let Injected::Answer(answer) = answer else { panic!("{answer:?}") };
        assert_eq!(answer["response"]["uid"], "7");
        assert_eq!(answer["response"]["patchType"], "JSONPatch");
        let patch = STANDARD.decode(answer["response"]["patch"].as_str().unwrap()).unwrap();
        let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
        let mut patched = pod.clone();
        json_patch::patch(&mut patched, &patch).unwrap();
        assert!(patched.to_string().contains("istio-proxy"), "{patched}");

        let unlabelled = Namespace { name: "shop".to_owned(), ..Namespace::default() };
        let answer = inject(&review(pod), &unlabelled, &Settings::default());
        let Injected::Skipped(answer) = answer else { panic!("{answer:?}") };
        assert_eq!(answer["response"], json!({"uid": "7", "allowed": true}));
    }

    #[test]
    fn what_a_pod_asks_for_in_vain_is_warned_of_or_refused() {
        let labels = [("istio-injection".to_owned(), "enabled".to_owned())].into();
        let namespace = Namespace { name: "shop".to_owned(), labels };
        let answer = |name: &str, value: &str| {
            let pod = json!({
                "metadata": {"name": "cart", "annotations": {name: value}},
                "spec": {"containers": [{"name": "cart", "image": "cart"}]},
            });
            let answer = inject(&review(pod), &namespace, &Settings::default());
            let Injected::Answer(answer) = answer else { panic!("{answer:?}") };
            answer["response"].clone()
        };
        let warned = answer("sidecar.istio.io/bootstrapOverride", "own");
        assert_eq!(warned["allowed"], true);
        let warning = warned["warnings"][0].as_str().unwrap();
        assert!(
            warning.contains("bootstrapOverride") && warning.contains("not honoured"),
            "{warning}"
        );
        let refused = answer("inject.istio.io/templates", "gateway");
        assert_eq!(refused["allowed"], false);
        let message = refused["status"]["message"].as_str().unwrap();
        assert!(message.contains("template `gateway`"), "{message}");
    }

    #[test]
    fn a_kind_that_is_only_stored_is_warned_of() {
        let policy = json!({
            "apiVersion": "security.istio.io/v1",
            "kind": "AuthorizationPolicy",
            "metadata": {"name": "deny", "namespace": "shop"},
        });
        let answer = validate(review(policy));
        assert_eq!(answer["response"]["allowed"], true);
        let warning = answer["response"]["warnings"][0].as_str().unwrap();
        assert!(
            warning.starts_with("AuthorizationPolicy/shop/deny: not honoured yet"),
            "{warning}"
        );
    }

    fn destination_rule(spec: Value) -> Value {
        json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "DestinationRule",
            "metadata": {"name": "cart", "namespace": "shop", "finalizers": ["a.example/b"]},
            "spec": spec,
        })
    }

    #[test]
    fn an_update_is_denied_for_new_errors_only() {
        let invalid = || destination_rule(json!({"host": "a..b"}));
        let update = |object: Value, old: Value| {
            let mut review = review(object);
            review["request"]["oldObject"] = old;
            validate(review)["response"].clone()
        };
        assert_eq!(validate(review(invalid()))["response"]["allowed"], false);
        let mut labelled = invalid();
        labelled["metadata"]["labels"] = json!({"a": "b"});
        let kept = update(labelled, invalid());
        assert_eq!(kept["allowed"], true);
        assert!(kept["warnings"][0].as_str().unwrap().contains("a..b"), "{kept}");
        let worse = destination_rule(json!({"host": "a..b", "subsets": [{"name": "v1"}, {}]}));
        let denied = update(worse, invalid());
        assert_eq!(denied["allowed"], false);
        let message = denied["status"]["message"].as_str().unwrap();
        assert!(message.contains("subsets[1]") && !message.contains("a..b"), "{message}");
    }

    #[test]
    fn a_pattern_that_no_proxy_can_compile_is_refused() {
        let object = json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": {"name": "rx"},
            "spec": {"hosts": ["web"], "http": [{
                "match": [{"uri": {"regex": "/api/(?!internal).*"}}],
                "route": [{"destination": {"host": "web"}}],
            }]},
        });
        let answer = validate(review(object));
        assert_eq!(answer["response"]["allowed"], false);
        let message = answer["response"]["status"]["message"].as_str().unwrap();
        assert!(message.contains("http[0].match[0].uri.regex"), "{message}");
    }

    #[test]
    fn the_finalizers_of_what_is_being_deleted_can_be_removed_and_its_errors_not_added() {
        let mut old = destination_rule(json!({"host": ""}));
        old["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        let update = |object: Value| {
            let mut review = review(object);
            review["request"]["oldObject"] = old.clone();
            validate(review)["response"].clone()
        };
        let mut freed = old.clone();
        freed["metadata"]["finalizers"] = json!([]);
        assert_eq!(update(freed.clone()), json!({"uid": "7", "allowed": true}));
        freed["spec"]["subsets"] = json!([{}]);
        let denied = update(freed);
        assert_eq!(denied["allowed"], false);
        assert!(denied["status"]["message"].as_str().unwrap().contains("subsets[0]"), "{denied}");
        assert_eq!(validate(review(old.clone()))["response"]["allowed"], false);
    }

    #[test]
    fn long_warnings_are_shortened_between_characters() {
        assert_eq!(shortened("short"), "short");
        assert_eq!(shortened(&"ü".repeat(300)).chars().count(), 256);
    }
}
