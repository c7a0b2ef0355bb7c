//! One object against the table of fields.

use serde_json::{Map, Value};

use super::{Findings, near::nearest};
use crate::{
    camel_case,
    field::{child, item},
    schema::{Field, Holds},
    span,
};

/// Longest text that is repeated in a message.
const SHOWN: usize = 40;

/// Whether names may be written in snake_case, as the mesh's older manifests do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// Only camelCase.
    Strict,
    /// Both, of which camelCase is made.
    Both,
}

/// Walks over one object.
pub(super) struct Walk<'a> {
    pub findings: &'a mut Findings,
    pub spelling: Spelling,
}

impl Walk<'_> {
    /// Puts the names in `value` right, and returns what of it can be used.
    pub(super) fn value(&mut self, holds: &Holds, value: &mut Value, path: &str) -> Option<Value> {
        match (holds, &mut *value) {
            (Holds::Object(fields), Value::Object(entries)) => {
                self.rename(fields, entries, path);
                Some(Value::Object(self.object(fields, entries, path)))
            }
            (Holds::Map(each), Value::Object(entries)) => {
                let usable = entries.iter_mut().filter_map(|(key, value)| {
                    let usable = match value.is_null() {
                        true => empty(each),
                        false => self.value(each, value, &child(path, key))?,
                    };
                    Some((key.clone(), usable))
                });
                Some(Value::Object(usable.collect()))
            }
            (Holds::List(each), Value::Array(items)) => {
                let usable = items.iter_mut().enumerate().map(|(index, value)| {
                    self.value(each, value, &item(path, index)).unwrap_or_else(|| empty(each))
                });
                Some(Value::Array(usable.collect()))
            }
            _ => self.scalar(holds, value, path),
        }
    }

    /// Brings the names of an object's fields into camelCase.
    fn rename(&mut self, fields: &[Field], entries: &mut Map<String, Value>, path: &str) {
        if self.spelling == Spelling::Strict {
            return;
        }
        let old: Vec<_> = entries.keys().filter(|name| name.contains('_')).cloned().collect();
        for name in old {
            let new = camel_case(&name);
            if !fields.iter().any(|field| field.name == new) {
                continue;
            }
            if entries.contains_key(&new) {
                let message = format!("the same field as `{new}`; keep one of the two");
                self.findings.error(child(path, &name), message);
            } else if let Some(value) = entries.remove(&name) {
                entries.insert(new, value);
            }
        }
    }

    fn object(
        &mut self,
        fields: &[Field],
        entries: &mut Map<String, Value>,
        path: &str,
    ) -> Map<String, Value> {
        let mut usable = Map::new();
        for (name, value) in entries.iter_mut() {
            let here = child(path, name);
            let Some(field) = fields.iter().find(|field| field.name == name) else {
                self.unknown(fields, name, path);
                continue;
            };
            if value.is_null() {
                continue;
            }
            if let Some(instead) = field.instead {
                self.findings.not_honoured(&here, instead);
            }
            if let Some(value) = self.value(&field.holds, value, &here) {
                usable.insert(name.clone(), value);
            }
        }
        usable
    }

    fn unknown(&mut self, fields: &[Field], name: &str, path: &str) {
        if self.spelling == Spelling::Both
            && fields.iter().any(|field| field.name == camel_case(name))
        {
            return; // Told already: the field stands there twice.
        }
        let guess = match nearest(name, fields.iter().map(|field| field.name)) {
            Some(near) => format!(", did you mean `{near}`?"),
            None => "; it has no effect".to_owned(),
        };
        self.findings.warning(child(path, name), format!("unknown field `{name}`{guess}"));
    }

    fn scalar(&mut self, holds: &Holds, value: &Value, path: &str) -> Option<Value> {
        let wanted = match (holds, value) {
            (Holds::Anything, _)
            | (Holds::Text, Value::String(_))
            | (Holds::Number | Holds::Quantity, Value::Number(_))
            | (Holds::Quantity, Value::String(_))
            | (Holds::Flag, Value::Bool(_)) => return Some(value.clone()),
            (
                Holds::Whole(least, most) | Holds::WholeOrText(least, most),
                Value::Number(number),
            ) => match number.as_i64() {
                Some(number) if (*least..=*most).contains(&number) => return Some(value.clone()),
                Some(number) => {
                    let message = format!("{number} is not between {least} and {most}");
                    return self.broken(path, message);
                }
                None => "a whole number belongs".to_owned(),
            },
            (Holds::WholeOrText(..), Value::String(_)) => return Some(value.clone()),
            (Holds::Span | Holds::ShortSpan, Value::String(text)) => {
                return self.span(holds, text, path);
            }
            (Holds::Word(words), Value::String(text)) => {
                if words.contains(&text.as_str()) {
                    return Some(value.clone());
                }
                let guess = nearest(text, words.iter().copied())
                    .map_or_else(String::new, |near| format!(", did you mean `{near}`?"));
                let message = format!("`{text}` is none of {}{guess}", words.join(", "));
                return self.broken(path, message);
            }
            (Holds::Text | Holds::Word(_), Value::Number(_) | Value::Bool(_)) => {
                format!("a text belongs; put it in quotes: \"{value}\"")
            }
            (Holds::Whole(..) | Holds::Number, Value::String(text))
                if text.parse::<f64>().is_ok() =>
            {
                format!("a number belongs; leave the quotes away: {text}")
            }
            (holds, _) => format!("{} belongs", describe(holds)),
        };
        self.broken(path, format!("{} stands where {wanted}", show(value)))
    }

    fn span(&mut self, holds: &Holds, text: &str, path: &str) -> Option<Value> {
        match span::parse(text) {
            Ok(span) => {
                if matches!(holds, Holds::Span) && span.as_nanos() < 1_000_000 {
                    let message = format!("`{text}` is too short; the least is `1ms`");
                    self.findings.error(path, message);
                }
                Some(text.into())
            }
            Err(error) => self.broken(path, error.to_string()),
        }
    }

    fn broken(&mut self, path: &str, message: String) -> Option<Value> {
        self.findings.error(path, message);
        self.findings.broken.push(path.to_owned());
        None
    }
}

/// What stands for a broken item, so that the ones after it keep their place.
fn empty(holds: &Holds) -> Value {
    match holds {
        Holds::Text | Holds::Word(_) | Holds::Quantity => "".into(),
        Holds::List(_) => Value::Array(Vec::new()),
        Holds::Map(_) | Holds::Object(_) => Value::Object(Map::new()),
        _ => Value::Null,
    }
}

fn describe(holds: &Holds) -> &'static str {
    match holds {
        Holds::Text | Holds::Word(_) => "a text",
        Holds::Whole(..) => "a whole number",
        Holds::Number => "a number",
        Holds::Flag => "`true` or `false`",
        Holds::Span | Holds::ShortSpan => "a time span such as `1.5s`",
        Holds::WholeOrText(..) => "a whole number or a text",
        Holds::Quantity => "an amount such as `100m`",
        Holds::List(_) => "a list (lines that begin with `- `)",
        Holds::Map(_) | Holds::Object(_) => "a map (lines of `name: value`)",
        Holds::Anything => "anything",
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(_) | Value::Number(_) => format!("`{value}`"),
        Value::String(text) if text.chars().count() <= SHOWN => format!("the text `{text}`"),
        Value::String(_) => "a text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
    }
}
