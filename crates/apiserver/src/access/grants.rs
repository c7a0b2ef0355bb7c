//! Whether the author of a role or a binding holds every permission that it grants.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Value, json};
use weft_controllers::object::{self, items};

use super::{
    Attempt, User,
    rules::{self, GROUP},
};
use crate::{status::Status, store::Store};

/// Combinations of classes that are looked at for one role. Real rules need a few each.
const MOST_STEPS: usize = 1 << 18;
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
    let plural = format!("{}s", kind.to_lowercase());
    let granted = if is_binding {
        let role = &object["roleRef"];
        let name = role["name"].as_str().unwrap_or_default();
        let attempt = attempt("bind", role["kind"].as_str().unwrap_or_default(), name);
        if super::is_allowed(store, user, &attempt) {
            return Ok(());
        }
        // As on a cluster, the refusal has the role's name and the binding's resource.
        let found = rules::of_role(store, role, namespace);
        found.ok_or_else(|| Status::not_found(GROUP, &plural, name))?
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
    let refused = |what: &str| Status::forbidden_to(GROUP, &plural, object::name(object), what);
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
    let own = Own::of(own);
    let mut search = Search::default();
    for rule in granted {
        search.rule(&own, rule)?;
        if search.missing.is_full() {
            break;
        }
    }
    let missing = search.missing;
    if missing.0.is_empty() {
        return Ok(());
    }
    let mut lines: BTreeSet<String> =
        missing.0.iter().flat_map(|(what, verbs)| what.lines(verbs)).collect();
    if missing.is_full() {
        lines.insert("and perhaps others".to_owned());
    }
    let lines: Vec<String> = lines.into_iter().collect();
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

/// Permissions that the caller lacks, with the verbs in the order of the rule.
#[derive(Default)]
struct Missing(BTreeMap<What, Vec<String>>);

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

/// The lists of a rule.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum List {
    Verbs,
    Groups,
    Resources,
    Names,
    Paths,
}

impl List {
    const ALL: [Self; 5] = [Self::Verbs, Self::Groups, Self::Resources, Self::Names, Self::Paths];

    fn of(self, rule: &Value) -> impl Iterator<Item = &str> {
        let field = match self {
            Self::Verbs => "verbs",
            Self::Groups => "apiGroups",
            Self::Resources => "resources",
            Self::Names => "resourceNames",
            Self::Paths => "nonResourceURLs",
        };
        items(&rule[field]).filter_map(Value::as_str)
    }
}

/// The caller's own rules: which of them have an element in a list.
struct Own<'o> {
    count: usize,
    having: HashMap<(List, &'o str), Vec<usize>>,
    /// Rules about objects of all names.
    of_all_names: Vec<usize>,
    /// Beginnings of paths, each with the rules that allow all that begin so.
    beginnings: Vec<(&'o str, usize)>,
}

impl<'o> Own<'o> {
    fn of(rules: &'o [Value]) -> Self {
        let mut own = Self {
            count: rules.len(),
            having: HashMap::new(),
            of_all_names: Vec::new(),
            beginnings: Vec::new(),
        };
        for (index, rule) in rules.iter().enumerate() {
            for list in List::ALL {
                for element in list.of(rule) {
                    own.having.entry((list, element)).or_default().push(index);
                }
            }
            let beginnings = List::Paths.of(rule).filter_map(|path| path.strip_suffix('*'));
            own.beginnings.extend(beginnings.map(|beginning| (beginning, index)));
            if List::Names.of(rule).next().is_none() {
                own.of_all_names.push(index);
            }
        }
        own
    }

    /// The rules whose `list` covers `element`; an empty name stands for all names.
    fn covering(&self, list: List, element: &str) -> Rules {
        let mut rules = Rules::none(self.count);
        let mut add = |element: &str| {
            let having = self.having.get(&(list, element));
            having.into_iter().flatten().for_each(|index| rules.insert(*index));
        };
        add(element);
        if list != List::Names {
            add("*");
        }
        if let (List::Resources, Some((_, subresource))) = (list, element.split_once('/')) {
            add(&format!("*/{subresource}"));
        }
        if list == List::Names {
            self.of_all_names.iter().for_each(|index| rules.insert(*index));
        }
        if list == List::Paths {
            let fitting = self.beginnings.iter().filter(|(start, _)| element.starts_with(start));
            fitting.for_each(|(_, index)| rules.insert(*index));
        }
        rules
    }
}

/// Some of the caller's own rules: one bit for each.
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
    fn of(own: &Own<'_>, list: List, elements: &[&'a str]) -> Self {
        let mut classes: Vec<(Rules, Vec<&'a str>)> = Vec::new();
        let mut places = HashMap::new();
        let mut throughout = Rules::all(own.count);
        for element in elements {
            let rules = own.covering(list, element);
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

/// Looks for what of granted rules no own rule allows.
#[derive(Default)]
struct Search {
    missing: Missing,
    steps: usize,
}

impl Search {
    fn rule(&mut self, own: &Own<'_>, rule: &Value) -> Result<(), String> {
        let dimension = |list: List| {
            let mut elements: Vec<&str> = list.of(rule).collect();
            if list == List::Names && elements.is_empty() {
                elements.push("");
            }
            Dimension::of(own, list, &elements)
        };
        let paths = List::Paths.of(rule).count();
        let lists: &[List] = match paths {
            0 => &[List::Groups, List::Resources, List::Names, List::Verbs],
            _ => &[List::Paths, List::Verbs],
        };
        self.spend(paths.saturating_mul(own.beginnings.len()))?;
        let dimensions: Vec<Dimension<'_>> = lists.iter().map(|list| dimension(*list)).collect();
        self.step(&dimensions, &Rules::all(own.count), &mut Vec::new())
    }

    fn spend(&mut self, steps: usize) -> Result<(), String> {
        self.steps = self.steps.saturating_add(steps);
        match self.steps > MOST_STEPS {
            true => Err("its rules have too many combinations to check; split it".to_owned()),
            false => Ok(()),
        }
    }

    /// Goes through the combinations of `dimensions` that the own rules `left` may still
    /// allow, after those of `chosen`.
    fn step<'a>(
        &mut self,
        dimensions: &'a [Dimension<'a>],
        left: &Rules,
        chosen: &mut Vec<&'a [&'a str]>,
    ) -> Result<(), String> {
        self.spend(1)?;
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

#[cfg(test)]
mod tests;
