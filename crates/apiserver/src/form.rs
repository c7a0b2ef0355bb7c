//! From what a client sent to an object in the form of its kind.
//!
//! What kube-apiserver's decoding does: values of a wrong type are refused with
//! the field, nulls and unknown fields are dropped. So every other module finds
//! objects where objects belong and lists where lists belong. Of custom resources
//! only the metadata has a known form; their schema is checked elsewhere.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use crate::{
    resource::{Origin, Resource},
    size,
    status::Status,
    structs::{self, Field, METADATA, Struct, Type},
};

/// Brings an object into the form of its kind; the paths of fields that the kind
/// does not have, which are dropped.
pub fn decode(resource: &Resource, object: &mut Value) -> Result<Vec<String>, Status> {
    let refuse = |why: String| {
        let (kind, version) = (&resource.kind, &resource.version);
        Status::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: {why}"
        ))
    };
    if let Some((what, depth)) = size::too_deep(object) {
        return Err(refuse(format!(
            "{what} is nested {depth} deep, which is more than any kind needs; flatten it"
        )));
    }
    let mut decoder = Decoder { unknown: Vec::new() };
    let Some(fields) = object.as_object_mut() else {
        let found = kind_of(object);
        let go = format!("Go value of type v1.{}", resource.kind);
        return Err(refuse(format!("json: cannot unmarshal {found} into {go}")));
    };
    if let Some(metadata) =
        fields.get_mut("metadata").filter(|it| is_custom(resource) && !it.is_null())
    {
        let known = structs::by_name(METADATA).expect("the table has the metadata of objects");
        let at = FieldLocation { owner: &resource.kind, path: "metadata".into() };
        decoder.value(&Type::Struct(known.name), metadata, &at).map_err(refuse)?;
    }
    if is_custom(resource) {
        fields.retain(|name, value| name != "metadata" || !value.is_null());
        return Ok(decoder.unknown);
    }
    if resource.group == "extensions" {
        // Only that version had it.
        fields.get_mut("spec").and_then(Value::as_object_mut).map(|spec| spec.remove("rollbackTo"));
    }
    let Some(known) = structs::of_kind(&resource.api_version(), &resource.kind) else {
        return Ok(Vec::new());
    };
    decoder.fields(known, fields, "").map_err(refuse)?;
    Ok(decoder.unknown)
}

/// Brings a value that is not stored, such as `DeleteOptions`, into the form of its struct.
pub fn decode_as(name: &str, object: &mut Value) -> Result<(), Status> {
    let refuse =
        |why: String| Status::bad_request(format!("{name} cannot be handled as a {name}: {why}"));
    let (Some(known), Some(fields)) = (structs::by_name(name), object.as_object_mut()) else {
        return Err(refuse(format!("json: cannot unmarshal {}", kind_of(object))));
    };
    Decoder { unknown: Vec::new() }.fields(known, fields, "").map_err(refuse)
}

fn is_custom(resource: &Resource) -> bool {
    matches!(resource.origin, Origin::Custom(_))
}

struct Decoder {
    unknown: Vec<String>,
}

/// Where a value stands.
struct FieldLocation<'a> {
    /// The struct whose field it is, or is in.
    owner: &'a str,
    /// The path from the object.
    path: String,
}

impl Decoder {
    fn fields(
        &mut self,
        known: &'static Struct,
        fields: &mut Map<String, Value>,
        path: &str,
    ) -> Result<(), String> {
        let mut wrong = None;
        fields.retain(|name, value| {
            if path.is_empty() && matches!(name.as_str(), "apiVersion" | "kind") {
                return !value.is_null();
            }
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let Some((owner, Field { holds, .. })) = known.field(name) else {
                self.unknown.push(path);
                return false;
            };
            if value.is_null() {
                return *holds == Type::Any;
            }
            if wrong.is_none() {
                wrong = self.value(holds, value, &FieldLocation { owner: owner.name, path }).err();
            }
            true
        });
        wrong.map_or(Ok(()), Err)
    }

    fn value(
        &mut self,
        holds: &Type,
        value: &mut Value,
        at: &FieldLocation<'_>,
    ) -> Result<(), String> {
        match (holds, value) {
            (Type::Struct(name), Value::Object(fields)) => match structs::by_name(name) {
                Some(known) => self.fields(known, fields, &at.path),
                None => Ok(()),
            },
            (Type::List(each), Value::Array(items)) => {
                items.iter_mut().enumerate().try_for_each(|(index, item)| {
                    self.item(
                        each,
                        item,
                        FieldLocation { owner: at.owner, path: format!("{}[{index}]", at.path) },
                    )
                })
            }
            (Type::Map(each), Value::Object(entries)) => {
                entries.iter_mut().try_for_each(|(key, item)| {
                    self.item(
                        each,
                        item,
                        FieldLocation { owner: at.owner, path: format!("{}.{key}", at.path) },
                    )
                })
            }
            (holds, value) => scalar(holds, value, at),
        }
    }

    /// A null in a list or map stands for the type's zero value.
    fn item(
        &mut self,
        holds: &Type,
        value: &mut Value,
        at: FieldLocation<'_>,
    ) -> Result<(), String> {
        if value.is_null() {
            *value = zero(holds);
            return Ok(());
        }
        self.value(holds, value, &at)
    }
}

fn scalar(holds: &Type, value: &Value, at: &FieldLocation<'_>) -> Result<(), String> {
    let fits = match (holds, value) {
        (Type::Any, _)
        | (Type::Fields, Value::Object(_))
        | (Type::String, Value::String(_))
        | (Type::Bool, Value::Bool(_))
        | (Type::IntOrString, Value::String(_)) => true,
        (Type::Int32 | Type::IntOrString, Value::Number(number)) => {
            number.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
        }
        (Type::Int64, Value::Number(number)) => number.as_i64().is_some(),
        (Type::Quantity, Value::Number(_)) => true,
        (Type::Quantity, Value::String(text)) => {
            return if is_quantity(text) {
                Ok(())
            } else {
                Err(format!("{}: {QUANTITY}", at.path))
            };
        }
        (Type::Time, Value::String(text)) => {
            let wrong = |error| format!("{}: parsing time {text:?}: {error}", at.path);
            return text.parse::<jiff::Timestamp>().map(drop).map_err(wrong);
        }
        (Type::Duration, Value::String(_)) => true,
        (Type::Bytes, Value::String(text)) => {
            let wrong = |error| format!("{}: illegal base64 data: {error}", at.path);
            // As in Go, line breaks inside do not count.
            let bare: String = text.chars().filter(|one| !matches!(one, '\n' | '\r')).collect();
            return STANDARD.decode(bare).map(drop).map_err(wrong);
        }
        _ => false,
    };
    if fits {
        return Ok(());
    }
    let (owner, path, go) = (at.owner, &at.path, holds.go());
    let owner = owner.rsplit('.').next().unwrap_or(owner);
    let found = match value {
        Value::Number(number) if !matches!(holds, Type::String | Type::Bool) => {
            format!("number {number}")
        }
        other => kind_of(other).to_owned(),
    };
    Err(format!("json: cannot unmarshal {found} into Go struct field {owner}.{path} of type {go}"))
}

/// The message of Kubernetes for an invalid quantity.
const QUANTITY: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

fn is_quantity(text: &str) -> bool {
    let number = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = number.find(|one: char| !one.is_ascii_digit() && one != '.').unwrap_or(number.len());
    let (digits, suffix) = number.split_at(end);
    let is_number = digits.bytes().any(|one| one.is_ascii_digit())
        && digits.bytes().filter(|one| *one == b'.').count() <= 1;
    let exponent = |text: &str| {
        let text = text.strip_prefix(['+', '-']).unwrap_or(text);
        !text.is_empty() && text.bytes().all(|one| one.is_ascii_digit())
    };
    let fits = match suffix {
        "" | "n" | "u" | "m" | "k" | "M" | "G" | "T" | "P" | "E" => true,
        "Ki" | "Mi" | "Gi" | "Ti" | "Pi" | "Ei" => true,
        other => other.strip_prefix(['e', 'E']).is_some_and(exponent),
    };
    is_number && fits
}

fn zero(holds: &Type) -> Value {
    match holds {
        Type::String | Type::Bytes => "".into(),
        Type::Bool => false.into(),
        Type::Int32 | Type::Int64 | Type::IntOrString => 0.into(),
        Type::Quantity => "0".into(),
        Type::List(_) => Value::Array(Vec::new()),
        Type::Map(_) | Type::Struct(_) => Value::Object(Map::new()),
        Type::Any | Type::Fields | Type::Time | Type::Duration => Value::Null,
    }
}

/// A value's kind as Go's decoder names it.
fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests;
