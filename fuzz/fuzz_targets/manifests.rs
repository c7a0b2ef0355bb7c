//! Texts of users: documents, places, the checks of each object, and back to text.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for document in weft_manifest::read("fuzz.yaml", text) {
        assert_eq!(document.value.is_some(), document.problems.is_empty());
        document.place();
        let Some(value) = &document.value else { continue };
        let checked = weft_api::check(value);
        for diagnostic in &checked.diagnostics {
            let place = document.locate(&diagnostic.field);
            weft_manifest::render(diagnostic, place.as_ref());
        }
        let written = weft_manifest::to_yaml(value);
        let read: Vec<_> = weft_manifest::read("written.yaml", &written)
            .into_iter()
            .map(|document| document.value)
            .collect();
        assert_eq!(read, [Some(value.clone())], "{written}");
    }
});
