//! One object against the table of fields.

use serde_json::{Map, Value};

use super::{
    findings::{Findings, Path},
    near::nearest,
};
use crate::{
    Severity, camel_case,
    field::clipped,
    metadata::EXPORT_TO,
    schema::{Field, Holds, StandIn},
    span,
};

/// Longest text that is repeated in a message.
const SHOWN: usize = 40;

/// The field that names what closed an object as a whole. No kind has a field of that name
/// that users write.
const CLOSED: &str = "closed";

/// Whether names may be written in snake_case, as the mesh's older manifests do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// Only camelCase.
    Strict,
    /// Both, of which camelCase is made.
    Both,
}

/// What becomes of values that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// They are taken out.
    Removed,
    /// They stay.
    Kept,
}

/// Walks over one object, and changes it in place.
pub(super) struct Walk<'a> {
    pub findings: &'a mut Findings,
    pub spelling: Spelling,
    pub unusable: Unusable,
}

impl Walk<'_> {
    /// Puts the names in `value` right, and returns whether it can be used; what cannot be
    /// used in it is removed or kept.
    pub(super) fn value(&mut self, holds: &Holds, value: &mut Value, path: &Path<'_>) -> bool {
        match (holds, &mut *value) {
            (Holds::Object(fields), Value::Object(entries)) => self.object(fields, entries, path),
            (Holds::Closing(fields, kept), Value::Object(entries)) => {
                let before = self.findings.breaks();
                self.object(fields, entries, path);
                if self.unusable == Unusable::Removed && self.findings.breaks() != before {
                    entries.retain(|name, _| kept.contains(&name.as_str()));
                    self.findings.closed(path, kept);
                }
                true
            }
            (Holds::Partly(fields), Value::Object(entries)) => {
                for field in *fields {
                    let Some(value) = entries.get_mut(field.name) else { continue };
                    let usable = !value.is_null()
                        && self.value(&field.holds, value, &Path::Entry(path, field.name));
                    if !usable && self.unusable == Unusable::Removed {
                        entries.remove(field.name);
                    }
                }
                true
            }
            (Holds::Map(each), Value::Object(entries)) => {
                let removed = self.unusable == Unusable::Removed;
                entries.retain(|key, value| match value.is_null() {
                    true if removed => {
                        *value = empty(each);
                        true
                    }
                    true => true,
                    false => self.value(each, value, &Path::Entry(path, key)) || !removed,
                });
                true
            }
            (Holds::List(each), Value::Array(items)) => {
                for (index, value) in items.iter_mut().enumerate() {
                    let usable = self.value(each, value, &Path::Item(path, index));
                    if !usable && self.unusable == Unusable::Removed {
                        *value = empty(each);
                    }
                }
                true
            }
            _ => self.scalar(holds, value, path),
        }
    }

    /// Brings the names of an object's fields into camelCase.
    fn rename(&mut self, fields: &[Field], entries: &mut Map<String, Value>, path: &Path<'_>) {
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
                if !self.findings.is_full(Severity::Error) {
                    let message = format!("the same field as `{new}`; keep one of the two");
                    self.findings.error(Path::Entry(path, &name).text(), message);
                }
            } else if let Some(value) = entries.remove(&name) {
                entries.insert(new, value);
            }
        }
    }

    fn object(
        &mut self,
        fields: &[Field],
        entries: &mut Map<String, Value>,
        path: &Path<'_>,
    ) -> bool {
        self.rename(fields, entries, path);
        let kept = self.unusable == Unusable::Kept;
        let mut closed = Vec::new();
        entries.retain(|name, value| {
            let Some(field) = fields.iter().find(|field| field.name == name) else {
                self.unknown(fields, name, path);
                return kept;
            };
            if value.is_null() {
                return kept;
            }
            let here = Path::Entry(path, name);
            if let Some(instead) = field.instead {
                self.findings.warning_at(&here, || format!("not honoured yet: {}", instead.text()));
            }
            match field.stand_in {
                Some(stand_in) if !kept => {
                    self.guarded(field, stand_in, (value, &here), &mut closed)
                }
                _ => self.value(&field.holds, value, &here) || kept,
            }
        });
        if !closed.is_empty() {
            entries.insert(CLOSED.to_owned(), closed.into());
        }
        true
    }

    /// Puts the stand-in of `field` in its place when the value there cannot be used, and
    /// returns whether there is a value left.
    fn guarded(
        &mut self,
        field: &Field,
        stand_in: StandIn,
        (value, here): (&mut Value, &Path<'_>),
        closed: &mut Vec<&'static str>,
    ) -> bool {
        let (before, hidden) = (self.findings.breaks(), is_unreadable(value, EXPORT_TO));
        let usable = self.value(&field.holds, value, here);
        let broken = self.findings.breaks() != before;
        if usable && !(broken && stand_in.is_for_parts()) {
            if hidden && stand_in == StandIn::Annotations {
                value[EXPORT_TO] = stand_in.value().unwrap_or_default()[EXPORT_TO].take();
            }
            return true;
        }
        if stand_in.closes_object() {
            closed.push(field.name);
        }
        match stand_in.value() {
            Some(found) => *value = found,
            None => return false,
        }
        true
    }

    fn unknown(&mut self, fields: &[Field], name: &str, path: &Path<'_>) {
        if self.findings.is_full(Severity::Warning) {
            // Still counted, but no word of the object is compared with any other.
            self.findings.warning_at(path, String::new);
            return;
        }
        if self.spelling == Spelling::Both && name.contains('_') {
            let camel = camel_case(name);
            if fields.iter().any(|field| field.name == camel) {
                return; // Reported already: the field stands there twice.
            }
        }
        let guess = match nearest(name, fields.iter().map(|field| field.name)) {
            Some(near) => format!(", did you mean `{near}`?"),
            None => "; it has no effect".to_owned(),
        };
        let shown = clipped(name, SHOWN);
        self.findings
            .warning_at(&Path::Entry(path, name), || format!("unknown field `{shown}`{guess}"));
    }

    fn scalar(&mut self, holds: &Holds, value: &mut Value, path: &Path<'_>) -> bool {
        match (holds, &*value) {
            (Holds::Anything, _)
            | (Holds::Text, Value::String(_))
            | (Holds::Number | Holds::Quantity, Value::Number(_))
            | (Holds::Quantity | Holds::WholeOrText(..), Value::String(_))
            | (Holds::Flag, Value::Bool(_)) => true,
            (
                Holds::Whole(least, most) | Holds::WholeOrText(least, most),
                Value::Number(number),
            ) if number.as_i64().is_some_and(|number| (*least..=*most).contains(&number)) => true,
            (Holds::Span | Holds::ShortSpan, Value::String(text)) => self.span(holds, text, path),
            (Holds::Word(words), Value::String(text)) if words.contains(&text.as_str()) => true,
            (holds, value) => {
                self.findings.broken(path, || unfit(holds, value));
                false
            }
        }
    }

    fn span(&mut self, holds: &Holds, text: &str, path: &Path<'_>) -> bool {
        match span::parse(text) {
            Ok(span) => {
                if matches!(holds, Holds::Span)
                    && span.as_nanos() < 1_000_000
                    && !self.findings.is_full(Severity::Error)
                {
                    let message = format!("`{text}` is too short; the least is `1ms`");
                    self.findings.error(path.text(), message);
                }
                true
            }
            Err(error) => {
                self.findings.broken(path, || error.to_string());
                false
            }
        }
    }
}

/// Whether the entry `name` of a map holds what is not a text.
fn is_unreadable(value: &Value, name: &str) -> bool {
    value.get(name).is_some_and(|value| !value.is_string() && !value.is_null())
}

/// What is wrong with `value` where `holds` belongs.
fn unfit(holds: &Holds, value: &Value) -> String {
    let wanted = match (holds, value) {
        (Holds::Whole(least, most) | Holds::WholeOrText(least, most), Value::Number(number)) => {
            match number.as_i64() {
                Some(number) => return format!("{number} is not between {least} and {most}"),
                None => "a whole number belongs".to_owned(),
            }
        }
        (Holds::Word(words), Value::String(text)) => {
            let guess = nearest(text, words.iter().copied())
                .map_or_else(String::new, |near| format!(", did you mean `{near}`?"));
            return format!("`{}` is not one of {}{guess}", clipped(text, SHOWN), words.join(", "));
        }
        (Holds::Text | Holds::Word(_), Value::Number(_) | Value::Bool(_)) => {
            format!("a text belongs; put it in quotes: \"{value}\"")
        }
        (Holds::Whole(..) | Holds::Number, Value::String(text))
            if text.len() <= SHOWN && text.parse::<f64>().is_ok() =>
        {
            format!("a number belongs; leave the quotes away: {text}")
        }
        (holds, _) => format!("{} belongs", describe(holds)),
    };
    format!("{} stands where {wanted}", show(value))
}

/// What stands for a broken item, so that the ones after it keep their place.
fn empty(holds: &Holds) -> Value {
    match holds {
        Holds::Text | Holds::Word(_) | Holds::Quantity => "".into(),
        Holds::List(_) => Value::Array(Vec::new()),
        Holds::Map(_) | Holds::Object(_) | Holds::Closing(..) | Holds::Partly(_) => {
            Value::Object(Map::new())
        }
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
        Holds::Map(_) | Holds::Object(_) | Holds::Closing(..) | Holds::Partly(_) => {
            "a map (lines of `name: value`)"
        }
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
