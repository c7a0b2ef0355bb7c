//! Bodies: which media types are read and written.

mod bounded;
mod protobuf;

use serde_json::Value;

use crate::status::Status;
pub use bounded::json;

/// Reads an object from a request's body.
pub fn object(media: &str, body: &[u8]) -> Result<Value, Status> {
    let kind = media.split(';').next().unwrap_or_default().trim();
    let value = match kind {
        "" | "application/json" | "text/json" => bounded::json(body)
            .map_err(|error| Status::bad_request(format!("the body is not JSON: {error}")))?,
        protobuf::MEDIA => protobuf::read(body)?,
        "application/yaml" | "text/yaml" | "application/x-yaml" => yaml(body)?,
        other => {
            let message = format!("bodies of type {other:?} are not served; send application/json");
            return Err(Status::new(415, "UnsupportedMediaType", message));
        }
    };
    match value {
        Value::Object(_) => Ok(value),
        _ => Err(Status::bad_request("the body is not an object")),
    }
}

/// Reads YAML; JSON is a part of it and is read faster.
pub fn yaml(body: &[u8]) -> Result<Value, Status> {
    match bounded::json(body) {
        Ok(value) => return Ok(value),
        Err(error) if error.is_data() => {
            return Err(Status::bad_request(format!("the body cannot be read: {error}")));
        }
        Err(_) => {}
    }
    let text = std::str::from_utf8(body)
        .map_err(|error| Status::bad_request(format!("the body is not UTF-8: {error}")))?;
    serde_saphyr::from_str(text)
        .map_err(|error| Status::bad_request(format!("the body is not YAML: {error}")))
}

/// Whether a client asked for a Table.
pub fn wants_table(accept: &str) -> bool {
    accept.split(',').any(|one| one.contains("as=Table") && one.contains("application/json"))
}

/// Whether a client asked for nothing but metadata.
pub fn wants_metadata(accept: &str) -> bool {
    let first = accept.split(',').next().unwrap_or_default();
    first.contains("as=PartialObjectMetadata")
}
