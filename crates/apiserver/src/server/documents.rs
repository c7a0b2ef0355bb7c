//! The documents about the API itself.

use http::{Response, header};

use super::{
    ApiRequest,
    reply::{self, Body},
};
use crate::{
    discovery::{self, Core},
    openapi,
    registry::Registry,
    status::Status,
    target::Target,
};

/// The document that a target names.
pub fn answer(
    registry: &Registry,
    target: &Target,
    asked: &ApiRequest,
) -> Result<Response<Body>, Status> {
    let accept = asked.header(header::ACCEPT);
    let wants_all = accept.contains("as=APIGroupDiscoveryList") && accept.contains("v=v2;");
    let aggregated = |core| {
        let document = discovery::aggregated(registry, core).to_string();
        reply::typed(200, discovery::AGGREGATED, document)
    };
    let document = match target {
        Target::Version => discovery::version(),
        Target::Health => return Ok(reply::typed(200, "text/plain; charset=utf-8", "ok")),
        Target::CoreVersions if wants_all => return Ok(aggregated(Core::Only)),
        Target::Groups if wants_all => return Ok(aggregated(Core::Without)),
        Target::CoreVersions => discovery::core_versions(),
        Target::Groups => discovery::groups(registry),
        Target::Group(name) => discovery::group(registry, name).ok_or_else(Status::no_such_path)?,
        Target::Resources(group, version) => discovery::resources(registry, group, version),
        Target::OpenApi(path) => match path.strip_prefix("v3") {
            Some("") => openapi::index(registry),
            Some(path) => openapi::document(registry, path.trim_start_matches('/'))
                .ok_or_else(Status::no_such_path)?,
            None if path == "v2" && accept.contains("protobuf") => {
                return Ok(reply::typed(200, openapi::SECOND_MEDIA, openapi::SECOND));
            }
            None if path == "v2" => openapi::second(),
            None => return Err(Status::no_such_path()),
        },
        Target::Objects(_) => return Err(Status::no_such_path()),
    };
    Ok(reply::short(200, &document, &[]))
}
