//! How the program that started the control plane looks into it.

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, timeout_at},
};
use weft_api::{Diagnostic, Key};

use crate::world_task::{
    AcknowledgementQuery, Findings, Message, ObjectVersion, QueryCaller, SessionFacts,
};

/// No question about a change waits longer.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Whether every proxy concerned has an object's version in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Acknowledgement {
    /// Whether the control plane knows the object at that version, and no proxy
    /// is behind.
    pub complete: bool,
    /// Whether the control plane knows the object at that version.
    pub seen: bool,
    /// How many proxies the change concerned.
    pub proxies: usize,
    /// Pods whose proxies do not have it in force, as `NAMESPACE/NAME`; those of other
    /// namespaces are only named to accounts of the root namespace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub behind: Vec<String>,
}

/// Looks into a running control plane.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) world: mpsc::Sender<Message>,
    pub(crate) findings: watch::Receiver<Findings>,
    pub(crate) ready: watch::Receiver<bool>,
}

impl Handle {
    /// What is wrong with the objects as they are together, a moment after the last
    /// change; sorted.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        // Bodies are copied after the lock is released, and off the world's task.
        let found: Vec<Arc<Vec<Diagnostic>>> = self.findings.borrow().values().cloned().collect();
        found.iter().flat_map(|found| found.iter().cloned()).collect()
    }

    /// Whether proxies are being answered: every object that existed at the
    /// start has been told.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Waits until proxies are being answered; whether they ever are.
    pub async fn ready(&mut self) -> bool {
        self.ready.wait_for(|ready| *ready).await.is_ok()
    }

    /// Waits until every connected proxy that is interested in an answer that
    /// `version` of `key` has changed says that it has that state, or a later
    /// one, in force. After `wait`, says who is behind.
    ///
    /// A version that the control plane has not seen is waited for. An object
    /// that changes no answer, or only answers without an interested proxy, is
    /// acknowledged as soon as it is seen.
    pub async fn acknowledged(&self, key: &Key, version: &str, wait: Duration) -> Acknowledgement {
        let object = ObjectVersion { key: key.clone(), version: version.to_owned() };
        let caller = QueryCaller { name: String::new(), runs_mesh: true };
        self.acknowledged_to(caller, object, wait).await
    }

    /// The same, asked by `caller`; one who asks too much at once gets no answer to the
    /// oldest of its questions.
    pub(crate) async fn acknowledged_to(
        &self,
        caller: QueryCaller,
        object: ObjectVersion,
        wait: Duration,
    ) -> Acknowledgement {
        let deadline = Instant::now() + wait.min(LONGEST_WAIT);
        let (reply, answer) = oneshot::channel();
        let question = AcknowledgementQuery { object, caller, deadline, reply };
        if self.world.send(Message::Acknowledged(question)).await.is_err() {
            return Acknowledgement::default();
        }
        // The world's task answers at the deadline; a little later it is gone.
        let answer = timeout_at(deadline + Duration::from_secs(1), answer).await;
        answer.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// Who is connected, for the debug page.
    pub(crate) async fn sessions(&self) -> Vec<SessionFacts> {
        let (reply, answer) = oneshot::channel();
        match self.world.send(Message::Sessions(reply)).await {
            Ok(()) => answer.await.unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }
}
