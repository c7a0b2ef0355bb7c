//! How many pods each ReplicaSet of a Deployment is to have now.

use serde_json::Value;

use crate::write::Write;

/// Bounds of a rolling update.
struct Bounds {
    wanted: i64,
    surge: i64,
    unavailable: i64,
}

/// A number in an object's status.
pub fn count(object: &Value, field: &str) -> i64 {
    object["status"][field].as_i64().unwrap_or(0)
}

/// How many pods a ReplicaSet is asked to have.
pub fn size(set: &Value) -> i64 {
    set["spec"]["replicas"].as_i64().unwrap_or(1)
}

/// How many pods the ReplicaSet of a new template starts with.
pub fn first(deployment: &Value, old: &[&Value]) -> i64 {
    let bounds = bounds(deployment);
    if is_recreate(deployment) {
        let is_empty = old.iter().all(|set| count(set, "replicas") == 0 && size(set) == 0);
        return if is_empty { bounds.wanted } else { 0 };
    }
    let total: i64 = old.iter().map(|set| size(set)).sum();
    (bounds.wanted + bounds.surge - total).clamp(0, bounds.wanted)
}

/// The ReplicaSets whose size changes now.
pub fn scale(deployment: &Value, newest: Option<&Value>, old: &[&Value]) -> Vec<Write> {
    let bounds = bounds(deployment);
    let mut sizes: Vec<(&Value, i64)> = old.iter().map(|set| (*set, size(set))).collect();
    let mut writes = Vec::new();
    if deployment["spec"]["paused"] == true {
        let alive: Vec<&Value> =
            newest.into_iter().chain(old.iter().copied()).filter(|set| size(set) > 0).collect();
        if let [only] = alive.as_slice() {
            writes.extend(resized(only, bounds.wanted));
        }
        return writes;
    }
    let Some(newest) = newest else { return writes };
    if is_recreate(deployment) {
        writes.extend(old.iter().filter_map(|set| resized(set, 0)));
        if old.iter().all(|set| size(set) == 0 && count(set, "replicas") == 0) {
            writes.extend(resized(newest, bounds.wanted));
        }
        return writes;
    }
    let total: i64 = size(newest) + sizes.iter().map(|(_, size)| size).sum::<i64>();
    let target = match size(newest) {
        size if size >= bounds.wanted => bounds.wanted,
        size => (size + bounds.wanted + bounds.surge - total).clamp(size, bounds.wanted),
    };
    writes.extend(resized(newest, target));
    shrink(&bounds, newest, total, &mut sizes);
    writes.extend(sizes.iter().filter_map(|(set, size)| resized(set, *size)));
    writes
}

/// Takes from old ReplicaSets what may go: first what is not available anyway.
fn shrink(bounds: &Bounds, newest: &Value, total: i64, old: &mut [(&Value, i64)]) {
    let least = bounds.wanted - bounds.unavailable;
    let missing = size(newest) - count(newest, "availableReplicas").min(size(newest));
    let mut removable = (total - least - missing).max(0);
    for (set, size) in old.iter_mut() {
        let unhealthy = (*size - count(set, "availableReplicas")).clamp(0, removable);
        *size -= unhealthy;
        removable -= unhealthy;
    }
    let available = count(newest, "availableReplicas").min(size(newest))
        + old.iter().map(|(set, size)| count(set, "availableReplicas").min(*size)).sum::<i64>();
    let mut spare = (available - least).max(0).min(removable);
    for (_, size) in old.iter_mut() {
        let taken = spare.min(*size);
        *size -= taken;
        spare -= taken;
    }
}

fn resized(set: &Value, wanted: i64) -> Option<Write> {
    (size(set) != wanted).then(|| {
        let mut set = set.clone();
        set["spec"]["replicas"] = wanted.into();
        Write::Update(set)
    })
}

fn is_recreate(deployment: &Value) -> bool {
    deployment["spec"]["strategy"]["type"] == "Recreate"
}

fn bounds(deployment: &Value) -> Bounds {
    let wanted = deployment["spec"]["replicas"].as_i64().unwrap_or(1);
    let rolling = &deployment["spec"]["strategy"]["rollingUpdate"];
    let surge = share(&rolling["maxSurge"], wanted, Rounding::Up);
    let unavailable = share(&rolling["maxUnavailable"], wanted, Rounding::Down).min(wanted);
    // With neither there would be no step to take.
    let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
    Bounds { wanted, surge, unavailable }
}

#[derive(Clone, Copy, PartialEq)]
enum Rounding {
    Up,
    Down,
}

/// A number, or a share of `wanted` such as `25%`; a quarter where nothing is said.
fn share(value: &Value, wanted: i64, rounding: Rounding) -> i64 {
    if let Some(number) = value.as_i64() {
        return number.max(0);
    }
    let text = value.as_str().unwrap_or("25%");
    let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(25);
    let parts = percent.clamp(0, 100_000).saturating_mul(wanted);
    if rounding == Rounding::Up { (parts + 99) / 100 } else { parts / 100 }
}
