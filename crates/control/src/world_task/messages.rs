//! What sessions and handles send to the world's task, and what they get.

use std::sync::Arc;

use serde::Serialize;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
    time::Instant,
};
use weft_api::Key;
use weft_config::Interest;
use weft_delta::{Name, ResourceSet};

use crate::{Acknowledgement, Caller, subscriptions::SessionId};

/// What an answer is made from, as far as it matters to those who wait for a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Revision {
    /// Whatever a proxy gets that may run on something old: until it is in force, the proxy
    /// counts as behind every change.
    Resumed,
    /// The world after a batch of changes.
    Generation(u64),
    /// An answer to a new interest. There is nothing old that the proxy could run on instead,
    /// so nothing waits for it.
    Fresh,
}

/// Messages from sessions and handles.
#[derive(Debug)]
pub(crate) enum Message {
    /// A caller with a valid token wants a session.
    Join(Join),
    /// A session has new interests and has lost others.
    Interests(Interests),
    /// A session's proxy has these revisions in force.
    InForce(SessionId, Vec<Revision>),
    /// A session has ended.
    Leave(SessionId),
    /// A client asks which proxies have taken note of a change.
    Acknowledged(AcknowledgementQuery),
    /// A client asks which proxies are connected.
    Sessions(oneshot::Sender<Vec<SessionFacts>>),
}

/// The wish for a session.
#[derive(Debug)]
pub(crate) struct Join {
    pub(crate) caller: Caller,
    pub(crate) reply: oneshot::Sender<Joined>,
}

/// A session's end of it.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) session: SessionId,
    pub(crate) mailbox: mpsc::Receiver<Offer>,
    pub(crate) closed: oneshot::Receiver<CloseReason>,
}

/// Why a session is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// The pod is gone, or is another one of the same name.
    PodGone,
    /// The pod has opened more streams than it may have.
    Replaced,
    /// Its mailbox is full.
    TooSlow,
    /// It has ended on its own.
    Left,
}

/// Answers for a session, as of a revision.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub(crate) revision: Revision,
    /// `None` for an interest that is refused.
    pub(crate) answers: Vec<(Name, Option<ResourceSet>)>,
}

/// What a session is interested in from now on.
#[derive(Debug)]
pub(crate) struct Interests {
    pub(crate) session: SessionId,
    pub(crate) wanted: Vec<Interest>,
    pub(crate) dropped: Vec<Interest>,
    /// Whether the proxy holds something from an earlier stream.
    pub(crate) resumed: bool,
    /// Room among the requests of a stream that are not answered yet, free once this is dropped.
    pub(crate) place: Option<Arc<OwnedSemaphorePermit>>,
}

/// An object as it came to be at some time.
#[derive(Clone, Debug)]
pub(crate) struct ObjectVersion {
    pub(crate) key: Key,
    /// Its `resourceVersion`.
    pub(crate) version: String,
}

/// Who asks: questions are limited by caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QueryCaller {
    pub(crate) name: String,
    /// Whether the caller may ask about everything, as those who run the mesh may.
    pub(crate) runs_mesh: bool,
}

/// Who has taken note of a version of an object?
#[derive(Debug)]
pub(crate) struct AcknowledgementQuery {
    pub(crate) object: ObjectVersion,
    pub(crate) caller: QueryCaller,
    pub(crate) deadline: Instant,
    pub(crate) reply: oneshot::Sender<Acknowledgement>,
}

/// What the debug page says of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionFacts {
    pub(crate) pod: String,
    pub(crate) interests: usize,
    pub(crate) behind: usize,
}
