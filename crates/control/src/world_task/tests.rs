//! The world's task without sessions: checks of remembered values, and diagnostics.

use super::*;

fn world_task() -> (WorldTask, Arc<Metrics>, watch::Receiver<Findings>) {
    let metrics = Arc::new(Metrics::default());
    let (publish, diagnostics) = watch::channel(Findings::default());
    let (ready, _) = watch::channel(false);
    (WorldTask::new(Arc::clone(&metrics), Duration::ZERO, publish, ready), metrics, diagnostics)
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
