//! The routing stage: where a request goes.

use std::{borrow::Cow, net::SocketAddr, sync::Arc};

use http::Method;
use weft_balance::Rng;
use weft_config::{Action, Entry, Host, Interest, Origin, Outside};

use crate::{
    backend::CompiledBackend,
    conditions::Request,
    connection::{Place, Scope, outside_origin},
    host,
    record::{Record, Verdict, tell},
    reply::Reply,
    route::{CompiledRoute, CompiledRule},
    server::CompiledServer,
    table::{Table, Unanswered},
};

/// Where a request goes.
#[derive(Clone, Debug)]
pub enum Routed {
    /// To a backend.
    Forward(Forward),
    /// To the address that the client dialled: nothing in the mesh.
    Passthrough(Forward),
    /// The proxy answers itself.
    Reply(Reply),
    /// To be decided again when this is answered.
    Ask(Interest),
}

/// A request on its way to a backend.
#[derive(Clone, Debug)]
pub struct Forward {
    /// The rule that sends it, with its timeout and retries.
    pub rule: Arc<CompiledRule>,
    /// Where it is sent.
    pub backend: Arc<CompiledBackend>,
}

/// What a host leads to.
enum Led<'t> {
    Route(&'t Arc<CompiledRoute>),
    /// To nothing that this server, if it is there, serves.
    Nowhere(Option<&'t Origin>),
    Outside,
    Missing,
    Ask(Interest),
}

impl Table {
    /// Where `request`, which came over a connection with `scope`, goes.
    pub fn route<R: Record>(
        &self,
        scope: &Scope,
        request: &Request<'_>,
        rng: &mut Rng,
        record: &mut R,
    ) -> Routed {
        let unroutable = *request.method == Method::CONNECT || request.path_and_query == "*";
        if unroutable {
            return Routed::Reply(Reply::no_route());
        }
        let host = host::of_authority(request.authority);
        let route = match self.led(&scope.place, &host) {
            Led::Route(route) => route,
            Led::Nowhere(server) => {
                if let Some(origin) = server {
                    tell(record, origin, Verdict::Refused, || {
                        format!("nothing here is for the host `{host}`")
                    });
                }
                return Routed::Reply(Reply::no_route());
            }
            Led::Missing => return Routed::Reply(Reply::config_unavailable()),
            Led::Ask(interest) => return Routed::Ask(interest),
            Led::Outside => return self.outside(&host, record),
        };
        let origin = &route.data.origin;
        tell(record, origin, Verdict::Matched, || format!("the request is for `{host}`"));
        match route.choose(request, record) {
            Some(rule) => self.act(rule, rng, record),
            None => {
                tell(record, origin, Verdict::Refused, || "no rule matched".to_owned());
                Routed::Reply(Reply::no_route())
            }
        }
    }

    fn led(&self, place: &Place, host: &str) -> Led<'_> {
        match place {
            Place::Listener(listener, port) => {
                let server = self.listener(listener).and_then(|listener| listener.server(*port));
                match server {
                    Some(server) => self.led_by(server, host),
                    None => Led::Nowhere(None),
                }
            }
            Place::Address(address) => self.led_by_server(*address, host),
            Place::Hosts(port) => match self.led_by_host(host, *port) {
                Some(led) => match &led.answer.entry {
                    Entry::Route(name) => self.led_to(name),
                    Entry::Own | Entry::Directory | Entry::Server(_) | Entry::Outside => {
                        Led::Outside
                    }
                },
                None if self.unanswered() == Unanswered::Outside => Led::Outside,
                None if !self.directory().knows_host(host, *port) => Led::Outside,
                None => match Host::parse(host) {
                    Ok(host) => Led::Ask(Interest::Host(host, *port)),
                    Err(_) => Led::Outside,
                },
            },
        }
    }

    fn led_by_server(&self, address: SocketAddr, host: &str) -> Led<'_> {
        match self.led_by_address(address).map(|led| (&led.answer.entry, &led.server)) {
            Some((Entry::Server(_), Some(server))) => self.led_by(server, host),
            Some(_) => Led::Outside,
            None if self.unanswered() == Unanswered::Outside => Led::Outside,
            None => Led::Ask(Interest::Address(address)),
        }
    }

    fn led_by<'t>(&'t self, server: &'t CompiledServer, host: &str) -> Led<'t> {
        match server.route(host) {
            Some(name) => self.led_to(name),
            None => Led::Nowhere(Some(&server.data.origin)),
        }
    }

    fn led_to(&self, route: &str) -> Led<'_> {
        self.compiled_route(route).map_or(Led::Missing, Led::Route)
    }

    /// A request for a host that the mesh knows nothing of.
    fn outside<R: Record>(&self, host: &str, record: &mut R) -> Routed {
        match self.settings().outside {
            Outside::Allow => {
                tell(record, &outside_origin(), Verdict::Matched, || {
                    format!("nothing in the mesh is called `{host}`; it goes on as it is")
                });
                Routed::Passthrough(Forward {
                    rule: Arc::clone(self.passthrough_rule()),
                    backend: Arc::clone(self.passthrough()),
                })
            }
            Outside::Refuse => {
                tell(record, &outside_origin(), Verdict::Refused, || {
                    format!(
                        "nothing in the mesh is called `{host}`, and the outside is closed \
                         (REGISTRY_ONLY)"
                    )
                });
                Routed::Reply(Reply::outside())
            }
        }
    }

    fn act<R: Record>(&self, rule: &Arc<CompiledRule>, rng: &mut Rng, record: &mut R) -> Routed {
        match &rule.data.action {
            Action::Respond { status, body, details } => {
                let body = Cow::Owned(body.clone());
                let reply = Reply { body, ..Reply::new(*status, details.clone()) };
                Routed::Reply(reply.of_rule(rule.name.as_ref()))
            }
            Action::Passthrough => Routed::Passthrough(Forward {
                rule: Arc::clone(rule),
                backend: Arc::clone(self.passthrough()),
            }),
            Action::Forward(_) => self.forward(rule, rng, record),
        }
    }

    fn forward<R: Record>(
        &self,
        rule: &Arc<CompiledRule>,
        rng: &mut Rng,
        record: &mut R,
    ) -> Routed {
        let origin = &rule.data.origin;
        let name = rule.weights.pick(rng).and_then(|at| rule.backends.get(at));
        let Some(name) = name else {
            tell(record, origin, Verdict::Refused, || "no destination has a weight".to_owned());
            let reply = Reply::new(500, "no_weighted_backend");
            return Routed::Reply(reply.of_rule(rule.name.as_ref()));
        };
        match self.backend(name) {
            None => {
                tell(record, origin, Verdict::Refused, || format!("there is no backend {name}"));
                Routed::Reply(Reply::no_backend(name).of_rule(rule.name.as_ref()))
            }
            Some(backend) if backend.data.closed.is_some() => {
                tell(record, &backend.data.origin, Verdict::Refused, || {
                    backend.data.closed.clone().unwrap_or_default()
                });
                Routed::Reply(backend.closed_reply().of_rule(rule.name.as_ref()))
            }
            Some(backend) => {
                Routed::Forward(Forward { rule: Arc::clone(rule), backend: Arc::clone(backend) })
            }
        }
    }
}
