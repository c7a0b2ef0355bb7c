//! How large and how deep a value is.
//!
//! Values nest, and what walks them calls itself: what is deep takes stack. What comes
//! from outside is bounded here, so that nothing else has to count.

use serde_json::Value;

/// How deep an object may be. Far above what any kind needs, and far below what readers of
/// JSON take (127), who get it within lists, watches and reviews.
pub const DEEPEST: usize = 64;

/// How deep its managed fields may be. They have a step for each of the object's, and a few
/// of their own.
pub const DEEPEST_FIELDS: usize = DEEPEST + 8;

/// The extent of a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// The values that it consists of, itself among them.
    pub values: usize,
    /// Lists and maps within each other; 0 for a text or a number.
    pub depth: usize,
    /// About how much memory it takes.
    pub memory: usize,
}

impl Extent {
    /// Measures a value.
    pub fn of(value: &Value) -> Self {
        // A node of a map or list has spare places; half as many again on average.
        const NODE: usize = size_of::<Value>() * 3 / 2;
        let mut all = Self { values: 1, depth: 0, memory: NODE };
        let mut add = |inside: &Value, name: usize| {
            let inside = Self::of(inside);
            all.values += inside.values;
            all.depth = all.depth.max(inside.depth);
            all.memory += name + inside.memory;
        };
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => return all,
            Value::String(text) => {
                all.memory += text.len() + 16;
                return all;
            }
            Value::Array(items) => items.iter().for_each(|item| add(item, 0)),
            Value::Object(fields) => {
                fields.iter().for_each(|(name, value)| add(value, name.len() + 40));
            }
        }
        all.depth += 1;
        all
    }
}

/// The field of an object that is deeper than it may be, and how deep that is.
pub fn too_deep(object: &Value) -> Option<(&'static str, usize)> {
    // The fields of managers stand within the metadata and a list, as an entry's field.
    const ABOVE: usize = 4;
    let mut rest = 0;
    let mut managed = 0;
    for (name, value) in object.as_object().into_iter().flatten() {
        if name != "metadata" {
            rest = rest.max(1 + Extent::of(value).depth);
            continue;
        }
        for (name, value) in value.as_object().into_iter().flatten() {
            match name.as_str() {
                "managedFields" => managed = 2 + Extent::of(value).depth,
                _ => rest = rest.max(2 + Extent::of(value).depth),
            }
        }
    }
    if managed > DEEPEST_FIELDS + ABOVE {
        return Some(("metadata.managedFields", managed));
    }
    (rest > DEEPEST).then_some(("object", rest))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_extent_counts_what_is_inside() {
        let extent = Extent::of(&json!({"a": [1, {"b": "text"}], "c": {}}));
        assert_eq!((extent.values, extent.depth), (6, 3));
        assert_eq!(Extent::of(&json!("text")).depth, 0);
    }

    #[test]
    fn an_object_may_be_deep_and_its_managed_fields_a_little_deeper() {
        let deep = |depth: usize| (0..depth).fold(json!(1), |inside, _| json!({"a": inside}));
        assert_eq!(too_deep(&json!({"spec": deep(DEEPEST - 1)})), None);
        assert_eq!(too_deep(&json!({"spec": deep(DEEPEST)})), Some(("object", DEEPEST + 1)));
        let managed = |depth| json!({"metadata": {"managedFields": [{"fieldsV1": deep(depth)}]}});
        assert_eq!(too_deep(&managed(DEEPEST_FIELDS)), None);
        assert!(too_deep(&managed(DEEPEST_FIELDS + 1)).is_some());
    }
}
