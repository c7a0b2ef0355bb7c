//! Runs the controllers' pure steps as the objects change.
//!
//! One task reads the history and decides which objects need a step; the steps'
//! writes go through admission like anybody's, several at a time, but never two
//! for the same object. A step that failed is tried again, later and later.

pub(crate) mod events;
mod index;
mod steps;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::FutureExt as _;
use serde_json::Value;
use tokio::{task::JoinSet, time::Instant};
use weft_api::selector;
use weft_controllers::{garbage, object, service};

use crate::{
    status::Status,
    store::{Change, Event, Store, Watch},
    writer::Writer,
};
use index::Index;

/// Steps under way at the same time.
const WIDTH: usize = 32;

/// The first pause before a failed step is tried again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How often Deployments are looked at whose time may have run out.
const TICK: Duration = Duration::from_secs(5);

/// Kinds whose objects make pods or Jobs: group and plural.
const MAKERS: &[(&str, &str)] = &[
    ("apps", "deployments"),
    ("apps", "replicasets"),
    ("apps", "statefulsets"),
    ("apps", "daemonsets"),
    ("batch", "jobs"),
    ("batch", "cronjobs"),
];

/// Where an object is: group, plural, namespace, name.
pub(super) type Key = (String, String, String, String);

/// One thing to look at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Work {
    /// A Deployment: namespace, name.
    Deployment(String, String),
    /// A ReplicaSet.
    ReplicaSet(String, String),
    /// A StatefulSet.
    StatefulSet(String, String),
    /// A DaemonSet.
    DaemonSet(String, String),
    /// A Job.
    Job(String, String),
    /// A CronJob.
    CronJob(String, String),
    /// A Service.
    Service(String, String),
    /// A namespace.
    Namespace(String),
    /// A pod without a place.
    Place(String, String),
    /// An object with owners.
    Owned(Key),
    /// An owner that waits for what it owns.
    Waiting(Key),
}

/// What a step needs.
pub(super) struct Tools {
    pub store: Store,
    pub writer: Arc<Writer>,
    pub authority: String,
    pub index: Mutex<Index>,
}

/// The controllers of one store.
pub struct Controllers {
    tools: Arc<Tools>,
    queue: BTreeSet<Work>,
    running: BTreeSet<Work>,
    later: BTreeMap<Work, (Instant, Duration)>,
    failures: BTreeMap<Work, Duration>,
    tasks: JoinSet<(Work, Result<(), Status>)>,
}

impl Controllers {
    /// Controllers that write through `writer`; `authority` is the certificate
    /// that every namespace gets in a ConfigMap.
    pub fn new(store: Store, writer: Arc<Writer>, authority: String) -> Self {
        let index = Mutex::new(Index::default());
        Self {
            tools: Arc::new(Tools { store, writer, authority, index }),
            queue: BTreeSet::new(),
            running: BTreeSet::new(),
            later: BTreeMap::new(),
            failures: BTreeMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Runs for as long as the future is polled.
    pub async fn run(mut self) {
        let mut watch = self.survey();
        let mut tick = tokio::time::interval(TICK);
        loop {
            self.start();
            let pause = self.later.values().map(|(at, _)| *at).min();
            let pause = pause.unwrap_or_else(|| Instant::now() + TICK);
            tokio::select! {
                event = watch.next() => match event {
                    Ok(event) => {
                        self.note(&event);
                        // What has happened together is looked at together.
                        while let Ok(Some(event)) = watch.try_next() {
                            self.note(&event);
                        }
                    }
                    Err(_) => {
                        // Too slow for the history: everything is looked at anew.
                        watch = self.survey();
                    }
                },
                Some(done) = self.tasks.join_next() => self.finish(done),
                () = tokio::time::sleep_until(pause) => {}
                _ = tick.tick() => self.revisit(),
            }
        }
    }

    /// Looks at every object there is; watches what happens from there on.
    fn survey(&mut self) -> Watch {
        let since = self.tools.store.version();
        let registry = self.tools.store.registry();
        for resource in registry.all() {
            for object in self.tools.store.list(resource, None).items {
                let (previous, version) = (None, since);
                self.note(&Event { change: Change::Added, object, previous, version });
            }
        }
        self.tools.store.watch_all(since)
    }

    /// Begins what can begin.
    fn start(&mut self) {
        let now = Instant::now();
        let due: Vec<Work> = self
            .later
            .iter()
            .filter(|(_, (at, _))| *at <= now)
            .map(|(work, _)| work.clone())
            .collect();
        for work in due {
            self.later.remove(&work);
            self.queue.insert(work);
        }
        let ready: Vec<Work> = self
            .queue
            .iter()
            .filter(|work| !self.running.contains(work))
            .take(WIDTH.saturating_sub(self.running.len()))
            .cloned()
            .collect();
        for work in ready {
            self.queue.remove(&work);
            self.running.insert(work.clone());
            let tools = Arc::clone(&self.tools);
            self.tasks.spawn(async move {
                // A step that panics is a mistake of ours; the others go on, and
                // this one is tried again like any that failed.
                let taken = AssertUnwindSafe(steps::take(&tools, &work)).catch_unwind().await;
                let broken = |_| Err(Status::internal("a controller's step panicked"));
                let done = taken.unwrap_or_else(broken);
                (work, done)
            });
        }
    }

    fn finish(&mut self, done: Result<(Work, Result<(), Status>), tokio::task::JoinError>) {
        let Ok((work, outcome)) = done else { return };
        self.running.remove(&work);
        match outcome {
            Ok(()) => {
                self.failures.remove(&work);
            }
            Err(refused) => {
                let (first, longest) = PAUSES;
                let pause = self.failures.get(&work).map_or(first, |last| (*last * 2).min(longest));
                tracing::debug!(?work, "a controller's step failed: {refused}");
                self.failures.insert(work.clone(), pause);
                self.later.insert(work, (Instant::now() + pause, pause));
            }
        }
    }

    /// Deployments may be late, pods may have rested long enough, and Jobs may be due.
    fn revisit(&mut self) {
        for (group, plural) in MAKERS {
            let Some(resource) = self.tools.store.resource(group, plural) else { continue };
            for object in self.tools.store.list(&resource, None).items {
                let is_done = object["status"]["availableReplicas"] == object["spec"]["replicas"];
                if *group == "apps" && is_done {
                    continue;
                }
                self.queue.extend(maker(plural, place(&object)));
            }
        }
    }

    /// What an event gives to do.
    fn note(&mut self, event: &Event) {
        let object = &event.object;
        let registry = self.tools.store.registry();
        let api_version = object["apiVersion"].as_str().unwrap_or_default();
        let Some(resource) = registry.kind(api_version, object::kind(object)) else { return };
        let (namespace, name) = place(object);
        let key: Key =
            (resource.group.clone(), resource.plural.clone(), namespace.clone(), name.clone());
        self.own(event, &key);
        match (resource.group.as_str(), resource.plural.as_str()) {
            ("apps" | "batch", plural) => {
                self.queue.extend(maker(plural, (namespace.clone(), name)));
                self.owner(object);
            }
            ("", "pods") => self.pod(event),
            ("", "services" | "endpoints") => {
                self.queue.insert(Work::Service(namespace.clone(), name));
            }
            ("discovery.k8s.io", "endpointslices") => {
                if let Some(of) = object::label(object, service::OF_SERVICE) {
                    self.queue.insert(Work::Service(namespace.clone(), of.to_owned()));
                }
            }
            ("", "namespaces") => {
                self.queue.insert(Work::Namespace(name));
            }
            ("", "nodes") => self.homeless(),
            _ => {}
        }
        let furnishes = matches!(resource.plural.as_str(), "serviceaccounts" | "configmaps");
        if event.change == Change::Deleted && (furnishes || self.is_ending(&namespace)) {
            self.queue.insert(Work::Namespace(namespace));
        }
    }

    /// Keeps track of who owns whom.
    fn own(&mut self, event: &Event, key: &Key) {
        let mut index = self.tools.index.lock().unwrap_or_else(PoisonError::into_inner);
        let orphans = match event.change {
            Change::Deleted => index.remove(key, &event.object),
            _ => {
                index.insert(key, &event.object);
                Vec::new()
            }
        };
        let owners = index.owners(&event.object);
        drop(index);
        self.queue.extend(orphans.into_iter().map(Work::Owned));
        if event.change == Change::Deleted {
            self.queue.extend(owners.into_iter().map(Work::Waiting));
            return;
        }
        if object::items(&event.object["metadata"]["ownerReferences"]).next().is_some() {
            self.queue.insert(Work::Owned(key.clone()));
        }
        if garbage::waits(&event.object) {
            self.queue.insert(Work::Waiting(key.clone()));
        }
    }

    /// Looks at the maker of an object again.
    fn owner(&mut self, object: &Value) {
        let Some(owner) = object::controller(object) else { return };
        let name = owner["name"].as_str().unwrap_or_default().to_owned();
        let plural = format!("{}s", owner["kind"].as_str().unwrap_or_default().to_lowercase());
        self.queue.extend(maker(&plural, (object::namespace(object).to_owned(), name)));
    }

    fn pod(&mut self, event: &Event) {
        let looks: Vec<&Value> =
            event.previous.as_deref().into_iter().chain([event.object.as_ref()]).collect();
        for pod in &looks {
            self.owner(pod);
        }
        let namespace = object::namespace(&event.object);
        self.each("services", namespace, |one| {
            let wanted = &one["spec"]["selector"];
            let concerns = service::has_selector(one)
                && looks.iter().any(|pod| selector::includes(wanted, &pod["metadata"]["labels"]));
            let (namespace, name) = place(one);
            concerns.then_some(Work::Service(namespace, name))
        });
        if object::controller(&event.object).is_none() {
            self.sets_that_select(&event.object);
        }
        if event.change != Change::Deleted && event.object["spec"]["nodeName"].is_null() {
            let (namespace, name) = place(&event.object);
            self.queue.insert(Work::Place(namespace, name));
        }
    }

    /// Makers that may adopt a pod without a controller.
    fn sets_that_select(&mut self, pod: &Value) {
        for (group, plural) in MAKERS.iter().filter(|(_, plural)| *plural != "deployments") {
            let Some(sets) = self.tools.store.resource(group, plural) else { continue };
            for set in self.tools.store.list(&sets, Some(object::namespace(pod))).items {
                let selector = &set["spec"]["selector"];
                if selector.is_object() && selector::matches(selector, &pod["metadata"]["labels"]) {
                    self.queue.extend(maker(plural, place(&set)));
                }
            }
        }
    }

    /// What a change of the nodes gives to do.
    fn homeless(&mut self) {
        if let Some(sets) = self.tools.store.resource("apps", "daemonsets") {
            for set in self.tools.store.list(&sets, None).items {
                self.queue.extend(maker("daemonsets", place(&set)));
            }
        }
        let Some(pods) = self.tools.store.resource("", "pods") else { return };
        for pod in self.tools.store.list(&pods, None).items {
            if pod["spec"]["nodeName"].is_null() {
                let (namespace, name) = place(&pod);
                self.queue.insert(Work::Place(namespace, name));
            }
        }
    }

    fn each(&mut self, plural: &str, namespace: &str, wanted: impl Fn(&Value) -> Option<Work>) {
        let Some(resource) = self.tools.store.resource("", plural) else { return };
        let list = self.tools.store.list(&resource, Some(namespace)).items;
        self.queue.extend(list.iter().filter_map(|object| wanted(object)));
    }

    fn is_ending(&self, namespace: &str) -> bool {
        let found = self
            .tools
            .store
            .resource("", "namespaces")
            .and_then(|namespaces| self.tools.store.get(&namespaces, "", namespace));
        found.is_some_and(|namespace| object::is_terminating(&namespace))
    }
}

/// The work that a maker of pods or Jobs gives.
fn maker(plural: &str, (namespace, name): (String, String)) -> Option<Work> {
    let work = match plural {
        "deployments" => Work::Deployment,
        "replicasets" => Work::ReplicaSet,
        "statefulsets" => Work::StatefulSet,
        "daemonsets" => Work::DaemonSet,
        "jobs" => Work::Job,
        "cronjobs" => Work::CronJob,
        _ => return None,
    };
    Some(work(namespace, name))
}

fn place(object: &Value) -> (String, String) {
    (object::namespace(object).to_owned(), object::name(object).to_owned())
}
