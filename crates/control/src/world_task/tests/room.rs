//! Room for all answers: one namespace's pods take none from another's.

use weft_delta::Name;

use super::*;

/// Bytes of the rules of a host, about.
const LARGE: usize = 30_000;
/// Bytes that all answers may have.
const ROOM: usize = 12 * LARGE;

/// A driven task with room for about ten large answers, and hosts that have one.
fn driven() -> Driven {
    let mut driven = Driven::new();
    let room = Room { of_session: usize::MAX, of_all: ROOM };
    driven.task.sessions = Sessions::new(Duration::from_secs(60), room);
    driven
}

impl Driven {
    /// A pod in `namespace` that is connected.
    fn add_pod(&mut self, namespace: &str, name: &str) -> Joined {
        let mut one = pod("Running");
        one["metadata"]["namespace"] = namespace.into();
        one["metadata"]["name"] = name.into();
        self.apply(one);
        self.connect_pod_of(namespace, name)
    }

    /// Rules of so many bytes for a host.
    fn add_rules(&mut self, host: &str, bytes: usize) {
        let path = format!("/{}", "x".repeat(1000));
        let rule = serde_json::json!({
            "match": [{"uri": {"exact": path}}], "route": [{"destination": {"host": "cart"}}],
        });
        self.apply(serde_json::json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": host, "namespace": "a"},
            "spec": {"hosts": [host], "http": vec![rule; bytes / 1200]},
        }));
    }

    /// Asks for hosts, and gives turns until all are answered; the room holds meanwhile.
    fn want_all(&mut self, joined: &Joined, hosts: &[String]) {
        let wanted = hosts.iter().map(|host| format!("{host}:80").parse().unwrap()).collect();
        self.task.receive(interests(joined, wanted, Vec::new(), false));
        self.answer_all();
    }

    fn answer_all(&mut self) {
        while self.task.sessions.has_turns() {
            self.task.answer_turn();
            assert!(self.task.answers.bytes() <= ROOM, "{}", self.task.answers.bytes());
        }
    }

    fn interests_of(&self, pod: &str) -> usize {
        let facts = self.task.sessions.facts();
        facts.iter().find(|facts| facts.pod == pod).unwrap().interests
    }
}

/// So many hosts that have large rules.
fn hosts(driven: &mut Driven, of: &str, count: usize) -> Vec<String> {
    let hosts: Vec<String> = (0..count).map(|number| format!("h{number}.{of}.example")).collect();
    hosts.iter().for_each(|host| driven.add_rules(host, LARGE));
    hosts
}

/// What a session was told last about each of its interests: whether it has an answer.
fn told(joined: &mut Joined) -> BTreeMap<Name, bool> {
    let offers = std::iter::from_fn(|| joined.mailbox.try_recv().ok());
    offers.flat_map(|offer| offer.answers).map(|(name, told)| (name, told.is_some())).collect()
}

fn count(told: &BTreeMap<Name, bool>, has_answer: bool) -> usize {
    told.values().filter(|told| **told == has_answer).count()
}

#[tokio::test(start_paused = true)]
async fn pods_of_a_namespace_that_ask_for_much_take_nothing_from_another() {
    let mut driven = driven();
    let much: Vec<Vec<String>> =
        (0..8).map(|number| hosts(&mut driven, &format!("much{number}"), 4)).collect();
    let few = hosts(&mut driven, "few", 4);
    let mut greedy: Vec<Joined> =
        (0..8).map(|number| driven.add_pod("greedy", &format!("p{number}"))).collect();
    let mut modest = driven.add_pod("modest", "client");
    for (joined, hosts) in greedy.iter().zip(&much) {
        driven.want_all(joined, hosts);
    }
    let full = driven.task.answers.bytes();
    assert!(full > ROOM - 2 * LARGE, "a namespace alone may have all of it: {full}");
    driven.want_all(&modest, &few);
    assert_eq!(driven.interests_of("modest/client"), 4);
    let mut all = BTreeMap::new();
    for joined in &mut greedy {
        all.append(&mut told(joined));
    }
    assert_eq!(all.len(), 32, "each wish has an answer or a refusal");
    assert!(count(&all, true) >= 4, "it keeps the rest");
    let held: usize = (0..8).map(|number| driven.interests_of(&format!("greedy/p{number}"))).sum();
    assert_eq!(held, count(&all, true), "what is given up is reported");
    // Nor does it get it back by asking again.
    for (joined, hosts) in greedy.iter().zip(&much) {
        driven.want_all(joined, hosts);
    }
    let told = told(&mut modest);
    assert_eq!((told.len(), count(&told, true)), (4, 4), "nothing of it is ever given up");
    assert_eq!(driven.interests_of("modest/client"), 4);
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_is_answered_once_others_have_left() {
    let mut driven = driven();
    let (first, second) = (hosts(&mut driven, "first", 6), hosts(&mut driven, "second", 8));
    let one = driven.add_pod("greedy", "one");
    let mut two = driven.add_pod("greedy", "two");
    driven.want_all(&one, &first);
    driven.want_all(&two, &second);
    let refused: Vec<String> = told(&mut two)
        .iter()
        .filter(|(_, told)| !**told)
        .map(|(name, _)| name.trim_end_matches(":80").to_owned())
        .collect();
    assert!(!refused.is_empty() && refused.len() < 8, "{refused:?}");
    let made = driven.task.answers.bytes();
    driven.want_all(&two, &refused);
    assert_eq!(driven.task.answers.bytes(), made);
    assert_eq!(count(&told(&mut two), true), 0);
    driven.task.receive(Message::Leave(one.session));
    driven.want_all(&two, &refused);
    let told = told(&mut two);
    assert_eq!((told.len(), count(&told, true)), (refused.len(), refused.len()));
}

#[tokio::test(start_paused = true)]
async fn answers_that_grow_beyond_the_room_go_and_those_of_others_stay() {
    let mut driven = driven();
    let hosts: Vec<String> = (0..2).map(|number| format!("h{number}.example")).collect();
    let few = self::hosts(&mut driven, "few", 2);
    let (mut greedy, mut modest) = (driven.add_pod("greedy", "p"), driven.add_pod("modest", "p"));
    hosts.iter().for_each(|host| driven.add_rules(host, 1_200));
    driven.want_all(&greedy, &hosts);
    driven.want_all(&modest, &few);
    assert_eq!((count(&told(&mut greedy), true), count(&told(&mut modest), true)), (2, 2));
    driven.add_rules(&hosts[0], 14 * LARGE);
    assert!(driven.task.answers.bytes() <= ROOM);
    let name = |host: &str| -> Name { format!("{host}:80").into() };
    assert_eq!(told(&mut greedy), [(name(&hosts[0]), false)].into());
    assert!(told(&mut modest).is_empty());
    assert_eq!(driven.interests_of("modest/p"), 2);
}

#[tokio::test(start_paused = true)]
async fn answers_that_pods_share_count_once() {
    let mut driven = driven();
    let hosts = hosts(&mut driven, "shared", 6);
    let mut all: Vec<Joined> =
        (0..8).map(|number| driven.add_pod("greedy", &format!("p{number}"))).collect();
    for joined in &mut all {
        driven.want_all(joined, &hosts);
        assert_eq!(count(&told(joined), true), 6);
    }
}

#[tokio::test(start_paused = true)]
async fn what_sessions_that_are_gone_have_left_is_not_given_up_for_ever() {
    let mut driven = driven();
    let hosts: Vec<String> = (0..2).map(|number| format!("h{number}.example")).collect();
    let gone = driven.add_pod("greedy", "p");
    hosts.iter().for_each(|host| driven.add_rules(host, 1_200));
    driven.want_all(&gone, &hosts);
    // In one batch the pod goes, and what it had grows beyond the room.
    driven.version += 1;
    let key = weft_api::Key::new(weft_api::Kind::Pod, "greedy", "p");
    driven.task.take([Change::Delete(key, driven.version.to_string())].into_iter());
    driven.add_rules(&hosts[0], 14 * LARGE);
    assert!(driven.task.answers.bytes() <= ROOM);
    assert_eq!(driven.task.sessions.facts().len(), 0);
}
