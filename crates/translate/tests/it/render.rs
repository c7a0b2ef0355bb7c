//! Answers as text that is short enough to be read.

use std::{
    fmt::{self, Write},
    time::Duration,
};

use weft_config::{
    Action, Backend, Conditions, Discovery, Endpoints, Entry, HelloMatch, Limits, Listener,
    Resource, Route, Rule, Scope, Server, Settings, SourceMatch, Target, TextMatch,
};
use weft_translate::Resolved;

/// The conditions under which Istio tries again when nobody says otherwise.
const ALWAYS: &str = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";

/// `resolved` as text.
pub fn resolved(resolved: &Resolved) -> String {
    let mut out = String::new();
    write(&mut out, resolved).expect("writing to a text");
    out
}

fn write(out: &mut String, resolved: &Resolved) -> fmt::Result {
    match &resolved.answer.entry {
        Entry::Own => writeln!(out, "own")?,
        Entry::Directory => writeln!(out, "directory")?,
        Entry::Route(name) => writeln!(out, "-> route {name}")?,
        Entry::Server(one) => server(out, "->", one)?,
        Entry::Outside => writeln!(out, "-> outside")?,
    }
    if let Some(covers) = &resolved.answer.covers {
        writeln!(out, "covers {}", covers.pattern)?;
    }
    let names: Vec<&str> = resolved.resources.iter().map(|piece| &*piece.name).collect();
    if resolved.answer.entry != Entry::Directory {
        assert_eq!(names, resolved.answer.needs, "the pieces are what the answer needs");
    }
    for piece in &resolved.resources {
        match &*piece.resource {
            Resource::Listener(one) => listener(out, one)?,
            Resource::Route(one) => route(out, one)?,
            Resource::RuleList(one) => {
                writeln!(out, "rules {}", one.name)?;
                one.rules.iter().try_for_each(|one| rule(out, one))?;
            }
            Resource::Backend(one) => backend(out, one)?,
            Resource::Endpoints(one) => endpoints(out, one)?,
            Resource::ChunkList(one) => {
                writeln!(out, "chunks of {}: {}", one.name, one.chunks.join(" "))?;
            }
            Resource::Settings(one) => settings(out, one)?,
            Resource::Directory(chunk) => writeln!(
                out,
                "chunk {}: {} hosts, {} addresses, http {:?}, TLS {:?}",
                chunk.name,
                chunk.hosts.len(),
                chunk.addresses.len(),
                chunk.http_ports,
                chunk.tls_ports
            )?,
            Resource::Answer(_) => panic!("an answer is no piece"),
        }
    }
    Ok(())
}

fn settings(out: &mut String, settings: &Settings) -> fmt::Result {
    let workload = &settings.workload;
    write!(out, "settings {}/{} {:?}", workload.namespace, workload.name, settings.outside)?;
    match &settings.access_log {
        Some(log) => writeln!(out, " log {} {:?}", log.path, log.format),
        None => writeln!(out),
    }
}

fn listener(out: &mut String, listener: &Listener) -> fmt::Result {
    let limits = match listener.limits {
        limits if limits == Limits::edge() => "edge",
        limits if limits == Limits::sidecar() => "sidecar",
        _ => "other",
    };
    let Listener { name, bind, destination, .. } = listener;
    writeln!(out, "listener {name} {bind} {destination:?} {limits} limits")?;
    match &listener.scope {
        Scope::Directory => writeln!(out, "  directory"),
        Scope::Servers(servers) => servers.iter().try_for_each(|one| server(out, " ", one)),
    }
}

fn server(out: &mut String, lead: &str, server: &Server) -> fmt::Result {
    write!(out, "{lead} server {}", server.name)?;
    match server.port {
        Some(port) => write!(out, " port {port}")?,
        None => write!(out, " any port")?,
    }
    hello(out, server.hello.as_ref())?;
    write!(out, " {:?}", server.protocol)?;
    if server.edge {
        write!(out, " edge")?;
    }
    if !server.routes.is_empty() {
        write!(out, " routes {}", server.routes.join(" "))?;
    }
    for tcp in &server.tcp {
        let backends: Vec<_> =
            tcp.backends.iter().map(|(name, weight)| format!("{name}*{weight}")).collect();
        write!(out, " tcp")?;
        source(out, &tcp.source)?;
        hello(out, tcp.hello.as_ref())?;
        tcp.destinations.iter().try_for_each(|range| write!(out, " to {range}"))?;
        if tcp.outside {
            write!(out, " outside")?;
        }
        for backend in backends {
            write!(out, " {backend}")?;
        }
        write!(out, " by {}", origin(&tcp.origin))?;
    }
    writeln!(out)
}

fn hello(out: &mut String, hello: Option<&HelloMatch>) -> fmt::Result {
    let names = hello.into_iter().flat_map(|hello| &hello.names);
    names.clone().try_for_each(|name| write!(out, " for {name}"))
}

fn route(out: &mut String, route: &Route) -> fmt::Result {
    let hosts: Vec<_> = route.hosts.iter().map(ToString::to_string).collect();
    writeln!(out, "route {} for {}", route.name, hosts.join(" "))?;
    route.lists.iter().try_for_each(|one| writeln!(out, "  rules {one}"))?;
    route.rules.iter().try_for_each(|one| rule(out, one))
}

fn target(target: &Target) -> String {
    let share = format!("{}*{}", target.backend, target.weight);
    match &target.changes {
        None => share,
        Some(changes) => {
            format!("{share} changes {}", serde_json::to_string(changes).expect("data"))
        }
    }
}

fn rule(out: &mut String, rule: &Rule) -> fmt::Result {
    write!(out, "  {}", origin(&rule.origin))?;
    if let Some(name) = &rule.name {
        write!(out, " ({name})")?;
    }
    conditions(out, &rule.conditions)?;
    match &rule.action {
        Action::Forward(targets) => {
            let targets: Vec<_> = targets.iter().map(target).collect();
            write!(out, " => {}", targets.join(" "))?;
        }
        Action::Respond { status, details, .. } => write!(out, " => {status} {details}")?,
        Action::Redirect(redirect) => {
            write!(out, " => redirect {}", serde_json::to_string(redirect).expect("data"))?;
        }
        Action::Passthrough => write!(out, " => passthrough")?,
    }
    let besides = serde_json::json!({
        "changes": rule.changes, "cors": rule.cors, "fault": rule.fault,
        "mirrors": Some(&rule.mirrors).filter(|mirrors| !mirrors.is_empty()),
    });
    for (what, value) in besides.as_object().into_iter().flatten() {
        if !value.is_null() {
            write!(out, " {what} {value}")?;
        }
    }
    if let Some(timeout) = rule.timeout {
        write!(out, " within {timeout:?}")?;
    }
    if let Some(retries) = &rule.retries {
        let on = serde_json::to_string(&retries.on).expect("words");
        let on = on.replace(['[', ']', '"'], "");
        write!(out, " retry {}", retries.attempts)?;
        if on != ALWAYS {
            write!(out, " on {on}")?;
        }
        if let Some(each) = retries.per_try_timeout {
            write!(out, " each {each:?}")?;
        }
    }
    writeln!(out)
}

fn conditions(out: &mut String, conditions: &Conditions) -> fmt::Result {
    let mut one = |what: &str, found: &TextMatch| match found {
        TextMatch::Exact(text) => write!(out, " {what}={text}"),
        TextMatch::Prefix(text) => write!(out, " {what}={text}.."),
        TextMatch::Regex(text) => write!(out, " {what}~{text}"),
        TextMatch::Present => write!(out, " {what}"),
    };
    let fields = [
        ("path", &conditions.path),
        ("method", &conditions.method),
        ("scheme", &conditions.scheme),
        ("authority", &conditions.authority),
    ];
    for (what, found) in fields {
        found.iter().try_for_each(|found| one(what, found))?;
    }
    let lists =
        [("", &conditions.headers), ("!", &conditions.without_headers), ("?", &conditions.query)];
    for (lead, list) in lists {
        list.iter().try_for_each(|(name, found)| one(&format!("{lead}{name}"), found))?;
    }
    if conditions.ignore_path_case {
        write!(out, " ignoring case")?;
    }
    source(out, &conditions.source)
}

fn source(out: &mut String, source: &SourceMatch) -> fmt::Result {
    source.labels.iter().try_for_each(|(name, value)| write!(out, " from {name}={value}"))
}

fn backend(out: &mut String, backend: &Backend) -> fmt::Result {
    write!(out, "backend {}", backend.name)?;
    if let Some(subset) = &backend.subset {
        write!(out, " {:?}", subset.labels)?;
    }
    match &backend.discovery {
        Discovery::Endpoints(list) => write!(out, " at {list}")?,
        Discovery::Nowhere => write!(out, " nowhere")?,
        Discovery::Original => write!(out, " at the original address")?,
        Discovery::Fixed(address) => write!(out, " at {address}")?,
        Discovery::Dns { host, port } => write!(out, " at dns {host}:{port}")?,
        Discovery::Names { names, first_only } => {
            let kind = if *first_only { "first of dns" } else { "all of dns" };
            write!(out, " at {kind}")?;
            for name in names {
                write!(out, " {}:{}", name.host, name.port)?;
                name.weight.iter().try_for_each(|weight| write!(out, "*{weight}"))?;
            }
        }
        Discovery::Requested { port } => write!(out, " at dns of the request:{port}")?,
    }
    write!(out, " {:?} {:?}", backend.upstream, backend.load_balancer)?;
    if let Some(outliers) = &backend.outliers {
        write!(out, " outliers {}", serde_json::to_string(outliers).expect("it is JSON"))?;
    }
    if let Some(warmup) = &backend.warmup {
        write!(out, " warmup {}", serde_json::to_string(warmup).expect("it is JSON"))?;
    }
    if let Some(locality) = &backend.locality {
        write!(out, " locality {}", serde_json::to_string(locality).expect("it is JSON"))?;
    }
    if let Some(pool) = &backend.connection_pool {
        write!(out, " connections {}", serde_json::to_string(pool).expect("it is JSON"))?;
    }
    if backend.connect_timeout != Duration::from_secs(10) {
        write!(out, " within {:?}", backend.connect_timeout)?;
    }
    if let Some(closed) = &backend.closed {
        write!(out, " closed: {closed}")?;
    }
    writeln!(out, " by {}", origin(&backend.origin))
}

fn endpoints(out: &mut String, chunk: &Endpoints) -> fmt::Result {
    writeln!(out, "endpoints {}", chunk.name)?;
    for endpoint in &chunk.endpoints {
        write!(out, "  {}", endpoint.address)?;
        for (name, value) in &endpoint.labels {
            write!(out, " {name}={value}")?;
        }
        endpoint.weight.iter().try_for_each(|weight| write!(out, " *{weight}"))?;
        if let Some(workload) = &endpoint.workload {
            write!(out, " {}/{}", workload.namespace, workload.name)?;
        }
        if !endpoint.locality.is_empty() {
            write!(out, " in {}", endpoint.locality)?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn origin(origin: &weft_config::Origin) -> String {
    match (origin.object.as_str(), origin.rule.as_str()) {
        ("", _) => "nobody".to_owned(),
        (object, "") => object.to_owned(),
        (object, rule) => format!("{object} {rule}"),
    }
}
