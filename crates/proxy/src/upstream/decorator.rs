//! What an operation is called: the service, its port, and the path of the rule.

use http::HeaderValue;
use weft_config::{Backend, Rule, TextMatch};

/// The name of what `rule` asks of `backend`; none outside of the mesh.
pub fn operation(rule: &Rule, backend: &Backend) -> Option<HeaderValue> {
    if backend.service.is_empty() {
        return None;
    }
    let (path, any) = match &rule.conditions.path {
        Some(TextMatch::Exact(path) | TextMatch::Regex(path)) => (path.as_str(), ""),
        Some(TextMatch::Prefix(path)) => (path.as_str(), "*"),
        Some(TextMatch::Present) | None => ("/", "*"),
    };
    HeaderValue::try_from(format!("{}:{}{path}{any}", backend.service, backend.port)).ok()
}
