//! The target of a request: its scheme and its path (RFC 9112, section 3.2; RFC 9113,
//! section 8.3.1).

use http::{
    Method, Version,
    request::Parts,
    uri::{PathAndQuery, Uri},
};

use super::{Arrival, Direction, Scheme};
use crate::{failure::Failure, path, reply::Reply};

/// The scheme that the target names, if it names one.
pub(super) fn scheme(head: &Parts, arrival: &Arrival) -> Result<Option<Scheme>, Reply> {
    let Some(named) = head.uri.scheme_str() else { return Ok(None) };
    let named = match named {
        _ if named.eq_ignore_ascii_case("http") => Scheme::Http,
        _ if named.eq_ignore_ascii_case("https") => Scheme::Https,
        _ => return Err(Failure::BadRequest("http1.invalid_scheme").reply()),
    };
    // A client outside the mesh that asks for TLS without using it is mistaken, or lies.
    match (named, arrival.scheme, arrival.direction) {
        (Scheme::Https, Scheme::Http, Direction::Edge) => Err(Failure::NotEncrypted.reply()),
        _ => Ok(Some(named)),
    }
}

/// Brings the target into origin form, with its path in normal form. The path always
/// begins with a slash, whatever the form that the target came in.
pub(super) fn normalise(head: &mut Parts) -> Result<(), Reply> {
    let is_origin = head.uri.scheme().is_none() && head.uri.authority().is_none();
    let target = match head.uri.path_and_query() {
        Some(target) => target.as_str(),
        // `GET dock:80`: only CONNECT has a target like that.
        None if head.uri.scheme().is_none() => return Err(Failure::BadRequest(INVALID_URL).reply()),
        None => "/",
    };
    if target == "*" {
        return Err(match head.method == Method::OPTIONS {
            true => Failure::Asterisk.reply(),
            false => Failure::BadRequest(INVALID_URL).reply(),
        });
    }
    if head.version == Version::HTTP_2 && !target.starts_with('/') {
        return Err(Failure::BadRequest(INVALID_URL).reply());
    }
    let normal = path::normalise(target).map_err(|_| Failure::BadPath.reply())?;
    if is_origin && *normal == *target {
        return Ok(());
    }
    let normal = PathAndQuery::try_from(&*normal).map_err(|_| Failure::BadPath.reply())?;
    head.uri = Uri::from(normal);
    Ok(())
}

const INVALID_URL: &str = "http1.invalid_url";
