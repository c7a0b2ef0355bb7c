//! What the targets share: objects made from bytes.
//!
//! Bytes alone seldom get past a parser. Here they choose: a kind, its fields by
//! the table of known fields, and now and then something that does not belong.

pub mod world;

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use serde_json::{Map, Number, Value};
use weft_api::{
    Kind,
    schema::{Field, Holds},
};

/// How deep lists and maps nest.
const DEEPEST: u32 = 12;

/// Texts that mean something somewhere.
const WORDS: &[&str] = &[
    "",
    "a",
    "b",
    "v1",
    "default",
    "istio-system",
    "*",
    "*.example.com",
    "a.default.svc.cluster.local",
    "example.com",
    "a/b",
    "./a",
    "~",
    "/",
    "/a",
    "/%2e%2e/",
    "(",
    "[a-z]+",
    ".*",
    "http",
    "http-a",
    "tcp",
    "GRPC",
    "HTTP",
    "TCP",
    "mesh",
    "a.default",
    "istio",
    "ingressgateway",
    "app",
    "version",
    "10.96.0.7",
    "10.244.0.9",
    "::1",
    "None",
    "ClusterIP",
    "ExternalName",
    "LoadBalancer",
    "0s",
    "1s",
    "1.5s",
    "5xx,reset",
    "80",
    "25%",
    "true",
    "false",
    "enabled",
    "istio-proxy",
    "istio-injection",
    "sidecar.istio.io/inject",
    "sidecar.istio.io/status",
    "proxy.istio.io/config",
    "traffic.sidecar.istio.io/includeInboundPorts",
    "kubernetes.io/service-name",
    "\u{e4}\u{1f600}",
];

/// A text: mostly one that means something.
pub fn text(u: &mut Unstructured<'_>) -> Result<String> {
    match u.ratio(7, 8)? {
        true => Ok((*u.choose(WORDS)?).to_owned()),
        false => Ok(u.arbitrary::<&str>()?.chars().take(64).collect()),
    }
}

/// Any value at all, with names of fields that some kind has.
pub fn any(u: &mut Unstructured<'_>, depth: u32) -> Result<Value> {
    Ok(match u.int_in_range(0..=if depth < DEEPEST { 7 } else { 4 })? {
        0 => Value::Null,
        1 => u.arbitrary::<bool>()?.into(),
        2 => u.arbitrary::<i64>()?.into(),
        3 => Number::from_f64(u.arbitrary()?).map_or(Value::Null, Value::Number),
        4 => text(u)?.into(),
        5 => list(u, |u| any(u, depth + 1))?,
        _ => map(u, |u| any(u, depth + 1))?,
    })
}

/// A kind whose fields are known.
fn kind(u: &mut Unstructured<'_>) -> Result<Kind> {
    let known: Vec<Kind> = Kind::all().filter(|kind| kind.fields().is_some()).collect();
    Ok(*u.choose(&known)?)
}

/// An object of some kind, mostly as it should be.
pub fn object(u: &mut Unstructured<'_>) -> Result<Value> {
    let kind = kind(u)?;
    let mut object = fields(u, kind.fields().unwrap_or_default(), 0)?;
    let version = *u.choose(kind.versions())?;
    let api_version = match kind.group() {
        "" => version.to_owned(),
        group => format!("{group}/{version}"),
    };
    if u.ratio(15, 16)? {
        object.insert("apiVersion".to_owned(), api_version.into());
    }
    if u.ratio(15, 16)? {
        object.insert("kind".to_owned(), kind.name().into());
    }
    Ok(object.into())
}

/// Some objects.
pub fn objects(u: &mut Unstructured<'_>) -> Result<Vec<Value>> {
    let count = u.int_in_range(1..=8)?;
    (0..count).map(|_| object(u)).collect()
}

fn fields(u: &mut Unstructured<'_>, known: &[Field], depth: u32) -> Result<Map<String, Value>> {
    let mut map = Map::new();
    for field in known {
        if depth < DEEPEST && u.ratio(1, 3)? {
            let value = match u.ratio(31, 32)? {
                true => holds(u, &field.holds, depth + 1)?,
                false => any(u, depth + 1)?,
            };
            map.insert(spelled(u, field.name)?, value);
        }
    }
    Ok(map)
}

/// A name as it is known, or in snake_case.
fn spelled(u: &mut Unstructured<'_>, name: &str) -> Result<String> {
    if u.ratio(15, 16)? {
        return Ok(name.to_owned());
    }
    let split = |c: char| match c.is_ascii_uppercase() {
        true => format!("_{}", c.to_ascii_lowercase()),
        false => c.to_string(),
    };
    Ok(name.chars().map(split).collect())
}

fn holds(u: &mut Unstructured<'_>, what: &Holds, depth: u32) -> Result<Value> {
    Ok(match what {
        Holds::Text | Holds::Span | Holds::ShortSpan | Holds::Quantity => text(u)?.into(),
        Holds::Whole(least, most) => u.int_in_range(*least..=*most)?.into(),
        Holds::Number => u.int_in_range(-1..=100)?.into(),
        Holds::Flag => u.arbitrary::<bool>()?.into(),
        Holds::Word(words) => (*u.choose(words)?).into(),
        Holds::WholeOrText(least, most) => match u.arbitrary()? {
            true => u.int_in_range(*least..=*most)?.into(),
            false => text(u)?.into(),
        },
        Holds::List(_) | Holds::Map(_) if depth >= DEEPEST => Value::Null,
        Holds::List(item) => list(u, |u| holds(u, item, depth + 1))?,
        Holds::Map(item) => map(u, |u| holds(u, item, depth + 1))?,
        Holds::Object(known) | Holds::Closing(known, _) | Holds::Partly(known) => {
            fields(u, known, depth)?.into()
        }
        Holds::Anything => any(u, depth + 1)?,
    })
}

fn list(
    u: &mut Unstructured<'_>,
    mut item: impl FnMut(&mut Unstructured<'_>) -> Result<Value>,
) -> Result<Value> {
    let count = u.int_in_range(0..=3)?;
    (0..count).map(|_| item(u)).collect()
}

fn map(
    u: &mut Unstructured<'_>,
    mut item: impl FnMut(&mut Unstructured<'_>) -> Result<Value>,
) -> Result<Value> {
    let count = u.int_in_range(0..=3)?;
    let entries: Result<Map<String, Value>> = (0..count)
        .map(|_| {
            let kind = kind(u)?;
            let name = match u.ratio(1, 2)? {
                true => text(u)?,
                false => u.choose(kind.fields().unwrap_or_default())?.name.to_owned(),
            };
            Ok((name, item(u)?))
        })
        .collect();
    Ok(entries?.into())
}
