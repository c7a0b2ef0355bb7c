//! Requests to upgrade to another protocol on a connection of HTTP/1, and their answers.
//!
//! The reader of the connection has to know whether requests follow; the service that answers
//! requests knows. There is one such request at a time: nothing after it is read before it is answered.

use std::{
    sync::{Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use http::{Method, Request, StatusCode, header};
use http_body::Body;

use super::raw_head::UpgradeAnswer;

/// The request to upgrade of one connection, and its answer.
#[derive(Debug, Default)]
pub struct PendingUpgrade(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    answer: Option<UpgradeAnswer>,
    reader: Option<Waker>,
}

/// Whether another protocol may follow a request, as its bytes say: not where a body does.
pub fn asks_for_upgrade<B: Body>(request: &Request<B>) -> bool {
    let asks =
        request.method() == Method::CONNECT || request.headers().contains_key(header::UPGRADE);
    asks && request.body().is_end_stream()
}

impl PendingUpgrade {
    /// A request that [asks for an upgrade](asks_for_upgrade) is answered with `status`.
    pub fn answer(&self, status: StatusCode) {
        let answer = match status {
            StatusCode::SWITCHING_PROTOCOLS => UpgradeAnswer::Accepted,
            _ => UpgradeAnswer::Refused,
        };
        let reader = self.change(|state| {
            state.answer = Some(answer);
            state.reader.take()
        });
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Takes the answer to the request to upgrade that was read.
    pub fn poll_answer(&self, context: &mut Context<'_>) -> Poll<UpgradeAnswer> {
        self.change(|state| match state.answer.take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                state.reader = Some(context.waker().clone());
                Poll::Pending
            }
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        // Nothing in here can be half done.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
