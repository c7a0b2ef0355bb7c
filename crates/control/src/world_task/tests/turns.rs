//! Sessions take turns: none keeps changes or other sessions waiting.

use weft_delta::{Name, ResourceSet};

use super::*;

/// Interests of one message, as streams send them.
const SLICE: usize = 256;

/// A driven task whose turns are over after one interest, with another pod called `other`.
fn driven() -> Driven {
    let mut driven = Driven::new();
    driven.task.turn = Duration::ZERO;
    let mut other = pod("Running");
    other["metadata"]["name"] = "other".into();
    other["status"]["podIP"] = "10.1.0.2".into();
    driven.apply(other);
    driven
}

/// The cart and so many unknown hosts.
fn wanted(of: &str, count: usize) -> Vec<Interest> {
    let mut wanted: Vec<Interest> = vec![CART.parse().unwrap()];
    wanted.extend(unknown(of, count - 1));
    wanted
}

/// How many interests each session has that have been answered.
fn answered(driven: &Driven) -> Vec<usize> {
    driven.task.sessions.facts().iter().map(|facts| facts.interests).collect()
}

fn offers(joined: &mut Joined) -> Vec<Offer> {
    std::iter::from_fn(|| joined.mailbox.try_recv().ok()).collect()
}

/// The answer about the cart.
fn cart(offer: &Offer) -> ResourceSet {
    let find =
        |(name, answer): &(Name, Option<ResourceSet>)| answer.clone().filter(|_| **name == *CART);
    offer.answers.iter().find_map(find).unwrap()
}

#[tokio::test(start_paused = true)]
async fn sessions_are_answered_by_turns() {
    let mut driven = driven();
    let (mut one, mut two) = (driven.connect(), driven.connect_pod("other"));
    for (joined, of) in [(&one, "a"), (&two, "b")] {
        for part in 0..2 {
            let wanted = wanted(&format!("{of}{part}"), SLICE);
            driven.task.receive(interests(joined, wanted, Vec::new(), false));
        }
    }
    assert_eq!(answered(&driven), [0, 0], "a message only waits");
    for turn in 1..=SLICE {
        driven.task.answer_turn();
        assert_eq!(answered(&driven), [turn, turn - 1]);
        assert!(offers(&mut one).is_empty() || turn == SLICE, "a message is one offer");
        driven.task.answer_turn();
        assert_eq!(answered(&driven), [turn, turn]);
    }
    for _ in 0..2 * SLICE {
        driven.task.answer_turn();
    }
    assert!(!driven.task.sessions.has_turns());
    let all: Vec<usize> = offers(&mut two).iter().map(|offer| offer.answers.len()).collect();
    assert_eq!(all, [SLICE, SLICE]);
    assert_eq!(answered(&driven), [2 * SLICE - 1; 2], "both messages ask for the cart");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_of_many_sessions_has_no_more_turns_than_another() {
    let mut driven = driven();
    let many: Vec<Joined> = (0..20)
        .map(|number| {
            let mut one = pod("Running");
            one["metadata"]["name"] = format!("many-{number}").into();
            driven.apply(one);
            driven.connect_pod(&format!("many-{number}"))
        })
        .collect();
    let mut other = pod("Running");
    other["metadata"]["namespace"] = "b".into();
    driven.apply(other);
    let other = driven.connect_pod_of("b", "client");
    for (number, joined) in many.iter().chain([&other]).enumerate() {
        let wanted = unknown(&number.to_string(), 8);
        driven.task.receive(interests(joined, wanted, Vec::new(), false));
    }
    for turn in 1..=8 {
        driven.task.answer_turn();
        driven.task.answer_turn();
        let answered = answered(&driven);
        let (last, rest) = answered.split_last().unwrap();
        assert_eq!((*last, rest.iter().sum::<usize>()), (turn, turn));
        assert!(rest.iter().all(|one| *one <= 1), "its own sessions take turns, too");
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_does_not_wait_for_what_sessions_ask_for() {
    let mut driven = driven();
    let (mut one, mut two) = (driven.connect(), driven.connect_pod("other"));
    let (changes, receiver) = mpsc::channel(1);
    let (messages, incoming) = mpsc::channel(4);
    let (_stop, stopping) = weft_process::shutdown::channel();
    let inputs = Inputs { changes: receiver, messages: incoming, stopping };
    tokio::spawn(driven.task.run(inputs, Duration::MAX / 4));
    for (joined, of) in [(&one, "a"), (&two, "b")] {
        let wanted = wanted(of, SLICE);
        messages.send(interests(joined, wanted, Vec::new(), false)).await.unwrap();
    }
    let answered = async || {
        let (reply, facts) = oneshot::channel();
        messages.send(Message::Sessions(reply)).await.unwrap();
        let facts = facts.await.unwrap();
        facts.iter().map(|facts| facts.interests).sum::<usize>()
    };
    while answered().await < 4 {}
    let rules = rules(7);
    let object = weft_api::check(&rules).object.unwrap();
    changes.send(Change::Apply(Box::new(object), "99".to_owned())).await.unwrap();
    tokio::task::yield_now().await;
    tokio::time::advance(Duration::from_secs(1)).await;
    let first = [one.mailbox.recv().await.unwrap(), two.mailbox.recv().await.unwrap()];
    assert!(first.iter().all(|offer| matches!(offer.revision, Revision::Generation(_))));
    assert!(answered().await < SLICE, "most is still to be answered");
    for (joined, first) in [one, two].iter_mut().zip(&first) {
        let last = joined.mailbox.recv().await.unwrap();
        assert_eq!((last.revision, last.answers.len()), (Revision::Fresh, SLICE));
        assert_eq!(cart(&last), cart(first), "as of the change");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_made_for_a_session_that_has_left() {
    let mut driven = driven();
    let (mut one, two) = (driven.connect(), driven.connect_pod("other"));
    let before = driven.task.answers.len();
    for part in ["a", "b", "c"] {
        driven.task.receive(interests(&one, unknown(part, SLICE), Vec::new(), false));
    }
    driven.task.receive(interests(&two, unknown("d", 3), Vec::new(), false));
    driven.task.answer_turn();
    assert_eq!(driven.task.answers.len(), before + 1);
    driven.task.receive(Message::Leave(one.session));
    assert_eq!(driven.task.answers.len(), before);
    for turn in 1..=3 {
        driven.task.answer_turn();
        assert_eq!(driven.task.answers.len(), before + turn);
    }
    while driven.task.sessions.has_turns() {
        driven.task.answer_turn();
        assert_eq!(driven.task.answers.len(), before + 3, "only the other one is answered");
    }
    assert!(offers(&mut one).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stream_has_room_again_when_its_request_is_answered_or_it_has_left() {
    for leaves in [false, true] {
        let mut driven = driven();
        let joined = driven.connect();
        let room = Arc::new(tokio::sync::Semaphore::new(1));
        let place = Some(Arc::new(Arc::clone(&room).try_acquire_owned().unwrap()));
        let (session, wanted) = (joined.session, unknown("a", 2));
        let interests = Interests { session, wanted, dropped: Vec::new(), resumed: false, place };
        driven.task.receive(Message::Interests(interests));
        driven.task.answer_turn();
        assert_eq!(room.available_permits(), 0);
        match leaves {
            true => driven.task.receive(Message::Leave(session)),
            false => driven.task.answer_turn(),
        }
        assert_eq!(room.available_permits(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn answers_are_those_after_a_change_in_the_midst_of_a_message() {
    for resumed in [false, true] {
        let mut driven = driven();
        let mut joined = driven.connect();
        driven.change(3);
        driven.task.receive(interests(&joined, wanted("a", 9), Vec::new(), resumed));
        driven.task.answer_turn();
        driven.task.answer_turn();
        assert!(offers(&mut joined).is_empty());
        let version = driven.change(7);
        let [changed] = offers(&mut joined).try_into().unwrap();
        assert!(matches!(changed.revision, Revision::Generation(_)));
        let mut answer = driven.ask(&version);
        for _ in 2..9 {
            assert!(driven.task.sessions.has_turns());
            driven.task.answer_turn();
        }
        assert!(!driven.task.sessions.has_turns());
        let [all] = offers(&mut joined).try_into().unwrap();
        assert_eq!(all.answers.len(), 9);
        assert_eq!(cart(&all), cart(&changed));
        let old = if resumed { Revision::Resumed } else { Revision::Fresh };
        assert_eq!(all.revision, old);
        driven.task.receive(Message::InForce(joined.session, vec![changed.revision]));
        assert_eq!(is_open(&mut answer), resumed, "it may run on something old");
        if resumed {
            driven.task.receive(Message::InForce(joined.session, vec![old]));
            assert!(answer.try_recv().unwrap().complete);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_resumes_is_behind_before_all_it_asks_for_is_answered() {
    let mut driven = driven();
    let (joined, version) = driven.connect_before_change();
    driven.task.receive(Message::Leave(joined.session));
    let mut joined = driven.connect();
    let mut answer = driven.ask(&version);
    driven.task.receive(interests(&joined, unknown("a", 3), Vec::new(), true));
    driven.task.answer_turn();
    let later = driven.change(9);
    let mut later = driven.ask(&later);
    assert!(is_open(&mut answer) && is_open(&mut later));
    // Neither is it known to have anything when it ends now.
    driven.task.receive(Message::Leave(joined.session));
    assert!(is_open(&mut answer) && is_open(&mut later));
    assert!(offers(&mut joined).is_empty());
    let joined = driven.connect();
    driven.task.receive(interests(&joined, Vec::new(), Vec::new(), false));
    driven.task.answer_turn();
    assert!(answer.try_recv().unwrap().complete && later.try_recv().unwrap().complete);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_after_a_change_is_not_offered_in_the_same_message() {
    let mut driven = driven();
    driven.task.sessions = Sessions::new(Duration::from_secs(60), room(20_000));
    let mut joined = driven.connect();
    driven.task.receive(interests(&joined, wanted("a", 3), Vec::new(), false));
    driven.task.answer_turn();
    let mut large = rules(3);
    large["spec"]["http"][0]["match"] =
        serde_json::json!([{"uri": {"exact": format!("/{}", "x".repeat(30_000))}}]);
    driven.apply(large);
    driven.task.answer_turn();
    driven.task.answer_turn();
    let [refused, others] = offers(&mut joined).try_into().unwrap();
    assert!(refused.answers.iter().all(|(name, answer)| **name == *CART && answer.is_none()));
    assert_eq!(refused.answers.len(), 1);
    let others = others.answers.iter();
    assert_eq!(others.filter(|(name, answer)| **name != *CART && answer.is_some()).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn interests_after_a_change_of_the_group_are_answered_for_the_new_one() {
    let mut labelled = pod("Running");
    labelled["metadata"]["labels"] = serde_json::json!({"app": "new"});
    let selecting = serde_json::json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": {"name": "cart", "namespace": "a"},
        "spec": {
            "host": "cart", "workloadSelector": {"matchLabels": {"app": "new"}},
            "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}},
        },
    });
    for [before, after] in [[&labelled, &selecting], [&selecting, &labelled]] {
        let mut driven = driven();
        let mut rules = rules(3);
        rules["spec"]["hosts"] = serde_json::json!(["cart", "h0.a.example", "h1.a.example"]);
        driven.apply(rules);
        driven.apply(before.clone());
        let (mut joined, mut other) = (driven.connect(), driven.connect_pod("other"));
        let ask = |driven: &mut Driven, joined: &mut Joined, interest: &Interest| {
            driven.interest(joined, vec![interest.clone()], Vec::new(), false);
            let answers = offers(joined).pop().unwrap().answers;
            answers.into_iter().find_map(|(_, answer)| answer).unwrap()
        };
        let [first, second] = unknown("a", 2).try_into().unwrap();
        ask(&mut driven, &mut joined, &first);
        driven.apply(after.clone());
        let answer = ask(&mut driven, &mut joined, &second);
        let mut new = driven.connect();
        assert_eq!(answer, ask(&mut driven, &mut new, &second));
        assert_ne!(answer, ask(&mut driven, &mut other, &second), "the rule is for a label");
    }
}
