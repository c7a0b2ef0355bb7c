//! Reading JSON into values that do not outgrow its text too far.
//!
//! A map of one small entry takes seven bytes of text and a hundred times that in memory.
//! So values are counted while they are read, by what they take.

use std::{cell::Cell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// What the values of one body may take. The largest objects that Kubernetes would store
/// take half of it.
const MOST: usize = 96 << 20;

/// A map with room for its first entries.
const MAP: usize = 640;

/// A further entry of a map, without its name.
const ENTRY: usize = 110;

/// An element of a list that grows by doubling.
const ELEMENT: usize = 2 * size_of::<Value>();

/// Reads one value, and nothing behind it.
pub fn json(body: &[u8]) -> serde_json::Result<Value> {
    read(body, MOST)
}

fn read(body: &[u8], most: usize) -> serde_json::Result<Value> {
    let room = Cell::new(most);
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = Bounded(&room).deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// Reads a value, as long as there is room.
#[derive(Clone, Copy)]
struct Bounded<'r>(&'r Cell<usize>);

impl Bounded<'_> {
    fn take<E: Error>(self, memory: usize) -> Result<(), E> {
        let left = self.0.get().checked_sub(memory);
        self.0.set(left.ok_or_else(|| {
            E::custom("it has too many values for one object; make several of it")
        })?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
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

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.take(value.len())?;
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element_seed(self)? {
            self.take(ELEMENT)?;
            items.push(item);
        }
        Ok(items.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = from.next_key::<String>()? {
            self.take(name.len() + if map.is_empty() { MAP } else { ENTRY })?;
            map.insert(name, from.next_value_seed(self)?);
        }
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_read_as_ever() {
        let text = r#"{"a": [1, -2, 2.5, "x\né", null, true, {}, []], "b": {"c": 18446744073709551615}, "a": {"d": 1e3}}"#;
        assert_eq!(json(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
        for wrong in ["", "{", "{} {}", "[1,]", "nul", &"[".repeat(200), "1e999"] {
            let expected = serde_json::from_str::<Value>(wrong).unwrap_err().to_string();
            assert_eq!(json(wrong.as_bytes()).unwrap_err().to_string(), expected, "{wrong}");
        }
    }

    #[test]
    fn what_would_outgrow_its_text_is_refused() {
        let maps = |count: usize| format!("[{}0]", r#"{"a":0},"#.repeat(count));
        let most = 1000 * (MAP + ELEMENT + 1) + ELEMENT;
        assert!(read(maps(1000).as_bytes(), most).is_ok());
        let refused = read(maps(1001).as_bytes(), most).unwrap_err();
        assert!(refused.to_string().starts_with("it has too many values"), "{refused}");
        // The largest body there may be, all of small maps.
        assert!(json(maps((3 << 20) / 8).as_bytes()).is_err());
        // The largest object, of variables.
        let variables = r#"{"name":"e1","value":"v"},"#.repeat(1_500_000 / 26);
        assert!(json(format!("[{variables}0]").as_bytes()).is_ok());
    }
}
