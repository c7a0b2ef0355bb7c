//! Names that nobody serves yet: what makes them known reaches those that asked for them, and
//! nothing else does.

use serde_json::json;
use weft_api::{Key, Kind, Object};
use weft_config::{Entry, Interest};
use weft_translate::Translator;

use crate::worlds;

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
spec: {containers: [{name: app}]}
";

fn serving(name: &str, host: &str) -> (Key, Option<Object>) {
    let object = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"hosts": [host], "http": [{"route": [{"destination": {"host": "x"}}]}]},
    });
    (Key::new(Kind::VirtualService, "shop", name), weft_api::read(object))
}

fn gone(name: &str) -> (Key, Option<Object>) {
    (Key::new(Kind::VirtualService, "shop", name), None)
}

/// How many answers a change touches, and whether the host is served after it.
fn change(
    translator: &mut Translator,
    change: (Key, Option<Object>),
    interest: &Interest,
) -> (usize, bool) {
    let changed = translator.change([change]).len();
    let client = worlds::client(translator, "shop/web");
    let served = translator.resolve(&client, interest).answer.entry != Entry::Outside;
    (changed, served)
}

#[test]
fn a_pattern_that_covers_it_makes_a_name_known_whatever_came_and_went_before() {
    let interest: Interest = "d.c.b.a.test:80".parse().expect("an interest");
    for pattern in ["d.c.b.a.test", "*.c.b.a.test", "*.b.a.test", "*.a.test", "*.test"] {
        let mut translator = worlds::translator(worlds::objects(POD));
        let client = worlds::client(&translator, "shop/web");
        translator.resolve(&client, &interest);
        let mut step = |one| change(&mut translator, one, &interest);
        // Patterns beside it, above it and below it.
        assert_eq!(step(serving("beside", "*.x.b.a.test")), (0, false), "{pattern}");
        assert_eq!(step(serving("below", "*.d.c.b.a.test")), (0, false), "{pattern}");
        assert_eq!(step(gone("beside")), (0, false), "{pattern}");
        assert_eq!(step(serving("it", pattern)), (1, true), "{pattern}");
        assert_eq!(step(gone("below")), (0, true), "{pattern}");
        assert_eq!(step(gone("it")), (1, false), "{pattern}");
        assert_eq!(step(serving("it", pattern)), (1, true), "{pattern}");
        assert!(translator.check(100).is_empty());
    }
}
