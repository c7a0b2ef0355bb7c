//! Patterns that cannot be compiled: the part of translation that can be judged before an
//! object is stored, and without any other object.

use weft_api::{Diagnostic, Object};

use crate::routes::rules::{changes, conditions, patterns};

/// What compiling the patterns of one object may cost. Patterns beyond that are judged when
/// the object is stored.
const BUDGET: usize = 2_000;
/// The patterns of `object` that no proxy can compile; the rules that they are in answer 500.
pub fn unreadable_patterns(object: &Object) -> Vec<Diagnostic> {
    let Object::VirtualService(service) = object else { return Vec::new() };
    let (key, mut spent, mut found) = (object.key(), 0, Vec::new());
    for (at, rule) in service.spec.http.iter().enumerate() {
        spent += changes::patterns(rule).map(patterns::cost_of).sum::<usize>();
        if spent > BUDGET {
            return found;
        }
        for closed in changes::unreadable_patterns(rule) {
            let field = format!("spec.http[{at}].{}", closed.field);
            found.push(Diagnostic::error(&key, field, closed.message));
        }
        for (nth, one) in rule.matches.iter().enumerate() {
            match patterns::cost(one) {
                0 => continue,
                cost => spent += cost,
            }
            if spent > BUDGET {
                return found;
            }
            for closed in conditions::read(Some(one)).1 {
                let field = format!("spec.http[{at}].match[{nth}].{}", closed.field);
                found.push(Diagnostic::error(&key, field, closed.message));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn fields(http: Value) -> Vec<String> {
        let object = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": "rx"}, "spec": {"hosts": ["web"], "http": http},
        });
        let object = weft_api::read(object).unwrap();
        unreadable_patterns(&object).into_iter().map(|one| one.field).collect()
    }

    #[test]
    fn patterns_that_no_proxy_can_compile_are_found_wherever_they_stand() {
        let rule = |one: Value| json!([{"match": [{}, one]}]);
        let found = fields(rule(json!({"uri": {"regex": "/api/(?!internal).*"}})));
        assert_eq!(found, ["spec.http[0].match[1].uri.regex"]);
        let found = fields(json!([{"corsPolicy": {"allowOrigins": [{"regex": "("}]}}]));
        assert_eq!(found, ["spec.http[0].corsPolicy.allowOrigins[0].regex"]);
        let found =
            fields(json!([{"rewrite": {"uriRegexRewrite": {"match": "(", "rewrite": "/"}}}]));
        assert_eq!(found, ["spec.http[0].rewrite.uriRegexRewrite.match"]);
        let found = fields(rule(json!({"headers": {"x": {"regex": "("}}})));
        assert_eq!(found, ["spec.http[0].match[1].headers.x.regex"]);
        assert!(fields(rule(json!({"uri": {"regex": "/a|/b"}}))).is_empty());
        assert!(fields(rule(json!({"headers": {"x": {"regex": "*"}}}))).is_empty());
    }

    #[test]
    fn no_more_is_compiled_than_a_review_has_time_for() {
        let rule = json!({"match": [{"uri": {"regex": "(?:a{1000}){100}("}}]});
        let found = fields(Value::Array(vec![rule; 5_000])).len();
        assert!((1..100).contains(&found), "{found}");
    }
}
