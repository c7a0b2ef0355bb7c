//! The order in which objects are applied.

/// Objects in waves, each of which leans on those before it: kinds and namespaces first,
/// then what others refer to, then the rest. `kind` gives the kind of one. Within a wave
/// they keep their order; a wave without objects is left out.
pub fn waves<T>(objects: impl IntoIterator<Item = T>, kind: impl Fn(&T) -> &str) -> Vec<Vec<T>> {
    let mut waves: [Vec<T>; 3] = Default::default();
    for object in objects {
        let wave = match kind(&object) {
            "CustomResourceDefinition" | "Namespace" => 0,
            "ServiceAccount" | "ConfigMap" | "Secret" | "Service" => 1,
            _ => 2,
        };
        waves[wave].push(object);
    }
    waves.into_iter().filter(|wave| !wave.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_lean_on_comes_first_and_the_order_of_files_is_kept() {
        let kinds = ["Pod", "Service", "Namespace", "Gateway", "Secret"];
        let expected = vec![vec!["Namespace"], vec!["Service", "Secret"], vec!["Pod", "Gateway"]];
        assert_eq!(waves(kinds, |kind| kind), expected);
        assert_eq!(waves(["Pod"], |kind| kind), [["Pod"]]);
    }
}
