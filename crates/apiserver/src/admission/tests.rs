//! Webhooks that do not answer in time.

use std::{io, time::Duration};

use futures::future::BoxFuture;
use tokio::{
    net::{TcpListener, TcpStream},
    time::Instant,
};

use super::*;
use crate::{authority::Authority, bootstrap};

/// How a webhook is late.
#[derive(Clone, Copy, Debug)]
enum Late {
    /// Its Service is not reached.
    Unreached,
    /// It is connected, and says nothing.
    Silent,
}

struct Slow(Late, Arc<TcpListener>);

impl Dial for Slow {
    fn service(&self, _: &str, _: &str, _: u16) -> BoxFuture<'static, io::Result<TcpStream>> {
        let (late, listener) = (self.0, Arc::clone(&self.1));
        Box::pin(async move {
            match late {
                Late::Unreached => std::future::pending().await,
                Late::Silent => TcpStream::connect(listener.local_addr()?).await,
            }
        })
    }
}

/// What becomes of a ConfigMap whose only webhook, of this kind and with this policy, is
/// late: the outcome, and how long it took.
async fn ask(kind: &str, policy: &str, late: Late) -> (Result<Value, Status>, Duration) {
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let store = Store::new();
    bootstrap::prepare(&store);
    let admission = Admission::new(store.clone(), Arc::new(Slow(late, listener)));
    let bundle = STANDARD.encode(Authority::new().unwrap().ca_pem());
    let webhook = json!({
        "name": "late.example.com", "failurePolicy": policy, "timeoutSeconds": 5,
        "clientConfig": {"caBundle": bundle, "service": {"namespace": "default", "name": "late"}},
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
                   "resources": ["configmaps"]}],
    });
    let plural = format!("{kind}webhookconfigurations");
    let configurations = store.resource("admissionregistration.k8s.io", &plural).unwrap();
    let configuration = json!({"metadata": {"name": "late"}, "webhooks": [webhook]});
    store.create(&configurations, configuration).unwrap();
    let maps = store.resource("", "configmaps").unwrap();
    let review = Review {
        operation: Operation::Create,
        resource: &maps,
        subresource: "",
        old: None,
        user: &User::default(),
        mode: Mode::Commit,
    };
    let object = json!({"metadata": {"name": "a", "namespace": "default"}});
    let (begun, mut warnings) = (Instant::now(), Vec::new());
    let outcome = match kind {
        "mutating" => {
            let mutated = admission.mutate(&review, object, &mut warnings).await;
            mutated.map(|(object, _)| object)
        }
        _ => admission.validate(&review, Some(&object), &mut warnings).await.map(|()| object),
    };
    assert!(warnings.is_empty(), "{warnings:?}");
    (outcome, begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_webhook_that_is_late_fails_the_write_or_is_left_out_as_its_policy_says() {
    let deadline = Duration::from_secs(5);
    for late in [Late::Unreached, Late::Silent] {
        for kind in ["mutating", "validating"] {
            let (refused, took) = ask(kind, "Fail", late).await;
            let refused = refused.unwrap_err();
            assert_eq!((refused.code, took), (500, deadline), "{kind} {late:?}");
            let expected = "Internal error occurred: failed calling webhook \"late.example.com\": \
                            failed to call webhook: Post \
                            \"https://late.default.svc:443/?timeout=5s\": no answer within 5s";
            assert_eq!(refused.message, expected);
            let (passed, took) = ask(kind, "Ignore", late).await;
            let object = json!({"metadata": {"name": "a", "namespace": "default"}});
            assert_eq!((passed, took), (Ok(object), deadline), "{kind} {late:?}");
        }
    }
}
