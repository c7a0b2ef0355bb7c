//! Objects in Kubernetes' protobuf form, as far as kubectl sends it.
//!
//! Current clients write their typed requests in this form whatever the server
//! prefers. Messages are read by a table of field numbers; what the table does
//! not know is refused by name, never dropped. Nothing is written in this form.

mod messages;

use serde_json::{Map, Value, json};

use crate::status::Status;
use messages::{Field, Holds};

/// The media type.
pub const MEDIA: &str = "application/vnd.kubernetes.protobuf";

/// How deep messages may be nested.
const DEEPEST: usize = 32;

/// The bytes with which every body begins.
const MAGIC: &[u8] = b"k8s\0";

/// Reads a body: an envelope with the type, and the object in it.
pub fn read(body: &[u8]) -> Result<Value, Status> {
    let wrong =
        |why: String| Status::bad_request(format!("the body is not an object in protobuf: {why}"));
    let rest =
        body.strip_prefix(MAGIC).ok_or_else(|| wrong("it does not begin with k8s".into()))?;
    let envelope = message(rest, "Unknown", 0).map_err(wrong)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kind = text(&envelope["typeMeta"]["kind"]);
    let mut raw = &[][..];
    for field in fields(rest).map_err(wrong)? {
        if let (2, Wire::Bytes(bytes)) = field {
            raw = bytes;
        }
    }
    let mut object = message(raw, &kind, 0).map_err(|why| {
        let text = format!("{kind} in protobuf is not served here ({why}); send application/json");
        Status::new(415, "UnsupportedMediaType", text)
    })?;
    object["apiVersion"] = envelope["typeMeta"]["apiVersion"].clone();
    object["kind"] = kind.into();
    Ok(object)
}

/// One field's value on the wire.
enum Wire<'b> {
    Number(u64),
    Bytes(&'b [u8]),
}

/// The fields of a message, in order.
fn fields(mut bytes: &[u8]) -> Result<Vec<(u64, Wire<'_>)>, String> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let wire = match tag & 7 {
            0 => Wire::Number(varint(&mut bytes)?),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).unwrap_or(usize::MAX);
                let (inside, rest) = bytes.split_at_checked(length).ok_or("it is cut off")?;
                bytes = rest;
                Wire::Bytes(inside)
            }
            other => return Err(format!("wire type {other} of field {} is not used", tag >> 3)),
        };
        found.push((tag >> 3, wire));
    }
    Ok(found)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().ok_or("it is cut off")?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number is too long".into())
}

fn message(bytes: &[u8], kind: &str, depth: usize) -> Result<Value, String> {
    if depth > DEEPEST {
        return Err("it is nested too deep".into());
    }
    let table = messages::find(kind).ok_or_else(|| format!("the message {kind} is not known"))?;
    let mut object = Map::new();
    for (number, wire) in fields(bytes)? {
        let field = table
            .iter()
            .find(|field| field.number == number)
            .ok_or_else(|| format!("field {number} of {kind} is not known"))?;
        if let Some(value) = single(field, wire, depth)? {
            put(&mut object, field, value);
        }
    }
    Ok(Value::Object(object))
}

/// Puts a value where it belongs: alone, at a list's end, or into a map.
fn put(object: &mut Map<String, Value>, field: &Field<'_>, value: Value) {
    let place = object.entry(field.name).or_insert(Value::Null);
    match (field.holds, field.is_list, value) {
        (Holds::Texts | Holds::Blobs, _, Value::Object(entry)) => {
            if !place.is_object() {
                *place = json!({});
            }
            if let Some(map) = place.as_object_mut() {
                map.extend(entry);
            }
        }
        (_, true, value) => match place.as_array_mut() {
            Some(list) => list.push(value),
            None => *place = Value::Array(vec![value]),
        },
        (_, _, value) => *place = value,
    }
}

/// A field's value; nothing where JSON would leave it out.
fn single(field: &Field<'_>, wire: Wire<'_>, depth: usize) -> Result<Option<Value>, String> {
    let wrong = || format!("field {} has another form than expected", field.name);
    match (field.holds, wire) {
        (Holds::Text, Wire::Bytes(bytes)) => {
            let text = std::str::from_utf8(bytes).map_err(|_| wrong())?;
            Ok((field.is_list || field.is_kept || !text.is_empty()).then(|| text.into()))
        }
        (Holds::Number, Wire::Number(number)) => {
            // Negative numbers are written as 64 bits of two's complement.
            let number = number.cast_signed();
            Ok((field.is_kept || number != 0).then(|| number.into()))
        }
        (Holds::Flag, Wire::Number(number)) => {
            Ok((field.is_kept || number != 0).then(|| (number != 0).into()))
        }
        (Holds::Texts | Holds::Blobs, Wire::Bytes(bytes)) => entry(field, bytes, depth).map(Some),
        (Holds::Time, Wire::Bytes(bytes)) => {
            let time = message(bytes, "Time", depth + 1)?;
            let (Some(seconds), nanos) = (time["seconds"].as_i64(), time["nanos"].as_i64()) else {
                return Ok(None);
            };
            let nanos = i32::try_from(nanos.unwrap_or(0)).map_err(|_| wrong())?;
            let time = jiff::Timestamp::new(seconds, nanos).map_err(|_| wrong())?;
            Ok(Some(time.to_string().into()))
        }
        (Holds::NumberOrText, Wire::Bytes(bytes)) => {
            let either = message(bytes, "IntOrString", depth + 1)?;
            Ok(Some(match either["type"].as_i64() {
                Some(1) => either["strVal"].as_str().unwrap_or_default().into(),
                _ => either["intVal"].as_i64().unwrap_or(0).into(),
            }))
        }
        (Holds::Message(kind), Wire::Bytes(bytes)) => {
            let value = message(bytes, kind, depth + 1)?;
            let is_empty = value.as_object().is_some_and(Map::is_empty);
            Ok((field.is_list || field.is_kept || !is_empty).then_some(value))
        }
        (Holds::Raw, Wire::Bytes(_)) => Ok(None),
        _ => Err(wrong()),
    }
}

/// One entry of a map: its key and its value.
fn entry(field: &Field<'_>, bytes: &[u8], depth: usize) -> Result<Value, String> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    if depth > DEEPEST {
        return Err("it is nested too deep".into());
    }
    let (mut key, mut value) = (String::new(), &[][..]);
    for part in fields(bytes)? {
        match part {
            (1, Wire::Bytes(bytes)) => key = String::from_utf8_lossy(bytes).into_owned(),
            (2, Wire::Bytes(bytes)) => value = bytes,
            _ => return Err(format!("an entry of {} is not key and value", field.name)),
        }
    }
    let value = match field.holds {
        Holds::Blobs => STANDARD.encode(value),
        _ => String::from_utf8_lossy(value).into_owned(),
    };
    Ok(Value::Object(Map::from_iter([(key, Value::String(value))])))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field with bytes.
    fn bytes(number: u8, inside: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(inside.len()).unwrap()];
        out.extend_from_slice(inside);
        out
    }

    fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let names = [bytes(1, api_version.as_bytes()), bytes(2, kind.as_bytes())].concat();
        [MAGIC, &bytes(1, &names), &bytes(2, raw), &bytes(3, b""), &bytes(4, b"")].concat()
    }

    #[test]
    fn a_config_map_reads_as_its_json() {
        let metadata = [bytes(1, b"cm"), bytes(2, b""), bytes(8, b"")].concat();
        let entry = [bytes(1, b"a"), bytes(2, b"b")].concat();
        let raw = [bytes(1, &metadata), bytes(2, &entry)].concat();
        let expected = json!({"apiVersion": "v1", "kind": "ConfigMap",
                              "metadata": {"name": "cm"}, "data": {"a": "b"}});
        assert_eq!(read(&body("v1", "ConfigMap", &raw)).unwrap(), expected);
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        let refused = |raw: &[u8], kind: &str| read(&body("v1", kind, raw)).unwrap_err().message;
        assert!(
            refused(&bytes(9, b"x"), "ConfigMap").contains("field 9 of ConfigMap is not known")
        );
        assert!(refused(b"", "Unicorn").contains("the message Unicorn is not known"));
        assert!(refused(&[0x0a, 0x50], "ConfigMap").contains("cut off"));
        assert_eq!(read(b"{}").unwrap_err().code, 400);
    }

    #[test]
    fn every_message_that_is_named_is_in_the_table() {
        for field in messages::all() {
            if let Holds::Message(kind) = field.holds {
                assert!(messages::find(kind).is_some(), "{kind}, of {}", field.name);
            }
        }
    }
}
