//! Whether the author of a role or a binding holds every permission that it grants.

mod held;
mod missing;

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};
use weft_controllers::object::{self, items};

use self::{
    held::{GrantedRules, RuleDimension, Rules},
    missing::{Missing, quoted},
};
use super::{
    Attempt, User,
    rules::{self, GROUP},
};
use crate::{status::Status, store::Store};

/// Combinations of classes that are looked at for one role. Real rules need a few each.
const MOST_STEPS: usize = 1 << 18;

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
    let own = GrantedRules::of(own);
    let mut search = Search::default();
    for rule in granted {
        search.rule(&own, rule)?;
        if search.missing.is_full() {
            break;
        }
    }
    let missing = search.missing;
    if missing.is_empty() {
        return Ok(());
    }
    let mut lines: BTreeSet<String> = missing.lines();
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

/// One list of a granted rule. Elements that the same own rules allow are one class, so
/// that long lists cost their length and not their product.
struct Dimension<'a> {
    classes: Vec<(Rules, Vec<&'a str>)>,
    /// The own rules that allow every element.
    throughout: Rules,
}

impl<'a> Dimension<'a> {
    fn of(own: &GrantedRules<'_>, list: RuleDimension, elements: &[&'a str]) -> Self {
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
    fn rule(&mut self, own: &GrantedRules<'_>, rule: &Value) -> Result<(), String> {
        let dimension = |list: RuleDimension| {
            let mut elements: Vec<&str> = list.of(rule).collect();
            if list == RuleDimension::Names && elements.is_empty() {
                elements.push("");
            }
            Dimension::of(own, list, &elements)
        };
        let paths = RuleDimension::Paths.of(rule).count();
        let lists: &[RuleDimension] = match paths {
            0 => &[
                RuleDimension::Groups,
                RuleDimension::Resources,
                RuleDimension::Names,
                RuleDimension::Verbs,
            ],
            _ => &[RuleDimension::Paths, RuleDimension::Verbs],
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
