//! Problems of one document, without the others: with file, line and column.

use serde_json::Value;
use weft_api::{Diagnostic, Severity};
use weft_manifest::{Document, files::unnamed, foreign, render};

/// Problems of one document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// One line each.
    pub lines: Vec<String>,
    /// Whether the object must not be applied.
    pub refused: bool,
}

/// Checks one document, without the others.
pub fn check(document: &Document) -> Findings {
    let mut found = Findings::default();
    for problem in &document.problems {
        found.lines.push(problem.to_string());
        found.refused = true;
    }
    let Some(value) = &document.value else { return found };
    if let Some(problem) = foreign(document).or_else(|| unnamed(document)) {
        found.lines.push(problem.to_string());
        found.refused = true;
        return found;
    }
    found.lines.extend(document.remarks.iter().map(ToString::to_string));
    for diagnostic in weft_api::check(value).diagnostics {
        found.refused |= diagnostic.severity == Severity::Error;
        found.lines.push(line(document, &diagnostic));
    }
    found.lines.extend(sidecar_warnings(document));
    if let Some(text) = weft_api::unknown_istio_kind(value) {
        found.lines.push(format!("{}: warning: {text}", document.place()));
    }
    found
}

/// Settings of the document's pod that have no effect on its sidecar.
pub fn sidecar_warnings(document: &Document) -> Vec<String> {
    let Some(value) = &document.value else { return Vec::new() };
    let Some(pod) = weft_inject::pod_of(value) else { return Vec::new() };
    let prefix = pod_path(value);
    let text = |field: &str| value.pointer(field).and_then(Value::as_str).unwrap_or_default();
    let name = format!("{}/{}", text("/kind"), text("/metadata/name"));
    let lines = weft_inject::warnings(pod).into_iter().map(|warning| {
        let field = format!("{prefix}{}", warning.field);
        let place = document.locate(&field).unwrap_or_else(|| document.place());
        format!("{place}: warning: {name} {field}: {}", warning.message)
    });
    lines.collect()
}

/// The path of the pod's fields in an object of this kind.
fn pod_path(object: &Value) -> &'static str {
    match object["kind"].as_str() {
        Some("Pod") => "",
        Some("CronJob") => "spec.jobTemplate.spec.template.",
        _ => "spec.template.",
    }
}

/// One diagnostic of the document's object.
fn line(document: &Document, diagnostic: &Diagnostic) -> String {
    let place = document.locate(&diagnostic.field).unwrap_or_else(|| document.place());
    render(diagnostic, Some(&place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn found(text: &str) -> Findings {
        let documents = weft_manifest::read("a.yaml", text);
        let [document] = documents.as_slice() else { panic!("{documents:?}") };
        check(document)
    }

    #[test]
    fn an_error_has_its_place_and_keeps_the_object_from_the_server() {
        let found = found(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata:\n  name: g\nspec:\n  \
             servers:\n  - port: {number: 70000, name: http, protocol: HTTP}\n    hosts: ['*']\n",
        );
        assert!(found.refused, "{found:?}");
        let [line] = found.lines.as_slice() else { panic!("{found:?}") };
        assert!(line.starts_with("a.yaml:7:") && line.contains("70000"), "{line}");
    }

    /// YAML 1.1, which kubectl reads, has more words for booleans.
    #[test]
    fn a_name_that_is_no_text_is_refused_with_its_place() {
        for (name, expected) in [
            (
                "n",
                "a.yaml:3:12: error: metadata.name is read as false, not as a text; put it in quotes",
            ),
            (
                "7",
                "a.yaml:3:12: error: metadata.name is read as 7, not as a text; put it in quotes",
            ),
            ("''", "a.yaml:3:12: error: the object has no metadata.name; give it one"),
        ] {
            let found =
                found(&format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\n"));
            assert!(found.refused, "{name}: {found:?}");
            assert_eq!(found.lines, [expected]);
        }
    }

    #[test]
    fn text_that_cannot_be_read_is_refused() {
        let found = found("kind: [\n");
        assert!(found.refused && found.lines[0].starts_with("a.yaml:"), "{found:?}");
    }

    #[test]
    fn a_kind_of_istio_that_is_not_known_is_stored_with_a_warning() {
        let found =
            found("apiVersion: networking.istio.io/v1\nkind: Novelty\nmetadata:\n  name: new\n");
        assert!(!found.refused, "{found:?}");
        let [line] = found.lines.as_slice() else { panic!("{found:?}") };
        assert!(
            line.starts_with("a.yaml:1:") && line.contains("Novelty/default/new: not honoured yet"),
            "{line}"
        );
    }

    #[test]
    fn settings_without_effect_on_the_sidecar_have_their_place() {
        let of = |kind: &str, annotation: &str| {
            let pod = format!("metadata: {{annotations: {{{annotation}: '1'}}}}, spec: {{}}");
            let spec = match kind {
                "CronJob" => format!("{{jobTemplate: {{spec: {{template: {{{pod}}}}}}}}}"),
                _ => format!("{{template: {{{pod}}}}}"),
            };
            let text = format!("kind: {kind}\nmetadata: {{name: web}}\nspec: {spec}\n");
            sidecar_warnings(&weft_manifest::read("a.yaml", &text)[0])
        };
        let annotation = "sidecar.istio.io/bootstrapOverride";
        for (kind, path) in [
            ("Deployment", "spec.template.metadata"),
            ("CronJob", "spec.jobTemplate.spec.template.metadata"),
        ] {
            let lines = of(kind, annotation);
            let [line] = lines.as_slice() else { panic!("{lines:?}") };
            let expected = format!("warning: {kind}/web {path}.annotations");
            assert!(line.starts_with("a.yaml:3:") && line.contains(&expected), "{line}");
        }
        assert!(of("Service", "a.b/c").is_empty());
    }
}
