//! The cache driven by hand, and the resolver on top of a lookup that says nothing.

use super::{
    cache::{Answer, Cache},
    *,
};
use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering},
};
use tokio::sync::oneshot;

fn name(host: &str) -> Name {
    Name { host: host.into(), port: 80 }
}

fn addresses(last: u8) -> Arc<[SocketAddr]> {
    Arc::new([SocketAddr::from(([10, 0, 0, last], 80))])
}

/// Asks `cache` for `a` at `now`: whether a lookup is to begin, and the answer, if there is one
/// at once.
fn ask(cache: &mut Cache, now: Instant) -> (bool, Option<Answer>) {
    let (sender, mut answer) = oneshot::channel();
    let begin = cache.ask(&name("a"), sender, now);
    // One who does not wait does not stay.
    (begin, answer.try_recv().ok())
}

#[tokio::test(start_paused = true)]
async fn one_lookup_serves_all_who_wait() {
    let mut cache = Cache::default();
    let now = Instant::now();
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..700).map(|_| oneshot::channel()).unzip();
    let begun: Vec<bool> =
        senders.into_iter().map(|sender| cache.ask(&name("a"), sender, now)).collect();
    assert_eq!(begun.iter().filter(|begun| **begun).count(), 1);
    cache.answered(&name("a"), &Ok(addresses(1)), now);
    for receiver in receivers {
        assert_eq!(receiver.await.unwrap(), Ok(addresses(1)));
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_answer_is_given_out_while_a_new_one_is_looked_up() {
    let mut cache = Cache::default();
    let now = Instant::now();
    assert_eq!(ask(&mut cache, now), (true, None));
    cache.answered(&name("a"), &Ok(addresses(1)), now);
    let one = Some(Ok(addresses(1)));
    assert_eq!(ask(&mut cache, now + Duration::from_secs(4)), (false, one.clone()));
    let later = now + Duration::from_secs(5);
    assert_eq!(ask(&mut cache, later), (true, one.clone()));
    assert_eq!(ask(&mut cache, later), (false, one.clone()), "it is being looked up");
    cache.answered(&name("a"), &Err(ResolveError::Silent), later);
    assert_eq!(ask(&mut cache, later), (false, one.clone()), "a failure is remembered");
    let again = later + Duration::from_secs(1);
    assert_eq!(ask(&mut cache, again), (true, one));
    cache.answered(&name("a"), &Ok(addresses(2)), again);
    assert_eq!(ask(&mut cache, again), (false, Some(Ok(addresses(2)))));
    let much_later = again + Duration::from_secs(300);
    assert_eq!(ask(&mut cache, much_later), (true, None), "too old to be true");
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_given_out_for_a_second() {
    let mut cache = Cache::default();
    let now = Instant::now();
    assert_eq!(ask(&mut cache, now), (true, None));
    let failure = Err(ResolveError::None("no such host".into()));
    cache.answered(&name("a"), &failure, now);
    let soon = now + Duration::from_millis(999);
    assert_eq!(ask(&mut cache, soon), (false, Some(failure)));
    assert_eq!(ask(&mut cache, now + Duration::from_secs(1)), (true, None));
}

#[tokio::test(start_paused = true)]
async fn names_that_are_not_asked_for_are_forgotten_and_their_number_is_bounded() {
    let mut cache = Cache::default();
    let now = Instant::now();
    for number in 0..10_000 {
        let name = name(&number.to_string());
        let (sender, mut answer) = oneshot::channel();
        let begun = cache.ask(&name, sender, now);
        assert_eq!(begun, number < 8192, "{number}");
        if begun {
            cache.answered(&name, &Err(ResolveError::Silent), now);
        } else {
            assert_eq!(answer.try_recv().unwrap(), Err(ResolveError::Overload));
        }
    }
    assert_eq!(ask(&mut cache, now + Duration::from_secs(1)), (true, None));
}

static LOOKUPS: AtomicUsize = AtomicUsize::new(0);

/// A name server that says nothing: each lookup keeps its thread until the test ends.
fn silent(_: &Name) -> io::Result<Vec<SocketAddr>> {
    LOOKUPS.fetch_add(1, Ordering::SeqCst);
    loop {
        std::thread::park();
    }
}

#[test]
fn a_silent_name_server_costs_a_bounded_number_of_threads_and_a_bounded_time() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let limit = Duration::from_millis(200);
    runtime.block_on(async {
        let names = Rc::new(Names::new(Resolver::with(silent)));
        let began = Instant::now();
        let asking = (0..700).map(|number| {
            let names = Rc::clone(&names);
            async move {
                let name = name(&(number % 100).to_string());
                names.addresses(&name, began + limit).await
            }
        });
        for answer in futures_all(asking).await {
            assert_eq!(answer, Err(ResolveError::Silent));
        }
        // Far less than the resolver's own deadline, and each waits for its own at once.
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
        assert!(LOOKUPS.load(Ordering::SeqCst) <= 32);
    });
    runtime.shutdown_background();
}

/// Only the server of one domain says nothing.
fn partly_silent(name: &Name) -> io::Result<Vec<SocketAddr>> {
    match name.host.ends_with(".silent.example") {
        true => loop {
            std::thread::park();
        },
        false => Ok(vec![([10, 0, 0, 1], name.port).into()]),
    }
}

#[test]
fn names_whose_server_is_silent_leave_threads_for_others() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let names = Rc::new(Names::new(Resolver::with(partly_silent)));
        let soon = Instant::now() + Duration::from_millis(50);
        let asking = (0..100).map(|number| {
            let names = Rc::clone(&names);
            async move { names.addresses(&name(&format!("a{number}.silent.example")), soon).await }
        });
        for answer in futures_all(asking).await {
            assert_eq!(answer, Err(ResolveError::Silent));
        }
        let hangs = Instant::now() + Duration::from_secs(60);
        let answer = names.addresses(&name("a.other.example"), hangs).await;
        assert!(answer.is_ok_and(|addresses| addresses.len() == 1));
    });
    runtime.shutdown_background();
}

/// Runs all of `work` at once.
async fn futures_all<F: Future>(work: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = work.map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|context| {
        for (one, done) in waiting.iter_mut().filter(|(_, done)| done.is_none()) {
            if let std::task::Poll::Ready(output) = one.as_mut().poll(context) {
                *done = Some(output);
            }
        }
        match waiting.iter().all(|(_, done)| done.is_some()) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    waiting.into_iter().filter_map(|(_, done)| done).collect()
}

#[tokio::test]
async fn addresses_that_could_not_be_connected_to_come_last() {
    let lookup = |_: &Name| Ok([1, 2, 3].map(|last| ([10, 0, 0, last], 80).into()).to_vec());
    let names = Rc::new(Names::new(Resolver::with(lookup)));
    let deadline = Instant::now() + Duration::from_secs(20);
    let order = async || {
        let found = names.addresses(&name("a"), deadline).await.unwrap();
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(order().await, ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]);
    names.failed(([10, 0, 0, 1], 80).into());
    assert_eq!(order().await, ["10.0.0.2:80", "10.0.0.3:80", "10.0.0.1:80"]);
}
