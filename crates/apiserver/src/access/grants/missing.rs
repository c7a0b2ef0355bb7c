//! The permissions that a caller lacks, as a refusal names them.

use std::collections::{BTreeMap, BTreeSet};

/// Missing permissions that a refusal names.
pub(super) const MOST_NAMED: usize = 32;

/// Texts as Kubernetes prints lists: `["a" "b"]`.
pub(super) fn quoted(texts: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let texts: Vec<String> = texts.into_iter().map(|text| format!("{:?}", text.as_ref())).collect();
    format!("[{}]", texts.join(" "))
}

/// Permissions that the caller lacks, with the verbs in the order of the rule.
#[derive(Default)]
pub(super) struct Missing(BTreeMap<What, Vec<String>>);

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Path(String),
    Resource { group: String, resource: String, name: String },
}

impl Missing {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there are as many as a refusal names.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= MOST_NAMED
    }

    /// A line for each.
    pub(super) fn lines(&self) -> BTreeSet<String> {
        self.0.iter().flat_map(|(what, verbs)| what.lines(verbs)).collect()
    }

    /// Adds every combination of these lists, until there are enough to name.
    pub(super) fn add(&mut self, lists: &[&[&str]]) {
        let (whats, verbs): (Vec<What>, &[&str]) = match lists {
            [paths, verbs] => (
                paths.iter().take(MOST_NAMED).map(|path| What::Path((*path).to_owned())).collect(),
                verbs,
            ),
            [groups, resources, names, verbs] => {
                let all = groups.iter().flat_map(|group| {
                    resources.iter().flat_map(move |resource| {
                        names.iter().map(move |name| What::Resource {
                            group: (*group).to_owned(),
                            resource: (*resource).to_owned(),
                            name: (*name).to_owned(),
                        })
                    })
                });
                (all.take(MOST_NAMED).collect(), verbs)
            }
            _ => return,
        };
        for what in whats {
            if self.is_full() && !self.0.contains_key(&what) {
                return;
            }
            let known = self.0.entry(what).or_default();
            for verb in verbs.iter().take(MOST_NAMED) {
                if !known.iter().any(|one| one == verb) {
                    known.push((*verb).to_owned());
                }
            }
        }
    }
}

impl What {
    /// As Kubernetes writes it: verbs together for resources, one by one for paths.
    fn lines(&self, verbs: &[String]) -> Vec<String> {
        match self {
            Self::Path(path) => {
                let path = quoted([path]);
                let line = |verb| format!("{{NonResourceURLs:{path}, Verbs:{}}}", quoted([verb]));
                verbs.iter().map(line).collect()
            }
            Self::Resource { group, resource, name } => {
                let names = match name.as_str() {
                    "" => String::new(),
                    name => format!(", ResourceNames:{}", quoted([name])),
                };
                let (group, resource, verbs) = (quoted([group]), quoted([resource]), quoted(verbs));
                vec![format!("{{APIGroups:{group}, Resources:{resource}{names}, Verbs:{verbs}}}")]
            }
        }
    }
}
