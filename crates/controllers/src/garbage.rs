//! Objects whose owners are gone, and owners who wait for what they own.

use serde_json::Value;

use crate::{
    object::{self, items},
    write::Write,
};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// What becomes of an object, given which of its owners live.
pub fn owned(object: &Value, lives: impl Fn(&Value) -> bool) -> Option<Write> {
    let owners = &object["metadata"]["ownerReferences"];
    let mut references = items(owners).peekable();
    references.peek()?;
    if object::is_terminating(object) || items(owners).any(lives) {
        return None;
    }
    Some(Write::Delete(object.clone()))
}

/// Whether an owner waits for its dependents before it goes.
pub fn waits(owner: &Value) -> bool {
    object::is_terminating(owner)
        && items(&owner["metadata"]["finalizers"]).any(|one| one == FOREGROUND || one == ORPHAN)
}

/// The next steps of an owner that waits for its dependents.
pub fn finish(owner: &Value, dependents: &[&Value]) -> Vec<Write> {
    let has = |name: &str| items(&owner["metadata"]["finalizers"]).any(|one| one == name);
    let refers = |reference: &&Value| reference["uid"] == owner["metadata"]["uid"];
    let is_owned =
        |object: &Value| items(&object["metadata"]["ownerReferences"]).any(|one| refers(&one));
    let blocks = |object: &Value| {
        items(&object["metadata"]["ownerReferences"])
            .any(|one| refers(&one) && one["blockOwnerDeletion"] == true)
    };
    if has(ORPHAN) {
        let mut writes: Vec<Write> = dependents
            .iter()
            .filter(|object| is_owned(object))
            .map(|object| Write::Update(without_owner(object, owner)))
            .collect();
        writes.push(Write::Update(without_finalizer(owner, ORPHAN)));
        return writes;
    }
    if !has(FOREGROUND) {
        return Vec::new();
    }
    let blocking: Vec<&&Value> = dependents.iter().filter(|object| blocks(object)).collect();
    if blocking.is_empty() {
        return vec![Write::Update(without_finalizer(owner, FOREGROUND))];
    }
    blocking
        .into_iter()
        .filter(|object| !object::is_terminating(object))
        .map(|object| Write::Delete(Value::clone(object)))
        .collect()
}

fn without_owner(object: &Value, owner: &Value) -> Value {
    let mut object = object.clone();
    if let Some(owners) = object["metadata"]["ownerReferences"].as_array_mut() {
        owners.retain(|reference| reference["uid"] != owner["metadata"]["uid"]);
    }
    object
}

fn without_finalizer(object: &Value, name: &str) -> Value {
    let mut object = object.clone();
    if let Some(finalizers) = object["metadata"]["finalizers"].as_array_mut() {
        finalizers.retain(|one| one != name);
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn dependent() -> Value {
        json!({"metadata": {"name": "d", "ownerReferences": [{"uid": "o", "blockOwnerDeletion": true}]}})
    }

    fn owner(finalizer: &str) -> Value {
        json!({"metadata": {"uid": "o", "deletionTimestamp": "now", "finalizers": [finalizer]}})
    }

    #[test]
    fn an_object_goes_with_its_last_owner() {
        assert_eq!(owned(&dependent(), |_| true), None);
        assert_eq!(owned(&dependent(), |_| false), Some(Write::Delete(dependent())));
        assert_eq!(owned(&json!({"metadata": {}}), |_| false), None);
    }

    #[test]
    fn a_foreground_deletion_waits_for_dependents() {
        let waiting = owner(FOREGROUND);
        assert!(waits(&waiting));
        assert_eq!(finish(&waiting, &[&dependent()]), [Write::Delete(dependent())]);
        let [Write::Update(freed)] = &finish(&waiting, &[])[..] else { panic!("must go") };
        assert_eq!(freed["metadata"]["finalizers"], json!([]));
    }

    #[test]
    fn orphans_lose_their_owner_and_live() {
        let writes = finish(&owner(ORPHAN), &[&dependent()]);
        let [Write::Update(orphan), Write::Update(freed)] = writes.as_slice() else {
            panic!("{writes:?}")
        };
        assert_eq!(orphan["metadata"]["ownerReferences"], json!([]));
        assert_eq!(freed["metadata"]["finalizers"], json!([]));
    }
}
