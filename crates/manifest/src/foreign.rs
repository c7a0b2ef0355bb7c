//! Files of other tools that stand among manifests: what they are, and which program
//! makes objects of them.

use serde_json::Value;

use crate::{Document, Problem};

/// Why `document` is not an object, if it is something that another tool reads.
pub fn foreign(document: &Document) -> Option<Problem> {
    let value = document.value.as_ref()?;
    let name = document.source.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let group = text("/apiVersion").split('/').next().unwrap_or_default();
    let is_object = !text("/kind").is_empty() && !text("/apiVersion").is_empty();
    let message = if group == "kustomize.config.k8s.io"
        || !is_object && matches!(&*name, "kustomization.yaml" | "kustomization.yml")
    {
        "a kustomization, which names objects in other files; give what \
         `kubectl kustomize FOLDER` prints"
    } else if !is_object && matches!(&*name, "chart.yaml" | "chart.yml") {
        "the description of a Helm chart; give what `helm template FOLDER` prints"
    } else if !is_object && name.starts_with("values") {
        "values for a Helm chart; give what `helm template FOLDER --values FILE` prints"
    } else if text("/metadata/name").contains(TEMPLATE) {
        "a template of a Helm chart; give what `helm template FOLDER` prints"
    } else {
        return None;
    };
    Some(Problem { place: document.place(), message: message.to_owned() })
}

/// What begins a place in a template that is to be filled in.
const TEMPLATE: &str = "{{";

/// What to do about a text that is not YAML, if it is a template.
pub(crate) fn hint(text: &str) -> &'static str {
    match text.contains(TEMPLATE) {
        true => "; a template of a Helm chart? Give what `helm template FOLDER` prints",
        false => "",
    }
}

#[cfg(test)]
mod tests {
    use crate::read;

    /// What is said about the one document of a file.
    #[track_caller]
    fn check(source: &str, text: &str, expected: &str) {
        let documents = read(source, text);
        let said = match documents[0].problems.first() {
            Some(problem) => problem.to_string(),
            None => super::foreign(&documents[0]).map_or_else(String::new, |one| one.to_string()),
        };
        assert!(said.contains(expected) && said.is_empty() == expected.is_empty(), "{said}");
    }

    #[test]
    fn files_of_other_tools_name_the_program_that_makes_objects_of_them() {
        check("a/kustomization.yaml", "resources: [a.yaml]\n", "kubectl kustomize");
        let kustomization = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n";
        check("all.yaml", kustomization, "kubectl kustomize");
        check("Chart.yaml", "apiVersion: v2\nname: a\nversion: 1.0.0\n", "helm template");
        check("values-prod.yaml", "image: a\n", "helm template");
        check("templates/a.yaml", "kind: Pod\nmetadata: {{ .Values.a }}\n", "helm template");
        let quoted = "apiVersion: v1\nkind: Pod\nmetadata: {name: \"{{ .Release.Name }}\"}\n";
        check("templates/b.yaml", quoted, "helm template");
    }

    #[test]
    fn objects_are_objects_whatever_their_file_is_called() {
        check("values.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n", "");
        check("other.yaml", "resources: []\n", "");
    }
}
