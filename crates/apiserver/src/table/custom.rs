//! Custom resources as rows, by their definition's `additionalPrinterColumns`.

use serde_json::Value;

use super::{Cells, Column, age, aged, name};

/// Columns and cells by a definition; name and age where it says nothing.
pub fn layout(columns: &[Value]) -> (Vec<Column>, Cells<'_>) {
    let mut layout = vec![Column::new("Name", "string", 0)];
    if columns.is_empty() {
        layout.push(Column::new("Age", "string", 0));
        return (layout, Box::new(|object, now| vec![name(object), aged(object, now)]));
    }
    let text = |column: &Value, field: &str| column[field].as_str().unwrap_or_default().to_owned();
    layout.extend(columns.iter().map(|column| {
        // A date is shown as an age, which is a text.
        let kind = text(column, "type");
        let kind = if kind == "date" { "string" } else { kind.as_str() };
        Column::new(&text(column, "name"), kind, column["priority"].as_i64().unwrap_or(0))
    }));
    let cells = move |object: &Value, now: jiff::Timestamp| {
        let mut cells = vec![name(object)];
        cells.extend(columns.iter().map(|column| {
            let found = find(object, column["jsonPath"].as_str().unwrap_or_default());
            shown(&found, column["type"].as_str().unwrap_or_default(), now)
        }));
        cells
    };
    (layout, Box::new(cells))
}

fn shown(found: &[&Value], kind: &str, now: jiff::Timestamp) -> Value {
    let Some(first) = found.first() else { return Value::Null };
    match (kind, first) {
        ("date", Value::String(text)) => age(Some(text), now).into(),
        ("integer" | "number" | "boolean", value) => Value::clone(value),
        (_, Value::String(text)) if found.len() == 1 => text.as_str().into(),
        _ => {
            let texts: Vec<String> = found
                .iter()
                .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
                .collect();
            texts.join(",").into()
        }
    }
}

/// The values at a path such as `.status.conditions[?(@.type=="Ready")].status`.
fn find<'v>(object: &'v Value, path: &str) -> Vec<&'v Value> {
    let mut found = vec![object];
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let Some((index, after)) = inside.split_once(']') else { return Vec::new() };
            found = found.into_iter().flat_map(|value| select(value, index)).collect();
            rest = after;
        } else {
            let plain = rest.strip_prefix('.').unwrap_or(rest);
            let end = field_end(plain);
            let field = plain[..end].replace("\\.", ".");
            if !field.is_empty() {
                found = found.into_iter().filter_map(|value| value.get(&field)).collect();
            }
            rest = &plain[end..];
        }
    }
    found.retain(|value| !value.is_null());
    found
}

/// Where a field's name ends: at a dot or bracket that is not escaped.
fn field_end(text: &str) -> usize {
    let mut is_escaped = false;
    for (index, letter) in text.char_indices() {
        if !is_escaped && (letter == '.' || letter == '[') {
            return index;
        }
        is_escaped = letter == '\\';
    }
    text.len()
}

fn select<'v>(value: &'v Value, index: &str) -> Vec<&'v Value> {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    if index == "*" {
        return items.iter().collect();
    }
    if let Ok(number) = index.parse::<usize>() {
        return items.get(number).into_iter().collect();
    }
    if let Some(filter) = index.strip_prefix("?(@.").and_then(|text| text.strip_suffix(')')) {
        let Some((field, wanted)) = filter.split_once("==") else { return Vec::new() };
        let wanted = wanted.trim().trim_matches(['"', '\'']);
        let fits = |item: &&Value| match &item[field.trim()] {
            Value::String(text) => text == wanted,
            other => serde_json::from_str::<Value>(wanted).is_ok_and(|wanted| *other == wanted),
        };
        return items.iter().filter(fits).collect();
    }
    value.get(index.trim_matches(['"', '\''])).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(path: &str, expected: Value) {
        let object = json!({
            "metadata": {"annotations": {"a.b/c": "x"}},
            "spec": {"hosts": ["a", "b"], "n": 3},
            "status": {"conditions": [{"type": "Other", "status": "no"}, {"type": "Ready", "status": "yes"}]},
        });
        let now = jiff::Timestamp::UNIX_EPOCH;
        assert_eq!(shown(&find(&object, path), "string", now), expected, "{path}");
    }

    #[test]
    fn paths_of_printer_columns_find_what_they_name() {
        check(".spec.n", json!("3"));
        check(".spec.hosts", json!("[\"a\",\"b\"]"));
        check(".spec.hosts[1]", json!("b"));
        check(".spec.hosts[*]", json!("a,b"));
        check(".status.conditions[?(@.type==\"Ready\")].status", json!("yes"));
        check(".metadata.annotations.a\\.b/c", json!("x"));
        check(".spec.nothing", Value::Null);
    }
}
