//! Keys that YAML 1.1 reads as booleans.
//!
//! kubectl and Helm read YAML 1.1: a query parameter called `n` becomes one called `false`.
//! Values are read here as they are there.

use crate::tree::{At, Content, Mistake, Node};

/// The words, but for `true` and `false`, which are booleans to all.
const TRUE: &[&str] = &["y", "Y", "yes", "Yes", "YES", "on", "On", "ON"];
const FALSE: &[&str] = &["n", "N", "no", "No", "NO", "off", "Off", "OFF"];

/// The most that are reported of one document.
const MOST: usize = 20;

/// Where in `tree`, read from `text`, such keys stand without quotes.
pub(crate) fn find(tree: &Node, text: &str) -> Vec<Mistake> {
    let mut search = Search { lines: text.split('\n').collect(), found: Vec::new() };
    search.node(tree);
    search.found
}

struct Search<'t> {
    lines: Vec<&'t str>,
    found: Vec<Mistake>,
}

impl Search<'_> {
    fn node(&mut self, node: &Node) {
        match &node.content {
            Content::Scalar(_) => {}
            Content::List(items) => items.iter().for_each(|item| self.node(item)),
            Content::Map(entries) => {
                for entry in entries {
                    self.key(entry.at, &entry.key);
                    self.node(&entry.value);
                }
            }
        }
    }

    fn key(&mut self, at: At, word: &str) {
        let meant = match word {
            word if TRUE.contains(&word) => true,
            word if FALSE.contains(&word) => false,
            _ => return,
        };
        if self.found.len() < MOST && self.is_plain(at, word) {
            let message = format!(
                "the key `{word}` is read as `{meant}` by kubectl; put it in quotes: \"{word}\""
            );
            self.found.push(Mistake { at, message });
        }
    }

    /// Whether the word stands there itself, without quotes.
    fn is_plain(&self, at: At, word: &str) -> bool {
        let index = |number: u64| usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
        let Some(line) = self.lines.get(index(at.line)) else { return false };
        let Some((start, _)) = line.char_indices().nth(index(at.column)) else { return false };
        let rest = line[start..].strip_prefix(word);
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
    }
}

#[cfg(test)]
mod tests {
    use crate::read;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let documents = read("f", text);
        let remarks: Vec<String> =
            documents.iter().flat_map(|one| &one.remarks).map(ToString::to_string).collect();
        assert_eq!(remarks.len(), expected.len(), "{remarks:?}");
        for (remark, expected) in remarks.iter().zip(expected) {
            assert!(remark.starts_with(expected), "{remark}");
        }
    }

    #[test]
    fn keys_that_are_booleans_to_kubectl_are_reported() {
        check(
            "a: 1\n---\nq: {n: {exact: a}, \"y\": 1}\non: [on, 'off', no]\n",
            &[
                "f:3:5: warning: the key `n` is read as `false` by kubectl",
                "f:4:1: warning: the key `on` is read as `true` by kubectl",
            ],
        );
    }

    #[test]
    fn other_words_are_the_same_to_all() {
        check("none: {yess: 1, true: 1, \"no\": 1, 'yes': 1}\nt: |\n  yes: 1\n", &[]);
    }
}
