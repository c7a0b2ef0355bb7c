//! One text → its documents.
//!
//! The text is split at `---` lines before anything is parsed, so that a broken
//! document cannot swallow the ones after it.

use std::{panic::resume_unwind, sync::Arc, thread};

use serde_json::Value;

use crate::{
    Location, Problem, Remark, foreign, old_words,
    tree::{self, At, Content, Mistake, Node},
};

/// One object of a text, or one document that could not be read.
///
/// Invariant: `value` is there exactly when `problems` is empty.
#[derive(Clone, Debug)]
pub struct Document {
    /// The object.
    pub value: Option<Value>,
    /// The file, or `-` for standard input.
    pub source: Arc<str>,
    /// Where the object begins, counting lines from 1.
    pub first_line: u64,
    /// Why the document could not be read.
    pub problems: Vec<Problem>,
    /// What in it other programs read otherwise.
    pub remarks: Vec<Remark>,
    tree: Option<Node>,
    lines_above: u64,
}

impl Document {
    /// Where the object begins.
    pub fn place(&self) -> Location {
        let problem = self.problems.first().map(|problem| problem.place.clone());
        problem.or_else(|| self.locate("")).unwrap_or_else(|| Location {
            source: Arc::clone(&self.source),
            line: self.first_line,
            column: 1,
        })
    }

    /// Where the field is, or the nearest field around it that is there.
    ///
    /// `field` is a path as diagnostics have it, such as `spec.http[0].match[1].uri`; a
    /// field in snake_case is found by its name in camelCase.
    pub fn locate(&self, field: &str) -> Option<Location> {
        let at = find(self.tree.as_ref()?, field);
        Some(place(&self.source, self.lines_above, at))
    }

    /// Notes what other programs read otherwise; `text` is the document's.
    fn remark(&mut self, text: &str) {
        let Some(tree) = &self.tree else { return };
        let found = old_words::find(tree, text).into_iter();
        let remarks = found.map(|Mistake { at, message }| Remark {
            place: place(&self.source, self.lines_above, at),
            message,
        });
        self.remarks = remarks.collect();
    }
}

/// Stack for reading. The parser calls itself for each level, and takes 40 KB for one when
/// it is not optimised; a caller's stack may be too small for the deepest document.
const STACK: usize = 16 << 20;

/// Reads `text`; `source` is what it is called in places.
///
/// Empty documents are left out, and the items of a `List` stand for themselves.
pub fn read(source: &str, text: &str) -> Vec<Document> {
    let source: Arc<str> = source.into();
    thread::scope(|scope| {
        let reader = thread::Builder::new().name("read".to_owned()).stack_size(STACK);
        match reader.spawn_scoped(scope, || documents(&source, text)) {
            Ok(reader) => reader.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(error) => {
                let message = format!("cannot be read: there is no thread for it: {error}");
                let at = At { line: 1, column: 1 };
                vec![broken(&source, 0, vec![Mistake { at, message }])]
            }
        }
    })
}

fn documents(source: &Arc<str>, text: &str) -> Vec<Document> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = Vec::new();
    for (lines_above, text) in split(text) {
        match tree::parse(text) {
            Ok(tree) => {
                let mut mistakes = Vec::new();
                tree.twice(&mut mistakes);
                match mistakes.is_empty() {
                    true => {
                        let first = documents.len();
                        objects(source, lines_above, tree, &mut documents);
                        documents[first..].iter_mut().for_each(|one| one.remark(text));
                    }
                    false => documents.push(broken(source, lines_above, mistakes)),
                }
            }
            Err(mut mistake) => {
                mistake.message += foreign::hint(text);
                documents.push(broken(source, lines_above, vec![mistake]));
            }
        }
    }
    documents
}

/// The documents of `text` that say something, each with the number of lines above it.
fn split(text: &str) -> Vec<(u64, &str)> {
    let mut starts = vec![(0, 0)];
    let mut offset = 0;
    for (number, line) in (0..).zip(text.split_inclusive('\n')) {
        let rest = line.strip_prefix("---");
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace)) {
            starts.push((number, offset));
        }
        offset += line.len();
    }
    let ends = starts.iter().skip(1).map(|start| start.1).chain([text.len()]);
    let chunks = starts.iter().zip(ends).map(|(&(line, start), end)| (line, &text[start..end]));
    chunks.filter(|(_, chunk)| says_something(chunk)).collect()
}

/// Whether there is more than comments, directives and markers.
fn says_something(document: &str) -> bool {
    document.lines().any(|line| {
        let line = line.strip_prefix("---").unwrap_or(line).trim();
        !(line.is_empty() || line.starts_with('#') || line.starts_with('%') || line == "...")
    })
}

/// The objects that a document is: itself, or the items of a list.
fn objects(source: &Arc<str>, lines_above: u64, tree: Node, documents: &mut Vec<Document>) {
    let list = tree.get("kind").and_then(Node::text).is_some_and(|kind| kind.ends_with("List"));
    if list && let Some(Node { content: Content::List(items), .. }) = tree.get("items") {
        for item in items {
            objects(source, lines_above, item.clone(), documents);
        }
        return;
    }
    match &tree.content {
        Content::Scalar(Value::Null) => {}
        Content::Map(_) => documents.push(Document {
            value: Some(tree.value()),
            source: Arc::clone(source),
            first_line: lines_above + tree.at.line,
            problems: Vec::new(),
            remarks: Vec::new(),
            tree: Some(tree),
            lines_above,
        }),
        _ => {
            let message = "not an object; an object begins with `apiVersion:` and `kind:`";
            let mistake = Mistake { at: tree.at, message: message.to_owned() };
            documents.push(broken(source, lines_above, vec![mistake]));
        }
    }
}

fn broken(source: &Arc<str>, lines_above: u64, mistakes: Vec<Mistake>) -> Document {
    let problems: Vec<_> = mistakes
        .into_iter()
        .map(|Mistake { at, message }| Problem { place: place(source, lines_above, at), message })
        .collect();
    Document {
        value: None,
        source: Arc::clone(source),
        first_line: problems.first().map_or(lines_above + 1, |problem| problem.place.line),
        problems,
        remarks: Vec::new(),
        tree: None,
        lines_above,
    }
}

fn place(source: &Arc<str>, lines_above: u64, at: At) -> Location {
    Location { source: Arc::clone(source), line: lines_above + at.line, column: at.column }
}

/// The place of the longest part of `field` that is there; an entry's place is its key's.
fn find(tree: &Node, field: &str) -> At {
    let (mut node, mut at, mut rest) = (tree, tree.at, field);
    while !rest.is_empty() {
        let step = match &node.content {
            Content::Scalar(_) => None,
            Content::List(items) => item(rest).and_then(|(index, rest)| {
                let item = items.get(index)?;
                Some((item, item.at, rest))
            }),
            Content::Map(entries) => entries
                .iter()
                .filter_map(|entry| Some((&entry.value, entry.at, after(rest, &entry.key)?)))
                .min_by_key(|(_, _, rest)| rest.len()),
        };
        let Some(step) = step else { break };
        (node, at, rest) = step;
    }
    at
}

/// `[1].uri` → 1 and `.uri`.
fn item(path: &str) -> Option<(usize, &str)> {
    let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
    Some((index.parse().ok()?, rest))
}

/// What follows `key` in `path`, if it begins with it.
fn after<'a>(path: &'a str, key: &str) -> Option<&'a str> {
    let path = path.strip_prefix('.').unwrap_or(path);
    let quoted = format!("[\"{key}\"]");
    let rest = path
        .strip_prefix(key)
        .or_else(|| path.strip_prefix(quoted.as_str()))
        .or_else(|| path.strip_prefix(weft_api::camel_case(key).as_str()))?;
    (rest.is_empty() || rest.starts_with(['.', '['])).then_some(rest)
}

#[cfg(test)]
mod tests;
