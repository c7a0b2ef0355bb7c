//! Starts the tasks and ends them.

use std::sync::Arc;

use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
};
use weft_process::{peers::Peers, shutdown::Stopping};
use weft_wire::{
    Call,
    server::{Admission, Entrance},
};

use crate::{
    Change, Handle, Options,
    admission::Proxies,
    budget::Budgets,
    delta_stream::{AUTHENTICATIONS, Service},
    metrics::Metrics,
    monitoring::Pages,
    world_task::{Findings, Inputs, WorldTask},
};

/// Messages on their way to the world's task.
const MESSAGES: usize = 1024;
/// Streams that were accepted and are not looked at yet.
const CALLS: usize = 256;

/// The control plane: the returned future serves until `stopping`, or until
/// `changes` has no more senders; the handle looks into it.
pub fn run(
    options: Options,
    changes: mpsc::Receiver<Change>,
    stopping: Stopping,
) -> (Handle, impl Future<Output = ()> + Send) {
    let (world, messages) = mpsc::channel(MESSAGES);
    let (publish, findings) = watch::channel(Findings::default());
    let (tell_ready, ready) = watch::channel(false);
    let metrics = Arc::new(Metrics::default());
    let handle = Handle { world: world.clone(), findings, ready };
    let task = WorldTask::new(
        Arc::clone(&metrics),
        options.pod_patience,
        options.answer_bytes,
        publish,
        tell_ready,
    )
    .installed(options.installation.clone())
    .run(Inputs { changes, messages, stopping: stopping.clone() }, options.check_every);
    let authenticating = Arc::new(Semaphore::new(AUTHENTICATIONS));
    let service = Service {
        authenticate: Arc::clone(&options.authenticate),
        authenticating: Arc::clone(&authenticating),
        world,
        metrics: Arc::clone(&metrics),
        budgets: Budgets::new(&options),
    };
    let pages = Pages {
        handle: handle.clone(),
        metrics,
        authenticate: Arc::clone(&options.authenticate),
        authenticating,
        root_namespace: options.installation.namespace.clone(),
    };
    (handle, serve(options, service, pages, (Box::pin(task), stopping)))
}

async fn serve(
    options: Options,
    service: Service,
    pages: Pages,
    (task, stopping): (impl Future<Output = ()>, Stopping),
) {
    let (calls, mut incoming) = mpsc::channel::<Call>(CALLS);
    let mut tasks = JoinSet::new();
    let admission: Arc<dyn Admission> = Arc::new(Proxies(Peers::new(options.peers)));
    let tls = Entrance {
        socket: options.xds,
        tls: Some(options.tls),
        admission: Some(Arc::clone(&admission)),
    };
    let plain =
        options.xds_plain.map(|socket| Entrance { socket, tls: None, admission: Some(admission) });
    for entrance in [Some(tls), plain].into_iter().flatten() {
        let (limits, calls) = (options.limits.clone(), calls.clone());
        let mut stopping = stopping.clone();
        tasks.spawn(async move {
            weft_wire::serve(entrance, limits, calls, async move { stopping.stopped().await })
                .await;
        });
    }
    tasks.spawn(pages.paths().serve(options.monitoring, stopping));
    let mut streams = JoinSet::new();
    let mut task = std::pin::pin!(task);
    loop {
        tokio::select! {
            () = task.as_mut() => break,
            Some(call) = incoming.recv() => {
                streams.spawn(service.clone().serve(call));
            }
            Some(_) = streams.join_next(), if !streams.is_empty() => {}
        }
    }
    streams.shutdown().await;
    tasks.shutdown().await;
}
