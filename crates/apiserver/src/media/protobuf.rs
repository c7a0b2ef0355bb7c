//! Objects in Kubernetes' protobuf form, as kubectl sends it.
//!
//! Current clients write their typed requests in this form whatever the server
//! prefers. Messages are read by the numbers in the table of structs; what the
//! table does not know is refused by name, never dropped. Nothing is written in
//! this form.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use crate::{
    status::Status,
    structs::{self, Struct, Type},
};

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
    let (mut names, mut raw) = (&[][..], &[][..]);
    for field in fields(rest).map_err(wrong)? {
        match field {
            (1, Wire::Bytes(bytes)) => names = bytes,
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let (api_version, kind) = pair(names).map_err(wrong)?;
    let (api_version, kind) = (String::from_utf8_lossy(api_version), String::from_utf8_lossy(kind));
    // Options of a deletion come under the version of what is deleted.
    let known = structs::of_kind(&api_version, &kind).or_else(|| structs::by_name(&kind));
    let read = match known {
        Some(known) => message(raw, known, 0),
        None => Err(format!("the message {kind} is not known")),
    };
    let mut object = read.map_err(|why| {
        let text = format!("{kind} in protobuf is not served here ({why}); send application/json");
        Status::new(415, "UnsupportedMediaType", text)
    })?;
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind.into());
    Ok(Value::Object(object))
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

/// A message of two byte strings: the entry of a map, the type of an object.
fn pair(bytes: &[u8]) -> Result<(&[u8], &[u8]), String> {
    let (mut first, mut second) = (&[][..], &[][..]);
    for part in fields(bytes)? {
        match part {
            (1, Wire::Bytes(bytes)) => first = bytes,
            (2, Wire::Bytes(bytes)) => second = bytes,
            (number, _) => return Err(format!("field {number} of a pair is not used")),
        }
    }
    Ok((first, second))
}

/// A message of up to three numbers and a text: a moment, a number or text.
fn scalars(bytes: &[u8]) -> Result<([i64; 4], &[u8]), String> {
    let (mut numbers, mut text) = ([0; 4], &[][..]);
    for part in fields(bytes)? {
        match part {
            (number @ 1..=3, Wire::Number(value)) => {
                numbers[usize::try_from(number).unwrap_or(0)] = value.cast_signed();
            }
            (1..=3, Wire::Bytes(bytes)) => text = bytes,
            (number, _) => return Err(format!("field {number} of a value is not used")),
        }
    }
    Ok((numbers, text))
}

fn message(
    bytes: &[u8],
    known: &'static Struct,
    depth: usize,
) -> Result<Map<String, Value>, String> {
    if depth > DEEPEST {
        return Err("it is nested too deep".into());
    }
    let mut object = Map::new();
    for (number, wire) in fields(bytes)? {
        let field = known
            .fields
            .iter()
            .find(|field| field.number == number && number != 0)
            .ok_or_else(|| format!("field {number} of {} is not known", known.name))?;
        let wrong =
            || format!("field {} of {} has another form than expected", field.name, known.name);
        match (field.name, &field.holds, wire) {
            (".", holds, Wire::Bytes(bytes)) => {
                object.extend(message(bytes, struct_of(holds).ok_or_else(wrong)?, depth + 1)?);
            }
            (name, Type::List(each), wire) => {
                let value = value(each, wire, depth)?.ok_or_else(wrong)?;
                if let Some(list) = array(&mut object, name) {
                    list.push(value);
                }
            }
            (name, Type::Map(each), Wire::Bytes(bytes)) => {
                let (key, inside) = pair(bytes)?;
                let key = String::from_utf8_lossy(key).into_owned();
                let value = value(each, Wire::Bytes(inside), depth)?.ok_or_else(wrong)?;
                let place = object.entry(name).or_insert_with(|| json!({}));
                place.as_object_mut().map(|entries| entries.insert(key, value));
            }
            (name, holds, wire) => {
                let value = value(holds, wire, depth)?.ok_or_else(wrong)?;
                if field.is_pointer || !is_empty(&value) {
                    object.insert(name.to_owned(), value);
                }
            }
        }
    }
    Ok(object)
}

fn array<'o>(object: &'o mut Map<String, Value>, name: &str) -> Option<&'o mut Vec<Value>> {
    object.entry(name).or_insert_with(|| Value::Array(Vec::new())).as_array_mut()
}

fn struct_of(holds: &Type) -> Option<&'static Struct> {
    match holds {
        Type::Struct(name) => structs::by_name(name),
        _ => None,
    }
}

/// Whether JSON would leave a value out.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

/// A single value; nothing when it has another form on the wire.
fn value(holds: &Type, wire: Wire<'_>, depth: usize) -> Result<Option<Value>, String> {
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(Value::from);
    Ok(match (holds, wire) {
        (Type::String, Wire::Bytes(bytes)) => text(bytes),
        // Negative numbers are written as 64 bits of two's complement.
        (Type::Int32 | Type::Int64, Wire::Number(number)) => Some(number.cast_signed().into()),
        (Type::Bool, Wire::Number(number)) => Some((number != 0).into()),
        (Type::Bytes, Wire::Bytes(bytes)) => Some(STANDARD.encode(bytes).into()),
        (Type::Struct(_), Wire::Bytes(bytes)) => match struct_of(holds) {
            Some(known) => Some(Value::Object(message(bytes, known, depth + 1)?)),
            None => None,
        },
        (Type::Time, Wire::Bytes(bytes)) => {
            let ([_, seconds, nanos, _], _) = scalars(bytes)?;
            if bytes.is_empty() {
                return Ok(Some(Value::Null));
            }
            let time = i32::try_from(nanos).ok();
            let time = time.and_then(|nanos| jiff::Timestamp::new(seconds, nanos).ok());
            time.map(|time| time.to_string().into())
        }
        (Type::IntOrString, Wire::Bytes(bytes)) => {
            let ([_, kind, number, _], string) = scalars(bytes)?;
            if kind == 1 { text(string) } else { Some(number.into()) }
        }
        (Type::Quantity, Wire::Bytes(bytes)) => text(scalars(bytes)?.1),
        // Fields of managers, raw objects: JSON in bytes.
        (Type::Any | Type::Fields, Wire::Bytes(bytes)) => {
            let (_, raw) = scalars(bytes)?;
            match raw {
                [] => Some(Value::Null),
                raw => serde_json::from_slice(raw).ok(),
            }
        }
        _ => None,
    })
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
    fn an_ingress_reads_as_its_json() {
        let number = |number: u8, value: u8| vec![number << 3, value];
        let port = bytes(2, &number(2, 80));
        let backend = bytes(4, &[bytes(1, b"web"), port].concat());
        let path = [bytes(1, b"/"), bytes(2, &backend), bytes(3, b"Prefix")].concat();
        let http = bytes(1, &bytes(1, &path));
        let rule = [bytes(1, b"web.example"), bytes(2, &http)].concat();
        let raw = [bytes(1, &bytes(1, b"i")), bytes(2, &bytes(3, &rule))].concat();
        let paths = json!([{"path": "/", "pathType": "Prefix",
            "backend": {"service": {"name": "web", "port": {"number": 80}}}}]);
        let expected = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": "i"},
            "spec": {"rules": [{"host": "web.example", "http": {"paths": paths}}]}});
        assert_eq!(read(&body("networking.k8s.io/v1", "Ingress", &raw)).unwrap(), expected);
    }

    #[test]
    fn what_a_pointer_holds_counts_even_if_it_is_nothing() {
        let number = |number: u8, value: u8| vec![number << 3, value];
        let port = [number(1, 1), bytes(3, b"http")].concat();
        let probe = bytes(1, &bytes(2, &[bytes(1, b"/"), bytes(2, &port)].concat()));
        let limits = bytes(1, &[bytes(1, b"cpu"), bytes(2, &bytes(1, b"100m"))].concat());
        let container = [bytes(1, b"c"), bytes(8, &limits), bytes(11, &probe)].concat();
        let volume = [bytes(1, b"v"), bytes(2, &bytes(2, b""))].concat();
        let pod = [bytes(1, &volume), bytes(2, &container), number(11, 0)].concat();
        let spec = [number(1, 0), bytes(3, &bytes(2, &pod))].concat();
        let object = read(&body("apps/v1", "Deployment", &bytes(2, &spec))).unwrap();
        let pod = json!({"volumes": [{"name": "v", "emptyDir": {}}], "containers": [{"name": "c",
            "resources": {"limits": {"cpu": "100m"}},
            "readinessProbe": {"httpGet": {"path": "/", "port": "http"}}}]});
        assert_eq!(object["spec"], json!({"replicas": 0, "template": {"spec": pod}}));
    }
}
