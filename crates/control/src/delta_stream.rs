//! One proxy's stream.
//!
//! Who it is comes from its token, never from what it says. It drives the
//! machine of [`weft_delta`] between the wire and the world's task.

mod pace;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    time::{Instant, sleep_until, timeout},
};
use weft_config::{Features, Interest, Resource};
use weft_delta::{Event, Name, Refusal, ResourceSet, Server, Splitting};
use weft_wire::{
    Call, DeltaRequest,
    server::{End, Requests, Responses},
};

use crate::{
    Authenticate, Caller, Refused,
    budget::{Budgets, Share},
    client_features,
    metrics::{Metrics, count},
    subscriptions::SessionId,
    wire_messages,
    world_task::{CloseReason, Interests, Join, Joined, Message, Offer, Revision},
};
use pace::Pace;

/// How long checking a token may take.
pub(crate) const AUTHENTICATION: Duration = Duration::from_secs(10);
/// How long a proxy may take to say all that it holds, which are its first requests.
const GREETING: Duration = Duration::from_secs(30);
/// How long a proxy may take to say that a response is in force.
const ACKNOWLEDGEMENT: Duration = Duration::from_secs(60);
/// After this long a proxy has to come back, and show its token again.
const AGE: Duration = Duration::from_secs(30 * 60);
/// Interests that are answered by one offer.
const SLICE: usize = 256;

/// Requests with interests that are not answered yet, from which on no other request is read.
const QUEUED: usize = 16;

/// A proxy needs a response's memory several times over while it reads it, so that a
/// large directory comes in parts.
const SPLITTING: Splitting = Splitting { bytes: 16 << 10, place: Resource::place };

/// Bytes of a response up to which it takes nothing of the budget for responses.
const SMALL: usize = 32 << 10;

/// Bytes up to which the names that a proxy holds take nothing of the budget for names.
const FEW_NAMES: usize = 1 << 20;

/// Refusals of one response that are logged.
const LOGGED: usize = 8;
/// Characters of a proxy's text that are logged.
const LOGGED_TEXT: usize = 500;
/// Tokens that are checked at a time; more callers wait.
pub(crate) const AUTHENTICATIONS: usize = 64;

/// What every stream is served with.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) authenticate: Arc<dyn Authenticate>,
    pub(crate) authenticating: Arc<Semaphore>,
    pub(crate) world: mpsc::Sender<Message>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) budgets: Budgets,
}

impl Service {
    /// Serves one stream until it ends.
    pub(crate) async fn serve(self, mut call: Call) {
        let token = call.token.take();
        let (joined, caller) = match self.join(token).await {
            Ok(joined) => joined,
            Err(end) => return self.refuse(call.responses, end).await,
        };
        let session = joined.session;
        let stream = Stream {
            session,
            server: Server::new(SPLITTING),
            offered: BTreeSet::new(),
            resuming: 0,
            queue: Arc::new(Semaphore::new(QUEUED)),
            pod: format!("{}/{}", caller.namespace, caller.pod),
            namespace: caller.namespace.into(),
            names: Vec::new(),
            given_back: self.budgets.responses.watch(),
            blocked: Blocked::Nothing,
            patience: None,
            features: None,
            service: &self,
        };
        let end = stream.run(&mut call, joined).await;
        // The world's task outlives sessions; without it the control plane is going down.
        let _ = self.world.send(Message::Leave(session)).await;
        if let Some(end) = end {
            self.refuse(call.responses, end).await;
        }
    }

    async fn join(&self, token: Option<String>) -> Result<(Joined, Caller), End> {
        let token = token
            .ok_or_else(|| End::Unauthenticated("a bearer token is needed, and only one".into()))?;
        let slot = self.authenticating.acquire().await;
        let who = timeout(AUTHENTICATION, self.authenticate.who(token)).await;
        drop(slot);
        let caller = match who {
            Ok(Ok(caller)) => caller,
            Ok(Err(Refused::Invalid(why))) => return Err(End::Unauthenticated(why)),
            Ok(Err(refused)) => return Err(uncheckable(refused.to_string())),
            Err(_) => return Err(uncheckable("checking the token takes too long".to_owned())),
        };
        if caller.pod.is_empty() || caller.pod_uid.is_empty() {
            let why = "the token is not bound to a pod; use a projected service-account token";
            return Err(End::Forbidden(why.into()));
        }
        let (reply, joined) = oneshot::channel();
        let down = |_| End::Unavailable("the control plane is going down".into());
        self.world
            .send(Message::Join(Join { caller: caller.clone(), reply }))
            .await
            .map_err(down)?;
        match joined.await {
            Ok(joined) => Ok((joined, caller)),
            Err(_) => {
                let Caller { namespace, pod, .. } = caller;
                Err(End::Unavailable(format!("pod {namespace}/{pod} is not known yet")))
            }
        }
    }

    async fn refuse(&self, responses: Responses, end: End) {
        match &end {
            End::Unavailable(_) => tracing::debug!(?end, "ending a stream"),
            End::Unauthenticated(_) | End::Forbidden(_) | End::Violation(_) => {
                count(&self.metrics.refused_streams);
                tracing::info!(?end, "ending a stream");
            }
        }
        responses.end(end).await;
    }
}

/// Nobody is let in while tokens cannot be checked.
fn uncheckable(why: String) -> End {
    tracing::warn!(why, "stream refused: tokens cannot be checked");
    End::Unavailable(why)
}

/// A stream that is being served.
struct Stream<'a> {
    session: SessionId,
    server: Server<Revision>,
    /// Revisions offered and not known to be in force.
    offered: BTreeSet<Revision>,
    /// Offers to come for what the proxy has had since an earlier stream.
    resuming: usize,
    /// Room for requests that are not answered yet.
    queue: Arc<Semaphore>,
    pod: String,
    namespace: Arc<str>,
    /// What the names take that the proxy says it holds, if they are many.
    names: Vec<Share>,
    /// Tells when there may be room for a large response.
    given_back: watch::Receiver<()>,
    /// Why the next response is not sent yet.
    blocked: Blocked,
    /// When the client has taken too long.
    patience: Option<Instant>,
    /// What the proxy can do, as it says in its first request.
    features: Option<Features>,
    service: &'a Service,
}

/// Why a stream's next response is not sent yet. Offers are taken meanwhile: what waits is as of
/// now when it is sent, and is shared with other streams until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blocked {
    /// There is nothing to send, or the client has not acknowledged the one before.
    Nothing,
    /// The client does not read: the transport has not taken the one before.
    ByTransport,
    /// The namespace has large responses enough that are not read.
    ByBudget,
}

impl Stream<'_> {
    /// Runs until the client leaves (`None`), or until it has to end.
    async fn run(mut self, call: &mut Call, joined: Joined) -> Option<End> {
        let Joined { session, mut mailbox, mut closed } = joined;
        let born = Instant::now();
        // Proxies that came together do not come back together.
        let old = born + AGE + Duration::from_secs(session % 600);
        let mut greeting = Some(born + GREETING);
        let mut pace = Pace::new(born);
        loop {
            // All that a proxy holds has to be said in time, whenever it is answered.
            let queue = self.server.is_greeted().then_some(&*self.queue);
            tokio::select! {
                why = &mut closed => return Some(self.ended(why.ok())),
                Some(offer) = mailbox.recv() => self.take(offer, &mut mailbox),
                // While no request is read, its end is noticed here.
                () = call.responses.closed() => return None,
                () = call.responses.ready(), if self.blocked == Blocked::ByTransport => {}
                // The budget outlives streams.
                _ = self.given_back.changed(), if self.blocked == Blocked::ByBudget => {}
                request = next(&mut call.requests, pace.ready(), queue) => match request {
                    Some(request) => {
                        pace.spend(request.subscribe.len(), Instant::now());
                        if let Err(end) = self.receive(request).await {
                            return Some(end);
                        }
                    }
                    None => return None,
                },
                () = until(greeting) => {
                    let why = "the first requests of the stream were not complete in time";
                    return Some(End::Unavailable(why.into()));
                }
                () = until(self.patience) => {
                    let why = "a response was not taken or acknowledged in time";
                    return Some(End::Unavailable(why.into()));
                }
                () = sleep_until(old) => {
                    return Some(End::Unavailable("the token has to be presented again; reconnect".into()));
                }
            }
            greeting = greeting.filter(|_| !self.server.is_greeted());
            self.send_next(&call.responses);
            self.report().await;
        }
    }

    /// Sends the next response, when there is one and the client and the budget have room for it.
    fn send_next(&mut self, responses: &Responses) {
        self.blocked = Blocked::Nothing;
        if self.server.in_flight() {
            return;
        }
        let Some(slot) = responses.slot() else {
            self.blocked = Blocked::ByTransport;
            self.patience.get_or_insert_with(|| Instant::now() + ACKNOWLEDGEMENT);
            return;
        };
        self.patience = None;
        let bytes = self.server.next_bytes();
        let mut share = None;
        if bytes > SMALL {
            self.given_back.mark_unchanged();
            share = self.service.budgets.responses.take(&self.namespace, bytes);
            if share.is_none() {
                self.blocked = Blocked::ByBudget;
                return;
            }
        }
        let Some(response) = self.server.response() else { return };
        count(&self.service.metrics.pushes);
        slot.send(wire_messages::response(response), share.map(|share| Box::new(share) as _));
        self.patience = Some(Instant::now() + ACKNOWLEDGEMENT);
    }

    /// Why the stream ends when the world's task closes the session.
    fn ended(&self, why: Option<CloseReason>) -> End {
        let pod = &self.pod;
        match why {
            Some(CloseReason::PodGone) => End::Forbidden(format!("pod {pod} is gone")),
            Some(CloseReason::Replaced) => {
                End::Unavailable(format!("pod {pod} has opened too many streams"))
            }
            Some(CloseReason::TooSlow) => {
                End::Unavailable(format!("the stream of pod {pod} takes no more changes"))
            }
            Some(CloseReason::Left) | None => {
                End::Unavailable("the control plane is going down".to_owned())
            }
        }
    }

    /// Takes an offer and those that wait behind it.
    fn take(&mut self, offer: Offer, mailbox: &mut mpsc::Receiver<Offer>) {
        let mut next = Some(offer);
        while let Some(Offer { revision, answers }) = next {
            self.offered.insert(revision);
            self.resuming =
                self.resuming.saturating_sub(usize::from(revision == Revision::Resumed));
            let (mut answered, mut refused) = (Vec::new(), Vec::new());
            for (interest, answer) in answers {
                match answer {
                    Some(answer) => answered.push((interest, answer)),
                    None => refused.push(interest),
                }
            }
            if let Some(first) = refused.first() {
                tracing::warn!(
                    pod = self.pod,
                    interest = first.chars().take(LOGGED_TEXT).collect::<String>(),
                    refused = refused.len(),
                    "a pod asks for more hosts, or for more bytes of answers, than it or its \
                     namespace may have: its requests to this host get 503"
                );
            }
            refused.into_iter().for_each(|interest| self.server.refuse(interest));
            let answers = self.suited(answered);
            self.server.offer(answers, revision);
            next = mailbox.try_recv().ok();
        }
    }

    /// The answers as the proxy can use them; what it is too old for is reported.
    fn suited(&self, answers: Vec<(Name, ResourceSet)>) -> Vec<(Name, ResourceSet)> {
        let has = self.features.unwrap_or_default();
        let mut replaced = Vec::new();
        let suited = answers.into_iter().map(|(interest, answer)| {
            (interest, client_features::suited(answer, has, &mut replaced))
        });
        let suited = suited.collect();
        for name in replaced.iter().take(LOGGED) {
            tracing::warn!(
                pod = self.pod,
                resource = &**name,
                "the proxy lacks a feature; it gets a closed stand-in"
            );
        }
        suited
    }

    async fn receive(&mut self, message: DeltaRequest) -> Result<(), End> {
        if self.features.is_none() {
            let names = message.node.iter().flat_map(|node| &node.client_features);
            self.features = Some(Features::named(names.map(String::as_str)));
        }
        let request =
            wire_messages::request(message).map_err(|error| End::Violation(error.to_string()))?;
        let resumed = !request.held.is_empty();
        let events = self
            .server
            .request(request)
            .map_err(|violation| End::Violation(violation.to_string()))?;
        let (mut wanted, mut dropped) = (Vec::new(), Vec::new());
        for event in events {
            match event {
                Event::Wanted(name) => match interest(&name) {
                    Some(interest) => wanted.push(interest),
                    // There is no such thing in any state of the world.
                    None => self.server.refuse(name),
                },
                Event::Dropped(name) => dropped.extend(interest(&name)),
                Event::Accepted => {}
                Event::Refused(refusals) => {
                    count(&self.service.metrics.rejects);
                    refusals.iter().take(LOGGED).for_each(|refusal| self.log(refusal));
                }
                Event::RefusedWhole(refusals) => {
                    count(&self.service.metrics.rejects);
                    self.log_whole(&refusals);
                }
            }
        }
        self.count_names()?;
        if wanted.is_empty() && dropped.is_empty() && !resumed {
            return Ok(());
        }
        let down = |_| End::Unavailable("the control plane is going down".into());
        // Held until all of it is answered. Only the first requests are read without room for them.
        let place = Arc::clone(&self.queue).try_acquire_owned().ok().map(Arc::new);
        // In slices: each is answered by one offer.
        let mut dropped = Some(dropped);
        let mut wanted = wanted.into_iter().peekable();
        while wanted.peek().is_some() || dropped.is_some() {
            self.resuming += usize::from(resumed);
            let interests = Interests {
                session: self.session,
                wanted: wanted.by_ref().take(SLICE).collect(),
                dropped: dropped.take().unwrap_or_default(),
                resumed,
                place: place.clone(),
            };
            self.service.world.send(Message::Interests(interests)).await.map_err(down)?;
        }
        Ok(())
    }

    /// Takes note of how many names the proxy says it holds.
    fn count_names(&mut self) -> Result<(), End> {
        let bytes = self.server.held_bytes();
        let counted = FEW_NAMES + self.names.iter().map(Share::bytes).sum::<usize>();
        if bytes <= counted {
            return Ok(());
        }
        let share = self.service.budgets.names.take(&self.namespace, bytes - counted);
        let Some(share) = share else {
            let namespace = &self.namespace;
            let why = format!("proxies of namespace {namespace} hold too much together");
            return Err(End::Unavailable(why));
        };
        self.names.push(share);
        Ok(())
    }

    fn log(&self, refusal: &Refusal) {
        tracing::warn!(
            pod = self.pod,
            resource = short(&refusal.name),
            why = short(&refusal.why),
            "a proxy cannot use a resource and keeps the previous one"
        );
    }

    fn log_whole(&self, refusals: &[Refusal]) {
        let text = |one: &Refusal| match one.name.is_empty() {
            true => one.why.to_string(),
            false => format!("{}: {}", one.name, one.why),
        };
        let said: Vec<String> = refusals.iter().take(LOGGED).map(text).collect();
        tracing::warn!(
            pod = self.pod,
            why = short(&said.join("; ")),
            "a proxy refuses a response without naming a resource of it, so none of its \
             resources counts as in force there; the proxy's own log says more"
        );
    }

    /// Reports what has come into force.
    async fn report(&mut self) {
        let lacks = |revision| {
            self.server.lacks(revision) || revision == Revision::Resumed && self.resuming > 0
        };
        let done: Vec<Revision> =
            self.offered.iter().copied().filter(|revision| !lacks(*revision)).collect();
        if done.is_empty() {
            return;
        }
        for revision in &done {
            self.offered.remove(revision);
        }
        // Without the world's task the session is closed, which ends the stream.
        let _ = self.service.world.send(Message::InForce(self.session, done)).await;
    }
}

/// The beginning of a proxy's text, as it is logged.
fn short(text: &str) -> String {
    text.chars().take(LOGGED_TEXT).collect()
}

/// The interest that `name` spells, if it does so in the one way there is.
fn interest(name: &Name) -> Option<Interest> {
    let interest: Interest = name.parse().ok()?;
    (*interest.to_string() == **name).then_some(interest)
}

/// The next request, once `ready` and as soon as there is room in `queue`.
async fn next(
    requests: &mut Requests,
    ready: Instant,
    queue: Option<&Semaphore>,
) -> Option<DeltaRequest> {
    sleep_until(ready).await;
    if let Some(queue) = queue {
        // Only this stream takes room, after the request is read.
        drop(queue.acquire().await);
    }
    requests.next().await
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
