//! JSON patches (RFC 6902), within bounds.
//!
//! A patch is an object's author's program: a few bytes of it copy a part into itself, or
//! everything twice. So it is run one operation at a time, each after a look at what it
//! would make.

use json_patch::{PatchError, PatchOperation};
use serde_json::Value;

use crate::{size::Extent, status::Status};

/// The most operations of a patch, as in Kubernetes.
const OPERATIONS: usize = 10_000;

/// How deep a patch may make an object while it runs.
const DEEPEST: usize = 100;

/// The memory of all that a patch copies; a few times that of the largest object.
const COPIED: usize = 16 << 20;

/// The elements of lists that may move by one place, and the values that may be moved.
const MOVED: usize = 16 << 20;

/// Why a patch was not applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// It has too many operations.
    #[error("The allowed maximum operations in a JSON patch is {OPERATIONS}, got {0}")]
    Operations(usize),
    /// It copies too much.
    #[error("operation '/{0}' failed: the patch copies more than {COPIED} bytes")]
    Copies(usize),
    /// It moves too much.
    #[error("operation '/{0}' failed: the patch moves too many values; send a merge patch")]
    Moves(usize),
    /// It nests too deep.
    #[error("operation '/{0}' failed: values would be nested more than {DEEPEST} deep")]
    Depth(usize),
    /// It does not fit the object.
    #[error(transparent)]
    Fit(#[from] PatchError),
}

impl From<ChangeError> for Status {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Operations(_) => {
                Self::new(413, "RequestEntityTooLarge", error.to_string())
            }
            error => Self::new(
                422,
                "Invalid",
                format!("the server rejected our request due to an error in our request: {error}"),
            ),
        }
    }
}

/// Applies a JSON patch to a copy, which is worth nothing after an error.
pub fn change(copy: &mut Value, patch: &json_patch::Patch) -> Result<(), ChangeError> {
    let operations = &patch.0;
    if operations.len() > OPERATIONS {
        return Err(ChangeError::Operations(operations.len()));
    }
    let mut spent = Spent::default();
    for (index, operation) in operations.iter().enumerate() {
        spent.add(copy, operation);
        if spent.depth > DEEPEST {
            return Err(ChangeError::Depth(index));
        }
        if spent.copied > COPIED {
            return Err(ChangeError::Copies(index));
        }
        if spent.moved > MOVED {
            return Err(ChangeError::Moves(index));
        }
        // The function that undoes what it did until the error panics where that cannot be
        // undone, as when a part took the place of the whole.
        let applied = json_patch::patch_unsafe(copy, std::slice::from_ref(operation));
        applied.map_err(|mut error| {
            error.operation = index;
            error
        })?;
    }
    Ok(())
}

/// What a patch has cost so far.
#[derive(Default)]
struct Spent {
    /// The deepest place that an operation has made.
    depth: usize,
    copied: usize,
    moved: usize,
}

impl Spent {
    /// Counts what an operation is about to do. What it brings was paid for by the body.
    fn add(&mut self, object: &Value, operation: &PatchOperation) {
        let path = operation.path().as_str();
        match operation {
            PatchOperation::Test(_) => return,
            PatchOperation::Remove(_) => {}
            PatchOperation::Add(add) => self.reach(path, Extent::of(&add.value)),
            PatchOperation::Replace(replace) => {
                self.reach(path, Extent::of(&replace.value));
                return;
            }
            PatchOperation::Copy(copy) => {
                let Some(source) = object.pointer(copy.from.as_str()) else { return };
                let extent = Extent::of(source);
                self.copied += extent.memory;
                self.reach(path, extent);
            }
            PatchOperation::Move(from) => {
                let from = from.from.as_str();
                let Some(source) = object.pointer(from) else { return };
                let extent = Extent::of(source);
                self.moved += extent.values + elements(object, from);
                self.reach(path, extent);
            }
        }
        self.moved += elements(object, path);
    }

    fn reach(&mut self, path: &str, what: Extent) {
        // A pointer has a slash before each step (RFC 6901, section 3).
        self.depth = self.depth.max(path.matches('/').count() + what.depth);
    }
}

/// How many elements stand in the list in which a path ends.
fn elements(object: &Value, path: &str) -> usize {
    let above = path.rsplit_once('/').map(|(above, _)| above);
    above.and_then(|above| object.pointer(above)?.as_array()).map_or(0, Vec::len)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(object: &Value, operations: Vec<Value>) -> Result<Value, ChangeError> {
        let mut copy = object.clone();
        change(&mut copy, &serde_json::from_value(operations.into()).unwrap()).map(|()| copy)
    }

    fn repeat(times: usize, operation: Value) -> Vec<Value> {
        vec![operation; times]
    }

    #[test]
    fn copies_into_the_copied_do_not_nest_without_end() {
        let nest = json!({"op": "copy", "from": "/data", "path": "/data/b"});
        let object = json!({"data": {}});
        assert!(run(&object, repeat(90, nest.clone())).is_ok());
        let refused = run(&object, repeat(9000, nest)).unwrap_err();
        assert!(matches!(refused, ChangeError::Depth(98)), "{refused}");
        assert_eq!(Status::from(refused).code, 422);
    }

    #[test]
    fn copies_that_double_end_before_memory_does() {
        let object = json!({"data": {"a": "x".repeat(1000)}});
        let double =
            |step| json!({"op": "copy", "from": "/data", "path": format!("/data/k{step}")});
        assert!(run(&object, (0..8).map(double).collect()).is_ok());
        let refused = run(&object, (0..24).map(double).collect()).unwrap_err();
        assert!(matches!(refused, ChangeError::Copies(_)), "{refused}");
    }

    #[test]
    fn moves_do_not_nest_without_end() {
        let object = json!({"a": {}});
        let steps = (0..200).flat_map(|_| {
            [
                json!({"op": "add", "path": "/b", "value": {}}),
                json!({"op": "move", "from": "/a", "path": "/b/a"}),
                json!({"op": "move", "from": "/b", "path": "/a"}),
            ]
        });
        let refused = run(&object, steps.collect()).unwrap_err();
        assert!(matches!(refused, ChangeError::Depth(_)), "{refused}");
    }

    #[test]
    fn long_lists_are_not_shifted_thousands_of_times() {
        let object = json!({"list": vec![0; 100_000]});
        let first = json!({"op": "remove", "path": "/list/0"});
        assert!(run(&object, repeat(100, first.clone())).is_ok());
        let refused = run(&object, repeat(10_000, first)).unwrap_err();
        assert!(matches!(refused, ChangeError::Moves(_)), "{refused}");
    }

    #[test]
    fn more_operations_than_kubernetes_takes_are_refused() {
        let test = json!({"op": "test", "path": "/a", "value": 1});
        assert!(run(&json!({"a": 1}), repeat(OPERATIONS, test.clone())).is_ok());
        let refused = run(&json!({"a": 1}), repeat(OPERATIONS + 1, test)).unwrap_err();
        assert_eq!(Status::from(refused).code, 413);
    }

    #[test]
    fn an_error_names_its_operation() {
        let fine = json!({"op": "add", "path": "/a", "value": 1});
        let fails = json!({"op": "remove", "path": "/nowhere"});
        let refused = run(&json!({}), vec![fine, fails]).unwrap_err();
        assert!(refused.to_string().starts_with("operation '/1' failed"), "{refused}");
    }
}
