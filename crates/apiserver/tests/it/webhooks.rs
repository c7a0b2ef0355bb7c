//! Admission webhooks, really called over TLS.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;
use weft_testkit::certificates::SelfSigned;

use crate::client::{Answer, World, request};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A webhook on a free port; ends when it is dropped.
struct Hook {
    port: u16,
    bundle: String,
    _task: JoinSet<()>,
}

/// What the webhook answers to a review's request.
fn respond(asked: &Value) -> Value {
    let mut response = json!({"uid": asked["uid"], "allowed": true});
    match asked["object"]["data"]["wish"].as_str() {
        Some("change") => {
            let patch =
                json!([{"op": "add", "path": "/data/changed", "value": asked["operation"]}]);
            response["patchType"] = "JSONPatch".into();
            response["patch"] = STANDARD.encode(patch.to_string()).into();
        }
        Some("deny") => {
            response["allowed"] = false.into();
            response["status"] = json!({"code": 422, "message": "not like this"});
        }
        Some("warn") => response["warnings"] = json!(["mind the \"gap\""]),
        _ => {}
    }
    response
}

async fn serve(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
                        "response": respond(&review["request"])});
    Ok(Response::new(Full::new(answer.to_string().into())))
}

impl Hook {
    async fn start() -> Self {
        let certificate = SelfSigned::new("hook.default.svc");
        let acceptor = TlsAcceptor::from(certificate.server(&[]));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service_fn(serve))
                        .await;
                });
            }
        });
        Self { port, bundle: STANDARD.encode(certificate.pem), _task: task }
    }

    /// A configuration that sends ConfigMaps here.
    fn configuration(&self, kind: &str, policy: &str) -> Value {
        json!({
            "metadata": {"name": "hook"},
            "webhooks": [{
                "name": "hook.example.com", "failurePolicy": policy, "sideEffects": "None",
                "admissionReviewVersions": ["v1"], "timeoutSeconds": 5,
                "clientConfig": {"caBundle": self.bundle,
                    "service": {"namespace": "default", "name": "hook", "port": self.port, "path": "/hook"}},
                "objectSelector": {"matchExpressions": [{"key": "skip", "operator": "DoesNotExist"}]},
                "rules": [{"operations": ["CREATE", "UPDATE"], "apiGroups": [""],
                           "apiVersions": ["v1"], "resources": ["configmaps"]}],
            }],
            "kind": kind,
        })
    }
}

async fn configure(world: &World, configuration: &Value) {
    let plural = format!("{}s", configuration["kind"].as_str().unwrap().to_lowercase());
    let path = format!("/apis/admissionregistration.k8s.io/v1/{plural}");
    let answer = world.post(&path, configuration).await;
    assert_eq!(answer.code, 201, "{}", answer.body);
}

async fn create(world: &World, name: &str, wish: &str) -> Answer {
    world.post(MAPS, &json!({"metadata": {"name": name}, "data": {"wish": wish}})).await
}

#[tokio::test]
async fn a_mutating_webhook_changes_what_is_stored() {
    let (world, hook) = (World::start().await, Hook::start().await);
    configure(&world, &hook.configuration("MutatingWebhookConfiguration", "Fail")).await;
    let made = create(&world, "a", "change").await;
    assert_eq!(made.json()["data"]["changed"], "CREATE", "{}", made.body);
    let patch = json!({"data": {"more": "x"}});
    let path = format!("{MAPS}/a");
    let changed = world.patch(&path, "application/merge-patch+json", &patch).await;
    assert_eq!(changed.json()["data"]["changed"], "UPDATE", "{}", changed.body);
}

#[tokio::test]
async fn a_validating_webhook_refuses_and_warns() {
    let (world, hook) = (World::start().await, Hook::start().await);
    configure(&world, &hook.configuration("ValidatingWebhookConfiguration", "Fail")).await;
    let denied = create(&world, "a", "deny").await;
    assert_eq!(denied.code, 422);
    let message = denied.json()["message"].as_str().unwrap().to_owned();
    assert_eq!(message, "admission webhook \"hook.example.com\" denied the request: not like this");
    let warned = create(&world, "b", "warn").await;
    assert_eq!(warned.code, 201);
    assert_eq!(warned.headers["warning"], r#"299 - "mind the \"gap\"""#);
}

#[tokio::test]
async fn a_webhook_that_is_not_there_stops_writes_unless_it_may_be_ignored() {
    let (world, mut hook) = (World::start().await, Hook::start().await);
    // Nobody listens on a port that was free a moment ago and is given up here.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    hook.port = free.local_addr().unwrap().port();
    drop(free);
    configure(&world, &hook.configuration("ValidatingWebhookConfiguration", "Fail")).await;
    let failed = create(&world, "a", "").await;
    assert_eq!(failed.code, 500);
    assert!(
        failed.body.contains("failed calling webhook \\\"hook.example.com\\\""),
        "{}",
        failed.body
    );
    let skipped = json!({"metadata": {"name": "s", "labels": {"skip": "yes"}}});
    assert_eq!(world.post(MAPS, &skipped).await.code, 201);
    let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/hook";
    let patch = json!([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]);
    let answer = world.patch(path, "application/json-patch+json", &patch).await;
    assert_eq!(answer.code, 200, "{}", answer.body);
    assert_eq!(create(&world, "a", "").await.code, 201);
}

#[tokio::test]
async fn a_webhook_with_another_certificate_is_not_trusted() {
    let (world, hook, other) = (World::start().await, Hook::start().await, Hook::start().await);
    let mut configuration = hook.configuration("ValidatingWebhookConfiguration", "Fail");
    configuration["webhooks"][0]["clientConfig"]["caBundle"] = other.bundle.clone().into();
    configure(&world, &configuration).await;
    let failed = create(&world, "a", "").await;
    assert!(failed.code == 500 && failed.body.contains("certificate"), "{}", failed.body);
}

#[tokio::test]
async fn conditions_that_are_not_evaluated_are_refused_when_they_are_made() {
    let (world, hook) = (World::start().await, Hook::start().await);
    let mut configuration = hook.configuration("ValidatingWebhookConfiguration", "Fail");
    configuration["webhooks"][0]["matchConditions"] = json!([{"name": "x", "expression": "true"}]);
    let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    let body = configuration.to_string();
    let refused = world.call(request(Method::POST, path, "application/json", &body)).await;
    assert!(refused.code == 422 && refused.body.contains("matchConditions"), "{}", refused.body);
}
