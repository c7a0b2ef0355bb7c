//! A YAML document as a tree in which every node and key knows its place.
//!
//! Types that derive their decoding lose places in flattened and tagged parts,
//! and stop at the first mistake; a tree loses nothing, and its reader
//! can tell all mistakes at once.

use std::{collections::HashMap, fmt};

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{DuplicateKeyPolicy, Location, Spanned};

/// Nesting beyond this is refused, so that reading a tree cannot exhaust the stack. The
/// API server has the same limit.
const DEEPEST: usize = 64;

/// Copying more nodes than this by aliases is refused, so that a short text stays small.
const MOST_COPIED: usize = 100_000;

/// A node and its place in the text that was parsed.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub at: At,
    pub content: Content,
}

/// Line and column, counting from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At {
    pub line: u64,
    pub column: u64,
}

impl From<Location> for At {
    fn from(location: Location) -> Self {
        Self { line: location.line().max(1), column: location.column().max(1) }
    }
}

/// What a node is.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Scalar(Value),
    List(Vec<Node>),
    Map(Vec<MapEntry>),
}

/// One entry of a map.
#[derive(Clone, Debug)]
pub(crate) struct MapEntry {
    pub at: At,
    pub key: String,
    pub value: Node,
}

/// A mistake and its place.
#[derive(Clone, Debug)]
pub(crate) struct Mistake {
    pub at: At,
    pub message: String,
}

/// Parses the one document that `text` is.
pub(crate) fn parse(text: &str) -> Result<Node, Mistake> {
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        legacy_octal_numbers: true,
        with_snippet: false,
        budget: serde_saphyr::budget! { max_depth: DEEPEST },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MOST_COPIED },
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let at = error.location().unwrap_or(Location::UNKNOWN).into();
        Mistake { at, message: sentence(&error.to_string()) }
    })
}

/// The parser's message without the place, which messages have in front.
fn sentence(message: &str) -> String {
    let line = message.lines().next().unwrap_or("");
    let line = line.strip_prefix("error: ").unwrap_or(line);
    let end = [" at line ", " (line "].iter().filter_map(|marker| line.rfind(marker)).min();
    let text = &line[..end.unwrap_or(line.len())];
    if text.contains("breached: Depth") || text.contains("recursion limit") {
        return format!("nested too deeply; there may be {DEEPEST} levels");
    }
    let hint = match text.contains("did not find expected") {
        true => "; look at the indentation",
        false => "",
    };
    format!("not valid YAML: {}{hint}", text.trim_end_matches([',', ':', ' ']))
}

impl Node {
    /// The node without its places; of a key given twice the last one counts.
    pub(crate) fn value(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(items) => Value::Array(items.iter().map(Self::value).collect()),
            Content::Map(entries) => {
                let pairs = entries.iter().map(|entry| (entry.key.clone(), entry.value.value()));
                Value::Object(pairs.collect::<Map<_, _>>())
            }
        }
    }

    /// The entry of a map.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let Content::Map(entries) = &self.content else { return None };
        entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The text that a scalar is.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(value) => value.as_str(),
            _ => None,
        }
    }

    /// Adds every key that stands twice in a map to `found`.
    pub(crate) fn twice(&self, found: &mut Vec<Mistake>) {
        match &self.content {
            Content::Scalar(_) => {}
            Content::List(items) => items.iter().for_each(|item| item.twice(found)),
            Content::Map(entries) => {
                let mut first: HashMap<&str, At> = HashMap::new();
                for entry in entries {
                    if let Some(earlier) = first.get(entry.key.as_str()) {
                        found.push(Mistake {
                            at: entry.at,
                            message: format!(
                                "`{}` is given twice, first in line {}; keep one of them",
                                entry.key, earlier.line
                            ),
                        });
                    } else {
                        first.insert(&entry.key, entry.at);
                    }
                    entry.value.twice(found);
                }
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let node = Spanned::<Content>::deserialize(deserializer)?;
        Ok(Self { at: node.referenced.into(), content: node.value })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, a list or a map")
    }

    fn visit_unit<E: Error>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }

    fn visit_none<E: Error>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Content, E> {
        Ok(Content::Scalar(number(value).into()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Content, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Content::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Content, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = access.next_key::<Spanned<String>>()? {
            let value = access.next_value()?;
            entries.push(MapEntry { at: key.referenced.into(), key: key.value, value });
        }
        Ok(Content::Map(entries))
    }
}

/// Whole numbers stay whole however they were written, as they do for kubectl.
fn number(value: f64) -> Option<Number> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
        return Some(Number::from(value as i64));
    }
    Number::from_f64(value)
}
