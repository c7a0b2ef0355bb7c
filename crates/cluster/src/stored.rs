//! Objects as an API server stores them, each read on its own.
//!
//! A server may store what a reader with types cannot hold: a number beyond its range, a
//! time that is invalid, more levels than it goes down. In a list one such object would hide
//! all others, and anyone who may write one object would stop the program. So nothing is
//! required of an object here but that it is JSON, and what lies too deep is skipped.

use std::{borrow::Cow, cell::Cell, fmt};

use kube::{
    Resource,
    api::{ApiResource, DynamicObject, ObjectMeta},
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

/// Levels of one object that are read; the reader of JSON goes down 128 in all.
const LEVELS: usize = 100;

/// An object of any kind as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct StoredObject {
    /// What identifies it: name, namespace and version.
    metadata: ObjectMeta,
    /// All of it but `metadata.managedFields`; none when it goes too deep.
    pub(crate) value: Option<Value>,
}

/// Reads an answer's body; what the server keeps for itself in `metadata.managedFields` is
/// left out where it is too deep.
pub(crate) fn read(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let too_deep = Cell::new(false);
    let body = Level { left: LEVELS, field: "", managed_fields: true, too_deep: &too_deep };
    let value = body.deserialize(&mut deserializer)?;
    deserializer.end()?;
    match too_deep.get() {
        true => Err(Error::custom(format!("an object in it has more than {LEVELS} levels"))),
        false => Ok(value),
    }
}

impl<'de> Deserialize<'de> for StoredObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let too_deep = Cell::new(false);
        let object = Level { left: LEVELS, field: "", managed_fields: false, too_deep: &too_deep };
        let value = object.deserialize(deserializer)?;
        let text = |field: &str| value["metadata"][field].as_str().map(str::to_owned);
        let metadata = ObjectMeta {
            name: text("name"),
            namespace: text("namespace"),
            resource_version: text("resourceVersion"),
            ..ObjectMeta::default()
        };
        Ok(Self { metadata, value: (!too_deep.get()).then_some(value) })
    }
}

/// A kind that is known only by its name.
impl Resource for StoredObject {
    type DynamicType = ApiResource;
    type Scope = kube::core::DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        DynamicObject::kind(resource)
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        DynamicObject::group(resource)
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        DynamicObject::version(resource)
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        DynamicObject::plural(resource)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// A value with so many levels left, in the field of this name.
#[derive(Clone, Copy)]
struct Level<'a> {
    left: usize,
    field: &'a str,
    /// Whether what the server keeps for itself is read, too.
    managed_fields: bool,
    /// Whether something was skipped.
    too_deep: &'a Cell<bool>,
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.left {
            // Skipping takes no stack, so that no depth is too much for it.
            0 => {
                self.too_deep.set(true);
                deserializer.deserialize_ignored_any(IgnoredAny).map(|_| Value::Null)
            }
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'a> Level<'a> {
    fn below<'b>(self, field: &'b str) -> Level<'b>
    where
        'a: 'b,
    {
        Level { left: self.left - 1, field, ..self }
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element_seed(self.below(self.field))? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            if self.field != "metadata" || name != "managedFields" {
                let value = fields.next_value_seed(self.below(&name))?;
                all.insert(name, value);
                continue;
            }
            if !self.managed_fields {
                fields.next_value::<IgnoredAny>()?;
                continue;
            }
            let too_deep = Cell::new(false);
            let value =
                fields.next_value_seed(Level { too_deep: &too_deep, ..self.below(&name) })?;
            if !too_deep.get() {
                all.insert(name, value);
            }
        }
        Ok(Value::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::{ObjectList, WatchEvent};

    /// An object of so many levels in `field`, a list of two with it as the first.
    fn list(field: &str, levels: usize) -> String {
        let deep = format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        format!(
            "{{\"kind\": \"ServiceList\", \"apiVersion\": \"v1\", \"metadata\": {{}}, \"items\": [
               {{\"metadata\": {{\"name\": \"deep\", \"managedFields\": {}}}, \"spec\": {}}},
               {{\"metadata\": {{\"name\": \"whole\"}}, \"spec\": {{\"n\": 1}}}}]}}",
            if field == "managedFields" { &deep } else { "[]" },
            if field == "spec" { &deep } else { "{}" },
        )
    }

    fn objects(text: &str) -> Vec<(String, bool)> {
        let list: ObjectList<StoredObject> = serde_json::from_str(text).unwrap();
        let named = |one: StoredObject| (one.metadata.name.unwrap(), one.value.is_some());
        list.items.into_iter().map(named).collect()
    }

    #[test]
    fn an_object_that_goes_too_deep_hides_no_other() {
        for levels in [1, 90, 120, 10_000] {
            let readable = levels <= 90;
            let expected = [("deep".to_owned(), readable), ("whole".to_owned(), true)];
            assert_eq!(objects(&list("spec", levels)), expected);
            assert_eq!(read(list("spec", levels).as_bytes()).is_ok(), readable, "{levels}");
        }
    }

    #[test]
    fn what_the_server_keeps_for_itself_may_be_of_any_depth() {
        for levels in [1, 120, 10_000] {
            let expected = [("deep".to_owned(), true), ("whole".to_owned(), true)];
            let text = list("managedFields", levels);
            assert_eq!(objects(&text), expected);
            let read = read(text.as_bytes()).unwrap();
            let kept = read["items"][0]["metadata"].get("managedFields").is_some();
            assert_eq!(kept, levels == 1, "{levels}");
        }
    }

    #[test]
    fn values_of_other_types_are_read_as_they_are() {
        let metadata = "{\"name\": \"x\", \"generation\": 9223372036854775808, \"creationTimestamp\": 5, \
                        \"deletionGracePeriodSeconds\": 18446744073709551616, \"labels\": [1]}";
        let object: StoredObject =
            serde_json::from_str(&format!("{{\"metadata\": {metadata}}}")).unwrap();
        let read = object.value.unwrap();
        assert_eq!(read["metadata"], serde_json::from_str::<Value>(metadata).unwrap());
        for odd in ["null", "5", "[]", "{}", "{\"metadata\": 7}"] {
            let object: StoredObject = serde_json::from_str(odd).unwrap();
            assert_eq!(object.metadata, ObjectMeta::default());
        }
    }

    #[test]
    fn an_event_of_a_watch_is_read_alike() {
        let deep = format!("{}1{}", "[".repeat(500), "]".repeat(500));
        let text = format!(
            "{{\"type\": \"ADDED\", \"object\": {{\"metadata\": {{\"name\": \"x\"}}, \"spec\": {deep}}}}}"
        );
        let event: WatchEvent<StoredObject> = serde_json::from_str(&text).unwrap();
        let WatchEvent::Added(object) = event else { panic!("{event:?}") };
        assert_eq!((object.metadata.name.as_deref(), object.value), (Some("x"), None));
    }
}
