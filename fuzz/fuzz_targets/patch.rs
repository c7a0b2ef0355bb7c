//! What clients send to the API server: selectors, and changes in four languages.

#![no_main]

// Private to their crate, which has no other reason to show them.
#[allow(dead_code, reason = "a target uses what it tries out")]
#[path = "../../crates/apiserver/src"]
mod apiserver {
    pub mod media;
    pub mod patch;
    pub mod resource;
    pub mod selector;
    pub mod size;
    pub mod status;
    pub mod structs;
}

use apiserver::{media, patch, resource, selector, size, status, structs};
use libfuzzer_sys::{
    arbitrary::{Result, Unstructured},
    fuzz_target,
};
use patch::{
    Conflicts, Patch, apply,
    fields::FieldSet,
    managers::{self, Manager, ManagerOperation},
};
use resource::{Custom, Origin, Resource};
use serde_json::Value;

const MEDIA: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
    "application/json",
];

fuzz_target!(|data: &[u8]| {
    let _ = change(&mut Unstructured::new(data));
});

fn change(choices: &mut Unstructured<'_>) -> Result<()> {
    let resource = resource(choices)?;
    let mut live = weft_fuzz::object(choices)?;
    let media = choices.choose(MEDIA)?;
    let other = match choices.int_in_range(0..=3)? {
        0 => weft_fuzz::any(choices, 0)?,
        1 => operations(choices)?,
        _ => weft_fuzz::object(choices)?,
    };
    let text: &str = choices.arbitrary()?;
    if let (Ok(labels), Ok(fields)) =
        (selector::Labels::parse(text), selector::FieldSelector::parse(text))
    {
        labels.match_object(&live);
        fields.match_object(&live);
    }
    let body = match choices.ratio(7, 8)? {
        true => other.to_string().into_bytes(),
        false => text.as_bytes().to_vec(),
    };
    let _ = media::object(media, &body);
    for manager in ["first", "second", "first"] {
        let Ok(patch) = Patch::parse(media, &body, Conflicts::Force) else { return Ok(()) };
        let next = match &patch {
            Patch::Apply(wanted, conflicts) => {
                let applied =
                    apply::apply(&resource, Some(&live), wanted, signature(manager), *conflicts);
                if applied.is_ok() {
                    // Who applies the same again changes nothing.
                    let applied = applied.clone().ok();
                    let again = applied.as_ref().and_then(|applied| {
                        let writer = signature(manager);
                        apply::apply(&resource, Some(applied), wanted, writer, *conflicts).ok()
                    });
                    assert_eq!(again, applied);
                }
                applied
            }
            other => other.merged(&resource, &live),
        };
        let Ok(mut next) = next else { return Ok(()) };
        assert!(next.is_object());
        managers::record(&resource, Some(&live), &mut next, signature("updater"));
        live = next;
    }
    Ok(())
}

/// RFC 6902, more or less.
fn operations(choices: &mut Unstructured<'_>) -> Result<Value> {
    const OPS: &[&str] = &["add", "remove", "replace", "move", "copy", "test"];
    const PATHS: &[&str] =
        &["", "/", "/metadata", "/metadata/labels/a", "/spec", "/spec/-", "/a~1b/0"];
    let count = choices.int_in_range(0..=4)?;
    (0..count)
        .map(|_| {
            let (op, path) = (*choices.choose(OPS)?, *choices.choose(PATHS)?);
            let from = *choices.choose(PATHS)?;
            let value = weft_fuzz::any(choices, 8)?;
            Ok(serde_json::json!({"op": op, "path": path, "from": from, "value": value}))
        })
        .collect()
}

fn resource(choices: &mut Unstructured<'_>) -> Result<Resource> {
    let origin = match choices.ratio(1, 4)? {
        true => Origin::Custom(Custom { schema: weft_fuzz::any(choices, 6)?, ..Custom::default() }),
        false => Origin::BuiltIn,
    };
    let text = str::to_owned;
    Ok(Resource {
        group: text("apps"),
        version: text("v1"),
        plural: text("deployments"),
        singular: text("deployment"),
        kind: text("Deployment"),
        namespaced: true,
        short_names: Vec::new(),
        categories: Vec::new(),
        subresources: Vec::new(),
        origin,
    })
}

fn signature(name: &str) -> Manager {
    Manager {
        name: name.to_owned(),
        operation: ManagerOperation::Update,
        api_version: "apps/v1".to_owned(),
        subresource: String::new(),
        time: "2026-01-01T00:00:00Z".to_owned(),
        fields: FieldSet::default(),
    }
}
