//! Decisions that fetch missing configuration on demand.
//!
//! The stages of a decision are pure and stop at a question. Here the question is
//! answered, and the stages run again from the first, all of them by one table. What the
//! client has said is known to the caller alone.

use weft_balance::Rng;
use weft_decide::{Answer, Answers, ClientHello, Question, Reply, Step, Table};

use crate::worker::state::WorkerState;

/// Runs `stages` until they come to a result, or to a reply of the proxy's own. How
/// often they may ask is for the stages to say.
pub async fn decide_on_demand<T>(
    worker: &WorkerState,
    stages: impl FnMut(&Table, &Answers, &mut Rng) -> Step<T>,
) -> Result<T, Reply> {
    decide_with_hello(worker, async || None, stages).await
}

/// The same, where `hello` says what a TLS client says first.
pub async fn decide_with_hello<T>(
    worker: &WorkerState,
    mut hello: impl AsyncFnMut() -> Option<ClientHello>,
    mut stages: impl FnMut(&Table, &Answers, &mut Rng) -> Step<T>,
) -> Result<T, Reply> {
    let mut answers = Answers::default();
    loop {
        match worker.decide(|table, rng| stages(table, &answers, rng)) {
            Step::Done(result) => return Ok(result),
            Step::Reply(reply) => return Err(reply),
            Step::Ask(question) => {
                let answer = match question {
                    Question::Hello => {
                        hello().await.map_or(Answer::Missing, |hello| Answer::Hello(hello.into()))
                    }
                    _ => answer(worker, &question).await,
                };
                answers.insert(question, answer);
            }
        }
    }
}

async fn answer(worker: &WorkerState, question: &Question) -> Answer {
    match question {
        Question::Interest(interest) if worker.config.ask(interest.clone()).await => {
            Answer::Configured
        }
        _ => Answer::Missing,
    }
}
