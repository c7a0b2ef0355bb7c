//! The HTTP rules of a virtual service, with those of its delegates in the places of the rules
//! that delegate to them.
//!
//! A delegate is a virtual service without hosts. One that cannot be used closes the rule that
//! names it, and nothing else: falling through to a later rule would send requests where the rule
//! says that they do not go.

mod conditions;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use weft_api::{
    Key, Kind,
    virtual_service::{Delegate, HttpRoute, VirtualService, VirtualServiceSpec},
};

use crate::{
    graph::{objects::Bucket, view::View},
    model::{age::Age, visibility::Exports},
    routes::rules::{
        InvalidRule, TOO_MANY_RULES,
        targets::{self, INVALID_DELEGATE},
    },
};

/// Pairs of a condition of a rule that delegates and one of its delegate that are looked at for
/// one virtual service: so many, and [`TIMES`] times its own conditions.
const PAIRS: usize = 4_096;
/// Bytes of rules that a virtual service takes from delegates, together with what its own rules
/// add to each: so many, and [`TIMES`] times what is written in its own. Many virtual services may
/// name one delegate, so this is less than an object may have.
const BYTES: usize = 256 << 10;
/// See [`PAIRS`] and [`BYTES`].
const TIMES: usize = 4;
/// Bytes of rules that all virtual services of a namespace take from delegates. What the youngest
/// of them would take besides is closed.
const OF_NAMESPACE: usize = 16 << 20;

/// A virtual service with the rules of its delegates.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Merged {
    /// Its name and its rules for HTTP. A rule that delegates stands there only where it is closed.
    pub(crate) service: VirtualService,
    /// Where each of these rules is from.
    pub(crate) sources: Vec<Source>,
    /// Rules of delegates that are left out, by the rule that delegates: their conditions are no
    /// part of its.
    pub(crate) conflicts: BTreeMap<usize, Conflicts>,
}

/// Where a rule is from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Source {
    /// The rule of the virtual service itself.
    pub(crate) root: usize,
    /// The object that says what the rule does.
    pub(crate) object: Key,
    /// The rule in it.
    pub(crate) rule: usize,
    /// For each alternative, the one in that rule; none where it has no alternatives.
    pub(crate) alternatives: Vec<Option<usize>>,
    /// Why the rule is closed, if its delegate cannot be used.
    pub(crate) closed: Option<InvalidRule>,
}

/// Rules of a delegate that are left out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Conflicts {
    /// The delegate.
    pub(crate) delegate: Key,
    /// The first of them.
    pub(crate) first: usize,
    /// How many there are.
    pub(crate) count: usize,
}

/// How much there is in the HTTP rules of a delegate.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct DelegateSize {
    rules: usize,
    /// Of all rules, one for a rule without any.
    alternatives: usize,
    /// Of all that is written but the alternatives.
    bytes: usize,
    bytes_of_alternatives: usize,
}

impl DelegateSize {
    /// Of `rules`.
    fn of<'r>(rules: impl IntoIterator<Item = &'r HttpRoute>) -> Self {
        rules.into_iter().fold(Self::default(), |sum, rule| {
            let bytes_of_alternatives = targets::size(&rule.matches);
            let bytes = targets::size(rule).saturating_sub(bytes_of_alternatives);
            Self {
                rules: sum.rules + 1,
                alternatives: sum.alternatives + rule.matches.len().max(1),
                bytes: sum.bytes + bytes,
                bytes_of_alternatives: sum.bytes_of_alternatives + bytes_of_alternatives,
            }
        })
    }
}

/// How much there is in the delegate called `key`; nothing where it is missing.
pub(crate) fn size(key: &Key, view: &View<'_>) -> DelegateSize {
    let service = view.virtual_service(key);
    service.map_or_else(DelegateSize::default, |service| DelegateSize::of(&service.spec.http))
}

/// Whether some rule of `service` delegates.
pub(crate) fn has_delegates(service: &VirtualService) -> bool {
    service.spec.http.iter().any(|rule| rule.delegate.is_some())
}

/// The delegate that `written`, in an object of `namespace`, names.
fn named(written: &Delegate, namespace: &str) -> Key {
    let own = written.namespace.as_deref().filter(|namespace| !namespace.is_empty());
    Key::new(Kind::VirtualService, own.unwrap_or(namespace), &written.name)
}

/// How many bytes of rules the virtual service called `key` takes from delegates, if it may.
pub(crate) fn taken(key: &Key, view: &View<'_>) -> usize {
    let Some(root) = view.virtual_service(key) else { return 0 };
    let mut bounds = Bounds::of(root);
    let all = bounds.bytes;
    for written in &root.spec.http {
        // What cannot be used, or has no room, is not taken, whatever comes after.
        let _ = bounds.delegate(written, &key.namespace, view);
    }
    all - bounds.bytes
}

/// The virtual services of `namespace` that would take too much from delegates, together with
/// older ones.
pub(crate) fn taking_too_much(namespace: &str, view: &View<'_>) -> Arc<BTreeSet<Arc<Key>>> {
    let keys = view.keys(Bucket::Delegating(namespace.to_owned()));
    let sizes: Vec<_> = keys.into_iter().map(|key| (view.taken(&key), key)).collect();
    if sizes.iter().map(|(size, _)| size).sum::<usize>() <= OF_NAMESPACE {
        return Arc::default();
    }
    let aged = sizes.into_iter().filter_map(|(size, key)| {
        let age = Age::of(&view.virtual_service(&key)?.metadata);
        Some((age, size, key))
    });
    let mut aged: Vec<_> = aged.collect();
    aged.sort_by(|(one, ..), (other, ..)| one.cmp(other));
    let mut left = OF_NAMESPACE;
    let too_much = aged.into_iter().filter(|(_, size, _)| {
        let after = left.checked_sub(*size);
        left = after.unwrap_or(left);
        after.is_none()
    });
    Arc::new(too_much.map(|(_, _, key)| key).collect())
}

/// Whether the virtual service called `key` is one of them.
pub(crate) fn takes_too_much(key: &Key, view: &View<'_>) -> bool {
    view.taking_too_much(&key.namespace).contains(key)
}

/// Whether the virtual service called `key` is closed as a whole.
pub(crate) fn is_closed(key: &Key, view: &View<'_>) -> bool {
    view.virtual_service(key).is_some_and(|service| !service.spec.closed.is_empty())
}

/// The rules of the virtual service called `key`; none where none of them delegates, so that they
/// are as they are written.
pub(crate) fn merged(key: &Key, view: &View<'_>) -> Option<Merged> {
    let root = view.virtual_service(key).filter(|service| has_delegates(service))?;
    let spec = VirtualServiceSpec { closed: root.spec.closed.clone(), ..Default::default() };
    let service = VirtualService { metadata: root.metadata.clone(), spec };
    let (sources, conflicts) = (Vec::new(), BTreeMap::new());
    let mut found = Merged { service, sources, conflicts };
    let mut bounds = Bounds::of(root);
    let takes_too_much = view.takes_too_much(key);
    for (at, written) in root.spec.http.iter().enumerate() {
        let Some(delegate) = bounds.delegate(written, &key.namespace, view) else {
            found.add_own(key, at, written, None);
            continue;
        };
        let delegate = match takes_too_much {
            true => delegate.and_then(|_| Err(too_much(&key.namespace))),
            false => delegate,
        };
        match delegate {
            Ok((name, service)) => {
                let mut written = written.clone();
                let own = written.mirror.iter_mut();
                let all = own.chain(written.mirrors.iter_mut().map(|one| &mut one.destination));
                // They are written here, and read as if they were in the delegate.
                all.for_each(|one| {
                    one.host = view.installation().resolve(&one.host, &key.namespace);
                });
                found.add_delegated(key, at, &written, (&name, service));
            }
            Err(closed) => found.add_own(key, at, written, Some(closed)),
        }
    }
    Some(found)
}

impl Merged {
    /// Adds rule `at` of the object called `key` itself.
    fn add_own(&mut self, key: &Key, at: usize, written: &HttpRoute, closed: Option<InvalidRule>) {
        let alternatives = (0..written.matches.len()).map(Some).collect();
        let source = Source { root: at, object: key.clone(), rule: at, alternatives, closed };
        self.service.spec.http.push(written.clone());
        self.sources.push(source);
    }

    /// Adds the rules of `delegate` in the place of rule `at` of the object called `key`.
    fn add_delegated(
        &mut self,
        key: &Key,
        at: usize,
        root: &HttpRoute,
        (delegate, service): (&Key, &VirtualService),
    ) {
        for (rule, leaf) in service.spec.http.iter().enumerate() {
            let of_root = (root.matches.as_slice(), key.namespace.as_str());
            let of_leaf = (leaf.matches.as_slice(), delegate.namespace.as_str());
            let Some(joined) = conditions::joined(of_root, of_leaf) else {
                let new = Conflicts { delegate: delegate.clone(), first: rule, count: 0 };
                self.conflicts.entry(at).or_insert(new).count += 1;
                continue;
            };
            let (matches, alternatives) = joined.into_iter().unzip();
            self.service.spec.http.push(HttpRoute { matches, ..inheriting(root, leaf) });
            let object = delegate.clone();
            self.sources.push(Source { root: at, object, rule, alternatives, closed: None });
        }
    }
}

/// The virtual service called `name`, as a delegate of one in `namespace`; else why it cannot be
/// one.
fn usable<'g>(
    name: &Key,
    namespace: &str,
    view: &View<'g>,
) -> Result<&'g VirtualService, InvalidRule> {
    let invalid = |what: &str, mend: &str| {
        let message = format!("{name} {what}; the rule answers 500, {mend}");
        Err(InvalidRule::new("delegate", INVALID_DELEGATE, message))
    };
    let Some(service) = view.virtual_service(name) else {
        return invalid("is not there", "apply it, or correct the name");
    };
    let exports = Exports::new(
        &service.spec.export_to,
        &view.mesh().config.default_virtual_service_export_to,
    );
    if let Some(field) = service.spec.closed.first() {
        return invalid(&format!("has `{field}` that cannot be read"), "mend it");
    }
    if !exports.is_visible(&name.namespace, namespace) {
        let mend = format!("add {namespace} to its `exportTo`");
        return invalid(&format!("is not exported to namespace {namespace}"), &mend);
    }
    if !service.spec.hosts.is_empty() {
        let mend = "a delegate has none: remove them, or name another";
        return invalid("has `hosts`", mend);
    }
    if service.spec.http.is_empty() {
        return invalid("has no rule for HTTP", "add one, or name another");
    }
    Ok(service)
}

/// Why rules that delegate are closed where the namespace takes too much.
fn too_much(namespace: &str) -> InvalidRule {
    let message = format!(
        "has too many rules: the VirtualServices of namespace {namespace} take more than {} MiB \
         from delegates, older ones first; the rule answers 500, use smaller delegates, or fewer \
         VirtualServices that name them",
        OF_NAMESPACE >> 20
    );
    InvalidRule::new("delegate", TOO_MANY_RULES, message)
}

/// How much a virtual service may still take from delegates.
struct Bounds {
    pairs: usize,
    bytes: usize,
}

impl Bounds {
    fn of(root: &VirtualService) -> Self {
        let written = DelegateSize::of(&root.spec.http);
        Self {
            pairs: PAIRS + TIMES * written.alternatives,
            bytes: BYTES + TIMES * (written.bytes + written.bytes_of_alternatives),
        }
    }

    /// The delegate that `written`, in an object of `namespace`, names, with its name, and takes
    /// its rules; else why it cannot be used. None where no delegate is named.
    fn delegate<'g>(
        &mut self,
        written: &HttpRoute,
        namespace: &str,
        view: &View<'g>,
    ) -> Option<Result<(Key, &'g VirtualService), InvalidRule>> {
        let name = named(written.delegate.as_ref()?, namespace);
        let usable = usable(&name, namespace, view);
        Some(usable.and_then(|service| {
            self.take(written, view.delegate_size(&name))?;
            Ok((name, service))
        }))
    }

    /// Takes what rules of `size` are where `root` delegates to them; else why there is no room.
    fn take(&mut self, root: &HttpRoute, size: DelegateSize) -> Result<(), InvalidRule> {
        let own = DelegateSize::of([root]);
        let pairs = size.alternatives.saturating_mul(own.alternatives);
        let bytes = [
            size.bytes,
            size.rules.saturating_mul(own.bytes),
            size.bytes_of_alternatives.saturating_mul(own.alternatives),
            size.alternatives.saturating_mul(own.bytes_of_alternatives),
        ];
        let bytes = bytes.into_iter().fold(0, usize::saturating_add);
        match (self.pairs.checked_sub(pairs), self.bytes.checked_sub(bytes)) {
            (Some(pairs), Some(bytes)) => {
                *self = Self { pairs, bytes };
                Ok(())
            }
            _ => {
                let message = format!(
                    "has too many rules: together with those that the object takes from delegates \
                     before, and with what this rule adds to each, they have more than {PAIRS} \
                     pairs of conditions and {TIMES} times the object's own conditions, or more \
                     than {} KiB and {TIMES} times what is written in it; the rule answers 500, \
                     use a smaller delegate, or fewer rules that name it",
                    BYTES >> 10
                );
                Err(InvalidRule::new("delegate", TOO_MANY_RULES, message))
            }
        }
    }
}

/// The rule `leaf` of a delegate of `root`, with what `root` says where `leaf` says nothing; its
/// conditions are its own.
fn inheriting(root: &HttpRoute, leaf: &HttpRoute) -> HttpRoute {
    // What does nothing is closed, and does not become the answer of the other rule.
    let does_something =
        !leaf.route.is_empty() || leaf.redirect.is_some() || leaf.direct_response.is_some();
    let direct_response = root.direct_response.as_ref().filter(|_| does_something);
    let mut merged = leaf.clone();
    merged.name = conditions::joined_name(root.name.as_deref(), leaf.name.as_deref());
    merged.direct_response = merged.direct_response.or_else(|| direct_response.cloned());
    merged.rewrite = merged.rewrite.or_else(|| root.rewrite.clone());
    merged.timeout = merged.timeout.or_else(|| root.timeout.clone());
    merged.retries = merged.retries.or_else(|| root.retries.clone());
    merged.fault = merged.fault.or_else(|| root.fault.clone());
    merged.mirror = merged.mirror.or_else(|| root.mirror.clone());
    if merged.mirrors.is_empty() {
        merged.mirrors.clone_from(&root.mirrors);
    }
    merged.mirror_percentage = merged.mirror_percentage.or(root.mirror_percentage);
    merged.mirror_percent = merged.mirror_percent.or(root.mirror_percent);
    merged.cors_policy = merged.cors_policy.or_else(|| root.cors_policy.clone());
    merged.headers = merged.headers.or_else(|| root.headers.clone());
    merged
}

#[cfg(test)]
mod tests;
