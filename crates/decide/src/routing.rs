//! The routing stage: where a request goes.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderValue, request::Parts};
use smallvec::SmallVec;
use weft_balance::Rng;
use weft_config::{Action, Entry, Host, Interest, Origin, Outside, Target};

use crate::{
    arrive::{self, Arrived},
    backend::CompiledBackend,
    change::{self, AnswerChanges},
    conditions::Facts,
    connection::{Place, Scope},
    failure::Failure,
    fault::{self, Injected},
    mirror::{self, Mirrors},
    record::{Record, Verdict, tell},
    reply::{Reply, Text},
    route::{CompiledRoute, CompiledRule},
    server::{CompiledServer, NamedRoute},
    stage::{Admitted, Answers, Question, Step},
    table::{Table, Unanswered},
};

/// Where an admitted request goes; only [`Table::route`] makes one.
#[derive(Clone, Debug)]
pub struct Routed {
    rule: Arc<CompiledRule>,
    target: Option<usize>,
    backend: Arc<CompiledBackend>,
    answer: Option<AnswerChanges>,
    delay: Option<Duration>,
    mirrors: Mirrors,
}

impl Routed {
    /// The rule that sends it, with its timeout and retries.
    pub fn rule(&self) -> &Arc<CompiledRule> {
        &self.rule
    }

    /// Which of the rule's targets was chosen; none when it goes on to the address that
    /// the client dialled.
    pub fn target(&self) -> Option<&Target> {
        match &self.rule.data.action {
            Action::Forward(targets) => targets.get(self.target?),
            Action::Respond { .. } | Action::Redirect(_) | Action::Passthrough => None,
        }
    }

    /// The head and the host of the request that is sent on in place of `arrived`.
    pub fn request(&self, arrived: Arrived) -> Result<(Parts, Option<HeaderValue>), Reply> {
        let changed = change::of_request(&self.rule, self.target, arrived);
        changed.map_err(|reply| self.rule.replies(reply, self.answer.as_ref()))
    }

    /// What is changed of its answer.
    pub fn answer(&self) -> Option<&AnswerChanges> {
        self.answer.as_ref()
    }

    /// For how long a fault holds it up.
    pub fn delay(&self) -> Option<Duration> {
        self.delay
    }

    /// Where copies of it are sent.
    pub fn mirrors(&self) -> &[Arc<CompiledBackend>] {
        &self.mirrors
    }

    /// Where it is sent.
    pub fn backend(&self) -> &Arc<CompiledBackend> {
        &self.backend
    }

    /// Whether it goes on to the address that the client dialled, and to nothing in the
    /// mesh.
    pub fn is_passthrough(&self) -> bool {
        self.target.is_none()
    }
}

/// The route of a host, or why it has no route here.
enum RouteMatch<'t> {
    Route(&'t Arc<CompiledRoute>),
    /// To nothing that this server, if it is there, serves.
    Nowhere(Option<&'t Arc<Origin>>),
    Outside,
    Missing,
    Ask(Interest),
}

impl Table {
    /// Where `admitted`, which came over a connection with `scope`, goes.
    pub fn route<R: Record>(
        &self,
        scope: &Scope,
        admitted: Admitted<'_>,
        answers: &Answers,
        (rng, record): (&mut Rng, &mut R),
    ) -> Step<Routed> {
        let request = admitted.arrived().request();
        let host = arrive::of_authority(request.authority);
        let route = match self.match_route(&scope.place, &host) {
            RouteMatch::Route(route) => route,
            RouteMatch::Nowhere(server) => {
                let Some(origin) = server else { return Step::Reply(Failure::NoRoute.reply()) };
                tell(record, origin, Verdict::Refused, || {
                    format!("nothing here is for the host `{host}`")
                });
                return Step::Reply(Failure::NoRoute.reply().because_of(origin));
            }
            RouteMatch::Missing => return Step::Reply(Failure::ConfigUnavailable.reply()),
            RouteMatch::Ask(interest) => return answers.ask(Question::Interest(interest)),
            RouteMatch::Outside => return self.outside((&host, admitted.arrived()), record),
        };
        let origin = &route.origin;
        tell(record, origin, Verdict::Matched, || format!("the request is for `{host}`"));
        let facts = Facts { request, settings: self.settings() };
        let chosen = route.choose(&facts, record);
        if R::LISTENS {
            self.tell_of_wider(&scope.place, (&host, route), &facts, record);
        }
        match chosen {
            Some(rule) => self.act(rule, admitted.arrived(), (rng, record)),
            None => {
                tell(record, origin, Verdict::Refused, || "no rule matched".to_owned());
                Step::Reply(Failure::NoRoute.reply().because_of(origin))
            }
        }
    }

    /// Says which rules would take the request, but for a route that names its host more
    /// exactly than theirs.
    fn tell_of_wider<R: Record>(
        &self,
        place: &Place,
        (host, chosen): (&str, &CompiledRoute),
        facts: &Facts<'_>,
        record: &mut R,
    ) {
        let servers: SmallVec<[&Arc<CompiledServer>; 2]> = match place {
            Place::Listener(listener, destination) => {
                self.belongs(listener, *destination).servers(destination.port()).collect()
            }
            Place::Address(address) => {
                let answer = self.answer_for_address(*address);
                answer.and_then(|compiled| compiled.server.as_ref()).into_iter().collect()
            }
            Place::Hosts(_) | Place::ServerName(..) => SmallVec::new(),
        };
        let Some(exact) = chosen.data.hosts.iter().find(|own| own.covers(host)) else { return };
        let names = servers.into_iter().flat_map(|server| &server.data.routes);
        let others = names.filter(|name| **name != chosen.data.name);
        for other in others.filter_map(|name| self.compiled_route(name)) {
            let Some(wide) = other.data.hosts.iter().find(|own| own.covers(host)) else { continue };
            if let Some(rule) = other.choose(facts, &mut ()) {
                tell(record, &rule.origin, Verdict::Overridden, || {
                    let winner = &chosen.origin.object;
                    format!(
                        "it would take the request by its host `{wide}`, but {winner} names \
                         `{exact}`, which is more exact"
                    )
                });
            }
        }
    }

    fn match_route(&self, place: &Place, host: &str) -> RouteMatch<'_> {
        match place {
            Place::Listener(listener, destination) => {
                let listeners = self.belongs(listener, *destination);
                self.match_servers(listeners.servers(destination.port()), host)
            }
            Place::Address(address) => self.match_server_at(*address, host),
            // No host is read from bytes that are passed on.
            Place::ServerName(..) => RouteMatch::Outside,
            Place::Hosts(port) => match self.answer_for_host(host, *port) {
                Some(compiled) => match &compiled.answer.entry {
                    Entry::Route(name) => self.match_named(name),
                    Entry::Own | Entry::Directory | Entry::Server(_) | Entry::Outside => {
                        RouteMatch::Outside
                    }
                },
                None if self.unanswered() == Unanswered::Outside => RouteMatch::Outside,
                None if !self.directory().knows_host(host, *port) => RouteMatch::Outside,
                None => match Host::parse(host) {
                    Ok(host) => RouteMatch::Ask(Interest::Host(host, *port)),
                    // What is no host was refused as it came.
                    Err(_) => RouteMatch::Outside,
                },
            },
        }
    }

    fn match_server_at(&self, address: SocketAddr, host: &str) -> RouteMatch<'_> {
        match self
            .answer_for_address(address)
            .map(|compiled| (&compiled.answer.entry, &compiled.server))
        {
            Some((Entry::Server(_), Some(server))) => {
                self.match_servers(std::iter::once(server), host)
            }
            Some(_) => RouteMatch::Outside,
            None if self.unanswered() == Unanswered::Outside => RouteMatch::Outside,
            None => RouteMatch::Ask(Interest::Address(address)),
        }
    }

    /// The route with the most specific host among `servers`, the first of equals.
    fn match_servers<'t>(
        &'t self,
        mut servers: impl DoubleEndedIterator<Item = &'t Arc<CompiledServer>> + Clone,
        host: &str,
    ) -> RouteMatch<'t> {
        let found = servers.clone().rev().filter_map(|server| server.route(host));
        match found.max_by_key(|(specificity, _)| *specificity).map(|(_, route)| route) {
            Some(NamedRoute { name, is_rejected: false }) => self.match_named(name),
            Some(NamedRoute { name, is_rejected: true }) => {
                self.rejected_route(name).map_or(RouteMatch::Missing, RouteMatch::Route)
            }
            None => RouteMatch::Nowhere(servers.next().map(|server| &server.origin)),
        }
    }

    fn match_named(&self, route: &str) -> RouteMatch<'_> {
        self.compiled_route(route).map_or(RouteMatch::Missing, RouteMatch::Route)
    }

    /// A request for a host that the mesh knows nothing of.
    fn outside<R: Record>(
        &self,
        (host, arrived): (&str, &Arrived),
        record: &mut R,
    ) -> Step<Routed> {
        let rule = self.passthrough_rule();
        let origin = &rule.origin;
        match self.settings().outside {
            Outside::Allow => {
                tell(record, origin, Verdict::Matched, || {
                    format!("nothing in the mesh is called `{host}`; it goes on as it is")
                });
                Step::Done(self.passed_on(rule, arrived))
            }
            Outside::Refuse => {
                tell(record, origin, Verdict::Refused, || {
                    format!(
                        "nothing in the mesh is called `{host}`, and the outside is closed \
                         (REGISTRY_ONLY)"
                    )
                });
                Step::Reply(Failure::Outside.reply().because_of(origin))
            }
        }
    }

    fn passed_on(&self, rule: &Arc<CompiledRule>, arrived: &Arrived) -> Routed {
        let backend = Arc::clone(self.passthrough());
        let answer = change::of_answer(rule, None, arrived);
        let (rule, mirrors) = (Arc::clone(rule), Mirrors::new());
        Routed { rule, target: None, backend, answer, delay: None, mirrors }
    }

    fn act<R: Record>(
        &self,
        rule: &Arc<CompiledRule>,
        arrived: &Arrived,
        (rng, record): (&mut Rng, &mut R),
    ) -> Step<Routed> {
        let fault = rule.data.fault.as_deref();
        let Injected { delay, reply } = fault.map_or_else(Injected::default, |fault| {
            fault::draw(fault, &rule.origin, (&mut *rng, &mut *record))
        });
        let preflight = || rule.cors.as_ref()?.preflight(&arrived.request());
        let step = if let Some(aborted) = reply {
            let changes = change::of_answer(rule, None, arrived).map(AnswerChanges::without_cors);
            Step::Reply(rule.replies(aborted, changes.as_ref()))
        } else if let Some(reply) = preflight() {
            Step::Reply(rule.replies(reply, None))
        } else {
            self.perform(rule, arrived, (rng, record))
        };
        match step {
            Step::Done(routed) => Step::Done(Routed { delay, ..routed }),
            Step::Reply(reply) => Step::Reply(reply.held_up(delay)),
            asked @ Step::Ask(_) => asked,
        }
    }

    /// Does what `rule` says, whatever befell the request before.
    fn perform<R: Record>(
        &self,
        rule: &Arc<CompiledRule>,
        arrived: &Arrived,
        (rng, record): (&mut Rng, &mut R),
    ) -> Step<Routed> {
        let answer = || change::of_answer(rule, None, arrived);
        match &rule.data.action {
            Action::Respond { status, details, .. } => {
                // These have no content (RFC 9110, section 15).
                let body = match status {
                    204 | 205 | 304 => Text::Fixed(""),
                    _ => rule.body.clone(),
                };
                let reply = Reply { body, ..Reply::new(*status, details.clone()) };
                Step::Reply(rule.replies(reply, answer().as_ref()))
            }
            Action::Redirect(_) => {
                let path = rule.data.conditions.path.as_ref();
                let reply = match &rule.redirect {
                    Some(redirect) => redirect.reply(arrived, path),
                    None => Failure::BadRewrite.reply(),
                };
                Step::Reply(rule.replies(reply, answer().as_ref()))
            }
            Action::Passthrough => Step::Done(self.passed_on(rule, arrived)),
            Action::Forward(_) => self.forward(rule, arrived, (rng, record)),
        }
    }

    fn forward<R: Record>(
        &self,
        rule: &Arc<CompiledRule>,
        arrived: &Arrived,
        (rng, record): (&mut Rng, &mut R),
    ) -> Step<Routed> {
        let origin = &rule.origin;
        let chosen = rule.pick(rng).and_then(|at| Some((at, rule.backends.get(at)?)));
        let answer = change::of_answer(rule, chosen.map(|(at, _)| at), arrived);
        let of_rule = |reply: Reply| Step::Reply(rule.replies(reply, answer.as_ref()));
        let Some((target, name)) = chosen else {
            tell(record, origin, Verdict::Refused, || "no destination has a weight".to_owned());
            return of_rule(Failure::NoWeight.reply());
        };
        match self.backend(name) {
            None => {
                tell(record, origin, Verdict::Refused, || format!("there is no backend {name}"));
                of_rule(Failure::NoBackend.reply().about(name))
            }
            Some(backend) if backend.data.closed.is_some() => {
                tell(record, &backend.data.origin, Verdict::Refused, || {
                    backend.data.closed.clone().unwrap_or_default()
                });
                let reply = backend.closed_reply().of_rule(rule.name.as_ref());
                Step::Reply(reply.changed_by(answer.as_ref()))
            }
            Some(backend) => Step::Done(Routed {
                rule: Arc::clone(rule),
                target: Some(target),
                backend: Arc::clone(backend),
                answer,
                delay: None,
                mirrors: match arrived.may_be_copied() {
                    true => mirror::draw(self, rule, (rng, record)),
                    false => Mirrors::new(),
                },
            }),
        }
    }
}
