//! The world's task without sessions: checks of remembered values, and diagnostics.

use tokio::sync::oneshot;
use weft_config::Interest;

use super::*;
use crate::{Acknowledgement, Caller};

mod room;
mod turns;

fn world_task() -> (WorldTask, Arc<Metrics>, watch::Receiver<Findings>) {
    let metrics = Arc::new(Metrics::default());
    let (publish, diagnostics) = watch::channel(Findings::default());
    let (ready, _) = watch::channel(false);
    (
        WorldTask::new(Arc::clone(&metrics), Duration::ZERO, usize::MAX, publish, ready),
        metrics,
        diagnostics,
    )
}

#[tokio::test(start_paused = true)]
async fn a_difference_from_a_rebuild_is_counted_and_mended() {
    let (mut task, metrics, _) = world_task();
    task.compare(Vec::new());
    assert_eq!(metrics.shadow_differences.load(Relaxed), 0);
    let before = task.generation;
    task.compare(vec!["cart.a.svc.cluster.local:80".to_owned()]);
    assert_eq!(metrics.shadow_differences.load(Relaxed), 1);
    assert_eq!(metrics.shadow_runs.load(Relaxed), 2);
    assert_eq!(task.generation, before + 1);
}

#[tokio::test(start_paused = true)]
async fn remembered_values_are_checked_again_and_again() {
    let (task, metrics, _) = world_task();
    let (changes, receiver) = mpsc::channel(1);
    let (_messages, messages) = mpsc::channel(1);
    let (stop, stopping) = weft_process::shutdown::channel();
    let inputs = Inputs { changes: receiver, messages, stopping };
    let running = tokio::spawn(task.run(inputs, Duration::from_secs(60)));
    changes.send(Change::Synced).await.unwrap();
    while metrics.shadow_runs.load(Relaxed) < 3 {
        tokio::time::advance(Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(metrics.shadow_differences.load(Relaxed), 0);
    stop.stop();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_is_told_a_little_after_the_change() {
    let (task, _, mut diagnostics) = world_task();
    let (changes, receiver) = mpsc::channel(4);
    let (_messages, messages) = mpsc::channel(1);
    let (_stop, stopping) = weft_process::shutdown::channel();
    tokio::spawn(task.run(Inputs { changes: receiver, messages, stopping }, Duration::MAX / 4));
    let rules = serde_json::json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "cart", "namespace": "a"},
        "spec": {"hosts": ["cart"], "http": [{"route": [{"destination": {"host": "nowhere"}}]}]},
    });
    let object = weft_api::check(&rules).object.unwrap();
    changes.send(Change::Apply(Box::new(object), "1".to_owned())).await.unwrap();
    changes.send(Change::Synced).await.unwrap();
    diagnostics.changed().await.unwrap();
    let found = diagnostics.borrow().clone();
    let mut all = found.values().flat_map(|found| found.iter());
    assert!(all.any(|one| one.message.contains("nowhere")), "{found:?}");
}

/// A task that is driven by hand, with a service `cart` and a pod `client` that uses it.
struct Driven {
    task: WorldTask,
    version: u64,
}

const CART: &str = "cart.a.svc.cluster.local:80";

impl Driven {
    fn new() -> Self {
        let mut driven = Self { task: world_task().0, version: 0 };
        driven.apply(serde_json::json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "cart", "namespace": "a"},
            "spec": {"clusterIP": "10.96.0.9", "ports": [{"name": "http", "port": 80}]},
        }));
        driven.apply(pod("Running"));
        driven.task.take([Change::Synced].into_iter());
        driven
    }

    fn apply(&mut self, object: serde_json::Value) {
        self.version += 1;
        let object = weft_api::check(&object).object.unwrap();
        let change = Change::Apply(Box::new(object), self.version.to_string());
        self.task.take([change].into_iter());
        self.task.work();
    }

    fn connect(&mut self) -> Joined {
        self.connect_pod("client")
    }

    fn connect_pod(&mut self, pod: &str) -> Joined {
        self.connect_pod_of("a", pod)
    }

    fn connect_pod_of(&mut self, namespace: &str, pod: &str) -> Joined {
        let (reply, mut joined) = oneshot::channel();
        let caller = Caller {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            pod_uid: "uid".to_owned(),
            account: "default".to_owned(),
        };
        self.task.receive(Message::Join(Join { caller, reply }));
        joined.try_recv().unwrap()
    }

    fn introduce(&mut self, joined: &Joined, resumed: bool) {
        let wanted = vec![CART.parse().unwrap()];
        self.interest(joined, wanted, Vec::new(), resumed);
    }

    /// Says what a session is interested in, and gives it a turn.
    fn interest(
        &mut self,
        joined: &Joined,
        wanted: Vec<Interest>,
        dropped: Vec<Interest>,
        resumed: bool,
    ) {
        self.task.receive(interests(joined, wanted, dropped, resumed));
        self.task.answer_turn();
    }

    /// Changes an answer that the client uses; its version.
    fn change(&mut self, seconds: u32) -> String {
        self.apply(rules(seconds));
        self.version.to_string()
    }

    /// A session of the client, and the version of a change that it does not have yet.
    fn connect_before_change(&mut self) -> (Joined, String) {
        let joined = self.connect();
        self.introduce(&joined, false);
        (joined, self.change(3))
    }

    /// Asks who lacks that version; the answer comes later when nothing is complete.
    fn ask(&mut self, version: &str) -> oneshot::Receiver<Acknowledgement> {
        let (reply, answer) = oneshot::channel();
        self.task.receive(Message::Acknowledged(AcknowledgementQuery {
            object: ObjectVersion {
                key: "VirtualService/a/cart".parse().unwrap(),
                version: version.to_owned(),
            },
            caller: QueryCaller { name: "test".to_owned(), runs_mesh: false },
            deadline: Instant::now() + Duration::from_secs(5),
            reply,
        }));
        answer
    }
}

fn interests(
    joined: &Joined,
    wanted: Vec<Interest>,
    dropped: Vec<Interest>,
    resumed: bool,
) -> Message {
    let session = joined.session;
    Message::Interests(Interests { session, wanted, dropped, resumed, place: None })
}

/// Rules for the cart, with a timeout.
fn rules(seconds: u32) -> serde_json::Value {
    serde_json::json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "cart", "namespace": "a"},
        "spec": {"hosts": ["cart"], "http": [
            {"timeout": format!("{seconds}s"), "route": [{"destination": {"host": "cart"}}]}]},
    })
}

fn pod(phase: &str) -> serde_json::Value {
    serde_json::json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "client", "namespace": "a", "uid": "uid"},
        "spec": {"containers": [{"name": "app"}]},
        "status": {"phase": phase, "podIP": "10.1.0.1"},
    })
}

/// The revision of the last offer in a mailbox.
fn offered(joined: &mut Joined) -> Revision {
    let mut last = None;
    while let Ok(offer) = joined.mailbox.try_recv() {
        last = Some(offer.revision);
    }
    last.unwrap()
}

fn is_open(answer: &mut oneshot::Receiver<Acknowledgement>) -> bool {
    answer.try_recv() == Err(oneshot::error::TryRecvError::Empty)
}

#[tokio::test(start_paused = true)]
async fn a_proxy_whose_stream_ends_is_waited_for_until_it_is_back_with_the_change() {
    let mut driven = Driven::new();
    let (joined, version) = driven.connect_before_change();
    let mut answer = driven.ask(&version);
    driven.task.receive(Message::Leave(joined.session));
    assert!(is_open(&mut answer), "a stream that ends takes nothing over");

    let mut joined = driven.connect();
    assert!(is_open(&mut answer), "nor does one that begins");
    driven.introduce(&joined, true);
    assert!(is_open(&mut answer), "nor what it says it wants");
    assert_eq!(offered(&mut joined), Revision::Resumed);
    driven.task.receive(Message::InForce(joined.session, vec![Revision::Resumed]));
    let found = answer.try_recv().unwrap();
    assert_eq!((found.complete, found.proxies), (true, 1));
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_does_not_come_back_is_named_as_behind() {
    let mut driven = Driven::new();
    let (joined, version) = driven.connect_before_change();
    driven.task.receive(Message::Leave(joined.session));
    let mut answer = driven.ask(&version);
    tokio::time::advance(Duration::from_secs(6)).await;
    driven.task.expire();
    let found = answer.try_recv().unwrap();
    assert_eq!(
        (found.complete, found.seen, found.behind),
        (false, true, vec!["a/client".to_owned()])
    );
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_begins_again_has_nothing_old() {
    let mut driven = Driven::new();
    let (joined, version) = driven.connect_before_change();
    let mut answer = driven.ask(&version);
    driven.task.receive(Message::Leave(joined.session));
    let joined = driven.connect();
    driven.introduce(&joined, false);
    assert!(answer.try_recv().unwrap().complete);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_pod_that_is_gone_or_at_its_end() {
    let mut going = pod("Running");
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let mut another = pod("Running");
    another["metadata"]["uid"] = "other".into();
    for last in [None, Some(pod("Succeeded")), Some(pod("Failed")), Some(going), Some(another)] {
        for leaves_first in [true, false] {
            let mut driven = Driven::new();
            let (joined, version) = driven.connect_before_change();
            let mut answer = driven.ask(&version);
            let leave = |driven: &mut Driven| {
                driven.task.receive(Message::Leave(joined.session));
            };
            if leaves_first {
                leave(&mut driven);
                assert!(is_open(&mut answer));
            }
            match &last {
                Some(last) => driven.apply(last.clone()),
                None => {
                    let key = "Pod/a/client".parse().unwrap();
                    driven.task.take([Change::Delete(key, "99".to_owned())].into_iter());
                    driven.task.work();
                }
            }
            if !leaves_first {
                leave(&mut driven);
            }
            assert!(answer.try_recv().unwrap().complete, "{last:?}, {leaves_first}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_later_stream_of_the_same_pod_speaks_for_an_earlier_one_that_ends() {
    let mut driven = Driven::new();
    let earlier = driven.connect();
    driven.introduce(&earlier, false);
    let mut later = driven.connect();
    driven.introduce(&later, true);
    driven.task.receive(Message::InForce(later.session, vec![Revision::Resumed]));
    let version = driven.change(3);
    let mut answer = driven.ask(&version);
    let revision = offered(&mut later);
    driven.task.receive(Message::InForce(later.session, vec![revision]));
    assert!(is_open(&mut answer));
    driven.task.receive(Message::Leave(earlier.session));
    assert!(answer.try_recv().unwrap().complete);
}

/// Room for so many bytes of each session.
fn room(of_session: usize) -> Room {
    Room { of_session, of_all: usize::MAX }
}

/// Interests in unknown hosts.
fn unknown(of: &str, count: usize) -> Vec<Interest> {
    (0..count).map(|one| format!("h{one}.{of}.example:80").parse().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn all_streams_of_a_pod_have_so_many_interests_together() {
    let mut driven = Driven::new();
    let want = |driven: &mut Driven, joined: &Joined, wanted: Vec<Interest>| {
        driven.interest(joined, wanted, Vec::new(), false);
    };
    let count = |driven: &Driven| -> usize {
        driven.task.sessions.facts().iter().map(|facts| facts.interests).sum()
    };
    let (mut earlier, mut later) = (driven.connect(), driven.connect());
    want(&mut driven, &earlier, unknown("a", 3000));
    want(&mut driven, &later, unknown("b", 1000));
    assert_eq!(count(&driven), 4000, "there is room for both");
    assert!(earlier.closed.try_recv().is_err());
    let answers = driven.task.answers.len();

    // The earlier stream cannot have more: it does not replace the later one.
    want(&mut driven, &earlier, unknown("c", 1000));
    assert_eq!(count(&driven), sessions::INTERESTS_OF_POD);
    let offers = std::iter::from_fn(|| earlier.mailbox.try_recv().ok());
    let refused = offers.flat_map(|offer| offer.answers).filter(|(_, answer)| answer.is_none());
    assert_eq!(refused.count(), 4000 + 1000 - sessions::INTERESTS_OF_POD);

    // A later one that needs the room has it at once.
    want(&mut driven, &later, unknown("d", 2000));
    assert_eq!(earlier.closed.try_recv(), Ok(CloseReason::Replaced));
    assert_eq!(count(&driven), 3000);
    assert!(driven.task.answers.len() < answers, "what nobody has an interest in is forgotten");
    want(&mut driven, &later, unknown("e", 2000));
    assert_eq!(count(&driven), sessions::INTERESTS_OF_POD);
    assert!(later.closed.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_stream_has_answers_of_so_many_bytes() {
    let mut driven = Driven::new();
    driven.task.sessions = Sessions::new(Duration::from_secs(60), room(130_000));
    let rules = |name: &str, hosts: &[String], bytes: usize| {
        let path = format!("/{}", "x".repeat(1000));
        let rule = serde_json::json!({
            "match": [{"uri": {"exact": path}}], "route": [{"destination": {"host": "cart"}}],
        });
        serde_json::json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": name, "namespace": "a"},
            "spec": {"hosts": hosts, "http": vec![rule; bytes / 1200]},
        })
    };
    let host = |of: &str, number: usize| format!("h{number}.{of}.example");
    let own: Vec<String> = (0..9).map(|number| host("own", number)).collect();
    for (number, own) in own.iter().enumerate() {
        driven.apply(rules(&format!("own-{number}"), std::slice::from_ref(own), 30_000));
    }
    let shared: Vec<String> = (0..20).map(|number| host("shared", number)).collect();
    driven.apply(rules("shared", &shared, 30_000));
    let mut joined = driven.connect();
    let mut want = |driven: &mut Driven, wanted: &[String], dropped: &[String]| -> Vec<bool> {
        let interests = |hosts: &[String]| {
            hosts.iter().map(|host| format!("{host}:80").parse().unwrap()).collect()
        };
        let (wanted, dropped) = (interests(wanted), interests(dropped));
        driven.interest(&joined, wanted, dropped, false);
        let offers = std::iter::from_fn(|| joined.mailbox.try_recv().ok());
        offers.flat_map(|offer| offer.answers).map(|(_, answer)| answer.is_some()).collect()
    };
    assert!(want(&mut driven, &shared, &[]).iter().all(|answered| *answered), "rules count once");
    assert_eq!(want(&mut driven, &own[..3], &[]), [true, false, false]);
    assert_eq!(want(&mut driven, &own[3..4], &own[..1]), [true], "there is room again");
    assert_eq!(driven.task.sessions.facts()[0].interests, 21);
    // What grows beyond the room goes, and what has room stays.
    driven.apply(rules("own-3", &own[3..4], 90_000));
    assert_eq!(want(&mut driven, &[], &[]), [false]);
    assert_eq!(driven.task.sessions.facts()[0].interests, 20);
    assert_eq!(want(&mut driven, &own[..1], &[]), [true]);
    assert_eq!(want(&mut driven, &own[1..2], &[]), [false]);
    driven.apply(rules("own-0", &own[..1], 1_200));
    assert_eq!(want(&mut driven, &[], &[]), [true]);
    assert_eq!(want(&mut driven, &own[1..2], &[]), [true], "one that shrinks makes room");
    assert_eq!(want(&mut driven, &own[1..2], &own[1..2]), [true], "it counts once");
    assert_eq!(want(&mut driven, &own[1..2], &[]), [true], "it counts once");
    // A wish for what is asked of the proxy itself is never refused.
    driven.interest(&joined, vec![Interest::Own], Vec::new(), false);
    let offer = joined.mailbox.try_recv().unwrap();
    assert!(offer.answers[0].1.is_some());
}
