//! The server's tables as text, laid out as kubectl does.

use serde_json::Value;

use super::text;

/// How a table is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableOptions {
    /// With the columns of lower priority.
    pub wide: bool,
    /// With the namespace of each object.
    pub namespaces: bool,
    /// With the labels of each object.
    pub labels: bool,
    /// Put before each name, when several kinds are shown.
    pub prefix: Option<String>,
}

/// Between columns.
const GAP: usize = 3;

/// The rows of several answers under one head; empty when there are none.
pub(super) fn render(answers: &[Value], options: &TableOptions) -> String {
    let Some(first) = answers.first() else { return String::new() };
    let columns: Vec<(usize, &Value)> = first["columnDefinitions"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
        .filter(|(_, column)| options.wide || column["priority"].as_i64().unwrap_or(0) == 0)
        .collect();
    let mut lines = vec![head(&columns, options)];
    for row in answers.iter().filter_map(|answer| answer["rows"].as_array()).flatten() {
        lines.push(line(row, &columns, options));
    }
    match lines.len() {
        1 => String::new(),
        _ => lay_out(&lines),
    }
}

fn head(columns: &[(usize, &Value)], options: &TableOptions) -> Vec<String> {
    let mut cells: Vec<String> =
        columns.iter().map(|(_, column)| text(column, "/name").to_uppercase()).collect();
    if options.namespaces {
        cells.insert(0, "NAMESPACE".to_owned());
    }
    if options.labels {
        cells.push("LABELS".to_owned());
    }
    cells
}

fn line(row: &Value, columns: &[(usize, &Value)], options: &TableOptions) -> Vec<String> {
    let mut cells: Vec<String> = columns
        .iter()
        .map(|(index, column)| {
            let cell = cell(&row["cells"][*index]);
            match &options.prefix {
                Some(prefix) if text(column, "/format") == "name" => format!("{prefix}/{cell}"),
                _ => cell,
            }
        })
        .collect();
    if options.namespaces {
        cells.insert(0, text(row, "/object/metadata/namespace").to_owned());
    }
    if options.labels {
        cells.push(labels(&row["object"]["metadata"]["labels"]));
    }
    cells
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "<none>".to_owned(),
        Value::String(text) => text.replace('\n', "\\n"),
        other => other.to_string(),
    }
}

/// Labels as `a=b,c=d`.
pub(super) fn labels(labels: &Value) -> String {
    let pairs: Vec<String> = labels
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") }
}

/// Cells in columns; the last one of a line is not padded.
fn lay_out(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        for (column, cell) in line.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < line.len() {
                let pad = widths[column] - cell.chars().count() + GAP;
                text.extend(std::iter::repeat_n(' ', pad));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer() -> Value {
        json!({
            "columnDefinitions": [
                {"name": "Name", "format": "name", "priority": 0},
                {"name": "Ready", "priority": 0},
                {"name": "IP", "priority": 1},
            ],
            "rows": [
                {
                    "cells": ["hello-1", "2/2", "10.0.0.1"],
                    "object": {"metadata": {"namespace": "a", "labels": {"app": "hello"}}},
                },
                {"cells": ["x", 3, null], "object": {"metadata": {"namespace": "default"}}},
            ],
        })
    }

    #[track_caller]
    fn check(options: TableOptions, expected: &[&str]) {
        let text = render(&[answer()], &options);
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        check(TableOptions::default(), &["NAME      READY", "hello-1   2/2", "x         3"]);
    }

    #[test]
    fn wide_namespaces_labels_and_kinds_are_columns_and_prefixes() {
        let wide = TableOptions { wide: true, ..TableOptions::default() };
        check(
            wide,
            &["NAME      READY   IP", "hello-1   2/2     10.0.0.1", "x         3       <none>"],
        );
        let all = TableOptions {
            namespaces: true,
            labels: true,
            prefix: Some("pod".to_owned()),
            ..TableOptions::default()
        };
        check(
            all,
            &[
                "NAMESPACE   NAME          READY   LABELS",
                "a           pod/hello-1   2/2     app=hello",
                "default     pod/x         3       <none>",
            ],
        );
    }

    #[test]
    fn no_rows_are_no_table() {
        assert_eq!(
            render(&[json!({"columnDefinitions": [], "rows": []})], &TableOptions::default()),
            ""
        );
    }
}
