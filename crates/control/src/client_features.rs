//! What a proxy of an earlier version gets in place of what it cannot do.
//!
//! A proxy of this version has every feature, and its answers are passed on untouched.

use std::{hash::Hasher, sync::Arc};

use twox_hash::XxHash64;
use weft_config::{Features, decode, encode, stand_in};
use weft_delta::{Name, Resource, ResourceSet};

/// `answer` for a proxy with the features `has`: each piece that needs others is replaced by
/// its closed stand-in, and its name is added to `replaced`.
pub(crate) fn suited(answer: ResourceSet, has: Features, replaced: &mut Vec<Name>) -> ResourceSet {
    if Features::all().are_in(has) {
        return answer;
    }
    let mut suit = |piece: &Resource| {
        let Ok(resource) = decode(&piece.body) else { return piece.clone() };
        if encode(&resource).needs.are_in(has) {
            return piece.clone();
        }
        replaced.push(Arc::clone(&piece.name));
        let body = encode(&stand_in(&resource, has)).body;
        let mut hasher = XxHash64::with_seed(0);
        hasher.write(&body);
        let name = Arc::clone(&piece.name);
        Resource { name, version: hasher.finish(), body: body.into() }
    };
    ResourceSet {
        resource: suit(&answer.resource),
        pieces: answer.pieces.iter().map(suit).collect(),
    }
}

#[cfg(test)]
mod tests {
    use weft_config::{Action, Resource as Config, Route};

    use super::*;

    const ROUTE: &str = r#"{"route": {"name": "r", "hosts": ["a"], "origin": {"object": "o", "rule": ""}, "rules": [
        {"action": {"forward": [{"backend": "b", "weight": 1}]}, "origin": {"object": "o", "rule": "1"},
         "retries": {"attempts": 1, "on": [], "backoff": "1s", "avoidTried": true, "idempotentOnly": true}},
        {"action": {"forward": [{"backend": "b", "weight": 1}]}, "origin": {"object": "o", "rule": "2"}}
    ]}}"#;

    fn answer() -> ResourceSet {
        let piece = |name: &str, body: &str| Resource {
            name: name.into(),
            version: 7,
            body: body.to_owned().into(),
        };
        let pieces = [piece("route/r", ROUTE), piece("settings", r#"{"settings": {}}"#)];
        let body = r#"{"answer": {"interest": "a:80", "entry": {"route": "r"}}}"#;
        ResourceSet { resource: piece("a:80", body), pieces: pieces.into() }
    }

    #[test]
    fn a_proxy_of_this_version_gets_what_was_made_for_all() {
        let mut replaced = Vec::new();
        assert_eq!(suited(answer(), Features::all(), &mut replaced), answer());
        assert!(replaced.is_empty());
    }

    #[test]
    fn an_older_proxy_gets_a_closed_rule_in_place_of_the_one_that_it_cannot_do() {
        let mut replaced = Vec::new();
        let suited = suited(answer(), Features::default(), &mut replaced);
        assert_eq!(replaced, ["route/r".into()]);
        assert_eq!(suited.pieces[1], answer().pieces[1]);
        assert_ne!(suited.pieces[0].version, 7, "another body is another version");
        let Ok(Config::Route(Route { rules, .. })) = decode(&suited.pieces[0].body) else {
            panic!("a route stays one")
        };
        assert!(matches!(rules[0].action, Action::Respond { status: 500, .. }), "{rules:?}");
        assert!(matches!(rules[1].action, Action::Forward(_)), "{rules:?}");
    }
}
