//! The stages of a decision, and the questions that it may stop at.
//!
//! `Arrived → Authenticated → Admitted → Routed`: each is made only from the one before,
//! so that nothing is routed that was not admitted. A stage that needs to know more
//! returns a [`Question`]; the caller finds the [`Answer`], adds it to the [`Answers`] of
//! the decision, and begins again with the first stage and one table for all of them.

use std::{fmt, sync::Arc};

use smallvec::SmallVec;
use weft_config::Interest;

use crate::{
    arrive::Arrived, connection::Scope, failure::Failure, hello::ClientHello, protocol,
    record::Record, reply::Reply, routing::Routed, table::Table,
};

/// How many questions one decision may ask.
const MOST_QUESTIONS: usize = 8;

/// What comes of a stage.
#[derive(Clone, Debug)]
pub enum Step<T> {
    /// The next stage can begin.
    Done(T),
    /// The decision begins again when this is answered.
    Ask(Question),
    /// The proxy answers itself; a reply without status closes the connection.
    Reply(Reply),
}

impl<T> Step<T> {
    /// Goes on to the next stage.
    pub(crate) fn then<U>(self, next: impl FnOnce(T) -> Step<U>) -> Step<U> {
        match self {
            Self::Done(value) => next(value),
            Self::Ask(question) => Step::Ask(question),
            Self::Reply(reply) => Step::Reply(reply),
        }
    }
}

/// What a decision needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Question {
    /// What a host or an address leads to. The answer comes as a new table.
    Interest(Interest),
    /// What the client says first, where that is TLS.
    Hello,
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interest(interest) => interest.fmt(f),
            Self::Hello => f.write_str("the client's TLS hello"),
        }
    }
}

/// What was found out about a question.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// The table in force says it.
    Configured,
    /// The client speaks TLS, and said this.
    Hello(Arc<ClientHello>),
    /// There was no answer in time, or there is no answer.
    Missing,
}

/// The questions of one decision so far, with their answers, in order.
#[derive(Clone, Debug, Default)]
pub struct Answers(SmallVec<[(Question, Answer); 1]>);

impl Answers {
    /// Adds an answer.
    pub fn insert(&mut self, question: Question, answer: Answer) {
        self.0.push((question, answer));
    }

    /// The questions and answers in order.
    pub fn iter(&self) -> impl Iterator<Item = &(Question, Answer)> {
        self.0.iter()
    }

    /// What the client said first; none while that was not asked for, and none in it where the
    /// client does not speak TLS.
    pub(crate) fn hello(&self) -> Option<Option<&ClientHello>> {
        let mut hellos = self.0.iter().filter(|(question, _)| *question == Question::Hello);
        hellos.next().map(|(_, answer)| match answer {
            Answer::Hello(hello) => Some(&**hello),
            Answer::Configured | Answer::Missing => None,
        })
    }

    /// What the client said first, where that was asked for and is TLS.
    pub(crate) fn shared_hello(&self) -> Option<Arc<ClientHello>> {
        self.0.iter().find_map(|(_, answer)| match answer {
            Answer::Hello(hello) => Some(Arc::clone(hello)),
            Answer::Configured | Answer::Missing => None,
        })
    }

    /// Asks `question`, unless it was asked before: then the configuration for it is
    /// missing, whatever the answer was, or the table would have it.
    pub(crate) fn ask<T>(&self, question: Question) -> Step<T> {
        let was_asked = self.0.iter().any(|(asked, _)| *asked == question);
        match was_asked || self.0.len() >= MOST_QUESTIONS {
            true => Step::Reply(Failure::ConfigUnavailable.reply()),
            false => Step::Ask(question),
        }
    }
}

/// A request whose sender is known, as far as it can be.
#[derive(Clone, Copy, Debug)]
pub struct Authenticated<'r>(&'r Arrived);

/// A request that may pass.
#[derive(Clone, Copy, Debug)]
pub struct Admitted<'r>(&'r Arrived);

impl<'r> Admitted<'r> {
    pub(crate) fn arrived(self) -> &'r Arrived {
        self.0
    }
}

impl Table {
    /// Decides about a request that came over a connection with `scope`, from the first
    /// stage to the last.
    pub fn decide<R: Record>(
        &self,
        scope: &Scope,
        arrived: &Arrived,
        answers: &Answers,
        (rng, record): (&mut weft_balance::Rng, &mut R),
    ) -> Step<Routed> {
        self.authenticate(arrived)
            .then(|authenticated| self.admit(authenticated))
            .then(|admitted| self.route(scope, admitted, answers, (rng, record)))
    }

    /// Who sends the request. Nothing is known of senders yet; a request that could not
    /// be read has none.
    pub fn authenticate<'r>(&self, arrived: &'r Arrived) -> Step<Authenticated<'r>> {
        match arrived.refused() {
            Some(reply) => Step::Reply(reply.clone()),
            None => Step::Done(Authenticated(arrived)),
        }
    }

    /// Whether the request may pass.
    pub fn admit<'r>(&self, Authenticated(arrived): Authenticated<'r>) -> Step<Admitted<'r>> {
        let is_allowed = !arrived.asks_for_upgrade()
            || protocol::is_allowed(&arrived.head().headers, &self.settings().upgrades);
        match is_allowed {
            true => Step::Done(Admitted(arrived)),
            false => Step::Reply(Failure::UpgradeRefused.reply()),
        }
    }
}
