//! Nobody gives away by a role or a binding what they may not do themselves.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::{Value, json};
use weft_controllers::object::{self, items};

use super::{
    Attempt, User,
    rules::{self, GROUP},
};
use crate::{status::Status, store::Store};

/// Combinations of classes that are looked at for one rule. Real roles need a few.
const MOST_STEPS: usize = 1 << 16;
/// Missing permissions that a refusal names.
const MOST_NAMED: usize = 32;

/// Refuses a write of a role or a binding that grants more than its author may do; `old`
/// is the object that it replaces.
///
/// The verbs `escalate` and `bind` allow it, as on a cluster; without `bind`, a role that
/// does not exist cannot be bound, since it may become anything.
pub fn check(
    store: &Store,
    user: &User,
    object: &Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    let kind = object::kind(object);
    let is_binding = matches!(kind, "RoleBinding" | "ClusterRoleBinding");
    // A custom kind may have one of these names.
    let group = object["apiVersion"].as_str().and_then(|text| text.split_once('/'));
    let is_other = group.is_some_and(|(group, _)| group != GROUP);
    if user.is_master() || is_other || old.is_some_and(|old| grants_the_same(old, object)) {
        return Ok(());
    }
    let namespace = object::namespace(object);
    let attempt = |verb: &str, kind: &str, name: &str| Attempt {
        verb: verb.into(),
        group: GROUP.into(),
        plural: if kind == "Role" { "roles" } else { "clusterroles" }.into(),
        name: name.into(),
        namespace: namespace.into(),
        ..Attempt::default()
    };
    let granted = if is_binding {
        let role = &object["roleRef"];
        let name = role["name"].as_str().unwrap_or_default();
        let attempt = attempt("bind", role["kind"].as_str().unwrap_or_default(), name);
        if super::is_allowed(store, user, &attempt) {
            return Ok(());
        }
        let found = rules::of_role(store, role, namespace);
        found.ok_or_else(|| Status::not_found(GROUP, &attempt.plural, name))?
    } else if matches!(kind, "Role" | "ClusterRole") {
        let name = old.map(object::name).unwrap_or_default();
        if super::is_allowed(store, user, &attempt("escalate", kind, name)) {
            return Ok(());
        }
        items(&object["rules"]).cloned().collect()
    } else {
        return Ok(());
    };
    let own: Vec<Value> = rules::of(store, user, namespace).collect();
    let refused = |what: &str| {
        let plural = format!("{}s", kind.to_lowercase());
        Status::forbidden_to(GROUP, &plural, object::name(object), what)
    };
    missing(&own, &granted, user).map_err(|what| refused(&what))?;
    // What is aggregated later is not known now, and may be anything.
    let aggregates =
        |role: &Value| items(&role["aggregationRule"]["clusterRoleSelectors"]).next().is_some();
    if !is_binding && (aggregates(object) || old.is_some_and(aggregates)) {
        let all = json!(["*"]);
        let everything = [
            json!({"apiGroups": all, "resources": all, "verbs": all}),
            json!({"nonResourceURLs": all, "verbs": all}),
        ];
        let what = "must have cluster-admin privileges to use the aggregationRule";
        missing(&own, &everything, user).map_err(|_| refused(what))?;
    }
    Ok(())
}

/// Whether an update leaves everything but owners and finalizers, and what the server
/// writes itself, as it was.
fn grants_the_same(old: &Value, new: &Value) -> bool {
    const MAY_CHANGE: &[&str] = &[
        "ownerReferences",
        "finalizers",
        "managedFields",
        "selfLink",
        "resourceVersion",
        "uid",
        "creationTimestamp",
        "generation",
    ];
    let rest = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.retain(|field, _| !MAY_CHANGE.contains(&field.as_str()));
        }
        object
    };
    rest(old) == rest(new)
}

/// What of `granted` the rules `own` do not allow, as a refusal reads.
fn missing(own: &[Value], granted: &[Value], user: &User) -> Result<(), String> {
    let mut missing = Missing::default();
    for rule in granted {
        let mut search = Search { missing: &mut missing, steps: 0 };
        search.rule(own, rule)?;
        if missing.is_full() {
            break;
        }
    }
    if missing.0.is_empty() {
        return Ok(());
    }
    let mut lines: Vec<String> = missing.0.iter().map(|(what, verbs)| what.text(verbs)).collect();
    lines.sort();
    if missing.is_full() {
        lines.push("and perhaps others".to_owned());
    }
    Err(format!(
        "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        quoted(&user.groups),
        lines.join("\n")
    ))
}

/// Texts as Kubernetes prints lists: `["a" "b"]`.
fn quoted(texts: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let texts: Vec<String> = texts.into_iter().map(|text| format!("{:?}", text.as_ref())).collect();
    format!("[{}]", texts.join(" "))
}

/// What somebody lacks, with the verbs.
#[derive(Default)]
struct Missing(BTreeMap<What, BTreeSet<String>>);

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Path(String),
    Resource { group: String, resource: String, name: String },
}

impl Missing {
    fn is_full(&self) -> bool {
        self.0.len() >= MOST_NAMED
    }

    /// Adds every combination of these lists, until there are enough to name.
    fn add(&mut self, lists: &[&[&str]]) {
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
            known.extend(verbs.iter().take(MOST_NAMED).map(|verb| (*verb).to_owned()));
        }
    }
}

impl What {
    fn text(&self, verbs: &BTreeSet<String>) -> String {
        let verbs = quoted(verbs);
        match self {
            Self::Path(path) => format!("{{NonResourceURLs:{}, Verbs:{verbs}}}", quoted([path])),
            Self::Resource { group, resource, name } => {
                let names = match name.as_str() {
                    "" => String::new(),
                    name => format!(", ResourceNames:{}", quoted([name])),
                };
                let (group, resource) = (quoted([group]), quoted([resource]));
                format!("{{APIGroups:{group}, Resources:{resource}{names}, Verbs:{verbs}}}")
            }
        }
    }
}

/// Which of somebody's own rules: one bit for each.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Rules(Vec<u64>);

impl Rules {
    fn none(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)])
    }

    fn all(count: usize) -> Self {
        let mut all = Self::none(count);
        (0..count).for_each(|index| all.insert(index));
        all
    }

    fn insert(&mut self, index: usize) {
        self.0[index / 64] |= 1 << (index % 64);
    }

    fn and(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(one, other)| one & other).collect())
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }
}

/// One list of a granted rule. Elements that the same own rules allow are one class, so
/// that long lists cost their length and not their product.
struct Dimension<'a> {
    classes: Vec<(Rules, Vec<&'a str>)>,
    /// The own rules that allow every element.
    throughout: Rules,
}

impl<'a> Dimension<'a> {
    /// `allowers` says which own rules allow an element.
    fn of(elements: &[&'a str], count: usize, allowers: impl Fn(&str) -> Rules) -> Self {
        let mut classes: Vec<(Rules, Vec<&'a str>)> = Vec::new();
        let mut places = HashMap::new();
        let mut throughout = Rules::all(count);
        for element in elements {
            let rules = allowers(element);
            throughout = throughout.and(&rules);
            let place = *places.entry(rules.clone()).or_insert(classes.len());
            match classes.get_mut(place) {
                Some((_, class)) => class.push(element),
                None => classes.push((rules, vec![element])),
            }
        }
        Self { classes, throughout }
    }
}

/// Looks for what of one granted rule no own rule allows.
struct Search<'m> {
    missing: &'m mut Missing,
    steps: usize,
}

impl Search<'_> {
    fn rule(&mut self, own: &[Value], rule: &Value) -> Result<(), String> {
        let texts =
            |list: &str| -> Vec<&str> { items(&rule[list]).filter_map(Value::as_str).collect() };
        let verbs = dimension(own, "verbs", &texts("verbs"), |_, _| false);
        let paths = texts("nonResourceURLs");
        if !paths.is_empty() {
            let paths = dimension(own, "nonResourceURLs", &paths, |patterns, path| {
                patterns
                    .iter()
                    .filter_map(|one| one.strip_suffix('*'))
                    .any(|beginning| path.starts_with(beginning))
            });
            self.step(&[paths, verbs], &Rules::all(own.len()), &mut Vec::new())?;
            return Ok(());
        }
        let groups = dimension(own, "apiGroups", &texts("apiGroups"), |_, _| false);
        let resources = dimension(own, "resources", &texts("resources"), |allowed, resource| {
            let subresource = resource.split_once('/').map(|(_, subresource)| subresource);
            subresource.is_some_and(|one| allowed.contains(format!("*/{one}").as_str()))
        });
        let mut names = texts("resourceNames");
        if names.is_empty() {
            // All names, which only a rule without names allows.
            names.push("");
        }
        let names = dimension(own, "resourceNames", &names, |allowed, _| allowed.is_empty());
        self.step(&[groups, resources, names, verbs], &Rules::all(own.len()), &mut Vec::new())
    }

    /// Goes through the combinations of `dimensions` that the own rules `left` may still
    /// allow, after those of `chosen`.
    fn step<'a>(
        &mut self,
        dimensions: &'a [Dimension<'a>],
        left: &Rules,
        chosen: &mut Vec<&'a [&'a str]>,
    ) -> Result<(), String> {
        self.steps += 1;
        if self.steps > MOST_STEPS {
            let what = "a rule with too many different combinations to check; split it";
            return Err(what.to_owned());
        }
        let whole = dimensions.iter().fold(left.clone(), |whole, one| whole.and(&one.throughout));
        if !whole.is_empty() || self.missing.is_full() {
            return Ok(());
        }
        let Some((first, rest)) = dimensions.split_first() else {
            self.missing.add(chosen);
            return Ok(());
        };
        for (rules, class) in &first.classes {
            chosen.push(class);
            self.step(rest, &left.and(rules), chosen)?;
            chosen.pop();
        }
        Ok(())
    }
}

/// The classes of `elements` by which of the `own` rules have them in `list`: all with
/// `*`, the element itself, or what `fits` tells.
fn dimension<'a>(
    own: &[Value],
    list: &str,
    elements: &[&'a str],
    fits: impl Fn(&HashSet<&str>, &str) -> bool,
) -> Dimension<'a> {
    let lists: Vec<HashSet<&str>> =
        own.iter().map(|rule| items(&rule[list]).filter_map(Value::as_str).collect()).collect();
    Dimension::of(elements, own.len(), |element| {
        let mut rules = Rules::none(own.len());
        for (index, allowed) in lists.iter().enumerate() {
            let any = allowed.contains("*") && list != "resourceNames";
            if any || allowed.contains(element) || fits(allowed, element) {
                rules.insert(index);
            }
        }
        rules
    })
}

#[cfg(test)]
mod tests;
