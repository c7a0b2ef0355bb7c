//! Peers that take as much as they can.

use std::collections::VecDeque;

use bytes::Bytes;
use futures::FutureExt as _;
use http_body_util::{Full, StreamBody};
use hyper::body::Frame;

use super::*;

const FEW: Limits = Limits {
    connections: 2,
    of_peer: 2,
    of_machine: 2,
    waiting: 8,
    waiting_of_peer: 2,
    turns: 2,
    turns_of_peer: 1,
    bodies: Bodies { longest: 40, small: 10, shared: 100, large_of_peer: 80, small_of_peer: 20 },
};

fn peer(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

async fn enter(all: &Arc<Peers>, from: u8) -> Connection {
    all.arrive(peer(from)).expect("few wait").enter().await.expect("it is not sent away")
}

/// One that waits for a request after its handshake.
async fn idle(all: &Arc<Peers>, from: u8) -> Connection {
    let connection = enter(all, from).await;
    connection.established();
    connection
}

fn is_closed(connection: &Connection) -> bool {
    connection.closed().now_or_never().is_some()
}

fn enters_now(all: &Arc<Peers>, peer: IpAddr) -> Option<Connection> {
    all.arrive(peer)?.enter().now_or_never().flatten()
}

#[tokio::test]
async fn the_one_that_was_idle_for_longest_makes_room() {
    let all = Peers::new(FEW);
    let first = idle(&all, 1).await;
    let second = idle(&all, 1).await;
    drop(first.begin());
    let third = enter(&all, 2).await;
    assert!(is_closed(&second) && !is_closed(&first));

    let first_request = first.begin();
    let _third_request = third.begin();
    let mut fourth = std::pin::pin!(enter(&all, 1));
    assert!(futures::poll!(&mut fourth).is_pending(), "the other has no more than this one");
    drop(first_request);
    let _fourth = fourth.await;
    assert!(is_closed(&first));
}

#[tokio::test]
async fn a_connection_is_idle_after_its_last_request_only() {
    let all = Peers::new(Limits { of_peer: 1, ..FEW });
    let connection = idle(&all, 1).await;
    let (first, second) = (connection.begin(), connection.begin());
    drop(first);
    assert!(enters_now(&all, peer(1)).is_none(), "it still has a request");
    drop(second);
    assert!(enters_now(&all, peer(1)).is_some() && is_closed(&connection));
}

/// An upgraded connection is served by a task of its own, which has what is busy.
#[tokio::test]
async fn what_is_busy_counts_when_its_connection_has_been_dropped() {
    let all = Peers::new(Limits { of_peer: 1, ..FEW });
    let connection = idle(&all, 1).await;
    let session = connection.begin();
    drop(connection);
    assert_eq!(all.connections(), 1);
    assert!(enters_now(&all, peer(1)).is_none());
    drop(session);
    assert!(enters_now(&all, peer(1)).is_some());
    assert!(all.lock().is_forgotten(), "a peer without connections is forgotten");
}

/// A program without credentials opens connections and says nothing.
#[tokio::test]
async fn silent_connections_of_the_machine_itself_keep_out_none_of_its_programs() {
    let all = Peers::new(Limits { of_machine: 3, ..FEW });
    let own = IpAddr::from(Ipv4Addr::LOCALHOST);
    let kubectl = enters_now(&all, own).expect("room");
    kubectl.established();
    let request = kubectl.begin();
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(enters_now(&all, own).expect("another makes room"));
    }
    assert!(!is_closed(&kubectl), "it has a request");
    assert_eq!(silent.iter().filter(|one| !is_closed(one)).count(), 2, "the newest");
    let second = enters_now(&all, own).expect("the oldest goes");
    assert!(is_closed(&silent[98]) && !is_closed(&silent[99]));
    drop(request);
    second.established();
    let third = enters_now(&all, own).expect("the idle one goes: most are idle");
    assert!(is_closed(&kubectl) && !is_closed(&second) && !is_closed(&third));
}

#[tokio::test]
async fn one_that_ends_makes_room() {
    let all = Peers::new(Limits { connections: 1, ..FEW });
    let first = enter(&all, 1).await;
    let mut second = std::pin::pin!(enter(&all, 2));
    assert!(futures::poll!(&mut second).is_pending());
    drop(first);
    second.await;
    assert!(all.lock().is_forgotten());
}

#[tokio::test]
async fn a_peer_that_keeps_its_own_busy_makes_only_itself_wait() {
    let all = Peers::new(Limits { connections: 4, ..FEW });
    let (_first, second) = (enter(&all, 1).await, enter(&all, 1).await);
    let mut own = std::pin::pin!(enter(&all, 1));
    assert!(futures::poll!(&mut own).is_pending());
    let other = idle(&all, 2).await;
    second.established();
    own.await;
    assert!(is_closed(&second) && !is_closed(&other), "the other is idle");
}

#[tokio::test]
async fn peers_that_keep_all_busy_do_not_keep_out_one_that_has_fewer() {
    let all = Peers::new(Limits { connections: 8, of_peer: 4, waiting_of_peer: 8, ..FEW });
    let mut greedy = Vec::new();
    for from in [1, 1, 1, 1, 2, 2, 2, 2] {
        greedy.push(enter(&all, from).await);
    }
    let mut waiting = Vec::new();
    for from in [1, 2, 1, 2, 1, 2, 1, 2] {
        let mut more = Box::pin(all.arrive(peer(from)).expect("few wait").enter());
        assert!(futures::poll!(&mut more).is_pending(), "they have no fewer than the others");
        waiting.push(more);
    }
    // All places in the queue are taken, too.
    let honest = enters_now(&all, peer(3)).expect("room at once");
    assert_eq!(greedy.iter().filter(|one| is_closed(one)).count(), 1);
    assert!(all.arrive(peer(1)).is_none(), "the others have as many places in the queue");
    assert!(!is_closed(&honest), "in its handshake it makes room for no other");
    honest.established();
    assert!(waiting.iter_mut().all(|more| more.now_or_never().is_none()));
    assert!(!is_closed(&honest), "nor when it is idle, since others have more");
}

#[tokio::test]
async fn peers_that_fill_the_queue_do_not_keep_out_one_that_waits_for_less() {
    let all = Peers::new(Limits { waiting_of_peer: 8, ..FEW });
    let open = (enter(&all, 1).await, enter(&all, 2).await);
    let mut waiting = Vec::new();
    for from in [1, 2, 1, 2, 1, 2, 1, 2] {
        waiting.push(Box::pin(all.arrive(peer(from)).expect("few wait").enter()));
    }
    let honest = all.arrive(peer(3)).expect("another leaves its place in the queue");
    let ended: Vec<_> = waiting.iter_mut().map(|more| more.now_or_never()).collect();
    let sent_away = ended.iter().filter(|ended| matches!(ended, Some(None))).count();
    assert_eq!(sent_away, 1);
    let mut waiting: Vec<_> = waiting
        .into_iter()
        .zip(ended)
        .filter_map(|(more, ended)| ended.is_none().then_some(more))
        .collect();
    drop(open);
    let entered: Vec<_> =
        waiting.iter_mut().filter_map(|more| more.now_or_never().flatten()).collect();
    assert_eq!(entered.len(), 2, "one of each of the two that came before");
    entered[0].established();
    assert!(honest.enter().now_or_never().flatten().is_some());
}

/// A server accepts newcomers before the tasks of those that wait run.
#[tokio::test]
async fn newcomers_do_not_overtake_those_of_their_peer_that_wait() {
    for peer in [peer(1), Ipv4Addr::LOCALHOST.into()] {
        let all = Peers::new(Limits { connections: 9, waiting_of_peer: 8, ..FEW });
        let busy: Vec<_> = (0..2).map_while(|_| Some(enters_now(&all, peer)?.begin())).collect();
        let connections: Vec<_> = busy.iter().map(|one| one.connection().clone()).collect();
        connections.iter().for_each(Connection::established);
        let mut first = std::pin::pin!(all.arrive(peer).expect("few wait").enter());
        assert!(futures::poll!(&mut first).is_pending());
        drop(busy);
        let newcomer = all.arrive(peer).expect("few wait");
        let first = first.now_or_never().flatten().expect("an idle one made room for it");
        let second = newcomer.enter().now_or_never().flatten();
        let second = second.expect("another idle one made room");
        assert!(connections.iter().all(is_closed) && !is_closed(&first) && !is_closed(&second));
    }
}

#[tokio::test]
async fn those_of_a_peer_that_wait_are_let_in_in_the_order_in_which_they_came() {
    let all = Peers::new(Limits { connections: 9, of_peer: 1, waiting_of_peer: 8, ..FEW });
    let mut open = idle(&all, 1).await.begin();
    let mut waiting: Vec<_> =
        (0..4).map(|_| Some(all.arrive(peer(1)).expect("few wait"))).collect();
    // The last one gives up, and another one after it has been let in.
    drop(waiting.pop());
    for next in 0..3 {
        drop(open);
        let entered = waiting[next].take().expect("it waits");
        if next == 1 {
            drop(entered);
            open = idle(&all, 2).await.begin();
            continue;
        }
        for later in &mut waiting {
            let Some(later) = later else { continue };
            let ArrivalState::Queue(waiting) = &mut later.0 else { panic!("{later:?}") };
            assert!(waiting.entered.try_recv().is_err(), "one is let in");
        }
        let entered = entered.enter().now_or_never().flatten().expect("it is the first");
        entered.established();
        open = entered.begin();
    }
    drop(open);
    assert!(all.lock().is_forgotten());
}

#[tokio::test]
async fn where_one_ends_one_of_those_that_wait_is_let_in_and_has_time_for_a_request() {
    for peer in [peer(1), Ipv4Addr::LOCALHOST.into()] {
        let limits = Limits { of_peer: 1, of_machine: 1, waiting_of_peer: 4, ..FEW };
        let all = Peers::new(limits);
        let arrive = || Box::pin(all.arrive(peer).expect("few wait").enter());
        let mut open = enters_now(&all, peer).expect("room");
        open.established();
        let busy = open.begin();
        let mut waiting: VecDeque<_> = (0..3).map(|_| arrive()).collect();
        assert!(waiting.iter_mut().all(|one| one.now_or_never().is_none()));
        let (mut next, mut is_first) = (Some(busy), true);
        while let Some(busy) = next.take() {
            drop((busy, open));
            open = waiting.pop_front().expect("it waits").now_or_never().flatten().expect("room");
            // What happens to others has it closed neither now, nor after its handshake.
            enters_now(&all, [10, 0, 0, 9].into()).expect("room").established();
            open.established();
            assert!(!is_closed(&open), "{peer}");
            assert!(waiting.iter_mut().all(|one| one.now_or_never().is_none()), "{peer}");
            next = std::mem::take(&mut is_first).then(|| open.begin());
        }
        // One that says nothing goes when one more comes, as it does where nothing waits.
        waiting.push_back(arrive());
        let last = waiting.pop_front().expect("it waits").now_or_never().flatten();
        assert!(is_closed(&open) && last.is_some_and(|last| !is_closed(&last)), "{peer}");
    }
}

/// As the queue of the machine is its own.
#[tokio::test]
async fn those_of_the_machine_that_wait_take_no_places_of_others() {
    let limits = Limits { of_peer: 1, of_machine: 1, waiting: 1, ..FEW };
    let all = Peers::new(limits);
    let own = IpAddr::from(Ipv4Addr::LOCALHOST);
    let _busy = [own, peer(1)].map(|peer| {
        let connection = enters_now(&all, peer).expect("room");
        connection.established();
        connection.begin()
    });
    let _waiting = all.arrive(own).expect("a place of the machine");
    let _other = all.arrive(peer(1)).expect("a place of the others");
    assert!(all.arrive(peer(1)).is_none() && all.arrive(own).is_some());
}

#[tokio::test]
async fn room_goes_to_the_peer_with_the_fewest_connections() {
    let all = Peers::new(Limits { connections: 3, of_peer: 3, ..FEW });
    let mut open = vec![enter(&all, 1).await, enter(&all, 1).await, enter(&all, 2).await];
    let arrive = |from| Box::pin(all.arrive(peer(from)).expect("few wait").enter());
    let (mut first, mut second) = (arrive(1), arrive(2));
    assert!((&mut second).now_or_never().is_none());
    drop(open.pop());
    let second = second.now_or_never().flatten().expect("its peer has none");
    assert!((&mut first).now_or_never().is_none());
    drop(second);
    assert!(first.now_or_never().flatten().is_some());
}

#[tokio::test]
async fn ten_thousand_peers_take_no_more_than_there_is_and_leave_the_machine_alone() {
    let limits = Limits { connections: 512, of_machine: 64, waiting: 256, ..FEW };
    let all = Peers::new(limits);
    let (mut open, mut waiting, mut refused) = (Vec::new(), Vec::new(), 0);
    for number in 0..10_000_u32 {
        let peer = IpAddr::from((0x0a00_0000 + number).to_be_bytes());
        let Some(arrival) = all.arrive(peer) else {
            refused += 1;
            continue;
        };
        let mut entering = Box::pin(arrival.enter());
        match futures::poll!(&mut entering) {
            std::task::Poll::Ready(connection) => open.extend(connection),
            std::task::Poll::Pending => waiting.push(entering),
        }
    }
    assert_eq!((open.len(), waiting.len(), refused), (512, 256, 10_000 - 512 - 256));
    let own: Vec<_> = (0..64).map_while(|_| enters_now(&all, [127, 0, 0, 1].into())).collect();
    assert_eq!(own.len(), 64, "the machine has its own");
    own.iter().for_each(Connection::established);
    let requests: Vec<_> = own.iter().map(Connection::begin).collect();
    assert!(enters_now(&all, [127, 0, 0, 9].into()).is_none(), "all its addresses are one peer");
    assert!(!open.iter().any(is_closed), "nothing was idle");
    open[7].established();
    let entered = waiting.iter_mut().filter_map(|one| one.now_or_never().flatten());
    let entered: Vec<_> = entered.collect();
    assert_eq!((entered.len(), is_closed(&open[7])), (1, true), "what is idle makes room");
    drop((open, waiting, requests, own, entered));
    assert!(all.lock().is_forgotten());
}

#[tokio::test]
async fn idle_connections_of_many_peers_make_room_for_new_ones() {
    let all = Peers::new(Limits { connections: 64, ..FEW });
    let mut held = Vec::new();
    for from in 0..64 {
        held.push(idle(&all, from).await);
    }
    let new = enters_now(&all, peer(100));
    assert!(new.is_some() && is_closed(&held[0]) && !is_closed(&held[1]), "the idlest has gone");
}

#[tokio::test]
async fn too_many_that_wait_are_turned_away() {
    let all = Peers::new(FEW);
    let open = (enter(&all, 1).await, enter(&all, 1).await);
    let waiting = (all.arrive(peer(1)), all.arrive(peer(1)));
    assert!(all.arrive(peer(1)).is_none() && all.arrive(peer(2)).is_some());
    drop(waiting);
    assert!(all.arrive(peer(1)).is_some());
    drop(open);
    assert!(all.lock().is_forgotten());
}

/// A server accepts all of them before the task of one of them runs.
#[tokio::test]
async fn a_burst_for_which_there_is_room_needs_no_place_in_the_queue() {
    for from in [peer(1), Ipv4Addr::LOCALHOST.into()] {
        let all = Peers::new(Limits { connections: 8, of_peer: 8, of_machine: 8, ..FEW });
        let burst: Vec<_> = (0..8).map_while(|_| all.arrive(from)).collect();
        assert_eq!((burst.len(), all.connections()), (8, 8), "{from}");
        let refused = Limits { waiting: 0, waiting_of_peer: 0, of_peer: 0, of_machine: 0, ..FEW };
        assert!(Peers::new(refused).arrive(from).is_none(), "{from}");
        drop(burst);
        assert!(all.lock().is_forgotten(), "{from}");
    }
}

/// As those of proxies, which wait for changes as long as they are there.
#[tokio::test]
async fn connections_of_the_machine_that_are_in_use_make_no_room_for_silent_ones() {
    let all = Peers::new(Limits { of_machine: 3, ..FEW });
    let own = IpAddr::from(Ipv4Addr::LOCALHOST);
    let used = enters_now(&all, own).expect("room").begin();
    used.connection().established();
    let silent: Vec<_> = (0..9).map_while(|_| Some(enters_now(&all, own)?.begin())).collect();
    assert_eq!(silent.len(), 9, "another makes room");
    assert!(!is_closed(used.connection()));
}

#[tokio::test]
async fn a_peer_has_few_places_in_the_queue_for_turns() {
    let all = Peers::new(Limits { connections: 9, ..FEW });
    let (greedy, second, honest) =
        (enter(&all, 1).await, enter(&all, 2).await, enter(&all, 3).await);
    let (first, _second) = (greedy.turn().await, second.turn().await);
    let mut more: Vec<_> = (0..9).map(|_| Box::pin(greedy.turn())).collect();
    for turn in &mut more {
        assert!(futures::poll!(turn).is_pending());
    }
    let mut own = std::pin::pin!(honest.turn());
    assert!(futures::poll!(&mut own).is_pending(), "all turns are taken");
    drop(first);
    assert!(own.now_or_never().is_some(), "it is next, before those that came earlier");
}

fn body(length: usize) -> Full<Bytes> {
    Full::new(vec![b' '; length].into())
}

#[tokio::test]
async fn bodies_that_are_held_have_so_many_bytes_together() {
    let all = Peers::new(Limits { connections: 9, ..FEW });
    let mut held = Vec::new();
    for from in 1..5 {
        let connection = enter(&all, from).await;
        let before = all.free_bytes();
        while let Some(read) = connection.read(body(40)).now_or_never() {
            held.push(read.expect("it is as long as it may be"));
        }
        assert!(before - all.free_bytes() <= FEW.bodies.large_of_peer, "not more than its share");
    }
    assert_eq!((held.len(), all.free_bytes()), (2, 20), "the third waits for its last bytes");
    let other = enter(&all, 9).await;
    assert!(other.read(body(40)).now_or_never().is_none());
    assert!(other.read(body(10)).now_or_never().is_some(), "small ones wait for no other peer");
    held.clear();
    assert!(other.read(body(40)).now_or_never().is_some());
    assert_eq!(all.free_bytes(), FEW.bodies.shared);
}

#[tokio::test]
async fn a_body_is_refused_by_the_length_that_it_declares_or_has() {
    let all = Peers::new(FEW);
    let connection = enter(&all, 1).await;
    let refused = connection.read(body(41)).await.expect_err("it is too long");
    assert_eq!(refused.to_string(), "the body has more than 40 bytes");
    // Of this one the length is not known before it has been read.
    let pieces = (0..9).map(|_| Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(&[0; 8]))));
    let unknown = StreamBody::new(futures::stream::iter(pieces));
    assert!(matches!(connection.read(unknown).await, Err(ReadError::TooLarge(40))));
    assert_eq!(all.free_bytes(), FEW.bodies.shared, "nothing is held any more");
}
